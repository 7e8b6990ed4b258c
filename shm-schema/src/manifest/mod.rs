//! A pipeline's manifest: what it says, whether it can be run, and the chains of nodes that come of it.
//!
//! [`plan`] reads `{"pipeline": {"nodes": [{"id", "type", "params", "worker", "on_failure", "frame_limit_ms"}], "graph":
//! [{"from", "to"}]}}` against the catalogues of those who would run it, and either gives the chains or names every fault at once, each with its JSON path. Router
//! and workers use the same code, so that a pipeline which the router accepts is not refused by the worker for another reason.
//!
//! `input` and `output` are pseudo-nodes: the peer's media and the result `main`. `input.video`, `input.audio`,
//! `output.video` and `output.audio` name one kind of it. Today every kind of media has one chain (edges from `input` over
//! nodes to `output`), and a kind without a chain is handed over as it is; without `graph` the nodes are chained in
//! their order, pictures through those that take pictures, sound through those that take sound. A node type that takes
//! both (`Passthrough`) may stand in both chains, with a state of its own in each.

mod chain;
mod params;
mod suggest;

pub use params::check as check_params;
pub use suggest::did_you_mean;

use crate::control::{Catalogue, GraphNode, NodeDescription, OnFailure};
use crate::ids::NodeId;
use crate::meta::Media;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt;

/// Nodes of one pipeline (chosen; their numbers fit a stamp, and ten of them are stamped).
pub const MAX_NODES: usize = 32;
/// Edges of one pipeline (chosen: twice the nodes, for the full graph).
pub const MAX_EDGES: usize = 2 * MAX_NODES;
/// Bytes of one node's parameters as JSON (chosen; what a wiring sends must fit [`crate::control::MAX_MESSAGE`]).
pub const MAX_PARAMS: usize = 4 * 1024;
/// Bytes of all nodes' parameters together: half a control message.
pub const MAX_PARAMS_TOTAL: usize = 32 * 1024;
/// Faults that one reading tells; more are not looked for.
pub const MAX_FAULTS: usize = 50;

/// What an entry of `nodes` may say.
const NODE_KEYS: [&str; 6] = ["id", "type", "params", "worker", "on_failure", "frame_limit_ms"];

/// One thing that is wrong with a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as a JSON path: `$.pipeline.nodes[0].type`.
    pub path: String,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Everything that is wrong with a manifest; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// What a node may take for one frame unless the manifest says otherwise, in milliseconds (DESIGN: 1 s).
pub const FRAME_LIMIT_MS: u32 = 1_000;
/// The most that a manifest may allow a node for one frame, in milliseconds (chosen).
pub const MAX_FRAME_LIMIT_MS: u32 = 60_000;

/// Who runs nodes, and which they have.
#[derive(Debug, Clone, Copy)]
pub struct Offered<'a> {
    /// Of our own pipeline worker.
    pub built_in: &'a Catalogue,
    /// Of the workers that the operator describes, by their names.
    pub workers: &'a BTreeMap<String, Catalogue>,
}

/// A node with where and how it is run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedNode {
    /// As the worker gets it.
    pub node: GraphNode,
    /// The operator's worker that runs it; none is our own pipeline worker.
    pub worker: Option<String>,
    /// Milliseconds that it may take for one frame.
    pub frame_limit_ms: u32,
}

/// What a pipeline does with each kind of media, ready for [`crate::control::TaskKind::Graph`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// The nodes that pictures pass, in their order; empty is a plain hand-over.
    pub video: Vec<PlannedNode>,
    /// The nodes that sound passes, in their order; empty is a plain hand-over.
    pub audio: Vec<PlannedNode>,
}

impl Plan {
    /// The chain of one kind.
    #[must_use]
    pub fn chain(&self, media: Media) -> &[PlannedNode] {
        match media {
            Media::Video => &self.video,
            Media::Audio => &self.audio,
        }
    }
}

/// An entry of `nodes`. What could not be read of it is absent, and a fault; the rest is still looked at.
struct Node<'a> {
    id: Option<NodeId>,
    kind: Option<&'a NodeDescription>,
    params: String,
    worker: Option<String>,
    on_failure: OnFailure,
    frame_limit_ms: u32,
}

impl Node<'_> {
    fn name(&self) -> &str {
        self.id.as_ref().map_or("?", NodeId::as_str)
    }

    /// Whether it takes this kind of media; a node of unknown type is not blamed a second time.
    fn takes(&self, media: Media) -> bool {
        self.kind.is_none_or(|k| match media {
            Media::Video => k.video,
            Media::Audio => k.audio,
        })
    }
}

/// Reads a manifest against what the workers can do.
///
/// # Errors
/// Every fault that was found.
pub fn plan(manifest: &Value, offered: Offered<'_>) -> Result<Plan, Faults> {
    let mut log = Log::default();
    let plan = read(manifest, offered, &mut log);
    match plan {
        Some(plan) if log.faults.is_empty() => Ok(plan),
        _ => Err(Faults(log.faults)),
    }
}

fn read(manifest: &Value, offered: Offered<'_>, log: &mut Log) -> Option<Plan> {
    let root = log.object("$", manifest)?;
    log.only("$", root, &["pipeline"]);
    let Some(pipeline) = root.get("pipeline") else {
        log.fault("$", "`pipeline` is missing");
        return None;
    };
    let pipeline = log.object("$.pipeline", pipeline)?;
    log.only("$.pipeline", pipeline, &["nodes", "graph"]);
    let nodes = nodes(pipeline.get("nodes"), offered, log);
    let chains = match pipeline.get("graph") {
        None => chain::in_order(&nodes),
        Some(graph) => chain::read(graph, &nodes, log),
    };
    let list = |indexes: &[usize]| indexes.iter().filter_map(|i| planned(*i, &nodes)).collect();
    Some(Plan { video: list(&chains.video), audio: list(&chains.audio) })
}

fn planned(index: usize, nodes: &[Node<'_>]) -> Option<PlannedNode> {
    let of = nodes.get(index)?;
    let node = GraphNode {
        id: of.id.clone()?,
        // There are no more than MAX_NODES, which fit.
        number: u8::try_from(index).ok()?,
        kind: of.kind?.kind.clone(),
        params: of.params.clone(),
        on_failure: of.on_failure,
    };
    Some(PlannedNode { node, worker: of.worker.clone(), frame_limit_ms: of.frame_limit_ms })
}

fn nodes<'a>(value: Option<&Value>, offered: Offered<'a>, log: &mut Log) -> Vec<Node<'a>> {
    const AT: &str = "$.pipeline.nodes";
    let Some(list) = value else {
        log.fault("$.pipeline", "`nodes` is missing; `[]` is a plain hand-over");
        return Vec::new();
    };
    let Some(list) = log.list(AT, list, MAX_NODES) else {
        return Vec::new();
    };
    let mut nodes: Vec<Node<'a>> = Vec::with_capacity(list.len());
    let mut bytes = 0usize;
    for (index, value) in list.iter().enumerate() {
        let at = format!("{AT}[{index}]");
        let mut node = Node {
            id: None,
            kind: None,
            params: "{}".to_owned(),
            worker: None,
            on_failure: OnFailure::default(),
            frame_limit_ms: FRAME_LIMIT_MS,
        };
        if let Some(object) = log.object(&at, value) {
            log.only(&at, object, &NODE_KEYS);
            node.id = node_id(&at, object, &nodes, log);
            node.on_failure = on_failure(&at, object, log);
            node.frame_limit_ms = frame_limit(&at, object, log);
            if let Some(catalogue) = worker(&at, object, offered, log, &mut node.worker) {
                node.kind = node_type(&at, object, catalogue, log);
            }
            if let Some(params) = node_params(&at, object, node.kind, log) {
                node.params = params;
            }
        }
        bytes = bytes.saturating_add(node.params.len());
        nodes.push(node);
    }
    if bytes > MAX_PARAMS_TOTAL {
        log.fault(
            AT,
            format!(
                "the nodes' parameters have {bytes} bytes together; {MAX_PARAMS_TOTAL} are allowed"
            ),
        );
    }
    nodes
}

fn node_id(
    at: &str,
    object: &Map<String, Value>,
    before: &[Node<'_>],
    log: &mut Log,
) -> Option<NodeId> {
    let at_id = format!("{at}.id");
    let text = log.text(at, object, "id")?;
    let id = match NodeId::new(text) {
        Ok(id) => id,
        Err(fault) => {
            log.fault(at_id, fault.to_string());
            return None;
        }
    };
    if let Some(first) = before.iter().position(|n| n.id.as_ref() == Some(&id)) {
        log.fault(at_id, format!("`{id}` is already the id of `$.pipeline.nodes[{first}]`"));
    }
    Some(id)
}

/// The catalogue of the worker that the node names, or of our own.
fn worker<'a>(
    at: &str,
    object: &Map<String, Value>,
    offered: Offered<'a>,
    log: &mut Log,
    name: &mut Option<String>,
) -> Option<&'a Catalogue> {
    if !object.contains_key("worker") {
        return Some(offered.built_in);
    }
    let text = log.text(at, object, "worker")?;
    let found = offered.workers.get(text);
    if found.is_some() {
        *name = Some(text.to_owned());
    } else {
        let known: Vec<&str> = offered.workers.keys().map(String::as_str).collect();
        let hint = did_you_mean(text, &known);
        let what = format!("the config describes no worker {}{hint}", quote(text));
        log.fault(format!("{at}.worker"), what);
    }
    found
}

fn on_failure(at: &str, object: &Map<String, Value>, log: &mut Log) -> OnFailure {
    if !object.contains_key("on_failure") {
        return OnFailure::default();
    }
    let Some(text) = log.text(at, object, "on_failure") else { return OnFailure::default() };
    let known = OnFailure::ALL.map(OnFailure::name);
    OnFailure::ALL.into_iter().find(|policy| policy.name() == text).unwrap_or_else(|| {
        let hint = did_you_mean(text, &known);
        let what = format!("must be one of {}, and is {}{hint}", known.join(", "), quote(text));
        log.fault(format!("{at}.on_failure"), what);
        OnFailure::default()
    })
}

fn frame_limit(at: &str, object: &Map<String, Value>, log: &mut Log) -> u32 {
    let Some(value) = object.get("frame_limit_ms") else { return FRAME_LIMIT_MS };
    let limit = value.as_u64().and_then(|ms| u32::try_from(ms).ok());
    limit.filter(|ms| (10..=MAX_FRAME_LIMIT_MS).contains(ms)).unwrap_or_else(|| {
        let what = format!("must be a whole number from 10 to {MAX_FRAME_LIMIT_MS}");
        log.fault(format!("{at}.frame_limit_ms"), what);
        FRAME_LIMIT_MS
    })
}

fn node_type<'a>(
    at: &str,
    object: &Map<String, Value>,
    catalogue: &'a Catalogue,
    log: &mut Log,
) -> Option<&'a NodeDescription> {
    let kind = log.text(at, object, "type")?;
    let found = catalogue.nodes.iter().find(|n| n.kind == kind);
    if found.is_none() {
        let known: Vec<&str> = catalogue.nodes.iter().map(|n| n.kind.as_str()).collect();
        log.fault(
            format!("{at}.type"),
            format!("no worker has a node type {}{}", quote(kind), did_you_mean(kind, &known)),
        );
    }
    found
}

fn node_params(
    at: &str,
    object: &Map<String, Value>,
    description: Option<&NodeDescription>,
    log: &mut Log,
) -> Option<String> {
    let at = format!("{at}.params");
    let value = object.get("params")?;
    let params = log.object(&at, value)?;
    let text = value.to_string();
    if text.len() > MAX_PARAMS {
        log.fault(at, format!("has {} bytes as JSON; {MAX_PARAMS} are allowed", text.len()));
        return None;
    }
    // A schema that cannot be read is its worker's affair, which checks the parameters itself in any case.
    let schema = description.and_then(|d| serde_json::from_str::<Value>(&d.params_schema).ok());
    if let Some(schema) = schema {
        for fault in check_params(&schema, params, &at) {
            log.fault(fault.path, fault.message);
        }
    }
    Some(text)
}

/// Gathers faults, up to [`MAX_FAULTS`].
#[derive(Default)]
struct Log {
    faults: Vec<Fault>,
}

impl Log {
    fn fault(&mut self, path: impl Into<String>, message: impl Into<String>) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { path: path.into(), message: message.into() });
        }
    }

    fn object<'v>(&mut self, path: &str, value: &'v Value) -> Option<&'v Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.fault(path, format!("must be an object, and is {}", what(value)));
        }
        object
    }

    fn list<'v>(&mut self, path: &str, value: &'v Value, most: usize) -> Option<&'v [Value]> {
        let Some(list) = value.as_array() else {
            self.fault(path, format!("must be a list, and is {}", what(value)));
            return None;
        };
        if list.len() > most {
            self.fault(path, format!("has {} entries; {most} are allowed", list.len()));
            return None;
        }
        Some(list)
    }

    fn text<'v>(
        &mut self,
        path: &str,
        object: &'v Map<String, Value>,
        key: &str,
    ) -> Option<&'v str> {
        match object.get(key) {
            Some(Value::String(text)) => Some(text),
            Some(other) => {
                self.fault(
                    format!("{path}.{key}"),
                    format!("must be a text, and is {}", what(other)),
                );
                None
            }
            None => {
                self.fault(path, format!("`{key}` is missing"));
                None
            }
        }
    }

    /// Every key that is not among `known` is a fault: a misspelt one would else be silently without effect.
    fn only(&mut self, path: &str, object: &Map<String, Value>, known: &[&str]) {
        for key in object.keys().filter(|k| !known.contains(&k.as_str())) {
            self.fault(path, format!("unknown key {}{}", quote(key), did_you_mean(key, known)));
        }
    }
}

/// A stranger's text in an error: its beginning only.
fn quote(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(40).flat_map(char::escape_debug).collect();
    if chars.next().is_some() { format!("`{head}…`") } else { format!("`{head}`") }
}

/// A value's kind, for errors.
fn what(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {}", quote(s)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests;
