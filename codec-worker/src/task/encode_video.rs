//! Encodes pictures where they lie, keyframes when they are asked for, at the rate that is asked for.

use super::keyframe::Gate;
use super::{failed, next_meta};
use crate::picture::Planes;
use crate::video::{VideoEncoder, video_encoder};
use remotemedia_shm_schema::control::VideoEncode;
use remotemedia_shm_schema::{Codec, Content, Flags, Meta, Stage, Stamps, VideoGeometry};
use remotemedia_worker::worker::{Command, DropReason, Output, Processor, TaskError};
use remotemedia_worker::{Frame, Picture};

/// The picture that stands for none: black, of a size that every viewer shows at once (chosen).
const BLACK: (u16, u16) = (320, 180);

/// An output's encoder.
pub(super) struct EncodeVideo {
    codec: Codec,
    encoder: Box<dyn VideoEncoder>,
    gate: Gate,
    /// Greatest picture that the encoder was made for.
    most: (u16, u16),
}

impl EncodeVideo {
    pub(super) fn new(settings: &VideoEncode) -> Result<Self, TaskError> {
        let encoder = video_encoder(settings).map_err(failed)?;
        let most = (settings.max_width, settings.max_height);
        Ok(Self { codec: settings.codec, encoder, gate: Gate::default(), most })
    }

    /// Encodes a picture as it is described, as a keyframe if that is said or due.
    fn encode(
        &mut self,
        picture: &Picture<'_>,
        meta: &Meta,
        keyframe: bool,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        let geometry = &picture.geometry;
        let data = [picture.y, picture.u, picture.v];
        let mut planes =
            Planes::new(geometry.width, geometry.height, data, picture.strides).map_err(failed)?;
        planes.matrix = geometry.matrix;
        planes.range = geometry.range;

        let force = keyframe || self.gate.due(meta.media_time_ns);
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
        let mut next = next_meta(meta, Content::Coded(self.codec), Stage::Encoded);
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

    /// No picture has come yet: black.
    fn black(&mut self, media_time_ns: u64, out: &mut Output<'_>) -> Result<(), TaskError> {
        let (width, height) = (BLACK.0.min(self.most.0), BLACK.1.min(self.most.1));
        let geometry = VideoGeometry::i420(width, height);
        // BT.601 and BT.709 in limited range have black at 16, 128, 128 (ITU-R BT.709-6, 4).
        let mut payload = vec![128; geometry.payload_len()];
        let chroma = geometry.planes.get(1).map_or(0, |plane| plane.offset as usize);
        if let Some(luma) = payload.get_mut(..chroma) {
            luma.fill(16);
        }
        let mut meta = Meta::new(Content::Picture(geometry));
        meta.media_time_ns = media_time_ns;
        match Picture::over(&payload, geometry) {
            Some(picture) => self.encode(&picture, &meta, true, out),
            None => Ok(()),
        }
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
        self.encode(&picture, meta, false, out)
    }

    fn keeps_last(&self) -> bool {
        true
    }

    fn repeat(
        &mut self,
        last: Option<&Frame>,
        media_time_ns: u64,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        let Some((frame, picture)) = last.and_then(|frame| Some((frame, frame.picture()?))) else {
            return self.black(media_time_ns, out);
        };
        let mut meta = *frame.meta();
        meta.media_time_ns = media_time_ns.max(meta.media_time_ns.saturating_add(1));
        // What it went through was told with the picture itself.
        meta.stamps = Stamps::default();
        self.encode(&picture, &meta, true, out)
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
