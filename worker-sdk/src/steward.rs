//! A session's steward: the process that makes and holds its services, and carries access units between them and the
//! router.
//!
//! iceoryx2 believes what the other processes of a session write into its shared structures: a worker whose code was taken
//! over can make whoever maps them fault, spin or worse. So the router maps none of them. It speaks with one steward per
//! session over two sockets: the control socket that every worker has, and a stream of access units
//! ([`unit`](crate::schema::unit)). A steward that dies of what a worker wrote costs its session and nobody else's.
//!
//! One thread, one loop. It decodes nothing and decides nothing.

mod units;

use crate::namespace::Host;
use crate::worker::process::{self, StartFault};
use crate::worker::sandbox::{self, Limits, Part, Policy};
use crate::worker::{Control, RouterState};
use crate::{Inlet, Outlet, Wake};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control::{
    Catalogue, Change, ChannelSpec, Encoding, KeyframeReason, Namespace, Role, Sandbox, Task,
    TaskId, TaskKind, ToRouter, ToWorker,
};
use remotemedia_shm_schema::unit::UnitHead;
use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use units::{Arrived, Units};

/// The event service that the steward waits on.
pub const WAKE: &str = "wake/steward";

const BEAT: Duration = Duration::from_millis(100);
/// Frames of one channel that are handed on before the others have their turn (chosen: what a channel holds).
const BUDGET: usize = 16;
/// What it may take of the machine (chosen: it has 4 MB of its own, and a dozen descriptors a peer).
const LIMITS: Limits = Limits { memory: Some(256 << 20), descriptors: 4096 };
/// Dead processes' ports that are told at once; what is left over goes with the session.
const MAX_RESIDUE: usize = 1024;
/// The same wish for a keyframe is said again after so long only.
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(250);

/// The steward: serves the router that started this process until that lets it go or is gone. `main` returns what this
/// gives.
#[must_use]
pub fn main() -> ExitCode {
    match Steward::start().and_then(|mut steward| steward.serve()) {
        Ok(()) => process::leave(0),
        Err(fault) => {
            tracing::error!(%fault, "the steward ends");
            eprintln!("steward: {fault}");
            let wrongly = matches!(fault, StartFault::NoSocket(..));
            process::leave(if wrongly { 2 } else { 1 })
        }
    }
}

struct Enter {
    outlet: Outlet,
}

struct Exit {
    inlet: Inlet,
    /// Frames that were read and could not be handed on, since the last that was.
    missed: u64,
    asked: Option<Instant>,
}

/// A wiring that is opened and not yet in force.
struct Prepared {
    epoch: u32,
    enters: BTreeMap<TaskId, Enter>,
    exits: BTreeMap<TaskId, Exit>,
    respecs: Vec<(TaskId, ChannelSpec)>,
    removed: Vec<TaskId>,
}

/// The session that it serves.
struct Kept {
    id: SessionId,
    host: Host,
    wake: Wake,
    enters: BTreeMap<TaskId, Enter>,
    exits: BTreeMap<TaskId, Exit>,
    prepared: Option<Prepared>,
}

struct Steward {
    control: Control,
    signals: SignalFd,
    units: Units,
    kept: Option<Kept>,
    /// It has been given a session: under its lock it could open no other.
    taken: bool,
    policy: Policy,
    next_beat: Instant,
    beats: u64,
    over: bool,
}

impl Steward {
    fn start() -> Result<Self, StartFault> {
        let signals = process::signals(true)?;
        let policy = Policy::told().map_err(StartFault::Sandbox)?;
        let socket = process::control_socket()?;
        let units = Units::new(process::data_socket()?)?;
        process::harden()?;
        sandbox::limit_memory(LIMITS.memory);
        let mut control = Control::greet(socket, Role::Steward, "steward", Encoding::Bincode)?;
        control.say(&ToRouter::Catalogue(Catalogue::default()));
        let next_beat = Instant::now();
        Ok(Self {
            control,
            signals,
            units,
            kept: None,
            taken: false,
            policy,
            next_beat,
            beats: 0,
            over: false,
        })
    }

    fn serve(&mut self) -> Result<(), StartFault> {
        while !self.over {
            self.wait();
            let mut messages = Vec::new();
            let router = self.control.read(|message| messages.push(message))?;
            for message in messages {
                self.obey(message);
            }
            if router == RouterState::Gone || !self.enter()? {
                return Ok(());
            }
            if let Ok(Some(_)) = self.signals.read_signal() {
                self.over = true;
            }
            self.exit();
            self.units.flush()?;
            self.beat();
        }
        self.control.say(&ToRouter::Drained);
        self.control.finish();
        Ok(())
    }

    fn wait(&mut self) {
        self.control.flush();
        let mut orders = PollFlags::POLLIN;
        if self.control.unsent() {
            orders |= PollFlags::POLLOUT;
        }
        let mut data = PollFlags::POLLIN;
        if self.units.unsent() {
            data |= PollFlags::POLLOUT;
        }
        let left = self.next_beat.saturating_duration_since(Instant::now());
        let limit = u16::try_from(left.as_micros().div_ceil(1000)).unwrap_or(u16::MAX);
        let (orders, data) =
            (PollFd::new(self.control.as_fd(), orders), PollFd::new(self.units.as_fd(), data));
        let signals = PollFd::new(self.signals.as_fd(), PollFlags::POLLIN);
        // An interrupted wait is a round for nothing.
        let _ = match &self.kept {
            Some(kept) => {
                let frames = PollFd::new(kept.wake.as_fd(), PollFlags::POLLIN);
                poll(&mut [orders, data, signals, frames], PollTimeout::from(limit))
            }
            None => poll(&mut [orders, data, signals], PollTimeout::from(limit)),
        };
    }

    fn beat(&mut self) {
        let now = Instant::now();
        if now < self.next_beat {
            return;
        }
        self.next_beat = now + BEAT;
        self.beats += 1;
        if !self.control.congested() {
            self.control.say(&ToRouter::Heartbeat { sequence: self.beats, threads: Vec::new() });
        }
    }

    fn obey(&mut self, message: ToWorker) {
        match message {
            ToWorker::Assign { session, namespace } => {
                let said = match self.take(session.clone(), &namespace) {
                    Ok(sandbox) => ToRouter::Assigned { session, sandbox },
                    Err(error) => ToRouter::Unassigned { session, error },
                };
                self.control.say(&said);
            }
            ToWorker::Release { session } => {
                self.kept = None;
                self.control.say(&ToRouter::Released { session });
            }
            ToWorker::Drain => self.over = true,
            message => {
                if let Some(kept) = &mut self.kept
                    && let Some(said) = kept.obey(message)
                {
                    self.control.say(&said);
                }
            }
        }
    }

    /// Keeps a session, and locks itself in with it.
    fn take(&mut self, session: SessionId, namespace: &Namespace) -> Result<Sandbox, String> {
        if std::mem::replace(&mut self.taken, true) {
            return Err("a steward keeps one session".into());
        }
        let kept = Kept::open(session, namespace).map_err(|fault| fault.to_string())?;
        let root = Path::new(&namespace.root);
        let locked = sandbox::lock(self.policy, Part::Keeps, root, LIMITS);
        let sandbox =
            locked.map_err(|open| format!("the steward cannot lock itself in: {open}"))?;
        self.kept = Some(kept);
        Ok(sandbox)
    }

    /// What the router sent goes into its channels; false when the router is gone.
    fn enter(&mut self) -> Result<bool, StartFault> {
        loop {
            match self.units.next()? {
                Arrived::Unit { head, payload } => {
                    let enter = self.kept.as_mut().and_then(|kept| kept.enter_of(&head));
                    if let Some(Enter { outlet }) = enter
                        && let Ok(mut loan) = outlet.loan(payload.len())
                    {
                        loan.payload_mut().copy_from_slice(payload);
                        // Refused, it is missing in the sequence, which its reader counts.
                        let _ = loan.publish(head.meta);
                    }
                }
                Arrived::Nothing => return Ok(true),
                Arrived::Gone => return Ok(false),
            }
        }
    }

    /// What workers made goes to the router.
    fn exit(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        // Drained before the channels are read: what comes meanwhile wakes again.
        kept.wake.drain(|_| {});
        for (task, exit) in &mut kept.exits {
            for _ in 0..BUDGET {
                let Some(frame) = exit.inlet.receive() else { break };
                let payload = frame.payload();
                let Ok(len) = u32::try_from(payload.len()) else { continue };
                let missed = exit.missed.saturating_add(frame.missed());
                let head = UnitHead { len, task: *task, missed, meta: *frame.meta() };
                exit.missed = match self.units.push(&head, payload) {
                    true => 0,
                    false => missed.saturating_add(1),
                };
            }
            let now = Instant::now();
            let early = exit.asked.is_some_and(|at| now.duration_since(at) < KEYFRAME_INTERVAL);
            if (exit.inlet.keyframe_wanted() || exit.missed > 0) && !early {
                exit.asked = Some(now);
                let spec = exit.inlet.spec();
                self.control.say(&ToRouter::KeyframeWanted {
                    session: kept.id.clone(),
                    channel: spec.index,
                    epoch: spec.epoch,
                    reason: KeyframeReason::Overflow,
                });
            }
            if let Some(fault) = exit.inlet.fault() {
                tracing::error!(%fault, "a channel to the router is lost");
                process::leave(1);
            }
        }
    }
}

impl Kept {
    fn open(id: SessionId, namespace: &Namespace) -> Result<Self, crate::Fault> {
        let mut host = Host::keep(namespace)?;
        host.create_wake(WAKE)?;
        let wake = host.attachment().wake(WAKE)?;
        let (enters, exits) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { id, host, wake, enters, exits, prepared: None })
    }

    /// The entrance that a unit is for. The two sockets are not in step: a unit of the next wiring may come before the word
    /// that it is in force.
    fn enter_of(&mut self, head: &UnitHead) -> Option<&mut Enter> {
        let next = self.prepared.as_mut().and_then(|prepared| prepared.enters.get_mut(&head.task));
        let next = next.filter(|enter| enter.outlet.spec().epoch == head.meta.epoch);
        next.or_else(|| self.enters.get_mut(&head.task))
    }

    fn obey(&mut self, message: ToWorker) -> Option<ToRouter> {
        match message {
            ToWorker::Create { session, epoch, wakes, channels } => {
                let error = self.create(&wakes, &channels).err();
                if error.is_some() {
                    // Nobody has opened them.
                    for service in wakes.iter().chain(channels.iter().map(|c| &c.service)) {
                        let _ = self.host.forget(service);
                    }
                }
                Some(ToRouter::Created { session, epoch, error })
            }
            ToWorker::Forget { session, services } => {
                let dead = services.iter().flat_map(|service| self.host.forget(service));
                let ports: Vec<String> =
                    dead.take(MAX_RESIDUE).map(|port| port.to_string()).collect();
                (!ports.is_empty()).then_some(ToRouter::Residue { session, ports })
            }
            ToWorker::Prepare { session, epoch, changes } => {
                Some(match self.prepare(epoch, changes) {
                    Ok(()) => ToRouter::Ready { session, epoch },
                    Err(error) => {
                        self.prepared = None;
                        ToRouter::Refused { session, epoch, error }
                    }
                })
            }
            ToWorker::Switch { epoch, .. } => {
                self.switch(epoch);
                None
            }
            ToWorker::Abandon { epoch, .. } => {
                self.prepared.take_if(|prepared| prepared.epoch == epoch);
                None
            }
            _ => None,
        }
    }

    fn create(&mut self, wakes: &[String], channels: &[ChannelSpec]) -> Result<(), String> {
        for wake in wakes {
            self.host.create_wake(wake).map_err(|e| e.to_string())?;
        }
        for channel in channels {
            self.host.create_channel(channel).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn prepare(&mut self, epoch: u32, changes: Vec<Change>) -> Result<(), String> {
        let mut prepared = Prepared {
            epoch,
            enters: BTreeMap::new(),
            exits: BTreeMap::new(),
            respecs: Vec::new(),
            removed: Vec::new(),
        };
        for change in changes {
            match change {
                Change::Add(Task { id, kind, input, output, .. }) => match (kind, input, output) {
                    (TaskKind::Enter, None, Some(output)) => {
                        prepared.enters.insert(id, self.entrance(&output)?);
                    }
                    (TaskKind::Exit, Some(input), None) => {
                        prepared.exits.insert(id, self.way_out(&input)?);
                    }
                    (kind, ..) => return Err(format!("a steward has no use for {kind:?}")),
                },
                Change::Rewire { task, input, output } => {
                    if let (Some(output), Some(enter)) = (output, self.enters.get(&task)) {
                        if enter.outlet.spec().service == output.service {
                            prepared.respecs.push((task, output));
                        } else {
                            prepared.enters.insert(task, self.entrance(&output)?);
                        }
                    } else if let (Some(input), Some(exit)) = (input, self.exits.get(&task)) {
                        if exit.inlet.spec().service != input.service {
                            prepared.exits.insert(task, self.way_out(&input)?);
                        }
                    } else {
                        return Err(format!("there is no task {}", task.0));
                    }
                }
                Change::Remove(task) => prepared.removed.push(task),
            }
        }
        self.prepared = Some(prepared);
        Ok(())
    }

    fn entrance(&self, spec: &ChannelSpec) -> Result<Enter, String> {
        let outlet = self.host.attachment().outlet(spec).map_err(|e| e.to_string())?;
        Ok(Enter { outlet })
    }

    fn way_out(&self, spec: &ChannelSpec) -> Result<Exit, String> {
        let inlet = self.host.attachment().inlet(spec).map_err(|e| e.to_string())?;
        Ok(Exit { inlet, missed: 0, asked: None })
    }

    fn switch(&mut self, epoch: u32) {
        let Some(prepared) = self.prepared.take_if(|prepared| prepared.epoch == epoch) else {
            return;
        };
        for task in prepared.removed {
            self.enters.remove(&task);
            self.exits.remove(&task);
        }
        for (task, spec) in prepared.respecs {
            if let Some(enter) = self.enters.get_mut(&task)
                && let Err(error) = enter.outlet.respec(self.host.attachment(), &spec)
            {
                tracing::warn!(%error, "an entrance keeps its old description");
            }
        }
        self.enters.extend(prepared.enters);
        self.exits.extend(prepared.exits);
    }
}
