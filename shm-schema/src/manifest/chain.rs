//! Edges to chains: each kind of media goes from `input` over nodes to `output`, without forks.

use super::{Log, MAX_EDGES, Media, Node, did_you_mean, quote};
use serde_json::Value;

const AT: &str = "$.pipeline.graph";

/// The nodes of each kind of media, as numbers into the manifest's list.
#[derive(Default)]
pub(super) struct Chains {
    pub(super) video: Vec<usize>,
    pub(super) audio: Vec<usize>,
}

/// Without `graph`: the nodes in their order, each in the chains of the media that it takes.
pub(super) fn in_order(nodes: &[Node<'_>]) -> Chains {
    let chain = |media: Media| -> Vec<usize> {
        nodes.iter().enumerate().filter(|(_, n)| n.takes(media)).map(|(i, _)| i).collect()
    };
    Chains { video: chain(Media::Video), audio: chain(Media::Audio) }
}

/// With `graph`: reads the edges and follows them.
pub(super) fn read(graph: &Value, nodes: &[Node<'_>], log: &mut Log) -> Chains {
    let Some((edges, all_read)) = edges(graph, nodes, log) else {
        return Chains::default();
    };
    let straight = !forks(&edges, nodes, log);
    // An edge that is missing or one too many would have every node behind it called unreachable.
    if !(all_read && straight) {
        return Chains::default();
    }
    let mut reached = vec![false; nodes.len()];
    let walks: Vec<Option<Walk>> = (0..edges.len())
        .filter(|i| edges.get(*i).is_some_and(|e| matches!(e.from, End::Input(_))))
        .map(|begin| walk(begin, &edges, nodes, &mut reached, log))
        .collect();
    for (index, node) in nodes.iter().enumerate() {
        if reached.get(index) == Some(&false) {
            log.fault(
                format!("$.pipeline.nodes[{index}]"),
                format!(
                    "`{}` is not reached from `input`: connect it in `graph`, or remove it",
                    node.name()
                ),
            );
        }
    }
    match walks.into_iter().collect::<Option<Vec<Walk>>>() {
        Some(walks) => share_out(&walks, log),
        None => Chains::default(),
    }
}

/// One end of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Input(Option<Media>),
    Output(Option<Media>),
    Node(usize),
}

#[derive(Debug, Clone, Copy)]
struct Edge {
    /// Its place in `graph`.
    index: usize,
    from: End,
    to: End,
}

/// The edges that can be read, and whether that is all of them.
fn edges(value: &Value, nodes: &[Node<'_>], log: &mut Log) -> Option<(Vec<Edge>, bool)> {
    let list = log.list(AT, value, MAX_EDGES)?;
    let mut edges = Vec::with_capacity(list.len());
    for (index, value) in list.iter().enumerate() {
        let at = format!("{AT}[{index}]");
        let Some(object) = log.object(&at, value) else { continue };
        log.only(&at, object, &["from", "to"]);
        let end = |key: &str, log: &mut Log| {
            let text = log.text(&at, object, key)?;
            end(text, &format!("{at}.{key}"), nodes, log)
        };
        let (from, to) = (end("from", log), end("to", log));
        if matches!(from, Some(End::Output(_))) {
            log.fault(format!("{at}.from"), "nothing comes from `output`");
            continue;
        }
        if matches!(to, Some(End::Input(_))) {
            log.fault(format!("{at}.to"), "nothing goes to `input`");
            continue;
        }
        if let (Some(from), Some(to)) = (from, to) {
            edges.push(Edge { index, from, to });
        }
    }
    let all_read = edges.len() == list.len();
    Some((edges, all_read))
}

fn end(text: &str, at: &str, nodes: &[Node<'_>], log: &mut Log) -> Option<End> {
    let (name, port) = match text.split_once('.') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    if name == "input" || name == "output" {
        let media = match port {
            None => None,
            Some("video") => Some(Media::Video),
            Some("audio") => Some(Media::Audio),
            Some(port) => {
                let hint = did_you_mean(port, &["video", "audio"]);
                log.fault(at, format!("`{name}` has no port {}{hint}", quote(port)));
                return None;
            }
        };
        return Some(if name == "input" { End::Input(media) } else { End::Output(media) });
    }
    let Some(index) = nodes.iter().position(|n| n.id.as_ref().is_some_and(|i| i.as_str() == name))
    else {
        let mut known: Vec<&str> =
            nodes.iter().filter_map(|n| n.id.as_ref().map(|i| i.as_str())).collect();
        known.extend(["input", "output"]);
        log.fault(at, format!("no node has the id {}{}", quote(name), did_you_mean(name, &known)));
        return None;
    };
    if let Some(port) = port {
        log.fault(at, format!("node `{name}` has no port {}; leave the port out", quote(port)));
        return None;
    }
    Some(End::Node(index))
}

/// A node has one edge in and one out; `input` and `output` have as many as there are chains. Whether one has more.
fn forks(edges: &[Edge], nodes: &[Node<'_>], log: &mut Log) -> bool {
    let name = |index: usize| nodes.get(index).map_or("?", Node::name);
    let mut forks = false;
    for (place, edge) in edges.iter().enumerate() {
        let earlier = edges.get(..place).unwrap_or_default();
        let from = earlier.iter().find(|e| e.from == edge.from);
        if let (End::Node(n), Some(first)) = (edge.from, from) {
            forks = true;
            log.fault(
                format!("{AT}[{}].from", edge.index),
                format!(
                    "`{}` already leads on in `{AT}[{}]`; a node has one successor in this version",
                    name(n),
                    first.index
                ),
            );
        }
        let to = earlier.iter().find(|e| e.to == edge.to);
        if let (End::Node(n), Some(first)) = (edge.to, to) {
            forks = true;
            log.fault(
                format!("{AT}[{}].to", edge.index),
                format!(
                    "`{}` already gets its media from `{AT}[{}]`; a node has one predecessor in this version",
                    name(n),
                    first.index
                ),
            );
        }
    }
    forks
}

/// One way from `input` to `output`, with the media that every part of it can carry.
struct Walk {
    /// The edge that it begins with, as its place in `graph`.
    begin: usize,
    nodes: Vec<usize>,
    media: Vec<Media>,
}

/// `None`: it leads nowhere, or through nodes that do not fit together, which is told.
fn walk(
    begin: usize,
    edges: &[Edge],
    nodes: &[Node<'_>],
    reached: &mut [bool],
    log: &mut Log,
) -> Option<Walk> {
    let mut edge = edges.get(begin)?;
    let mut media: Vec<Media> = match edge.from {
        End::Input(Some(media)) => vec![media],
        _ => Media::ALL.to_vec(),
    };
    let mut fits = true;
    let mut path = Vec::new();
    // Forks were refused, so a walk from `input` passes no node twice and ends.
    loop {
        let index = match edge.to {
            End::Input(_) => return None,
            End::Output(port) => {
                if let Some(port) = port.filter(|p| !media.contains(p)) {
                    log.fault(
                        format!("{AT}[{}].to", edge.index),
                        format!("`output.{}` cannot take {}", port.name(), things(&media)),
                    );
                    return None;
                }
                media.retain(|m| port.is_none_or(|p| p == *m));
                let begin = edges.get(begin)?.index;
                return fits.then_some(Walk { begin, nodes: path, media });
            }
            End::Node(index) => index,
        };
        let node = nodes.get(index)?;
        if let Some(seen) = reached.get_mut(index) {
            *seen = true;
        }
        if media.iter().any(|m| node.takes(*m)) {
            media.retain(|m| node.takes(*m));
        } else {
            // The walk goes on, so that the nodes behind it are looked at as well.
            fits = false;
            let takes: Vec<Media> = Media::ALL.into_iter().filter(|m| node.takes(*m)).collect();
            log.fault(
                format!("$.pipeline.nodes[{index}].type"),
                format!(
                    "`{}` takes {}, and what `{AT}[{}]` leads to it is {}",
                    node.kind.map_or("?", |k| k.kind.as_str()),
                    things(&takes),
                    edge.index,
                    things(&media)
                ),
            );
        }
        path.push(index);
        let Some(next) = edges.iter().find(|e| e.from == End::Node(index)) else {
            log.fault(
                format!("$.pipeline.nodes[{index}]"),
                format!(
                    "`{}` leads nowhere: add an edge from it, to `output` in the end",
                    node.name()
                ),
            );
            return None;
        };
        edge = next;
    }
}

/// Gives every kind of media its chain: first to those that can carry only it, then to those that can carry both.
fn share_out(walks: &[Walk], log: &mut Log) -> Chains {
    let mut video: Option<&Walk> = None;
    let mut audio: Option<&Walk> = None;
    let (single, both): (Vec<&Walk>, Vec<&Walk>) = walks.iter().partition(|w| w.media.len() == 1);
    for walk in single.into_iter().chain(both) {
        let mut holder = None;
        let mut placed = false;
        for media in &walk.media {
            let place = match media {
                Media::Video => &mut video,
                Media::Audio => &mut audio,
            };
            match place {
                None => {
                    *place = Some(walk);
                    placed = true;
                }
                Some(other) => holder = Some(other.begin),
            }
        }
        if let Some(holder) = holder.filter(|_| !placed) {
            log.fault(
                format!("{AT}[{}]", walk.begin),
                format!(
                    "`{AT}[{holder}]` already begins a chain of {}; each kind of media has one in this version",
                    things(&walk.media)
                ),
            );
        }
    }
    let list = |walk: Option<&Walk>| walk.map(|w| w.nodes.clone()).unwrap_or_default();
    Chains { video: list(video), audio: list(audio) }
}

fn things(media: &[Media]) -> &'static str {
    match media {
        [Media::Video] => "pictures",
        [Media::Audio] => "sound",
        _ => "pictures and sound",
    }
}
