//! What a session does when one of its processes dies: what its nodes' policies say, another process, and whom to blame.

use super::Actor;
use super::workers::lease_timeout;
use crate::session::life;
use crate::session::member;
use crate::session::recovery::{Next, Suspect};
use crate::session::wiring::{Segment, Source, Stream, TaskKey, held};
use crate::workers::{Autopsy, Lease, Role};
use remotemedia_shm_schema::control::{OnFailure, Operation, TaskId, ToWorker};
use remotemedia_shm_schema::mark::Mark;
use remotemedia_shm_schema::{Media, NodeId};
use remotemedia_signaling::FromRouter;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// A process that is not replaced within this is away: what its nodes' policies say is wired (chosen: a spare takes over
/// within milliseconds, and a second change of wiring would only delay it).
const SOON: Duration = Duration::from_millis(100);

/// Processes that may die in one namespace (chosen: a wake-up has 64 places for processes, which the living need as well).
const MAX_RESIDENTS: u32 = 40;

impl Actor {
    /// A process is gone.
    pub(super) fn lost(&mut self, role: Role) {
        let Some(lease) = self.leases.remove(&role) else { return };
        tracing::warn!(session = %self.id, worker = %lease.name, "worker lost");
        if !matches!(role, Role::Attached(_)) && !lease.shared() {
            // What its marks name is known by the wiring that it worked in; when it is examined another may be in force.
            let tasks = self.dance.wiring().tasks_of(role);
            let tasks = tasks.map(|(key, task)| (task.id, key.clone()));
            self.tasks_of_dead.insert(lease.id, tasks.collect());
        }
        drop(lease);
        let now = Instant::now();
        self.mending.lost(now, role);
        self.dance.lost(role, &self.leases);
        if role == Role::Steward {
            self.begin_anew();
            return;
        }
        self.lost_at.insert(role, now);
        self.refused = None;
        match self.strictest(role) {
            Some(OnFailure::Close) => {
                let what = self.names(role).join(", ");
                let why = format!("the process of {what}, which says `close`, died");
                self.live(life::Event::Failed(why));
                return;
            }
            // The input takes the output's place at once.
            Some(OnFailure::Bypass) => {
                self.desired.absence.roles.insert(role);
            }
            Some(OnFailure::Hold) | None => {}
        }
        self.hush();
        if let Role::Attached(_) = role {
            self.await_return(role, now);
        } else {
            self.replace(role);
        }
        if !self.resident_died() {
            self.advance();
        }
    }

    /// Counts what dies in this namespace. Whoever had a service open keeps a place in it, and at the services that outlive
    /// generations, wake-ups, places run out: before they do, the session moves to another namespace. Says whether it did.
    pub(super) fn resident_died(&mut self) -> bool {
        self.residents += 1;
        if self.residents < MAX_RESIDENTS {
            return false;
        }
        tracing::info!(session = %self.id, "moves to another namespace: {MAX_RESIDENTS} processes died in this one");
        if let Some(steward) = self.leases.remove(&Role::Steward) {
            // Dropped, it ends its process; it is not to blame.
            drop(steward);
            self.dance.lost(Role::Steward, &self.leases);
            self.recovery.forgive_role(Role::Steward);
            self.begin_anew();
        }
        true
    }

    /// The steward is gone, and with it all channels; what made it die may stand in them still. Connections live on: other
    /// processes take over in another namespace.
    pub(super) fn begin_anew(&mut self) {
        if self.recovery.died(Instant::now(), Role::Steward, true) == Next::Failed {
            let why = "the steward, which keeps the session's channels, died too often";
            self.live(life::Event::Failed(why.into()));
            return;
        }
        let ground = match self.dance.begin_anew(&self.around.runtime) {
            Ok(ground) => ground,
            Err(error) => {
                self.live(life::Event::Failed(format!("{error:#}")));
                return;
            }
        };
        self.relay = None;
        self.residents = 0;
        for tap in std::mem::take(&mut self.taps).into_values() {
            tap.lease.send(ToWorker::Release { session: self.id.clone() });
        }
        let leases = std::mem::take(&mut self.leases);
        let (attached, own): (Vec<Lease>, Vec<Lease>) =
            leases.into_values().partition(|lease| matches!(lease.role, Role::Attached(_)));
        let now = Instant::now();
        self.desired
            .absence
            .roles
            .retain(|role| self.recovery.failed(*role) || matches!(role, Role::Attached(_)));
        for lease in attached {
            lease.send(ToWorker::Release { session: self.id.clone() });
            let role = lease.role;
            if self.desired.inserts.iter().any(|insert| insert.segment.role == role) {
                // It may stand there for privacy: its policy holds until it comes back or is detached.
                self.desired.absence.roles.insert(role);
                self.await_return(role, now);
            } else {
                self.take_out(role);
            }
        }
        let (shared, own): (Vec<Lease>, Vec<Lease>) = own.into_iter().partition(Lease::shared);
        let shared_roles: Vec<Role> = shared.iter().map(|lease| lease.role).collect();
        let let_go: Vec<oneshot::Receiver<()>> =
            shared.into_iter().map(|lease| self.lease_again(lease)).collect();
        // The namespace goes when nobody is in it any more; the session's end waits for that.
        self.burials.spawn(async move {
            let mut ends: JoinSet<()> = own.into_iter().map(Lease::end).collect();
            while ends.join_next().await.is_some() {}
            for gone in let_go {
                let _ = gone.await;
            }
            tokio::task::block_in_place(|| ground.sweep())
        });
        let sources: Vec<Source> = self.desired.sources.keys().cloned().collect();
        for source in sources {
            self.offer(&source.peer, member::Command::Unwrite(source.kind));
        }
        self.bitrates.clear();
        self.hush();
        self.tell_nodes(Role::Steward, "restarting", None);
        for role in self.wanted_roles() {
            if self.recovery.failed(role) {
                continue;
            }
            if role != Role::Steward {
                self.lost_at.insert(role, now);
            }
            if !shared_roles.contains(&role) {
                self.lease(role, Duration::ZERO);
            }
        }
    }

    /// Lets a shared process go and takes one of its kind again, when it has let go of this session; tells when it has.
    fn lease_again(&self, lease: Lease) -> oneshot::Receiver<()> {
        let role = lease.role;
        let (pool, session) = (self.around.pool.clone(), self.id.clone());
        let (events, leased) = (self.worker_events.clone(), self.leased.clone());
        let (gone, told) = oneshot::channel();
        tokio::spawn(async move {
            lease.end().await;
            let _ = gone.send(());
            let lease = pool.lease(role, session, events, lease_timeout(role)).await;
            let _ = leased.send((role, lease)).await;
        });
        told
    }

    /// Takes another process for this role, unless too many died in a row.
    pub(super) fn replace(&mut self, role: Role) {
        let restart = self.around.pool.program(role).is_none_or(|program| program.restart);
        let next = self.recovery.died(Instant::now(), role, restart);
        match next {
            Next::Replace(pause) => {
                self.tell_nodes(role, "restarting", None);
                self.lease(role, pause);
            }
            Next::Failed => {
                tracing::error!(session = %self.id, role = role.name(), "died too often; it stays away until it is restarted");
                self.absent(role);
                let error = self.recovery.error(role).map(str::to_owned);
                self.tell_nodes(role, "failed", error.as_deref());
            }
        }
    }

    /// How a process ended is known.
    pub(super) fn examined(&mut self, autopsy: &Autopsy) {
        let tasks = self.tasks_of_dead.remove(&autopsy.worker).unwrap_or_default();
        let suspects: Vec<Suspect> =
            autopsy.marks.iter().filter_map(|mark| self.suspect(mark, &tasks)).collect();
        tracing::info!(
            session = %self.id, worker = autopsy.worker.0, role = autopsy.role.name(), ?suspects,
            "a worker's end: {}", autopsy.how
        );
        let now = Instant::now();
        let convicted = self.recovery.examined(now, autopsy.role, &autopsy.how, suspects);
        for name in self.names(autopsy.role) {
            self.node_errors.insert(name, autopsy.how.clone());
        }
        for suspect in convicted {
            self.convict(&suspect, &autopsy.how);
        }
        if self.recovery.failed(autopsy.role) {
            // Told before without the reason, which was not known.
            self.tell_nodes(autopsy.role, "failed", Some(&autopsy.how));
        }
    }

    fn convict(&mut self, suspect: &Suspect, how: &str) {
        self.refused = None;
        match suspect {
            Suspect::Track(source) => {
                tracing::warn!(session = %self.id, peer = %source.peer, kind = source.kind.name(), "quarantined: {how}");
                self.desired.absence.tracks.insert(source.clone());
                let name = track_name(source);
                self.tell_state(&name, "quarantined", None, Some(how));
            }
            Suspect::Node(node) => {
                tracing::warn!(session = %self.id, %node, "failed: {how}");
                self.desired.absence.nodes.insert(node.clone());
                self.tell_state(node.as_str(), "failed", None, Some(how));
                if self.node_policy(node) == Some(OnFailure::Close) {
                    let why = format!("node {node}, which says `close`: {how}");
                    self.live(life::Event::Failed(why));
                }
            }
        }
        self.hush();
        self.advance();
    }

    /// What a mark points at: a node if one had been entered, else the track whose frame it was.
    fn suspect(&self, mark: &Mark, tasks: &BTreeMap<TaskId, TaskKey>) -> Option<Suspect> {
        match tasks.get(&mark.task)? {
            TaskKey::Decode(source) => Some(Suspect::Track(source.clone())),
            TaskKey::Encode(product) => Some(Suspect::Track(product.stream.source.clone())),
            TaskKey::Graph(_, name) => {
                let number = mark.node;
                let of = |n: &&(u8, NodeId)| Some(n.0) == number;
                let entered = self.nodes.iter().find(of).map(|(_, id)| id.clone());
                Some(Suspect::Node(entered.unwrap_or_else(|| name.clone())))
            }
            TaskKey::Make(_) | TaskKey::Enter(_) | TaskKey::Exit(_) => None,
        }
    }

    /// An operator asks for what failed again.
    pub(super) fn restart(&mut self, node: Option<&NodeId>) -> Result<(), String> {
        let mut found = false;
        let convicted: Vec<Suspect> = self.recovery.convicted().map(|(s, _)| s.clone()).collect();
        for suspect in convicted {
            let meant = match &suspect {
                Suspect::Node(id) => node.is_none_or(|node| node == id),
                Suspect::Track(_) => node.is_none(),
            };
            if meant && self.recovery.forgive(&suspect) {
                found = true;
                let name = match suspect {
                    Suspect::Track(source) => {
                        self.desired.absence.tracks.remove(&source);
                        track_name(&source)
                    }
                    Suspect::Node(id) => {
                        self.desired.absence.nodes.remove(&id);
                        id.to_string()
                    }
                };
                self.tell_state(&name, "running", None, None);
            }
        }
        let roles: Vec<Role> = self.settings.plan.roles().into_iter().collect();
        for role in roles {
            let meant = node.is_none_or(|node| self.names(role).iter().any(|n| n == node.as_str()));
            if !meant {
                continue;
            }
            let failed = self.recovery.failed(role);
            let unwilling = self.desired.absence.roles.contains(&role);
            if failed && !self.leases.contains_key(&role) {
                found = true;
                self.recovery.forgive_role(role);
                self.lease(role, Duration::ZERO);
            } else if unwilling || (node.is_some() && !found) {
                // It would not, or it works and somebody wants it afresh all the same.
                found = true;
                self.renew(role);
            }
        }
        if !found {
            return Err(match node {
                Some(node) => format!("there is no node `{node}` in session {}", self.id),
                None => format!("nothing has failed in session {}", self.id),
            });
        }
        self.refused = None;
        self.advance();
        Ok(())
    }

    /// Takes another process for a role whose process lives; that is no death of its.
    fn renew(&mut self, role: Role) {
        let Some(lease) = self.leases.remove(&role) else {
            // It was ended because it hung.
            self.recovery.forgive_role(role);
            self.lease(role, Duration::ZERO);
            return;
        };
        let shared = lease.shared();
        if shared {
            // It serves others and lives on; here it begins anew.
            drop(self.lease_again(lease));
        } else {
            // Dropped, it ends its process.
            drop(lease);
        }
        if role == Role::Steward {
            self.recovery.forgive_role(role);
            self.begin_anew();
            return;
        }
        self.dance.lost(role, &self.leases);
        self.lost_at.insert(role, Instant::now());
        self.hush();
        self.tell_nodes(role, "restarting", None);
        if !shared {
            self.lease(role, Duration::ZERO);
        }
    }

    /// Processes that were given up because they did not get ready: what hangs there does not end by itself.
    pub(super) fn end_hung(&mut self, roles: &BTreeSet<Role>) {
        for role in roles {
            let own = self.leases.get(role).is_some_and(|lease| !lease.shared());
            if matches!(role, Role::Custom(_)) && own {
                // Dropped, it is asked to end, and made to.
                self.leases.remove(role);
                self.dance.lost(*role, &self.leases);
            }
        }
        self.advance();
    }

    /// What an operator wants of this session.
    pub(super) fn operate(&mut self, operation: &Operation) -> Result<(), String> {
        match operation {
            Operation::Restart { node, .. } => self.restart(node.as_ref()),
            Operation::Detach { name, .. } => self.detach(name),
            Operation::Close { .. } => {
                self.live(life::Event::CloseAsked);
                Ok(())
            }
        }
    }

    /// Looks for processes that are away for longer than a spare takes.
    pub(super) fn look_for_absence(&mut self, now: Instant) {
        let late: Vec<Role> = self
            .lost_at
            .iter()
            .filter(|(role, at)| {
                now.duration_since(**at) >= SOON && !self.leases.contains_key(role)
            })
            .map(|(role, _)| *role)
            .collect();
        for role in late {
            self.lost_at.remove(&role);
            self.absent(role);
        }
    }

    fn absent(&mut self, role: Role) {
        // Without codecs there is nothing that could be wired in their place.
        if role != Role::Codec && self.desired.absence.roles.insert(role) {
            self.refused = None;
            self.advance();
        }
    }

    /// Whether what this stream's viewers get is held: something on its path does not run.
    pub(super) fn held(&self, stream: &Stream) -> bool {
        let live = |role: Role| self.leases.contains_key(&role) && !self.dance.dead(role);
        held(&self.settings.plan, &self.desired, stream, live)
    }

    /// Sound that does not come any more is silence, on the frame clock, until it comes again.
    pub(super) fn hush(&mut self) {
        let codec = self.leases.contains_key(&Role::Codec);
        for member in self.members.values() {
            for stream in member.views.keys().filter(|s| s.source.kind == Media::Audio) {
                if !codec || self.held(stream) {
                    let _ = member.commands.try_send(member::Command::Hush(stream.clone()));
                }
            }
        }
    }

    fn segments_of(&self, role: Role) -> impl Iterator<Item = &Segment> {
        let inserted = self.desired.inserts.iter().map(|insert| &insert.segment);
        self.settings.plan.segments().chain(inserted).filter(move |segment| segment.role == role)
    }

    pub(super) fn strictest(&self, role: Role) -> Option<OnFailure> {
        self.segments_of(role).map(Segment::on_failure).max()
    }

    pub(super) fn node_policy(&self, node: &NodeId) -> Option<OnFailure> {
        let inserted = self.desired.inserts.iter().map(|insert| &insert.segment);
        let segments = self.settings.plan.segments().chain(inserted);
        segments.flat_map(|s| &s.nodes).find(|n| n.id == *node).map(|n| n.on_failure)
    }

    /// The nodes that a process runs, as peers and tables know them; codecs are one by the name of their process.
    pub(super) fn names(&self, role: Role) -> Vec<String> {
        let mut names: Vec<String> = self
            .segments_of(role)
            .flat_map(|segment| segment.nodes.iter().map(|node| node.id.to_string()))
            .collect();
        names.dedup();
        if names.is_empty() {
            names.push(role.name().to_owned());
        }
        names
    }

    pub(super) fn tell_nodes(&mut self, role: Role, state: &str, error: Option<&str>) {
        if matches!(role, Role::Custom(_)) && self.segments_of(role).next().is_none() {
            // Only a graph that is not in force needs it.
            return;
        }
        let generation = self.generations.get(&role).copied();
        for name in self.names(role) {
            // What a node was convicted of outlives the process that it died with.
            let convicted = self.desired.absence.nodes.iter().any(|node| node.as_str() == name);
            // That the first process runs is no news.
            let news = state != "running" || self.node_states.contains_key(&name);
            if news && !convicted {
                self.tell_state(&name, state, generation, error);
            }
        }
    }

    /// To every peer, over signaling and over its page's data channel.
    pub(super) fn tell_state(
        &mut self,
        node: &str,
        state: &str,
        generation: Option<u32>,
        error: Option<&str>,
    ) {
        // A frame that failed is no state.
        if state != "error" {
            self.node_states.insert(node.to_owned(), state.to_owned());
        }
        let params = json!({
            "session_id": self.id, "node": node, "state": state, "generation": generation, "error": error,
        });
        for peer in self.members.keys() {
            self.around.hub.send(FromRouter::Notify {
                peer: peer.clone(),
                room: self.room(),
                method: "session.node_state".into(),
                params: params.clone(),
            });
        }
        let mut event = params;
        event["event"] = json!("session.node_state");
        self.notify(&event);
    }
}

/// A track's name among the states of nodes.
pub(super) fn track_name(source: &Source) -> String {
    format!("in/{}/{}", source.peer, source.kind.name())
}
