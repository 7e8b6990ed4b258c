//! Half and double size, for Gaussians so wide that a picture of half the size shows all that they leave.
//!
//! Both steps use the weights 1, 3, 3, 1, of which each is a blur of its own: [`VARIANCE`]. Rows are 16-bit values with
//! [`FRACTION`] bits of fraction, as in [`super::kernel`]; beyond an edge they are mirrored.

use super::kernel::{FRACTION, fit, mirror};

/// Square of the standard deviation of 1, 3, 3, 1 in pixels of the greater picture.
pub(super) const VARIANCE: f64 = 0.75;

/// A plane of 16-bit values.
#[derive(Debug, Default)]
pub(super) struct Level {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) data: Vec<u16>,
    /// One row of the greater picture.
    row: Vec<u16>,
}

impl Level {
    pub(super) fn row(&self, y: usize) -> &[u16] {
        let begin = y.min(self.height.saturating_sub(1)) * self.width;
        self.data.get(begin..begin + self.width).unwrap_or_default()
    }

    pub(super) fn row_mut(&mut self, y: usize) -> &mut [u16] {
        let begin = y * self.width;
        self.data.get_mut(begin..begin + self.width).unwrap_or_default()
    }

    /// Becomes half of a greater picture. `sum` writes the weighted sum of four of its rows: [`bytes`] or [`values`].
    pub(super) fn reduce(
        &mut self,
        width: usize,
        height: usize,
        mut sum: impl FnMut([usize; 4], &mut [u16]),
    ) {
        (self.width, self.height) = (width.div_ceil(2), height.div_ceil(2));
        fit(&mut self.data, self.width * self.height);
        fit(&mut self.row, width);
        for y in 0..self.height {
            let rows = [(2 * y).saturating_sub(1), 2 * y, 2 * y + 1, 2 * y + 2];
            sum(rows.map(|r| mirror(r, height)), &mut self.row);
            let begin = y * self.width;
            let to = self.data.get_mut(begin..begin + self.width).unwrap_or_default();
            halve(&self.row, to);
        }
    }

    /// Gives the rows of a picture of twice the size.
    pub(super) fn expand(
        &mut self,
        width: usize,
        height: usize,
        mut drain: impl FnMut(usize, &[u16]),
    ) {
        let mut between = std::mem::take(&mut self.row);
        fit(&mut between, self.width + width);
        let (mixed, to) = between.split_at_mut(self.width);
        for y in 0..height {
            let near = self.row(y / 2);
            let far = if y % 2 == 0 { (y / 2).saturating_sub(1) } else { y / 2 + 1 };
            for (mixed, (near, far)) in mixed.iter_mut().zip(near.iter().zip(self.row(far))) {
                *mixed = quarter(*near, *far);
            }
            double(mixed, to);
            drain(y, to);
        }
        self.row = between;
    }
}

/// Three parts of one value and one of another, rounded: 4 · 16,320 is 16 bits.
#[inline(always)]
fn quarter(near: u16, far: u16) -> u16 {
    (3 * near + far + 2) >> 2
}

/// Sum of four rows of bytes as 1, 3, 3, 1: eight times 255 is 11 bits, and three more make [`FRACTION`].
pub(super) fn bytes([a, b, c, d]: [&[u8]; 4], to: &mut [u16]) {
    for (to, (((a, b), c), d)) in to.iter_mut().zip(a.iter().zip(b).zip(c).zip(d)) {
        let sum = 3 * (u16::from(*b) + u16::from(*c)) + u16::from(*a) + u16::from(*d);
        *to = sum << (FRACTION - 3);
    }
}

/// As [`bytes`], of rows that already have a fraction.
pub(super) fn values([a, b, c, d]: [&[u16]; 4], to: &mut [u16]) {
    for (to, (((a, b), c), d)) in to.iter_mut().zip(a.iter().zip(b).zip(c).zip(d)) {
        *to = eighths(*a, *b, *c, *d);
    }
}

#[inline(always)]
fn eighths(a: u16, b: u16, c: u16, d: u16) -> u16 {
    // Eight times 16,320 is more than 16 bits.
    ((u32::from(a + d) + 3 * u32::from(b + c) + 4) >> 3) as u16
}

/// Every second sample of a row, as 1, 3, 3, 1 around it.
fn halve(row: &[u16], to: &mut [u16]) {
    let at = |x: usize| row.get(mirror(x, row.len())).copied().unwrap_or(0);
    let inside = to.len().saturating_sub(1);
    if let Some(first) = to.first_mut() {
        *first = eighths(at(0), at(0), at(1), at(2));
    }
    let windows = row.get(1..).unwrap_or_default().chunks_exact(2);
    let next = row.get(3..).unwrap_or_default().chunks_exact(2);
    for (to, (w, n)) in to.iter_mut().take(inside).skip(1).zip(windows.zip(next)) {
        if let ([a, b], [c, d]) = (w, n) {
            *to = eighths(*a, *b, *c, *d);
        }
    }
    if inside > 0
        && let Some(end) = to.last_mut()
    {
        let x = 2 * inside;
        *end = eighths(at(x - 1), at(x), at(x + 1), at(x + 2));
    }
}

/// Twice as many samples: three parts of the nearer and one of the farther.
fn double(row: &[u16], to: &mut [u16]) {
    let at = |x: usize| row.get(x.min(row.len().saturating_sub(1))).copied().unwrap_or(0);
    if let Some(first) = to.first_mut() {
        *first = at(0);
    }
    for (pair, w) in to.get_mut(1..).unwrap_or_default().chunks_exact_mut(2).zip(row.windows(2)) {
        if let ([odd, even], [left, right]) = (pair, w) {
            *odd = quarter(*left, *right);
            *even = quarter(*right, *left);
        }
    }
    // Of an even length the last sample has its farther neighbour beyond the edge.
    if to.len().is_multiple_of(2)
        && let Some(end) = to.last_mut()
    {
        *end = at(row.len());
    }
}
