//! What a channel holds, what happens when it is full, and how old a frame in it may grow.

use serde::{Deserialize, Serialize};

/// The answer of a channel to being full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest goes; what matters is the newest picture.
    NewestWins,
    /// The oldest goes and the reader conceals it: sound must stay continuous.
    OldestConcealed,
    /// Everything until the next keyframe goes, and one is asked for.
    UntilKeyframe,
    /// The producer keeps it and releases it by media time.
    Paced,
    /// The producer waits, up to a deadline: files only.
    Lossless,
}

/// A channel's contract, part of its descriptor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Contract {
    /// Frames that it holds.
    pub capacity: u32,
    /// What happens to the next one.
    pub when_full: WhenFull,
    /// A frame older than this, in milliseconds since its media time, is dropped by the reader; 0 is no limit.
    pub max_age_ms: u32,
}

/// Bytes that an access unit may have; a larger one is dropped as `too_large` (chosen: 17 Mb/s of keyframes at 4/s).
pub const MAX_ACCESS_UNIT: u32 = 512 * 1024;
/// Bytes of one block of raw sound: 120 ms (the longest Opus packet) at 48 kHz in stereo, f32.
pub const MAX_AUDIO_BLOCK: u32 = 5760 * 2 * 4;
/// Bytes of one coded sound packet: RFC 6716 section 3.2 allows three frames of 1275 bytes and more; 120 ms of 510 kb/s.
pub const MAX_AUDIO_PACKET: u32 = 8 * 1024;

impl Contract {
    /// Raw pictures: two, the newest wins.
    pub const RAW_VIDEO: Self =
        Self { capacity: 2, when_full: WhenFull::NewestWins, max_age_ms: 0 };
    /// Raw sound: 80 ms of 10 ms blocks, at least eight; the oldest is concealed.
    pub const RAW_AUDIO: Self =
        Self { capacity: 8, when_full: WhenFull::OldestConcealed, max_age_ms: 0 };
    /// Access units: eight, then everything until the next keyframe goes.
    pub const ENCODED_VIDEO: Self =
        Self { capacity: 8, when_full: WhenFull::UntilKeyframe, max_age_ms: 0 };
    /// Sound packets: as raw sound.
    pub const ENCODED_AUDIO: Self =
        Self { capacity: 8, when_full: WhenFull::OldestConcealed, max_age_ms: 0 };
}

/// Why a frame was not used. Every drop has one, and is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The channel was full and newer frames took its place.
    Overflow,
    /// It waited for longer than the contract allows.
    TooOld,
    /// It is larger than the channel's segments.
    TooLarge,
    /// It came from an earlier wiring or a dead process.
    Stale,
    /// Its header contradicts itself or its payload.
    Malformed,
    /// Its decoder lost its state and waits for a keyframe.
    AwaitingKeyframe,
    /// The decoder or encoder refused it.
    Corrupt,
    /// A node failed on it.
    NodeError,
    /// The encoder spent its bit budget.
    RateControl,
    /// Nobody is there to take it.
    NoConsumer,
}

impl DropReason {
    /// All of them, in the order of [`crate::control::Counters::dropped`].
    pub const ALL: [Self; 10] = [
        Self::Overflow,
        Self::TooOld,
        Self::TooLarge,
        Self::Stale,
        Self::Malformed,
        Self::AwaitingKeyframe,
        Self::Corrupt,
        Self::NodeError,
        Self::RateControl,
        Self::NoConsumer,
    ];

    /// Its place in the counters.
    #[must_use]
    pub fn index(self) -> usize {
        self as usize
    }

    /// Its name in metrics and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Overflow => "overflow",
            Self::TooOld => "too_old",
            Self::TooLarge => "too_large",
            Self::Stale => "stale",
            Self::Malformed => "malformed",
            Self::AwaitingKeyframe => "awaiting_keyframe",
            Self::Corrupt => "corrupt",
            Self::NodeError => "node_error",
            Self::RateControl => "rate_control",
            Self::NoConsumer => "no_consumer",
        }
    }
}
