//! Decodes a video track: one access unit in, at most one picture out, copied once into its loan.

use super::{failed, next_meta};
use crate::bitstream;
use crate::video::{DecodeError, VideoDecoder, video_decoder};
use remotemedia_shm_schema::{Codec, Content, Flags, Stage, VideoGeometry};
use remotemedia_worker::worker::{
    Command, DropReason, KeyframeReason, Output, Processor, TaskError,
};
use remotemedia_worker::{Frame, SendFault};

/// A video track's decoder and what it lacks.
pub(super) struct DecodeVideo {
    codec: Codec,
    decoder: Box<dyn VideoDecoder>,
    state: State,
    /// Something that came was not shown, and the next picture says so.
    skipped: bool,
    /// Geometry of the last picture: an `end` without payload carries it on.
    last: VideoGeometry,
}

/// How well what is decoded can be trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// All since the last keyframe was there and whole.
    Whole,
    /// Something was missing or broken; what is decoded is a likeness. A keyframe was asked for.
    Likeness,
    /// Nothing can be decoded before a keyframe. One was asked for.
    Nothing,
}

impl DecodeVideo {
    pub(super) fn new(codec: Codec, max_raw: u32) -> Result<Self, TaskError> {
        let decoder = video_decoder(codec, max_raw).map_err(failed)?;
        Ok(Self {
            codec,
            decoder,
            state: State::Nothing,
            skipped: false,
            last: VideoGeometry::i420(16, 16),
        })
    }

    /// What is left after a unit that could not be decoded: VP8 makes up what is missing from the picture before, the
    /// others refuse everything until the next keyframe.
    fn after_a_broken_unit(&self) -> State {
        match (self.codec, self.state) {
            (Codec::Vp8, State::Whole | State::Likeness) => State::Likeness,
            _ => State::Nothing,
        }
    }

    fn decode(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let was = self.state;
        let shown = match self.decoder.decode(frame.payload()) {
            Ok(Some(shown)) => shown,
            Ok(None) => return Ok(()),
            Err(DecodeError::TooLarge { .. }) => {
                // The counter tells the router that smaller pictures are to be asked for.
                out.count_drop(DropReason::TooLarge);
                self.state = State::Nothing;
                self.skipped = true;
                return Ok(());
            }
            Err(error @ (DecodeError::Corrupt { .. } | DecodeError::Unsupported { .. })) => {
                out.count_drop(DropReason::Corrupt);
                self.state = self.after_a_broken_unit();
                self.skipped = true;
                return Err(failed(error));
            }
        };
        let damaged = shown.damaged;
        self.state = match (shown.keyframe, damaged) {
            (true, false) => State::Whole,
            (_, true) => State::Likeness,
            // A decoder that shows an inter frame has what it refers to, in some form.
            (false, false) if was == State::Nothing => State::Likeness,
            (false, false) => was,
        };
        let geometry = shown.picture.geometry();
        let len = geometry.payload_len();
        self.last = geometry;
        let mut loan = match out.loan(len) {
            Ok(loan) => loan,
            Err(SendFault::TooLarge { .. }) => {
                // Counted by the port; the decoder goes on, the next picture may be smaller.
                self.skipped = true;
                return Ok(());
            }
            Err(fault) => return Err(fault.into()),
        };
        let copied = shown.picture.copy_into(&geometry, loan.payload_mut()).map_err(failed)?;
        let mut meta = next_meta(frame.meta(), Content::Picture(geometry), Stage::Decoded);
        if std::mem::take(&mut self.skipped) {
            meta.flags = meta.flags.with(Flags::DISCONTINUITY);
        }
        loan.publish(meta)?;
        out.count_copied(copied);
        if damaged {
            out.count_concealed();
            if was == State::Whole {
                return Err(TaskError::failed("part of a picture was made up"));
            }
        }
        Ok(())
    }
}

impl Processor for DecodeVideo {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let meta = frame.meta();
        let unit = frame.payload();
        let gap = frame.missed() > 0
            || meta.flags.contains(Flags::DISCONTINUITY)
            || meta.flags.contains(Flags::LOST);
        self.skipped |= gap;
        if gap && self.state == State::Whole {
            self.state = State::Likeness;
        }
        let result = if unit.is_empty() {
            if meta.flags.contains(Flags::END) {
                out.publish_empty(next_meta(meta, Content::Picture(self.last), Stage::Decoded))?;
                return Ok(());
            }
            Ok(())
        } else if self.state == State::Nothing
            && bitstream::inspect(self.codec, unit).is_some_and(|unit| !unit.keyframe)
        {
            out.count_drop(DropReason::AwaitingKeyframe);
            self.skipped = true;
            Ok(())
        } else {
            self.decode(frame, out)
        };

        // A wish can get lost on its way; the SDK makes many into one every quarter of a second.
        if self.state != State::Whole {
            out.want_keyframe(KeyframeReason::Decoder);
        }
        result
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        Err(TaskError::failed(format!("a decoder has no use for {command:?}")))
    }
}
