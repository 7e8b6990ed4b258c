//! The dance of a wiring: create services, tell the workers, wait until all are ready, switch; or leave all as it was.
//!
//! Another graph ([`Dance::replan`]) is one such change. Until it is in force the one before is, and what else is wanted meanwhile
//! is wired in that: a model that loads for the next graph holds up nothing that flows.

mod aside;
mod replan;

use super::budget::{Budget, NoRoom};
use super::wiring::{Desired, Plan, Product, Source, Step, Wiring};
use crate::workers::{Lease, Role};
use aside::Aside;
use remotemedia_shm_schema::control::{Change, ChannelSpec, GraphNode, TaskId, TaskKind, ToWorker};
use remotemedia_shm_schema::{ChannelName, NodeId, SessionId};
use remotemedia_worker::namespace::{Ground, Runtime};
use replan::Replan;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Without `Ready` from all within this the change is refused (DESIGN: 500 ms; a worker that just started opens its
/// namespace in it as well, on a machine that may be busy: chosen larger).
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// The same where an operator's worker begins a task, or starts for it: it may load a model (DESIGN: the start limit).
pub(super) const MODEL_TIMEOUT: Duration = Duration::from_secs(30);
/// The same where a program that somebody attached by hand begins one: the call's other changes wait for it (chosen).
const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);
/// After this, what is wanted besides does not wait any longer for what a process makes (chosen: what loads no model takes
/// less).
const SLOW: Duration = Duration::from_millis(500);
/// Services that nobody needs are held for so long after a switch: until every worker has let go of them.
const FORGET_AFTER: Duration = Duration::from_secs(1);

struct Pending {
    step: Step,
    next: Wiring,
    /// The steward has not made the services yet.
    creating: bool,
    waiting: BTreeSet<Role>,
    since: Instant,
    /// Whether it leads to the next graph.
    replans: bool,
}

/// The session's processes, by what they do in it.
pub(super) type Leases = BTreeMap<Role, Lease>;

/// What a switch changed for the router.
pub(super) struct Ports {
    /// The steward's tasks that take units in, with their epochs, by source.
    pub(super) outlets: BTreeMap<Source, (TaskId, u32)>,
    /// Sources that go nowhere any more.
    pub(super) closed_outlets: BTreeSet<Source>,
    /// The steward's tasks that bring units, by product.
    pub(super) inlets: BTreeMap<Product, TaskId>,
    /// Products that do not come any more.
    pub(super) closed_inlets: BTreeSet<Product>,
}

/// The namespace and the wiring in it.
pub(super) struct Dance {
    session: SessionId,
    ground: Ground,
    wiring: Wiring,
    pending: Option<Pending>,
    /// Roles whose process died since the wiring in force: what it had open is not used again.
    dead: BTreeSet<Role>,
    budget: Budget,
    /// Peers that there is to be room for.
    peers: usize,
    /// What they come to, wired or not.
    floor: u64,
    /// Less is needed than is reserved.
    lower: bool,
    /// Until it is in force.
    replan: Option<Replan>,
    /// What the next graph lacked, until somebody asks.
    no_room: Option<NoRoom>,
    retired: Vec<(Instant, Vec<String>)>,
    refusals: u32,
    /// While a step is under way.
    aside: Aside,
    /// Who was asked to make something and has not yet, since when: a step that is called off for others does not give them
    /// more time.
    making: BTreeMap<Role, Instant>,
}

impl Dance {
    /// A namespace of its own, with nothing wired.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub(super) fn new(runtime: &Runtime, plan: Plan, budget: Budget) -> anyhow::Result<Self> {
        let ground = Ground::make(runtime)?;
        budget.spent_in(&ground.namespace().prefix);
        Ok(Self {
            session: plan.session.clone(),
            ground,
            wiring: Wiring::new(plan),
            pending: None,
            dead: BTreeSet::new(),
            budget,
            peers: 0,
            floor: 0,
            lower: false,
            replan: None,
            no_room: None,
            retired: Vec::new(),
            refusals: 0,
            aside: Aside::default(),
            making: BTreeMap::new(),
        })
    }

    /// The wiring in force.
    #[must_use]
    pub(super) fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    /// The namespace.
    #[must_use]
    pub(super) fn ground(&self) -> &Ground {
        &self.ground
    }

    /// Begins anew in another namespace; the one before is the caller's to sweep, when its processes are gone.
    ///
    /// # Errors
    /// When a namespace cannot be made; all stays as it was.
    pub(super) fn begin_anew(&mut self, runtime: &Runtime) -> anyhow::Result<Ground> {
        let ground = Ground::make(runtime)?;
        self.budget.spent_in(&ground.namespace().prefix);
        if let Some(pending) = self.pending.take() {
            // Whoever lives on may still answer to it.
            self.wiring.called_off(&pending.next);
        }
        self.aside = Aside::default();
        self.making.clear();
        self.wiring = self.wiring.anew();
        self.dead.clear();
        self.retired.clear();
        Ok(std::mem::replace(&mut self.ground, ground))
    }

    /// Ends it: what is left is the namespace, to be swept.
    #[must_use]
    pub(super) fn into_ground(self) -> Ground {
        self.ground
    }

    /// Changes that were refused so far.
    #[must_use]
    pub(super) fn refusals(&self) -> u32 {
        self.refusals
    }

    /// A worker was given to this session: first, or in place of one that died.
    pub(super) fn assign(&self, lease: &Lease) {
        lease.send(ToWorker::Assign {
            session: self.session.clone(),
            namespace: self.ground.namespace().clone(),
        });
    }

    /// A worker died: what was prepared with it is void.
    pub(super) fn lost(&mut self, role: Role, survivors: &Leases) {
        self.dead.insert(role);
        self.making.remove(&role);
        self.give_up(survivors);
    }

    /// A reader of this channel died with its place: the channel is made afresh with the next step.
    pub(super) fn wear(&mut self, channel: &ChannelName) {
        self.wiring.wear(channel);
        // A step under way was planned without that.
        if let Some(pending) = &mut self.pending {
            pending.next.wear(channel);
        }
    }

    /// A node has other parameters than it began with.
    pub(super) fn set_params(
        &mut self,
        node: &NodeId,
        changes: &Map<String, Value>,
        leases: &Leases,
    ) {
        self.wiring.set_params(node, changes);
        if let Some(replan) = &mut self.replan {
            // What runs goes on in it as well.
            replan.plan.set_params(node, changes);
        }
        let begins = |change: &Change| match change {
            Change::Add(task) => nodes(&task.kind).iter().any(|other| other.id == *node),
            Change::Rewire { .. } | Change::Remove(_) => false,
        };
        match &mut self.pending {
            // Whoever prepares it has the old ones.
            Some(pending) if pending.step.changes.values().flatten().any(begins) => {
                self.give_up(leases);
            }
            Some(pending) => pending.next.set_params(node, changes),
            None => {}
        }
    }

    /// Whether the process of this role that the wiring in force counts on is dead.
    #[must_use]
    pub(super) fn dead(&self, role: Role) -> bool {
        self.dead.contains(&role)
    }

    /// Goes on towards what is wanted, if nothing is under way and all processes that it takes are there.
    ///
    /// # Errors
    /// When a service or a port cannot be made; the old wiring stays.
    pub(super) fn advance(
        &mut self,
        desired: &Desired,
        leases: &Leases,
        now: Instant,
    ) -> anyhow::Result<Option<Ports>> {
        let instead = match &self.pending {
            None => None,
            Some(pending) if pending.makes_slowly(now) => {
                let instead = if pending.replans {
                    // Nothing of the next graph comes into force before all of it: all else is wanted of the one before.
                    self.aside.makers.extend(pending.waiting.iter().copied());
                    None
                } else {
                    self.aside.take(pending, &self.wiring, &self.dead);
                    Some(self.aside.without(desired))
                };
                // What is planned beside it takes other names.
                self.wiring.called_off(&pending.next);
                instead
            }
            Some(_) => return Ok(None),
        };
        let desired = instead.as_ref().unwrap_or(desired);
        let idle = self.pending.is_none();
        let replan = self.replan.as_ref().filter(|next| idle && next.can_be(leases));
        let other = replan.map(|next| self.wiring.with(&next.plan));
        let Some((step, next)) = other.as_ref().unwrap_or(&self.wiring).plan(desired, &self.dead)
        else {
            if let Some(same) = other {
                // Nothing that runs differs.
                self.wiring = same;
                self.replan = None;
                self.settle_floor();
            }
            if self.pending.is_none() {
                self.dead.clear();
            }
            return Ok(None);
        };
        let replans = other.is_some();
        let Some(steward) = leases.get(&Role::Steward) else { return Ok(None) };
        if !step.changes.keys().all(|role| leases.contains_key(role)) {
            return Ok(None);
        }
        // What a model that still loads is for waits; the processes keep what they have loaded until it is asked for again.
        self.abandon(leases);
        if let Err(error) = self.reserve(&step, &next) {
            self.wiring.called_off(&next);
            if replans {
                self.keep(leases);
                self.no_room = Some(error);
                return Ok(None);
            }
            return Err(error.into());
        }
        let creating = !(step.wakes.is_empty() && step.channels.is_empty());
        if creating {
            steward.send(ToWorker::Create {
                session: self.session.clone(),
                epoch: step.epoch,
                wakes: step.wakes.clone(),
                channels: step.channels.clone(),
            });
        }
        self.making.retain(|role, _| self.aside.makers.contains(role) || begins(&step, *role));
        for role in step.changes.keys().filter(|role| begins(&step, **role)) {
            self.making.entry(*role).or_insert(now);
        }
        let waiting = step.changes.keys().copied().collect();
        self.pending = Some(Pending { step, next, creating, waiting, since: now, replans });
        if !creating {
            self.prepare(leases);
        }
        Ok(self.switch_if_ready(leases, now))
    }

    /// The steward has made the services of an epoch, or cannot.
    ///
    /// # Errors
    /// When it cannot; the old wiring stays.
    pub(super) fn created(
        &mut self,
        epoch: u32,
        error: Option<String>,
        leases: &Leases,
        now: Instant,
    ) -> anyhow::Result<Option<Ports>> {
        // Said twice it would have everybody open all of it a second time.
        let asked = self.pending.as_mut().filter(|p| p.step.epoch == epoch && p.creating);
        let Some(pending) = asked else { return Ok(None) };
        pending.creating = false;
        if let Some(error) = error {
            self.give_up(leases);
            return Err(anyhow::Error::msg(error));
        }
        self.prepare(leases);
        Ok(self.switch_if_ready(leases, now))
    }

    /// All who are concerned open what the step under way needs.
    fn prepare(&self, leases: &Leases) {
        let Some(pending) = &self.pending else { return };
        for (role, changes) in &pending.step.changes {
            if let Some(lease) = leases.get(role) {
                lease.send(ToWorker::Prepare {
                    session: self.session.clone(),
                    epoch: pending.step.epoch,
                    changes: changes.clone(),
                });
            }
        }
    }

    /// A worker is ready for an epoch.
    pub(super) fn ready(
        &mut self,
        role: Role,
        epoch: u32,
        leases: &Leases,
        now: Instant,
    ) -> Option<Ports> {
        let pending = self.pending.as_mut().filter(|p| p.step.epoch == epoch && !p.creating)?;
        pending.waiting.remove(&role);
        self.making.remove(&role);
        self.switch_if_ready(leases, now)
    }

    /// A worker cannot do it. Returns whether that concerned what is under way.
    pub(super) fn refused(&mut self, epoch: u32, leases: &Leases) -> bool {
        let concerned = self.pending.as_ref().is_some_and(|p| p.step.epoch == epoch);
        if concerned {
            self.making.clear();
            self.give_up(leases);
        }
        concerned
    }

    /// Looks at the clock; returns who did not get ready in time, for which the change under way was given up.
    pub(super) fn tick(&mut self, now: Instant, leases: &Leases) -> BTreeSet<Role> {
        let mut due = Vec::new();
        self.retired.retain_mut(|(since, services)| {
            let over = now.saturating_duration_since(*since) >= FORGET_AFTER;
            if over {
                due.append(services);
            }
            !over
        });
        let freed = !due.is_empty();
        if freed {
            self.forget(due, leases);
        }
        if freed || self.lower && self.retired.is_empty() {
            self.lower = false;
            // Less is always possible.
            let _ = match &self.pending {
                Some(pending) => self.reserve(&pending.step, &pending.next),
                None => self.budget.take(bytes_of(self.wiring.channels()).max(self.floor)),
            };
        }
        let Some(pending) = &self.pending else { return BTreeSet::new() };
        // While it creates, the others have not been told of it yet.
        let creator = BTreeSet::from([Role::Steward]);
        let waiting = if pending.creating { &creator } else { &pending.waiting };
        let since = |role| self.making.get(role).copied().unwrap_or(pending.since);
        let late = waiting.iter().filter(|role| pending.late(since(role), **role, now));
        let late: BTreeSet<Role> = late.copied().collect();
        if !late.is_empty() {
            self.making.retain(|role, _| !late.contains(role));
            self.give_up(leases);
        }
        late
    }

    fn reserve(&self, step: &Step, next: &Wiring) -> Result<(), NoRoom> {
        if self.dead.is_empty() {
            // What stands beside the new wiring until the switch counts as well.
            let held = self.wiring.channels().chain(&step.channels);
            return self.budget.take(bytes_of(held).max(bytes_of(next.channels())).max(self.floor));
        }
        // What a dead process had open grows no more: it counts as what it takes now, until it is forgotten.
        let objects = self.ground.objects().unwrap_or_default();
        self.budget.used(objects);
        self.budget.take((bytes_of(next.channels()) + objects.bytes).max(self.floor))
    }

    fn switch_if_ready(&mut self, leases: &Leases, now: Instant) -> Option<Ports> {
        let pending = self.pending.take_if(|p| p.waiting.is_empty() && !p.creating)?;
        let Pending { step, next, replans, .. } = pending;
        for lease in step.changes.keys().filter_map(|role| leases.get(role)) {
            lease.send(ToWorker::Switch { session: self.session.clone(), epoch: step.epoch });
        }
        self.wiring = next;
        if replans {
            self.replan = None;
            self.settle_floor();
        }
        self.aside = Aside::default();
        self.dead.clear();
        self.retired.push((now, step.forget));
        Some(Ports {
            outlets: step.outlets,
            closed_outlets: step.closed_outlets,
            inlets: step.inlets,
            closed_inlets: step.closed_inlets,
        })
    }

    /// What is under way is off, and with it what was put off for it.
    fn give_up(&mut self, leases: &Leases) {
        self.aside = Aside::default();
        self.abandon(leases);
    }

    fn abandon(&mut self, leases: &Leases) {
        if let Some(pending) = self.pending.take() {
            self.call_off(&pending.step, &pending.next, leases);
        }
    }

    fn call_off(&mut self, step: &Step, plan: &Wiring, leases: &Leases) {
        self.refusals += 1;
        self.wiring.called_off(plan);
        for lease in step.changes.keys().filter_map(|role| leases.get(role)) {
            lease.send(ToWorker::Abandon { session: self.session.clone(), epoch: step.epoch });
        }
        self.forget(step_services(step), leases);
    }

    fn forget(&self, services: Vec<String>, leases: &Leases) {
        if let (Some(steward), false) = (leases.get(&Role::Steward), services.is_empty()) {
            steward.send(ToWorker::Forget { session: self.session.clone(), services });
        }
    }

    /// Shared memory that the session may take.
    #[must_use]
    pub(super) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Makes sure that there is room for so many peers.
    ///
    /// # Errors
    /// When there is not.
    pub(super) fn make_room(&mut self, peers: usize) -> Result<(), NoRoom> {
        let next = self.replan.as_ref().map_or(0, |next| next.plan.bytes_of_a_peer());
        let floor = self.wiring.bytes_of_a_peer().max(next).saturating_mul(peers as u64);
        self.budget.take(floor.max(bytes_of(self.wiring.channels())))?;
        (self.peers, self.floor) = (peers, floor);
        Ok(())
    }
}

fn nodes(kind: &TaskKind) -> &[GraphNode] {
    match kind {
        TaskKind::Graph { nodes } => nodes,
        _ => &[],
    }
}

/// Whether a step asks a process of this role, which may load a model for it, to begin a task.
fn begins(step: &Step, role: Role) -> bool {
    matches!(role, Role::Custom(_) | Role::Attached(_))
        && step.changes(role).iter().any(|change| matches!(change, Change::Add(_)))
}

impl Pending {
    /// Whether all that it waits for is what an operator's or an attached program makes, which may load a model for it.
    fn makes_slowly(&self, now: Instant) -> bool {
        !self.creating
            && now.saturating_duration_since(self.since) >= SLOW
            && !self.waiting.is_empty()
            && self.waiting.iter().all(|role| begins(&self.step, *role))
    }

    /// Whether a process that was asked at this time should be ready by now.
    fn late(&self, since: Instant, role: Role, now: Instant) -> bool {
        let timeout = match role {
            Role::Custom(_) if begins(&self.step, role) => MODEL_TIMEOUT,
            Role::Attached(_) if begins(&self.step, role) => ATTACH_TIMEOUT,
            _ => READY_TIMEOUT,
        };
        now.saturating_duration_since(since) >= timeout
    }
}

fn bytes_of<'a>(channels: impl IntoIterator<Item = &'a ChannelSpec>) -> u64 {
    channels.into_iter().map(remotemedia_worker::namespace::bytes_of).sum()
}

fn step_services(step: &Step) -> Vec<String> {
    let channels = step.channels.iter().map(|channel| channel.service.clone());
    channels.chain(step.wakes.iter().cloned()).collect()
}

#[cfg(test)]
mod tests;
