//! The names of channels: `rm/<session>/in/<peer>/<track>/encoded` and its siblings, a stable contract.

use crate::ids::{IdFault, NodeId, OutputId, PeerId, PortId, SessionId, TierId, TrackId};
use crate::meta::Codec;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Raw frames or access units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    /// Access units as they came from, or go to, the network.
    Encoded,
    /// I420 pictures or interleaved f32 samples.
    Raw,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Encoded => "encoded",
            Self::Raw => "raw",
        })
    }
}

/// Where in a session's graph a channel lies.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// What a peer sends.
    In {
        /// Who sends it.
        peer: PeerId,
        /// Which of its tracks.
        track: TrackId,
        /// Before or after the decoder.
        form: Form,
    },
    /// Between two nodes in different processes; always raw.
    Node {
        /// The producing node.
        node: NodeId,
        /// Its port.
        port: PortId,
        /// Whose media, where the graph runs once a peer.
        peer: Option<PeerId>,
    },
    /// A result of the graph before its encoder, per session or made from one peer's media.
    OutRaw {
        /// Which result.
        output: OutputId,
        /// Whose media, where the graph runs once a peer.
        peer: Option<PeerId>,
    },
    /// A result of the graph as one tier and codec.
    OutEncoded {
        /// Which result.
        output: OutputId,
        /// Whose media, where the graph runs once a peer.
        peer: Option<PeerId>,
        /// Which size and rate.
        tier: TierId,
        /// Which codec.
        codec: Codec,
    },
}

/// A channel's full name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ChannelName {
    /// The session that it ends with.
    pub session: SessionId,
    /// Its place in there.
    pub place: Place,
}

/// Why a text is not a channel's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameFault {
    /// One of its ids is not valid.
    #[error(transparent)]
    Id(#[from] IdFault),
    /// It has none of the four shapes.
    #[error(
        "channel name {0:?} is not one of rm/<session>/in/<peer>/<track>/encoded|raw, \
         rm/<session>/node/<node>.<port>[@<peer>]/raw, rm/<session>/out/<output>[@<peer>]/raw, \
         rm/<session>/out/<output>[@<peer>]/<tier>.<codec>/encoded"
    )]
    Shape(String),
}

impl fmt::Display for ChannelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rm/{}/", self.session)?;
        let at = |peer: &Option<PeerId>| peer.as_ref().map_or(String::new(), |p| format!("@{p}"));
        match &self.place {
            Place::In { peer, track, form } => write!(f, "in/{peer}/{track}/{form}"),
            Place::Node { node, port, peer } => write!(f, "node/{node}.{port}{}/raw", at(peer)),
            Place::OutRaw { output, peer } => write!(f, "out/{output}{}/raw", at(peer)),
            Place::OutEncoded { output, peer, tier, codec } => {
                write!(f, "out/{output}{}/{tier}.{codec}/encoded", at(peer))
            }
        }
    }
}

impl FromStr for ChannelName {
    type Err = NameFault;

    fn from_str(text: &str) -> Result<Self, NameFault> {
        let shape = || NameFault::Shape(text.chars().take(80).collect());
        let parts: Vec<&str> = text.splitn(8, '/').collect();
        let [root, session, rest @ ..] = parts.as_slice() else {
            return Err(shape());
        };
        if *root != "rm" {
            return Err(shape());
        }
        let output = |name: &str| -> Result<(OutputId, Option<PeerId>), NameFault> {
            Ok(match name.split_once('@') {
                Some((output, peer)) => (output.parse()?, Some(peer.parse()?)),
                None => (name.parse()?, None),
            })
        };
        let place = match rest {
            ["in", peer, track, form @ ("encoded" | "raw")] => Place::In {
                peer: peer.parse()?,
                track: track.parse()?,
                form: if *form == "raw" { Form::Raw } else { Form::Encoded },
            },
            ["node", port, "raw"] => {
                let (node, port) = port.split_once('.').ok_or_else(shape)?;
                let (port, peer) = match port.split_once('@') {
                    Some((port, peer)) => (port, Some(peer.parse()?)),
                    None => (port, None),
                };
                Place::Node { node: node.parse()?, port: port.parse()?, peer }
            }
            ["out", name, "raw"] => {
                let (output, peer) = output(name)?;
                Place::OutRaw { output, peer }
            }
            ["out", name, variant, "encoded"] => {
                let (output, peer) = output(name)?;
                let (tier, codec) = variant.split_once('.').ok_or_else(shape)?;
                Place::OutEncoded {
                    output,
                    peer,
                    tier: tier.parse()?,
                    codec: codec.parse().map_err(|_| shape())?,
                }
            }
            _ => return Err(shape()),
        };
        Ok(Self { session: session.parse()?, place })
    }
}

impl TryFrom<String> for ChannelName {
    type Error = NameFault;
    fn try_from(text: String) -> Result<Self, NameFault> {
        text.parse()
    }
}

impl From<ChannelName> for String {
    fn from(name: ChannelName) -> String {
        name.to_string()
    }
}
