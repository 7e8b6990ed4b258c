//! What parameters of a manifest from the network name: files below `media_dir`, hosts that the operator listed.
//!
//! A schema marks such a text by `"format": "media-path"` or `"format": "host"`. Every branch of a schema that could apply
//! to a text is followed, whether or not it does: a mark that is met once counts. What cannot be followed to its end is
//! refused.

use crate::catalogue::Known;
use crate::fault::{Log, Place, quote};
use serde_json::Value;
use std::collections::BTreeSet;

const MEDIA_PATH: &str = "media-path";
const HOST: &str = "host";
/// Steps through schema and parameters together (chosen: those of our own nodes take a few dozen).
const MAX_STEPS: usize = 20_000;
/// How deep a schema is followed (chosen): it may refer to itself.
const MAX_DEPTH: usize = 32;

/// Checks all texts that the schema marks.
pub(crate) fn check(at: &Place, params: &Value, schema: &Value, known: Known<'_>, log: &mut Log) {
    if !marks(schema) {
        return;
    }
    let mut search = Search { root: schema, steps: 0, lost: false, found: BTreeSet::new() };
    search.value(schema, params, at, 0);
    if search.lost {
        let what = "its schema marks files or hosts, and is too intricate to see where";
        log.fault(at, format!("is refused from the network: {what}"));
    }
    for Found { place, mark, text } in search.found {
        let fault = match mark {
            MEDIA_PATH => media_path(text, known.media_dir),
            _ => host(text, known),
        };
        if let Some((message, advice)) = fault {
            log.hint(&place, message, advice);
        }
    }
}

type Refusal = (String, Option<String>);

fn media_path(text: &str, media_dir: bool) -> Option<Refusal> {
    if !media_dir {
        let advice = "set `media_dir` in the router's config".to_owned();
        let message = "names a file, and this router has no folder for such files";
        return Some((message.to_owned(), Some(advice)));
    }
    let outside = text.starts_with('/') || text.split('/').any(|part| part == "..");
    let odd = text.is_empty() || text.chars().any(char::is_control);
    (outside || odd).then(|| {
        let allowed = "a relative path without `..` is allowed".to_owned();
        (format!("{} is not a path below `media_dir`", quote(text)), Some(allowed))
    })
}

fn host(text: &str, known: Known<'_>) -> Option<Refusal> {
    // Which ones the operator listed is nobody's business who reached the router.
    let listed = known.hosts.contains(text);
    (!listed).then(|| (format!("{} is not a host that the operator listed", quote(text)), None))
}

/// Whether the schema marks anything at all.
fn marks(schema: &Value) -> bool {
    match schema {
        Value::Object(object) => {
            let mark = object.get("format").and_then(Value::as_str);
            matches!(mark, Some(MEDIA_PATH | HOST)) || object.values().any(marks)
        }
        Value::Array(list) => list.iter().any(marks),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// A text that is marked.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found<'v> {
    place: Place,
    mark: &'static str,
    text: &'v str,
}

struct Search<'s, 'v> {
    root: &'s Value,
    steps: usize,
    lost: bool,
    found: BTreeSet<Found<'v>>,
}

impl<'s, 'v> Search<'s, 'v> {
    fn value(&mut self, schema: &'s Value, value: &'v Value, at: &Place, depth: usize) {
        self.steps += 1;
        if depth > MAX_DEPTH || self.steps > MAX_STEPS {
            self.lost = true;
        }
        let (false, Value::Object(keywords)) = (self.lost, schema) else { return };
        for (keyword, inner) in keywords {
            match (keyword.as_str(), inner) {
                ("format", Value::String(mark)) => self.mark(mark, value, at),
                ("$ref", Value::String(pointer)) => match self.target(pointer) {
                    Some(target) => self.value(target, value, at, depth + 1),
                    None => self.lost = true,
                },
                // By names that the schema chooses, which need no more than be unknown here to hide a mark.
                ("$dynamicRef" | "$recursiveRef", _) => self.lost = true,
                ("allOf" | "anyOf" | "oneOf", Value::Array(branches)) => {
                    branches.iter().for_each(|branch| self.value(branch, value, at, depth + 1));
                }
                ("if" | "then" | "else" | "not", branch) => {
                    self.value(branch, value, at, depth + 1);
                }
                ("dependentSchemas", Value::Object(branches)) => {
                    branches.values().for_each(|branch| self.value(branch, value, at, depth + 1));
                }
                _ => self.inside(keyword, inner, value, at, depth + 1),
            }
        }
    }

    /// Keywords that speak of what an object or a list holds.
    fn inside(
        &mut self,
        keyword: &str,
        inner: &'s Value,
        value: &'v Value,
        at: &Place,
        depth: usize,
    ) {
        match (keyword, value) {
            ("properties", Value::Object(object)) => {
                for (key, held) in object {
                    if let Some(property) = inner.get(key) {
                        self.value(property, held, &at.key(key), depth);
                    }
                }
            }
            // Which keys a pattern means is not worked out: all of them.
            ("patternProperties", Value::Object(object)) => {
                for pattern in inner.as_object().into_iter().flat_map(|all| all.values()) {
                    object
                        .iter()
                        .for_each(|(k, held)| self.value(pattern, held, &at.key(k), depth));
                }
            }
            ("additionalProperties" | "unevaluatedProperties", Value::Object(object)) => {
                object.iter().for_each(|(k, held)| self.value(inner, held, &at.key(k), depth));
            }
            ("items" | "prefixItems", Value::Array(list)) if inner.is_array() => {
                let places = inner.as_array().into_iter().flatten();
                for (index, (place, held)) in places.zip(list).enumerate() {
                    self.value(place, held, &at.item(index), depth);
                }
            }
            ("items" | "additionalItems" | "unevaluatedItems" | "contains", Value::Array(list)) => {
                for (index, held) in list.iter().enumerate() {
                    self.value(inner, held, &at.item(index), depth);
                }
            }
            _ => {}
        }
    }

    fn mark(&mut self, mark: &str, value: &'v Value, at: &Place) {
        let mark = match mark {
            MEDIA_PATH => MEDIA_PATH,
            HOST => HOST,
            _ => return,
        };
        if let Value::String(text) = value {
            self.found.insert(Found { place: at.clone(), mark, text });
        }
    }

    fn target(&self, pointer: &str) -> Option<&'s Value> {
        self.root.pointer(pointer.strip_prefix('#')?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::BTreeMap;

    fn faults(schema: Value, params: Value, media_dir: bool) -> Vec<String> {
        let (workers, hosts) = (BTreeMap::new(), BTreeSet::from(["store.example".to_owned()]));
        let known = Known { own: &[], workers: &workers, hosts: &hosts, media_dir };
        let mut log = Log::default();
        check(&Place::root(), &params, &schema, known, &mut log);
        log.into_faults().0.into_iter().map(|fault| fault.path).collect()
    }

    #[test]
    fn a_path_stays_below_the_folder_for_media() {
        let schema = json!({"properties": {"path": {"type": "string", "format": "media-path"}}});
        for good in ["a.ivf", "a/b.wav", "a..b/c", "./a"] {
            assert!(faults(schema.clone(), json!({"path": good}), true).is_empty(), "{good}");
            assert_eq!(faults(schema.clone(), json!({"path": good}), false), ["/path"], "{good}");
        }
        for bad in ["/etc/passwd", "..", "../a", "a/../../b", "a/..", "", "a\0b"] {
            assert_eq!(faults(schema.clone(), json!({"path": bad}), true), ["/path"], "{bad}");
        }
    }

    #[test]
    fn a_host_is_one_that_the_operator_listed() {
        let schema = json!({"properties": {"to": {"format": "host"}}});
        assert!(faults(schema.clone(), json!({"to": "store.example"}), true).is_empty());
        assert_eq!(faults(schema, json!({"to": "evil.example"}), true), ["/to"]);
    }

    #[test]
    fn a_mark_is_found_wherever_a_schema_may_put_it() {
        let mark = json!({"format": "media-path"});
        let bad = json!("/x");
        let cases = [
            (json!({"properties": {"a": {"$ref": "#/$defs/p"}}, "$defs": {"p": mark}}), "/a"),
            (json!({"properties": {"a": {"anyOf": [{"type": "null"}, mark]}}}), "/a"),
            (json!({"properties": {"a": {"allOf": [{"if": {}, "then": mark}]}}}), "/a"),
            (json!({"additionalProperties": mark}), "/a"),
            (json!({"patternProperties": {"^z": mark}}), "/a"),
            (json!({"dependentSchemas": {"z": {"properties": {"a": mark}}}}), "/a"),
        ];
        for (schema, path) in cases {
            assert_eq!(faults(schema.clone(), json!({"a": bad}), true), [path], "{schema}");
        }
        let list = json!({"a": ["/x", "y"]});
        let items = json!({"properties": {"a": {"items": mark}}});
        assert_eq!(faults(items, list.clone(), true), ["/a/0"]);
        let first = json!({"properties": {"a": {"prefixItems": [{}, mark], "items": false}}});
        assert!(faults(first, list, true).is_empty());
    }

    #[test]
    fn a_schema_that_cannot_be_followed_lets_nothing_through() {
        let mark = json!({"format": "host"});
        for schema in [
            json!({"$ref": "#", "$defs": {"p": mark}}),
            json!({"$ref": "elsewhere.json", "$defs": {"p": mark}}),
            json!({"$dynamicRef": "#p", "$defs": {"p": mark}}),
            json!({"anyOf": [{"$ref": "#"}, {"$ref": "#"}], "$defs": {"p": mark}}),
        ] {
            assert_eq!(faults(schema.clone(), json!({"a": 1}), true), [""], "{schema}");
        }
    }
}
