//! The dance of a wiring: create services, tell the workers, wait until all are ready, switch; or leave all as it was.

use super::wiring::{Plan, Product, ROUTER_WAKE, Source, Step, Wiring};
use crate::workers::{Lease, Role};
use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::control::ToWorker;
use remotemedia_worker::namespace::{Host, Runtime};
use remotemedia_worker::{Inlet, Outlet, Wake};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Without `Ready` from all within this the change is refused (DESIGN: 500 ms; a worker that just started opens its
/// namespace in it as well, on a machine that may be busy: chosen larger).
const READY_TIMEOUT: Duration = Duration::from_secs(2);
/// Services that nobody needs are held for so long after a switch: until every worker has let go of them.
const FORGET_AFTER: Duration = Duration::from_secs(1);

struct Pending {
    step: Step,
    next: Wiring,
    waiting: BTreeSet<Role>,
    since: Instant,
}

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
    replaced: BTreeSet<Role>,
    retired: Vec<(Instant, Vec<String>)>,
    refusals: u32,
}

impl Dance {
    /// A namespace of its own, with nothing wired; and what the router waits on.
    ///
    /// # Errors
    /// When the namespace cannot be made.
    pub(super) fn new(runtime: &Runtime, plan: Plan) -> anyhow::Result<(Self, Wake)> {
        let mut host = Host::create(runtime)?;
        host.create_wake(ROUTER_WAKE)?;
        let wake = host.attachment().wake(ROUTER_WAKE)?;
        let dance = Self {
            session: plan.session.clone(),
            host,
            wiring: Wiring::new(plan),
            pending: None,
            replaced: BTreeSet::new(),
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
    pub(super) fn assign(&mut self, lease: &Lease) {
        self.replaced.insert(lease.role);
        lease.send(ToWorker::Assign {
            session: self.session.clone(),
            namespace: self.host.namespace().clone(),
        });
    }

    /// A worker died: what was prepared with it is void.
    pub(super) fn lost(&mut self, survivors: &[&Lease]) {
        self.abandon(survivors);
    }

    /// Goes on towards what is wanted, if nothing is under way and both workers are there.
    ///
    /// # Errors
    /// When a service or a port cannot be made; the old wiring stays.
    pub(super) fn advance(
        &mut self,
        desired: &super::wiring::Desired,
        leases: &[&Lease],
        now: Instant,
    ) -> anyhow::Result<Option<Ports>> {
        if self.pending.is_some() || leases.len() < Role::ALL.len() {
            return Ok(None);
        }
        let Some((step, next)) = self.wiring.plan(desired, &self.replaced) else {
            self.replaced.clear();
            return Ok(None);
        };
        if let Err(error) = self.create(&step) {
            self.wiring.called_off(&next);
            self.forget(step_services(&step));
            return Err(error);
        }
        let mut waiting = BTreeSet::new();
        for lease in leases {
            let changes = step.changes(lease.role);
            if !changes.is_empty() {
                waiting.insert(lease.role);
                lease.send(ToWorker::Prepare {
                    session: self.session.clone(),
                    epoch: step.epoch,
                    changes: changes.to_vec(),
                });
            }
        }
        self.pending = Some(Pending { step, next, waiting, since: now });
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
        leases: &[&Lease],
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
    pub(super) fn refused(&mut self, epoch: u32, leases: &[&Lease]) -> bool {
        let concerned = self.pending.as_ref().is_some_and(|p| p.step.epoch == epoch);
        if concerned {
            self.abandon(leases);
        }
        concerned
    }

    /// Looks at the clock; returns whether a change was refused because nobody got ready in time.
    pub(super) fn tick(&mut self, now: Instant, leases: &[&Lease]) -> bool {
        let mut due = Vec::new();
        self.retired.retain_mut(|(since, services)| {
            let over = now.saturating_duration_since(*since) >= FORGET_AFTER;
            if over {
                due.append(services);
            }
            !over
        });
        self.forget(due);
        let late = self
            .pending
            .as_ref()
            .is_some_and(|p| now.saturating_duration_since(p.since) >= READY_TIMEOUT);
        if late {
            self.abandon(leases);
        }
        late
    }

    fn create(&mut self, step: &Step) -> anyhow::Result<()> {
        for wake in &step.wakes {
            self.host.create_wake(wake)?;
        }
        for channel in &step.channels {
            self.host.create_channel(channel)?;
        }
        Ok(())
    }

    fn switch_if_ready(
        &mut self,
        leases: &[&Lease],
        now: Instant,
    ) -> anyhow::Result<Option<Ports>> {
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
        for lease in leases.iter().filter(|lease| !step.changes(lease.role).is_empty()) {
            lease.send(ToWorker::Switch { session: self.session.clone(), epoch: step.epoch });
        }
        self.wiring = next;
        self.replaced.clear();
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

    fn abandon(&mut self, leases: &[&Lease]) {
        if let Some(pending) = self.pending.take() {
            self.call_off(&pending.step, &pending.next, leases);
        }
    }

    fn call_off(&mut self, step: &Step, plan: &Wiring, leases: &[&Lease]) {
        self.refusals += 1;
        self.wiring.called_off(plan);
        for lease in leases.iter().filter(|lease| !step.changes(lease.role).is_empty()) {
            lease.send(ToWorker::Abandon { session: self.session.clone(), epoch: step.epoch });
        }
        self.forget(step_services(step));
    }

    fn forget(&mut self, services: Vec<String>) {
        for service in services {
            self.host.forget(&service);
        }
    }

    /// Shared memory that the wiring's channels may take at most.
    #[must_use]
    pub(super) fn bytes(&self) -> u64 {
        self.wiring.channels().map(remotemedia_worker::namespace::bytes_of).sum()
    }
}

fn step_services(step: &Step) -> Vec<String> {
    let channels = step.channels.iter().map(|channel| channel.service.clone());
    channels.chain(step.wakes.iter().cloned()).collect()
}
