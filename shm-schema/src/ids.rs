//! Names as checked types: a session, a peer, a track, a node, an output, a tier, a channel's index.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr, sync::Arc};

/// Why a name is not one of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {value:?} is not valid: {rule}")]
pub struct IdFault {
    what: &'static str,
    value: String,
    rule: &'static str,
}

const LONG: &str = "1 to 64 of the letters A-Z a-z, digits, `_` and `-`";
const SHORT: &str = "1 to 32 of the letters a-z, digits, `_` and `-`, and not `input` or `output`";
const TRACK: &str =
    "`audio` or `video` with a number from 0 to 99, and for a layer `~` and its rid";

fn long(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

fn short(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-')
        && text != "input"
        && text != "output"
}

fn track(text: &str) -> bool {
    let (base, rid) = match text.split_once('~') {
        Some((base, rid)) => (base, Some(rid)),
        None => (text, None),
    };
    let number = base.strip_prefix("audio").or_else(|| base.strip_prefix("video"));
    number.is_some_and(|n| (1..=2).contains(&n.len()) && n.bytes().all(|b| b.is_ascii_digit()))
        && rid.is_none_or(|rid| {
            (1..=16).contains(&rid.len()) && rid.bytes().all(|b| b.is_ascii_alphanumeric())
        })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:ident, $rule:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>); // cloned for each frame of each viewer

        impl $name {
            /// Checks the text against the contract's grammar.
            ///
            /// # Errors
            /// Says what was expected.
            pub fn new(text: impl Into<String>) -> Result<Self, IdFault> {
                let value = text.into();
                if $check(&value) {
                    Ok(Self(value.into()))
                } else {
                    // A stranger's name may be long: an error quotes its beginning only.
                    Err(IdFault { what: $what, value: value.chars().take(80).collect(), rule: $rule })
                }
            }

            /// The text itself.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = IdFault;
            fn from_str(text: &str) -> Result<Self, IdFault> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdFault;
            fn try_from(text: String) -> Result<Self, IdFault> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.as_str().to_owned()
            }
        }
    };
}

id!(
    /// A session: a running media graph with its processes and its namespace.
    SessionId, "session id", long, LONG
);
id!(
    /// A peer of a room.
    PeerId, "peer id", long, LONG
);
id!(
    /// A node of a pipeline.
    NodeId, "node id", short, SHORT
);
id!(
    /// A port of a node.
    PortId, "port id", short, SHORT
);
id!(
    /// A named result of the graph; one that carries sound and picture is two: `main-audio`, `main-video`.
    OutputId, "output id", short, SHORT
);
id!(
    /// A size and rate of an output.
    TierId, "tier id", short, SHORT
);
id!(
    /// One incoming track: `audio0`, `video0`, `video0~<rid>`.
    TrackId, "track id", track, TRACK
);

/// A channel's place in its session; also the id of the events that tell of its frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChannelIndex(pub u32);

impl fmt::Display for ChannelIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}
