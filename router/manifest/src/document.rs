//! From a text to values: JSON, YAML or TOML, every key once, within limits of size and depth.
//!
//! What the values say is `check`'s affair. The readers underneath keep the last of two equal keys (JSON), or know numbers and
//! dates that JSON has not (YAML, TOML), so all three go through one visitor that refuses these.

use crate::fault::{Faults, Log, Place, quote};
use crate::limits::{MAX_DEPTH, MAX_TEXT, MAX_VALUES};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// Characters of a reader's own error that are shown (chosen): it may quote the text.
const MAX_ERROR: usize = 300;
/// The only key of what the `toml` crate makes of a date; no key of a person's.
const TOML_DATE: &str = "$__toml_private_datetime";

/// How a manifest is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// RFC 8259.
    Json,
    /// YAML 1.2, one document without tags.
    Yaml,
    /// TOML 1.1.
    Toml,
}

impl Format {
    /// By a file's extension: `json`, `yaml` or `yml`, `toml`.
    #[must_use]
    pub fn of_file(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "toml" => Some(Self::Toml),
            _ => None,
        }
    }

    /// Its name for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
            Self::Toml => "TOML",
        }
    }
}

/// A manifest as it was written: values within limits, every key once. What they say is not looked at yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    root: Value,
}

impl Document {
    /// Reads a text.
    ///
    /// # Errors
    /// What is not of the format, with its line; every key that is there twice, with its path; what is too long or too deep.
    pub fn parse(text: &str, format: Format) -> Result<Self, Faults> {
        let mut log = Log::default();
        let root = Place::root();
        if text.len() > MAX_TEXT {
            log.fault(&root, format!("has {} bytes; {MAX_TEXT} are allowed", text.len()));
            return Err(log.into_faults());
        }
        let mut left = MAX_VALUES;
        let seed = Strict { place: root.clone(), depth: 0, left: &mut left, log: &mut log };
        let read = match format {
            Format::Json => json(text, seed),
            Format::Yaml => yaml(text, seed),
            Format::Toml => toml(text, seed),
        };
        match read {
            Ok(value) if log.is_empty() => Ok(Self { root: value }),
            Ok(_) => Err(log.into_faults()),
            Err(error) => {
                let error: String = error.chars().take(MAX_ERROR).collect();
                log.fault(&root, format!("is not {} that can be read: {error}", format.name()));
                Err(log.into_faults())
            }
        }
    }

    /// Takes values that came in another way: in a message, or in the operator's config.
    ///
    /// # Errors
    /// When there are too many, or too deep ones.
    pub fn from_value(root: Value) -> Result<Self, Faults> {
        let mut left = Left { values: MAX_VALUES, bytes: MAX_TEXT };
        match left.take(&root, 0) {
            Ok(()) => Ok(Self { root }),
            Err(what) => {
                let mut log = Log::default();
                log.fault(&Place::root(), what);
                Err(log.into_faults())
            }
        }
    }

    /// The values.
    #[must_use]
    pub fn value(&self) -> &Value {
        &self.root
    }

    /// Its one sentence for people.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.root.get("description").and_then(Value::as_str)
    }
}

fn json(text: &str, seed: Strict<'_>) -> Result<Value, String> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut reader).map_err(|e| e.to_string())?;
    reader.end().map_err(|e| e.to_string())?;
    Ok(value)
}

fn yaml(text: &str, seed: Strict<'_>) -> Result<Value, String> {
    seed.deserialize(serde_norway::Deserializer::from_str(text)).map_err(|e| e.to_string())
}

fn toml(text: &str, seed: Strict<'_>) -> Result<Value, String> {
    // Its own display draws the line; the number is enough.
    let told = |error: ::toml::de::Error| {
        let what = error.message().replace('\n', "; ");
        match error.span() {
            Some(span) => {
                let before = text.as_bytes().get(..span.start).unwrap_or(text.as_bytes());
                let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
                format!("{what} at line {line}")
            }
            None => what,
        }
    };
    let reader = ::toml::Deserializer::parse(text).map_err(told)?;
    seed.deserialize(reader).map_err(told)
}

/// Reads one value, and what is in it.
struct Strict<'a> {
    place: Place,
    depth: usize,
    left: &'a mut usize,
    log: &'a mut Log,
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        *self.left = self.left.checked_sub(1).ok_or_else(|| D::Error::custom(too_many()))?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true, false, null, a list or an object")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        match Number::from_f64(value) {
            Some(number) => Ok(Value::Number(number)),
            None => {
                self.log
                    .fault(&self.place, format!("is {value}, which is no number to count with"));
                Ok(Value::Null)
            }
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let Self { place, depth, left, log } = self;
        if depth >= MAX_DEPTH {
            return Err(A::Error::custom(too_deep()));
        }
        let mut all = Vec::new();
        loop {
            let place = place.item(all.len());
            let seed = Strict { place, depth: depth + 1, left: &mut *left, log: &mut *log };
            match list.next_element_seed(seed)? {
                Some(value) => all.push(value),
                None => return Ok(Value::Array(all)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let Self { place, depth, left, log } = self;
        if depth >= MAX_DEPTH {
            return Err(A::Error::custom(too_deep()));
        }
        let mut all = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if key == TOML_DATE {
                map.next_value::<IgnoredAny>()?;
                let advice = "write it in quotes".to_owned();
                log.hint(&place, "is a date, which manifests do not have", Some(advice));
                return Ok(Value::Null);
            }
            let here = place.key(&key);
            let seed =
                Strict { place: here.clone(), depth: depth + 1, left: &mut *left, log: &mut *log };
            let value = map.next_value_seed(seed)?;
            if all.contains_key(&key) {
                let chain = matches!(key.as_str(), "from" | "to");
                let advice = chain.then(|| "write an edge of its own for each step".to_owned());
                log.hint(&here, format!("the key {} is there twice", quote(&key)), advice);
            } else {
                all.insert(key, value);
            }
        }
        Ok(Value::Object(all))
    }
}

/// What values that were read elsewhere may still have.
struct Left {
    values: usize,
    bytes: usize,
}

impl Left {
    fn take(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        self.values = self.values.checked_sub(1).ok_or_else(too_many)?;
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Ok(()),
            Value::String(text) => self.letters(text),
            Value::Array(_) | Value::Object(_) if depth >= MAX_DEPTH => Err(too_deep()),
            Value::Array(list) => list.iter().try_for_each(|inner| self.take(inner, depth + 1)),
            Value::Object(object) => object.iter().try_for_each(|(key, inner)| {
                self.letters(key)?;
                self.take(inner, depth + 1)
            }),
        }
    }

    fn letters(&mut self, text: &str) -> Result<(), String> {
        let left = self.bytes.checked_sub(text.len());
        self.bytes = left.ok_or_else(|| format!("has more than {MAX_TEXT} bytes of text"))?;
        Ok(())
    }
}

fn too_many() -> String {
    format!("has more than {MAX_VALUES} values")
}

fn too_deep() -> String {
    format!("is nested deeper than {MAX_DEPTH}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn faults(text: &str, format: Format) -> String {
        Document::parse(text, format).expect_err("it should not be read").to_string()
    }

    #[test]
    fn the_same_manifest_reads_the_same_in_all_three() {
        let json =
            r#"{"pipeline": {"nodes": [{"id": "b", "type": "Blur", "params": {"sigma": 2.5}}]}}"#;
        let yaml = "pipeline:\n  nodes:\n    - {id: b, type: Blur, params: {sigma: 2.5}}\n";
        let toml = "[[pipeline.nodes]]\nid = \"b\"\ntype = \"Blur\"\nparams = { sigma = 2.5 }\n";
        let of = |text, format| Document::parse(text, format).expect("it is in order");
        let expected = of(json, Format::Json);
        assert_eq!(expected.value()["pipeline"]["nodes"][0]["params"]["sigma"], 2.5);
        assert_eq!(of(yaml, Format::Yaml), expected);
        assert_eq!(of(toml, Format::Toml), expected);
    }

    #[test]
    fn the_extension_tells_the_format() {
        assert_eq!(Format::of_file("a/b.JSON"), Some(Format::Json));
        assert_eq!(Format::of_file("b.yml"), Some(Format::Yaml));
        assert_eq!(Format::of_file("b.toml"), Some(Format::Toml));
        assert_eq!(Format::of_file("json"), None);
        assert_eq!(Format::of_file("b.txt"), None);
    }

    #[test]
    fn every_key_that_is_there_twice_is_told_with_its_path() {
        // One of the seeds' examples chains by writing `to` twice, which JSON readers take for one edge to `output`.
        let text = r#"{"pipeline": {"nodes": [], "nodes": [],
            "graph": [{"from": "input", "to": "a", "to": "output"}]}}"#;
        let told = faults(text, Format::Json);
        assert!(told.contains("/pipeline/nodes: the key `nodes` is there twice"), "{told}");
        assert!(
            told.contains("/pipeline/graph/0/to: the key `to` is there twice; write an edge"),
            "{told}"
        );
        let yaml = faults("a: 1\na: 2\n", Format::Yaml);
        assert!(yaml.contains("twice") || yaml.contains("duplicate"), "{yaml}");
        let toml = faults("a = 1\na = 2\n", Format::Toml);
        assert!(toml.contains("duplicate") && toml.contains("at line 2"), "{toml}");
    }

    #[test]
    fn a_text_that_is_not_of_its_format_is_told_with_its_line() {
        assert!(faults("{\n\"a\": }", Format::Json).contains("line 2"));
        assert!(faults("{} {}", Format::Json).contains("is not JSON that can be read"));
        assert!(faults("a: [1,\nb: }", Format::Yaml).contains("line 2"));
        assert!(faults("a = 1\nb = ", Format::Toml).contains("line 2"));
        assert!(faults("--- 1\n--- 2\n", Format::Yaml).contains("is not YAML"));
    }

    #[test]
    fn what_json_does_not_have_is_refused() {
        assert!(faults("a: .nan", Format::Yaml).contains("/a: is NaN"));
        assert!(faults("a: !x 1", Format::Yaml).contains("is not YAML"));
        assert!(faults("a = inf", Format::Toml).contains("/a: is inf"));
        let date = faults("a = 1979-05-27", Format::Toml);
        assert_eq!(date, "/a: is a date, which manifests do not have; write it in quotes");
    }

    #[test]
    fn long_deep_and_swelling_texts_are_refused() {
        assert!(
            faults(&" ".repeat(MAX_TEXT + 1), Format::Json).contains("bytes; 262144 are allowed")
        );
        let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
        assert!(faults(&deep, Format::Json).contains("deeper than 24"));
        let many = format!("[{}1]", "1,".repeat(MAX_VALUES));
        assert!(faults(&many, Format::Json).contains("more than 32768 values"));
        // Nine lists of nine of the one before: as text a few hundred bytes, as values billions.
        let mut laughs = String::from("a: &a [x,x,x,x,x,x,x,x,x]\n");
        for (before, name) in ('a'..='h').zip('b'..='i') {
            let alias = vec![format!("*{before}"); 9].join(",");
            laughs.push_str(&format!("{name}: &{name} [{alias}]\n"));
        }
        assert!(faults(&laughs, Format::Yaml).contains("is not YAML that can be read"));
    }

    #[test]
    fn values_from_elsewhere_have_the_same_limits() {
        assert!(Document::from_value(json!({"pipeline": {"nodes": []}})).is_ok());
        let told = |value| Document::from_value(value).expect_err("too much").to_string();
        let deep = (0..=MAX_DEPTH).fold(json!(1), |inner, _| json!([inner]));
        assert!(told(deep).contains("deeper than 24"));
        assert!(told(json!(vec![1; MAX_VALUES])).contains("more than 32768 values"));
        assert!(told(json!("x".repeat(MAX_TEXT + 1))).contains("bytes of text"));
    }
}
