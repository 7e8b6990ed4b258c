//! `Crop`: takes a part of pictures.

use super::rows::row;
use super::shown::{Area, sides, stored};
use crate::node::{Moment, Node, NodeError, Way};
use remotemedia_shm_schema::VideoGeometry;
use remotemedia_worker::{Picture, PictureMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which part, of the picture as it is shown. It begins and ends at even pixels, as colour does, or at the edge.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CropParams {
    /// What the others count.
    pub unit: Unit,
    /// From the left edge.
    #[schemars(range(min = 0.0, max = 8192.0))]
    pub x: f32,
    /// From the upper edge.
    #[schemars(range(min = 0.0, max = 8192.0))]
    pub y: f32,
    /// How wide; null goes to the right edge. What would lie beyond the edge is left out.
    #[schemars(range(min = 0.0, max = 8192.0))]
    pub width: Option<f32>,
    /// How high; null goes to the lower edge. What would lie beyond the edge is left out.
    #[schemars(range(min = 0.0, max = 8192.0))]
    pub height: Option<f32>,
}

/// What places and lengths count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    /// Pixels.
    #[default]
    Pixels,
    /// The picture's width and height, which are 1.
    Shares,
}

/// The node.
#[derive(Debug)]
pub struct Crop {
    params: CropParams,
}

impl Node for Crop {
    type Params = CropParams;
    const KIND: &'static str = "Crop";
    const SUMMARY: &'static str = "Takes a part of pictures.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &CropParams) -> Result<Self, NodeError> {
        check(params)?;
        Ok(Self { params: params.clone() })
    }

    fn configure(&mut self, params: &CropParams) -> Result<(), NodeError> {
        check(params)?;
        self.params.clone_from(params);
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Across
    }

    fn way_for(&self, of: &VideoGeometry) -> Way {
        let all = self.size(of).is_ok_and(|size| size == (of.width, of.height));
        if all { Way::HandsOn } else { Way::Across }
    }

    fn size(&self, of: &VideoGeometry) -> Result<(u16, u16), NodeError> {
        let Area { width, height, .. } = self.part(of)?;
        // No greater than the picture.
        Ok((width as u16, height as u16))
    }

    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        _: &Moment,
    ) -> Result<u64, NodeError> {
        let part = self.part(&input.geometry)?;
        let mut copied = 0;
        for plane in 0..3 {
            let Area { x, y, .. } = part.of_plane(plane);
            let from = row(input, plane);
            for (below, to) in output.rows_mut(plane).enumerate() {
                let rest = from(y + below).get(x..).unwrap_or_default();
                let Some(taken) = rest.get(..to.len()) else {
                    return Err(NodeError::new("the picture to write to has another size"));
                };
                to.copy_from_slice(taken);
                copied += taken.len() as u64;
            }
        }
        Ok(copied)
    }
}

impl Crop {
    /// The part, as it is stored.
    fn part(&self, of: &VideoGeometry) -> Result<Area, NodeError> {
        let (wide, high) = sides((of.width, of.height), of);
        let params = &self.params;
        let (x, right) = params.unit.pixels(params.x, params.width, wide);
        let (y, below) = params.unit.pixels(params.y, params.height, high);
        if x >= right || y >= below {
            let why = format!("it leaves nothing of a picture of {wide}x{high}");
            return Err(NodeError::new(why));
        }
        let shown = Area { x, y, width: right - x, height: below - y };
        let part = stored(shown, of);
        let (x, width) = whole(part.x, part.width, of.width);
        let (y, height) = whole(part.y, part.height, of.height);
        Ok(Area { x, y, width, height })
    }
}

impl Unit {
    /// Begin and end along a side of so many pixels.
    fn pixels(self, from: f32, length: Option<f32>, side: u16) -> (usize, usize) {
        let unit = match self {
            Self::Pixels => 1.0,
            Self::Shares => f64::from(side),
        };
        let end =
            length.map_or(f64::from(side), |length| (f64::from(from) + f64::from(length)) * unit);
        let within = |pixels: f64| (pixels.round() as usize).min(usize::from(side));
        (within(f64::from(from) * unit), within(end))
    }
}

/// From even to even, rounded down, no less than two pixels; and no farther than the edge, which may be odd.
fn whole(begin: usize, length: usize, side: u16) -> (usize, usize) {
    let (side, end) = (usize::from(side), begin + length);
    let begin = begin.min(side.saturating_sub(1)) & !1;
    let end = if end >= side { side } else { (end & !1).max(begin + 2).min(side) };
    (begin, end - begin)
}

fn check(params: &CropParams) -> Result<(), NodeError> {
    for (name, length) in [("width", params.width), ("height", params.height)] {
        if length == Some(0.0) {
            return Err(NodeError::new(format!("a {name} of 0 leaves nothing")));
        }
    }
    if params.unit == Unit::Pixels {
        return Ok(());
    }
    let CropParams { x, y, width, height, .. } = params;
    let all = [("x", Some(*x)), ("y", Some(*y)), ("width", *width), ("height", *height)];
    for (name, value) in all {
        if let Some(value) = value.filter(|value| *value > 1.0) {
            return Err(NodeError::new(format!("{name} is {value}; a share is 0 to 1")));
        }
    }
    for (name, value) in [("x", *x), ("y", *y)] {
        if value >= 1.0 {
            return Err(NodeError::new(format!("{name} is {value}, which leaves nothing")));
        }
    }
    Ok(())
}
