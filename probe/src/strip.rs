//! The code strip: a frame's number and time as 64 black and white cells at the picture's top-left.
//!
//! Two rows of 32 square cells over the picture's width carry, most significant bit first: 24 bits of frame number,
//! 32 bits of time in units of 100 µs, and a CRC-8 over those seven bytes. Luma is 235 or 16, chroma is neutral, so
//! that a grayscale effect changes nothing; cells are large against any blur that a call would apply. The page in
//! `web/` writes and reads the same layout.

use crate::picture::{Picture, PlaneView};

/// Cells in a row.
const ACROSS: usize = 32;
/// Rows of cells.
const DOWN: usize = 2;
/// Nanoseconds in a unit of the coded time.
const UNIT_NS: u64 = 100_000;
/// Below this difference between its darkest and brightest cell a strip is noise. From the contract.
const MIN_CONTRAST: u32 = 40;
/// A cell smaller than this has no middle left after chroma subsampling and a deblocking filter. Chosen freely.
const MIN_CELL: usize = 4;
/// Frame numbers wrap here.
pub const NUMBERS: u32 = 1 << 24;

const WHITE: u8 = 235;
const BLACK: u8 = 16;

/// What a strip says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The frame's number, below [`NUMBERS`].
    pub number: u32,
    /// When it was handed to the sender's encoder, in units of 100 µs, modulo 2^32.
    pub time: u32,
}

impl Code {
    /// The code of a frame at a time of the machine's monotonic clock.
    #[must_use]
    pub fn at(number: u32, now_ns: u64) -> Self {
        Self { number: number % NUMBERS, time: (now_ns / UNIT_NS) as u32 }
    }

    /// How long ago the coded time is, in nanoseconds, on the same clock.
    ///
    /// `None` when it lies in the future or more than an hour back: then the strip was stamped by another clock.
    #[must_use]
    pub fn age_ns(&self, now_ns: u64) -> Option<u64> {
        let units = ((now_ns / UNIT_NS) as u32).wrapping_sub(self.time);
        (units <= 36_000_000).then(|| u64::from(units) * UNIT_NS + now_ns % UNIT_NS)
    }

    fn to_bits(self) -> u64 {
        let body = (u64::from(self.number) << 32) | u64::from(self.time);
        (body << 8) | u64::from(crc8(&body.to_be_bytes()[1..]))
    }

    fn from_bits(bits: u64) -> Option<Self> {
        let body = bits >> 8;
        (u64::from(crc8(&body.to_be_bytes()[1..])) == bits & 0xff)
            .then_some(Self { number: (body >> 32) as u32, time: body as u32 })
    }
}

/// Stamps the code into a picture; `false` when the picture is too small to carry it.
pub fn stamp(picture: &mut Picture, code: Code) -> bool {
    let (width, height) = picture.size_of(0);
    let Some(cell) = cell(width, height) else { return false };
    let bits = code.to_bits();
    let stride = picture.stride(0);
    for (y, line) in picture.plane_mut(0).chunks_mut(stride).take(DOWN * cell).enumerate() {
        for (x, pixels) in line.chunks_mut(cell).take(ACROSS).enumerate() {
            let bit = bits >> (63 - (y / cell * ACROSS + x)) & 1;
            pixels.fill(if bit == 1 { WHITE } else { BLACK });
        }
    }
    for plane in 1..3 {
        let stride = picture.stride(plane);
        let rows = (DOWN * cell).div_ceil(2);
        for line in picture.plane_mut(plane).chunks_mut(stride).take(rows) {
            let end = (ACROSS * cell).div_ceil(2).min(line.len());
            if let Some(pixels) = line.get_mut(..end) {
                pixels.fill(128);
            }
        }
    }
    true
}

/// Reads the code of a luma plane; `None` where there is none, or none that passes its checks.
#[must_use]
pub fn read(luma: &PlaneView<'_>) -> Option<Code> {
    let cell = cell(luma.columns, luma.rows)?;
    let mut means = [0u32; ACROSS * DOWN];
    // The middle half only: neighbours bleed into a cell's border through blur and through the codec.
    let (from, to) = (cell / 4, (cell - cell / 4).max(cell / 4 + 1));
    let area = ((to - from) * (to - from)) as u32;
    for (y, line) in luma.lines().take(DOWN * cell).enumerate() {
        if !(from..to).contains(&(y % cell)) {
            continue;
        }
        let row = means.chunks_mut(ACROSS).nth(y / cell)?;
        for (mean, pixels) in row.iter_mut().zip(line.chunks(cell)) {
            *mean += pixels.get(from..to)?.iter().map(|&p| u32::from(p)).sum::<u32>();
        }
    }
    for mean in &mut means {
        *mean /= area;
    }
    let (low, high) = (*means.iter().min()?, *means.iter().max()?);
    if high - low < MIN_CONTRAST {
        return None;
    }
    let threshold = u32::midpoint(low, high);
    let bits = means.iter().fold(0u64, |bits, &mean| bits << 1 | u64::from(mean > threshold));
    Code::from_bits(bits)
}

fn cell(width: usize, height: usize) -> Option<usize> {
    let cell = width / ACROSS;
    (cell >= MIN_CELL && cell * DOWN <= height).then_some(cell)
}

/// CRC-8 with polynomial 0x07, initial value 0.
fn crc8(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |crc, &byte| {
        (0..8).fold(crc ^ byte, |c, _| if c & 0x80 != 0 { c << 1 ^ 0x07 } else { c << 1 })
    })
}

#[cfg(test)]
mod tests;
