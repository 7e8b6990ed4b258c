//! Values on their way to others: a step of a parameter would be heard as a click.

use crate::sound::Sound;

/// How long a way takes (chosen; half of a 20 ms frame).
const RAMP_MS: f32 = 10.0;

/// Values that go together.
#[derive(Debug, Clone)]
pub(super) struct Ramp<const N: usize> {
    values: [f64; N],
    target: [f64; N],
    step: [f64; N],
    /// Samples that the way still takes.
    left: u32,
}

impl<const N: usize> Ramp<N> {
    pub(super) fn new(values: [f64; N]) -> Self {
        Self { values, target: values, step: [0.0; N], left: 0 }
    }

    /// From this block on towards these, from wherever they are.
    pub(super) fn aim(&mut self, target: [f64; N], sound: &Sound<'_>) {
        if target == self.target {
            return;
        }
        let samples = f64::from(sound.samples_in(RAMP_MS)).max(1.0);
        self.left = samples as u32;
        self.target = target;
        for (step, (to, from)) in self.step.iter_mut().zip(target.iter().zip(&self.values)) {
            *step = (to - from) / samples;
        }
    }

    /// Those of the next sample.
    #[inline(always)]
    pub(super) fn advance(&mut self) -> [f64; N] {
        match self.left {
            0 => {}
            // The last step lands on the target, free of what the sum rounded.
            1 => (self.left, self.values) = (0, self.target),
            _ => {
                self.left -= 1;
                for (value, step) in self.values.iter_mut().zip(&self.step) {
                    *value += step;
                }
            }
        }
        self.values
    }
}
