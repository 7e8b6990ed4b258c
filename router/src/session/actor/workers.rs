//! What a session does about its workers and its wiring.

use super::{Actor, KEYFRAME_INTERVAL, LEASE_TIMEOUT, MAX_NODE_ERROR};
use crate::session::dance::Ports;
use crate::session::describe;
use crate::session::life;
use crate::session::member;
use crate::session::output::Made;
use crate::session::wiring::{Kind, Product, TaskKey};
use crate::workers::{Lease, LeaseFault, Role, WorkerEvent};
use remotemedia_shm_schema::Codec;
use remotemedia_shm_schema::control::{KeyframeReason, ToRouter, ToWorker};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

impl Actor {
    pub(super) fn lease(&self, role: Role) {
        let (pool, session) = (self.around.pool.clone(), self.id.clone());
        let (events, leased) = (self.worker_events.clone(), self.leased.clone());
        tokio::spawn(async move {
            let lease = pool.lease(role, session, events, LEASE_TIMEOUT).await;
            // A session that is gone meanwhile drops the lease, which ends the worker.
            let _ = leased.send((role, lease)).await;
        });
    }

    pub(super) fn granted(&mut self, role: Role, lease: Result<Lease, LeaseFault>) {
        match lease {
            Ok(lease) if self.lost_early.remove(&lease.id) => self.lease(role),
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

    pub(super) fn worker(&mut self, event: WorkerEvent) {
        match event {
            WorkerEvent::Lost { worker, role } => {
                if self.leases.get(&role).is_none_or(|lease| lease.id != worker) {
                    self.lost_early.insert(worker);
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

    pub(super) fn message(&mut self, role: Role, message: ToRouter) {
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
            // A node that the graph does not have is no node's error, and would be one more name to keep.
            ToRouter::NodeError { node, .. } if !self.nodes.iter().any(|(_, id)| *id == node) => {}
            ToRouter::NodeError { node, error, .. } => {
                let error: String = error.chars().take(MAX_NODE_ERROR).collect();
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

    pub(super) fn advance(&mut self) {
        if self.refused.as_ref() == Some(&self.desired) {
            return;
        }
        let leases: Vec<&Lease> = self.leases.values().collect();
        let ports = self.dance.advance(&self.desired, &leases, Instant::now());
        self.switched(ports);
    }

    pub(super) fn switched(&mut self, ports: anyhow::Result<Option<Ports>>) {
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
        self.late = 0;
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

    pub(super) fn hand_on(&mut self) {
        let members = &self.members;
        let keyframes = self.outputs.drain(|product, made| {
            for member in members.values() {
                if member.views.get(&product.source) != Some(&product.codec) {
                    continue;
                }
                let source = product.source.clone();
                let command = match &made {
                    Made::Frame(batch) => member::Command::Media(source, Arc::clone(batch)),
                    Made::Silence(at, duration) => member::Command::Silence(source, *at, *duration),
                };
                // Full: this viewer misses a frame, sees the hole in the numbers, and waits for a keyframe.
                let _ = member.commands.try_send(command);
            }
        });
        for product in keyframes {
            self.keyframe(&product);
        }
    }

    pub(super) fn keyframe(&mut self, product: &Product) {
        self.keyframes.entry(product.clone()).or_default().due = true;
        self.send_due_keyframes();
    }

    pub(super) fn send_due_keyframes(&mut self) {
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
    pub(super) fn aim(&mut self) {
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
}
