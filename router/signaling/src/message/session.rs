//! Parameters and results of `session.*`.

use remotemedia_shm_schema::{NodeId, OutputId, SessionId, TierId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Who may close, reconfigure and restart a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Control {
    /// Who made it.
    #[default]
    Creator,
    /// Every peer that sees it.
    Any,
}

/// `session.create`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionCreate {
    /// A pipeline that the config names; none is the default one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline: Option<String>,
    /// A pipeline of the caller's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest: Option<Value>,
    /// Peers that it takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_peers: Option<usize>,
    /// Its name and its room; none makes one for the caller alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Who may act on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub control: Option<Control>,
}

/// Answer to `session.create`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionCreated {
    /// Its name.
    pub session_id: SessionId,
}

/// `session.describe` and `session.close`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRef {
    /// Which; none is the session of the caller's own room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
}

/// `session.update`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionUpdate {
    /// Which; none is the session of the caller's own room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The graph that takes the place of the one in force.
    pub manifest: Value,
}

/// `session.reconfigure`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionReconfigure {
    /// Which; none is the session of the caller's own room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Which node of its graph.
    pub node: NodeId,
    /// Those that change.
    pub params: Map<String, Value>,
}

/// `session.restart`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRestart {
    /// Which; none is the session of the caller's own room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Which node of its graph.
    pub node: NodeId,
}

/// `subscription.set`: what a peer wants of an output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscriptionSet {
    /// Which.
    pub output: OutputId,
    /// In which size; none is the greatest that can be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<TierId>,
    /// Whether nothing of it is to be sent for now.
    #[serde(default)]
    pub paused: bool,
}
