//! From a document to a graph: every part is read, everything is connected, and all that is wrong is told at once.

use crate::catalogue::{Known, Media, NodeType, Origin};
use crate::document::Document;
use crate::fault::{Faults, Log, Place};
use crate::graph::{Feed, Graph, Inlet, Node, Outlet, Output, Route, Scope, Stream};
use crate::group;
use crate::read::{self, Draft, Edges, MAIN, Routes, Terms};
use crate::wire::{self, Mesh, Spring};
use remotemedia_shm_schema::PortId;
use serde_json::{Map, Value};

/// Checks a manifest against what there is, for the one who wrote it.
///
/// # Errors
/// Every fault that was found, in the manifest's own order, each with its place.
pub fn check(document: &Document, known: Known<'_>, origin: Origin) -> Result<Graph, Faults> {
    let mut log = Log::default();
    let graph = graph(document.value(), Terms { known, origin }, &mut log);
    match graph {
        Some(graph) if log.is_empty() => Ok(graph),
        _ => Err(log.into_faults()),
    }
}

fn graph(manifest: &Value, terms: Terms<'_>, log: &mut Log) -> Option<Graph> {
    let parts = read::parts(manifest, log)?;
    let at = &parts.pipeline;
    let nodes = read::nodes(at, parts.nodes, terms, log)?;
    let edges = match parts.graph {
        Some(graph) => read::edges(&at.key("graph"), graph, &nodes, log),
        None => wire::in_order(&nodes, log),
    };
    let mesh = wire::connect(&nodes, &edges, at, log);
    let routes = match parts.routes {
        Some(value) => routes(&at.key("routes"), value, &edges, &mesh, log),
        None => Routes::default(),
    };
    // What is absent from a part is a fault, and then there is no graph.
    log.is_empty().then(|| assemble(&nodes, &mesh, routes))
}

/// Reads the routes, and looks whether bandwidth has pictures to choose from.
fn routes(at: &Place, value: &Value, edges: &Edges, mesh: &Mesh, log: &mut Log) -> Routes {
    let mut outputs = edges.outputs.clone();
    outputs.extend(mesh.outputs.keys().cloned());
    let routes = read::routes(at, value, &outputs, log);
    for (output, place) in routes.ladder.iter().zip(&routes.rungs) {
        let made = mesh.outputs.get(output);
        // An output without anything is one whose edges have faults, which were told.
        if made.is_some_and(|of| !of.is_empty() && !of.contains_key(&Media::Video)) {
            let message =
                format!("`{output}` has no pictures, and bandwidth chooses among pictures");
            log.fault(&place.key("to"), message);
        }
    }
    routes
}

fn assemble(nodes: &[Draft<'_>], mesh: &Mesh, mut routes: Routes) -> Graph {
    let all: Vec<Node> = mesh.order.iter().filter_map(|i| node(*i, nodes, mesh)).collect();
    let outputs = mesh.outputs.iter().map(|(id, of)| {
        let feeds = of.iter().flat_map(|(media, feeds)| {
            sorted(feeds, nodes).into_iter().map(move |feed| (*media, feed))
        });
        let mut to = routes.of.remove(id).unwrap_or_default();
        if to.is_empty() && id.as_str() == MAIN {
            to.push(Route::Default);
        }
        to.sort();
        Output { id: id.clone(), feeds: feeds.collect(), routes: to }
    });
    let outputs = outputs.collect();
    Graph { groups: group::of(&all), nodes: all, outputs, ladder: routes.ladder }
}

fn node(index: usize, nodes: &[Draft<'_>], mesh: &Mesh) -> Option<Node> {
    let (draft, wired) = (nodes.get(index)?, mesh.wired.get(index)?);
    let of = draft.of?;
    let inlets = of.inputs.iter().zip(&wired.inlets).filter_map(|(port, feeds)| {
        let (name, media) = (PortId::new(port.name.as_str()).ok()?, port.media);
        Some(Inlet { port: name, media, gathers: port.every, feeds: sorted(feeds, nodes) })
    });
    let scope = wired.scope?;
    Some(Node {
        id: draft.id.clone()?,
        kind: of.kind.clone(),
        params: in_order(&draft.params),
        worker: draft.worker.clone(),
        on_failure: draft.on_failure,
        frame_limit_ms: draft.frame_limit_ms,
        queue: draft.queue,
        scope,
        inlets: inlets.collect(),
        outlets: outlets(of, wired, scope),
    })
}

fn outlets(of: &NodeType, wired: &wire::Wired, scope: Scope) -> Vec<Outlet> {
    let outlets = of.outputs.iter().zip(&wired.used).filter_map(|(port, used)| {
        let each = port.every && wired.gathers();
        let scope = if each { Scope::Listener } else { scope };
        let (name, media) = (PortId::new(port.name.as_str()).ok()?, port.media);
        Some(Outlet { port: name, media, scope, used: *used })
    });
    outlets.collect()
}

/// The streams by their names, which do not depend on the order of the edges.
fn sorted(feeds: &[wire::Feed], nodes: &[Draft<'_>]) -> Vec<Feed> {
    let mut all: Vec<Feed> = feeds
        .iter()
        .filter_map(|feed| Some(Feed { stream: stream(feed.from, nodes)?, scope: feed.scope? }))
        .collect();
    all.sort_by(|one, other| one.stream.cmp(&other.stream));
    all
}

fn stream(spring: Spring, nodes: &[Draft<'_>]) -> Option<Stream> {
    match spring {
        Spring::Input(media) => Some(Stream::Input(media)),
        Spring::Node(index, output) => {
            let draft = nodes.get(index)?;
            let name = draft.of?.outputs.get(output)?.name.as_str();
            Some(Stream::Node { node: draft.id.clone()?, port: PortId::new(name).ok()? })
        }
    }
}

/// Keys in the order of the alphabet, whichever map `serde_json` was built with: a graph's fingerprint depends on it.
fn in_order(params: &Map<String, Value>) -> Map<String, Value> {
    let mut value = Value::Object(params.clone());
    value.sort_all_objects();
    match value {
        Value::Object(params) => params,
        _ => Map::new(),
    }
}
