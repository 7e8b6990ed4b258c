//! A task of the pipeline worker: frames from its input through a chain of nodes into loans of its output.

use crate::graph::{Chain, Failure, Passed, Step, build};
use crate::node::Moment;
use crate::registry::Registry;
use remotemedia_shm_schema::control::{Catalogue, Task, TaskKind};
use remotemedia_shm_schema::{
    AudioGeometry, Content, Flags, Meta, Stage, Stamp, Stamps, VideoGeometry,
};
use remotemedia_worker::worker::{Command, Factory, Limits, Marker, Output, Processor, TaskError};
use remotemedia_worker::{Frame, monotonic_ns};
use std::time::SystemTime;

/// Makes the processors of graph tasks, out of the nodes of a registry.
#[derive(Debug)]
pub struct Graphs {
    registry: Registry,
    limits: Limits,
}

impl Graphs {
    /// With these nodes.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        Self { registry, limits: Limits::default() }
    }

    /// The process takes no more than this of the machine.
    #[must_use]
    pub fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }
}

impl Factory for Graphs {
    fn catalogue(&self) -> Catalogue {
        Catalogue { codecs: Vec::new(), nodes: self.registry.descriptions() }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        let TaskKind::Graph { nodes } = &task.kind else {
            return Err(TaskError::failed("the pipeline worker has no codecs: it runs nodes"));
        };
        let room = task.output.as_ref().map_or(task.max_raw, |output| output.max_payload) as usize;
        let chain = build(&self.registry, nodes)
            .and_then(|chain| chain.within(room))
            .map_err(|e| TaskError::failed(e.to_string()))?;
        Ok(Box::new(Graph { chain, owes: Flags::default() }))
    }
}

struct Graph {
    chain: Chain,
    /// Said by pictures that were left out, for the next one to say.
    owes: Flags,
}

impl Processor for Graph {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let meta = *frame.meta();
        match meta.content {
            _ if frame.payload().is_empty() => self.empty(meta, out),
            Content::Picture(of) if self.chain.takes_video() => self.picture(frame, of, out),
            Content::Sound(of) if self.chain.takes_audio() => {
                let input = frame
                    .sound()
                    .ok_or_else(|| TaskError::failed("the sound's samples are not aligned"))?;
                self.sound(meta, of, Some(input), out)
            }
            Content::Picture(_) => Err(TaskError::failed("pictures came to nodes that take sound")),
            Content::Sound(_) => Err(TaskError::failed("sound came to nodes that take pictures")),
            Content::Coded(_) | Content::Data => {
                Err(TaskError::failed("nodes take raw pictures and sound only"))
            }
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        match command {
            Command::Params { node, json } => {
                self.chain.set(node, json).map_err(|faults| TaskError::failed(faults.to_string()))
            }
            // Nodes make neither keyframes nor bits.
            _ => Ok(()),
        }
    }
}

impl Graph {
    /// Lost, silent, ended: nothing for the nodes but their memories, and what comes behind must know.
    fn empty(&mut self, mut meta: Meta, out: &mut Output<'_>) -> Result<(), TaskError> {
        match meta.content {
            Content::Sound(of) if self.chain.rings() && !meta.flags.contains(Flags::END) => {
                let of = AudioGeometry { samples: lasting(&meta, of), ..of };
                if out.spec().is_some_and(|spec| of.payload_len() <= spec.max_payload as usize) {
                    meta.content = Content::Sound(of);
                    meta.flags = meta.flags.without(Flags::LOST).without(Flags::SILENCE);
                    return self.sound(meta, of, None, out);
                }
            }
            Content::Picture(of) => {
                if let Ok(shape) = self.chain.shape(Passed::default(), of) {
                    meta.content = Content::Picture(shape);
                }
            }
            Content::Sound(_) | Content::Coded(_) | Content::Data => {}
        }
        Ok(out.publish_empty(meta)?)
    }

    fn picture(
        &mut self,
        frame: &Frame,
        of: VideoGeometry,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        let input = frame
            .picture()
            .ok_or_else(|| TaskError::failed("the picture's planes do not lie in its payload"))?;
        let moment = moment(frame.meta());
        let flags = frame.meta().flags.with(self.owes);
        if !self.chain.admits(&moment) && !flags.contains(Flags::END) {
            // Left out on purpose, as a node was told to: none of the reasons for a drop.
            let broken = flags.contains(Flags::DISCONTINUITY);
            self.owes = if broken { Flags::DISCONTINUITY } else { Flags::default() };
            return Ok(());
        }
        self.owes = Flags::default();
        let (marker, mut without, mut passed) = (out.marker(), Passed::default(), None);
        loop {
            let failure = match self.chain.shape(without, of) {
                Err(failure) => failure,
                Ok(geometry) => {
                    let mut meta = frame.meta().derive(Content::Picture(geometry));
                    meta.flags = flags;
                    let mut loan = out.loan(geometry.payload_len())?;
                    let mut picture = loan
                        .picture_mut(geometry)
                        .ok_or_else(|| TaskError::failed("the loan is smaller than the picture"))?;
                    let before = meta.stamps;
                    let told = &mut |step: Step<'_>| {
                        follow(step, marker, &before, &mut meta.stamps, &mut passed);
                    };
                    match self.chain.picture_past(without, &input, &mut picture, &moment, told) {
                        Ok(copied) => {
                            loan.publish(meta)?;
                            if let Some(failure) = passed {
                                let _ = tell(&failure, out);
                            }
                            out.count_copied(usize::try_from(copied).unwrap_or(usize::MAX));
                            return Ok(());
                        }
                        // The loan goes back: without the node the picture may have another size.
                        Err(failure) => failure,
                    }
                }
            };
            let told = &mut |step: Step<'_>| {
                if let Step::Passes(failure) = step {
                    passed = Some(failure.clone());
                }
            };
            // Held: the encoder behind shows its last picture.
            without = match self.chain.pass_by(without, failure, told) {
                Ok(without) => without,
                Err(failure) => return Err(tell(&failure, out)),
            };
        }
    }

    /// A block, or a period in which none came.
    fn sound(
        &mut self,
        mut meta: Meta,
        of: AudioGeometry,
        input: Option<&[f32]>,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        let (marker, mut passed) = (out.marker(), None);
        let mut loan = out.loan(of.payload_len())?;
        let held = meta;
        let told = &mut |step: Step<'_>| {
            follow(step, marker, &held.stamps, &mut meta.stamps, &mut passed);
        };
        let done = match input {
            Some(input) => self.chain.sound(of, input, loan.samples_mut(), told),
            None => self.chain.silence(of, loan.samples_mut(), told),
        };
        match done {
            Ok(copied) => {
                loan.publish(meta)?;
                if let Some(failure) = passed {
                    let _ = tell(&failure, out);
                }
                out.count_copied(usize::try_from(copied).unwrap_or(usize::MAX));
                Ok(())
            }
            // Held: silence in its place, so that sound goes on by its clock and nothing unprocessed is heard.
            Err(failure) => {
                drop(loan);
                let error = tell(&failure, out);
                out.publish_empty(Meta { flags: held.flags.with(Flags::SILENCE), ..held })?;
                Err(error)
            }
        }
    }
}

/// Samples of a period that came empty: by its time, where it has one.
fn lasting(meta: &Meta, of: AudioGeometry) -> u32 {
    let samples = u128::from(meta.duration_ns) * u128::from(of.rate) / 1_000_000_000;
    match u32::try_from(samples) {
        Ok(0) | Err(_) => of.samples,
        Ok(samples) => samples.min(of.rate),
    }
}

/// Marks and stamps a node's work; keeps the failure of one that was passed by.
fn follow(
    step: Step<'_>,
    marker: Marker<'_>,
    before: &Stamps,
    stamps: &mut Stamps,
    passed: &mut Option<Failure>,
) {
    match step {
        Step::Enters(node) => marker.node(node),
        Step::Leaves(node) => push(stamps, node),
        Step::Passes(failure) => {
            *stamps = *before;
            *passed = Some(failure.clone());
        }
    }
}

/// Counts and tells a node's failure, and makes it the task's.
fn tell(failure: &Failure, out: &mut Output<'_>) -> TaskError {
    out.node_error(&failure.node, &failure.error.to_string());
    TaskError::failed(failure.to_string())
}

fn moment(meta: &Meta) -> Moment {
    // A clock before 1970 shows midnight.
    let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Moment {
        sequence: meta.sequence,
        media_time_ns: meta.media_time_ns,
        unix_ns: u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX),
    }
}

fn push(stamps: &mut Stamps, node: u8) {
    stamps.push(Stamp { stage: Stage::Node(node), ns: monotonic_ns() });
}
