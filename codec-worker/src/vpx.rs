//! libvpx behind a safe face: one decoder and one encoder context, nothing of ours decided here.
#![allow(unsafe_code, reason = "libvpx is a C library")]

use crate::picture::Planes;
use remotemedia_shm_schema::{Codec, ColourMatrix, ColourRange};
use std::ffi::{CStr, c_int, c_uint, c_ulong};
use std::mem::MaybeUninit;
use std::ptr;
use vpx_sys as vpx;

/// What libvpx says when it does not do what it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault(vpx::vpx_codec_err_t);

impl Fault {
    /// In libvpx's words.
    pub(crate) fn text(self) -> &'static str {
        // SAFETY: it returns a string literal for every value of the enumeration.
        let text = unsafe { CStr::from_ptr(vpx::vpx_codec_err_to_string(self.0)) };
        text.to_str().unwrap_or("unknown error")
    }
}

fn done(code: vpx::vpx_codec_err_t) -> Result<(), Fault> {
    if code == vpx::vpx_codec_err_t::VPX_CODEC_OK { Ok(()) } else { Err(Fault(code)) }
}

/// A context of libvpx that was initialized and will be destroyed; boxed, because libvpx keeps pointers into it.
struct Context(Box<vpx::vpx_codec_ctx_t>);

// SAFETY: a context has no tie to the thread that made it, and every use goes through `&mut`.
unsafe impl Send for Context {}

impl Context {
    fn control(&mut self, control: c_int, value: c_int) -> Result<(), Fault> {
        // SAFETY: initialized, and every control that this file passes takes one int.
        done(unsafe { vpx::vpx_codec_control_(&mut *self.0, control, value) })
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: initialized once, destroyed once.
        unsafe { vpx::vpx_codec_destroy(&mut *self.0) };
    }
}

/// A decoder of VP8 or VP9.
pub(crate) struct Decoder {
    context: Context,
}

/// A picture that the decoder shows.
pub(crate) struct Shown<'a> {
    pub(crate) planes: Planes<'a>,
    /// It, or a picture that it refers to, could not be decoded in full.
    pub(crate) corrupted: bool,
}

/// Why a decoder shows nothing.
pub(crate) enum DecodeFault {
    Codec(Fault),
    /// Not 8-bit 4:2:0.
    Format,
}

impl Decoder {
    pub(crate) fn new(codec: Codec) -> Result<Self, Fault> {
        // SAFETY: both return a pointer to a static interface.
        let interface = unsafe {
            if codec == Codec::Vp9 { vpx::vpx_codec_vp9_dx() } else { vpx::vpx_codec_vp8_dx() }
        };
        let settings = vpx::vpx_codec_dec_cfg_t { threads: 1, w: 0, h: 0 };
        let mut context = Box::new(MaybeUninit::zeroed());
        // SAFETY: all-zero is the state that libvpx wants; it copies the settings.
        let code = unsafe {
            vpx::vpx_codec_dec_init_ver(
                context.as_mut_ptr(),
                interface,
                &settings,
                0,
                vpx::VPX_DECODER_ABI_VERSION as c_int,
            )
        };
        done(code)?;
        // SAFETY: initialized above.
        Ok(Self { context: Context(unsafe { context.assume_init() }) })
    }

    /// Decodes one unit; of several pictures the last one is shown.
    pub(crate) fn decode(&mut self, unit: &[u8]) -> Result<Option<Shown<'_>>, DecodeFault> {
        let Ok(len) = c_uint::try_from(unit.len()) else { return Ok(None) };
        if len == 0 {
            // libvpx takes no data for "flush".
            return Ok(None);
        }
        let context = &mut *self.context.0;
        // SAFETY: initialized; `unit` is only read, within its length, during the call.
        let code =
            unsafe { vpx::vpx_codec_decode(context, unit.as_ptr(), len, ptr::null_mut(), 0) };
        // Pictures must be taken out even after an error, or the next call would return them.
        let mut iterator = ptr::null();
        let mut last: *mut vpx::vpx_image_t = ptr::null_mut();
        loop {
            // SAFETY: initialized; the iterator is libvpx's own between these calls.
            let image = unsafe { vpx::vpx_codec_get_frame(context, &mut iterator) };
            if image.is_null() {
                break;
            }
            last = image;
        }
        done(code).map_err(DecodeFault::Codec)?;
        if last.is_null() {
            return Ok(None);
        }
        let mut corrupted: c_int = 0;
        // SAFETY: this control writes one int to the pointer.
        let asked = unsafe {
            vpx::vpx_codec_control_(
                context,
                vpx::vp8_dec_control_id::VP8D_GET_FRAME_CORRUPTED as c_int,
                &mut corrupted as *mut c_int,
            )
        };
        // SAFETY: libvpx keeps the image and its planes until the next call on this context, which needs `&mut self`,
        // which the returned lifetime holds.
        let planes = unsafe { planes(&*last) }.ok_or(DecodeFault::Format)?;
        Ok(Some(Shown { planes, corrupted: done(asked).is_err() || corrupted != 0 }))
    }
}

/// The planes of a libvpx image, if it is 8-bit 4:2:0.
///
/// # Safety
/// The image's planes must hold what its format, size and strides say for as long as `'a`.
unsafe fn planes<'a>(image: &vpx::vpx_image_t) -> Option<Planes<'a>> {
    if image.fmt != vpx::vpx_img_fmt_t::VPX_IMG_FMT_I420 {
        return None;
    }
    let width = u16::try_from(image.d_w).ok().filter(|w| *w > 0)?;
    let height = u16::try_from(image.d_h).ok().filter(|h| *h > 0)?;
    let mut data: [&[u8]; 3] = [&[]; 3];
    let mut strides = [0; 3];
    for plane in 0..3 {
        let (columns, rows) = match plane {
            0 => (usize::from(width), usize::from(height)),
            _ => (usize::from(width).div_ceil(2), usize::from(height).div_ceil(2)),
        };
        let stride = usize::try_from(image.stride[plane]).ok()?;
        let pointer = image.planes[plane];
        if pointer.is_null() || stride < columns {
            return None;
        }
        // SAFETY: the caller vouches for the rows; the slice ends with the last row's last column.
        data[plane] = unsafe { std::slice::from_raw_parts(pointer, stride * (rows - 1) + columns) };
        strides[plane] = stride;
    }
    let mut planes = Planes::new(width, height, data, strides).ok()?;
    planes.matrix = match image.cs {
        vpx::vpx_color_space_t::VPX_CS_BT_601 | vpx::vpx_color_space_t::VPX_CS_SMPTE_170 => {
            ColourMatrix::Bt601
        }
        vpx::vpx_color_space_t::VPX_CS_BT_709 => ColourMatrix::Bt709,
        vpx::vpx_color_space_t::VPX_CS_BT_2020 => ColourMatrix::Bt2020,
        _ => ColourMatrix::Unspecified,
    };
    planes.range = match image.range {
        vpx::vpx_color_range_t::VPX_CR_FULL_RANGE => ColourRange::Full,
        vpx::vpx_color_range_t::VPX_CR_STUDIO_RANGE => ColourRange::Limited,
    };
    Some(planes)
}

/// What an encoder is set to; sizes never change in its life.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) codec: Codec,
    pub(crate) width: u16,
    pub(crate) height: u16,
    pub(crate) kilobits: u32,
    pub(crate) threads: u32,
    /// Percent of one inter frame's share of bits that a keyframe may have.
    pub(crate) max_intra_percent: u32,
    pub(crate) matrix: ColourMatrix,
    pub(crate) range: ColourRange,
}

/// An encoder of VP8 or VP9.
pub(crate) struct Encoder {
    context: Context,
    settings: vpx::vpx_codec_enc_cfg_t,
}

// SAFETY: as its context; the pointers in its settings are null, they are for two-pass encoding.
unsafe impl Send for Encoder {}

/// Ticks a second of [`Encoder::encode`]'s times.
const TICKS: c_int = 1_000_000;

impl Encoder {
    pub(crate) fn new(wanted: &Settings) -> Result<Self, Fault> {
        let vp9 = wanted.codec == Codec::Vp9;
        // SAFETY: both return a pointer to a static interface.
        let interface =
            unsafe { if vp9 { vpx::vpx_codec_vp9_cx() } else { vpx::vpx_codec_vp8_cx() } };
        let mut settings = MaybeUninit::zeroed();
        // SAFETY: it writes the whole structure when it returns OK.
        done(unsafe { vpx::vpx_codec_enc_config_default(interface, settings.as_mut_ptr(), 0) })?;
        // SAFETY: written above.
        let mut settings: vpx::vpx_codec_enc_cfg_t = unsafe { settings.assume_init() };
        configure(&mut settings, wanted);
        let mut context = Box::new(MaybeUninit::zeroed());
        // SAFETY: all-zero is the state that libvpx wants; it copies the settings.
        let code = unsafe {
            vpx::vpx_codec_enc_init_ver(
                context.as_mut_ptr(),
                interface,
                &settings,
                0,
                vpx::VPX_ENCODER_ABI_VERSION as c_int,
            )
        };
        done(code)?;
        // SAFETY: initialized above.
        let mut context = Context(unsafe { context.assume_init() });
        for (control, value) in controls(wanted) {
            context.control(control as c_int, value)?;
        }
        Ok(Self { context, settings })
    }

    pub(crate) fn set_kilobits(&mut self, kilobits: u32) -> Result<(), Fault> {
        self.settings.rc_target_bitrate = kilobits;
        // SAFETY: initialized; the settings differ from those at init in the bitrate only.
        done(unsafe { vpx::vpx_codec_enc_config_set(&mut *self.context.0, &self.settings) })
    }

    /// Encodes a picture of the size the encoder was made for, reading its planes in place. The unit, and whether it is
    /// a keyframe; nothing where rate control dropped it.
    pub(crate) fn encode(
        &mut self,
        picture: &Planes<'_>,
        at_us: i64,
        lasts_us: u64,
        keyframe: bool,
    ) -> Result<Option<(&[u8], bool)>, Fault> {
        let fits = c_uint::from(picture.width()) == self.settings.g_w
            && c_uint::from(picture.height()) == self.settings.g_h
            && picture.stride(1) == picture.stride(2);
        let strides = [0, 1, 2].map(|plane| c_int::try_from(picture.stride(plane)));
        let (true, [Ok(y), Ok(u), Ok(v)]) = (fits, strides) else {
            return Err(Fault(vpx::vpx_codec_err_t::VPX_CODEC_INVALID_PARAM));
        };
        // SAFETY: a C structure of integers, pointers and enumerations that all have a zero variant.
        let mut image: vpx::vpx_image_t = unsafe { MaybeUninit::zeroed().assume_init() };
        image.fmt = vpx::vpx_img_fmt_t::VPX_IMG_FMT_I420;
        (image.w, image.h) = (self.settings.g_w, self.settings.g_h);
        (image.d_w, image.d_h) = (image.w, image.h);
        (image.x_chroma_shift, image.y_chroma_shift) = (1, 1);
        image.bit_depth = 8;
        image.bps = 12;
        for plane in 0..3 {
            image.planes[plane] = picture.plane(plane).as_ptr().cast_mut();
        }
        image.stride = [y, u, v, 0];
        let flags = if keyframe { vpx::VPX_EFLAG_FORCE_KF } else { 0 };
        let context = &mut *self.context.0;
        // SAFETY: initialized; libvpx only reads the planes, only within rows and columns, which `Planes` checked.
        done(unsafe {
            vpx::vpx_codec_encode(
                context,
                &image,
                at_us,
                lasts_us as c_ulong,
                flags.into(),
                vpx::VPX_DL_REALTIME.into(),
            )
        })?;
        let mut iterator = ptr::null();
        let mut unit = None;
        loop {
            // SAFETY: initialized; the iterator is libvpx's own between these calls.
            let packet = unsafe { vpx::vpx_codec_get_cx_data(context, &mut iterator) };
            if packet.is_null() {
                break;
            }
            // SAFETY: not null, so a packet of libvpx's until the next call to encode.
            let packet = unsafe { &*packet };
            if packet.kind == vpx::vpx_codec_cx_pkt_kind::VPX_CODEC_CX_FRAME_PKT && unit.is_none() {
                // SAFETY: this kind of packet has this member of the union.
                let frame = unsafe { packet.data.frame };
                if !frame.buf.is_null() {
                    // SAFETY: libvpx's output buffer until the next call to encode, which needs `&mut self`.
                    let bytes = unsafe {
                        std::slice::from_raw_parts(frame.buf.cast::<u8>(), frame.sz as usize)
                    };
                    unit = Some((bytes, frame.flags & vpx::VPX_FRAME_IS_KEY != 0));
                }
            }
        }
        Ok(unit)
    }
}

/// One pass, constant bitrate, real time, no lag; the numbers are libwebrtc's for calls.
fn configure(settings: &mut vpx::vpx_codec_enc_cfg_t, wanted: &Settings) {
    let vp9 = wanted.codec == Codec::Vp9;
    settings.g_w = wanted.width.into();
    settings.g_h = wanted.height.into();
    settings.g_threads = wanted.threads;
    settings.g_timebase = vpx::vpx_rational { num: 1, den: TICKS };
    settings.g_error_resilient = vpx::VPX_ERROR_RESILIENT_DEFAULT;
    settings.g_pass = vpx::vpx_enc_pass::VPX_RC_ONE_PASS;
    settings.g_lag_in_frames = 0;
    settings.rc_end_usage = vpx::vpx_rc_mode::VPX_CBR;
    settings.rc_target_bitrate = wanted.kilobits;
    // Without dropping, a starved encoder overshoots by far: 560 kb/s for 300.
    settings.rc_dropframe_thresh = 30;
    settings.rc_resize_allowed = 0;
    settings.rc_min_quantizer = 2;
    settings.rc_max_quantizer = if vp9 { 52 } else { 56 };
    settings.rc_undershoot_pct = if vp9 { 50 } else { 100 };
    settings.rc_overshoot_pct = if vp9 { 50 } else { 15 };
    settings.rc_buf_initial_sz = 500;
    settings.rc_buf_optimal_sz = 600;
    settings.rc_buf_sz = 1000;
    // Keyframes come when they are asked for; VP9 takes no mode for that, only a great distance.
    settings.kf_mode = vpx::vpx_kf_mode::VPX_KF_DISABLED;
    settings.kf_min_dist = 0;
    settings.kf_max_dist = 1_000_000;
}

fn controls(wanted: &Settings) -> impl Iterator<Item = (vpx::vp8e_enc_control_id, c_int)> {
    use vpx::vp8e_enc_control_id as id;
    let intra = wanted.max_intra_percent as c_int;
    let vp8: &[_] = &[
        (id::VP8E_SET_CPUUSED, -8),
        (id::VP8E_SET_MAX_INTRA_BITRATE_PCT, intra),
        (id::VP8E_SET_STATIC_THRESHOLD, 1),
        (id::VP8E_SET_NOISE_SENSITIVITY, 0),
        (id::VP8E_SET_SCREEN_CONTENT_MODE, 0),
    ];
    let matrix = match wanted.matrix {
        ColourMatrix::Unspecified => vpx::vpx_color_space_t::VPX_CS_UNKNOWN,
        ColourMatrix::Bt601 => vpx::vpx_color_space_t::VPX_CS_BT_601,
        ColourMatrix::Bt709 => vpx::vpx_color_space_t::VPX_CS_BT_709,
        ColourMatrix::Bt2020 => vpx::vpx_color_space_t::VPX_CS_BT_2020,
    };
    let range = match wanted.range {
        ColourRange::Limited => vpx::vpx_color_range_t::VPX_CR_STUDIO_RANGE,
        ColourRange::Full => vpx::vpx_color_range_t::VPX_CR_FULL_RANGE,
    };
    let vp9: &[_] = &[
        (id::VP8E_SET_CPUUSED, 8),
        (id::VP8E_SET_MAX_INTRA_BITRATE_PCT, intra),
        (id::VP8E_SET_STATIC_THRESHOLD, 1),
        (id::VP9E_SET_NOISE_SENSITIVITY, 0),
        // Cyclic refresh spreads a sharper picture over many frames.
        (id::VP9E_SET_AQ_MODE, 3),
        (id::VP9E_SET_TILE_COLUMNS, c_int::from(wanted.threads > 1)),
        (id::VP9E_SET_ROW_MT, c_int::from(wanted.threads > 1)),
        (id::VP9E_SET_FRAME_PARALLEL_DECODING, 0),
        (id::VP9E_SET_COLOR_SPACE, matrix as c_int),
        (id::VP9E_SET_COLOR_RANGE, range as c_int),
    ];
    let list = if wanted.codec == Codec::Vp9 { vp9.to_vec() } else { vp8.to_vec() };
    list.into_iter()
}
