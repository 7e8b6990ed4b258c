//! WebRTC connections: the only place that names the webrtc crate.
//!
//! A [`Connection`] is one peer. Its owner negotiates with text that it gets from signaling, sends packets through a
//! [`Sender`], and reads [`Event`]s from one bounded channel.
//!
//! The way of a packet in: socket → the stack (ICE, DTLS, SRTP) → [`chain`] → [`inbound`] → the owner's channel, dropped
//! and counted when that is full. The way out: [`Sender::send`] → the stack's queue of 256, waiting when it is full →
//! [`chain`] backwards → SRTP → socket. Everything else that happens goes through [`outbox`].
//!
//! What the stack gets wrong is worked around where it happens: leniently matched codecs and fatal descriptions in
//! [`sdp`], sleep while there is something to send in [`socket`], repairs that are asked for again and again in [`chain`], lost ends of tracks and arrival times there too, sender
//! reports there too, a stack that lives on without its owner in [`connection`].
#![forbid(unsafe_code)]

mod chain;
mod clock;
mod codecs;
mod connection;
mod data;
mod error;
mod event;
mod goodbye;
mod handler;
mod inbound;
mod negotiation;
mod outbound;
mod outbox;
mod sdp;
mod sender;
mod settings;
mod socket;
mod tasks;

pub use connection::{Connection, Statistics};
pub use error::PeerError;
pub use event::{Candidate, DataId, Event, Kind, PacketFate, ReceiverId, SenderId, State};
pub use sdp::{MAX_SDP, check_sdp};
pub use sender::{Negotiated, OutPacket, Sender, SenderSpec};
pub use settings::{IceServer, MAX_MESSAGE, Role, Settings};
