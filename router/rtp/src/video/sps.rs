//! The few fields of H.264 parameter sets and slice headers that a router needs: ids and the picture's size.

/// Reads the bits of a NAL unit behind its header byte, leaving out emulation prevention bytes.
struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    bit: u32,
    zeros: u32,
}

impl<'a> Bits<'a> {
    fn new(nal: &'a [u8]) -> Option<Self> {
        Some(Self { bytes: nal.get(1..)?, at: 0, bit: 0, zeros: 0 })
    }

    fn flag(&mut self) -> Option<bool> {
        if self.bit == 0 && self.zeros >= 2 && *self.bytes.get(self.at)? == 3 {
            self.at += 1;
            self.zeros = 0;
        }
        let byte = *self.bytes.get(self.at)?;
        let value = byte >> (7 - self.bit) & 1 != 0;
        self.bit += 1;
        if self.bit == 8 {
            self.bit = 0;
            self.at += 1;
            self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
        }
        Some(value)
    }

    fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0u32;
        for _ in 0..count {
            value = value << 1 | u32::from(self.flag()?);
        }
        Some(value)
    }

    /// Exp-Golomb, unsigned; of at most 31 leading zeros, so that it fits.
    fn ue(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some(((1u64 << zeros) - 1) as u32 + self.take(zeros)?)
    }

    /// Exp-Golomb, signed.
    fn se(&mut self) -> Option<i64> {
        let code = i64::from(self.ue()?);
        Some(if code & 1 == 1 { code / 2 + 1 } else { -(code / 2) })
    }
}

/// What a sequence parameter set tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sequence {
    pub(crate) id: u8,
    pub(crate) size: Option<(u16, u16)>,
}

/// Reads a sequence parameter set; `None` where even its id cannot be read.
pub(crate) fn sequence(nal: &[u8]) -> Option<Sequence> {
    let mut bits = Bits::new(nal)?;
    let profile = bits.take(8)?;
    bits.take(16)?; // constraints, level
    let id = u8::try_from(bits.ue()?).ok().filter(|id| *id < 32)?;
    Some(Sequence { id, size: size(&mut bits, profile) })
}

fn size(bits: &mut Bits<'_>, profile: u32) -> Option<(u16, u16)> {
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128 | 138 | 139 | 134 | 135) {
        chroma = bits.ue()?;
        let separate = chroma == 3 && bits.flag()?;
        if separate {
            chroma = 0;
        }
        bits.ue()?; // depth of luma and of chroma
        bits.ue()?;
        bits.flag()?;
        if bits.flag()? {
            scaling_lists(bits, if chroma == 3 { 12 } else { 8 })?;
        }
    }
    bits.ue()?; // frame number
    match bits.ue()? {
        0 => {
            bits.ue()?;
        }
        1 => {
            bits.flag()?;
            bits.se()?;
            bits.se()?;
            let cycle = bits.ue()?;
            if cycle > 255 {
                return None;
            }
            for _ in 0..cycle {
                bits.se()?;
            }
        }
        _ => {}
    }
    bits.ue()?; // reference frames
    bits.flag()?;
    let columns = u64::from(bits.ue()?) + 1;
    let rows = u64::from(bits.ue()?) + 1;
    let whole_frames = bits.flag()?;
    if !whole_frames {
        bits.flag()?;
    }
    bits.flag()?;
    let fields = if whole_frames { 1 } else { 2 };
    let (mut width, mut height) = (columns * 16, rows * 16 * fields);
    if bits.flag()? {
        let (unit_x, unit_y) = match chroma {
            1 => (2, 2 * fields),
            2 => (2, fields),
            _ => (1, fields),
        };
        let mut edge = || Some(u64::from(bits.ue()?));
        let (left, right, top, bottom) = (edge()?, edge()?, edge()?, edge()?);
        width = width.checked_sub((left + right) * unit_x)?;
        height = height.checked_sub((top + bottom) * unit_y)?;
    }
    let side = |pixels: u64| u16::try_from(pixels).ok().filter(|side| *side > 0);
    Some((side(width)?, side(height)?))
}

fn scaling_lists(bits: &mut Bits<'_>, count: usize) -> Option<()> {
    for list in 0..count {
        if !bits.flag()? {
            continue;
        }
        let (mut last, mut next) = (8i64, 8i64);
        for _ in 0..if list < 6 { 16 } else { 64 } {
            if next != 0 {
                next = (last + bits.se()?).rem_euclid(256);
            }
            last = if next == 0 { last } else { next };
        }
    }
    Some(())
}

/// The ids of a picture parameter set: its own and that of its sequence parameter set.
pub(crate) fn picture(nal: &[u8]) -> Option<(u8, u8)> {
    let mut bits = Bits::new(nal)?;
    let id = u8::try_from(bits.ue()?).ok()?;
    let sequence = u8::try_from(bits.ue()?).ok().filter(|id| *id < 32)?;
    Some((id, sequence))
}

/// The id of the picture parameter set that a slice names; its first macroblock and type stand before it.
pub(crate) fn slice(nal: &[u8]) -> Option<u8> {
    let mut bits = Bits::new(nal)?;
    bits.ue()?;
    bits.ue()?;
    u8::try_from(bits.ue()?).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{Sequence, picture, sequence, slice};
    use proptest::prelude::{any, prop, proptest};

    /// Writes bits, for parameter sets made by hand.
    #[derive(Default)]
    pub(crate) struct Writer {
        bits: Vec<bool>,
    }

    impl Writer {
        pub(crate) fn put(mut self, value: u32, count: u32) -> Self {
            self.bits.extend((0..count).rev().map(|bit| value >> bit & 1 != 0));
            self
        }

        pub(crate) fn ue(self, value: u32) -> Self {
            let code = value + 1;
            let width = 32 - code.leading_zeros();
            self.put(0, width - 1).put(code, width)
        }

        /// With stop bit, header and emulation prevention.
        pub(crate) fn nal(mut self, header: u8) -> Vec<u8> {
            self.bits.push(true);
            while !self.bits.len().is_multiple_of(8) {
                self.bits.push(false);
            }
            let mut nal = vec![header];
            let mut zeros = 0;
            for byte in self.bits.chunks(8) {
                let byte = byte.iter().fold(0, |value, bit| value << 1 | u8::from(*bit));
                if zeros == 2 && byte <= 3 {
                    nal.push(3);
                    zeros = 0;
                }
                zeros = if byte == 0 { zeros + 1 } else { 0 };
                nal.push(byte);
            }
            nal
        }
    }

    /// A constrained baseline set of this size, in macroblocks, with rows cropped.
    pub(crate) fn baseline(id: u32, columns: u32, rows: u32, crop_bottom: u32) -> Vec<u8> {
        let writer = Writer::default().put(66, 8).put(0xc0, 8).put(31, 8).ue(id).ue(0).ue(2).ue(1);
        let writer = writer.put(0, 1).ue(columns - 1).ue(rows - 1).put(1, 1).put(1, 1);
        let writer = if crop_bottom > 0 {
            writer.put(1, 1).ue(0).ue(0).ue(0).ue(crop_bottom)
        } else {
            writer.put(0, 1)
        };
        writer.put(0, 1).nal(0x67)
    }

    #[test]
    fn the_size_of_a_cropped_picture_is_the_one_that_is_shown() {
        let set = sequence(&baseline(3, 20, 12, 6));
        assert_eq!(set, Some(Sequence { id: 3, size: Some((320, 180)) }));
        assert_eq!(sequence(&baseline(0, 80, 45, 0)).unwrap().size, Some((1280, 720)));
    }

    #[test]
    fn a_high_profile_set_with_scaling_lists_is_read() {
        let mut writer = Writer::default().put(100, 8).put(0, 8).put(40, 8).ue(0);
        writer = writer.ue(1).ue(0).ue(0).put(0, 1).put(1, 1);
        // One list of 16 that ends at once (delta -8), the other seven absent.
        writer = writer.put(1, 1).ue(16).put(0, 7);
        writer = writer.ue(0).ue(0).ue(0).ue(4).put(0, 1).ue(119).ue(67).put(1, 1).put(1, 1);
        writer = writer.put(1, 1).ue(0).ue(0).ue(0).ue(4).put(0, 1);
        assert_eq!(sequence(&writer.nal(0x67)).unwrap().size, Some((1920, 1080)));
    }

    #[test]
    fn a_set_that_is_cut_off_has_no_size() {
        let set = baseline(0, 80, 45, 0);
        for len in 0..set.len() - 1 {
            assert_eq!(sequence(&set[..len]).and_then(|s| s.size), None, "{len} bytes");
        }
    }

    #[test]
    fn a_crop_larger_than_the_picture_is_refused() {
        assert_eq!(sequence(&baseline(0, 2, 2, 17)).unwrap().size, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = (sequence(&bytes), picture(&bytes), slice(&bytes));
        }

        #[test]
        fn every_size_comes_back(columns in 1u32..500, rows in 1u32..500, id in 0u32..32) {
            let size = (columns as u16 * 16, rows as u16 * 16);
            let set = sequence(&baseline(id, columns, rows, 0)).unwrap();
            assert_eq!(set, Sequence { id: id as u8, size: Some(size) });
        }
    }
}
