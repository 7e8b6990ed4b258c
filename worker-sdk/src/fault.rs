//! What can go wrong with a namespace, a port or a frame.

use remotemedia_shm_schema::HeaderFault;
use std::path::PathBuf;

/// Why a namespace or a port cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A description that the router sent, or was given, cannot be right.
    #[error("{what} {value:?} is not valid: {rule}")]
    Invalid {
        /// Of which thing.
        what: &'static str,
        /// What it said, shortened.
        value: String,
        /// What is allowed.
        rule: String,
    },
    /// A folder or file of the namespace.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// iceoryx2 refused.
    #[error("cannot {what} `{name}`: {reason}")]
    Port {
        /// What was tried.
        what: &'static str,
        /// The service.
        name: String,
        /// What iceoryx2 said.
        reason: String,
    },
    /// The port's shared memory was damaged by another process; the port is not used again.
    #[error(
        "the shared memory of `{0}` is damaged: another process of the session wrote what it must not"
    )]
    Damaged(String),
}

impl Fault {
    pub(crate) fn invalid(what: &'static str, value: &str, rule: impl Into<String>) -> Self {
        Self::Invalid { what, value: value.chars().take(80).collect(), rule: rule.into() }
    }

    pub(crate) fn port(what: &'static str, name: &str, reason: impl std::fmt::Debug) -> Self {
        Self::Port { what, name: name.to_owned(), reason: format!("{reason:?}") }
    }
}

/// Why a frame was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendFault {
    /// It is larger than the channel's segments; counted as `too_large`.
    #[error("a frame of {len} bytes; channel `{channel}` takes {max}")]
    TooLarge {
        /// Its size.
        len: usize,
        /// What the channel takes.
        max: usize,
        /// Which channel.
        channel: String,
    },
    /// Its description contradicts its payload: every reader would drop it.
    #[error("a frame that no reader would take: {0}")]
    Header(#[from] HeaderFault),
    /// No memory is free: readers hold more than they may.
    #[error("no free memory in channel `{channel}`: {reason}")]
    Exhausted {
        /// Which channel.
        channel: String,
        /// What iceoryx2 said.
        reason: String,
    },
    /// iceoryx2 could not deliver it to everyone.
    #[error("channel `{channel}`: {reason}")]
    Undelivered {
        /// Which channel.
        channel: String,
        /// What iceoryx2 said.
        reason: String,
    },
    /// The task makes no frames.
    #[error("this task has no output")]
    Nowhere,
    /// The port's shared memory was damaged by another process.
    #[error("the shared memory of `{0}` is damaged")]
    Damaged(String),
}
