//! `Grayscale`: takes the colour out of pictures.

use super::colour::NEUTRAL;
use crate::node::{Moment, Node, NodeError, Way};
use remotemedia_worker::{Picture, PictureMut};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// It has no parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrayscaleParams {}

/// The node.
#[derive(Debug)]
pub struct Grayscale;

impl Node for Grayscale {
    type Params = GrayscaleParams;
    const KIND: &'static str = "Grayscale";
    const SUMMARY: &'static str = "Takes the colour out of pictures.";
    const VIDEO: bool = true;
    const AUDIO: bool = false;

    fn new(_: &GrayscaleParams) -> Result<Self, NodeError> {
        Ok(Self)
    }

    fn configure(&mut self, _: &GrayscaleParams) -> Result<(), NodeError> {
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Within
    }

    fn within(&mut self, picture: &mut PictureMut<'_>, _: &Moment) -> Result<(), NodeError> {
        for plane in [1, 2] {
            picture.rows_mut(plane).for_each(|row| row.fill(NEUTRAL));
        }
        Ok(())
    }

    /// Only luma is taken over: chroma would be overwritten.
    fn across(
        &mut self,
        input: &Picture<'_>,
        output: &mut PictureMut<'_>,
        moment: &Moment,
    ) -> Result<u64, NodeError> {
        let mut copied = 0;
        for (to, from) in output.rows_mut(0).zip(input.rows(0)) {
            let width = to.len().min(from.len());
            to[..width].copy_from_slice(&from[..width]);
            copied += width as u64;
        }
        self.within(output, moment)?;
        Ok(copied)
    }
}
