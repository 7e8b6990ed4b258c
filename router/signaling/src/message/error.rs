//! Error codes of the contract, each with the data that belongs to it.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;

/// Characters that an error quotes of what a stranger sent (chosen): errors must not be a way to make us send megabytes.
const QUOTE: usize = 200;

/// The contract's codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum Code {
    /// Not JSON.
    Parse = -32700,
    /// Not JSON-RPC 2.0, or not now.
    InvalidRequest = -32600,
    /// No such method here.
    UnknownMethod = -32601,
    /// Parameters do not fit.
    InvalidParams = -32602,
    /// Our fault.
    Internal = -32603,
    /// No such recipient in this room.
    PeerNotFound = -32000,
    /// Somebody has this peer id.
    AlreadyRegistered = -32001,
    /// The offer cannot be taken.
    OfferInvalid = -32002,
    /// The answer cannot be taken, or comes too late.
    AnswerInvalid = -32003,
    /// The candidate cannot be taken.
    CandidateInvalid = -32004,
    /// The session has all the peers that it may have.
    SessionFull = -32005,
    /// The rate limit.
    TooMany = -32006,
    /// No right.
    NotAuthorized = -32007,
    /// No such session, or not the caller's.
    SessionNotFound = -32008,
    /// A limit of this router is reached.
    NoCapacity = -32009,
}

/// An error as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Error {
    /// One of [`Code`].
    pub code: i32,
    /// For a person.
    pub message: String,
    /// For a program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Value>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)
    }
}

impl std::error::Error for Error {}

impl Error {
    /// An error with data.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>, data: Value) -> Self {
        Self { code: code as i32, message: message.into(), data: Some(data) }
    }

    /// Whether it is of this code.
    #[must_use]
    pub fn is(&self, code: Code) -> bool {
        self.code == code as i32
    }

    /// -32700: where the JSON breaks.
    #[must_use]
    pub fn parse(error: &serde_json::Error) -> Self {
        Self::new(
            Code::Parse,
            format!("not valid JSON: {}", quote(&error.to_string())),
            json!({"line": error.line(), "column": error.column()}),
        )
    }

    /// -32600.
    #[must_use]
    pub fn invalid_request(what: &str) -> Self {
        Self::new(Code::InvalidRequest, quote(what), json!({"error": quote(what)}))
    }

    /// -32601: a method that nobody knows.
    #[must_use]
    pub fn unknown_method(method: &str) -> Self {
        let method = quote(method);
        let message = format!("there is no method {method:?}");
        Self::new(Code::UnknownMethod, message, json!({"method": method}))
    }

    /// -32601: a method, or a use of one, that the contract has and this version has not.
    #[must_use]
    pub fn not_supported(method: &str, what: &str) -> Self {
        Self::new(Code::UnknownMethod, what, json!({"method": method, "supported": false}))
    }

    /// -32602: what does not fit, and its JSON path (empty: the parameters themselves).
    #[must_use]
    pub fn invalid_params(path: &str, what: &str) -> Self {
        let (path, what) = (quote(path), quote(what));
        let message = if path.is_empty() { what.clone() } else { format!("{path}: {what}") };
        Self::new(Code::InvalidParams, message, json!({"errors": [{"path": path, "error": what}]}))
    }

    /// -32603.
    #[must_use]
    pub fn internal(what: &str) -> Self {
        Self::new(Code::Internal, what, json!({"error": what}))
    }

    /// -32000.
    #[must_use]
    pub fn peer_not_found(peer: &str) -> Self {
        let message = format!("no peer {:?} is in this room", quote(peer));
        Self::new(Code::PeerNotFound, message, json!({"peer_id": quote(peer)}))
    }

    /// -32001; the time in milliseconds since 1970.
    #[must_use]
    pub fn already_registered(peer: &str, registered_at: u64) -> Self {
        let message = format!(
            "the peer id {peer:?} is registered in this room; show its session_key to take it back"
        );
        Self::new(Code::AlreadyRegistered, message, json!({"registered_at": registered_at}))
    }

    /// -32002; the line counts from 1.
    #[must_use]
    pub fn offer_invalid(reason: &str, line: Option<usize>) -> Self {
        Self::sdp(Code::OfferInvalid, "offer", reason, line)
    }

    /// -32003; the line counts from 1.
    #[must_use]
    pub fn answer_invalid(reason: &str, line: Option<usize>) -> Self {
        Self::sdp(Code::AnswerInvalid, "answer", reason, line)
    }

    /// -32004.
    #[must_use]
    pub fn candidate_invalid(reason: &str) -> Self {
        let message = format!("invalid ICE candidate: {}", quote(reason));
        Self::new(Code::CandidateInvalid, message, json!({"reason": quote(reason)}))
    }

    /// -32005.
    #[must_use]
    pub fn session_full(max_peers: usize) -> Self {
        let message = format!("the session is full: it takes {max_peers} peers");
        Self::new(Code::SessionFull, message, json!({"max_peers": max_peers}))
    }

    /// -32006.
    #[must_use]
    pub fn too_many(what: &str, retry_after_ms: u64) -> Self {
        let message = format!("too many {what}; try again in {retry_after_ms} ms");
        Self::new(Code::TooMany, message, json!({"retry_after_ms": retry_after_ms}))
    }

    /// -32007.
    #[must_use]
    pub fn not_authorized(what: &str) -> Self {
        Self { code: Code::NotAuthorized as i32, message: quote(what), data: None }
    }

    /// -32008.
    #[must_use]
    pub fn session_not_found(session: &str) -> Self {
        let message = format!("there is no session {:?}", quote(session));
        Self::new(Code::SessionNotFound, message, json!({"session_id": quote(session)}))
    }

    /// -32009: which limit, its value, and how much of it is taken.
    #[must_use]
    pub fn no_capacity(what: &str, limit: u64, in_use: u64) -> Self {
        let message = format!("no capacity: {in_use} of {limit} {what} are in use");
        let data = json!({"what": what, "limit": limit, "in_use": in_use});
        Self::new(Code::NoCapacity, message, data)
    }

    fn sdp(code: Code, what: &str, reason: &str, line: Option<usize>) -> Self {
        let reason = quote(reason);
        let message = match line {
            Some(line) => format!("invalid {what}: line {line} of the SDP: {reason}"),
            None => format!("invalid {what}: {reason}"),
        };
        Self::new(code, message, json!({"reason": reason, "line": line}))
    }
}

fn quote(text: &str) -> String {
    if text.chars().nth(QUOTE).is_none() {
        text.to_owned()
    } else {
        text.chars().take(QUOTE).chain(std::iter::once('…')).collect()
    }
}
