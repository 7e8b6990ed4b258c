//! `NoiseSuppression`: takes noise from speech, by RNNoise's network.
//!
//! The library works on blocks of 480 samples (10 ms at 48 kHz) of one channel and gives each back one block later.
//! Blocks of any length are taken: what does not fill 480 waits for the next. Latency is therefore 10 ms for blocks of
//! a multiple of 10 ms, and 480 - gcd(480, length) samples more for others (at most 20 ms in all).

use crate::node::{Node, NodeError, Way};
use crate::sound::Sound;
use nnnoiseless::DenoiseState;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Samples of the library's blocks.
const BLOCK: usize = DenoiseState::FRAME_SIZE;
/// The library wants the range of 16-bit samples.
const SCALE: f32 = 32768.0;
/// The only rate that its network was trained for.
const RATE: u32 = 48_000;

/// How strongly.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NoiseSuppressionParams {
    /// Share of the cleaned sound: 1 is all of it, 0 the sound as it came (as late as the cleaned one).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub strength: f32,
}

impl Default for NoiseSuppressionParams {
    fn default() -> Self {
        Self { strength: 1.0 }
    }
}

/// The node.
pub struct NoiseSuppression {
    strength: f32,
    channels: Vec<Channel>,
}

impl std::fmt::Debug for NoiseSuppression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NoiseSuppression").field("strength", &self.strength).finish_non_exhaustive()
    }
}

struct Channel {
    state: Box<DenoiseState<'static>>,
    /// What came and does not fill a block yet, scaled.
    waiting: Vec<f32>,
    /// The block before, for the part that is not cleaned: as late as the library's.
    before: [f32; BLOCK],
    /// What is done and was not yet asked for.
    done: VecDeque<f32>,
}

impl Channel {
    fn new() -> Self {
        Self {
            state: DenoiseState::new(),
            waiting: Vec::with_capacity(BLOCK),
            before: [0.0; BLOCK],
            done: VecDeque::with_capacity(4 * BLOCK),
        }
    }

    fn push(&mut self, sample: f32, strength: f32) {
        // One broken sample would stay in the network's memory for good.
        let sample = if sample.is_finite() { sample.clamp(-8.0, 8.0) } else { 0.0 };
        self.waiting.push(sample * SCALE);
        if self.waiting.len() < BLOCK {
            return;
        }
        let mut cleaned = [0.0; BLOCK];
        self.state.process_frame(&mut cleaned, &self.waiting);
        let mixed = cleaned
            .iter()
            .zip(&self.before)
            .map(|(cleaned, raw)| (cleaned * strength + raw * (1.0 - strength)) / SCALE);
        self.done.extend(mixed);
        for (before, waiting) in self.before.iter_mut().zip(self.waiting.drain(..)) {
            *before = waiting;
        }
    }

    /// Makes up for samples that will not be done when a block of this length is asked for: by silence before those
    /// that are. At once as much as blocks of this length ever need, so that there is one gap and not several.
    fn prime(&mut self, length: usize) {
        let kept = self.done.len() + self.waiting.len();
        let ready = self.done.len() + (self.waiting.len() + length) / BLOCK * BLOCK;
        let missing = length.saturating_sub(ready);
        if missing > 0 {
            let ever = (BLOCK - gcd(BLOCK, length)).saturating_sub(kept);
            // In front of what is done: the order of sound stays.
            for _ in 0..missing.max(ever) {
                self.done.push_front(0.0);
            }
        }
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Node for NoiseSuppression {
    type Params = NoiseSuppressionParams;
    const KIND: &'static str = "NoiseSuppression";
    const SUMMARY: &'static str = "Takes noise from speech; adds 10 ms of latency (at most 20 ms where blocks are not multiples of 10 ms).";
    const VIDEO: bool = false;
    const AUDIO: bool = true;

    fn new(params: &NoiseSuppressionParams) -> Result<Self, NodeError> {
        Ok(Self { strength: params.strength, channels: Vec::new() })
    }

    fn configure(&mut self, params: &NoiseSuppressionParams) -> Result<(), NodeError> {
        self.strength = params.strength;
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Within
    }

    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError> {
        let geometry = *sound.geometry();
        if geometry.rate != RATE {
            let rate = geometry.rate;
            return Err(NodeError::new(format!(
                "sound has {rate} samples a second; {RATE} are needed"
            )));
        }
        let count = sound.channels();
        if self.channels.len() != count {
            self.channels = (0..count).map(|_| Channel::new()).collect();
        }
        for channel in &mut self.channels {
            channel.prime(geometry.samples as usize);
        }
        let strength = self.strength;
        sound.read(|samples| {
            for (channel, sample) in self.channels.iter_mut().zip(samples) {
                channel.push(*sample, strength);
            }
        });
        sound.each(|samples| {
            for (channel, sample) in self.channels.iter_mut().zip(samples) {
                // Primed above, so that there is one.
                *sample = channel.done.pop_front().unwrap_or(0.0);
            }
        });
        Ok(())
    }
}
