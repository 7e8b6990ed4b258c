//! The signaling contract: its messages, and the hub as a pure state machine.
//!
//! [`message`] holds the JSON-RPC types that both ends speak. [`hub`] decides who is in which room, what may be said to
//! whom and when it is too much, too late or too long; it is told of bytes and of the time and answers with actions.
//! [`host`] tells a page from elsewhere from one of ours, [`sdp`] refuses descriptions that would not be encrypted.
//! Nothing here opens a socket, reads a clock or draws a random number.

pub mod host;
pub mod hub;
pub mod message;
pub mod sdp;

pub use hub::{Act, Action, ConnId, FromRouter, Hub, Input, Limits, Room, ToRouter, Token};
pub use message::{Error, ROUTER};
