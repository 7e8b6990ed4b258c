//! The edges of a manifest without `graph`: pictures go through the nodes that take pictures, in their order, sound through
//! those that take sound, messages through those that take messages.

use crate::catalogue::{Media, Port};
use crate::fault::Log;
use crate::read::{Draft, Edge, Edges, End, MAIN, Missed};
use remotemedia_shm_schema::OutputId;

/// Makes them. A node that gives no stream of its kind (a recorder) is passed by; one that takes none (a source) is where
/// the stream begins anew; messages that a node makes join those that there are.
pub(crate) fn in_order(nodes: &[Draft<'_>], log: &mut Log) -> Edges {
    let mut edges = Edges::default();
    let Ok(main) = OutputId::new(MAIN) else { return edges };
    edges.outputs.insert(main.clone());
    // What a node of unknown type would do to its neighbours cannot be said.
    if nodes.iter().any(|node| node.of.is_none()) {
        edges.missed = Missed::all();
    }
    for media in Media::ALL {
        let mut streams = vec![End::Input(Some(media))];
        let mut last = None;
        for (index, node) in nodes.iter().enumerate() {
            let Some(of) = node.of else { continue };
            let inlet = one(&of.inputs, media);
            let outlet = one(&of.outputs, media);
            for (side, found) in [("inputs", &inlet), ("outputs", &outlet)] {
                if let Err(ports) = found {
                    let message =
                        format!("`{}` has several {side} of {media}: {ports}", node.name());
                    let advice = "say in `graph` what leads where".to_owned();
                    log.hint(&node.place, message, Some(advice));
                    (edges.missed.from_any, edges.missed.to_any) = (true, true);
                }
            }
            let (Ok(inlet), Ok(outlet)) = (inlet, outlet) else { continue };
            if inlet.is_some() || outlet.is_some() {
                last = Some(&node.place);
            }
            if let Some(port) = inlet {
                for from in &streams {
                    let to = End::Node(index, Some(port.name.clone()));
                    let place = node.place.clone();
                    edges.all.push(Edge { place, from: from.clone(), to, written: false });
                }
            }
            if let Some(port) = outlet {
                let stream = End::Node(index, Some(port.name.clone()));
                if media == Media::Data && inlet.is_none() {
                    streams.push(stream);
                } else {
                    streams = vec![stream];
                }
            }
        }
        // What no node looks at is handed over in any case. Peers' own messages are not.
        let Some(place) = last else { continue };
        let goes_on = |end: &End| media != Media::Data || matches!(end, End::Node(..));
        for from in streams.into_iter().filter(goes_on) {
            let (place, to) = (place.clone(), End::Output(main.clone(), Some(media)));
            edges.all.push(Edge { place, from, to, written: false });
        }
    }
    edges
}

/// The port of this kind: the one that must be connected, else the only one. The error lists those that it could be.
fn one(ports: &[Port], media: Media) -> Result<Option<&Port>, String> {
    let fit: Vec<&Port> = ports.iter().filter(|port| port.media == media).collect();
    let must: Vec<&Port> = fit.iter().copied().filter(|port| !port.optional).collect();
    match (must.as_slice(), fit.as_slice()) {
        ([one], _) | (_, [one]) => Ok(Some(*one)),
        (_, []) => Ok(None),
        _ => {
            let names: Vec<String> = fit.iter().map(|port| format!("`{}`", port.name)).collect();
            Err(names.join(", "))
        }
    }
}
