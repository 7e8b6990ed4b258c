#![allow(
    unsafe_code,
    reason = "an inherited descriptor, a thread's priority, leaving without destructors"
)]
//! What a worker process does to itself at its start, and how it leaves.

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::prctl::{set_dumpable, set_pdeathsig};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigHandler, SigSet, Signal, signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::unistd::getppid;
use remotemedia_shm_schema::control::{FrameFault, HelloFault, Role};
use std::fs::File;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, Ordering};

/// How much later than audio a video thread gets the processor: at +5 it has about a third of its weight (chosen).
const VIDEO_NICENESS: libc::c_int = 5;

/// Why a worker cannot begin, or go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartFault {
    #[error(
        "this program is started by the remotemedia router, which gives it a socket: {0} is {1}"
    )]
    NoSocket(&'static str, String),
    #[error("the process that started it is gone")]
    Orphan,
    #[error("cannot {0}: {1}")]
    System(&'static str, nix::Error),
    #[error("{0}")]
    Sandbox(String),
    #[error("control socket: {0}")]
    Socket(#[from] io::Error),
    #[error(transparent)]
    Hello(#[from] HelloFault),
    #[error("the other end of the control socket is not a router but {0:?}")]
    NotTheRouter(Role),
    #[error("the router refuses: {0}")]
    Denied(String),
    #[error("the router is gone")]
    Gone,
    #[error(transparent)]
    Frame(#[from] FrameFault),
}

/// The socket that the router left us, by the descriptor that `REMOTEMEDIA_CONTROL_FD` names.
pub(crate) fn control_socket() -> Result<UnixStream, StartFault> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    inherited("REMOTEMEDIA_CONTROL_FD", &TAKEN)
}

/// The socket for access units that the router left its steward.
pub(crate) fn data_socket() -> Result<UnixStream, StartFault> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    inherited("REMOTEMEDIA_DATA_FD", &TAKEN)
}

fn inherited(variable: &'static str, taken: &AtomicBool) -> Result<UnixStream, StartFault> {
    let wrong = |why: String| StartFault::NoSocket(variable, why);
    let named = std::env::var(variable).map_err(|_| wrong("not set".into()))?;
    let number = named.parse::<RawFd>().ok().filter(|number| *number > 2);
    let Some(number) = number else {
        return Err(wrong(format!("{named:?}, not a descriptor")));
    };
    if taken.swap(true, Ordering::SeqCst) {
        return Err(wrong("taken already".into()));
    }
    // SAFETY: the descriptor is ours by the agreement with the router that the variable stands for, and the flag above
    // makes this its only owner. A number that is not open is refused by the call below.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    if let Err(e) = fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)) {
        // Not open: closing it again would be an error.
        std::mem::forget(fd);
        return Err(wrong(format!("{number}, which is not open ({e})")));
    }
    let socket = UnixStream::from(fd);
    // A file or pipe in its place has no peer.
    socket.peer_addr()?;
    Ok(socket)
}

/// Ends with the router, dumps no media, opens as many descriptors as it may.
pub(crate) fn harden() -> Result<(), StartFault> {
    set_pdeathsig(Signal::SIGKILL)
        .map_err(|e| StartFault::System("ask for the parent-death signal", e))?;
    // Asked after: a parent that died before the line above sends nothing.
    let parent = getppid();
    let told = std::env::var("REMOTEMEDIA_ROUTER_PID").ok().and_then(|pid| pid.parse().ok());
    if told.is_some_and(|pid: i32| pid != parent.as_raw()) {
        return Err(StartFault::Orphan);
    }
    set_dumpable(false).map_err(|e| StartFault::System("forbid core dumps", e))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
        .map_err(|e| StartFault::System("forbid core dumps", e))?;
    // About 44 descriptors a session of four channels; the hard limit is the administrator's word.
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
    Ok(())
}

/// The file for marks that the router left us, if it did.
pub(crate) fn marks() -> Option<File> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    let number = std::env::var("REMOTEMEDIA_MARKS_FD").ok()?.parse::<RawFd>().ok()?;
    if number <= 2 || TAKEN.swap(true, Ordering::SeqCst) {
        return None;
    }
    // SAFETY: as in `control_socket`.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    if fcntl(&fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).is_err() {
        std::mem::forget(fd);
        return None;
    }
    Some(File::from(fd))
}

/// Takes SIGTERM as a readable event, to be called before any thread is started, which inherits the mask. SIGINT goes to
/// the whole foreground group on Ctrl-C: a worker that the router started ignores it, for the router drains it then; one
/// that attached by itself takes it, and SIGHUP, as SIGTERM.
pub(crate) fn signals(started: bool) -> Result<SignalFd, StartFault> {
    let mut mask = SigSet::empty();
    mask.add(Signal::SIGTERM);
    if started {
        // SAFETY: no handler of ours is installed, the signal is ignored by the kernel.
        unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) }
            .map_err(|e| StartFault::System("ignore SIGINT", e))?;
    } else {
        mask.add(Signal::SIGINT);
        // Its terminal was closed: it detaches as by Ctrl-C.
        mask.add(Signal::SIGHUP);
    }
    mask.thread_block().map_err(|e| StartFault::System("block SIGTERM", e))?;
    SignalFd::with_flags(&mask, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)
        .map_err(|e| StartFault::System("read SIGTERM", e))
}

/// Lets this thread yield to those that work on sound.
pub(crate) fn yield_to_audio() {
    // SAFETY: a system call with plain numbers; 0 means this thread on Linux.
    let refused = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, VIDEO_NICENESS) } != 0;
    if refused {
        tracing::debug!(error = %io::Error::last_os_error(), "a video thread keeps its priority");
    }
}

/// Ends the process without running destructors: the router sweeps the namespace, and iceoryx2's destructors can hang or
/// panic when another process of the session has died.
pub(crate) fn leave(code: i32) -> ! {
    // SAFETY: it does not return, and nothing of this process is looked at afterwards.
    unsafe { libc::_exit(code) }
}
