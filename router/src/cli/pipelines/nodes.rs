//! `remotemedia pipelines nodes`: node types with their ports, and their parameters by their JSON Schema.
//!
//! Schemas are read as far as descriptions of parameters go: types, ranges, lists of values, `$ref`. What says more is in
//! `--json`, whole.

use super::plain;
use crate::cli::Failure;
use crate::cli::table::{json, list, print, table};
use crate::staff::Offered;
use remotemedia_manifest::{NodeType, Port};
use serde_json::{Value, json};

/// References and alternatives that are followed (chosen: an enumeration that may be null has two).
const MAX_DEPTH: usize = 4;
/// Alternatives of one parameter that are looked at (chosen: more than a person reads).
const MAX_BRANCHES: usize = 64;

pub(super) fn show(offered: &Offered, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let all = offered.types().map(|(worker, of)| {
            json!({
                "worker": worker,
                "type": of.kind,
                "summary": of.summary,
                "inputs": of.inputs,
                "outputs": of.outputs,
                "params_schema": of.params_schema,
            })
        });
        return json(&json!({"nodes": all.collect::<Vec<Value>>()}));
    }
    let all: Vec<String> = offered.types().map(|(worker, of)| paragraph(worker, of)).collect();
    print(&all.join("\n\n"))
}

fn paragraph(worker: Option<&str>, of: &NodeType) -> String {
    let whose = worker.map_or(String::new(), |worker| format!(" (worker {worker})"));
    let mut lines = vec![
        format!("{}{whose}", plain(&of.kind)),
        format!("  {}", plain(&of.summary)),
        format!("  in: {}; out: {}", ports(&of.inputs), ports(&of.outputs)),
    ];
    let parameters = parameters(&of.params_schema);
    if !parameters.is_empty() {
        let mut table = table(&["PARAMETER", "TYPE", "ALLOWED", "DEFAULT", "WHAT IT IS"]);
        for parameter in parameters {
            table.add_row(parameter);
        }
        let indented = |line: &str| format!("  {}", line.trim_end());
        lines.extend(table.to_string().lines().map(indented));
    }
    lines.join("\n")
}

fn ports(ports: &[Port]) -> String {
    if ports.is_empty() {
        return "-".to_owned();
    }
    let all: Vec<String> = ports
        .iter()
        .map(|port| {
            let kind = if port.name == port.media.name() {
                String::new()
            } else {
                format!(" ({})", port.media)
            };
            let every = if port.every { ", of every peer" } else { "" };
            let optional = if port.optional { ", may be left out" } else { "" };
            format!("{}{kind}{every}{optional}", plain(&port.name))
        })
        .collect();
    all.join(" and ")
}

/// Name, type, what is allowed, default, what it is.
type Row = [String; 5];

fn parameters(schema: &Value) -> Vec<Row> {
    let needed: Vec<&str> = list(schema, "required").iter().filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let row = |(name, of): (&String, &Value)| {
        let branches = branches(schema, of);
        let default = match of.get("default") {
            Some(Value::Number(number)) => number.as_f64().map_or("-".to_owned(), shortest),
            Some(value) => value.to_string(),
            None if needed.contains(&name.as_str()) => "(needed)".to_owned(),
            None => "-".to_owned(),
        };
        let said = of.get("description").and_then(Value::as_str).unwrap_or_default();
        [name.clone(), kind(&branches), allowed(&branches), default, said.to_owned()]
    };
    let rows = properties.into_iter().flatten().map(row);
    rows.map(|row| row.map(|text| plain(&text))).collect()
}

/// The schema itself, or its alternatives, each with its references followed.
fn branches<'s>(root: &'s Value, schema: &'s Value) -> Vec<&'s Value> {
    let mut all = vec![schema];
    for _ in 0..MAX_DEPTH {
        all = all
            .into_iter()
            .flat_map(|schema| {
                let target = schema.get("$ref").and_then(Value::as_str);
                let target = target.and_then(|at| root.pointer(at.strip_prefix('#')?));
                let schema = target.unwrap_or(schema);
                let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"));
                match branches.and_then(Value::as_array) {
                    Some(branches) => branches.iter().collect::<Vec<_>>(),
                    None => vec![schema],
                }
            })
            .take(MAX_BRANCHES)
            .collect();
    }
    all
}

/// The values of an enumeration.
fn values(branch: &Value) -> Vec<&Value> {
    match (branch.get("const"), branch.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => vec![value],
        (None, Some(values)) => values.iter().collect(),
        (None, None) => Vec::new(),
    }
}

/// The types of a branch; `type` is a text or a list of them.
fn types(branch: &Value) -> Vec<&str> {
    match branch.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn kind(branches: &[&Value]) -> String {
    if branches.iter().any(|branch| !values(branch).is_empty()) {
        return "choice".to_owned();
    }
    let mut names: Vec<&str> = Vec::new();
    for name in branches.iter().flat_map(|branch| types(branch)) {
        let name = match name {
            "null" => continue,
            "boolean" => "true or false",
            "integer" => "whole number",
            "string" => "text",
            "array" => "list",
            other => other,
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    if names.is_empty() { "any".to_owned() } else { names.join(" or ") }
}

fn allowed(branches: &[&Value]) -> String {
    let mut all: Vec<String> = Vec::new();
    for branch in branches {
        let values = values(branch);
        all.extend(values.iter().filter(|value| !value.is_null()).map(|value| value.to_string()));
        all.extend(range(branch));
        let number = |key: &str| branch.get(key).and_then(Value::as_u64);
        all.extend(number("maxLength").map(|most| format!("at most {most} characters")));
        all.extend(number("maxItems").map(|most| format!("at most {most} entries")));
        all.extend(branch.get("pattern").and_then(Value::as_str).map(str::to_owned));
    }
    let null = |branch: &&Value| {
        types(branch).contains(&"null") || values(branch).iter().any(|value| value.is_null())
    };
    if branches.iter().any(null) {
        all.push("null".to_owned());
    }
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

/// The numbers that a branch allows, as errors tell them.
fn range(branch: &Value) -> Option<String> {
    let limit = |key: &str| branch.get(key).and_then(Value::as_f64).map(shortest);
    let (low, high) = (limit("minimum"), limit("maximum"));
    let above = limit("exclusiveMinimum").map(|low| format!("more than {low}"));
    let below = limit("exclusiveMaximum").map(|high| format!("less than {high}"));
    match (low, above, high, below) {
        (Some(low), _, Some(high), _) => Some(format!("{low} to {high}")),
        (Some(low), _, None, Some(below)) => Some(format!("{low} to {below}")),
        (Some(low), _, None, None) => Some(format!("from {low}")),
        (None, Some(above), Some(high), _) => Some(format!("{above} to {high}")),
        (None, Some(above), None, Some(below)) => Some(format!("{above} to {below}")),
        (None, None, Some(high), _) => Some(format!("up to {high}")),
        (None, only, None, None) | (None, None, None, only) => only,
    }
}

/// A number as it was written, where it went through 32 bits: 0.1 and not 0.10000000149011612.
#[allow(clippy::cast_possible_truncation, reason = "it is looked whether anything was lost")]
fn shortest(number: f64) -> String {
    let short = number as f32;
    if f64::from(short) == number { short.to_string() } else { number.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remotemedia_manifest::Media;

    #[test]
    fn parameters_are_rows_with_type_range_default_and_description() {
        let schema = json!({
            "properties": {
                "fit": {"$ref": "#/$defs/Fit", "default": "contain", "description": "How\nit fits."},
                "gain": {"type": "number", "minimum": -60.0, "maximum": 30.0, "default": 0.1_f32},
                "on": {"type": "boolean", "default": false},
                "path": {"type": "string", "maxLength": 64},
                "scale": {"type": ["integer", "null"], "minimum": 1, "default": null},
                "show": {"anyOf": [{"$ref": "#/$defs/Fit"}, {"type": "null"}]},
            },
            "required": ["path"],
            "$defs": {"Fit": {"oneOf": [{"const": "contain"}, {"const": "cover"}]}},
        });
        let rows = parameters(&schema);
        let told: Vec<[&str; 5]> =
            rows.iter().map(|row| row.each_ref().map(String::as_str)).collect();
        assert_eq!(
            told,
            [
                ["fit", "choice", "\"contain\", \"cover\"", "\"contain\"", "How it fits."],
                ["gain", "number", "-60 to 30", "0.1", ""],
                ["on", "true or false", "-", "false", ""],
                ["path", "text", "at most 64 characters", "(needed)", ""],
                ["scale", "whole number", "from 1, null", "null", ""],
                ["show", "choice", "\"contain\", \"cover\", null", "-", ""],
            ]
        );
    }

    #[test]
    fn a_range_may_leave_its_ends_out() {
        for (branch, told) in [
            (json!({"exclusiveMinimum": 0, "maximum": 1}), "more than 0 to 1"),
            (json!({"minimum": 0, "exclusiveMaximum": 1}), "0 to less than 1"),
            (json!({"exclusiveMinimum": 0}), "more than 0"),
            (json!({"exclusiveMaximum": 1.5}), "less than 1.5"),
            (json!({"maximum": 7}), "up to 7"),
        ] {
            assert_eq!(range(&branch).as_deref(), Some(told));
        }
        assert_eq!(range(&json!({})), None);
    }

    #[test]
    fn a_schema_that_refers_to_itself_comes_to_an_end() {
        let schema = json!({"properties": {"a": {"anyOf": [{"$ref": "#/properties/a"}, {"$ref": "#/properties/a"}]}}});
        assert_eq!(parameters(&schema).len(), 1);
        assert!(parameters(&json!(7)).is_empty());
    }

    #[test]
    fn a_node_type_tells_whose_it_is_and_its_ports() {
        let mix = NodeType {
            kind: "Mixer".into(),
            summary: "Mixes.".into(),
            inputs: vec![Port::new("audio", Media::Audio).every()],
            outputs: vec![Port::new("out", Media::Audio)],
            params_schema: json!({}),
        };
        assert_eq!(
            paragraph(Some("mixers"), &mix),
            "Mixer (worker mixers)\n  Mixes.\n  in: audio, of every peer; out: out (audio)"
        );
    }
}
