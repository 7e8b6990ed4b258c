//! `routes`: which output goes to whom.

use super::edges::MAIN;
use crate::fault::{Log, Place, quote, what};
use crate::graph::Route;
use crate::limits::MAX_ROUTES;
use crate::suggest::did_you_mean;
use remotemedia_shm_schema::{OutputId, PeerId};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The router itself, which is a peer of every room and takes no media by a route.
const ROUTER: &str = "router";
/// The names that stand for themselves.
const NAMES: [&str; 4] = ["sender", "others", "all", "bandwidth"];

/// What goes to whom.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    /// Of each output that is named, in the order in which they stand.
    pub(crate) of: BTreeMap<OutputId, Vec<Route>>,
    /// The outputs that measured bandwidth chooses from, the greatest first.
    pub(crate) ladder: Vec<OutputId>,
    /// Where each output of the ladder is put there, for what is found later.
    pub(crate) rungs: Vec<Place>,
}

/// Reads them; `outputs` are those that the graph names.
pub(crate) fn read(
    at: &Place,
    value: &Value,
    outputs: &BTreeSet<OutputId>,
    log: &mut Log,
) -> Routes {
    let mut routes = Routes::default();
    let Some(list) = log.list(at, value, MAX_ROUTES) else { return routes };
    for (index, value) in list.iter().enumerate() {
        let at = at.item(index);
        let Some(object) = log.object(&at, value) else { continue };
        log.only(&at, object, &["output", "to"]);
        let output = log.text(&at, object, "output");
        let output = output.and_then(|name| output_of(name, &at.key("output"), outputs, log));
        let to = match object.get("to") {
            Some(to) => route(to, &at.key("to"), log),
            None => {
                log.fault(&at, "`to` is missing");
                None
            }
        };
        let (Some(output), Some(to)) = (output, to) else { continue };
        let told = routes.of.entry(output.clone()).or_default();
        if told.contains(&to) {
            log.fault(&at, format!("`{output}` already goes there"));
            continue;
        }
        if to == Route::Bandwidth {
            routes.ladder.push(output);
            routes.rungs.push(at);
        }
        told.push(to);
    }
    routes
}

fn output_of(
    name: &str,
    at: &Place,
    outputs: &BTreeSet<OutputId>,
    log: &mut Log,
) -> Option<OutputId> {
    let found = outputs.iter().find(|output| output.as_str() == name).cloned();
    if found.is_none() {
        let known: Vec<&str> = outputs.iter().map(OutputId::as_str).collect();
        let bare = match name {
            "output" => Some(MAIN),
            _ => name.strip_prefix("output.").filter(|bare| known.contains(bare)),
        };
        let advice = match bare {
            Some(bare) => Some(format!("an output is named without `output.`: `{bare}`")),
            None => did_you_mean(name, &known),
        };
        log.hint(at, format!("no edge leads to an output {}", quote(name)), advice);
    }
    found
}

fn route(value: &Value, at: &Place, log: &mut Log) -> Option<Route> {
    match value {
        Value::String(name) => match name.as_str() {
            "sender" => Some(Route::Sender),
            "others" => Some(Route::Others),
            "all" => Some(Route::All),
            "bandwidth" => Some(Route::Bandwidth),
            _ => {
                log.hint(at, format!("nobody is called {}", quote(name)), advice(name));
                None
            }
        },
        Value::Object(object) => {
            log.only(at, object, &["peer", "role"]);
            let (peer, role) = (object.get("peer"), object.get("role"));
            match (peer, role) {
                (Some(peer), None) => name(peer, &at.key("peer"), log).map(Route::Peer),
                (None, Some(role)) => {
                    let role = name(role, &at.key("role"), log)?;
                    Some(Route::Role(role.as_str().to_owned()))
                }
                // A key that is not known was told already.
                (None, None) if !object.is_empty() => None,
                _ => {
                    log.fault(at, "must have either `peer` or `role`");
                    None
                }
            }
        }
        other => {
            let forms = "one of \"sender\", \"others\", \"all\", \"bandwidth\", {\"peer\": ID}, {\"role\": NAME}";
            log.fault(at, format!("must be {forms}, and is {}", what(other)));
            None
        }
    }
}

fn advice(name: &str) -> Option<String> {
    match crate::suggest::nearest(name, &NAMES) {
        Some(near) => Some(format!("did you mean `{near}`?")),
        None => Some(format!("a peer is {{\"peer\": \"ID\"}}; else {}", NAMES.join(", "))),
    }
}

/// A peer's id or a role, which have one grammar.
fn name(value: &Value, at: &Place, log: &mut Log) -> Option<PeerId> {
    let text = log.as_text(at, value)?;
    if text == ROUTER {
        log.fault(at, "`router` is the router itself, which takes no media by a route");
        return None;
    }
    match PeerId::new(text) {
        Ok(name) => Some(name),
        Err(_) => {
            let allowed = "1 to 64 of the letters A-Z a-z, digits, `_` and `-` are allowed";
            log.fault(at, format!("is {}; {allowed}", what(value)));
            None
        }
    }
}
