//! Calls of a native peer by turns with the same work in one process and a bare echo: P3, P4, P5 and P11.

use crate::report::interval::{Ratio, median, percentile};
use crate::report::{Figures, Row, Target};
use crate::router::{Call, Router};
use crate::work::{Clip, one_process};
use crate::{Options, echo, proc, quality};
use remotemedia_probe::floor::{AudioFloor, VideoFloor};
use remotemedia_shm_schema::Codec;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// A call's beginning that its processor time is not taken of (chosen): pages are touched, the encoders settle.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Pictures a second of calls that only their memory is looked at (chosen): five of them must fit the machine.
const FEW: &str = "5";
const SEVERAL: usize = 5;

/// A kind of call that is measured.
#[derive(Clone, Copy)]
struct Kind {
    codec: Codec,
    audio_frame: u32,
}

const KINDS: [Kind; 4] = [
    Kind { codec: Codec::Vp8, audio_frame: 10 },
    Kind { codec: Codec::Vp8, audio_frame: 20 },
    Kind { codec: Codec::Vp9, audio_frame: 20 },
    Kind { codec: Codec::H264, audio_frame: 20 },
];

/// One call, one run in one process, one echo, right after one another.
struct Round {
    report: Value,
    /// Router and all its workers, spares included, in percent of a core.
    cpu: f64,
    /// Of which the router.
    cpu_router: f64,
    video: VideoFloor,
    audio: AudioFloor,
    echo: echo::Echo,
}

#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    router: Option<f64>,
    workers: Option<f64>,
    spares: Option<f64>,
}

impl Memory {
    fn of(router: &Router) -> Self {
        let (leased, spares) = router.workers();
        Self {
            router: proc::pss_mb(&[router.pid()]),
            workers: proc::pss_mb(&leased),
            spares: proc::pss_mb(&spares),
        }
    }
}

pub(crate) fn measure(options: &Options, clip: &Clip) -> Vec<Target> {
    let mut targets = Vec::new();
    let calls = ["P3", "P4", "P5"].iter().any(|p| options.wants(p));
    if calls {
        let rounds: Vec<(Kind, Vec<Round>, Option<f64>)> =
            KINDS.iter().map(|kind| rounds(*kind, options, clip)).collect();
        targets.push(video_latency(&rounds));
        targets.push(audio_latency(&rounds));
        targets.push(processor(&rounds));
        targets.retain(|target| options.wants(target.number));
    }
    if options.wants("P11") {
        targets.push(memory(options));
    }
    targets
}

fn rounds(kind: Kind, options: &Options, clip: &Clip) -> (Kind, Vec<Round>, Option<f64>) {
    let router = Router::start(None);
    let rounds = (0..options.rounds)
        .map(|number| {
            eprintln!(
                "bench: call in {} with {} ms of sound a packet, round {} of {}",
                kind.codec,
                kind.audio_frame,
                number + 1,
                options.rounds
            );
            round(kind, options.round_seconds, number, &router, clip)
        })
        .collect();
    // A call of its own: writing a file is no part of the ones that are measured.
    let saved = tempfile::tempdir().unwrap();
    let file = saved.path().join("returned.ivf");
    let seconds = options.round_seconds.min(5).to_string();
    call(&router, kind, clip, &["--seconds", &seconds, "--save", file.to_str().unwrap()]).report();
    (kind, rounds, quality::psnr(&file, clip))
}

fn call(router: &Router, kind: Kind, clip: &Clip, more: &[&str]) -> Call {
    let (codec, frame) = (kind.codec.to_string(), kind.audio_frame.to_string());
    let mut arguments = vec!["--video", &clip.argument, "--size", "1280x720", "--bitrate", "1500k"];
    arguments.extend(["--codec", &codec, "--audio-frame", &frame]);
    arguments.extend(more);
    router.call(&arguments)
}

fn round(kind: Kind, seconds: u64, number: usize, router: &Router, clip: &Clip) -> Round {
    // Each time in the other order, so that none always has the machine as another left it.
    let floors = || {
        let echo = echo::run(kind.audio_frame, seconds);
        let (video, audio) = one_process(clip, kind.codec, kind.audio_frame, seconds);
        (video, audio, echo)
    };
    let before = (number % 2 == 1).then(floors);
    let length = seconds.to_string();
    let under_way = call(router, kind, clip, &["--seconds", &length]);
    router.wait("pictures that come back", |sessions| {
        let tasks = sessions.pointer("/sessions/0/tasks")?.as_array()?;
        let encoded = tasks.iter().find(|t| {
            t["task"]
                .as_str()
                .is_some_and(|name| name.starts_with(&format!("encode {}", kind.codec)))
        })?;
        (encoded["published"].as_u64()? > 0).then_some(())
    });
    std::thread::sleep(SETTLE);
    let (leased, spares) = router.workers();
    let all: Vec<u32> = leased.iter().chain(&spares).copied().collect();
    let read = || (proc::cpu_ns(&[router.pid()]), proc::cpu_ns(&all), Instant::now());
    let begin = read();
    std::thread::sleep(
        Duration::from_secs(seconds).saturating_sub(SETTLE + Duration::from_secs(1)),
    );
    let end = read();
    let report = under_way.report();
    router.wait_for_sessions(0);
    let (video, audio, echo) = before.unwrap_or_else(floors);
    let wall = (end.2 - begin.2).as_nanos() as f64;
    let percent = |from: u64, to: u64| to.saturating_sub(from) as f64 / wall * 100.0;
    let cpu_router = percent(begin.0, end.0);
    let cpu = cpu_router + percent(begin.1, end.1);
    Round { report, cpu, cpu_router, video, audio, echo }
}

/// The median over rounds of something that each of them has.
fn over(rounds: &[Round], of: impl Fn(&Round) -> Option<f64>) -> f64 {
    median(&rounds.iter().filter_map(of).collect::<Vec<_>>()).unwrap_or(f64::NAN)
}

fn ratio(rounds: &[Round], of: impl Fn(&Round) -> Option<f64>) -> Option<Ratio> {
    Ratio::of(rounds.iter().filter_map(of).collect())
}

fn reported(round: &Round, path: &str) -> Option<f64> {
    round.report.pointer(path)?.as_f64()
}

fn percentiles(rounds: &[Round], kind: &str) -> Figures {
    let at = |name: &str| over(rounds, |r| reported(r, &format!("/{kind}/latency_ms/{name}")));
    vec![("p50", at("p50")), ("p95", at("p95"))]
}

fn sum(rounds: &[Round], path: &str) -> u64 {
    rounds.iter().filter_map(|r| r.report.pointer(path)?.as_u64()).sum()
}

/// p50 and p95 of each stage, median over rounds.
fn stages(rounds: &[Round], path: &str) -> Value {
    let mut all: BTreeMap<String, (Vec<f64>, Vec<f64>)> = BTreeMap::new();
    for round in rounds {
        for (stage, time) in
            round.report.pointer(path).and_then(Value::as_object).into_iter().flatten()
        {
            let entry = all.entry(stage.clone()).or_default();
            entry.0.extend(time["p50"].as_f64());
            entry.1.extend(time["p95"].as_f64());
        }
    }
    all.into_iter()
        .map(|(stage, (p50, p95))| (stage, json!({ "p50": median(&p50), "p95": median(&p95) })))
        .collect()
}

type Measured = [(Kind, Vec<Round>, Option<f64>)];

fn video_latency(measured: &Measured) -> Target {
    let row = |(kind, rounds, psnr): &(Kind, Vec<Round>, Option<f64>)| {
        let p95 = |r: &Round| Some(reported(r, "/video/latency_ms/p95")? / r.video.latency_ms.p95?);
        let ours = percentiles(rounds, "video");
        let floor = vec![
            ("p50", over(rounds, |r| r.video.latency_ms.p50)),
            ("p95", over(rounds, |r| r.video.latency_ms.p95)),
        ];
        let trip = |share| over(rounds, |r| percentile(&r.echo.round_trips_ms, share));
        let more = json!({
            "p95_over_floor_ms": ours[1].1 - floor[1].1,
            "p99_ms": over(rounds, |r| reported(r, "/video/latency_ms/p99")),
            "gap_p99_ms": over(rounds, |r| reported(r, "/video/gap_ms/p99")),
            "echo_round_trip_ms": { "p50": trip(0.5), "p95": trip(0.95) },
            "frames": {
                "sent": sum(rounds, "/video/sent"), "received": sum(rounds, "/video/received"),
                "lost": sum(rounds, "/video/lost"), "unreadable": sum(rounds, "/video/unreadable"),
            },
            "bitrate": { "ours": over(rounds, |r| reported(r, "/video/bitrate")), "floor": over(rounds, |r| Some(r.video.bitrate as f64)) },
            "psnr_db": { "ours": psnr, "floor": over(rounds, |r| Some(r.video.psnr_db)) },
            "stages_ms": stages(rounds, "/stages"),
        });
        Row {
            name: format!("{}, {} ms sound", kind.codec, kind.audio_frame),
            unit: "ms",
            ours,
            floor,
            floor_is: "the same work in one process; a bare echo's round trip is in the JSON",
            ratio: ratio(rounds, p95),
            ratio_is: "p95 ours / p95 floor, by rounds",
            samples: sum(rounds, "/video/received"),
            more: more.as_object().cloned().unwrap_or_default(),
            ..Row::default()
        }
    };
    Target {
        number: "P3",
        what: "video latency of a 720p call through one effect, encoder of the sender to decoder of the receiver",
        rows: measured.iter().map(row).collect(),
    }
}

fn audio_latency(measured: &Measured) -> Target {
    let row = |(kind, rounds, _): &(Kind, Vec<Round>, Option<f64>)| {
        let p95 = |r: &Round| Some(reported(r, "/audio/latency_ms/p95")? / r.audio.latency_ms.p95?);
        let more = json!({
            "p99_ms": over(rounds, |r| reported(r, "/audio/latency_ms/p99")),
            "packets": {
                "sent": sum(rounds, "/audio/sent"), "received": sum(rounds, "/audio/received"),
                "lost": sum(rounds, "/audio/lost"), "concealed": sum(rounds, "/audio/concealed"),
            },
            "stages_ms": stages(rounds, "/audio/stages"),
        });
        Row {
            name: format!("{} ms a packet, beside {} video", kind.audio_frame, kind.codec),
            unit: "ms",
            ours: percentiles(rounds, "audio"),
            floor: vec![
                ("p50", over(rounds, |r| r.audio.latency_ms.p50)),
                ("p95", over(rounds, |r| r.audio.latency_ms.p95)),
            ],
            floor_is: "the same work in one process: one packet's length, two codec look-aheads of 6.5 ms, the work",
            rival_is: "Chromium: the page does not measure sound's way",
            ratio: ratio(rounds, p95),
            ratio_is: "p95 ours / p95 floor, by rounds",
            samples: sum(rounds, "/audio/ticks/received"),
            more: more.as_object().cloned().unwrap_or_default(),
            ..Row::default()
        }
    };
    Target {
        number: "P4",
        what: "audio latency of the same calls, sample out to sample in, codec look-ahead included",
        rows: measured.iter().map(row).collect(),
    }
}

fn processor(measured: &Measured) -> Target {
    let floor =
        |r: &Round| r.video.cpu_worker_percent + r.audio.cpu_worker_percent + r.echo.cpu_percent;
    let row = |(kind, rounds, _): &(Kind, Vec<Round>, Option<f64>)| {
        let more = json!({
            "router_percent": over(rounds, |r| Some(r.cpu_router)),
            "workers_percent": over(rounds, |r| Some(r.cpu - r.cpu_router)),
            "one_process_percent": over(rounds, |r| Some(r.video.cpu_worker_percent + r.audio.cpu_worker_percent)),
            "echo_percent": over(rounds, |r| Some(r.echo.cpu_percent)),
            "one_process_ms_a_frame": {
                "decode": over(rounds, |r| r.video.decode_ms.mean),
                "effect": over(rounds, |r| r.video.effect_ms.mean),
                "encode": over(rounds, |r| r.video.encode_ms.mean),
            },
        });
        Row {
            name: format!("{}, {} ms sound", kind.codec, kind.audio_frame),
            unit: "% of a core",
            ours: vec![("median", over(rounds, |r| Some(r.cpu)))],
            floor: vec![("median", over(rounds, |r| Some(floor(r))))],
            floor_is: "one process (decode, effect, encode of picture and sound) + a bare echo",
            ratio: ratio(rounds, |r| Some(r.cpu / floor(r))),
            ratio_is: "ours / floor, by rounds; wanted at most 1.15",
            samples: rounds.len() as u64,
            more: more.as_object().cloned().unwrap_or_default(),
            ..Row::default()
        }
    };
    Target {
        number: "P5",
        what: "processor time of router and workers, spares included, in a 720p30 call with sound",
        rows: measured.iter().map(row).collect(),
    }
}

/// One call, then five, by a router of its own.
fn memory(options: &Options) -> Target {
    eprintln!("bench: memory of one call, and of {SEVERAL}");
    let router = Router::start(None);
    router.wait("spares", |sessions| {
        let workers = sessions["workers"].as_array()?;
        (workers.len() >= 2 && workers.iter().all(|w| w["state"] == "spare")).then_some(())
    });
    let idle = Memory::of(&router);
    let seconds = options.round_seconds.max(6).to_string();
    let held = |peers: usize| {
        // The pattern: five clips in memory would be a gigabyte.
        let arguments =
            ["--video", "pattern", "--size", "1280x720", "--fps", FEW, "--seconds", &seconds];
        let calls: Vec<Call> = (0..peers).map(|_| router.call(&arguments)).collect();
        router.wait("everybody's pictures", |sessions| {
            let sessions = sessions["sessions"].as_array()?;
            let live = sessions.iter().filter(|s| {
                s["tasks"].as_array().into_iter().flatten().any(|t| {
                    t["task"].as_str().is_some_and(|name| name.starts_with("encode vp8"))
                        && t["published"].as_u64() >= Some(5)
                })
            });
            (live.count() >= peers).then_some(())
        });
        let memory = Memory::of(&router);
        calls.into_iter().for_each(|call| drop(call.report()));
        router.wait_for_sessions(0);
        memory
    };
    let (one, several) = (held(1), held(SEVERAL));
    let of = |value: Option<f64>| value.unwrap_or(f64::NAN);
    let row = |name: &str, value: f64, rival: Figures, rival_is| Row {
        name: name.into(),
        unit: "MB PSS",
        ours: vec![("value", value)],
        rival,
        rival_is,
        samples: 1,
        ..Row::default()
    };
    let growth = (of(several.router) - of(one.router)) / (SEVERAL - 1) as f64;
    Target {
        number: "P11",
        what: "memory, shared memory included (proportional set size)",
        rows: vec![
            row(
                "a 720p session: its workers, and what the router grew by",
                of(one.workers) + of(one.router) - of(idle.router),
                Vec::new(),
                "none on this machine",
            ),
            row("its two workers", of(one.workers), Vec::new(), ""),
            row("router without a call", of(idle.router), Vec::new(), ""),
            row("router, one peer", of(one.router), Vec::new(), ""),
            row("router, each further peer (of five)", growth, Vec::new(), ""),
            row(
                "workers of a session, of five",
                of(several.workers) / SEVERAL as f64,
                Vec::new(),
                "",
            ),
            row("spares", of(idle.spares), Vec::new(), ""),
        ],
    }
}
