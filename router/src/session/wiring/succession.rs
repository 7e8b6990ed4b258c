//! Pure: one graph in place of another: which of its nodes go on, with which numbers, and what they are given then.

use super::plan::{Feed, Output, Plan, Segment, Stage};
use remotemedia_shm_schema::control::GraphNode;
use remotemedia_shm_schema::{Media, NodeId};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// A graph that is to take the place of another.
#[derive(Debug, Clone)]
pub struct Successor {
    /// What is to be wired. Nodes that go on have the parameters here that they run with.
    pub plan: Plan,
    /// What of those changes, by node: they are told when the graph is in force.
    pub params: BTreeMap<NodeId, Map<String, Value>>,
}

impl Plan {
    /// The next graph, of these stages and outputs. Nodes of a known id keep their number, for stamps and marks tell them by it;
    /// new ones get numbers that are not `taken`. None where there are not enough.
    #[must_use]
    pub fn succeeded_by(
        &self,
        mut stages: Vec<Stage>,
        outputs: Vec<Output>,
        taken: &BTreeSet<u8>,
    ) -> Option<Successor> {
        let nodes = self.segments().flat_map(|segment| &segment.nodes);
        let mut numbers: BTreeMap<NodeId, u8> =
            nodes.map(|node| (node.id.clone(), node.number)).collect();
        let used: BTreeSet<u8> = numbers.values().chain(taken).copied().collect();
        let mut free = (0..=u8::MAX).filter(|number| !used.contains(number));
        for node in stages.iter_mut().flat_map(|stage| &mut stage.segment.nodes) {
            node.number = match numbers.get(&node.id) {
                Some(number) => *number,
                None => {
                    let number = free.next()?;
                    numbers.insert(node.id.clone(), number);
                    number
                }
            };
        }
        let mut params = BTreeMap::new();
        for stage in &mut stages {
            let name = stage.segment.name().clone();
            let Some(before) = find(&self.stages, stage.kind, &name) else { continue };
            let Some(changes) = goes_on(&before.segment, &stage.segment) else { continue };
            let nodes = stage.segment.nodes.iter_mut().zip(&before.segment.nodes);
            for ((node, before), changes) in nodes.zip(changes) {
                node.params.clone_from(&before.params);
                if !changes.is_empty() {
                    params.insert(node.id.clone(), changes);
                }
            }
        }
        let former = self.former_places(&stages);
        Some(Successor { plan: Self { stages, outputs, former, ..self.clone() }, params })
    }

    /// Where it stands in these stages what stands behind a segment that is not among them: behind the one that has the
    /// segment's last node within it, else where the segment's own frames came from.
    fn former_places(&self, stages: &[Stage]) -> BTreeMap<(Media, NodeId), Feed> {
        let mut former: BTreeMap<(Media, NodeId), Feed> = BTreeMap::new();
        for old in &self.stages {
            let name = old.segment.name();
            if find(stages, old.kind, name).is_some() {
                continue;
            }
            let has = |stage: &&Stage| {
                stage.kind == old.kind && stage.segment.nodes.iter().any(|node| node.id == *name)
            };
            let place = match (stages.iter().find(has), &old.feed) {
                (Some(within), _) => Feed::Segment(within.segment.name().clone()),
                (None, Feed::Input) => Feed::Input,
                // Each stage is behind the one that leads to it: where that one stands is known by now.
                (None, Feed::Segment(before)) => {
                    let moved = former.get(&(old.kind, before.clone()));
                    moved.unwrap_or(&old.feed).clone()
                }
            };
            former.insert((old.kind, name.clone()), place);
        }
        former
    }
}

fn find<'s>(stages: &'s [Stage], kind: Media, name: &NodeId) -> Option<&'s Stage> {
    stages.iter().find(|stage| stage.kind == kind && stage.segment.name() == name)
}

/// What each node is to be given so that a running segment becomes the next one; none where it must begin anew.
fn goes_on(before: &Segment, next: &Segment) -> Option<Vec<Map<String, Value>>> {
    let same = before.role == next.role
        && before.frame_limit_ms == next.frame_limit_ms
        && before.nodes.len() == next.nodes.len();
    if !same {
        return None;
    }
    before.nodes.iter().zip(&next.nodes).map(|(before, next)| changes(before, next)).collect()
}

/// Parameters that are new or differ. None where it is another node, has another policy, or lacks a parameter that it had:
/// workers merge what they are given into what there is, so that nothing can be taken back.
fn changes(before: &GraphNode, next: &GraphNode) -> Option<Map<String, Value>> {
    let same = before.id == next.id
        && before.number == next.number
        && before.kind == next.kind
        && before.on_failure == next.on_failure;
    let (old, mut new) = (params(before), params(next));
    if !same || !old.keys().all(|key| new.contains_key(key)) {
        return None;
    }
    new.retain(|key, value| old.get(key) != Some(&*value));
    Some(new)
}

fn params(node: &GraphNode) -> Map<String, Value> {
    serde_json::from_str(&node.params).unwrap_or_default()
}
