//! Manifests that people write, and the graphs that come of them.

mod support;

use remotemedia_manifest::{
    Change, Document, Format, Graph, Group, Media, NodeType, Origin, Route, Scope, Stream, check,
};
use remotemedia_shm_schema::control::{NodeDescription, OnFailure};
use remotemedia_shm_schema::{Contract, WhenFull};
use serde_json::{Value, json};
use support::{id, manifest, output, world};

#[test]
fn the_seeds_example_cleans_the_sound_and_leaves_the_picture_alone() {
    let text = r#"{
        "pipeline": {
            "nodes": [{ "id": "noise_gate", "type": "NoiseGate", "params": {} }],
            "graph": [
                { "from": "input", "to": "noise_gate" },
                { "from": "noise_gate", "to": "output" }
            ]
        }
    }"#;
    let graph = world().graph_of(text, Format::Json);
    assert_eq!(
        graph.text(),
        "input.audio → noise_gate (NoiseGate) → output.audio\n\
         input.video → output.video\n\
         \n\
         main goes to its sender when alone, else the others\n"
    );
}

#[test]
fn the_seeds_other_example_writes_one_key_twice_and_is_told_how_to_write_it() {
    let text = r#"{"pipeline": {"nodes": [{"id": "a", "type": "Gain"}],
        "graph": [{"from": "input", "to": "a", "to": "output"}]}}"#;
    let faults = Document::parse(text, Format::Json).expect_err("JSON would keep the last `to`");
    assert_eq!(
        faults.to_string(),
        "/pipeline/graph/0/to: the key `to` is there twice; write an edge of its own for each step"
    );
}

#[test]
fn nodes_without_a_graph_are_chained_in_their_order_by_what_they_take() {
    let nodes = ["gate NoiseGate", "blur GaussianBlur", "through Passthrough", "gain Gain"];
    let by_order = json!({"pipeline": {"nodes": manifest(&nodes, &[])["pipeline"]["nodes"]}});
    let by_hand = manifest(
        &nodes,
        &[
            "input.video blur",
            "blur through.video",
            "through.video output",
            "input.audio gate",
            "gate through.audio",
            "through.audio gain",
            "gain output",
        ],
    );
    assert_eq!(world().graph(&by_order), world().graph(&by_hand));
}

#[test]
fn an_empty_pipeline_hands_pictures_and_sound_over_and_messages_only_by_an_edge() {
    let media = |value: Value| -> Vec<Media> {
        let graph = world().graph(&value);
        graph.outputs().iter().flat_map(|o| o.feeds.iter().map(|(media, _)| *media)).collect()
    };
    assert_eq!(media(json!({"pipeline": {"nodes": []}})), [Media::Video, Media::Audio]);
    assert_eq!(media(manifest(&[], &[])), [Media::Video, Media::Audio]);
    assert_eq!(media(manifest(&[], &["input output"])), Media::ALL);
}

#[test]
fn a_recorder_in_a_chain_listens_and_lets_everything_pass() {
    let value = json!({"pipeline": {"nodes": [
        {"id": "r", "type": "Recorder", "params": {"path": "call.webm"}},
        {"id": "g", "type": "Gain"},
    ]}});
    assert_eq!(
        world().graph(&value).text(),
        "input.audio → g (Gain) → output.audio\n\
         input.video → r.video (Recorder)\n\
         input.audio → r.audio\n\
         input.video → output.video\n\
         \n\
         main goes to its sender when alone, else the others\n"
    );
}

#[test]
fn in_a_conference_each_hears_the_mix_of_the_others() {
    let graph = world().graph(&manifest(
        &["level Gain", "mix Mixer", "after Gain"],
        &["input.audio level", "level mix", "mix after", "after output"],
    ));
    let scope = |node: &str| graph.node(&id(node)).map(|node| node.scope);
    assert_eq!(scope("level"), Some(Scope::Peer));
    assert_eq!(scope("mix"), Some(Scope::Session));
    // Whoever stands behind the mixes works on each listener's.
    assert_eq!(scope("after"), Some(Scope::Listener));
    let main = graph.output(&output("main")).expect("there is a main");
    let scopes: Vec<Scope> = main.feeds.iter().map(|(_, feed)| feed.scope).collect();
    assert_eq!(scopes, [Scope::Peer, Scope::Listener]);
    assert_eq!(
        graph.text(),
        "input.audio → level (Gain) ⇒ mix (Mixer, one for the session) → after (Gain, one for each listener) → \
         output.audio\n\
         input.video → output.video\n\
         \n\
         main goes to its sender when alone, else the others\n"
    );
}

#[test]
fn a_grid_of_all_pictures_takes_a_picture_of_the_operators_besides() {
    let graph = world().graph(&manifest(
        &["logo Picture", "over OverlayPicture", "grid Grid"],
        &["input.video over.base", "logo over.picture", "over grid", "logo grid", "grid output"],
    ));
    // One logo is read by what there is one of for each peer, and stands in the grid itself.
    let scopes: Vec<(&str, Scope)> =
        graph.nodes().iter().map(|node| (node.id.as_str(), node.scope)).collect();
    assert_eq!(scopes, [("logo", Scope::Session), ("over", Scope::Peer), ("grid", Scope::Session)]);
    let grid = graph.node(&id("grid")).expect("there is a grid");
    let from: Vec<String> = grid.feeds().map(|(_, feed)| feed.stream.to_string()).collect();
    assert_eq!(from, ["logo.video", "over.video"]);
}

#[test]
fn a_broadcast_has_tiers_that_bandwidth_chooses_from() {
    let mut value = manifest(
        &["big Scale", "mid Scale", "small Scale"],
        &[
            "input.video big",
            "input.video mid",
            "input.video small",
            "big output.high",
            "mid output.mid",
            "small output.low",
        ],
    );
    value["pipeline"]["routes"] = json!([
        {"output": "high", "to": "bandwidth"},
        {"output": "mid", "to": "bandwidth"},
        {"output": "low", "to": "bandwidth"},
        {"output": "high", "to": {"role": "recorder"}},
    ]);
    let graph = world().graph(&value);
    assert_eq!(graph.ladder(), [output("high"), output("mid"), output("low")]);
    let high = graph.output(&output("high")).expect("there is a high one");
    assert_eq!(high.routes, [Route::Bandwidth, Route::Role("recorder".into())]);
    assert_eq!(
        graph.text(),
        "input.video → big (Scale) → output.high.video\n\
         input.video → mid (Scale) → output.mid.video\n\
         input.video → small (Scale) → output.low.video\n\
         input.audio → output.audio\n\
         \n\
         high goes to the others by bandwidth, role recorder\n\
         low goes to the others by bandwidth\n\
         main goes to its sender when alone, else the others\n\
         mid goes to the others by bandwidth\n\
         by bandwidth: high, mid, low\n"
    );
}

#[test]
fn a_voice_agent_hears_events_and_speaks_faster_than_time() {
    let text = r#"
        description = "An agent that can be interrupted"
        [pipeline]
        nodes = [
            { id = "vad", type = "VoiceActivity" },
            { id = "agent", type = "Agent", frame_limit_ms = 20000 },
            { id = "voice", type = "Speech", queue = { when_full = "paced" }, on_failure = "close" },
        ]
        graph = [
            { from = "input.audio", to = "vad" },
            { from = "vad", to = "agent" },
            { from = "agent.data", to = "voice" },
            { from = "agent.data", to = "output" },
            { from = "vad.events", to = "output.data" },
            { from = "voice", to = "output" },
        ]
        routes = [{ output = "main", to = "sender" }]
    "#;
    // What the agent itself says is not listened to: its sound is not read.
    let document = Document::parse(text, Format::Toml).expect("it is TOML");
    assert_eq!(document.description(), Some("An agent that can be interrupted"));
    let graph = world().graph_of(text, Format::Toml);
    let voice = graph.node(&id("voice")).expect("there is a voice");
    assert_eq!(voice.on_failure, OnFailure::Close);
    assert_eq!(voice.queue.over(Contract::RAW_AUDIO).when_full, WhenFull::Paced);
    assert_eq!(graph.node(&id("agent")).map(|agent| agent.frame_limit_ms), Some(20_000));
    let main = graph.output(&output("main")).expect("there is a main");
    let messages: Vec<String> = main.of(Media::Data).map(|feed| feed.stream.to_string()).collect();
    assert_eq!(messages, ["agent.data", "vad.events"]);
    assert_eq!(main.routes, [Route::Sender]);
    assert_eq!(
        graph.text(),
        "input.audio → vad (VoiceActivity)\n\
         input.video → output.video\n\
         vad.audio → agent.audio (Agent)\n\
         vad.events → agent.events\n\
         vad.events → output.data\n\
         agent → voice (Speech) → output.audio\n\
         agent → output.data\n\
         \n\
         main goes to its sender\n"
    );
}

#[test]
fn of_two_ports_that_fit_the_one_that_must_be_connected_is_meant() {
    let graph = world().graph(&manifest(&["m Masked"], &["input m", "m output"]));
    let masked = graph.node(&id("m")).expect("it is there");
    let fed: Vec<(&str, usize)> =
        masked.inlets.iter().map(|inlet| (inlet.port.as_str(), inlet.feeds.len())).collect();
    assert_eq!(fed, [("video", 1), ("mask", 0)]);
}

#[test]
fn the_order_in_which_nodes_and_edges_are_listed_makes_no_difference() {
    let nodes = ["a Grayscale", "o OverlayPicture", "t Tee", "g Gain"];
    let edges = [
        "input.video t",
        "t.a a",
        "t.b o.base",
        "a o.picture",
        "o output",
        "input.audio g",
        "g output",
    ];
    let one = world().graph(&manifest(&nodes, &edges));
    let turned =
        |list: &[&'static str]| -> Vec<&'static str> { list.iter().rev().copied().collect() };
    let other = world().graph(&manifest(&turned(&nodes), &turned(&edges)));
    assert_eq!(one, other);
    assert_eq!(one.fingerprint(), other.fingerprint());
    assert!(one.diff(&other).is_empty());
}

#[test]
fn nodes_share_a_process_where_none_would_wait_for_itself() {
    let mut value = manifest(
        &["a Grayscale", "b Grayscale", "c Blink", "d OverlayPicture", "e Grayscale"],
        &["input.video a", "a b", "b c", "b d.base", "c d.picture", "d e", "e output"],
    );
    value["pipeline"]["nodes"][2]["worker"] = json!("faces");
    let groups = |value: &Value| -> Vec<String> {
        let graph = world().graph(value);
        let told = |group: &Group| {
            let ids: Vec<String> = group.nodes.iter().map(ToString::to_string).collect();
            let worker = group.worker.as_ref().map_or(String::new(), |w| format!("{w}: "));
            format!("{worker}{}", ids.join(" "))
        };
        graph.groups().iter().map(told).collect()
    };
    assert_eq!(groups(&value), ["a b", "faces: c", "d e"]);
    // Who says something of its channels has channels: what follows stands in another process.
    value["pipeline"]["nodes"][3]["queue"] = json!({"capacity": 4});
    assert_eq!(groups(&value), ["a b", "faces: c", "d", "e"]);
}

#[test]
fn parameters_change_at_once_and_structure_at_an_epoch() {
    let value = |sigma: f64, nodes: &[&str], edges: &[&str]| -> Graph {
        let mut value = manifest(nodes, edges);
        value["pipeline"]["nodes"][0]["params"] = json!({"sigma": sigma});
        world().graph(&value)
    };
    let nodes = ["b GaussianBlur", "g Gain"];
    let edges = ["input.video b", "b output", "input.audio g", "g output"];
    let now = value(2.0, &nodes, &edges);
    let softer = value(3.0, &nodes, &edges);
    assert_eq!(now.diff(&softer), [Change::ParamsChanged(id("b"))]);
    assert!(now.diff(&softer).iter().all(Change::at_once));
    assert_ne!(now.fingerprint(), softer.fingerprint());

    let longer = value(
        2.0,
        &["b GaussianBlur", "s Grayscale", "n NoiseGate"],
        &["input.video b", "b s", "s output", "input.audio n", "n output"],
    );
    assert_eq!(
        now.diff(&longer),
        [
            Change::Removed(id("g")),
            Change::Added(id("n")),
            Change::Added(id("s")),
            Change::OutputChanged(output("main")),
        ]
    );
    let another = value(2.0, &["b GaussianBlur", "g NoiseGate"], &edges);
    assert_eq!(now.diff(&another), [Change::Removed(id("g")), Change::Added(id("g"))]);

    // The same nodes the other way round.
    let chain = |first: &str, second: &str| {
        let edges = [
            format!("input.video {first}"),
            format!("{first} {second}"),
            format!("{second} output"),
        ];
        let edges: Vec<&str> = edges.iter().map(String::as_str).collect();
        value(2.0, &["b GaussianBlur", "s Grayscale"], &edges)
    };
    assert_eq!(
        chain("b", "s").diff(&chain("s", "b")),
        [Change::Rewired(id("s")), Change::Rewired(id("b")), Change::OutputChanged(output("main")),]
    );
}

#[test]
fn terms_and_routes_change_without_a_new_wiring() {
    let world = world();
    let mut value = manifest(&["b GaussianBlur"], &["input.video b", "b output"]);
    let now = world.graph(&value);
    value["pipeline"]["nodes"][0]["on_failure"] = json!("bypass");
    value["pipeline"]["routes"] = json!([{"output": "main", "to": "all"}]);
    let next = world.graph(&value);
    let changes = now.diff(&next);
    assert_eq!(changes, [Change::TermsChanged(id("b")), Change::Rerouted(output("main"))]);
    assert!(changes.iter().all(Change::at_once));
    value["pipeline"]["nodes"][0]["queue"] = json!({"capacity": 4});
    assert_eq!(next.diff(&world.graph(&value)), [Change::Rewired(id("b"))]);
}

#[test]
fn a_picture_for_pages_names_everything_and_boxes_the_operators_workers() {
    let mut value = manifest(
        &["end GaussianBlur", "f Faces", "mix Mixer"],
        &["input.video end", "end f", "f output", "input.audio mix", "mix output"],
    );
    value["pipeline"]["nodes"][1]["worker"] = json!("faces");
    assert_eq!(
        world().graph(&value).mermaid(),
        "flowchart LR\n    \
             i_video([\"input.video\"])\n    \
             i_audio([\"input.audio\"])\n    \
             n0[\"end<br/>GaussianBlur\"]\n    \
             subgraph g1[\"worker faces\"]\n        \
                 n1[\"f<br/>Faces\"]\n    \
             end\n    \
             n2[\"mix<br/>Mixer<br/>one for the session\"]\n    \
             o1([\"output.audio\"])\n    \
             o2([\"output.data\"])\n    \
             o0([\"output.video\"])\n    \
             i_video --> n0\n    \
             n0 --> n1\n    \
             i_audio ==> n2\n    \
             n1 -->|\"video\"| o0\n    \
             n2 --> o1\n    \
             n1 -->|\"data\"| o2\n"
    );
}

#[test]
fn what_todays_workers_describe_is_enough_for_todays_pipelines() {
    let of = |kind: &str, video, audio| {
        NodeType::from(&NodeDescription {
            kind: kind.into(),
            summary: String::new(),
            video,
            audio,
            params_schema: "{}".into(),
        })
    };
    let mut world = world();
    world.own = vec![
        of("Passthrough", true, true),
        of("GaussianBlur", true, false),
        of("Gain", false, true),
    ];
    let value = json!({"pipeline": {"nodes": [
        {"id": "b", "type": "GaussianBlur"}, {"id": "p", "type": "Passthrough"}, {"id": "g", "type": "Gain"},
    ]}});
    let graph = world.check(&value, Origin::Network).expect("it can be run");
    let p = graph.node(&id("p")).expect("there is a p");
    let from: Vec<&Stream> = p.feeds().map(|(_, feed)| &feed.stream).collect();
    assert_eq!(from.len(), 2);
    assert_eq!(*from[1], Stream::Input(Media::Audio));
    // In a pipeline of pictures alone it hands on pictures, and the sound goes past it.
    let pictures = world.graph(&manifest(&["p Passthrough"], &["input.video p", "p output"]));
    assert_eq!(
        pictures.text(),
        "input.video → p (Passthrough) → output.video\n\
         input.audio → output.audio\n\
         \n\
         main goes to its sender when alone, else the others\n"
    );
}

#[test]
fn the_document_and_the_typed_manifest_are_checked_alike() {
    use remotemedia_manifest::shape::{Edge, Manifest, Node, Pipeline};
    let edge = |from: &str, to: &str| Edge { from: from.into(), to: to.into() };
    let typed = Manifest {
        pipeline: Pipeline {
            nodes: vec![Node { id: "b".into(), kind: "GaussianBlur".into(), ..Node::default() }],
            graph: Some(vec![edge("input", "b"), edge("b", "output")]),
            routes: None,
        },
        description: None,
    };
    let document = Document::try_from(&typed).expect("it is a document");
    let world = world();
    let of_types = check(&document, world.known(), Origin::Network).expect("it can be run");
    let of_text = world.graph(&manifest(&["b GaussianBlur"], &["input b", "b output"]));
    assert_eq!(of_types, of_text);
}
