//! Pure: what a checked manifest comes to in this router: stages cut where another task goes on, and outputs with their routes.
//!
//! Not every graph that a manifest can describe can be run yet: what cannot is told by the names of its nodes and outputs.

use crate::session::wiring::{Feed, Output, Queue, Route, Segment, Stage};
use crate::workers::Role;
use remotemedia_manifest as manifest;
use remotemedia_manifest::{Graph, Inlet, Node, Scope, Stream};
use remotemedia_shm_schema::control::GraphNode;
use remotemedia_shm_schema::{Contract, Media, NodeId};
use std::collections::{BTreeMap, BTreeSet};

/// A pipeline as sessions run it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pipeline {
    /// Its nodes, cut where another task goes on; each behind the one that leads to it.
    pub stages: Vec<Stage>,
    /// Its results.
    pub outputs: Vec<Output>,
}

/// What of a graph cannot be run yet, for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.join("; "))]
pub struct Unsupported(pub Vec<String>);

impl Pipeline {
    /// Of a checked graph; `roles` are those of the operator's workers in this run.
    ///
    /// # Errors
    /// When the graph has something that cannot be run yet.
    pub fn of(graph: &Graph, roles: &BTreeMap<String, Role>) -> Result<Self, Unsupported> {
        let mut lacks = Vec::new();
        let mut pipeline = Self::default();
        for kind in Media::ALL {
            let mut cut = Cut { graph, roles, kind, stages: Vec::new(), ends: BTreeMap::new() };
            for (number, node) in graph.nodes().iter().enumerate() {
                match u8::try_from(number) {
                    Ok(number) => cut.node(node, number, &mut lacks),
                    Err(_) => lacks.push(format!("node `{}` is one of more than 256", node.id)),
                }
            }
            cut.outputs(&mut pipeline.outputs, &mut lacks);
            pipeline.stages.append(&mut cut.stages);
        }
        for output in graph.outputs() {
            // That peers' messages go through as they are says an edge from `input` to `output` besides; none are carried yet.
            let made = |feed: &manifest::Feed| matches!(feed.stream, Stream::Node { .. });
            if output.of(manifest::Media::Data).any(made) {
                lacks.push(format!("messages cannot leave by output `{}` yet", output.id));
            }
        }
        // Each kind finds the same.
        let mut told = BTreeSet::new();
        lacks.retain(|lack| told.insert(lack.clone()));
        if lacks.is_empty() { Ok(pipeline) } else { Err(Unsupported(lacks)) }
    }
}

/// Cuts what passes frames of one kind.
struct Cut<'g> {
    graph: &'g Graph,
    roles: &'g BTreeMap<String, Role>,
    kind: Media,
    stages: Vec<Stage>,
    /// The stage that a node is the last of.
    ends: BTreeMap<&'g NodeId, usize>,
}

impl<'g> Cut<'g> {
    fn node(&mut self, node: &'g Node, number: u8, lacks: &mut Vec<String>) {
        let Some(from) = self.way(node, lacks) else { return };
        let role = match node.worker.as_deref().map(|name| (name, self.roles.get(name))) {
            None => Role::Pipeline,
            Some((_, Some(role))) => *role,
            Some((name, None)) => {
                lacks.push(format!(
                    "node `{}` names the worker `{name}`, which is not there",
                    node.id
                ));
                return;
            }
        };
        let graph_node = GraphNode {
            id: node.id.clone(),
            number,
            kind: node.kind.clone(),
            params: serde_json::Value::Object(node.params.clone()).to_string(),
            on_failure: node.on_failure,
        };
        let queue = self.queue(node, lacks);
        // Our own nodes hand frames on within one task, where nobody else reads what the one before makes.
        let before = match from {
            Stream::Node { node, .. } => self.ends.get(node).copied(),
            Stream::Input(_) => None,
        };
        if let Some(at) = before
            && role == Role::Pipeline
            && self.readers(from) == 1
            && let Some(stage) = self.stages.get_mut(at)
            && stage.segment.role == role
            && stage.segment.queue == Queue::default()
        {
            stage.segment.nodes.push(graph_node);
            stage.segment.queue = queue;
            stage.segment.frame_limit_ms = stage.segment.frame_limit_ms.max(node.frame_limit_ms);
            self.ends.insert(&node.id, at);
            return;
        }
        let segment =
            Segment { role, nodes: vec![graph_node], frame_limit_ms: node.frame_limit_ms, queue };
        let feed = self.feed(from);
        self.ends.insert(&node.id, self.stages.len());
        self.stages.push(Stage { kind: self.kind, feed, segment });
    }

    /// Where a node's frames of this kind come from, if any pass it.
    fn way(&self, node: &'g Node, lacks: &mut Vec<String>) -> Option<&'g Stream> {
        let id = &node.id;
        match node.scope {
            Scope::Peer => {}
            Scope::Session => {
                lacks.push(format!(
                    "node `{id}` stands once for the session, which cannot be run yet"
                ));
                return None;
            }
            Scope::Listener => {
                lacks.push(format!(
                    "node `{id}` stands once for each listener, which cannot be run yet"
                ));
                return None;
            }
        }
        let kind = self.kind.into();
        let fed = |inlet: &&Inlet| !inlet.feeds.is_empty();
        let into: Vec<&Inlet> = node.inlets.iter().filter(fed).collect();
        // A node that takes both kinds works on each by itself; one that joins them would need both in one task.
        let apart = |media| into.iter().filter(|inlet| inlet.media == media).count() == 1;
        let joined = !into.iter().all(|inlet| apart(inlet.media) && inlet.feeds.len() == 1)
            || into.iter().any(|inlet| inlet.media == manifest::Media::Data)
            || node.outlets.iter().any(|outlet| {
                let alike = node.outlets.iter().filter(|other| other.media == outlet.media);
                outlet.used && (!apart(outlet.media) || alike.count() > 1)
            });
        if joined {
            lacks.push(format!("node `{id}` joins or splits streams, which cannot be run yet"));
            return None;
        }
        let inlet = into.into_iter().find(|inlet| inlet.media == kind)?;
        inlet.feeds.first().map(|feed| &feed.stream)
    }

    fn queue(&self, node: &Node, lacks: &mut Vec<String>) -> Queue {
        let usual = match self.kind {
            Media::Audio => Contract::RAW_AUDIO,
            Media::Video => Contract::RAW_VIDEO,
        };
        if node.queue.when_full.is_some_and(|when| when != usual.when_full) {
            lacks.push(format!(
                "node `{}` says `when_full` otherwise than is usual for {}, which cannot be run yet",
                node.id,
                self.kind.name()
            ));
        }
        Queue { capacity: node.queue.capacity, max_age_ms: node.queue.max_age_ms }
    }

    fn readers(&self, stream: &Stream) -> usize {
        self.graph.links().filter(|link| link.feed.stream == *stream).count()
    }

    fn feed(&self, from: &Stream) -> Feed {
        let stage = match from {
            Stream::Node { node, .. } => self.ends.get(node).and_then(|at| self.stages.get(*at)),
            Stream::Input(_) => None,
        };
        stage.map_or(Feed::Input, |stage| Feed::Segment(stage.segment.name().clone()))
    }

    fn outputs(&self, outputs: &mut Vec<Output>, lacks: &mut Vec<String>) {
        for output in self.graph.outputs() {
            let Some(feed) = output.of(self.kind.into()).next() else { continue };
            let mut routes = Vec::new();
            for route in &output.routes {
                routes.push(match route {
                    manifest::Route::Default => Route::Default,
                    manifest::Route::Sender => Route::Sender,
                    manifest::Route::Others => Route::Others,
                    manifest::Route::All => Route::All,
                    manifest::Route::Peer(peer) => Route::Peer(peer.clone()),
                    manifest::Route::Role(_) | manifest::Route::Bandwidth => {
                        lacks.push(format!(
                            "output `{}` goes to {route}, which cannot be done yet",
                            output.id
                        ));
                        continue;
                    }
                });
            }
            outputs.push(Output {
                id: output.id.clone(),
                kind: self.kind,
                feed: self.feed(&feed.stream),
                routes,
            });
        }
    }
}

#[cfg(test)]
mod tests;
