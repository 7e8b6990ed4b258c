//! What a session does about programs that somebody attached by hand: taps beside its wiring, inserted nodes and sources
//! within it.

use super::Actor;
use crate::session::describe;
use crate::session::wiring::{Feed, Insert, Origin, Queue, Segment, Source, TAPS, tap_wake};
use crate::workers::{FrameLimits, Lease, Role, WorkerEvent, WorkerId};
use remotemedia_shm_schema::control::{
    Attach, Catalogue, Change, ChannelSpec, GraphNode, OnFailure, Task, TaskId, TaskKind, ToRouter,
    ToWorker,
};
use remotemedia_shm_schema::manifest::FRAME_LIMIT_MS;
use remotemedia_shm_schema::{ChannelName, Media, NodeId, PeerId};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// Programs that one session takes (chosen).
const MAX_ATTACHED: usize = 32;
/// Threads of one of them that are kept account of: it has one task.
const MAX_THREADS: usize = 4;
/// A node or source that broke off may come back within this (DESIGN: 10 s).
const RETURN_WITHIN: Duration = Duration::from_secs(10);

/// A program that wants to join.
pub struct Joiner {
    /// Its number among those of this router.
    pub id: WorkerId,
    /// The same, as what it is to a session.
    pub role: Role,
    /// Its process, by the socket's credentials.
    pub pid: u32,
    /// What it calls itself.
    pub name: Arc<str>,
    /// What it can do.
    pub catalogue: Arc<Catalogue>,
    /// What it wants to be.
    pub wish: Attach,
    /// How long its calls may take, by the tasks that it is told of.
    pub(crate) limits: FrameLimits,
    /// To it.
    pub outbox: mpsc::Sender<ToWorker>,
    /// Where what it says goes from now on, or why it is not taken.
    pub reply: oneshot::Sender<Result<mpsc::Sender<WorkerEvent>, String>>,
}

/// A program that reads a channel beside its readers.
pub(super) struct Tap {
    pub(super) lease: Lease,
    pub(super) channel: ChannelName,
    /// What it was last told of.
    told: Option<ChannelSpec>,
    /// Counts its own wirings; the session's do not wait for it.
    epoch: u32,
    /// Whether one of them is in force.
    running: bool,
}

/// Who broke off, and until when it may come back.
pub(super) struct Absent {
    role: Role,
    since: Instant,
}

impl Actor {
    pub(super) fn attach(&mut self, joiner: Joiner) {
        let Joiner { id, role, pid, name, catalogue, wish, limits, outbox, reply } = joiner;
        let taken = if self.taps.len() + self.attached() >= MAX_ATTACHED {
            Err(format!("session {} takes {MAX_ATTACHED} attached programs", self.id))
        } else {
            let lease = Lease::attached((id, role), pid, name, catalogue, (outbox, limits));
            match wish {
                Attach::Tap { channel } => self.tap(lease, channel),
                Attach::Insert { channel, node, on_failure } => {
                    self.insert(lease, &channel, node, on_failure)
                }
                Attach::Source { peer, media, .. } => self.source(lease, peer, media),
            }
        };
        let taken = taken.map(|()| self.worker_events.clone());
        if reply.send(taken).is_err() {
            // It went while it was taken.
            self.worker(WorkerEvent::Lost { worker: id, role });
        }
    }

    fn attached(&self) -> usize {
        self.leases.keys().filter(|role| matches!(role, Role::Attached(_))).count()
    }

    /// For tables.
    pub(super) fn attached_rows(&self) -> Vec<describe::Attached> {
        let row = |lease: &Lease, what, of| {
            let (name, pid) = (lease.name.to_string(), lease.pid);
            describe::Attached { name, pid, what, of }
        };
        let taps = self.taps.values().map(|tap| row(&tap.lease, "tap", tap.channel.to_string()));
        let inserts = self.desired.inserts.iter().filter_map(|insert| {
            let lease = self.leases.get(&insert.segment.role)?;
            Some(row(lease, "insert", insert.segment.name().to_string()))
        });
        let sources = self.desired.sources.iter().filter_map(|(source, origin)| match origin {
            Origin::Attached(role) => {
                let of = format!("{} of {}", source.kind.name(), source.peer);
                Some(row(self.leases.get(role)?, "source", of))
            }
            Origin::Coded(_) => None,
        });
        taps.chain(inserts).chain(sources).collect()
    }

    // --- taps ---------------------------------------------------------------------------------------------------

    fn tap(&mut self, lease: Lease, channel: ChannelName) -> Result<(), String> {
        let Some(spec) = self.dance.wiring().channel(&channel).cloned() else {
            return Err(self.no_channel(&channel));
        };
        let taps = self.taps.values().filter(|tap| tap.channel == channel).count();
        if taps >= TAPS as usize {
            return Err(format!("channel {channel} has a tap already; {TAPS} is allowed"));
        }
        tracing::info!(session = %self.id, name = %lease.name, pid = lease.pid, %channel, "tapped");
        self.dance.assign(&lease);
        let mut tap = Tap { lease, channel, told: None, epoch: 0, running: false };
        tap.follow(&self.id, &spec);
        self.taps.insert(tap.lease.role, tap);
        Ok(())
    }

    fn no_channel(&self, channel: &ChannelName) -> String {
        let names: Vec<String> =
            self.dance.wiring().channels().map(|spec| format!("  {}", spec.name)).collect();
        let there = if names.is_empty() { "  none yet".to_owned() } else { names.join("\n") };
        format!("there is no channel {channel}; there are:\n{there}")
    }

    /// Tells taps of channels that were made afresh.
    pub(super) fn follow_taps(&mut self) {
        for tap in self.taps.values_mut() {
            if let Some(spec) = self.dance.wiring().channel(&tap.channel).cloned() {
                tap.follow(&self.id, &spec);
            }
        }
    }

    /// What a tap has to say; whether it was one.
    pub(super) fn tap_message(&mut self, worker: WorkerId, message: &ToRouter) -> bool {
        let Some(tap) = self.taps.values_mut().find(|tap| tap.lease.id == worker) else {
            return false;
        };
        let (role, session) = (tap.lease.role, self.id.clone());
        match message {
            ToRouter::Ready { epoch, .. } if *epoch == tap.epoch => {
                tap.running = true;
                tap.lease.send(ToWorker::Switch { session, epoch: *epoch });
                // Coded pictures mean something from a keyframe on.
                let coded = tap.told.as_ref().map(|spec| spec.index);
                if let Some(channel) = coded {
                    self.keyframe_on(channel);
                }
            }
            ToRouter::Refused { error, .. } | ToRouter::Unassigned { error, .. } => {
                tap.lease.send(ToWorker::Denied { error: error.clone() });
                self.taps.remove(&role);
            }
            ToRouter::Detach => tap.lease.send(ToWorker::Release { session }),
            ToRouter::Released { .. } => {
                self.taps.remove(&role);
            }
            _ => {}
        }
        true
    }

    /// A tap broke off or was cut off without letting go: its places at the channel and at the channel's wake-up stay taken
    /// for ever, so both are made afresh for the next one.
    pub(super) fn tap_lost(&mut self, role: Role) {
        let Some(tap) = self.taps.remove(&role) else { return };
        if tap.told.is_some() {
            self.dance.wear(&tap.channel);
            self.refused = None;
            self.resident_died();
            self.advance();
        }
    }

    /// Keeps what an attached program told of its threads.
    pub(super) fn beat_of(&mut self, role: Role, message: &ToRouter) {
        if let ToRouter::Heartbeat { threads, .. } = message {
            let own = threads.iter().filter(|thread| thread.session == self.id);
            self.beats.insert(role, own.take(MAX_THREADS).cloned().collect());
        }
    }

    /// What tables call an attached node or source.
    pub(super) fn name_of_attached(&self, role: Role) -> String {
        let lease = self.leases.get(&role);
        lease.map_or_else(|| role.name().to_owned(), |lease| lease.name.to_string())
    }

    // --- nodes and sources ----------------------------------------------------------------------------------------

    fn insert(
        &mut self,
        lease: Lease,
        channel: &ChannelName,
        node: NodeId,
        on_failure: OnFailure,
    ) -> Result<(), String> {
        let role = lease.role;
        let known = self.desired.inserts.iter().position(|i| *i.segment.name() == node);
        let away = self.away.get(node.as_str()).map(|absent| absent.role);
        let its = |at: &usize| {
            self.desired.inserts.get(*at).is_some_and(|i| Some(i.segment.role) == away)
        };
        if let Some(at) = known.filter(its) {
            // It comes back: its place and its policy are those that it had.
            if let Some(insert) = self.desired.inserts.get_mut(at) {
                self.desired.absence.roles.remove(&insert.segment.role);
                insert.segment.role = role;
            }
            self.away.remove(node.as_str());
            self.admit(lease, node.as_str());
            return Ok(());
        }
        if known.is_some() || self.node_policy(&node).is_some() {
            return Err(format!("session {} has a node `{node}` already", self.id));
        }
        if self.update.is_some() {
            // Its place, its name and its number are those of a graph that may be gone in a moment.
            return Err(format!("session {} gets another graph just now; try again", self.id));
        }
        let Some((source, after)) = self.dance.wiring().place(channel) else {
            let what = match self.dance.wiring().channel(channel) {
                Some(_) => {
                    format!("{channel} carries access units; a node stands behind a raw channel")
                }
                None => self.no_channel(channel),
            };
            return Err(what);
        };
        let kinds = &lease.catalogue.nodes;
        let fits = |n: &&remotemedia_shm_schema::control::NodeDescription| match source.kind {
            Media::Audio => n.audio,
            Media::Video => n.video,
        };
        if !kinds.is_empty() && !kinds.iter().any(|n| fits(&n)) {
            let takes = source.kind.name();
            return Err(format!("{channel} carries {takes}, which {} does not take", lease.name));
        }
        let used: Vec<u8> = self.nodes.iter().map(|(number, _)| *number).collect();
        let Some(number) = (0..=u8::MAX).find(|number| !used.contains(number)) else {
            return Err(format!("session {} has 256 nodes", self.id));
        };
        let kind =
            kinds.iter().find(fits).map_or_else(|| lease.name.to_string(), |n| n.kind.clone());
        let graph_node =
            GraphNode { id: node.clone(), number, kind, params: "{}".into(), on_failure };
        let nodes = vec![graph_node];
        let segment =
            Segment { role, nodes, frame_limit_ms: FRAME_LIMIT_MS, queue: Queue::default() };
        self.desired.inserts.push(Insert { source, after, segment });
        self.nodes = self.nodes.iter().cloned().chain([(number, node.clone())]).collect();
        self.admit(lease, node.as_str());
        Ok(())
    }

    fn source(&mut self, lease: Lease, peer: PeerId, media: Media) -> Result<(), String> {
        let role = lease.role;
        let source = Source { peer: peer.clone(), kind: media };
        let before = match self.desired.sources.get(&source) {
            Some(Origin::Attached(before)) => {
                let away = self.away.get(peer.as_str());
                away.filter(|absent| absent.role == *before).map(|absent| absent.role)
            }
            Some(Origin::Coded(_)) | None => None,
        };
        if let Some(before) = before {
            self.away.remove(peer.as_str());
            self.desired.absence.roles.remove(&before);
        } else if self.members.contains_key(&peer) || self.desired.sources.contains_key(&source) {
            let kind = media.name();
            return Err(format!("session {} has {kind} of `{peer}` already", self.id));
        }
        self.desired.sources.insert(source, Origin::Attached(role));
        self.admit(lease, peer.as_str());
        self.want();
        Ok(())
    }

    /// Takes a node or a source into the wiring.
    fn admit(&mut self, lease: Lease, name: &str) {
        let role = lease.role;
        tracing::info!(session = %self.id, worker = %lease.name, pid = lease.pid, name, "attached");
        let generation = self.generations.entry(role).or_insert(0);
        *generation += 1;
        self.dance.assign(&lease);
        self.leases.insert(role, lease);
        self.refused = None;
        self.tell_state(name, "running", Some(1), None);
        self.advance();
    }

    /// An operator or the program itself wants it out; it goes when nothing is wired through it any more.
    pub(super) fn detach(&mut self, name: &str) -> Result<(), String> {
        if let Some(tap) = self.taps.values().find(|tap| &*tap.lease.name == name) {
            tap.lease.send(ToWorker::Release { session: self.id.clone() });
            return Ok(());
        }
        let inserted = self.desired.inserts.iter().find(|i| i.segment.name().as_str() == name);
        let made = self.desired.sources.iter().find_map(|(source, origin)| match origin {
            Origin::Attached(role) if source.peer.as_str() == name => Some(*role),
            Origin::Attached(_) | Origin::Coded(_) => None,
        });
        let role = inserted.map(|insert| insert.segment.role).or(made);
        let Some(role) = role else {
            let session = &self.id;
            return Err(format!(
                "nothing that is called `{name}` is attached to session {session}"
            ));
        };
        self.away.remove(name);
        self.take_out(role);
        Ok(())
    }

    /// What an attached node or source is called in its session.
    fn attached_name(&self, role: Role) -> Option<String> {
        let inserted = self.desired.inserts.iter().find(|i| i.segment.role == role);
        let made = || {
            let mut sources = self.desired.sources.iter();
            sources.find(|(_, origin)| **origin == Origin::Attached(role))
        };
        match inserted {
            Some(insert) => Some(insert.segment.name().to_string()),
            None => made().map(|(source, _)| source.peer.to_string()),
        }
    }

    pub(super) fn take_out(&mut self, role: Role) {
        let name = self.attached_name(role);
        if let Some(at) = self.desired.inserts.iter().position(|i| i.segment.role == role) {
            // What stood behind it stands where it stood.
            let gone = self.desired.inserts.remove(at);
            for insert in &mut self.desired.inserts {
                if matches!(&insert.after, Feed::Segment(name) if name == gone.segment.name()) {
                    insert.after.clone_from(&gone.after);
                }
            }
        }
        self.desired.sources.retain(|_, origin| *origin != Origin::Attached(role));
        self.desired.absence.roles.remove(&role);
        if let Some(name) = name {
            self.away.remove(&name);
            self.stood.retain(|node| node.as_str() != name);
            self.node_states.remove(&name);
            self.node_errors.remove(&name);
            let others = self.nodes.iter().filter(|(_, id)| id.as_str() != name);
            self.nodes = others.cloned().collect();
        }
        if self.leases.contains_key(&role) {
            self.leaving.insert(role);
        }
        self.refused = None;
        self.want();
        self.advance();
        self.bury_attached();
    }

    /// Those that are wired nowhere any more may go.
    pub(super) fn bury_attached(&mut self) {
        let over: Vec<Role> = self
            .leaving
            .iter()
            .filter(|role| self.dance.wiring().tasks_of(**role).next().is_none())
            .copied()
            .collect();
        for role in over {
            self.leaving.remove(&role);
            if let Some(lease) = self.leases.get(&role) {
                lease.send(ToWorker::Release { session: self.id.clone() });
            }
        }
    }

    /// What an attached node or source has to say beyond what every worker has.
    pub(super) fn attached_message(&mut self, role: Role, message: &ToRouter) {
        match message {
            ToRouter::Detach => self.take_out(role),
            // It lets go of what it was not asked to: as good as dead.
            ToRouter::Released { .. } if self.dance.wiring().tasks_of(role).next().is_some() => {
                self.lost(role);
            }
            ToRouter::Released { .. } => {
                // Its connection is closed with its lease; what was prepared with it is void.
                self.leases.remove(&role);
                self.forget_attached(role);
                self.dance.lost(role, &self.leases);
                self.advance();
            }
            _ => {}
        }
    }

    /// What is kept by number of a program that is gone for good.
    fn forget_attached(&mut self, role: Role) {
        self.generations.remove(&role);
        self.sandboxes.remove(&role);
        self.lost_at.remove(&role);
        self.beats.remove(&role);
    }

    /// Takes down which attached nodes are in force.
    pub(super) fn stood_by_now(&mut self) {
        for insert in &self.desired.inserts {
            if self.dance.wiring().tasks_of(insert.segment.role).next().is_some() {
                self.stood.insert(insert.segment.name().clone());
            }
        }
    }

    /// An attached program did not do its part. One that was never in force is turned out; of one that was, its policy holds.
    pub(super) fn refuse_attached(&mut self, role: Role, why: &str) {
        let inserted = self.desired.inserts.iter().find(|i| i.segment.role == role);
        if inserted.is_some_and(|insert| self.stood.contains(insert.segment.name())) {
            if let Some(lease) = self.leases.get(&role) {
                lease.send(ToWorker::Denied { error: why.to_owned() });
            }
            self.lost(role);
        } else {
            self.turn_out(role, why);
        }
    }

    /// It could not do its part, or must not.
    fn turn_out(&mut self, role: Role, why: &str) {
        if let Some(lease) = self.leases.remove(&role) {
            lease.send(ToWorker::Denied { error: why.to_owned() });
            // What is wired through it is not waited for.
            self.dance.lost(role, &self.leases);
        }
        self.take_out(role);
        self.leaving.remove(&role);
        self.forget_attached(role);
    }

    /// One that broke off without a word has some time to come back.
    pub(super) fn await_return(&mut self, role: Role, now: Instant) {
        if self.leaving.remove(&role) {
            self.desired.absence.roles.remove(&role);
            self.forget_attached(role);
            return;
        }
        if let Some(name) = self.attached_name(role) {
            self.tell_state(&name, "away", None, None);
            self.away.insert(name, Absent { role, since: now });
        }
    }

    /// Those that did not come back: a source is gone, a node has failed and its policy holds on.
    pub(super) fn look_for_returns(&mut self, now: Instant) {
        let late: Vec<(String, Role)> = self
            .away
            .iter()
            .filter(|(_, absent)| now.duration_since(absent.since) >= RETURN_WITHIN)
            .map(|(name, absent)| (name.clone(), absent.role))
            .collect();
        for (name, role) in late {
            if self.desired.sources.values().any(|origin| *origin == Origin::Attached(role)) {
                self.away.remove(&name);
                self.take_out(role);
                continue;
            }
            let absent = self.away.get_mut(&name);
            if let Some(absent) = absent {
                // Still welcome, and not asked for again.
                absent.since = now + Duration::from_secs(3600 * 24 * 365);
            }
            let why =
                "it broke off and did not come back within 10 s; detach it to go on without it";
            self.tell_state(&name, "failed", None, Some(why));
        }
    }
}

impl Tap {
    /// Reads this channel from now on, with a task of its own in each wiring.
    fn follow(&mut self, session: &remotemedia_shm_schema::SessionId, spec: &ChannelSpec) {
        if self.told.as_ref().is_some_and(|told| told.service == spec.service) {
            return;
        }
        let task = TaskId(0);
        let Some(wake) = tap_wake(spec) else { return };
        let (input, output) = (Some(spec.clone()), None);
        // What was prepared and not switched to is forgotten by what is prepared now.
        let before = self.told.replace(spec.clone()).filter(|_| self.running);
        let changes = if before.as_ref().and_then(tap_wake) == Some(wake) {
            vec![Change::Rewire { task, input, output }]
        } else {
            // The channel went and came again.
            let gone = before.map(|_| Change::Remove(task));
            let begins = Change::Add(Task {
                id: task,
                kind: TaskKind::Tap,
                input,
                output,
                wake: wake.to_owned(),
                max_raw: spec.max_payload,
                frame_limit_ms: u32::MAX,
            });
            gone.into_iter().chain([begins]).collect()
        };
        self.epoch += 1;
        let session = session.clone();
        self.lease.send(ToWorker::Prepare { session, epoch: self.epoch, changes });
    }
}
