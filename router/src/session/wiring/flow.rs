//! Pure: which stages a source's raw frames pass, and where they come out of each, of what is there at the moment.

use super::plan::{Feed, Plan, Segment};
use super::{Absence, Desired, Origin, Source, Stream};
use crate::workers::Role;
use remotemedia_shm_schema::NodeId;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use std::collections::BTreeMap;

/// A node that was attached between a channel of one source and all who read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insert {
    /// Whose frames it takes.
    pub source: Source,
    /// Where it stands: behind the decoder, or behind a segment of the plan or an inserted one.
    pub after: Feed,
    /// Itself; it has a process of its own.
    pub segment: Segment,
}

/// A segment that has its place at the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    /// What its channel is called by, whichever of its nodes are there.
    pub(super) name: NodeId,
    /// With the nodes that are there.
    pub(super) segment: Segment,
    /// Where its frames come from.
    pub(super) from: Feed,
    /// Whether it runs; what is held has its place and does nothing.
    pub(super) runs: bool,
}

/// One source's graph at the moment. A stage that is away and says `bypass` is left out, one that says `hold` (or `close`,
/// whose session is ending) has its place and does not run.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Each behind the one that leads to it.
    pub(super) stages: Vec<Placed>,
    /// Where the frames are that are to come from a place of the plan.
    ends: BTreeMap<Feed, Feed>,
}

impl Flow {
    pub(super) fn of(plan: &Plan, desired: &Desired, source: &Source) -> Self {
        let mut flow = Self::default();
        let inserts = desired.inserts.iter().filter(|insert| insert.source == *source);
        let inserts: Vec<(&Insert, Feed)> =
            inserts.map(|insert| (insert, stands(plan, desired, insert))).collect();
        flow.lead(Feed::Input, Feed::Input, &inserts, &desired.absence);
        for stage in plan.stages.iter().filter(|stage| stage.kind == source.kind) {
            let from = flow.end(&stage.feed).clone();
            let at = flow.place(&stage.segment, from, &desired.absence);
            let planned = Feed::Segment(stage.segment.name().clone());
            flow.lead(planned, at, &inserts, &desired.absence);
        }
        flow
    }

    /// Where the frames are that the plan has come from here.
    pub(super) fn end<'f>(&'f self, planned: &'f Feed) -> &'f Feed {
        self.ends.get(planned).unwrap_or(planned)
    }

    /// Leads the frames of a place through what was inserted behind it.
    fn lead(
        &mut self,
        planned: Feed,
        at: Feed,
        inserts: &[(&Insert, Feed)],
        absence: &Absence,
    ) -> Feed {
        let mut at = at;
        // The one that came last stands next to the channel that it was attached to.
        for (insert, after) in inserts.iter().rev() {
            if *after == planned {
                at = self.place(&insert.segment, at, absence);
                let name = insert.segment.name().clone();
                at = self.lead(Feed::Segment(name), at, inserts, absence);
            }
        }
        self.ends.insert(planned, at.clone());
        at
    }

    fn place(&mut self, segment: &Segment, from: Feed, absence: &Absence) -> Feed {
        let Some((left, runs)) = there(segment, absence) else { return from };
        let name = segment.name().clone();
        self.stages.push(Placed { name: name.clone(), segment: left, from, runs });
        Feed::Segment(name)
    }

    /// The segments that the frames of this place of the plan pass, the last one first.
    fn path(&self, planned: &Feed) -> impl Iterator<Item = &Placed> {
        let by_feed = |feed: &Feed| match feed {
            Feed::Input => None,
            Feed::Segment(name) => self.stages.iter().find(|stage| stage.name == *name),
        };
        let last = by_feed(self.end(planned));
        std::iter::successors(last, move |stage| by_feed(&stage.from))
    }
}

/// Behind what an inserted node stands in this graph. One whose place is of a graph before stands where the graph says that it
/// does now, at the latest behind the source: it may be there for privacy, and none is left out without a word.
#[must_use]
pub fn stands(plan: &Plan, desired: &Desired, insert: &Insert) -> Feed {
    let (after, kind) = (&insert.after, insert.source.kind);
    let Feed::Segment(name) = after else { return Feed::Input };
    let planned = plan.stages.iter().any(|s| s.kind == kind && s.segment.name() == name);
    let own = |other: &Insert| other.source == insert.source && other.segment.name() == name;
    if planned || desired.inserts.iter().any(own) {
        return after.clone();
    }
    plan.former.get(&(kind, name.clone())).cloned().unwrap_or(Feed::Input)
}

/// What of a segment is there, and whether it runs; none where its input takes its output's place.
fn there(segment: &Segment, absence: &Absence) -> Option<(Segment, bool)> {
    let mut left = segment.clone();
    if absence.roles.contains(&segment.role) {
        let bypass = segment.on_failure() == OnFailure::Bypass;
        return (!bypass).then_some((left, false));
    }
    let failed = |node: &GraphNode| absence.nodes.contains(&node.id);
    let runs = !segment.nodes.iter().any(|n| failed(n) && n.on_failure != OnFailure::Bypass);
    if runs {
        left.nodes.retain(|node| !failed(node));
    }
    (!left.nodes.is_empty()).then_some((left, runs))
}

/// Whether nothing gets through to this stream: its source does not come, a stage on its way does not run, or the process of
/// one is not `live`.
pub fn held(plan: &Plan, desired: &Desired, stream: &Stream, live: impl Fn(Role) -> bool) -> bool {
    let source = &stream.source;
    let maker = match desired.sources.get(source) {
        Some(Origin::Attached(role)) => !live(*role),
        Some(Origin::Coded(_)) | None => false,
    };
    let Some(output) = plan.output(stream) else { return true };
    maker
        || desired.absence.tracks.contains(source)
        || Flow::of(plan, desired, source)
            .path(&output.feed)
            .any(|stage| !stage.runs || !live(stage.segment.role))
}
