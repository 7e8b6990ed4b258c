//! H.264 in constrained baseline over openh264, Annex B in and out.
#![allow(
    unsafe_code,
    reason = "openh264 changes its bitrate by its raw interface only, and ties planes to a handle"
)]

use crate::bitstream;
use crate::picture::Planes;
use crate::video::{
    DecodeError, DecodedPicture, EncodeError, EncodedUnit, Limit, StartError, UnitBytes,
    VideoDecoder, VideoEncoder, threads,
};
use openh264::decoder::{DecodedYUV, Decoder};
use openh264::encoder::{
    BitRate, Complexity, EncodedBitStream, Encoder, EncoderConfig, FrameRate, FrameType,
    IntraFramePeriod, Profile, RateControlMode, UsageType,
};
use openh264::formats::YUVSource;
use openh264::{OpenH264API, Timestamp};
use openh264_sys2::{
    ENCODER_OPTION_BITRATE, ENCODER_OPTION_MAX_BITRATE, ENCODER_OPTION_TRACE_LEVEL, SBitrateInfo,
    SPATIAL_LAYER_ALL, WELS_LOG_QUIET,
};
use remotemedia_shm_schema::Codec;
use remotemedia_shm_schema::control::VideoEncode;

const CODEC: Codec = Codec::H264;

/// A decoder of constrained baseline; without concealment, so a lost frame is an error until the next IDR.
pub(crate) struct H264Decoder {
    inner: Decoder,
    limit: Limit,
}

impl H264Decoder {
    pub(crate) fn new(limit: Limit) -> Result<Self, StartError> {
        let inner = Decoder::new()
            .map_err(|_| StartError::Failed { codec: CODEC, why: "openh264 has no decoder" })?;
        Ok(Self { inner, limit })
    }
}

impl VideoDecoder for H264Decoder {
    fn decode(&mut self, unit: &[u8]) -> Result<Option<DecodedPicture<'_>>, DecodeError> {
        let corrupt = |why| DecodeError::Corrupt { codec: CODEC, why };
        let header =
            bitstream::inspect(CODEC, unit).ok_or(corrupt("no NAL unit, or no readable SPS"))?;
        self.limit.check(&header)?;
        let shown = self.inner.decode(unit).map_err(|_| corrupt("openh264 could not decode it"))?;
        let Some(shown) = shown else { return Ok(None) };
        let size = shown.dimensions();
        let (Ok(width), Ok(height)) = (u16::try_from(size.0), u16::try_from(size.1)) else {
            return Err(corrupt("the picture has no size"));
        };
        let (y, u, v) = shown.strides();
        let picture = Planes::new(width, height, planes(&shown), [y, u, v])
            .map_err(|_| corrupt("the picture is shorter than its size"))?;
        Ok(Some(DecodedPicture { picture, keyframe: header.keyframe, damaged: false }))
    }
}

/// Planes for as long as the decoder keeps them, not only for as long as openh264's handle of them.
fn planes<'a>(shown: &DecodedYUV<'a>) -> [&'a [u8]; 3] {
    [shown.y(), shown.u(), shown.v()].map(|plane| {
        // SAFETY: the handle was made from memory of the decoder that it borrows for 'a; it owns nothing, and the decoder
        // keeps its picture until the next call, which needs that borrow to end.
        unsafe { std::slice::from_raw_parts(plane.as_ptr(), plane.len()) }
    })
}

/// An encoder of constrained baseline; NAL units of at most [`MAX_NAL`] bytes fit into a packet each.
///
/// H.264 with 4:2:0 has even sizes only: of an odd picture the last column or row is left out.
pub(crate) struct H264Encoder {
    bitrate: u32,
    frame_rate: u32,
    running: Option<Running>,
    scratch: Vec<u8>,
}

struct Running {
    size: (u16, u16),
    inner: Encoder,
}

/// Bytes that openh264 aims at for a slice, its greatest NAL unit stays below 1,080 (measured).
const MAX_NAL: u32 = 1200;

impl H264Encoder {
    pub(crate) fn new(settings: &VideoEncode) -> Self {
        Self {
            bitrate: checked(settings.bitrate),
            frame_rate: settings.frame_rate.clamp(1, 120),
            running: None,
            scratch: Vec::new(),
        }
    }

    fn start(&self, size: (u16, u16)) -> Result<Running, openh264::Error> {
        let config = EncoderConfig::new()
            .usage_type(UsageType::CameraVideoRealTime)
            .profile(Profile::Baseline)
            .rate_control_mode(RateControlMode::Bitrate)
            .bitrate(BitRate::from_bps(self.bitrate))
            .max_frame_rate(FrameRate::from_hz(self.frame_rate as f32))
            // On by default, and then frames vanish without a word.
            .skip_frames(false)
            .max_slice_len(MAX_NAL)
            .complexity(Complexity::Low)
            // Keyframes come when they are asked for.
            .scene_change_detect(false)
            .intra_frame_period(IntraFramePeriod::auto())
            .num_threads(threads(size.0, size.1));
        let mut inner = Encoder::with_api_config(OpenH264API::from_source(), config)?;
        let mut quiet = WELS_LOG_QUIET;
        // Otherwise it writes warnings to stderr while it begins, before the safe interface sets this.
        // SAFETY: this option reads one int during the call, and is the one that may be set before the beginning.
        unsafe { inner.raw_api().set_option(ENCODER_OPTION_TRACE_LEVEL, (&raw mut quiet).cast()) };
        Ok(Running { size, inner })
    }
}

impl VideoEncoder for H264Encoder {
    fn encode(
        &mut self,
        picture: &Planes<'_>,
        media_time_ns: u64,
        force_keyframe: bool,
    ) -> Result<Option<EncodedUnit<'_>>, EncodeError> {
        let refused = |what, why| EncodeError::Refused { codec: CODEC, what, why };
        let size = (picture.width() & !1, picture.height() & !1);
        if size.0 < 16 || size.1 < 16 {
            return Err(refused("the picture's size", "openh264 takes 16x16 and more"));
        }
        if self.running.as_ref().is_none_or(|running| running.size != size) {
            self.running = None;
            let running = self.start(size).map_err(|_| refused("to start", "openh264 failed"))?;
            self.running = Some(running);
        } else if force_keyframe && let Some(running) = &mut self.running {
            // Only an encoder that has begun can be asked; a fresh one begins with a keyframe anyway.
            running.inner.force_intra_frame();
        }
        let Some(running) = &mut self.running else { return Ok(None) };
        let mut repacked = 0;
        let picture = if picture.stride(1) == picture.stride(2) {
            picture.even()
        } else {
            let packed = picture.repacked(&mut self.scratch)?;
            repacked = packed.geometry().payload_len();
            packed.even()
        };
        let at = Timestamp::from_millis(media_time_ns / 1_000_000);
        let stream = running
            .inner
            .encode_at(&Source(picture), at)
            .map_err(|_| refused("a picture", "openh264 failed"))?;
        let keyframe = match stream.frame_type() {
            FrameType::IDR => true,
            FrameType::I | FrameType::P | FrameType::IPMixed => false,
            FrameType::Skip | FrameType::Invalid => return Ok(None),
        };
        Ok(Some(EncodedUnit { bytes: UnitBytes::Nal(NalUnits(stream)), keyframe, repacked }))
    }

    fn set_bitrate(&mut self, bits_per_second: u32) -> Result<(), EncodeError> {
        let (old, new) = (self.bitrate, checked(bits_per_second));
        self.bitrate = new;
        let Some(running) = &mut self.running else { return Ok(()) };
        // The limit may never stand below the target.
        let order = if new > old {
            [ENCODER_OPTION_MAX_BITRATE, ENCODER_OPTION_BITRATE]
        } else {
            [ENCODER_OPTION_BITRATE, ENCODER_OPTION_MAX_BITRATE]
        };
        for option in order {
            let mut info = SBitrateInfo { iLayer: SPATIAL_LAYER_ALL, iBitrate: new as i32 };
            // SAFETY: the encoder has begun; both options read one SBitrateInfo during the call and nothing that the
            // safe interface relies on.
            let code =
                unsafe { running.inner.raw_api().set_option(option, (&raw mut info).cast()) };
            if code != 0 {
                return Err(EncodeError::Refused {
                    codec: CODEC,
                    what: "the bitrate",
                    why: "openh264 failed",
                });
            }
        }
        Ok(())
    }
}

/// An access unit as openh264 holds it: NAL units with start codes, in one or more layers.
pub(crate) struct NalUnits<'a>(EncodedBitStream<'a>);

impl NalUnits<'_> {
    /// Shows each NAL unit with its start code until `use_it` has enough.
    pub(crate) fn each(&self, mut use_it: impl FnMut(&[u8]) -> bool) {
        for layer in (0..self.0.num_layers()).filter_map(|index| self.0.layer(index)) {
            for nal in (0..layer.nal_count()).filter_map(|index| layer.nal_unit(index)) {
                if !use_it(nal) {
                    return;
                }
            }
        }
    }
}

/// A picture as openh264 reads it.
struct Source<'a>(Planes<'a>);

impl YUVSource for Source<'_> {
    fn dimensions(&self) -> (usize, usize) {
        (self.0.width().into(), self.0.height().into())
    }
    fn strides(&self) -> (usize, usize, usize) {
        (self.0.stride(0), self.0.stride(1), self.0.stride(2))
    }
    fn y(&self) -> &[u8] {
        self.0.plane(0)
    }
    fn u(&self) -> &[u8] {
        self.0.plane(1)
    }
    fn v(&self) -> &[u8] {
        self.0.plane(2)
    }
}

/// openh264 counts in `int` and refuses next to nothing.
fn checked(bits_per_second: u32) -> u32 {
    bits_per_second.clamp(10_000, 100_000_000)
}
