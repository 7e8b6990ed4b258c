//! `remotemedia sessions`.

use super::Failure;
use super::table::{cell, decimal, json, list, megabytes, print, table};
use super::target::Target;
use serde_json::{Value, json};

/// Show a running router's sessions.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let all = args.target.find()?.get("/api/sessions").await?;
    let sessions = list(&all, "sessions");
    if args.target.json {
        return json(&json!({"sessions": sessions, "load": all.get("load")}));
    }
    print(&rows(sessions))
}

fn rows(sessions: &[Value]) -> String {
    if sessions.is_empty() {
        return "no sessions".into();
    }
    let mut table = table(&[
        "SESSION", "PIPELINE", "STATE", "SECONDS", "PEERS", "WORKERS", "CHANNELS", "SHM MB",
    ]);
    for session in sessions {
        let used = session.pointer("/shared_memory/used").and_then(Value::as_u64);
        table.add_row([
            cell(session, "session_id"),
            cell(session, "pipeline"),
            cell(session, "state"),
            decimal(session.get("seconds")),
            list(session, "members").len().to_string(),
            list(session, "workers").len().to_string(),
            list(session, "channels").len().to_string(),
            used.map_or_else(|| "-".into(), megabytes),
        ]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_a_row_and_what_is_unknown_a_dash() {
        let sessions = [
            json!({"session_id": "room-1", "pipeline": "blur", "state": "active", "seconds": 3.25,
                   "members": [{}, {}], "workers": [{}], "channels": [],
                   "shared_memory": {"used": 9_700_000}}),
            json!({"session_id": "room-2", "state": "busy"}),
        ];
        let text = rows(&sessions);
        let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["room-1", "blur", "active", "3.2", "2", "1", "0", "9.7"]);
        assert_eq!(lines[2], ["room-2", "-", "busy", "-", "0", "0", "0", "-"]);
        assert_eq!(rows(&[]), "no sessions");
    }
}
