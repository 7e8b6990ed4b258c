//! What is left unconnected, and policies that the connections do not allow.

use super::{Mesh, Wired};
use crate::catalogue::{Media, NodeType};
use crate::fault::Log;
use crate::read::Draft;
use remotemedia_shm_schema::control::OnFailure;

/// Looks at every node.
pub(super) fn ends(nodes: &[Draft<'_>], mesh: &Mesh, log: &mut Log) {
    for (node, wired) in nodes.iter().zip(&mesh.wired) {
        let Some(of) = node.of else { continue };
        unconnected(node, of, wired, log);
        if node.on_failure == OnFailure::Bypass && !wired.vague_in {
            bypass(node, of, wired, log);
        }
    }
}

fn unconnected(node: &Draft<'_>, of: &NodeType, wired: &Wired, log: &mut Log) {
    let name = node.name();
    let fed = wired.inlets.iter().any(|feeds| !feeds.is_empty());
    let gets_nothing = !of.inputs.is_empty() && !fed && !wired.vague_in;
    let leads_nowhere =
        !of.outputs.is_empty() && !wired.used.iter().any(|used| *used) && !wired.vague_out;
    let inputs: Vec<String> = of
        .inputs
        .iter()
        .zip(&wired.inlets)
        .filter(|(port, feeds)| feeds.is_empty() && (gets_nothing || !port.optional))
        .map(|(port, _)| format!("`{name}.{}` ({})", port.name, port.media))
        .collect();
    let outputs: Vec<String> =
        of.outputs.iter().map(|port| format!("`{name}.{}` ({})", port.name, port.media)).collect();
    if gets_nothing && leads_nowhere {
        let advice = "add edges to it and from it, or remove it".to_owned();
        log.hint(&node.place, format!("`{name}` is not connected"), Some(advice));
        return;
    }
    if leads_nowhere {
        let advice = format!("add an edge from {}, or remove it", outputs.join(" or "));
        log.hint(&node.place, format!("`{name}` leads nowhere"), Some(advice));
    }
    if gets_nothing {
        let advice = format!("add an edge to {}", inputs.join(" or "));
        log.hint(&node.place, format!("`{name}` gets nothing"), Some(advice));
    } else if !inputs.is_empty() && !wired.vague_in {
        log.fault(&node.place, format!("nothing leads into {}", inputs.join(" and ")));
    }
}

/// `bypass` puts an input in an output's place: there must be one, of one stream, for every output of pictures and sound.
fn bypass(node: &Draft<'_>, of: &NodeType, wired: &Wired, log: &mut Log) {
    for (output, used) in of.outputs.iter().zip(&wired.used) {
        if !used || output.media == Media::Data {
            continue;
        }
        let could =
            of.inputs.iter().zip(&wired.inlets).filter(|(port, feeds)| {
                port.media == output.media && !port.every && !feeds.is_empty()
            });
        let could: Vec<&str> = could.map(|(port, _)| port.name.as_str()).collect();
        let clear = could.len() == 1 || could.contains(&output.name.as_str());
        if !clear || (output.every && wired.gathers) {
            let what = format!("`{}.{}`", node.name(), output.name);
            let message = match could.as_slice() {
                [] | [_] => format!("nothing that it takes could stand in for {what}"),
                _ => format!("any of {} could stand in for {what}", could.join(", ")),
            };
            let advice = "`hold` (the default) or `close` is possible".to_owned();
            log.hint(&node.place.key("on_failure"), message, Some(advice));
        }
    }
}
