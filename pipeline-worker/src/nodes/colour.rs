//! Colours as people write them and as pictures hold them.

use remotemedia_shm_schema::{ColourMatrix, ColourRange, VideoGeometry};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Chroma without colour, in limited and in full range.
pub(super) const NEUTRAL: u8 = 128;

/// A colour, `#rrggbb` in parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Colour {
    /// Red, green, blue.
    pub rgb: [u8; 3],
}

impl Colour {
    /// With this much red, green and blue.
    #[must_use]
    pub const fn new(red: u8, green: u8, blue: u8) -> Self {
        Self { rgb: [red, green, blue] }
    }

    /// Y, U and V of it in a picture of this geometry.
    pub(super) fn yuv(self, geometry: &VideoGeometry) -> [u8; 3] {
        let [red, green, blue] = self.rgb.map(|part| f32::from(part) / 255.0);
        // Red's and blue's share of luma: ITU-R BT.601, BT.709, BT.2020. What is not told is BT.601, as with tap's pictures.
        let (kr, kb) = match geometry.matrix {
            ColourMatrix::Unspecified | ColourMatrix::Bt601 => (0.299, 0.114),
            ColourMatrix::Bt709 => (0.2126, 0.0722),
            ColourMatrix::Bt2020 => (0.2627, 0.0593),
        };
        let light = kr * red + (1.0 - kr - kb) * green + kb * blue;
        let levels = Levels::of(geometry.range);
        let chroma = |difference: f32, share: f32| {
            f32::from(NEUTRAL) + levels.chroma * difference / (2.0 * (1.0 - share))
        };
        let luma = f32::from(levels.black) + levels.luma * light;
        // The cast keeps within 0 to 255.
        [luma, chroma(blue - light, kb), chroma(red - light, kr)].map(|value| value.round() as u8)
    }
}

/// What a range has between black and white, and from one end of chroma to the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Levels {
    /// Luma of black.
    pub(super) black: u8,
    /// From black to white.
    pub(super) luma: f32,
    /// From the least chroma to the greatest.
    pub(super) chroma: f32,
}

impl Levels {
    pub(super) fn of(range: ColourRange) -> Self {
        match range {
            ColourRange::Limited => Self { black: 16, luma: 219.0, chroma: 224.0 },
            ColourRange::Full => Self { black: 0, luma: 255.0, chroma: 255.0 },
        }
    }
}

impl TryFrom<String> for Colour {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let hex = text.strip_prefix('#').filter(|hex| hex.len() == 6);
        // A sign would pass for a digit.
        let hex = hex.filter(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        let Some(Ok(value)) = hex.map(|hex| u32::from_str_radix(hex, 16)) else {
            let head: String = text.chars().take(40).collect();
            return Err(format!("`{head}` is no colour; green is `#00ff00`"));
        };
        let [_, red, green, blue] = value.to_be_bytes();
        Ok(Self::new(red, green, blue))
    }
}

impl From<Colour> for String {
    fn from(colour: Colour) -> Self {
        let [red, green, blue] = colour.rgb;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }
}

impl JsonSchema for Colour {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Colour".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "pattern": "^#[0-9a-fA-F]{6}$"})
    }
}
