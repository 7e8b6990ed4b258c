//! From edges between names to streams between ports.
//!
//! Nodes are taken in an order in which each stands behind those that lead to it ([`order`]), so that what comes into one
//! is known when it is asked what comes out: which of its outputs carry anything, and whether there is one of it for each
//! peer, one for the session, or a stream for each listener. [`ports`] finds the ports that an edge means, [`chain`] makes
//! the edges of a manifest that has none, [`loose`] looks for what is left unconnected.

mod chain;
mod loose;
mod order;
mod ports;

pub(crate) use chain::in_order;

use crate::catalogue::Media;
use crate::fault::{Log, Place};
use crate::graph::Scope;
use crate::limits::MAX_OUTPUTS;
use crate::read::{Draft, Edge, Edges, End, MAIN};
use ports::Drain;
use remotemedia_shm_schema::OutputId;
use std::collections::BTreeMap;

/// Where a stream comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spring {
    /// A peer.
    Input(Media),
    /// A node, and one of its outputs.
    Node(usize, usize),
}

/// A stream that leads into a port.
#[derive(Debug, Clone)]
pub(crate) struct Feed {
    pub(crate) from: Spring,
    /// `None` where faults hide it.
    pub(crate) scope: Option<Scope>,
    /// The edge that brings it, and its end.
    edge: Place,
    end: Place,
}

/// A node's connections.
#[derive(Debug)]
pub(crate) struct Wired {
    /// What leads into each of its inputs.
    pub(crate) inlets: Vec<Vec<Feed>>,
    /// Which of its outputs lead on.
    pub(crate) used: Vec<bool>,
    pub(crate) scope: Option<Scope>,
    gathers: bool,
    /// Something leads to it, or from it, that could not be worked out: it is not blamed for what is missing.
    vague_in: bool,
    vague_out: bool,
}

impl Wired {
    /// Whether it takes anything of every peer.
    pub(crate) fn gathers(&self) -> bool {
        self.gathers
    }
}

/// What the graph comes to.
#[derive(Debug)]
pub(crate) struct Mesh {
    /// In an order in which each stands behind those that lead to it.
    pub(crate) order: Vec<usize>,
    pub(crate) wired: Vec<Wired>,
    pub(crate) outputs: BTreeMap<OutputId, BTreeMap<Media, Vec<Feed>>>,
}

/// Connects everything; what cannot be connected is a fault.
pub(crate) fn connect(nodes: &[Draft<'_>], edges: &Edges, at: &Place, log: &mut Log) -> Mesh {
    let order = order::sort(nodes, &edges.all, log);
    let wired = nodes.iter().enumerate().map(|(index, node)| {
        let (inputs, outputs) = node.of.map_or((0, 0), |of| (of.inputs.len(), of.outputs.len()));
        Wired {
            inlets: vec![Vec::new(); inputs],
            used: vec![false; outputs],
            scope: None,
            gathers: false,
            vague_in: edges.missed.to_any || edges.missed.to.contains(&index),
            vague_out: edges.missed.from_any || edges.missed.from.contains(&index),
        }
    });
    let mesh =
        Mesh { order: order.nodes.clone(), wired: wired.collect(), outputs: BTreeMap::new() };
    let mut maker = Maker { nodes, mesh, taken: Vec::new(), log };
    for edge in order.back.iter().filter_map(|index| edges.all.get(*index)) {
        maker.leave(edge);
    }
    let forward = edges.all.iter().enumerate().filter(|(index, _)| !order.back.contains(index));
    let forward: Vec<&Edge> = forward.map(|(_, edge)| edge).collect();
    for edge in &forward {
        if matches!(edge.from, End::Input(_)) {
            maker.lay(edge);
        }
    }
    for index in &order.nodes {
        maker.settle(*index);
        for edge in &forward {
            if matches!(edge.from, End::Node(from, _) if from == *index) {
                maker.lay(edge);
            }
        }
    }
    maker.hand_over(at);
    let Maker { mesh, log, .. } = maker;
    if mesh.outputs.len() > MAX_OUTPUTS {
        let count = mesh.outputs.len();
        log.fault(&at.key("graph"), format!("has {count} outputs; {MAX_OUTPUTS} are allowed"));
    }
    loose::ends(nodes, &mesh, log);
    mesh
}

/// The mesh under way.
struct Maker<'n, 'l> {
    nodes: &'n [Draft<'n>],
    mesh: Mesh,
    /// The kinds of media that an edge takes from `input`.
    taken: Vec<Media>,
    log: &'l mut Log,
}

impl Maker<'_, '_> {
    /// Lays an edge from ports to ports.
    fn lay(&mut self, edge: &Edge) {
        let springs = ports::springs(edge, self.nodes, &self.mesh, self.log);
        let drains = ports::drains(edge, self.nodes, self.log);
        let (Some(springs), Some(drains)) = (springs, drains) else {
            self.leave(edge);
            return;
        };
        let Some(pairs) = ports::pairs(edge, &springs, &drains, self.nodes, self.log) else {
            self.leave(edge);
            return;
        };
        for (spring, drain, media) in pairs {
            self.join(edge, spring, &drain, media);
        }
    }

    /// The edge is not laid, because of a fault: its nodes are not blamed for lacking it.
    fn leave(&mut self, edge: &Edge) {
        if let End::Node(node, _) = &edge.from
            && let Some(wired) = self.mesh.wired.get_mut(*node)
        {
            wired.vague_out = true;
        }
        if let End::Node(node, _) = &edge.to
            && let Some(wired) = self.mesh.wired.get_mut(*node)
        {
            wired.vague_in = true;
        }
    }

    /// Leads a stream into a port, which takes one unless it gathers or takes messages.
    fn join(&mut self, edge: &Edge, from: Spring, into: &Drain, media: Media) {
        let scope = self.scope_of(from);
        if let Spring::Input(media) = from {
            self.taken.push(media);
        }
        if let Spring::Node(node, output) = from
            && let Some(used) =
                self.mesh.wired.get_mut(node).and_then(|wired| wired.used.get_mut(output))
        {
            *used = true;
        }
        let (name, gathers) = (into.name(media, self.nodes), into.gathers(self.nodes));
        let Some(feeds) = self.mesh.feeds(into, media) else { return };
        if let Some(same) = feeds.iter().find(|feed| feed.from == from) {
            let message = format!("{} leads into `{name}` already", same.edge.as_str());
            self.log.fault(&edge.place, message);
            return;
        }
        if let Some(first) = feeds.first()
            && media != Media::Data
            && !gathers
        {
            let differ = first.scope.zip(scope).filter(|(one, other)| one != other);
            let differ = differ.map_or(String::new(), |(one, other)| {
                format!("; besides, that one is {}, and this one {}", one.phrase(), other.phrase())
            });
            let message =
                format!("`{name}` takes one stream, which {} brings", first.edge.as_str());
            self.log.fault(&edge.end(), format!("{message}{differ}"));
            return;
        }
        feeds.push(Feed { from, scope, edge: edge.place.clone(), end: edge.end() });
    }

    /// Of how many there is this stream.
    fn scope_of(&self, from: Spring) -> Option<Scope> {
        match from {
            Spring::Input(_) => Some(Scope::Peer),
            Spring::Node(node, output) => {
                let wired = self.mesh.wired.get(node)?;
                let port = self.nodes.get(node)?.of?.outputs.get(output)?;
                if wired.gathers && port.every { Some(Scope::Listener) } else { wired.scope }
            }
        }
    }

    /// Works out of how many there is this node, now that all that leads to it is laid.
    fn settle(&mut self, index: usize) {
        let Some(node) = self.nodes.get(index) else { return };
        let (Some(of), Some(wired)) = (node.of, self.mesh.wired.get_mut(index)) else { return };
        let inlets = of.inputs.iter().zip(&wired.inlets);
        let gathers = inlets.clone().any(|(port, feeds)| port.every && !feeds.is_empty());
        let mut scopes = Vec::new();
        for (port, feeds) in inlets {
            for feed in feeds {
                scopes.push(feed.scope);
                let scope = feed.scope.unwrap_or(Scope::Session);
                let (at, name) = (&feed.end, node.name());
                if port.every && scope == Scope::Listener {
                    let message = format!(
                        "`{name}.{}` gathers what peers send, and this stream is {}",
                        port.name,
                        scope.phrase()
                    );
                    self.log.fault(at, message);
                } else if gathers && !port.every && scope != Scope::Session {
                    let message = format!(
                        "there is one `{name}` for the session, since it gathers, and its `{}` takes one stream: this one is {}",
                        port.name,
                        scope.phrase()
                    );
                    self.log.fault(at, message);
                }
            }
        }
        let has = |scope: Scope| scopes.contains(&Some(scope));
        if !gathers && has(Scope::Peer) && has(Scope::Listener) {
            let phrases = (Scope::Peer.phrase(), Scope::Listener.phrase());
            let message = format!(
                "`{}` gets one stream that is {} and another that is {}: there is no telling how many of it there are",
                node.name(),
                phrases.0,
                phrases.1
            );
            self.log.fault(&node.place, message);
        }
        let unknown = wired.vague_in || scopes.contains(&None);
        let joined = if gathers {
            Scope::Session
        } else if has(Scope::Listener) {
            Scope::Listener
        } else if has(Scope::Peer) {
            Scope::Peer
        } else {
            Scope::Session
        };
        wired.scope = (!unknown).then_some(joined);
        wired.gathers = gathers;
    }

    /// Pictures and sound that no edge takes from `input` go to `main` as they are, as they did before there were graphs.
    /// Messages do not: nobody is sent what no edge leads there.
    fn hand_over(&mut self, at: &Place) {
        let Ok(main) = OutputId::new(MAIN) else { return };
        for media in [Media::Video, Media::Audio] {
            let fed = self.mesh.outputs.get(&main).is_some_and(|of| of.contains_key(&media));
            if !fed && !self.taken.contains(&media) {
                let (from, scope) = (Spring::Input(media), Some(Scope::Peer));
                let feed = Feed { from, scope, edge: at.clone(), end: at.clone() };
                self.mesh.outputs.entry(main.clone()).or_default().insert(media, vec![feed]);
            }
        }
    }
}

impl Mesh {
    fn feeds(&mut self, into: &Drain, media: Media) -> Option<&mut Vec<Feed>> {
        match into {
            Drain::Output(output) => {
                let output = self.outputs.entry(output.clone()).or_default();
                Some(output.entry(media).or_default())
            }
            Drain::Node(node, input) => self.wired.get_mut(*node)?.inlets.get_mut(*input),
        }
    }
}
