//! What a session runs: the graph that each source's frames pass, and the outputs it has.

#[cfg(test)]
use super::MAIN;
use super::{Desired, Origin, Product, Source, Stream, Wiring};
use crate::workers::Role;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::{Codec, Contract, Media, NodeId, OutputId, PeerId, SessionId};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

/// Nodes that follow one another in one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Who runs them.
    pub role: Role,
    /// In their order; never empty.
    pub nodes: Vec<GraphNode>,
    /// Milliseconds that one frame may take in there.
    pub frame_limit_ms: u32,
    /// How the channel that it writes differs from the usual.
    pub queue: Queue,
}

/// How a channel differs from the usual contract of its media.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queue {
    /// Frames that it holds.
    pub capacity: Option<u32>,
    /// Milliseconds after which a frame is dropped; 0 is no limit.
    pub max_age_ms: Option<u32>,
}

impl Queue {
    /// The usual contract with these differences.
    #[must_use]
    pub fn over(self, usual: Contract) -> Contract {
        Contract {
            capacity: self.capacity.unwrap_or(usual.capacity),
            max_age_ms: self.max_age_ms.unwrap_or(usual.max_age_ms),
            ..usual
        }
    }
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

/// Where frames come from within one source's graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Feed {
    /// The source itself.
    Input,
    /// The segment of this name.
    Segment(NodeId),
}

/// A segment in its place; any number may stand behind one feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stage {
    /// Of which kind of source.
    pub kind: Media,
    /// Whose frames it takes.
    pub feed: Feed,
    /// What it does with them.
    pub segment: Segment,
}

/// A named result, of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Output {
    /// Its name in the manifest.
    pub id: OutputId,
    /// Pictures or sound.
    pub kind: Media,
    /// Whose frames it has.
    pub feed: Feed,
    /// Who gets it.
    pub routes: Vec<Route>,
}

/// Who gets an output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// The peer whose media it is made of where it is alone, the others in a room.
    Default,
    /// The peer whose media it is made of.
    Sender,
    /// All but that one.
    Others,
    /// All.
    All,
    /// This one.
    Peer(PeerId),
}

/// Segments one behind the other, and what comes out of the last: the output `main`.
#[cfg(test)]
pub fn chain(kind: Media, segments: Vec<Segment>) -> (Vec<Stage>, Output) {
    let mut feed = Feed::Input;
    let mut stages = Vec::new();
    for segment in segments {
        let next = Feed::Segment(segment.name().clone());
        stages.push(Stage { kind, feed: std::mem::replace(&mut feed, next), segment });
    }
    let id = OutputId::new(MAIN).expect("a literal of the grammar");
    (stages, Output { id, kind, feed, routes: vec![Route::Default] })
}

/// What a session is made by.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose channels.
    pub session: SessionId,
    /// Each behind the one that leads to it.
    pub stages: Vec<Stage>,
    /// All results, by name and kind.
    pub outputs: Vec<Output>,
    /// Where it stands now what stood behind a segment of the graph before, which this one does not have.
    pub former: BTreeMap<(Media, NodeId), Feed>,
    /// Greatest picture.
    pub max_video: (u16, u16),
    /// Bits a second of a video encoder to begin with.
    pub video_bitrate: u32,
    /// Bits a second of an Opus encoder.
    pub audio_bitrate: u32,
}

impl Plan {
    /// All segments, in their order.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.stages.iter().map(|stage| &stage.segment)
    }

    /// What a source's frames become.
    pub fn outputs_of(&self, kind: Media) -> impl Iterator<Item = &Output> {
        self.outputs.iter().filter(move |output| output.kind == kind)
    }

    /// The output that a stream is one of.
    #[must_use]
    pub fn output(&self, stream: &Stream) -> Option<&Output> {
        self.outputs_of(stream.source.kind).find(|output| output.id == stream.output)
    }

    /// Shared memory that one peer with sound and picture comes to, and one who views it.
    #[must_use]
    pub fn bytes_of_a_peer(&self) -> u64 {
        let Ok(peer) = PeerId::new("peer") else { return 0 };
        let mut desired = Desired::default();
        for (kind, codec) in [(Media::Audio, Codec::Opus), (Media::Video, Codec::Vp8)] {
            let source = Source { peer: peer.clone(), kind };
            desired.sources.insert(source.clone(), Origin::Coded(codec));
            desired.products.extend(self.outputs_of(kind).map(|output| Product {
                stream: Stream { source: source.clone(), output: output.id.clone() },
                codec,
            }));
        }
        let wired = Wiring::new(self.clone()).plan(&desired, &BTreeSet::new());
        let channels = wired.iter().flat_map(|(_, wiring)| wiring.channels());
        channels.map(remotemedia_worker::namespace::bytes_of).sum()
    }

    /// Gives a node these parameters besides those that it has.
    pub fn set_params(&mut self, node: &NodeId, changes: &Map<String, Value>) {
        let nodes = self.stages.iter_mut().flat_map(|stage| &mut stage.segment.nodes);
        set_params(nodes, node, changes);
    }

    /// Every process that the graph needs, steward and codec worker among them.
    #[must_use]
    pub fn roles(&self) -> BTreeSet<Role> {
        let always = [Role::Steward, Role::Codec];
        always.into_iter().chain(self.segments().map(|segment| segment.role)).collect()
    }
}

/// Gives the one of this id these parameters besides those that it has.
pub fn set_params<'a>(
    nodes: impl Iterator<Item = &'a mut GraphNode>,
    id: &NodeId,
    changes: &Map<String, Value>,
) {
    for node in nodes.filter(|node| node.id == *id) {
        let mut params: Map<String, Value> = serde_json::from_str(&node.params).unwrap_or_default();
        params.extend(changes.clone());
        node.params = Value::Object(params).to_string();
    }
}
