//! The shape of a manifest as types: what the published JSON Schema is made of, and what programs write manifests with.
//!
//! [`crate::check()`] does not read by them: it looks at every part by itself, so that one fault does not hide the others.
//! A test holds both together. The sentences here are the schema's descriptions.

use crate::document::Document;
use crate::fault::{Fault, Faults};
use crate::limits::{
    FRAME_LIMIT_MS, MAX_AGE_MS, MAX_CAPACITY, MAX_DESCRIPTION, MAX_EDGES, MAX_FRAME_LIMIT_MS,
    MAX_KIND, MAX_NODES, MAX_OUTPUT_NAME, MAX_ROUTES, MIN_FRAME_LIMIT_MS,
};
use remotemedia_shm_schema::{contract, control};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The grammar of a node's id; `input` and `output` are taken.
const NODE_ID: &str = "^[a-z0-9_-]{1,32}$";
/// The grammar of a peer's id and of a role.
const PEER_ID: &str = "^[A-Za-z0-9_-]{1,64}$";

/// The JSON Schema (2020-12) that is published as `docs/manifest.schema.json`.
#[must_use]
pub fn schema() -> Value {
    let mut schema = schemars::schema_for!(Manifest).to_value();
    if let Some(object) = schema.as_object_mut() {
        object.insert("title".into(), "remotemedia pipeline manifest".into());
    }
    join_lines(&mut schema);
    schema
}

/// Makes the lines of a doc comment one paragraph.
fn join_lines(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            for (key, value) in object {
                match value {
                    Value::String(text) if key == "description" => *text = text.replace('\n', " "),
                    value => join_lines(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(join_lines),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// A pipeline of media: its nodes, how they are connected, and who gets what comes out.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The graph.
    pub pipeline: Pipeline,
    /// One sentence for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_DESCRIPTION))]
    pub description: Option<String>,
}

/// Nodes, edges and routes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// What processes the media. Without `graph` they are a chain in this order, pictures through those that take
    /// pictures, sound through those that take sound.
    #[schemars(length(max = MAX_NODES))]
    pub nodes: Vec<Node>,
    /// What leads where. Pictures or sound of which no edge takes anything from `input` go to the output `main` as
    /// they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_EDGES))]
    pub graph: Option<Vec<Edge>>,
    /// Who gets which output. Without a route `main` goes to its sender where the sender is alone, else to the
    /// others; another output goes to who subscribes to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = MAX_ROUTES))]
    pub routes: Option<Vec<Route>>,
}

/// One step of processing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Its name in this manifest; `input` and `output` are taken.
    #[schemars(regex(pattern = NODE_ID))]
    pub id: String,
    /// A node type of the worker's catalogue.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = MAX_KIND))]
    pub kind: String,
    /// Its parameters, by the node type's own schema.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<Map<String, Value>>,
    /// Which of the operator's workers runs it; without it our own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = NODE_ID))]
    pub worker: Option<String>,
    /// What becomes of its media while it cannot work on them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_failure: Option<OnFailure>,
    /// Milliseconds that it may take for one frame before it counts as hung; 1000 if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MIN_FRAME_LIMIT_MS, max = MAX_FRAME_LIMIT_MS))]
    pub frame_limit_ms: Option<u32>,
    /// How the channels that it writes differ from the usual contract.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
}

const _: () =
    assert!(FRAME_LIMIT_MS == 1_000, "the schema's description of frame_limit_ms says so");

/// What becomes of a node's media while the node cannot work on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The last picture stays and sound is silent: nothing unprocessed leaves. This is the default.
    Hold,
    /// The input takes the output's place.
    Bypass,
    /// The session ends.
    Close,
}

impl From<control::OnFailure> for OnFailure {
    fn from(policy: control::OnFailure) -> Self {
        match policy {
            control::OnFailure::Hold => Self::Hold,
            control::OnFailure::Bypass => Self::Bypass,
            control::OnFailure::Close => Self::Close,
        }
    }
}

/// How the channels that a node writes differ from the usual contract of their media.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Queue {
    /// Frames that one holds; at most 16 where the node makes pictures.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = MAX_CAPACITY))]
    pub capacity: Option<u32>,
    /// What happens to the next frame when one is full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_full: Option<WhenFull>,
    /// Milliseconds since its media time after which a frame is dropped; 0 is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = MAX_AGE_MS))]
    pub max_age_ms: Option<u32>,
}

/// What happens to the next frame when a channel is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WhenFull {
    /// The oldest goes; the default of pictures.
    NewestWins,
    /// The oldest goes and the reader conceals it; the default of sound, and for sound only.
    OldestConcealed,
    /// The node keeps it and it is released by its media time: for nodes that are faster than real time.
    Paced,
    /// The node waits, up to a deadline: for files.
    Lossless,
}

impl WhenFull {
    /// All of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::NewestWins, Self::OldestConcealed, Self::Paced, Self::Lossless];

    /// Its name in manifests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::NewestWins => "newest_wins",
            Self::OldestConcealed => "oldest_concealed",
            Self::Paced => "paced",
            Self::Lossless => "lossless",
        }
    }
}

impl From<WhenFull> for contract::WhenFull {
    fn from(when: WhenFull) -> Self {
        match when {
            WhenFull::NewestWins => Self::NewestWins,
            WhenFull::OldestConcealed => Self::OldestConcealed,
            WhenFull::Paced => Self::Paced,
            WhenFull::Lossless => Self::Lossless,
        }
    }
}

/// One edge. An end is a node, `node.port`, `input`, `input.video`, `input.audio`, `input.data`, `output` (the output
/// `main`), `output.video`, `output.NAME`, `output.NAME.video` and so on; without a port it stands for all ports that
/// fit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Edge {
    /// Where the media come from.
    pub from: String,
    /// Where they go.
    pub to: String,
}

/// Who gets an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The output's name, as in `output.NAME`.
    #[schemars(length(min = 1, max = MAX_OUTPUT_NAME))]
    pub output: String,
    /// To whom it goes.
    pub to: To,
}

/// To whom an output goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum To {
    /// The peer whose media it is made of.
    Sender,
    /// All peers but that one.
    Others,
    /// All peers.
    All,
    /// Outputs that are routed so are tiers of one another, the greatest first: each of the others gets the one that
    /// its measured bandwidth carries. Of a single one the router makes the tiers.
    Bandwidth,
    /// This peer.
    Peer(#[schemars(regex(pattern = PEER_ID))] String),
    /// Every peer of this role.
    Role(#[schemars(regex(pattern = PEER_ID))] String),
}

impl TryFrom<&Manifest> for Document {
    type Error = Faults;

    fn try_from(manifest: &Manifest) -> Result<Self, Faults> {
        match serde_json::to_value(manifest) {
            Ok(value) => Self::from_value(value),
            // Texts for keys and finite numbers are all that these types hold, so this is not reached.
            Err(error) => Err(Faults(vec![Fault {
                path: String::new(),
                message: error.to_string(),
                suggestion: None,
            }])),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_names_are_those_that_frames_and_messages_have() {
        for policy in control::OnFailure::ALL {
            assert_eq!(json!(OnFailure::from(policy)), json!(policy.name()));
        }
        for when in WhenFull::ALL {
            assert_eq!(json!(when), json!(when.name()));
            assert_eq!(json!(contract::WhenFull::from(when)), json!(when.name()));
        }
    }

    #[test]
    fn a_program_writes_a_manifest_with_types() {
        let manifest = Manifest {
            pipeline: Pipeline {
                nodes: vec![Node { id: "b".into(), kind: "Blur".into(), ..Node::default() }],
                routes: Some(vec![Route { output: "main".into(), to: To::Peer("alice".into()) }]),
                ..Pipeline::default()
            },
            description: None,
        };
        let document = Document::try_from(&manifest).expect("it is in order");
        let expected = json!({"pipeline": {
            "nodes": [{"id": "b", "type": "Blur"}],
            "routes": [{"output": "main", "to": {"peer": "alice"}}],
        }});
        assert_eq!(*document.value(), expected);
    }
}
