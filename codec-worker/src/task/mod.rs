//! The worker's tasks: one file each, and the factory that makes them.

mod conceal;
mod decode_audio;
mod decode_video;
mod encode_audio;
mod encode_video;
mod keyframe;

use decode_audio::DecodeAudio;
use decode_video::DecodeVideo;
use encode_audio::EncodeAudio;
use encode_video::EncodeVideo;
use remotemedia_shm_schema::{Codec, Flags, Meta, Stage, Stamp};
use remotemedia_worker::monotonic_ns;
use remotemedia_worker::worker::{
    Catalogue, Factory, Limits, Processor, Task, TaskError, TaskKind,
};

/// Makes a decoder or an encoder for each task.
#[derive(Debug, Default)]
pub struct Codecs;

impl Factory for Codecs {
    fn catalogue(&self) -> Catalogue {
        Catalogue {
            codecs: vec![Codec::Opus, Codec::Vp8, Codec::Vp9, Codec::H264],
            nodes: Vec::new(),
        }
    }

    fn limits(&self) -> Limits {
        Limits { memory: Some(crate::MAX_MEMORY), ..Limits::default() }
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        Ok(match &task.kind {
            TaskKind::Decode { codec } if codec.is_audio() => Box::new(DecodeAudio::new()?),
            TaskKind::Decode { codec } => Box::new(DecodeVideo::new(*codec, task.max_raw)?),
            TaskKind::EncodeVideo(settings) => Box::new(EncodeVideo::new(settings)?),
            TaskKind::EncodeAudio(settings) => Box::new(EncodeAudio::new(settings)?),
            TaskKind::Graph { .. }
            | TaskKind::Tap
            | TaskKind::Enter
            | TaskKind::Exit
            | TaskKind::Source { .. } => {
                return Err(TaskError::failed(
                    "this worker decodes and encodes; nodes are run by a pipeline worker",
                ));
            }
        })
    }
}

/// What comes of a frame keeps its times, its source, and whether it is muted; what was said of the payload before is
/// not true of the new one.
fn next_meta(meta: &Meta, content: remotemedia_shm_schema::Content, stage: Stage) -> Meta {
    let mut next = meta.derive(content);
    next.flags = Flags::default();
    for kept in [Flags::MUTED, Flags::END] {
        if meta.flags.contains(kept) {
            next.flags = next.flags.with(kept);
        }
    }
    next.stamps.push(Stamp { stage, ns: monotonic_ns() });
    next
}

/// A failure of one frame, as the SDK counts it.
fn failed(error: impl std::fmt::Display) -> TaskError {
    TaskError::failed(error.to_string())
}
