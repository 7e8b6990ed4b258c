//! `Mirror`: exchanges left and right, or above and below.

use super::rows::row;
use super::shown::on_its_side;
use crate::node::{Moment, Node, NodeError, Way};
use remotemedia_shm_schema::VideoGeometry;
use remotemedia_worker::{Picture, PictureMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is exchanged, in the picture as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorParams {
    /// Left and right, as in a mirror.
    pub horizontal: bool,
    /// Above and below, as in water; with the other it is half a turn.
    pub vertical: bool,
}

impl Default for MirrorParams {
    fn default() -> Self {
        Self { horizontal: true, vertical: false }
    }
}

/// The node. In odd sizes colour moves by half a pixel against brightness, whose middle is not its own.
#[derive(Debug)]
pub struct Mirror {
    params: MirrorParams,
}

impl Node for Mirror {
    type Params = MirrorParams;
    const KIND: &'static str = "Mirror";
    const SUMMARY: &'static str = "Exchanges left and right, or above and below.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(params: &MirrorParams) -> Result<Self, NodeError> {
        Ok(Self { params: params.clone() })
    }

    fn configure(&mut self, params: &MirrorParams) -> Result<(), NodeError> {
        self.params.clone_from(params);
        Ok(())
    }

    fn way(&self) -> Way {
        let something = self.params.horizontal || self.params.vertical;
        if something { Way::Within } else { Way::HandsOn }
    }

    fn within(&mut self, picture: &mut PictureMut<'_>, _: &Moment) -> Result<(), NodeError> {
        let (along, down) = self.stored(&picture.geometry);
        for plane in 0..3 {
            if along {
                picture.rows_mut(plane).for_each(<[u8]>::reverse);
            }
            if down {
                let (columns, rows) = picture.geometry.plane_size(plane);
                let stride = picture.strides.get(plane).copied().unwrap_or(0);
                exchange(picture.plane_mut(plane), stride, columns as usize, rows as usize);
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
        let (along, down) = self.stored(&input.geometry);
        for plane in 0..3 {
            let last = (input.geometry.plane_size(plane).1 as usize).saturating_sub(1);
            let from = row(input, plane);
            for (y, to) in output.rows_mut(plane).enumerate() {
                let from = from(if down { last.saturating_sub(y) } else { y });
                if along {
                    to.iter_mut().zip(from.iter().rev()).for_each(|(to, from)| *to = *from);
                } else {
                    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
                }
            }
        }
        Ok(0)
    }
}

impl Mirror {
    /// What is exchanged in the picture as it is stored: along rows, and rows themselves.
    fn stored(&self, of: &VideoGeometry) -> (bool, bool) {
        let MirrorParams { horizontal, vertical } = self.params;
        if on_its_side(of) { (vertical, horizontal) } else { (horizontal, vertical) }
    }
}

/// The first row with the last one, and so on to the middle.
fn exchange(plane: &mut [u8], stride: usize, columns: usize, rows: usize) {
    for above in 0..rows / 2 {
        let below = (rows - 1 - above) * stride;
        let Some((head, tail)) = plane.split_at_mut_checked(below) else { return };
        let first = head.get_mut(above * stride..above * stride + columns);
        if let (Some(first), Some(last)) = (first, tail.get_mut(..columns)) {
            first.swap_with_slice(last);
        }
    }
}
