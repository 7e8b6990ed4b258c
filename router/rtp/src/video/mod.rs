//! A video track's packets into access units: in order and complete at once, a hole waited for, then given up.

mod assemble;
pub(crate) mod h264;
mod ingest;
mod sps;
mod unit;
pub(crate) mod vp8;
pub(crate) mod vp9;

pub use ingest::Ingest;
pub use unit::AccessUnit;

use crate::MS;
use remotemedia_shm_schema::{Codec, contract::MAX_ACCESS_UNIT};

/// Bounds of an ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A hole is waited for at most this long, in ns; the wait itself follows the round trip.
    pub max_wait_ns: u64,
    /// A larger access unit, in bytes, is dropped as too large.
    pub max_access_unit: usize,
    /// Places for packets, holes included.
    pub max_packets: usize,
    /// Bytes of payload that may wait.
    pub max_bytes: usize,
    /// A keyframe is asked for not more often than this, in ns, while none comes.
    pub keyframe_interval_ns: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            max_wait_ns: 150 * MS,
            max_access_unit: MAX_ACCESS_UNIT as usize,
            max_packets: 1024,
            max_bytes: 2 * MAX_ACCESS_UNIT as usize,
            keyframe_interval_ns: 500 * MS,
        }
    }
}

/// What an ingest gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// The next picture.
    Unit(AccessUnit),
    /// Ask the sender for a keyframe.
    KeyframeNeeded,
}

/// Counts since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets that were pushed.
    pub packets: u64,
    /// Bytes of their payload.
    pub bytes: u64,
    /// Packets that were there already.
    pub duplicates: u64,
    /// Packets that came when their place was gone.
    pub late: u64,
    /// Packets that filled a hole: reordered on the way, or sent again.
    pub recovered: u64,
    /// Packets that were given up.
    pub lost: u64,
    /// Packets without payload.
    pub padding: u64,
    /// Pictures that contradicted their codec's payload format.
    pub malformed: u64,
    /// Pictures larger than allowed.
    pub too_large: u64,
    /// Packets dropped because the buffer was full.
    pub overflow: u64,
    /// Packets dropped because they belonged to a picture that cannot be decoded.
    pub undecodable: u64,
    /// Access units that were given out.
    pub units: u64,
    /// Keyframes among them.
    pub keyframes: u64,
    /// Keyframes that were asked for.
    pub keyframe_requests: u64,
    /// The stream began anew: another SSRC, or a jump of the sequence.
    pub restarts: u64,
}

/// An ingest was wanted for a codec of sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a video codec")]
pub struct NotVideo(pub Codec);

/// What a packet is in its picture, as far as it can be told from itself alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Begins a picture that needs no other.
    Key,
    /// Begins a picture that needs others.
    Delta,
    /// Begins a picture, of which kind only the rest tells.
    Unclear,
    /// Does not begin one.
    Inner,
    /// Not what the codec's payload format allows.
    Malformed,
}

/// Why packets do not make a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They contradict the payload format.
    Malformed,
    /// It cannot be decoded: parameter sets are missing.
    NoParameters,
    /// It has too many pieces.
    TooLarge,
}

/// A picture's description, beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Picture {
    pub(crate) keyframe: bool,
    pub(crate) size: Option<(u16, u16)>,
    /// Number of the picture, where the payload descriptor tells it.
    pub(crate) id: Option<PictureId>,
}

/// A picture's number, 7 or 15 bits wide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PictureId {
    pub(crate) value: u16,
    pub(crate) wide: bool,
}

impl PictureId {
    /// Whether `self` comes directly after `before`.
    pub(crate) fn follows(self, before: Self) -> bool {
        let mask = if self.wide { 0x7fff } else { 0x7f };
        self.wide == before.wide && self.value == before.value.wrapping_add(1) & mask
    }
}
