//! Another graph for a running session, on a peer's wish.
//!
//! [`Successor`] says what goes on in it. Processes that it needs besides are taken, and the dance wires it beside the graph in
//! force and switches at an epoch (`Dance::replan`). Then nodes that go on are given what changed of their parameters, and at
//! last peers are offered what there is now, and processes that nobody needs any more end. Whatever goes wrong before the switch
//! leaves all as it was; a node that does not take its parameters behind it sends all back the same way.

use super::asked::For;
use super::{Actor, Reply, numbered};
use crate::pipeline::Pipeline;
use crate::session::describe;
use crate::session::life;
use crate::session::member;
use crate::session::negotiate;
use crate::session::recovery::Suspect;
use crate::session::routes::Viewer;
use crate::session::wiring::{Feed, Stage, Stream, Successor, set_params, stands};
use crate::workers::Role;
use remotemedia_shm_schema::control::TaskKind;
use remotemedia_shm_schema::{NodeId, PeerId};
use remotemedia_signaling::message::Error;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// A graph that is not in force by then is given up (chosen: a process may load its model for 30 s).
const IN_FORCE_WITHIN: Duration = Duration::from_secs(35);

/// A graph on its way.
pub(super) struct Update {
    reply: Reply,
    since: Instant,
    /// What was in force before, to go back to.
    before: Pipeline,
    /// Processes that it is wired with, and waits for.
    needs: BTreeSet<Role>,
    in_force: bool,
    /// What nodes that go on are still to be given.
    params: BTreeMap<NodeId, Map<String, Value>>,
    /// Nodes that were given theirs and have not answered.
    asked: BTreeSet<NodeId>,
    /// Why it cannot stay, although it is in force.
    failed: Option<Error>,
    /// It is the way back from another one, which failed for this.
    back_for: Option<Error>,
}

impl Update {
    /// A peer gave a node these meanwhile: going back does not take them away.
    pub(super) fn also(&mut self, node: &NodeId, params: &Map<String, Value>) {
        let nodes = self.before.stages.iter_mut().flat_map(|stage| &mut stage.segment.nodes);
        set_params(nodes, node, params);
    }
}

impl Actor {
    pub(super) fn update(&mut self, next: Pipeline, reply: Reply) {
        let begun = if self.update.is_some() {
            Err((reply, Error::too_many("updates of this session at once", 1_000)))
        } else {
            self.begin_update(next, reply, None)
        };
        if let Err((reply, error)) = begun {
            let _ = reply.send(Err(error));
        }
    }

    fn begin_update(
        &mut self,
        next: Pipeline,
        reply: Reply,
        back_for: Option<Error>,
    ) -> Result<(), (Reply, Error)> {
        let running = &self.settings.plan;
        let before = Pipeline { stages: running.stages.clone(), outputs: running.outputs.clone() };
        let mut nodes = next.stages.iter().flat_map(|stage| &stage.segment.nodes);
        let attached = |id: &NodeId| self.desired.inserts.iter().any(|i| i.segment.name() == id);
        if let Some(node) = nodes.find(|node| attached(&node.id)) {
            let what = format!(
                "a program is attached as `{}`; detach it, or call the node otherwise",
                node.id
            );
            return Err((reply, Error::invalid_params("/manifest", &what)));
        }
        let taken: BTreeSet<u8> = self.nodes.iter().map(|(number, _)| *number).collect();
        let Some(Successor { plan, params }) =
            running.succeeded_by(next.stages, next.outputs, &taken)
        else {
            let what = "numbers of nodes in this session";
            return Err((reply, Error::no_capacity(what, 256, taken.len() as u64)));
        };
        let fresh: Vec<Role> = plan.roles().difference(&running.roles()).copied().collect();
        // What died too often stays away, and its nodes' policies hold in the next graph as well.
        let (failed, needs): (BTreeSet<Role>, BTreeSet<Role>) =
            plan.roles().into_iter().partition(|role| self.recovery.failed(*role));
        let peers = self.members.len().max(1);
        if let Err(no_room) = self.dance.replan(plan, failed, peers, &self.leases) {
            return Err((reply, describe::no_room(&no_room)));
        }
        for role in fresh {
            if !self.leases.contains_key(&role) {
                self.lease(role, Duration::ZERO);
            }
        }
        self.update = Some(Update {
            reply,
            since: Instant::now(),
            before,
            needs,
            in_force: false,
            params,
            asked: BTreeSet::new(),
            failed: None,
            back_for,
        });
        self.refused = None;
        self.advance();
        Ok(())
    }

    /// Every process that the graph in force needs, and the one that is to take its place.
    pub(super) fn wanted_roles(&self) -> BTreeSet<Role> {
        let mut roles = self.settings.plan.roles();
        roles.extend(self.update.iter().flat_map(|update| &update.needs));
        roles
    }

    /// Looks how far it has come.
    pub(super) fn follow_update(&mut self) {
        let Some(update) = &self.update else { return };
        if let Some(no_room) = self.dance.lacked() {
            self.refuse_update(describe::no_room(&no_room));
            return;
        }
        if self.dance.replanning() {
            let over = update.needs.iter().find(|role| self.recovery.failed(**role)).copied();
            if let Some(role) = over {
                let what = format!("the process of {} died too often", self.called(role));
                self.update_lacks(role, &what);
            }
            return;
        }
        if !update.in_force {
            self.come_into_force();
        }
        self.give_params();
        self.finish_update();
    }

    fn come_into_force(&mut self) {
        self.settings.plan = self.dance.wiring().graph().clone();
        self.nodes = numbered(&self.settings.plan, &self.desired.inserts);
        if let Some(update) = &mut self.update {
            update.in_force = true;
        }
    }

    /// One whose process is dead waits until another one is wired.
    fn give_params(&mut self) {
        let Some(update) = &mut self.update else { return };
        for (node, params) in std::mem::take(&mut update.params) {
            match self.role_of(&node).map(|(role, _)| role) {
                Some(role) if self.dance.dead(role) => self.params_lost(&node, params),
                Some(role) if self.runs(role, &node) => {
                    if let Some(update) = &mut self.update {
                        update.asked.insert(node.clone());
                    }
                    self.give(role, &node, params, For::Update);
                }
                // Nobody has the old ones: who begins has these.
                Some(_) | None => self.set_params(&node, &params),
            }
        }
    }

    fn runs(&self, role: Role, node: &NodeId) -> bool {
        let wiring = self.dance.wiring();
        let runs = |kind: &TaskKind| match kind {
            TaskKind::Graph { nodes } => nodes.iter().any(|other| other.id == *node),
            _ => false,
        };
        self.leases.contains_key(&role) && wiring.tasks_of(role).any(|(_, task)| runs(&task.kind))
    }

    /// A node has what it was given, or does not take it.
    pub(super) fn params_answered(&mut self, node: &NodeId, error: Option<String>) {
        let Some(update) = &mut self.update else { return };
        update.asked.remove(node);
        if let Some(error) = error {
            update.params.clear();
            let what = format!("node `{node}`: {error}");
            update.failed.get_or_insert_with(|| Error::invalid_params("/manifest", &what));
        }
    }

    /// A node's process went before it had what it was given: its successor is given it.
    pub(super) fn params_lost(&mut self, node: &NodeId, params: Map<String, Value>) {
        let Some(update) = &mut self.update else { return };
        update.asked.remove(node);
        if update.failed.is_none() {
            update.params.insert(node.clone(), params);
        }
    }

    fn finish_update(&mut self) {
        let Some(update) = self.update.take_if(|update| {
            update.asked.is_empty() && (update.failed.is_some() || update.params.is_empty())
        }) else {
            return;
        };
        let epoch = self.dance.wiring().epoch();
        let Update { reply, before, failed, back_for, .. } = update;
        let result = match (failed, back_for) {
            (Some(error), None) => return self.go_back(before, reply, error),
            (None, None) => Ok(json!({ "epoch": epoch })),
            (failed, Some(error)) => {
                if let Some(failed) = failed {
                    tracing::error!(session = %self.id, "is not wholly back: {failed}");
                }
                Err(error)
            }
        };
        tracing::info!(session = %self.id, epoch, done = result.is_ok(), "another graph is in force");
        self.settle(&before);
        let _ = reply.send(result);
    }

    /// A node does not take its parameters: the graph before shall be in force again.
    fn go_back(&mut self, before: Pipeline, reply: Reply, error: Error) {
        tracing::warn!(session = %self.id, "goes back to the graph before: {error}");
        let begun = self.begin_update(before.clone(), reply, Some(error.clone()));
        if let Err((reply, fault)) = begun {
            tracing::error!(session = %self.id, "cannot go back to the graph before: {fault}");
            self.settle(&before);
            let _ = reply.send(Err(error));
        }
    }

    // --- what it is refused for -----------------------------------------------------------------------------------

    /// It does not come into force: the graph before stays.
    pub(super) fn refuse_update(&mut self, error: Error) {
        self.dance.keep(&self.leases);
        let Some(Update { reply, before, back_for, .. }) = self.update.take() else { return };
        tracing::warn!(session = %self.id, "keeps its graph: {error}");
        self.settle(&before);
        let _ = reply.send(Err(back_for.unwrap_or(error)));
    }

    /// A process that it needs cannot be had.
    pub(super) fn update_lacks(&mut self, role: Role, why: &str) {
        let waits = |update: &Update| !update.in_force && update.needs.contains(&role);
        if self.update.as_ref().is_some_and(waits) {
            self.refuse_update(Error::internal(why));
        }
    }

    /// A process cannot do its part in it. Of one that runs nodes that is what the manifest asks of them.
    pub(super) fn update_refused(&mut self, role: Role, why: &str) {
        self.refuse_update(match role {
            Role::Pipeline | Role::Custom(_) => Error::invalid_params("/manifest", why),
            Role::Codec | Role::Steward | Role::Attached(_) => {
                Error::internal(&format!("{}: {why}", self.called(role)))
            }
        });
    }

    /// Who was not ready in time for it. Attached programs are not its affair: they are given back, and it goes on without them.
    pub(super) fn late_for_update(&mut self, late: BTreeSet<Role>) -> BTreeSet<Role> {
        let (attached, others): (BTreeSet<Role>, BTreeSet<Role>) =
            late.into_iter().partition(|role| matches!(role, Role::Attached(_)));
        if !others.is_empty() {
            let who: Vec<String> = others.iter().map(|role| self.called(*role)).collect();
            let what = format!("{} did not get ready in time", who.join(", "));
            self.refuse_update(Error::internal(&what));
        }
        attached
    }

    /// At the clock.
    pub(super) fn look_for_update(&mut self, now: Instant) {
        let late = |update: &Update| {
            !update.in_force && now.saturating_duration_since(update.since) >= IN_FORCE_WITHIN
        };
        if self.update.as_ref().is_some_and(late) {
            let seconds = IN_FORCE_WITHIN.as_secs();
            let what = format!("the graph did not come into force within {seconds} s");
            self.refuse_update(Error::internal(&what));
        }
    }

    /// A process, for people.
    fn called(&self, role: Role) -> String {
        let program = self.around.pool.program(role);
        program.map_or_else(|| role.name().to_owned(), |program| program.name.to_string())
    }

    // --- what follows ---------------------------------------------------------------------------------------------

    /// Whichever graph is in force now, in place of another or still: what it does not have is forgotten and let go, and peers
    /// get what it has.
    fn settle(&mut self, before: &Pipeline) {
        self.forget_nodes(before);
        self.move_inserts();
        let outputs = &self.settings.plan.outputs;
        for member in self.members.values_mut() {
            member.subscriptions.retain(|id, _| outputs.iter().any(|output| output.id == *id));
        }
        let peers: Vec<PeerId> = self.members.keys().cloned().collect();
        for peer in &peers {
            let streams = self.streams_for(peer);
            let Some(member) = self.members.get_mut(peer) else { continue };
            // Not when its peer has answered: what is another's now it gets no more.
            let gone: Vec<Stream> =
                member.views.keys().filter(|view| !streams.contains(view)).cloned().collect();
            for stream in gone {
                member.views.remove(&stream);
                member.targets.remove(&stream);
                let _ = member.commands.try_send(member::Command::Unview(stream));
            }
            let viewer = Viewer { peer, alone: self.settings.alone };
            let mirrored = viewer.mirrored(&self.settings.plan);
            self.step(peer, negotiate::Step::Mirror(mirrored));
        }
        let plan = &self.settings.plan;
        self.keyframes.retain(|product, _| plan.output(&product.stream).is_some());
        self.products();
        self.want();
        self.dismiss();
        if self.settings.plan.roles().iter().all(|role| self.leases.contains_key(role)) {
            // One that was never there may not be needed any more.
            self.live(life::Event::Started);
        }
        self.refused = None;
        self.advance();
    }

    /// Nodes that are gone, and those whose id another one has now. What is quarantined and goes on stays so.
    fn forget_nodes(&mut self, before: &Pipeline) {
        let now = kinds(&self.settings.plan.stages);
        let gone = kinds(&before.stages).into_iter().filter(|(id, kind)| now.get(id) != Some(kind));
        let gone: Vec<NodeId> = gone.map(|(id, _)| id.clone()).collect();
        for id in gone {
            self.recovery.forgive(&Suspect::Node(id.clone()));
            self.desired.absence.nodes.remove(&id);
            self.node_states.remove(id.as_str());
            self.node_errors.remove(id.as_str());
            self.node_error_at.remove(&id);
        }
    }

    /// Inserted nodes have their places in the graph in force from now on, where they were wired already.
    fn move_inserts(&mut self) {
        let (plan, desired) = (&self.settings.plan, &self.desired);
        let places: Vec<Feed> =
            desired.inserts.iter().map(|insert| stands(plan, desired, insert)).collect();
        for (insert, place) in self.desired.inserts.iter_mut().zip(places) {
            if insert.after != place {
                let node = insert.segment.name();
                tracing::info!(session = %self.id, %node, ?place, "stands elsewhere in the next graph");
                insert.after = place;
            }
        }
    }

    /// Ends processes in which no node runs any more.
    fn dismiss(&mut self) {
        let used = self.wanted_roles();
        let unused = |role: &Role| !used.contains(role) && !matches!(role, Role::Attached(_));
        let known = self.leases.keys().chain(self.generations.keys()).copied();
        let over: BTreeSet<Role> = known.filter(unused).collect();
        for role in over {
            if let Some(lease) = self.leases.remove(&role) {
                tracing::info!(session = %self.id, worker = %lease.name, "is not needed any more");
                self.ends.spawn(lease.end());
            }
            self.generations.remove(&role);
            self.sandboxes.remove(&role);
            self.lost_at.remove(&role);
            self.desired.absence.roles.remove(&role);
            self.recovery.forget(role);
        }
    }
}

/// What each node is, and in which process.
fn kinds(stages: &[Stage]) -> BTreeMap<&NodeId, (Role, &str)> {
    let segments = stages.iter().map(|stage| &stage.segment);
    let nodes = segments.flat_map(|s| s.nodes.iter().map(move |node| (s.role, node)));
    nodes.map(|(role, node)| (&node.id, (role, node.kind.as_str()))).collect()
}
