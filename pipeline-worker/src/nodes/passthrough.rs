//! `Passthrough`: pictures and sound as they are; the next node gets the same reference.

use crate::node::{Node, NodeError, Way};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// It has no parameters.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PassthroughParams {}

/// The node.
#[derive(Debug)]
pub struct Passthrough;

impl Node for Passthrough {
    type Params = PassthroughParams;
    const KIND: &'static str = "Passthrough";
    const SUMMARY: &'static str = "Hands pictures and sound on as they are.";
    const VIDEO: bool = true;
    const AUDIO: bool = true;

    fn new(_: &PassthroughParams) -> Result<Self, NodeError> {
        Ok(Self)
    }

    fn configure(&mut self, _: &PassthroughParams) -> Result<(), NodeError> {
        Ok(())
    }

    fn way(&self) -> Way {
        Way::HandsOn
    }
}
