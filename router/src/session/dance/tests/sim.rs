//! A session around a [`Dance`], with processes that are what they were told so far and the letters that they owe: an
//! event delivers one, or loses it. It stands for the session's task, and does no more with the dance than that does.

mod laws;

use super::{Event, How, Law};
use crate::session::budget::Treasury;
use crate::session::dance::{Dance, FORGET_AFTER, Leases, Pending};
use crate::session::wiring::{
    Desired, Feed, Insert, MAIN, Origin, Plan, Product, Queue, Segment, Source, Stream, TaskKey,
    Wiring, chain,
};
use crate::workers::{Lease, Role, WorkerId};
use laws::Laws;
pub(super) use laws::Program;
use remotemedia_shm_schema::control::{GraphNode, OnFailure, Task, TaskId};
use remotemedia_shm_schema::{Codec, Media};
use remotemedia_worker::namespace::Runtime;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;

pub(super) struct Sim {
    pub(super) dance: Dance,
    desired: Desired,
    pub(super) leases: Leases,
    pub(super) programs: BTreeMap<WorkerId, Program>,
    mail: Vec<Letter>,
    /// Those that keep silent about something.
    mute: BTreeSet<WorkerId>,
    /// What the steward was asked to make and not yet to forget: for which epoch, and whether it did.
    services: BTreeMap<String, (u32, bool)>,
    /// Services with a dead tap's place.
    worn: BTreeSet<String>,
    /// Attached programs that go when nothing is wired through them.
    leaving: BTreeSet<Role>,
    missing: BTreeMap<Role, Instant>,
    /// The wiring that was last looked at.
    before: Wiring,
    switched: u32,
    created: u32,
    now: Instant,
    count: u32,
    pub(super) laws: Laws,
    pub(super) treasury: Treasury,
    runtime: Runtime,
    // Goes after all that lies in it.
    pub(super) folder: TempDir,
}

/// An answer on its way.
#[derive(Debug, Clone, Copy)]
struct Letter {
    from: WorkerId,
    role: Role,
    epoch: u32,
    asked: Asked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Services,
    Change,
}

/// The last of [`source`]'s, which is attached; the others are peers.
const TONE: u8 = 3;
const NODES: [&str; 3] = ["a", "b", "c"];
/// The last of [`NODES`], which is left out when it fails.
pub(super) const BYPASSED: u8 = 2;
/// Of [`graph`]s, the one with a process that the others do not have.
pub(super) const SLOW_ONE: u8 = 3;
/// After this a process is away (`actor/losses.rs`).
const SOON: Duration = Duration::from_millis(100);

impl Sim {
    pub(super) fn begin() -> Self {
        let folder =
            tempfile::Builder::new().prefix("rmt").tempdir_in("/dev/shm").expect("a folder");
        let runtime = Runtime::open(&folder.path().join("run")).expect("a runtime folder");
        // Want of memory is not what is tried here, and none is taken: a disk has more room than some `/dev/shm`.
        let treasury = Treasury::new(env!("CARGO_MANIFEST_DIR"));
        let dance = Dance::new(&runtime, plan(), treasury.open()).expect("a namespace");
        let mut sim = Self {
            before: dance.wiring().clone(),
            dance,
            desired: Desired::default(),
            leases: Leases::new(),
            programs: BTreeMap::new(),
            mail: Vec::new(),
            mute: BTreeSet::new(),
            services: BTreeMap::new(),
            worn: BTreeSet::new(),
            leaving: BTreeSet::new(),
            missing: BTreeMap::new(),
            switched: 0,
            created: 0,
            now: Instant::now(),
            count: 0,
            laws: Laws::default(),
            treasury,
            runtime,
            folder,
        };
        for role in plan().roles() {
            sim.hire(role);
        }
        sim
    }

    pub(super) fn play(events: &[Event]) -> Self {
        let mut sim = Self::begin();
        for event in events {
            sim.happen(*event);
        }
        sim
    }

    pub(super) fn happen(&mut self, event: Event) {
        match event {
            Event::Sends(n, codec) => {
                self.desired.sources.insert(source(n % TONE), Origin::Coded(codec));
            }
            Event::Views(n, codec) => {
                let source = source(n);
                let codec = if source.kind == Media::Audio { Codec::Opus } else { codec };
                let stream = Stream { source, output: MAIN.parse().expect("an id") };
                toggle(&mut self.desired.products, Product { stream, codec });
            }
            Event::Leaves(n) => self.leave(&source(n % TONE)),
            Event::Inserts(n) => {
                let role = self.attach();
                let nodes = vec![node(&format!("x{}", self.count), OnFailure::Hold)];
                let segment = segment(role, nodes);
                self.desired.inserts.push(Insert {
                    source: source(n),
                    after: Feed::Input,
                    segment,
                });
            }
            Event::Sounds if self.desired.sources.contains_key(&source(TONE)) => {}
            Event::Sounds => {
                let role = self.attach();
                self.desired.sources.insert(source(TONE), Origin::Attached(role));
            }
            Event::Goes(n) => {
                if let Some(role) = nth(self.leases.keys().copied().filter(attached), n) {
                    self.take_out(role);
                }
            }
            Event::TapDies(n) => {
                if let Some(spec) = nth(self.dance.wiring().channels().cloned(), n) {
                    self.dance.wear(&spec.name);
                    self.worn.insert(spec.service);
                }
            }
            Event::Fails(n) => {
                let node = NODES[usize::from(n) % NODES.len()];
                toggle(&mut self.desired.absence.nodes, node.parse().expect("an id"));
            }
            Event::Replans(_) if self.dance.replanning() => {}
            Event::Replans(n) => {
                let next = graph(n);
                for role in next.roles() {
                    if !self.leases.contains_key(&role) && !self.missing.contains_key(&role) {
                        self.hire(role);
                    }
                }
                let done = self.dance.replan(next, BTreeSet::new(), 1, &self.leases);
                done.expect("there is room");
                self.listen();
            }
            Event::Dies(n) => {
                if let Some(role) = nth(self.leases.keys().copied(), n) {
                    self.die(role);
                }
            }
            Event::Returns(n) => {
                if let Some(role) = nth(self.missing.keys().copied(), n) {
                    self.come_back(role);
                }
            }
            Event::Answers(n, how) => self.post(n, how),
            Event::AllAnswer => self.answer(|_| true),
            Event::Lies(n) => {
                let pending = self.dance.pending.as_ref();
                let epoch = pending.map_or(self.switched + 1, |pending| pending.step.epoch);
                let liars = self.leases.values().map(|lease| (lease.id, lease.role));
                if let Some((from, role)) = nth(liars, n) {
                    self.deliver(Letter { from, role, epoch, asked: Asked::Change }, false);
                }
            }
            Event::Passes(ms) => self.pass(ms),
        }
        self.advance();
    }

    /// Whoever kept silent is replaced, who is missing comes back, and all say at once what they are asked.
    pub(super) fn rest(&mut self) {
        let silent = self.leases.values().filter(|lease| self.mute.contains(&lease.id));
        let silent: Vec<Role> = silent.map(|lease| lease.role).collect();
        for role in silent {
            self.die(role);
        }
        for _ in 0..30 {
            let missing: Vec<Role> = self.missing.keys().copied().collect();
            for role in missing {
                self.come_back(role);
            }
            self.answer(|_| true);
            self.pass(100);
        }
        self.pass(2 * FORGET_AFTER.as_millis() as u64);
        self.look_closely();
    }

    /// All that is in force.
    pub(super) fn tasks(&self) -> Vec<(TaskKey, Task)> {
        let tasks = self.dance.wiring().tasks();
        tasks.map(|(key, task)| (key.clone(), task.clone())).collect()
    }

    /// The task that decodes a peer's pictures.
    pub(super) fn wired(&self, n: u8) -> Option<TaskId> {
        self.dance.wiring.find(&TaskKey::Decode(source(n))).map(|task| task.id)
    }

    // --- those who come and go --------------------------------------------------------------------------------------

    fn hire(&mut self, role: Role) {
        self.count += 1;
        let id = WorkerId(self.count.into());
        let (outbox, inbox) = mpsc::channel(64);
        let ends = (outbox, Arc::default());
        let lease = Lease::attached((id, role), self.count, "one".into(), Arc::default(), ends);
        self.programs.insert(id, Program::new(role, inbox));
        self.dance.assign(&lease);
        self.leases.insert(role, lease);
        self.missing.remove(&role);
        self.desired.absence.roles.remove(&role);
        self.listen();
    }

    fn attach(&mut self) -> Role {
        let role = Role::Attached(self.count + 1);
        self.hire(role);
        role
    }

    fn come_back(&mut self, role: Role) {
        if !attached(&role) {
            return self.hire(role);
        }
        let again = self.attach();
        for insert in &mut self.desired.inserts {
            if insert.segment.role == role {
                insert.segment.role = again;
            }
        }
        for origin in self.desired.sources.values_mut() {
            if *origin == Origin::Attached(role) {
                *origin = Origin::Attached(again);
            }
        }
        self.missing.remove(&role);
        self.desired.absence.roles.remove(&role);
    }

    fn leave(&mut self, gone: &Source) {
        self.desired.sources.remove(gone);
        self.desired.products.retain(|product| product.stream.source != *gone);
        let stood = self.desired.inserts.iter().filter(|insert| insert.source == *gone);
        let stood: Vec<Role> = stood.map(|insert| insert.segment.role).collect();
        for role in stood {
            self.take_out(role);
        }
    }

    fn take_out(&mut self, role: Role) {
        self.desired.inserts.retain(|insert| insert.segment.role != role);
        self.desired.sources.retain(|_, origin| *origin != Origin::Attached(role));
        self.desired.absence.roles.remove(&role);
        self.missing.remove(&role);
        if self.leases.contains_key(&role) {
            self.leaving.insert(role);
        }
    }

    /// Those that leave are let go when nothing is wired through them; what is prepared with them is void.
    fn let_go(&mut self) {
        let unused = |role: &Role| self.dance.wiring.tasks_of(*role).next().is_none();
        let over: Vec<Role> = self.leaving.iter().copied().filter(unused).collect();
        for role in over {
            self.leaving.remove(&role);
            self.bury(role);
            self.dance.lost(role, &self.leases);
            self.listen();
        }
        if !self.dance.replanning() {
            let used = self.dance.wiring().graph().roles();
            let unused = |role: &Role| !used.contains(role) && !attached(role);
            let over: Vec<Role> = self.leases.keys().copied().filter(unused).collect();
            for role in over {
                self.bury(role);
            }
        }
    }

    /// Says whether it was there.
    pub(super) fn bury(&mut self, role: Role) -> bool {
        let Some(lease) = self.leases.remove(&role) else { return false };
        if let Some(program) = self.programs.get_mut(&lease.id) {
            program.gone = true;
        }
        true
    }

    pub(super) fn die(&mut self, role: Role) {
        if !self.bury(role) {
            return;
        }
        self.dance.lost(role, &self.leases);
        self.listen();
        if role == Role::Steward {
            self.move_house();
        } else if !self.leaving.remove(&role) {
            self.missing.insert(role, self.now);
        }
    }

    /// The steward is gone: all begins anew in another namespace.
    pub(super) fn move_house(&mut self) {
        drop(self.dance.begin_anew(&self.runtime).expect("another namespace"));
        self.missing.insert(Role::Steward, self.now);
        let others: Vec<Role> = self.leases.keys().copied().collect();
        for role in others {
            self.bury(role);
            if !self.leaving.remove(&role) {
                self.missing.insert(role, self.now);
            }
        }
        self.desired.absence.roles.clear();
        self.services.clear();
        self.before = self.dance.wiring.clone();
        self.listen();
    }

    // --- what they say ----------------------------------------------------------------------------------------------

    fn post(&mut self, n: u8, how: How) {
        let Some(at) = nth(0..self.mail.len(), n) else { return };
        let letter = self.mail[at];
        if how != How::Twice {
            self.mail.remove(at);
        }
        match how {
            How::Once | How::Twice => self.deliver(letter, false),
            How::No => self.deliver(letter, true),
            How::Never => {
                self.mute.insert(letter.from);
            }
        }
    }

    /// What is on its way from those who are willing arrives.
    pub(super) fn answer(&mut self, willing: impl Fn(&Program) -> bool) {
        for letter in std::mem::take(&mut self.mail) {
            if self.programs.get(&letter.from).is_some_and(&willing) {
                self.deliver(letter, false);
            } else {
                self.mail.push(letter);
            }
        }
        self.advance();
    }

    pub(super) fn settle(&mut self) {
        for _ in 0..6 {
            self.answer(|_| true);
        }
    }

    /// One of a dead process as well, at which the session's task would not even look.
    fn deliver(&mut self, letter: Letter, refuses: bool) {
        let Letter { from, role, epoch, asked } = letter;
        let held = self.leases.get(&role).is_some_and(|lease| lease.id == from);
        let before = self.under_way();
        let replans = self.dance.replans();
        let failed = match asked {
            Asked::Services => {
                for service in self.services.values_mut().filter(|service| service.0 == epoch) {
                    service.1 |= held && !refuses;
                }
                let error = refuses.then(|| "it cannot".to_owned());
                self.dance.created(epoch, error, &self.leases, self.now).is_err()
            }
            Asked::Change if refuses => self.dance.refused(epoch, &self.leases),
            Asked::Change => {
                if let Some(program) = self.programs.get_mut(&from) {
                    program.ready |= program.asked(epoch);
                }
                self.dance.ready(role, epoch, &self.leases, self.now);
                false
            }
        };
        self.listen();
        if held && failed && replans && !attached(&role) {
            self.dance.keep(&self.leases);
            self.listen();
        } else if held && failed {
            self.die(role);
        } else if !held {
            let after = self.under_way();
            let same = before == after && !failed;
            self.laws.hold(Law::Dead, same, || format!("{letter:?}: {before:?}, then {after:?}"));
        }
    }

    fn under_way(&self) -> (u32, Option<(u32, bool, BTreeSet<Role>)>) {
        let pending = self.dance.pending.as_ref();
        let pending = pending.map(|p| (p.step.epoch, p.creating, p.waiting.clone()));
        (self.dance.wiring.epoch(), pending)
    }

    // --- time -------------------------------------------------------------------------------------------------------

    pub(super) fn pass(&mut self, ms: u64) {
        let step = Duration::from_millis((ms / 10).max(100));
        let end = self.now + Duration::from_millis(ms);
        while self.now < end {
            self.now = (self.now + step).min(end);
            let replans = self.dance.replans();
            let mut late = self.dance.tick(self.now, &self.leases);
            self.listen();
            if replans && late.iter().any(|role| !attached(role)) {
                // Nobody ends for a graph that is not to be.
                self.dance.keep(&self.leases);
                late.retain(attached);
                self.listen();
            }
            let over = |p: &&Pending| p.waiting.iter().any(|role| p.late(p.since, *role, self.now));
            let over = self.dance.pending.as_ref().filter(over).map(|p| p.step.epoch);
            self.laws.hold(Law::Deadline, over.is_none(), || format!("{over:?} goes on"));
            for role in late {
                self.die(role);
            }
            for (role, since) in &self.missing {
                let never = matches!(role, Role::Codec | Role::Steward);
                if !never && self.now.duration_since(*since) >= SOON {
                    self.desired.absence.roles.insert(*role);
                }
            }
            self.advance();
        }
    }

    fn advance(&mut self) {
        self.let_go();
        self.dance.advance(&self.desired, &self.leases, self.now).expect("there is room");
        self.listen();
        self.let_go();
    }
}

fn plan() -> Plan {
    graph(0)
}

/// Graphs that a session may be given one after the other.
fn graph(n: u8) -> Plan {
    let [a, b, c] = NODES;
    let hold = |id| node(id, OnFailure::Hold);
    let first = segment(Role::Pipeline, vec![hold(a)]);
    let custom = segment(Role::Custom(0), vec![hold(b), node(c, OnFailure::Bypass)]);
    let segments = match n % 5 {
        0 => vec![first, custom],
        1 => vec![first],
        2 => vec![custom, first],
        SLOW_ONE => vec![first, custom, segment(Role::Custom(1), vec![hold("d")])],
        _ => vec![segment(Role::Pipeline, vec![hold(a), hold("e")])],
    };
    let (stages, video) = chain(Media::Video, segments);
    let (_, audio) = chain(Media::Audio, Vec::new());
    Plan {
        session: "s".parse().expect("an id"),
        stages,
        outputs: vec![audio, video],
        former: BTreeMap::new(),
        max_video: (64, 48),
        video_bitrate: 1_000_000,
        audio_bitrate: 32_000,
    }
}

fn segment(role: Role, nodes: Vec<GraphNode>) -> Segment {
    Segment { role, nodes, frame_limit_ms: 1_000, queue: Queue::default() }
}

fn node(id: &str, on_failure: OnFailure) -> GraphNode {
    let (kind, params) = ("Node".to_owned(), "{}".to_owned());
    GraphNode { id: id.parse().expect("an id"), number: 0, kind, params, on_failure }
}

fn source(n: u8) -> Source {
    let kind = if n % 4 == TONE { Media::Audio } else { Media::Video };
    let peer = ["anna", "bert", "carl", "tone"][usize::from(n % 4)];
    Source { peer: peer.parse().expect("an id"), kind }
}

pub(super) fn attached(role: &Role) -> bool {
    matches!(role, Role::Attached(_))
}

fn toggle<T: Ord>(set: &mut BTreeSet<T>, one: T) {
    if !set.remove(&one) {
        set.insert(one);
    }
}

fn nth<T>(all: impl Iterator<Item = T>, n: u8) -> Option<T> {
    let mut all: Vec<T> = all.collect();
    let at = usize::from(n).checked_rem(all.len())?;
    Some(all.swap_remove(at))
}
