//! Pure: which channels and tasks a session needs, and the steps from one wiring to the next.
//!
//! [`Wiring::plan`] is told what is wanted ([`Desired`]) and which workers were replaced, and answers with a [`Step`]:
//! services to create, changes for each worker, ports of the router's own, services to forget. Nothing is in force
//! until the caller puts the wiring that came with the step in place of the old one; a refused step is dropped.
//!
//! A channel gets a fresh generation, and so a fresh service, when a process at either end was replaced, when it needs room for
//! more readers, or when another graph says that it holds more or less. What a dead process left in the old service is never
//! looked at again. [`Wiring::with`] plans the step to another graph ([`succession`]).

mod flow;
mod plan;
mod succession;

pub use flow::{Insert, held, stands};
#[cfg(test)]
pub use plan::chain;
pub use plan::{Feed, Output, Plan, Queue, Route, Segment, Stage, set_params};
pub use succession::Successor;

use crate::workers::Role;
use flow::Flow;
use remotemedia_shm_schema::channel::{Form, Place};
use remotemedia_shm_schema::contract::{MAX_ACCESS_UNIT, MAX_AUDIO_BLOCK, MAX_AUDIO_PACKET};
use remotemedia_shm_schema::control::{
    AudioEncode, Change, ChannelSpec, Task, TaskId, TaskKind, VideoEncode,
};
use remotemedia_shm_schema::{
    ChannelIndex, ChannelName, Codec, Contract, Media, NodeId, OutputId, PeerId, PortId, TierId,
    TrackId, VideoGeometry,
};
use remotemedia_worker::steward;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a peer sends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Who.
    pub peer: PeerId,
    /// Its picture or its sound.
    pub kind: Media,
}

/// What is made of a source under an output's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream {
    /// Of whose media.
    pub source: Source,
    /// Which of the manifest's results.
    pub output: OutputId,
}

/// The result that is there without a name.
pub const MAIN: &str = "main";

impl Stream {
    /// Whether it is the result that needs no name.
    #[must_use]
    pub fn is_main(&self) -> bool {
        self.output.as_str() == MAIN
    }
}

/// As peers and tables know it, whatever its kind: a peer's name, and behind a dot the output's unless it is `main`.
impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_main() {
            true => write!(f, "{}", self.source.peer),
            false => write!(f, "{}.{}", self.source.peer, self.output),
        }
    }
}

/// What somebody is to receive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Product {
    /// What is coded.
    pub stream: Stream,
    /// As which codec.
    pub codec: Codec,
}

/// How a source's frames come into the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From a peer, as this codec.
    Coded(Codec),
    /// Raw, from a process that attached.
    Attached(Role),
}

/// What is not there at the moment although the graph has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absence {
    /// Processes that died and are not replaced yet, or will not be.
    pub roles: BTreeSet<Role>,
    /// Nodes that failed too often.
    pub nodes: BTreeSet<NodeId>,
    /// What peers send that killed its decoder each time.
    pub tracks: BTreeSet<Source>,
}

/// What a session needs now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Every source with how it comes.
    pub sources: BTreeMap<Source, Origin>,
    /// Every product that at least one viewer takes.
    pub products: BTreeSet<Product>,
    /// Nodes that were attached, in the order of their coming.
    pub inserts: Vec<Insert>,
    /// What cannot work.
    pub absence: Absence,
}

/// Milliseconds that one call of a decoder or an encoder may take (chosen above DESIGN's 250 ms, which a loaded machine of
/// two cores exceeds by scheduling alone).
pub const CODEC_LIMIT_MS: u32 = 1_000;

/// A task by what it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKey {
    /// Publishes what the router took in of a source.
    Enter(Source),
    /// Hands a product on to the router.
    Exit(Product),
    /// Decodes a source.
    Decode(Source),
    /// Makes a source's frames, in a process that attached.
    Make(Source),
    /// Runs the segment of this name on a source.
    Graph(Source, NodeId),
    /// Encodes a product.
    Encode(Product),
}

impl TaskKey {
    /// Whose media it is about.
    #[must_use]
    pub fn source(&self) -> &Source {
        match self {
            Self::Enter(source)
            | Self::Decode(source)
            | Self::Make(source)
            | Self::Graph(source, _) => source,
            Self::Encode(product) | Self::Exit(product) => &product.stream.source,
        }
    }
}

/// Taps that one channel takes: its memory has room for them from the begin.
pub const TAPS: u32 = 1;

/// What a task is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    role: Role,
    kind: TaskKind,
    input: Option<ChannelName>,
    output: Option<ChannelName>,
    /// Of what it writes.
    queue: Queue,
    frame_limit_ms: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    role: Role,
    task: Task,
}

impl Running {
    fn reads(&self, name: &ChannelName) -> bool {
        self.task.input.as_ref().is_some_and(|input| input.name == *name)
    }

    fn writes(&self, name: &ChannelName) -> bool {
        self.task.output.as_ref().is_some_and(|output| output.name == *name)
    }

    fn touches(&self, name: &ChannelName) -> bool {
        self.reads(name) || self.writes(name)
    }
}

fn service(spec: Option<&ChannelSpec>) -> Option<&str> {
    spec.map(|spec| spec.service.as_str())
}

/// The wiring in force.
#[derive(Debug, Clone)]
pub struct Wiring {
    plan: Plan,
    epoch: u32,
    /// The last epoch that was ever planned: one that was called off is not named again.
    planned: u32,
    /// Indexes given out by the plan under way.
    indexes: BTreeSet<u32>,
    next_task: u32,
    /// Counts over all services of the session, so that no name ever comes twice.
    next_service: u32,
    tasks: BTreeMap<TaskKey, Running>,
    channels: BTreeMap<ChannelName, ChannelSpec>,
    /// Channels that a dead tap has a place at.
    worn: BTreeSet<ChannelName>,
}

/// From one wiring to the next.
#[derive(Debug, Clone, Default)]
pub struct Step {
    /// The epoch that it leads to.
    pub epoch: u32,
    /// Channels whose services are to be created.
    pub channels: Vec<ChannelSpec>,
    /// Event services to be created.
    pub wakes: Vec<String>,
    /// What changes for each process.
    pub changes: BTreeMap<Role, Vec<Change>>,
    /// Sources whose access units go into another channel from now on: by which task, in which epoch.
    pub outlets: BTreeMap<Source, (TaskId, u32)>,
    /// Products that come out of another channel from now on: by which task.
    pub inlets: BTreeMap<Product, TaskId>,
    /// Sources that go nowhere any more.
    pub closed_outlets: BTreeSet<Source>,
    /// Products that do not come any more.
    pub closed_inlets: BTreeSet<Product>,
    /// Services that nobody alive holds after the switch.
    pub forget: Vec<String>,
}

impl Step {
    /// What changes for a worker.
    #[must_use]
    pub fn changes(&self, role: Role) -> &[Change] {
        self.changes.get(&role).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Wiring {
    /// Nothing wired yet.
    #[must_use]
    pub fn new(plan: Plan) -> Self {
        Self {
            plan,
            epoch: 0,
            planned: 0,
            indexes: BTreeSet::new(),
            next_task: 0,
            next_service: 0,
            tasks: BTreeMap::new(),
            channels: BTreeMap::new(),
            worn: BTreeSet::new(),
        }
    }

    /// Nothing wired, as after [`Self::new`], in another namespace; numbers and names go on, so that nothing of before is taken
    /// for something of now.
    #[must_use]
    pub fn anew(&self) -> Self {
        Self {
            epoch: 0,
            tasks: BTreeMap::new(),
            channels: BTreeMap::new(),
            indexes: BTreeSet::new(),
            worn: BTreeSet::new(),
            ..self.clone()
        }
    }

    /// The same tasks and channels, to be planned on for another graph.
    #[must_use]
    pub fn with(&self, graph: &Plan) -> Self {
        Self { plan: graph.clone(), ..self.clone() }
    }

    /// The graph that it is planned for.
    #[must_use]
    pub fn graph(&self) -> &Plan {
        &self.plan
    }

    /// See [`Plan::bytes_of_a_peer`].
    #[must_use]
    pub fn bytes_of_a_peer(&self) -> u64 {
        self.plan.bytes_of_a_peer()
    }

    /// The epoch in force.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Every channel in force.
    pub fn channels(&self) -> impl Iterator<Item = &ChannelSpec> {
        self.channels.values()
    }

    /// Every task in force.
    pub fn tasks(&self) -> impl Iterator<Item = (&TaskKey, &Task)> {
        self.tasks.iter().map(|(key, entry)| (key, &entry.task))
    }

    /// The task with this purpose.
    #[must_use]
    pub fn find(&self, key: &TaskKey) -> Option<&Task> {
        self.tasks.get(key).map(|entry| &entry.task)
    }

    /// The source whose decoder reads this channel.
    #[must_use]
    pub fn source_of(&self, channel: ChannelIndex) -> Option<&Source> {
        self.tasks.iter().find_map(|(key, entry)| match key {
            TaskKey::Decode(source) if index(entry.task.input.as_ref()) == Some(channel) => {
                Some(source)
            }
            _ => None,
        })
    }

    /// The product that the router reads from this channel.
    #[must_use]
    pub fn product_of(&self, channel: ChannelIndex) -> Option<&Product> {
        self.tasks.iter().find_map(|(key, entry)| match key {
            TaskKey::Encode(product) if index(entry.task.output.as_ref()) == Some(channel) => {
                Some(product)
            }
            _ => None,
        })
    }

    /// A process's tasks.
    pub fn tasks_of(&self, role: Role) -> impl Iterator<Item = (&TaskKey, &Task)> {
        let own = self.tasks.iter().filter(move |(_, entry)| entry.role == role);
        own.map(|(key, entry)| (key, &entry.task))
    }

    /// A channel in force.
    #[must_use]
    pub fn channel(&self, name: &ChannelName) -> Option<&ChannelSpec> {
        self.channels.get(name)
    }

    /// The process that makes a channel's frames; none is the router, or nobody.
    #[must_use]
    pub fn producer(&self, name: &ChannelName) -> Option<Role> {
        self.tasks.values().find(|entry| entry.writes(name)).map(|entry| entry.role)
    }

    /// A tap of this channel died with its places at it: the next plan makes the channel and its tap's wake-up afresh.
    pub fn wear(&mut self, name: &ChannelName) {
        if self.channels.contains_key(name) {
            self.worn.insert(name.clone());
        }
    }

    /// A node was given these parameters: what runs goes on, and whoever takes its place begins with them.
    pub fn set_params(&mut self, node: &NodeId, changes: &Map<String, Value>) {
        self.plan.set_params(node, changes);
        let running = self.tasks.values_mut().filter_map(|entry| match &mut entry.task.kind {
            TaskKind::Graph { nodes } => Some(nodes),
            _ => None,
        });
        set_params(running.flatten(), node, changes);
    }

    /// Where a node that is attached to this channel stands: whose frames, and behind what.
    #[must_use]
    pub fn place(&self, name: &ChannelName) -> Option<(Source, Feed)> {
        let (key, _) = self.tasks.iter().find(|(_, entry)| entry.writes(name))?;
        match key {
            TaskKey::Decode(source) | TaskKey::Make(source) => Some((source.clone(), Feed::Input)),
            TaskKey::Graph(source, name) => Some((source.clone(), Feed::Segment(name.clone()))),
            TaskKey::Enter(_) | TaskKey::Exit(_) | TaskKey::Encode(_) => None,
        }
    }

    /// The step to what is wanted, and the wiring that it leads to; `None` when nothing changes. `dead` are processes that
    /// died since the wiring in force.
    #[must_use]
    pub fn plan(&self, desired: &Desired, dead: &BTreeSet<Role>) -> Option<(Step, Self)> {
        let mut next = self.clone();
        next.planned = self.planned.wrapping_add(1);
        next.epoch = next.planned;
        next.indexes.clear();
        next.worn.clear();
        let wanted = self.wanted(desired);
        // A decoder of another codec is another task, although it has the same purpose.
        next.tasks.retain(|key, entry| {
            wanted.get(key).is_some_and(|w| {
                w.role == entry.role
                    && w.frame_limit_ms == entry.task.frame_limit_ms
                    && same(&w.kind, &entry.task.kind)
            })
        });
        for (key, of) in &wanted {
            if !next.tasks.contains_key(key) {
                let entry = next.begin(key, of);
                next.tasks.insert(key.clone(), entry);
            }
        }
        next.rewire(&wanted, self, dead);

        let mut step = Step { epoch: next.epoch, ..Step::default() };
        for (name, spec) in &next.channels {
            if self.channels.get(name).is_none_or(|old| old.service != spec.service) {
                step.channels.push(spec.clone());
            }
            let before = self.channels.get(name).and_then(tap_wake);
            step.wakes
                .extend(tap_wake(spec).filter(|wake| before != Some(*wake)).map(str::to_owned));
        }
        for (name, old) in &self.channels {
            if next.channels.get(name).is_none_or(|new| new.service != old.service) {
                step.forget.push(old.service.clone());
            }
            let kept = next.channels.get(name).and_then(tap_wake);
            if kept != tap_wake(old) {
                step.forget.extend(tap_wake(old).map(str::to_owned));
            }
        }
        next.changes(self, dead, &mut step);
        next.ports(self, &mut step);
        // A task that nobody is to be told of, because its process is dead, is a change as well.
        let unchanged = next.tasks.keys().eq(self.tasks.keys())
            && step.forget.is_empty()
            && step.changes.is_empty()
            && step.outlets.is_empty()
            && step.inlets.is_empty()
            && step.closed_outlets.is_empty()
            && step.closed_inlets.is_empty();
        (!unchanged).then_some((step, next))
    }

    /// Takes note of a plan that was called off: its epoch and its services' names do not come again, for a worker may
    /// still answer to the one and hold the others.
    pub fn called_off(&mut self, plan: &Self) {
        self.planned = plan.planned;
        self.next_service = plan.next_service;
        self.next_task = plan.next_task;
    }

    /// Every task that is wanted, by its purpose.
    fn wanted(&self, desired: &Desired) -> BTreeMap<TaskKey, Wanted> {
        let mut wanted = BTreeMap::new();
        let quarantined = |source: &Source| desired.absence.tracks.contains(source);
        for (source, origin) in desired.sources.iter().filter(|(source, _)| !quarantined(source)) {
            let raw = self.incoming(source, Form::Raw);
            let (key, role, kind, input) = match origin {
                Origin::Coded(codec) => {
                    let coded = self.incoming(source, Form::Encoded);
                    let enter = Wanted {
                        role: Role::Steward,
                        kind: TaskKind::Enter,
                        input: None,
                        output: Some(coded.clone()),
                        queue: Queue::default(),
                        frame_limit_ms: CODEC_LIMIT_MS,
                    };
                    wanted.insert(TaskKey::Enter(source.clone()), enter);
                    let kind = TaskKind::Decode { codec: *codec };
                    (TaskKey::Decode(source.clone()), Role::Codec, kind, Some(coded))
                }
                Origin::Attached(role) => {
                    let kind = TaskKind::Source { media: source.kind };
                    (TaskKey::Make(source.clone()), *role, kind, None)
                }
            };
            let output = Some(raw.clone());
            let here = !desired.absence.roles.contains(&role);
            if here || role == Role::Codec {
                let frame_limit_ms = CODEC_LIMIT_MS;
                let queue = Queue::default();
                wanted.insert(key, Wanted { role, kind, input, output, queue, frame_limit_ms });
            }
            let flow = Flow::of(&self.plan, desired, source);
            for stage in flow.stages.iter().filter(|stage| stage.runs) {
                let Segment { role, nodes, frame_limit_ms, queue } = stage.segment.clone();
                let of = Wanted {
                    role,
                    kind: TaskKind::Graph { nodes },
                    input: Some(self.fed(source, &stage.from)),
                    output: Some(self.output_of(source, &stage.name)),
                    queue,
                    frame_limit_ms,
                };
                wanted.insert(TaskKey::Graph(source.clone(), stage.name.clone()), of);
            }
            let products = desired.products.iter();
            for product in products.filter(|product| product.stream.source == *source) {
                let Some(output) = self.plan.output(&product.stream) else { continue };
                let of = Wanted {
                    role: Role::Codec,
                    kind: self.encode(product.codec),
                    input: Some(self.fed(source, flow.end(&output.feed))),
                    output: Some(self.coded(product)),
                    queue: Queue::default(),
                    frame_limit_ms: CODEC_LIMIT_MS,
                };
                let exit = Wanted {
                    role: Role::Steward,
                    kind: TaskKind::Exit,
                    input: of.output.clone(),
                    output: None,
                    queue: Queue::default(),
                    frame_limit_ms: CODEC_LIMIT_MS,
                };
                wanted.insert(TaskKey::Encode(product.clone()), of);
                wanted.insert(TaskKey::Exit(product.clone()), exit);
            }
        }
        wanted
    }

    fn encode(&self, codec: Codec) -> TaskKind {
        match Media::of(codec) {
            Media::Video => TaskKind::EncodeVideo(VideoEncode {
                codec,
                bitrate: self.plan.video_bitrate,
                max_width: self.plan.max_video.0,
                max_height: self.plan.max_video.1,
                frame_rate: 30,
            }),
            Media::Audio => TaskKind::EncodeAudio(AudioEncode {
                bitrate: self.plan.audio_bitrate,
                channels: 2,
                fec: true,
                expected_loss: 5,
                dtx: false,
                complexity: 5,
            }),
        }
    }

    /// A new task; its channels are filled in by [`Self::rewire`].
    fn begin(&mut self, key: &TaskKey, of: &Wanted) -> Running {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        let task = Task {
            id,
            kind: of.kind.clone(),
            input: None,
            output: None,
            wake: String::new(),
            max_raw: self.raw_bytes(key.source().kind),
            frame_limit_ms: of.frame_limit_ms,
        };
        Running { role: of.role, task }
    }

    fn raw_bytes(&self, kind: Media) -> u32 {
        match kind {
            Media::Audio => MAX_AUDIO_BLOCK,
            Media::Video => {
                // A phone turned upright sends the same picture with its sides exchanged, whose rows pad differently.
                let (w, h) = self.plan.max_video;
                let bytes = VideoGeometry::i420(w, h)
                    .payload_len()
                    .max(VideoGeometry::i420(h, w).payload_len());
                u32::try_from(bytes).unwrap_or(u32::MAX)
            }
        }
    }

    fn name(&self, place: Place) -> ChannelName {
        ChannelName { session: self.plan.session.clone(), place }
    }

    fn incoming(&self, source: &Source, form: Form) -> ChannelName {
        let track = match source.kind {
            Media::Audio => "audio0",
            Media::Video => "video0",
        };
        let track = TrackId::new(track).expect("a literal of the grammar");
        self.name(Place::In { peer: source.peer.clone(), track, form })
    }

    /// An output's name in channels: with its kind, for one name may stand for both.
    fn result(output: &OutputId, kind: Media) -> OutputId {
        OutputId::new(format!("{output}-{}", kind.name())).unwrap_or_else(|_| output.clone())
    }

    /// The channel of these frames.
    fn fed(&self, source: &Source, from: &Feed) -> ChannelName {
        match from {
            Feed::Input => self.incoming(source, Form::Raw),
            Feed::Segment(name) => self.output_of(source, name),
        }
    }

    /// The channel that the segment of this name writes: the result's, where it is one.
    fn output_of(&self, source: &Source, name: &NodeId) -> ChannelName {
        let peer = Some(source.peer.clone());
        let is = |output: &&Output| matches!(&output.feed, Feed::Segment(of) if of == name);
        self.name(match self.plan.outputs_of(source.kind).find(is) {
            Some(output) => Place::OutRaw { output: Self::result(&output.id, source.kind), peer },
            None => {
                let port = PortId::new("out").expect("a literal of the grammar");
                Place::Node { node: name.clone(), port, peer }
            }
        })
    }

    fn coded(&self, product: &Product) -> ChannelName {
        let Stream { source, output } = &product.stream;
        self.name(Place::OutEncoded {
            output: Self::result(output, source.kind),
            peer: Some(source.peer.clone()),
            tier: TierId::new("full").expect("a literal of the grammar"),
            codec: product.codec,
        })
    }

    /// Gives every task of `self` its channels, keeping those of `old` that still serve.
    fn rewire(&mut self, wanted: &BTreeMap<TaskKey, Wanted>, old: &Self, dead: &BTreeSet<Role>) {
        // A task that begins anew in another process waits on a service of its own: the old one's listener slot stays taken.
        for (key, entry) in &mut self.tasks {
            let fresh = old.tasks.get(key).is_none_or(|b| b.task.id != entry.task.id)
                || dead.contains(&entry.role);
            if entry.role == Role::Steward {
                // One thread, one wake-up, which it makes itself.
                entry.task.wake = steward::WAKE.into();
            } else if fresh {
                entry.task.wake = format!("wake/{}.{}", entry.task.id.0, self.next_service);
                self.next_service += 1;
            }
        }
        let mut names: BTreeMap<ChannelName, Media> = BTreeMap::new();
        for (key, of) in wanted {
            for name in of.input.iter().chain(&of.output) {
                names.insert(name.clone(), key.source().kind);
            }
        }
        let mut channels = BTreeMap::new();
        for (name, media) in names {
            let spec = self.spec(&name, media, wanted, old, dead);
            channels.insert(name, spec);
        }
        self.channels = channels;
        for (key, entry) in &mut self.tasks {
            let Some(of) = wanted.get(key) else { continue };
            let find = |name: &ChannelName| self.channels.get(name).cloned();
            entry.task.input = of.input.as_ref().and_then(find);
            entry.task.output = of.output.as_ref().and_then(find);
        }
    }

    fn spec(
        &mut self,
        name: &ChannelName,
        media: Media,
        wanted: &BTreeMap<TaskKey, Wanted>,
        old: &Self,
        dead: &BTreeSet<Role>,
    ) -> ChannelSpec {
        let reads = |of: &Wanted| of.input.as_ref() == Some(name);
        let writes = |of: &Wanted| of.output.as_ref() == Some(name);
        let readers: Vec<&TaskKey> =
            wanted.iter().filter(|(_, of)| reads(of)).map(|(key, _)| key).collect();
        let written = wanted.iter().find(|(_, of)| writes(of));
        let producer = written.map(|(key, _)| key);
        let to_router = matches!(name.place, Place::OutEncoded { .. });
        let coded = to_router || matches!(name.place, Place::In { form: Form::Encoded, .. });
        let (contract, max_payload) = match (coded, media) {
            (true, Media::Audio) => (Contract::ENCODED_AUDIO, MAX_AUDIO_PACKET),
            (true, Media::Video) => (Contract::ENCODED_VIDEO, MAX_ACCESS_UNIT),
            (false, Media::Audio) => (Contract::RAW_AUDIO, self.raw_bytes(media)),
            (false, Media::Video) => (Contract::RAW_VIDEO, self.raw_bytes(media)),
        };
        let contract = written.map_or(contract, |(_, of)| of.queue.over(contract));
        let needed = readers.len().max(1) as u32;
        // Readers that go close their ports at the switch, when those that come have opened theirs.
        let begins = |key: &TaskKey| {
            let now = self.tasks.get(key).map(|entry| entry.task.id);
            let before = old.tasks.get(key);
            before.is_none_or(|before| Some(before.task.id) != now || !before.reads(name))
        };
        let goes = |key: &TaskKey, before: &Running| {
            let now = self.tasks.get(key).map(|entry| entry.task.id);
            before.reads(name) && (now != Some(before.task.id) || !readers.contains(&key))
        };
        let at_once = if readers.iter().any(|key| begins(key)) {
            needed + old.tasks.iter().filter(|(key, before)| goes(key, before)).count() as u32
        } else {
            needed
        };
        let mut wakes: Vec<String> = readers
            .iter()
            .filter_map(|key| self.tasks.get(*key).map(|entry| entry.task.wake.clone()))
            .collect();
        if let Some(old_spec) = old.channels.get(name) {
            // What a dead process had open keeps its places, and what it left is not to be read.
            let touched = old
                .tasks
                .values()
                .chain(self.tasks.values())
                .any(|entry| dead.contains(&entry.role) && entry.touches(name));
            // Another producer of the same purpose must not meet its predecessor's port.
            let before = old.tasks.iter().find(|(_, entry)| entry.writes(name));
            let succeeded = match (before, producer) {
                (Some((_, before)), Some(now)) => {
                    self.tasks.get(now).is_none_or(|now| now.task.id != before.task.id)
                }
                (Some(_), None) => false,
                (None, Some(now)) => !old.tasks.contains_key(now),
                (None, None) => false,
            };
            // A decoder of another codec must not read what was made for the one before.
            let decoder = coded && !to_router && readers.iter().any(|key| begins(key));
            let room = old_spec.max_readers.saturating_sub(TAPS);
            let worn = old.worn.contains(name);
            // The graph says now that it holds more, or less.
            let other = written.is_some() && old_spec.contract != contract;
            if !touched && !succeeded && !decoder && !worn && !other && at_once <= room {
                wakes.extend(tap_wake(old_spec).map(str::to_owned));
                return ChannelSpec { wakes, ..old_spec.clone() };
            }
        }
        let number = self.next_service;
        self.next_service += 1;
        let (index, generation) = match old.channels.get(name) {
            Some(old) => (old.index, old.generation + 1),
            None => (self.free_index(old), 0),
        };
        let service = format!("{name}#{number}");
        // A tap goes on over generations: it keeps its wake-up.
        let kept = old.channels.get(name).filter(|_| !old.worn.contains(name));
        let tap = kept.and_then(tap_wake).map(str::to_owned);
        wakes.push(tap.unwrap_or_else(|| format!("{TAP_WAKE}{number}")));
        ChannelSpec {
            index,
            service,
            name: name.clone(),
            epoch: self.epoch,
            generation,
            contract,
            max_payload,
            max_readers: needed + TAPS,
            wakes,
        }
    }

    /// The least index that no channel of the old or the new wiring has: events carry small numbers only.
    fn free_index(&mut self, old: &Self) -> ChannelIndex {
        let taken: BTreeSet<u32> =
            old.channels.values().map(|c| c.index.0).chain(self.indexes.iter().copied()).collect();
        let index = (0..).find(|index| !taken.contains(index)).unwrap_or(u32::MAX);
        self.indexes.insert(index);
        ChannelIndex(index)
    }

    fn changes(&self, old: &Self, dead: &BTreeSet<Role>, step: &mut Step) {
        for (key, before) in &old.tasks {
            let now = self.tasks.get(key).map(|entry| entry.task.id);
            if now == Some(before.task.id) {
                continue;
            }
            if before.role != Role::Steward {
                step.forget.push(before.task.wake.clone());
            }
            if !dead.contains(&before.role) {
                let changes = step.changes.entry(before.role).or_default();
                changes.push(Change::Remove(before.task.id));
            }
        }
        for (key, entry) in &self.tasks {
            let before = old.tasks.get(key).filter(|b| b.task.id == entry.task.id);
            let own = entry.role != Role::Steward;
            if own && before.is_none_or(|before| before.task.wake != entry.task.wake) {
                step.wakes.push(entry.task.wake.clone());
                step.forget.extend(before.map(|before| before.task.wake.clone()));
            }
            let task = &entry.task;
            match before {
                Some(before) if !dead.contains(&entry.role) => {
                    // A reader does not care whom else its channel wakes.
                    if service(before.task.input.as_ref()) != service(task.input.as_ref())
                        || before.task.output != task.output
                    {
                        step.changes.entry(entry.role).or_default().push(Change::Rewire {
                            task: task.id,
                            input: task.input.clone(),
                            output: task.output.clone(),
                        });
                    }
                }
                _ => step.changes.entry(entry.role).or_default().push(Change::Add(task.clone())),
            }
        }
    }

    fn ports(&self, old: &Self, step: &mut Step) {
        for (key, entry) in &self.tasks {
            let before = old.tasks.get(key);
            let ends = |task: &Task| {
                let end = task.input.as_ref().or(task.output.as_ref());
                end.map(|spec| (task.id, spec.service.clone()))
            };
            let same = before.is_some_and(|before| ends(&before.task) == ends(&entry.task));
            match (key, &entry.task.output) {
                (TaskKey::Enter(source), Some(output)) if !same => {
                    step.outlets.insert(source.clone(), (entry.task.id, output.epoch));
                }
                (TaskKey::Exit(product), _) if !same => {
                    step.inlets.insert(product.clone(), entry.task.id);
                }
                _ => {}
            }
        }
        for key in old.tasks.keys().filter(|key| !self.tasks.contains_key(key)) {
            match key {
                TaskKey::Enter(source) => {
                    step.closed_outlets.insert(source.clone());
                }
                TaskKey::Exit(product) => {
                    step.closed_inlets.insert(product.clone());
                }
                TaskKey::Decode(_) | TaskKey::Encode(_) | TaskKey::Graph(..) | TaskKey::Make(_) => {
                }
            }
        }
    }
}

fn index(spec: Option<&ChannelSpec>) -> Option<ChannelIndex> {
    spec.map(|spec| spec.index)
}

/// How the names of wake-ups for taps begin.
const TAP_WAKE: &str = "wake/tap.";

/// The event service on which a tap of a channel waits. It is rung from the begin, so that a tap that comes changes
/// nothing for the channel's producer.
#[must_use]
pub fn tap_wake(spec: &ChannelSpec) -> Option<&str> {
    spec.wakes.iter().map(String::as_str).find(|wake| wake.starts_with(TAP_WAKE))
}

/// Whether a running task does what is wanted; its rates are commands, not another task.
fn same(wanted: &TaskKind, running: &TaskKind) -> bool {
    match (wanted, running) {
        (TaskKind::Decode { codec: a }, TaskKind::Decode { codec: b }) => a == b,
        (TaskKind::EncodeVideo(a), TaskKind::EncodeVideo(b)) => a.codec == b.codec,
        (TaskKind::EncodeAudio(_), TaskKind::EncodeAudio(_)) => true,
        (TaskKind::Graph { nodes: a }, TaskKind::Graph { nodes: b }) => a == b,
        (TaskKind::Source { media: a }, TaskKind::Source { media: b }) => a == b,
        (TaskKind::Enter, TaskKind::Enter) | (TaskKind::Exit, TaskKind::Exit) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
