//! What is wrong with a manifest, where, and what was probably meant.

use crate::limits::{MAX_FAULTS, MAX_KEY};
use crate::suggest::did_you_mean;
use serde::Serialize;
use serde_json::{Map, Value};
use std::fmt;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where, as a JSON pointer (RFC 6901): `/pipeline/nodes/0/type`; empty is the whole manifest. In YAML and TOML the same
    /// keys and numbers lead there.
    pub path: String,
    /// What.
    pub message: String,
    /// What was probably meant, or what there is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() { "the manifest" } else { self.path.as_str() };
        write!(f, "{place}: {}", self.message)?;
        match &self.suggestion {
            Some(suggestion) => write!(f, "; {suggestion}"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a manifest, in its own order; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl Faults {
    /// For a message that goes on with them: one on the same line, several each on a line of its own.
    #[must_use]
    pub fn list(&self) -> String {
        match self.0.as_slice() {
            [only] => only.to_string(),
            all => all.iter().map(|fault| format!("\n  {fault}")).collect(),
        }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// A place in the document, written as RFC 6901 says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place(String);

impl Place {
    /// The whole document.
    pub(crate) fn root() -> Self {
        Self(String::new())
    }

    /// What an object has under this key. A stranger's key may be long, or move a terminal's cursor: then it is what holds it.
    pub(crate) fn key(&self, key: &str) -> Self {
        if key.len() > MAX_KEY || key.chars().any(char::is_control) {
            return self.clone();
        }
        Self(format!("{}/{}", self.0, key.replace('~', "~0").replace('/', "~1")))
    }

    /// An entry of a list.
    pub(crate) fn item(&self, index: usize) -> Self {
        Self(format!("{}/{index}", self.0))
    }

    /// As faults show it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Gathers faults, up to [`MAX_FAULTS`].
#[derive(Debug, Default)]
pub(crate) struct Log {
    faults: Vec<Fault>,
}

impl Log {
    /// Takes one down.
    pub(crate) fn fault(&mut self, at: &Place, message: impl Into<String>) {
        self.hint(at, message, None);
    }

    /// And what was probably meant.
    pub(crate) fn hint(
        &mut self,
        at: &Place,
        message: impl Into<String>,
        suggestion: Option<String>,
    ) {
        if !self.is_full() {
            let (path, message) = (at.as_str().to_owned(), message.into());
            self.faults.push(Fault { path, message, suggestion });
        }
    }

    /// Whether there is none so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether no more are taken down: what would only find more need not be done.
    pub(crate) fn is_full(&self) -> bool {
        self.faults.len() >= MAX_FAULTS
    }

    /// All of them in the order of their places; of one place, as they were found.
    pub(crate) fn into_faults(self) -> Faults {
        let mut faults = self.faults;
        faults.sort_by_cached_key(|fault| steps(&fault.path));
        Faults(faults)
    }

    /// The value as an object, or a fault.
    pub(crate) fn object<'v>(
        &mut self,
        at: &Place,
        value: &'v Value,
    ) -> Option<&'v Map<String, Value>> {
        let object = value.as_object();
        if object.is_none() {
            self.fault(at, format!("must be an object, and is {}", what(value)));
        }
        object
    }

    /// The value as a list of at most so many, or a fault.
    pub(crate) fn list<'v>(
        &mut self,
        at: &Place,
        value: &'v Value,
        most: usize,
    ) -> Option<&'v [Value]> {
        let Some(list) = value.as_array() else {
            self.fault(at, format!("must be a list, and is {}", what(value)));
            return None;
        };
        if list.len() > most {
            self.fault(at, format!("has {} entries; {most} are allowed", list.len()));
            return None;
        }
        Some(list)
    }

    /// A text that must be there, or a fault.
    pub(crate) fn text<'v>(
        &mut self,
        at: &Place,
        object: &'v Map<String, Value>,
        key: &str,
    ) -> Option<&'v str> {
        match object.get(key) {
            Some(value) => self.as_text(&at.key(key), value),
            None => {
                self.fault(at, format!("`{key}` is missing"));
                None
            }
        }
    }

    /// The value as a text, or a fault.
    pub(crate) fn as_text<'v>(&mut self, at: &Place, value: &'v Value) -> Option<&'v str> {
        let text = value.as_str();
        if text.is_none() {
            self.fault(at, format!("must be a text, and is {}", what(value)));
        }
        text
    }

    /// A whole number of this range where the key is there; anything else is a fault.
    pub(crate) fn number(
        &mut self,
        at: &Place,
        object: &Map<String, Value>,
        key: &str,
        (least, most): (u32, u32),
    ) -> Option<u32> {
        let value = said(object, key)?;
        let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
        let number = number.filter(|n| (least..=most).contains(n));
        if number.is_none() {
            let allowed = format!("a whole number from {least} to {most} is allowed");
            self.fault(&at.key(key), format!("is {}; {allowed}", what(value)));
        }
        number
    }

    /// Every key that is not among `known` is a fault: a misspelt one would else be silently without effect.
    pub(crate) fn only(&mut self, at: &Place, object: &Map<String, Value>, known: &[&str]) {
        for key in object.keys().filter(|key| !known.contains(&key.as_str())) {
            let message = format!("unknown key {}", quote(key));
            self.hint(&at.key(key), message, did_you_mean(key, known));
        }
    }
}

/// An optional key's value; `null` is as good as left out, as YAML writes an empty one so.
pub(crate) fn said<'v>(object: &'v Map<String, Value>, key: &str) -> Option<&'v Value> {
    object.get(key).filter(|value| !value.is_null())
}

/// A stranger's text in an error: its beginning only, and no control characters.
pub(crate) fn quote(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(40).flat_map(char::escape_debug).collect();
    if chars.next().is_some() { format!("`{head}…`") } else { format!("`{head}`") }
}

/// A value's kind, for errors.
pub(crate) fn what(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {}", quote(s)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// One step of a path, ordered as a manifest is read.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Item(usize),
    Key(usize, String),
}

/// Keys in the order in which manifests have them; others come behind.
const READING_ORDER: [&str; 16] = [
    "description",
    "pipeline",
    "nodes",
    "graph",
    "routes",
    "id",
    "type",
    "worker",
    "params",
    "on_failure",
    "frame_limit_ms",
    "queue",
    "from",
    "output",
    "to",
    "capacity",
];

fn steps(path: &str) -> Vec<Step> {
    let step = |text: &str| match text.parse::<usize>() {
        Ok(index) => Step::Item(index),
        Err(_) => {
            let rank = READING_ORDER.iter().position(|key| *key == text);
            Step::Key(rank.unwrap_or(READING_ORDER.len()), text.to_owned())
        }
    };
    path.split('/').skip(1).map(step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_escapes_what_rfc_6901_says_and_leaves_out_what_would_harm_a_terminal() {
        let at = Place::root().key("pipeline").key("nodes").item(3).key("a/b~c");
        assert_eq!(at.as_str(), "/pipeline/nodes/3/a~1b~0c");
        assert_eq!(at.key("\u{1b}[2J"), at);
        assert_eq!(at.key(&"x".repeat(MAX_KEY + 1)), at);
    }

    #[test]
    fn faults_come_in_the_order_in_which_a_manifest_is_read() {
        let mut log = Log::default();
        let nodes = Place::root().key("pipeline").key("nodes");
        let places = [
            Place::root().key("pipeline").key("routes").item(0),
            Place::root().key("pipeline").key("graph").item(1),
            nodes.item(10).key("id"),
            nodes.item(2).key("surplus"),
            nodes.item(2).key("params"),
            nodes.item(2).key("type"),
            nodes.clone(),
            Place::root(),
        ];
        for place in &places {
            log.fault(place, "x");
        }
        let sorted: Vec<String> = log.into_faults().0.into_iter().map(|f| f.path).collect();
        let expected: Vec<&str> = places.iter().rev().map(Place::as_str).collect();
        assert_eq!(sorted, expected);
    }

    #[test]
    fn a_fault_reads_as_a_sentence() {
        let fault = Fault {
            path: "/pipeline/nodes/0/type".into(),
            message: "unknown node type `Bluur`".into(),
            suggestion: Some("did you mean `GaussianBlur`?".into()),
        };
        assert_eq!(
            fault.to_string(),
            "/pipeline/nodes/0/type: unknown node type `Bluur`; did you mean `GaussianBlur`?"
        );
        let whole = Fault { path: String::new(), message: "is empty".into(), suggestion: None };
        assert_eq!(Faults(vec![whole.clone()]).list(), "the manifest: is empty");
        assert!(
            Faults(vec![whole, fault]).list().starts_with("\n  the manifest: is empty\n  /pipe")
        );
    }
}
