//! What a manifest is checked against: the node types that workers offer, and who wrote the manifest.

use crate::limits::{MAX_KIND, MAX_PORTS};
use remotemedia_shm_schema::PortId;
use remotemedia_shm_schema::control::NodeDescription;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a stream consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Media {
    /// Pictures.
    Video,
    /// Sound.
    Audio,
    /// Messages: text, JSON or bytes, each whole. Several streams of them into one port merge.
    Data,
}

impl Media {
    /// All of them, pictures first.
    pub const ALL: [Self; 3] = [Self::Video, Self::Audio, Self::Data];

    /// Its name, which is also that of its port at `input` and `output`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Data => "data",
        }
    }

    /// The one of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|media| media.name() == name)
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl From<remotemedia_shm_schema::Media> for Media {
    fn from(media: remotemedia_shm_schema::Media) -> Self {
        match media {
            remotemedia_shm_schema::Media::Video => Self::Video,
            remotemedia_shm_schema::Media::Audio => Self::Audio,
        }
    }
}

/// Where a stream goes into a node, or comes out of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// `^[a-z0-9_-]{1,32}$`. An output of the name of an optional input carries what that one gets: nothing where it gets
    /// nothing.
    pub name: String,
    /// What passes.
    pub media: Media,
    /// Of an input: it gathers, taking that stream of every peer, and any number of edges; the node then stands once for the
    /// session. Of an output of such a node: it makes one stream for each listener (a mix without that listener's own part).
    #[serde(default)]
    pub every: bool,
    /// Of an input: it may be left unconnected. A node with inputs needs one of them all the same.
    #[serde(default)]
    pub optional: bool,
}

impl Port {
    /// One that takes or gives one stream, and must be connected.
    #[must_use]
    pub fn new(name: impl Into<String>, media: Media) -> Self {
        Self { name: name.into(), media, every: false, optional: false }
    }

    /// The same, gathering or one for each listener.
    #[must_use]
    pub fn every(mut self) -> Self {
        self.every = true;
        self
    }

    /// The same, and may be left unconnected.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}

/// A node type as its worker offers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeType {
    /// Its name in manifests: 1 to 64 characters.
    pub kind: String,
    /// One sentence.
    pub summary: String,
    /// What it takes.
    #[serde(default)]
    pub inputs: Vec<Port>,
    /// What it gives.
    #[serde(default)]
    pub outputs: Vec<Port>,
    /// JSON Schema of its parameters. A text of `"format": "media-path"` is a file below the router's `media_dir`, one of
    /// `"format": "host"` a host that the operator listed, where the manifest came from the network.
    pub params_schema: Value,
}

impl NodeType {
    /// What contradicts itself in it, for a person: its worker is at fault, not the manifest.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        let letters = self.kind.chars().count();
        if !(1..=MAX_KIND).contains(&letters) {
            return Some(format!("its name has {letters} characters; 1 to {MAX_KIND} are allowed"));
        }
        if self.kind.chars().any(char::is_control) {
            return Some("its name has control characters".to_owned());
        }
        for (side, ports) in [("input", &self.inputs), ("output", &self.outputs)] {
            if ports.len() > MAX_PORTS {
                return Some(format!("it has {} {side}s; {MAX_PORTS} are allowed", ports.len()));
            }
            let mut names = BTreeSet::new();
            for port in ports {
                if let Err(fault) = PortId::new(port.name.as_str()) {
                    return Some(fault.to_string());
                }
                if !names.insert(port.name.as_str()) {
                    return Some(format!("it has two {side}s `{}`", port.name));
                }
            }
        }
        let gathers = self.inputs.iter().any(|port| port.every);
        let lone = self.outputs.iter().find(|port| port.every && !gathers)?;
        Some(format!("its output `{}` is one for each listener, but no input gathers", lone.name))
    }

    pub(crate) fn input(&self, name: &str) -> Option<usize> {
        self.inputs.iter().position(|port| port.name == name)
    }

    pub(crate) fn output(&self, name: &str) -> Option<usize> {
        self.outputs.iter().position(|port| port.name == name)
    }
}

/// What today's workers say of a node: it takes and gives pictures, sound or either.
impl From<&NodeDescription> for NodeType {
    fn from(of: &NodeDescription) -> Self {
        let both = of.video && of.audio;
        let media = [(of.video, Media::Video), (of.audio, Media::Audio)];
        let ports: Vec<Port> = media
            .into_iter()
            .filter(|(there, _)| *there)
            .map(|(_, media)| Port { optional: both, ..Port::new(media.name(), media) })
            .collect();
        // A schema that cannot be read is its worker's affair, which checks the parameters itself in any case.
        let schema = serde_json::from_str(&of.params_schema);
        Self {
            kind: of.kind.clone(),
            summary: of.summary.clone(),
            inputs: ports.clone(),
            outputs: ports,
            params_schema: schema.unwrap_or_else(|_| Value::Object(Map::new())),
        }
    }
}

/// Who wrote a manifest, which decides what it may name (DESIGN's trust table).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The operator's config, or a file on the operator's command line.
    Operator,
    /// Somebody who reached the router: workers, files and hosts by configured name only.
    Network,
}

/// What this router has to offer.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Node types of our own pipeline worker, for nodes that name no worker.
    pub own: &'a [NodeType],
    /// Node types of the operator's workers, by the workers' names.
    pub workers: &'a BTreeMap<String, Vec<NodeType>>,
    /// Hosts that a manifest from the network may name.
    pub hosts: &'a BTreeSet<String>,
    /// Whether there is a folder for files that a manifest from the network may name.
    pub media_dir: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixer() -> NodeType {
        NodeType {
            kind: "Mixer".into(),
            summary: "Mixes.".into(),
            inputs: vec![Port::new("in", Media::Audio).every()],
            outputs: vec![Port::new("out", Media::Audio).every()],
            params_schema: Value::Bool(true),
        }
    }

    #[test]
    fn a_catalogue_that_contradicts_itself_is_told() {
        assert_eq!(mixer().fault(), None);
        let faulty = |change: fn(&mut NodeType)| {
            let mut node = mixer();
            change(&mut node);
            node.fault().unwrap_or_default()
        };
        assert!(faulty(|n| n.kind.clear()).contains("0 characters"));
        assert!(faulty(|n| n.kind.push('\n')).contains("control characters"));
        assert!(faulty(|n| n.inputs[0].every = false).contains("no input gathers"));
        assert!(faulty(|n| n.inputs[0].name = "In".into()).contains("port id \"In\""));
        assert!(faulty(|n| n.outputs.push(Port::new("out", Media::Data))).contains("two outputs"));
        let many = |n: &mut NodeType| {
            n.inputs = (0..17).map(|i| Port::new(format!("p{i}"), Media::Data)).collect();
        };
        assert!(faulty(many).contains("17 inputs; 16 are allowed"));
    }

    #[test]
    fn a_node_as_workers_describe_it_today_has_a_port_for_each_kind_that_it_takes() {
        let of = |video, audio, schema: &str| {
            NodeType::from(&NodeDescription {
                kind: "X".into(),
                summary: String::new(),
                video,
                audio,
                params_schema: schema.into(),
            })
        };
        let blur = of(true, false, r#"{"type": "object"}"#);
        assert_eq!(blur.inputs, [Port::new("video", Media::Video)]);
        assert_eq!(blur.outputs, blur.inputs);
        assert_eq!(blur.params_schema["type"], "object");
        let through = of(true, true, "not json");
        assert!(through.inputs.iter().all(|port| port.optional));
        assert_eq!(through.params_schema, serde_json::json!({}));
    }
}
