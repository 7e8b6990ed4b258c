//! What manifests come to: stages and outputs, or what cannot be run yet.

use super::*;
use remotemedia_manifest::{Document, Format, Known, NodeType, Origin, Port, check};
use serde_json::json;

fn takes(kind: &str, media: &[manifest::Media]) -> NodeType {
    let both = media.len() > 1;
    let port = |media: &manifest::Media| Port { optional: both, ..Port::new(media.name(), *media) };
    let ports: Vec<Port> = media.iter().map(port).collect();
    let summary = String::new();
    let params_schema = json!({"type": "object"});
    NodeType { kind: kind.into(), summary, inputs: ports.clone(), outputs: ports, params_schema }
}

fn mixer() -> NodeType {
    let audio = manifest::Media::Audio;
    NodeType {
        inputs: vec![Port::new("in", audio).every()],
        outputs: vec![Port::new("out", audio).every()],
        ..takes("Mixer", &[])
    }
}

/// Pictures in, pictures and messages out.
fn faces() -> NodeType {
    let of = takes("Faces", &[manifest::Media::Video]);
    let data = Port::new("data", manifest::Media::Data);
    NodeType { outputs: [of.outputs, vec![data]].concat(), ..of }
}

fn pipeline(text: &str) -> Result<Pipeline, Unsupported> {
    let (video, audio) = (manifest::Media::Video, manifest::Media::Audio);
    let own = [
        takes("Blur", &[video]),
        takes("Gain", &[audio]),
        takes("Pass", &[video, audio]),
        mixer(),
        faces(),
    ];
    let workers = BTreeMap::from([("theirs".to_owned(), vec![takes("Mask", &[video])])]);
    let hosts = BTreeSet::new();
    let known = Known { own: &own, workers: &workers, hosts: &hosts, media_dir: false };
    let document = Document::parse(text, Format::Yaml).expect("it is YAML");
    let graph = check(&document, known, Origin::Operator).unwrap_or_else(|f| panic!("{f}"));
    Pipeline::of(&graph, &BTreeMap::from([("theirs".to_owned(), Role::Custom(3))]))
}

/// `kind feed -> role[nodes]` of each stage, then `output/kind feed` of each output.
fn drawn(pipeline: &Pipeline) -> Vec<String> {
    let feed = |feed: &Feed| match feed {
        Feed::Input => "input".to_owned(),
        Feed::Segment(name) => name.to_string(),
    };
    let stages = pipeline.stages.iter().map(|stage| {
        let nodes: Vec<&str> = stage.segment.nodes.iter().map(|node| node.id.as_str()).collect();
        let (kind, role) = (stage.kind.name(), stage.segment.role.name());
        format!("{kind} {} -> {role}[{}]", feed(&stage.feed), nodes.join(" "))
    });
    let outputs = pipeline
        .outputs
        .iter()
        .map(|output| format!("{}/{} {}", output.id, output.kind.name(), feed(&output.feed)));
    stages.chain(outputs).collect()
}

fn runs(text: &str) -> Vec<String> {
    drawn(&pipeline(text).unwrap_or_else(|lacks| panic!("{lacks}")))
}

fn lacks(text: &str) -> String {
    pipeline(text).map(|p| drawn(&p)).expect_err("it cannot be run").to_string()
}

#[test]
fn our_own_nodes_behind_one_another_are_one_stage_and_what_is_not_named_goes_through() {
    let text = "pipeline: {nodes: [{id: a, type: Blur}, {id: b, type: Blur}]}";
    assert_eq!(runs(text), ["video input -> pipeline[a b]", "main/video b", "main/audio input"]);
}

#[test]
fn a_program_of_the_operators_has_a_stage_of_its_own() {
    let text = "
pipeline:
  nodes:
    - {id: a, type: Blur}
    - {id: b, type: Mask, worker: theirs}
    - {id: c, type: Blur}";
    assert_eq!(
        runs(text),
        [
            "video input -> pipeline[a]",
            "video a -> custom[b]",
            "video b -> pipeline[c]",
            "main/video c",
            "main/audio input",
        ]
    );
}

#[test]
fn a_node_that_takes_both_kinds_works_on_each_by_itself() {
    let text = "pipeline: {nodes: [{id: p, type: Pass}]}";
    assert_eq!(
        runs(text),
        [
            "video input -> pipeline[p]",
            "audio input -> pipeline[p]",
            "main/video p",
            "main/audio p",
        ]
    );
}

#[test]
fn where_a_graph_branches_a_stage_ends() {
    let text = "
pipeline:
  nodes: [{id: a, type: Blur}, {id: b, type: Blur}, {id: c, type: Blur}, {id: d, type: Blur}]
  graph:
    - {from: input.video, to: output.high}
    - {from: input.video, to: a}
    - {from: a, to: b}
    - {from: b, to: output.mid}
    - {from: b, to: c}
    - {from: c, to: d}
    - {from: d, to: output.low}
  routes: [{output: high, to: others}, {output: mid, to: sender}, {output: mid, to: {peer: anna}}]";
    assert_eq!(
        runs(text),
        [
            "video input -> pipeline[a b]",
            "video b -> pipeline[c d]",
            "high/video input",
            "low/video d",
            "mid/video b",
            "main/audio input",
        ]
    );
    let outputs = pipeline(text).expect("it runs").outputs;
    let of = |id: &str| {
        let output = outputs.iter().find(|output| output.id.as_str() == id);
        output.map(|output| output.routes.clone()).unwrap_or_default()
    };
    assert_eq!(of("high"), [Route::Others]);
    assert_eq!(of("mid"), [Route::Sender, Route::Peer("anna".parse().expect("an id"))]);
    assert_eq!(of("low"), [], "only who subscribes gets it");
    assert_eq!(of("main"), [Route::Default]);
}

#[test]
fn a_node_that_says_something_of_its_queue_ends_its_stage() {
    let text = "
pipeline:
  nodes:
    - {id: a, type: Blur, queue: {capacity: 5, max_age_ms: 300}}
    - {id: b, type: Blur}";
    let pipeline = pipeline(text).expect("it runs");
    let queues: Vec<Queue> = pipeline.stages.iter().map(|stage| stage.segment.queue).collect();
    let said = Queue { capacity: Some(5), max_age_ms: Some(300) };
    assert_eq!(queues, [said, Queue::default()]);
}

#[test]
fn what_cannot_be_run_yet_is_told_by_name_and_all_at_once() {
    let text = "
pipeline:
  nodes:
    - {id: mix, type: Mixer}
    - {id: see, type: Faces}
    - {id: slow, type: Blur, queue: {when_full: lossless}}
  graph:
    - {from: input.audio, to: mix}
    - {from: mix, to: output}
    - {from: input.video, to: see}
    - {from: see.video, to: slow}
    - {from: slow, to: output.low}
    - {from: see.data, to: output}
  routes: [{output: low, to: bandwidth}]";
    let said = lacks(text);
    for what in ["node `mix` stands once for the session", "node `see` joins or splits streams"] {
        assert_eq!(said.matches(what).count(), 1, "{what} is not told once: {said}");
    }
    assert!(said.contains("messages cannot leave by output `main`"), "{said}");
    assert!(said.contains("output `low` goes to the others by bandwidth"), "{said}");
}
