//! Parameters against a node's JSON Schema, with a path and the allowed values for every fault.
//!
//! The subset that descriptions of parameters use: `type`, `properties`, `required`, `additionalProperties: false`,
//! `minimum`, `maximum` and their exclusive forms, `minLength`, `maxLength`, `items`, `maxItems`, `enum`, `const`,
//! `oneOf`, `anyOf`, and `$ref` into `$defs`. Other keywords are left to the worker, which has the last word. (A full
//! validator would put some thirty crates, a regex engine among them, under every process that maps a frame.)

use super::{Fault, MAX_FAULTS, did_you_mean, quote, what};
use serde_json::{Map, Value};

/// How deep schemas are followed: a worker's may refer to itself.
const MAX_DEPTH: u8 = 16;

/// Every fault of these parameters; `required` keys are not asked for, as all parameters of a change are optional.
#[must_use]
pub fn check(schema: &Value, params: &Map<String, Value>, path: &str) -> Vec<Fault> {
    let mut checker = Checker { root: schema, faults: Vec::new() };
    checker.object(schema, params, path, 0);
    checker.faults.truncate(MAX_FAULTS);
    checker.faults
}

struct Checker<'s> {
    root: &'s Value,
    faults: Vec<Fault>,
}

impl<'s> Checker<'s> {
    fn fault(&mut self, path: &str, message: String) {
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(Fault { path: path.to_owned(), message });
        }
    }

    /// Follows `$ref`; a reference that leads nowhere allows everything.
    fn resolve(&self, schema: &'s Value) -> &'s Value {
        let mut schema = schema;
        for _ in 0..MAX_DEPTH {
            let Some(pointer) = schema.get("$ref").and_then(Value::as_str) else { break };
            match pointer.strip_prefix('#').and_then(|p| self.root.pointer(p)) {
                Some(target) => schema = target,
                None => break,
            }
        }
        schema
    }

    fn object(&mut self, schema: &'s Value, object: &Map<String, Value>, path: &str, depth: u8) {
        let schema = self.resolve(schema);
        let known = schema.get("properties").and_then(Value::as_object);
        let closed = schema.get("additionalProperties") == Some(&Value::Bool(false));
        for (key, value) in object {
            match known.and_then(|k| k.get(key)) {
                Some(property) => {
                    self.value(property, value, &format!("{path}.{key}"), depth + 1);
                }
                None if closed => {
                    let names: Vec<&str> =
                        known.map(|k| k.keys().map(String::as_str).collect()).unwrap_or_default();
                    let hint = if names.is_empty() {
                        "; it has none".to_owned()
                    } else {
                        did_you_mean(key, &names)
                    };
                    self.fault(path, format!("unknown parameter {}{hint}", quote(key)));
                }
                None => {}
            }
        }
    }

    fn value(&mut self, schema: &'s Value, value: &Value, path: &str, depth: u8) {
        if depth >= MAX_DEPTH || self.faults.len() >= MAX_FAULTS {
            return;
        }
        let schema = self.resolve(schema);
        if let Some(allowed) = self.choices(schema) {
            if !allowed.contains(&value) {
                let list: Vec<String> = allowed.iter().map(|a| a.to_string()).collect();
                self.fault(path, format!("is {}; allowed are {}", what(value), list.join(", ")));
            }
            return;
        }
        for key in ["oneOf", "anyOf"] {
            let Some(Value::Array(branches)) = schema.get(key) else { continue };
            let fits = branches.iter().any(|b| {
                let mut branch = Checker { root: self.root, faults: Vec::new() };
                branch.value(b, value, path, depth + 1);
                branch.faults.is_empty()
            });
            if !fits {
                // An `Option` is a type or null: what is wrong with the type is the telling fault.
                match branches
                    .iter()
                    .find(|b| b.get("type").and_then(Value::as_str) != Some("null"))
                {
                    Some(b) => self.value(b, value, path, depth + 1),
                    None => self.fault(path, format!("{} is not allowed", what(value))),
                }
            }
            return;
        }
        if !has_type(schema, value) {
            let expected = expected(schema);
            self.fault(path, format!("must be {expected}, and is {}", what(value)));
            return;
        }
        match value {
            Value::Number(number) => {
                if let Some(number) = number.as_f64() {
                    self.number(schema, number, path);
                }
            }
            Value::String(text) => self.text(schema, text, path),
            Value::Array(list) => self.list(schema, list, path, depth),
            Value::Object(object) => {
                if let Some(Value::Array(required)) = schema.get("required") {
                    for key in required.iter().filter_map(Value::as_str) {
                        if !object.contains_key(key) {
                            self.fault(path, format!("`{key}` is missing"));
                        }
                    }
                }
                self.object(schema, object, path, depth);
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The values of an enumeration: `enum`, `const`, or alternatives that are all one of them.
    fn choices(&self, schema: &'s Value) -> Option<Vec<&'s Value>> {
        if let Some(Value::Array(list)) = schema.get("enum") {
            return Some(list.iter().collect());
        }
        if let Some(constant) = schema.get("const") {
            return Some(vec![constant]);
        }
        let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
        let mut all = Vec::new();
        for branch in branches {
            let branch = self.resolve(branch);
            match (branch.get("enum"), branch.get("const")) {
                (Some(Value::Array(list)), _) => all.extend(list),
                (_, Some(constant)) => all.push(constant),
                _ => return None,
            }
        }
        Some(all)
    }

    fn number(&mut self, schema: &'s Value, number: f64, path: &str) {
        let limit = |key: &str| schema.get(key).and_then(Value::as_f64);
        let (low, high) = (limit("minimum"), limit("maximum"));
        let (above, below) = (limit("exclusiveMinimum"), limit("exclusiveMaximum"));
        let inside = low.is_none_or(|l| number >= l)
            && high.is_none_or(|h| number <= h)
            && above.is_none_or(|l| number > l)
            && below.is_none_or(|h| number < h);
        if inside {
            return;
        }
        let from = low.map(|l| format!("{l}")).or(above.map(|l| format!("more than {l}")));
        let to = high.map(|h| format!("{h}")).or(below.map(|h| format!("less than {h}")));
        let range = match (from, to) {
            (Some(from), Some(to)) => format!("{from} to {to}"),
            (Some(from), None) if low.is_some() => format!("{from} and more"),
            (None, Some(to)) if high.is_some() => format!("up to {to}"),
            (Some(only), None) | (None, Some(only)) => only,
            (None, None) => return,
        };
        self.fault(path, format!("is {number}; allowed is {range}"));
    }

    fn text(&mut self, schema: &'s Value, text: &str, path: &str) {
        let limit = |key: &str| schema.get(key).and_then(Value::as_u64);
        let length = text.chars().count() as u64;
        if let Some(most) = limit("maxLength").filter(|m| length > *m) {
            self.fault(path, format!("has {length} characters; at most {most} are allowed"));
        }
        if let Some(least) = limit("minLength").filter(|m| length < *m) {
            self.fault(path, format!("has {length} characters; at least {least} are needed"));
        }
    }

    fn list(&mut self, schema: &'s Value, list: &[Value], path: &str, depth: u8) {
        if let Some(most) = schema.get("maxItems").and_then(Value::as_u64)
            && list.len() as u64 > most
        {
            self.fault(path, format!("has {} entries; at most {most} are allowed", list.len()));
            return;
        }
        if let Some(items) = schema.get("items") {
            for (index, value) in list.iter().enumerate() {
                self.value(items, value, &format!("{path}[{index}]"), depth + 1);
            }
        }
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn has_type(schema: &Value, value: &Value) -> bool {
    let types = types(schema);
    types.is_empty()
        || types.iter().any(|t| match *t {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => {
                value.is_u64()
                    || value.is_i64()
                    || value.as_f64().is_some_and(|n| n.fract() == 0.0 && n.abs() < 1e15)
            }
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            "object" => value.is_object(),
            // A type of a later schema version: the worker knows.
            _ => true,
        })
}

fn expected(schema: &Value) -> String {
    let names: Vec<&str> = types(schema)
        .into_iter()
        .map(|t| match t {
            "boolean" => "true or false",
            "integer" => "a whole number",
            "number" => "a number",
            "string" => "a text",
            "array" => "a list",
            "object" => "an object",
            other => other,
        })
        .collect();
    names.join(" or ")
}
