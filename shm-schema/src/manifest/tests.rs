//! What a person sees who writes a manifest.

use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn nodes_without_a_graph_are_chained_in_their_order_by_what_they_take() {
    let plan = planned(json!({"pipeline": {"nodes": [
        {"id": "gate", "type": "NoiseGate"},
        {"id": "blur", "type": "GaussianBlur", "params": {"sigma": 2}},
        {"id": "through", "type": "Passthrough"},
        {"id": "gain", "type": "Gain", "params": {"gain_db": -6}},
    ]}}));
    assert_eq!(ids(&plan.video), ["blur", "through"]);
    assert_eq!(ids(&plan.audio), ["gate", "through", "gain"]);
    assert_eq!(plan.video[0].node.params, r#"{"sigma":2}"#);
    assert_eq!(plan.video[0].node.kind, "GaussianBlur");
    assert_eq!(plan.audio[1].node.params, "{}");
    // The same node in both chains has one number: one stage in the statistics, one target for parameters.
    assert_eq!(plan.video[1].node.number, 2);
    assert_eq!(plan.audio[1].node.number, 2);
}

#[test]
fn a_graph_is_followed_whatever_the_order_of_nodes_and_edges() {
    let plan = planned(json!({"pipeline": {
        "nodes": [
            {"id": "c", "type": "Grayscale"}, {"id": "a", "type": "GaussianBlur"},
            {"id": "b", "type": "Passthrough"}, {"id": "g", "type": "Gain"},
        ],
        "graph": [
            {"from": "b", "to": "c"}, {"from": "input", "to": "g"}, {"from": "a", "to": "b"},
            {"from": "c", "to": "output"}, {"from": "g", "to": "output.audio"},
            {"from": "input.video", "to": "a"},
        ],
    }}));
    assert_eq!(ids(&plan.video), ["a", "b", "c"]);
    assert_eq!(ids(&plan.audio), ["g"]);
}

#[test]
fn a_passthrough_serves_whatever_has_no_chain_of_its_own() {
    let graph = |extra: Value| {
        let mut graph =
            vec![json!({"from": "input", "to": "p"}), json!({"from": "p", "to": "output"})];
        graph.extend(extra.as_array().cloned().unwrap_or_default());
        graph
    };
    let nodes = json!([{"id": "p", "type": "Passthrough"}]);
    let both = planned(json!({"pipeline": {"nodes": nodes, "graph": graph(json!([]))}}));
    assert_eq!((ids(&both.video), ids(&both.audio)), (vec!["p"], vec!["p"]));

    let nodes = json!([{"id": "p", "type": "Passthrough"}, {"id": "g", "type": "Grayscale"}]);
    let extra = json!([{"from": "input", "to": "g"}, {"from": "g", "to": "output"}]);
    let shared = planned(json!({"pipeline": {"nodes": nodes, "graph": graph(extra)}}));
    assert_eq!((ids(&shared.video), ids(&shared.audio)), (vec!["g"], vec!["p"]));
}

#[test]
fn an_empty_pipeline_hands_everything_over() {
    assert_eq!(planned(json!({"pipeline": {"nodes": []}})), Plan::default());
    let explicit = json!({"pipeline": {"nodes": [], "graph": [{"from": "input", "to": "output"}]}});
    assert_eq!(planned(explicit), Plan::default());
}

#[test]
fn all_faults_are_told_at_once_with_their_paths_and_what_was_probably_meant() {
    let faults = refused(json!({"pipeline": {
        "nodes": [
            {"id": "blur", "type": "GausianBlur"},
            {"id": "blur", "type": "Gain", "params": {"gain_bd": 3, "mute": "yes"}},
            {"id": "Bad Id", "type": "Grayscale", "parms": {}},
            {"id": "o", "type": "Overlay", "params": {"position": "middle", "text": "x".repeat(70)}},
            {"id": "s", "type": "GaussianBlur", "params": {"sigma": 99}},
            {"type": 7},
            "text",
        ],
        "graph": [
            {"from": "input", "to": "blr"}, {"from": "o", "to": "output.vidoe"},
            {"from": "output", "to": "o"}, {"from": "o"},
        ],
        "name": "x",
    }, "version": 1}));
    let expected = [
        ("$", "unknown key `version`; known are `pipeline`"),
        ("$.pipeline", "unknown key `name`; known are `nodes`, `graph`"),
        ("$.pipeline.nodes[0].type", "`GausianBlur`; did you mean `GaussianBlur`?"),
        ("$.pipeline.nodes[1].id", "`blur` is already the id of `$.pipeline.nodes[0]`"),
        ("$.pipeline.nodes[1].params", "unknown parameter `gain_bd`; did you mean `gain_db`?"),
        ("$.pipeline.nodes[1].params.mute", "must be true or false, and is the text `yes`"),
        ("$.pipeline.nodes[2]", "unknown key `parms`; did you mean `params`?"),
        ("$.pipeline.nodes[2].id", "is not valid"),
        ("$.pipeline.nodes[3].params.position", "allowed are \"bottom_left\", \"top_left\""),
        ("$.pipeline.nodes[3].params.text", "has 70 characters; at most 64 are allowed"),
        ("$.pipeline.nodes[4].params.sigma", "is 99; allowed is 0.1 to 50"),
        ("$.pipeline.nodes[5]", "`id` is missing"),
        ("$.pipeline.nodes[5].type", "must be a text, and is the number 7"),
        ("$.pipeline.nodes[6]", "must be an object, and is the text `text`"),
        ("$.pipeline.graph[0].to", "no node has the id `blr`; did you mean `blur`?"),
        ("$.pipeline.graph[1].to", "`output` has no port `vidoe`; did you mean `video`?"),
        ("$.pipeline.graph[2].from", "nothing comes from `output`"),
        ("$.pipeline.graph[3]", "`to` is missing"),
    ];
    for (path, message) in expected {
        assert!(
            faults.0.iter().any(|f| f.path == path && f.message.contains(message)),
            "no fault {path}: {message} in {faults:#?}"
        );
    }
    assert_eq!(faults.0.len(), expected.len(), "{faults:#?}");
}

#[test]
fn a_sound_node_between_pictures_is_refused_and_named() {
    let faults = refused(chain(&[("b", "GaussianBlur"), ("g", "Gain"), ("s", "Grayscale")]));
    assert_eq!(
        faults.to_string(),
        "$.pipeline.nodes[1].type: `Gain` takes sound, and what `$.pipeline.graph[1]` leads to it is pictures"
    );
    let faults = refused(json!({"pipeline": {
        "nodes": [{"id": "g", "type": "Gain"}],
        "graph": [{"from": "input.video", "to": "g"}, {"from": "g", "to": "output.video"}],
    }}));
    assert_eq!(faults.0[0].path, "$.pipeline.nodes[0].type");
}

#[test]
fn forks_joins_circles_and_loose_ends_are_refused_where_they_are() {
    let nodes = json!([
        {"id": "a", "type": "Grayscale"}, {"id": "b", "type": "Grayscale"},
        {"id": "c", "type": "Grayscale"},
    ]);
    let with = |graph: Value| refused(json!({"pipeline": {"nodes": nodes, "graph": graph}}));
    let at = |faults: Faults| faults.0.into_iter().map(|f| f.path).collect::<Vec<_>>();

    let forked = with(json!([
        {"from": "input", "to": "a"}, {"from": "a", "to": "b"}, {"from": "a", "to": "c"},
        {"from": "b", "to": "output"}, {"from": "c", "to": "b"},
    ]));
    assert_eq!(at(forked), ["$.pipeline.graph[2].from", "$.pipeline.graph[4].to"]);

    let circle = with(json!([
        {"from": "input", "to": "a"}, {"from": "a", "to": "output"},
        {"from": "b", "to": "c"}, {"from": "c", "to": "b"},
    ]));
    assert_eq!(at(circle), ["$.pipeline.nodes[1]", "$.pipeline.nodes[2]"]);

    let loose = with(json!([{"from": "input", "to": "a"}, {"from": "a", "to": "b"}]));
    assert_eq!(at(loose), ["$.pipeline.nodes[1]", "$.pipeline.nodes[2]"]);

    let two_chains = with(json!([
        {"from": "input", "to": "a"}, {"from": "a", "to": "output"},
        {"from": "input", "to": "b"}, {"from": "b", "to": "c"}, {"from": "c", "to": "output"},
    ]));
    assert_eq!(at(two_chains), ["$.pipeline.graph[2]"]);
}

#[test]
fn a_manifest_cannot_make_reading_it_expensive() {
    let many: Vec<Value> = (0..1000).map(|i| json!({"id": format!("n{i}"), "type": "X"})).collect();
    let faults = refused(json!({"pipeline": {"nodes": many}}));
    assert!(faults.0[0].message.contains("has 1000 entries; 32 are allowed"), "{faults}");

    let long = "x".repeat(100_000);
    let faults = refused(json!({"pipeline": {"nodes": [
        {"id": &long, "type": &long, "params": {"text": &long}}
    ]}}));
    assert!(faults.to_string().len() < 2000, "{}", faults.to_string().len());

    let keys: Map<String, Value> = (0..1000).map(|i| (format!("k{i}"), Value::Null)).collect();
    assert_eq!(refused(Value::Object(keys)).0.len(), MAX_FAULTS);
}

#[test]
fn a_worker_whose_schema_is_broken_or_endless_checks_its_parameters_itself() {
    let with = |schema: &str| Catalogue {
        codecs: Vec::new(),
        nodes: vec![NodeDescription {
            kind: "X".into(),
            summary: String::new(),
            video: true,
            audio: false,
            params_schema: schema.into(),
        }],
    };
    let manifest =
        json!({"pipeline": {"nodes": [{"id": "x", "type": "X", "params": {"a": {"a": 1}}}]}});
    for schema in [
        "not json",
        "7",
        "{}",
        r##"{"$ref": "#"}"##,
        r##"{"$ref": "#/nowhere"}"##,
        r##"{"properties": {"a": {"$ref": "#"}}}"##,
        r##"{"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}, {"$ref": "#/properties/a"}]}}}"##,
    ] {
        assert!(run(&manifest, &with(schema)).is_ok(), "{schema}");
    }
}

proptest! {
    #[test]
    fn no_json_panics_the_reader(manifest in manifest_like(), schema in any_json()) {
        let _ = run(&manifest, &catalogue());
        if let Value::Object(object) = &manifest {
            let _ = check_params(&schema, object, "$");
        }
    }

    #[test]
    fn every_plan_has_each_node_once_a_chain_and_only_where_it_fits(
        kinds in proptest::collection::vec(0usize..8, 0..8)
    ) {
        let catalogue = catalogue();
        let nodes: Vec<Value> = kinds.iter().enumerate()
            .filter_map(|(i, k)| Some(json!({"id": format!("n{i}"), "type": catalogue.nodes.get(*k)?.kind})))
            .collect();
        let count = nodes.len();
        let plan = planned(json!({"pipeline": {"nodes": nodes}}));
        let mut seen = vec![false; count];
        for media in Media::ALL {
            let numbers: Vec<u8> = plan.chain(media).iter().map(|n| n.node.number).collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b));
            for node in plan.chain(media) {
                let of = catalogue.nodes.iter().find(|n| n.kind == node.node.kind);
                let takes = of.map(|of| [of.video, of.audio][usize::from(media == Media::Audio)]);
                prop_assert_eq!(takes, Some(true));
                seen[usize::from(node.node.number)] = true;
            }
        }
        prop_assert!(seen.into_iter().all(|s| s));
    }
}

/// With our own nodes, and one worker of the operator's.
fn run(manifest: &Value, built_in: &Catalogue) -> Result<Plan, Faults> {
    let negative = NodeDescription {
        kind: "Negative".into(),
        summary: String::new(),
        video: true,
        audio: false,
        params_schema: "{}".into(),
    };
    let own = Catalogue { codecs: Vec::new(), nodes: vec![negative] };
    plan(manifest, Offered { built_in, workers: &[("negatives".to_owned(), own)].into() })
}

#[test]
fn a_node_names_its_worker_its_policy_and_its_time() {
    let plan = planned(json!({"pipeline": {"nodes": [
        {"id": "face", "type": "Negative", "worker": "negatives", "on_failure": "bypass", "frame_limit_ms": 2500},
        {"id": "gray", "type": "Grayscale"},
    ]}}));
    assert_eq!(plan.video[0].worker.as_deref(), Some("negatives"));
    assert_eq!(plan.video[0].node.on_failure, OnFailure::Bypass);
    assert_eq!(plan.video[0].frame_limit_ms, 2500);
    assert_eq!(plan.video[1].worker, None);
    assert_eq!(plan.video[1].node.on_failure, OnFailure::Hold);
    assert_eq!(plan.video[1].frame_limit_ms, FRAME_LIMIT_MS);
}

#[test]
fn a_worker_that_the_config_does_not_describe_and_a_policy_that_there_is_not_are_told() {
    let Faults(faults) = refused(json!({"pipeline": {"nodes": [
        {"id": "a", "type": "Negative", "worker": "negative"},
        {"id": "b", "type": "Grayscale", "worker": "negatives"},
        {"id": "c", "type": "Grayscale", "on_failure": "bypas"},
        {"id": "d", "type": "Grayscale", "frame_limit_ms": 5},
        {"id": "e", "type": "Grayscale", "frame_limit_ms": "10"},
    ]}}));
    assert_eq!(
        faults.iter().map(|f| f.path.as_str()).collect::<Vec<_>>(),
        [
            "$.pipeline.nodes[0].worker",
            "$.pipeline.nodes[1].type",
            "$.pipeline.nodes[2].on_failure",
            "$.pipeline.nodes[3].frame_limit_ms",
            "$.pipeline.nodes[4].frame_limit_ms",
        ],
        "{faults:?}"
    );
    assert!(faults[0].message.contains("did you mean `negatives`"), "{}", faults[0].message);
    assert!(faults[2].message.contains("did you mean `bypass`"), "{}", faults[2].message);
}

fn planned(manifest: Value) -> Plan {
    run(&manifest, &catalogue()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn refused(manifest: Value) -> Faults {
    let faults = run(&manifest, &catalogue()).expect_err("an unsound manifest was accepted");
    assert!(!faults.0.is_empty());
    faults
}

fn ids(nodes: &[PlannedNode]) -> Vec<&str> {
    nodes.iter().map(|n| n.node.id.as_str()).collect()
}

fn chain(nodes: &[(&str, &str)]) -> Value {
    let mut graph = Vec::new();
    let mut from = "input";
    for (id, _) in nodes {
        graph.push(json!({"from": from, "to": id}));
        from = id;
    }
    graph.push(json!({"from": from, "to": "output"}));
    let nodes: Vec<Value> =
        nodes.iter().map(|(id, kind)| json!({"id": id, "type": kind})).collect();
    json!({"pipeline": {"nodes": nodes, "graph": graph}})
}

fn catalogue() -> Catalogue {
    let closed = |properties: Value| {
        json!({"type": "object", "properties": properties, "additionalProperties": false})
            .to_string()
    };
    let node = |kind: &str, video, audio, schema| NodeDescription {
        kind: kind.into(),
        summary: String::new(),
        video,
        audio,
        params_schema: schema,
    };
    let sigma = json!({"sigma": {"type": "number", "minimum": 0.1, "maximum": 50.0}});
    let gain = json!({"gain_db": {"type": "number"}, "mute": {"type": "boolean"}});
    let overlay = json!({
        "position": {"oneOf": [{"const": "bottom_left"}, {"const": "top_left"}]},
        "text": {"type": "string", "maxLength": 64},
    });
    Catalogue {
        codecs: Vec::new(),
        nodes: vec![
            node("Passthrough", true, true, closed(json!({}))),
            node("GaussianBlur", true, false, closed(sigma)),
            node("Grayscale", true, false, closed(json!({}))),
            node("Overlay", true, false, closed(overlay)),
            node("Gain", false, true, closed(gain)),
            node("NoiseGate", false, true, closed(json!({}))),
        ],
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        Just("type"),
        Just("properties"),
        Just("oneOf"),
        Just("anyOf"),
        Just("enum"),
        Just("const"),
        Just("$ref"),
        Just("#"),
        Just("#/properties"),
        Just("minimum"),
        Just("number"),
        Just("a"),
        Just("items"),
        Just("maxLength"),
        Just("required"),
        Just("additionalProperties"),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::vec((word.clone(), inner), 0..5).prop_map(|p| p
                .into_iter()
                .map(|(k, v)| (k.to_owned(), v))
                .collect::<Map<_, _>>()
                .into()),
        ]
    })
}

/// Mostly well-formed, so that the walks behind the readers are reached.
fn manifest_like() -> impl Strategy<Value = Value> {
    let id =
        prop_oneof![Just("a"), Just("b"), Just("c"), Just("input"), Just("output"), Just("a.x")];
    let end = prop_oneof![4 => id.clone(), 1 => Just("input.audio"), 1 => Just("output.video")];
    let kind = prop_oneof![Just("Gain"), Just("Grayscale"), Just("Passthrough"), Just("Nope")];
    let node =
        (id, kind, any_json()).prop_map(|(i, k, p)| json!({"id": i, "type": k, "params": p}));
    let edge = (end.clone(), end).prop_map(|(f, t)| json!({"from": f, "to": t}));
    prop_oneof![
        any_json(),
        (proptest::collection::vec(node, 0..5), proptest::collection::vec(edge, 0..8))
            .prop_map(|(n, g)| json!({"pipeline": {"nodes": n, "graph": g}})),
    ]
}
