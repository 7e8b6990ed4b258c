//! `Overlay`: writes a text, the time or the frame's number onto pictures, so that a person can see that they were processed.

use super::colour::{Colour, NEUTRAL};
use crate::node::{Moment, Node, NodeError, Way};
use font8x8::UnicodeFonts;
use remotemedia_worker::PictureMut;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// Black in limited range, dark in full range as well.
const BLACK: u8 = 16;
/// Pixels of a glyph's side before scaling.
const GLYPH: usize = 8;
/// Picture height for each step of the automatic scale: 720 lines have glyphs of 32 (chosen to be read on a phone).
const LINES_PER_SCALE: usize = 180;
/// Characters shown at most: a text of [`MAX_TEXT`] with the clock behind it.
const MAX_LINE: usize = MAX_TEXT + 24;
/// Characters of a text (chosen; a line of the smallest glyphs on 640 pixels).
const MAX_TEXT: usize = 64;

/// What is shown, and where.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OverlayParams {
    /// What is shown.
    pub show: Show,
    /// The text, one line; it stands in front of a clock or a frame number.
    #[schemars(length(max = MAX_TEXT))]
    pub text: String,
    /// Where. The lower positions stay clear of the picture's top eighth, where test pictures carry their code.
    pub position: Position,
    /// Pixels of a glyph's dot; null fits the picture. It shrinks where it would not fit.
    #[schemars(range(min = 1, max = 16))]
    pub scale: Option<u8>,
    /// The letters' colour, `#rrggbb`; they stand on black.
    pub colour: Colour,
}

impl Default for OverlayParams {
    fn default() -> Self {
        Self {
            show: Show::default(),
            text: String::new(),
            position: Position::default(),
            scale: None,
            colour: Colour::new(255, 255, 255),
        }
    }
}

/// What is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Show {
    /// The text alone.
    Text,
    /// The time of day in UTC, when the node saw the frame.
    #[default]
    Clock,
    /// The number that its producer gave the frame.
    Frame,
}

/// Where it is shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Position {
    /// In the lower left corner.
    #[default]
    BottomLeft,
    /// In the lower right corner.
    BottomRight,
    /// In the upper left corner.
    TopLeft,
    /// In the upper right corner.
    TopRight,
}

/// The node.
#[derive(Debug)]
pub struct Overlay {
    params: OverlayParams,
    /// The line as it is shown; kept for its memory.
    line: String,
}

impl Node for Overlay {
    type Params = OverlayParams;
    const KIND: &'static str = "Overlay";
    const SUMMARY: &'static str = "Writes a text, the time or the frame's number onto pictures.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &OverlayParams) -> Result<Self, NodeError> {
        Ok(Self { params: params.clone(), line: String::with_capacity(4 * MAX_LINE) })
    }

    fn configure(&mut self, params: &OverlayParams) -> Result<(), NodeError> {
        self.params.clone_from(params);
        Ok(())
    }

    fn way(&self) -> Way {
        let nothing = self.params.show == Show::Text && self.params.text.is_empty();
        if nothing { Way::HandsOn } else { Way::Within }
    }

    fn within(&mut self, picture: &mut PictureMut<'_>, moment: &Moment) -> Result<(), NodeError> {
        write_line(&mut self.line, &self.params, moment);
        let characters = self.line.chars().count();
        if let Some(place) = Place::find(&self.params, characters, picture) {
            place.clear(picture);
            let [luma, u, v] = self.params.colour.yuv(&picture.geometry);
            place.write(picture, &self.line, 0, luma);
            // White letters have no more colour than what they stand on.
            for (plane, chroma) in [(1, u), (2, v)].into_iter().filter(|(_, c)| *c != NEUTRAL) {
                place.write(picture, &self.line, plane, chroma);
            }
        }
        Ok(())
    }
}

fn write_line(line: &mut String, params: &OverlayParams, moment: &Moment) {
    line.clear();
    // A control character would be a gap at best.
    line.extend(params.text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    let gap = if line.is_empty() { "" } else { " " };
    let shown = match params.show {
        Show::Text => Ok(()),
        Show::Clock => {
            let ms = moment.unix_ns / 1_000_000 % 86_400_000;
            let (s, ms) = (ms / 1000, ms % 1000);
            write!(line, "{gap}{:02}:{:02}:{:02}.{ms:03}", s / 3600, s / 60 % 60, s % 60)
        }
        Show::Frame => write!(line, "{gap}frame {}", moment.sequence),
    };
    // Writing to a `String` does not fail.
    debug_assert!(shown.is_ok());
}

/// The box, in pixels of luma; all even, so that chroma has it too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    scale: usize,
    /// Characters that fit.
    characters: usize,
}

impl Place {
    /// `None` where the picture is too small for a single character.
    fn find(params: &OverlayParams, characters: usize, picture: &PictureMut<'_>) -> Option<Self> {
        let even = |n: usize| n & !1;
        let width = even(usize::from(picture.geometry.width));
        let height = even(usize::from(picture.geometry.height));
        let top = matches!(params.position, Position::TopLeft | Position::TopRight);
        let room = if top { height } else { even(height.saturating_sub(code_strip(picture))) };
        let wanted = match params.scale {
            Some(scale) => usize::from(scale),
            None => height.div_ceil(LINES_PER_SCALE),
        };
        let fits = |scale: &usize| {
            let (w, h) = size(characters, *scale);
            w <= width && h <= room
        };
        let scale = (1..=wanted.max(1)).rev().find(fits).unwrap_or(1);
        let characters = characters.min(width.saturating_sub(2 * padding(scale)) / GLYPH / scale);
        let (w, h) = size(characters, scale);
        if characters == 0 || h > room {
            return None;
        }
        // A margin where there is room for it.
        let margin = even(4 * scale);
        let (x_most, y_most) = (width - w, height - h);
        let x = match params.position {
            Position::BottomLeft | Position::TopLeft => margin.min(x_most),
            Position::BottomRight | Position::TopRight => x_most.saturating_sub(margin),
        };
        let y =
            if top { margin.min(y_most) } else { y_most.saturating_sub(margin).max(height - room) };
        Some(Self { x, y, width: w, height: h, scale, characters })
    }

    fn clear(&self, picture: &mut PictureMut<'_>) {
        for (plane, (half, value)) in
            [(1, BLACK), (2, NEUTRAL), (2, NEUTRAL)].into_iter().enumerate()
        {
            let columns = self.x / half..(self.x + self.width) / half;
            let rows = picture.rows_mut(plane).skip(self.y / half).take(self.height / half);
            for row in rows {
                if let Some(part) = row.get_mut(columns.clone()) {
                    part.fill(value);
                }
            }
        }
    }

    /// Puts a plane's value where letters have dots; a sample of chroma goes by the upper two of its four pixels.
    fn write(&self, picture: &mut PictureMut<'_>, line: &str, plane: usize, value: u8) {
        let half = if plane == 0 { 1 } else { 2 };
        let padding = padding(self.scale);
        let first = (self.y + padding) / half;
        let rows = picture.rows_mut(plane).skip(first).take(GLYPH * self.scale / half);
        for (row_index, row) in rows.enumerate() {
            for (index, character) in line.chars().take(self.characters).enumerate() {
                let bits =
                    glyph(character).get(row_index * half / self.scale).copied().unwrap_or(0);
                let begin = self.x + padding + index * GLYPH * self.scale;
                for dot in (0..GLYPH).filter(|dot| bits >> dot & 1 == 1) {
                    let at = begin + dot * self.scale;
                    if let Some(dots) = row.get_mut(at / half..(at + self.scale).div_ceil(half)) {
                        dots.fill(value);
                    }
                }
            }
        }
    }
}

/// Lines at the top that the lower positions leave alone: two of sixteen parts, and all of a probe's code, whose two
/// rows of cells are a thirty-second of the width each.
fn code_strip(picture: &PictureMut<'_>) -> usize {
    let (width, height) =
        (usize::from(picture.geometry.width), usize::from(picture.geometry.height));
    (height.div_ceil(8)).max(width / 32 * 2)
}

fn padding(scale: usize) -> usize {
    2 * scale
}

/// Width and height of the box around so many characters.
fn size(characters: usize, scale: usize) -> (usize, usize) {
    (characters * GLYPH * scale + 2 * padding(scale), GLYPH * scale + 2 * padding(scale))
}

/// A character's rows, the leftmost dot in the lowest bit; a box for one that the font does not have.
fn glyph(character: char) -> [u8; 8] {
    font8x8::BASIC_FONTS
        .get(character)
        .or_else(|| font8x8::LATIN_FONTS.get(character))
        .or_else(|| font8x8::GREEK_FONTS.get(character))
        .or_else(|| font8x8::HIRAGANA_FONTS.get(character))
        .or_else(|| font8x8::BOX_FONTS.get(character))
        .or_else(|| font8x8::BLOCK_FONTS.get(character))
        .unwrap_or([0x00, 0x7e, 0x42, 0x42, 0x42, 0x42, 0x7e, 0x00])
}
