//! One media section: what it is, which way it goes, which of its codecs are ours, and whose packets belong to it.

use super::Transport;
use super::lines::Line;
use crate::PeerError;
use crate::codecs::{Accepted, Offered};
use crate::event::Kind;
use remotemedia_shm_schema::Codec;

/// Payload types, header extensions or SSRC lines of a section that are looked at; Chrome has about 50 payload types.
const MAX_ENTRIES: usize = 160;
/// Bytes of an id of a stream or track; browsers use 36.
const MAX_NAME: usize = 128;

/// What a section carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Audio,
    Video,
    Data,
}

impl What {
    pub(crate) fn kind(self) -> Option<Kind> {
        match self {
            Self::Audio => Some(Kind::Audio),
            Self::Video => Some(Kind::Video),
            Self::Data => None,
        }
    }
}

/// Which way, as the side says that wrote the description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    SendRecv,
    SendOnly,
    RecvOnly,
    Inactive,
}

impl Direction {
    pub(crate) fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    pub(crate) fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    pub(crate) fn without_sending(self) -> Self {
        if self.receives() { Self::RecvOnly } else { Self::Inactive }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }
}

/// A checked media section.
#[derive(Debug, Clone)]
pub(crate) struct Section {
    pub(crate) line: usize,
    pub(crate) what: What,
    pub(crate) mid: String,
    pub(crate) direction: Direction,
    /// Its port is 0: it carries nothing.
    pub(crate) rejected: bool,
    /// The peer would send, but another section of this kind is taken already.
    pub(crate) surplus: bool,
    /// Codecs of ours among the section's, in its order.
    pub(crate) accepted: Vec<Accepted>,
    /// Header extensions that we know: id and URI.
    pub(crate) extensions: Vec<(u8, &'static str)>,
    pub(crate) ssrc: Option<u32>,
    pub(crate) rtx_ssrc: Option<u32>,
    /// The first simulcast layer, when there are layers.
    pub(crate) rid: Option<String>,
    pub(crate) stream: String,
    pub(crate) track: String,
}

/// A section while it is read.
#[derive(Debug)]
pub(super) struct Raw<'a> {
    pub(super) number: usize,
    pub(super) transport: Transport<'a>,
    what: What,
    port: u16,
    bundle_only: bool,
    payload_types: Vec<u8>,
    mid: Option<Line<'a>>,
    direction: Option<Direction>,
    mux: bool,
    offered: Vec<Offered<'a>>,
    extensions: Vec<(u8, &'static str)>,
    ssrcs: Vec<u32>,
    repairs: Vec<(u32, u32)>,
    msid: Option<(&'a str, &'a str)>,
    rids: Vec<&'a str>,
    entries: usize,
}

/// Header extensions that we use.
const EXTENSIONS: [&str; 3] = [
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "urn:ietf:params:rtp-hdrext:sdes:mid",
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
];

fn token(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]".contains(&b))
}

fn name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl<'a> Raw<'a> {
    pub(super) fn new(line: Line<'a>) -> Result<Self, PeerError> {
        let fault = |reason: String| PeerError::sdp(reason, line.number);
        let mut words = line.value.split_ascii_whitespace();
        let (Some(media), Some(port), Some(profile)) = (words.next(), words.next(), words.next())
        else {
            return Err(fault("m= needs a kind, a port and a profile".into()));
        };
        let what = match media {
            "audio" => What::Audio,
            "video" => What::Video,
            "application" => What::Data,
            other => {
                let other: String = other.chars().take(20).collect();
                return Err(fault(format!("media of kind {other:?} is not supported")));
            }
        };
        let needed = if what == What::Data { "UDP/DTLS/SCTP" } else { "UDP/TLS/RTP/SAVPF" };
        if profile != needed {
            let profile: String = profile.chars().take(30).collect();
            return Err(fault(format!("the profile must be {needed}, not {profile:?}")));
        }
        let Ok(port) = port.parse::<u16>() else {
            return Err(fault("the port is not a number".into()));
        };
        let mut payload_types = Vec::new();
        if what == What::Data {
            if words.next() != Some("webrtc-datachannel") {
                return Err(fault("only webrtc-datachannel is supported over SCTP".into()));
            }
        } else {
            for word in words.take(MAX_ENTRIES) {
                match word.parse::<u8>() {
                    Ok(payload_type @ 0..=127) => payload_types.push(payload_type),
                    _ => return Err(fault("a payload type is not in 0..=127".into())),
                }
            }
        }
        Ok(Self {
            number: line.number,
            transport: Transport::default(),
            what,
            port,
            bundle_only: false,
            payload_types,
            mid: None,
            direction: None,
            mux: false,
            offered: Vec::new(),
            extensions: Vec::new(),
            ssrcs: Vec::new(),
            repairs: Vec::new(),
            msid: None,
            rids: Vec::new(),
            entries: 0,
        })
    }

    pub(super) fn rejected(&self) -> bool {
        self.port == 0 && !self.bundle_only
    }

    pub(super) fn take(&mut self, attribute: &str, line: Line<'a>) -> Result<(), PeerError> {
        if matches!(
            attribute,
            "rtpmap" | "fmtp" | "rtcp-fb" | "ssrc" | "ssrc-group" | "extmap" | "rid"
        ) {
            self.entries += 1;
            if self.entries > 8 * MAX_ENTRIES {
                return Err(PeerError::sdp(
                    "too many attributes in one media section",
                    line.number,
                ));
            }
        }
        let value = line.value;
        match attribute {
            "mid" => self.mid = Some(line),
            "sendrecv" => self.direction = Some(Direction::SendRecv),
            "sendonly" => self.direction = Some(Direction::SendOnly),
            "recvonly" => self.direction = Some(Direction::RecvOnly),
            "inactive" => self.direction = Some(Direction::Inactive),
            "bundle-only" => self.bundle_only = true,
            "rtcp-mux" => self.mux = true,
            "rtpmap" | "fmtp" | "rtcp-fb" => {
                let Some((payload_type, rest)) = value.split_once(' ') else { return Ok(()) };
                if payload_type == "*" && attribute == "rtcp-fb" {
                    for offered in &mut self.offered {
                        offered.feedback(rest);
                    }
                } else if let Ok(payload_type) = payload_type.parse::<u8>()
                    && self.payload_types.contains(&payload_type)
                {
                    let index = self.offered.iter().position(|o| o.payload_type == payload_type);
                    let index = index.unwrap_or_else(|| {
                        self.offered.push(Offered::new(payload_type));
                        self.offered.len() - 1
                    });
                    if let Some(offered) = self.offered.get_mut(index) {
                        match attribute {
                            "rtpmap" => offered.map = rest,
                            "fmtp" => offered.fmtp = rest,
                            _ => offered.feedback(rest),
                        }
                    }
                }
            }
            "extmap" => {
                let mut words = value.split_ascii_whitespace();
                let (Some(id), Some(uri)) = (words.next(), words.next()) else { return Ok(()) };
                let id = id.split('/').next().and_then(|id| id.parse::<u8>().ok());
                if let (Some(id @ 1..=14), Some(known)) =
                    (id, EXTENSIONS.iter().find(|known| **known == uri))
                    && !self.extensions.iter().any(|(taken, had)| *taken == id || had == known)
                {
                    self.extensions.push((id, known));
                }
            }
            "ssrc" => {
                let mut words = value.splitn(2, ' ');
                let Some(Ok(ssrc)) = words.next().map(str::parse::<u32>) else {
                    return Err(PeerError::sdp("a=ssrc without a number", line.number));
                };
                if !self.ssrcs.contains(&ssrc) && self.ssrcs.len() < MAX_ENTRIES {
                    self.ssrcs.push(ssrc);
                }
                if let Some(msid) = words.next().and_then(|rest| rest.strip_prefix("msid:"))
                    && self.msid.is_none()
                {
                    self.msid = msid.split_once(' ');
                }
            }
            "ssrc-group" => {
                let mut words = value.split_ascii_whitespace();
                if words.next() == Some("FID")
                    && let (Some(Ok(main)), Some(Ok(repair))) =
                        (words.next().map(str::parse), words.next().map(str::parse))
                {
                    self.repairs.push((main, repair));
                }
            }
            "msid" => {
                let (stream, track) = value.split_once(' ').unwrap_or((value, ""));
                self.msid = Some((stream, track));
            }
            "rid" => {
                let mut words = value.split_ascii_whitespace();
                if let (Some(rid), Some("send")) = (words.next(), words.next())
                    && rid.len() <= 16
                    && rid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                {
                    self.rids.push(rid);
                }
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn finish(self, codecs: &[Codec]) -> Result<Section, PeerError> {
        let Some(mid) = self.mid.filter(|mid| token(mid.value, 64)) else {
            return Err(PeerError::sdp("the media section has no valid a=mid", self.number));
        };
        let rejected = self.rejected();
        if self.what != What::Data && !rejected && !self.mux {
            return Err(PeerError::sdp("the media section has no a=rtcp-mux", self.number));
        }
        let kind = self.what.kind();
        let mine = codecs.iter().copied().filter(|codec| Some(Kind::of(*codec)) == kind);
        let mine: Vec<Codec> = mine.collect();
        let accepted = Accepted::choose(&self.payload_types, &self.offered, &mine);
        let repairing = |ssrc: u32| self.repairs.iter().any(|(_, repair)| *repair == ssrc);
        let ssrc = self.ssrcs.iter().copied().find(|ssrc| !repairing(*ssrc));
        let rtx_ssrc =
            self.repairs.iter().find(|(main, _)| Some(*main) == ssrc).map(|(_, repair)| *repair);
        let (stream, track) = self.msid.unwrap_or(("-", ""));
        let or =
            |text: &str, other: &str| if name(text) { text.to_owned() } else { other.to_owned() };
        Ok(Section {
            line: self.number,
            what: self.what,
            direction: self.direction.unwrap_or(Direction::SendRecv),
            rejected,
            surplus: false,
            accepted,
            extensions: self.extensions,
            rid: self.rids.first().map(|rid| (*rid).to_owned()),
            ssrc,
            rtx_ssrc,
            stream: or(stream, "-"),
            track: or(track, mid.value),
            mid: mid.value.to_owned(),
        })
    }
}
