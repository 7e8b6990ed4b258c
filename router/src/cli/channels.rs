//! `remotemedia channels [SESSION]`.

use super::Failure;
use super::table::{cell, json, list, megabytes, print, table};
use super::target::Target;
use anyhow::anyhow;
use serde_json::{Value, json};

/// Show the channels of a running router's sessions.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Of this session only
    session: Option<String>,
    #[command(flatten)]
    target: Target,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let all = args.target.find()?.get("/api/sessions").await?;
    let chosen = choose(list(&all, "sessions"), args.session.as_deref())?;
    if args.target.json {
        let sessions: Vec<Value> = chosen
            .iter()
            .map(|s| json!({"session_id": s.get("session_id"), "channels": list(s, "channels")}))
            .collect();
        return json(&json!({"sessions": sessions}));
    }
    print(&rows(&chosen))
}

fn choose<'a>(sessions: &'a [Value], wanted: Option<&str>) -> Result<Vec<&'a Value>, Failure> {
    let id = |session: &Value| cell(session, "session_id");
    let chosen: Vec<&Value> =
        sessions.iter().filter(|s| wanted.is_none_or(|wanted| id(s) == wanted)).collect();
    match wanted {
        Some(wanted) if chosen.is_empty() => {
            let known: Vec<String> = sessions.iter().map(id).collect();
            let known = if known.is_empty() { "there are none".into() } else { known.join(", ") };
            Err(Failure::Failed(anyhow!("there is no session {wanted:?}; sessions: {known}")))
        }
        Some(_) | None => Ok(chosen),
    }
}

fn rows(sessions: &[&Value]) -> String {
    let mut table = table(&[
        "SESSION",
        "INDEX",
        "CHANNEL",
        "GEN",
        "EPOCH",
        "FRAMES",
        "WHEN FULL",
        "FRAME BYTES",
        "MB AT MOST",
    ]);
    for session in sessions {
        for channel in list(session, "channels") {
            let bytes = channel.get("bytes").and_then(Value::as_u64);
            table.add_row([
                cell(session, "session_id"),
                cell(channel, "index"),
                cell(channel, "name"),
                cell(channel, "generation"),
                cell(channel, "epoch"),
                cell(channel, "capacity"),
                cell(channel, "when_full"),
                cell(channel, "max_payload"),
                bytes.map_or_else(|| "-".into(), megabytes),
            ]);
        }
    }
    if table.is_empty() { "no channels".into() } else { table.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sessions() -> Vec<Value> {
        let channel = |name: &str| {
            json!({"index": 3, "name": name, "generation": 1, "epoch": 2, "capacity": 2,
                   "when_full": "newest_wins", "max_payload": 1_382_400, "bytes": 9_700_000})
        };
        vec![
            json!({"session_id": "a", "channels": [channel("rm/a/in/p/video0/raw")]}),
            json!({"session_id": "b", "channels": [channel("rm/b/in/p/video0/raw")]}),
        ]
    }

    #[test]
    fn a_channel_is_a_row() {
        let all = sessions();
        let chosen = choose(&all, Some("b")).expect("it is there");
        let text = rows(&chosen);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("rm/b/in/p/video0/raw"), "{text}");
        assert!(text.contains("newest_wins") && text.contains("9.7"), "{text}");
    }

    #[test]
    fn a_session_that_is_not_there_is_named_with_those_that_are() {
        let Err(failure) = choose(&sessions(), Some("c")) else { panic!("found") };
        assert_eq!(failure.to_string(), r#"there is no session "c"; sessions: a, b"#);
    }
}
