//! What a session tells: its state to whoever asks, its statistics and events to the pages.

use super::Actor;
use crate::session::{describe, member};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::oneshot;

impl Actor {
    pub(super) fn notify(&mut self, event: &Value) {
        let text: Arc<str> = event.to_string().into();
        for member in self.members.values() {
            let _ = member.commands.try_send(member::Command::Notify(Arc::clone(&text)));
        }
    }

    pub(super) fn picture(&self) -> describe::Picture {
        describe::Picture {
            session: self.id.clone(),
            pipeline: self.settings.pipeline.clone(),
            state: self.life.state().name(),
            seconds: self.began.elapsed().as_secs_f64(),
            epoch: self.dance.wiring().epoch(),
            refusals: self.dance.refusals(),
            shared_memory: describe::SharedMemory::of(&self.dance),
            channels: self.dance.wiring().channels().cloned().collect(),
            tasks: self.dance.wiring().tasks().map(|(k, t)| (t.id, describe::task(k))).collect(),
            bitrates: self
                .bitrates
                .iter()
                .map(|(product, rate)| (describe::product(product), *rate))
                .collect(),
            workers: self
                .leases
                .values()
                .map(|lease| describe::Worker {
                    name: lease.name.to_string(),
                    role: lease.role.name(),
                    pid: lease.pid,
                    generation: self.generations.get(&lease.role).copied().unwrap_or(0),
                    sandbox: self.sandboxes.get(&lease.role).copied().unwrap_or_default(),
                })
                .collect(),
            node_errors: self.node_errors.clone(),
            node_states: self.node_states.clone(),
            attached: self.attached_rows(),
            beats: self
                .beats
                .iter()
                .map(|(role, threads)| (self.name_of_attached(*role), threads.clone()))
                .collect(),
            members: self
                .members
                .iter()
                .map(|(peer, member)| describe::Member {
                    peer_id: peer.clone(),
                    connected: member.connected,
                    suspended: self.life.suspended(Instant::now(), peer),
                    commands: member.commands.clone(),
                })
                .collect(),
            nodes: Arc::clone(&self.nodes),
            pool: self.around.pool.clone(),
        }
    }

    pub(super) fn describe(&self, reply: oneshot::Sender<Value>) {
        let picture = self.picture();
        tokio::spawn(async move {
            let _ = reply.send(picture.to_json().await);
        });
    }

    pub(super) fn statistics(&self) {
        if self.members.is_empty() {
            return;
        }
        let picture = self.picture();
        tokio::spawn(async move { picture.tell_pages().await });
    }
}
