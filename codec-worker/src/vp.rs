//! VP8 and VP9 over [`crate::vpx`]: limits before decoding, a fresh encoder for every size.

use crate::bitstream;
use crate::picture::Planes;
use crate::video::{
    Clock, DecodeError, DecodedPicture, EncodeError, EncodedUnit, Limit, StartError, UnitBytes,
    VideoDecoder, VideoEncoder, threads,
};
use crate::vpx;
use remotemedia_shm_schema::control::VideoEncode;
use remotemedia_shm_schema::{Codec, ColourMatrix, ColourRange};

/// A decoder of VP8 or VP9.
///
/// It decodes into pictures of its own, which are references for those to come; VP9 could be lent outside memory for
/// them, but would then hold on to a dozen samples of a channel that has a few.
pub(crate) struct VpDecoder {
    codec: Codec,
    inner: vpx::Decoder,
    limit: Limit,
}

impl VpDecoder {
    pub(crate) fn new(codec: Codec, limit: Limit) -> Result<Self, StartError> {
        let inner = vpx::Decoder::new(codec)
            .map_err(|fault| StartError::Failed { codec, why: fault.text() })?;
        Ok(Self { codec, inner, limit })
    }
}

impl VideoDecoder for VpDecoder {
    fn decode(&mut self, unit: &[u8]) -> Result<Option<DecodedPicture<'_>>, DecodeError> {
        let codec = self.codec;
        let header = bitstream::inspect(codec, unit)
            .ok_or(DecodeError::Corrupt { codec, why: "no frame header" })?;
        self.limit.check(&header)?;
        match self.inner.decode(unit) {
            Ok(shown) => Ok(shown.map(|shown| DecodedPicture {
                picture: shown.planes,
                keyframe: header.keyframe,
                damaged: shown.corrupted,
            })),
            Err(vpx::DecodeFault::Codec(fault)) => {
                Err(DecodeError::Corrupt { codec, why: fault.text() })
            }
            Err(vpx::DecodeFault::Format) => {
                Err(DecodeError::Unsupported { codec, why: "only 8-bit 4:2:0 is decoded" })
            }
        }
    }
}

/// An encoder of VP8 or VP9.
///
/// Another size gets another encoder: growing a VP9 encoder beyond its first size corrupts the heap (libvpx 1.12), VP8
/// refuses it, and shrinking VP9 in place would refer to pictures of another size, which hardware decoders dislike.
pub(crate) struct VpEncoder {
    codec: Codec,
    frame_rate: u32,
    kilobits: u32,
    clock: Clock,
    running: Option<Running>,
    scratch: Vec<u8>,
}

struct Running {
    shape: Shape,
    inner: vpx::Encoder,
}

/// What an encoder is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    width: u16,
    height: u16,
    matrix: ColourMatrix,
    range: ColourRange,
}

impl VpEncoder {
    pub(crate) fn new(settings: &VideoEncode) -> Self {
        Self {
            codec: settings.codec,
            frame_rate: settings.frame_rate.clamp(1, 120),
            kilobits: kilobits(settings.bitrate),
            clock: Clock::default(),
            running: None,
            scratch: Vec::new(),
        }
    }

    fn start(&self, shape: Shape) -> Result<Running, vpx::Fault> {
        // A keyframe may fill half of rate control's 600 ms, by libwebrtc's formula; not less than three frames.
        let max_intra_percent = (600 / 2 * self.frame_rate / 10).max(300);
        let inner = vpx::Encoder::new(&vpx::Settings {
            codec: self.codec,
            width: shape.width,
            height: shape.height,
            kilobits: self.kilobits,
            threads: threads(shape.width, shape.height).into(),
            max_intra_percent,
            matrix: shape.matrix,
            range: shape.range,
        })?;
        Ok(Running { shape, inner })
    }
}

impl VideoEncoder for VpEncoder {
    fn encode(
        &mut self,
        picture: &Planes<'_>,
        media_time_ns: u64,
        force_keyframe: bool,
    ) -> Result<Option<EncodedUnit<'_>>, EncodeError> {
        let codec = self.codec;
        let refused =
            |what| move |fault: vpx::Fault| EncodeError::Refused { codec, what, why: fault.text() };
        let shape = Shape {
            width: picture.width(),
            height: picture.height(),
            matrix: picture.matrix,
            range: picture.range,
        };
        if self.running.as_ref().is_none_or(|running| running.shape != shape) {
            // The old one's memory goes before the new one's comes.
            self.running = None;
            self.running = Some(self.start(shape).map_err(refused("the picture's size"))?);
        }
        let (at_us, lasts_us) = self.clock.tick(media_time_ns, self.frame_rate);
        let Some(running) = &mut self.running else { return Ok(None) };
        let mut repacked = 0;
        let picture = if picture.stride(1) == picture.stride(2) {
            *picture
        } else {
            let packed = picture.repacked(&mut self.scratch)?;
            repacked = packed.geometry().payload_len();
            packed
        };
        let unit = running
            .inner
            .encode(&picture, at_us, lasts_us, force_keyframe)
            .map_err(refused("a picture"))?;
        Ok(unit.map(|(bytes, keyframe)| EncodedUnit {
            bytes: UnitBytes::Whole(bytes),
            keyframe,
            repacked,
        }))
    }

    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), EncodeError> {
        let codec = self.codec;
        self.kilobits = kilobits(bits_per_second);
        let Some(running) = &mut self.running else { return Ok(()) };
        running.inner.set_kilobits(self.kilobits).map_err(|fault| EncodeError::Refused {
            codec,
            what: "the bitrate",
            why: fault.text(),
        })
    }
}

/// libvpx counts in kilobits; below 10 it cannot make a picture, above 100,000 its sums overflow.
fn kilobits(bits_per_second: u32) -> u32 {
    (bits_per_second / 1000).clamp(10, 100_000)
}
