//! The codec's part of an ingest: which packets begin a picture, and how they make one.

use super::{Fault, Hint, Picture, PictureId, h264, vp8, vp9};
use crate::Packet;
use bytes::Bytes;
use remotemedia_shm_schema::Codec;

/// One of the three codecs, with what it must remember.
#[derive(Debug)]
pub(crate) enum Assembler {
    Vp8,
    Vp9,
    H264(h264::Parameters),
}

impl Assembler {
    /// `None` for a codec of sound.
    pub(crate) fn new(codec: Codec) -> Option<Self> {
        Some(match codec {
            Codec::Vp8 => Self::Vp8,
            Codec::Vp9 => Self::Vp9,
            Codec::H264 => Self::H264(h264::Parameters::default()),
            Codec::Opus => return None,
        })
    }

    /// Forgets what the stream so far told.
    pub(crate) fn restart(&mut self) {
        if let Self::H264(parameters) = self {
            *parameters = h264::Parameters::default();
        }
    }

    pub(crate) fn hint(&self, payload: &[u8]) -> Hint {
        match self {
            Self::Vp8 => vp8::hint(payload),
            Self::Vp9 => vp9::hint(payload),
            Self::H264(_) => h264::hint(payload),
        }
    }

    /// The picture's number, in packets that begin one.
    pub(crate) fn picture_id(&self, payload: &[u8]) -> Option<PictureId> {
        match self {
            Self::Vp8 => vp8::Descriptor::parse(payload).filter(|d| d.begins)?.id,
            Self::Vp9 => vp9::Descriptor::parse(payload).filter(|d| d.begins && d.layer == 0)?.id,
            Self::H264(_) => None,
        }
    }

    /// Whether no other picture needs the one that begins with this packet.
    pub(crate) fn disposable(&self, payload: &[u8]) -> bool {
        matches!(self, Self::Vp8)
            && vp8::Descriptor::parse(payload).is_some_and(|d| d.begins && d.disposable)
    }

    /// Puts the packets of one timestamp together; `Ok(None)` where they hold no picture.
    pub(crate) fn assemble(
        &mut self,
        packets: &[Packet],
        after_gap: bool,
        out: &mut Vec<Bytes>,
    ) -> Result<Option<Picture>, Fault> {
        match self {
            Self::Vp8 => vp8::assemble(packets, out).map(Some),
            Self::Vp9 => vp9::assemble(packets, out).map(Some),
            Self::H264(parameters) => parameters.assemble(packets, after_gap, out),
        }
    }
}
