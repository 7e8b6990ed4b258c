//! What an access unit's headers claim, read before a decoder takes memory for it.
//!
//! A keyframe of a few bytes may claim 16383x16383 pixels, and libvpx would allocate them. Sizes are read here and
//! compared with the track's limit; everything deeper is the decoders' business. VP8: RFC 6386 section 9.1; VP9:
//! bitstream specification 6.2 and annex B; H.264: 7.3.2.1.

use remotemedia_shm_schema::Codec;

/// What the headers of an access unit say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unit {
    /// Decodable without what came before.
    pub keyframe: bool,
    /// The greatest width and height that decoding it takes memory for, where it carries a size.
    pub size: Option<(u32, u32)>,
}

/// Reads a unit's headers; `None` when they cannot be what they should be.
#[must_use]
pub fn inspect(codec: Codec, unit: &[u8]) -> Option<Unit> {
    match codec {
        Codec::Vp8 => vp8(unit),
        Codec::Vp9 => vp9(unit),
        Codec::H264 => h264(unit),
        Codec::Opus => None,
    }
}

fn vp8(unit: &[u8]) -> Option<Unit> {
    let [tag, _, _, rest @ ..] = unit else { return None };
    if tag & 1 == 1 {
        return Some(Unit::default());
    }
    let [0x9d, 0x01, 0x2a, w0, w1, h0, h1, ..] = rest else { return None };
    // The upper two bits are a scale for display.
    let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    Some(Unit { keyframe: true, size: Some((side(*w0, *w1), side(*h0, *h1))) })
}

fn vp9(unit: &[u8]) -> Option<Unit> {
    let mut whole = Unit::default();
    let mut first = true;
    for frame in superframe(unit) {
        let header = vp9_frame(frame?)?;
        whole.keyframe |= first && header.keyframe;
        whole.size = greatest(whole.size, header.size);
        first = false;
    }
    Some(whole)
}

/// The frames of a superframe by the index at its end, or the unit itself.
fn superframe(unit: &[u8]) -> impl Iterator<Item = Option<&[u8]>> {
    let marker = unit.last().copied().unwrap_or(0);
    let count = usize::from(marker & 7) + 1;
    let bytes = usize::from((marker >> 3) & 3) + 1;
    let index = (marker & 0xe0 == 0xc0)
        .then(|| unit.len().checked_sub(2 + bytes * count))
        .flatten()
        .filter(|&begin| unit.get(begin) == Some(&marker))
        .and_then(|begin| unit.get(begin + 1..unit.len() - 1));
    let sizes = index.unwrap_or_default();
    let mut begin = 0usize;
    let indexed = sizes.chunks_exact(bytes).map(move |size| {
        let len = size.iter().rev().fold(0usize, |n, b| n << 8 | usize::from(*b));
        let frame = unit.get(begin..begin.checked_add(len)?);
        begin += len;
        frame
    });
    let alone = index.is_none().then_some(Some(unit));
    // An index may name frames of no bytes.
    indexed.filter(|f| f.is_none_or(|f| !f.is_empty())).chain(alone)
}

fn vp9_frame(frame: &[u8]) -> Option<Unit> {
    const SYNC: u32 = 0x49_83_42;
    let mut bits = Bits::new(frame, false);
    if bits.take(2)? != 2 {
        return None;
    }
    let profile = bits.take(1)? | bits.take(1)? << 1;
    if profile == 3 {
        bits.take(1)?;
    }
    if bits.take(1)? == 1 {
        return Some(Unit::default()); // show_existing_frame
    }
    let keyframe = bits.take(1)? == 0;
    let shown = bits.take(1)? == 1;
    let resilient = bits.take(1)? == 1;
    let size = |bits: &mut Bits<'_>| Some((bits.take(16)? + 1, bits.take(16)? + 1));
    if keyframe {
        if bits.take(24)? != SYNC {
            return None;
        }
        vp9_colour(&mut bits, profile)?;
        return Some(Unit { keyframe, size: Some(size(&mut bits)?) });
    }
    let intra_only = !shown && bits.take(1)? == 1;
    if !resilient {
        bits.take(2)?;
    }
    if intra_only {
        if bits.take(24)? != SYNC {
            return None;
        }
        if profile > 0 {
            vp9_colour(&mut bits, profile)?;
        }
        bits.take(8)?;
        return Some(Unit { keyframe, size: Some(size(&mut bits)?) });
    }
    bits.take(8 + 3 * 4)?;
    for _ in 0..3 {
        if bits.take(1)? == 1 {
            return Some(Unit { keyframe, size: None }); // the size of a picture that it refers to
        }
    }
    Some(Unit { keyframe, size: Some(size(&mut bits)?) })
}

fn vp9_colour(bits: &mut Bits<'_>, profile: u32) -> Option<()> {
    const RGB: u32 = 7;
    if profile >= 2 {
        bits.take(1)?;
    }
    let subsampled = profile == 1 || profile == 3;
    if bits.take(3)? != RGB {
        bits.take(1)?;
        if subsampled {
            bits.take(3)?;
        }
    } else if subsampled {
        bits.take(1)?;
    }
    Some(())
}

fn h264(unit: &[u8]) -> Option<Unit> {
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const SUBSET_SPS: u8 = 15;
    let mut whole = Unit::default();
    let mut any = false;
    for nal in nal_units(unit) {
        let Some(&header) = nal.first() else { continue };
        any = true;
        match header & 0x1f {
            IDR => whole.keyframe = true,
            SPS | SUBSET_SPS => {
                whole.size = greatest(whole.size, Some(sps_size(nal.get(1..)?)?));
            }
            _ => {}
        }
    }
    any.then_some(whole)
}

/// The NAL units of an Annex B byte stream, without their start codes.
fn nal_units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = after_start_code(stream);
    std::iter::from_fn(move || {
        let nal = rest?;
        let end = nal.windows(3).position(|w| w == [0, 0, 1]).unwrap_or(nal.len());
        let (nal, next) = nal.split_at(end);
        rest = after_start_code(next);
        Some(nal)
    })
}

fn after_start_code(stream: &[u8]) -> Option<&[u8]> {
    let begin = stream.windows(3).position(|w| w == [0, 0, 1])?;
    stream.get(begin + 3..)
}

/// Pixels that an SPS asks memory for: less than a macroblock of cropping is for display only, more is taken as size.
fn sps_size(sps: &[u8]) -> Option<(u32, u32)> {
    let mut bits = Bits::new(sps, true);
    let profile = bits.take(8)?;
    bits.take(16)?;
    bits.golomb()?;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        let chroma = bits.golomb()?;
        if chroma == 3 {
            bits.take(1)?;
        }
        bits.golomb()?;
        bits.golomb()?;
        bits.take(1)?;
        if bits.take(1)? == 1 {
            scaling_lists(&mut bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    bits.golomb()?;
    match bits.golomb()? {
        0 => drop(bits.golomb()?),
        1 => {
            bits.take(1)?;
            bits.golomb()?;
            bits.golomb()?;
            for _ in 0..bits.golomb()?.min(255) {
                bits.golomb()?;
            }
        }
        2 => {}
        _ => return None,
    }
    bits.golomb()?;
    bits.take(1)?;
    let columns = bits.golomb()?.checked_add(1)?;
    let rows = bits.golomb()?.checked_add(1)?;
    let progressive = bits.take(1)?;
    if progressive == 0 {
        bits.take(1)?;
    }
    bits.take(1)?;
    let fields = 2 - progressive;
    let mut size = (columns.checked_mul(16)?, rows.checked_mul(16)?.checked_mul(fields)?);
    if bits.take(1)? == 1 {
        let across = bits.golomb()?.saturating_add(bits.golomb()?);
        let down = bits.golomb()?.saturating_add(bits.golomb()?);
        size.0 = size.0.checked_sub(across.saturating_mul(2).min(14))?;
        size.1 = size.1.checked_sub(down.saturating_mul(2 * fields).min(14 * fields))?;
    }
    Some(size)
}

fn scaling_lists(bits: &mut Bits<'_>, lists: u32) -> Option<()> {
    for list in 0..lists {
        if bits.take(1)? == 0 {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                let code = i64::from(bits.golomb()?);
                let delta = if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) };
                next = (last + delta).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

fn greatest(a: Option<(u32, u32)>, b: Option<(u32, u32)>) -> Option<(u32, u32)> {
    match (a, b) {
        (Some(a), Some(b)) => Some((a.0.max(b.0), a.1.max(b.1))),
        (a, b) => a.or(b),
    }
}

/// Bits from the most significant on, with H.264's emulation prevention taken out where there is any.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    bit: u32,
    emulation: bool,
}

impl<'a> Bits<'a> {
    fn new(bytes: &'a [u8], emulation: bool) -> Self {
        Self { bytes, at: 0, bit: 0, emulation }
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        let mut value = 0u32;
        for _ in 0..count {
            let byte = *self.bytes.get(self.at)?;
            value = value << 1 | u32::from(byte >> (7 - self.bit) & 1);
            self.bit += 1;
            if self.bit == 8 {
                self.bit = 0;
                self.at += 1;
                if self.emulation
                    && self.at >= 2
                    && self.bytes.get(self.at - 2..=self.at) == Some(&[0, 0, 3])
                {
                    self.at += 1;
                }
            }
        }
        Some(value)
    }

    fn golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.take(1)? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }
}
