//! What a session does about its workers and its wiring.

use super::super::dance::MODEL_TIMEOUT;
use super::{Actor, KEYFRAME_INTERVAL, LEASE_TIMEOUT, MAX_NODE_ERROR};
use crate::session::budget::NoRoom;
use crate::session::dance::Ports;
use crate::session::life;
use crate::session::member;
use crate::session::output::Made;
use crate::session::relay::{Arrived, Relay};
use crate::session::wiring::{Origin, Product, TaskKey};
use crate::workers::{Lease, LeaseFault, Lock, Role, WorkerEvent};
use remotemedia_shm_schema::control::{KeyframeReason, OnFailure, ToRouter, ToWorker};
use remotemedia_shm_schema::{ChannelIndex, Media, NodeId};
use remotemedia_signaling::message::Error;
use remotemedia_worker::monotonic_ns;
use remotemedia_worker::namespace::unlink_ports;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a held picture is sent again (DESIGN: once a second).
const REPEAT: Duration = Duration::from_secs(1);

/// Listings of `/dev/shm` that a steward can have under way at once (chosen).
const MAX_RESIDUES: usize = 4;

/// An error of a node is told at most so often (the protocol says one a second).
const NODE_ERROR_INTERVAL: Duration = Duration::from_millis(500);

/// A change of wiring for which shared memory lacked is tried again after this (chosen: what is replaced is given back a
/// second after a change).
const NO_ROOM_PAUSE: Duration = Duration::from_secs(1);

/// How long a process of this role may take to be there.
pub(super) fn lease_timeout(role: Role) -> Duration {
    match role {
        Role::Custom(_) => MODEL_TIMEOUT,
        Role::Codec | Role::Pipeline | Role::Steward | Role::Attached(_) => LEASE_TIMEOUT,
    }
}

impl Actor {
    /// Takes a worker from the pool, after a pause if its predecessors died one after the other.
    pub(super) fn lease(&self, role: Role, pause: Duration) {
        let (pool, session) = (self.around.pool.clone(), self.id.clone());
        let (events, leased) = (self.worker_events.clone(), self.leased.clone());
        tokio::spawn(async move {
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let lease = pool.lease(role, session, events, lease_timeout(role)).await;
            // A session that is gone meanwhile drops the lease, which ends the worker.
            let _ = leased.send((role, lease)).await;
        });
    }

    pub(super) fn granted(&mut self, role: Role, lease: Result<Lease, LeaseFault>) {
        match lease {
            // The graph that it was for is gone: dropped, it ends.
            Ok(lease) if !self.wanted_roles().contains(&role) => {
                self.lost_early.remove(&lease.id);
            }
            Ok(lease) if self.lost_early.remove(&lease.id) => {
                if !self.leases.contains_key(&role) {
                    self.replace(role);
                }
            }
            // Asked for twice, for a steward died meanwhile: the first one that came serves.
            Ok(_) | Err(_) if self.leases.contains_key(&role) => {}
            Ok(lease) => {
                let now = Instant::now();
                self.recovery.began(now, role);
                self.mending.granted(now, role);
                *self.generations.entry(role).or_insert(0) += 1;
                self.desired.absence.roles.remove(&role);
                let mut lease = lease;
                if let Some(stream) = lease.take_data() {
                    match Relay::start(lease.id, stream, &mut self.tasks, self.arrived.clone()) {
                        Ok(relay) => self.relay = Some(relay),
                        Err(error) => {
                            self.live(life::Event::StartFailed(error.to_string()));
                            return;
                        }
                    }
                }
                self.dance.assign(&lease);
                self.leases.insert(role, lease);
                self.refused = None;
                if self.settings.plan.roles().iter().all(|r| self.leases.contains_key(r)) {
                    self.live(life::Event::Started);
                }
                self.tell_nodes(role, "running", None);
                self.advance();
            }
            // Nothing that runs needs it.
            Err(fault) if !self.settings.plan.roles().contains(&role) => {
                self.update_lacks(role, &fault.to_string());
            }
            Err(fault) if self.generations.contains_key(&role) => {
                tracing::warn!(session = %self.id, "{fault}");
                self.recovery.examined(Instant::now(), role, &fault.to_string(), []);
                self.replace(role);
            }
            Err(fault) => self.live(life::Event::StartFailed(fault.to_string())),
        }
    }

    pub(super) fn worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Lost { role, .. } if self.taps.contains_key(&role) => self.tap_lost(role),
            WorkerEvent::Lost { worker, role } => {
                if self.leases.get(&role).is_none_or(|lease| lease.id != worker) {
                    // An attached one is taken before it is listened to: its place was given up.
                    if !matches!(role, Role::Attached(_)) {
                        self.lost_early.insert(worker);
                    }
                    return;
                }
                self.lost(role);
            }
            WorkerEvent::Autopsy(autopsy) => self.examined(&autopsy),
            WorkerEvent::Message(worker, message) if self.tap_message(worker, &message) => {}
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
                let ports = self.dance.ready(role, epoch, &self.leases, Instant::now());
                self.switched(Ok(ports));
                self.advance();
            }
            ToRouter::Created { epoch, error, .. } if role == Role::Steward => {
                let replans = self.dance.replans();
                match self.dance.created(epoch, error, &self.leases, Instant::now()) {
                    Err(error) if replans => {
                        let what = format!("its channels cannot be made: {error:#}");
                        self.refuse_update(Error::internal(&what));
                    }
                    ports => self.switched(ports),
                }
            }
            ToRouter::Residue { ports, .. } if role == Role::Steward => self.give_back(ports),
            ToRouter::Created { .. } | ToRouter::Residue { .. } => {}
            ToRouter::Refused { epoch, error, .. } => {
                let replans = self.dance.replans();
                if self.dance.refused(epoch, &self.leases) {
                    tracing::warn!(session = %self.id, role = role.name(), "refused a wiring: {error}");
                    if replans && !matches!(role, Role::Attached(_)) {
                        self.update_refused(role, &error);
                        return;
                    }
                    self.unwilling([role].into(), &error);
                    if self.ready.is_none() {
                        self.live(life::Event::StartFailed(error));
                    }
                }
            }
            ToRouter::Unassigned { error, .. } => self.unassigned(role, &error),
            ToRouter::KeyframeWanted { channel, .. } => self.keyframe_on(channel),
            ToRouter::NodeError { node, error, .. } => self.node_error(&node, &error),
            ToRouter::Detach | ToRouter::Released { .. } => {
                if let Role::Attached(_) = role {
                    self.attached_message(role, &message);
                }
            }
            ToRouter::Assigned { sandbox, .. } => {
                self.sandboxes.insert(role, sandbox);
                let strict =
                    self.leases.get(&role).is_some_and(|lease| lease.lock == Lock::Require);
                if strict && !(sandbox.landlock > 0 && sandbox.seccomp) {
                    self.unassigned(role, "it is to lock itself in and says that it has not");
                }
            }
            ToRouter::Heartbeat { .. } => self.beat_of(role, &message),
            ToRouter::Applied { request, error, .. } => self.applied(role, request, error),
            ToRouter::Catalogue(_)
            | ToRouter::Drained
            | ToRouter::Attach(_)
            | ToRouter::Operate(_) => {}
        }
    }

    /// It does not serve the session.
    fn unassigned(&mut self, role: Role, error: &str) {
        tracing::error!(session = %self.id, role = role.name(), "cannot serve the session: {error}");
        self.recovery.examined(Instant::now(), role, error, []);
        if let Role::Attached(_) = role {
            self.refuse_attached(role, error);
            return;
        }
        if self.leases.get(&role).is_some_and(Lease::shared) {
            // It serves others: only its part in this session is over.
            self.lost(role);
            return;
        }
        if self.ready.is_none() && self.settings.plan.roles().contains(&role) {
            self.live(life::Event::StartFailed(error.to_owned()));
        }
        // Whatever it does now: its place is another's, and it is asked to end and made to.
        self.lost(role);
    }

    /// Unlinks what dead workers had in this session's namespace and nowhere else, whatever a steward says.
    fn give_back(&mut self, ports: Vec<String>) {
        while self.residues.try_join_next().is_some() {}
        if self.residues.len() >= MAX_RESIDUES {
            // It goes with the session.
            return;
        }
        let ports: Vec<u128> = ports.iter().filter_map(|port| port.parse().ok()).collect();
        let prefix = self.dance.ground().namespace().prefix.clone();
        self.residues.spawn_blocking(move || unlink_ports(&prefix, &ports));
    }

    fn node_error(&mut self, node: &NodeId, error: &str) {
        // A node that the graph does not have is no node's error, and would be one more name to keep.
        let Some(policy) = self.node_policy(node) else { return };
        let now = Instant::now();
        let early = |at: &Instant| now.duration_since(*at) < NODE_ERROR_INTERVAL;
        if self.node_error_at.get(node).is_some_and(early) {
            // It is told to every peer: more often than the protocol says it is not.
            return;
        }
        self.node_error_at.insert(node.clone(), now);
        let error: String = error.chars().take(MAX_NODE_ERROR).collect();
        self.node_errors.insert(node.to_string(), error.clone());
        self.tell_state(node.as_str(), "error", None, Some(&error));
        if policy == OnFailure::Close {
            self.live(life::Event::Failed(format!("node {node}, which says `close`: {error}")));
        }
    }

    /// Somebody did not do his part in a change of wiring: what only he wanted is given up, else the whole change is, until
    /// another one is wanted.
    pub(super) fn unwilling(&mut self, roles: BTreeSet<Role>, why: &str) {
        let (attached, others): (Vec<Role>, Vec<Role>) =
            roles.into_iter().partition(|role| matches!(role, Role::Attached(_)));
        let begun = self.ready.is_some();
        for role in others.iter().filter(|_| begun) {
            self.recovery.examined(Instant::now(), *role, why, []);
            if matches!(role, Role::Codec | Role::Steward) {
                // Nothing goes on without it: another one may be willing, and five that are not are enough.
                self.lost(*role);
            } else if self.strictest(*role) == Some(OnFailure::Close) {
                let what = self.names(*role).join(", ");
                self.live(life::Event::Failed(format!("{what}, which says `close`: {why}")));
            } else {
                // Its part is away as if it had died, and its nodes' policies apply; asked for, it gets another chance.
                self.desired.absence.roles.insert(*role);
                self.tell_nodes(*role, "failed", Some(why));
            }
        }
        for role in &attached {
            self.refuse_attached(*role, why);
        }
        if attached.is_empty() {
            let vital = |role: &Role| matches!(role, Role::Codec | Role::Steward);
            let changed = others.iter().any(|r| vital(r) || self.desired.absence.roles.contains(r));
            self.refused = (!changed || self.ready.is_none()).then(|| self.desired.clone());
            self.advance();
        }
    }

    pub(super) fn advance(&mut self) {
        if self.refused.as_ref() == Some(&self.desired) {
            return;
        }
        if self.again_at.take_if(|at| Instant::now() >= *at).is_none() && self.again_at.is_some() {
            return;
        }
        let ports = self.dance.advance(&self.desired, &self.leases, Instant::now());
        self.switched(ports);
    }

    pub(super) fn switched(&mut self, ports: anyhow::Result<Option<Ports>>) {
        let ports = match ports {
            Ok(Some(ports)) => ports,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(session = %self.id, "cannot change the wiring: {error:#}");
                if error.is::<NoRoom>() {
                    // Others may give some back.
                    self.again_at = Some(Instant::now() + NO_ROOM_PAUSE);
                } else if self.ready.is_some() {
                    // Its steward cannot make what is wanted: perhaps another one can.
                    self.recovery.examined(Instant::now(), Role::Steward, &error.to_string(), []);
                    self.lost(Role::Steward);
                    return;
                }
                if self.ready.is_none() {
                    self.live(life::Event::StartFailed(format!("{error:#}")));
                }
                return;
            }
        };
        self.late = 0;
        self.mending.wired(Instant::now());
        let began = self.began;
        self.ready.get_or_insert_with(|| began.elapsed());
        for source in ports.closed_outlets {
            let command = member::Command::Unwrite(source.kind);
            self.offer(&source.peer, command);
        }
        for product in &ports.closed_inlets {
            self.outputs.close(product);
        }
        for (product, task) in ports.inlets {
            self.outputs.open(product, task);
        }
        for (source, (task, epoch)) in ports.outlets {
            let Some(Origin::Coded(codec)) = self.desired.sources.get(&source).copied() else {
                continue;
            };
            let next = self.sources.len() as u64 + 1;
            let number = *self.sources.entry(source.clone()).or_insert(next);
            let Some(relay) = &self.relay else { continue };
            let inflow = relay.inflow(task, epoch);
            let kind = source.kind;
            let command = member::Command::Write { kind, codec, source: number, inflow };
            self.offer(&source.peer, command);
        }
        // Encoders that began anew know nothing of the rates that viewers allow.
        self.bitrates.clear();
        self.aim();
        self.follow_taps();
        self.stood_by_now();
        self.bury_attached();
    }

    /// A unit that came out of the workers, to all who view what it is of.
    pub(super) fn hand_on(&mut self, arrived: Arrived) {
        let unit = match arrived {
            Arrived::Unit(unit) => unit,
            Arrived::Broken(worker, why) => {
                tracing::debug!(session = %self.id, "the steward's stream ended: {why}");
                // One that lives and sends nonsense is of no use either.
                if self.leases.get(&Role::Steward).is_some_and(|lease| lease.id == worker) {
                    self.leases.remove(&Role::Steward);
                    self.begin_anew();
                }
                return;
            }
        };
        let Some((product, made)) = self.outputs.take(&unit) else { return };
        if let Made::Frame(_) = made {
            self.mending.flows(Instant::now, product.stream.source.kind);
        }
        for member in self.members.values() {
            let views = member.views.get(&product.stream) == Some(&product.codec);
            if !views || member.paused(&product.stream) {
                continue;
            }
            let stream = product.stream.clone();
            let command = match &made {
                Made::Frame(batch) => member::Command::Media(stream, Arc::clone(batch)),
                Made::Silence(at, duration) => member::Command::Silence(stream, *at, *duration),
            };
            // Full: this viewer misses a frame, sees the hole in the numbers, and waits for a keyframe.
            let _ = member.commands.try_send(command);
        }
    }

    /// Whoever makes this channel's access units shall make a keyframe.
    pub(super) fn keyframe_on(&mut self, channel: ChannelIndex) {
        let wiring = self.dance.wiring();
        let source = wiring.source_of(channel).filter(|s| s.kind == Media::Video).cloned();
        let pictures = |product: &&Product| product.stream.source.kind == Media::Video;
        let product = wiring.product_of(channel).filter(pictures).cloned();
        if let Some(source) = source {
            let now = Instant::now();
            let early = |at: &Instant| now.duration_since(*at) < KEYFRAME_INTERVAL / 2;
            if self.wished.get(&source).is_some_and(early) {
                // Whoever lacks it says so again.
                return;
            }
            self.wished.insert(source.clone(), now);
            self.offer(&source.peer, member::Command::Keyframe);
        } else if let Some(product) = product {
            self.keyframe(&product);
        }
    }

    pub(super) fn keyframe(&mut self, product: &Product) {
        self.keyframes.entry(product.clone()).or_default().due = true;
        self.send_due_keyframes();
    }

    /// Pictures whose processing is away are shown again once a second, so that a joiner sees something, and a viewer that
    /// lost its picture gets one.
    pub(super) fn repeat_held(&mut self, now: Instant) {
        let held: Vec<Product> = self
            .desired
            .products
            .iter()
            .filter(|product| {
                product.stream.source.kind == Media::Video && self.held(&product.stream)
            })
            .cloned()
            .collect();
        for product in held {
            let keyframe = self.keyframes.entry(product).or_default();
            keyframe.due |= keyframe.asked.is_none_or(|asked| now.duration_since(asked) >= REPEAT);
        }
    }

    pub(super) fn send_due_keyframes(&mut self) {
        let now = Instant::now();
        let Some(lease) = self.leases.get(&Role::Codec) else { return };
        let due: Vec<Product> = self
            .keyframes
            .iter()
            .filter(|(_, keyframe)| {
                let early = |asked: Instant| now.duration_since(asked) < KEYFRAME_INTERVAL;
                keyframe.due && !keyframe.asked.is_some_and(early)
            })
            .map(|(product, _)| product.clone())
            .collect();
        for product in due {
            let held = self.held(&product.stream);
            let output = self.dance.wiring().find(&TaskKey::Encode(product.clone()));
            let Some(output) = output.and_then(|task| task.output.as_ref()) else { continue };
            let (session, channel, epoch) = (self.id.clone(), output.index, output.epoch);
            lease.send(if held {
                ToWorker::Repeat { session, channel, epoch, media_time_ns: monotonic_ns() }
            } else {
                ToWorker::Keyframe { session, channel, epoch, reason: KeyframeReason::Viewer }
            });
            if let Some(keyframe) = self.keyframes.get_mut(&product) {
                (keyframe.due, keyframe.asked) = (false, Some(now));
            }
        }
    }

    /// Gives each encoder the rate of the weakest of its viewers.
    pub(super) fn aim(&mut self) {
        let mut rates: BTreeMap<Product, u32> = BTreeMap::new();
        for member in self.members.values() {
            for (stream, codec) in member.views.iter().filter(|(s, _)| !member.paused(s)) {
                if let Some(target) = member.targets.get(stream) {
                    let product = Product { stream: stream.clone(), codec: *codec };
                    let rate = rates.entry(product).or_insert(u32::MAX);
                    *rate = (*rate).min(*target);
                }
            }
        }
        for (product, rate) in rates {
            if self.bitrates.get(&product) == Some(&rate)
                || product.stream.source.kind == Media::Audio
            {
                continue;
            }
            let output = self.dance.wiring().find(&TaskKey::Encode(product.clone()));
            let Some(output) = output.and_then(|task| task.output.as_ref()) else { continue };
            if let Some(lease) = self.leases.get(&Role::Codec) {
                lease.send(ToWorker::Bitrate {
                    session: self.id.clone(),
                    channel: output.index,
                    epoch: output.epoch,
                    bits_per_second: rate,
                });
                self.bitrates.insert(product, rate);
            }
        }
    }
}
