//! Whom trouble hits: the router's processes, as its listing tells them.
//!
//! A role of a session is hit at most once in [`HEALED`]: twice in a row on one track or node is a conviction, five deaths
//! in a row are a failure, and both are other stories. A shared worker is one role of all its sessions, and its spare is
//! left alone: it has no other.

use super::dice::Dice;
use super::programs::What;
use super::{SHARED, members, rows, text};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::time::{Duration, Instant};

/// A process that lived so long after a death of its kind is hit again (DESIGN: 30 s are health).
const HEALED: Duration = Duration::from_secs(35);
/// What hits a worker that serves: mostly what nothing can be done against, else a hang, or what looks like its own fault.
pub const WAYS: [Signal; 5] =
    [Signal::SIGKILL, Signal::SIGKILL, Signal::SIGKILL, Signal::SIGSTOP, Signal::SIGABRT];

/// Whom a signal goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Whom {
    /// A native peer.
    Peer,
    /// A program that was attached.
    Program(What),
    /// A session's codec worker.
    Codec,
    /// A session's pipeline worker.
    Pipeline,
    /// A session's steward.
    Steward,
    /// A session's worker of the operator's.
    Custom,
    /// A worker of the operator's that serves many sessions.
    Shared,
    /// A worker that serves nobody yet.
    Spare,
}

impl Whom {
    /// Whether it is a process that the router started.
    pub fn of_router(self) -> bool {
        match self {
            Self::Peer | Self::Program(_) => false,
            Self::Codec
            | Self::Pipeline
            | Self::Steward
            | Self::Custom
            | Self::Shared
            | Self::Spare => true,
        }
    }

    /// By a session's row of it; none for what is attached, which is not the router's.
    fn of(worker: &Value) -> Option<Self> {
        match text(&worker["role"]) {
            "codec" => Some(Self::Codec),
            "pipeline" => Some(Self::Pipeline),
            "steward" => Some(Self::Steward),
            "custom" if shared(worker) => Some(Self::Shared),
            "custom" => Some(Self::Custom),
            _ => None,
        }
    }
}

fn shared(worker: &Value) -> bool {
    text(&worker["name"]).strip_prefix(SHARED).is_some_and(|number| number.starts_with('-'))
}

fn pid_of(worker: &Value) -> Option<i32> {
    i32::try_from(worker["pid"].as_i64()?).ok()
}

/// One process that may be hit.
pub struct Victim {
    /// What it is.
    pub whom: Whom,
    pid: i32,
    name: String,
    sessions: Vec<String>,
    /// Who feels it: all members of all its sessions.
    pub members: Vec<String>,
}

impl Victim {
    /// One that serves nobody yet.
    fn new(whom: Whom, pid: i32, worker: &Value) -> Self {
        let name = text(&worker["name"]).to_owned();
        Self { whom, pid, name, sessions: Vec::new(), members: Vec::new() }
    }

    /// What is hit once in a while.
    fn key(&self) -> (String, Whom) {
        let session = self.sessions.first().filter(|_| self.whom != Whom::Shared);
        (session.cloned().unwrap_or_default(), self.whom)
    }
}

impl fmt::Display for Victim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, pid {}", self.name, self.pid)?;
        if !self.sessions.is_empty() {
            write!(f, ", of {} with {}", self.sessions.join(" and "), self.members.join(", "))?;
        }
        Ok(())
    }
}

/// When whom was hit.
#[derive(Default)]
pub struct Trouble {
    hits: BTreeMap<(String, Whom), Instant>,
}

impl Trouble {
    /// A worker that serves, and that may be hit.
    pub fn worker(&self, dice: &mut Dice, listing: &Value) -> Option<Victim> {
        let mut all: BTreeMap<i32, Victim> = BTreeMap::new();
        for session in rows(&listing["sessions"]) {
            for worker in rows(&session["workers"]) {
                let (Some(whom), Some(pid)) = (Whom::of(worker), pid_of(worker)) else { continue };
                let victim = all.entry(pid).or_insert_with(|| Victim::new(whom, pid, worker));
                victim.sessions.push(text(&session["session_id"]).to_owned());
                victim.members.extend(members(session).map(str::to_owned));
            }
        }
        let healed =
            |victim: &Victim| self.hits.get(&victim.key()).is_none_or(|at| at.elapsed() >= HEALED);
        any(dice, all.into_values().filter(healed).collect())
    }

    /// A worker that serves nobody yet.
    pub fn spare(dice: &mut Dice, listing: &Value) -> Option<Victim> {
        let spare = |worker: &&Value| worker["state"] == "spare" && !shared(worker);
        let victim = |worker: &Value| Some(Victim::new(Whom::Spare, pid_of(worker)?, worker));
        any(dice, rows(&listing["workers"]).filter(spare).filter_map(victim).collect())
    }

    /// Sends the signal; whether there was somebody to be hit.
    pub fn strike(&mut self, router: i32, victim: &Victim, signal: Signal) -> bool {
        // What was listed a moment ago may be gone, and its number somebody else's.
        let hit = child_of(router, victim.pid) && kill(Pid::from_raw(victim.pid), signal).is_ok();
        if hit && victim.whom != Whom::Spare {
            self.hits.retain(|_, at| at.elapsed() < HEALED);
            self.hits.insert(victim.key(), Instant::now());
        }
        hit
    }
}

fn any(dice: &mut Dice, mut all: Vec<Victim>) -> Option<Victim> {
    let at = dice.below(all.len() as u64) as usize;
    (at < all.len()).then(|| all.swap_remove(at))
}

/// Whether this is a living child of the router; a signal to a zombie is no hit.
fn child_of(router: i32, pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    field("PPid:").is_some_and(|parent| parent == router.to_string())
        && field("State:").is_some_and(|state| !state.starts_with('Z'))
}
