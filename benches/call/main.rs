//! A call through a running router, its floors beside it in the same run: P2 to P8, P11, P14 and P16 of the targets.
//!
//! `cargo bench --bench call -- [--only P3,P5] [--seconds N] [--quick] [--json]`. Everything runs on this machine over
//! loopback; nothing is asserted about time. One file a question: [`native`] latency, processor and memory, [`setup`]
//! and [`browser`] the beginning of a call and Chromium, [`allocations`] copies and allocations, [`cycles`] sessions that
//! come and go, [`recovery`] workers that are killed, [`slow`] a node that does not keep up, [`density`] many sessions;
//! [`work`] is what all calls do, [`echo`] and [`work::one_process`] are the floors, [`stand`] and [`guest`] are what the
//! benches of sessions stand on.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on ends")]
#![allow(missing_docs, reason = "a program")]

mod allocations;
mod browser;
#[path = "../../tests/stories/chromium.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stories take more of it")]
mod chromium;
mod cycles;
mod density;
mod echo;
mod guest;
mod native;
mod proc;
mod quality;
mod recovery;
#[path = "../report/mod.rs"]
mod report;
mod router;
mod setup;
mod slow;
mod stand;
#[path = "../../tests/stories/router.rs"]
#[allow(dead_code, unreachable_pub, reason = "the stories take more of it")]
mod watched;
mod work;

use report::Target;
use std::process::ExitCode;
use work::Clip;

/// What is asked for.
pub(crate) struct Options {
    only: Option<Vec<String>>,
    /// Calls of each kind.
    pub(crate) rounds: usize,
    /// Each so long.
    pub(crate) round_seconds: u64,
    /// Calls that only their beginning is measured of.
    pub(crate) setups: usize,
    /// Seconds of Chromium's call.
    pub(crate) browser_seconds: u64,
    /// Sessions that begin and end.
    pub(crate) cycles: usize,
    /// Kills of each kind of worker.
    pub(crate) kills: usize,
    /// Seconds of the call through a slow node.
    pub(crate) slow_seconds: u64,
    /// Sessions at once.
    pub(crate) density: usize,
    /// Seconds of the one of them that is measured.
    pub(crate) density_seconds: u64,
}

impl Options {
    pub(crate) fn wants(&self, target: &str) -> bool {
        self.only.as_ref().is_none_or(|only| only.iter().any(|o| o == target))
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let has = |name: &str| arguments.iter().any(|a| a == name);
    if has(density::WORKER) {
        return density::worker();
    }
    let value = |name: &str| {
        arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1).cloned())
    };
    let clip = Clip::load();
    if let Some(codec) = value("--codec-loop") {
        allocations::codec_loop(&codec, &clip);
        return ExitCode::SUCCESS;
    }
    let quick = has("--quick");
    // Six rounds are the fewest that give an interval of 95 %; two of three seconds show that it runs.
    let rounds = if quick { 2 } else { 6 };
    let seconds: u64 = value("--seconds")
        .map_or(if quick { 6 } else { 36 }, |n| n.parse().expect("--seconds takes a number"));
    let options = Options {
        only: value("--only").map(|only| only.split(',').map(str::to_owned).collect()),
        rounds,
        // Less leaves nothing between a call's beginning and its end.
        round_seconds: (seconds / rounds as u64).max(4),
        setups: if quick { 5 } else { 20 },
        browser_seconds: seconds.clamp(6, 30),
        cycles: if quick { 40 } else { 1_000 },
        kills: if quick { 6 } else { 50 },
        slow_seconds: if quick { 10 } else { 600 },
        density: if quick { 6 } else { 30 },
        density_seconds: if quick { 6 } else { 30 },
    };
    let targets = measure(&options, &clip);
    report::print(&targets, has("--json"));
    ExitCode::SUCCESS
}

fn measure(options: &Options, clip: &Clip) -> Vec<Target> {
    eprintln!(
        "bench: {} at 1280x720, {} fps, {} kb/s; {} rounds of {} s",
        clip.name(),
        work::FPS,
        work::VIDEO_BITRATE / 1_000,
        options.rounds,
        options.round_seconds
    );
    let mut targets = Vec::new();
    if options.wants("P2") {
        targets.push(allocations::measure(options, clip));
    }
    targets.extend(native::measure(options, clip));
    if options.wants("P6") {
        let rows = setup::native(options);
        targets.push(Target {
            number: "P6",
            what: "offer to connected, and to the first processed picture",
            rows,
        });
    }
    browser::add(options, &mut targets);
    if options.wants("P7") {
        targets.push(cycles::measure(options));
    }
    if options.wants("P8") {
        targets.push(recovery::measure(options));
    }
    if options.wants("P14") {
        targets.extend(slow::measure(options));
    }
    if options.wants("P16") {
        targets.push(density::measure(options));
    }
    targets.sort_by_key(|t| t.number[1..].parse::<u32>().unwrap_or(u32::MAX));
    targets
}
