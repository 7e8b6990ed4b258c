//! From values to what they say: nodes, ends of edges, routes. Each part is read by itself, and what cannot be read is left out
//! with a fault, so that the rest is looked at all the same.

mod edges;
mod nodes;
mod params;
mod paths;
mod routes;

pub(crate) use edges::{Edge, Edges, End, MAIN, Missed, read as edges};
pub(crate) use nodes::{Draft, read as nodes};
pub(crate) use routes::{Routes, read as routes};

pub use params::check_changes;

use crate::catalogue::{Known, Origin};
use crate::fault::{Log, Place, said};
use crate::limits::MAX_DESCRIPTION;
use serde_json::Value;

/// Who asks, and what there is for them.
#[derive(Clone, Copy)]
pub(crate) struct Terms<'a> {
    pub(crate) known: Known<'a>,
    pub(crate) origin: Origin,
}

/// The parts of a manifest, with their places.
pub(crate) struct Parts<'v> {
    pub(crate) pipeline: Place,
    pub(crate) nodes: Option<&'v Value>,
    pub(crate) graph: Option<&'v Value>,
    pub(crate) routes: Option<&'v Value>,
}

/// Takes a manifest apart.
pub(crate) fn parts<'v>(manifest: &'v Value, log: &mut Log) -> Option<Parts<'v>> {
    let at = Place::root();
    let root = log.object(&at, manifest)?;
    log.only(&at, root, &["pipeline", "description"]);
    if let Some(value) = said(root, "description") {
        let at = at.key("description");
        let letters = log.as_text(&at, value).map_or(0, |text| text.chars().count());
        if letters > MAX_DESCRIPTION {
            log.fault(&at, format!("has {letters} characters; {MAX_DESCRIPTION} are allowed"));
        }
    }
    let Some(pipeline) = root.get("pipeline") else {
        let shape = "a manifest is {\"pipeline\": {\"nodes\": [...], \"graph\": [...]}}";
        log.hint(&at, "`pipeline` is missing", Some(shape.to_owned()));
        return None;
    };
    let at = at.key("pipeline");
    let pipeline = log.object(&at, pipeline)?;
    log.only(&at, pipeline, &["nodes", "graph", "routes"]);
    Some(Parts {
        nodes: pipeline.get("nodes"),
        graph: said(pipeline, "graph"),
        routes: said(pipeline, "routes"),
        pipeline: at,
    })
}
