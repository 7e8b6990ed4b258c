//! The messages themselves.
//!
//! A change of media is always the same dance: `Prepare` names an epoch and what changes, every worker concerned opens
//! what it needs and answers `Ready` (or `Refused`), `Switch` puts it in force. A worker that is told of an epoch older
//! than the one it runs ignores it.

use crate::channel::ChannelName;
use crate::contract::{Contract, DropReason};
use crate::ids::{ChannelIndex, NodeId, PeerId, SessionId};
use crate::meta::{Codec, Media};
use serde::{Deserialize, Serialize};

/// Where a session's iceoryx2 objects are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Namespace {
    /// Begin of every shared-memory name; unpublished and random.
    pub prefix: String,
    /// Folder of its sockets and service files, on tmpfs.
    pub root: String,
}

/// A unit of work of a session: one thread of one worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId(pub u32);

/// A channel as one generation of it stands.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ChannelSpec {
    /// Its place in the session; the id of its events.
    pub index: ChannelIndex,
    /// Its public name.
    pub name: ChannelName,
    /// The iceoryx2 service behind it; carries the generation.
    pub service: String,
    /// The wiring.
    pub epoch: u32,
    /// The producing process's generation; frames of another are stale.
    pub generation: u32,
    /// Bound, overflow, age.
    pub contract: Contract,
    /// Bytes of its greatest payload.
    pub max_payload: u32,
    /// Ports that may read it at once; with the contract's capacity it sizes the channel's shared memory.
    pub max_readers: u32,
    /// Event services of the threads that read it: notified after each frame.
    pub wakes: Vec<String>,
}

/// What an encoder makes of pictures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoEncode {
    /// Which codec.
    pub codec: Codec,
    /// Bits a second to begin with.
    pub bitrate: u32,
    /// Greatest width and height that may come; VP9 is initialized at it.
    pub max_width: u16,
    /// See `max_width`.
    pub max_height: u16,
    /// Frames a second that rate control counts with.
    pub frame_rate: u32,
}

/// What an encoder makes of sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioEncode {
    /// Bits a second.
    pub bitrate: u32,
    /// 1 or 2.
    pub channels: u8,
    /// In-band FEC.
    pub fec: bool,
    /// Packet loss in percent that FEC is made for.
    pub expected_loss: u8,
    /// Discontinuous transmission.
    pub dtx: bool,
    /// Opus complexity, 0 to 10.
    pub complexity: u8,
}

/// What becomes of a node's media while the node cannot work on them.
///
/// Ordered by strictness: of a process that hosts several nodes the greatest applies while the process is away.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The input takes the output's place.
    Bypass,
    /// The last picture stays and sound is silent: nothing unprocessed leaves.
    #[default]
    Hold,
    /// The session ends.
    Close,
}

impl OnFailure {
    /// All of them, as manifests name them.
    pub const ALL: [Self; 3] = [Self::Hold, Self::Bypass, Self::Close];

    /// Its name in manifests and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Hold => "hold",
            Self::Close => "close",
        }
    }
}

/// A node as the graph names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GraphNode {
    /// Its id in the manifest.
    pub id: NodeId,
    /// Its number in the session: [`crate::Stage::Node`] of its stamps.
    pub number: u8,
    /// Its type in the catalogue.
    pub kind: String,
    /// Its parameters, a JSON object.
    pub params: String,
    /// What a failure on a frame does; the router applies it while the whole process is away.
    pub on_failure: OnFailure,
}

/// What a task does with its frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskKind {
    /// Access units of one codec to raw frames.
    Decode {
        /// Which codec.
        codec: Codec,
    },
    /// Pictures to access units.
    EncodeVideo(VideoEncode),
    /// Sound to packets.
    EncodeAudio(AudioEncode),
    /// Raw frames through a chain of nodes, in this order; all of one kind of media.
    Graph {
        /// The nodes; empty is a plain hand-over.
        nodes: Vec<GraphNode>,
    },
    /// Looks at frames and makes none.
    Tap,
    /// Publishes what comes from the router over the data socket: a steward's.
    Enter,
    /// Hands on to the router what it reads: a steward's.
    Exit,
    /// Makes raw frames out of nothing.
    Source {
        /// Of this kind.
        media: Media,
    },
}

/// A task with its channels: one in unless it is a source, one out unless it is a tap.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    /// Its number in the session.
    pub id: TaskId,
    /// What it does.
    pub kind: TaskKind,
    /// Where it reads.
    pub input: Option<ChannelSpec>,
    /// Where it writes.
    pub output: Option<ChannelSpec>,
    /// The event service that its thread waits on; it is among `input.wakes`. A source rings nobody's and waits on none.
    pub wake: String,
    /// Bytes of one raw picture or block at most, by `max_video`.
    pub max_raw: u32,
    /// Milliseconds that one call may take before the task counts as hung.
    pub frame_limit_ms: u32,
}

/// One step of a new wiring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Begin a task.
    Add(Task),
    /// Give a running task other channels; its codec or node state stays.
    Rewire {
        /// Which.
        task: TaskId,
        /// Where it reads from now on.
        input: Option<ChannelSpec>,
        /// Where it writes from now on.
        output: Option<ChannelSpec>,
    },
    /// End a task.
    Remove(TaskId),
}

/// Why a keyframe is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyframeReason {
    /// A viewer joined or lost its picture (PLI, FIR).
    Viewer,
    /// A decoder began, or lost its state.
    Decoder,
    /// The channel before it overflowed.
    Overflow,
}

/// From the router to a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToWorker {
    /// Serve this session: its namespace may be opened.
    Assign {
        /// Which.
        session: SessionId,
        /// Where its objects are.
        namespace: Namespace,
    },
    /// A steward shall make these services before anybody opens them, and answer `Created`.
    Create {
        /// Which session.
        session: SessionId,
        /// The wiring that they are for.
        epoch: u32,
        /// Event services.
        wakes: Vec<String>,
        /// Channels.
        channels: Vec<ChannelSpec>,
    },
    /// A steward need not hold these services any more.
    Forget {
        /// Which session.
        session: SessionId,
        /// Channels and event services.
        services: Vec<String>,
    },
    /// Open what these changes need, and answer.
    Prepare {
        /// Which session.
        session: SessionId,
        /// The wiring that it becomes.
        epoch: u32,
        /// What changes for this worker.
        changes: Vec<Change>,
    },
    /// Put the prepared epoch in force.
    Switch {
        /// Which session.
        session: SessionId,
        /// The epoch that was ready.
        epoch: u32,
    },
    /// Forget the prepared epoch: another worker refused it.
    Abandon {
        /// Which session.
        session: SessionId,
        /// The epoch that was prepared.
        epoch: u32,
    },
    /// The producer of this channel shall make a keyframe.
    Keyframe {
        /// Which session.
        session: SessionId,
        /// The channel that lacks it.
        channel: ChannelIndex,
        /// The wiring it was asked for in.
        epoch: u32,
        /// Why.
        reason: KeyframeReason,
    },
    /// The encoder that writes this channel shall aim at this rate.
    Bitrate {
        /// Which session.
        session: SessionId,
        /// The encoder's output.
        channel: ChannelIndex,
        /// The wiring.
        epoch: u32,
        /// Bits a second.
        bits_per_second: u32,
    },
    /// The process before this encoder is away and its nodes hold: make one keyframe of the last picture, or of black
    /// if there is none.
    Repeat {
        /// Which session.
        session: SessionId,
        /// The encoder's output.
        channel: ChannelIndex,
        /// The wiring.
        epoch: u32,
        /// When the picture is, on the router's line.
        media_time_ns: u64,
    },
    /// New parameters of a node, a JSON object with those that change.
    Params {
        /// Which session.
        session: SessionId,
        /// Which node, in all tasks that run it.
        node: NodeId,
        /// JSON object.
        params: String,
        /// Comes back in the answer.
        request: u32,
    },
    /// The session ended: drop its ports, stop its threads, answer `Released`.
    Release {
        /// Which.
        session: SessionId,
    },
    /// Finish what is under way and exit.
    Drain,
    /// What an attacher or an operator asked for is not done; the connection ends.
    Denied {
        /// Why, for a person.
        error: String,
    },
    /// What an operator asked for is done.
    Done,
}

/// What a program that attaches by hand wants to be; its first message behind the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attach {
    /// Read a channel beside its readers.
    Tap {
        /// Which.
        channel: ChannelName,
    },
    /// Stand between a raw channel and its readers.
    Insert {
        /// The channel whose frames it takes.
        channel: ChannelName,
        /// Its name in the graph.
        node: NodeId,
        /// What becomes of the media when it dies.
        on_failure: OnFailure,
    },
    /// Be a further input of a session.
    Source {
        /// Which session.
        session: SessionId,
        /// The name under which its media are routed, as a peer's.
        peer: PeerId,
        /// What it makes.
        media: Media,
    },
}

/// What an operator wants of a running router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// Put a failed node, or everything that failed, of a session to work again.
    Restart {
        /// Which session.
        session: SessionId,
        /// Only this node.
        node: Option<NodeId>,
    },
    /// Take an attached node, tap or source out.
    Detach {
        /// Which session.
        session: SessionId,
        /// Its name: a node's id, a source's peer id, a tap's name in `ps`.
        name: String,
    },
    /// End a session.
    Close {
        /// Which session.
        session: SessionId,
    },
}

/// A node type as a worker offers it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeDescription {
    /// Its type name.
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// Whether it takes pictures.
    pub video: bool,
    /// Whether it takes sound.
    pub audio: bool,
    /// JSON Schema of its parameters.
    pub params_schema: String,
}

/// What a worker can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalogue {
    /// Codecs that it decodes and encodes.
    pub codecs: Vec<Codec>,
    /// Nodes that it runs.
    pub nodes: Vec<NodeDescription>,
}

/// Counters of one task since it began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Frames taken from its input.
    pub received: u64,
    /// Frames put into its output.
    pub published: u64,
    /// Bytes copied inside the process beyond reading and writing in place.
    pub copied_bytes: u64,
    /// Frames made up because one was lost.
    pub concealed: u64,
    /// Frames that the decoder, encoder or node refused.
    pub errors: u64,
    /// Keyframes made or seen.
    pub keyframes: u64,
    /// Frames dropped, by [`DropReason::index`].
    pub dropped: [u64; DropReason::ALL.len()],
}

/// How one task's thread is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadBeat {
    /// Whose.
    pub session: SessionId,
    /// Which task.
    pub task: TaskId,
    /// Frames done.
    pub frames: u64,
    /// `CLOCK_MONOTONIC` nanoseconds since which it is inside one call; `None` while it waits.
    pub busy_since_ns: Option<u64>,
    /// What it did so far.
    pub counters: Counters,
}

/// What a worker's sandbox has in force, or a machine has to offer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Sandbox {
    /// The ABI of Landlock, which guards files and sockets; 0 is none.
    pub landlock: u8,
    /// Whether seccomp guards the system calls.
    pub seccomp: bool,
}

/// From a worker to the router.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToRouter {
    /// First message: what it can do.
    Catalogue(Catalogue),
    /// The session's namespace is open, and the worker has locked itself into it as it was told to.
    Assigned {
        /// Which.
        session: SessionId,
        /// What is in force; a program that attached, and says nothing of it, has none.
        #[serde(default)]
        sandbox: Sandbox,
    },
    /// The session's namespace cannot be opened, or the worker cannot lock itself into it.
    Unassigned {
        /// Which.
        session: SessionId,
        /// Why, for a person.
        error: String,
    },
    /// The services that `Create` named are there, or cannot be made.
    Created {
        /// Which session.
        session: SessionId,
        /// Which epoch.
        epoch: u32,
        /// Why not, for a person.
        error: Option<String>,
    },
    /// All that `Prepare` named is open.
    Ready {
        /// Which session.
        session: SessionId,
        /// Which epoch.
        epoch: u32,
    },
    /// It cannot be done; the old wiring stays.
    Refused {
        /// Which session.
        session: SessionId,
        /// Which epoch.
        epoch: u32,
        /// Why, for a person.
        error: String,
    },
    /// A decoder needs a keyframe on its input.
    KeyframeWanted {
        /// Which session.
        session: SessionId,
        /// The channel that it reads.
        channel: ChannelIndex,
        /// The wiring.
        epoch: u32,
        /// Why.
        reason: KeyframeReason,
    },
    /// Answer to `Params`.
    Applied {
        /// Which session.
        session: SessionId,
        /// From the request.
        request: u32,
        /// Why not, for a person.
        error: Option<String>,
    },
    /// A node failed on a frame; at most one a second and node.
    NodeError {
        /// Which session.
        session: SessionId,
        /// Which node.
        node: NodeId,
        /// What it said.
        error: String,
    },
    /// Every 100 ms.
    Heartbeat {
        /// Counts.
        sequence: u64,
        /// Each task's thread.
        threads: Vec<ThreadBeat>,
    },
    /// The session's ports are gone.
    Released {
        /// Which.
        session: SessionId,
    },
    /// All is finished; the process exits now.
    Drained,
    /// An attacher's wish, its first message behind the catalogue.
    Attach(Attach),
    /// An attacher leaves: its node is taken out at an epoch, then `Release` comes.
    Detach,
    /// An operator's wish, its only message.
    Operate(Operation),
    /// From a steward: these ports stood in the list of a service that was forgotten, so their processes died. Their memory is
    /// to be given back by whoever may list what there is.
    Residue {
        /// Which session.
        session: SessionId,
        /// Their numbers, decimal, as in the names of their objects.
        ports: Vec<String>,
    },
}
