//! Which nodes could share a process.

use crate::graph::{Group, Node, Stream};
use remotemedia_shm_schema::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// Joins nodes that follow one another, that one worker runs, and of which there are equally many. A node that says
/// something of its channels has channels, so what reads it stands in another process. No group waits for itself by way of
/// another.
pub(crate) fn of(nodes: &[Node]) -> Vec<Group> {
    let index: BTreeMap<&NodeId, usize> =
        nodes.iter().enumerate().map(|(index, node)| (&node.id, index)).collect();
    let mut links: BTreeSet<(usize, usize)> = BTreeSet::new();
    for (to, node) in nodes.iter().enumerate() {
        for (_, feed) in node.feeds() {
            if let Stream::Node { node, .. } = &feed.stream
                && let Some(from) = index.get(node)
            {
                links.insert((*from, to));
            }
        }
    }
    // Each node's group, by the first node in it.
    let mut group: Vec<usize> = (0..nodes.len()).collect();
    for (from, to) in &links {
        let (Some(first), Some(second)) = (nodes.get(*from), nodes.get(*to)) else { continue };
        let alike = first.worker == second.worker && first.scope == second.scope;
        let hands_on = first.queue == crate::graph::Queue::default();
        if !(alike && hands_on) {
            continue;
        }
        let (one, other) = (group.get(*from).copied(), group.get(*to).copied());
        let (keep, gone) = (one.min(other), one.max(other));
        let joined: Vec<usize> =
            group.iter().map(|g| if Some(*g) == gone { keep.unwrap_or(*g) } else { *g }).collect();
        if is_acyclic(&joined, &links) {
            group = joined;
        }
    }
    let mut groups: BTreeMap<usize, Group> = BTreeMap::new();
    for (node, group) in nodes.iter().zip(&group) {
        let new = || Group { worker: node.worker.clone(), scope: node.scope, nodes: Vec::new() };
        groups.entry(*group).or_insert_with(new).nodes.push(node.id.clone());
    }
    groups.into_values().collect()
}

/// Whether the groups can be run one behind the other: those that wait for no other are taken away until none is left.
fn is_acyclic(group: &[usize], links: &BTreeSet<(usize, usize)>) -> bool {
    let of = |node: usize| group.get(node).copied();
    let mut waits: BTreeSet<(usize, usize)> = links
        .iter()
        .filter_map(|(from, to)| of(*from).zip(of(*to)))
        .filter(|(from, to)| from != to)
        .collect();
    let mut left: BTreeSet<usize> = group.iter().copied().collect();
    loop {
        let waiting: BTreeSet<usize> = waits.iter().map(|(_, to)| *to).collect();
        if waiting.len() == left.len() {
            return left.is_empty();
        }
        left = waiting;
        waits.retain(|(from, _)| left.contains(from));
    }
}
