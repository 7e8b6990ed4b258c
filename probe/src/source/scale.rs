//! A picture at another size.

use crate::picture::Picture;
use fast_image_resize::{PixelType, Resizer, images::Image, images::ImageRef};

/// Scales all planes; the error says what does not fit.
pub(super) fn scaled(picture: &Picture, width: u16, height: u16) -> Result<Picture, String> {
    if (picture.width(), picture.height()) == (width, height) {
        return Ok(picture.clone());
    }
    let mut result = Picture::black(width, height);
    let mut resizer = Resizer::new();
    for plane in 0..3 {
        let from = picture.plane(plane);
        let packed: Vec<u8> = from.lines().flatten().copied().collect();
        let source = ImageRef::new(from.columns as u32, from.rows as u32, &packed, PixelType::U8)
            .map_err(|e| e.to_string())?;
        let (columns, rows) = result.size_of(plane);
        let mut target = Image::new(columns as u32, rows as u32, PixelType::U8);
        resizer.resize(&source, &mut target, None).map_err(|e| e.to_string())?;
        let stride = result.stride(plane);
        let lines = result.plane_mut(plane).chunks_mut(stride);
        for (line, row) in lines.zip(target.buffer().chunks(columns)) {
            if let Some(pixels) = line.get_mut(..columns) {
                pixels.copy_from_slice(row);
            }
        }
    }
    Ok(result)
}
