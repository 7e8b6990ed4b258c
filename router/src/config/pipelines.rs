//! Pipelines: the built-in ones, those of the file, and one that a flag names.

use super::check::{At, Layers};
use super::fault::{Fault, Place};
use super::file;
use remotemedia_manifest::limits::MAX_TEXT;
use remotemedia_manifest::shape::{self, Manifest};
use remotemedia_manifest::{Document, Faults, Format};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The pipeline of sessions that name none: the clock that it paints shows a person that the picture was processed.
const DEFAULT: &str = "overlay";

/// A pipeline that sessions can name.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// One sentence for people.
    pub description: String,
    /// Its nodes are checked when the workers' catalogues are known.
    pub manifest: Document,
    /// Where it was defined, for what that check finds.
    pub place: Place,
}

pub(super) type Pipelines = (BTreeMap<String, Pipeline>, String);

/// All of them, and the name of the one for sessions that name none.
pub(super) fn all(layers: &Layers<'_>) -> Result<Pipelines, Fault> {
    let file = &layers.source.file;
    let mut all = built_in()?;
    for (name, raw) in &file.pipelines {
        let pipeline = of_file(name.get_ref(), raw, layers.source.place(name))?;
        all.insert(name.get_ref().clone(), pipeline);
    }
    let chosen = layers
        .pick(("--pipeline", layers.given.pipeline.clone()), None, file.default_pipeline.as_ref())
        .unwrap_or_else(|| At { value: DEFAULT.into(), place: Place::BuiltIn });
    if all.contains_key(&chosen.value) {
        return Ok((all, chosen.value));
    }
    let path = PathBuf::from(&chosen.value);
    if matches!(chosen.place, Place::Flag(_)) && path.is_file() {
        let (name, pipeline) = of_manifest(&path)?;
        all.insert(name.clone(), pipeline);
        return Ok((all, name));
    }
    let known = all.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
    let name = &chosen.value;
    Err(chosen.fault(format!(
        "there is no pipeline {name:?}; there are {known}; another is defined by [pipelines.NAME], or with --pipeline by \
         a manifest's file"
    )))
}

/// Those that are there without a file.
fn built_in() -> Result<BTreeMap<String, Pipeline>, Fault> {
    let all = [
        (DEFAULT, "The time of day over the picture", json!([{"id": "clock", "type": "Overlay"}])),
        (
            "passthrough",
            "Picture and sound as they are",
            json!([{"id": "pass", "type": "Passthrough"}]),
        ),
        (
            "blur",
            "The picture out of focus",
            json!([{"id": "blur", "type": "GaussianBlur", "params": {"sigma": 6.0}}]),
        ),
        ("grayscale", "The picture without colour", json!([{"id": "gray", "type": "Grayscale"}])),
        (
            "clean-voice",
            "Noise taken out of the sound, and silence between words",
            json!([{"id": "denoise", "type": "NoiseSuppression"}, {"id": "gate", "type": "NoiseGate"}]),
        ),
    ];
    let of = |(name, description, nodes): (&str, &str, Value)| -> Result<_, Fault> {
        let manifest = Document::from_value(json!({"pipeline": {"nodes": nodes}}));
        let manifest = manifest.map_err(|faults| fault(&Place::BuiltIn, &faults))?;
        let description = description.to_owned();
        Ok((name.to_owned(), Pipeline { description, manifest, place: Place::BuiltIn }))
    };
    all.into_iter().map(of).collect()
}

/// One of the file's.
fn of_file(name: &str, raw: &file::Pipeline, place: Place) -> Result<Pipeline, Fault> {
    check_name(name, &place)?;
    let (nodes, graph, routes) = (raw.nodes.clone(), raw.graph.clone(), raw.routes.clone());
    let manifest =
        Manifest { pipeline: shape::Pipeline { nodes, graph, routes }, description: None };
    let manifest = Document::try_from(&manifest).map_err(|faults| fault(&place, &faults))?;
    Ok(Pipeline { description: raw.description.clone(), manifest, place })
}

/// One of a manifest file of its own, as `--pipeline FILE` names it; its name is the file's.
fn of_manifest(path: &Path) -> Result<(String, Pipeline), Fault> {
    let place = Place::File(path.to_path_buf(), None);
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    check_name(&name, &place)?;
    let (text, format) = read_manifest(path)?;
    let manifest = Document::parse(&text, format).map_err(|faults| fault(&place, &faults))?;
    let said = manifest.description().map(str::to_owned);
    let description = said.unwrap_or_else(|| format!("from {}", path.display()));
    Ok((name, Pipeline { description, manifest, place }))
}

/// A manifest's file, with the format that its extension tells.
///
/// # Errors
/// When its name tells none, or it cannot be read.
pub fn read_manifest(path: &Path) -> Result<(String, Format), Fault> {
    let fault = |what: String| Fault { place: Place::File(path.to_path_buf(), None), what };
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let Some(format) = Format::of_file(name) else {
        let what = "a manifest is JSON, YAML or TOML by its name: .json, .yaml, .yml and .toml are allowed";
        return Err(fault(what.into()));
    };
    let size = std::fs::metadata(path).map_err(|e| fault(format!("cannot be read: {e}")))?.len();
    if size > MAX_TEXT as u64 {
        return Err(fault(format!("has {size} bytes; a manifest has {MAX_TEXT} at most")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    Ok((text, format))
}

fn fault(place: &Place, faults: &Faults) -> Fault {
    Fault { place: place.clone(), what: faults.list() }
}

fn check_name(name: &str, place: &Place) -> Result<(), Fault> {
    let good = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    if good {
        return Ok(());
    }
    let what = format!(
        "the pipeline name {name:?}: 1 to 64 of the letters A-Z a-z, digits, `_` and `-` are allowed"
    );
    Err(Fault { place: place.clone(), what })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifests_file_is_read_by_its_extension_and_says_what_it_is_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let json = r#"{"pipeline": {"nodes": [{"id": "a", "type": "X"}]}}"#;
        let yaml = "pipeline: {nodes: [{id: a, type: X}]}\ndescription: What it is for\n";
        let toml = "[[pipeline.nodes]]\nid = \"a\"\ntype = \"X\"\n";
        let read = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).expect("written");
            of_manifest(&path)
        };
        let (name, one) = read("one.json", json).expect("a manifest");
        assert_eq!(name, "one");
        assert!(one.description.starts_with("from ") && one.description.ends_with("one.json"));
        for (file, text) in [("two.yaml", yaml), ("two.yml", yaml), ("three.toml", toml)] {
            let (_, other) = read(file, text).expect("a manifest");
            let pipeline = |of: &Pipeline| of.manifest.value()["pipeline"].clone();
            assert_eq!(pipeline(&other), pipeline(&one), "{file}");
            assert_eq!(other.description == "What it is for", text == yaml, "{file}");
        }

        let said = |name: &str, text: &str| read(name, text).expect_err(name).to_string();
        let other = said("one.txt", json);
        assert!(other.contains("one.txt: a manifest is") && other.contains(".yaml"), "{other}");
        let broken = said("broken.yaml", "pipeline: [");
        assert!(broken.contains("broken.yaml: the manifest: is not YAML"), "{broken}");
        let twice = said("twice.json", r#"{"a": {"b": 1, "b": 2}, "c": 1, "c": 2}"#);
        assert!(twice.contains("\n  /a/b: ") && twice.contains("\n  /c: "), "{twice}");
        let large = said("large.json", &" ".repeat(MAX_TEXT + 1));
        assert!(large.contains("262144 at most"), "{large}");
        assert!(said("a b.json", json).contains("the pipeline name \"a b\""));
    }
}
