//! `ChromaKey`: puts a colour in the place of another, as of a green screen.
//!
//! What a pixel's colour makes of it is told by one table over U and V: how much of it stays, and the colour that it then
//! has. Brightness follows the colour around it, in steps of a quarter, so that edges have no stairs.

use super::colour::{Colour, NEUTRAL};
use super::rows::chroma_rows;
use crate::node::{Moment, Node, NodeError, Way};
use remotemedia_shm_schema::{ColourMatrix, ColourRange, VideoGeometry};
use remotemedia_worker::{Picture, PictureMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A key must be so far from grey, in levels of chroma, that noise of a camera does not reach it (chosen).
const LEAST_COLOUR: f32 = 16.0;

/// What is replaced, and by what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ChromaKeyParams {
    /// The colour that goes, `#rrggbb`; how bright it is does not matter.
    pub key: Colour,
    /// How far from the key a colour still goes: 0 is the key alone, 1 reaches as far as grey.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub similarity: f32,
    /// How much farther it goes in part, for soft edges; in the same measure.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub smoothness: f32,
    /// How much of the key's tint is taken from what stays: 0 none, 1 all.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub spill: f32,
    /// The colour that comes, `#rrggbb`.
    pub background: Colour,
}

impl Default for ChromaKeyParams {
    fn default() -> Self {
        Self {
            key: Colour::new(0, 255, 0),
            similarity: 0.5,
            smoothness: 0.125,
            spill: 0.5,
            background: Colour::new(0, 0, 0),
        }
    }
}

/// What becomes of a colour.
#[derive(Debug, Clone, Copy, Default)]
struct Becomes {
    /// How much of the pixel stays, of 255.
    stays: u8,
    u: u8,
    v: u8,
}

/// The node; its table is made anew for other parameters, another range or matrix.
#[derive(Debug)]
pub struct ChromaKey {
    params: ChromaKeyParams,
    made_for: Option<(ColourMatrix, ColourRange)>,
    /// For U in the higher and V in the lower byte.
    table: Vec<Becomes>,
    /// Luma of the background.
    behind: u8,
    /// How much stays, for each sample of chroma; and of one row of luma, halfway and in full.
    stays: Vec<u8>,
    between: Vec<u8>,
    wide: Vec<u8>,
}

impl Node for ChromaKey {
    type Params = ChromaKeyParams;
    const KIND: &'static str = "ChromaKey";
    const SUMMARY: &'static str = "Puts a colour in the place of another, as of a green screen.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &ChromaKeyParams) -> Result<Self, NodeError> {
        check(params)?;
        Ok(Self {
            params: params.clone(),
            made_for: None,
            table: vec![Becomes::default(); 1 << 16],
            behind: 0,
            stays: Vec::new(),
            between: Vec::new(),
            wide: Vec::new(),
        })
    }

    fn configure(&mut self, params: &ChromaKeyParams) -> Result<(), NodeError> {
        check(params)?;
        self.params.clone_from(params);
        self.made_for = None;
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Across
    }

    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        _: &Moment,
    ) -> Result<u64, NodeError> {
        self.make(&input.geometry);
        let (columns, rows) = input.geometry.plane_size(1);
        let (columns, rows) = (columns as usize, rows as usize);
        self.stays.resize(columns * rows, 0);
        self.between.resize(columns, 0);
        self.wide.resize(usize::from(input.geometry.width), 0);
        let from = input.rows(1).zip(input.rows(2));
        let to = self.stays.chunks_exact_mut(columns).zip(chroma_rows(output));
        for ((stays, (to_u, to_v)), (us, vs)) in to.zip(from) {
            let to = stays.iter_mut().zip(to_u.iter_mut().zip(to_v));
            for ((stays, (to_u, to_v)), (u, v)) in to.zip(us.iter().zip(vs)) {
                let becomes = self.table[usize::from(u16::from_be_bytes([*u, *v]))];
                (*stays, *to_u, *to_v) = (becomes.stays, becomes.u, becomes.v);
            }
        }
        let stays = |y: usize| self.stays.chunks_exact(columns).nth(y).unwrap_or_default();
        for (y, (to, from)) in output.rows_mut(0).zip(input.rows(0)).enumerate() {
            let near = y / 2;
            // An even row is the upper one of its two.
            let far = if y % 2 == 0 { near.saturating_sub(1) } else { (near + 1).min(rows - 1) };
            for (to, (near, far)) in self.between.iter_mut().zip(stays(near).iter().zip(stays(far)))
            {
                *to = quarter(*near, *far);
            }
            double(&self.between, &mut self.wide);
            for ((to, luma), stays) in to.iter_mut().zip(from).zip(&self.wide) {
                *to = mix(*luma, self.behind, *stays);
            }
        }
        Ok(0)
    }
}

impl ChromaKey {
    fn make(&mut self, of: &VideoGeometry) {
        if self.made_for == Some((of.matrix, of.range)) {
            return;
        }
        self.made_for = Some((of.matrix, of.range));
        let ChromaKeyParams { key, similarity, smoothness, spill, background } = self.params;
        let [behind, back_u, back_v] = background.yuv(of);
        self.behind = behind;
        let (back_u, back_v) = (apart(back_u), apart(back_v));
        let (key_u, key_v, length) = tint(key, of);
        for (uv, becomes) in (0u16..=u16::MAX).zip(&mut self.table) {
            let [u, v] = uv.to_be_bytes().map(apart);
            let distance = (u - key_u).hypot(v - key_v) / length;
            let stays = if distance <= similarity {
                0.0
            } else {
                // Without smoothness, a zero of either sign, all of it stays.
                ((distance - similarity) / smoothness.max(f32::MIN_POSITIVE)).min(1.0)
            };
            // What of it points to where the key does.
            let tinted = (u * key_u + v * key_v).max(0.0) * spill / (length * length);
            let level = |own: f32, back: f32| {
                (own * stays + back * (1.0 - stays) + f32::from(NEUTRAL)).round() as u8
            };
            *becomes = Becomes {
                stays: (stays * 255.0).round() as u8,
                u: level(u - tinted * key_u, back_u),
                v: level(v - tinted * key_v, back_v),
            };
        }
    }
}

fn check(params: &ChromaKeyParams) -> Result<(), NodeError> {
    let (_, _, length) = tint(params.key, &VideoGeometry::i420(2, 2));
    if length < LEAST_COLOUR {
        let key = String::from(params.key);
        return Err(NodeError::new(format!("the key {key} is next to grey, which is everywhere")));
    }
    Ok(())
}

/// A colour's U and V from grey, and how far both together are from it.
fn tint(colour: Colour, of: &VideoGeometry) -> (f32, f32, f32) {
    let [_, u, v] = colour.yuv(of);
    let (u, v) = (apart(u), apart(v));
    (u, v, u.hypot(v).max(1.0))
}

/// From grey.
fn apart(chroma: u8) -> f32 {
    f32::from(chroma) - f32::from(NEUTRAL)
}

#[inline(always)]
fn mix(own: u8, behind: u8, stays: u8) -> u8 {
    let (own, behind, stays) = (u16::from(own), u16::from(behind), u16::from(stays));
    ((own * stays + behind * (255 - stays) + 127) / 255) as u8
}

/// Three parts of one value and one of another.
#[inline(always)]
fn quarter(near: u8, far: u8) -> u8 {
    ((3 * u16::from(near) + u16::from(far) + 2) >> 2) as u8
}

/// A row of chroma's samples as one of luma's, whose pixels lie a quarter beside them.
fn double(row: &[u8], to: &mut [u8]) {
    let last = row.last().copied().unwrap_or(0);
    let even = to.len().is_multiple_of(2);
    let Some((first, rest)) = to.split_first_mut() else { return };
    *first = row.first().copied().unwrap_or(0);
    for (pair, next) in rest.chunks_exact_mut(2).zip(row.windows(2)) {
        if let ([left, right], [a, b]) = (pair, next) {
            *left = quarter(*a, *b);
            *right = quarter(*b, *a);
        }
    }
    if even && let Some(end) = rest.last_mut() {
        *end = last;
    }
}
