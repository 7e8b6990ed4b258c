//! A borrowed I420 picture: three planes with strides, wherever they lie.

use remotemedia_shm_schema::{ColourMatrix, ColourRange, VideoGeometry};

/// Three planes that belong to somebody else: a loaned sample, a received one, or a decoder's own picture.
#[derive(Debug, Clone, Copy)]
pub struct Planes<'a> {
    width: u16,
    height: u16,
    data: [&'a [u8]; 3],
    strides: [usize; 3],
    /// Matrix coefficients.
    pub matrix: ColourMatrix,
    /// Luma range.
    pub range: ColourRange,
}

/// Why planes do not make a picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PlaneFault {
    /// Nothing to see.
    #[error("a picture has at least one pixel")]
    Empty,
    /// A plane's rows overlap or reach beyond its memory.
    #[error("plane {0} is too short for its rows, or its stride for its columns")]
    Short(usize),
}

impl<'a> Planes<'a> {
    /// A picture of Y, U and V planes; the last row of a plane may end with its last column.
    ///
    /// # Errors
    /// When a plane does not hold what the size asks for.
    pub fn new(
        width: u16,
        height: u16,
        data: [&'a [u8]; 3],
        strides: [usize; 3],
    ) -> Result<Self, PlaneFault> {
        if width == 0 || height == 0 {
            return Err(PlaneFault::Empty);
        }
        let picture = Self {
            width,
            height,
            data,
            strides,
            matrix: ColourMatrix::default(),
            range: ColourRange::default(),
        };
        for (index, (data, stride)) in data.iter().zip(strides).enumerate() {
            let (columns, rows) = picture.plane_size(index);
            let needs = stride.checked_mul(rows - 1).and_then(|n| n.checked_add(columns));
            if stride < columns || needs.is_none_or(|n| n > data.len()) {
                return Err(PlaneFault::Short(index));
            }
        }
        Ok(picture)
    }

    /// The picture that a geometry describes in a payload.
    ///
    /// # Errors
    /// When the payload is too short for it.
    pub fn of_payload(geometry: &VideoGeometry, payload: &'a [u8]) -> Result<Self, PlaneFault> {
        let mut data = [&payload[..0]; 3];
        let mut strides = [0; 3];
        for (index, plane) in geometry.planes.iter().enumerate() {
            let begin = plane.offset as usize;
            let rest = payload.get(begin..).ok_or(PlaneFault::Short(index))?;
            data[index] = rest;
            strides[index] = plane.stride as usize;
        }
        let mut picture = Self::new(geometry.width, geometry.height, data, strides)?;
        picture.matrix = geometry.matrix;
        picture.range = geometry.range;
        Ok(picture)
    }

    /// Pixels.
    #[must_use]
    pub fn width(&self) -> u16 {
        self.width
    }

    /// Pixels.
    #[must_use]
    pub fn height(&self) -> u16 {
        self.height
    }

    /// Columns and rows of plane 0 (Y), 1 (U) or 2 (V).
    #[must_use]
    pub fn plane_size(&self, plane: usize) -> (usize, usize) {
        let (w, h) = (usize::from(self.width), usize::from(self.height));
        if plane == 0 { (w, h) } else { (w.div_ceil(2), h.div_ceil(2)) }
    }

    /// Memory of plane 0, 1 or 2, from its first pixel on.
    #[must_use]
    pub fn plane(&self, plane: usize) -> &'a [u8] {
        self.data[plane]
    }

    /// Bytes from row to row of plane 0, 1 or 2.
    #[must_use]
    pub fn stride(&self, plane: usize) -> usize {
        self.strides[plane]
    }

    /// One row of a plane, without what lies between rows.
    #[must_use]
    pub fn row(&self, plane: usize, row: usize) -> &'a [u8] {
        let begin = self.strides[plane] * row;
        &self.data[plane][begin..begin + self.plane_size(plane).0]
    }

    /// The layout that [`Self::copy_into`] writes: our own for this size, with this picture's colours.
    #[must_use]
    pub fn geometry(&self) -> VideoGeometry {
        let mut geometry = VideoGeometry::i420(self.width, self.height);
        geometry.matrix = self.matrix;
        geometry.range = self.range;
        geometry
    }

    /// Writes all rows into a payload laid out as `geometry`, and returns how many bytes it copied.
    ///
    /// # Errors
    /// When the payload is too short, or `geometry` is of another size.
    pub fn copy_into(
        &self,
        geometry: &VideoGeometry,
        payload: &mut [u8],
    ) -> Result<usize, PlaneFault> {
        if (geometry.width, geometry.height) != (self.width, self.height) {
            return Err(PlaneFault::Empty);
        }
        let mut copied = 0;
        for (index, plane) in geometry.planes.iter().enumerate() {
            let (columns, rows) = self.plane_size(index);
            let stride = plane.stride as usize;
            let into = payload.get_mut(plane.offset as usize..).ok_or(PlaneFault::Short(index))?;
            if stride < columns || stride * (rows - 1) + columns > into.len() {
                return Err(PlaneFault::Short(index));
            }
            for (row, into) in into.chunks_mut(stride).take(rows).enumerate() {
                into[..columns].copy_from_slice(self.row(index, row));
            }
            copied += columns * rows;
        }
        Ok(copied)
    }

    /// The upper left part of an even size: what H.264 can carry of an odd picture.
    #[must_use]
    pub(crate) fn even(mut self) -> Self {
        self.width &= !1;
        self.height &= !1;
        self
    }

    /// The same picture in our own layout inside `scratch`, for encoders that want U and V strides equal.
    pub(crate) fn repacked<'b>(&self, scratch: &'b mut Vec<u8>) -> Result<Planes<'b>, PlaneFault> {
        let geometry = self.geometry();
        scratch.resize(geometry.payload_len(), 0);
        self.copy_into(&geometry, scratch)?;
        Planes::of_payload(&geometry, scratch)
    }
}
