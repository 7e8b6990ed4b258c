//! A session's one task: it takes commands, its peers' and workers' reports and what encoders made, asks the pure
//! parts what follows, and does it. It never waits for a peer.

mod asked;
mod attached;
mod ending;
mod losses;
mod peers;
mod telling;
mod update;
mod workers;

use super::budget::Treasury;
use super::dance::{Dance, Leases};
use super::describe::Receipt;
use super::life::{self, Cause, Life, Times};
use super::member::{self, Report};
use super::mending::Mending;
use super::negotiate::{self, Outcome};
use super::output::Outputs;
use super::recovery::Recovery;
use super::relay::{self, Arrived, Relay};
use super::wiring::{Desired, Insert, Plan, Product, Source, Stream, TaskKey};
use crate::pipeline::Pipeline;
use crate::signaling::HubHandle;
use crate::staff::Offered;
use crate::workers::{Lease, LeaseFault, Pool, Role, WorkerEvent, WorkerId};
use asked::Asked;
pub use attached::Joiner;
use attached::{Absent, Tap};
use remotemedia_peer::{self as rtc, Candidate};
use remotemedia_shm_schema::control::{Operation, Sandbox, TaskId, ThreadBeat};
use remotemedia_shm_schema::{Codec, NodeId, OutputId, PeerId, SessionId};
use remotemedia_signaling::message::{Error, RequestId, SubscriptionSet};
use remotemedia_signaling::{Act, Room};
use remotemedia_worker::namespace::{Runtime, Swept};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use update::Update;

/// Commands and reports that may wait for a session (chosen: a hundred a peer).
pub const QUEUE: usize = 1024;
/// Events of one connection that may wait for its member: 200 ms of a fast sender.
const EVENTS: usize = 512;
/// A worker of ours must be there within this, or the session does not start (DESIGN: the start limit is 30 s; a caller who
/// waits for an answer is told earlier).
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often statistics go to the pages.
const STATISTICS: Duration = Duration::from_secs(1);
/// Changes in a row that may be late (chosen: 6 s), until only another wish is tried.
const MAX_LATE: u32 = 3;
/// Characters of a node's error that are kept and shown.
const MAX_NODE_ERROR: usize = 1024;
/// Keyframes of one encoder are asked for at most this often (DESIGN: 500 ms).
const KEYFRAME_INTERVAL: Duration = Duration::from_millis(500);

/// What every session is given.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whose peers are its members.
    pub room: Room,
    /// The pipeline's name.
    pub pipeline: String,
    /// Its graph and sizes.
    pub plan: Plan,
    /// Silence and grace.
    pub times: Times,
    /// How connections are made.
    pub peer: rtc::Settings,
    /// Whether it is one peer's own, in which that peer meets nobody.
    pub alone: bool,
}

/// What can be asked of a session.
pub enum Command {
    /// A peer that has the right wants something of a node.
    Act(NodeId, Act, Reply),
    /// A peer that has the right wants it to run another graph.
    Update(Pipeline, Reply),
    /// What a peer wants to receive.
    Subscribe(PeerId, SubscriptionSet, Reply),
    /// A peer offers.
    Offer(Offer),
    /// A peer answers the router's offer.
    Answer {
        /// Who.
        peer: PeerId,
        /// The offer's.
        request_id: RequestId,
        /// Its description.
        sdp: String,
    },
    /// A peer did not answer the router's offer in time.
    Unanswered {
        /// Who.
        peer: PeerId,
        /// The offer's.
        request_id: RequestId,
    },
    /// A candidate of a peer's.
    Candidate(PeerId, Candidate),
    /// A peer said goodbye.
    Left(PeerId),
    /// Its last socket closed.
    SocketGone(PeerId),
    /// It took its registration back.
    SocketBack(PeerId),
    /// What is it?
    Describe(oneshot::Sender<Value>),
    /// End it, and tell what was freed.
    Close(Cause, oneshot::Sender<Receipt>),
    /// A program wants to be part of it.
    Attach(Joiner),
    /// An operator wants something of it; the answer says whether it was done, or why not.
    Operate(Operation, oneshot::Sender<Result<(), String>>),
}

/// A handle to a session; its task ends by itself.
#[derive(Debug, Clone)]
pub struct Handle {
    /// Which.
    pub id: SessionId,
    /// To its task.
    pub commands: mpsc::Sender<Command>,
}

/// What a session's task runs on.
#[derive(Clone)]
pub struct Surroundings {
    /// Where namespaces are made.
    pub runtime: Arc<Runtime>,
    /// Where workers come from.
    pub pool: Pool,
    /// What parameters are checked against.
    pub offered: Arc<Offered>,
    /// Where peers are told.
    pub hub: HubHandle,
    /// Shared memory that there is for all sessions.
    pub treasury: Treasury,
    /// Where its comings and goings are told.
    pub news: mpsc::UnboundedSender<News>,
}

/// Where the answer to a peer's question goes.
pub type Reply = oneshot::Sender<Result<Value, Error>>;

/// An offer on its way to a session.
pub struct Offer {
    /// Who offers.
    pub peer: PeerId,
    /// The offer's.
    pub request_id: RequestId,
    /// Its description.
    pub sdp: String,
}

/// What whoever admits peers must know of a session.
pub enum News {
    /// A peer of this room has a connection.
    Joined(Room, PeerId),
    /// It has none any more.
    Left(Room, PeerId),
    /// The session is over; offers that came while it ended are for another.
    Ended(Receipt, Vec<Offer>),
}

struct Member {
    commands: mpsc::Sender<member::Command>,
    steps: mpsc::Sender<negotiate::Step>,
    views: BTreeMap<Stream, Codec>,
    /// Outputs that it asked for, and whether they are paused.
    subscriptions: BTreeMap<OutputId, bool>,
    targets: BTreeMap<Stream, u32>,
    connected: bool,
    /// The negotiation that candidates belong to.
    exchange: Option<RequestId>,
}

struct Actor {
    id: SessionId,
    settings: Settings,
    around: Surroundings,
    life: Life,
    began: Instant,
    /// How long it took until its first media were wired through all workers.
    ready: Option<Duration>,
    dance: Dance,
    desired: Desired,
    /// What was refused: not tried again until something else is wanted or a worker is replaced.
    refused: Option<Desired>,
    /// When to try again what memory lacked for.
    again_at: Option<Instant>,
    /// Changes in a row that were not ready in time: a busy machine is not a refusal.
    late: u32,
    /// Workers that were lost before their leases got here.
    lost_early: BTreeSet<WorkerId>,
    leases: Leases,
    recovery: Recovery,
    mending: Mending,
    /// Processes that died in the namespace in force.
    residents: u32,
    /// What dead workers' marks may name, until they are examined.
    tasks_of_dead: BTreeMap<WorkerId, BTreeMap<TaskId, TaskKey>>,
    /// When each process was lost that is not known to be away yet.
    lost_at: BTreeMap<Role, Instant>,
    taps: BTreeMap<Role, Tap>,
    /// Attached programs that go as soon as nothing is wired through them.
    leaving: BTreeSet<Role>,
    /// Attached nodes that were in force: what they stand for is not lifted by their failing.
    stood: BTreeSet<NodeId>,
    /// Attached ones that broke off, by their names.
    away: BTreeMap<String, Absent>,
    generations: BTreeMap<Role, u32>,
    /// What attached programs last told of their threads.
    beats: BTreeMap<Role, Vec<ThreadBeat>>,
    /// What locks each process, as it told.
    sandboxes: BTreeMap<Role, Sandbox>,
    outputs: Outputs,
    /// To the steward.
    relay: Option<Relay>,
    arrived: mpsc::Sender<Arrived>,
    members: BTreeMap<PeerId, Member>,
    tasks: JoinSet<()>,
    /// Namespaces of dead stewards, until they are swept.
    burials: JoinSet<Swept>,
    /// Memory of dead workers that is being given back.
    residues: JoinSet<()>,
    sources: BTreeMap<Source, u64>,
    keyframes: BTreeMap<Product, Keyframe>,
    /// When a worker's wish for a keyframe of a source was last passed on.
    wished: BTreeMap<Source, Instant>,
    bitrates: BTreeMap<Product, u32>,
    nodes: Arc<[(u8, NodeId)]>,
    worker_events: mpsc::Sender<WorkerEvent>,
    leased: mpsc::Sender<(Role, Result<Lease, LeaseFault>)>,
    reports: mpsc::Sender<(PeerId, Report)>,
    outcomes: mpsc::Sender<(PeerId, Outcome)>,
    closing: Vec<oneshot::Sender<Receipt>>,
    node_errors: BTreeMap<String, String>,
    /// When each node's last error was told.
    node_error_at: BTreeMap<NodeId, Instant>,
    /// The last that was told of each node that ever was not running.
    node_states: BTreeMap<String, String>,
    /// Parameters that their workers have not answered for yet.
    asked: Asked,
    /// The graph that is to take the place of the one in force.
    update: Option<Update>,
    /// Processes that end because no graph uses them any more.
    ends: JoinSet<()>,
}

#[derive(Default)]
struct Keyframe {
    asked: Option<Instant>,
    due: bool,
}

/// Starts a session's task.
///
/// # Errors
/// When its namespace cannot be made.
pub fn spawn(id: SessionId, settings: Settings, around: Surroundings) -> anyhow::Result<Handle> {
    let budget = around.treasury.open();
    budget.take(settings.plan.bytes_of_a_peer())?;
    let dance = Dance::new(&around.runtime, settings.plan.clone(), budget)?;
    let (arrived, unit_inbox) = mpsc::channel(relay::ARRIVED);
    let (commands, command_inbox) = mpsc::channel(QUEUE);
    let (worker_events, worker_inbox) = mpsc::channel(QUEUE);
    let (leased, lease_inbox) = mpsc::channel(8);
    let (reports, report_inbox) = mpsc::channel(QUEUE);
    let (outcomes, outcome_inbox) = mpsc::channel(QUEUE);
    let nodes = numbered(&settings.plan, &[]);
    let now = Instant::now();
    let actor = Actor {
        id: id.clone(),
        life: Life::new(now, settings.times),
        began: now,
        ready: None,
        dance,
        desired: Desired::default(),
        refused: None,
        again_at: None,
        late: 0,
        lost_early: BTreeSet::new(),
        leases: Leases::new(),
        recovery: Recovery::default(),
        mending: Mending::default(),
        residents: 0,
        tasks_of_dead: BTreeMap::new(),
        lost_at: BTreeMap::new(),
        taps: BTreeMap::new(),
        leaving: BTreeSet::new(),
        stood: BTreeSet::new(),
        away: BTreeMap::new(),
        generations: BTreeMap::new(),
        beats: BTreeMap::new(),
        sandboxes: BTreeMap::new(),
        outputs: Outputs::default(),
        relay: None,
        arrived,
        members: BTreeMap::new(),
        tasks: JoinSet::new(),
        burials: JoinSet::new(),
        residues: JoinSet::new(),
        sources: BTreeMap::new(),
        keyframes: BTreeMap::new(),
        wished: BTreeMap::new(),
        bitrates: BTreeMap::new(),
        nodes,
        worker_events,
        leased,
        reports,
        outcomes,
        closing: Vec::new(),
        node_errors: BTreeMap::new(),
        node_error_at: BTreeMap::new(),
        node_states: BTreeMap::new(),
        asked: Asked::default(),
        update: None,
        ends: JoinSet::new(),
        settings,
        around,
    };
    for role in actor.settings.plan.roles() {
        actor.lease(role, Duration::ZERO);
    }
    let inboxes = Inboxes {
        units: unit_inbox,
        commands: command_inbox,
        workers: worker_inbox,
        leases: lease_inbox,
        reports: report_inbox,
        outcomes: outcome_inbox,
    };
    tokio::spawn(actor.run(inboxes));
    Ok(Handle { id, commands })
}

/// Every node by its number, as stamps and marks tell them.
fn numbered(plan: &Plan, inserts: &[Insert]) -> Arc<[(u8, NodeId)]> {
    let segments = plan.segments().chain(inserts.iter().map(|insert| &insert.segment));
    let nodes = segments.flat_map(|segment| &segment.nodes);
    let all: BTreeSet<(u8, NodeId)> = nodes.map(|node| (node.number, node.id.clone())).collect();
    all.into_iter().collect()
}

struct Inboxes {
    units: mpsc::Receiver<Arrived>,
    commands: mpsc::Receiver<Command>,
    workers: mpsc::Receiver<WorkerEvent>,
    leases: mpsc::Receiver<(Role, Result<Lease, LeaseFault>)>,
    reports: mpsc::Receiver<(PeerId, Report)>,
    outcomes: mpsc::Receiver<(PeerId, Outcome)>,
}

impl Actor {
    async fn run(mut self, mut inbox: Inboxes) {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut statistics = tokio::time::interval(STATISTICS);
        statistics.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let cause = loop {
            tokio::select! {
                Some(arrived) = inbox.units.recv() => self.hand_on(arrived),
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                Some(_) = self.ends.join_next(), if !self.ends.is_empty() => {}
                Some((peer, report)) = inbox.reports.recv() => self.report(peer, report),
                Some((peer, outcome)) = inbox.outcomes.recv() => self.outcome(peer, outcome),
                Some(event) = inbox.workers.recv() => self.worker(event),
                Some((role, lease)) = inbox.leases.recv() => self.granted(role, lease),
                Some(command) = inbox.commands.recv() => self.command(command).await,
                _ = tick.tick() => self.tick(),
                _ = statistics.tick() => self.statistics(),
            }
            self.follow_update();
            if let Some(cause) = self.follow_life() {
                break cause;
            }
        };
        self.tear_down(cause, inbox).await;
    }

    fn live(&mut self, event: life::Event) {
        self.life.handle(Instant::now(), event);
    }

    fn follow_life(&mut self) -> Option<Cause> {
        while let Some(action) = self.life.poll() {
            match action {
                life::Action::Drop(peer, cause) => self.drop_peer(&peer, &cause),
                life::Action::Suspend => tracing::info!(session = %self.id, "suspended"),
                life::Action::Resume => tracing::info!(session = %self.id, "resumed"),
                life::Action::TearDown(cause) => return Some(cause),
            }
        }
        None
    }

    fn tick(&mut self) {
        let now = Instant::now();
        self.life.tick(now);
        let replans = self.dance.replans();
        let late = self.dance.tick(now, &self.leases);
        let late = if replans { self.late_for_update(late) } else { late };
        if !late.is_empty() {
            self.late += 1;
            tracing::warn!(session = %self.id, times = self.late, ?late, "a change of wiring was not ready in time");
            let attached = late.iter().all(|role| matches!(role, Role::Attached(_)));
            if attached || self.late >= MAX_LATE {
                self.unwilling(late.clone(), "it was not ready in time");
                self.end_hung(&late);
                if self.ready.is_none() {
                    let why = "the workers were not ready in time";
                    self.live(life::Event::StartFailed(why.into()));
                }
            }
        }
        self.look_for_silence(now);
        self.look_for_update(now);
        self.look_for_absence(now);
        self.look_for_returns(now);
        // A unit that was on its way may have ended the silence too early.
        self.hush();
        self.repeat_held(now);
        self.send_due_keyframes();
        self.advance();
    }
}
