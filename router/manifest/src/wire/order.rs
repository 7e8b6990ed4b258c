//! Nodes in an order in which each stands behind those that lead to it, and the circles that have none.

use crate::fault::Log;
use crate::read::{Draft, Edge, End};
use std::collections::BTreeSet;

/// The order, and the edges that close a circle and are left out of it.
pub(crate) struct Order {
    pub(crate) nodes: Vec<usize>,
    pub(crate) back: BTreeSet<usize>,
}

/// Sorts; nodes between which the edges do not decide come by their ids, so that the order in the manifest does not matter.
pub(crate) fn sort(nodes: &[Draft<'_>], edges: &[Edge], log: &mut Log) -> Order {
    let mut out: Vec<Vec<(usize, usize)>> = vec![Vec::new(); nodes.len()];
    for (index, edge) in edges.iter().enumerate() {
        if let (End::Node(from, _), End::Node(to, _)) = (&edge.from, &edge.to)
            && let Some(list) = out.get_mut(*from)
        {
            list.push((index, *to));
        }
    }
    let mut by_name: Vec<usize> = (0..nodes.len()).collect();
    by_name.sort_by_key(|index| (nodes.get(*index).map(Draft::name), *index));
    let mut walk = Walk {
        out: &out,
        colour: vec![Colour::New; nodes.len()],
        path: Vec::new(),
        circles: Vec::new(),
    };
    for index in &by_name {
        walk.visit(*index);
    }
    let circles = walk.circles;
    let mut told = BTreeSet::new();
    for (edge, circle) in &circles {
        // Two edges between the same nodes close the same circle.
        if told.insert(circle.clone())
            && let Some(edge) = edges.get(*edge)
        {
            log.fault(&edge.place, circle_of(circle, nodes));
        }
    }
    let back: BTreeSet<usize> = circles.into_iter().map(|(edge, _)| edge).collect();
    Order { nodes: topological(&out, &back, &by_name), back }
}

fn circle_of(circle: &[usize], nodes: &[Draft<'_>]) -> String {
    let name = |index: &usize| format!("`{}`", nodes.get(*index).map_or("?", Draft::name));
    match circle {
        [one] => format!("leads from {0} into {0} itself", name(one)),
        _ => {
            let all: Vec<String> = circle.iter().chain(circle.first()).map(name).collect();
            format!("leads in a circle: {}", all.join(" → "))
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    New,
    OnPath,
    Done,
}

/// A walk along the edges, depth first. No deeper than there are nodes.
struct Walk<'o> {
    out: &'o [Vec<(usize, usize)>],
    colour: Vec<Colour>,
    path: Vec<usize>,
    /// The edge that closes each circle, and the nodes on it.
    circles: Vec<(usize, Vec<usize>)>,
}

impl Walk<'_> {
    fn visit(&mut self, node: usize) {
        if self.colour.get(node) != Some(&Colour::New) {
            return;
        }
        self.paint(node, Colour::OnPath);
        self.path.push(node);
        let out = self.out;
        for (edge, to) in out.get(node).into_iter().flatten() {
            match self.colour.get(*to) {
                Some(Colour::OnPath) => {
                    let circle = self.path.iter().copied().skip_while(|n| n != to).collect();
                    self.circles.push((*edge, circle));
                }
                Some(Colour::New) => self.visit(*to),
                Some(Colour::Done) | None => {}
            }
        }
        self.path.pop();
        self.paint(node, Colour::Done);
    }

    fn paint(&mut self, node: usize, colour: Colour) {
        if let Some(place) = self.colour.get_mut(node) {
            *place = colour;
        }
    }
}

fn topological(
    out: &[Vec<(usize, usize)>],
    back: &BTreeSet<usize>,
    by_name: &[usize],
) -> Vec<usize> {
    let mut before = vec![0usize; out.len()];
    let forward = |list: &[(usize, usize)]| -> Vec<usize> {
        list.iter().filter(|(edge, _)| !back.contains(edge)).map(|(_, to)| *to).collect()
    };
    for to in out.iter().flat_map(|list| forward(list)) {
        if let Some(count) = before.get_mut(to) {
            *count += 1;
        }
    }
    let mut sorted = Vec::with_capacity(out.len());
    let mut left: Vec<usize> = by_name.to_vec();
    // At most 64 rounds of 64: no queue is worth its lines.
    while let Some(at) = left.iter().position(|node| before.get(*node) == Some(&0)) {
        let node = left.remove(at);
        sorted.push(node);
        for to in out.get(node).map(|list| forward(list)).unwrap_or_default() {
            if let Some(count) = before.get_mut(to) {
                *count = count.saturating_sub(1);
            }
        }
    }
    sorted
}
