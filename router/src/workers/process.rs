//! Starts worker processes, all from one thread that lives as long as the router.
//!
//! The parent-death signal that a worker asks for fires when the *thread* that forked it ends, so a thread of a pool
//! must never start one. Each child gets its end of a socket pair and the file for its marks, no other descriptor, a session of its
//! own signals-wise (Ctrl-C goes to the router, which drains), and is watched by tokio through a pidfd.

use super::WorkerId;
use super::marks::Marks;
use super::program::Program;
use command_fds::{CommandFdExt, FdMapping};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::sync::mpsc as thread_mpsc;
use tokio::process::Child;
use tokio::sync::mpsc;

/// The descriptor under which a worker finds its control socket.
pub const CONTROL_FD: i32 = 3;
/// The descriptor under which it finds the file for its marks.
pub const MARKS_FD: i32 = 4;
/// The descriptor under which a steward finds its stream of access units.
pub const DATA_FD: i32 = 5;

/// A request to the launcher.
#[derive(Debug)]
pub struct Start {
    /// Under this id.
    pub worker: WorkerId,
    /// What is started.
    pub program: Program,
}

/// What became of it.
#[derive(Debug)]
pub struct Started {
    /// From the request.
    pub worker: WorkerId,
    /// What was started.
    pub result: std::io::Result<Process>,
}

/// A process that was started.
#[derive(Debug)]
pub struct Process {
    /// Itself.
    pub child: Child,
    /// Our end of its control socket.
    pub control: UnixStream,
    /// What it marks.
    pub marks: Marks,
    /// Our end of its stream of access units, where it has one.
    pub data: Option<UnixStream>,
}

/// The launcher's thread; ends when the handle is dropped.
#[derive(Debug)]
pub struct Launcher {
    requests: Option<thread_mpsc::Sender<Start>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Launcher {
    /// Starts the thread; answers go to `started`.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn new(started: mpsc::UnboundedSender<Started>) -> std::io::Result<Self> {
        let (requests, inbox) = thread_mpsc::channel::<Start>();
        let runtime = tokio::runtime::Handle::current();
        let thread = std::thread::Builder::new().name("launcher".into()).spawn(move || {
            let _in_runtime = runtime.enter();
            while let Ok(request) = inbox.recv() {
                let result = start(&request);
                if started.send(Started { worker: request.worker, result }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests: Some(requests), thread: Some(thread) })
    }

    /// Asks for a process. How many are asked for is the supervisor's bound.
    pub fn start(&self, request: Start) {
        if let Some(requests) = &self.requests {
            // The receiver lives until drop.
            let _ = requests.send(request);
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn start(request: &Start) -> std::io::Result<Process> {
    let (ours, theirs) = UnixStream::pair()?;
    let (marks, marks_fd) = Marks::new()?;
    let program = &request.program;
    ours.set_nonblocking(true)?;
    let mut command = Command::new(&program.path);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .args(&program.arguments)
        .env_clear()
        .envs(&program.environment)
        .env("REMOTEMEDIA_CONTROL_FD", CONTROL_FD.to_string())
        .env("REMOTEMEDIA_MARKS_FD", MARKS_FD.to_string())
        .env("REMOTEMEDIA_SANDBOX", program.sandbox.name())
        .env("REMOTEMEDIA_ROUTER_PID", std::process::id().to_string());
    for kept in ["RUST_LOG", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    let mut descriptors = vec![
        FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: CONTROL_FD },
        FdMapping { parent_fd: marks_fd, child_fd: MARKS_FD },
    ];
    let mut data = None;
    if program.data {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        command.env("REMOTEMEDIA_DATA_FD", DATA_FD.to_string());
        descriptors.push(FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: DATA_FD });
        data = Some(ours);
    }
    command
        .fd_mappings(descriptors)
        .map_err(|collision| std::io::Error::other(collision.to_string()))?;
    let mut command = tokio::process::Command::from(command);
    // A dropped handle must not leave a process behind.
    command.kill_on_drop(true);
    Ok(Process { child: command.spawn()?, control: ours, marks, data })
}
