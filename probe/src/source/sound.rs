//! Sound to send: a clip, or ticks.

use super::{SourceFault, back_and_forth, ogg_opus, video::extension, wav};
use crate::ticks;
use std::path::Path;

/// Samples by their place on the sender's line, at 48 kHz.
#[derive(Debug)]
pub enum Sound {
    /// Coded ticks, mono.
    Ticks(ticks::Generator),
    /// A clip, interleaved.
    Clip {
        /// 1 or 2.
        channels: u8,
        /// Interleaved samples.
        samples: Vec<f32>,
    },
}

impl Sound {
    /// The ticks.
    #[must_use]
    pub fn ticks() -> Self {
        Self::Ticks(ticks::Generator::default())
    }

    /// An Ogg/Opus or WAV clip.
    ///
    /// # Errors
    /// When it cannot be read, or is of another kind.
    pub fn clip(path: &Path) -> Result<Self, SourceFault> {
        let (channels, samples) = match extension(path).as_str() {
            "wav" => wav::read(path)?,
            "ogg" | "opus" => ogg_opus::read(path)?,
            _ => {
                return Err(SourceFault::format(
                    path,
                    "unknown kind of sound; it reads .wav and .ogg or .opus (Opus), or `ticks`",
                ));
            }
        };
        if samples.len() < usize::from(channels) {
            return Err(SourceFault::format(path, "it holds no sound"));
        }
        Ok(Self::Clip { channels, samples })
    }

    /// Whether it is the ticks, whose place is the machine's clock.
    #[must_use]
    pub fn is_ticks(&self) -> bool {
        matches!(self, Self::Ticks(_))
    }

    /// Channels, interleaved.
    #[must_use]
    pub fn channels(&self) -> u8 {
        match self {
            Self::Ticks(_) => 1,
            Self::Clip { channels, .. } => *channels,
        }
    }

    /// Writes the samples from place `first` on.
    pub fn fill(&self, first: u64, out: &mut [f32]) {
        match self {
            Self::Ticks(generator) => generator.fill(first, out),
            Self::Clip { channels, samples } => {
                let channels = usize::from(*channels);
                let length = samples.len() / channels;
                for (frame, step) in out.chunks_mut(channels).zip(first..) {
                    let at = back_and_forth(step, length) * channels;
                    if let Some(from) = samples.get(at..at + frame.len()) {
                        frame.copy_from_slice(from);
                    }
                }
            }
        }
    }
}
