//! A session's one task: it takes commands, its peers' and workers' reports and its channels' wake-ups, asks the pure
//! parts what follows, and does it. It never waits for a peer.

use super::dance::{Dance, Ports};
use super::describe::{self, Receipt};
use super::egress::Egress;
use super::life::{self, Cause, Life, Times};
use super::member::{self, Report};
use super::negotiate::{self, Outcome, Return};
use super::output::{Made, Outputs};
use super::sdp::Section;
use super::wakeup;
use super::wiring::{Desired, Kind, Plan, Product, Source, TaskKey};
use crate::signaling::HubHandle;
use crate::workers::{Lease, LeaseFault, Pool, Role, WorkerEvent};
use remotemedia_peer::{self as rtc, Candidate, Connection, PeerError, Sender};
use remotemedia_rtp::egress::Start;
use remotemedia_shm_schema::control::{KeyframeReason, ToRouter, ToWorker};
use remotemedia_shm_schema::{Codec, NodeId, PeerId, SessionId};
use remotemedia_signaling::message::{Reason, RequestId};
use remotemedia_signaling::{FromRouter, Room};
use remotemedia_worker::Wake;
use remotemedia_worker::namespace::Runtime;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Commands and reports that may wait for a session (chosen: a hundred a peer).
const QUEUE: usize = 1024;
/// Events of one connection that may wait for its member: 200 ms of a fast sender.
const EVENTS: usize = 512;
/// A worker must be there within this, or the session does not start (DESIGN: the start limit is 30 s; a caller who
/// waits for an answer is told earlier).
const LEASE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often statistics go to the pages.
const STATISTICS: Duration = Duration::from_secs(1);
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
    /// Whether a peer gets its own media back, or the others'.
    pub mirror: bool,
}

/// What can be asked of a session.
pub enum Command {
    /// A peer offers.
    Offer {
        /// Who.
        peer: PeerId,
        /// The offer's.
        request_id: RequestId,
        /// Its description.
        sdp: String,
    },
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
    /// Where peers are told.
    pub hub: HubHandle,
    /// Where its end is told.
    pub ended: mpsc::UnboundedSender<Receipt>,
}

struct Member {
    commands: mpsc::Sender<member::Command>,
    steps: mpsc::Sender<negotiate::Step>,
    views: BTreeMap<Source, Codec>,
    targets: BTreeMap<Source, u32>,
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
    dance: Dance,
    desired: Desired,
    /// What was refused: not tried again until something else is wanted or a worker is replaced.
    refused: Option<Desired>,
    leases: BTreeMap<Role, Lease>,
    generations: BTreeMap<Role, u32>,
    outputs: Outputs,
    members: BTreeMap<PeerId, Member>,
    tasks: JoinSet<()>,
    sources: BTreeMap<Source, u64>,
    keyframes: BTreeMap<Product, Keyframe>,
    bitrates: BTreeMap<Product, u32>,
    nodes: Arc<[(u8, NodeId)]>,
    worker_events: mpsc::Sender<WorkerEvent>,
    leased: mpsc::Sender<(Role, Result<Lease, LeaseFault>)>,
    reports: mpsc::Sender<(PeerId, Report)>,
    outcomes: mpsc::Sender<(PeerId, Outcome)>,
    closing: Vec<oneshot::Sender<Receipt>>,
    node_errors: BTreeMap<String, String>,
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
    let (dance, wake) = Dance::new(&around.runtime, settings.plan.clone())?;
    let wake = wakeup::register(wake)?;
    let (commands, command_inbox) = mpsc::channel(QUEUE);
    let (worker_events, worker_inbox) = mpsc::channel(QUEUE);
    let (leased, lease_inbox) = mpsc::channel(8);
    let (reports, report_inbox) = mpsc::channel(QUEUE);
    let (outcomes, outcome_inbox) = mpsc::channel(QUEUE);
    let all_nodes = settings.plan.video_nodes.iter().chain(&settings.plan.audio_nodes);
    let nodes = all_nodes.map(|node| (node.number, node.id.clone())).collect();
    let now = Instant::now();
    let actor = Actor {
        id: id.clone(),
        life: Life::new(now, settings.times),
        began: now,
        dance,
        desired: Desired::default(),
        refused: None,
        leases: BTreeMap::new(),
        generations: BTreeMap::new(),
        outputs: Outputs::default(),
        members: BTreeMap::new(),
        tasks: JoinSet::new(),
        sources: BTreeMap::new(),
        keyframes: BTreeMap::new(),
        bitrates: BTreeMap::new(),
        nodes,
        worker_events,
        leased,
        reports,
        outcomes,
        closing: Vec::new(),
        node_errors: BTreeMap::new(),
        settings,
        around,
    };
    for role in Role::ALL {
        actor.lease(role);
    }
    let inboxes = Inboxes {
        commands: command_inbox,
        workers: worker_inbox,
        leases: lease_inbox,
        reports: report_inbox,
        outcomes: outcome_inbox,
    };
    tokio::spawn(actor.run(wake, inboxes));
    Ok(Handle { id, commands })
}

struct Inboxes {
    commands: mpsc::Receiver<Command>,
    workers: mpsc::Receiver<WorkerEvent>,
    leases: mpsc::Receiver<(Role, Result<Lease, LeaseFault>)>,
    reports: mpsc::Receiver<(PeerId, Report)>,
    outcomes: mpsc::Receiver<(PeerId, Outcome)>,
}

impl Actor {
    async fn run(mut self, wake: AsyncFd<Wake>, mut inbox: Inboxes) {
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut statistics = tokio::time::interval(STATISTICS);
        statistics.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let cause = loop {
            tokio::select! {
                ready = wake.readable() => {
                    if let Ok(mut guard) = ready {
                        // Cleared before the channels are read: what comes meanwhile wakes again.
                        wake.get_ref().drain(|_| {});
                        guard.clear_ready();
                    }
                    self.hand_on();
                }
                Some((peer, report)) = inbox.reports.recv() => self.report(peer, report),
                Some((peer, outcome)) = inbox.outcomes.recv() => self.outcome(peer, outcome),
                Some(event) = inbox.workers.recv() => self.worker(event),
                Some((role, lease)) = inbox.leases.recv() => self.granted(role, lease),
                Some(command) = inbox.commands.recv() => self.command(command).await,
                _ = tick.tick() => self.tick(),
                _ = statistics.tick() => self.statistics(),
            }
            if let Some(cause) = self.follow_life() {
                break cause;
            }
        };
        self.tear_down(cause, wake, inbox).await;
    }

    // --- life ---------------------------------------------------------------------------------------------------

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
        let leases: Vec<&Lease> = self.leases.values().collect();
        if self.dance.tick(now, &leases) {
            tracing::warn!(session = %self.id, "a change of wiring was not ready in time; the old one stays");
            self.refused = Some(self.desired.clone());
        }
        self.send_due_keyframes();
        // A wake-up that a dying encoder lost is made up for here.
        self.hand_on();
        self.advance();
    }

    // --- workers ------------------------------------------------------------------------------------------------

    fn lease(&self, role: Role) {
        let (pool, session) = (self.around.pool.clone(), self.id.clone());
        let (events, leased) = (self.worker_events.clone(), self.leased.clone());
        tokio::spawn(async move {
            let lease = pool.lease(role, session, events, LEASE_TIMEOUT).await;
            // A session that is gone meanwhile drops the lease, which ends the worker.
            let _ = leased.send((role, lease)).await;
        });
    }

    fn granted(&mut self, role: Role, lease: Result<Lease, LeaseFault>) {
        match lease {
            Ok(lease) => {
                if role == Role::Pipeline
                    && let Err(fault) = describe::check_nodes(&self.settings.plan, &lease.catalogue)
                {
                    self.live(life::Event::StartFailed(fault));
                    return;
                }
                *self.generations.entry(role).or_insert(0) += 1;
                self.dance.assign(&lease);
                self.leases.insert(role, lease);
                self.refused = None;
                if self.leases.len() == Role::ALL.len() {
                    self.live(life::Event::Started);
                }
                self.advance();
            }
            Err(fault) => {
                let event = if self.generations.contains_key(&role) {
                    life::Event::Failed(fault.to_string())
                } else {
                    life::Event::StartFailed(fault.to_string())
                };
                self.live(event);
            }
        }
    }

    fn worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Lost { worker, role } => {
                if self.leases.get(&role).is_none_or(|lease| lease.id != worker) {
                    return;
                }
                self.leases.remove(&role);
                tracing::warn!(session = %self.id, role = role.name(), "worker lost; taking another");
                let survivors: Vec<&Lease> = self.leases.values().collect();
                self.dance.lost(&survivors);
                let state = serde_json::json!({
                    "event": "session.node_state", "node": role.name(), "state": "restarting",
                    "generation": self.generations.get(&role),
                });
                self.notify(&state);
                self.lease(role);
            }
            WorkerEvent::Message(worker, message) => {
                let Some(role) =
                    self.leases.values().find(|lease| lease.id == worker).map(|lease| lease.role)
                else {
                    return;
                };
                self.message(role, message);
            }
        }
    }

    fn message(&mut self, role: Role, message: ToRouter) {
        match message {
            ToRouter::Ready { epoch, .. } => {
                let leases: Vec<&Lease> = self.leases.values().collect();
                let ports = self.dance.ready(role, epoch, &leases, Instant::now());
                self.switched(ports);
                self.advance();
            }
            ToRouter::Refused { epoch, error, .. } => {
                let leases: Vec<&Lease> = self.leases.values().collect();
                if self.dance.refused(epoch, &leases) {
                    tracing::warn!(session = %self.id, role = role.name(), "refused a wiring: {error}");
                    self.refused = Some(self.desired.clone());
                    if self.dance.wiring().epoch() == 0 {
                        self.live(life::Event::StartFailed(error));
                    }
                }
            }
            ToRouter::KeyframeWanted { channel, .. } => {
                if let Some(source) = self.dance.wiring().source_of(channel).cloned() {
                    self.offer(&source.peer, member::Command::Keyframe);
                } else if let Some(product) = self.dance.wiring().product_of(channel).cloned() {
                    self.keyframe(&product);
                }
            }
            ToRouter::NodeError { node, error, .. } => {
                let event = serde_json::json!({
                    "event": "session.node_state", "node": node, "state": "error", "error": error,
                });
                self.node_errors.insert(node.to_string(), error);
                self.notify(&event);
            }
            ToRouter::Assigned { .. }
            | ToRouter::Applied { .. }
            | ToRouter::Released { .. }
            | ToRouter::Catalogue(_)
            | ToRouter::Heartbeat { .. }
            | ToRouter::Drained => {}
        }
    }

    // --- wiring -------------------------------------------------------------------------------------------------

    fn advance(&mut self) {
        if self.refused.as_ref() == Some(&self.desired) {
            return;
        }
        let leases: Vec<&Lease> = self.leases.values().collect();
        let ports = self.dance.advance(&self.desired, &leases, Instant::now());
        self.switched(ports);
    }

    fn switched(&mut self, ports: anyhow::Result<Option<Ports>>) {
        let ports = match ports {
            Ok(Some(ports)) => ports,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(session = %self.id, "cannot change the wiring: {error:#}");
                self.refused = Some(self.desired.clone());
                if self.dance.wiring().epoch() == 0 {
                    self.live(life::Event::StartFailed(format!("{error:#}")));
                }
                return;
            }
        };
        for source in ports.closed_outlets {
            let codec = self.desired.sources.get(&source).copied().unwrap_or(Codec::Opus);
            let command =
                member::Command::Write { kind: source.kind, codec, source: 0, outlet: None };
            self.offer(&source.peer, command);
        }
        for product in &ports.closed_inlets {
            self.outputs.close(product);
        }
        for (product, inlet) in ports.inlets {
            self.outputs.open(product, inlet);
        }
        for (source, outlet) in ports.outlets {
            let Some(codec) = self.desired.sources.get(&source).copied() else { continue };
            let next = self.sources.len() as u64 + 1;
            let number = *self.sources.entry(source.clone()).or_insert(next);
            let command = member::Command::Write {
                kind: source.kind,
                codec,
                source: number,
                outlet: Some(Box::new(outlet)),
            };
            self.offer(&source.peer, command);
        }
        // Encoders that began anew know nothing of the rates that viewers allow.
        self.bitrates.clear();
        self.aim();
    }

    fn hand_on(&mut self) {
        let (members, mut slow) = (&self.members, Vec::new());
        let (keyframes, more) = self.outputs.drain(|product, made| {
            for (peer, member) in members {
                if member.views.get(&product.source) != Some(&product.codec) {
                    continue;
                }
                let source = product.source.clone();
                let command = match &made {
                    Made::Frame(batch) => member::Command::Media(source, Arc::clone(batch)),
                    Made::Silence(at, duration) => member::Command::Silence(source, *at, *duration),
                };
                // Full: this viewer misses a frame, sees the hole in the numbers, and waits for a keyframe.
                if member.commands.try_send(command).is_err() {
                    slow.push(peer.clone());
                }
            }
        });
        for product in keyframes {
            self.keyframe(&product);
        }
        if more {
            // The rest has its turn after the others': the tick or the next event comes soon.
            tracing::trace!(session = %self.id, "a channel had more than its share");
        }
        if !slow.is_empty() {
            tracing::debug!(session = %self.id, ?slow, "members do not keep up");
        }
    }

    fn keyframe(&mut self, product: &Product) {
        self.keyframes.entry(product.clone()).or_default().due = true;
        self.send_due_keyframes();
    }

    fn send_due_keyframes(&mut self) {
        let now = Instant::now();
        for (product, keyframe) in &mut self.keyframes {
            let early = keyframe
                .asked
                .is_some_and(|asked| now.saturating_duration_since(asked) < KEYFRAME_INTERVAL);
            if !keyframe.due || early {
                continue;
            }
            let Some(task) = self.dance.wiring().find(&TaskKey::Encode(product.clone())) else {
                continue;
            };
            if let Some(lease) = self.leases.get(&Role::Codec) {
                keyframe.due = false;
                keyframe.asked = Some(now);
                lease.send(ToWorker::Keyframe {
                    session: self.id.clone(),
                    channel: task.output.index,
                    epoch: task.output.epoch,
                    reason: KeyframeReason::Viewer,
                });
            }
        }
    }

    /// Gives each encoder the rate of the weakest of its viewers.
    fn aim(&mut self) {
        let mut rates: BTreeMap<Product, u32> = BTreeMap::new();
        for member in self.members.values() {
            for (source, codec) in &member.views {
                if let Some(target) = member.targets.get(source) {
                    let product = Product { source: source.clone(), codec: *codec };
                    let rate = rates.entry(product).or_insert(u32::MAX);
                    *rate = (*rate).min(*target);
                }
            }
        }
        for (product, rate) in rates {
            if self.bitrates.get(&product) == Some(&rate) || product.source.kind == Kind::Audio {
                continue;
            }
            let Some(task) = self.dance.wiring().find(&TaskKey::Encode(product.clone())) else {
                continue;
            };
            if let Some(lease) = self.leases.get(&Role::Codec) {
                lease.send(ToWorker::Bitrate {
                    session: self.id.clone(),
                    channel: task.output.index,
                    epoch: task.output.epoch,
                    bits_per_second: rate,
                });
                self.bitrates.insert(product, rate);
            }
        }
    }

    // --- peers --------------------------------------------------------------------------------------------------

    /// Offers a command to a member; one that takes none any more has failed, and leaves.
    fn offer(&mut self, peer: &PeerId, command: member::Command) {
        let Some(member) = self.members.get(peer) else { return };
        if member.commands.try_send(command).is_err() {
            tracing::warn!(session = %self.id, %peer, "its media task does not take commands");
            self.live(life::Event::MediaGone(peer.clone()));
        }
    }

    async fn command(&mut self, command: Command) {
        match command {
            Command::Offer { peer, request_id, sdp } => {
                if !self.members.contains_key(&peer)
                    && let Err(error) = self.join(peer.clone()).await
                {
                    self.refuse(peer, request_id, &error);
                    return;
                }
                self.step(&peer, negotiate::Step::Offer { request_id, sdp });
            }
            Command::Answer { peer, request_id, sdp } => {
                self.step(&peer, negotiate::Step::Answer { request_id, sdp });
            }
            Command::Unanswered { peer, request_id } => {
                self.step(&peer, negotiate::Step::Unanswered { request_id });
            }
            Command::Candidate(peer, candidate) => {
                self.step(&peer, negotiate::Step::Candidate(candidate));
            }
            Command::Left(peer) => self.live(life::Event::Left(peer)),
            Command::SocketGone(peer) => self.live(life::Event::SocketGone(peer)),
            Command::SocketBack(peer) => self.live(life::Event::SocketBack(peer)),
            Command::Describe(reply) => self.describe(reply),
            Command::Close(cause, reply) => {
                self.closing.push(reply);
                let event = match cause {
                    Cause::Stopping => life::Event::Stopping,
                    _ => life::Event::CloseAsked,
                };
                self.live(event);
            }
        }
    }

    async fn join(&mut self, peer: PeerId) -> Result<(), PeerError> {
        let (events, event_inbox) = mpsc::channel(EVENTS);
        let connection = Connection::new(self.settings.peer.clone(), events).await?;
        let (commands, command_inbox) = mpsc::channel(member::COMMANDS);
        let (steps, step_inbox) = mpsc::channel(negotiate::STEPS);
        let mode = if self.settings.mirror { Return::Mirror } else { Return::Others };
        self.tasks.spawn(member::run(
            peer.clone(),
            connection.clone(),
            event_inbox,
            command_inbox,
            self.reports.clone(),
        ));
        self.tasks.spawn(negotiate::run(
            peer.clone(),
            connection,
            mode,
            step_inbox,
            self.outcomes.clone(),
        ));
        let member = Member {
            commands,
            steps,
            views: BTreeMap::new(),
            targets: BTreeMap::new(),
            connected: false,
            exchange: None,
        };
        self.members.insert(peer.clone(), member);
        self.live(life::Event::Joined(peer));
        Ok(())
    }

    fn step(&mut self, peer: &PeerId, step: negotiate::Step) {
        let Some(member) = self.members.get(peer) else { return };
        if member.steps.try_send(step).is_err() {
            tracing::debug!(session = %self.id, %peer, "too many negotiation steps at once; one is dropped");
        }
    }

    fn room(&self) -> Room {
        self.settings.room.clone()
    }

    fn refuse(&self, peer: PeerId, request_id: RequestId, error: &PeerError) {
        let error = describe::error(error);
        self.around.hub.send(FromRouter::Refused { peer, room: self.room(), request_id, error });
    }

    fn hang_up(&self, peer: PeerId, reason: Reason) {
        let room = self.room();
        self.around.hub.send(FromRouter::Disconnected { peer, room, reason, request_id: None });
    }

    fn outcome(&mut self, peer: PeerId, outcome: Outcome) {
        match outcome {
            Outcome::Answered { request_id, sdp, sections, views } => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.exchange = Some(request_id.clone());
                }
                let (peer_id, room) = (peer.clone(), self.room());
                self.around.hub.send(FromRouter::Answer { peer: peer_id, room, request_id, sdp });
                self.receive(&peer, &sections);
                self.view(&peer, views);
                self.want();
                self.advance();
            }
            Outcome::Refused { request_id, error } => {
                self.refuse(peer.clone(), request_id, &error);
                let fresh =
                    self.members.get(&peer).is_some_and(|m| m.views.is_empty() && !m.connected);
                if fresh && !self.desired.sources.keys().any(|source| source.peer == peer) {
                    self.live(life::Event::Left(peer));
                }
            }
            Outcome::Offering { request_id, sdp } => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.exchange = Some(request_id.clone());
                }
                let room = self.room();
                self.around.hub.send(FromRouter::Offer { peer, room, request_id, sdp });
            }
            Outcome::Settled { views } => {
                self.view(&peer, views);
                self.advance();
            }
            Outcome::Rejected(error) => {
                tracing::debug!(session = %self.id, %peer, "negotiation: {error}");
            }
        }
    }

    /// A peer will send these.
    fn receive(&mut self, peer: &PeerId, sections: &[Section]) {
        for section in sections.iter().filter(|section| section.receives) {
            let source = Source { peer: peer.clone(), kind: section.kind };
            self.desired.sources.entry(source).or_insert(section.codec);
        }
    }

    /// A peer views these from now on.
    fn view(&mut self, peer: &PeerId, views: BTreeMap<Source, (Sender, Codec)>) {
        let Some(member) = self.members.get_mut(peer) else { return };
        let gone: Vec<Source> =
            member.views.keys().filter(|source| !views.contains_key(source)).cloned().collect();
        let mut commands: Vec<member::Command> =
            gone.iter().cloned().map(member::Command::Unview).collect();
        for source in &gone {
            member.views.remove(source);
            member.targets.remove(source);
        }
        let mut fresh = Vec::new();
        for (source, (sender, codec)) in views {
            if member.views.get(&source) == Some(&codec) {
                continue;
            }
            let start =
                Start { ssrc: sender.ssrc(), sequence: rand::random(), timestamp: rand::random() };
            let bitrate = match source.kind {
                Kind::Video => self.settings.plan.video_bitrate,
                Kind::Audio => self.settings.plan.audio_bitrate,
            };
            let egress = Egress::new(codec, sender, start, bitrate);
            commands.push(member::Command::View(source.clone(), Box::new(egress)));
            member.views.insert(source.clone(), codec);
            member.targets.insert(source.clone(), bitrate);
            fresh.push(Product { source, codec });
        }
        for command in commands {
            self.offer(peer, command);
        }
        for product in fresh {
            if product.source.kind == Kind::Video {
                self.keyframe(&product);
            }
        }
        self.products();
    }

    fn products(&mut self) {
        self.desired.products = self
            .members
            .values()
            .flat_map(|member| &member.views)
            .map(|(source, codec)| Product { source: source.clone(), codec: *codec })
            .collect();
    }

    /// Tells every negotiation whose media its peer is to receive.
    fn want(&mut self) {
        if self.settings.mirror {
            return;
        }
        let all: Vec<Source> = self.desired.sources.keys().cloned().collect();
        let peers: Vec<PeerId> = self.members.keys().cloned().collect();
        for peer in peers {
            let others = all.iter().filter(|source| source.peer != peer).cloned().collect();
            self.step(&peer, negotiate::Step::Want(others));
        }
    }

    fn report(&mut self, peer: PeerId, report: Report) {
        match report {
            Report::Track(kind, codec) => {
                let source = Source { peer, kind };
                if self.desired.sources.insert(source, codec) != Some(codec) {
                    self.want();
                }
                self.advance();
            }
            Report::KeyframeWanted(source) => {
                let codec = self.members.get(&peer).and_then(|m| m.views.get(&source)).copied();
                if let Some(codec) = codec {
                    self.keyframe(&Product { source, codec });
                }
            }
            Report::Rate(source, target) => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.targets.insert(source, target);
                }
                self.aim();
            }
            Report::Media => self.live(life::Event::Media(peer)),
            Report::Connected => {
                if let Some(member) = self.members.get_mut(&peer) {
                    member.connected = true;
                    let products: Vec<Product> = member
                        .views
                        .iter()
                        .filter(|(source, _)| source.kind == Kind::Video)
                        .map(|(source, codec)| Product { source: source.clone(), codec: *codec })
                        .collect();
                    for product in products {
                        self.keyframe(&product);
                    }
                }
                self.live(life::Event::Media(peer));
            }
            Report::Cut => self.live(life::Event::MediaGone(peer)),
            Report::Closed => self.live(life::Event::Left(peer)),
            Report::Candidate(candidate) => self.candidate(peer, candidate),
        }
    }

    fn candidate(&self, peer: PeerId, candidate: Candidate) {
        let exchange = self.members.get(&peer).and_then(|member| member.exchange.clone());
        // Before the answer is made there is no exchange: what was found by then is in the answer itself.
        if let Some(request_id) = exchange {
            let candidate = remotemedia_signaling::hub::Candidate {
                candidate: candidate.candidate,
                sdp_mid: candidate.sdp_mid,
                sdp_m_line_index: candidate.sdp_m_line_index,
                user_fragment: candidate.user_fragment,
            };
            let room = self.room();
            self.around.hub.send(FromRouter::Candidate { peer, room, request_id, candidate });
        }
    }

    fn drop_peer(&mut self, peer: &PeerId, cause: &Cause) {
        tracing::info!(session = %self.id, %peer, "left: {}", cause.text());
        // Both its tasks end with their queues, and close the connection.
        self.members.remove(peer);
        self.desired.sources.retain(|source, _| source.peer != *peer);
        self.sources.retain(|source, _| source.peer != *peer);
        self.keyframes.retain(|product, _| product.source.peer != *peer);
        if *cause != Cause::Left {
            self.hang_up(peer.clone(), cause.reason());
        }
        let gone: Vec<PeerId> = self.members.keys().cloned().collect();
        for other in gone {
            if let Some(member) = self.members.get_mut(&other) {
                let sources: Vec<Source> =
                    member.views.keys().filter(|source| source.peer == *peer).cloned().collect();
                for source in sources {
                    member.views.remove(&source);
                    member.targets.remove(&source);
                    let _ = member.commands.try_send(member::Command::Unview(source));
                }
            }
        }
        self.products();
        self.want();
        self.advance();
    }

    // --- telling ------------------------------------------------------------------------------------------------

    fn notify(&mut self, event: &Value) {
        let text: Arc<str> = event.to_string().into();
        for member in self.members.values() {
            let _ = member.commands.try_send(member::Command::Notify(Arc::clone(&text)));
        }
    }

    fn picture(&self) -> describe::Picture {
        describe::Picture {
            session: self.id.clone(),
            pipeline: self.settings.pipeline.clone(),
            state: self.life.state().name(),
            seconds: self.began.elapsed().as_secs_f64(),
            epoch: self.dance.wiring().epoch(),
            refusals: self.dance.refusals(),
            shared_memory: describe::SharedMemory::of(&self.dance),
            channels: self.dance.wiring().channels().cloned().collect(),
            tasks: self.dance.wiring().tasks().map(|(k, t)| (t.id, describe::task(k))).collect(),
            bitrates: self
                .bitrates
                .iter()
                .map(|(product, rate)| (describe::product(product), *rate))
                .collect(),
            workers: self
                .leases
                .values()
                .map(|lease| describe::Worker {
                    name: lease.name(),
                    role: lease.role.name(),
                    pid: lease.pid,
                    generation: self.generations.get(&lease.role).copied().unwrap_or(0),
                })
                .collect(),
            node_errors: self.node_errors.clone(),
            members: self
                .members
                .iter()
                .map(|(peer, member)| describe::Member {
                    peer_id: peer.clone(),
                    connected: member.connected,
                    suspended: self.life.suspended(Instant::now(), peer),
                    commands: member.commands.clone(),
                })
                .collect(),
            nodes: Arc::clone(&self.nodes),
            pool: self.around.pool.clone(),
        }
    }

    fn describe(&self, reply: oneshot::Sender<Value>) {
        let picture = self.picture();
        tokio::spawn(async move {
            let _ = reply.send(picture.to_json().await);
        });
    }

    fn statistics(&self) {
        if self.members.is_empty() {
            return;
        }
        let picture = self.picture();
        tokio::spawn(async move { picture.tell_pages().await });
    }

    // --- the one way out ----------------------------------------------------------------------------------------

    async fn tear_down(mut self, cause: Cause, wake: AsyncFd<Wake>, mut inbox: Inboxes) {
        let began = Instant::now();
        tracing::info!(session = %self.id, "ends: {}", cause.text());
        for (peer, _) in std::mem::take(&mut self.members) {
            self.hang_up(peer, cause.reason());
        }
        // Members close their connections; their reports are read on, so that none of them waits for this task.
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = ending => {}
            () = async { while inbox.reports.recv().await.is_some() {} } => {}
            () = async { while inbox.outcomes.recv().await.is_some() {} } => {}
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                tracing::warn!(session = %self.id, "a connection did not close in time");
            }
        }
        self.tasks.abort_all();
        // Leases that were on their way end their workers when dropped with the queue.
        inbox.leases.close();
        let leases = std::mem::take(&mut self.leases);
        let reaped = leases.len();
        let mut ends: JoinSet<()> = leases.into_values().map(Lease::end).collect();
        while ends.join_next().await.is_some() {}
        drop(self.outputs);
        drop(wake);
        let host = self.dance.into_host();
        let swept = tokio::task::block_in_place(|| host.sweep());
        let receipt = Receipt {
            session_id: self.id.clone(),
            cause: cause.text(),
            failed: match cause {
                Cause::StartFailed(why) | Cause::Failed(why) => Some(why),
                _ => None,
            },
            workers_reaped: reaped,
            objects_removed: swept.removed as u64,
            bytes: swept.bytes,
            took_ms: began.elapsed().as_secs_f64() * 1e3,
            left: swept.left,
        };
        if !receipt.left.is_empty() {
            tracing::error!(session = %self.id, left = ?receipt.left, "objects are left behind");
        }
        for reply in self.closing {
            let _ = reply.send(receipt.clone());
        }
        while let Ok(command) = inbox.commands.try_recv() {
            match command {
                Command::Close(_, reply) => {
                    let _ = reply.send(receipt.clone());
                }
                Command::Offer { peer, request_id, .. } => {
                    self.around.hub.send(FromRouter::Refused {
                        peer,
                        room: self.settings.room.clone(),
                        request_id,
                        error: describe::ended(&receipt),
                    });
                }
                Command::Describe(_)
                | Command::Answer { .. }
                | Command::Unanswered { .. }
                | Command::Candidate(..)
                | Command::Left(_)
                | Command::SocketGone(_)
                | Command::SocketBack(_) => {}
            }
        }
        let _ = self.around.ended.send(receipt);
    }
}
