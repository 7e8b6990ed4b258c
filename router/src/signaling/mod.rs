//! The edge of the signaling hub: one task owns the state machine, every socket has a reader and a writer.
//!
//! What a socket says goes through a bounded queue to the hub, which takes it in turn, so that a peer that talks much
//! waits for itself. What the hub says to a socket goes into a queue of [`UNREAD`] messages; when that is full the
//! socket is closed with 1013. Between hub and router two bounded queues: towards the router a full one makes the
//! sockets wait, but never what the router says, so the two cannot block each other; towards the hub a full one drops
//! with a warning, which means that the router's own code ran wild.

mod hub;
mod socket;

pub use hub::{HubHandle, Seat, Settings, spawn};
pub use socket::{MAX_FRAME, serve};

/// Messages that may wait for a slow client (SIGNALING.md); one more closes its socket with 1013.
pub const UNREAD: usize = 256;
