//! `graph`: which end leads to which, by names. Which ports that means is worked out in `wire`.

use super::Draft;
use crate::catalogue::Media;
use crate::fault::{Log, Place, quote};
pub(crate) use crate::graph::MAIN;
use crate::limits::{MAX_EDGES, MAX_OUTPUT_NAME};
use crate::suggest::{did_you_mean, nearest};
use remotemedia_shm_schema::{NodeId, OutputId};
use serde_json::Value;
use std::collections::BTreeSet;
use strsim::osa_distance;

/// One end of an edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    /// What peers send; all of it where no kind is said.
    Input(Option<Media>),
    /// A result of the graph.
    Output(OutputId, Option<Media>),
    /// A node by its place in the list, and one of its ports.
    Node(usize, Option<String>),
}

/// One edge.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Its entry in `graph`; without a graph, the node on whose behalf it was made.
    pub(crate) place: Place,
    pub(crate) from: End,
    pub(crate) to: End,
    /// Whether it was written, and not made.
    pub(crate) written: bool,
}

impl Edge {
    /// Where to blame its begin.
    pub(crate) fn begin(&self) -> Place {
        if self.written { self.place.key("from") } else { self.place.clone() }
    }

    /// Where to blame its end.
    pub(crate) fn end(&self) -> Place {
        if self.written { self.place.key("to") } else { self.place.clone() }
    }
}

/// All edges that could be read, and what those that could not were probably about.
#[derive(Debug, Default)]
pub(crate) struct Edges {
    pub(crate) all: Vec<Edge>,
    pub(crate) missed: Missed,
    /// Every output that is named at all.
    pub(crate) outputs: BTreeSet<OutputId>,
}

/// What edges that could not be read would have connected. Nodes among them are not blamed for being unconnected.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// Something leads from these nodes.
    pub(crate) from: BTreeSet<usize>,
    /// Something leads from nobody knows where.
    pub(crate) from_any: bool,
    /// Something leads to these nodes.
    pub(crate) to: BTreeSet<usize>,
    /// Something leads nobody knows where.
    pub(crate) to_any: bool,
}

impl Missed {
    /// Nothing is known of the edges.
    pub(crate) fn all() -> Self {
        Self { from_any: true, to_any: true, ..Self::default() }
    }

    fn note_from(&mut self, end: &Result<End, Option<usize>>) {
        match end {
            Ok(End::Node(node, _)) | Err(Some(node)) => {
                self.from.insert(*node);
            }
            Ok(End::Input(_)) => {}
            Ok(End::Output(..)) | Err(None) => self.from_any = true,
        }
    }

    fn note_to(&mut self, end: &Result<End, Option<usize>>) {
        match end {
            Ok(End::Node(node, _)) | Err(Some(node)) => {
                self.to.insert(*node);
            }
            Ok(End::Output(..)) => {}
            Ok(End::Input(_)) | Err(None) => self.to_any = true,
        }
    }
}

/// Reads all edges of a graph.
pub(crate) fn read(at: &Place, graph: &Value, nodes: &[Draft<'_>], log: &mut Log) -> Edges {
    let Some(list) = log.list(at, graph, MAX_EDGES) else {
        return Edges { missed: Missed::all(), ..Edges::default() };
    };
    let mut edges = Edges::default();
    for (index, value) in list.iter().enumerate() {
        if log.is_full() {
            // Each end of a stranger's is compared with all names.
            edges.missed = Missed::all();
            break;
        }
        let place = at.item(index);
        let Some(object) = log.object(&place, value) else {
            (edges.missed.from_any, edges.missed.to_any) = (true, true);
            continue;
        };
        log.only(&place, object, &["from", "to"]);
        let mut named = |key: &str| -> Result<End, Option<usize>> {
            let text = log.text(&place, object, key).ok_or(None::<usize>)?;
            end(text, &place.key(key), nodes, log)
        };
        let (from, to) = (named("from"), named("to"));
        for end in [&from, &to] {
            if let Ok(End::Output(output, _)) = end {
                edges.outputs.insert(output.clone());
            }
        }
        let mut straight = true;
        if matches!(from, Ok(End::Output(..))) {
            log.hint(&place.key("from"), "nothing comes from `output`", reversed(&to));
            straight = false;
        }
        if matches!(to, Ok(End::Input(_))) {
            log.hint(&place.key("to"), "nothing goes to `input`", reversed(&from));
            straight = false;
        }
        match (from, to) {
            (Ok(from), Ok(to)) if straight => {
                edges.all.push(Edge { place, from, to, written: true });
            }
            (from, to) => {
                edges.missed.note_from(&from);
                edges.missed.note_to(&to);
            }
        }
    }
    edges
}

fn reversed(other: &Result<End, Option<usize>>) -> Option<String> {
    other.is_ok().then(|| "perhaps `from` and `to` are the wrong way round".to_owned())
}

/// One end; the error tells which node was probably meant.
fn end(text: &str, at: &Place, nodes: &[Draft<'_>], log: &mut Log) -> Result<End, Option<usize>> {
    let mut parts = text.splitn(4, '.');
    let name = parts.next().unwrap_or_default();
    let rest: Vec<&str> = parts.collect();
    match (name, rest.as_slice()) {
        ("input", []) => Ok(End::Input(None)),
        ("input", [port]) => media(port, at, log).map(|media| End::Input(Some(media))),
        ("output", []) => output(MAIN, at, log).map(|main| End::Output(main, None)),
        ("output", [one]) => match Media::of_name(one) {
            Some(media) => output(MAIN, at, log).map(|main| End::Output(main, Some(media))),
            None => output(one, at, log).map(|output| End::Output(output, None)),
        },
        ("output", [name, port]) => {
            let output = output(name, at, log)?;
            let media = media(port, at, log)?;
            Ok(End::Output(output, Some(media)))
        }
        (_, []) => node(name, at, nodes, log).map(|node| End::Node(node, None)),
        (_, [port]) => {
            let node = node(name, at, nodes, log)?;
            Ok(End::Node(node, Some((*port).to_owned())))
        }
        _ => {
            let forms = "`node`, `node.port`, `input.video`, `output.video`, `output.name.video`";
            let message = format!("{} has too many parts", quote(text));
            log.hint(at, message, Some(format!("an end is one of {forms}")));
            Err(None)
        }
    }
}

fn media(port: &str, at: &Place, log: &mut Log) -> Result<Media, Option<usize>> {
    Media::of_name(port).ok_or_else(|| {
        let known = Media::ALL.map(Media::name);
        log.hint(at, format!("there is no port {}", quote(port)), did_you_mean(port, &known));
        None
    })
}

/// An output's name. One letter beside a port's name it is taken for a slip of that: it would make an output that nobody gets.
fn output(name: &str, at: &Place, log: &mut Log) -> Result<OutputId, Option<usize>> {
    let ports = Media::ALL.map(Media::name);
    let slip = |port: &&&str| name.len() <= MAX_OUTPUT_NAME && osa_distance(name, port) == 1;
    if let Some(port) = ports.iter().find(slip) {
        let message =
            format!("`output` has no port {}, and no output may be called so", quote(name));
        log.hint(at, message, Some(format!("did you mean `{port}`?")));
        return Err(None);
    }
    if ports.contains(&name) {
        log.fault(at, format!("{} is a port, and no output may be called so", quote(name)));
        return Err(None);
    }
    if name.len() > MAX_OUTPUT_NAME {
        let message = format!("the output's name {} has {} letters", quote(name), name.len());
        log.fault(at, format!("{message}; {MAX_OUTPUT_NAME} are allowed"));
        return Err(None);
    }
    OutputId::new(name).map_err(|fault| {
        log.fault(at, fault.to_string());
        None
    })
}

fn node(
    name: &str,
    at: &Place,
    nodes: &[Draft<'_>],
    log: &mut Log,
) -> Result<usize, Option<usize>> {
    let place = |name: &str| {
        nodes.iter().position(|node| node.id.as_ref().is_some_and(|id| id.as_str() == name))
    };
    if let Some(found) = place(name) {
        return Ok(found);
    }
    let ids = nodes.iter().filter_map(|node| node.id.as_ref().map(NodeId::as_str));
    let known: Vec<&str> = ids.chain(["input", "output"]).collect();
    log.hint(at, format!("no node has the id {}", quote(name)), did_you_mean(name, &known));
    Err(nearest(name, &known).and_then(place))
}
