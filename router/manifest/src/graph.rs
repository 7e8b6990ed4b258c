//! A pipeline that can be run: its nodes in order, what feeds each of their ports, its outputs and who gets them.
//!
//! A [`Graph`] comes of [`crate::check()`] alone, and so is without circles, every stream has one kind of media from end to
//! end, and every port that must be connected is. It does not depend on the order in which the manifest lists nodes and
//! edges.

use crate::catalogue::Media;
use remotemedia_shm_schema::contract::{Contract, WhenFull};
use remotemedia_shm_schema::control::OnFailure;
use remotemedia_shm_schema::{NodeId, OutputId, PeerId, PortId};
use serde::Serialize;
use serde_json::{Map, Value};
use std::{fmt, io};

/// The result of a graph that names none.
pub const MAIN: &str = "main";

/// Of how many there is a node or a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// One of each peer's media.
    Peer,
    /// One, whoever comes and goes.
    Session,
    /// One for each who listens.
    Listener,
}

impl Scope {
    /// For sentences: "this stream is …".
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Peer => "one of each peer",
            Self::Session => "one for the session",
            Self::Listener => "one for each listener",
        }
    }
}

/// What comes out of somewhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// What peers send of this kind.
    Input(Media),
    /// What a node gives.
    Node {
        /// Which.
        node: NodeId,
        /// Where.
        port: PortId,
    },
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Input(media) => write!(f, "input.{media}"),
            Self::Node { node, port } => write!(f, "{node}.{port}"),
        }
    }
}

/// A stream with of how many there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Feed {
    /// Which.
    pub stream: Stream,
    /// Of how many there is.
    pub scope: Scope,
}

/// A node's input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inlet {
    /// Its name.
    pub port: PortId,
    /// What passes.
    pub media: Media,
    /// Whether it takes each of its streams of every peer.
    pub gathers: bool,
    /// What leads into it: one stream, or several where it gathers or takes messages; none where it may be left unconnected. In
    /// the order of their names.
    pub feeds: Vec<Feed>,
}

/// A node's output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outlet {
    /// Its name.
    pub port: PortId,
    /// What passes.
    pub media: Media,
    /// Of how many there is.
    pub scope: Scope,
    /// Whether anybody reads it.
    pub used: bool,
}

/// How the channels that a node writes differ from the usual contract of their media.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
pub struct Queue {
    /// Frames that one holds.
    pub capacity: Option<u32>,
    /// What happens to the next one.
    pub when_full: Option<WhenFull>,
    /// Milliseconds after which a frame is dropped; 0 is no limit.
    pub max_age_ms: Option<u32>,
}

impl Queue {
    /// The usual contract with these differences.
    #[must_use]
    pub fn over(self, usual: Contract) -> Contract {
        Contract {
            capacity: self.capacity.unwrap_or(usual.capacity),
            when_full: self.when_full.unwrap_or(usual.when_full),
            max_age_ms: self.max_age_ms.unwrap_or(usual.max_age_ms),
        }
    }
}

/// A node with all that is known of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// Its id.
    pub id: NodeId,
    /// Its type in its worker's catalogue.
    pub kind: String,
    /// Its parameters.
    pub params: Map<String, Value>,
    /// The operator's worker that runs it; none is our own.
    pub worker: Option<String>,
    /// What a failure does.
    pub on_failure: OnFailure,
    /// Milliseconds that it may take for one frame.
    pub frame_limit_ms: u32,
    /// Of the channels that it writes.
    pub queue: Queue,
    /// Of how many there is.
    pub scope: Scope,
    /// All of its inputs, in its type's order.
    pub inlets: Vec<Inlet>,
    /// All of its outputs, in its type's order.
    pub outlets: Vec<Outlet>,
}

impl Node {
    /// Every stream that leads into it, with the input.
    pub fn feeds(&self) -> impl Iterator<Item = (&Inlet, &Feed)> {
        self.inlets.iter().flat_map(|inlet| inlet.feeds.iter().map(move |feed| (inlet, feed)))
    }
}

/// To whom an output goes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// Nobody said: to the sender in a session of one, to the others in a room. Of `main` only.
    Default,
    /// The peer whose media it is made of.
    Sender,
    /// All peers but that one.
    Others,
    /// All peers.
    All,
    /// The others, each by measured bandwidth: see [`Graph::ladder`].
    Bandwidth,
    /// This peer.
    Peer(PeerId),
    /// Every peer of this role.
    Role(String),
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("its sender when alone, else the others"),
            Self::Sender => f.write_str("its sender"),
            Self::Others => f.write_str("the others"),
            Self::All => f.write_str("all"),
            Self::Bandwidth => f.write_str("the others by bandwidth"),
            Self::Peer(peer) => write!(f, "peer {peer}"),
            Self::Role(role) => write!(f, "role {role}"),
        }
    }
}

/// A named result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Output {
    /// Its name.
    pub id: OutputId,
    /// What it is made of: one stream of pictures, one of sound, any of messages, in this order.
    pub feeds: Vec<(Media, Feed)>,
    /// Who gets it. Empty: who subscribes to it, and nobody else.
    pub routes: Vec<Route>,
}

impl Output {
    /// What it is made of, of this kind.
    pub fn of(&self, media: Media) -> impl Iterator<Item = &Feed> {
        self.feeds.iter().filter(move |(kind, _)| *kind == media).map(|(_, feed)| feed)
    }
}

/// Nodes that follow one another in one worker, so that one process can hand their frames on by reference. A hint: it may
/// be cut further. Between two groups no path leads out of one and back into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The operator's worker; none is our own.
    pub worker: Option<String>,
    /// Of how many there is.
    pub scope: Scope,
    /// In the graph's order; never empty.
    pub nodes: Vec<NodeId>,
}

/// Who reads a stream.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reader<'g> {
    /// A node.
    Node(&'g Node, &'g Inlet),
    /// A result.
    Output(&'g Output),
}

/// A stream from where it comes to one who reads it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Link<'g> {
    /// What.
    pub feed: &'g Feed,
    /// Of what kind.
    pub media: Media,
    /// To whom.
    pub to: Reader<'g>,
}

/// A checked pipeline.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Graph {
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) groups: Vec<Group>,
    pub(crate) ladder: Vec<OutputId>,
}

impl Graph {
    /// All nodes, each behind those that lead to it.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// A node by its id.
    #[must_use]
    pub fn node(&self, id: &NodeId) -> Option<&Node> {
        self.nodes.iter().find(|node| node.id == *id)
    }

    /// All results, by name.
    #[must_use]
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// A result by its name.
    #[must_use]
    pub fn output(&self, id: &OutputId) -> Option<&Output> {
        self.outputs.iter().find(|output| output.id == *id)
    }

    /// How the nodes could share processes.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// The outputs that are tiers of one another, of which measured bandwidth chooses; the greatest first. Of a single one the
    /// router makes the tiers.
    #[must_use]
    pub fn ladder(&self) -> &[OutputId] {
        &self.ladder
    }

    /// Every stream to every one who reads it: nodes in their order, then the results.
    pub fn links(&self) -> impl Iterator<Item = Link<'_>> {
        let into_nodes = self.nodes.iter().flat_map(|node| {
            node.feeds().map(move |(inlet, feed)| Link {
                feed,
                media: inlet.media,
                to: Reader::Node(node, inlet),
            })
        });
        let into_outputs = self.outputs.iter().flat_map(|output| {
            output.feeds.iter().map(move |(media, feed)| Link {
                feed,
                media: *media,
                to: Reader::Output(output),
            })
        });
        into_nodes.chain(into_outputs)
    }

    /// A number that stays the same over runs and machines as long as the graph does, to tell two apart at a glance (FNV-1a
    /// over its JSON; not for what somebody could gain by forging it).
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let mut sum = Fnv(0xcbf2_9ce4_8422_2325);
        let written = serde_json::to_writer(&mut sum, self);
        // Keys are texts, and adding bytes up does not fail.
        debug_assert!(written.is_ok());
        sum.0
    }
}

/// Fowler, Noll and Vo's hash, draft-eastlake-fnv.
struct Fnv(u64);

impl io::Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_the_published_one() {
        let of = |text: &str| {
            let mut sum = Fnv(0xcbf2_9ce4_8422_2325);
            io::Write::write_all(&mut sum, text.as_bytes()).expect("adding up does not fail");
            sum.0
        };
        assert_eq!(of(""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(of("a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(of("foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn a_queue_differs_from_the_usual_where_it_says_so() {
        let queue = Queue { when_full: Some(WhenFull::Paced), ..Queue::default() };
        let contract = queue.over(Contract::RAW_AUDIO);
        assert_eq!(contract.when_full, WhenFull::Paced);
        assert_eq!(contract.capacity, Contract::RAW_AUDIO.capacity);
    }
}
