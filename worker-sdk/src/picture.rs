//! Views of an I420 picture's three planes, in place.

use remotemedia_shm_schema::VideoGeometry;
use std::ops::Range;

/// A picture to read.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Luma, row behind row, [`Picture::strides`] apart.
    pub y: &'a [u8],
    /// First chroma plane.
    pub u: &'a [u8],
    /// Second chroma plane.
    pub v: &'a [u8],
    /// Bytes from row to row of each plane.
    pub strides: [usize; 3],
    /// Size, colour, rotation.
    pub geometry: VideoGeometry,
}

/// A picture to write.
#[derive(Debug)]
pub struct PictureMut<'a> {
    /// Luma, row behind row, [`PictureMut::strides`] apart.
    pub y: &'a mut [u8],
    /// First chroma plane.
    pub u: &'a mut [u8],
    /// Second chroma plane.
    pub v: &'a mut [u8],
    /// Bytes from row to row of each plane.
    pub strides: [usize; 3],
    /// Size, colour, rotation.
    pub geometry: VideoGeometry,
}

impl<'a> Picture<'a> {
    /// The planes of a picture of this geometry in `payload`; `None` when they do not lie in it, one behind the other.
    #[must_use]
    pub fn over(payload: &'a [u8], geometry: VideoGeometry) -> Option<Self> {
        let [y, u, v] = ranges(&geometry, payload.len())?;
        Some(Self {
            y: payload.get(y)?,
            u: payload.get(u)?,
            v: payload.get(v)?,
            strides: geometry.planes.map(|plane| plane.stride as usize),
            geometry,
        })
    }

    /// Plane 0 (Y), 1 (U) or 2 (V); anything else is V.
    #[must_use]
    pub fn plane(&self, index: usize) -> &'a [u8] {
        match index {
            0 => self.y,
            1 => self.u,
            _ => self.v,
        }
    }

    /// The rows of a plane, without what lies between them.
    pub fn rows(&self, index: usize) -> impl Iterator<Item = &'a [u8]> {
        let (columns, rows) = self.geometry.plane_size(index);
        let stride = self.strides[index.min(2)].max(1);
        self.plane(index)
            .chunks(stride)
            .take(rows as usize)
            .map(move |row| row.get(..columns as usize).unwrap_or(row))
    }
}

impl<'a> PictureMut<'a> {
    /// The planes of a picture of this geometry in `payload`; `None` when they do not lie in it, one behind the other.
    #[must_use]
    pub fn over(payload: &'a mut [u8], geometry: VideoGeometry) -> Option<Self> {
        let [y, u, v] = ranges(&geometry, payload.len())?;
        let (rest, v_plane) = payload.split_at_mut_checked(v.start)?;
        let (rest, u_plane) = rest.split_at_mut_checked(u.start)?;
        Some(Self {
            y: rest.get_mut(y)?,
            u: u_plane.get_mut(..u.len())?,
            v: v_plane.get_mut(..v.len())?,
            strides: geometry.planes.map(|plane| plane.stride as usize),
            geometry,
        })
    }

    /// Plane 0 (Y), 1 (U) or 2 (V); anything else is V.
    #[must_use]
    pub fn plane_mut(&mut self, index: usize) -> &mut [u8] {
        match index {
            0 => self.y,
            1 => self.u,
            _ => self.v,
        }
    }

    /// The rows of a plane, without what lies between them.
    pub fn rows_mut(&mut self, index: usize) -> impl Iterator<Item = &mut [u8]> {
        let (columns, rows) = self.geometry.plane_size(index);
        let stride = self.strides[index.min(2)].max(1);
        self.plane_mut(index).chunks_mut(stride).take(rows as usize).map(move |row| {
            let columns = row.len().min(columns as usize);
            &mut row[..columns]
        })
    }

    /// Takes over another picture's planes, row by row where the strides differ; both must have the same size.
    /// Gives the bytes that were copied, 0 when the sizes differ.
    pub fn copy_from(&mut self, other: &Picture<'_>) -> usize {
        let (own, theirs) = (self.geometry, other.geometry);
        if (own.width, own.height) != (theirs.width, theirs.height) {
            return 0;
        }
        let mut copied = 0;
        for plane in 0..3 {
            for (to, from) in self.rows_mut(plane).zip(other.rows(plane)) {
                let len = to.len().min(from.len());
                to[..len].copy_from_slice(&from[..len]);
                copied += len;
            }
        }
        copied
    }
}

/// Where the planes lie: whole rows as far as the next plane and the payload allow, since libraries want a last row of
/// full stride; at least up to the last pixel.
fn ranges(geometry: &VideoGeometry, len: usize) -> Option<[Range<usize>; 3]> {
    let mut found = [0..0, 0..0, 0..0];
    for (index, place) in found.iter_mut().enumerate() {
        let plane = geometry.planes[index];
        let (columns, rows) = geometry.plane_size(index);
        let (begin, stride) = (plane.offset as usize, plane.stride as usize);
        let limit =
            geometry.planes.get(index + 1).map_or(len, |next| next.offset as usize).min(len);
        let whole = stride.checked_mul(rows as usize)?;
        let needed = whole.checked_sub(stride)?.checked_add(columns as usize)?;
        if columns as usize > stride || begin.checked_add(needed)? > limit {
            return None;
        }
        *place = begin..begin.checked_add(whole)?.min(limit);
    }
    Some(found)
}
