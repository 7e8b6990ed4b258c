//! The dance of a wiring: create services, tell the workers, wait until all are ready, switch; or leave all as it was.

use super::budget::{Budget, NoRoom};
use super::wiring::{Desired, Plan, Product, Source, Step, Wiring};
use crate::workers::{Lease, Role};
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control::{Change, ChannelSpec, TaskId, ToWorker};
use remotemedia_worker::namespace::{Ground, Runtime};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Without `Ready` from all within this the change is refused (DESIGN: 500 ms; a worker that just started opens its
/// namespace in it as well, on a machine that may be busy: chosen larger).
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// The same where an operator's worker begins a task: it may load a model (DESIGN: the start limit).
const MODEL_TIMEOUT: Duration = Duration::from_secs(30);
/// The same where a program that somebody attached by hand begins one: the call's other changes wait for it (chosen).
const ATTACH_TIMEOUT: Duration = Duration::from_secs(5);
/// Services that nobody needs are held for so long after a switch: until every worker has let go of them.
const FORGET_AFTER: Duration = Duration::from_secs(1);

struct Pending {
    step: Step,
    next: Wiring,
    /// The steward has not made the services yet.
    creating: bool,
    waiting: BTreeSet<Role>,
    since: Instant,
    timeout: Duration,
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
    /// What its peers come to, wired or not.
    floor: u64,
    retired: Vec<(Instant, Vec<String>)>,
    refusals: u32,
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
            floor: 0,
            retired: Vec::new(),
            refusals: 0,
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
        self.wiring = self.wiring.anew();
        self.pending = None;
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
        self.abandon(survivors);
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
        if self.pending.is_some() {
            return Ok(None);
        }
        let Some((step, next)) = self.wiring.plan(desired, &self.dead) else {
            self.dead.clear();
            return Ok(None);
        };
        let Some(steward) = leases.get(&Role::Steward) else { return Ok(None) };
        if !step.changes.keys().all(|role| leases.contains_key(role)) {
            return Ok(None);
        }
        if let Err(error) = self.reserve(&step, &next) {
            self.wiring.called_off(&next);
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
        let mut timeout = READY_TIMEOUT;
        for (role, changes) in &step.changes {
            let begins = changes.iter().any(|change| matches!(change, Change::Add(_)));
            timeout = timeout.max(match role {
                Role::Custom(_) if begins => MODEL_TIMEOUT,
                Role::Attached(_) if begins => ATTACH_TIMEOUT,
                _ => READY_TIMEOUT,
            });
        }
        let waiting = step.changes.keys().copied().collect();
        self.pending = Some(Pending { step, next, creating, waiting, since: now, timeout });
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
        let Some(pending) = self.pending.as_mut().filter(|p| p.step.epoch == epoch) else {
            return Ok(None);
        };
        pending.creating = false;
        if let Some(error) = error {
            self.abandon(leases);
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
        self.switch_if_ready(leases, now)
    }

    /// A worker cannot do it. Returns whether that concerned what is under way.
    pub(super) fn refused(&mut self, epoch: u32, leases: &Leases) -> bool {
        let concerned = self.pending.as_ref().is_some_and(|p| p.step.epoch == epoch);
        if concerned {
            self.abandon(leases);
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
        if !due.is_empty() {
            self.forget(due, leases);
            // Less is always possible.
            let _ = self.budget.take(bytes_of(self.wiring.channels()).max(self.floor));
        }
        let over = |p: &&Pending| now.saturating_duration_since(p.since) >= p.timeout;
        let late = self.pending.as_ref().filter(over).map(|p| match p.creating {
            // The others have not been told of it yet.
            true => [Role::Steward].into(),
            false => p.waiting.clone(),
        });
        if late.is_some() {
            self.abandon(leases);
        }
        late.unwrap_or_default()
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
        let Pending { step, next, .. } = pending;
        for lease in step.changes.keys().filter_map(|role| leases.get(role)) {
            lease.send(ToWorker::Switch { session: self.session.clone(), epoch: step.epoch });
        }
        self.wiring = next;
        self.dead.clear();
        self.retired.push((now, step.forget));
        Some(Ports {
            outlets: step.outlets,
            closed_outlets: step.closed_outlets,
            inlets: step.inlets,
            closed_inlets: step.closed_inlets,
        })
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
        let floor = self.wiring.bytes_of_a_peer().saturating_mul(peers as u64);
        self.budget.take(floor.max(bytes_of(self.wiring.channels())))?;
        self.floor = floor;
        Ok(())
    }
}

fn bytes_of<'a>(channels: impl IntoIterator<Item = &'a ChannelSpec>) -> u64 {
    channels.into_iter().map(remotemedia_worker::namespace::bytes_of).sum()
}

fn step_services(step: &Step) -> Vec<String> {
    let channels = step.channels.iter().map(|channel| channel.service.clone());
    channels.chain(step.wakes.iter().cloned()).collect()
}
