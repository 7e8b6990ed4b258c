//! `remotemedia ps`: the router's processes, and how long frames take from stage to stage.

use super::Failure;
use super::table::{cell, decimal, json, list, megabytes, print, table};
use super::target::{Router, Target};
use procfs::process::Process;
use serde_json::{Value, json};
use std::fmt::Write;

/// Show a running router's processes and how long frames take from stage to stage.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

impl Args {
    pub(super) fn json(&self) -> bool {
        self.target.json
    }
}

pub(super) async fn run(args: &Args) -> Result<(), Failure> {
    let router = args.target.find()?;
    let all = router.get("/api/sessions").await?;
    let info = router.get("/api/info").await?;
    let processes = processes(&router, &info, &all);
    if args.target.json {
        let mut out = all;
        if let Some(object) = out.as_object_mut() {
            object.insert("router".into(), json!({"url": router.url, "info": info}));
            object.insert("processes".into(), Value::Array(processes));
        }
        return json(&out);
    }
    print(&text(&router.url, &processes, &all))
}

/// The router and its workers; memory and processor time where they run on this machine.
fn processes(router: &Router, info: &Value, all: &Value) -> Vec<Value> {
    let pid = info.get("pid").and_then(Value::as_u64);
    // Found by its record it runs here; by URL its pids may be another machine's.
    let here = router.record.as_ref().is_some_and(|r| Some(u64::from(r.pid)) == pid);
    let own = json!({"name": "router", "role": "router", "pid": pid, "state": "running"});
    let workers = list(all, "workers").iter().cloned();
    let mut rows: Vec<Value> = std::iter::once(own).chain(workers).collect();
    if here {
        for row in &mut rows {
            let pid =
                row.get("pid").and_then(Value::as_u64).and_then(|pid| i32::try_from(pid).ok());
            let measured = pid.and_then(|pid| Process::new(pid).ok()).map(|p| measure(&p));
            if let (Some(object), Some((pss, seconds))) = (row.as_object_mut(), measured) {
                object.insert("pss_bytes".into(), json!(pss));
                object.insert("cpu_seconds".into(), json!(seconds));
            }
        }
    }
    rows
}

/// Proportional memory and processor time so far; none for a process that just ended.
#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
fn measure(process: &Process) -> (Option<u64>, Option<f64>) {
    let rollup = process.smaps_rollup().ok();
    let pss = rollup.and_then(|r| {
        let map = r.memory_map_rollup.into_iter().next()?;
        map.extension.map.get("Pss").copied()
    });
    let ticks = procfs::ticks_per_second() as f64;
    let seconds = process.stat().ok().map(|stat| (stat.utime + stat.stime) as f64 / ticks);
    (pss, seconds)
}

fn text(url: &str, processes: &[Value], all: &Value) -> String {
    let sessions = list(all, "sessions");
    let mut out = format!("router at {url}\n");
    let bytes = |place: &str| all.pointer(place).and_then(Value::as_u64).map(megabytes);
    if let (Some(reserved), Some(free)) =
        (bytes("/shared_memory/reserved"), bytes("/shared_memory/free"))
    {
        let _ = writeln!(out, "shared memory: {reserved} MB reserved by sessions, {free} MB free");
    }
    out.push('\n');
    let mut table =
        table(&["NAME", "ROLE", "PID", "STATE", "SESSION", "LOCKED BY", "PSS MB", "CPU S"]);
    for row in processes {
        let lock = sessions.iter().flat_map(|session| list(session, "workers"));
        let lock = lock.filter(|worker| worker.get("pid") == row.get("pid")).find_map(lock_of);
        let pss = row.get("pss_bytes").and_then(Value::as_u64);
        table.add_row([
            cell(row, "name"),
            cell(row, "role"),
            cell(row, "pid"),
            cell(row, "state"),
            cell(row, "session"),
            lock.unwrap_or_else(|| "-".into()),
            pss.map_or_else(|| "-".into(), megabytes),
            decimal(row.get("cpu_seconds")),
        ]);
    }
    out.push_str(&table.to_string());
    for session in sessions {
        let id = cell(session, "session_id");
        let (pipeline, state) = (cell(session, "pipeline"), cell(session, "state"));
        // Writing to a String cannot fail.
        let _ = write!(out, "\n\nsession {id} ({pipeline}, {state})");
        let bytes = |place: &str| session.pointer(place).and_then(Value::as_u64).map(megabytes);
        if let (Some(used), Some(reserved)) =
            (bytes("/shared_memory/used"), bytes("/shared_memory/reserved"))
        {
            let _ = write!(out, ", shared memory {used} MB used of {reserved} MB reserved");
        }
        if let Some(nodes) = nodes(session) {
            out.push('\n');
            out.push_str(&nodes);
        }
        if let Some(stages) = stages(session) {
            out.push('\n');
            out.push_str(&stages);
        }
    }
    out
}

/// What locks a worker into its session; none before it said so.
fn lock_of(worker: &Value) -> Option<String> {
    let abi = worker.pointer("/sandbox/landlock").and_then(Value::as_u64)?;
    let seccomp = worker.pointer("/sandbox/seccomp").and_then(Value::as_bool)?;
    Some(match (abi, seccomp) {
        (0, false) => "nothing".into(),
        (0, true) => "seccomp".into(),
        (abi, false) => format!("landlock {abi}"),
        (abi, true) => format!("landlock {abi}, seccomp"),
    })
}

/// The nodes and whatever else has a state, with the last error of each; and what is attached.
fn nodes(session: &Value) -> Option<String> {
    let mut table = table(&["NODE", "STATE", "LAST ERROR"]);
    let mut shown = Vec::new();
    for node in list(session, "nodes") {
        shown.push(cell(node, "id"));
        table.add_row([cell(node, "id"), cell(node, "state"), cell(node, "error")]);
    }
    let states = session.get("node_states").and_then(Value::as_object);
    for (name, state) in states.into_iter().flatten().filter(|(name, _)| !shown.contains(name)) {
        let error = session.get("node_errors").and_then(|errors| errors.get(name));
        let text = |value: Option<&Value>| {
            let text = value.and_then(Value::as_str).unwrap_or("-");
            text.chars().filter(|c| !c.is_control()).collect::<String>()
        };
        let name = name.chars().filter(|c| !c.is_control()).collect();
        table.add_row([name, text(Some(state)), text(error)]);
    }
    for program in list(session, "attached") {
        let of = format!("{} {}", cell(program, "what"), cell(program, "of"));
        table.add_row([cell(program, "name"), of, "-".into()]);
    }
    (!table.is_empty()).then(|| table.to_string())
}

/// Milliseconds from each stage to the next; none while no frame came out.
fn stages(session: &Value) -> Option<String> {
    let mut table = table(&["MEDIA", "STAGE", "P50 MS", "P95 MS"]);
    for media in ["video", "audio"] {
        let stages = session.get("stages").and_then(|s| s.get(media)).and_then(Value::as_object);
        let mut stages: Vec<_> = stages.into_iter().flatten().collect();
        stages.sort_by_key(|(name, _)| order(name));
        for (name, times) in stages {
            table.add_row([
                media.to_owned(),
                name.chars().filter(|c| !c.is_control()).collect(),
                decimal(times.get("p50")),
                decimal(times.get("p95")),
            ]);
        }
    }
    (!table.is_empty()).then(|| table.to_string())
}

/// In the order of a frame's way; nodes keep theirs by name.
fn order(stage: &str) -> usize {
    let known = ["received", "assembled", "decoded", "node", "encoded", "sent"];
    let kind = stage.split(':').next().unwrap_or_default();
    known.iter().position(|name| *name == kind).unwrap_or(known.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_stages_are_shown_in_the_order_of_a_frames_way() {
        let processes = [
            json!({"name": "router", "role": "router", "pid": 10, "state": "running", "pss_bytes": 12_300_000, "cpu_seconds": 1.23}),
            json!({"name": "codec-1", "role": "codec", "pid": 11, "state": "leased", "session": "s"}),
        ];
        let stage = |ms: f64| json!({"p50": ms, "p95": ms * 2.0});
        let sessions = [json!({"session_id": "s", "pipeline": "blur", "state": "active",
               "shared_memory": {"used": 9_000_000, "reserved": 40_000_000},
               "nodes": [{"id": "soft", "state": "failed", "error": "signal 6"}],
               "node_states": {"soft": "failed", "codec": "running"},
               "attached": [{"name": "meter-1", "what": "tap", "of": "rm/s/x"}],
               "workers": [{"pid": 11, "sandbox": {"landlock": 7, "seccomp": true}}],
               "stages": {
            "video": {"sent": stage(0.5), "decoded": stage(2.0), "node:blur": stage(3.0), "assembled": stage(1.0)},
            "audio": {},
        }})];
        let all = json!({"sessions": sessions, "shared_memory": {"reserved": 40_000_000, "free": 5_000_000_000_u64}});
        let text = text("http://127.0.0.1:9000", &processes, &all);
        assert!(text.contains("40.0 MB reserved by sessions, 5000.0 MB free"), "{text}");
        let words: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert!(
            words.contains(&vec!["router", "router", "10", "running", "-", "-", "12.3", "1.2"]),
            "{text}"
        );
        let codec =
            ["codec-1", "codec", "11", "leased", "s", "landlock", "7,", "seccomp", "-", "-"];
        assert!(words.contains(&codec.to_vec()), "{text}");
        assert!(words.contains(&vec!["soft", "failed", "signal", "6"]), "{text}");
        assert!(words.contains(&vec!["codec", "running", "-"]), "{text}");
        assert!(words.contains(&vec!["meter-1", "tap", "rm/s/x", "-"]), "{text}");
        let stages: Vec<&str> =
            words.iter().filter(|w| w.first() == Some(&"video")).map(|w| w[1]).collect();
        assert_eq!(stages, ["assembled", "decoded", "node:blur", "sent"], "{text}");
    }

    #[test]
    fn this_process_can_be_measured() {
        let own = Process::myself().expect("ourselves");
        let (pss, seconds) = measure(&own);
        assert!(pss.is_some_and(|pss| pss > 100_000), "{pss:?}");
        assert!(seconds.is_some());
    }
}
