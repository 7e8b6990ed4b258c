//! One hop of a 720p frame to a worker in Python and back, at 30 a second, beside a worker in Rust (TARGETS P1).
//!
//! Both workers are given the same frames by turns through the same crate; neither touches a pixel, so that what is left
//! is the way: woken, header checked, function called, loaned, published. The worker's own stamp tells the two ways apart.
//! `cargo bench -p remotemedia-worker --bench python -- [--frames N] [--json]`; python/setup-tests comes before.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![allow(missing_docs, reason = "a program")]

#[path = "../../benches/report/mod.rs"]
mod report;
#[path = "../tests/support/mod.rs"]
mod support;

use remotemedia_worker::schema::control::Change;
use remotemedia_worker::schema::{Content, Contract, Meta, Stage, VideoGeometry};
use remotemedia_worker::worker::Worker;
use remotemedia_worker::{Picture, PictureMut, monotonic_ns};
use report::interval::{Ratio, percentile};
use report::{Row, Target};
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;
use support::{Ends, Hand, Rig};

/// Frames before those that count (chosen): ports connect and pages are touched.
const WARM_UP: usize = 60;
/// Frames in a block of the ratios (chosen): a second.
const BLOCK: usize = 30;
const NAME: &str = "untouched";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.iter().any(|a| a == "--worker") {
        return Worker::video(NAME, |_: Picture<'_>, _: &mut PictureMut<'_>| Ok(())).run();
    }
    let value = arguments.iter().position(|a| a == "--frames").and_then(|at| arguments.get(at + 1));
    let frames = value.map_or(2_100, |n| n.parse().expect("--frames takes a number"));
    let rows = measure(frames);
    let what = "one 720p frame to a worker in Python and back, 30 a second";
    let target = Target { number: "P1 python", what, rows };
    report::print(&[target], arguments.iter().any(|a| a == "--json"));
    ExitCode::SUCCESS
}

/// Microseconds of each way, by frame.
#[derive(Default)]
struct Ways {
    to: Vec<f64>,
    back: Vec<f64>,
    both: Vec<f64>,
}

fn measure(frames: usize) -> Vec<Row> {
    let geometry = VideoGeometry::i420(1280, 720);
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut python = Command::new(root.join(".cache/python/bin/python"));
    python.arg(root.join("python/tests/program.py")).arg(NAME);
    let mut rust = Command::new(std::env::current_exe().unwrap());
    rust.arg("--worker");
    let mut rig = Rig::new();
    let mut workers: Vec<(Hand, Ends, Ways)> = Vec::new();
    for (command, generation) in [(python, 1), (rust, 2)] {
        let wiring = rig.wire(generation, Contract::RAW_VIDEO, geometry.payload_len() as u32);
        let ends = rig.ends(&wiring);
        let mut hand = Hand::run(command);
        hand.greet();
        hand.assign(&mut rig);
        hand.dance(1, vec![Change::Add(wiring.task(NAME))]);
        workers.push((hand, ends, Ways::default()));
    }
    for number in 0..frames + WARM_UP {
        for turn in 0..workers.len() {
            std::thread::sleep(Duration::from_nanos(1_000_000_000 / 30 / 2));
            // Another order each time: what one leaves in caches and clocks is not always the other's burden.
            let (_, ends, ways) = &mut workers[(turn + number) % 2];
            let mut meta = Meta::new(Content::Picture(geometry));
            meta.source = number as u64;
            let begin = monotonic_ns();
            ends.to.loan(geometry.payload_len()).unwrap().publish(meta).unwrap();
            let frame = ends.receive();
            let end = monotonic_ns();
            assert_eq!(frame.meta().source, number as u64);
            let there = frame.meta().stamps.at(Stage::Node(3)).unwrap();
            if number >= WARM_UP {
                ways.to.push(there.saturating_sub(begin) as f64 / 1e3);
                ways.back.push(end.saturating_sub(there) as f64 / 1e3);
                ways.both.push(end.saturating_sub(begin) as f64 / 1e3);
            }
        }
    }
    let mut ways = Vec::new();
    for (hand, ends, taken) in workers {
        drop(ends);
        hand.kill();
        ways.push(taken);
    }
    rig.end();
    let [python, rust] = ways.as_slice() else { unreachable!("two workers") };
    let row = |name: &str, ours: &[f64], floor: &[f64]| Row {
        name: name.into(),
        unit: "us",
        ours: figures(ours),
        floor: figures(floor),
        floor_is: "the same worker in Rust",
        ratio: Ratio::paired(ours, floor, BLOCK),
        ratio_is: "Python / Rust",
        samples: ours.len() as u64,
        ..Row::default()
    };
    vec![
        row("there and back", &python.both, &rust.both),
        row("to the worker's stamp", &python.to, &rust.to),
        row("from its stamp back", &python.back, &rust.back),
    ]
}

fn figures(values: &[f64]) -> report::Figures {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    vec![("p50", percentile(&sorted, 0.5).unwrap()), ("p99", percentile(&sorted, 0.99).unwrap())]
}
