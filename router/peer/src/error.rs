//! What can go wrong, one variant for each thing that a caller would do differently.

use webrtc::error::Error as StackError;

/// Why a call on a connection failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// The other side's description is not acceptable; nothing was changed by it.
    #[error("{reason}{}", at_line(.line))]
    Sdp {
        /// What is wrong with it.
        reason: String,
        /// Where, counted from 1; `None` when it is about the whole.
        line: Option<usize>,
    },
    /// An ICE candidate is not acceptable.
    #[error("candidate refused: {0}")]
    Candidate(String),
    /// The call does not fit the state of the negotiation, such as an answer without an offer.
    #[error("{0}")]
    State(String),
    /// A bound was reached.
    #[error("no more than {limit} {what}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// No such sender, receiver or data channel on this connection.
    #[error("there is no {0} on this connection")]
    Unknown(String),
    /// The sender's media line is not negotiated yet.
    #[error("not negotiated yet")]
    NotNegotiated,
    /// There is no secured path to the peer now; what was to be sent is not sent.
    #[error("not connected")]
    NotConnected,
    /// The connection was closed.
    #[error("the connection is closed")]
    Closed,
    /// The WebRTC stack refused.
    #[error("webrtc: {0}")]
    Stack(String),
}

fn at_line(line: &Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" (line {line})"))
}

impl PeerError {
    pub(crate) fn sdp(reason: impl Into<String>, line: impl Into<Option<usize>>) -> Self {
        Self::Sdp { reason: reason.into(), line: line.into() }
    }
}

impl From<StackError> for PeerError {
    fn from(error: StackError) -> Self {
        match error {
            StackError::ErrConnectionClosed => Self::Closed,
            other => Self::Stack(other.to_string()),
        }
    }
}
