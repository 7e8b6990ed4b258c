//! The work that every call of the bench does, and the same work in one process.

use remotemedia_pipeline_worker::graph::{self, Chain};
use remotemedia_pipeline_worker::node::Moment;
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_probe::floor::{self, AudioFloor, AudioWork, VideoFloor, VideoWork};
use remotemedia_probe::picture::Picture;
use remotemedia_probe::source::Video;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::{AudioGeometry, Codec, NodeId};
use remotemedia_worker::{Picture as View, PictureMut};
use std::path::Path;

pub(crate) const VIDEO_BITRATE: u32 = 1_500_000;
pub(crate) const AUDIO_BITRATE: u32 = 32_000;
pub(crate) const FPS: u32 = 30;
/// A soft blur: it changes every pixel, and leaves the second encoder as much to do as the first had.
const SIGMA: &str = r#"{"sigma": 1.0}"#;
const GAIN: &str = r#"{"gain_db": -1.0}"#;

/// The router's settings; the pipeline `bench` does what [`Effect`] does.
pub(crate) const CONFIG: &str = r#"
default_pipeline = "bench"
max_video = "1280x720"
video_bitrate = 1500000
audio_bitrate = 32000

[pipelines.bench]
description = "One effect on pictures, one on sound"
nodes = [
    { id = "blur", type = "GaussianBlur", params = { sigma = 1.0 } },
    { id = "gain", type = "Gain", params = { gain_db = -1.0 } },
]
"#;

/// What to show: the clip that `scripts/setup` fetches, or the pattern where it cannot be had.
#[derive(Clone)]
pub(crate) struct Clip {
    /// For `remotemedia peer --video`.
    pub(crate) argument: String,
    pub(crate) video: Video,
}

impl Clip {
    pub(crate) fn load() -> Self {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/.cache/clip-720p.y4m");
        match Video::clip(Path::new(path), Some((1280, 720))) {
            Ok(video) => Self { argument: path.into(), video },
            Err(_) => Self { argument: "pattern".into(), video: Video::pattern(1280, 720) },
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        if self.argument == "pattern" {
            "generated pattern"
        } else {
            "Big Buck Bunny, 132 frames back and forth"
        }
    }
}

/// The pipeline `bench`, on pictures of a process's own: the nodes of the pipeline worker.
pub(crate) struct Effect {
    chain: Chain,
    input: Picture,
    frame: u64,
}

impl Effect {
    pub(crate) fn new() -> Self {
        let chain = chain("GaussianBlur", SIGMA);
        Self { chain, input: Picture::black(2, 2), frame: 0 }
    }

    /// Changes a picture; no copy more than the pipeline worker makes.
    pub(crate) fn picture(&mut self, picture: &mut Picture) {
        self.input.resize(picture.width(), picture.height());
        std::mem::swap(&mut self.input, picture);
        self.frame += 1;
        let geometry = *picture.geometry();
        let moment = Moment { sequence: self.frame, media_time_ns: 0, unix_ns: 0 };
        let input = View::over(self.input.bytes(), geometry).unwrap();
        let mut output = PictureMut::over(picture.bytes_mut(), geometry).unwrap();
        self.chain.picture(&input, &mut output, &moment, &mut |_| ()).unwrap();
    }
}

fn chain(kind: &str, params: &str) -> Chain {
    let id = NodeId::new("effect".to_owned()).unwrap();
    let (kind, params) = (kind.into(), params.into());
    let node = GraphNode { id, number: 0, kind, params, on_failure: OnFailure::Hold };
    graph::build(&Registry::built_in(), &[node]).unwrap()
}

/// The whole work in this process, pictures on one thread and sound on another, paced like a call.
pub(crate) fn one_process(
    clip: &Clip,
    codec: Codec,
    audio_frame: u32,
    seconds: u64,
) -> (VideoFloor, AudioFloor) {
    let pictures = VideoWork {
        codec,
        bitrate: VIDEO_BITRATE,
        fps: FPS,
        frames: seconds * u64::from(FPS),
        paced: true,
    };
    let frames = seconds * 1_000 / u64::from(audio_frame);
    let sound = AudioWork { frame_ms: audio_frame, bitrate: AUDIO_BITRATE, frames, paced: true };
    std::thread::scope(|scope| {
        let pictures = scope.spawn(move || {
            let mut effect = Effect::new();
            floor::video(&clip.video, pictures, |picture| effect.picture(picture)).unwrap()
        });
        let mut gain = chain("Gain", GAIN);
        let mut output = Vec::new();
        let sound = floor::audio(sound, |block| {
            let geometry = AudioGeometry { rate: 48_000, channels: 1, samples: block.len() as u32 };
            output.resize(block.len(), 0.0);
            gain.sound(geometry, block, &mut output, &mut |_| ()).unwrap();
            block.copy_from_slice(&output);
        })
        .unwrap();
        (pictures.join().unwrap(), sound)
    })
}
