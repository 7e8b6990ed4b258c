//! What becomes of the graphs that people write today, and what is said of those that must wait.

use super::*;
use remotemedia_manifest::{Document, Known, NodeType, Origin, Port, check};
use remotemedia_shm_schema::control::OnFailure;
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn our_own_neighbours_share_a_segment_and_an_operators_node_has_one_of_its_own() {
    let chains = cut_of(json!({"nodes": [
        {"id": "a", "type": "Blur", "params": {"sigma": 2}, "frame_limit_ms": 1500},
        {"id": "b", "type": "Gray", "on_failure": "bypass"},
        {"id": "c", "type": "Faces", "worker": "faces", "frame_limit_ms": 2000},
        {"id": "d", "type": "Faces", "worker": "faces"},
        {"id": "e", "type": "Gray"},
    ]}))
    .expect("a chain");
    let told: Vec<(Role, Vec<&str>, u32)> =
        chains.video.iter().map(|s| (s.role, ids(s), s.frame_limit_ms)).collect();
    assert_eq!(
        told,
        [
            (Role::Pipeline, vec!["a", "b"], 1500),
            (Role::Custom(3), vec!["c"], 2000),
            (Role::Custom(3), vec!["d"], 1000),
            (Role::Pipeline, vec!["e"], 1000),
        ]
    );
    let first = &chains.video[0].nodes[0];
    assert_eq!((first.kind.as_str(), first.params.as_str()), ("Blur", r#"{"sigma":2}"#));
    assert_eq!(chains.video[0].nodes[1].on_failure, OnFailure::Bypass);
    assert_eq!(chains.audio, []);
}

#[test]
fn a_graph_is_followed_whatever_the_order_of_nodes_and_edges() {
    let chains = cut_of(json!({
        "nodes": [
            {"id": "c", "type": "Gray"}, {"id": "a", "type": "Blur"}, {"id": "b", "type": "Pass"},
            {"id": "g", "type": "Gain"},
        ],
        "graph": [
            {"from": "b", "to": "c"}, {"from": "input", "to": "g"}, {"from": "a", "to": "b"},
            {"from": "c", "to": "output"}, {"from": "g", "to": "output.audio"},
            {"from": "input.video", "to": "a"},
        ],
    }))
    .expect("two chains");
    assert_eq!(chains.video.iter().flat_map(ids).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(chains.audio.iter().flat_map(ids).collect::<Vec<_>>(), ["g"]);
}

#[test]
fn a_node_that_takes_both_passes_pictures_and_sound_under_one_number() {
    let alone = json!({"nodes": [{"id": "p", "type": "Pass"}]});
    let wired = json!({"nodes": [{"id": "p", "type": "Pass"}], "graph": [
        {"from": "input", "to": "p"}, {"from": "p", "to": "output"},
    ]});
    for pipeline in [alone, wired] {
        let chains = cut_of(pipeline).expect("two chains");
        assert_eq!(chains.video.iter().flat_map(ids).collect::<Vec<_>>(), ["p"]);
        // One stage in the statistics, one target for parameters.
        assert_eq!(chains.audio, chains.video);
    }
}

#[test]
fn what_no_node_takes_is_handed_over() {
    for graph in [json!([]), json!([{"from": "input", "to": "output"}])] {
        let chains = cut_of(json!({"nodes": [], "graph": graph})).expect("a hand-over");
        assert_eq!(chains, Chains::default());
    }
}

#[test]
fn what_is_more_than_two_chains_is_refused_and_named() {
    let edges = |all: &[&str]| -> Value {
        all.iter()
            .map(|edge| edge.split_once(' ').expect("two ends"))
            .map(|(from, to)| json!({"from": from, "to": to}))
            .collect()
    };
    let nodes = |all: &[&str]| -> Value {
        all.iter()
            .map(|node| node.split_once(' ').expect("an id and a type"))
            .map(|(id, kind)| json!({"id": id, "type": kind}))
            .collect()
    };
    let cases: [(&[&str], &[&str], &str); 10] = [
        (&["m Mix"], &["input.audio m", "m output"], "`m` (Mix) is one for the session"),
        (&["t Tone"], &["t output"], "`t` (Tone) makes sound of nothing"),
        (&["r Record"], &["input.video r"], "`r` (Record) takes pictures and gives none"),
        (&["v Vad"], &["input.audio v", "v output"], "`v` (Vad) makes messages"),
        (&["l Log"], &["input.data l"], "`l` (Log) takes messages"),
        (
            &["t Tee"],
            &["input.video t", "t.a output", "t.b output.low"],
            "`t` (Tee) gives several streams of pictures (a, b)",
        ),
        (
            &["o Over", "b Blur"],
            &["input.video b", "b o.base", "input.video o.logo", "o output"],
            "`o` (Over) takes several streams of pictures (base, logo)",
        ),
        (&["p Pass"], &["input p", "p.video output"], "`p` (Pass) takes sound and gives none"),
        (
            &["a Blur", "b Blur"],
            &["input.video a", "input.video b", "a output", "b output.low"],
            "`input.video` leads to several places",
        ),
        (&["b Blur"], &["input b", "b output.low"], "`low` is a result besides `main`"),
    ];
    for (of, wires, words) in cases {
        let refused = cut_of(json!({"nodes": nodes(of), "graph": edges(wires)}));
        let said = refused.expect_err(words).to_string();
        assert!(said.contains(words) && said.contains("not supported yet"), "{words}: {said}");
    }

    let queue = json!({"nodes": [{"id": "b", "type": "Blur", "queue": {"capacity": 4}}]});
    let said = cut_of(queue).expect_err("a queue").to_string();
    assert!(said.starts_with("the node `b` (Blur) has a `queue` of its own"), "{said}");
    let routed = json!({"nodes": [], "routes": [{"output": "main", "to": "all"}]});
    let said = cut_of(routed).expect_err("a route").to_string();
    assert!(said.starts_with("`main` has a route, to all, which"), "{said}");
}

fn ids(segment: &Segment) -> Vec<&str> {
    segment.nodes.iter().map(|node| node.id.as_str()).collect()
}

/// The chains of a `pipeline`, with a node of every sort.
fn cut_of(pipeline: Value) -> Result<Chains, NotYet> {
    let (video, audio) = (|| Port::new("video", Media::Video), || Port::new("audio", Media::Audio));
    let picture = |name: &str| Port::new(name, Media::Video);
    let own = [
        of("Blur", vec![video()], vec![video()]),
        of("Gray", vec![video()], vec![video()]),
        of("Gain", vec![audio()], vec![audio()]),
        of("Pass", vec![video().optional(), audio().optional()], vec![video(), audio()]),
        of("Mix", vec![audio().every()], vec![audio().every()]),
        of("Tone", vec![], vec![audio()]),
        of("Record", vec![video()], vec![]),
        of("Vad", vec![audio()], vec![audio(), Port::new("events", Media::Data)]),
        of("Log", vec![Port::new("data", Media::Data)], vec![]),
        of("Tee", vec![video()], vec![picture("a"), picture("b")]),
        of("Over", vec![picture("base"), picture("logo")], vec![video()]),
    ];
    let faces = vec![of("Faces", vec![video()], vec![video()])];
    let (workers, hosts) = (BTreeMap::from([("faces".to_owned(), faces)]), BTreeSet::new());
    let known = Known { own: &own, workers: &workers, hosts: &hosts, media_dir: false };
    let document = Document::from_value(json!({"pipeline": pipeline})).expect("within limits");
    let graph = check(&document, known, Origin::Operator).unwrap_or_else(|f| panic!("{f}"));
    cut(&graph, &BTreeMap::from([("faces".to_owned(), Role::Custom(3))]))
}

fn of(kind: &str, inputs: Vec<Port>, outputs: Vec<Port>) -> NodeType {
    let params_schema = json!({"type": "object"});
    NodeType { kind: kind.into(), summary: String::new(), inputs, outputs, params_schema }
}
