//! The kill matrix: whichever process of a call dies, whenever and however, the call lives and nothing remains.
//!
//! Of the three factors (who, when, how), all values of any two meet at least once: the way of dying is that of place
//! (who + when) in its list, and the one that is left over comes in mid-call. With `REMOTEMEDIA_SOAK` in the environment all
//! three meet.

use crate::media::pattern;
use crate::recovery::{generation, moody, pid};
use crate::router::{Router, eventually, kill, report};
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;
use std::sync::atomic::{AtomicU32, Ordering};

/// At which moment of the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    /// It exists, and nothing flows yet.
    Starting,
    /// Picture and sound flow.
    Calling,
    /// A second peer comes into the room.
    Joining,
    /// Its peer was told to hang up.
    Draining,
}

const MOMENTS: [When; 4] = [When::Starting, When::Calling, When::Joining, When::Draining];

/// Dead at once, by what looks like a fault of its own, hung, by what a runtime may catch once, and by an exit with 0 that
/// nobody asked for.
const WAYS: [Signal; 5] =
    [Signal::SIGKILL, Signal::SIGABRT, Signal::SIGSTOP, Signal::SIGSEGV, Signal::SIGTERM];

/// A pipeline through all three kinds of processes.
fn config() -> String {
    let command = moody();
    let negative = "{ id = \"negative\", type = \"Negative\", worker = \"moody\" }";
    let gray = "{ id = \"gray\", type = \"Grayscale\" }";
    format!(
        "[workers.moody]\ncommand = {command:?}\n[pipelines.mixed]\nnodes = [{negative}, {gray}]\n"
    )
}

/// The frames of the stream that got the fewest, of all that are sent to so many members; 0 while one is not sent yet.
fn least(session: &Value, members: usize) -> u64 {
    let all = session["members"].as_array().map(Vec::as_slice).unwrap_or_default();
    let of = |member: &Value| {
        let sends = member["media"]["sends"].as_array().filter(|sends| sends.len() == 2)?;
        sends.iter().map(|sent| sent["frames"].as_u64().unwrap_or(0)).min()
    };
    let fewest = all.iter().map(|member| of(member).unwrap_or(0)).min().unwrap_or(0);
    if all.len() == members { fewest } else { 0 }
}

/// The one session, when it is as wanted.
fn session(router: &mut Router, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        let session = router.sessions()["sessions"][0].clone();
        wanted(&session).then_some(session)
    })
}

/// One that may be gone already, or be on its way.
fn strike(pid: i32, way: Signal) {
    let send = || nix::sys::signal::kill(Pid::from_raw(pid), way);
    if way == Signal::SIGSEGV {
        // Rust's own handler takes the first for a stack that overflowed, sees that none did, and steps aside.
        eventually("a death by SIGSEGV", || send().is_err().then_some(()));
    } else {
        let _ = send();
    }
}

fn case(router: &mut Router, who: &[&str], when: When, way: Signal) {
    // A name is kept for a while for whoever had it: each case has its own.
    static CASES: AtomicU32 = AtomicU32::new(0);
    let case = CASES.fetch_add(1, Ordering::Relaxed);
    let (anna, bert, red) = (format!("anna{case}"), format!("bert{case}"), format!("red{case}"));
    let room: &[&str] = if when == When::Joining { &["--session", &red] } else { &[] };
    let peer = |router: &Router, id: &str, more: &[&str]| {
        let call = pattern("120");
        router.spawn_call(&[&call[..], room, &["--peer-id", id], more].concat())
    };
    let mut calls = vec![(&bert, peer(router, &anna, &["--pipeline", "mixed"]))];
    let struck = match when {
        When::Starting => session(router, "a session that starts", |session| {
            who.iter().all(|role| generation(session, role, 1))
        }),
        When::Calling | When::Draining => {
            session(router, "media in both directions", |session| least(session, 1) > 10)
        }
        When::Joining => {
            session(router, "the first peer", |session| session["members"][0]["connected"] == true);
            calls.push((&anna, peer(router, &bert, &[])));
            session(router, "the second peer", |session| {
                session["members"].as_array().map(Vec::len) == Some(2)
            })
        }
    };
    let pids: Vec<i32> = who.iter().map(|role| pid(&struck, role)).collect();
    if when == When::Draining {
        kill(calls[0].1.id() as i32, Signal::SIGTERM);
    }
    for pid in pids {
        strike(pid, way);
    }
    let members = calls.len();
    if when != When::Draining {
        let after = session(router, "the next generation", |session| {
            who.iter().all(|role| generation(session, role, 2))
        });
        let before = least(&after, members);
        let after = session(router, "media of the next generation", |session| {
            least(session, members) >= before + 20
        });
        assert_eq!(after["state"], "active", "{after}");
        for (_, call) in &calls {
            kill(call.id() as i32, Signal::SIGINT);
        }
    }
    for (other, call) in calls {
        let report = report(&call.wait_with_output().unwrap());
        let video = match when {
            When::Joining => &report["peers"][other.as_str()]["video"],
            _ => &report["video"],
        };
        let (got, sent) = (video["received"].as_u64().unwrap_or(0), least(&struck, members));
        // When it hangs up, what was on its way at that moment may not have come.
        let enough = if when == When::Draining { got > 0 } else { got > sent };
        assert!(enough, "{got} pictures, {sent} of them before the death: {report}");
        // A picture of before and the rest of one of after, or one without its keyframe, would show in these.
        for broken in ["out_of_order", "errors"] {
            assert_eq!(video[broken], 0, "{broken}: {report}");
        }
        // While a node that holds is away a new encoder has nothing to show again but black, which has no number.
        let black = if who.contains(&"codec") || who.contains(&"steward") { 3 } else { 0 };
        assert!(video["unreadable"].as_u64() <= Some(black), "unreadable: {report}");
    }
    let over = router.wait_for_sessions(0);
    for receipt in over["receipts"].as_array().unwrap() {
        assert_eq!(receipt["cause"], "the last peer left", "{receipt}");
        assert_eq!(receipt["left"].as_array().map(Vec::len), Some(0), "{receipt}");
    }
}

/// All cases of one kind of victim, in one router.
fn matrix(place: usize, who: &[&str]) {
    let all = std::env::var_os("REMOTEMEDIA_SOAK").is_some();
    let mut router = Router::with(&config(), &[]);
    for (moment, when) in MOMENTS.into_iter().enumerate() {
        for (way, signal) in WAYS.into_iter().enumerate() {
            let left_over = when == When::Calling && way == (place + MOMENTS.len()) % WAYS.len();
            if all || way == (place + moment) % WAYS.len() || left_over {
                // Shown when it fails: which case it was.
                println!("{who:?}, {when:?}, {signal}");
                case(&mut router, who, when, signal);
            }
        }
    }
    router.stop();
}

#[test]
fn whenever_and_however_a_codec_worker_dies_the_call_lives() {
    matrix(0, &["codec"]);
}

#[test]
fn whenever_and_however_a_pipeline_worker_dies_the_call_lives() {
    matrix(1, &["pipeline"]);
}

#[test]
fn whenever_and_however_a_custom_worker_dies_the_call_lives() {
    matrix(2, &["custom"]);
}

#[test]
fn whenever_and_however_codec_and_pipeline_workers_die_together_the_call_lives() {
    matrix(3, &["codec", "pipeline"]);
}

#[test]
fn whenever_and_however_a_steward_dies_the_call_lives() {
    matrix(4, &["steward"]);
}
