//! Entries of `nodes`: who they are, who runs them, and how.

use super::{Terms, params};
use crate::catalogue::{Media, NodeType};
use crate::fault::{Log, Place, quote, said, what};
use crate::graph::Queue;
use crate::limits::{
    FRAME_LIMIT_MS, MAX_AGE_MS, MAX_CAPACITY, MAX_CAPACITY_VIDEO, MAX_FRAME_LIMIT_MS, MAX_KIND,
    MAX_NODES, MAX_PARAMS_TOTAL, MIN_FRAME_LIMIT_MS,
};
use crate::shape::WhenFull;
use crate::suggest::did_you_mean;
use remotemedia_shm_schema::NodeId;
use remotemedia_shm_schema::control::OnFailure;
use serde_json::{Map, Value};

/// What an entry may say.
const KEYS: [&str; 7] = ["id", "type", "params", "worker", "on_failure", "frame_limit_ms", "queue"];

/// An entry as far as it could be read. What could not is absent, and a fault.
#[derive(Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) place: Place,
    pub(crate) id: Option<NodeId>,
    pub(crate) of: Option<&'a NodeType>,
    pub(crate) worker: Option<String>,
    pub(crate) params: Map<String, Value>,
    pub(crate) on_failure: OnFailure,
    pub(crate) frame_limit_ms: u32,
    pub(crate) queue: Queue,
}

impl Draft<'_> {
    /// Its id, for errors.
    pub(crate) fn name(&self) -> &str {
        self.id.as_ref().map_or("?", NodeId::as_str)
    }
}

/// Reads all of them; `None` where there is no list that could be read.
pub(crate) fn read<'a>(
    at: &Place,
    value: Option<&Value>,
    terms: Terms<'a>,
    log: &mut Log,
) -> Option<Vec<Draft<'a>>> {
    let Some(value) = value else {
        log.fault(at, "`nodes` is missing; `[]` hands everything over as it is");
        return None;
    };
    let at = at.key("nodes");
    let list = log.list(&at, value, MAX_NODES)?;
    let mut nodes: Vec<Draft<'a>> = Vec::with_capacity(list.len());
    let mut bytes = 0usize;
    for (index, value) in list.iter().enumerate() {
        let mut node = Draft {
            place: at.item(index),
            id: None,
            of: None,
            worker: None,
            params: Map::new(),
            on_failure: OnFailure::default(),
            frame_limit_ms: FRAME_LIMIT_MS,
            queue: Queue::default(),
        };
        if let Some(object) = log.object(&node.place, value) {
            bytes = bytes.saturating_add(fill(&mut node, object, &nodes, terms, log));
        }
        nodes.push(node);
    }
    if bytes > MAX_PARAMS_TOTAL {
        let allowed = format!("{MAX_PARAMS_TOTAL} are allowed");
        log.fault(&at, format!("the nodes' parameters have {bytes} bytes together; {allowed}"));
    }
    Some(nodes)
}

/// Reads one; gives the bytes of its parameters.
fn fill<'a>(
    node: &mut Draft<'a>,
    object: &Map<String, Value>,
    before: &[Draft<'a>],
    terms: Terms<'a>,
    log: &mut Log,
) -> usize {
    let at = node.place.clone();
    log.only(&at, object, &KEYS);
    node.id = id(&at, object, before, log);
    if let Some(offer) = worker(&at, object, terms, log) {
        node.of = kind(&at, object, &offer, terms, log);
        node.worker = offer.worker.map(str::to_owned);
    }
    node.on_failure = on_failure(&at, object, log);
    let range = (MIN_FRAME_LIMIT_MS, MAX_FRAME_LIMIT_MS);
    if let Some(limit) = log.number(&at, object, "frame_limit_ms", range) {
        node.frame_limit_ms = limit;
    }
    if let Some(value) = said(object, "queue") {
        node.queue = queue(&at.key("queue"), value, node, log);
    }
    let empty = Value::Object(Map::new());
    let value = said(object, "params").unwrap_or(&empty);
    // A place that is there, also where what is missing is all of them.
    let at = if object.contains_key("params") { at.key("params") } else { at };
    let Some(params) = log.object(&at, value) else { return 0 };
    node.params = params.clone();
    params::check(&at, value, node.of, terms, log)
}

fn id(
    at: &Place,
    object: &Map<String, Value>,
    before: &[Draft<'_>],
    log: &mut Log,
) -> Option<NodeId> {
    let text = log.text(at, object, "id")?;
    let at = at.key("id");
    let id = match NodeId::new(text) {
        Ok(id) => id,
        Err(fault) => {
            let mended: String = text.chars().take(32).map(mend).collect();
            let mended = NodeId::new(mended).ok().map(|id| format!("`{id}` would do"));
            log.hint(&at, fault.to_string(), mended);
            return None;
        }
    };
    if let Some(first) = before.iter().find(|node| node.id.as_ref() == Some(&id)) {
        log.fault(&at, format!("`{id}` is already the id of {}", first.place.as_str()));
    }
    Some(id)
}

/// The nearest letter that an id may have.
fn mend(letter: char) -> char {
    let small = letter.to_ascii_lowercase();
    let good = small.is_ascii_lowercase() || small.is_ascii_digit() || matches!(small, '_' | '-');
    if good { small } else { '-' }
}

/// The node types that a node can be of.
struct Offer<'a, 'v> {
    worker: Option<&'v str>,
    types: &'a [NodeType],
}

/// Those of the worker that the node names, or of our own.
fn worker<'a, 'v>(
    at: &Place,
    object: &'v Map<String, Value>,
    terms: Terms<'a>,
    log: &mut Log,
) -> Option<Offer<'a, 'v>> {
    let Some(value) = said(object, "worker") else {
        return Some(Offer { worker: None, types: terms.known.own });
    };
    let at = at.key("worker");
    let name = log.as_text(&at, value)?;
    let found = terms.known.workers.get(name);
    if found.is_none() {
        let known: Vec<&str> = terms.known.workers.keys().map(String::as_str).collect();
        let message = format!("the config describes no worker {}", quote(name));
        log.hint(&at, message, did_you_mean(name, &known));
    }
    found.map(|types| Offer { worker: Some(name), types })
}

fn kind<'a>(
    at: &Place,
    object: &Map<String, Value>,
    offer: &Offer<'a, '_>,
    terms: Terms<'a>,
    log: &mut Log,
) -> Option<&'a NodeType> {
    let name = log.text(at, object, "type")?;
    let at = at.key("type");
    let letters = name.chars().count();
    if !(1..=MAX_KIND).contains(&letters) {
        log.fault(&at, format!("has {letters} characters; 1 to {MAX_KIND} are allowed"));
        return None;
    }
    let Some(found) = offer.types.iter().find(|of| of.kind == name) else {
        let of_whom = offer.worker.map_or(String::new(), |w| format!(" of the worker `{w}`"));
        let message = format!("unknown node type {}{of_whom}", quote(name));
        log.hint(&at, message, elsewhere(name, offer, terms));
        return None;
    };
    // Behind the first contradiction its ports would only be blamed on the manifest.
    if let Some(fault) = found.fault() {
        log.fault(&at, format!("its worker offers {} wrongly: {fault}", quote(name)));
        return None;
    }
    Some(found)
}

/// Who has a node type of this name, or one that is near.
fn elsewhere(name: &str, offer: &Offer<'_, '_>, terms: Terms<'_>) -> Option<String> {
    let has = |types: &[NodeType]| types.iter().any(|of| of.kind == name);
    if offer.worker.is_some() && has(terms.known.own) {
        return Some("our own worker has it: leave `worker` out".to_owned());
    }
    if let Some((worker, _)) = terms.known.workers.iter().find(|(_, types)| has(types)) {
        return Some(format!("the worker `{worker}` has it: say `worker`"));
    }
    let known: Vec<&str> = offer.types.iter().map(|of| of.kind.as_str()).collect();
    did_you_mean(name, &known)
}

fn on_failure(at: &Place, object: &Map<String, Value>, log: &mut Log) -> OnFailure {
    let Some(value) = said(object, "on_failure") else { return OnFailure::default() };
    let known = OnFailure::ALL.map(OnFailure::name);
    one_of(&at.key("on_failure"), value, &known, log)
        .and_then(|name| OnFailure::ALL.into_iter().find(|policy| policy.name() == name))
        .unwrap_or_default()
}

fn queue(at: &Place, value: &Value, node: &Draft<'_>, log: &mut Log) -> Queue {
    let mut queue = Queue::default();
    let Some(object) = log.object(at, value) else { return queue };
    log.only(at, object, &["capacity", "when_full", "max_age_ms"]);
    let makes =
        |media: Media| node.of.is_some_and(|of| of.outputs.iter().any(|port| port.media == media));
    if node.of.is_some_and(|of| of.outputs.is_empty()) {
        let message = format!("`{}` writes no channel", node.name());
        let advice = "say it at the node whose channel it reads".to_owned();
        log.hint(at, message, Some(advice));
    }
    let most = if makes(Media::Video) { MAX_CAPACITY_VIDEO } else { MAX_CAPACITY };
    queue.capacity = log.number(at, object, "capacity", (1, most));
    queue.max_age_ms = log.number(at, object, "max_age_ms", (0, MAX_AGE_MS));
    if let Some(value) = said(object, "when_full") {
        let at = at.key("when_full");
        let known = WhenFull::ALL.map(WhenFull::name);
        let name = one_of(&at, value, &known, log);
        let when = name.and_then(|name| WhenFull::ALL.into_iter().find(|w| w.name() == name));
        match when {
            Some(WhenFull::OldestConcealed) if makes(Media::Video) || makes(Media::Data) => {
                let advice = Some("`newest_wins` is for pictures".to_owned());
                log.hint(&at, "only sound can be concealed", advice);
            }
            Some(WhenFull::Lossless) if queue.max_age_ms.is_some_and(|age| age > 0) => {
                log.fault(&at, "`lossless` contradicts `max_age_ms`, which drops frames");
            }
            when => queue.when_full = when.map(Into::into),
        }
    }
    queue
}

/// A text that is one of these names, or a fault.
fn one_of<'v>(at: &Place, value: &'v Value, known: &[&str], log: &mut Log) -> Option<&'v str> {
    let name = log.as_text(at, value)?;
    if !known.contains(&name) {
        let message = format!("is {}; allowed are {}", what(value), known.join(", "));
        let near = crate::suggest::nearest(name, known);
        log.hint(at, message, near.map(|near| format!("did you mean `{near}`?")));
        return None;
    }
    Some(name)
}
