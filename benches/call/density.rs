//! Many small sessions at once: what each takes in memory of its own, and what it costs the others in latency: P16.
//!
//! Each session has one peer that sends sound through one node. Once the node runs in our pipeline worker, once in an
//! operator's worker with a process for each session, once in the same worker with one process for all. Private memory
//! is what a session's end would give back: pages that no other process has. The operator's worker is this program.

use crate::Options;
use crate::report::{Row, Target};
use crate::stand::{self, Peer, number};
use crate::watched::Router;
use remotemedia_shm_schema::AudioGeometry;
use remotemedia_worker::worker::Worker;
use serde_json::{Map, Value, json};
use std::fs;
use std::process::ExitCode;
use std::time::Duration;

/// Between two peers' starts (chosen): their processes and connections take most of a core then.
const PACE: Duration = Duration::from_millis(250);
/// Packets that count as flowing.
const FLOWING: u64 = 50;
/// The other peers call for so much longer than it takes to start them all and to measure.
const SPARE_SECONDS: u64 = 120;
/// This program as an operator's worker, by its argument and its only node type.
pub(crate) const WORKER: &str = "--sound-worker";
const NODE: &str = "Quieter";

/// This program as a worker: what our `Gain` of -1 dB does.
pub(crate) fn worker() -> ExitCode {
    let gain = 10f32.powf(-1.0 / 20.0);
    Worker::audio(NODE, move |input: &[f32], _: AudioGeometry, output: &mut [f32]| {
        for (from, to) in input.iter().zip(output) {
            *to = from * gain;
        }
        Ok(())
    })
    .run()
}

/// Where the node runs.
struct Kind {
    name: &'static str,
    /// `None` is our own pipeline worker.
    isolation: Option<&'static str>,
    roles: [&'static str; 2],
}

const KINDS: [Kind; 3] = [
    Kind { name: "isolation session, our node", isolation: None, roles: ["codec", "pipeline"] },
    Kind {
        name: "isolation session, an operator's worker",
        isolation: Some("session"),
        roles: ["codec", "custom"],
    },
    Kind {
        name: "isolation shared, an operator's worker",
        isolation: Some("shared"),
        roles: ["codec", "custom"],
    },
];

/// What was found at one number of sessions.
struct Found {
    sessions: usize,
    /// Megabytes that only one process has: of all workers that serve somebody, and of the router.
    workers: Option<f64>,
    router: Option<f64>,
    /// Proportional, shared memory included.
    workers_pss: Option<f64>,
    processes: usize,
    report: Value,
}

pub(crate) fn measure(options: &Options) -> Target {
    let mut rows = Vec::new();
    for kind in &KINDS {
        let Some(mut router) = stand::start(&config(kind)) else { continue };
        stand::spares(&mut router, &kind.roles);
        let idle = private_mb(&[router.pid() as u32]);
        let found =
            [1, options.density].map(|n| among(n, options.density_seconds, kind, &mut router));
        stand::stop(router);
        match found {
            [Ok(one), Ok(many)] => rows.extend(rows_of(kind, idle, &one, &many)),
            found => {
                for why in found.into_iter().filter_map(Result::err) {
                    eprintln!("bench: {}: {why}; its rows are left out", kind.name);
                }
            }
        }
    }
    Target {
        number: "P16",
        what: "many sessions with one peer's sound and one node each: private memory, and latency beside one session's",
        rows,
    }
}

fn config(kind: &Kind) -> String {
    let program = std::env::current_exe().expect("this program knows where it is");
    // No session has pictures: what is set aside for them would be for nothing.
    let head = "default_pipeline = \"density\"\nmax_sessions = 64\nmax_video = \"320x180\"\n\
                session_starts_per_second = 100\naudio_bitrate = 32000\ngrace_seconds = 1.0\nlog = \"warn\"\n";
    let (node, worker) = match kind.isolation {
        None => (
            r#"{ id = "gain", type = "Gain", params = { gain_db = -1.0 } }"#.to_owned(),
            String::new(),
        ),
        Some(isolation) => (
            format!(r#"{{ id = "sound", type = "{NODE}", worker = "sound" }}"#),
            format!(
                "\n[workers.sound]\ncommand = {program:?}\nargs = [{WORKER:?}]\nisolation = {isolation:?}\n"
            ),
        ),
    };
    format!(
        "{head}{worker}\n[pipelines.density]\ndescription = \"One node on sound\"\nnodes = [{node}]\n"
    )
}

/// So many sessions at once; one of them is measured.
fn among(count: usize, seconds: u64, kind: &Kind, router: &mut Router) -> Result<Found, String> {
    eprintln!("bench: {count} sessions of sound, {}", kind.name);
    let sound = ["--video", "none", "--audio", "ticks", "--audio-frame", "20"];
    let mut others = Vec::new();
    for at in 1..count {
        // A name is kept for a while for whoever had it.
        let name = format!("other-{at}-of-{count}");
        let arguments = [&sound[..], &["--peer-id", &name]].concat();
        others.push(Peer::call(router, seconds + SPARE_SECONDS, &arguments));
        std::thread::sleep(PACE);
    }
    flowing(router, count - 1)?;
    let name = format!("measured-of-{count}");
    let one = Peer::call(router, seconds, &[&sound[..], &["--peer-id", &name]].concat());
    flowing(router, count)?;
    std::thread::sleep(Duration::from_secs(seconds / 2));
    let sessions = router.sessions();
    let (leased, _) = stand::pids(&sessions);
    let own = [router.pid() as u32];
    let (workers, of_router) = (private_mb(&leased), private_mb(&own));
    let workers_pss = crate::proc::pss_mb(&leased);
    let report = one.report();
    others.iter_mut().for_each(Peer::interrupt);
    let lost = others.into_iter().filter_map(|other| other.report().err()).count();
    if lost > 0 {
        eprintln!("bench: {lost} of the other calls were lost");
    }
    router.wait_for_sessions(0);
    Ok(Found {
        sessions: count,
        workers,
        router: of_router,
        workers_pss,
        processes: leased.len(),
        report: report?,
    })
}

/// Waits until so many sessions have sound that comes back.
fn flowing(router: &mut Router, count: usize) -> Result<(), String> {
    let flows = stand::until(router, "everybody's sound", |sessions| {
        let sessions = sessions["sessions"].as_array()?;
        let live = sessions.iter().filter(|session| {
            let members = session["members"].as_array().into_iter().flatten();
            members
                .flat_map(|member| member["media"]["sends"].as_array().into_iter().flatten())
                .any(|sent| sent["kind"] == "audio" && sent["frames"].as_u64() >= Some(FLOWING))
        });
        (live.count() >= count).then_some(())
    });
    flows.ok_or_else(|| format!("the sound of {count} sessions never flowed"))
}

fn rows_of(kind: &Kind, idle: Option<f64>, one: &Found, many: &Found) -> Vec<Row> {
    let each = |whole: Option<f64>| whole.map_or(f64::NAN, |mb| mb / many.sessions as f64);
    let grown = many.router.zip(idle).map(|(now, before)| (now - before).max(0.0));
    let whole = many.workers.zip(grown).map(|(workers, router)| workers + router);
    let ms = |found: &Found, at: &str| {
        number(&found.report, &format!("/audio/latency_ms/{at}")).unwrap_or(f64::NAN)
    };
    let latency = |found: &Found| vec![("p50", ms(found, "p50")), ("p95", ms(found, "p95"))];
    let private = Row {
        name: format!("{}: a session of {}", kind.name, many.sessions),
        unit: "MB private",
        ours: vec![
            ("whole", each(whole)),
            ("workers", each(many.workers)),
            ("router", each(grown)),
        ],
        samples: many.sessions as u64,
        more: map(json!({
            "processes_of_sessions": many.processes,
            "workers_pss_mb_a_session": each(many.workers_pss),
            "workers_private_mb_of_one_session": one.workers,
            "router_private_mb": { "idle": idle, "one": one.router, "many": many.router },
        })),
        ..Row::default()
    };
    let late = Row {
        name: format!("{}: sound of one of {}", kind.name, many.sessions),
        unit: "ms",
        ours: latency(many),
        floor: latency(one),
        floor_is: "a single session's",
        samples: number(&many.report, "/audio/ticks/received").unwrap_or(0.0) as u64,
        more: map(json!({
            "p95_over_one_session_ms": ms(many, "p95") - ms(one, "p95"),
            "lost": many.report["audio"]["lost"], "concealed": many.report["audio"]["concealed"],
        })),
        ..Row::default()
    };
    vec![private, late]
}

fn map(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

/// Megabytes of pages that only one process has; `None` where this user may not know it (workers are not dumpable).
fn private_mb(pids: &[u32]) -> Option<f64> {
    let one = |pid: &u32| {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
        let kib = |line: &str| line.split_whitespace().nth(1)?.parse::<f64>().ok();
        let own = text.lines().filter(|line| {
            line.starts_with("Private_Clean:") || line.starts_with("Private_Dirty:")
        });
        own.map(kib).sum::<Option<f64>>()
    };
    pids.iter().map(one).sum::<Option<f64>>().map(|kib| kib * 1024.0 / 1e6)
}
