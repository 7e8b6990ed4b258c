//! Pure: what of a change is made slowly, and what is wanted but for that.

use super::{Pending, nodes};
use crate::session::wiring::{Desired, Source, Wiring};
use crate::workers::Role;
use remotemedia_shm_schema::NodeId;
use remotemedia_shm_schema::control::{Change, GraphNode};
use std::collections::BTreeSet;

/// What is wanted and is made slowly: all else is wired without it first.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Who makes it.
    pub(super) makers: BTreeSet<Role>,
    /// Of these, those that do nothing else yet.
    roles: BTreeSet<Role>,
    nodes: BTreeSet<NodeId>,
    sources: BTreeSet<Source>,
}

impl Aside {
    /// Puts aside what the step under way still waits for.
    pub(super) fn take(&mut self, pending: &Pending, wiring: &Wiring, dead: &BTreeSet<Role>) {
        for role in &pending.waiting {
            self.makers.insert(*role);
            if dead.contains(role) || wiring.tasks_of(*role).next().is_none() {
                self.roles.insert(*role);
                continue;
            }
            for change in pending.step.changes(*role) {
                let Change::Add(task) = change else { continue };
                let key = pending.next.tasks().find(|(_, other)| other.id == task.id);
                let Some(source) = key.map(|(key, _)| key.source()) else { continue };
                // What flows already goes on to flow, without the nodes that are new in it.
                let running = wiring.tasks_of(*role).filter(|(key, _)| key.source() == source);
                let running: Vec<&GraphNode> = running.flat_map(|(_, t)| nodes(&t.kind)).collect();
                let fresh = nodes(&task.kind).iter();
                let fresh = fresh.filter(|node| running.iter().all(|other| other.id != node.id));
                let fresh: Vec<NodeId> = fresh.map(|node| node.id.clone()).collect();
                if running.is_empty() || fresh.is_empty() {
                    self.sources.insert(source.clone());
                } else {
                    self.nodes.extend(fresh);
                }
            }
        }
    }

    /// What is wanted but for this.
    pub(super) fn without(&self, desired: &Desired) -> Desired {
        let mut without = desired.clone();
        without.absence.roles.extend(&self.roles);
        without.absence.nodes.extend(self.nodes.iter().cloned());
        without.sources.retain(|source, _| !self.sources.contains(source));
        without.products.retain(|product| !self.sources.contains(&product.stream.source));
        without.inserts.retain(|insert| !self.sources.contains(&insert.source));
        without
    }
}
