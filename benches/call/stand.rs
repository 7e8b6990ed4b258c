//! What the benches of sessions stand on: a router with a config of their own, whose leavings are watched, the operator's
//! worker that they describe to it, and native peers that do not outlive them.

use crate::report::Figures;
use crate::report::interval::percentile;
use crate::watched::{LIMIT, Router};
use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::Child;
use std::time::{Duration, Instant};

/// How often the router is asked while something is waited for: each question makes it ask all its sessions.
const LOOK: Duration = Duration::from_millis(50);

/// The example program with nodes of all moods, if it is built: `cargo build --release -p remotemedia-worker --example
/// moody` puts it beside the folder that this program is in.
pub(crate) fn moody() -> Option<PathBuf> {
    let own = std::env::current_exe().ok()?;
    let program = own.parent()?.parent()?.join("examples").join("moody");
    if program.is_file() {
        return Some(program);
    }
    eprintln!(
        "bench: {} is not there; rows of a custom worker are left out (cargo build --release -p remotemedia-worker \
         --example moody)",
        program.display()
    );
    None
}

/// The lines of the config that describe it.
pub(crate) fn described(program: &std::path::Path, isolation: &str) -> String {
    let path = program.display();
    format!("\n[workers.moody]\ncommand = \"{path}\"\nisolation = \"{isolation}\"\n")
}

/// A router with this config; none where it does not take it, which it says on its way out.
pub(crate) fn start(config: &str) -> Option<Router> {
    let router = catch_unwind(AssertUnwindSafe(|| Router::with(config, &[])));
    router.inspect_err(|_| eprintln!("bench: no router with this config:\n{config}")).ok()
}

/// Ends a router in order; what it leaves is told, and does not end the bench.
pub(crate) fn stop(router: Router) {
    let stopped = catch_unwind(AssertUnwindSafe(|| router.stop()));
    if stopped.is_err() {
        eprintln!("bench: the router's end was not in order; why stands above");
    }
}

/// Waits until this is so of the router's sessions.
pub(crate) fn until<T>(
    router: &mut Router,
    what: &str,
    look: impl Fn(&Value) -> Option<T>,
) -> Option<T> {
    let begin = Instant::now();
    while begin.elapsed() < LIMIT {
        if let Some(found) = look(&router.sessions()) {
            return Some(found);
        }
        std::thread::sleep(LOOK);
    }
    eprintln!("bench: never: {what}");
    None
}

/// Waits until an idle worker of each of these roles is ready.
pub(crate) fn spares(router: &mut Router, roles: &[&str]) {
    until(router, "spares", |sessions| {
        let workers = sessions["workers"].as_array()?;
        let ready =
            |role: &&str| workers.iter().any(|w| w["role"] == **role && w["state"] == "spare");
        roles.iter().all(ready).then_some(())
    });
}

/// The session that a peer is in.
pub(crate) fn session_of<'a>(sessions: &'a Value, peer: &str) -> Option<&'a Value> {
    let sessions = sessions["sessions"].as_array()?;
    sessions.iter().find(|session| member(session, peer).is_some())
}

fn member<'a>(session: &'a Value, peer: &str) -> Option<&'a Value> {
    session["members"].as_array()?.iter().find(|m| m["peer_id"] == peer)
}

/// Whether so many frames of each of its streams were sent to a peer.
pub(crate) fn gets(session: &Value, peer: &str, streams: usize, frames: u64) -> Option<()> {
    let sends = member(session, peer)?["media"]["sends"].as_array()?;
    let all = sends.iter().all(|s| s["frames"].as_u64() >= Some(frames));
    (sends.len() >= streams && all).then_some(())
}

/// The process of this role in a session.
pub(crate) fn pid_of(session: &Value, role: &str) -> Option<i32> {
    let worker = session["workers"].as_array()?.iter().find(|w| w["role"] == role)?;
    worker["pid"].as_i64()?.try_into().ok()
}

/// Pids of workers that serve somebody, and of those that are kept ready.
pub(crate) fn pids(sessions: &Value) -> (Vec<u32>, Vec<u32>) {
    let of = |leased: bool| {
        let workers = sessions["workers"].as_array().into_iter().flatten();
        workers
            .filter(|w| (w["state"] == "leased") == leased)
            .filter_map(|w| w["pid"].as_u64()?.try_into().ok())
            .collect()
    };
    (of(true), of(false))
}

/// The receipt of a session that has ended, while the router keeps it.
pub(crate) fn receipt(sessions: &Value, id: &str) -> Option<Value> {
    sessions["receipts"].as_array()?.iter().find(|r| r["session_id"] == id).cloned()
}

/// A native peer under way; it does not outlive this.
pub(crate) struct Peer {
    child: Option<Child>,
    /// It ends by itself within this.
    until: Instant,
}

impl Peer {
    /// Calls for so many seconds, with these arguments besides.
    pub(crate) fn call(router: &Router, seconds: u64, arguments: &[&str]) -> Self {
        let length = seconds.to_string();
        let all = [arguments, &["--seconds", length.as_str()]].concat();
        let until = Instant::now() + Duration::from_secs(seconds) + LIMIT;
        Self { child: Some(router.spawn_call(&all)), until }
    }

    /// Asks it to end in order, now.
    pub(crate) fn interrupt(&mut self) {
        if let Some(child) = &self.child {
            let _ = signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGINT);
        }
        self.until = Instant::now() + LIMIT;
    }

    /// Waits for its end: the report, or why there is none.
    pub(crate) fn report(mut self) -> Result<Value, String> {
        let mut child = self.child.take().ok_or("it was waited for")?;
        // Its output is a few kilobytes, which the pipe holds.
        while child.try_wait().is_ok_and(|status| status.is_none()) {
            if Instant::now() > self.until {
                let _ = child.kill();
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().map_err(|e| e.to_string())?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(format!("the peer ended with {}: {}", output.status, said.trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| format!("its report: {e}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// `p50`, another percentile and `max` of values in any order.
pub(crate) fn spread(mut values: Vec<f64>, high: (&'static str, f64)) -> Figures {
    values.sort_by(f64::total_cmp);
    let at = |share| percentile(&values, share).unwrap_or(f64::NAN);
    vec![("p50", at(0.5)), (high.0, at(high.1)), ("max", at(1.0))]
}

/// A number of a report.
pub(crate) fn number(report: &Value, path: &str) -> Option<f64> {
    report.pointer(path)?.as_f64()
}
