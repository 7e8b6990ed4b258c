//! A whole worker from one function over pictures or sound.

use super::run::run_boxed;
use super::{Catalogue, Factory, NodeDescription, Output, Processor, Role, Task, TaskError};
use super::{Command, TaskKind};
use crate::{Frame, Picture, PictureMut, monotonic_ns};
use remotemedia_shm_schema::{AudioGeometry, Content, Meta, Stage, Stamp, VideoGeometry};
use std::process::ExitCode;

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
        let make = move |numbers| Box::new(Video { function: function.clone(), numbers }) as Box<_>;
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
        let make = move |numbers| Box::new(Audio { function: function.clone(), numbers }) as Box<_>;
        let factory = Box::new(Simple { name: name.clone(), video: false, make: Box::new(make) });
        Self { name, factory }
    }

    /// Runs it; see [`super::run`].
    #[must_use]
    pub fn run(self) -> ExitCode {
        run_boxed(Role::Custom, &self.name, self.factory)
    }
}

struct Simple {
    name: String,
    video: bool,
    make: Box<dyn Fn(Vec<u8>) -> Box<dyn Processor> + Send>,
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
        Ok((self.make)(nodes.iter().map(|node| node.number).collect()))
    }
}

struct Video<F> {
    function: F,
    numbers: Vec<u8>,
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
        (self.function)(input, &mut picture)?;
        loan.publish(stamped(frame.meta(), Content::Picture(geometry), &self.numbers))?;
        Ok(())
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        no_parameters(command)
    }
}

struct Audio<F> {
    function: F,
    numbers: Vec<u8>,
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
        (self.function)(input, geometry, loan.samples_mut())?;
        loan.publish(stamped(frame.meta(), frame.meta().content, &self.numbers))?;
        Ok(())
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

fn stamped(meta: &Meta, content: Content, numbers: &[u8]) -> Meta {
    let mut meta = meta.derive(content);
    for number in numbers {
        meta.stamps.push(Stamp { stage: Stage::Node(*number), ns: monotonic_ns() });
    }
    meta
}

fn no_parameters(command: &Command) -> Result<(), TaskError> {
    match command {
        Command::Params { .. } => Err(TaskError::failed("this worker has no parameters")),
        Command::Keyframe | Command::Bitrate(_) => Ok(()),
    }
}
