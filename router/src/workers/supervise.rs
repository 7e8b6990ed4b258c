//! Pure: which worker processes shall exist, and what becomes of each.
//!
//! Told of starts, beats, leases, ends and the time; answers with [`Action`]s. Every worker is in exactly one
//! [`State`]. A worker serves one session and is not used again: what a stranger's bitstream may have left in its memory
//! ends with the session. One of a shared role (a model that is loaded once) serves many.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// A process that was ready for so long has started well: the pause before starts after it begins anew (chosen).
const STEADY: Duration = Duration::from_secs(5);

/// A kind of process in a session: what it does there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Decodes and encodes.
    Codec,
    /// Runs our own nodes.
    Pipeline,
    /// Keeps a session's services and carries access units between them and the router.
    Steward,
    /// Runs nodes of a program that the operator describes: its place in the config.
    Custom(u16),
    /// A program that was started by hand and attached: its number among those of this router.
    Attached(u32),
}

impl Role {
    /// Our own.
    pub const OWN: [Self; 3] = [Self::Codec, Self::Pipeline, Self::Steward];

    /// Its kind in tables and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Codec => "codec",
            Self::Pipeline => "pipeline",
            Self::Steward => "steward",
            Self::Custom(_) => "custom",
            Self::Attached(_) => "attached",
        }
    }
}

/// How many processes of a role there are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Staff {
    /// Idle ones that are kept ready; of a shared role, all of them.
    pub spares: usize,
    /// One process serves many sessions.
    pub shared: bool,
}

/// One process among all that this router ever started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerId(pub u64);

/// A session's request for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Times and numbers that the supervisor goes by.
#[derive(Debug, Clone)]
pub struct Limits {
    /// The roles that are started, and how many of each are kept ready.
    pub staff: BTreeMap<Role, Staff>,
    /// Sessions that one shared worker serves at once (the SDK takes 64).
    pub sessions_of_one: usize,
    /// Without a heartbeat for so long a worker is hung (chosen: on two cores with ten busy processes the scheduler alone
    /// takes half of it).
    pub beat_timeout: Duration,
    /// Not ready for so long after its start it is hung (DESIGN: 30 s).
    pub start_timeout: Duration,
    /// A retiring worker that is still there after so long is killed (chosen).
    pub drain_timeout: Duration,
    /// First pause after a start that failed; doubles up to `backoff_max`.
    pub backoff_min: Duration,
    /// See `backoff_min`.
    pub backoff_max: Duration,
    /// A spare that was taken is replaced so much later (chosen): its start would take the cores from the session that took it,
    /// which is wired in less.
    pub refill_after: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            staff: Role::OWN.map(|role| (role, Staff { spares: 2, shared: false })).into(),
            sessions_of_one: 64,
            beat_timeout: Duration::from_secs(1),
            start_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_millis(250),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_secs(5),
            refill_after: Duration::from_millis(50),
        }
    }
}

/// Where in its life a worker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Started, has not said hello and catalogue yet.
    Starting {
        /// When it was started.
        since: Instant,
    },
    /// Ready, serves nobody.
    Spare {
        /// Its last heartbeat.
        beat: Instant,
    },
    /// Serves a session, or several.
    Leased {
        /// Its last heartbeat.
        beat: Instant,
    },
    /// Was asked to end.
    Retiring {
        /// When it was asked.
        since: Instant,
    },
    /// Was killed and is not reaped yet.
    Killed,
}

/// What the edge shall do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Start a process.
    Start {
        /// Under this id.
        worker: WorkerId,
        /// Of this kind.
        role: Role,
    },
    /// Give it to the session that asked.
    Grant {
        /// Which.
        worker: WorkerId,
        /// Whose request.
        ticket: Ticket,
    },
    /// Tell it to finish and exit.
    Drain {
        /// Which.
        worker: WorkerId,
    },
    /// SIGKILL.
    Kill {
        /// Which.
        worker: WorkerId,
        /// Why, for log and `ps`.
        reason: KillReason,
    },
    /// Tell the session that its worker is gone.
    Lost {
        /// Which.
        worker: WorkerId,
        /// Whose request it answered.
        ticket: Ticket,
    },
}

/// Why a worker is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillReason {
    /// No heartbeat.
    NoBeat,
    /// One call took longer than its task's limit.
    Busy,
    /// Not ready within the start limit.
    SlowStart,
    /// Did not end when asked.
    SlowDrain,
    /// Said something that is not in the protocol, or too much.
    Protocol,
}

impl KillReason {
    /// For people.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::NoBeat => "no heartbeat for 1 s",
            Self::Busy => "one call took longer than its frame limit",
            Self::SlowStart => "not ready within its start limit",
            Self::SlowDrain => "did not end when it was asked to",
            Self::Protocol => "broke the control protocol",
        }
    }
}

#[derive(Debug)]
struct Worker {
    role: Role,
    state: State,
    /// Whose requests it answered; more than one only where the role is shared.
    tickets: BTreeSet<Ticket>,
    /// When it said what it can do.
    ready: Option<Instant>,
    /// It was killed before it served anybody.
    failed_start: bool,
}

#[derive(Debug, Default)]
struct Starts {
    failures: u32,
    not_before: Option<Instant>,
    /// When a spare was taken that is not replaced yet.
    taken: Option<Instant>,
}

/// The state machine.
#[derive(Debug)]
pub struct Supervisor {
    limits: Limits,
    workers: BTreeMap<WorkerId, Worker>,
    waiting: VecDeque<(Ticket, Role)>,
    starts: BTreeMap<Role, Starts>,
    /// Roles of which one has said what it can do.
    known: BTreeSet<Role>,
    actions: VecDeque<Action>,
    next: u64,
    stopping: bool,
}

impl Supervisor {
    /// Begins with nothing; the first [`Self::tick`] asks for the spares.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let fresh = |role: &Role| (*role, Starts::default());
        let starts = limits.staff.keys().map(fresh).collect();
        Self {
            limits,
            workers: BTreeMap::new(),
            waiting: VecDeque::new(),
            starts,
            known: BTreeSet::new(),
            actions: VecDeque::new(),
            next: 1,
            stopping: false,
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// A worker said what it can do: it is ready.
    pub fn ready(&mut self, now: Instant, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.state {
            State::Starting { .. } => {
                worker.state = State::Spare { beat: now };
                worker.ready = Some(now);
                self.known.insert(worker.role);
                self.grant(now);
            }
            State::Spare { .. } | State::Leased { .. } => self.kill(id, KillReason::Protocol),
            State::Retiring { .. } | State::Killed => {}
        }
    }

    /// A heartbeat came; `overdue` when one of its calls is over its limit.
    pub fn beat(&mut self, now: Instant, id: WorkerId, overdue: bool) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        // Not when it is ready: one that says so and dies at once would be started again and again without a pause.
        if worker.ready.is_some_and(|ready| now.saturating_duration_since(ready) >= STEADY)
            && let Some(starts) = self.starts.get_mut(&worker.role)
        {
            (starts.failures, starts.not_before) = (0, None);
        }
        match &mut worker.state {
            State::Spare { beat } | State::Leased { beat } => {
                *beat = now;
                if overdue {
                    self.kill(id, KillReason::Busy);
                }
            }
            State::Starting { .. } | State::Retiring { .. } | State::Killed => {}
        }
    }

    /// It broke the protocol, or its socket closed.
    pub fn broken(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        match worker.state {
            State::Starting { .. } | State::Spare { .. } | State::Leased { .. } => {
                self.kill(id, KillReason::Protocol);
            }
            // It was asked to end, and closes its socket as it does.
            State::Retiring { .. } | State::Killed => {}
        }
    }

    /// It says more than anybody can hear: it is not given the time to end by itself.
    pub fn floods(&mut self, id: WorkerId) {
        self.kill(id, KillReason::Protocol);
    }

    /// Its process was reaped.
    pub fn exited(&mut self, now: Instant, id: WorkerId) {
        let Some(worker) = self.workers.remove(&id) else { return };
        match worker.state {
            State::Starting { .. } => self.start_failed(now, worker.role),
            State::Leased { .. } => {
                let lost = worker
                    .tickets
                    .iter()
                    .map(|ticket| Action::Lost { worker: id, ticket: *ticket });
                self.actions.extend(lost);
            }
            State::Spare { .. } => self.start_failed(now, worker.role),
            // Its socket's end is usually heard before its process's.
            State::Killed if worker.failed_start => self.start_failed(now, worker.role),
            State::Retiring { .. } | State::Killed => {}
        }
        self.refill(now);
    }

    /// A session wants a worker.
    pub fn lease(&mut self, now: Instant, ticket: Ticket, role: Role) {
        self.waiting.push_back((ticket, role));
        self.grant(now);
        self.refill(now);
    }

    /// The session does not wait any more.
    pub fn withdraw(&mut self, ticket: Ticket) {
        self.waiting.retain(|(waiting, _)| *waiting != ticket);
    }

    /// A session does not need this worker any more. One that others use goes on.
    pub fn release(&mut self, now: Instant, id: WorkerId, ticket: Ticket) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        worker.tickets.remove(&ticket);
        let shared = self.limits.staff.get(&worker.role).is_some_and(|staff| staff.shared);
        match worker.state {
            State::Leased { beat } if shared => {
                if worker.tickets.is_empty() {
                    worker.state = State::Spare { beat };
                }
            }
            State::Starting { .. }
            | State::Spare { .. }
            | State::Leased { .. }
            | State::Retiring { .. }
            | State::Killed => self.retire(now, id),
        }
    }

    /// It is asked to end, whoever uses it.
    fn retire(&mut self, now: Instant, id: WorkerId) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        match worker.state {
            State::Starting { .. } | State::Spare { .. } | State::Leased { .. } => {
                worker.state = State::Retiring { since: now };
                self.actions.push_back(Action::Drain { worker: id });
            }
            State::Retiring { .. } | State::Killed => {}
        }
    }

    /// No more starts; everyone is asked to end.
    pub fn stop(&mut self, now: Instant) {
        self.stopping = true;
        self.waiting.clear();
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        for id in all {
            self.retire(now, id);
        }
    }

    /// Looks at the clock.
    pub fn tick(&mut self, now: Instant) {
        let mut kills = Vec::new();
        for (id, worker) in &self.workers {
            let over = |since: Instant, limit| now.saturating_duration_since(since) >= limit;
            match worker.state {
                State::Starting { since } if over(since, self.limits.start_timeout) => {
                    kills.push((*id, KillReason::SlowStart));
                }
                State::Spare { beat } | State::Leased { beat }
                    if over(beat, self.limits.beat_timeout) =>
                {
                    kills.push((*id, KillReason::NoBeat));
                }
                State::Retiring { since } if over(since, self.limits.drain_timeout) => {
                    kills.push((*id, KillReason::SlowDrain));
                }
                State::Starting { .. }
                | State::Spare { .. }
                | State::Leased { .. }
                | State::Retiring { .. }
                | State::Killed => {}
            }
        }
        for (id, reason) in kills {
            self.kill(id, reason);
        }
        self.refill(now);
    }

    /// Whether one worker of this role serves many sessions.
    #[must_use]
    pub fn shared(&self, role: Role) -> bool {
        self.limits.staff.get(&role).is_some_and(|staff| staff.shared)
    }

    /// How many are in no other state than being gone.
    #[must_use]
    pub fn alive(&self) -> usize {
        self.workers.len()
    }

    /// Every worker with its role and state.
    pub fn workers(&self) -> impl Iterator<Item = (WorkerId, Role, State)> {
        self.workers.iter().map(|(id, worker)| (*id, worker.role, worker.state))
    }

    fn kill(&mut self, id: WorkerId, reason: KillReason) {
        let Some(worker) = self.workers.get_mut(&id) else { return };
        let tickets = match worker.state {
            State::Leased { .. } => std::mem::take(&mut worker.tickets),
            State::Killed => return,
            State::Starting { .. } | State::Spare { .. } | State::Retiring { .. } => {
                BTreeSet::new()
            }
        };
        worker.failed_start = matches!(worker.state, State::Starting { .. } | State::Spare { .. });
        worker.state = State::Killed;
        self.actions.push_back(Action::Kill { worker: id, reason });
        // The sessions need not wait for the corpse: SIGKILL cannot be refused.
        let lost = tickets.into_iter().map(|ticket| Action::Lost { worker: id, ticket });
        self.actions.extend(lost);
    }

    fn start_failed(&mut self, now: Instant, role: Role) {
        if let Some(starts) = self.starts.get_mut(&role) {
            let pause = self
                .limits
                .backoff_min
                .saturating_mul(1 << starts.failures.min(16))
                .min(self.limits.backoff_max);
            starts.failures = starts.failures.saturating_add(1);
            starts.not_before = Some(now + pause);
        }
    }

    fn grant(&mut self, now: Instant) {
        let mut still = VecDeque::new();
        while let Some((ticket, role)) = self.waiting.pop_front() {
            let shared = self.shared(role);
            let most = if shared { self.limits.sessions_of_one } else { 1 };
            // Of shared ones the one with the least to do, so that each session has its fair share.
            let free = self.workers.iter_mut().filter(|(_, worker)| {
                worker.role == role
                    && matches!(worker.state, State::Spare { .. } | State::Leased { .. })
                    && worker.tickets.len() < most
            });
            match free.min_by_key(|(id, worker)| (worker.tickets.len(), **id)) {
                Some((id, worker)) => {
                    let beat = match worker.state {
                        State::Leased { beat } => beat,
                        _ => {
                            if let Some(starts) = self.starts.get_mut(&role) {
                                starts.taken.get_or_insert(now);
                            }
                            now
                        }
                    };
                    worker.state = State::Leased { beat };
                    worker.tickets.insert(ticket);
                    self.actions.push_back(Action::Grant { worker: *id, ticket });
                }
                None => still.push_back((ticket, role)),
            }
        }
        self.waiting = still;
    }

    fn refill(&mut self, now: Instant) {
        if self.stopping {
            return;
        }
        for (role, staff) in self.limits.staff.clone() {
            let Some(starts) = self.starts.get_mut(&role) else { continue };
            if starts.not_before.is_some_and(|t| now < t) {
                continue;
            }
            let settled = |since: &mut Instant| {
                now.saturating_duration_since(*since) >= self.limits.refill_after
            };
            starts.taken.take_if(settled);
            // Whoever waits for one is given one at once all the same.
            let spares = if starts.taken.is_some() { 0 } else { staff.spares };
            let coming = self
                .workers
                .values()
                .filter(|worker| {
                    worker.role == role
                        && match worker.state {
                            State::Starting { .. } | State::Spare { .. } => true,
                            State::Leased { .. } => staff.shared,
                            State::Retiring { .. } | State::Killed => false,
                        }
                })
                .count();
            let waiting = self.waiting.iter().filter(|(_, waiting)| *waiting == role).count();
            let wanted = if staff.shared {
                // A model is loaded as often as there are processes: one more only when all are full.
                let used: usize =
                    self.workers.values().filter(|w| w.role == role).map(|w| w.tickets.len()).sum();
                spares.max((used + waiting).div_ceil(self.limits.sessions_of_one.max(1)))
            } else {
                spares + waiting
            };
            // Without spares, too, one tells what its kind can do.
            let wanted = wanted.max(usize::from(!self.known.contains(&role)));
            for _ in coming..wanted {
                let id = WorkerId(self.next);
                self.next += 1;
                let state = State::Starting { since: now };
                let worker = Worker {
                    role,
                    state,
                    tickets: BTreeSet::new(),
                    ready: None,
                    failed_start: false,
                };
                self.workers.insert(id, worker);
                self.actions.push_back(Action::Start { worker: id, role });
            }
        }
    }
}

#[cfg(test)]
mod tests;
