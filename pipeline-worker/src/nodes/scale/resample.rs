//! Planes at another size, by Catmull and Rom's cubic; where a plane shrinks, the cubic is widened so that nothing aliases.
//!
//! Own code, where a library would have been welcome: `fast_image_resize` 6.1 allocates for every column and every row of the
//! result, some 2,700 times for a picture of 480 lines (a node must make none), and takes no part of a plane whose edge
//! lies beyond the last sample, as chroma's does in odd sizes.
//!
//! Rows are summed into one row of 16-bit values, and these along the row, both in 32 bits with weights that add up to
//! exactly one: what is flat stays as it is, and so does a plane that keeps its size.

/// Samples along a row that are summed at once: a vector of 128 bits.
const LANES: usize = 8;
/// Bits of fraction of a weight: those at an edge may be a little more than one, and fit 16 bits.
const WEIGHT: u32 = 14;
/// Bits of fraction of a summed row: 255 and what the cubic overshoots by, a quarter, fit 16 bits with it.
const FRACTION: u32 = 6;
/// How far the cubic reaches, in samples.
const REACH: f64 = 2.0;

type Window = [i16; LANES];
static ZEROS: Window = [0; LANES];

/// How one side of a plane becomes another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    /// Samples that there are.
    pub(super) source: usize,
    /// Where the part that is taken begins, in samples.
    pub(super) begin: f64,
    /// Samples of the source for each of the result.
    pub(super) ratio: f64,
    /// Samples that are made.
    pub(super) target: usize,
}

/// Makes planes of one size into planes of another.
#[derive(Debug, Default)]
pub(super) struct Resampler {
    made_for: Option<(Span, Span)>,
    along: Taps,
    down: Taps,
    /// A row's sums, before and after they are cut to 16 bits.
    sums: Vec<i32>,
    values: Vec<i16>,
}

impl Resampler {
    /// Makes the rows of `to`, in their order, out of the rows that `row` gives.
    pub(super) fn run<'p, 't>(
        &mut self,
        along: Span,
        down: Span,
        row: impl Fn(usize) -> &'p [u8],
        to: impl Iterator<Item = &'t mut [u8]>,
    ) {
        if self.made_for != Some((along, down)) {
            (self.along, self.down) = (Taps::new(&along), Taps::new(&down));
            self.sums = vec![0; along.source];
            // Windows reach beyond the last sample, where they weigh nothing.
            self.values = vec![0; along.source + self.along.windows * LANES];
            self.made_for = Some((along, down));
        }
        for (y, to) in to.take(down.target).enumerate() {
            self.sum_rows(y, &row);
            self.sum_along(to);
        }
    }

    fn sum_rows<'p>(&mut self, y: usize, row: &impl Fn(usize) -> &'p [u8]) {
        self.sums.fill(1 << (WEIGHT - FRACTION - 1));
        let (first, windows) = self.down.of(y);
        for (at, weight) in (first..).zip(windows.iter().flatten()).filter(|(_, w)| **w != 0) {
            for (sum, sample) in self.sums.iter_mut().zip(row(at)) {
                *sum += i32::from(*weight) * i32::from(*sample);
            }
        }
        for (value, sum) in self.values.iter_mut().zip(&self.sums) {
            *value = (*sum >> (WEIGHT - FRACTION)) as i16;
        }
    }

    fn sum_along(&self, to: &mut [u8]) {
        for (x, to) in to.iter_mut().enumerate() {
            let (first, windows) = self.along.of(x);
            let mut sum = 1 << (WEIGHT + FRACTION - 1);
            for (at, weights) in (first..).step_by(LANES).zip(windows) {
                sum += weighed(weights, window(&self.values, at));
            }
            *to = (sum >> (WEIGHT + FRACTION)).clamp(0, 255) as u8;
        }
    }
}

/// Which samples make one of the result, and how much each counts.
#[derive(Debug, Default)]
struct Taps {
    begins: Vec<usize>,
    /// So many for each sample of the result.
    windows: usize,
    weights: Vec<Window>,
}

impl Taps {
    fn new(span: &Span) -> Self {
        let found: Vec<(usize, Vec<i16>)> = (0..span.target).map(|at| taps(span, at)).collect();
        let longest = found.iter().map(|(_, weights)| weights.len()).max().unwrap_or(0);
        let windows = longest.div_ceil(LANES).max(1);
        let mut weights = vec![ZEROS; windows * span.target];
        for (windows, (_, taps)) in weights.chunks_exact_mut(windows).zip(&found) {
            for (window, taps) in windows.iter_mut().zip(taps.chunks(LANES)) {
                for (weight, tap) in window.iter_mut().zip(taps) {
                    *weight = *tap;
                }
            }
        }
        Self { begins: found.into_iter().map(|(begin, _)| begin).collect(), windows, weights }
    }

    #[inline(always)]
    fn of(&self, at: usize) -> (usize, &[Window]) {
        let begin = self.begins.get(at).copied().unwrap_or(0);
        let weights = self.weights.get(at * self.windows..).unwrap_or_default();
        (begin, weights.get(..self.windows).unwrap_or_default())
    }
}

/// The first sample that makes this one of the result, and the weights from there on; their sum is one.
fn taps(span: &Span, at: usize) -> (usize, Vec<i16>) {
    let wide = span.ratio.max(1.0);
    let centre = span.begin + (at as f64 + 0.5) * span.ratio;
    let last = span.source.saturating_sub(1);
    let begin = ((centre - REACH * wide).floor().max(0.0) as usize).min(last);
    let end = ((centre + REACH * wide).ceil().max(0.0) as usize).clamp(begin + 1, last + 1);
    let exact: Vec<f64> =
        (begin..end).map(|sample| cubic((sample as f64 + 0.5 - centre) / wide)).collect();
    // Beyond an edge there is nothing: the others count for it.
    let sum: f64 = exact.iter().sum();
    let one = f64::from(1 << WEIGHT);
    let mut weights: Vec<i16> =
        exact.iter().map(|weight| (weight / sum * one).round() as i16).collect();
    // What rounding took or gave is the greatest one's, so that brightness stays.
    let rest = (1 << WEIGHT) - weights.iter().map(|w| i32::from(*w)).sum::<i32>();
    if let Some(greatest) = weights.iter_mut().max_by_key(|weight| **weight) {
        *greatest = (i32::from(*greatest) + rest) as i16;
    }
    let zeros = weights.iter().take_while(|weight| **weight == 0).count();
    weights.drain(..zeros);
    while weights.last() == Some(&0) {
        weights.pop();
    }
    (begin + zeros, weights)
}

/// Catmull and Rom's: Keys's cubic with a = -1/2 (R. Keys, "Cubic convolution interpolation", IEEE ASSP 29, 1981).
fn cubic(distance: f64) -> f64 {
    let x = distance.abs();
    if x < 1.0 {
        (1.5 * x - 2.5) * x * x + 1.0
    } else if x < 2.0 {
        ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0
    } else {
        0.0
    }
}

#[inline(always)]
fn weighed(weights: &Window, values: &Window) -> i32 {
    weights.iter().zip(values).map(|(weight, value)| i32::from(*weight) * i32::from(*value)).sum()
}

#[inline(always)]
fn window(values: &[i16], at: usize) -> &Window {
    values.get(at..).and_then(|values| values.first_chunk()).unwrap_or(&ZEROS)
}
