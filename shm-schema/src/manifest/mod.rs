//! What router and workers both hold against a manifest: a node's parameters, and the limits that both go by.
//!
//! The router reads whole manifests (`router/manifest`), a worker gets nodes with their parameters. Both check parameters with
//! [`check_params`], so that what the router accepts is not refused by the worker for another reason.

mod params;
mod suggest;

pub use params::check as check_params;
pub use suggest::did_you_mean;

use serde::Serialize;
use serde_json::Value;
use std::fmt;

/// Nodes of one pipeline, and so of one task (chosen; their numbers fit a stamp, and ten of them are stamped).
pub const MAX_NODES: usize = 64;
/// What a node may take for one frame unless the manifest says otherwise, in milliseconds (DESIGN: 1 s).
pub const FRAME_LIMIT_MS: u32 = 1_000;
/// Faults that one check tells; more are not looked for.
pub const MAX_FAULTS: usize = 50;

/// One thing that is wrong with a node or its parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// Where: `$.params.sigma`.
    pub path: String,
    /// What, and what to do.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Everything that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(transparent)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            fault.fmt(f)?;
        }
        Ok(())
    }
}

/// A stranger's text in an error: its beginning only.
fn quote(text: &str) -> String {
    let mut chars = text.chars();
    let head: String = chars.by_ref().take(40).flat_map(char::escape_debug).collect();
    if chars.next().is_some() { format!("`{head}…`") } else { format!("`{head}`") }
}

/// A value's kind, for errors.
fn what(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(b) => format!("`{b}`"),
        Value::Number(n) => format!("the number {n}"),
        Value::String(s) => format!("the text {}", quote(s)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests;
