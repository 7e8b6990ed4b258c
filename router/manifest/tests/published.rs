//! What is published for people and tools: `docs/manifest.schema.json` and the examples of `docs/manifest.md`, held against the
//! code.
//!
//! `REMOTEMEDIA_REGENERATE=1 cargo test --release -p remotemedia-manifest` writes the schema anew.

mod support;

use remotemedia_manifest::shape::Manifest;
use remotemedia_manifest::{Document, Format, Origin, check, limits, schema};
use remotemedia_shm_schema::manifest::check_params;
use serde_json::json;
use std::path::PathBuf;
use std::{env, fs};

const PAGE: &str = include_str!("../../../docs/manifest.md");

#[test]
fn the_schema_in_the_tree_is_that_of_the_code() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/manifest.schema.json");
    let text = serde_json::to_string_pretty(&schema()).expect("a schema is plain data") + "\n";
    if env::var_os("REMOTEMEDIA_REGENERATE").is_some() {
        fs::write(&path, text).expect("the schema is written");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(kept.lines().chain([""].into_iter().cycle()));
    let differs = differs.zip(1..).find(|((code, file), _)| code != file);
    assert!(
        differs.is_none() && kept == text,
        "docs/manifest.schema.json differs from the code: {differs:?}; if the change is meant, run \
         REMOTEMEDIA_REGENERATE=1 cargo test --release -p remotemedia-manifest"
    );
}

#[test]
fn every_example_of_the_page_is_of_the_schema_and_can_be_run() {
    let world = support::world();
    let mut seen = Vec::new();
    for (format, text) in examples() {
        let document = Document::parse(text, format).unwrap_or_else(|f| panic!("{f}\n{text}"));
        let object = document.value().as_object().expect("a manifest is an object");
        let faults = check_params(&schema(), object, "$");
        assert!(faults.is_empty(), "not of the schema: {faults:?}\n{text}");
        let typed: Manifest =
            serde_json::from_value(document.value().clone()).expect("it is of the types");
        let again = Document::try_from(&typed).expect("what was read can be written");
        let graph = check(&document, world.known(), Origin::Network);
        let graph = graph.unwrap_or_else(|faults| panic!("{faults}\n{text}"));
        let of_types = check(&again, world.known(), Origin::Network);
        assert_eq!(of_types.as_ref(), Ok(&graph), "{text}");
        seen.push(format);
    }
    for format in [Format::Json, Format::Yaml, Format::Toml] {
        assert!(seen.contains(&format), "no example in {}", format.name());
    }
}

#[test]
fn the_pictures_of_the_page_are_those_that_are_drawn() {
    let world = support::world();
    let drawn: Vec<String> =
        examples().map(|(format, text)| world.graph_of(text, format).text()).collect();
    for picture in blocks("text") {
        assert!(drawn.iter().any(|text| text.trim() == picture.trim()), "not drawn:\n{picture}");
    }
}

#[test]
fn the_page_tells_the_limits_that_are_in_force() {
    let told = [
        ("text", "256 KiB".to_owned()),
        ("nodes", limits::MAX_NODES.to_string()),
        ("edges", limits::MAX_EDGES.to_string()),
        ("outputs", limits::MAX_OUTPUTS.to_string()),
        ("routes", limits::MAX_ROUTES.to_string()),
    ];
    for (what, most) in told {
        let row = format!("| {what} | {most} |");
        assert!(PAGE.contains(&row), "the page has no row {row}");
    }
    assert_eq!(limits::MAX_TEXT, 256 * 1024);
}

#[test]
fn the_schema_says_what_the_check_says_of_shapes() {
    let schema = schema();
    let faulty = [
        json!({"pipeline": {"nodes": [{"id": "a", "type": "X", "on_failure": "stay"}]}}),
        json!({"pipeline": {"nodes": [{"id": "a", "type": "X", "frame_limit_ms": 5}]}}),
        json!({"pipeline": {"nodes": [{"id": "a", "type": "X", "queue": {"capacity": 0}}]}}),
        json!({"pipeline": {"nodes": [{"id": "a", "type": "X", "surplus": 1}]}}),
        json!({"pipeline": {"nodes": [], "graph": [{"from": "a"}]}}),
        json!({"pipeline": {"nodes": [], "routes": [{"output": "a", "to": "nobody"}]}}),
        json!({"pipeline": {"nodes": []}, "description": "x".repeat(257)}),
        json!({"pipeline": {}}),
    ];
    for value in faulty {
        let object = value.as_object().expect("it is an object");
        assert!(!check_params(&schema, object, "$").is_empty(), "{value}");
        assert!(support::world().check(&value, Origin::Operator).is_err(), "{value}");
    }
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    assert_eq!(schema["required"], json!(["pipeline"]));
}

/// The examples of the page, each with its format.
fn examples() -> impl Iterator<Item = (Format, &'static str)> {
    let of = |name, format| blocks(name).into_iter().map(move |text| (format, text));
    of("json", Format::Json).chain(of("yaml", Format::Yaml)).chain(of("toml", Format::Toml))
}

/// The page's fenced blocks of this language.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    let rest = PAGE.split(fence.as_str()).skip(1);
    rest.map(|rest| rest.split("\n```").next().unwrap_or_default()).collect()
}

#[test]
fn the_page_has_examples_and_pictures() {
    assert!(examples().count() >= 4);
    assert!(!blocks("text").is_empty());
}
