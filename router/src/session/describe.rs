//! What tables, pages and receipts show of a session.

use super::budget::NoRoom;
use super::dance::Dance;
use super::member::{self, Snapshot};
use super::mending::Mended;
use super::stages::Percentiles;
use super::wiring::{Product, TaskKey};
use crate::workers::{Pool, WorkerView};
use remotemedia_peer::PeerError;
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::{ChannelSpec, Counters, Sandbox, TaskId, ThreadBeat};
use remotemedia_shm_schema::{Media, NodeId, PeerId, SessionId};
use remotemedia_signaling::message::{Code, Error};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// A member that does not answer within this is shown without its counters.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_millis(200);

/// What a teardown freed, verified by listing.
#[derive(Debug, Clone, Serialize)]
pub struct Receipt {
    /// Which session.
    pub session_id: SessionId,
    /// Why it ended.
    pub cause: String,
    /// Set when it ended because it could not go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Processes that were ended and reaped.
    pub workers_reaped: usize,
    /// Shared-memory objects and files that were removed.
    pub objects_removed: u64,
    /// Bytes given back.
    pub bytes: u64,
    /// Milliseconds from the session's begin until its first media were wired through all workers; none if that never was.
    pub ready_ms: Option<f64>,
    /// Milliseconds that the end took.
    pub took_ms: f64,
    /// Processes that died in it, and how long it took until media came again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub recoveries: Vec<Mended>,
    /// What could not be removed; empty.
    pub left: Vec<String>,
}

/// What a namespace takes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SharedMemory {
    /// Objects in it.
    pub objects: u64,
    /// Bytes in use.
    pub used: u64,
    /// Bytes that its channels may take at most.
    pub reserved: u64,
}

impl SharedMemory {
    pub(super) fn of(dance: &Dance) -> Self {
        let objects = dance.ground().objects().unwrap_or_default();
        dance.budget().used(objects);
        Self {
            objects: objects.count as u64,
            used: objects.bytes,
            reserved: dance.budget().reserved(),
        }
    }
}

/// A worker of the session.
#[derive(Debug, Clone, Serialize)]
pub struct Worker {
    /// `codec-3`.
    pub name: String,
    /// `codec`, `pipeline`, `custom` or `attached`.
    pub role: &'static str,
    /// Its process.
    pub pid: u32,
    /// Counts those that stood in for one another, from 1.
    pub generation: u32,
    /// What locks it into its session.
    pub sandbox: Sandbox,
}

/// A program that somebody attached.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Attached {
    /// What it calls itself, with its number.
    pub(super) name: String,
    /// Its process.
    pub(super) pid: u32,
    /// `tap`, `insert` or `source`.
    pub(super) what: &'static str,
    /// The channel that is tapped, the node's id, or the source's name.
    pub(super) of: String,
}

/// A peer of the session.
pub(super) struct Member {
    pub(super) peer_id: PeerId,
    pub(super) connected: bool,
    pub(super) suspended: bool,
    pub(super) commands: mpsc::Sender<member::Command>,
}

/// All that is known of a session at one moment, but for what its members are still to be asked.
pub(super) struct Picture {
    pub(super) session: SessionId,
    pub(super) pipeline: String,
    pub(super) state: &'static str,
    pub(super) seconds: f64,
    pub(super) epoch: u32,
    pub(super) refusals: u32,
    pub(super) shared_memory: SharedMemory,
    pub(super) channels: Vec<ChannelSpec>,
    pub(super) tasks: BTreeMap<TaskId, String>,
    pub(super) bitrates: BTreeMap<String, u32>,
    pub(super) workers: Vec<Worker>,
    pub(super) node_errors: BTreeMap<String, String>,
    pub(super) node_states: BTreeMap<String, String>,
    pub(super) attached: Vec<Attached>,
    /// What attached programs told of their threads, by their names.
    pub(super) beats: Vec<(String, Vec<ThreadBeat>)>,
    pub(super) members: Vec<Member>,
    pub(super) nodes: Arc<[(u8, NodeId)]>,
    pub(super) pool: Pool,
}

/// A task's name in tables.
#[must_use]
pub fn task(key: &TaskKey) -> String {
    match key {
        TaskKey::Enter(s) => format!("take in {} of {}", s.kind.name(), s.peer),
        TaskKey::Exit(p) => format!("hand on {} of {}", p.codec, p.stream),
        TaskKey::Decode(s) => format!("decode {} of {}", s.kind.name(), s.peer),
        TaskKey::Make(s) => format!("make {} of {}", s.kind.name(), s.peer),
        TaskKey::Graph(s, node) => format!("nodes to {node} on {} of {}", s.kind.name(), s.peer),
        TaskKey::Encode(p) => format!("encode {} of {}", p.codec, p.stream),
    }
}

/// A product's name in tables.
#[must_use]
pub fn product(product: &Product) -> String {
    format!("{}.{}", product.stream, product.codec)
}

impl Picture {
    async fn snapshots(&self) -> Vec<(PeerId, bool, bool, Snapshot)> {
        let mut all = Vec::new();
        for member in &self.members {
            let (reply, answer) = oneshot::channel();
            let command = member::Command::Snapshot(Arc::clone(&self.nodes), reply);
            let snapshot = match member.commands.try_send(command) {
                Ok(()) => tokio::time::timeout(SNAPSHOT_TIMEOUT, answer).await,
                Err(_) => continue,
            };
            let snapshot = snapshot.ok().and_then(Result::ok).unwrap_or_default();
            all.push((member.peer_id.clone(), member.connected, member.suspended, snapshot));
        }
        all
    }

    /// `session.describe`, and one entry of `/api/sessions`.
    pub(super) async fn to_json(&self) -> Value {
        let workers = self.pool.view().await;
        let snapshots = self.snapshots().await;
        let tasks = self.task_rows(&workers);
        let members: Vec<Value> = snapshots
            .iter()
            .map(|(peer, connected, suspended, snapshot)| {
                json!({
                    "peer_id": peer, "connected": connected, "suspended": suspended,
                    "media": snapshot,
                })
            })
            .collect();
        json!({
            "session_id": self.session,
            "pipeline": self.pipeline,
            "state": self.state,
            "seconds": self.seconds,
            "epoch": self.epoch,
            "refused_changes": self.refusals,
            "shared_memory": self.shared_memory,
            "workers": self.workers,
            "node_errors": self.node_errors,
            "node_states": self.node_states,
            "attached": self.attached,
            "nodes": self.nodes.iter().map(|(number, id)| json!({
                "number": number, "id": id,
                "state": self.node_states.get(id.as_str()).map_or("running", String::as_str),
                "error": self.node_errors.get(id.as_str()),
            })).collect::<Vec<_>>(),
            "members": members,
            "stages": {
                "video": stages(&snapshots, Media::Video, None),
                "audio": stages(&snapshots, Media::Audio, None),
            },
            "channels": self.channels.iter().map(|c| json!({
                "index": c.index, "name": c.name, "generation": c.generation, "epoch": c.epoch,
                "capacity": c.contract.capacity, "when_full": c.contract.when_full,
                "max_payload": c.max_payload, "max_readers": c.max_readers,
                "bytes": remotemedia_worker::namespace::bytes_of(c),
            })).collect::<Vec<_>>(),
            "tasks": tasks,
            "bitrates": self.bitrates,
            "dropped": self.dropped(&workers),
        })
    }

    /// The statistics that pages get once a second.
    pub(super) async fn tell_pages(&self) {
        let workers = self.pool.view().await;
        let snapshots = self.snapshots().await;
        let dropped = self.dropped(&workers);
        for member in &self.members {
            let own = Some(&member.peer_id);
            let output = snapshots
                .iter()
                .filter(|(peer, ..)| Some(peer) == own)
                .flat_map(|(.., snapshot)| &snapshot.sends)
                .find(|sent| sent.kind == "video")
                .map(|sent| json!({"codec": sent.codec, "bitrate": sent.target_bitrate}));
            let event = json!({
                "event": "stages",
                "session_id": self.session,
                "pipeline": self.pipeline,
                "state": self.state,
                "video": stages(&snapshots, Media::Video, own),
                "audio": stages(&snapshots, Media::Audio, own),
                "output": output,
                "workers": self.workers.iter().map(|w| json!({
                    "name": w.name, "role": w.role, "pid": w.pid, "generation": w.generation,
                    "state": "leased",
                })).collect::<Vec<_>>(),
                "node_errors": self.node_errors,
                "node_states": self.node_states,
                "dropped": dropped,
            });
            let text: Arc<str> = event.to_string().into();
            let _ = member.commands.try_send(member::Command::Notify(text));
        }
    }

    fn counters<'a>(
        &'a self,
        workers: &'a [WorkerView],
    ) -> impl Iterator<Item = (TaskId, &'a str, Counters)> {
        workers
            .iter()
            .map(|worker| (worker.name.as_str(), &*worker.threads))
            .chain(self.beats.iter().map(|(name, threads)| (name.as_str(), threads.as_slice())))
            .flat_map(|(name, threads)| threads.iter().map(move |thread| (name, thread)))
            .filter(|(_, thread)| thread.session == self.session)
            .map(|(name, thread)| (thread.task, name, thread.counters))
    }

    fn task_rows(&self, workers: &[WorkerView]) -> Vec<Value> {
        self.counters(workers)
            .map(|(id, worker, counters)| {
                json!({
                    "task": self.tasks.get(&id), "worker": worker,
                    "received": counters.received, "published": counters.published,
                    "copied_bytes": counters.copied_bytes, "concealed": counters.concealed,
                    "errors": counters.errors, "keyframes": counters.keyframes,
                    "dropped": by_reason(&counters.dropped),
                })
            })
            .collect()
    }

    fn dropped(&self, workers: &[WorkerView]) -> BTreeMap<&'static str, u64> {
        let mut sum = [0u64; DropReason::ALL.len()];
        for (_, _, counters) in self.counters(workers) {
            for (total, count) in sum.iter_mut().zip(counters.dropped) {
                *total = total.saturating_add(count);
            }
        }
        by_reason(&sum)
    }
}

fn by_reason(dropped: &[u64; DropReason::ALL.len()]) -> BTreeMap<&'static str, u64> {
    DropReason::ALL
        .iter()
        .zip(dropped)
        .filter(|(_, count)| **count > 0)
        .map(|(reason, count)| (reason.name(), *count))
        .collect()
}

/// The stages of the first stream of this kind that somebody (or this peer) views.
fn stages(
    snapshots: &[(PeerId, bool, bool, Snapshot)],
    kind: Media,
    viewer: Option<&PeerId>,
) -> BTreeMap<String, Percentiles> {
    snapshots
        .iter()
        .filter(|(peer, ..)| viewer.is_none_or(|viewer| viewer == peer))
        .flat_map(|(.., snapshot)| &snapshot.sends)
        .find(|sent| sent.kind == kind.name() && !sent.stages.is_empty())
        .map(|sent| sent.stages.clone())
        .unwrap_or_default()
}

/// A refused offer's error on the wire.
pub(super) fn error(error: &anyhow::Error) -> Error {
    if let Some(error) = error.downcast_ref::<PeerError>() {
        return peer_error(error);
    }
    match error.downcast_ref() {
        Some(no_room) => self::no_room(no_room),
        None => Error::internal(&format!("{error:#}")),
    }
}

/// The shared memory that a session or a peer would take is not there.
pub fn no_room(error: &NoRoom) -> Error {
    let data = json!({ "what": "shared memory", "limit": error.free, "in_use": error.needed });
    Error::new(Code::NoCapacity, error.to_string(), data)
}

/// What a connection made of an offer.
pub(super) fn peer_error(error: &PeerError) -> Error {
    let text = error.to_string();
    match error {
        PeerError::Sdp { reason, line } => {
            Error::new(Code::OfferInvalid, text, json!({ "reason": reason, "line": line }))
        }
        PeerError::Candidate(reason) => {
            Error::new(Code::CandidateInvalid, text, json!({ "reason": reason }))
        }
        PeerError::Limit { what, limit } => Error::new(
            Code::OfferInvalid,
            text,
            json!({ "reason": format!("more than {limit} {what}") }),
        ),
        _ => Error::internal(&text),
    }
}
