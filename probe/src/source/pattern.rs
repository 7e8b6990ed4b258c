//! A generated picture that costs a codec what a real one does: texture on every scale, panning, things that move.

use crate::picture::Picture;

/// Pixels of the texture's side, a power of two; it repeats without a seam.
const TILE: usize = 1024;

/// The pattern at one size.
#[derive(Debug)]
pub struct Pattern {
    width: usize,
    height: usize,
    /// Luma texture, [`TILE`] by [`TILE`], each row twice so that a panned row is one copy.
    luma: Vec<u8>,
    /// Chroma textures of half the size.
    chroma: [Vec<u8>; 2],
}

impl Pattern {
    /// Makes the texture; the same one every time.
    #[must_use]
    pub fn new(width: u16, height: u16) -> Self {
        Self {
            width: usize::from(width),
            height: usize::from(height),
            luma: texture(1, TILE, 126.0, 90.0, 7),
            chroma: [texture(2, TILE / 2, 128.0, 40.0, 3), texture(3, TILE / 2, 128.0, 40.0, 3)],
        }
    }

    /// Writes picture `number`.
    pub fn fill(&self, number: u64, into: &mut Picture) {
        let n = number as f64;
        // A slow drift in a large circle: like a camera that is held by hand, never still, never the same.
        let x = (400.0 + 300.0 * (n / 97.0).sin() + n * 0.9) as usize;
        let y = (400.0 + 200.0 * (n / 61.0).cos()) as usize;
        pan(&self.luma, TILE, x, y, into, 0);
        let [u, v] = &self.chroma;
        pan(u, TILE / 2, x / 2, y / 2, into, 1);
        pan(v, TILE / 2, x / 2, y / 2, into, 2);
        for index in 0..3u64 {
            self.disc(index, n, into);
        }
    }

    /// A disc with a gradient and a hard edge that crosses the picture against the pan.
    fn disc(&self, index: u64, n: f64, into: &mut Picture) {
        let phase = index as f64 * 2.1;
        let (width, height) = (self.width as f64, self.height as f64);
        let radius = height * (0.10 + 0.03 * index as f64);
        let centre_x = width * (0.5 + 0.42 * (n / (41.0 + 9.0 * index as f64) + phase).sin());
        let centre_y = height * (0.5 + 0.38 * (n / (53.0 - 7.0 * index as f64) + phase).cos());
        let stride = into.stride(0);
        let top = (centre_y - radius).max(0.0) as usize;
        let bottom = ((centre_y + radius).max(0.0) as usize).min(self.height);
        for (y, line) in into.plane_mut(0).chunks_mut(stride).enumerate().take(bottom).skip(top) {
            let dy = y as f64 - centre_y;
            let half = (radius * radius - dy * dy).max(0.0).sqrt();
            let from = (centre_x - half).max(0.0) as usize;
            let to = ((centre_x + half).max(0.0) as usize).min(self.width);
            if let Some(pixels) = line.get_mut(from..to.max(from)) {
                let value = 60.0 + 60.0 * index as f64 + 40.0 * dy / radius;
                pixels.fill(value.clamp(16.0, 235.0) as u8);
            }
        }
    }
}

fn pan(tile: &[u8], side: usize, x: usize, y: usize, into: &mut Picture, plane: usize) {
    let (columns, rows) = into.size_of(plane);
    let stride = into.stride(plane);
    let x = x % side;
    for (row, line) in into.plane_mut(plane).chunks_mut(stride).take(rows).enumerate() {
        let begin = (row + y) % side * 2 * side + x;
        // A row of the texture is stored twice over, so `side` samples from any place lie in one piece.
        let Some(source) = tile.get(begin..begin + side) else { continue };
        let Some(line) = line.get_mut(..columns) else { continue };
        for chunk in line.chunks_mut(side) {
            let len = chunk.len();
            chunk.copy_from_slice(&source[..len]);
        }
    }
}

/// Noise of several octaves whose amplitude falls with frequency, as in natural pictures; rows stored twice.
fn texture(seed: u32, side: usize, mean: f32, amplitude: f32, octaves: u32) -> Vec<u8> {
    let mut field = vec![0f32; side * side];
    let mut weight = 1.0;
    let mut total = 0.0;
    for octave in 0..octaves {
        let cells = 8usize << octave;
        let step = side / cells;
        for y in 0..side {
            for x in 0..side {
                let (cx, cy) = (x / step, y / step);
                let (fx, fy) = (smooth(x % step, step), smooth(y % step, step));
                let at = |dx: usize, dy: usize| {
                    noise(seed + octave, (cx + dx) % cells, (cy + dy) % cells)
                };
                let upper = at(0, 0) + (at(1, 0) - at(0, 0)) * fx;
                let lower = at(0, 1) + (at(1, 1) - at(0, 1)) * fx;
                if let Some(value) = field.get_mut(y * side + x) {
                    *value += weight * (upper + (lower - upper) * fy);
                }
            }
        }
        total += weight;
        weight *= 0.55;
    }
    let scale = amplitude * 1.6 / total;
    let mut tile = Vec::with_capacity(side * side * 2);
    for row in field.chunks(side) {
        for _ in 0..2 {
            tile.extend(row.iter().map(|v| (mean + v * scale).clamp(16.0, 235.0) as u8));
        }
    }
    tile
}

fn smooth(place: usize, step: usize) -> f32 {
    let t = place as f32 / step as f32;
    t * t * (3.0 - 2.0 * t)
}

/// -1 to 1, from an integer hash.
fn noise(seed: u32, x: usize, y: usize) -> f32 {
    let mut h = seed.wrapping_mul(0x9e37_79b9) ^ (x as u32).wrapping_mul(0x85eb_ca6b);
    h ^= (y as u32).wrapping_mul(0xc2b2_ae35).rotate_left(13);
    h = (h ^ h >> 15).wrapping_mul(0x2c1b_3c6d);
    h = (h ^ h >> 12).wrapping_mul(0x297a_2d39);
    h ^= h >> 15;
    h as f32 / (u32::MAX as f32 / 2.0) - 1.0
}
