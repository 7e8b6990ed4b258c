//! The header before every payload in shared memory: fixed layout, all integers, hostile until checked.
//!
//! A reader copies the header once out of the shared page, calls [`FrameHeader::check`] on the copy, and uses only the
//! [`Meta`] that comes back. `shm_schema.h` beside this crate is generated from here.

use crate::meta::{
    AudioGeometry, Codec, ColourMatrix, ColourRange, Content, Flags, Meta, Plane, Stage, Stamp,
    Stamps, VideoGeometry,
};
use bytemuck::{Pod, Zeroable};

/// The layout of [`FrameHeader`]; a process that was built for another one is refused at its hello.
pub const ABI_VERSION: u32 = 1;

/// Stamps that a frame can carry: six of ours and ten nodes; a longer chain keeps the first ones.
pub const MAX_STAMPS: usize = 16;

/// Greatest width or height that a header may claim; keeps every size computation within 32 bits.
pub const MAX_SIDE: u16 = 8192;

/// Greatest stride alignment, a page.
pub const MAX_STRIDE_ALIGNMENT: u16 = 4096;

/// Most channels of sound: 7.1.
pub const MAX_CHANNELS: u8 = 8;

/// [`FrameHeader::kind`] of a raw picture.
pub const KIND_PICTURE: u8 = 1;
/// [`FrameHeader::kind`] of raw sound.
pub const KIND_SOUND: u8 = 2;
/// [`FrameHeader::kind`] of an access unit.
pub const KIND_CODED: u8 = 3;
/// [`FrameHeader::kind`] of text or binary data.
pub const KIND_DATA: u8 = 4;

/// [`FrameHeader::format`] of an I420 picture.
pub const FORMAT_I420: u8 = 1;
/// [`FrameHeader::format`] of interleaved 32-bit float samples.
pub const FORMAT_F32: u8 = 1;

/// One plane of a picture: where it begins in the payload and how far its rows are apart, in bytes.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct WirePlane {
    /// Bytes from the payload's begin.
    pub offset: u32,
    /// Bytes from row to row.
    pub stride: u32,
}

/// When a frame passed a stage.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct WireStamp {
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub ns: u64,
    /// 1 received, 2 assembled, 3 decoded, 4 encoded, 5 sent, 256 + n the session's node n.
    pub stage: u16,
    /// Zero.
    pub reserved: [u16; 3],
}

/// What stands before every payload in shared memory.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Pod, Zeroable)]
pub struct FrameHeader {
    /// [`ABI_VERSION`].
    pub abi: u32,
    /// 1 picture, 2 sound, 3 coded, 4 data.
    pub kind: u8,
    /// 1: I420 for a picture, interleaved f32 for sound; 0 otherwise.
    pub format: u8,
    /// 0 none, 1 Opus, 2 VP8, 3 VP9, 4 H.264.
    pub codec: u8,
    /// How many of `stamps` are set.
    pub stamp_count: u8,
    /// Bits of [`Flags`].
    pub flags: u32,
    /// The wiring that it belongs to.
    pub epoch: u32,
    /// The process that made it, counted among those that stood in for one another.
    pub generation: u32,
    /// The RTP timestamp as it came from the network.
    pub rtp_time: u32,
    /// Counts the producer's frames; a gap is what the reader missed.
    pub sequence: u64,
    /// The router's number of the track it stems from.
    pub source: u64,
    /// Nanoseconds on the router's `CLOCK_MONOTONIC` line.
    pub media_time_ns: u64,
    /// Nanoseconds that it lasts; 0 where unknown.
    pub duration_ns: u64,
    /// Pixels.
    pub width: u16,
    /// Pixels.
    pub height: u16,
    /// Degrees clockwise for display: 0, 90, 180, 270.
    pub rotation: u16,
    /// Bytes; every stride is a multiple.
    pub stride_alignment: u16,
    /// 0 unspecified, 1 BT.601, 2 BT.709, 3 BT.2020.
    pub matrix: u8,
    /// 0 limited (16–235), 1 full.
    pub range: u8,
    /// Channels of sound.
    pub channels: u8,
    /// Zero.
    pub reserved: u8,
    /// Samples a second and channel.
    pub rate: u32,
    /// Samples a channel.
    pub samples: u32,
    /// Bytes of payload that the producer wrote; the sample may be longer (an encoder learns the length only while it
    /// writes, and a loan cannot be shrunk), never shorter. What lies behind is not part of the frame.
    pub payload_len: u32,
    /// Y, U, V.
    pub planes: [WirePlane; 3],
    /// In the order of passing.
    pub stamps: [WireStamp; MAX_STAMPS],
}

/// What is wrong with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// Written for another layout.
    #[error("header has ABI {0}, this process {ABI_VERSION}")]
    Abi(u32),
    /// A field has a value outside its list.
    #[error("header field `{field}` has the unknown value {value}")]
    Unknown {
        /// Which.
        field: &'static str,
        /// What it said.
        value: u64,
    },
    /// The header says more payload than the sample has.
    #[error("header says {said} bytes of payload, the sample has {has}")]
    Length {
        /// By the header.
        said: u64,
        /// By the sample.
        has: u64,
    },
    /// The described picture or sound does not fit into its payload, or contradicts itself.
    #[error("header's `{0}` contradicts its payload")]
    Geometry(&'static str),
}

impl FrameHeader {
    /// Checks a private copy of a header against its sample's length, and turns it into what the rest of us use. The
    /// payload is the sample's first [`FrameHeader::payload_len`] bytes; all geometry is checked against these.
    ///
    /// # Errors
    /// The first fault found; no value of any field makes it panic.
    pub fn check(&self, sample_len: usize) -> Result<Meta, HeaderFault> {
        if self.abi != ABI_VERSION {
            return Err(HeaderFault::Abi(self.abi));
        }
        let payload_len = self.payload_len as usize;
        if payload_len > sample_len {
            let (said, has) = (u64::from(self.payload_len), sample_len as u64);
            return Err(HeaderFault::Length { said, has });
        }
        let flags = Flags::from_bits(self.flags)
            .ok_or(HeaderFault::Unknown { field: "flags", value: u64::from(self.flags) })?;
        let empty = flags.contains(Flags::LOST)
            || flags.contains(Flags::SILENCE)
            || flags.contains(Flags::END);
        if payload_len == 0 && !empty {
            return Err(HeaderFault::Geometry("payload_len"));
        }
        let content = match self.kind {
            KIND_PICTURE => Content::Picture(self.picture(payload_len)?),
            KIND_SOUND => Content::Sound(self.sound(payload_len)?),
            KIND_CODED => Content::Coded(
                Codec::from_wire(self.codec)
                    .ok_or(HeaderFault::Unknown { field: "codec", value: u64::from(self.codec) })?,
            ),
            KIND_DATA => Content::Data,
            other => {
                return Err(HeaderFault::Unknown { field: "kind", value: u64::from(other) });
            }
        };
        Ok(Meta {
            content,
            flags,
            sequence: self.sequence,
            epoch: self.epoch,
            generation: self.generation,
            source: self.source,
            media_time_ns: self.media_time_ns,
            duration_ns: self.duration_ns,
            rtp_time: self.rtp_time,
            stamps: self.stamps()?,
        })
    }

    fn picture(&self, payload_len: usize) -> Result<VideoGeometry, HeaderFault> {
        if self.format != FORMAT_I420 {
            return Err(HeaderFault::Unknown { field: "format", value: u64::from(self.format) });
        }
        if self.width == 0 || self.width > MAX_SIDE || self.height == 0 || self.height > MAX_SIDE {
            return Err(HeaderFault::Geometry("width x height"));
        }
        let alignment = self.stride_alignment;
        if !alignment.is_power_of_two() || alignment > MAX_STRIDE_ALIGNMENT {
            return Err(HeaderFault::Geometry("stride_alignment"));
        }
        let rotation = match self.rotation {
            r @ (0 | 90 | 180 | 270) => r,
            r => return Err(HeaderFault::Unknown { field: "rotation", value: u64::from(r) }),
        };
        let geometry = VideoGeometry {
            width: self.width,
            height: self.height,
            planes: self.planes.map(|p| Plane { offset: p.offset, stride: p.stride }),
            stride_alignment: alignment,
            matrix: ColourMatrix::from_wire(self.matrix)
                .ok_or(HeaderFault::Unknown { field: "matrix", value: u64::from(self.matrix) })?,
            range: ColourRange::from_wire(self.range)
                .ok_or(HeaderFault::Unknown { field: "range", value: u64::from(self.range) })?,
            rotation,
        };
        let mut end_of_last = 0u64;
        for (index, plane) in geometry.planes.iter().enumerate() {
            let (columns, rows) = geometry.plane_size(index);
            if u64::from(plane.stride) < u64::from(columns)
                || plane.stride % u32::from(alignment) != 0
            {
                return Err(HeaderFault::Geometry("stride"));
            }
            let begin = u64::from(plane.offset);
            let end = begin
                + u64::from(plane.stride) * u64::from(rows.saturating_sub(1))
                + u64::from(columns);
            // Planes lie behind one another, so that none aliases another.
            if begin < end_of_last {
                return Err(HeaderFault::Geometry("offset"));
            }
            // `lost` and `end` carry the geometry of what would have been there.
            if payload_len != 0 && end > payload_len as u64 {
                return Err(HeaderFault::Geometry("planes"));
            }
            end_of_last = end;
        }
        Ok(geometry)
    }

    fn sound(&self, payload_len: usize) -> Result<AudioGeometry, HeaderFault> {
        if self.format != FORMAT_F32 {
            return Err(HeaderFault::Unknown { field: "format", value: u64::from(self.format) });
        }
        if self.channels == 0 || self.channels > MAX_CHANNELS {
            return Err(HeaderFault::Geometry("channels"));
        }
        if !(8_000..=192_000).contains(&self.rate) {
            return Err(HeaderFault::Geometry("rate"));
        }
        if self.samples == 0 || self.samples > self.rate {
            return Err(HeaderFault::Geometry("samples"));
        }
        let bytes = u64::from(self.samples) * u64::from(self.channels) * 4;
        if payload_len != 0 && bytes != payload_len as u64 {
            return Err(HeaderFault::Geometry("samples"));
        }
        Ok(AudioGeometry { rate: self.rate, channels: self.channels, samples: self.samples })
    }

    fn stamps(&self) -> Result<Stamps, HeaderFault> {
        let count = usize::from(self.stamp_count);
        let Some(set) = self.stamps.get(..count) else {
            return Err(HeaderFault::Unknown { field: "stamp_count", value: count as u64 });
        };
        let mut stamps = Stamps::default();
        for stamp in set {
            let stage = Stage::from_wire(stamp.stage).ok_or(HeaderFault::Unknown {
                field: "stamps.stage",
                value: u64::from(stamp.stage),
            })?;
            stamps.push(Stamp { stage, ns: stamp.ns });
        }
        Ok(stamps)
    }
}

impl Meta {
    /// The header to put before a payload of this length.
    #[must_use]
    pub fn to_wire(&self, payload_len: u32) -> FrameHeader {
        let mut header = FrameHeader {
            abi: ABI_VERSION,
            flags: self.flags.bits(),
            epoch: self.epoch,
            generation: self.generation,
            rtp_time: self.rtp_time,
            sequence: self.sequence,
            source: self.source,
            media_time_ns: self.media_time_ns,
            duration_ns: self.duration_ns,
            payload_len,
            stamp_count: self.stamps.len() as u8,
            ..FrameHeader::default()
        };
        match self.content {
            Content::Picture(g) => {
                header.kind = KIND_PICTURE;
                header.format = FORMAT_I420;
                header.width = g.width;
                header.height = g.height;
                header.rotation = g.rotation;
                header.stride_alignment = g.stride_alignment;
                header.matrix = g.matrix as u8;
                header.range = g.range as u8;
                header.planes = g.planes.map(|p| WirePlane { offset: p.offset, stride: p.stride });
            }
            Content::Sound(g) => {
                header.kind = KIND_SOUND;
                header.format = FORMAT_F32;
                header.rate = g.rate;
                header.channels = g.channels;
                header.samples = g.samples;
            }
            Content::Coded(codec) => {
                header.kind = KIND_CODED;
                header.codec = codec as u8;
            }
            Content::Data => header.kind = KIND_DATA,
        }
        for (wire, stamp) in header.stamps.iter_mut().zip(self.stamps.iter()) {
            *wire = WireStamp { ns: stamp.ns, stage: stamp.stage.to_wire(), reserved: [0; 3] };
        }
        header
    }
}
