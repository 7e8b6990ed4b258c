//! Pipelines: the built-in ones, those of the file, and one that a flag names.

use super::fault::{Fault, Place};
use super::file;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Bytes of a manifest file (chosen).
const MAX_MANIFEST: u64 = 256 * 1024;
/// The pipeline of sessions that name none: the clock that it paints shows a person that the picture was processed.
pub(super) const DEFAULT: &str = "overlay";

/// A pipeline that sessions can name.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// One sentence for people.
    pub description: String,
    /// As `shm_schema::manifest` reads it; its nodes are checked when the workers' catalogue is known.
    pub manifest: Value,
    /// Where it was defined, for what that check finds.
    pub place: Place,
}

/// Those that are there without a file.
pub(super) fn built_in() -> BTreeMap<String, Pipeline> {
    let of = |name: &str, description: &str, nodes: Value| {
        let manifest = json!({"pipeline": {"nodes": nodes}});
        let description = description.to_owned();
        (name.to_owned(), Pipeline { description, manifest, place: Place::BuiltIn })
    };
    BTreeMap::from([
        of(
            DEFAULT,
            "The time of day over the picture",
            json!([{"id": "clock", "type": "Overlay"}]),
        ),
        of(
            "passthrough",
            "Picture and sound as they are",
            json!([{"id": "pass", "type": "Passthrough"}]),
        ),
        of(
            "blur",
            "The picture out of focus",
            json!([{"id": "blur", "type": "GaussianBlur", "params": {"sigma": 6.0}}]),
        ),
        of("grayscale", "The picture without colour", json!([{"id": "gray", "type": "Grayscale"}])),
        of(
            "clean-voice",
            "Noise taken out of the sound, and silence between words",
            json!([{"id": "denoise", "type": "NoiseSuppression"}, {"id": "gate", "type": "NoiseGate"}]),
        ),
    ])
}

/// One of the file's.
pub(super) fn of_file(name: &str, raw: &file::Pipeline, place: Place) -> Result<Pipeline, Fault> {
    check_name(name, &place)?;
    let mut pipeline = json!({"nodes": raw.nodes});
    if let (Some(graph), Some(object)) = (&raw.graph, pipeline.as_object_mut()) {
        object.insert("graph".into(), json!(graph));
    }
    let description = raw.description.clone();
    Ok(Pipeline { description, manifest: json!({"pipeline": pipeline}), place })
}

/// One of a manifest file of its own, as `--pipeline FILE` names it; its name is the file's.
pub(super) fn of_manifest(path: &Path) -> Result<(String, Pipeline), Fault> {
    let place = Place::File(path.to_path_buf(), None);
    let fault = |what: String| Fault { place: place.clone(), what };
    let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default().to_owned();
    check_name(&name, &place)?;
    let size = std::fs::metadata(path).map_err(|e| fault(format!("cannot be read: {e}")))?.len();
    if size > MAX_MANIFEST {
        return Err(fault(format!("has {size} bytes; a manifest has {MAX_MANIFEST} at most")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
    let manifest: Value = serde_json::from_str(&text).map_err(|e| Fault {
        place: Place::File(path.to_path_buf(), Some(e.line())),
        what: format!("is not a JSON manifest: {e}"),
    })?;
    if !manifest.get("pipeline").is_some_and(Value::is_object) {
        let what = "a manifest is {\"pipeline\": {\"nodes\": [...], \"graph\": [...]}}";
        return Err(fault(what.into()));
    }
    let description = format!("from {}", path.display());
    Ok((name, Pipeline { description, manifest, place }))
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
