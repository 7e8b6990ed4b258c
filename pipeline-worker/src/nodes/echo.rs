//! `Echo`: sound once more some time later, and again, more quietly each time; or all of it later.

use super::ramp::Ramp;
use crate::node::{Node, NodeError, Way};
use crate::sound::{Sound, sane};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest delay.
const MAX_DELAY_MS: f32 = 2000.0;
/// What memory is made for at the start: all channels of ours have this rate, and few more channels. Others cost an
/// allocation when they come.
const USUAL: (u32, usize) = (48_000, 2);
/// How long one delay fades into another (chosen: a syllable is ten times as long).
const FADE_MS: f32 = 20.0;
/// An echo below this is over (-120 dB).
const SILENT: f32 = 1e-6;

/// When and how loud.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EchoParams {
    /// Milliseconds until sound is heard again.
    #[schemars(range(min = 1.0, max = 2000.0))]
    pub delay_ms: f32,
    /// How loud each echo is beside the one before.
    #[schemars(range(min = 0.0, max = 0.95))]
    pub feedback: f32,
    /// Share of the echo in what is heard: 0 is the sound as it came, 1 the echo alone, which without feedback is the sound
    /// later.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mix: f32,
}

impl Default for EchoParams {
    fn default() -> Self {
        Self { delay_ms: 250.0, feedback: 0.25, mix: 0.25 }
    }
}

/// The node.
#[derive(Debug)]
pub struct Echo {
    params: EchoParams,
    levels: Ramp<2>,
    rate: u32,
    channels: usize,
    /// Interleaved; one sample a channel more than the longest delay.
    ring: Vec<f32>,
    /// Which sample of a channel is written next.
    at: usize,
    /// In samples.
    delay: usize,
    /// A delay that it changes to, and how many samples of how many the change still takes.
    next: Option<(usize, u32, u32)>,
    /// Samples since something was written that can be heard.
    quiet: usize,
}

impl Node for Echo {
    type Params = EchoParams;
    const KIND: &'static str = "Echo";
    const SUMMARY: &'static str =
        "Repeats sound some time later, more quietly each time, or delays it.";
    const VIDEO: bool = false;
    const AUDIO: bool = true;

    fn new(params: &EchoParams) -> Result<Self, NodeError> {
        let mut echo = Self {
            params: params.clone(),
            levels: Ramp::new(levels(params)),
            rate: 0,
            channels: 0,
            ring: Vec::new(),
            at: 0,
            delay: 1,
            next: None,
            quiet: 0,
        };
        echo.make(USUAL.0, USUAL.1);
        Ok(echo)
    }

    fn configure(&mut self, params: &EchoParams) -> Result<(), NodeError> {
        self.params.clone_from(params);
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
        self.levels.aim(levels(&self.params), sound);
        let wanted = self.wanted();
        if wanted != self.delay && self.next.is_none() {
            let fade = sound.samples_in(FADE_MS).max(1.0) as u32;
            self.next = Some((wanted, fade, fade));
        }
        let frames = self.ring.len() / channels;
        let Self { ring, levels, at, delay, next, quiet, .. } = self;
        sound.each(|samples| {
            let [feedback, mix] = levels.advance().map(|level| level as f32);
            let now = before(*at, *delay, frames) * channels;
            let soon = next.map(|(soon, left, of)| {
                (before(*at, soon, frames) * channels, left as f32 / of as f32)
            });
            let mut heard = false;
            for (channel, sample) in samples.iter_mut().enumerate() {
                let read = |begin: usize| ring.get(begin + channel).copied().unwrap_or(0.0);
                let echo = match soon {
                    None => read(now),
                    Some((soon, share)) => read(now) * share + read(soon) * (1.0 - share),
                };
                let own = sane(*sample);
                let kept = own + feedback * echo;
                let kept = if kept.abs() < SILENT { 0.0 } else { kept };
                heard |= kept != 0.0;
                if let Some(place) = ring.get_mut(*at * channels + channel) {
                    *place = kept;
                }
                *sample = own * (1.0 - mix) + echo * mix;
            }
            *quiet = if heard { 0 } else { quiet.saturating_add(1) };
            *at = if *at + 1 < frames { *at + 1 } else { 0 };
            match next {
                Some((to, left, _)) if *left <= 1 => (*delay, *next) = (*to, None),
                Some((_, left, _)) => *left -= 1,
                None => {}
            }
        });
        Ok(())
    }

    /// Until all of the memory is silent, for a longer delay would find what is in it.
    fn rings(&self) -> bool {
        self.quiet < self.ring.len() / self.channels.max(1)
    }
}

impl Echo {
    /// Memory for sound of this form, silent.
    fn make(&mut self, rate: u32, channels: usize) {
        (self.rate, self.channels) = (rate, channels);
        let frames = (f64::from(rate) * f64::from(MAX_DELAY_MS) / 1000.0).ceil() as usize + 1;
        self.ring = vec![0.0; frames * channels];
        (self.at, self.quiet) = (0, frames);
        (self.delay, self.next) = (self.wanted(), None);
    }

    /// The delay in samples.
    fn wanted(&self) -> usize {
        let samples = f64::from(self.params.delay_ms) / 1000.0 * f64::from(self.rate);
        (samples.round() as usize).max(1)
    }
}

fn levels(params: &EchoParams) -> [f64; 2] {
    [f64::from(params.feedback), f64::from(params.mix)]
}

/// The place of what was written so many samples before.
fn before(at: usize, delay: usize, frames: usize) -> usize {
    if at >= delay { at - delay } else { (at + frames).saturating_sub(delay) }
}
