//! A handle to the worker processes: sessions lease them, tables look at them.
//!
//! [`edge`] is the one loop behind it, which carries between the supervisor, the processes, their sockets and the sessions.

mod edge;

pub(crate) use edge::overdue;

use super::program::{Lock, Program, Programs};
use super::supervise::{Limits, Role, Ticket, WorkerId};
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control::{Catalogue, Change, TaskId, ThreadBeat, ToRouter, ToWorker};
use remotemedia_shm_schema::mark::Mark;
use serde::Serialize;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// Requests that may wait for the pool (chosen: ten sessions that start at once ask for twenty workers).
const REQUESTS: usize = 256;
/// The end of a session waits no longer for a shared worker to let go of it (chosen): what it still holds is unlinked.
const LET_GO: Duration = Duration::from_millis(500);

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
    /// What is known of its end, once its process was reaped.
    Autopsy(Autopsy),
}

/// How a worker of a session ended.
#[derive(Debug, Clone)]
pub struct Autopsy {
    /// Which.
    pub worker: WorkerId,
    /// Of which kind.
    pub role: Role,
    /// For people.
    pub how: String,
    /// Calls that were under way; empty when whatever ended it has nothing to do with them (a signal from outside).
    pub marks: Vec<Mark>,
}

/// Why no worker could be had.
#[derive(Debug, thiserror::Error)]
pub enum LeaseFault {
    /// The router is stopping.
    #[error("the router is stopping")]
    Stopping,
    /// None became ready in time.
    #[error("no {name} worker became ready within {} s{}", within.as_secs(), last_error.as_ref().map_or(String::new(), |e| format!("; the last start failed: {e}")))]
    Timeout {
        /// Of which kind.
        name: Arc<str>,
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
    /// `codec`, `pipeline`, `custom`.
    pub role: &'static str,
    /// Its process.
    pub pid: Option<u32>,
    /// `starting`, `spare`, `leased`, `retiring`, `killed`.
    pub state: &'static str,
    /// Whom it serves, where that is one.
    pub session: Option<SessionId>,
    /// Whom it serves.
    pub sessions: Vec<SessionId>,
    /// Its tasks' threads, by its last heartbeat.
    #[serde(skip)]
    pub threads: Arc<[ThreadBeat]>,
}

/// A handle to the pool.
#[derive(Debug, Clone)]
pub struct Pool {
    requests: mpsc::Sender<Request>,
    catalogues: watch::Receiver<BTreeMap<Role, Arc<Catalogue>>>,
    programs: Arc<Programs>,
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
        ticket: Ticket,
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

/// Milliseconds that one call of each task may take, by what sessions asked of the worker.
#[derive(Debug, Default)]
pub(crate) struct TaskLimits {
    of: BTreeMap<(SessionId, TaskId), u32>,
    /// Tasks that are removed when their session's wiring is switched.
    going: Vec<(SessionId, TaskId)>,
}

pub(crate) type FrameLimits = Arc<Mutex<TaskLimits>>;

impl TaskLimits {
    fn follow(&mut self, message: &ToWorker) {
        match message {
            ToWorker::Prepare { session, changes, .. } => {
                self.going.retain(|(of, _)| of != session);
                for change in changes {
                    match change {
                        Change::Add(task) => {
                            self.of.insert((session.clone(), task.id), task.frame_limit_ms);
                        }
                        Change::Remove(task) => self.going.push((session.clone(), *task)),
                        Change::Rewire { .. } => {}
                    }
                }
            }
            ToWorker::Switch { session, .. } => {
                let (gone, rest) =
                    std::mem::take(&mut self.going).into_iter().partition(|(of, _)| of == session);
                self.going = rest;
                let gone: Vec<(SessionId, TaskId)> = gone;
                self.of.retain(|task, _| !gone.contains(task));
            }
            ToWorker::Abandon { session, .. } => self.going.retain(|(of, _)| of != session),
            ToWorker::Release { session } => self.of.retain(|(of, _), _| of != session),
            _ => {}
        }
    }

    /// Of one task; none for a task that nobody asked for.
    pub(crate) fn of(&self, session: &SessionId, task: TaskId) -> Option<u32> {
        self.of.get(&(session.clone(), task)).copied()
    }
}

/// Who ends a leased worker.
#[derive(Debug)]
enum Keeper {
    /// The pool, which started it.
    Pool { pool: Pool, ticket: Ticket, shared: bool },
    /// Whoever started it: its connection is closed, and that is all.
    Nobody,
}

/// A worker that serves a session; dropping it ends the worker, or its part in the session where it serves others too.
#[derive(Debug)]
pub struct Lease {
    /// Which.
    pub id: WorkerId,
    /// Of which kind.
    pub role: Role,
    /// Its process.
    pub pid: u32,
    /// `codec-3`.
    pub name: Arc<str>,
    /// What it can do.
    pub catalogue: Arc<Catalogue>,
    /// What was asked of it.
    pub lock: Lock,
    outbox: mpsc::Sender<ToWorker>,
    limits: FrameLimits,
    keeper: Keeper,
    /// A steward's stream of access units, until somebody takes it.
    data: Option<UnixStream>,
    ended: bool,
}

impl Lease {
    /// A program that attached by itself; whoever reads its socket hears its end.
    #[must_use]
    pub(crate) fn attached(
        (id, role): (WorkerId, Role),
        pid: u32,
        name: Arc<str>,
        catalogue: Arc<Catalogue>,
        (outbox, limits): (mpsc::Sender<ToWorker>, FrameLimits),
    ) -> Self {
        let keeper = Keeper::Nobody;
        let lock = Lock::Off;
        Self {
            id,
            role,
            pid,
            name,
            catalogue,
            lock,
            outbox,
            limits,
            keeper,
            data: None,
            ended: false,
        }
    }

    /// A steward's stream of access units; once.
    pub fn take_data(&mut self) -> Option<UnixStream> {
        self.data.take()
    }

    /// Whether it serves other sessions as well.
    #[must_use]
    pub fn shared(&self) -> bool {
        matches!(self.keeper, Keeper::Pool { shared: true, .. })
    }

    /// Sends without waiting; a worker whose outbox is full is killed, and the session hears that it is lost.
    pub fn send(&self, message: ToWorker) {
        self.limits.lock().unwrap_or_else(PoisonError::into_inner).follow(&message);
        if self.outbox.try_send(message).is_err()
            && let Keeper::Pool { pool, .. } = &self.keeper
        {
            pool.tell(Request::Broken { worker: self.id });
        }
    }

    /// Asks it to end and waits until its process is reaped; of one that serves others too, until it has let go.
    pub async fn end(mut self) {
        self.ended = true;
        let Keeper::Pool { pool, ticket, shared } = &self.keeper else { return };
        let (reaped, wait) = oneshot::channel();
        let request = Request::Release { worker: self.id, ticket: *ticket, reaped: Some(reaped) };
        if pool.requests.send(request).await.is_ok() {
            let _ = match shared {
                true => tokio::time::timeout(LET_GO, wait).await.unwrap_or(Ok(())),
                false => wait.await,
            };
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let (false, Keeper::Pool { pool, ticket, .. }) = (self.ended, &self.keeper) {
            let request = Request::Release { worker: self.id, ticket: *ticket, reaped: None };
            pool.tell(request);
        }
    }
}

impl Pool {
    /// Starts the loop.
    ///
    /// # Errors
    /// When no thread can be had.
    pub fn start(limits: Limits, programs: Programs) -> anyhow::Result<Self> {
        let (requests, inbox) = mpsc::channel(REQUESTS);
        let (catalogue, catalogues) = watch::channel(BTreeMap::new());
        let pool = Self { requests, catalogues, programs: Arc::new(programs) };
        edge::spawn(limits, pool.clone(), catalogue, inbox)?;
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
            Err(_) => Err(self.timeout(role, within).await),
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
            Err(_) => Err(self.timeout(role, within).await),
        }
    }

    async fn timeout(&self, role: Role, within: Duration) -> LeaseFault {
        let name = self.program(role).map_or_else(|| role.name().into(), |p| Arc::clone(&p.name));
        LeaseFault::Timeout { name, within, last_error: self.last_error(role).await }
    }

    /// Why the last worker of this kind ended or did not start.
    pub async fn last_error(&self, role: Role) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        self.requests.send(Request::Withdraw { role, reply }).await.ok()?;
        answer.await.ok().flatten()
    }

    /// Without waiting here; what finds no room in the queue waits in a task of its own.
    fn tell(&self, request: Request) {
        if let Err(mpsc::error::TrySendError::Full(request)) = self.requests.try_send(request) {
            let requests = self.requests.clone();
            tokio::spawn(async move { requests.send(request).await });
        }
    }

    /// What is started for a role.
    #[must_use]
    pub fn program(&self, role: Role) -> Option<&Program> {
        self.programs.get(&role)
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
