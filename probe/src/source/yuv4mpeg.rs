//! Reads Y4M.

use super::SourceFault;
use crate::picture::Picture;
use std::{fs::File, io::BufReader, path::Path};
use y4m::Colorspace;

/// Gives each picture to `take`, until it says no or the file ends.
pub(super) fn read(path: &Path, take: &mut dyn FnMut(&Picture) -> bool) -> Result<(), SourceFault> {
    let file = File::open(path).map_err(|e| SourceFault::read(path, e))?;
    let fault = |e: y4m::Error| SourceFault::format(path, format!("not a good Y4M: {e}"));
    let mut decoder = y4m::decode(BufReader::new(file)).map_err(fault)?;
    match decoder.get_colorspace() {
        Colorspace::C420 | Colorspace::C420jpeg | Colorspace::C420mpeg2 | Colorspace::C420paldv => {
        }
        other => {
            return Err(SourceFault::format(
                path,
                format!("its colour space is {other:?}; convert it to 8-bit 4:2:0"),
            ));
        }
    }
    let sides = (u16::try_from(decoder.get_width()), u16::try_from(decoder.get_height()));
    let (Ok(width), Ok(height)) = sides else {
        return Err(SourceFault::format(path, "its pictures are larger than 65535 pixels"));
    };
    let (luma, chroma) = (usize::from(width), usize::from(width).div_ceil(2));
    loop {
        let frame = match decoder.read_frame() {
            Ok(frame) => frame,
            Err(y4m::Error::EOF) => return Ok(()),
            Err(e) => return Err(fault(e)),
        };
        let planes = [frame.get_y_plane(), frame.get_u_plane(), frame.get_v_plane()];
        let picture = Picture::from_planes(width, height, planes, [luma, chroma, chroma])
            .ok_or_else(|| SourceFault::format(path, "a picture is cut short"))?;
        if !take(&picture) {
            return Ok(());
        }
    }
}
