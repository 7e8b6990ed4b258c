//! `Limiter`: no sample is louder than a threshold, and none is cut off.
//!
//! Sound is held back for [`LOOK_AHEAD_MS`]. The gain of a sample is the mean, over that time, of the least gain that any
//! sample needed within that time: so it has come down when the peak comes, and has come down evenly. It goes back up
//! with the release. Gains are whole numbers, whose sum is exact for ever.

use super::gain::from_db;
use crate::node::{Node, NodeError, Way};
use crate::sound::{Sound, sane};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// By how much it delays sound (chosen: long enough for a fall that is not heard as one, short beside a frame).
const LOOK_AHEAD_MS: f32 = 5.0;
/// A gain of one.
const ONE: u32 = 1 << 30;
/// What memory is made for at the start; see `Echo`.
const USUAL: (u32, usize) = (48_000, 2);

/// How loud, and how soon again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimiterParams {
    /// No sample is louder, in decibels of full scale.
    #[schemars(range(min = -40.0, max = 0.0))]
    pub threshold_db: f32,
    /// Milliseconds after a peak in which the gain goes two thirds of its way back.
    #[schemars(range(min = 1.0, max = 2000.0))]
    pub release_ms: f32,
}

impl Default for LimiterParams {
    fn default() -> Self {
        Self { threshold_db: -1.0, release_ms: 100.0 }
    }
}

/// The node. All channels get the same gain, so that the place of a voice does not wander.
#[derive(Debug)]
pub struct Limiter {
    threshold: f32,
    release_ms: f32,
    /// What nothing goes beyond: the threshold, and after it was lowered the one before, for what was already held back.
    ceiling: f32,
    /// Samples until it is the threshold.
    falls_in: usize,
    rate: u32,
    channels: usize,
    /// Samples of a channel that are held back.
    ahead: usize,
    /// They, interleaved.
    held: Vec<f32>,
    /// The last gains, one more than samples are held back; and their sum.
    gains: Vec<u32>,
    sum: u64,
    /// What samples of the same time needed, each less than those behind it, with their numbers.
    least: VecDeque<(u64, u32)>,
    /// The gain before the mean.
    gain: u32,
    /// The next sample's number.
    number: u64,
    /// Samples since one that is not zero.
    quiet: usize,
}

impl Node for Limiter {
    type Params = LimiterParams;
    const KIND: &'static str = "Limiter";
    const SUMMARY: &'static str =
        "Keeps sound below a threshold without cutting it off; adds 5 ms of latency.";
    const VIDEO: bool = false;
    const AUDIO: bool = true;

    fn new(params: &LimiterParams) -> Result<Self, NodeError> {
        let threshold = from_db(params.threshold_db);
        let mut limiter = Self {
            threshold,
            release_ms: params.release_ms,
            ceiling: threshold,
            falls_in: 0,
            rate: 0,
            channels: 0,
            ahead: 0,
            held: Vec::new(),
            gains: Vec::new(),
            sum: 0,
            least: VecDeque::new(),
            gain: ONE,
            number: 0,
            quiet: 0,
        };
        limiter.make(USUAL.0, USUAL.1);
        Ok(limiter)
    }

    fn configure(&mut self, params: &LimiterParams) -> Result<(), NodeError> {
        self.threshold = from_db(params.threshold_db);
        self.release_ms = params.release_ms;
        // What is held back has the gains of before.
        self.ceiling = self.ceiling.max(self.threshold);
        self.falls_in = self.ahead;
        Ok(())
    }

    fn way(&self) -> Way {
        Way::Within
    }

    fn sound(&mut self, sound: &mut Sound<'_>) -> Result<(), NodeError> {
        let (rate, channels) = (sound.geometry().rate, sound.channels());
        if (self.rate, self.channels) != (rate, channels) {
            self.make(rate, channels);
        }
        let back = f64::from(sound.samples_in(self.release_ms)).max(1.0);
        // Of 32 bits.
        let release = ((1.0 - (-1.0 / back).exp()) * f64::from(u32::MAX)) as u64;
        let whole = f64::from(ONE) * self.gains.len() as f64;
        sound.each(|samples| {
            let gain = self.gain_for(samples, release);
            // A gain of exactly one changes no bit.
            let factor = gain as f64 / whole;
            if self.falls_in == 0 {
                self.ceiling = self.threshold;
            }
            self.falls_in = self.falls_in.saturating_sub(1);
            let begin = (self.number % self.ahead as u64) as usize * channels;
            let held = self.held.get_mut(begin..begin + channels).unwrap_or_default();
            for (held, sample) in held.iter_mut().zip(samples) {
                let before = std::mem::replace(held, sane(*sample));
                let limited = (f64::from(before) * factor) as f32;
                // What rounding adds is taken back.
                *sample = limited.clamp(-self.ceiling, self.ceiling);
            }
            self.number += 1;
        });
        Ok(())
    }

    fn rings(&self) -> bool {
        self.quiet < self.ahead
    }
}

impl Limiter {
    /// Memory for sound of this form, silent.
    fn make(&mut self, rate: u32, channels: usize) {
        (self.rate, self.channels) = (rate, channels);
        self.ahead = ((LOOK_AHEAD_MS / 1000.0 * rate as f32).round() as usize).max(1);
        self.held = vec![0.0; self.ahead * channels];
        self.gains = vec![ONE; self.ahead + 1];
        self.sum = u64::from(ONE) * self.gains.len() as u64;
        self.least = VecDeque::with_capacity(self.gains.len() + 1);
        (self.gain, self.number, self.quiet) = (ONE, 0, self.ahead);
        (self.ceiling, self.falls_in) = (self.threshold, 0);
    }

    /// The sum of the gains that a sample gets which came as long before this one as samples are held back.
    #[inline(always)]
    fn gain_for(&mut self, samples: &[f32], release: u64) -> u64 {
        let peak = samples.iter().fold(0.0f32, |peak, sample| peak.max(sane(*sample).abs()));
        self.quiet = if peak > 0.0 { 0 } else { self.quiet.saturating_add(1) };
        let needed = if peak > self.threshold {
            (f64::from(self.threshold) / f64::from(peak) * f64::from(ONE)) as u32
        } else {
            ONE
        };
        while self.least.back().is_some_and(|(_, gain)| *gain >= needed) {
            self.least.pop_back();
        }
        self.least.push_back((self.number, needed));
        while self.least.front().is_some_and(|(at, _)| at + (self.ahead as u64) < self.number) {
            self.least.pop_front();
        }
        let least = self.least.front().map_or(needed, |(_, gain)| *gain);
        self.gain = match least.checked_sub(self.gain) {
            // One more, so that it arrives.
            Some(way) => self.gain + (((u64::from(way) * release) >> 32) as u32 + 1).min(way),
            None => least,
        };
        let at = (self.number % self.gains.len() as u64) as usize;
        if let Some(place) = self.gains.get_mut(at) {
            self.sum = self.sum + u64::from(self.gain) - u64::from(*place);
            *place = self.gain;
        }
        self.sum
    }
}
