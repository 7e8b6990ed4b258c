//! A frame's description after it was checked: what it is, when it is, which stages it passed.

use crate::header::MAX_STAMPS;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Media {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl Media {
    /// Both, pictures first.
    pub const ALL: [Self; 2] = [Self::Video, Self::Audio];

    /// What a codec carries.
    #[must_use]
    pub fn of(codec: Codec) -> Self {
        if codec.is_audio() { Self::Audio } else { Self::Video }
    }

    /// Its name in tables, and as a port of `input` and `output`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// A codec that we decode and encode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Codec {
    /// RFC 6716.
    Opus = 1,
    /// RFC 6386.
    Vp8 = 2,
    /// Profile 0.
    Vp9 = 3,
    /// Constrained baseline.
    H264 = 4,
}

impl Codec {
    /// The codec behind a wire number.
    #[must_use]
    pub fn from_wire(value: u8) -> Option<Self> {
        Some(match value {
            1 => Self::Opus,
            2 => Self::Vp8,
            3 => Self::Vp9,
            4 => Self::H264,
            _ => return None,
        })
    }

    /// Whether it carries sound.
    #[must_use]
    pub fn is_audio(self) -> bool {
        matches!(self, Self::Opus)
    }

    /// Its name in channel names and tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Opus => "opus",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::H264 => "h264",
        }
    }

    /// Ticks of its RTP clock a second.
    #[must_use]
    pub fn clock_rate(self) -> u32 {
        if self.is_audio() { 48_000 } else { 90_000 }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A codec's name that we do not know.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown codec {0:?}; known are opus, vp8, vp9, h264")]
pub struct UnknownCodec(String);

impl FromStr for Codec {
    type Err = UnknownCodec;
    fn from_str(text: &str) -> Result<Self, UnknownCodec> {
        [Self::Opus, Self::Vp8, Self::Vp9, Self::H264]
            .into_iter()
            .find(|c| c.name().eq_ignore_ascii_case(text))
            .ok_or_else(|| UnknownCodec(text.chars().take(40).collect()))
    }
}

/// What a frame tells about itself besides its media.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Flags(u32);

impl Flags {
    /// Decodable without what came before.
    pub const KEYFRAME: Self = Self(1);
    /// Something is missing between the frame before and this one.
    pub const DISCONTINUITY: Self = Self(1 << 1);
    /// The last one of its track.
    pub const END: Self = Self(1 << 2);
    /// Empty, with duration: conceal it, or recover it by FEC from the next.
    pub const LOST: Self = Self(1 << 3);
    /// Empty, with duration: the sender is silent (DTX).
    pub const SILENCE: Self = Self(1 << 4);
    /// The track is muted by its sender.
    pub const MUTED: Self = Self(1 << 5);
    const ALL: u32 = (1 << 6) - 1;

    /// The flags of a wire value, if it has no unknown bit.
    #[must_use]
    pub fn from_bits(bits: u32) -> Option<Self> {
        (bits & !Self::ALL == 0).then_some(Self(bits))
    }

    /// The wire value.
    #[must_use]
    pub fn bits(self) -> u32 {
        self.0
    }

    /// Whether all of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// With `other` set as well.
    #[must_use]
    pub fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// With `other` cleared.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }
}

/// Matrix coefficients of a picture.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ColourMatrix {
    /// Not told.
    #[default]
    Unspecified = 0,
    /// Standard definition.
    Bt601 = 1,
    /// High definition.
    Bt709 = 2,
    /// Ultra-high definition.
    Bt2020 = 3,
}

impl ColourMatrix {
    pub(crate) fn from_wire(value: u8) -> Option<Self> {
        [Self::Unspecified, Self::Bt601, Self::Bt709, Self::Bt2020].get(usize::from(value)).copied()
    }
}

/// Range of luma values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum ColourRange {
    /// 16 to 235.
    #[default]
    Limited = 0,
    /// 0 to 255.
    Full = 1,
}

impl ColourRange {
    pub(crate) fn from_wire(value: u8) -> Option<Self> {
        [Self::Limited, Self::Full].get(usize::from(value)).copied()
    }
}

/// One plane: where it begins in the payload, and the distance of its rows, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Plane {
    /// Bytes from the payload's begin.
    pub offset: u32,
    /// Bytes from row to row.
    pub stride: u32,
}

/// Shape of an I420 picture; odd sizes are allowed, chroma then rounds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct VideoGeometry {
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Y, U, V, one behind the other.
    pub planes: [Plane; 3],
    /// Every stride is a multiple of it, a power of two.
    pub stride_alignment: u16,
    /// Matrix coefficients.
    pub matrix: ColourMatrix,
    /// Luma range.
    pub range: ColourRange,
    /// Degrees clockwise for display.
    pub rotation: u16,
}

/// Bytes by which rows and planes of our own pictures are aligned: a cache line, and what AVX-512 likes.
pub const STRIDE_ALIGNMENT: u16 = 64;

impl VideoGeometry {
    /// The layout in which our own workers write a picture of this size.
    #[must_use]
    pub fn i420(width: u16, height: u16) -> Self {
        let align = |n: u32| n.next_multiple_of(u32::from(STRIDE_ALIGNMENT));
        let (luma, chroma) = (align(u32::from(width)), align(u32::from(width).div_ceil(2)));
        let chroma_rows = u32::from(height).div_ceil(2);
        let u = luma * u32::from(height);
        let v = u + chroma * chroma_rows;
        Self {
            width,
            height,
            planes: [
                Plane { offset: 0, stride: luma },
                Plane { offset: u, stride: chroma },
                Plane { offset: v, stride: chroma },
            ],
            stride_alignment: STRIDE_ALIGNMENT,
            matrix: ColourMatrix::default(),
            range: ColourRange::default(),
            rotation: 0,
        }
    }

    /// Columns and rows of plane 0 (Y), 1 (U) or 2 (V), in bytes and lines.
    #[must_use]
    pub fn plane_size(&self, plane: usize) -> (u32, u32) {
        let (w, h) = (u32::from(self.width), u32::from(self.height));
        if plane == 0 { (w, h) } else { (w.div_ceil(2), h.div_ceil(2)) }
    }

    /// Bytes of a payload that holds all rows in full.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        let (_, rows) = self.plane_size(2);
        let v = self.planes[2];
        v.offset as usize + v.stride as usize * rows as usize
    }
}

/// Shape of a block of interleaved f32 sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AudioGeometry {
    /// Samples a second and channel; 48,000 in all channels of ours.
    pub rate: u32,
    /// Interleaved channels.
    pub channels: u8,
    /// Samples a channel.
    pub samples: u32,
}

impl AudioGeometry {
    /// Bytes of its payload.
    #[must_use]
    pub fn payload_len(&self) -> usize {
        self.samples as usize * usize::from(self.channels) * 4
    }

    /// How long it lasts.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        u64::from(self.samples) * 1_000_000_000 / u64::from(self.rate.max(1))
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Content {
    /// A raw picture.
    Picture(VideoGeometry),
    /// A raw block of sound.
    Sound(AudioGeometry),
    /// An access unit.
    Coded(Codec),
    /// Text or bytes that the router passes through.
    Data,
}

/// A place on a frame's way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The router got its first packet.
    Received,
    /// The router had all of it and handed it to the decoder.
    Assembled,
    /// The decoder published it.
    Decoded,
    /// The session's n-th node was done with it.
    Node(u8),
    /// The encoder published it.
    Encoded,
    /// The router sent its first packet.
    Sent,
}

const NODE_STAGE: u16 = 256;

impl Stage {
    pub(crate) fn from_wire(value: u16) -> Option<Self> {
        Some(match value {
            1 => Self::Received,
            2 => Self::Assembled,
            3 => Self::Decoded,
            4 => Self::Encoded,
            5 => Self::Sent,
            _ => Self::Node(u8::try_from(value.checked_sub(NODE_STAGE)?).ok()?),
        })
    }

    pub(crate) fn to_wire(self) -> u16 {
        match self {
            Self::Received => 1,
            Self::Assembled => 2,
            Self::Decoded => 3,
            Self::Encoded => 4,
            Self::Sent => 5,
            Self::Node(n) => NODE_STAGE + u16::from(n),
        }
    }
}

/// When a frame passed a stage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Where.
    pub stage: Stage,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub ns: u64,
}

/// A frame's stamps, in the order of passing; the first sixteen are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamps {
    count: u8,
    stamps: [Stamp; MAX_STAMPS],
}

impl Default for Stamps {
    fn default() -> Self {
        Self { count: 0, stamps: [Stamp { stage: Stage::Received, ns: 0 }; MAX_STAMPS] }
    }
}

impl Stamps {
    /// Adds one; a seventeenth is not kept.
    pub fn push(&mut self, stamp: Stamp) {
        if let Some(place) = self.stamps.get_mut(usize::from(self.count)) {
            *place = stamp;
            self.count += 1;
        }
    }

    /// Those that are set.
    pub fn iter(&self) -> impl Iterator<Item = &Stamp> {
        self.stamps.iter().take(usize::from(self.count))
    }

    /// How many are set.
    #[must_use]
    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    /// Whether none is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// When the stage was passed first.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Option<u64> {
        self.iter().find(|s| s.stage == stage).map(|s| s.ns)
    }
}

/// A checked frame's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub content: Content,
    /// What it tells besides.
    pub flags: Flags,
    /// Counts the producer's frames.
    pub sequence: u64,
    /// The wiring that it belongs to.
    pub epoch: u32,
    /// The process that made it, counted among those that stood in for one another.
    pub generation: u32,
    /// The router's number of the track it stems from.
    pub source: u64,
    /// Nanoseconds on the router's `CLOCK_MONOTONIC` line.
    pub media_time_ns: u64,
    /// How long it lasts; 0 where unknown.
    pub duration_ns: u64,
    /// The RTP timestamp as it came from the network.
    pub rtp_time: u32,
    /// Stages that it passed.
    pub stamps: Stamps,
}

impl Meta {
    /// A frame of this content, all else zero.
    #[must_use]
    pub fn new(content: Content) -> Self {
        Self {
            content,
            flags: Flags::default(),
            sequence: 0,
            epoch: 0,
            generation: 0,
            source: 0,
            media_time_ns: 0,
            duration_ns: 0,
            rtp_time: 0,
            stamps: Stamps::default(),
        }
    }

    /// The same frame as another content: times, source and stamps stay, flags as given.
    #[must_use]
    pub fn derive(&self, content: Content) -> Self {
        Self { content, ..*self }
    }
}
