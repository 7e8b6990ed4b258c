//! The one loop that carries between the supervisor, the processes, their sockets and the sessions; thin.

use super::super::process::{Launcher, Process, Start, Started};
use super::super::supervise::{
    Action, KillReason, Limits, Role, State, Supervisor, Ticket, WorkerId,
};
use super::super::{
    control,
    flood::{Flood, cut},
    marks::Marks,
    program::Lock,
};
use super::{Autopsy, FrameLimits, Keeper, Lease, Pool, Request, WorkerEvent, WorkerView};
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control as wire;
use remotemedia_shm_schema::control::{Catalogue, TaskId, ThreadBeat, ToRouter, ToWorker};
use remotemedia_shm_schema::manifest::FRAME_LIMIT_MS;
use std::collections::{BTreeMap, HashMap};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Messages of workers that may wait for the pool; a full queue holds the workers' sockets back.
const MESSAGES: usize = 1024;
/// How often the supervisor looks at the clock: heartbeats come as often.
const TICK: Duration = Duration::from_millis(100);

/// A session that a worker serves.
struct Served {
    session: SessionId,
    events: mpsc::Sender<WorkerEvent>,
    /// A shared worker was asked to let go of it.
    asked: bool,
    /// Who waits for that.
    let_go: Vec<oneshot::Sender<()>>,
}

struct Worker {
    role: Role,
    name: Arc<str>,
    pid: Option<u32>,
    catalogue: Arc<Catalogue>,
    outbox: Option<mpsc::Sender<ToWorker>>,
    kill: Option<oneshot::Sender<()>>,
    serves: BTreeMap<Ticket, Served>,
    /// Whom it served when it was lost: they are told how it ended.
    mourners: Vec<mpsc::Sender<WorkerEvent>>,
    threads: Arc<[ThreadBeat]>,
    limits: FrameLimits,
    marks: Marks,
    data: Option<UnixStream>,
    /// Tasks that were over their limit when it was killed for that.
    overdue: Vec<TaskId>,
    flood: Flood,
    reaped: Vec<oneshot::Sender<()>>,
    reason: Option<KillReason>,
}

struct Waiting {
    role: Role,
    session: SessionId,
    events: mpsc::Sender<WorkerEvent>,
    reply: oneshot::Sender<Lease>,
}

struct Edge {
    supervisor: Supervisor,
    launcher: Launcher,
    catalogue: watch::Sender<BTreeMap<Role, Arc<Catalogue>>>,
    workers: BTreeMap<WorkerId, Worker>,
    tickets: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    last_error: HashMap<Role, String>,
    ends: JoinSet<(WorkerId, std::io::Result<ExitStatus>)>,
    pool: Pool,
}

enum Heard {
    Message(WorkerId, ToRouter),
    Closed(WorkerId, Result<(), control::ControlFault>),
}

/// Starts the loop.
///
/// # Errors
/// When the launcher's thread cannot be had.
pub(super) fn spawn(
    limits: Limits,
    pool: Pool,
    catalogue: watch::Sender<BTreeMap<Role, Arc<Catalogue>>>,
    inbox: mpsc::Receiver<Request>,
) -> std::io::Result<()> {
    let (started, starts) = mpsc::unbounded_channel();
    let edge = Edge {
        supervisor: Supervisor::new(limits),
        launcher: Launcher::new(started)?,
        catalogue,
        workers: BTreeMap::new(),
        tickets: BTreeMap::new(),
        next_ticket: 1,
        last_error: HashMap::new(),
        ends: JoinSet::new(),
        pool,
    };
    tokio::spawn(edge.run(inbox, starts));
    Ok(())
}

impl Edge {
    async fn run(
        mut self,
        mut requests: mpsc::Receiver<Request>,
        mut starts: mpsc::UnboundedReceiver<Started>,
    ) {
        let (heard, mut messages) = mpsc::channel(MESSAGES);
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut stopped: Vec<oneshot::Sender<()>> = Vec::new();
        loop {
            tokio::select! {
                // A worker's beats must be heard before the clock judges their absence: after a pause of the whole
                // machine everybody looks hung until the queue is read. What sessions ask is not held up by what workers say.
                biased;
                Some(request) = requests.recv() => match request {
                    Request::Stop { reply } => {
                        self.supervisor.stop(Instant::now());
                        self.tickets.clear();
                        stopped.push(reply);
                    }
                    other => self.request(other),
                },
                Some(started) = starts.recv() => self.started(started, &heard),
                Some(ended) = self.ends.join_next(), if !self.ends.is_empty() => {
                    if let Ok((worker, status)) = ended {
                        self.ended(worker, status);
                    }
                }
                Some(message) = messages.recv() => self.hear(message),
                _ = tick.tick() => self.supervisor.tick(Instant::now()),
            }
            self.act();
            if !stopped.is_empty() && self.supervisor.alive() == 0 {
                for reply in stopped.drain(..) {
                    let _ = reply.send(());
                }
                return;
            }
        }
    }

    fn request(&mut self, request: Request) {
        let now = Instant::now();
        match request {
            Request::Lease { role, session, events, reply } => {
                let ticket = Ticket(self.next_ticket);
                self.next_ticket += 1;
                self.tickets.insert(ticket, Waiting { role, session, events, reply });
                self.supervisor.lease(now, ticket, role);
            }
            Request::Withdraw { role, reply } => {
                let gone: Vec<Ticket> = self
                    .tickets
                    .iter()
                    .filter(|(_, waiting)| waiting.reply.is_closed())
                    .map(|(ticket, _)| *ticket)
                    .collect();
                for ticket in gone {
                    self.tickets.remove(&ticket);
                    self.supervisor.withdraw(ticket);
                }
                let _ = reply.send(self.last_error.get(&role).cloned());
            }
            Request::Release { worker, ticket, reaped } => {
                self.release(now, worker, ticket, reaped)
            }
            Request::Broken { worker } => self.supervisor.broken(worker),
            Request::View { reply } => {
                let _ = reply.send(self.view());
            }
            // Handled by the loop, which knows whom to tell at the end.
            Request::Stop { .. } => {}
        }
    }

    fn release(
        &mut self,
        now: Instant,
        id: WorkerId,
        ticket: Ticket,
        reaped: Option<oneshot::Sender<()>>,
    ) {
        let Some(worker) = self.workers.get_mut(&id) else {
            // It is gone already, and whoever waits for that need not.
            drop(reaped);
            return;
        };
        let shared = self.supervisor.shared(worker.role);
        match (shared, worker.serves.get_mut(&ticket)) {
            (true, Some(served)) => {
                let session = served.session.clone();
                served.asked = true;
                served.let_go.extend(reaped);
                let said =
                    worker.outbox.as_ref().map(|o| o.try_send(ToWorker::Release { session }));
                if !matches!(said, Some(Ok(()))) {
                    self.supervisor.broken(id);
                }
            }
            // Lost before: others may live on in it, this session has nothing in it any more.
            (true, None) => drop(reaped),
            (false, _) => {
                // Nobody is told how it ends any more.
                worker.serves.remove(&ticket);
                worker.reaped.extend(reaped);
            }
        }
        self.supervisor.release(now, id, ticket);
    }

    fn started(&mut self, started: Started, heard: &mpsc::Sender<Heard>) {
        let id = started.worker;
        let Some((_, role, _)) = self.supervisor.workers().find(|(worker, _, _)| *worker == id)
        else {
            return;
        };
        let name = self.name(role, id);
        match started.result {
            Ok(Process { child, control: stream, marks, data }) => {
                let (outbox, outgoing) = mpsc::channel(control::OUTBOX);
                let (kill, killed) = oneshot::channel();
                let worker = Worker {
                    role,
                    name,
                    pid: child.id(),
                    catalogue: Arc::default(),
                    outbox: Some(outbox),
                    kill: Some(kill),
                    serves: BTreeMap::new(),
                    mourners: Vec::new(),
                    threads: Arc::default(),
                    limits: FrameLimits::default(),
                    marks,
                    data,
                    overdue: Vec::new(),
                    flood: Flood::new(Instant::now()),
                    reaped: Vec::new(),
                    reason: None,
                };
                self.workers.insert(id, worker);
                self.ends.spawn(wait(id, child, killed));
                let heard = heard.clone();
                let expected = match role {
                    Role::Codec => wire::Role::Codec,
                    Role::Pipeline => wire::Role::Pipeline,
                    Role::Steward => wire::Role::Steward,
                    Role::Custom(_) | Role::Attached(_) => wire::Role::Custom,
                };
                tokio::spawn(async move {
                    let wrap = move |message| Heard::Message(id, message);
                    let ended =
                        control::serve(stream, expected, outgoing, heard.clone(), wrap).await;
                    let _ = heard.send(Heard::Closed(id, ended)).await;
                });
            }
            Err(error) => {
                let program = self.pool.program(role).map(|p| p.path.display().to_string());
                let text = format!("{}: {error}", program.unwrap_or_default());
                tracing::warn!(worker = %name, "worker did not start: {text}");
                self.last_error.insert(role, text);
                self.supervisor.exited(Instant::now(), id);
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        let now = Instant::now();
        if let Heard::Message(id, message) = &heard
            && let Some(worker) = self.workers.get_mut(id)
            && worker.flood.heard(now, matches!(message, ToRouter::Heartbeat { .. }))
        {
            if worker.reason.is_none() {
                tracing::warn!(worker = %worker.name, "says too much");
            }
            self.supervisor.floods(*id);
            return;
        }
        match heard {
            Heard::Message(id, ToRouter::Catalogue(catalogue)) => {
                let state = self.supervisor.workers().find(|(w, _, _)| *w == id).map(|(_, _, s)| s);
                let first = matches!(state, Some(State::Starting { .. }));
                // A second one is against the protocol, and not believed before it is punished.
                if let (true, Some(worker)) = (first, self.workers.get_mut(&id)) {
                    worker.catalogue = Arc::new(catalogue);
                    let (role, catalogue) = (worker.role, Arc::clone(&worker.catalogue));
                    self.catalogue.send_if_modified(|all| {
                        let news = all.get(&role) != Some(&catalogue);
                        all.insert(role, catalogue);
                        news
                    });
                }
                self.supervisor.ready(now, id);
            }
            Heard::Message(id, ToRouter::Heartbeat { threads, .. }) => self.beat(now, id, threads),
            Heard::Message(id, ToRouter::Drained) => tracing::debug!(worker = id.0, "drained"),
            // What only attachers and operators say.
            Heard::Message(id, ToRouter::Attach(_) | ToRouter::Detach | ToRouter::Operate(_)) => {
                self.supervisor.broken(id);
            }
            Heard::Message(id, message) => self.pass_on(id, message),
            Heard::Closed(id, ended) => {
                if let (Some(worker), Err(fault)) = (self.workers.get(&id), ended) {
                    let text = fault.to_string();
                    tracing::warn!(worker = %worker.name, "control connection: {text}");
                    self.last_error.insert(worker.role, text);
                }
                // End of file: its process ends by itself, or is made to.
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.outbox = None;
                }
                self.supervisor.broken(id);
            }
        }
    }

    fn beat(&mut self, now: Instant, id: WorkerId, threads: Vec<ThreadBeat>) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.overdue = overdue(&threads, &worker.limits);
        worker.threads = threads.into();
        let late = !worker.overdue.is_empty();
        self.supervisor.beat(now, id, late);
    }

    /// To the session that it is about, if the worker serves that.
    fn pass_on(&mut self, id: WorkerId, mut message: ToRouter) {
        cut(&mut message);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let Some(session) = about(&message) else { return };
        let served = worker.serves.iter_mut().find(|(_, served)| served.session == *session);
        let Some((ticket, served)) = served.map(|(ticket, served)| (*ticket, served)) else {
            return;
        };
        if matches!(message, ToRouter::Released { .. }) && served.asked {
            // A dropped answer is an answer.
            worker.serves.remove(&ticket);
            return;
        }
        // A session that does not keep up is being flooded by this worker.
        if served.events.try_send(WorkerEvent::Message(id, message)).is_err()
            && !served.events.is_closed()
        {
            tracing::warn!(worker = %worker.name, "floods its session");
            self.supervisor.broken(id);
        }
    }

    fn ended(&mut self, id: WorkerId, status: std::io::Result<ExitStatus>) {
        let state = self.supervisor.workers().find(|(w, _, _)| *w == id).map(|(_, _, s)| s);
        if let Some(worker) = self.workers.remove(&id) {
            let label = &worker.name;
            let asked = matches!(state, Some(State::Retiring { .. }));
            let slow = worker.reason == Some(KillReason::SlowDrain);
            let mut autopsy = examine(id, &worker, &status);
            if self.supervisor.shared(worker.role) {
                // Its marks tell tasks, not sessions: nobody is blamed for what another session sent.
                autopsy.marks.clear();
            }
            if asked || slow {
                tracing::debug!(worker = %label, "ended: {}", autopsy.how);
            } else {
                tracing::warn!(worker = %label, pid = worker.pid, "worker died: {}", autopsy.how);
                self.last_error.insert(worker.role, format!("{label}: {}", autopsy.how));
            }
            drop(worker.reaped);
            // `Lost` is told from here where it was not killed first: the sessions are known here only.
            for served in worker.serves.values() {
                tell(&served.events, WorkerEvent::Lost { worker: id, role: worker.role });
            }
            let served = worker.serves.into_values().map(|served| served.events);
            for events in worker.mourners.into_iter().chain(served) {
                tell(&events, WorkerEvent::Autopsy(autopsy.clone()));
            }
        }
        self.supervisor.exited(Instant::now(), id);
    }

    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll() {
            match action {
                Action::Start { worker, role } => {
                    if let Some(program) = self.pool.program(role) {
                        self.launcher.start(Start { worker, program: program.clone() });
                    }
                }
                Action::Grant { worker, ticket } => self.grant(worker, ticket),
                Action::Drain { worker } => {
                    let outbox = self.workers.get(&worker).and_then(|w| w.outbox.as_ref());
                    if outbox.is_none_or(|outbox| outbox.try_send(ToWorker::Drain).is_err()) {
                        self.kill(worker);
                    }
                }
                Action::Kill { worker, reason } => {
                    if let Some(entry) = self.workers.get_mut(&worker) {
                        entry.reason = Some(reason);
                    }
                    self.kill(worker);
                }
                Action::Lost { worker, ticket } => {
                    if let Some(entry) = self.workers.get_mut(&worker)
                        && let Some(served) = entry.serves.remove(&ticket)
                    {
                        tell(&served.events, WorkerEvent::Lost { worker, role: entry.role });
                        entry.mourners.push(served.events);
                    }
                }
            }
        }
    }

    fn kill(&mut self, id: WorkerId) {
        if let Some(kill) = self.workers.get_mut(&id).and_then(|worker| worker.kill.take()) {
            let _ = kill.send(());
        }
    }

    fn grant(&mut self, id: WorkerId, ticket: Ticket) {
        let now = Instant::now();
        let Some(waiting) = self.tickets.remove(&ticket) else {
            self.supervisor.release(now, id, ticket);
            return;
        };
        let shared = self.supervisor.shared(waiting.role);
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (Some(outbox), Some(pid)) = (worker.outbox.clone(), worker.pid) else {
            // It closed its socket in this very moment; its end is under way, and another takes its place.
            let next = Ticket(self.next_ticket);
            self.next_ticket += 1;
            let role = waiting.role;
            self.tickets.insert(next, waiting);
            self.supervisor.broken(id);
            self.supervisor.lease(now, next, role);
            return;
        };
        let Waiting { role, session, events, reply } = waiting;
        worker.serves.insert(ticket, Served { session, events, asked: false, let_go: Vec::new() });
        let lease = Lease {
            id,
            role,
            pid,
            name: Arc::clone(&worker.name),
            catalogue: Arc::clone(&worker.catalogue),
            lock: self.pool.program(role).map_or(Lock::Off, |program| program.sandbox),
            outbox,
            limits: Arc::clone(&worker.limits),
            keeper: Keeper::Pool { pool: self.pool.clone(), ticket, shared },
            data: worker.data.take(),
            ended: false,
        };
        // A session that does not wait any more drops the lease, which ends the worker.
        let _ = reply.send(lease);
    }

    fn name(&self, role: Role, id: WorkerId) -> Arc<str> {
        let of = self.pool.program(role).map_or_else(|| role.name(), |program| &*program.name);
        format!("{of}-{}", id.0).into()
    }

    fn view(&self) -> Vec<WorkerView> {
        self.supervisor
            .workers()
            .map(|(id, role, state)| {
                let worker = self.workers.get(&id);
                let sessions: Vec<SessionId> = worker
                    .map(|w| w.serves.values().map(|served| served.session.clone()).collect())
                    .unwrap_or_default();
                WorkerView {
                    name: self.name(role, id).to_string(),
                    role: role.name(),
                    pid: worker.and_then(|w| w.pid),
                    state: match state {
                        State::Starting { .. } => "starting",
                        State::Spare { .. } => "spare",
                        State::Leased { .. } => "leased",
                        State::Retiring { .. } => "retiring",
                        State::Killed => "killed",
                    },
                    session: match sessions.as_slice() {
                        [only] => Some(only.clone()),
                        _ => None,
                    },
                    sessions,
                    threads: worker.map(|w| Arc::clone(&w.threads)).unwrap_or_default(),
                }
            })
            .collect()
    }
}

/// The session that a message is about.
fn about(message: &ToRouter) -> Option<&SessionId> {
    match message {
        ToRouter::Assigned { session, .. }
        | ToRouter::Unassigned { session, .. }
        | ToRouter::Created { session, .. }
        | ToRouter::Ready { session, .. }
        | ToRouter::Refused { session, .. }
        | ToRouter::KeyframeWanted { session, .. }
        | ToRouter::Applied { session, .. }
        | ToRouter::NodeError { session, .. }
        | ToRouter::Residue { session, .. }
        | ToRouter::Released { session } => Some(session),
        ToRouter::Catalogue(_)
        | ToRouter::Heartbeat { .. }
        | ToRouter::Drained
        | ToRouter::Attach(_)
        | ToRouter::Detach
        | ToRouter::Operate(_) => None,
    }
}

/// Tasks that are inside one call for longer than they may be.
pub(crate) fn overdue(threads: &[ThreadBeat], limits: &FrameLimits) -> Vec<TaskId> {
    let clock = remotemedia_worker::monotonic_ns();
    let limits = limits.lock().unwrap_or_else(PoisonError::into_inner);
    let late = |thread: &&ThreadBeat| {
        let limit = limits.of(&thread.session, thread.task);
        let limit = u64::from(limit.unwrap_or(FRAME_LIMIT_MS)) * 1_000_000;
        thread.busy_since_ns.is_some_and(|since| clock.saturating_sub(since) > limit)
    };
    threads.iter().filter(late).map(|thread| thread.task).collect()
}

/// How a worker ended, and what it was working on if that may be the cause.
fn examine(id: WorkerId, worker: &Worker, status: &std::io::Result<ExitStatus>) -> Autopsy {
    let (how, culpable) = match (worker.reason, status) {
        (_, Err(error)) => (error.to_string(), false),
        (Some(reason @ KillReason::Busy), Ok(_)) => (reason.text().to_owned(), true),
        // It may have broken off by itself, which shows as a closed socket first.
        (Some(KillReason::Protocol) | None, Ok(status)) => match (status.signal(), status.code()) {
            // From outside, or by our own hand because its socket closed.
            (Some(9), _) => ("killed (SIGKILL)".to_owned(), false),
            (Some(signal), _) => (format!("died of signal {signal} ({})", name_of(signal)), true),
            (None, Some(code)) => (format!("exited with {code} unasked"), true),
            (None, None) => (status.to_string(), false),
        },
        (Some(reason), Ok(_)) => (reason.text().to_owned(), false),
    };
    let mut marks = if culpable { worker.marks.read() } else { Vec::new() };
    if worker.reason == Some(KillReason::Busy) {
        marks.retain(|mark| worker.overdue.contains(&mark.task));
    }
    Autopsy { worker: id, role: worker.role, how, marks }
}

fn name_of(signal: i32) -> String {
    nix::sys::signal::Signal::try_from(signal)
        .map_or_else(|_| "unknown".to_owned(), |signal| signal.as_str().to_owned())
}

fn tell(events: &mpsc::Sender<WorkerEvent>, event: WorkerEvent) {
    if let Err(mpsc::error::TrySendError::Full(event)) = events.try_send(event) {
        // The session's queue is full of this very worker's messages; the news must arrive all the same.
        let events = events.clone();
        tokio::spawn(async move { events.send(event).await });
    }
}

async fn wait(
    id: WorkerId,
    mut child: Child,
    killed: oneshot::Receiver<()>,
) -> (WorkerId, std::io::Result<ExitStatus>) {
    tokio::select! {
        status = child.wait() => return (id, status),
        asked = killed => {
            if asked.is_ok() {
                let _ = child.start_kill();
            }
        }
    }
    (id, child.wait().await)
}
