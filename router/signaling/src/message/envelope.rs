//! The JSON-RPC 2.0 envelope: requests, notifications, responses, batches.

use super::error::Error;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Characters of an id that is text (chosen): it is echoed in the response.
const MAX_ID: usize = 256;
/// Calls of one batch (chosen): a megabyte of `1,1,1` would otherwise be answered with 50 MB of errors.
const MAX_BATCH: usize = 64;

/// What ties a response to its request.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Id {
    /// A number.
    Number(serde_json::Number),
    /// A text.
    Text(String),
    /// `null`: legal, and what an error carries when the request's id could not be read.
    Null,
}

/// One message of either direction.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A request, or without id a notification.
    Call {
        /// What the response will carry; none for a notification.
        id: Option<Id>,
        /// Which method.
        method: String,
        /// Its parameters; null when there are none.
        params: Value,
    },
    /// The response to a request.
    Reply {
        /// The request's.
        id: Id,
        /// What it came to.
        result: Result<Value, Error>,
    },
}

/// A message that is none, with the id to answer under.
#[derive(Debug, Clone, PartialEq)]
pub struct Fault {
    /// The request's, or null.
    pub id: Id,
    /// What is wrong.
    pub error: Error,
}

/// What a text frame held.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// One message.
    One(Result<Message, Fault>),
    /// Several, to be answered together.
    Batch(Vec<Result<Message, Fault>>),
}

/// Reads a text frame. Any text is accepted; what is wrong comes back as the error to answer with.
#[must_use]
pub fn parse(text: &str) -> Parsed {
    let fault = |error| Parsed::One(Err(Fault { id: Id::Null, error }));
    match serde_json::from_str::<Value>(text) {
        Err(error) => fault(Error::parse(&error)),
        Ok(Value::Array(items)) if items.is_empty() => {
            fault(Error::invalid_request("a batch must hold at least one call"))
        }
        Ok(Value::Array(items)) if items.len() > MAX_BATCH => fault(Error::invalid_request(
            &format!("a batch may hold {MAX_BATCH} calls, not {}", items.len()),
        )),
        Ok(Value::Array(items)) => Parsed::Batch(items.into_iter().map(message).collect()),
        Ok(item) => Parsed::One(message(item)),
    }
}

/// The text of a notification.
#[must_use]
pub fn call(method: &str, params: &impl Serialize) -> String {
    json!({"jsonrpc": "2.0", "method": method, "params": params}).to_string()
}

/// The text of a request.
#[must_use]
pub fn request(id: u64, method: &str, params: &impl Serialize) -> String {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
}

/// A response; its text is what `to_string` gives, and a batch's an array of these.
#[must_use]
pub fn reply(id: &Id, result: &Result<Value, Error>) -> Value {
    match result {
        Ok(result) => json!({"jsonrpc": "2.0", "id": id, "result": result}),
        Err(error) => json!({"jsonrpc": "2.0", "id": id, "error": error}),
    }
}

fn message(value: Value) -> Result<Message, Fault> {
    let Value::Object(mut object) = value else {
        return Err(Fault {
            id: Id::Null,
            error: Error::invalid_request("a call must be a JSON object"),
        });
    };
    let id = match object.remove("id") {
        None => None,
        Some(Value::Null) => Some(Id::Null),
        Some(Value::Number(number)) => Some(Id::Number(number)),
        Some(Value::String(text)) if text.len() <= MAX_ID => Some(Id::Text(text)),
        Some(_) => {
            let what = format!("`id` must be a number, null, or a text of {MAX_ID} bytes at most");
            return Err(Fault { id: Id::Null, error: Error::invalid_request(&what) });
        }
    };
    let fault = |what: &str| Fault {
        id: id.clone().unwrap_or(Id::Null),
        error: Error::invalid_request(what),
    };
    if object.get("jsonrpc").and_then(Value::as_str) != Some("2.0") {
        return Err(fault("`jsonrpc` must be \"2.0\""));
    }
    match (object.remove("method"), object.remove("result"), object.remove("error")) {
        (Some(Value::String(method)), None, None) => {
            let params = object.remove("params").unwrap_or(Value::Null);
            if !matches!(params, Value::Object(_) | Value::Null) {
                return Err(Fault {
                    id: id.unwrap_or(Id::Null),
                    error: Error::invalid_params("", "parameters are given by name, as an object"),
                });
            }
            Ok(Message::Call { id, method, params })
        }
        (Some(_), None, None) => Err(fault("`method` must be a text")),
        (None, Some(result), None) => {
            Ok(Message::Reply { id: id.unwrap_or(Id::Null), result: Ok(result) })
        }
        (None, None, Some(error)) => match serde_json::from_value(error) {
            Ok(error) => Ok(Message::Reply { id: id.unwrap_or(Id::Null), result: Err(error) }),
            Err(_) => Err(fault("`error` must have `code` and `message`")),
        },
        (None, None, None) => Err(fault("`method` is missing")),
        _ => Err(fault("one of `method`, `result` and `error` is allowed, not several")),
    }
}
