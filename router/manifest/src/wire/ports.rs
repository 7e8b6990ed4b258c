//! Which ports an edge means: the ones that it names, or all whose media fit, if there is only one way.

use super::{Mesh, Spring};
use crate::catalogue::{Media, Port};
use crate::fault::{Log, Place, quote};
use crate::read::{Draft, Edge, End, MAIN};
use crate::suggest::did_you_mean;
use remotemedia_shm_schema::OutputId;

/// Where a stream goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Drain {
    /// A result of the graph.
    Output(OutputId),
    /// A node, and one of its inputs.
    Node(usize, usize),
}

impl Drain {
    /// As an edge names it.
    pub(super) fn name(&self, media: Media, nodes: &[Draft<'_>]) -> String {
        match self {
            Self::Output(output) if output.as_str() == MAIN => format!("output.{media}"),
            Self::Output(output) => format!("output.{output}.{media}"),
            Self::Node(node, input) => {
                let port = input_of(nodes, *node, *input).map_or("?", |port| port.name.as_str());
                format!("{}.{port}", nodes.get(*node).map_or("?", Draft::name))
            }
        }
    }

    /// Whether it takes any number of streams.
    pub(super) fn gathers(&self, nodes: &[Draft<'_>]) -> bool {
        match self {
            Self::Output(_) => false,
            Self::Node(node, input) => input_of(nodes, *node, *input).is_some_and(|p| p.every),
        }
    }
}

fn input_of<'n>(nodes: &'n [Draft<'_>], node: usize, input: usize) -> Option<&'n Port> {
    nodes.get(node)?.of?.inputs.get(input)
}

/// A port that could be meant.
pub(super) struct Maybe<P> {
    port: P,
    media: Media,
    /// As an edge would name it.
    name: String,
    /// Of two that fit, one that must be connected is meant.
    must: bool,
}

/// Where the edge's stream can come from; `None` where a fault hides it.
pub(super) fn springs(
    edge: &Edge,
    nodes: &[Draft<'_>],
    mesh: &Mesh,
    log: &mut Log,
) -> Option<Vec<Maybe<Spring>>> {
    let input = |media: Media| {
        let name = format!("input.{media}");
        Maybe { port: Spring::Input(media), media, name, must: true }
    };
    let (index, named) = match &edge.from {
        End::Input(Some(media)) => return Some(vec![input(*media)]),
        End::Input(None) => return Some(Media::ALL.into_iter().map(input).collect()),
        End::Output(..) => return None,
        End::Node(index, named) => (*index, named.as_deref()),
    };
    let node = nodes.get(index)?;
    let of = node.of?;
    let at = edge.begin();
    let wired = mesh.wired.get(index)?;
    // An output that carries on an optional input carries nothing where that gets nothing.
    let silent = |name: &str| {
        let input = of.input(name).filter(|i| of.inputs.get(*i).is_some_and(|p| p.optional));
        let unfed = input.and_then(|i| wired.inlets.get(i)).is_some_and(Vec::is_empty);
        unfed && !wired.vague_in
    };
    if of.outputs.is_empty() {
        log.fault(&at, format!("`{}` ({}) has no outputs", node.name(), of.kind));
        return None;
    }
    let maybe = |(i, port): (usize, &Port)| Maybe {
        port: Spring::Node(index, i),
        media: port.media,
        name: format!("{}.{}", node.name(), port.name),
        must: true,
    };
    let Some(name) = named else {
        let all = of.outputs.iter().enumerate().filter(|(_, port)| !silent(&port.name));
        return Some(all.map(maybe).collect());
    };
    let Some(found) = of.output(name) else {
        unknown(&at, node.name(), ("output", name), &of.outputs, log);
        return None;
    };
    if silent(name) {
        let message = format!("`{0}.{name}` carries what `{0}.{name}` takes", node.name());
        log.fault(&at, format!("{message}, and nothing leads there"));
        return None;
    }
    Some(of.outputs.iter().enumerate().filter(|(i, _)| *i == found).map(maybe).collect())
}

/// Where the edge's stream can go; `None` where a fault hides it.
pub(super) fn drains(edge: &Edge, nodes: &[Draft<'_>], log: &mut Log) -> Option<Vec<Maybe<Drain>>> {
    let (index, named) = match &edge.to {
        End::Input(_) => return None,
        End::Output(output, media) => {
            let maybe = |media: Media| {
                let port = Drain::Output(output.clone());
                Maybe { name: port.name(media, nodes), port, media, must: true }
            };
            let all = Media::ALL.into_iter().filter(|m| media.is_none_or(|only| only == *m));
            return Some(all.map(maybe).collect());
        }
        End::Node(index, named) => (*index, named.as_deref()),
    };
    let node = nodes.get(index)?;
    let of = node.of?;
    let at = edge.end();
    if of.inputs.is_empty() {
        log.fault(&at, format!("`{}` ({}) takes nothing", node.name(), of.kind));
        return None;
    }
    let only = match named {
        None => None,
        Some(name) => {
            let Some(found) = of.input(name) else {
                unknown(&at, node.name(), ("input", name), &of.inputs, log);
                return None;
            };
            Some(found)
        }
    };
    let all = of.inputs.iter().enumerate().filter(|(i, _)| only.is_none_or(|only| only == *i));
    let maybe = |(i, port): (usize, &Port)| Maybe {
        port: Drain::Node(index, i),
        media: port.media,
        name: format!("{}.{}", node.name(), port.name),
        must: !port.optional,
    };
    Some(all.map(maybe).collect())
}

/// The streams that the edge stands for; `None` where that is ambiguous or nothing fits.
pub(super) fn pairs(
    edge: &Edge,
    springs: &[Maybe<Spring>],
    drains: &[Maybe<Drain>],
    nodes: &[Draft<'_>],
    log: &mut Log,
) -> Option<Vec<(Spring, Drain, Media)>> {
    let mut all = Vec::new();
    let mut clear = true;
    for media in Media::ALL {
        let from: Vec<&Maybe<Spring>> = springs.iter().filter(|s| s.media == media).collect();
        let into = meant(drains, media);
        match (from.as_slice(), into.as_slice()) {
            ([], _) | (_, []) => {}
            ([one], [drain]) => all.push((one.port, drain.port.clone(), media)),
            // Messages merge.
            (many, [drain]) if media == Media::Data => {
                all.extend(many.iter().map(|one| (one.port, drain.port.clone(), media)));
            }
            (many, several) => {
                clear = false;
                if many.len() > 1 {
                    ambiguous(&edge.begin(), "from", media, &names(many), log);
                }
                if several.len() > 1 {
                    ambiguous(&edge.end(), "to", media, &names(several), log);
                }
            }
        }
    }
    if all.is_empty() && clear {
        let (gives, takes) = (kinds(springs), kinds(drains));
        let into = match &edge.to {
            End::Node(index, _) => nodes.get(*index).map_or("?", Draft::name),
            End::Output(..) | End::Input(_) => "output",
        };
        let message = format!("what comes from there is {gives}, and `{into}` takes {takes} here");
        log.fault(&edge.end(), message);
        return None;
    }
    clear.then_some(all)
}

/// The ports of this kind; where several fit and one of them must be connected, that one.
fn meant(drains: &[Maybe<Drain>], media: Media) -> Vec<&Maybe<Drain>> {
    let fit: Vec<&Maybe<Drain>> = drains.iter().filter(|d| d.media == media).collect();
    let must: Vec<&Maybe<Drain>> = fit.iter().copied().filter(|d| d.must).collect();
    if must.len() == 1 { must } else { fit }
}

fn names<P>(ports: &[&Maybe<P>]) -> String {
    let names: Vec<String> = ports.iter().map(|port| format!("`{}`", port.name)).collect();
    names.join(", ")
}

fn ambiguous(at: &Place, end: &str, media: Media, names: &str, log: &mut Log) {
    let message = format!("could mean several ports of {media}");
    log.hint(at, message, Some(format!("say which one in `{end}`: {names}")));
}

/// The kinds of media of these ports.
fn kinds<P>(ports: &[Maybe<P>]) -> String {
    let there = |media: &Media| ports.iter().any(|port| port.media == *media);
    let all: Vec<&str> = Media::ALL.into_iter().filter(there).map(Media::name).collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(" and ") }
}

fn unknown(at: &Place, node: &str, (side, name): (&str, &str), ports: &[Port], log: &mut Log) {
    let known: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    let message = format!("`{node}` has no {side} {}", quote(name));
    let near = crate::suggest::nearest(name, &known);
    let advice = match near {
        Some(_) => did_you_mean(name, &known),
        None => {
            let all: Vec<String> =
                ports.iter().map(|port| format!("`{}` ({})", port.name, port.media)).collect();
            Some(format!("it has {}", all.join(", ")))
        }
    };
    log.hint(at, message, advice);
}
