//! What the router tells of a call: stage times, workers, the session's name.
//!
//! It is read with tolerance from the notifications of the data channel `events`, `session.describe` and
//! `/api/sessions`, so that a field more or less there changes nothing here.

use crate::processes::Watch;
use crate::report::StageTime;
use serde_json::Value;
use std::collections::BTreeMap;

/// Levels of JSON that are looked into.
const DEPTH: u32 = 6;
/// Stages that are kept: six and sixteen nodes would be more than any frame can carry.
const MOST: usize = 32;

/// The newest of what was told.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) session_id: Option<String>,
    pub(crate) video: BTreeMap<String, StageTime>,
    pub(crate) audio: BTreeMap<String, StageTime>,
}

impl Facts {
    /// Takes a message of the data channel `events`, and watches the processes that it names.
    pub(crate) fn event(&mut self, text: &[u8], watch: &mut Watch) {
        let Ok(value) = serde_json::from_slice::<Value>(text) else { return };
        if value.get("event").and_then(Value::as_str) == Some("stages") {
            self.describe(&value, watch);
        }
    }

    /// Takes a description of a session.
    pub(crate) fn describe(&mut self, value: &Value, watch: &mut Watch) {
        if let Some(id) = value.get("session_id").and_then(Value::as_str) {
            self.session_id = Some(id.chars().take(64).collect());
        }
        let stages = value.get("stages").unwrap_or(value);
        for (kind, into) in [("video", &mut self.video), ("audio", &mut self.audio)] {
            let told = stages.get(kind).map(read_stages).unwrap_or_default();
            if !told.is_empty() {
                *into = told;
            }
        }
        watch_processes(value, watch, DEPTH);
    }
}

fn read_stages(value: &Value) -> BTreeMap<String, StageTime> {
    let Some(stages) = value.as_object() else { return BTreeMap::new() };
    stages
        .iter()
        .filter_map(|(name, time)| {
            let p = |key: &str| time.get(key).and_then(Value::as_f64);
            Some((name.clone(), StageTime { p50: p("p50")?, p95: p("p95")? }))
        })
        .take(MOST)
        .collect()
}

/// Everything that has a pid and a name or role is a process.
fn watch_processes(value: &Value, watch: &mut Watch, depth: u32) {
    let Some(depth) = depth.checked_sub(1) else { return };
    match value {
        Value::Array(items) => items.iter().for_each(|item| watch_processes(item, watch, depth)),
        Value::Object(fields) => {
            let text = |key: &str| fields.get(key).and_then(Value::as_str);
            let pid = fields.get("pid").and_then(Value::as_u64).and_then(|p| p.try_into().ok());
            if let (Some(name), Some(pid)) = (text("name").or_else(|| text("role")), pid) {
                watch.add(name, pid);
            }
            fields.values().for_each(|field| watch_processes(field, watch, depth));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    #[test]
    fn stage_times_and_workers_are_read_from_the_routers_notification() {
        let (mut facts, mut watch) = (Facts::default(), Watch::default());
        let event = json!({
            "event": "stages", "session_id": "s", "pipeline": "p",
            "video": {"decoded": {"p50": 1.5, "p95": 2.0}, "node:blur": {"p50": 3.0, "p95": 4.0}},
            "audio": {"encoded": {"p50": 0.2, "p95": 0.3}},
            "workers": [{"name": "codec-1", "role": "codec", "pid": std::process::id()}],
        });
        facts.event(event.to_string().as_bytes(), &mut watch);
        assert_eq!(facts.session_id.as_deref(), Some("s"));
        assert_eq!(facts.video["node:blur"], StageTime { p50: 3.0, p95: 4.0 });
        assert_eq!(facts.audio["encoded"].p95, 0.3);
        assert_eq!(watch.report()[0].name, "codec-1");
    }

    #[test]
    fn anything_else_on_that_channel_is_passed_over() {
        let (mut facts, mut watch) = (Facts::default(), Watch::default());
        for text in ["", "{", "[]", "null", r#"{"event":"stages","video":7,"workers":{"pid":-1}}"#]
        {
            facts.event(text.as_bytes(), &mut watch);
        }
        assert!(facts.video.is_empty() && watch.report().is_empty());
    }
}
