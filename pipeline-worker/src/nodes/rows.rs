//! Rows of a picture's planes: by their number, and those of chroma two and two.

use remotemedia_worker::{Picture, PictureMut};

/// The rows of a plane by their number; one that is not there is empty.
pub(super) fn row<'p>(picture: &Picture<'p>, plane: usize) -> impl Fn(usize) -> &'p [u8] + use<'p> {
    let columns = picture.geometry.plane_size(plane).0 as usize;
    let data = picture.plane(plane);
    let stride = picture.strides.get(plane).copied().unwrap_or(0);
    move |y| data.get(y * stride..).and_then(|rows| rows.get(..columns)).unwrap_or_default()
}

/// The rows of both chroma planes, side by side.
pub(super) fn chroma_rows<'p>(
    picture: &'p mut PictureMut<'_>,
) -> impl Iterator<Item = (&'p mut [u8], &'p mut [u8])> {
    let (columns, rows) = picture.geometry.plane_size(1);
    let (columns, rows) = (columns as usize, rows as usize);
    let [_, of_u, of_v] = picture.strides.map(|stride| stride.max(1));
    let cut = move |row: &'p mut [u8]| {
        let columns = row.len().min(columns);
        &mut row[..columns]
    };
    let (u, v) = (picture.u.chunks_mut(of_u), picture.v.chunks_mut(of_v));
    u.map(cut).zip(v.map(cut)).take(rows)
}
