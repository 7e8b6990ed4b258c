//! A graph as a picture: for a terminal, and as Mermaid for a page.

mod mermaid;
mod text;

use crate::graph::{Graph, Link, Node, Reader, Scope, Stream};
use crate::read::MAIN;
use remotemedia_shm_schema::NodeId;
use std::collections::{BTreeMap, BTreeSet};

/// What both pictures need to know of the links.
struct Picture<'g> {
    graph: &'g Graph,
    links: Vec<Link<'g>>,
    ports: BTreeMap<&'g NodeId, Ports<'g>>,
}

/// A node's outputs that are read, and its inputs that are fed.
#[derive(Default)]
struct Ports<'g> {
    outputs: BTreeSet<&'g str>,
    inputs: BTreeSet<&'g str>,
}

impl<'g> Picture<'g> {
    fn of(graph: &'g Graph) -> Self {
        let links: Vec<Link<'g>> = graph.links().collect();
        let mut ports: BTreeMap<&'g NodeId, Ports<'g>> = BTreeMap::new();
        for link in &links {
            if let Stream::Node { node, port } = &link.feed.stream {
                ports.entry(node).or_default().outputs.insert(port.as_str());
            }
            if let Reader::Node(node, inlet) = link.to {
                ports.entry(&node.id).or_default().inputs.insert(inlet.port.as_str());
            }
        }
        Self { graph, links, ports }
    }

    /// The output that a link begins at, where its node has several that are read.
    fn begin(&self, link: &Link<'g>) -> Option<&'g str> {
        match &link.feed.stream {
            Stream::Node { node, port } => {
                let several = self.ports.get(node).is_some_and(|ports| ports.outputs.len() > 1);
                several.then(|| port.as_str())
            }
            Stream::Input(_) => None,
        }
    }

    /// The input that a link ends at, where its node has several that are fed.
    fn end(&self, link: &Link<'g>) -> Option<&'g str> {
        match link.to {
            Reader::Node(node, inlet) => {
                let several = self.ports.get(&node.id).is_some_and(|ports| ports.inputs.len() > 1);
                several.then(|| inlet.port.as_str())
            }
            Reader::Output(_) => None,
        }
    }
}

/// Whether a link brings that stream of every peer.
fn gathers(link: &Link<'_>) -> bool {
    match link.to {
        Reader::Node(_, inlet) => inlet.gathers && link.feed.scope == Scope::Peer,
        Reader::Output(_) => false,
    }
}

/// A result's name with its kind, as an edge would write it.
fn result(link: &Link<'_>) -> Option<String> {
    match link.to {
        Reader::Output(output) if output.id.as_str() == MAIN => {
            Some(format!("output.{}", link.media))
        }
        Reader::Output(output) => Some(format!("output.{}.{}", output.id, link.media)),
        Reader::Node(..) => None,
    }
}

/// What is worth saying of a node besides its type.
fn remarks(node: &Node) -> Vec<String> {
    let worker = node.worker.as_ref().map(|worker| format!("worker {worker}"));
    let scope = (node.scope != Scope::Peer).then(|| node.scope.phrase().to_owned());
    worker.into_iter().chain(scope).collect()
}
