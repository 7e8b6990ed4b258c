//! Convolution with a Gaussian, row by row.
//!
//! Rows come as 16-bit values with [`FRACTION`] bits of fraction into a ring that holds as many as the kernel is high. Their
//! columns are summed into one row, and that along itself: both in blocks of a fixed size whose sums stay in registers,
//! in 16-bit arithmetic that the compiler turns into vector instructions of any processor (no `unsafe`, no detection).
//! Beyond an edge the picture is mirrored, so that its mean stays and no edge row is smeared.

/// Samples that are summed at once: eight vectors of 128 bits.
const BLOCK: usize = 64;
/// Bits of fraction: three samples of full scale and one more are still 16 bits, which [`super::pyramid`] needs.
pub(super) const FRACTION: u32 = 6;

type Block = [u16; BLOCK];
static ZEROS: Block = [0; BLOCK];

/// A Gaussian, and the memory to convolve with it.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// Weights in parts of 65,536, at distance 0 and at 1, 2, …
    centre: u16,
    sides: Vec<u16>,
    /// As many rows as it is high; row `y` lies in slot `y` modulo their number.
    ring: Vec<u16>,
    /// Where in the ring the rows above and below the current one begin, at distance 1, 2, …
    taps: Vec<(usize, usize)>,
    /// Sums of columns, with what lies beyond both edges.
    columns: Vec<u16>,
    /// What comes out.
    done: Vec<u16>,
}

impl Kernel {
    /// With weights as far as three standard deviations; beyond lie 0.3 %.
    pub(super) fn new(sigma: f64) -> Self {
        let radius = (sigma * 3.0).ceil().max(1.0) as usize;
        let weight = |distance: usize| (-0.5 * (distance as f64 / sigma).powi(2)).exp();
        let sum = 1.0 + 2.0 * (1..=radius).map(weight).sum::<f64>();
        let sides: Vec<u16> =
            (1..=radius).map(|d| (weight(d) / sum * 65536.0).round() as u16).collect();
        // What rounding took from the sides or gave them is the centre's, so that brightness stays.
        let rest = 65536 - 2 * sides.iter().map(|w| i64::from(*w)).sum::<i64>();
        Self { centre: rest.clamp(0, 65535) as u16, sides, ..Self::default() }
    }

    /// Convolves rows that `feed` writes (each once, from the top), and gives the results to `drain` in the same order.
    /// Both get `of`: the same plane may be read and written.
    pub(super) fn run<P>(
        &mut self,
        width: usize,
        height: usize,
        of: &mut P,
        mut feed: impl FnMut(&mut P, usize, &mut [u16]),
        mut drain: impl FnMut(&mut P, usize, &[u16]),
    ) {
        if width == 0 || height == 0 {
            return;
        }
        let radius = self.sides.len();
        let slots = 2 * radius + 1;
        let stride = width.next_multiple_of(BLOCK);
        fit(&mut self.ring, slots * stride);
        fit(&mut self.columns, radius + stride + radius);
        fit(&mut self.done, stride);
        let mut fed = 0;
        for y in 0..height {
            while fed < height.min(y + radius + 1) {
                let begin = fed % slots * stride;
                if let Some(slot) = self.ring.get_mut(begin..begin + width) {
                    feed(of, fed, slot);
                }
                fed += 1;
            }
            let slot = |y: usize| y % slots * stride;
            self.taps.clear();
            self.taps.extend(
                (1..=radius)
                    .map(|d| (slot(mirror_before(y, d, height)), slot(mirror(y + d, height)))),
            );
            for x in (0..width).step_by(BLOCK) {
                let sums = self.across(slot(y), x);
                put(&mut self.columns, radius + x, &sums);
            }
            extend_edges(&mut self.columns, radius, width);
            for x in (0..width).step_by(BLOCK) {
                let sums = self.along(x);
                put(&mut self.done, x, &sums);
            }
            drain(of, y, self.done.get(..width).unwrap_or_default());
        }
    }

    /// Sums of a block of columns around the row that begins at `centre`.
    #[inline(always)]
    fn across(&self, centre: usize, x: usize) -> Block {
        let mut sums = block(&self.ring, centre + x).map(|s| share(s, self.centre) + self.bias(s));
        for ((above, below), weight) in self.taps.iter().zip(&self.sides) {
            add(&mut sums, block(&self.ring, above + x), block(&self.ring, below + x), *weight);
        }
        sums
    }

    /// Sums of a block along the row of sums.
    #[inline(always)]
    fn along(&self, x: usize) -> Block {
        let centre = self.sides.len() + x;
        let mut sums = block(&self.columns, centre).map(|s| share(s, self.centre) + self.bias(s));
        for (distance, weight) in (1..).zip(&self.sides) {
            let before = block(&self.columns, centre - distance);
            let behind = block(&self.columns, centre + distance);
            add(&mut sums, before, behind, *weight);
        }
        sums
    }

    /// What cutting off below the fraction takes from a sum on average: half a unit for each weight, and nothing of black.
    #[inline(always)]
    fn bias(&self, centre: u16) -> u16 {
        centre.min((self.sides.len() / 2) as u16)
    }
}

/// Adds two samples' share to each sum. A sample is 16,320 at most, a pair 32,640, and all shares together as much as one.
#[inline(always)]
fn add(sums: &mut Block, a: &Block, b: &Block, weight: u16) {
    for (sum, (a, b)) in sums.iter_mut().zip(a.iter().zip(b)) {
        *sum = sum.wrapping_add(share(a.wrapping_add(*b), weight));
    }
}

/// Part of a value, weights in parts of 65,536: one vector instruction.
#[inline(always)]
fn share(value: u16, weight: u16) -> u16 {
    ((u32::from(value) * u32::from(weight)) >> 16) as u16
}

#[inline(always)]
fn block(data: &[u16], at: usize) -> &Block {
    data.get(at..).and_then(|d| d.first_chunk()).unwrap_or(&ZEROS)
}

#[inline(always)]
fn put(data: &mut [u16], at: usize, block: &Block) {
    if let Some(place) = data.get_mut(at..).and_then(|d| d.first_chunk_mut()) {
        *place = *block;
    }
}

/// Gives a buffer its length; its memory is kept unless it must grow.
pub(super) fn fit(buffer: &mut Vec<u16>, length: usize) {
    if buffer.len() != length {
        buffer.resize(length, 0);
    }
}

/// The sample that stands for one behind the last: the picture is mirrored at its edges, the edge's sample twice.
pub(super) fn mirror(at: usize, length: usize) -> usize {
    if at < length {
        return at;
    }
    let at = at % (2 * length);
    at.min(2 * length - 1 - at)
}

/// The sample that stands for the one `distance` before `at`, which may be before the first.
fn mirror_before(at: usize, distance: usize, length: usize) -> usize {
    if distance <= at { at - distance } else { mirror(distance - at - 1, length) }
}

/// Mirrors a row at both ends as far as the kernel reaches.
fn extend_edges(row: &mut [u16], radius: usize, width: usize) {
    let copy = |row: &mut [u16], to: usize, from: usize| {
        let value = row.get(radius + from).copied().unwrap_or(0);
        if let Some(to) = row.get_mut(to) {
            *to = value;
        }
    };
    for distance in 1..=radius {
        copy(row, radius - distance, mirror_before(0, distance, width));
        copy(row, radius + width - 1 + distance, mirror(width - 1 + distance, width));
    }
}
