//! `Scale`: gives pictures another size.
//!
//! Brightness and colour are scaled each by itself, colour as lying in the middle of its four pixels, as libyuv and so
//! browsers make it: frames do not tell.

mod resample;

use super::colour::{Levels, NEUTRAL};
use super::rows::row;
use super::shown::{Area, sides};
use crate::node::{Moment, Node, NodeError, Way};
use remotemedia_shm_schema::VideoGeometry;
use remotemedia_shm_schema::header::MAX_SIDE;
use remotemedia_worker::{Picture, PictureMut};
use resample::{Resampler, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The size, of the picture as it is shown.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScaleParams {
    /// Pixels; null goes with the height, and without that keeps the picture's.
    #[schemars(range(min = 2, max = 4096))]
    pub width: Option<u16>,
    /// Pixels; null goes with the width.
    #[schemars(range(min = 2, max = 4096))]
    pub height: Option<u16>,
    /// What becomes of a picture of another shape.
    pub fit: Fit,
}

/// What becomes of a picture of another shape.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// All of it is seen, between black bars.
    #[default]
    Contain,
    /// It fills the size, and loses what lies beyond on two sides.
    Cover,
    /// It is distorted.
    Stretch,
}

/// The node; its tables are made anew only for another size.
#[derive(Debug)]
pub struct Scale {
    params: ScaleParams,
    luma: Resampler,
    /// Both planes are of one size.
    chroma: Resampler,
}

impl Node for Scale {
    type Params = ScaleParams;
    const KIND: &'static str = "Scale";
    const SUMMARY: &'static str =
        "Gives pictures another size: whole between black bars, cut off, or distorted.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &ScaleParams) -> Result<Self, NodeError> {
        let (luma, chroma) = (Resampler::default(), Resampler::default());
        Ok(Self { params: params.clone(), luma, chroma })
    }

    fn configure(&mut self, params: &ScaleParams) -> Result<(), NodeError> {
        self.params.clone_from(params);
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Across
    }

    fn way_for(&self, of: &VideoGeometry) -> Way {
        let same = self.target(of) == (of.width, of.height);
        if same { Way::HandsOn } else { Way::Across }
    }

    fn size(&self, of: &VideoGeometry) -> Result<(u16, u16), NodeError> {
        Ok(self.target(of))
    }

    /// A picture that is stored on its side has these exchanged, and about as many bytes.
    fn size_of_any(&self) -> Option<(u16, u16)> {
        self.params.width.zip(self.params.height)
    }

    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        _: &Moment,
    ) -> Result<u64, NodeError> {
        let of = &input.geometry;
        let to = self.target(of);
        if to != (output.geometry.width, output.geometry.height) {
            return Err(NodeError::new("the picture to write to has another size"));
        }
        let layout = Layout::new(self.params.fit, (of.width, of.height), to);
        for plane in 0..3 {
            let blank = if plane == 0 { Levels::of(of.range).black } else { NEUTRAL };
            let place = layout.place.of_plane(plane);
            clear_around(output, plane, &place, blank);
            let (columns, rows) = of.plane_size(plane);
            let part = if plane == 0 { 1.0 } else { 0.5 };
            let along = Span {
                source: columns as usize,
                begin: layout.begin.0 * part,
                ratio: layout.ratio.0,
                target: place.width,
            };
            let down = Span {
                source: rows as usize,
                begin: layout.begin.1 * part,
                ratio: layout.ratio.1,
                target: place.height,
            };
            let inside = output
                .rows_mut(plane)
                .skip(place.y)
                .filter_map(|row| row.get_mut(place.x..place.x + place.width));
            let resampler = if plane == 0 { &mut self.luma } else { &mut self.chroma };
            resampler.run(along, down, row(input, plane), inside);
        }
        Ok(0)
    }
}

impl Scale {
    /// Width and height as they are stored.
    fn target(&self, of: &VideoGeometry) -> (u16, u16) {
        let (width, height) = sides((of.width, of.height), of);
        let shown = match (self.params.width, self.params.height) {
            (Some(w), Some(h)) => (w, h),
            (Some(w), None) => (w, along(height, width, w)),
            (None, Some(h)) => (along(width, height, h), h),
            (None, None) => (width, height),
        };
        sides(shown, of)
    }
}

/// What a side becomes when the other one changes so; even, for then chroma has all of it.
fn along(side: u16, from: u16, to: u16) -> u16 {
    if from == to {
        return side;
    }
    let exact = f64::from(side) * f64::from(to) / f64::from(from.max(1));
    even(exact).clamp(2, usize::from(MAX_SIDE)) as u16
}

fn even(exact: f64) -> usize {
    (exact / 2.0).round() as usize * 2
}

/// Which part of a picture comes where.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Layout {
    place: Area,
    /// Where the part that is seen begins, in pixels of the source, along and down.
    begin: (f64, f64),
    /// Pixels of the source for each of the result.
    ratio: (f64, f64),
}

impl Layout {
    fn new(fit: Fit, from: (u16, u16), to: (u16, u16)) -> Self {
        let (width, height) = (usize::from(to.0), usize::from(to.1));
        let whole = Area { x: 0, y: 0, width, height };
        let (w, h) = (f64::from(from.0), f64::from(from.1));
        let ratio = (w / f64::from(to.0), h / f64::from(to.1));
        match fit {
            Fit::Stretch => Self { place: whole, begin: (0.0, 0.0), ratio },
            Fit::Cover => {
                let both = ratio.0.min(ratio.1);
                let cut = |of: f64, to: u16| (of - both * f64::from(to)) / 2.0;
                Self { place: whole, begin: (cut(w, to.0), cut(h, to.1)), ratio: (both, both) }
            }
            Fit::Contain => {
                let both = ratio.0.max(ratio.1);
                let (width, height) = (inside(w / both, width), inside(h / both, height));
                let middle = |room: usize, taken: usize| ((room - taken) / 2) & !1;
                let (x, y) = (middle(whole.width, width), middle(whole.height, height));
                let ratio = (w / width as f64, h / height as f64);
                Self { place: Area { x, y, width, height }, begin: (0.0, 0.0), ratio }
            }
        }
    }
}

/// A side within a room: all of it where less than a pixel is missing, else even, as bars begin and end with chroma.
fn inside(exact: f64, room: usize) -> usize {
    if exact > room as f64 - 1.0 { room } else { even(exact).max(2).min(room) }
}

/// Fills what is not within the place.
fn clear_around(output: &mut PictureMut<'_>, plane: usize, place: &Area, value: u8) {
    for (y, row) in output.rows_mut(plane).enumerate() {
        if !(place.y..place.y + place.height).contains(&y) {
            row.fill(value);
            continue;
        }
        if let Some(left) = row.get_mut(..place.x) {
            left.fill(value);
        }
        if let Some(right) = row.get_mut(place.x + place.width..) {
            right.fill(value);
        }
    }
}
