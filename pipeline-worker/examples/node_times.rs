//! What each node costs: milliseconds of processor time for a 1280x720 picture, or for 10 ms of stereo sound.
//!
//! `cargo run --release -p remotemedia-pipeline-worker --example node_times [frames]`

use anyhow::Context;
use nix::time::{ClockId, clock_gettime};
use remotemedia_pipeline_worker::graph::{Chain, Passed, build};
use remotemedia_pipeline_worker::node::Moment;
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::{AudioGeometry, NodeId, VideoGeometry};
use remotemedia_worker::{Picture, PictureMut};

const PICTURES: [&[(&str, &str)]; 20] = [
    &[("Passthrough", "{}")],
    &[("Grayscale", "{}")],
    &[("Overlay", r#"{"text":"camera 1"}"#)],
    &[("GaussianBlur", r#"{"sigma":0.5}"#)],
    &[("GaussianBlur", r#"{"sigma":1}"#)],
    &[("GaussianBlur", r#"{"sigma":2}"#)],
    &[("GaussianBlur", r#"{"sigma":3.4}"#)],
    &[("GaussianBlur", r#"{"sigma":4}"#)],
    &[("GaussianBlur", r#"{"sigma":10}"#)],
    &[("GaussianBlur", r#"{"sigma":50}"#)],
    &[("GaussianBlur", r#"{"sigma":4}"#), ("Grayscale", "{}"), ("Overlay", "{}")],
    &[("Scale", r#"{"height":480}"#)],
    &[("Scale", r#"{"height":360}"#)],
    &[("Scale", r#"{"height":180}"#)],
    &[("Scale", r#"{"height":1080}"#)],
    &[("Crop", r#"{"x":320,"y":180,"width":640,"height":360}"#)],
    &[("Mirror", "{}")],
    &[("ColourAdjust", r#"{"brightness":0.1}"#)],
    &[("ColourAdjust", r#"{"contrast":1.2,"saturation":1.2,"hue":10}"#)],
    &[("ChromaKey", "{}")],
];
const SOUND: [(&str, &str); 6] = [
    ("Gain", r#"{"gain_db":3}"#),
    ("NoiseGate", "{}"),
    ("NoiseSuppression", "{}"),
    ("HighPass", "{}"),
    ("Echo", "{}"),
    ("Limiter", r#"{"threshold_db":-20}"#),
];

fn main() -> anyhow::Result<()> {
    let frames = match std::env::args().nth(1) {
        Some(text) => text.parse().with_context(|| format!("{text} is no number of frames"))?,
        None => 300,
    };
    let geometry = VideoGeometry::i420(1280, 720);
    let mut bits = 1u32;
    // Noise: no node profits from what a picture shows, and none may.
    let input: Vec<u8> = std::iter::repeat_with(|| {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (bits >> 24) as u8
    })
    .take(geometry.payload_len())
    .collect();
    println!("{:<60} {:>8} {:>8}   ms a 720p picture", "pictures", "p50", "p95");
    for nodes in PICTURES {
        let mut chain = chain(nodes)?;
        let shape = chain.shape(Passed::default(), geometry)?;
        let mut output = vec![0u8; shape.payload_len()];
        let (p50, p95) = times(frames, |frame| {
            let input = Picture::over(&input, geometry).context("a picture")?;
            let mut loan = PictureMut::over(&mut output, shape).context("a picture")?;
            let moment = Moment { sequence: frame, media_time_ns: 0, unix_ns: frame * 33_333_333 };
            Ok(chain.picture(&input, &mut loan, &moment, &mut |_| {}).map(drop)?)
        })?;
        println!("{:<60} {p50:>8.3} {p95:>8.3}", name(nodes));
    }
    let geometry = AudioGeometry { rate: 48_000, channels: 2, samples: 480 };
    let input: Vec<f32> = (0..960).map(|i| (i as f32 * 0.03).sin() * 0.3).collect();
    let mut output = vec![0.0f32; 960];
    println!("{:<60} {:>8} {:>8}   ms for 10 ms of stereo", "sound", "p50", "p95");
    for node in SOUND {
        let mut chain = chain(&[node])?;
        let (p50, p95) = times(frames, |_| {
            Ok(chain.sound(geometry, &input, &mut output, &mut |_| {}).map(drop)?)
        })?;
        println!("{:<60} {p50:>8.4} {p95:>8.4}", name(&[node]));
    }
    Ok(())
}

fn name(nodes: &[(&str, &str)]) -> String {
    nodes.iter().map(|(kind, params)| format!("{kind} {params}")).collect::<Vec<_>>().join(" → ")
}

fn chain(nodes: &[(&str, &str)]) -> anyhow::Result<Chain> {
    let nodes: Vec<GraphNode> = nodes
        .iter()
        .zip(0u8..)
        .map(|((kind, params), number)| {
            let id = NodeId::new(format!("n{number}"))?;
            let (kind, params) = ((*kind).into(), (*params).into());
            Ok(GraphNode { id, number, kind, params, on_failure: OnFailure::Hold })
        })
        .collect::<anyhow::Result<_>>()?;
    Ok(build(&Registry::built_in(), &nodes)?)
}

/// Median and 95th percentile of a thread's own time, after a few frames to warm up: others on the machine do not count.
fn times(
    frames: u64,
    mut frame: impl FnMut(u64) -> anyhow::Result<()>,
) -> anyhow::Result<(f64, f64)> {
    for number in 0..5 {
        frame(number)?;
    }
    let mut times = Vec::new();
    for number in 5..frames + 5 {
        let begin = now()?;
        frame(number)?;
        times.push(now()? - begin);
    }
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or(0.0);
    Ok((at(0.5), at(0.95)))
}

fn now() -> anyhow::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6)
}
