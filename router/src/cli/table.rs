//! Tables on stdout, and what their cells show of JSON.

use super::Failure;
use anyhow::Context;
use comfy_table::{Table, presets};
use serde_json::Value;
use std::io::{self, Write};

/// A table with this head; plain lines, so that it can be cut and grepped.
pub(super) fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(head.iter().copied());
    table
}

/// Prints text; a reader that went away is a normal end.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    match writeln!(io::stdout(), "{text}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => Ok(other.context("cannot write to stdout")?),
    }
}

/// Prints JSON as people read it.
pub(super) fn json(value: &Value) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).context("cannot write JSON")?)
}

/// A member's text, number or truth; `-` where there is none.
pub(super) fn cell(row: &Value, key: &str) -> String {
    match row.get(key) {
        Some(Value::String(text)) => text.chars().filter(|c| !c.is_control()).collect(),
        Some(Value::Number(number)) => number.to_string(),
        Some(Value::Bool(truth)) => truth.to_string(),
        _ => "-".into(),
    }
}

/// A member's list; empty where there is none.
pub(super) fn list<'a>(row: &'a Value, key: &str) -> &'a [Value] {
    row.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A number with one decimal.
pub(super) fn decimal(value: Option<&Value>) -> String {
    value.and_then(Value::as_f64).map_or_else(|| "-".into(), |number| format!("{number:.1}"))
}

/// Bytes as MB with one decimal.
#[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(super) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
