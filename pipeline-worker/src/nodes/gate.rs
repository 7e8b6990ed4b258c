//! `NoiseGate`: silence while nothing is louder than a threshold.

use super::gain::from_db;
use crate::node::{Node, NodeError, Way};
use crate::sound::Sound;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How long the level falls by half after a peak: bridges the valleys of a tone of 100 Hz (chosen).
const LEVEL_HALF_MS: f32 = 5.0;

/// When it opens and closes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseGateParams {
    /// Level above which it opens, in decibels of full scale.
    #[schemars(range(min = -96.0, max = 0.0))]
    pub threshold_db: f32,
    /// Milliseconds that opening takes.
    #[schemars(range(min = 0.1, max = 500.0))]
    pub attack_ms: f32,
    /// Milliseconds that it stays open after the level fell below the threshold.
    #[schemars(range(min = 0.0, max = 5000.0))]
    pub hold_ms: f32,
    /// Milliseconds that closing takes.
    #[schemars(range(min = 1.0, max = 5000.0))]
    pub release_ms: f32,
}

impl Default for NoiseGateParams {
    fn default() -> Self {
        Self { threshold_db: -50.0, attack_ms: 2.0, hold_ms: 150.0, release_ms: 100.0 }
    }
}

/// The node. All channels open and close together, so that the place of a voice does not wander.
#[derive(Debug)]
pub struct NoiseGate {
    params: NoiseGateParams,
    threshold: f32,
    /// Peak of the loudest channel, decaying.
    level: f32,
    /// 0 closed, 1 open.
    opened: f32,
    /// Samples that it stays open for.
    hold: f32,
}

impl Node for NoiseGate {
    type Params = NoiseGateParams;
    const KIND: &'static str = "NoiseGate";
    const SUMMARY: &'static str = "Silences sound while it is quieter than a threshold.";
    const VIDEO: bool = false;
    const AUDIO: bool = true;

    fn new(params: &NoiseGateParams) -> Result<Self, NodeError> {
        let threshold = from_db(params.threshold_db);
        Ok(Self { params: params.clone(), threshold, level: 0.0, opened: 0.0, hold: 0.0 })
    }

    fn configure(&mut self, params: &NoiseGateParams) -> Result<(), NodeError> {
        self.params.clone_from(params);
        self.threshold = from_db(params.threshold_db);
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Within
    }

    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError> {
        let decay = 0.5f32.powf(1.0 / sound.samples_in(LEVEL_HALF_MS).max(1.0));
        let attack = 1.0 / sound.samples_in(self.params.attack_ms).max(1.0);
        let release = 1.0 / sound.samples_in(self.params.release_ms).max(1.0);
        let hold = sound.samples_in(self.params.hold_ms);
        // Locals: the loop keeps them in registers.
        let (mut level, mut opened, mut held) = (self.level, self.opened, self.hold);
        let threshold = self.threshold;
        sound.each(|samples| {
            let peak = samples.iter().fold(0.0f32, |peak, s| peak.max(s.abs()));
            level = peak.max(level * decay);
            if level >= threshold {
                held = hold;
                opened = (opened + attack).min(1.0);
            } else if held >= 1.0 {
                held -= 1.0;
            } else {
                opened = (opened - release).max(0.0);
            }
            for sample in samples {
                *sample *= opened;
            }
        });
        // A sample that is no number, or an endless one, must not shut or open the gate for ever.
        self.level = if level.is_finite() { level } else { 0.0 };
        (self.opened, self.hold) = (opened, held);
        Ok(())
    }
}
