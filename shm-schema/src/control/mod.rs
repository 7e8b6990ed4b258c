//! What the router and its workers say to each other over their Unix socket.
//!
//! The connection opens with a [`Hello`] from the worker, of a layout that every version can read; the router answers
//! with one of its own, or closes. Then both send length-delimited messages of at most [`MAX_MESSAGE`] bytes
//! ([`Frames`] takes them apart): bincode between our own processes, the same types as JSON for those that attach.

mod frames;
mod hello;
mod message;

pub use frames::{Encoding, FrameFault, Frames, MAX_MESSAGE, encode};
pub use hello::{HELLO_LEN, Hello, HelloFault, MAX_HELLO_BODY, PROTOCOL_VERSION, Role};
pub use message::{
    Attach, AudioEncode, Catalogue, Change, ChannelSpec, Counters, GraphNode, KeyframeReason,
    Namespace, NodeDescription, OnFailure, Operation, Sandbox, Task, TaskId, TaskKind, ThreadBeat,
    ToRouter, ToWorker, VideoEncode,
};
