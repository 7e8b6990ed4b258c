//! Pictures to send: a clip or the pattern, at one size.

use super::{MAX_CLIP_BYTES, Pattern, SourceFault, back_and_forth, ivf, scale, yuv4mpeg};
use crate::picture::Picture;
use std::path::Path;
use std::sync::Arc;

/// Pictures by their number; a clone shares the clip.
#[derive(Debug, Clone)]
pub struct Video {
    frames: Frames,
    width: u16,
    height: u16,
}

#[derive(Debug, Clone)]
enum Frames {
    Clip(Arc<[Picture]>),
    Pattern(Arc<Pattern>),
}

impl Video {
    /// The generated pattern.
    #[must_use]
    pub fn pattern(width: u16, height: u16) -> Self {
        let frames = Frames::Pattern(Arc::new(Pattern::new(width, height)));
        Self { frames, width, height }
    }

    /// A Y4M or IVF (VP8, VP9) clip, decoded whole; scaled when another size is asked for.
    ///
    /// # Errors
    /// When it cannot be read, or is of another kind.
    pub fn clip(path: &Path, size: Option<(u16, u16)>) -> Result<Self, SourceFault> {
        let mut frames = Vec::new();
        let mut held = 0usize;
        let mut fault = None;
        let mut take = |picture: &Picture| {
            let picture = match size {
                Some((width, height)) => match scale::scaled(picture, width, height) {
                    Ok(picture) => picture,
                    Err(reason) => {
                        fault = Some(SourceFault::format(path, reason));
                        return false;
                    }
                },
                None => picture.clone(),
            };
            held += picture.bytes().len();
            frames.push(picture);
            held < MAX_CLIP_BYTES
        };
        match extension(path).as_str() {
            "y4m" => yuv4mpeg::read(path, &mut take)?,
            "ivf" => ivf::read_pictures(path, &mut take)?,
            _ => {
                return Err(SourceFault::format(
                    path,
                    "unknown kind of video; it reads .y4m and .ivf (VP8, VP9), or `pattern`",
                ));
            }
        }
        if let Some(fault) = fault {
            return Err(fault);
        }
        let Some((width, height)) = frames.first().map(|f| (f.width(), f.height())) else {
            return Err(SourceFault::format(path, "it holds no picture"));
        };
        if frames.iter().any(|f| (f.width(), f.height()) != (width, height)) {
            return Err(SourceFault::format(
                path,
                "its pictures change size; give --size to bring them to one",
            ));
        }
        Ok(Self { frames: Frames::Clip(frames.into()), width, height })
    }

    /// The same at another size.
    ///
    /// # Errors
    /// When the size is none.
    pub fn at_size(&self, width: u16, height: u16) -> Result<Self, String> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        match &self.frames {
            Frames::Pattern(_) => Ok(Self::pattern(width, height)),
            Frames::Clip(clip) => {
                let frames: Result<Vec<_>, _> =
                    clip.iter().map(|picture| scale::scaled(picture, width, height)).collect();
                Ok(Self { frames: Frames::Clip(frames?.into()), width, height })
            }
        }
    }

    /// Pixels across and down.
    #[must_use]
    pub fn size(&self) -> (u16, u16) {
        (self.width, self.height)
    }

    /// How many pictures there are before it turns round; `None` for a pattern.
    #[must_use]
    pub fn length(&self) -> Option<usize> {
        match &self.frames {
            Frames::Clip(clip) => Some(clip.len()),
            Frames::Pattern(_) => None,
        }
    }

    /// Writes the n-th picture to send.
    pub fn fill(&self, number: u64, into: &mut Picture) {
        into.resize(self.width, self.height);
        match &self.frames {
            Frames::Pattern(pattern) => pattern.fill(number, into),
            Frames::Clip(clip) => {
                if let Some(picture) = clip.get(back_and_forth(number, clip.len())) {
                    into.copy_from(picture);
                }
            }
        }
    }
}

pub(super) fn extension(path: &Path) -> String {
    path.extension().and_then(|e| e.to_str()).unwrap_or_default().to_ascii_lowercase()
}
