//! `GaussianBlur`: blurs pictures.
//!
//! Own code, where a library would have been welcome: `libblur` 0.24 does the same sums a little faster, but makes 13 to
//! 730 allocations for each plane (a node must make none), or works in place only (which costs a copy of every picture), and
//! alone takes longer to compile than this crate with all else.

mod kernel;
mod pyramid;

use crate::node::{Moment, Node, NodeError, Way};
use kernel::{FRACTION, Kernel};
use pyramid::{Level, VARIANCE, bytes, values};
use remotemedia_worker::{Picture, PictureMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// From this standard deviation on, in pixels, half the size shows all that is left of a picture: the result is within
/// one level of the exact sum (measured). In odd sizes, whose last column or row then counts twice, it is so farther
/// than two standard deviations from that edge.
const HALVE_FROM: f64 = 3.5;
/// Smaller planes are not halved: their edges would be too much of them, and they cost little (chosen). What is cut off
/// below the fraction then adds up to a level in the widest kernels.
const HALVE_SIDE: usize = 64;

/// How much.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GaussianBlurParams {
    /// Standard deviation in pixels of luma.
    #[schemars(range(min = 0.1, max = 50.0))]
    pub sigma: f32,
}

impl Default for GaussianBlurParams {
    fn default() -> Self {
        Self { sigma: 4.0 }
    }
}

/// The node. One thread, as the machine's cores are shared; its memory stays from picture to picture.
#[derive(Debug)]
pub struct GaussianBlur {
    luma: Gaussian,
    chroma: Gaussian,
}

impl Node for GaussianBlur {
    type Params = GaussianBlurParams;
    const KIND: &'static str = "GaussianBlur";
    const SUMMARY: &'static str = "Blurs pictures by a Gaussian of a given standard deviation.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &GaussianBlurParams) -> Result<Self, NodeError> {
        let sigma = f64::from(params.sigma);
        // A pixel of chroma is two of luma.
        Ok(Self { luma: Gaussian::new(sigma), chroma: Gaussian::new(sigma / 2.0) })
    }

    fn configure(&mut self, params: &GaussianBlurParams) -> Result<(), NodeError> {
        *self = Self::new(params)?;
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Across
    }

    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        _: &Moment,
    ) -> Result<u64, NodeError> {
        for plane in 0..3 {
            let (width, height) = input.geometry.plane_size(plane);
            let (width, height) = (width as usize, height as usize);
            let data = input.plane(plane);
            let stride = input.strides.get(plane).copied().unwrap_or(0);
            let row = |y: usize| data.get(y * stride..y * stride + width).unwrap_or_default();
            let mut to = output.rows_mut(plane);
            let gaussian = if plane == 0 { &mut self.luma } else { &mut self.chroma };
            gaussian.run(width, height, row, |sums| {
                if let Some(to) = to.next() {
                    narrow(sums, to);
                }
            });
        }
        Ok(0)
    }
}

/// The blur of planes: in their own size, or in half of it as often as that shows all that is left.
#[derive(Debug)]
struct Gaussian {
    sigma: f64,
    /// The size that kernel and levels are made for.
    size: (usize, usize),
    kernel: Kernel,
    /// Halved sizes, the largest first; the kernel works on the last one.
    levels: Vec<Level>,
}

impl Gaussian {
    fn new(sigma: f64) -> Self {
        Self { sigma, size: (0, 0), kernel: Kernel::new(sigma), levels: Vec::new() }
    }

    fn made_for(&mut self, width: usize, height: usize) {
        if self.size == (width, height) {
            return;
        }
        self.size = (width, height);
        self.levels.clear();
        let mut sigma = self.sigma;
        let mut side = width.min(height);
        while sigma >= HALVE_FROM && side >= HALVE_SIDE {
            // Halving and doubling each blur by VARIANCE; the rest is to be done in pixels twice as wide.
            sigma = (sigma * sigma - 2.0 * VARIANCE).sqrt() / 2.0;
            side /= 2;
            self.levels.push(Level::default());
        }
        self.kernel = Kernel::new(sigma);
    }

    /// Gives the rows of the result in their order, with [`FRACTION`] bits of fraction.
    fn run<'p>(
        &mut self,
        width: usize,
        height: usize,
        row: impl Fn(usize) -> &'p [u8],
        mut drain: impl FnMut(&[u16]),
    ) {
        self.made_for(width, height);
        let Some(half) = self.levels.first_mut() else {
            let feed = |_: &mut (), y: usize, to: &mut [u16]| widen(row(y), to);
            self.kernel.run(width, height, &mut (), feed, |(), _, sums| drain(sums));
            return;
        };
        half.reduce(width, height, |rows, to| bytes(rows.map(&row), to));
        blur(&mut self.levels, &mut self.kernel);
        if let Some(half) = self.levels.first_mut() {
            half.expand(width, height, |_, sums| drain(sums));
        }
    }
}

/// Blurs the first of these levels, by way of the smaller ones behind it.
fn blur(levels: &mut [Level], kernel: &mut Kernel) {
    let Some((this, smaller)) = levels.split_first_mut() else { return };
    let (width, height) = (this.width, this.height);
    let Some(half) = smaller.first_mut() else {
        // In place: the kernel's ring holds every row that it still needs.
        let feed = |level: &mut Level, y: usize, to: &mut [u16]| to.copy_from_slice(level.row(y));
        let drain = |level: &mut Level, y: usize, sums: &[u16]| {
            level.row_mut(y).copy_from_slice(sums);
        };
        kernel.run(width, height, this, feed, drain);
        return;
    };
    half.reduce(width, height, |rows, to| values(rows.map(|y| this.row(y)), to));
    blur(smaller, kernel);
    if let Some(half) = smaller.first_mut() {
        half.expand(width, height, |y, sums| this.row_mut(y).copy_from_slice(sums));
    }
}

/// Bytes as values with a fraction.
fn widen(from: &[u8], to: &mut [u16]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = u16::from(*from) << FRACTION;
    }
}

/// Rounded to bytes.
fn narrow(from: &[u16], to: &mut [u8]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = ((from + (1 << (FRACTION - 1))) >> FRACTION).min(255) as u8;
    }
}
