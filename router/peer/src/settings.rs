//! What a connection is made with.

use remotemedia_shm_schema::Codec;
use std::net::SocketAddr;
use std::time::Duration;

/// Bytes of a data channel message, in either direction; a larger one is refused by the sender's side
/// (`a=max-message-size`), or ends the channel (from the project's signaling contract).
pub const MAX_MESSAGE: usize = 16 * 1024;

/// A STUN or TURN server.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`.
    pub urls: Vec<String>,
    /// Only for TURN.
    pub username: String,
    /// Only for TURN.
    pub credential: String,
}

impl std::fmt::Debug for IceServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceServer").field("urls", &self.urls).finish_non_exhaustive()
    }
}

/// Which side begins the first negotiation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Role {
    /// The router: it answers, and is the DTLS server, which saves a retransmission timeout at the start.
    #[default]
    Answerer,
    /// A native peer: it offers.
    Offerer,
}

/// A connection's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Local UDP addresses, one socket each; port 0 picks one. `0.0.0.0` stands for every interface but loopback.
    pub bind: Vec<SocketAddr>,
    /// Those to ask; none other is ever asked.
    pub ice_servers: Vec<IceServer>,
    /// Whether `.local` candidates are resolved, which opens a multicast socket.
    pub mdns: bool,
    /// What is offered, in this order, or accepted, in the offer's order.
    pub codecs: Vec<Codec>,
    /// Which side begins.
    pub role: Role,
    /// Tracks of each kind that are received; what a peer sends beyond them is answered and not received.
    pub tracks: usize,
    /// Whether each packet's fate, as the peer's transport-wide feedback tells it, is handed out as
    /// [`Event::Transport`](crate::Event::Transport).
    pub transport_feedback: bool,
    /// Without any packet of the peer's for this long the state is `Disconnected`.
    pub disconnected_after: Duration,
    /// And for this much longer, `Failed`.
    pub failed_after: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bind: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
            ice_servers: Vec::new(),
            mdns: false,
            codecs: vec![Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Opus],
            role: Role::Answerer,
            tracks: 1,
            transport_feedback: false,
            disconnected_after: Duration::from_secs(5),
            failed_after: Duration::from_secs(25),
        }
    }
}
