//! What peers ask of a running session over signaling: other parameters for a node, a node begun anew, an output to receive.

use super::{Actor, Reply};
use crate::session::routes::Viewer;
use crate::session::wiring::set_params;
use crate::workers::{Role, WorkerId};
use remotemedia_shm_schema::control::ToWorker;
use remotemedia_shm_schema::{Media, NodeId, PeerId};
use remotemedia_signaling::Act;
use remotemedia_signaling::message::{Code, Error, SubscriptionSet};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::{Duration, Instant};

/// A node that has not taken its parameters by then is told to be away (chosen: ten frames of the slowest that is allowed by
/// default).
const APPLIED_WITHIN: Duration = Duration::from_secs(10);
/// Parameters that may be under way at once (chosen).
const MAX_ASKED: usize = 64;
/// The only size of an output so far.
const TIER: &str = "full";

/// Parameters that were sent to workers.
#[derive(Default)]
pub(super) struct Asked {
    last: u32,
    waiting: BTreeMap<u32, Waiting>,
}

/// For whom a node is given parameters.
pub(super) enum For {
    /// A peer that asked for it.
    Asker(Reply),
    /// The graph that came into force, of which the node goes on.
    Update,
}

struct Waiting {
    role: Role,
    /// The process that was told: another one of this role was not.
    worker: WorkerId,
    node: NodeId,
    params: Map<String, Value>,
    whom: For,
    since: Instant,
}

impl Actor {
    pub(super) fn act(&mut self, node: &NodeId, act: Act, reply: Reply) {
        match act {
            Act::Reconfigure(params) => self.reconfigure(node, params, reply),
            Act::Restart => {
                let role = self.role_of(node).map(|(role, _)| role);
                let done =
                    self.restart(Some(node)).map_err(|why| Error::invalid_params("/node", &why));
                // The one that comes; where the node failed by itself its process goes on.
                let next = role.map_or(0, |role| {
                    let here = self.leases.contains_key(&role);
                    self.generations.get(&role).copied().unwrap_or(0) + u32::from(!here)
                });
                let _ = reply.send(done.map(|()| json!({ "generation": next })));
            }
        }
    }

    /// Who runs a node of the manifest or an inserted one, and of which type it is.
    pub(super) fn role_of(&self, node: &NodeId) -> Option<(Role, String)> {
        let inserted = self.desired.inserts.iter().map(|insert| &insert.segment);
        let segments = self.settings.plan.segments().chain(inserted);
        let mut all = segments.flat_map(|s| s.nodes.iter().map(|node| (s.role, node)));
        let (role, node) = all.find(|(_, other)| other.id == *node)?;
        Some((role, node.kind.clone()))
    }

    fn reconfigure(&mut self, node: &NodeId, params: Map<String, Value>, reply: Reply) {
        let refuse = |reply: Reply, error| {
            let _ = reply.send(Err(error));
        };
        let Some((role, kind)) = self.role_of(node) else {
            let what = format!("there is no node `{node}` in session {}", self.id);
            return refuse(reply, Error::invalid_params("/node", &what));
        };
        // Files and hosts are named within what the config allows only; the worker checks all else once more.
        if let Some(lease) = self.leases.get(&role) {
            let Some(of) = lease.catalogue.nodes.iter().find(|other| other.kind == kind) else {
                let what = format!("node `{node}` does not say which parameters it has");
                return refuse(reply, Error::invalid_params("/node", &what));
            };
            if let Err(faults) = self.around.offered.changes(of, &params) {
                let text = format!("the parameters cannot be taken: {}", faults.list());
                let data = json!({ "path": "/params", "errors": faults });
                return refuse(reply, Error::new(Code::InvalidParams, text, data));
            }
        }
        if self.asked.waiting.len() >= MAX_ASKED {
            return refuse(reply, Error::too_many("parameters under way", 100));
        }
        self.give(role, node, params, For::Asker(reply));
    }

    /// Sends a node parameters; their answer comes to [`Self::applied`], or nothing to [`Self::look_for_silence`].
    pub(super) fn give(
        &mut self,
        role: Role,
        node: &NodeId,
        params: Map<String, Value>,
        whom: For,
    ) {
        let Some(lease) = self.leases.get(&role) else {
            return self.away(node, params, whom);
        };
        self.asked.last = self.asked.last.wrapping_add(1);
        let request = self.asked.last;
        lease.send(ToWorker::Params {
            session: self.id.clone(),
            node: node.clone(),
            params: Value::Object(params.clone()).to_string(),
            request,
        });
        let (worker, node, since) = (lease.id, node.clone(), Instant::now());
        self.asked.waiting.insert(request, Waiting { role, worker, node, params, whom, since });
    }

    /// Its process is not there, or was not there any more when the parameters came.
    fn away(&mut self, node: &NodeId, params: Map<String, Value>, whom: For) {
        match whom {
            For::Asker(reply) => {
                let what = format!("node `{node}` is away; try again when it runs");
                let _ = reply.send(Err(Error::invalid_params("/node", &what)));
            }
            For::Update => self.params_lost(node, params),
        }
    }

    /// A worker has them, or does not take them.
    pub(super) fn applied(&mut self, role: Role, request: u32, error: Option<String>) {
        // Nobody answers for another process.
        let Entry::Occupied(asked) = self.asked.waiting.entry(request) else { return };
        if asked.get().role != role {
            return;
        }
        let Waiting { node, params, whom, .. } = asked.remove();
        if error.is_none() {
            if let (For::Asker(_), Some(update)) = (&whom, &mut self.update) {
                update.also(&node, &params);
            }
            self.set_params(&node, &params);
        }
        match whom {
            For::Asker(reply) => {
                let _ = reply.send(match error {
                    Some(error) => Err(Error::invalid_params("/params", &error)),
                    None => Ok(json!({ "applied": true })),
                });
            }
            For::Update => self.params_answered(&node, error),
        }
    }

    /// A node has these parameters: whoever takes its place begins with them.
    pub(super) fn set_params(&mut self, node: &NodeId, params: &Map<String, Value>) {
        self.settings.plan.set_params(node, params);
        let inserted = self.desired.inserts.iter_mut();
        set_params(inserted.flat_map(|i| &mut i.segment.nodes), node, params);
        self.dance.set_params(node, params, &self.leases);
        self.advance();
    }

    /// What its process never answered.
    pub(super) fn look_for_silence(&mut self, now: Instant) {
        let gone = |asked: &Waiting| {
            self.leases.get(&asked.role).is_none_or(|lease| lease.id != asked.worker)
        };
        let late = |asked: &Waiting| {
            now.saturating_duration_since(asked.since) >= APPLIED_WITHIN || gone(asked)
        };
        let over = self.asked.waiting.extract_if(.., |_, asked| late(asked));
        let over: Vec<(bool, Waiting)> = over.map(|(_, asked)| (gone(&asked), asked)).collect();
        for (gone, Waiting { node, params, whom, .. }) in over {
            match whom {
                For::Update if !gone => {
                    self.params_answered(&node, Some("it does not say that it has them".into()));
                }
                whom => self.away(&node, params, whom),
            }
        }
    }

    pub(super) fn subscribe(
        &mut self,
        peer: &PeerId,
        wish: &SubscriptionSet,
    ) -> Result<Value, Error> {
        let SubscriptionSet { output, tier, paused } = wish;
        let plan = &self.settings.plan;
        let viewer = Viewer { peer, alone: self.settings.alone };
        let mut named = plan.outputs.iter().filter(|known| known.id == *output).peekable();
        if named.peek().is_none() {
            let mut all: Vec<&str> = plan.outputs.iter().map(|known| known.id.as_str()).collect();
            all.sort_unstable();
            all.dedup();
            let what = format!("there is no output `{output}`; there are: {}", all.join(", "));
            return Err(Error::invalid_params("/output", &what));
        }
        if !named.any(|known| viewer.may(known)) {
            return Err(Error::not_authorized("the manifest sends this output to others only"));
        }
        if tier.as_ref().is_some_and(|tier| tier.as_str() != TIER) {
            let what = format!("output `{output}` comes in one size, `{TIER}`");
            return Err(Error::invalid_params("/tier", &what));
        }
        let Some(member) = self.members.get_mut(peer) else {
            let what = "this peer has no media in the session; it offers to `router` first";
            return Err(Error::invalid_request(what));
        };
        let before = member.subscriptions.insert(output.clone(), *paused);
        if before == Some(true) && !paused {
            self.resume(peer, wish);
        }
        self.products();
        self.want();
        self.advance();
        Ok(json!({ "tier": TIER }))
    }

    /// What a peer did not want for a while begins with a keyframe.
    fn resume(&mut self, peer: &PeerId, wish: &SubscriptionSet) {
        let Some(member) = self.members.get(peer) else { return };
        let views = member.views.iter().filter(|(stream, _)| stream.output == wish.output);
        let pictures = views.filter(|(stream, _)| stream.source.kind == Media::Video);
        let products: Vec<_> = pictures.map(super::peers::product).collect();
        for product in products {
            self.keyframe(&product);
        }
    }
}
