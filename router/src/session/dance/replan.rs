//! The next graph, while the one before is in force.

use super::{Dance, Leases};
use crate::session::budget::NoRoom;
use crate::session::wiring::Plan;
use crate::workers::Role;
use std::collections::BTreeSet;

/// The graph that is to take the place of the one in force.
pub(super) struct Replan {
    pub(super) plan: Plan,
    /// Who of its processes is not waited for.
    without: BTreeSet<Role>,
}

impl Dance {
    /// Another graph shall take the place of the one in force, in one step, when all its processes are there but for those that
    /// it goes `without`.
    ///
    /// # Errors
    /// When there is no room for so many peers in it; nothing changes then.
    pub(in crate::session) fn replan(
        &mut self,
        plan: Plan,
        without: BTreeSet<Role>,
        peers: usize,
        leases: &Leases,
    ) -> Result<(), NoRoom> {
        let floor = plan.bytes_of_a_peer().saturating_mul(peers as u64).max(self.floor);
        if floor > self.budget.reserved() {
            self.budget.take(floor)?;
        }
        (self.peers, self.floor) = (peers, floor);
        // What is under way is for the one before.
        self.give_up(leases);
        self.replan = Some(Replan { plan, without });
        Ok(())
    }

    /// The graph in force stays.
    pub(in crate::session) fn keep(&mut self, leases: &Leases) {
        if self.replan.take().is_some() {
            if self.replans() {
                self.give_up(leases);
            }
            self.settle_floor();
        }
    }

    /// Whether another graph is to come into force.
    #[must_use]
    pub(in crate::session) fn replanning(&self) -> bool {
        self.replan.is_some()
    }

    /// Whether the change under way leads to it.
    #[must_use]
    pub(in crate::session) fn replans(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.replans)
    }

    /// Why the next graph was given up, if there was no room beside what stands; once.
    pub(in crate::session) fn lacked(&mut self) -> Option<NoRoom> {
        self.no_room.take()
    }

    /// What is reserved for peers follows the graph in force.
    pub(super) fn settle_floor(&mut self) {
        self.floor = self.wiring.bytes_of_a_peer().saturating_mul(self.peers as u64);
        self.lower = true;
    }
}

impl Replan {
    /// Whether all its processes are there. One that died meanwhile is waited for, and the graph before holds as ever.
    pub(super) fn can_be(&self, leases: &Leases) -> bool {
        let there = |role: &Role| leases.contains_key(role) || self.without.contains(role);
        self.plan.roles().iter().all(there)
    }
}
