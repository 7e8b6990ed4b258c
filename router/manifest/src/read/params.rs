//! A node's parameters: their size, what its type's schema says of them, and what they may name.
//!
//! They are checked by the workers' own code (`shm_schema::manifest::check_params`), so that what the router accepts is not
//! refused by the worker for another reason. Its paths are made pointers here.

use super::{Terms, paths};
use crate::catalogue::{Known, NodeType, Origin};
use crate::fault::{Faults, Log, Place, quote};
use crate::limits::{MAX_PARAMS, MAX_PARAMS_DEPTH};
use remotemedia_shm_schema::manifest::check_params;
use serde_json::{Map, Value};

/// Checks parameters that a running node is to be given besides those that it has.
///
/// # Errors
/// Every fault; a path leads from the object of the changes.
pub fn check_changes(
    of: &NodeType,
    changes: &Map<String, Value>,
    known: Known<'_>,
    origin: Origin,
) -> Result<(), Faults> {
    let mut log = Log::default();
    // All of a change are optional.
    let mut of = of.clone();
    if let Some(schema) = of.params_schema.as_object_mut() {
        schema.remove("required");
    }
    let changes = Value::Object(changes.clone());
    check(&Place::root(), &changes, Some(&of), Terms { known, origin }, &mut log);
    let faults = log.into_faults();
    if faults.0.is_empty() { Ok(()) } else { Err(faults) }
}

/// Checks them; `params` is an object. Gives their bytes as JSON.
pub(crate) fn check(
    at: &Place,
    params: &Value,
    of: Option<&NodeType>,
    terms: Terms<'_>,
    log: &mut Log,
) -> usize {
    let bytes = params.to_string().len();
    if bytes > MAX_PARAMS {
        log.fault(at, format!("has {bytes} bytes as JSON; {MAX_PARAMS} are allowed"));
    }
    let deep = depth(params);
    if deep > MAX_PARAMS_DEPTH {
        log.fault(at, format!("is nested {deep} deep; {MAX_PARAMS_DEPTH} is allowed"));
    }
    if bytes > MAX_PARAMS || deep > MAX_PARAMS_DEPTH {
        return bytes;
    }
    let (Some(of), Value::Object(object)) = (of, params) else { return bytes };
    // Those of a change are all optional, so the worker's check does not ask for them.
    if let Some(Value::Array(required)) = of.params_schema.get("required") {
        for key in required.iter().filter_map(Value::as_str) {
            if !object.contains_key(key) {
                log.fault(at, format!("the parameter {} is missing", quote(key)));
            }
        }
    }
    for fault in check_params(&of.params_schema, object, "") {
        let (place, value) = follow(&fault.path, params, at);
        let (message, suggestion) = parts(&fault.message);
        log.hint(&blamed(place, value, message), message, suggestion);
    }
    if terms.origin == Origin::Network {
        paths::check(at, params, &of.params_schema, terms.known, log);
    }
    bytes
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(list) => 1 + list.iter().map(depth).max().unwrap_or(0),
        Value::Object(object) => 1 + object.values().map(depth).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

/// Where a path as `.text.size[0]` leads. A key may hold dots itself: the longest that fits counts.
fn follow<'v>(path: &str, params: &'v Value, at: &Place) -> (Place, &'v Value) {
    let (mut place, mut value, mut rest) = (at.clone(), params, path);
    loop {
        let step = match value {
            Value::Object(object) => rest.strip_prefix('.').and_then(|rest| {
                let fits = object.iter().filter_map(|(key, inner)| {
                    let tail = rest.strip_prefix(key.as_str())?;
                    let ends = tail.is_empty() || tail.starts_with(['.', '[']);
                    ends.then_some((key, inner, tail))
                });
                let (key, inner, tail) = fits.max_by_key(|(key, ..)| key.len())?;
                Some((place.key(key), inner, tail))
            }),
            Value::Array(list) => rest.strip_prefix('[').and_then(|rest| {
                let (index, tail) = rest.split_once(']')?;
                let index: usize = index.parse().ok()?;
                Some((place.item(index), list.get(index)?, tail))
            }),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
        };
        match step {
            Some(next) => (place, value, rest) = next,
            None => return (place, value),
        }
    }
}

/// What the worker's check says of a key that it does not know.
const UNKNOWN: &str = "unknown parameter ";

/// Its sentence without the advice behind it.
fn parts(message: &str) -> (&str, Option<String>) {
    match message.rsplit_once("; ") {
        Some((what, advice)) if message.starts_with(UNKNOWN) => (what, Some(advice.to_owned())),
        _ => (message, None),
    }
}

/// An unknown key is told at itself, and not at what holds it.
fn blamed(place: Place, value: &Value, message: &str) -> Place {
    let named = message
        .strip_prefix(UNKNOWN)
        .and_then(|name| value.as_object()?.keys().find(|key| quote(key) == name));
    named.map_or_else(|| place.clone(), |key| place.key(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::{BTreeMap, BTreeSet};

    fn faults(schema: Value, params: Value) -> String {
        let of = NodeType {
            kind: "X".into(),
            summary: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            params_schema: schema,
        };
        let (workers, hosts) = (BTreeMap::new(), BTreeSet::new());
        let known = Known { own: &[], workers: &workers, hosts: &hosts, media_dir: false };
        let mut log = Log::default();
        check(
            &Place::root(),
            &params,
            Some(&of),
            Terms { known, origin: Origin::Operator },
            &mut log,
        );
        log.into_faults().to_string()
    }

    #[test]
    fn the_workers_paths_become_pointers_also_where_keys_have_dots() {
        let number = json!({"type": "number", "maximum": 1});
        let schema = json!({
            "properties": {
                "a": {"type": "object", "properties": {"b": number}},
                "a.b": number,
                "list": {"items": {"properties": {"x": number}}},
            },
        });
        let params = json!({"a": {"b": 2}, "a.b": 3, "list": [{}, {"x": 4}]});
        let told = faults(schema, params);
        assert!(told.contains("/a.b: is 3; allowed is up to 1"), "{told}");
        assert!(told.contains("/list/1/x: is 4"), "{told}");
    }

    #[test]
    fn an_unknown_parameter_is_told_at_itself_with_what_was_meant() {
        let schema = json!({"properties": {"gain_db": {}}, "additionalProperties": false});
        let told = faults(schema, json!({"gain_bd": 1}));
        assert_eq!(told, "/gain_bd: unknown parameter `gain_bd`; did you mean `gain_db`?");
        let schema = json!({"properties": {}, "additionalProperties": false});
        assert_eq!(faults(schema, json!({"x": 1})), "/x: unknown parameter `x`; it has none");
    }

    #[test]
    fn a_parameter_that_must_be_there_is_asked_for() {
        let schema = json!({"properties": {"path": {}}, "required": ["path"]});
        assert!(faults(schema, json!({})).contains("the parameter `path` is missing"));
    }

    #[test]
    fn a_change_may_leave_out_what_must_be_there_and_names_no_file_that_the_operator_did_not_allow()
    {
        let of = NodeType {
            kind: "Player".into(),
            summary: String::new(),
            inputs: Vec::new(),
            outputs: Vec::new(),
            params_schema: json!({
                "properties": {"file": {"type": "string", "format": "media-path"}, "loop": {"type": "boolean"}},
                "required": ["file"],
            }),
        };
        let (workers, hosts) = (BTreeMap::new(), BTreeSet::new());
        let known = Known { own: &[], workers: &workers, hosts: &hosts, media_dir: true };
        let told = |changes: Value, origin| {
            let changes = changes.as_object().cloned().unwrap_or_default();
            check_changes(&of, &changes, known, origin).map_err(|faults| faults.to_string())
        };
        assert_eq!(told(json!({"loop": true}), Origin::Network), Ok(()));
        assert_eq!(told(json!({"file": "song.wav"}), Origin::Network), Ok(()));
        assert_eq!(told(json!({"file": "/etc/passwd"}), Origin::Operator), Ok(()));
        for file in ["/etc/passwd", "../song.wav"] {
            let said = told(json!({"file": file}), Origin::Network).unwrap_err();
            assert!(said.starts_with("/file: "), "{said}");
        }
    }

    #[test]
    fn too_deep_ones_are_not_looked_into() {
        let deep = (0..MAX_PARAMS_DEPTH).fold(json!(1), |inner, _| json!({"a": inner}));
        assert_eq!(faults(json!({}), deep.clone()), "");
        assert!(faults(json!({}), json!({"a": deep})).contains("is nested 17 deep; 16 is allowed"));
    }
}
