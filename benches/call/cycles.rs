//! How long a session takes to begin and to end, over many of them, and what is left after all: P7.

use crate::guest::{self, Cycle};
use crate::report::{Figures, Row, Target};
use crate::stand::{self, spread};
use crate::watched::kill;
use crate::{Options, work};
use nix::sys::signal::Signal;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// Five begin in a second (TARGETS).
const PACE: Duration = Duration::from_millis(200);
/// Cycles under way at once (chosen: half of the sessions that a router takes by default; where these are too few for the
/// pace, the row tells the rate that was reached).
const AT_ONCE: usize = 8;
/// Cycles between two lines of progress.
const TELL: usize = 50;
/// A seat is kept for half a minute for whoever had it: at this pace there are 150 of them.
const HEAD: &str = "log = \"warn\"\nmax_peers_total = 1000\n";
/// What the router adds to a receipt: from the offer's taking to the first wiring that all workers switched to.
const READY: &str = "ready_ms";

pub(crate) fn measure(options: &Options) -> Target {
    let before = names(Path::new("/dev/shm"));
    let mut router = stand::start(&format!("{HEAD}{}", work::CONFIG))
        .expect("a router with the bench's own pipelines starts");
    stand::spares(&mut router, &["codec", "pipeline"]);
    let address = router.address();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("threads for the peers");
    let began = Instant::now();
    let (cycles, faults) = runtime.block_on(run(address, options.cycles));
    let seconds = began.elapsed().as_secs_f64();
    drop(runtime);
    router.wait_for_sessions(0);
    kill(router.pid(), Signal::SIGTERM);
    let status = router.wait();
    if !status.success() {
        eprintln!("bench: the router ended with {status}");
    }
    // The folder that holds its config and its log is the bench's, and goes with it.
    let runtime_dir = router.runtime();
    let own =
        runtime_dir.parent().and_then(Path::file_name).map(|n| n.to_string_lossy().into_owned());
    let left: Vec<String> = names(Path::new("/dev/shm"))
        .difference(&before)
        .filter(|name| Some(*name) != own.as_ref())
        .cloned()
        .chain(names(&runtime_dir))
        .chain(cycles.iter().flat_map(|c| left_of(&c.receipt)))
        .collect();
    for name in &left {
        eprintln!("bench: left behind: {name}");
    }
    target(&cycles, &faults, &left, seconds)
}

async fn run(address: std::net::SocketAddr, count: usize) -> (Vec<Cycle>, Vec<String>) {
    let (mut cycles, mut faults) = (Vec::new(), Vec::new());
    let mut running = JoinSet::new();
    let mut pace = tokio::time::interval(PACE);
    // What was late is not caught up with: never more than five begin in a second.
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut take =
        |ended: Option<Result<Result<Cycle, String>, tokio::task::JoinError>>| match ended {
            Some(Ok(Ok(cycle))) => cycles.push(cycle),
            Some(Ok(Err(fault))) => faults.push(fault),
            Some(Err(broken)) => faults.push(broken.to_string()),
            None => {}
        };
    for number in 0..count {
        pace.tick().await;
        while running.len() >= AT_ONCE {
            take(running.join_next().await);
        }
        if number % TELL == 0 {
            eprintln!("bench: beginning and ending sessions, {number} of {count}");
        }
        running.spawn(guest::cycle(address, format!("cycle-{number}")));
    }
    while !running.is_empty() {
        take(running.join_next().await);
    }
    for fault in &faults {
        eprintln!("bench: a cycle failed: {fault}");
    }
    (cycles, faults)
}

fn target(cycles: &[Cycle], faults: &[String], left: &[String], seconds: f64) -> Target {
    let of = |value: &dyn Fn(&Cycle) -> Option<f64>| -> Vec<f64> {
        cycles.iter().filter_map(value).collect()
    };
    let ready = of(&|c| c.receipt[READY].as_f64());
    let wired = of(&|c| Some(c.wired_ms));
    let more = json!({
        "cycles": cycles.len(), "failed": faults.len(),
        "per_second": cycles.len() as f64 / seconds,
        "objects_removed": sum(cycles, "objects_removed"),
        "workers_reaped": sum(cycles, "workers_reaped"),
    });
    let row = |name: &str, values: Vec<f64>| Row {
        name: name.into(),
        unit: "ms",
        samples: values.len() as u64,
        ours: p50_p99_max(values),
        ..Row::default()
    };
    let mut rows = Vec::new();
    if ready.is_empty() {
        eprintln!(
            "bench: receipts have no {READY}; the beginning is told as the peer sees it only"
        );
    } else {
        rows.push(row("offer taken to both workers wired, by the router's receipt", ready));
    }
    rows.extend([
        row("offer to wired, as the peer sees it (once connected, asked every 5 ms)", wired),
        row("offer to answer, as the peer sees it", of(&|c| Some(c.answered_ms))),
        row("offer to connected, as the peer sees it", of(&|c| Some(c.connected_ms))),
        row("close to receipt, by the receipt", of(&|c| c.receipt["took_ms"].as_f64())),
        row("close to receipt, as the peer sees it", of(&|c| Some(c.closed_ms))),
        Row {
            name: "left in /dev/shm, the runtime folder and receipts after all".into(),
            unit: "objects",
            ours: vec![("count", left.len() as f64)],
            samples: cycles.len() as u64,
            ..Row::default()
        },
        Row {
            name: "cycles that failed".into(),
            unit: "cycles",
            ours: vec![("count", faults.len() as f64)],
            samples: (cycles.len() + faults.len()) as u64,
            ..Row::default()
        },
    ]);
    rows[0].more = match more {
        Value::Object(more) => more,
        _ => Map::new(),
    };
    Target {
        number: "P7",
        what: "a session's beginning and end with one peer's picture and sound, five a second",
        rows,
    }
}

fn p50_p99_max(values: Vec<f64>) -> Figures {
    spread(values, ("p99", 0.99))
}

fn sum(cycles: &[Cycle], key: &str) -> u64 {
    cycles.iter().filter_map(|c| c.receipt[key].as_u64()).sum()
}

fn left_of(receipt: &Value) -> Vec<String> {
    let left = receipt["left"].as_array().into_iter().flatten();
    left.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// What a folder holds; nothing where it is not.
fn names(folder: &Path) -> BTreeSet<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
