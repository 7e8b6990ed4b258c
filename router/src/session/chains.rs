//! Pure: what sessions carry out of a pipeline's graph today: one chain of nodes for pictures and one for sound.
//!
//! A manifest can say more: forks and joins, mixers, messages, further results, routes, queues. What is beyond two straight
//! chains is refused in words before anybody calls, so that nothing of a manifest is silently without effect. Only that peers'
//! messages go to `main` as they are is let pass: an edge from `input` to `output` says so besides, and none are carried yet.

use super::wiring::Segment;
use crate::workers::Role;
use remotemedia_manifest::{Graph, MAIN, Media, Node, Output, Queue, Route, Scope, Stream};
use remotemedia_shm_schema::control::GraphNode;
use remotemedia_shm_schema::manifest::MAX_NODES;
use serde_json::Value;
use std::collections::BTreeMap;

/// The nodes that each kind of media passes, cut where another process goes on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Chains {
    /// For pictures; empty is a plain hand-over.
    pub video: Vec<Segment>,
    /// For sound.
    pub audio: Vec<Segment>,
}

/// What a graph has that sessions do not carry out yet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0}, which is not supported yet: pictures and sound each go from `input` along one chain of nodes to the result `main`"
)]
pub struct NotYet(String);

/// Takes the two chains out of a graph; `roles` are those of the operator's workers, by name.
///
/// # Errors
/// When there is more in the graph, with the first that was found.
pub fn cut(graph: &Graph, roles: &BTreeMap<String, Role>) -> Result<Chains, NotYet> {
    for node in graph.nodes() {
        stands_in_a_chain(node)?;
    }
    read_once(graph)?;
    let main = result(graph)?;
    let of = |media: Media| -> Result<Vec<Segment>, NotYet> {
        segments(&chain(graph, main, media)?, roles)
    };
    Ok(Chains { video: of(Media::Video)?, audio: of(Media::Audio)? })
}

/// One stream of a kind goes in, and one of the same kind comes out; one that takes both kinds works on each for itself.
fn stands_in_a_chain(node: &Node) -> Result<(), NotYet> {
    let not_yet = |what: String| {
        let (id, kind) = (&node.id, &node.kind);
        Err(NotYet(format!("the node `{id}` ({kind}) {what}")))
    };
    if node.queue != Queue::default() {
        return not_yet("has a `queue` of its own".into());
    }
    let mut works = false;
    for media in Media::ALL {
        let fed: Vec<&str> = node
            .feeds()
            .filter(|(inlet, _)| inlet.media == media)
            .map(|(inlet, _)| inlet.port.as_str())
            .collect();
        let used: Vec<&str> = node
            .outlets
            .iter()
            .filter(|outlet| outlet.media == media && outlet.used)
            .map(|outlet| outlet.port.as_str())
            .collect();
        let things = things(media);
        match (fed.as_slice(), used.as_slice()) {
            ([], []) => {}
            (fed, _) if media == Media::Data => {
                let does = if fed.is_empty() { "makes" } else { "takes" };
                return not_yet(format!("{does} {things}"));
            }
            ([_], [_]) => works = true,
            ([], _) => return not_yet(format!("makes {things} of nothing")),
            (_, []) => return not_yet(format!("takes {things} and gives none")),
            ([_], several) => {
                let ports = several.join(", ");
                return not_yet(format!("gives several streams of {things} ({ports})"));
            }
            (several, _) => {
                let ports = several.join(", ");
                return not_yet(format!("takes several streams of {things} ({ports})"));
            }
        }
    }
    if node.scope != Scope::Peer {
        return not_yet(format!("is {}", node.scope.phrase()));
    }
    if works { Ok(()) } else { not_yet("takes neither pictures nor sound".into()) }
}

/// Nothing forks.
fn read_once(graph: &Graph) -> Result<(), NotYet> {
    let mut readers: BTreeMap<&Stream, usize> = BTreeMap::new();
    for link in graph.links() {
        let count = readers.entry(&link.feed.stream).or_default();
        *count += 1;
        if *count > 1 {
            return Err(NotYet(format!("`{}` leads to several places", link.feed.stream)));
        }
    }
    Ok(())
}

/// The result `main`, which is the only one, and goes to whom it goes if nothing is said.
fn result(graph: &Graph) -> Result<&Output, NotYet> {
    let mut main = None;
    for output in graph.outputs() {
        if output.id.as_str() != MAIN {
            return Err(NotYet(format!("`{}` is a result besides `{MAIN}`", output.id)));
        }
        if let Some(route) = output.routes.iter().find(|route| **route != Route::Default) {
            return Err(NotYet(format!("`{MAIN}` has a route, to {route}")));
        }
        main = Some(output);
    }
    main.ok_or_else(|| NotYet(format!("nothing leads to the result `{MAIN}`")))
}

/// The nodes from `input` to `main`, each with its number.
fn chain<'g>(
    graph: &'g Graph,
    main: &'g Output,
    media: Media,
) -> Result<Vec<(u8, &'g Node)>, NotYet> {
    let missing = || NotYet(format!("`output.{media}` gets nothing"));
    let mut stream = &main.of(media).next().ok_or_else(missing)?.stream;
    let mut nodes = Vec::new();
    // A checked graph has no circles.
    while let Stream::Node { node: id, .. } = stream {
        let (number, node) =
            numbered(graph).find(|(_, node)| node.id == *id).ok_or_else(missing)?;
        nodes.push((number, node));
        let mut feeds = node.feeds().filter(|(inlet, _)| inlet.media == media);
        stream = &feeds.next().ok_or_else(missing)?.1.stream;
    }
    nodes.reverse();
    Ok(nodes)
}

/// Every node with its number: its place in the graph, the same in both chains.
fn numbered(graph: &Graph) -> impl Iterator<Item = (u8, &Node)> {
    (0..=u8::MAX).zip(graph.nodes())
}

const _: () = assert!(MAX_NODES <= u8::MAX as usize, "every node has a number");

/// Cuts a chain where another process goes on. Our own nodes hand frames on within one; the operator's have one task each.
fn segments(nodes: &[(u8, &Node)], roles: &BTreeMap<String, Role>) -> Result<Vec<Segment>, NotYet> {
    let mut all: Vec<Segment> = Vec::new();
    for (number, node) in nodes {
        let role = match &node.worker {
            None => Role::Pipeline,
            Some(worker) => {
                let gone =
                    || NotYet(format!("`{}` is of `{worker}`, which was not started", node.id));
                *roles.get(worker).ok_or_else(gone)?
            }
        };
        let graph_node = GraphNode {
            id: node.id.clone(),
            number: *number,
            kind: node.kind.clone(),
            params: Value::Object(node.params.clone()).to_string(),
            on_failure: node.on_failure,
        };
        match all.last_mut() {
            Some(last) if role == Role::Pipeline && last.role == role => {
                last.nodes.push(graph_node);
                last.frame_limit_ms = last.frame_limit_ms.max(node.frame_limit_ms);
            }
            _ => {
                let frame_limit_ms = node.frame_limit_ms;
                all.push(Segment { role, nodes: vec![graph_node], frame_limit_ms });
            }
        }
    }
    Ok(all)
}

fn things(media: Media) -> &'static str {
    match media {
        Media::Video => "pictures",
        Media::Audio => "sound",
        Media::Data => "messages",
    }
}

#[cfg(test)]
mod tests;
