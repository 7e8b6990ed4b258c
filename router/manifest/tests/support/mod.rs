//! A catalogue with a node of every sort, and a way to check against it.
#![allow(dead_code, reason = "each test uses its part")]

use remotemedia_manifest::{
    Document, Faults, Format, Graph, Known, Media, NodeType, Origin, Port, check,
};
use remotemedia_shm_schema::{NodeId, OutputId};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// What a router has to offer.
pub(crate) struct World {
    pub(crate) own: Vec<NodeType>,
    pub(crate) workers: BTreeMap<String, Vec<NodeType>>,
    pub(crate) hosts: BTreeSet<String>,
    pub(crate) media_dir: bool,
}

impl World {
    pub(crate) fn known(&self) -> Known<'_> {
        let (own, workers) = (&self.own, &self.workers);
        Known { own, workers, hosts: &self.hosts, media_dir: self.media_dir }
    }

    pub(crate) fn check(&self, value: &Value, origin: Origin) -> Result<Graph, Faults> {
        check(&Document::from_value(value.clone())?, self.known(), origin)
    }

    pub(crate) fn graph(&self, value: &Value) -> Graph {
        self.check(value, Origin::Operator).unwrap_or_else(|faults| panic!("{faults}\n{value:#}"))
    }

    pub(crate) fn graph_of(&self, text: &str, format: Format) -> Graph {
        let document = Document::parse(text, format).unwrap_or_else(|faults| panic!("{faults}"));
        let graph = check(&document, self.known(), Origin::Operator);
        graph.unwrap_or_else(|faults| panic!("{faults}\n{text}"))
    }
}

/// Everything, with a folder for media and a listed host.
pub(crate) fn world() -> World {
    use Media::{Audio, Data, Video};
    let (video, audio, data) =
        (|| Port::new("video", Video), || Port::new("audio", Audio), || Port::new("data", Data));
    let sigma = json!({"sigma": {"type": "number", "minimum": 0.1, "maximum": 50.0}});
    let gain = json!({
        "gain_db": {"type": "number", "minimum": -60.0, "maximum": 30.0},
        "mute": {"type": "boolean"},
    });
    let place = json!({"at": {"oneOf": [{"const": "left"}, {"const": "right"}]}});
    let size = json!({
        "width": {"type": "integer", "minimum": 16, "maximum": 4096},
        "height": {"type": "integer", "minimum": 16, "maximum": 4096},
    });
    let path = json!({"path": {"type": "string", "format": "media-path"}});
    let host = json!({"host": {"type": "string", "format": "host"}});
    let mut recorder =
        node("Recorder", vec![video().optional(), audio().optional()], vec![], path.clone());
    recorder.params_schema["required"] = json!(["path"]);
    let own = vec![
        node(
            "Passthrough",
            vec![video().optional(), audio().optional()],
            vec![video(), audio()],
            json!({}),
        ),
        node("GaussianBlur", vec![video()], vec![video()], sigma),
        node("Grayscale", vec![video()], vec![video()], json!({})),
        node("Scale", vec![video()], vec![video()], size),
        node(
            "OverlayPicture",
            vec![Port::new("base", Video), Port::new("picture", Video)],
            vec![video()],
            place,
        ),
        node(
            "Masked",
            vec![video(), Port::new("mask", Video).optional()],
            vec![video()],
            json!({}),
        ),
        node("Tee", vec![video()], vec![Port::new("a", Video), Port::new("b", Video)], json!({})),
        node("Grid", vec![video().every()], vec![video()], json!({})),
        node("Picture", vec![], vec![video()], json!({})),
        node("Gain", vec![audio()], vec![audio()], gain),
        node("NoiseGate", vec![audio()], vec![audio()], json!({})),
        node("Mixer", vec![audio().every()], vec![audio().every()], json!({})),
        node(
            "Ducker",
            vec![Port::new("in", Audio).every(), Port::new("key", Audio)],
            vec![audio()],
            json!({}),
        ),
        node(
            "Duo",
            vec![Port::new("left", Audio), Port::new("right", Audio)],
            vec![audio()],
            json!({}),
        ),
        node("Tone", vec![], vec![audio()], json!({})),
        node("VoiceActivity", vec![audio()], vec![audio(), Port::new("events", Data)], json!({})),
        node(
            "Agent",
            vec![audio(), Port::new("events", Data).optional()],
            vec![audio(), data()],
            json!({}),
        ),
        node("Speech", vec![data()], vec![audio()], json!({})),
        node("Log", vec![data()], vec![], json!({})),
        node("FileSource", vec![], vec![video(), audio()], path),
        recorder,
        node("Remote", vec![video()], vec![video()], host),
    ];
    let faces = vec![
        node("Faces", vec![video()], vec![video(), data()], json!({})),
        node("Blink", vec![video()], vec![video()], json!({})),
    ];
    let mut broken = node("Broken", vec![video()], vec![video()], json!({}));
    broken.outputs[0].every = true;
    World {
        own,
        workers: BTreeMap::from([("faces".to_owned(), faces), ("odd".to_owned(), vec![broken])]),
        hosts: BTreeSet::from(["store.example".to_owned()]),
        media_dir: true,
    }
}

/// A node type with closed parameters.
pub(crate) fn node(
    kind: &str,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    properties: Value,
) -> NodeType {
    let schema = json!({"type": "object", "properties": properties, "additionalProperties": false});
    NodeType { kind: kind.into(), summary: kind.into(), inputs, outputs, params_schema: schema }
}

/// A manifest of nodes (`id type`) and edges (`from to`).
pub(crate) fn manifest(nodes: &[&str], edges: &[&str]) -> Value {
    let two = |text: &str| {
        let (one, other) = text.split_once(' ').expect("two words");
        (one.to_owned(), other.to_owned())
    };
    let nodes: Vec<Value> = nodes
        .iter()
        .map(|text| {
            let (id, kind) = two(text);
            json!({"id": id, "type": kind})
        })
        .collect();
    let edges: Vec<Value> = edges
        .iter()
        .map(|text| {
            let (from, to) = two(text);
            json!({"from": from, "to": to})
        })
        .collect();
    json!({"pipeline": {"nodes": nodes, "graph": edges}})
}

pub(crate) fn id(text: &str) -> NodeId {
    NodeId::new(text).expect("a node's id")
}

pub(crate) fn output(text: &str) -> OutputId {
    OutputId::new(text).expect("an output's name")
}
