//! The one loop that carries between the supervisor, the processes, their sockets and the sessions; thin.

use super::process::{Launcher, Start, Started};
use super::supervise::{Action, KillReason, Limits, Role, State, Supervisor, Ticket, WorkerId};
use super::{control, locate};
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control as wire;
use remotemedia_shm_schema::control::{Catalogue, ThreadBeat, ToRouter, ToWorker};
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::process::Child;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

/// Requests that may wait for the pool (chosen: ten sessions that start at once ask for twenty workers).
const REQUESTS: usize = 256;
/// Messages of workers that may wait for the pool; a full queue holds the workers' sockets back.
const MESSAGES: usize = 1024;
/// How often the supervisor looks at the clock: heartbeats come as often.
const TICK: Duration = Duration::from_millis(100);

/// What a session hears of its workers.
#[derive(Debug)]
pub enum WorkerEvent {
    /// The worker said something about this session.
    Message(WorkerId, ToRouter),
    /// The worker is gone; a new one must be leased.
    Lost {
        /// Which.
        worker: WorkerId,
        /// Of which kind.
        role: Role,
    },
}

/// Why no worker could be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseFault {
    /// The router is stopping.
    #[error("the router is stopping")]
    Stopping,
    /// None became ready in time.
    #[error("no {} worker became ready within {} s{}", role.name(), within.as_secs(), last_error.as_ref().map_or(String::new(), |e| format!("; the last start failed: {e}")))]
    Timeout {
        /// Of which kind.
        role: Role,
        /// How long was waited.
        within: Duration,
        /// Why the last start of such a worker failed.
        last_error: Option<String>,
    },
}

/// One worker as tables show it.
#[derive(Debug, Clone, Serialize)]
pub struct WorkerView {
    /// `codec-3`.
    pub name: String,
    /// `codec` or `pipeline`.
    pub role: &'static str,
    /// Its process.
    pub pid: Option<u32>,
    /// `starting`, `spare`, `leased`, `retiring`, `killed`.
    pub state: &'static str,
    /// Whom it serves.
    pub session: Option<SessionId>,
    /// Its tasks' threads, by its last heartbeat.
    #[serde(skip)]
    pub threads: Arc<[ThreadBeat]>,
}

/// A handle to the pool.
#[derive(Debug, Clone)]
pub struct Pool {
    requests: mpsc::Sender<Request>,
    catalogues: watch::Receiver<BTreeMap<Role, Arc<Catalogue>>>,
}

#[derive(Debug)]
enum Request {
    Lease {
        role: Role,
        session: SessionId,
        events: mpsc::Sender<WorkerEvent>,
        reply: oneshot::Sender<Lease>,
    },
    Withdraw {
        role: Role,
        reply: oneshot::Sender<Option<String>>,
    },
    Release {
        worker: WorkerId,
        reaped: Option<oneshot::Sender<()>>,
    },
    Broken {
        worker: WorkerId,
    },
    View {
        reply: oneshot::Sender<Vec<WorkerView>>,
    },
    Stop {
        reply: oneshot::Sender<()>,
    },
}

/// A worker that serves one session; dropping it ends the worker.
#[derive(Debug)]
pub struct Lease {
    /// Which.
    pub id: WorkerId,
    /// Of which kind.
    pub role: Role,
    /// Its process.
    pub pid: u32,
    /// What it can do.
    pub catalogue: Arc<Catalogue>,
    outbox: mpsc::Sender<ToWorker>,
    pool: Pool,
    ended: bool,
}

impl Lease {
    /// Sends without waiting; a worker whose outbox is full is killed, and the session hears that it is lost.
    pub fn send(&self, message: ToWorker) {
        if self.outbox.try_send(message).is_err() {
            let _ = self.pool.requests.try_send(Request::Broken { worker: self.id });
        }
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> String {
        name(self.role, self.id)
    }

    /// Asks it to end and waits until its process is reaped.
    pub async fn end(mut self) {
        self.ended = true;
        let (reaped, wait) = oneshot::channel();
        let request = Request::Release { worker: self.id, reaped: Some(reaped) };
        if self.pool.requests.send(request).await.is_ok() {
            let _ = wait.await;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.ended {
            let request = Request::Release { worker: self.id, reaped: None };
            let _ = self.pool.requests.try_send(request);
        }
    }
}

impl Pool {
    /// Starts the loop.
    ///
    /// # Errors
    /// When a worker's program is not there, or no thread can be had.
    pub fn start(limits: Limits, worker_dir: Option<PathBuf>) -> anyhow::Result<Self> {
        let mut programs = HashMap::new();
        for role in Role::ALL {
            programs.insert(role, locate::find(role, worker_dir.as_deref())?);
        }
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (catalogue, catalogues) = watch::channel(BTreeMap::new());
        let pool = Self { requests, catalogues };
        let (started, starts) = mpsc::unbounded_channel();
        let edge = Edge {
            supervisor: Supervisor::new(limits),
            launcher: Launcher::new(started)?,
            programs,
            catalogue,
            workers: BTreeMap::new(),
            tickets: BTreeMap::new(),
            next_ticket: 1,
            last_error: HashMap::new(),
            ends: JoinSet::new(),
            pool: pool.clone(),
        };
        tokio::spawn(edge.run(inbox, starts));
        Ok(pool)
    }

    /// A worker of this kind for a session; waits for one to start where no spare is there.
    ///
    /// # Errors
    /// When none becomes ready in time, with the last start's error.
    pub async fn lease(
        &self,
        role: Role,
        session: SessionId,
        events: mpsc::Sender<WorkerEvent>,
        within: Duration,
    ) -> Result<Lease, LeaseFault> {
        let (reply, answer) = oneshot::channel();
        let request = Request::Lease { role, session, events, reply };
        self.requests.send(request).await.map_err(|_| LeaseFault::Stopping)?;
        match tokio::time::timeout(within, answer).await {
            Ok(Ok(lease)) => Ok(lease),
            Ok(Err(_)) => Err(LeaseFault::Stopping),
            Err(_) => {
                let last_error = self.last_error(role).await;
                Err(LeaseFault::Timeout { role, within, last_error })
            }
        }
    }

    /// What workers of this kind can do, as the first of them said.
    ///
    /// # Errors
    /// When none says so in time, with the last start's error.
    pub async fn catalogue(
        &self,
        role: Role,
        within: Duration,
    ) -> Result<Arc<Catalogue>, LeaseFault> {
        let mut catalogues = self.catalogues.clone();
        let told = catalogues.wait_for(|all| all.contains_key(&role));
        match tokio::time::timeout(within, told).await {
            Ok(Ok(all)) => all.get(&role).cloned().ok_or(LeaseFault::Stopping),
            Ok(Err(_)) => Err(LeaseFault::Stopping),
            Err(_) => {
                let last_error = self.last_error(role).await;
                Err(LeaseFault::Timeout { role, within, last_error })
            }
        }
    }

    async fn last_error(&self, role: Role) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Withdraw { role, reply }).await.ok()?;
        answer.await.ok().flatten()
    }

    /// All workers, as tables show them.
    pub async fn view(&self) -> Vec<WorkerView> {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::View { reply }).await.is_err() {
            return Vec::new();
        }
        answer.await.unwrap_or_default()
    }

    /// Ends every worker and waits until the last one is reaped.
    pub async fn stop(&self) {
        let (reply, answer) = oneshot::channel();
        if self.requests.send(Request::Stop { reply }).await.is_ok() {
            let _ = answer.await;
        }
    }
}

fn name(role: Role, id: WorkerId) -> String {
    format!("{}-{}", role.name(), id.0)
}

struct Worker {
    role: Role,
    pid: Option<u32>,
    catalogue: Arc<Catalogue>,
    outbox: Option<mpsc::Sender<ToWorker>>,
    kill: Option<oneshot::Sender<()>>,
    session: Option<(SessionId, mpsc::Sender<WorkerEvent>)>,
    threads: Arc<[ThreadBeat]>,
    reaped: Vec<oneshot::Sender<()>>,
    reason: Option<&'static str>,
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
    programs: HashMap<Role, PathBuf>,
    catalogue: watch::Sender<BTreeMap<Role, Arc<Catalogue>>>,
    workers: BTreeMap<WorkerId, Worker>,
    tickets: BTreeMap<Ticket, Waiting>,
    next_ticket: u64,
    last_error: HashMap<Role, String>,
    ends: JoinSet<(WorkerId, std::io::Result<std::process::ExitStatus>)>,
    pool: Pool,
}

enum Heard {
    Message(WorkerId, ToRouter),
    Closed(WorkerId, Result<(), control::ControlFault>),
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
                // machine everybody looks hung until the queue is read.
                biased;
                Some(message) = messages.recv() => self.hear(message),
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
            Request::Release { worker, reaped } => {
                match (self.workers.get_mut(&worker), reaped) {
                    (Some(entry), Some(reaped)) => entry.reaped.push(reaped),
                    (None, Some(reaped)) => {
                        let _ = reaped.send(());
                    }
                    (_, None) => {}
                }
                self.supervisor.release(now, worker);
            }
            Request::Broken { worker } => self.supervisor.broken(worker),
            Request::View { reply } => {
                let _ = reply.send(self.view());
            }
            // Handled by the loop, which knows whom to tell at the end.
            Request::Stop { .. } => {}
        }
    }

    fn started(&mut self, started: Started, heard: &mpsc::Sender<Heard>) {
        let id = started.worker;
        let Some((_, role, _)) = self.supervisor.workers().find(|(worker, _, _)| *worker == id)
        else {
            return;
        };
        match started.result {
            Ok((child, stream)) => {
                let (outbox, outgoing) = mpsc::channel(control::OUTBOX);
                let (kill, killed) = oneshot::channel();
                let worker = Worker {
                    role,
                    pid: child.id(),
                    catalogue: Arc::default(),
                    outbox: Some(outbox),
                    kill: Some(kill),
                    session: None,
                    threads: Arc::default(),
                    reaped: Vec::new(),
                    reason: None,
                };
                self.workers.insert(id, worker);
                self.ends.spawn(wait(id, child, killed));
                let heard = heard.clone();
                let expected = match role {
                    Role::Codec => wire::Role::Codec,
                    Role::Pipeline => wire::Role::Pipeline,
                };
                tokio::spawn(async move {
                    let wrap = move |message| Heard::Message(id, message);
                    let ended =
                        control::serve(stream, expected, outgoing, heard.clone(), wrap).await;
                    let _ = heard.send(Heard::Closed(id, ended)).await;
                });
            }
            Err(error) => {
                let program = self.programs.get(&role).map(|p| p.display().to_string());
                let text = format!("{}: {error}", program.unwrap_or_default());
                tracing::warn!(worker = name(role, id), "worker did not start: {text}");
                self.last_error.insert(role, text);
                self.supervisor.exited(Instant::now(), id);
            }
        }
    }

    fn hear(&mut self, heard: Heard) {
        let now = Instant::now();
        match heard {
            Heard::Message(id, ToRouter::Catalogue(catalogue)) => {
                if let Some(worker) = self.workers.get_mut(&id) {
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
            Heard::Message(id, ToRouter::Heartbeat { threads, .. }) => {
                let clock = remotemedia_worker::monotonic_ns();
                let overdue = threads.iter().any(|thread| {
                    thread.busy_since_ns.is_some_and(|since| {
                        clock.saturating_sub(since) > FRAME_LIMIT.as_nanos() as u64
                    })
                });
                if let Some(worker) = self.workers.get_mut(&id) {
                    worker.threads = threads.into();
                }
                self.supervisor.beat(now, id, overdue);
            }
            Heard::Message(id, ToRouter::Drained) => {
                tracing::debug!(worker = id.0, "drained");
            }
            Heard::Message(id, message) => {
                let Some(worker) = self.workers.get(&id) else { return };
                if let Some((_, events)) = &worker.session {
                    // A session that does not keep up is being flooded by this worker.
                    if events.try_send(WorkerEvent::Message(id, message)).is_err()
                        && !events.is_closed()
                    {
                        tracing::warn!(worker = name(worker.role, id), "floods its session");
                        self.supervisor.broken(id);
                    }
                }
            }
            Heard::Closed(id, ended) => {
                if let (Some(worker), Err(fault)) = (self.workers.get(&id), ended) {
                    let text = fault.to_string();
                    tracing::warn!(worker = name(worker.role, id), "control connection: {text}");
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

    fn ended(&mut self, id: WorkerId, status: std::io::Result<std::process::ExitStatus>) {
        let state = self.supervisor.workers().find(|(w, _, _)| *w == id).map(|(_, _, s)| s);
        if let Some(worker) = self.workers.remove(&id) {
            let how = status.map_or_else(|e| e.to_string(), |status| status.to_string());
            let label = name(worker.role, id);
            match state {
                Some(State::Retiring { .. }) => tracing::debug!(worker = label, "ended: {how}"),
                Some(State::Killed) if worker.reason == Some(KillReason::SlowDrain.text()) => {
                    tracing::info!(worker = label, "was killed: {}", KillReason::SlowDrain.text());
                }
                _ => {
                    let why = worker.reason.unwrap_or("by itself");
                    tracing::warn!(worker = label, pid = worker.pid, "worker died ({why}): {how}");
                    self.last_error.insert(worker.role, format!("{label} {why}: {how}"));
                }
            }
            for reaped in worker.reaped {
                let _ = reaped.send(());
            }
            // `Lost` is told from here, where the session is still known.
            if matches!(state, Some(State::Leased { .. }))
                && let Some((_, events)) = worker.session
            {
                tell_lost(&events, id, worker.role);
            }
        }
        self.supervisor.exited(Instant::now(), id);
    }

    fn act(&mut self) {
        while let Some(action) = self.supervisor.poll() {
            match action {
                Action::Start { worker, role } => {
                    if let Some(program) = self.programs.get(&role) {
                        self.launcher.start(Start { worker, role, program: program.clone() });
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
                        entry.reason = Some(reason.text());
                    }
                    self.kill(worker);
                }
                Action::Lost { worker, .. } => {
                    if let Some(entry) = self.workers.get_mut(&worker)
                        && let Some((_, events)) = entry.session.take()
                    {
                        tell_lost(&events, worker, entry.role);
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
        let Some(waiting) = self.tickets.remove(&ticket) else {
            self.supervisor.release(Instant::now(), id);
            return;
        };
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let (Some(outbox), Some(pid)) = (worker.outbox.clone(), worker.pid) else {
            // It closed its socket in this very moment; its end is under way, and another takes its place.
            let (next, now) = (Ticket(self.next_ticket), Instant::now());
            self.next_ticket += 1;
            let role = waiting.role;
            self.tickets.insert(next, waiting);
            self.supervisor.broken(id);
            self.supervisor.lease(now, next, role);
            return;
        };
        worker.session = Some((waiting.session, waiting.events));
        let lease = Lease {
            id,
            role: waiting.role,
            pid,
            catalogue: Arc::clone(&worker.catalogue),
            outbox,
            pool: self.pool.clone(),
            ended: false,
        };
        // A session that does not wait any more drops the lease, which ends the worker.
        let _ = waiting.reply.send(lease);
    }

    fn view(&self) -> Vec<WorkerView> {
        self.supervisor
            .workers()
            .map(|(id, role, state)| {
                let worker = self.workers.get(&id);
                WorkerView {
                    name: name(role, id),
                    role: role.name(),
                    pid: worker.and_then(|w| w.pid),
                    state: match state {
                        State::Starting { .. } => "starting",
                        State::Spare { .. } => "spare",
                        State::Leased { .. } => "leased",
                        State::Retiring { .. } => "retiring",
                        State::Killed => "killed",
                    },
                    session: worker
                        .and_then(|w| w.session.as_ref())
                        .map(|(session, _)| session.clone()),
                    threads: worker.map(|w| Arc::clone(&w.threads)).unwrap_or_default(),
                }
            })
            .collect()
    }
}

/// One call of a codec or node may take so long; chosen above DESIGN's 250 ms for codecs, which a loaded machine of two
/// cores exceeds by scheduling alone.
const FRAME_LIMIT: Duration = Duration::from_secs(1);

fn tell_lost(events: &mpsc::Sender<WorkerEvent>, worker: WorkerId, role: Role) {
    if let Err(mpsc::error::TrySendError::Full(event)) =
        events.try_send(WorkerEvent::Lost { worker, role })
    {
        // The session's queue is full of this very worker's messages; the news must arrive all the same.
        let events = events.clone();
        tokio::spawn(async move { events.send(event).await });
    }
}

async fn wait(
    id: WorkerId,
    mut child: Child,
    killed: oneshot::Receiver<()>,
) -> (WorkerId, std::io::Result<std::process::ExitStatus>) {
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
