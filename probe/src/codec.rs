//! The codec workers' library as the probe uses it: whole pictures and blocks of its own, in and out.
//!
//! The settings are those that the router's own encoders run with, so that a call and its floor are comparable.

use crate::picture::Picture;
use remotemedia_codec_worker::{self as worker, Planes};
use remotemedia_shm_schema::control::{AudioEncode, VideoEncode};
use remotemedia_shm_schema::{Codec, VideoGeometry};

/// Sides of the largest picture that is decoded: 4K in either direction.
const MAX_SIDE: u16 = 4_096;

/// A codec failed.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct CodecFault(String);

fn fault(error: impl std::fmt::Display) -> CodecFault {
    CodecFault(error.to_string())
}

/// What a decoded access unit came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decoded {
    /// Decodable without what came before.
    pub keyframe: bool,
    /// Part of it was made up.
    pub damaged: bool,
}

/// Turns access units into pictures.
pub struct VideoDecoder(Box<dyn worker::VideoDecoder>);

impl VideoDecoder {
    /// A decoder of this codec.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn new(codec: Codec) -> Result<Self, CodecFault> {
        let most = VideoGeometry::i420(MAX_SIDE, MAX_SIDE).payload_len();
        worker::video_decoder(codec, most as u32).map(Self).map_err(fault)
    }

    /// Decodes one unit into `into`, which takes the picture's size; `None` when the unit shows nothing.
    ///
    /// # Errors
    /// When the unit gives no picture.
    pub fn decode(
        &mut self,
        unit: &[u8],
        into: &mut Picture,
    ) -> Result<Option<Decoded>, CodecFault> {
        let Some(shown) = self.0.decode(unit).map_err(fault)? else { return Ok(None) };
        into.resize(shown.picture.width(), shown.picture.height());
        let geometry = *into.geometry();
        shown.picture.copy_into(&geometry, into.bytes_mut()).map_err(fault)?;
        Ok(Some(Decoded { keyframe: shown.keyframe, damaged: shown.damaged }))
    }
}

/// Turns pictures into access units.
pub struct VideoEncoder {
    inner: Box<dyn worker::VideoEncoder>,
    unit: Vec<u8>,
}

/// An encoded picture.
#[derive(Debug)]
pub struct Unit<'a> {
    /// The access unit.
    pub bytes: &'a [u8],
    /// Decodable without what came before.
    pub keyframe: bool,
}

impl VideoEncoder {
    /// An encoder of this codec and rate; `most` is the largest size that will come.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn new(
        codec: Codec,
        bitrate: u32,
        frame_rate: u32,
        most: (u16, u16),
    ) -> Result<Self, CodecFault> {
        let settings =
            VideoEncode { codec, bitrate, max_width: most.0, max_height: most.1, frame_rate };
        let inner = worker::video_encoder(&settings).map_err(fault)?;
        Ok(Self { inner, unit: Vec::new() })
    }

    /// Encodes one picture; `None` when rate control dropped it.
    ///
    /// # Errors
    /// When the codec cannot.
    pub fn encode(
        &mut self,
        picture: &Picture,
        media_time_ns: u64,
        force_keyframe: bool,
    ) -> Result<Option<Unit<'_>>, CodecFault> {
        let planes = Planes::of_payload(picture.geometry(), picture.bytes()).map_err(fault)?;
        let encoded = self.inner.encode(&planes, media_time_ns, force_keyframe).map_err(fault)?;
        let Some(encoded) = encoded else { return Ok(None) };
        self.unit.resize(encoded.len(), 0);
        let keyframe = encoded.keyframe();
        encoded.write_to(&mut self.unit).ok_or_else(|| fault("a unit outgrew its length"))?;
        Ok(Some(Unit { bytes: &self.unit, keyframe }))
    }
}

/// Turns Opus packets into sound.
pub struct AudioDecoder(worker::OpusDecoder);

impl AudioDecoder {
    /// A decoder to 1 or 2 channels.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn new(channels: u8) -> Result<Self, CodecFault> {
        worker::OpusDecoder::new(channels).map(Self).map_err(fault)
    }

    /// Decodes a packet; samples a channel.
    ///
    /// # Errors
    /// When it is broken.
    pub fn decode(&mut self, packet: &[u8], into: &mut [f32]) -> Result<usize, CodecFault> {
        self.0.decode(packet, into).map_err(fault)
    }

    /// Makes up what was lost, as long as `into`; samples a channel.
    ///
    /// # Errors
    /// When the length is not possible.
    pub fn conceal(&mut self, into: &mut [f32]) -> Result<usize, CodecFault> {
        self.0.conceal(into).map_err(fault)
    }
}

/// Turns sound into Opus packets.
pub struct AudioEncoder {
    inner: worker::OpusEncoder,
    packet: Vec<u8>,
}

impl AudioEncoder {
    /// An encoder of 1 or 2 channels.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn new(channels: u8, bitrate: u32) -> Result<Self, CodecFault> {
        let settings = AudioEncode {
            bitrate,
            channels,
            fec: true,
            expected_loss: 5,
            dtx: false,
            complexity: 5,
        };
        let inner = worker::OpusEncoder::new(&settings).map_err(fault)?;
        Ok(Self { inner, packet: vec![0; worker::sound::MAX_PACKET] })
    }

    /// Encodes one block of 10 or 20 ms.
    ///
    /// # Errors
    /// For a block of another length.
    pub fn encode(&mut self, block: &[f32]) -> Result<&[u8], CodecFault> {
        let length = self.inner.encode(block, &mut self.packet).map_err(fault)?;
        self.packet.get(..length).ok_or_else(|| fault("a packet outgrew its length"))
    }

    /// Samples a channel by which decoded sound lags behind.
    ///
    /// # Errors
    /// When Opus does not tell.
    pub fn look_ahead(&mut self) -> Result<u32, CodecFault> {
        self.inner.look_ahead().map_err(fault)
    }
}

macro_rules! opaque {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )*};
}
opaque!(VideoDecoder, VideoEncoder, AudioDecoder, AudioEncoder);
