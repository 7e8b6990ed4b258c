//! A whole worker from one function over pictures or sound.

use super::run::{attach_boxed, run_boxed};
use super::{
    Attach, Catalogue, Factory, NodeDescription, Output, Processor, Role, Task, TaskError,
};
use super::{Command, TaskKind};
use crate::{Frame, Picture, PictureMut, monotonic_ns};
use remotemedia_shm_schema::channel::NameFault;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};
use remotemedia_shm_schema::{
    AudioGeometry, Content, Flags, Media, Meta, NodeId, PeerId, SessionId, Stage, Stamp,
    VideoGeometry,
};
use std::process::ExitCode;
use std::time::Duration;

/// A worker with one function.
///
/// ```no_run
/// use remotemedia_worker::{Picture, PictureMut, worker::Worker};
///
/// fn main() -> std::process::ExitCode {
///     Worker::video("gray", |input: Picture<'_>, output: &mut PictureMut<'_>| {
///         output.copy_from(&input);
///         output.u.fill(128);
///         output.v.fill(128);
///         Ok(())
///     })
///     .run()
/// }
/// ```
pub struct Worker {
    name: String,
    factory: Box<dyn Factory>,
}

impl Worker {
    /// A worker over pictures: reads one, writes one of the same size. Each task has its own copy of the function.
    pub fn video<F>(name: impl Into<String>, function: F) -> Self
    where
        F: FnMut(Picture<'_>, &mut PictureMut<'_>) -> Result<(), TaskError>,
        F: Clone + Send + 'static,
    {
        let name = name.into();
        let make = move |nodes| Box::new(Video { function: function.clone(), nodes }) as Box<_>;
        let factory = Box::new(Simple { name: name.clone(), video: true, make: Box::new(make) });
        Self { name, factory }
    }

    /// A worker over sound: reads a block of interleaved samples, writes one of the same shape.
    pub fn audio<F>(name: impl Into<String>, function: F) -> Self
    where
        F: FnMut(&[f32], AudioGeometry, &mut [f32]) -> Result<(), TaskError>,
        F: Clone + Send + 'static,
    {
        let name = name.into();
        let make = move |nodes| Box::new(Audio { function: function.clone(), nodes }) as Box<_>;
        let factory = Box::new(Simple { name: name.clone(), video: false, make: Box::new(make) });
        Self { name, factory }
    }

    /// Runs it as a process that the router started; see [`super::run`].
    #[must_use]
    pub fn run(self) -> ExitCode {
        run_boxed(Role::Custom, &self.name, self.factory)
    }

    /// Attaches to a running router as a node between a raw channel and its readers, until Ctrl-C; see
    /// [`super::attach`]. While it is away its media are held.
    #[must_use]
    pub fn insert(self, channel: &str, node: &str) -> ExitCode {
        let wish = channel.parse().map_err(|e: NameFault| e.to_string()).and_then(|channel| {
            let node = NodeId::new(node).map_err(|e| e.to_string())?;
            Ok(Attach::Insert { channel, node, on_failure: OnFailure::Hold })
        });
        self.attach(wish)
    }

    /// Attaches to a running router as a reader beside a channel's own, until Ctrl-C: `function` sees each frame in
    /// place, and holds nobody up.
    #[must_use]
    pub fn tap<F>(name: impl Into<String>, channel: &str, function: F) -> ExitCode
    where
        F: FnMut(&Frame) -> Result<(), TaskError> + Clone + Send + 'static,
    {
        let make = move || Box::new(Tap { function: function.clone() }) as Box<_>;
        let worker = Self { name: name.into(), factory: Box::new(Alone { make: Box::new(make) }) };
        let wish = channel.parse().map(|channel| Attach::Tap { channel });
        worker.attach(wish.map_err(|e: NameFault| e.to_string()))
    }

    /// Attaches to a running router as a source of sound, until Ctrl-C: `function` fills one block after the other, is
    /// told how many came before, and is called as often as blocks of this geometry last.
    #[must_use]
    pub fn sound_source<F>(peer: &str, session: &str, block: AudioGeometry, function: F) -> ExitCode
    where
        F: FnMut(u64, &mut [f32]) -> Result<(), TaskError> + Clone + Send + 'static,
    {
        let make = move || {
            let every = u64::from(block.samples) * 1_000_000_000 / u64::from(block.rate.max(1));
            let (function, clock) = (function.clone(), Ticks::every(Duration::from_nanos(every)));
            Box::new(SoundSource { function, block, clock }) as Box<_>
        };
        Self::source(peer, session, Media::Audio, Box::new(make))
    }

    /// Attaches to a running router as a source of pictures, until Ctrl-C; as [`Worker::sound_source`], so many a second.
    #[must_use]
    pub fn picture_source<F>(
        peer: &str,
        session: &str,
        (width, height): (u16, u16),
        per_second: u32,
        function: F,
    ) -> ExitCode
    where
        F: FnMut(u64, &mut PictureMut<'_>) -> Result<(), TaskError> + Clone + Send + 'static,
    {
        let make = move || {
            let every = Duration::from_secs(1) / per_second.max(1);
            let (function, clock) = (function.clone(), Ticks::every(every));
            Box::new(PictureSource { function, width, height, clock }) as Box<_>
        };
        Self::source(peer, session, Media::Video, Box::new(make))
    }

    fn source(peer: &str, session: &str, media: Media, make: Make) -> ExitCode {
        let wish = SessionId::new(session)
            .and_then(|session| Ok(Attach::Source { session, peer: PeerId::new(peer)?, media }));
        let worker = Self { name: peer.to_owned(), factory: Box::new(Alone { make }) };
        worker.attach(wish.map_err(|e| e.to_string()))
    }

    fn attach(self, wish: Result<Attach, String>) -> ExitCode {
        match wish {
            Ok(wish) => attach_boxed(&self.name, wish, self.factory),
            Err(why) => {
                eprintln!("{}: {why}", self.name);
                ExitCode::from(2)
            }
        }
    }
}

type Make = Box<dyn Fn() -> Box<dyn Processor> + Send>;

/// A worker with one kind of task, whatever it is called.
struct Alone {
    make: Make,
}

impl Factory for Alone {
    fn catalogue(&self) -> Catalogue {
        Catalogue::default()
    }

    fn make(&mut self, _: &Task) -> Result<Box<dyn Processor>, TaskError> {
        Ok((self.make)())
    }
}

struct Tap<F> {
    function: F,
}

impl<F> Processor for Tap<F>
where
    F: FnMut(&Frame) -> Result<(), TaskError> + Send,
{
    fn process(&mut self, frame: &Frame, _: &mut Output<'_>) -> Result<(), TaskError> {
        (self.function)(frame)
    }

    fn command(&mut self, _: &Command) -> Result<(), TaskError> {
        Ok(())
    }
}

/// The times of a source's frames: on a grid from its first one, whatever each took.
#[derive(Debug)]
struct Ticks {
    every: Duration,
    begin_ns: Option<u64>,
    made: u64,
}

impl Ticks {
    fn every(every: Duration) -> Self {
        Self { every, begin_ns: None, made: 0 }
    }

    /// The number of the next frame, and when it is.
    fn next(&mut self) -> (u64, u64) {
        let every = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX);
        let now = monotonic_ns();
        let begin = *self.begin_ns.get_or_insert(now);
        let mut at = begin.saturating_add(self.made.saturating_mul(every));
        // Behind by a second: the process was stopped. The grid begins anew.
        if now.saturating_sub(at) > 1_000_000_000 {
            self.begin_ns = Some(now.saturating_sub(self.made.saturating_mul(every)));
            at = now;
        }
        let number = self.made;
        self.made += 1;
        (number, at)
    }

    fn meta(&self, content: Content, media_time_ns: u64) -> Meta {
        let mut meta = Meta::new(content);
        meta.media_time_ns = media_time_ns;
        meta.duration_ns = u64::try_from(self.every.as_nanos()).unwrap_or(u64::MAX);
        meta.stamps.push(Stamp { stage: Stage::Received, ns: monotonic_ns() });
        meta
    }
}

struct SoundSource<F> {
    function: F,
    block: AudioGeometry,
    clock: Ticks,
}

impl<F> Processor for SoundSource<F>
where
    F: FnMut(u64, &mut [f32]) -> Result<(), TaskError> + Send,
{
    fn process(&mut self, _: &Frame, _: &mut Output<'_>) -> Result<(), TaskError> {
        Err(TaskError::failed("a source has no input"))
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        no_parameters(command)
    }

    fn produce(&mut self, out: &mut Output<'_>) -> Result<Duration, TaskError> {
        let (number, at) = self.clock.next();
        let mut loan = out.loan(self.block.payload_len())?;
        (self.function)(number, loan.samples_mut())?;
        loan.publish(self.clock.meta(Content::Sound(self.block), at))?;
        Ok(self.clock.every)
    }
}

struct PictureSource<F> {
    function: F,
    width: u16,
    height: u16,
    clock: Ticks,
}

impl<F> Processor for PictureSource<F>
where
    F: FnMut(u64, &mut PictureMut<'_>) -> Result<(), TaskError> + Send,
{
    fn process(&mut self, _: &Frame, _: &mut Output<'_>) -> Result<(), TaskError> {
        Err(TaskError::failed("a source has no input"))
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        no_parameters(command)
    }

    fn produce(&mut self, out: &mut Output<'_>) -> Result<Duration, TaskError> {
        let (number, at) = self.clock.next();
        let geometry = VideoGeometry::i420(self.width, self.height);
        let mut loan = out.loan(geometry.payload_len())?;
        let mut picture = loan
            .picture_mut(geometry)
            .ok_or_else(|| TaskError::failed("a picture that does not fit into its loan"))?;
        (self.function)(number, &mut picture)?;
        loan.publish(self.clock.meta(Content::Picture(geometry), at))?;
        Ok(self.clock.every)
    }
}

struct Simple {
    name: String,
    video: bool,
    make: Box<dyn Fn(Vec<GraphNode>) -> Box<dyn Processor> + Send>,
}

impl Factory for Simple {
    fn catalogue(&self) -> Catalogue {
        let node = NodeDescription {
            kind: self.name.clone(),
            summary: format!("the custom worker {}", self.name),
            video: self.video,
            audio: !self.video,
            params_schema: r#"{"type":"object","additionalProperties":false}"#.into(),
        };
        Catalogue { codecs: Vec::new(), nodes: vec![node] }
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        let TaskKind::Graph { nodes } = &task.kind else {
            return Err(TaskError::failed(format!("{} has no codecs", self.name)));
        };
        if let Some(other) = nodes.iter().find(|node| node.kind != self.name) {
            let (kind, own) = (&other.kind, &self.name);
            return Err(TaskError::failed(format!("{own} has no node of type `{kind}`")));
        }
        Ok((self.make)(nodes.clone()))
    }
}

struct Video<F> {
    function: F,
    nodes: Vec<GraphNode>,
}

impl<F> Processor for Video<F>
where
    F: FnMut(Picture<'_>, &mut PictureMut<'_>) -> Result<(), TaskError> + Send,
{
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let Some(input) = frame.picture() else { return pass_empty(frame, out) };
        let like = input.geometry;
        let (matrix, range, rotation) = (like.matrix, like.range, like.rotation);
        let own = VideoGeometry::i420(like.width, like.height);
        let geometry = VideoGeometry { matrix, range, rotation, ..own };
        let mut loan = out.loan(geometry.payload_len())?;
        let mut picture = loan
            .picture_mut(geometry)
            .ok_or_else(|| TaskError::failed("a picture that does not fit into its loan"))?;
        let failed = (self.function)(input, &mut picture).err();
        if failed.is_some() {
            // What the function left in the loan is no picture of anybody's.
            picture.copy_from(&input);
        }
        let meta = stamped(frame.meta(), Content::Picture(geometry), &self.nodes);
        match (failed, policy(&self.nodes)) {
            (None, _) => Ok(loan.publish(meta)?),
            (Some(error), OnFailure::Bypass) => {
                loan.publish(meta)?;
                tell(&self.nodes, &error, out);
                Ok(())
            }
            // Held: the encoder behind shows its last picture.
            (Some(error), OnFailure::Hold | OnFailure::Close) => {
                drop(loan);
                tell(&self.nodes, &error, out);
                Err(error)
            }
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        no_parameters(command)
    }
}

struct Audio<F> {
    function: F,
    nodes: Vec<GraphNode>,
}

impl<F> Processor for Audio<F>
where
    F: FnMut(&[f32], AudioGeometry, &mut [f32]) -> Result<(), TaskError> + Send,
{
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let (Some(input), Content::Sound(geometry)) = (frame.sound(), frame.meta().content) else {
            return pass_empty(frame, out);
        };
        let mut loan = out.loan(geometry.payload_len())?;
        let failed = (self.function)(input, geometry, loan.samples_mut()).err();
        let meta = stamped(frame.meta(), frame.meta().content, &self.nodes);
        match (failed, policy(&self.nodes)) {
            (None, _) => Ok(loan.publish(meta)?),
            (Some(error), OnFailure::Bypass) => {
                loan.samples_mut().copy_from_slice(input);
                loan.publish(meta)?;
                tell(&self.nodes, &error, out);
                Ok(())
            }
            // Held: silence in its place, so that sound goes on by its clock.
            (Some(error), OnFailure::Hold | OnFailure::Close) => {
                drop(loan);
                tell(&self.nodes, &error, out);
                let held = frame.meta();
                out.publish_empty(Meta { flags: held.flags.with(Flags::SILENCE), ..*held })?;
                Err(error)
            }
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        no_parameters(command)
    }
}

/// `lost`, `silence` and `end` go on as they are.
fn pass_empty(frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
    if frame.payload().is_empty() {
        return Ok(out.publish_empty(*frame.meta())?);
    }
    Err(TaskError::failed("a frame of another kind of media"))
}

fn stamped(meta: &Meta, content: Content, nodes: &[GraphNode]) -> Meta {
    let mut meta = meta.derive(content);
    for node in nodes {
        meta.stamps.push(Stamp { stage: Stage::Node(node.number), ns: monotonic_ns() });
    }
    meta
}

fn policy(nodes: &[GraphNode]) -> OnFailure {
    nodes.iter().map(|node| node.on_failure).max().unwrap_or_default()
}

/// Tells the router that the function failed.
fn tell(nodes: &[GraphNode], error: &TaskError, out: &mut Output<'_>) {
    if let Some(node) = nodes.first() {
        out.node_error(&node.id, &error.to_string());
    }
}

fn no_parameters(command: &Command) -> Result<(), TaskError> {
    match command {
        Command::Params { .. } => Err(TaskError::failed("this worker has no parameters")),
        Command::Keyframe | Command::Bitrate(_) => Ok(()),
    }
}
