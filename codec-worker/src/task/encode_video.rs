//! Encodes pictures where they lie, keyframes when they are asked for, at the rate that is asked for.

use super::keyframe::Gate;
use super::{failed, next_meta};
use crate::picture::Planes;
use crate::video::{VideoEncoder, video_encoder};
use remotemedia_shm_schema::control::VideoEncode;
use remotemedia_shm_schema::{Codec, Content, Flags, Stage};
use remotemedia_worker::Frame;
use remotemedia_worker::worker::{Command, DropReason, Output, Processor, TaskError};

/// An output's encoder.
pub(super) struct EncodeVideo {
    codec: Codec,
    encoder: Box<dyn VideoEncoder>,
    gate: Gate,
}

impl EncodeVideo {
    pub(super) fn new(settings: &VideoEncode) -> Result<Self, TaskError> {
        let encoder = video_encoder(settings).map_err(failed)?;
        Ok(Self { codec: settings.codec, encoder, gate: Gate::default() })
    }
}

impl Processor for EncodeVideo {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let meta = frame.meta();
        let content = Content::Coded(self.codec);
        let Some(picture) = frame.picture() else {
            if meta.flags.contains(Flags::END) {
                out.publish_empty(next_meta(meta, content, Stage::Encoded))?;
            } else {
                out.count_drop(DropReason::Malformed);
            }
            return Ok(());
        };
        let geometry = &picture.geometry;
        let data = [picture.y, picture.u, picture.v];
        let mut planes =
            Planes::new(geometry.width, geometry.height, data, picture.strides).map_err(failed)?;
        planes.matrix = geometry.matrix;
        planes.range = geometry.range;

        let force = self.gate.due(meta.media_time_ns);
        let unit = match self.encoder.encode(&planes, meta.media_time_ns, force) {
            Ok(Some(unit)) => unit,
            Ok(None) => {
                out.count_drop(DropReason::RateControl);
                return Ok(());
            }
            Err(error) => {
                out.count_drop(DropReason::Corrupt);
                return Err(failed(error));
            }
        };
        let (len, keyframe) = (unit.len(), unit.keyframe());
        let mut next = next_meta(meta, content, Stage::Encoded);
        if keyframe {
            next.flags = next.flags.with(Flags::KEYFRAME);
        }
        let sent = out.loan(len).and_then(|mut loan| {
            // The loan is as long as the unit.
            let written = unit.write_to(loan.payload_mut()).unwrap_or(0);
            loan.publish_len(next, written)
        });
        if let Err(fault) = sent {
            // Those that follow refer to what nobody got.
            self.gate.ask();
            return Err(fault.into());
        }
        out.count_copied(len + unit.repacked());
        if keyframe {
            out.count_keyframe();
            self.gate.made(meta.media_time_ns);
        }
        Ok(())
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        match command {
            Command::Keyframe => {
                self.gate.ask();
                Ok(())
            }
            Command::Bitrate(rate) => self.encoder.set_bitrate(*rate).map_err(failed),
            other => Err(TaskError::failed(format!("an encoder has no use for {other:?}"))),
        }
    }

    fn rewired(&mut self) {
        self.gate.ask_at_once();
    }
}
