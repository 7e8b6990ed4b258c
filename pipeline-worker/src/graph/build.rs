//! From the nodes that a task names to a chain that runs.

use super::Chain;
use super::link::Link;
use crate::registry::Registry;
use remotemedia_shm_schema::control::GraphNode;
use remotemedia_shm_schema::manifest::{Fault, Faults, MAX_NODES};

/// Makes the nodes, in their order.
///
/// # Errors
/// Every unknown type, every parameter out of range, and nodes that do not take the same kind of media.
pub fn build(registry: &Registry, nodes: &[GraphNode]) -> Result<Chain, Faults> {
    let mut faults = Vec::new();
    if nodes.len() > MAX_NODES {
        let message = format!("a chain of {} nodes; {MAX_NODES} are allowed", nodes.len());
        return Err(Faults(vec![Fault { path: "$.nodes".into(), message }]));
    }
    let mut links = Vec::with_capacity(nodes.len());
    let (mut video, mut audio) = (true, true);
    for node in nodes {
        if let Some(of) = registry.get(&node.kind) {
            let (fits_video, fits_audio) = (video && of.video, audio && of.audio);
            if fits_video || fits_audio {
                (video, audio) = (fits_video, fits_audio);
            } else {
                let (takes, carries) =
                    if of.video { ("pictures", "sound") } else { ("sound", "pictures") };
                faults.push(Fault {
                    path: node.id.to_string(),
                    message: format!(
                        "`{}` takes {takes}, and the nodes before it {carries}",
                        of.kind
                    ),
                });
            }
        }
        match registry.make(&node.kind, &node.params) {
            Ok(running) => links.push(Link::new(node, running)),
            Err(found) => faults.extend(found.0.into_iter().map(|fault| Fault {
                path: format!("{}{}", node.id, fault.path.trim_start_matches('$')),
                message: fault.message,
            })),
        }
    }
    if faults.is_empty() { Ok(Chain::new(links, video, audio)) } else { Err(Faults(faults)) }
}
