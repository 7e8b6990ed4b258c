//! A node that takes six times as long as a frame lasts: how old its output gets, and what is held meanwhile: P14.
//!
//! An operator's worker sleeps 200 ms in each picture of 30 a second. Nothing may wait for it but the newest picture: age
//! and memory are flat however long it goes on, and sound passes it by. The same call through a node that is not slow is
//! the floor.

use crate::report::{Figures, Row, Target};
use crate::stand::{self, Peer, number};
use crate::watched::Router;
use crate::{Options, proc, work};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Seconds of the call that is the floor.
const FLOOR: u64 = 10;
/// Until memory is first read (chosen): buffers have their size then.
const SETTLE: Duration = Duration::from_secs(3);
/// Memory is read so often.
const EVERY: Duration = Duration::from_secs(5);
/// The last reading is so long before the call's end.
const BEFORE_END: Duration = Duration::from_secs(2);
/// Pictures that count as flowing; the slow node gives five a second.
const FLOWING: u64 = 5;

const PIPELINES: &str = r#"
[pipelines.slow]
description = "A node that is too slow"
nodes = [{ id = "slow", type = "Slow", worker = "moody", params = { after = 0, ms = 200 } }]

[pipelines.prompt]
description = "One that is not"
nodes = [{ id = "negative", type = "Negative", worker = "moody" }]
"#;

/// What was held at one moment, in megabytes.
#[derive(Clone, Copy, Default)]
struct Held {
    /// Router and all workers, proportional, shared memory included.
    pss: Option<f64>,
    /// The session's shared memory.
    shared: Option<f64>,
}

struct Call {
    report: Value,
    held: Vec<Held>,
    /// The session as it was described last.
    session: Value,
}

pub(crate) fn measure(options: &Options) -> Option<Target> {
    let moody = stand::described(&stand::moody()?, "session");
    let config = format!("log = \"warn\"\ngrace_seconds = 1.0\n{}{moody}{PIPELINES}", work::CONFIG);
    let mut router = stand::start(&config)?;
    let prompt = call(&mut router, "prompt", FLOOR);
    let slow = call(&mut router, "slow", options.slow_seconds);
    stand::stop(router);
    let (prompt, slow) = (told(prompt)?, told(slow)?);
    Some(Target {
        number: "P14",
        what: "a node that takes 200 ms a picture at 30 pictures a second",
        rows: rows(&slow, &prompt),
    })
}

fn told(call: Result<Call, String>) -> Option<Call> {
    call.inspect_err(|why| eprintln!("bench: a call was lost: {why}")).ok()
}

fn call(router: &mut Router, pipeline: &str, seconds: u64) -> Result<Call, String> {
    eprintln!("bench: a call of {seconds} s through the pipeline {pipeline}");
    stand::spares(router, &["codec", "custom"]);
    let arguments = [
        "--peer-id",
        pipeline,
        "--pipeline",
        pipeline,
        "--video",
        "pattern",
        "--size",
        "1280x720",
        "--bitrate",
        "1500k",
    ];
    let peer = Peer::call(router, seconds, &arguments);
    let began = Instant::now();
    stand::until(router, "pictures that come back", |sessions| {
        stand::gets(stand::session_of(sessions, pipeline)?, pipeline, 2, FLOWING)
    })
    .ok_or("no media came back")?;
    std::thread::sleep(SETTLE);
    let end = began + Duration::from_secs(seconds).saturating_sub(BEFORE_END);
    let (mut held, mut session) = (Vec::new(), Value::Null);
    loop {
        let sessions = router.sessions();
        held.push(look(router, &sessions, pipeline));
        session = stand::session_of(&sessions, pipeline).cloned().unwrap_or(session);
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        std::thread::sleep(left.min(EVERY));
    }
    let report = peer.report()?;
    router.wait_for_sessions(0);
    Ok(Call { report, held, session })
}

fn look(router: &Router, sessions: &Value, peer: &str) -> Held {
    let (leased, spares) = stand::pids(sessions);
    let all: Vec<u32> = [router.pid() as u32].into_iter().chain(leased).chain(spares).collect();
    let used = stand::session_of(sessions, peer).and_then(|s| number(s, "/shared_memory/used"));
    Held { pss: proc::pss_mb(&all), shared: used.map(|bytes| bytes / 1e6) }
}

fn rows(slow: &Call, prompt: &Call) -> Vec<Row> {
    let latency = |call: &Call, kind: &str| -> Figures {
        ["p50", "p95", "max"]
            .into_iter()
            .filter_map(|at| Some((at, number(&call.report, &format!("/{kind}/latency_ms/{at}"))?)))
            .collect()
    };
    let count = |path: &str| number(&slow.report, path).unwrap_or(f64::NAN);
    let age = |name: &str, kind: &str, samples: &str| Row {
        name: name.into(),
        unit: "ms",
        ours: latency(slow, kind),
        floor: latency(prompt, kind),
        floor_is: "the same call through a node of the same worker that is not slow",
        samples: count(samples) as u64,
        ..Row::default()
    };
    let mut pictures = age("age of a 720p picture that comes back", "video", "/video/received");
    let more = json!({
        "gap_ms": slow.report["video"]["gap_ms"],
        "dropped": slow.session["dropped"],
        "tasks": slow.session["tasks"],
        "worker_generations": slow.session["workers"],
    });
    if let Value::Object(more) = more {
        pictures.more = more;
    }
    let dropped = slow.session["dropped"].as_object();
    let dropped: u64 = dropped.into_iter().flat_map(|d| d.values()).filter_map(Value::as_u64).sum();
    vec![
        pictures,
        age("sound beside it, sample out to sample in", "audio", "/audio/ticks/received"),
        memory("memory of router and workers, spares included", "MB PSS", slow, |h| h.pss),
        memory("shared memory of the session", "MB", slow, |h| h.shared),
        Row {
            name: "pictures sent, come back, counted as dropped by a reason (until 2 s before the end)".into(),
            unit: "pictures",
            ours: vec![
                ("sent", count("/video/sent")),
                ("returned", count("/video/received")),
                ("dropped", dropped as f64),
            ],
            samples: count("/video/sent") as u64,
            ..Row::default()
        },
    ]
}

fn memory(name: &str, unit: &'static str, call: &Call, of: fn(&Held) -> Option<f64>) -> Row {
    let values: Vec<f64> = call.held.iter().filter_map(of).collect();
    let most = values.iter().copied().reduce(f64::max);
    let named =
        [("begin", values.first().copied()), ("end", values.last().copied()), ("most", most)];
    Row {
        name: name.into(),
        unit,
        ours: named.into_iter().filter_map(|(name, value)| Some((name, value?))).collect(),
        samples: values.len() as u64,
        ..Row::default()
    }
}
