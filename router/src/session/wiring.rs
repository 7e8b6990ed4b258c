//! Pure: which channels and tasks a session needs, and the steps from one wiring to the next.
//!
//! [`Wiring::plan`] is told what is wanted ([`Desired`]) and which workers were replaced, and answers with a [`Step`]:
//! services to create, changes for each worker, ports of the router's own, services to forget. Nothing is in force
//! until the caller puts the wiring that came with the step in place of the old one; a refused step is dropped.
//!
//! A channel gets a fresh generation, and so a fresh service, when a process at either end was replaced or when it needs
//! room for more readers. What a dead process left in the old service is never looked at again.

use crate::workers::Role;
use remotemedia_shm_schema::channel::{Form, Place};
use remotemedia_shm_schema::contract::{MAX_ACCESS_UNIT, MAX_AUDIO_BLOCK, MAX_AUDIO_PACKET};
use remotemedia_shm_schema::control::{
    AudioEncode, Change, ChannelSpec, GraphNode, Task, TaskId, TaskKind, VideoEncode,
};
use remotemedia_shm_schema::{
    ChannelIndex, ChannelName, Codec, Contract, OutputId, PeerId, SessionId, TierId, TrackId,
    VideoGeometry,
};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Sound or picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

impl Kind {
    /// What a codec carries.
    #[must_use]
    pub fn of(codec: Codec) -> Self {
        if codec.is_audio() { Self::Audio } else { Self::Video }
    }

    /// Its name in tables.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// What a peer sends.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Who.
    pub peer: PeerId,
    /// Its picture or its sound.
    pub kind: Kind,
}

/// What somebody is to receive.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Product {
    /// Made from whose media.
    pub source: Source,
    /// As which codec.
    pub codec: Codec,
}

/// What a session needs now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Desired {
    /// Every source with the codec that it sends.
    pub sources: BTreeMap<Source, Codec>,
    /// Every product that at least one viewer takes.
    pub products: BTreeSet<Product>,
}

/// What does not change while a session lives.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Whose channels.
    pub session: SessionId,
    /// The chain of nodes for pictures.
    pub video_nodes: Vec<GraphNode>,
    /// The chain of nodes for sound.
    pub audio_nodes: Vec<GraphNode>,
    /// Greatest picture.
    pub max_video: (u16, u16),
    /// Bits a second of a video encoder to begin with.
    pub video_bitrate: u32,
    /// Bits a second of an Opus encoder.
    pub audio_bitrate: u32,
    /// Milliseconds that one call may take.
    pub frame_limit_ms: u32,
}

/// A task by what it is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TaskKey {
    /// Decodes a source.
    Decode(Source),
    /// Runs the nodes on a source.
    Graph(Source),
    /// Encodes a product.
    Encode(Product),
}

impl TaskKey {
    /// Who runs it.
    #[must_use]
    pub fn role(&self) -> Role {
        match self {
            Self::Decode(_) | Self::Encode(_) => Role::Codec,
            Self::Graph(_) => Role::Pipeline,
        }
    }
}

/// The event service on which the router waits for what encoders made.
pub const ROUTER_WAKE: &str = "wake/router";

#[derive(Debug, Clone, PartialEq, Eq)]
struct Running {
    task: Task,
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
    /// What changes for the codec worker.
    pub codec: Vec<Change>,
    /// What changes for the pipeline worker.
    pub pipeline: Vec<Change>,
    /// Sources whose access units the router writes into another channel from now on.
    pub outlets: BTreeMap<Source, ChannelSpec>,
    /// Products that the router reads from another channel from now on.
    pub inlets: BTreeMap<Product, ChannelSpec>,
    /// Sources that the router writes no more.
    pub closed_outlets: BTreeSet<Source>,
    /// Products that the router reads no more.
    pub closed_inlets: BTreeSet<Product>,
    /// Services that nobody alive holds after the switch.
    pub forget: Vec<String>,
}

impl Step {
    /// What changes for a worker.
    #[must_use]
    pub fn changes(&self, role: Role) -> &[Change] {
        match role {
            Role::Codec => &self.codec,
            Role::Pipeline => &self.pipeline,
        }
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
        }
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
            TaskKey::Decode(source) if entry.task.input.index == channel => Some(source),
            _ => None,
        })
    }

    /// The product that the router reads from this channel.
    #[must_use]
    pub fn product_of(&self, channel: ChannelIndex) -> Option<&Product> {
        self.tasks.iter().find_map(|(key, entry)| match key {
            TaskKey::Encode(product) if entry.task.output.index == channel => Some(product),
            _ => None,
        })
    }

    /// The step to what is wanted, and the wiring that it leads to; `None` when nothing changes.
    #[must_use]
    pub fn plan(&self, desired: &Desired, replaced: &BTreeSet<Role>) -> Option<(Step, Self)> {
        let mut next = self.clone();
        next.planned = self.planned.wrapping_add(1);
        next.epoch = next.planned;
        next.indexes.clear();
        let wanted = self.wanted(desired);
        // A decoder of another codec is another task, although it has the same purpose.
        next.tasks.retain(|key, entry| {
            wanted.contains_key(key) && wanted.get(key).is_some_and(|k| same(k, &entry.task.kind))
        });
        for (key, kind) in &wanted {
            if !next.tasks.contains_key(key) {
                let entry = next.begin(key, kind.clone());
                next.tasks.insert(key.clone(), entry);
            }
        }
        next.rewire(self, replaced);

        let mut step = Step { epoch: next.epoch, ..Step::default() };
        for (name, spec) in &next.channels {
            if self.channels.get(name).is_none_or(|old| old.service != spec.service) {
                step.channels.push(spec.clone());
            }
        }
        for (name, old) in &self.channels {
            if next.channels.get(name).is_none_or(|new| new.service != old.service) {
                step.forget.push(old.service.clone());
            }
        }
        next.changes(self, replaced, &mut step);
        next.ports(self, &mut step);
        let unchanged = step.codec.is_empty()
            && step.pipeline.is_empty()
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
    fn wanted(&self, desired: &Desired) -> BTreeMap<TaskKey, TaskKind> {
        let mut wanted = BTreeMap::new();
        for (source, codec) in &desired.sources {
            wanted.insert(TaskKey::Decode(source.clone()), TaskKind::Decode { codec: *codec });
            let nodes = self.nodes(source.kind);
            if !nodes.is_empty() {
                wanted.insert(
                    TaskKey::Graph(source.clone()),
                    TaskKind::Graph { nodes: nodes.to_vec() },
                );
            }
        }
        let products = desired.products.iter().filter(|p| desired.sources.contains_key(&p.source));
        for product in products {
            let kind = match product.source.kind {
                Kind::Video => TaskKind::EncodeVideo(VideoEncode {
                    codec: product.codec,
                    bitrate: self.plan.video_bitrate,
                    max_width: self.plan.max_video.0,
                    max_height: self.plan.max_video.1,
                    frame_rate: 30,
                }),
                Kind::Audio => TaskKind::EncodeAudio(AudioEncode {
                    bitrate: self.plan.audio_bitrate,
                    channels: 2,
                    fec: true,
                    expected_loss: 5,
                    dtx: false,
                    complexity: 5,
                }),
            };
            wanted.insert(TaskKey::Encode(product.clone()), kind);
        }
        wanted
    }

    fn nodes(&self, kind: Kind) -> &[GraphNode] {
        match kind {
            Kind::Audio => &self.plan.audio_nodes,
            Kind::Video => &self.plan.video_nodes,
        }
    }

    /// A new task; its channels are filled in by [`Self::rewire`].
    fn begin(&mut self, key: &TaskKey, kind: TaskKind) -> Running {
        let id = TaskId(self.next_task);
        self.next_task += 1;
        let (input, output) = (self.input_name(key), self.output_name(key));
        let input = self.unborn(input);
        let output = self.unborn(output);
        let frame_limit_ms = self.plan.frame_limit_ms;
        let max_raw = self.max_raw(key);
        Running {
            task: Task { id, kind, input, output, wake: String::new(), max_raw, frame_limit_ms },
        }
    }

    fn max_raw(&self, key: &TaskKey) -> u32 {
        match key {
            TaskKey::Decode(s) | TaskKey::Graph(s) => self.raw_bytes(s.kind),
            TaskKey::Encode(p) => self.raw_bytes(p.source.kind),
        }
    }

    fn raw_bytes(&self, kind: Kind) -> u32 {
        match kind {
            Kind::Audio => MAX_AUDIO_BLOCK,
            Kind::Video => {
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
            Kind::Audio => "audio0",
            Kind::Video => "video0",
        };
        let track = TrackId::new(track).expect("a literal of the grammar");
        self.name(Place::In { peer: source.peer.clone(), track, form })
    }

    fn output_name_of(kind: Kind) -> OutputId {
        OutputId::new(match kind {
            Kind::Audio => "main-audio",
            Kind::Video => "main-video",
        })
        .expect("a literal of the grammar")
    }

    /// Where a source's processed frames are: behind its nodes, or where there are none, behind its decoder.
    fn processed(&self, source: &Source) -> ChannelName {
        if self.nodes(source.kind).is_empty() {
            self.incoming(source, Form::Raw)
        } else {
            self.name(Place::OutRaw {
                output: Self::output_name_of(source.kind),
                peer: Some(source.peer.clone()),
            })
        }
    }

    fn input_name(&self, key: &TaskKey) -> ChannelName {
        match key {
            TaskKey::Decode(source) => self.incoming(source, Form::Encoded),
            TaskKey::Graph(source) => self.incoming(source, Form::Raw),
            TaskKey::Encode(product) => self.processed(&product.source),
        }
    }

    fn output_name(&self, key: &TaskKey) -> ChannelName {
        match key {
            TaskKey::Decode(source) => self.incoming(source, Form::Raw),
            TaskKey::Graph(source) => self.processed(source),
            TaskKey::Encode(product) => self.name(Place::OutEncoded {
                output: Self::output_name_of(product.source.kind),
                peer: Some(product.source.peer.clone()),
                tier: TierId::new("full").expect("a literal of the grammar"),
                codec: product.codec,
            }),
        }
    }

    fn unborn(&self, name: ChannelName) -> ChannelSpec {
        ChannelSpec {
            index: ChannelIndex(u32::MAX),
            name,
            service: String::new(),
            epoch: 0,
            generation: 0,
            contract: Contract::RAW_VIDEO,
            max_payload: 0,
            max_readers: 0,
            wakes: Vec::new(),
        }
    }

    /// Gives every task of `self` its channels, keeping those of `old` that still serve.
    fn rewire(&mut self, old: &Self, replaced: &BTreeSet<Role>) {
        let keys: Vec<TaskKey> = self.tasks.keys().cloned().collect();
        // A task that begins anew in another process waits on a service of its own: the old one's listener slot stays taken.
        for key in &keys {
            let fresh = !old.tasks.contains_key(key)
                || replaced.contains(&key.role())
                || self.tasks.get(key).is_some_and(|e| e.task.wake.is_empty());
            if fresh {
                let number = self.next_service;
                self.next_service += 1;
                if let Some(entry) = self.tasks.get_mut(key) {
                    entry.task.wake = format!("wake/{}.{number}", entry.task.id.0);
                }
            }
        }
        let mut channels = BTreeMap::new();
        for key in &keys {
            for name in [self.input_name(key), self.output_name(key)] {
                if let Entry::Vacant(place) = channels.entry(name) {
                    let spec = self.channel(place.key(), &keys, old, replaced);
                    place.insert(spec);
                }
            }
        }
        self.channels = channels;
        for key in &keys {
            let (input, output) = (self.input_name(key), self.output_name(key));
            if let (Some(input), Some(output), Some(entry)) = (
                self.channels.get(&input).cloned(),
                self.channels.get(&output).cloned(),
                self.tasks.get_mut(key),
            ) {
                entry.task.input = input;
                entry.task.output = output;
            }
        }
    }

    fn channel(
        &mut self,
        name: &ChannelName,
        keys: &[TaskKey],
        old: &Self,
        replaced: &BTreeSet<Role>,
    ) -> ChannelSpec {
        let producer = keys.iter().find(|key| self.output_name(key) == *name);
        let readers: Vec<&TaskKey> =
            keys.iter().filter(|key| self.input_name(key) == *name).collect();
        let to_router = matches!(name.place, Place::OutEncoded { .. });
        let mut wakes: Vec<String> = readers
            .iter()
            .filter_map(|key| self.tasks.get(key).map(|entry| entry.task.wake.clone()))
            .collect();
        if to_router {
            wakes.push(ROUTER_WAKE.into());
        }
        let (contract, max_payload) = match &name.place {
            Place::In { track, form: Form::Encoded, .. } if track.as_str().starts_with('a') => {
                (Contract::ENCODED_AUDIO, MAX_AUDIO_PACKET)
            }
            Place::In { form: Form::Encoded, .. } => (Contract::ENCODED_VIDEO, MAX_ACCESS_UNIT),
            Place::OutEncoded { codec, .. } if codec.is_audio() => {
                (Contract::ENCODED_AUDIO, MAX_AUDIO_PACKET)
            }
            Place::OutEncoded { .. } => (Contract::ENCODED_VIDEO, MAX_ACCESS_UNIT),
            Place::In { .. } | Place::OutRaw { .. } | Place::Node { .. } => {
                let audio = readers.iter().chain(producer.iter()).any(|key| {
                    matches!(key,
                        TaskKey::Decode(s) | TaskKey::Graph(s) if s.kind == Kind::Audio)
                        || matches!(key, TaskKey::Encode(p) if p.source.kind == Kind::Audio)
                });
                if audio {
                    (Contract::RAW_AUDIO, self.raw_bytes(Kind::Audio))
                } else {
                    (Contract::RAW_VIDEO, self.raw_bytes(Kind::Video))
                }
            }
        };
        let needed = (readers.len() + usize::from(to_router)).max(1) as u32;
        // Readers that go close their ports at the switch, when those that come have opened theirs.
        let begins =
            |key: &&TaskKey| self.tasks.get(*key).is_some_and(|e| e.task.output.service.is_empty());
        let goes = |key: &TaskKey, before: &Running| {
            old.input_name(key) == *name
                && self.tasks.get(key).is_none_or(|now| now.task.id != before.task.id)
        };
        let at_once = if readers.iter().copied().any(|key| begins(&key)) {
            needed + old.tasks.iter().filter(|(key, before)| goes(key, before)).count() as u32
        } else {
            needed
        };
        if let Some(old) = old.channels.get(name) {
            let touched =
                producer.iter().chain(readers.iter()).any(|key| replaced.contains(&key.role()));
            // A task that took the place of another of the same purpose must not meet its predecessor's ports.
            let succeeded =
                producer.iter().chain(readers.iter()).any(|key| {
                    self.tasks.get(key).is_some_and(|e| e.task.output.service.is_empty())
                }) && (producer.is_none_or(|key| {
                    self.tasks.get(key).is_some_and(|e| e.task.output.service.is_empty())
                }));
            if !touched && !succeeded && at_once <= old.max_readers {
                return ChannelSpec { wakes, ..old.clone() };
            }
        }
        let number = self.next_service;
        self.next_service += 1;
        let (index, generation) = match old.channels.get(name) {
            Some(old) => (old.index, old.generation + 1),
            None => (self.free_index(old), 0),
        };
        ChannelSpec {
            index,
            service: format!("{name}#{number}"),
            name: name.clone(),
            epoch: self.epoch,
            generation,
            contract,
            max_payload,
            max_readers: needed,
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

    fn changes(&self, old: &Self, replaced: &BTreeSet<Role>, step: &mut Step) {
        for (key, entry) in &self.tasks {
            let before = old.tasks.get(key).filter(|b| b.task.id == entry.task.id);
            let fresh_wake = before.is_none_or(|b| b.task.wake != entry.task.wake);
            if fresh_wake {
                step.wakes.push(entry.task.wake.clone());
                if let Some(before) = old.tasks.get(key) {
                    step.forget.push(before.task.wake.clone());
                }
            }
            let changes = match key.role() {
                Role::Codec => &mut step.codec,
                Role::Pipeline => &mut step.pipeline,
            };
            match before {
                Some(before) if !replaced.contains(&key.role()) => {
                    // A reader does not care whom else its channel wakes.
                    if before.task.input.service != entry.task.input.service
                        || before.task.output != entry.task.output
                    {
                        changes.push(Change::Rewire {
                            task: entry.task.id,
                            input: entry.task.input.clone(),
                            output: entry.task.output.clone(),
                        });
                    }
                }
                _ => changes.push(Change::Add(entry.task.clone())),
            }
        }
        for (key, before) in &old.tasks {
            let gone = self.tasks.get(key).is_none_or(|entry| entry.task.id != before.task.id);
            if gone {
                if !self.tasks.contains_key(key) {
                    step.forget.push(before.task.wake.clone());
                }
                if !replaced.contains(&key.role()) {
                    let changes = match key.role() {
                        Role::Codec => &mut step.codec,
                        Role::Pipeline => &mut step.pipeline,
                    };
                    changes.insert(0, Change::Remove(before.task.id));
                }
            }
        }
    }

    fn ports(&self, old: &Self, step: &mut Step) {
        for (key, entry) in &self.tasks {
            let before = old.tasks.get(key);
            match key {
                TaskKey::Decode(source)
                    if before.is_none_or(|b| b.task.input != entry.task.input) =>
                {
                    step.outlets.insert(source.clone(), entry.task.input.clone());
                }
                TaskKey::Encode(product)
                    if before
                        .is_none_or(|b| b.task.output.service != entry.task.output.service) =>
                {
                    step.inlets.insert(product.clone(), entry.task.output.clone());
                }
                TaskKey::Decode(_) | TaskKey::Graph(_) | TaskKey::Encode(_) => {}
            }
        }
        for key in old.tasks.keys().filter(|key| !self.tasks.contains_key(key)) {
            match key {
                TaskKey::Decode(source) => {
                    step.closed_outlets.insert(source.clone());
                }
                TaskKey::Encode(product) => {
                    step.closed_inlets.insert(product.clone());
                }
                TaskKey::Graph(_) => {}
            }
        }
    }
}

/// Whether a running task does what is wanted; its rates are commands, not another task.
fn same(wanted: &TaskKind, running: &TaskKind) -> bool {
    match (wanted, running) {
        (TaskKind::Decode { codec: a }, TaskKind::Decode { codec: b }) => a == b,
        (TaskKind::EncodeVideo(a), TaskKind::EncodeVideo(b)) => a.codec == b.codec,
        (TaskKind::EncodeAudio(_), TaskKind::EncodeAudio(_)) => true,
        (TaskKind::Graph { nodes: a }, TaskKind::Graph { nodes: b }) => a == b,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
