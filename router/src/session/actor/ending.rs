//! The one way out of a session, whatever the cause.

use super::{Actor, Command, Inboxes, News};
use crate::session::describe::Receipt;
use crate::session::life::Cause;
use crate::workers::{Lease, Role};
use remotemedia_shm_schema::control::ToWorker;
use std::time::{Duration, Instant};

impl Actor {
    pub(super) async fn tear_down(mut self, cause: Cause, mut inbox: Inboxes) {
        let began = Instant::now();
        tracing::info!(session = %self.id, "ends: {}", cause.text());
        for (peer, _) in std::mem::take(&mut self.members) {
            self.hang_up(peer, &cause);
        }
        // Leases that were on their way end their workers when dropped with the queue.
        inbox.leases.close();
        let leases = std::mem::take(&mut self.leases);
        // Attached ones are let go; their ports are swept away under them.
        for lease in self.taps.values().map(|tap| &tap.lease).chain(leases.values()) {
            if let Role::Attached(_) = lease.role {
                lease.send(ToWorker::Release { session: self.id.clone() });
            }
        }
        self.taps.clear();
        let leases: Vec<Lease> =
            leases.into_values().filter(|lease| !matches!(lease.role, Role::Attached(_))).collect();
        let reaped = leases.len();
        self.relay = None;
        // Workers end while connections close.
        let mut ends = std::mem::take(&mut self.ends);
        for lease in leases {
            ends.spawn(lease.end());
        }
        // Members close their connections; their reports are read on, so that none of them waits for this task.
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        tokio::select! {
            () = ending => {}
            () = async { while inbox.reports.recv().await.is_some() {} } => {}
            () = async { while inbox.outcomes.recv().await.is_some() {} } => {}
            () = async { while inbox.units.recv().await.is_some() {} } => {}
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                tracing::warn!(session = %self.id, "a connection did not close in time");
            }
        }
        self.tasks.abort_all();
        while ends.join_next().await.is_some() {}
        drop(self.outputs);
        while self.residues.join_next().await.is_some() {}
        let ground = self.dance.into_ground();
        let mut swept = tokio::task::block_in_place(|| ground.sweep());
        while let Some(buried) = self.burials.join_next().await {
            let Ok(buried) = buried else { continue };
            swept.removed += buried.removed;
            swept.bytes += buried.bytes;
            swept.left.extend(buried.left);
        }
        let receipt = Receipt {
            session_id: self.id.clone(),
            cause: cause.text(),
            failed: match cause {
                Cause::StartFailed(why) | Cause::Failed(why) => Some(why),
                _ => None,
            },
            workers_reaped: reaped,
            objects_removed: swept.removed as u64,
            bytes: swept.bytes,
            ready_ms: self.ready.map(|ready| ready.as_secs_f64() * 1e3),
            took_ms: began.elapsed().as_secs_f64() * 1e3,
            recoveries: self.mending.into_all(),
            left: swept.left,
        };
        if !receipt.left.is_empty() {
            tracing::error!(session = %self.id, left = ?receipt.left, "objects are left behind");
        }
        for reply in self.closing {
            let _ = reply.send(receipt.clone());
        }
        // From here on whoever sends a command learns that nobody takes it.
        inbox.commands.close();
        let mut offers = Vec::new();
        while let Ok(command) = inbox.commands.try_recv() {
            match command {
                Command::Close(_, reply) => {
                    let _ = reply.send(receipt.clone());
                }
                Command::Offer(offer) => offers.push(offer),
                Command::Attach(joiner) => {
                    let _ = joiner.reply.send(Err(format!("session {} ends", self.id)));
                }
                Command::Operate(_, reply) => {
                    let _ = reply.send(Err(format!("session {} ends", self.id)));
                }
                // Their replies are dropped, which tells whoever asked.
                Command::Describe(_)
                | Command::Act(..)
                | Command::Update(..)
                | Command::Subscribe(..)
                | Command::Answer { .. }
                | Command::Unanswered { .. }
                | Command::Candidate(..)
                | Command::Left(_)
                | Command::SocketGone(_)
                | Command::SocketBack(_) => {}
            }
        }
        let _ = self.around.news.send(News::Ended(receipt, offers));
    }
}
