//! What holds of every text, every document and every graph.

mod support;

use proptest::prelude::*;
use remotemedia_manifest::shape::{self, Manifest};
use remotemedia_manifest::{
    Change, Document, Format, Graph, NodeType, Origin, Reader, Stream, check,
};
use remotemedia_shm_schema::NodeId;
use remotemedia_shm_schema::manifest::check_params;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use support::world;

proptest! {
    #[test]
    fn no_text_panics_the_reader(text in any::<String>(), shaped in shaped()) {
        for text in [text, shaped] {
            for format in [Format::Json, Format::Yaml, Format::Toml] {
                if let Ok(document) = Document::parse(&text, format) {
                    let _ = check(&document, world().known(), Origin::Network);
                }
            }
        }
    }

    #[test]
    fn no_document_panics_the_check_and_every_refusal_says_where(value in manifest_like()) {
        let world = world();
        match world.check(&value, Origin::Network) {
            Ok(graph) => sound(&graph)?,
            Err(faults) => {
                prop_assert!(!faults.0.is_empty());
                for fault in faults.0 {
                    // Every place is there, but for keys that are too long or odd to be named.
                    prop_assert!(value.pointer(&fault.path).is_some(), "{} in {}", fault, value);
                }
            }
        }
    }

    #[test]
    fn no_schema_of_a_worker_panics_the_check(schema in any_json(), params in any_json()) {
        let mut world = world();
        world.own = vec![NodeType { params_schema: schema, ..world.own[1].clone() }];
        let kind = world.own[0].kind.clone();
        let value = json!({"pipeline": {"nodes": [{"id": "a", "type": kind, "params": params}]}});
        let _ = world.check(&value, Origin::Network);
    }

    #[test]
    fn what_is_accepted_fits_the_published_schema_and_the_types(value in manifest_like()) {
        if world().check(&value, Origin::Network).is_ok() {
            let object = value.as_object().expect("what is accepted is an object");
            let faults = check_params(&shape::schema(), object, "$");
            prop_assert!(faults.is_empty(), "{:?} in {}", faults, value);
            let typed = serde_json::from_value::<Manifest>(value.clone());
            prop_assert!(typed.is_ok(), "{:?} in {}", typed, value);
        }
    }

    #[test]
    fn what_is_built_of_streams_that_are_there_is_accepted(steps in steps()) {
        sound(&world().graph(&built(&steps)))?;
    }

    #[test]
    fn a_graph_differs_from_itself_in_nothing_and_from_another_in_what_differs(
        one in steps(), other in steps()
    ) {
        let world = world();
        let (one, other) = (world.graph(&built(&one)), world.graph(&built(&other)));
        prop_assert!(one.diff(&one).is_empty());
        let changes = one.diff(&other);
        prop_assert_eq!(changes.is_empty(), one == other);
        let named: BTreeSet<&NodeId> = changes.iter().filter_map(Change::node).collect();
        let all = one.nodes().iter().chain(other.nodes()).map(|node| &node.id);
        let differ: BTreeSet<&NodeId> = all.filter(|id| one.node(id) != other.node(id)).collect();
        prop_assert_eq!(named, differ);
        let gone = |change: &Change| matches!(change, Change::Removed(_));
        let turned = other.diff(&one);
        let added = |change: &&Change| matches!(change, Change::Added(_));
        prop_assert_eq!(
            changes.iter().filter(|change| gone(change)).count(),
            turned.iter().filter(added).count()
        );
    }

    #[test]
    fn other_parameters_change_only_the_nodes_that_have_them(
        steps in steps(), place in any::<prop::sample::Index>(), sigma in 1u8..50
    ) {
        let (world, value) = (world(), built(&steps));
        let now = world.graph(&value);
        let mut next = value.clone();
        let nodes = next["pipeline"]["nodes"].as_array_mut().expect("there are nodes");
        let blurs: Vec<&mut Value> =
            nodes.iter_mut().filter(|node| node["type"] == "GaussianBlur").collect();
        if !blurs.is_empty() {
            let count = blurs.len();
            let node = blurs.into_iter().nth(place.index(count)).expect("it is within");
            let differs = node["params"]["sigma"] != json!(sigma);
            node["params"] = json!({"sigma": sigma});
            let id = node["id"].as_str().expect("it has an id").to_owned();
            let changes = now.diff(&world.graph(&next));
            let expected = Change::ParamsChanged(support::id(&id));
            prop_assert_eq!(changes, if differs { vec![expected] } else { Vec::new() });
        }
    }
}

/// What every graph is: in order, of one kind of media from end to end, in groups, and drawn.
fn sound(graph: &Graph) -> Result<(), TestCaseError> {
    let place = |id: &NodeId| graph.nodes().iter().position(|node| node.id == *id);
    for link in graph.links() {
        if let Stream::Node { node, port } = &link.feed.stream {
            let from = graph.node(node);
            let outlet = from.and_then(|n| n.outlets.iter().find(|o| o.port == *port));
            let outlet = outlet.ok_or_else(|| TestCaseError::fail("a stream from nowhere"))?;
            prop_assert_eq!(outlet.media, link.media);
            prop_assert_eq!(outlet.scope, link.feed.scope);
            prop_assert!(outlet.used);
            if let Reader::Node(reader, _) = link.to {
                prop_assert!(
                    place(node) < place(&reader.id),
                    "{} is not before {}",
                    node,
                    reader.id
                );
            }
        }
    }
    let grouped: Vec<&NodeId> = graph.groups().iter().flat_map(|group| &group.nodes).collect();
    let each: BTreeSet<&NodeId> = grouped.iter().copied().collect();
    prop_assert_eq!(grouped.len(), graph.nodes().len());
    prop_assert_eq!(each.len(), grouped.len());
    let (text, mermaid) = (graph.text(), graph.mermaid());
    for node in graph.nodes() {
        let name = node.id.as_str();
        prop_assert!(text.contains(name) && mermaid.contains(name), "{} is not in {}", name, text);
    }
    for output in graph.outputs() {
        let told = format!("{} goes to", output.id);
        prop_assert!(text.contains(&told), "{told} is not in {text}");
    }
    let arrows = text.matches(" → ").count() + text.matches(" ⇒ ").count();
    prop_assert_eq!(arrows, graph.links().count(), "every stream is drawn once: {}", text);
    Ok(())
}

/// One node, as numbers: its type, and which of the streams before it it takes.
type Step = (u8, prop::sample::Index, prop::sample::Index);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    prop::collection::vec((0u8..6, index(), index()), 0..12)
}

/// A manifest whose every node takes streams that are there, and whose every stream that is left is an output.
fn built(steps: &[Step]) -> Value {
    let mut streams = vec!["input.video".to_owned()];
    let mut left: Vec<(usize, String)> = Vec::new();
    let (mut nodes, mut edges) = (Vec::new(), Vec::new());
    for (number, (kind, first, second)) in steps.iter().enumerate() {
        let id = format!("n{number}");
        let (kind, inputs, outputs): (&str, &[&str], &[&str]) = match kind {
            0 => ("Grayscale", &["video"], &["video"]),
            1 => ("GaussianBlur", &["video"], &["video"]),
            2 => ("OverlayPicture", &["base", "picture"], &["video"]),
            3 => ("Picture", &[], &["video"]),
            4 => ("Tee", &["video"], &["a", "b"]),
            _ => ("Masked", &["mask", "video"], &["video"]),
        };
        for (port, choice) in inputs.iter().zip([first, second]) {
            let from = streams[choice.index(streams.len())].clone();
            left.retain(|(_, stream)| *stream != from);
            edges.push(json!({"from": from, "to": format!("{id}.{port}")}));
        }
        for port in outputs {
            streams.push(format!("{id}.{port}"));
        }
        left.push((number, format!("{id}.{}", outputs[0])));
        nodes.push(json!({"id": id, "type": kind}));
    }
    for (number, stream) in left {
        edges.push(json!({"from": stream, "to": format!("output.o{number}")}));
    }
    json!({"pipeline": {"nodes": nodes, "graph": edges}})
}

/// Texts that readers of JSON, YAML and TOML take further than random letters.
fn shaped() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ",",
        "\"",
        "\n",
        "  ",
        "- ",
        "pipeline",
        "nodes",
        "graph",
        "a",
        "&a",
        "*a",
        "<<",
        "=",
        "[[",
        "]]",
        "'",
        "|",
        "---",
        "!x",
        "1e999",
        "-0",
        ".nan",
        "1979-05-27",
        "null",
        "#",
    ]);
    prop_oneof![
        prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat()),
        manifest_like().prop_map(|value| value.to_string()),
    ]
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "type",
        "properties",
        "oneOf",
        "anyOf",
        "allOf",
        "enum",
        "const",
        "$ref",
        "#",
        "#/properties",
        "minimum",
        "number",
        "a",
        "items",
        "prefixItems",
        "required",
        "additionalProperties",
        "format",
        "media-path",
        "host",
        "../x",
        "string",
        "params",
        "patternProperties",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        let keyed = (word.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            prop::collection::vec(keyed, 0..5).prop_map(|pairs| {
                let object: Map<String, Value> =
                    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
                Value::Object(object)
            }),
        ]
    })
}

/// Mostly well-formed, so that what lies behind the readers is reached.
fn manifest_like() -> impl Strategy<Value = Value> {
    let id = prop::sample::select(vec!["a", "b", "c", "a", "b", "c", "input", "A b"]);
    let end = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "a.video",
        "b.audio",
        "c.a",
        "input",
        "input.audio",
        "input.video",
        "output",
        "output.video",
        "output.low",
        "output.low.audio",
        "nobody",
        "a.b.c",
    ]);
    let kind = prop::sample::select(vec![
        "Gain",
        "Grayscale",
        "Passthrough",
        "Mixer",
        "Tee",
        "OverlayPicture",
        "Grid",
        "VoiceActivity",
        "Picture",
        "Speech",
        "Recorder",
        "FileSource",
        "Nope",
    ]);
    let params = prop_oneof![
        6 => Just(json!({})),
        1 => Just(json!({"path": "../x"})),
        1 => Just(json!({"path": "x"})),
        1 => any_json(),
    ];
    let extra = prop_oneof![
        6 => Just(json!({})),
        1 => Just(json!({"on_failure": "bypass"})),
        1 => Just(json!({"queue": {"capacity": 8, "when_full": "paced"}, "worker": null})),
        1 => Just(json!({"worker": "faces", "frame_limit_ms": 20})),
        1 => Just(json!({"surplus": 1})),
    ];
    let node = (id, kind, params, extra).prop_map(|(id, kind, params, extra)| {
        let mut node = json!({"id": id, "type": kind, "params": params});
        if let (Some(node), Value::Object(extra)) = (node.as_object_mut(), extra) {
            node.extend(extra);
        }
        node
    });
    let edge = (end.clone(), end).prop_map(|(from, to)| json!({"from": from, "to": to}));
    let to = prop_oneof![
        Just(json!("all")),
        Just(json!("bandwidth")),
        Just(json!({"peer": "alice"})),
        Just(json!("nobody")),
    ];
    let output = prop::sample::select(vec!["main", "low", "high"]);
    let route = (output, to).prop_map(|(output, to)| json!({"output": output, "to": to}));
    let nodes = prop::collection::vec(node, 0..5);
    let graph = prop::option::of(prop::collection::vec(edge, 0..8));
    let routes = prop::option::weighted(0.2, prop::collection::vec(route, 0..4));
    prop_oneof![
        1 => any_json(),
        12 => (nodes, graph, routes).prop_map(|(nodes, graph, routes)| {
            let mut pipeline = json!({"nodes": nodes});
            if let Some(graph) = graph {
                pipeline["graph"] = json!(graph);
            }
            if let Some(routes) = routes {
                pipeline["routes"] = json!(routes);
            }
            json!({"pipeline": pipeline})
        }),
    ]
}
