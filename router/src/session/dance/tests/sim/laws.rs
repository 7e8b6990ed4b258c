//! What a session's processes are told, held against the laws.

use super::super::Law;
use super::{Asked, Letter, Sim};
use crate::session::wiring::Wiring;
use crate::workers::{Role, WorkerId};
use remotemedia_shm_schema::control::{Change, ChannelSpec, TaskId, ToWorker};
use remotemedia_worker::steward;
use std::collections::{BTreeMap, BTreeSet};
use tokio::sync::mpsc;

/// The first breach of each.
#[derive(Default)]
pub(in super::super) struct Laws(pub(in super::super) BTreeMap<Law, String>);

/// A process, by what it was told.
pub(in super::super) struct Program {
    pub(in super::super) role: Role,
    pub(in super::super) inbox: mpsc::Receiver<ToWorker>,
    /// What it was asked and has not heard the end of.
    open: Option<(u32, Vec<Change>)>,
    /// Whether it said that it is ready for that.
    pub(super) ready: bool,
    /// The last epoch that it was told of.
    told: u32,
    runs: BTreeSet<TaskId>,
    pub(super) gone: bool,
}

impl Sim {
    /// Hears all that was said.
    pub(super) fn listen(&mut self) {
        let mut said = Vec::new();
        for (id, program) in &mut self.programs {
            while let Ok(message) = program.inbox.try_recv() {
                said.push((*id, message));
            }
        }
        for (id, message) in said {
            self.hear(id, message);
        }
        self.look();
    }

    fn hear(&mut self, id: WorkerId, message: ToWorker) {
        let unready: Vec<Role> = match &message {
            ToWorker::Switch { epoch, .. } => {
                let asked = self.programs.values().filter(|program| program.asked(*epoch));
                asked.filter(|p| p.gone || !p.ready).map(|p| p.role).collect()
            }
            _ => Vec::new(),
        };
        let laws = &mut self.laws;
        let Some(program) = self.programs.get_mut(&id) else { return };
        let role = program.role;
        laws.hold(Law::Dead, !program.gone, || format!("{role:?} is gone and told {message:?}"));
        match message {
            ToWorker::Assign { .. } => {}
            ToWorker::Create { epoch, wakes, channels, .. } => {
                laws.hold(Law::Grows, epoch > self.created, || format!("services of {epoch}"));
                self.created = epoch;
                for service in wakes.into_iter().chain(channels.into_iter().map(|c| c.service)) {
                    let fresh = !self.services.contains_key(&service);
                    laws.hold(Law::Possible, fresh, || format!("{service} is made twice"));
                    self.services.insert(service, (epoch, false));
                }
                self.mail.push(Letter { from: id, role, epoch, asked: Asked::Services });
            }
            ToWorker::Prepare { epoch, changes, .. } => {
                let open = program.open.take();
                laws.hold(Law::Once, open.is_none(), || format!("{role:?}: {epoch} amid {open:?}"));
                laws.hold(Law::Grows, epoch > program.told, || format!("{role:?} has {epoch}"));
                for change in &changes {
                    let there = |name: &String| self.services.get(name).is_some_and(|s| s.1);
                    let stand = services_for(change).iter().all(there);
                    laws.hold(Law::Possible, stand, || format!("not all stands for {change:?}"));
                    let known = program.knows(change);
                    laws.hold(Law::Possible, known, || format!("{role:?} cannot {change:?}"));
                }
                program.open = Some((epoch, changes));
                (program.ready, program.told) = (false, epoch);
                self.mail.push(Letter { from: id, role, epoch, asked: Asked::Change });
            }
            ToWorker::Switch { epoch, .. } => {
                let all = unready.is_empty();
                laws.hold(Law::Ready, all, || format!("{epoch} without {unready:?}"));
                let asked = program.asked(epoch);
                laws.hold(Law::Ready, asked, || format!("{role:?} was not asked for {epoch}"));
                program.switch();
            }
            ToWorker::Abandon { epoch, .. } => {
                // While services are made nobody is asked yet; that it is off they are told all the same.
                let ends = program.open.take_if(|(open, _)| *open == epoch).is_some();
                let right = ends || epoch > program.told;
                laws.hold(Law::Once, right, || format!("{role:?}: {epoch} ends twice"));
                program.told = program.told.max(epoch);
            }
            ToWorker::Forget { services, .. } => {
                let next = self.dance.pending.as_ref().map(|pending| &pending.next);
                let wirings = next.into_iter().chain([&self.dance.wiring]);
                let used: BTreeSet<String> = wirings.flat_map(services_in).collect();
                for service in services {
                    let stood = self.services.remove(&service).is_some();
                    let right = stood && !used.contains(&service);
                    laws.hold(Law::Possible, right, || format!("{service} is forgotten"));
                }
            }
            other => laws.hold(Law::Possible, false, || format!("{role:?} is told {other:?}")),
        }
    }

    /// At the wiring in force, if it is another.
    fn look(&mut self) {
        let (laws, now) = (&mut self.laws, &self.dance.wiring);
        let epoch = now.epoch();
        if epoch == self.before.epoch() {
            return;
        }
        laws.hold(Law::Grows, epoch > self.switched, || format!("{epoch} is in force again"));
        for spec in now.channels() {
            let Some(old) = self.before.channel(&spec.name) else { continue };
            let same = (old.epoch, old.generation) == (spec.epoch, spec.generation);
            let grown = old.epoch < spec.epoch && old.generation < spec.generation;
            let right = if old.service == spec.service { same } else { grown };
            laws.hold(Law::Grows, right, || format!("{old:?}, then {spec:?}"));
        }
        self.switched = epoch;
        self.before = now.clone();
    }

    /// At everything, when all have answered.
    pub(super) fn look_closely(&mut self) {
        let (laws, wiring) = (&mut self.laws, &self.dance.wiring);
        laws.hold(Law::Rest, self.dance.pending.is_none(), || "a change is under way".into());
        laws.hold(Law::Rest, !self.dance.replanning(), || "another graph is still to be".into());
        let more = wiring.plan(&self.desired, &BTreeSet::new()).map(|(step, _)| step);
        laws.hold(Law::Rest, more.is_none(), || format!("it stands still before {more:?}"));
        for Program { role, runs, open, .. } in self.programs.values().filter(|p| !p.gone) {
            let wired: BTreeSet<TaskId> = wiring.tasks_of(*role).map(|(_, task)| task.id).collect();
            let right = *runs == wired && open.is_none();
            laws.hold(Law::Rest, right, || format!("{role:?}: {runs:?}, {wired:?}, {open:?}"));
        }
        let used = services_in(wiring);
        let held: BTreeSet<String> = self.services.keys().cloned().collect();
        laws.hold(Law::Rest, used == held, || format!("used {used:?}, held {held:?}"));
        laws.hold(Law::Rest, used.is_disjoint(&self.worn), || "a dead tap has a place".into());
    }
}

impl Laws {
    pub(super) fn hold(&mut self, law: Law, holds: bool, why: impl FnOnce() -> String) {
        if !holds {
            self.0.entry(law).or_insert_with(why);
        }
    }
}

impl Program {
    pub(super) fn new(role: Role, inbox: mpsc::Receiver<ToWorker>) -> Self {
        let (open, ready, told, gone) = (None, false, 0, false);
        Self { role, inbox, open, ready, told, runs: BTreeSet::new(), gone }
    }

    pub(super) fn asked(&self, epoch: u32) -> bool {
        self.open.as_ref().is_some_and(|(open, _)| *open == epoch)
    }

    /// Whether it is asked to begin a task.
    pub(in super::super) fn begins(&self) -> bool {
        let changes = self.open.as_ref().map(|(_, changes)| changes.as_slice());
        changes.unwrap_or_default().iter().any(|change| matches!(change, Change::Add(_)))
    }

    fn knows(&self, change: &Change) -> bool {
        match change {
            Change::Add(task) => !self.runs.contains(&task.id),
            Change::Rewire { task, .. } | Change::Remove(task) => self.runs.contains(task),
        }
    }

    fn switch(&mut self) {
        self.ready = false;
        for change in self.open.take().into_iter().flat_map(|(_, changes)| changes) {
            match change {
                Change::Add(task) => self.runs.insert(task.id),
                Change::Remove(task) => self.runs.remove(&task),
                Change::Rewire { .. } => true,
            };
        }
    }
}

/// Services that these channels are made of. The steward's own wake-up it makes itself.
fn services_of<'a>(
    channels: impl Iterator<Item = &'a ChannelSpec>,
) -> impl Iterator<Item = &'a String> {
    let all = channels.flat_map(|spec| spec.wakes.iter().chain([&spec.service]));
    all.filter(|name| *name != steward::WAKE)
}

fn services_in(wiring: &Wiring) -> BTreeSet<String> {
    let wakes = wiring.tasks().map(|(_, task)| &task.wake).filter(|wake| *wake != steward::WAKE);
    services_of(wiring.channels()).chain(wakes).cloned().collect()
}

fn services_for(change: &Change) -> BTreeSet<String> {
    match change {
        Change::Add(task) => {
            let wake = Some(&task.wake).filter(|wake| *wake != steward::WAKE);
            let channels = task.input.iter().chain(&task.output);
            services_of(channels).chain(wake).cloned().collect()
        }
        Change::Rewire { input, output, .. } => {
            services_of(input.iter().chain(output)).cloned().collect()
        }
        Change::Remove(_) => BTreeSet::new(),
    }
}
