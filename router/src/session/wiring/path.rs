//! Pure: which stages a source's raw frames pass, in their order, and which of them are there at the moment.

use super::{Absence, Desired, Origin, Plan, Source};
use crate::workers::Role;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::{Media, NodeId};

/// Nodes that follow one another in one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Who runs them.
    pub role: Role,
    /// In their order; never empty.
    pub nodes: Vec<GraphNode>,
    /// Milliseconds that one frame may take in there.
    pub frame_limit_ms: u32,
}

impl Segment {
    /// The id of its last node: what its output channel is called by.
    #[must_use]
    pub fn name(&self) -> &NodeId {
        &self.nodes.last().expect("a segment has at least one node").id
    }

    /// The strictest policy of its nodes.
    #[must_use]
    pub fn on_failure(&self) -> OnFailure {
        self.nodes.iter().map(|node| node.on_failure).max().unwrap_or_default()
    }
}

/// A node that was attached between two stages of one source's path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// Whose frames it takes.
    pub source: Source,
    /// Behind the segment of this name, of the plan or inserted itself; none is behind the decoder.
    pub after: Option<NodeId>,
    /// Itself; it has a process of its own.
    pub segment: Segment,
}

/// One stage of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stage {
    pub(super) segment: Segment,
    /// Whether its output is a result of the manifest's graph, under the output's name.
    pub(super) last_of_graph: bool,
    /// Whether it runs; what is held has its place and does nothing.
    pub(super) runs: bool,
}

/// The stages that this source's frames pass. One that is away and says `bypass` is left out, one that says `hold` (or
/// `close`, whose session is ending) has its place and does not run.
pub(super) fn path(plan: &Plan, desired: &Desired, source: &Source) -> Vec<Stage> {
    let graph = match source.kind {
        Media::Audio => &plan.audio,
        Media::Video => &plan.video,
    };
    let mut all: Vec<(Segment, bool)> = Vec::new();
    put_inserted(&mut all, desired, source, None);
    for (place, segment) in graph.iter().enumerate() {
        all.push((segment.clone(), place + 1 == graph.len()));
        put_inserted(&mut all, desired, source, Some(segment.name()));
    }
    all.into_iter().filter_map(|(segment, last)| stage(segment, last, &desired.absence)).collect()
}

/// Whether nothing gets through this source's path: a stage does not run, or the process of one is not `live`.
pub fn held(plan: &Plan, desired: &Desired, source: &Source, live: impl Fn(Role) -> bool) -> bool {
    let maker = match desired.sources.get(source) {
        Some(Origin::Attached(role)) => !live(*role),
        Some(Origin::Coded(_)) | None => false,
    };
    maker
        || desired.absence.tracks.contains(source)
        || path(plan, desired, source).iter().any(|stage| !stage.runs || !live(stage.segment.role))
}

fn put_inserted(
    all: &mut Vec<(Segment, bool)>,
    desired: &Desired,
    source: &Source,
    after: Option<&NodeId>,
) {
    // The one that came last stands next to the channel that it was attached to.
    for insert in desired.inserts.iter().rev() {
        if insert.source == *source && insert.after.as_ref() == after {
            all.push((insert.segment.clone(), false));
            put_inserted(all, desired, source, Some(insert.segment.name()));
        }
    }
}

fn stage(mut segment: Segment, last_of_graph: bool, absence: &Absence) -> Option<Stage> {
    if absence.roles.contains(&segment.role) {
        let bypass = segment.on_failure() == OnFailure::Bypass;
        return (!bypass).then_some(Stage { segment, last_of_graph, runs: false });
    }
    let failed = |node: &GraphNode| absence.nodes.contains(&node.id);
    let runs = !segment.nodes.iter().any(|n| failed(n) && n.on_failure != OnFailure::Bypass);
    if runs {
        segment.nodes.retain(|node| !failed(node));
    }
    (!segment.nodes.is_empty()).then_some(Stage { segment, last_of_graph, runs })
}
