//! Parameters as a person sets them: at the start and while the node runs.

use crate::support::{Image, chain, id, pass, try_chain};
use remotemedia_manifest::{Document, Known, NodeType, Origin, check};
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_shm_schema::VideoGeometry;
use remotemedia_shm_schema::manifest::check_params;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

#[test]
fn a_parameter_out_of_range_is_refused_with_its_place_and_what_is_allowed() {
    for (kind, params, fault) in [
        ("GaussianBlur", r#"{"sigma":0}"#, "$.params.sigma: is 0; allowed is 0.1 to 50"),
        (
            "GaussianBlur",
            r#"{"sigma":"4"}"#,
            "$.params.sigma: must be a number, and is the text `4`",
        ),
        (
            "GaussianBlur",
            r#"{"sgima":4}"#,
            "$.params: unknown parameter `sgima`; did you mean `sigma`?",
        ),
        ("Grayscale", r#"{"x":1}"#, "$.params: unknown parameter `x`; it has none"),
        ("Overlay", r#"{"scale":17}"#, "$.params.scale: is 17; allowed is 1 to 16"),
        ("Overlay", r#"{"scale":1.5}"#, "$.params.scale: must be"),
        (
            "Overlay",
            r#"{"show":"date"}"#,
            "$.params.show: is the text `date`; allowed are \"text\", \"clock\", \"frame\"",
        ),
        ("Gain", r#"{"gain_db":31}"#, "$.params.gain_db: is 31; allowed is -60 to 30"),
        ("NoiseGate", r#"{"attack_ms":0}"#, "$.params.attack_ms: is 0; allowed is 0.1 to 500"),
        ("NoiseSuppression", r#"{"strength":2}"#, "$.params.strength: is 2; allowed is 0 to 1"),
        ("Scale", r#"{"width":4097}"#, "$.params.width: is 4097; allowed is 2 to 4096"),
        ("Scale", r#"{"height":64.5}"#, "$.params.height: must be"),
        (
            "Scale",
            r#"{"fit":"fill"}"#,
            "$.params.fit: is the text `fill`; allowed are \"contain\", \"cover\", \"stretch\"",
        ),
        ("Crop", r#"{"x":-1}"#, "$.params.x: is -1; allowed is 0 to 8192"),
        (
            "Crop",
            r#"{"unit":"percent"}"#,
            "$.params.unit: is the text `percent`; allowed are \"pixels\", \"shares\"",
        ),
        ("Mirror", r#"{"vertical":1}"#, "$.params.vertical: must be true or false"),
        ("ColourAdjust", r#"{"hue":181}"#, "$.params.hue: is 181; allowed is -180 to 180"),
        ("ChromaKey", r#"{"spill":2}"#, "$.params.spill: is 2; allowed is 0 to 1"),
        ("FrameRate", r#"{"fps":0}"#, "$.params.fps: is 0; allowed is 0.1 to 240"),
        ("HighPass", r#"{"cutoff_hz":5}"#, "$.params.cutoff_hz: is 5; allowed is 10 to 2000"),
        ("Echo", r#"{"feedback":1}"#, "$.params.feedback: is 1; allowed is 0 to 0.95"),
        ("Echo", r#"{"delay_ms":2001}"#, "$.params.delay_ms: is 2001; allowed is 1 to 2000"),
        ("Limiter", r#"{"threshold_db":1}"#, "$.params.threshold_db: is 1; allowed is -40 to 0"),
        ("Gain", "[]", "$.params: must be a JSON object"),
        ("Gain", "{", "$.params: must be a JSON object"),
    ] {
        let refused = Registry::built_in().make(kind, params).err().expect("accepted");
        assert!(refused.to_string().contains(fault), "{refused} is not {fault}");
    }
}

#[test]
fn every_parameter_is_refused_beyond_both_ends_of_its_range_and_taken_at_them() {
    let registry = Registry::built_in();
    let mut ends = 0;
    for node in registry.descriptions() {
        let schema: Value = serde_json::from_str(&node.params_schema).unwrap();
        for (name, of) in schema["properties"].as_object().into_iter().flatten() {
            for (end, step) in [("minimum", -1.0), ("maximum", 1.0)] {
                let Some(end) = of[end].as_f64() else { continue };
                let make = |value: f64| {
                    registry.make(&node.kind, &format!(r#"{{"{name}":{value}}}"#)).err()
                };
                let refused = make(end + step).expect("accepted").to_string();
                let why = format!("$.params.{name}: is {}; allowed is ", end + step);
                assert!(refused.starts_with(&why), "{}: {refused}", node.kind);
                // A crop may be of no width by its range, and is refused by its reason.
                let taken = make(end).is_none() || (node.kind == "Crop" && end == 0.0);
                assert!(taken, "{}: {name} {end}", node.kind);
                ends += 1;
            }
        }
    }
    // All others are true or false, or have a list of values, or the form of a colour.
    assert!(ends >= 58, "{ends}");
}

#[test]
fn a_text_may_have_64_letters_of_any_script_and_not_one_more() {
    let make = |length: usize| {
        Registry::built_in().make("Overlay", &json!({"text": "ü".repeat(length)}).to_string())
    };
    assert!(make(64).is_ok());
    let refused = make(65).err().expect("accepted").to_string();
    assert_eq!(refused, "$.params.text: has 65 characters; at most 64 are allowed");
}

#[test]
fn a_change_that_is_refused_leaves_all_parameters_as_they_were() {
    let input = Image::scene(VideoGeometry::i420(160, 90));
    let mut blur = chain(&[("b", "GaussianBlur", r#"{"sigma":2}"#)]);
    let before = pass(&mut blur, &input).image;
    let fault = blur.set(&id("b"), r#"{"sigma":51}"#).unwrap_err();
    assert_eq!(fault.to_string(), "$.params.sigma: is 51; allowed is 0.1 to 50");
    assert_eq!(pass(&mut blur, &input).image, before);
    blur.set(&id("b"), r#"{"sigma":5}"#).unwrap();
    let after = pass(&mut blur, &input).image;
    assert!(after.detail() < before.detail() * 0.7);

    let fault = blur.set(&id("c"), "{}").unwrap_err();
    assert_eq!(fault.to_string(), "$: no node `c` runs here");
}

#[test]
fn a_change_names_only_what_changes() {
    let registry = Registry::built_in();
    let mut node = registry.make("NoiseGate", r#"{"hold_ms":70}"#).unwrap();
    node.set(r#"{"threshold_db":-30}"#).unwrap();
    node.set("{}").unwrap();
    let params = node.params();
    assert_eq!(params["hold_ms"], json!(70.0));
    assert_eq!(params["threshold_db"], json!(-30.0));
    assert_eq!(params["attack_ms"], json!(2.0));

    let mut node = registry.make("Overlay", r#"{"scale":3}"#).unwrap();
    node.set(r#"{"scale":null}"#).unwrap();
    assert_eq!(node.params()["scale"], Value::Null);
}

#[test]
fn what_a_node_says_of_its_parameters_is_true_of_its_defaults() {
    let registry = Registry::built_in();
    for node in registry.descriptions() {
        let schema: Value = serde_json::from_str(&node.params_schema).unwrap();
        assert_eq!(schema["additionalProperties"], json!(false), "{}", node.kind);
        let defaults = registry.make(&node.kind, "{}").unwrap().params();
        let defaults = defaults.as_object().unwrap();
        assert!(check_params(&schema, defaults, "$").is_empty());
        for (name, value) in schema["properties"].as_object().into_iter().flatten() {
            assert!(value["description"].is_string(), "{}.{name} says nothing", node.kind);
            assert_eq!(value["default"], defaults[name], "{}.{name}", node.kind);
        }
        assert!(node.summary.ends_with('.') && (node.video || node.audio));
    }
}

#[test]
fn the_router_refuses_from_the_catalogue_what_the_worker_would_refuse() {
    let registry = Registry::built_in();
    let own: Vec<NodeType> = registry.descriptions().iter().map(NodeType::from).collect();
    let (workers, hosts) = (BTreeMap::new(), BTreeSet::new());
    let known = Known { own: &own, workers: &workers, hosts: &hosts, media_dir: false };
    let runs = |kind: &str, params: &str| {
        let params: Value = serde_json::from_str(params).unwrap();
        let node = json!({"id": "n", "type": kind, "params": params});
        let manifest = Document::from_value(json!({"pipeline": {"nodes": [node]}})).unwrap();
        check(&manifest, known, Origin::Network).is_ok()
    };
    for (kind, params, good) in [
        ("GaussianBlur", r#"{"sigma":50}"#, true),
        ("GaussianBlur", r#"{"sigma":50.1}"#, false),
        ("Overlay", r#"{"show":"frame","scale":null,"position":"top_right"}"#, true),
        ("Overlay", r#"{"position":"middle"}"#, false),
        ("Passthrough", "{}", true),
        ("Passthrough", r#"{"a":1}"#, false),
        ("GausianBlur", "{}", false),
    ] {
        assert_eq!(registry.make(kind, params).is_ok(), good, "{kind} {params}");
        assert_eq!(runs(kind, params), good, "{kind} {params}");
    }
}

#[test]
fn a_chain_tells_all_its_faults_at_once() {
    let nodes =
        [("a", "GausianBlur", "{}"), ("b", "Grayscale", "{}"), ("c", "Gain", r#"{"gain_db":99}"#)];
    let fault = try_chain(&nodes, &Registry::built_in()).unwrap_err().to_string();
    assert!(
        fault.contains(
            "a.type: this worker has no node type \"GausianBlur\"; did you mean `GaussianBlur`?"
        ),
        "{fault}"
    );
    assert!(fault.contains("c: `Gain` takes sound, and the nodes before it pictures"), "{fault}");
    assert!(fault.contains("c.params.gain_db: is 99; allowed is -60 to 30"), "{fault}");
}
