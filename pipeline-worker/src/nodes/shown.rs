//! Sides and places as a viewer sees them, of pictures that are stored turned: parameters speak of what is shown.

use remotemedia_shm_schema::VideoGeometry;

/// A part of a plane, in whole pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) x: usize,
    pub(super) y: usize,
    pub(super) width: usize,
    pub(super) height: usize,
}

impl Area {
    /// The same part of a plane: chroma has a sample for every second pixel, and one more for an odd one at the end.
    pub(super) fn of_plane(&self, plane: usize) -> Self {
        if plane == 0 {
            return *self;
        }
        let half =
            |begin: usize, length: usize| (begin / 2, (begin + length).div_ceil(2) - begin / 2);
        let ((x, width), (y, height)) = (half(self.x, self.width), half(self.y, self.height));
        Self { x, y, width, height }
    }
}

/// Whether width and height change places before it is shown.
pub(super) fn on_its_side(geometry: &VideoGeometry) -> bool {
    matches!(geometry.rotation, 90 | 270)
}

/// Width and height as they are shown, of stored ones; and the other way round.
pub(super) fn sides((width, height): (u16, u16), geometry: &VideoGeometry) -> (u16, u16) {
    if on_its_side(geometry) { (height, width) } else { (width, height) }
}

/// Where a part of what is shown lies in what is stored. It must lie within the picture.
pub(super) fn stored(shown: Area, geometry: &VideoGeometry) -> Area {
    let (width, height) = (usize::from(geometry.width), usize::from(geometry.height));
    let Area { x, y, .. } = shown;
    // Shown is stored, turned clockwise: at 90 degrees the left edge of what is shown is the lower one of what is stored.
    let from_right = |of: usize| of.saturating_sub(x + shown.width);
    let from_below = |of: usize| of.saturating_sub(y + shown.height);
    let turned = |x, y| Area { x, y, width: shown.height, height: shown.width };
    match geometry.rotation {
        90 => turned(y, from_right(height)),
        180 => Area { x: from_right(width), y: from_below(height), ..shown },
        270 => turned(from_below(width), x),
        _ => shown,
    }
}
