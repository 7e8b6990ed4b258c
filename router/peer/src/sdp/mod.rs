//! The other side's description: what we take from it, and what of it the stack gets to see.
//!
//! Nothing of a stranger's text reaches the stack as it is. [`Description::parse`] checks it and keeps what a call needs;
//! [`Description::render`] writes a text anew from that, in which every codec is one that we really know with exactly the
//! parameters that we can do. The stack matches codecs leniently (it takes `640032` for `42001f`), fails a whole call
//! for a track without SSRC, and connects by TCP and DNS to where a candidate says: none of it can happen with that text.

mod candidate;
mod lines;
mod render;
mod section;

pub(crate) use candidate::{MAX_CANDIDATES, Usable, usable};
pub(crate) use render::reject_unusable;
pub(crate) use section::{Section, What};

use crate::PeerError;
use lines::{Line, lines};
use remotemedia_shm_schema::Codec;
use section::Raw;

/// Bytes of a description (from the signaling contract).
pub const MAX_SDP: usize = 64 * 1024;
/// Media sections of a description; chosen: a room of ten with two tracks each, and as much again.
const MAX_SECTIONS: usize = 40;

/// Checks what a description must have before anything is begun for its sender: a size within [`MAX_SDP`], encrypted
/// transports only (`UDP/TLS/RTP/SAVPF`, `UDP/DTLS/SCTP`), and a fingerprint for every media section.
pub fn check_sdp(sdp: &str) -> Result<(), PeerError> {
    Description::parse(sdp, &[]).map(drop)
}

/// A checked description.
#[derive(Debug, Clone)]
pub(crate) struct Description {
    pub(crate) sections: Vec<Section>,
    pub(crate) ufrag: String,
    pwd: String,
    fingerprint: String,
    setup: Option<String>,
    ice_lite: bool,
    trickle: bool,
    mixed_extensions: bool,
    bundle: Vec<String>,
    candidates: Vec<String>,
}

/// Transport attributes of the session or of one section.
#[derive(Debug, Clone, Default)]
struct Transport<'a> {
    ufrag: Option<Line<'a>>,
    pwd: Option<Line<'a>>,
    fingerprint: Option<Line<'a>>,
    setup: Option<Line<'a>>,
    trickle: bool,
}

impl<'a> Transport<'a> {
    /// Whether the attribute was one of these.
    fn take(&mut self, name: &str, line: Line<'a>) -> bool {
        let place = match name {
            "ice-ufrag" => &mut self.ufrag,
            "ice-pwd" => &mut self.pwd,
            "fingerprint" => {
                // Several digests of one certificate may be given: the first that we can verify counts.
                if self.fingerprint.is_none_or(|f| digest(f.value).is_err()) {
                    self.fingerprint = Some(line);
                }
                return true;
            }
            "setup" => &mut self.setup,
            "ice-options" => {
                self.trickle |= line.value.split_ascii_whitespace().any(|o| o == "trickle");
                return true;
            }
            _ => return false,
        };
        if place.is_none() {
            *place = Some(line);
        }
        true
    }
}

/// A fingerprint as the stack wants it, if it is of a digest that is still safe.
fn digest(value: &str) -> Result<String, String> {
    let mut words = value.split_ascii_whitespace();
    let (Some(name), Some(hex), None) = (words.next(), words.next(), words.next()) else {
        return Err("a=fingerprint is not a digest's name and its value".into());
    };
    let name = name.to_ascii_lowercase();
    let bytes = match name.as_str() {
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return Err("a=fingerprint must be sha-256, sha-384 or sha-512".into()),
    };
    let pairs: Vec<&str> = hex.split(':').collect();
    let right = pairs.len() == bytes
        && pairs.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()));
    if !right {
        return Err(format!("a=fingerprint of {name} must be {bytes} pairs of hexadecimal digits"));
    }
    Ok(format!("{name} {}", hex.to_ascii_uppercase()))
}

/// RFC 8839: 4 to 256 letters, digits, `+`, `/`; some clients use `-` and `_` as well.
fn credential(line: Option<Line<'_>>, what: &str, least: usize) -> Result<String, PeerError> {
    let line = line.ok_or_else(|| PeerError::sdp(format!("a={what} is missing"), None))?;
    let right = (least..=256).contains(&line.value.len())
        && line.value.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b));
    if right {
        Ok(line.value.to_owned())
    } else {
        Err(PeerError::sdp(format!("a={what} is malformed"), line.number))
    }
}

impl Description {
    /// Checks `sdp`; `codecs` are those that may be accepted.
    pub(crate) fn parse(sdp: &str, codecs: &[Codec]) -> Result<Self, PeerError> {
        if sdp.len() > MAX_SDP {
            return Err(PeerError::sdp(
                format!("the description is larger than {MAX_SDP} bytes"),
                None,
            ));
        }
        let mut session = Transport::default();
        let (mut ice_lite, mut mixed_extensions, mut bundle) = (false, false, Vec::new());
        let mut raws: Vec<Raw<'_>> = Vec::new();
        let mut candidates = Vec::new();
        for line in lines(sdp)? {
            if line.kind == 'm' {
                if raws.len() == MAX_SECTIONS {
                    return Err(PeerError::sdp(
                        format!("more than {MAX_SECTIONS} media sections"),
                        line.number,
                    ));
                }
                raws.push(Raw::new(line)?);
                continue;
            }
            if line.kind != 'a' {
                continue;
            }
            let (name, line) = line.attribute();
            if name == "candidate" {
                if candidates.len() < MAX_CANDIDATES {
                    candidates.push(line.value);
                }
                continue;
            }
            match raws.last_mut() {
                Some(raw) => {
                    if !raw.transport.take(name, line) {
                        raw.take(name, line)?;
                    }
                }
                None if session.take(name, line) => {}
                None => match name {
                    "ice-lite" => ice_lite = true,
                    "extmap-allow-mixed" => mixed_extensions = true,
                    "group" => {
                        let mut words = line.value.split_ascii_whitespace();
                        if words.next() == Some("BUNDLE") {
                            bundle = words.map(str::to_owned).take(MAX_SECTIONS).collect();
                        }
                    }
                    _ => {}
                },
            }
        }
        if raws.is_empty() {
            return Err(PeerError::sdp("there is no media section", None));
        }

        let mut transport = None;
        for raw in &raws {
            let print = raw.transport.fingerprint.or(session.fingerprint);
            if raw.rejected() {
                continue; // RFC 9429: all of a rejected section but its mid is meaningless
            }
            let Some(print) = print else {
                return Err(PeerError::sdp(
                    "no a=fingerprint for this media section: only encrypted media is accepted",
                    raw.number,
                ));
            };
            let print =
                digest(print.value).map_err(|reason| PeerError::sdp(reason, print.number))?;
            let ufrag = credential(raw.transport.ufrag.or(session.ufrag), "ice-ufrag", 4)?;
            let pwd = credential(raw.transport.pwd.or(session.pwd), "ice-pwd", 22)?;
            let setup = raw.transport.setup.or(session.setup).map(|line| line.value);
            match &transport {
                None => transport = Some((print, ufrag, pwd, setup)),
                // One transport is all that we do: every browser bundles.
                Some((first, first_ufrag, _, _)) => {
                    if *first != print {
                        return Err(PeerError::sdp(
                            "media sections with different fingerprints",
                            raw.number,
                        ));
                    }
                    if *first_ufrag != ufrag {
                        return Err(PeerError::sdp(
                            "media sections with different transports: BUNDLE is required",
                            raw.number,
                        ));
                    }
                }
            }
        }
        let Some((fingerprint, ufrag, pwd, setup)) = transport else {
            return Err(PeerError::sdp("every media section is rejected", None));
        };
        let trickle = session.trickle || raws.iter().any(|r| r.transport.trickle);
        let setup = match setup {
            None => None,
            Some(role @ ("active" | "passive" | "actpass")) => Some(role.to_owned()),
            Some(_) => {
                return Err(PeerError::sdp("a=setup is neither active, passive nor actpass", None));
            }
        };

        let mut sections = Vec::with_capacity(raws.len());
        for raw in raws {
            let section = raw.finish(codecs)?;
            if sections.iter().any(|s: &Section| s.mid == section.mid) {
                return Err(PeerError::sdp(
                    format!("a=mid:{} is used twice", section.mid),
                    section.line,
                ));
            }
            sections.push(section);
        }
        let candidates = candidates
            .into_iter()
            .filter(|c| matches!(usable(c, false), Ok(Usable::Yes)))
            .map(str::to_owned)
            .collect();
        Ok(Self {
            sections,
            ufrag,
            pwd,
            fingerprint,
            setup,
            ice_lite,
            trickle,
            mixed_extensions,
            bundle,
            candidates,
        })
    }

    /// Of an answer: it must have chosen its part in the handshake.
    pub(crate) fn settle_role(&mut self) -> Result<(), PeerError> {
        match self.setup.as_deref() {
            Some("active" | "passive") => Ok(()),
            _ => Err(PeerError::sdp("the answer's a=setup must be active or passive", None)),
        }
    }

    /// Whether both are of the same certificate.
    pub(crate) fn same_certificate(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// The section with this id.
    pub(crate) fn section(&self, mid: &str) -> Option<&Section> {
        self.sections.iter().find(|s| s.mid == mid)
    }

    /// Of an offer: takes so many tracks of each kind that the peer sends, and tells that no further one is received.
    pub(crate) fn keep_first(&mut self, most: usize) {
        let (mut audio, mut video) = (0, 0);
        for section in &mut self.sections {
            let taken = match section.what {
                What::Audio => &mut audio,
                What::Video => &mut video,
                What::Data => continue,
            };
            if section.rejected || !section.direction.sends() || section.accepted.is_empty() {
                continue;
            }
            if *taken >= most {
                section.surplus = true;
                section.direction = section.direction.without_sending();
            } else {
                *taken += 1;
            }
        }
    }
}
