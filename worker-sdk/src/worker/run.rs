//! A worker's main thread: one loop over the control socket, the task threads' notes, signals and the heartbeat.

use super::attach::connect;
use super::control::{Control, Note, Outbox, Router};
use super::mark::Marks;
use super::process::{self, StartFault};
use super::sandbox::{self, Limits, Part, Policy, Sandbox};
use super::session::{Ended, Session};
use super::task::SharedFactory;
use super::{Command, Factory};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control::{Attach, Encoding, Namespace, Role, ToRouter, ToWorker};
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// The router counts a worker as hung when ten of these are missing.
const BEAT: Duration = Duration::from_millis(100);
/// Threads that have not ended so long after `Drain` are left to the process's end (the router waits for 250 ms).
const DRAIN: Duration = Duration::from_millis(200);
/// Sessions that one worker serves at most; DESIGN's default is one (chosen).
const MAX_SESSIONS: usize = 64;

/// How long an attached program waits for the router to take it out before it ends all the same (chosen).
const DETACH: Duration = Duration::from_secs(2);

/// Runs a worker until the router drains it or goes away; `main` of a worker returns what this gives.
///
/// It takes the socket that the router left, says hello as `role` under `name`, tells the factory's catalogue, and
/// serves. It returns only when it cannot begin; otherwise the process leaves from here without running destructors:
/// 0 after a drain or when the router is gone, 1 when something failed. To be called from `main` before any thread is
/// started: where the router wants it, the process locks itself into its session ([`super::sandbox`]), and a thread that
/// stands already would be outside.
pub fn run(role: Role, name: &str, factory: impl Factory + 'static) -> ExitCode {
    serve(name, Server::start(role, name, Box::new(factory)))
}

/// Attaches to a running router ([`super::connect`] says which) and runs until SIGTERM or Ctrl-C, when it detaches, or
/// until the router is gone or takes it out.
///
/// `main` returns what this gives: 0 after detaching, 1 when the router refused or is gone. To be called before any
/// thread is started.
pub fn attach(name: &str, wish: Attach, factory: impl Factory + 'static) -> ExitCode {
    attach_boxed(name, wish, Box::new(factory))
}

/// As [`attach`], to the router at the other end of this socket.
pub fn attach_over(
    socket: UnixStream,
    name: &str,
    wish: Attach,
    factory: impl Factory + 'static,
) -> ExitCode {
    serve(name, Server::attach(socket, name, wish, Box::new(factory)))
}

pub(super) fn run_boxed(role: Role, name: &str, factory: Box<dyn Factory>) -> ExitCode {
    serve(name, Server::start(role, name, factory))
}

pub(super) fn attach_boxed(name: &str, wish: Attach, factory: Box<dyn Factory>) -> ExitCode {
    let socket = connect().map_err(StartFault::from);
    serve(name, socket.and_then(|socket| Server::attach(socket, name, wish, factory)))
}

fn serve(name: &str, server: Result<Server, StartFault>) -> ExitCode {
    let mut server = match server {
        Ok(server) => server,
        Err(fault) => {
            // Its user sees this on the terminal; a worker has no other way to tell before the hello.
            tracing::error!(%fault, worker = name, "cannot start");
            eprintln!("{name}: {fault}");
            let wrongly = matches!(fault, StartFault::NoSocket(..));
            return ExitCode::from(if wrongly { 2 } else { 1 });
        }
    };
    match catch_unwind(AssertUnwindSafe(|| server.serve())) {
        Ok(Ok(())) => process::leave(0),
        Ok(Err(fault)) => {
            tracing::error!(%fault, worker = name, "the worker ends");
            if server.attached {
                eprintln!("{name}: {fault}");
            }
            process::leave(1)
        }
        Err(_) => process::leave(1),
    }
}

struct Server {
    control: Control,
    signals: SignalFd,
    outbox: Arc<Outbox>,
    factory: SharedFactory,
    marks: Arc<Marks>,
    sessions: BTreeMap<SessionId, Session>,
    policy: Policy,
    limits: Limits,
    /// The session that it locked itself into, if it did; it can never open another.
    locked: Option<SessionId>,
    next_beat: Instant,
    beats: u64,
    draining: Option<Instant>,
    /// It came by itself, and asks before it goes.
    attached: bool,
    detaching: Option<Instant>,
    denied: Option<String>,
}

impl Server {
    fn start(role: Role, name: &str, factory: Box<dyn Factory>) -> Result<Self, StartFault> {
        // In this order: no thread before the signal mask, nothing to lose before the parent is known to live.
        let signals = process::signals(true)?;
        let policy = Policy::told().map_err(StartFault::Sandbox)?;
        let socket = process::control_socket()?;
        let marks = process::marks();
        process::harden()?;
        sandbox::limit_memory(factory.limits().memory);
        let mut control = Control::greet(socket, role, name, Encoding::Bincode)?;
        control.say(&ToRouter::Catalogue(factory.catalogue()));
        Self::new(control, signals, marks, policy, factory)
    }

    fn attach(
        socket: UnixStream,
        name: &str,
        wish: Attach,
        factory: Box<dyn Factory>,
    ) -> Result<Self, StartFault> {
        let signals = process::signals(false)?;
        let mut control = Control::greet(socket, Role::Custom, name, Encoding::Json)?;
        control.say(&ToRouter::Catalogue(factory.catalogue()));
        control.say(&ToRouter::Attach(wish));
        // A program that came by itself is its user's affair: it is never locked.
        Ok(Self { attached: true, ..Self::new(control, signals, None, Policy::Off, factory)? })
    }

    fn new(
        control: Control,
        signals: SignalFd,
        marks: Option<File>,
        policy: Policy,
        factory: Box<dyn Factory>,
    ) -> Result<Self, StartFault> {
        let limits = factory.limits();
        Ok(Self {
            control,
            signals,
            outbox: Arc::new(Outbox::new()?),
            factory: Arc::new(Mutex::new(factory)),
            marks: Marks::new(marks),
            sessions: BTreeMap::new(),
            policy,
            limits,
            locked: None,
            next_beat: Instant::now(),
            beats: 0,
            draining: None,
            attached: false,
            detaching: None,
            denied: None,
        })
    }

    /// Until it is drained or the router is gone.
    fn serve(&mut self) -> Result<(), StartFault> {
        loop {
            self.wait();
            let mut messages = Vec::new();
            let router = self.control.read(|message| messages.push(message))?;
            for message in messages {
                self.obey(message);
            }
            if let Some(why) = self.denied.take() {
                return Err(StartFault::Denied(why));
            }
            if router == Router::Gone {
                // What the router started has nothing to live for; what attached has somebody to tell.
                let left = !self.attached || self.detaching.is_some() || self.draining.is_some();
                return if left { Ok(()) } else { Err(StartFault::Gone) };
            }
            if let Ok(Some(_)) = self.signals.read_signal() {
                self.end();
            }
            if self.detaching.is_some_and(|since| since.elapsed() >= DETACH) {
                return Ok(());
            }
            self.pass_on();
            self.beat();
            if let Some(since) = self.draining
                && (self.sessions.is_empty() || since.elapsed() >= DRAIN)
            {
                self.control.say(&ToRouter::Drained);
                self.control.finish();
                return Ok(());
            }
        }
    }

    fn wait(&mut self) {
        self.control.flush();
        let mut wanted = PollFlags::POLLIN;
        if self.control.unsent() {
            wanted |= PollFlags::POLLOUT;
        }
        let mut fds = [
            PollFd::new(self.control.as_fd(), wanted),
            PollFd::new(self.outbox.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
        ];
        let left = self.next_beat.saturating_duration_since(Instant::now());
        let limit = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        // An interrupted wait is a round for nothing.
        let _ = poll(&mut fds, PollTimeout::from(limit));
    }

    fn obey(&mut self, message: ToWorker) {
        match message {
            ToWorker::Assign { session, namespace } => self.assign(session, &namespace),
            ToWorker::Prepare { session, epoch, changes } => {
                let said = match self.sessions.get_mut(&session) {
                    Some(session) => session.prepare(epoch, changes),
                    None => {
                        let error = "the session is not assigned to this worker".into();
                        Some(ToRouter::Refused { session, epoch, error })
                    }
                };
                self.say(said);
            }
            ToWorker::Switch { session, epoch } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.switch(epoch);
                }
            }
            ToWorker::Abandon { session, epoch } => {
                if let Some(session) = self.sessions.get_mut(&session) {
                    session.abandon_epoch(epoch);
                }
            }
            ToWorker::Keyframe { session, channel, .. } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.command_writer(channel, &Command::Keyframe);
                }
            }
            ToWorker::Bitrate { session, channel, bits_per_second, .. } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.command_writer(channel, &Command::Bitrate(bits_per_second));
                }
            }
            ToWorker::Params { session, node, params, request } => {
                match self.sessions.get(&session) {
                    Some(session) => session.params(&node, &params, request),
                    None => {
                        let error = Some("the session is not assigned to this worker".into());
                        self.say(Some(ToRouter::Applied { session, request, error }));
                    }
                }
            }
            ToWorker::Release { session } => match self.sessions.get_mut(&session) {
                Some(found) => {
                    found.release();
                    self.bury();
                    // It came for this session alone.
                    if self.attached {
                        self.drain();
                    }
                }
                None => self.say(Some(ToRouter::Released { session })),
            },
            ToWorker::Repeat { session, channel, media_time_ns, .. } => {
                if let Some(session) = self.sessions.get(&session) {
                    session.repeat(channel, media_time_ns);
                }
            }
            ToWorker::Drain => self.drain(),
            ToWorker::Denied { error } => self.denied = Some(error),
            // A steward's, and an operator's.
            ToWorker::Create { .. } | ToWorker::Forget { .. } | ToWorker::Done => {}
        }
    }

    /// A signal asked it to end.
    fn end(&mut self) {
        if self.attached && self.detaching.is_none() && self.draining.is_none() {
            // Taken out at an epoch, so that nobody misses it; `Release` comes then.
            self.detaching = Some(Instant::now());
            self.control.say(&ToRouter::Detach);
        } else {
            self.drain();
        }
    }

    fn assign(&mut self, id: SessionId, namespace: &Namespace) {
        let refused = if self.sessions.contains_key(&id) {
            "it is assigned already".to_owned()
        } else if self.sessions.len() >= MAX_SESSIONS {
            format!("a worker serves {MAX_SESSIONS} sessions at most")
        } else if let Some(first) = &self.locked {
            format!("this worker has locked itself into the session `{first}`: it serves no other")
        } else {
            let factory = Arc::clone(&self.factory);
            let outbox = Arc::clone(&self.outbox);
            let marks = Arc::clone(&self.marks);
            match Session::open(id.clone(), namespace, factory, outbox, marks) {
                // With the namespace open, and before any task's thread.
                Ok(session) => match self.lock(&id, Path::new(&namespace.root)) {
                    Ok(sandbox) => {
                        self.sessions.insert(id.clone(), session);
                        return self.say(Some(ToRouter::Assigned { session: id, sandbox }));
                    }
                    Err(open) => format!("the worker cannot lock itself in: {open}"),
                },
                Err(fault) => fault.to_string(),
            }
        };
        self.say(Some(ToRouter::Unassigned { session: id, error: refused }));
    }

    fn lock(&mut self, id: &SessionId, root: &Path) -> Result<Sandbox, sandbox::Open> {
        let locked = sandbox::lock(self.policy, Part::Opens, root, self.limits);
        // Half a lock cannot be taken off either.
        if !matches!(locked, Ok(Sandbox { landlock: 0, seccomp: false })) {
            self.locked = Some(id.clone());
        }
        locked
    }

    /// What the task threads have to say.
    fn pass_on(&mut self) {
        for note in self.outbox.take() {
            match note {
                Note::ToRouter(message) if self.control.congested() => {
                    tracing::debug!(?message, "the router does not read; a message is dropped");
                }
                Note::ToRouter(message) => self.control.say(&message),
                Note::Made { session, epoch, task, result } => {
                    let said =
                        self.sessions.get_mut(&session).and_then(|s| s.made(epoch, task, result));
                    self.say(said);
                }
                Note::Ended { session, task, serial } => {
                    match self.sessions.get_mut(&session).map(|s| s.ended(task, serial)) {
                        Some(Ended::Asked(said)) => self.say(said),
                        // Half a session is worse than none: the router gives all of it to another worker.
                        Some(Ended::Unasked) => process::leave(1),
                        None => {}
                    }
                    self.bury();
                }
            }
        }
    }

    /// Drops what is released and ended, and says so.
    fn bury(&mut self) {
        let over: Vec<_> =
            self.sessions.iter().filter(|(_, s)| s.over()).map(|(id, _)| id.clone()).collect();
        for session in over {
            self.sessions.remove(&session);
            self.say(Some(ToRouter::Released { session }));
        }
    }

    fn drain(&mut self) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(Instant::now());
        for session in self.sessions.values_mut() {
            session.release();
        }
        self.bury();
    }

    fn beat(&mut self) {
        let now = Instant::now();
        if now < self.next_beat {
            return;
        }
        self.next_beat += BEAT;
        if self.next_beat <= now {
            // Late by more than a beat: the machine was busy, nothing is made up for.
            self.next_beat = now + BEAT;
        }
        if self.control.congested() {
            return;
        }
        let threads = self.sessions.values().flat_map(Session::beats).collect();
        self.beats += 1;
        self.control.say(&ToRouter::Heartbeat { sequence: self.beats, threads });
    }

    fn say(&mut self, message: Option<ToRouter>) {
        if let Some(message) = message {
            self.control.say(&message);
        }
    }
}
