//! What is sent: clips from files, a moving pattern, ticks.
//!
//! A clip is decoded into memory before the call, so that reading it costs the call nothing, and loops back and forth,
//! so that no jump in the picture and no click in the sound stands where it begins again.

mod ivf;
mod ogg_opus;
mod pattern;
mod scale;
mod sound;
mod video;
mod wav;
mod yuv4mpeg;

pub use ivf::{IvfFault, IvfReader};
pub use pattern::Pattern;
pub use sound::Sound;
pub use video::Video;

use std::path::PathBuf;

/// Bytes of decoded clip that are kept; what is longer is cut there. Chosen freely: 24 s of 720p at 30 fps.
pub const MAX_CLIP_BYTES: usize = 1 << 30;

/// Why a clip cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum SourceFault {
    /// It cannot be opened or read.
    #[error("{path}: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not what it should be, or of a kind that is not sent.
    #[error("{path}: {reason}")]
    Format {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
}

impl SourceFault {
    fn format(path: &std::path::Path, reason: impl Into<String>) -> Self {
        Self::Format { path: path.to_owned(), reason: reason.into() }
    }

    fn read(path: &std::path::Path, source: std::io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }
}

/// The place in something of `length` that loops back and forth: 0 1 2 3 2 1 0 1 …
#[must_use]
pub fn back_and_forth(step: u64, length: usize) -> usize {
    let Some(last) = (length as u64).checked_sub(1).filter(|last| *last > 0) else { return 0 };
    let place = step % (2 * last);
    place.min(2 * last - place) as usize
}

#[cfg(test)]
mod tests;
