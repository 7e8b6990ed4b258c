//! The lock that a worker puts on itself when its session is assigned: what its code may do from then on, whoever wrote
//! the bitstreams that it decodes.
//!
//! Two guards, in this order, both for the rest of the process's life: Landlock (`files`) says which files may be opened,
//! seccomp (`calls`) which system calls may be made. They go on after the namespace was opened, which needs more than
//! working in it does, and before any thread is started: a thread that stands before Landlock stays free. What a session
//! needs afterwards, further services, tasks, channels and their removal, works under the lock.
//!
//! What they do not stop: sending to a datagram socket that this user may write to, by its path (Landlock can forbid it
//! from ABI 9 on, which is asked for); opening or removing what lies in `/dev/shm` under a name that can be guessed; filling
//! it; looking whether a file exists; using the processor.
//!
//! Both together take 0.4 ms, nearly all of it the building of the filters. A system call costs 10 to 70 ns more then, one
//! whose arguments are looked at 100 to 190 ns (measured; two cores, kernel 6.18).
//!
//! The router says by `REMOTEMEDIA_SANDBOX` what it wants: `off` (as when it is not set), `try`, or `require`.

mod calls;
mod files;

pub use remotemedia_shm_schema::control::Sandbox;

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::path::Path;

const VARIABLE: &str = "REMOTEMEDIA_SANDBOX";

/// What this machine has to offer: what a worker that is started here could put in force.
#[must_use]
pub fn available() -> Sandbox {
    Sandbox { landlock: files::available(), seccomp: calls::available() }
}

/// What a worker process may take of the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory of its own, in force from its start; shared memory does not count.
    pub memory: Option<u64>,
    /// Descriptors that may be open under the lock.
    pub descriptors: u64,
}

impl Default for Limits {
    /// No limit of memory, for nobody knows what a model takes; 4096 descriptors (chosen: the 128 tasks that a session may
    /// have in one worker take about 1500).
    fn default() -> Self {
        Self { memory: None, descriptors: 4096 }
    }
}

/// What the router wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// No lock.
    Off,
    /// As much of it as the machine has.
    Try,
    /// All of it, or no session.
    Require,
}

impl Policy {
    /// By the environment; another word than the three is an error: a slip must not leave the door open.
    pub(crate) fn told() -> Result<Self, String> {
        match std::env::var_os(VARIABLE) {
            None => Ok(Self::Off),
            Some(word) if word == "off" => Ok(Self::Off),
            Some(word) if word == "try" => Ok(Self::Try),
            Some(word) if word == "require" => Ok(Self::Require),
            Some(word) => Err(format!("{VARIABLE} is {word:?}; it takes off, try or require")),
        }
    }
}

/// Why the lock is not on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Open {
    #[error("{0} threads run already, and those before the lock would stay free")]
    Threads(usize),
    #[error(
        "Landlock is not in this kernel or not switched on (Linux 5.13 or later, lsm=landlock,...)"
    )]
    NoLandlock,
    #[error("Landlock: {0}")]
    Landlock(#[from] landlock::RulesetError),
    #[error("Landlock: {0}")]
    Folder(#[from] landlock::PathFdError),
    #[error("seccomp: {0}")]
    Seccomp(#[from] seccompiler::Error),
    #[error("cannot count the threads of this process: {0}")]
    Uncounted(std::io::Error),
    #[error("cannot limit the descriptors: {0}")]
    Descriptors(nix::Error),
}

/// What a process does in its session's namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Opens services.
    Opens,
    /// Makes them and takes them away: folders as well.
    Keeps,
}

/// Locks this process into a session whose namespace it has open; says what is in force.
pub(crate) fn lock(
    policy: Policy,
    part: Part,
    root: &Path,
    limits: Limits,
) -> Result<Sandbox, Open> {
    match policy {
        Policy::Off => Ok(Sandbox::default()),
        Policy::Try => {
            // A lock that other threads are outside of is not told as one; those that this thread starts are inside.
            let alone = or_warn(alone()).is_some();
            or_warn(limit_descriptors(limits.descriptors));
            let landlock = or_warn(files::restrict(part, root)).filter(|_| alone).unwrap_or(0);
            Ok(Sandbox { landlock, seccomp: or_warn(calls::restrict(part)).is_some() })
        }
        Policy::Require => {
            alone()?;
            limit_descriptors(limits.descriptors)?;
            let landlock = files::restrict(part, root)?;
            calls::restrict(part)?;
            Ok(Sandbox { landlock, seccomp: true })
        }
    }
}

/// Limits the memory of this process; without a limit it does nothing.
pub(crate) fn limit_memory(bytes: Option<u64>) {
    let Some(bytes) = bytes else { return };
    if let Err(error) = lower(Resource::RLIMIT_DATA, bytes) {
        tracing::warn!(%error, "memory is not limited");
    }
}

fn limit_descriptors(most: u64) -> Result<(), Open> {
    lower(Resource::RLIMIT_NOFILE, most).map_err(Open::Descriptors)
}

/// Both limits, so that it cannot be raised again.
fn lower(resource: Resource, most: u64) -> nix::Result<()> {
    let (_, hard) = getrlimit(resource)?;
    setrlimit(resource, hard.min(most), hard.min(most))
}

fn alone() -> Result<(), Open> {
    match std::fs::read_dir("/proc/self/task").map_err(Open::Uncounted)?.count() {
        1 => Ok(()),
        threads => Err(Open::Threads(threads)),
    }
}

fn or_warn<T>(done: Result<T, Open>) -> Option<T> {
    match done {
        Ok(done) => Some(done),
        Err(why) => {
            tracing::warn!(%why, "this worker is not locked as it should be");
            None
        }
    }
}
