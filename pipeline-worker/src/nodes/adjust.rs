//! `ColourAdjust`: brightness, contrast, gamma, saturation and hue.
//!
//! By tables over Y, U and V in the picture's own range: its black and its white are what brightness and contrast count by,
//! and nothing goes beyond them. What is not adjusted is not touched, values beyond the range included.

use super::colour::{Levels, NEUTRAL};
use super::rows::chroma_rows;
use crate::node::{Moment, Node, NodeError, Way};
use remotemedia_shm_schema::ColourRange;
use remotemedia_worker::{Picture, PictureMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Bits of fraction of a chroma table's values: 4 · 128 · √2, and so the sum of two, is far within 32 bits.
const FRACTION: u32 = 12;

/// How.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ColourAdjustParams {
    /// Light that is added; 1 makes black white.
    #[schemars(range(min = -1.0, max = 1.0))]
    pub brightness: f32,
    /// How far dark and bright are apart: 0 is an even grey, 1 as it came.
    #[schemars(range(min = 0.0, max = 4.0))]
    pub contrast: f32,
    /// Lifts what is neither black nor white: 1 as it came, 2 brightens, 0.5 darkens.
    #[schemars(range(min = 0.1, max = 10.0))]
    pub gamma: f32,
    /// How strong colours are: 0 is grey, 1 as it came.
    #[schemars(range(min = 0.0, max = 4.0))]
    pub saturation: f32,
    /// Degrees by which colours turn: red towards yellow, yellow towards green.
    #[schemars(range(min = -180.0, max = 180.0))]
    pub hue: f32,
}

impl Default for ColourAdjustParams {
    fn default() -> Self {
        Self { brightness: 0.0, contrast: 1.0, gamma: 1.0, saturation: 1.0, hue: 0.0 }
    }
}

impl ColourAdjustParams {
    fn keeps_light(&self) -> bool {
        (self.brightness, self.contrast, self.gamma) == (0.0, 1.0, 1.0)
    }

    fn keeps_colour(&self) -> bool {
        (self.saturation, self.hue) == (1.0, 0.0)
    }
}

/// The node; its tables are made anew for other parameters and for another range.
#[derive(Debug)]
pub struct ColourAdjust {
    params: ColourAdjustParams,
    made_for: Option<ColourRange>,
    luma: Box<[u8; 256]>,
    /// What U and V each give to the new U and to the new V.
    chroma: Box<[[(i32, i32); 256]; 2]>,
    /// The least and the greatest chroma.
    ends: (i32, i32),
}

impl Node for ColourAdjust {
    type Params = ColourAdjustParams;
    const KIND: &'static str = "ColourAdjust";
    const SUMMARY: &'static str = "Adjusts brightness, contrast, gamma, saturation and hue.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &ColourAdjustParams) -> Result<Self, NodeError> {
        Ok(Self {
            params: params.clone(),
            made_for: None,
            luma: Box::new([0; 256]),
            chroma: Box::new([[(0, 0); 256]; 2]),
            ends: (0, 255),
        })
    }

    fn configure(&mut self, params: &ColourAdjustParams) -> Result<(), NodeError> {
        self.params.clone_from(params);
        self.made_for = None;
        Ok(())
    }

    fn way(&self) -> Way {
        let neutral = self.params.keeps_light() && self.params.keeps_colour();
        if neutral { Way::HandsOn } else { Way::Within }
    }

    fn within(&mut self, picture: &mut PictureMut<'_>, _: &Moment) -> Result<(), NodeError> {
        self.make(picture.geometry.range);
        if !self.params.keeps_light() {
            for row in picture.rows_mut(0) {
                row.iter_mut().for_each(|y| *y = self.light(*y));
            }
        }
        if !self.params.keeps_colour() {
            for (us, vs) in chroma_rows(picture) {
                for (u, v) in us.iter_mut().zip(vs) {
                    (*u, *v) = self.turned(*u, *v);
                }
            }
        }
        Ok(())
    }

    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        _: &Moment,
    ) -> Result<u64, NodeError> {
        self.make(input.geometry.range);
        let mut copied = 0;
        let light = !self.params.keeps_light();
        for (to, from) in output.rows_mut(0).zip(input.rows(0)) {
            if light {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = self.light(*from));
            } else {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                copied += to.len() as u64;
            }
        }
        let colour = !self.params.keeps_colour();
        let from = input.rows(1).zip(input.rows(2));
        for ((to_u, to_v), (us, vs)) in chroma_rows(output).zip(from) {
            if !colour {
                copied += (to_u.len() + to_v.len()) as u64;
            }
            for ((to_u, to_v), (u, v)) in to_u.iter_mut().zip(to_v).zip(us.iter().zip(vs)) {
                (*to_u, *to_v) = if colour { self.turned(*u, *v) } else { (*u, *v) };
            }
        }
        Ok(copied)
    }
}

impl ColourAdjust {
    fn make(&mut self, range: ColourRange) {
        if self.made_for == Some(range) {
            return;
        }
        self.made_for = Some(range);
        let params = &self.params;
        let levels = Levels::of(range);
        let black = f32::from(levels.black);
        for (value, to) in (0u8..=255).zip(self.luma.iter_mut()) {
            let light = (f32::from(value) - black) / levels.luma;
            let light = (light - 0.5) * params.contrast + 0.5 + params.brightness;
            let light = light.clamp(0.0, 1.0).powf(1.0 / params.gamma);
            *to = (black + levels.luma * light).round() as u8;
        }
        let (sin, cos) = f64::from(params.hue).to_radians().sin_cos();
        let strength = f64::from(params.saturation) * f64::from(1 << FRACTION);
        let [of_u, of_v] = &mut *self.chroma;
        for (value, (of_u, of_v)) in (0u8..=255).zip(of_u.iter_mut().zip(of_v.iter_mut())) {
            let chroma = (f64::from(value) - f64::from(NEUTRAL)) * strength;
            let (straight, turned) = ((chroma * cos).round() as i32, (chroma * sin).round() as i32);
            *of_u = (straight, turned);
            *of_v = (-turned, straight);
        }
        let half = (levels.chroma / 2.0).round() as i32;
        let middle = i32::from(NEUTRAL);
        self.ends = ((middle - half).max(0), (middle + half).min(255));
    }

    #[inline(always)]
    fn light(&self, y: u8) -> u8 {
        self.luma[usize::from(y)]
    }

    #[inline(always)]
    fn turned(&self, u: u8, v: u8) -> (u8, u8) {
        let [of_u, of_v] = &*self.chroma;
        let (a, b) = (of_u[usize::from(u)], of_v[usize::from(v)]);
        let level = |sum: i32| {
            let value = (sum + (1 << (FRACTION - 1))) >> FRACTION;
            (value + i32::from(NEUTRAL)).clamp(self.ends.0, self.ends.1) as u8
        };
        (level(a.0 + b.0), level(a.1 + b.1))
    }
}
