//! What every video codec of ours can do, and where to get one.

use crate::bitstream;
use crate::h264::{H264Decoder, H264Encoder};
use crate::picture::{PlaneFault, Planes};
use crate::vp::{VpDecoder, VpEncoder};
use remotemedia_shm_schema::control::VideoEncode;
use remotemedia_shm_schema::header::MAX_SIDE;
use remotemedia_shm_schema::{Codec, VideoGeometry};

/// Turns access units into pictures.
pub trait VideoDecoder: Send {
    /// Decodes one access unit: a VP8 or VP9 frame (or superframe), or H.264 in Annex B form.
    ///
    /// `Ok(None)` is a unit that shows nothing. The picture is the decoder's own and is valid until the next call. Any
    /// bytes may come; after an error the decoder goes on with the next unit it can decode.
    ///
    /// # Errors
    /// When the unit gives no picture that could be shown.
    fn decode(&mut self, unit: &[u8]) -> Result<Option<DecodedPicture<'_>>, DecodeError>;
}

/// A picture in the decoder's memory.
#[derive(Debug, Clone, Copy)]
pub struct DecodedPicture<'a> {
    /// Its planes.
    pub picture: Planes<'a>,
    /// Decodable without what came before.
    pub keyframe: bool,
    /// Part of it was made up, or stems from a picture that was: ask for a keyframe.
    pub damaged: bool,
}

/// Why a unit gave no picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bitstream is broken, or refers to what was lost.
    #[error("broken {codec} access unit: {why}")]
    Corrupt {
        /// Of what.
        codec: Codec,
        /// As the decoder calls it.
        why: &'static str,
    },
    /// A profile that we do not decode.
    #[error("{codec} access unit of a kind that is not supported: {why}")]
    Unsupported {
        /// Of what.
        codec: Codec,
        /// Which kind.
        why: &'static str,
    },
    /// Its header claims a size over the limit; the decoder did not see it.
    #[error("picture of {width}x{height} is larger than the {limit} bytes allowed")]
    TooLarge {
        /// Pixels.
        width: u32,
        /// Pixels.
        height: u32,
        /// Bytes that a raw picture may have.
        limit: u32,
    },
}

/// Turns pictures into access units, in real time: one in, at most one out.
pub trait VideoEncoder: Send {
    /// Encodes a picture of any size in place; another size than before makes a keyframe. The first is a keyframe.
    ///
    /// `Ok(None)` is a picture that rate control dropped. What a forced keyframe comes to is the same picture as a
    /// keyframe, never a later one.
    ///
    /// # Errors
    /// When the codec cannot encode this picture; the next may go.
    fn encode(
        &mut self,
        picture: &Planes<'_>,
        media_time_ns: u64,
        force_keyframe: bool,
    ) -> Result<Option<EncodedUnit<'_>>, EncodeError>;

    /// Aims at another rate from the next picture on; makes no keyframe.
    ///
    /// # Errors
    /// When the codec refuses it.
    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), EncodeError>;
}

/// An access unit in the encoder's memory, in one or more parts.
pub struct EncodedUnit<'a> {
    pub(crate) bytes: UnitBytes<'a>,
    pub(crate) keyframe: bool,
    pub(crate) repacked: usize,
}

pub(crate) enum UnitBytes<'a> {
    Whole(&'a [u8]),
    Nal(crate::h264::NalUnits<'a>),
}

impl EncodedUnit<'_> {
    /// Decodable without what came before.
    #[must_use]
    pub fn keyframe(&self) -> bool {
        self.keyframe
    }

    /// Bytes of raw picture that had to be copied because the codec cannot read their layout; 0 is the rule.
    #[must_use]
    pub fn repacked(&self) -> usize {
        self.repacked
    }

    /// Bytes of the unit.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.bytes {
            UnitBytes::Whole(bytes) => bytes.len(),
            UnitBytes::Nal(units) => {
                let mut len = 0;
                units.each(|nal| {
                    len += nal.len();
                    true
                });
                len
            }
        }
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes the unit to the begin of `into` and returns its length; `None` when it does not fit.
    #[must_use]
    pub fn write_to(&self, into: &mut [u8]) -> Option<usize> {
        match &self.bytes {
            UnitBytes::Whole(bytes) => {
                into.get_mut(..bytes.len())?.copy_from_slice(bytes);
                Some(bytes.len())
            }
            UnitBytes::Nal(units) => {
                let mut at = 0;
                let mut fits = true;
                units.each(|nal| {
                    let place = into.get_mut(at..at + nal.len());
                    fits = place.is_some();
                    if let Some(place) = place {
                        place.copy_from_slice(nal);
                        at += nal.len();
                    }
                    fits
                });
                fits.then_some(at)
            }
        }
    }

    /// The unit in memory of its own.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        let len = self.write_to(&mut bytes);
        debug_assert_eq!(len, Some(bytes.len()));
        bytes
    }
}

/// Why there is no access unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// The codec cannot make this.
    #[error("{codec} encoder refused {what}: {why}")]
    Refused {
        /// Which.
        codec: Codec,
        /// What was asked.
        what: &'static str,
        /// As the codec calls it.
        why: &'static str,
    },
    /// The planes contradict themselves.
    #[error(transparent)]
    Planes(#[from] PlaneFault),
}

/// No codec of this name for pictures, or it could not be started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// It is a codec for sound.
    #[error("{0} is not a video codec")]
    NotVideo(Codec),
    /// The library did not start.
    #[error("{codec} did not start: {why}")]
    Failed {
        /// Which.
        codec: Codec,
        /// As the codec calls it.
        why: &'static str,
    },
}

/// A decoder of `codec` that refuses pictures whose raw form has more than `max_raw` bytes before it takes memory for
/// them.
///
/// # Errors
/// When the codec is for sound or cannot be started.
pub fn video_decoder(codec: Codec, max_raw: u32) -> Result<Box<dyn VideoDecoder>, StartError> {
    Ok(match codec {
        Codec::Vp8 | Codec::Vp9 => Box::new(VpDecoder::new(codec, Limit(max_raw))?),
        Codec::H264 => Box::new(H264Decoder::new(Limit(max_raw))?),
        Codec::Opus => return Err(StartError::NotVideo(codec)),
    })
}

/// An encoder as `settings` says; it starts with its first picture.
///
/// # Errors
/// When the codec is for sound.
pub fn video_encoder(settings: &VideoEncode) -> Result<Box<dyn VideoEncoder>, StartError> {
    Ok(match settings.codec {
        Codec::Vp8 | Codec::Vp9 => Box::new(VpEncoder::new(settings)),
        Codec::H264 => Box::new(H264Encoder::new(settings)),
        Codec::Opus => return Err(StartError::NotVideo(settings.codec)),
    })
}

/// The greatest raw picture, in bytes of our own layout.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(pub(crate) u32);

impl Limit {
    /// Refuses a unit whose headers claim a picture over the limit.
    pub(crate) fn check(self, unit: &bitstream::Unit) -> Result<(), DecodeError> {
        let Some((width, height)) = unit.size else { return Ok(()) };
        let fits = match (u16::try_from(width), u16::try_from(height)) {
            (Ok(w), Ok(h)) if w <= MAX_SIDE && h <= MAX_SIDE => {
                VideoGeometry::i420(w, h).payload_len() <= self.0 as usize
            }
            _ => false,
        };
        if fits { Ok(()) } else { Err(DecodeError::TooLarge { width, height, limit: self.0 }) }
    }
}

/// The part of a machine that one encoder may take: libwebrtc's table, which leaves small machines to the other tasks.
pub(crate) fn threads(width: u16, height: u16) -> u16 {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores >= 3 && u32::from(width) * u32::from(height) > 640 * 480 { 2 } else { 1 }
}

/// Media time to an encoder's clock: always forward, by steps that rate control can take for a frame rate.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last_media_ns: Option<u64>,
    now_us: i64,
}

/// Microseconds between two pictures as the encoder is told: 120 a second at most, 10 at least (chosen). After a pause,
/// rate control would take it for the new frame rate and spend its bits on one picture.
const STEP_US: std::ops::RangeInclusive<u64> = 8_333..=100_000;

impl Clock {
    /// The encoder's time of a picture, and how long the one before it lasted.
    pub(crate) fn tick(&mut self, media_time_ns: u64, frame_rate: u32) -> (i64, u64) {
        let step = match self.last_media_ns {
            Some(last) if media_time_ns > last => (media_time_ns - last) / 1000,
            _ => 1_000_000 / u64::from(frame_rate.max(1)),
        }
        .clamp(*STEP_US.start(), *STEP_US.end());
        if self.last_media_ns.is_some() {
            self.now_us = self.now_us.saturating_add(step as i64);
        }
        self.last_media_ns = Some(media_time_ns);
        (self.now_us, step)
    }
}
