//! The dance of a wiring: create services, tell the workers, wait until all are ready, switch; or leave all as it was.

use super::budget::{Budget, NoRoom};
use super::wiring::{Desired, Plan, Product, ROUTER_WAKE, Source, Step, Wiring};
use crate::workers::{Lease, Role};
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control::{Change, ChannelSpec, ToWorker};
use remotemedia_worker::namespace::{Host, Runtime};
use remotemedia_worker::{Inlet, Outlet, Wake};
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
    waiting: BTreeSet<Role>,
    since: Instant,
    timeout: Duration,
}

/// The session's processes, by what they do in it.
pub(super) type Leases = BTreeMap<Role, Lease>;

/// Ports that a switch gave to the router.
#[derive(Default)]
pub(super) struct Ports {
    /// Writing ends, by source.
    pub(super) outlets: Vec<(Source, Outlet)>,
    /// Sources that are not written any more.
    pub(super) closed_outlets: BTreeSet<Source>,
    /// Reading ends, by product.
    pub(super) inlets: Vec<(Product, Inlet)>,
    /// Products that are not read any more.
    pub(super) closed_inlets: BTreeSet<Product>,
}

/// The namespace and the wiring in it.
pub(super) struct Dance {
    session: SessionId,
    host: Host,
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
    /// A namespace of its own, with nothing wired; and what the router waits on.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub(super) fn new(
        runtime: &Runtime,
        plan: Plan,
        budget: Budget,
    ) -> anyhow::Result<(Self, Wake)> {
        let mut host = Host::create(runtime)?;
        host.create_wake(ROUTER_WAKE)?;
        let wake = host.attachment().wake(ROUTER_WAKE)?;
        let dance = Self {
            session: plan.session.clone(),
            host,
            wiring: Wiring::new(plan),
            pending: None,
            dead: BTreeSet::new(),
            budget,
            floor: 0,
            retired: Vec::new(),
            refusals: 0,
        };
        Ok((dance, wake))
    }

    /// The wiring in force.
    #[must_use]
    pub(super) fn wiring(&self) -> &Wiring {
        &self.wiring
    }

    /// The namespace.
    #[must_use]
    pub(super) fn host(&self) -> &Host {
        &self.host
    }

    /// Ends it: what is left is the namespace, to be swept.
    #[must_use]
    pub(super) fn into_host(self) -> Host {
        self.host
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
            namespace: self.host.namespace().clone(),
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
        if !step.changes.keys().all(|role| leases.contains_key(role)) {
            return Ok(None);
        }
        if let Err(error) = self.create(&step, &next) {
            self.wiring.called_off(&next);
            self.forget(step_services(&step));
            return Err(error);
        }
        let mut timeout = READY_TIMEOUT;
        for (role, changes) in &step.changes {
            let Some(lease) = leases.get(role) else { continue };
            lease.send(ToWorker::Prepare {
                session: self.session.clone(),
                epoch: step.epoch,
                changes: changes.clone(),
            });
            let begins = changes.iter().any(|change| matches!(change, Change::Add(_)));
            timeout = timeout.max(match role {
                Role::Custom(_) if begins => MODEL_TIMEOUT,
                Role::Attached(_) if begins => ATTACH_TIMEOUT,
                _ => READY_TIMEOUT,
            });
        }
        let waiting = step.changes.keys().copied().collect();
        self.pending = Some(Pending { step, next, waiting, since: now, timeout });
        self.switch_if_ready(leases, now)
    }

    /// A worker is ready for an epoch.
    ///
    /// # Errors
    /// When a port of the router's own cannot be opened; the old wiring stays.
    pub(super) fn ready(
        &mut self,
        role: Role,
        epoch: u32,
        leases: &Leases,
        now: Instant,
    ) -> anyhow::Result<Option<Ports>> {
        match &mut self.pending {
            Some(pending) if pending.step.epoch == epoch => {
                pending.waiting.remove(&role);
                self.switch_if_ready(leases, now)
            }
            _ => Ok(None),
        }
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
        self.forget(due);
        let over = |p: &&Pending| now.saturating_duration_since(p.since) >= p.timeout;
        let late = self.pending.as_ref().filter(over).map(|p| p.waiting.clone());
        if late.is_some() {
            self.abandon(leases);
        }
        late.unwrap_or_default()
    }

    fn create(&mut self, step: &Step, next: &Wiring) -> anyhow::Result<()> {
        // What stands beside the new wiring until the switch, and what dead processes left, counts as well.
        let held = self.wiring.channels().chain(&step.channels);
        self.budget.take(bytes_of(held).max(bytes_of(next.channels())).max(self.floor))?;
        for wake in &step.wakes {
            self.host.create_wake(wake)?;
        }
        for channel in &step.channels {
            self.host.create_channel(channel)?;
        }
        Ok(())
    }

    fn switch_if_ready(&mut self, leases: &Leases, now: Instant) -> anyhow::Result<Option<Ports>> {
        let Some(pending) = self.pending.take_if(|p| p.waiting.is_empty()) else {
            return Ok(None);
        };
        let Pending { step, next, .. } = pending;
        let ports = match self.open(&step) {
            Ok(ports) => ports,
            Err(error) => {
                self.call_off(&step, &next, leases);
                return Err(error);
            }
        };
        for lease in step.changes.keys().filter_map(|role| leases.get(role)) {
            lease.send(ToWorker::Switch { session: self.session.clone(), epoch: step.epoch });
        }
        self.wiring = next;
        self.dead.clear();
        self.retired.push((now, step.forget));
        Ok(Some(ports))
    }

    fn open(&self, step: &Step) -> anyhow::Result<Ports> {
        let attachment = self.host.attachment();
        let mut ports = Ports {
            closed_outlets: step.closed_outlets.clone(),
            closed_inlets: step.closed_inlets.clone(),
            ..Ports::default()
        };
        for (source, spec) in &step.outlets {
            ports.outlets.push((source.clone(), attachment.outlet(spec)?));
        }
        for (product, spec) in &step.inlets {
            ports.inlets.push((product.clone(), attachment.inlet(spec)?));
        }
        Ok(ports)
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
        self.forget(step_services(step));
    }

    fn forget(&mut self, services: Vec<String>) {
        for service in services {
            self.host.forget(&service);
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
