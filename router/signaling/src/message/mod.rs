//! What is said on the wire: JSON-RPC 2.0 envelopes, error codes, and the parameters of every method.
//!
//! Both ends use these types. Unknown members of an object are left unread, so that a newer client is understood.

mod envelope;
mod error;
mod peer;
mod session;

pub use envelope::{Fault, Id, Message, Parsed, call, parse, reply, request};
pub use error::{Code, Error};
pub use peer::{
    Announce, AnnounceResult, Announced, Answer, Cancel, CandidateMessage, Capability, DeviceId,
    Disconnect, Disconnected, ForwardStatus, Forwarded, IceServer, Left, Offer, PeerInfo, PeerList,
    Reason, Reject, Rejected, RequestId, StateChanged, Timeout, WireFault,
};
pub use session::{
    Control, SessionCreate, SessionCreated, SessionReconfigure, SessionRef, SessionRestart,
    SessionUpdate, SubscriptionSet,
};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// The reserved id of the router's own media endpoint, a peer of every room.
pub const ROUTER: &str = "router";
/// The name of the room of peers that name none.
pub const DEFAULT_ROOM: &str = "default";
/// Bytes of one message; a larger one closes the socket (SIGNALING.md).
pub const MAX_MESSAGE: usize = 1024 * 1024;
/// Bytes of one session description (SIGNALING.md).
pub const MAX_SDP: usize = 64 * 1024;
/// Bytes of `user_data`, written compactly (SIGNALING.md).
pub const MAX_USER_DATA: usize = 1024;

/// Names of the methods.
pub mod method {
    /// Joins a room.
    pub const ANNOUNCE: &str = "peer.announce";
    /// To the room: someone joined.
    pub const ANNOUNCED: &str = "peer.announced";
    /// Who is in the room.
    pub const LIST: &str = "peer.list";
    /// A session description to answer.
    pub const OFFER: &str = "peer.offer";
    /// The answer to an offer.
    pub const ANSWER: &str = "peer.answer";
    /// One trickled candidate.
    pub const CANDIDATE: &str = "peer.ice_candidate";
    /// Declines an offer.
    pub const REJECT: &str = "peer.reject";
    /// To the offerer: it was declined.
    pub const REJECTED: &str = "peer.rejected";
    /// Takes an offer back.
    pub const CANCEL: &str = "peer.cancel";
    /// To the recipient: it was taken back.
    pub const CANCELLED: &str = "peer.cancelled";
    /// Connection states, for statistics.
    pub const STATE_CHANGED: &str = "peer.state_changed";
    /// Hangs up.
    pub const DISCONNECT: &str = "peer.disconnect";
    /// To the other: it was hung up.
    pub const DISCONNECTED: &str = "peer.disconnected";
    /// To the room: a registration ended.
    pub const LEFT: &str = "peer.left";
    /// To the offerer: nobody answered in time.
    pub const TIMEOUT: &str = "peer.timeout";
    /// What a peer takes part with in a mix.
    pub const PEER_SET: &str = "peer.set";
    /// Starts a session.
    pub const SESSION_CREATE: &str = "session.create";
    /// The sessions that the caller may see.
    pub const SESSION_LIST: &str = "session.list";
    /// One session in full.
    pub const SESSION_DESCRIBE: &str = "session.describe";
    /// Ends a session.
    pub const SESSION_CLOSE: &str = "session.close";
    /// Gives a session another graph.
    pub const SESSION_UPDATE: &str = "session.update";
    /// Gives a node other parameters.
    pub const SESSION_RECONFIGURE: &str = "session.reconfigure";
    /// Restarts a node.
    pub const SESSION_RESTART: &str = "session.restart";
    /// What a peer wants to receive.
    pub const SUBSCRIPTION_SET: &str = "subscription.set";
    /// Methods of the contract that this version refuses.
    pub const NOT_YET: [&str; 3] = [REJECT, CANCEL, PEER_SET];
}

/// Parameters as the type that a method takes.
///
/// # Errors
/// -32602 with the JSON path of what does not fit.
pub fn params<T: DeserializeOwned>(params: Value) -> Result<T, Error> {
    // A call without parameters is one with an empty object: what is missing is then named.
    let params = if params.is_null() { Value::Object(serde_json::Map::new()) } else { params };
    serde_path_to_error::deserialize(params).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { String::new() } else { format!("/{}", path.replace('.', "/")) };
        Error::invalid_params(&path, &error.inner().to_string())
    })
}
