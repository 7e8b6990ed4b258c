//! A worker is killed in mid-call: how long until processed media come again, and whether anybody else notices: P8.
//!
//! Each kill hits a call of its own, about a second after its media began to flow, so that no row of deaths opens a
//! breaker and no track is suspected twice. Beside it runs a small call of another session, the neighbour. Every few
//! kills the same two calls are made without one: what gaps such calls have by themselves is the floor.

use crate::report::{Figures, Row, Target};
use crate::stand::{self, Peer, number, spread};
use crate::watched::Router;
use crate::{Options, work};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

/// Seconds of the call that is hit: a second before the kill, two after it.
const VICTIM: u64 = 3;
/// The neighbour's: it is there before, and still there after.
const NEIGHBOUR: u64 = 5;
/// Between flowing media and the kill; and its steps, so that kills fall on every place in a frame's period (both chosen).
const SETTLE: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(7);
const STEPS: u32 = 10;
/// Kills for each call without one.
const QUIET_EVERY: usize = 5;
/// Frames that count as flowing.
const FLOWING: u64 = 10;

/// A call that is lost does not keep the next one waiting.
const HEAD: &str = "log = \"error\"\ngrace_seconds = 1.0\n";

/// Which process is killed.
struct Kind {
    role: &'static str,
    pipeline: &'static str,
}

const CODEC: Kind = Kind { role: "codec", pipeline: "bench" };
const PIPELINE: Kind = Kind { role: "pipeline", pipeline: "bench" };
const CUSTOM: Kind = Kind { role: "custom", pipeline: "custom" };

/// One call that was hit, or not, with its neighbour.
struct Round {
    victim: Value,
    neighbour: Value,
    receipt: Value,
}

impl Round {
    fn victim(&self) -> &Value {
        &self.victim
    }

    fn neighbour(&self) -> &Value {
        &self.neighbour
    }
}

/// All rounds of one kind.
#[derive(Default)]
struct Rounds {
    killed: Vec<Round>,
    quiet: Vec<Round>,
    /// Calls that ended before their time, or never began: why.
    lost: Vec<String>,
}

pub(crate) fn measure(options: &Options) -> Target {
    let moody = stand::moody();
    let custom = moody.as_deref().map(|program| {
        let node = r#"{ id = "negative", type = "Negative", worker = "moody" }"#;
        let pipeline = format!(
            "\n[pipelines.custom]\ndescription = \"An operator's own worker\"\nnodes = [{node}]\n"
        );
        stand::described(program, "session") + &pipeline
    });
    let config = |more: &str| format!("{HEAD}{}{more}", work::CONFIG);
    let with = custom.and_then(|lines| stand::start(&config(&lines)));
    let custom = with.is_some();
    let mut router = with
        .or_else(|| stand::start(&config("")))
        .expect("a router with the bench's own pipelines starts");
    let mut rows = Vec::new();
    for kind in [CODEC, PIPELINE, CUSTOM] {
        if kind.role != CUSTOM.role || custom {
            let rounds = rounds(&kind, options.kills, &mut router);
            rows.extend(rows_of(&kind, &rounds));
        }
    }
    stand::stop(router);
    Target {
        number: "P8",
        what: "kill -9 of a worker in a 720p call: until processed media come again, and what others notice",
        rows,
    }
}

fn rounds(kind: &Kind, kills: usize, router: &mut Router) -> Rounds {
    let mut rounds = Rounds::default();
    for at in 0..kills {
        eprintln!("bench: killing a {} worker, {} of {kills}", kind.role, at + 1);
        // Two rounds without a kill at the least: one at the begin, one at the end.
        let quiet = at % QUIET_EVERY == 0 || at + 1 == kills;
        for kill in [Some(true), quiet.then_some(false)].into_iter().flatten() {
            match round(kind, at, kill, router) {
                Ok(round) if kill => rounds.killed.push(round),
                Ok(round) => rounds.quiet.push(round),
                Err(why) => {
                    eprintln!("bench: a call was lost: {why}");
                    rounds.lost.push(why);
                }
            }
            router.wait_for_sessions(0);
        }
    }
    rounds
}

fn round(kind: &Kind, at: usize, kill: bool, router: &mut Router) -> Result<Round, String> {
    stand::spares(router, &["codec", "pipeline", kind.role]);
    // A name is kept for a while for whoever had it.
    let name = |who: &str| format!("{who}-{}-{at}-{kill}", kind.role);
    let (beside, hit) = (name("neighbour"), name("victim"));
    let small = ["--peer-id", &beside, "--video", "pattern", "--size", "320x180"];
    let neighbour = Peer::call(router, NEIGHBOUR, &small);
    flowing(router, &beside)?;
    let large = ["--video", "pattern", "--size", "1280x720", "--bitrate", "1500k"];
    let own = ["--peer-id", &hit, "--pipeline", kind.pipeline];
    let victim = Peer::call(router, VICTIM, &[&large[..], &own].concat());
    flowing(router, &hit)?;
    std::thread::sleep(SETTLE + STEP * (at as u32 % STEPS));
    // A spare that was on its way when the calls began has to be ready: a start of a process is not what is measured.
    stand::spares(router, &[kind.role]);
    let sessions = router.sessions();
    let session = stand::session_of(&sessions, &hit).ok_or("its session is gone")?;
    let id = session["session_id"].as_str().ok_or("its session has no id")?;
    if kill {
        let pid = stand::pid_of(session, kind.role).ok_or("its worker is not there")?;
        signal::kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(|e| format!("kill: {e}"))?;
    }
    let victim = victim.report()?;
    let neighbour = neighbour.report()?;
    let receipt =
        stand::until(router, "its receipt", |s| stand::receipt(s, id)).unwrap_or_default();
    Ok(Round { victim, neighbour, receipt })
}

fn flowing(router: &mut Router, peer: &str) -> Result<(), String> {
    let flows = stand::until(router, "media in both directions", |sessions| {
        stand::gets(stand::session_of(sessions, peer)?, peer, 2, FLOWING)
    });
    flows.ok_or_else(|| format!("no media to {peer}"))
}

const FLOOR: &str = "the longest gap of the same calls without a kill";

fn rows_of(kind: &Kind, rounds: &Rounds) -> Vec<Row> {
    let row = |name: String, who: fn(&Round) -> &Value, path: &str| {
        let values = |rounds: &[Round]| -> Vec<f64> {
            rounds.iter().filter_map(|round| number(who(round), path)).collect()
        };
        let killed = values(&rounds.killed);
        Row {
            name,
            unit: "ms",
            samples: killed.len() as u64,
            ours: figures(killed),
            floor: figures(values(&rounds.quiet)),
            floor_is: FLOOR,
            ..Row::default()
        }
    };
    let role = kind.role;
    let (video, audio) = ("/video/gap_ms/max", "/audio/gap_ms/max");
    let mut rows = vec![
        row(
            format!("{role} worker killed: last picture to next processed one"),
            Round::victim,
            video,
        ),
        row(
            format!("{role} worker killed: longest pause between packets of sound"),
            Round::victim,
            audio,
        ),
        row(
            format!("{role} worker killed: neighbour's longest pause of pictures"),
            Round::neighbour,
            video,
        ),
        row(
            format!("{role} worker killed: neighbour's longest pause of sound"),
            Round::neighbour,
            audio,
        ),
    ];
    let count = |of: &dyn Fn(&Round) -> bool| rounds.killed.iter().filter(|r| of(r)).count();
    let more = json!({
        "calls_lost": rounds.lost.len(),
        "lost_because": rounds.lost,
        // A held picture is sent again after a second: the gap of such a call is cut short by it.
        "calls_with_a_repeated_picture": count(&|r| number(&r.victim, "/video/duplicates") > Some(0.0)),
        "calls_out_of_order": count(&|r| number(&r.victim, "/video/out_of_order") > Some(0.0)),
        "pictures_lost": spread_of(&rounds.killed, "/video/lost"),
        "keyframes_received": spread_of(&rounds.killed, "/video/keyframes"),
        "ticks_lost": spread_of(&rounds.killed, "/audio/ticks/lost"),
        "packets_concealed": spread_of(&rounds.killed, "/audio/concealed"),
        "steps_ms": steps(kind, &rounds.killed),
    });
    if let (Value::Object(more), Some(first)) = (more, rows.first_mut()) {
        first.more = more;
    }
    rows
}

fn figures(values: Vec<f64>) -> Figures {
    if values.is_empty() {
        return Figures::new();
    }
    spread(values, ("p95", 0.95))
}

fn object(values: Vec<f64>) -> Value {
    figures(values).into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn spread_of(rounds: &[Round], path: &str) -> Value {
    object(rounds.iter().filter_map(|round| number(&round.victim, path)).collect())
}

/// The router's own account of each recovery, where its receipts have one: how much of it was waiting for a worker, for
/// the wiring, for the sender's keyframe.
fn steps(kind: &Kind, rounds: &[Round]) -> Value {
    let mut steps: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for round in rounds {
        let recoveries = round.receipt["recoveries"].as_array().into_iter().flatten();
        for recovery in recoveries.filter(|r| r["role"] == kind.role) {
            for (name, value) in recovery.as_object().into_iter().flatten() {
                if let (Some(name), Some(ms)) = (name.strip_suffix("_ms"), value.as_f64()) {
                    steps.entry(name.to_owned()).or_default().push(ms);
                }
            }
        }
    }
    if steps.is_empty() {
        return Value::Null;
    }
    let steps: Map<String, Value> =
        steps.into_iter().map(|(name, values)| (name, object(values))).collect();
    Value::Object(steps)
}
