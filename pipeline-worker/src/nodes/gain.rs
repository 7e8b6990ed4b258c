//! `Gain`: makes sound louder, quieter or silent, without clicks.

use crate::node::{Node, NodeError, Way};
use crate::sound::Sound;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long a change takes: the step of a sudden one would be heard as a click (chosen; half of a 20 ms frame).
const RAMP_MS: f32 = 10.0;

/// How loud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GainParams {
    /// Decibels by which the sound becomes louder, or quieter where negative.
    #[schemars(range(min = -60.0, max = 30.0))]
    pub gain_db: f32,
    /// Silence.
    pub mute: bool,
}

impl Default for GainParams {
    fn default() -> Self {
        Self { gain_db: 0.0, mute: false }
    }
}

impl GainParams {
    fn factor(&self) -> f32 {
        if self.mute { 0.0 } else { from_db(self.gain_db) }
    }
}

/// Decibels as a factor of amplitude; 0 dB is exactly 1.
pub(super) fn from_db(db: f32) -> f32 {
    10f64.powf(f64::from(db) / 20.0) as f32
}

/// The node. Samples beyond ±1 are left to the encoder, which is the one that knows its range.
#[derive(Debug)]
pub struct Gain {
    target: f32,
    /// The factor of the last sample.
    factor: f32,
    /// What the factor changes by a sample, and for how many samples it still does.
    step: f32,
    left: u32,
    /// The target that `step` leads to.
    aimed: f32,
}

impl Node for Gain {
    type Params = GainParams;
    const KIND: &'static str = "Gain";
    const SUMMARY: &'static str = "Makes sound louder, quieter or silent, without clicks.";
    const VIDEO: bool = false;
    const AUDIO: bool = true;

    fn new(params: &GainParams) -> Result<Self, NodeError> {
        let target = params.factor();
        Ok(Self { target, factor: target, step: 0.0, left: 0, aimed: target })
    }

    fn configure(&mut self, params: &GainParams) -> Result<(), NodeError> {
        self.target = params.factor();
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Within
    }

    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError> {
        if self.aimed != self.target {
            let samples = sound.samples_in(RAMP_MS).max(1.0);
            self.left = samples as u32;
            self.step = (self.target - self.factor) / samples;
            self.aimed = self.target;
        }
        sound.each(|samples| {
            match self.left {
                0 => {}
                // The last step lands on the target, free of what the sum rounded.
                1 => (self.left, self.factor) = (0, self.target),
                _ => {
                    self.left -= 1;
                    self.factor += self.step;
                }
            }
            for sample in samples {
                *sample *= self.factor;
            }
        });
        Ok(())
    }
}
