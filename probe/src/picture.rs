//! An I420 picture of our own, in the layout that workers use, so that codecs write straight into it.

use remotemedia_shm_schema::VideoGeometry;

/// Y, U and V in one block of bytes, laid out by [`VideoGeometry::i420`].
#[derive(Debug, Clone)]
pub struct Picture {
    geometry: VideoGeometry,
    bytes: Vec<u8>,
}

/// Rows of one plane, without the padding behind them.
#[derive(Debug, Clone, Copy)]
pub struct PlaneView<'a> {
    /// The plane's bytes, padding included.
    pub bytes: &'a [u8],
    /// Bytes from row to row.
    pub stride: usize,
    /// Bytes of a row that are picture.
    pub columns: usize,
    /// How many rows there are.
    pub rows: usize,
}

impl<'a> PlaneView<'a> {
    /// The rows, top to bottom.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let columns = self.columns;
        self.bytes.chunks(self.stride.max(1)).take(self.rows).map(move |row| {
            let end = columns.min(row.len());
            row.get(..end).unwrap_or_default()
        })
    }
}

impl Picture {
    /// A black picture of this size.
    #[must_use]
    pub fn black(width: u16, height: u16) -> Self {
        let geometry = VideoGeometry::i420(width, height);
        let mut picture = Self { geometry, bytes: vec![0; geometry.payload_len()] };
        for (plane, value) in [(0, 16), (1, 128), (2, 128)] {
            picture.plane_mut(plane).fill(value);
        }
        picture
    }

    /// Copies three tightly or loosely packed planes; `None` when one is too short for the size.
    #[must_use]
    pub fn from_planes(
        width: u16,
        height: u16,
        planes: [&[u8]; 3],
        strides: [usize; 3],
    ) -> Option<Self> {
        let mut picture = Self::black(width, height);
        for (index, (from, stride)) in planes.into_iter().zip(strides).enumerate() {
            let (columns, rows) = picture.size_of(index);
            let own = picture.stride(index);
            if stride < columns || from.len() < stride * rows.saturating_sub(1) + columns {
                return None;
            }
            let into = picture.plane_mut(index);
            for (to, row) in into.chunks_mut(own).zip(from.chunks(stride)).take(rows) {
                to.get_mut(..columns)?.copy_from_slice(row.get(..columns)?);
            }
        }
        Some(picture)
    }

    /// Pixels across.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.geometry.width
    }

    /// Pixels down.
    #[must_use]
    pub fn height(&self) -> u16 {
        self.geometry.height
    }

    /// Shape and layout.
    #[must_use]
    pub fn geometry(&self) -> &VideoGeometry {
        &self.geometry
    }

    /// All bytes, as a codec or a channel takes them.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// All bytes, for a codec to write.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }

    /// Becomes black of this size, if it is not of this size already; whether it changed.
    pub fn resize(&mut self, width: u16, height: u16) -> bool {
        let differs = (width, height) != (self.width(), self.height());
        if differs {
            *self = Self::black(width, height);
        }
        differs
    }

    /// Columns and rows of plane 0 (Y), 1 (U) or 2 (V).
    #[must_use]
    pub fn size_of(&self, plane: usize) -> (usize, usize) {
        let (columns, rows) = self.geometry.plane_size(plane);
        (columns as usize, rows as usize)
    }

    /// Bytes from row to row of a plane.
    #[must_use]
    pub fn stride(&self, plane: usize) -> usize {
        self.geometry.planes[plane.min(2)].stride as usize
    }

    /// A plane to read.
    #[must_use]
    pub fn plane(&self, plane: usize) -> PlaneView<'_> {
        let (columns, rows) = self.size_of(plane);
        let stride = self.stride(plane);
        let begin = self.geometry.planes[plane.min(2)].offset as usize;
        let bytes = self.bytes.get(begin..begin + stride * rows).unwrap_or_default();
        PlaneView { bytes, stride, columns, rows }
    }

    /// A plane's bytes to write, padding included.
    pub fn plane_mut(&mut self, plane: usize) -> &mut [u8] {
        let (_, rows) = self.size_of(plane);
        let stride = self.stride(plane);
        let begin = self.geometry.planes[plane.min(2)].offset as usize;
        self.bytes.get_mut(begin..begin + stride * rows).unwrap_or_default()
    }

    /// Takes over another picture's content; sizes must agree, or nothing happens.
    pub fn copy_from(&mut self, other: &Self) {
        if self.bytes.len() == other.bytes.len() {
            self.bytes.copy_from_slice(&other.bytes);
        }
    }
}

/// Peak signal-to-noise ratio of two luma planes of one size, in dB; 99 where they are equal.
#[must_use]
pub fn luma_psnr(a: &PlaneView<'_>, b: &PlaneView<'_>) -> f64 {
    let mut squares = 0u64;
    let mut count = 0u64;
    for (left, right) in a.lines().zip(b.lines()) {
        for (&x, &y) in left.iter().zip(right) {
            let d = i64::from(x) - i64::from(y);
            squares += (d * d) as u64;
        }
        count += left.len().min(right.len()) as u64;
    }
    if squares == 0 || count == 0 {
        return 99.0;
    }
    let mean = squares as f64 / count as f64;
    10.0 * (255.0 * 255.0 / mean).log10()
}
