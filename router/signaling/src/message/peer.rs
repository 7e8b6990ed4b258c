//! Parameters and results of `peer.*`.

use remotemedia_shm_schema::{PeerId, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fmt;

/// Bytes of a `request_id` (chosen: a UUID has 36): it is kept with every offer and echoed.
const MAX_REQUEST_ID: usize = 128;

/// Why a small value is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WireFault(&'static str);

macro_rules! text {
    ($(#[$doc:meta])* $name:ident, $check:expr, $rule:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Checks the text.
            ///
            /// # Errors
            /// Says what was expected.
            pub fn new(text: impl Into<String>) -> Result<Self, WireFault> {
                let text = text.into();
                let check: fn(&str) -> bool = $check;
                if check(&text) { Ok(Self(text)) } else { Err(WireFault($rule)) }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = WireFault;
            fn try_from(text: String) -> Result<Self, WireFault> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text!(
    /// Names one offer with its answer and candidates.
    RequestId,
    |t| (1..=MAX_REQUEST_ID).contains(&t.len()) && !t.chars().any(char::is_control),
    "a request_id has 1 to 128 bytes and no control characters"
);
text!(
    /// One of a peer's devices.
    DeviceId,
    |t| PeerId::new(t).is_ok(),
    "a device_id has 1 to 64 of the letters A-Z a-z, digits, `_` and `-`"
);

/// What a peer can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
    /// Data channels.
    Data,
}

/// A STUN or TURN server for a peer to use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    /// `stun:` and `turn:` URLs.
    pub urls: Vec<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// For TURN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

/// `peer.announce`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announce {
    /// Who.
    pub peer_id: PeerId,
    /// One to three.
    pub capabilities: Vec<Capability>,
    /// Told to the room as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<Value>,
    /// The room; none is the room `default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Which of the peer's devices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_id: Option<DeviceId>,
    /// A role to take.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Proof of rights.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Takes a registration back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_key: Option<String>,
}

/// One device of a peer, as the room sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerInfo {
    /// Who.
    pub peer_id: PeerId,
    /// What it can do.
    pub capabilities: Vec<Capability>,
    /// What it said of itself.
    pub user_data: Option<Value>,
    /// Which of its devices.
    pub device_id: Option<DeviceId>,
}

/// Answer to `peer.announce`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnnounceResult {
    /// `registered`.
    pub status: String,
    /// Milliseconds since 1970.
    pub server_time: u64,
    /// Who.
    pub peer_id: PeerId,
    /// The room; `default` for that one.
    pub session_id: SessionId,
    /// Takes this registration back after the socket dropped.
    pub session_key: String,
    /// What to gather candidates with.
    pub ice_servers: Vec<IceServer>,
    /// Who else is there.
    pub peers: Vec<PeerInfo>,
}

/// Notification `peer.announced`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Announced {
    /// Who, and what it can do.
    #[serde(flatten)]
    pub peer: PeerInfo,
    /// Milliseconds since 1970.
    pub announced_at: u64,
}

/// Answer to `peer.list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PeerList {
    /// The others of the room.
    pub peers: Vec<PeerInfo>,
}

/// `peer.offer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offer {
    /// The sender; filled in by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PeerId>,
    /// The sender's device; filled in by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_device: Option<DeviceId>,
    /// Whom; left out in what the recipient gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PeerId>,
    /// Which of its devices; none rings all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_device: Option<DeviceId>,
    /// The description.
    pub sdp: String,
    /// Whether candidates follow.
    #[serde(default = "yes")]
    pub can_trickle_ice_candidates: bool,
    /// Names the exchange.
    pub request_id: RequestId,
}

/// `peer.answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The sender; filled in by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PeerId>,
    /// Whom; left out in what the recipient gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PeerId>,
    /// The description.
    pub sdp: String,
    /// Whether candidates follow.
    #[serde(default = "yes")]
    pub can_trickle_ice_candidates: bool,
    /// The offer's.
    pub request_id: RequestId,
}

fn yes() -> bool {
    true
}

/// `peer.ice_candidate`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CandidateMessage {
    /// The sender; filled in by the hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PeerId>,
    /// Whom; left out in what the recipient gets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<PeerId>,
    /// The raw string; empty is the end of candidates.
    pub candidate: String,
    /// Which section, by its identifier.
    #[serde(default)]
    pub sdp_mid: Option<String>,
    /// Which section, by its number.
    #[serde(default)]
    pub sdp_m_line_index: Option<u16>,
    /// Of which ICE generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_fragment: Option<String>,
    /// The offer's.
    pub request_id: RequestId,
}

/// `peer.reject`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reject {
    /// The offerer.
    pub to: PeerId,
    /// The offer's.
    pub request_id: RequestId,
    /// Why, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Notification `peer.rejected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejected {
    /// Who declined.
    pub from: PeerId,
    /// The offer's.
    pub request_id: RequestId,
    /// Why, for a person.
    pub reason: Option<String>,
}

/// `peer.cancel`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancel {
    /// The recipient.
    pub to: PeerId,
    /// The offer's.
    pub request_id: RequestId,
}

/// Why a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Somebody hung up.
    UserRequested,
    /// The path broke.
    NetworkError,
    /// Nothing came in time.
    Timeout,
    /// Something failed.
    Error,
    /// Nobody knows.
    Unknown,
    /// Another device of the peer took it.
    AnsweredElsewhere,
}

/// `peer.disconnect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnect {
    /// The sender, if named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<PeerId>,
    /// Whom.
    pub to: PeerId,
    /// Why.
    pub reason: Reason,
    /// More, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// Which exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

/// Notification `peer.disconnected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disconnected {
    /// Who hung up.
    pub from: PeerId,
    /// Why.
    pub reason: Reason,
    /// More, for a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<String>,
    /// Which exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
}

/// Notification `peer.left`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Left {
    /// Who.
    pub peer_id: PeerId,
    /// Why.
    pub reason: Reason,
}

/// Notification `peer.timeout`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeout {
    /// Who did not answer.
    pub to: PeerId,
    /// The offer's.
    pub request_id: RequestId,
}

/// `peer.state_changed`: the browser's own names, kept for statistics.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct StateChanged {
    /// `RTCPeerConnection.connectionState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_state: Option<String>,
    /// `iceConnectionState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ice_connection_state: Option<String>,
    /// `iceGatheringState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ice_gathering_state: Option<String>,
    /// `signalingState`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signaling_state: Option<String>,
    /// Which exchange.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<RequestId>,
    /// The peer's own clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<Value>,
}

/// What became of an offer or an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ForwardStatus {
    /// The recipient has it.
    Forwarded,
    /// It waits for the recipient.
    Queued,
}

/// Answer to `peer.offer` and `peer.answer`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Forwarded {
    /// What became of it.
    pub status: ForwardStatus,
    /// The offer's.
    pub request_id: RequestId,
}
