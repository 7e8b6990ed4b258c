//! What differs between two graphs, so that a running session changes parameters at once and structure at an epoch.

use crate::graph::{Graph, Node};
use remotemedia_shm_schema::{NodeId, OutputId};
use serde::Serialize;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The node is gone; or, together with [`Change::Added`], another one has its id: of another type, or in another worker.
    Removed(NodeId),
    /// The node is new.
    Added(NodeId),
    /// The node stays, and other streams lead into it, it is of another number (of each peer, for the session), others of its
    /// outputs are read, or its channels have another contract.
    Rewired(NodeId),
    /// The node stays, with other parameters: at once, without a new wiring.
    ParamsChanged(NodeId),
    /// The node stays, with another policy or time limit: at once.
    TermsChanged(NodeId),
    /// The result is new, gone, or made of something else.
    OutputChanged(OutputId),
    /// The result goes to others than before, or has another place on the ladder: at once, for the router only.
    Rerouted(OutputId),
}

impl Change {
    /// Which node, if it is about one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeId> {
        match self {
            Self::Removed(node)
            | Self::Added(node)
            | Self::Rewired(node)
            | Self::ParamsChanged(node)
            | Self::TermsChanged(node) => Some(node),
            Self::OutputChanged(_) | Self::Rerouted(_) => None,
        }
    }

    /// Whether it can be done without an epoch.
    #[must_use]
    pub fn at_once(&self) -> bool {
        match self {
            Self::ParamsChanged(_) | Self::TermsChanged(_) | Self::Rerouted(_) => true,
            Self::Removed(_) | Self::Added(_) | Self::Rewired(_) | Self::OutputChanged(_) => false,
        }
    }
}

impl Graph {
    /// What makes this graph the next one: what goes in this one's order, then what comes or differs in the next one's,
    /// then the results by name. Empty if and only if the two are equal.
    #[must_use]
    pub fn diff(&self, next: &Self) -> Vec<Change> {
        let mut all = Vec::new();
        for old in &self.nodes {
            if !next.node(&old.id).is_some_and(|new| same(old, new)) {
                all.push(Change::Removed(old.id.clone()));
            }
        }
        for new in &next.nodes {
            match self.node(&new.id).filter(|old| same(old, new)) {
                Some(old) => changes(old, new, &mut all),
                None => all.push(Change::Added(new.id.clone())),
            }
        }
        for old in &self.outputs {
            if next.output(&old.id).is_none() {
                all.push(Change::OutputChanged(old.id.clone()));
            }
        }
        for new in &next.outputs {
            let rung = |graph: &Self| graph.ladder.iter().position(|id| *id == new.id);
            match self.output(&new.id) {
                Some(old) => {
                    if old.feeds != new.feeds {
                        all.push(Change::OutputChanged(new.id.clone()));
                    }
                    if old.routes != new.routes || rung(self) != rung(next) {
                        all.push(Change::Rerouted(new.id.clone()));
                    }
                }
                None => all.push(Change::OutputChanged(new.id.clone())),
            }
        }
        all
    }
}

/// Whether a node can become the other one and keep its state.
fn same(old: &Node, new: &Node) -> bool {
    old.kind == new.kind && old.worker == new.worker
}

fn changes(old: &Node, new: &Node, all: &mut Vec<Change>) {
    let wiring = (&old.inlets, &old.outlets, old.scope, old.queue);
    if wiring != (&new.inlets, &new.outlets, new.scope, new.queue) {
        all.push(Change::Rewired(new.id.clone()));
    }
    if old.params != new.params {
        all.push(Change::ParamsChanged(new.id.clone()));
    }
    if (old.on_failure, old.frame_limit_ms) != (new.on_failure, new.frame_limit_ms) {
        all.push(Change::TermsChanged(new.id.clone()));
    }
}
