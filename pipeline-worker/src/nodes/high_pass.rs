//! `HighPass`: takes low sound away: hum, wind, steps, and what a microphone has of constant voltage.
//!
//! Second order with Butterworth's quality, 12 dB an octave: the response of the biquad in R. Bristow-Johnson's "Audio EQ
//! Cookbook", computed as a state variable filter (A. Simper, "Linear trapezoidal integrated state variable filter", Cytomic
//! 2013). What that remembers means the same at any cutoff; a biquad's memory does not, and when its cutoff falls it thumps
//! several times as loud as the sound.

use super::ramp::Ramp;
use crate::node::{Node, NodeError, Way};
use crate::sound::{MAX_CHANNELS, Sound, sane};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::{PI, SQRT_2};

/// What is left in the filter below this is not heard (-120 dB).
const SILENT: f64 = 1e-6;

/// From where on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HighPassParams {
    /// Hertz at which half of the power is left.
    #[schemars(range(min = 10.0, max = 2000.0))]
    pub cutoff_hz: f32,
}

impl Default for HighPassParams {
    fn default() -> Self {
        Self { cutoff_hz: 80.0 }
    }
}

/// The node; all channels alike, a bass channel as well.
#[derive(Debug)]
pub struct HighPass {
    cutoff_hz: f64,
    /// How far it integrates at a sample, at a rate.
    step: Option<(u32, Ramp<1>)>,
    /// Each channel's two integrators.
    memory: [[f64; 2]; MAX_CHANNELS],
}

impl Node for HighPass {
    type Params = HighPassParams;
    const KIND: &'static str = "HighPass";
    const SUMMARY: &'static str = "Takes hum, wind and other low sound away.";
    const VIDEO: bool = false;
    const AUDIO: bool = true;

    fn new(params: &HighPassParams) -> Result<Self, NodeError> {
        let memory = [[0.0; 2]; MAX_CHANNELS];
        Ok(Self { cutoff_hz: f64::from(params.cutoff_hz), step: None, memory })
    }

    fn configure(&mut self, params: &HighPassParams) -> Result<(), NodeError> {
        self.cutoff_hz = f64::from(params.cutoff_hz);
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Within
    }

    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError> {
        let rate = sound.geometry().rate;
        // The cutoff is below half the rate: 8,000 samples a second are the fewest.
        let aim = [(PI * self.cutoff_hz / f64::from(rate.max(1))).tan()];
        let mut step = match self.step.take() {
            Some((before, step)) if before == rate => step,
            Some(_) | None => Ramp::new(aim),
        };
        step.aim(aim, sound);
        let memory = &mut self.memory;
        // Channels that there are no more would ring for ever.
        memory.iter_mut().skip(sound.channels()).for_each(|unused| *unused = [0.0; 2]);
        sound.each(|samples| {
            let [step] = step.advance();
            let share = 1.0 / (1.0 + step * (step + SQRT_2));
            for (sample, [band, low]) in samples.iter_mut().zip(memory.iter_mut()) {
                let input = f64::from(sane(*sample));
                let middle = share * (*band + step * (input - *low));
                let below = *low + step * middle;
                *band = 2.0 * middle - *band;
                *low = 2.0 * below - *low;
                *sample = (input - SQRT_2 * middle - below) as f32;
            }
        });
        // What fades for ever becomes too small for the processor to be quick with.
        for value in self.memory.iter_mut().flatten().filter(|value| value.abs() < 1e-20) {
            *value = 0.0;
        }
        self.step = Some((rate, step));
        Ok(())
    }

    fn rings(&self) -> bool {
        self.memory.iter().flatten().any(|value| value.abs() > SILENT)
    }
}
