//! What a worker brings: a factory of processors, one per task.

use super::{Limits, Output};
use crate::{Frame, SendFault};
use remotemedia_shm_schema::NodeId;
use remotemedia_shm_schema::control::{Catalogue, Task};
use std::time::Duration;

/// Why a frame, a command or a task failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TaskError {
    /// This one failed; the processor is fine and takes the next.
    #[error("{0}")]
    Failed(String),
    /// The processor lost its state; it is made anew before the next frame.
    #[error("{0}")]
    Broken(String),
    /// The result could not be sent; the processor is fine.
    #[error(transparent)]
    Send(#[from] SendFault),
}

impl TaskError {
    /// A failure that concerns one frame or command only.
    pub fn failed(why: impl Into<String>) -> Self {
        Self::Failed(why.into())
    }

    /// A failure after which the processor must be made anew.
    pub fn broken(why: impl Into<String>) -> Self {
        Self::Broken(why.into())
    }
}

/// Something that the router wants of a running task.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Command {
    /// The next frame shall be a keyframe; several requests before it are one.
    Keyframe,
    /// The encoder shall aim at this many bits a second; only the newest counts.
    Bitrate(u32),
    /// New parameters of a node: a JSON object with those that change.
    Params {
        /// Which node.
        node: NodeId,
        /// The object.
        json: String,
    },
}

/// Does a task's work, frame by frame, on the task's own thread.
pub trait Processor: Send {
    /// Takes the next frame, in order; [`Frame::missed`] tells of a gap before it. Frames without payload (`lost`,
    /// `silence`, `end`) come as well. What it makes goes to `out`.
    ///
    /// # Errors
    /// Counted; the frame is gone. A panic is counted as well, and the processor is made anew.
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError>;

    /// Something the router wants, between two frames.
    ///
    /// # Errors
    /// Told to whoever asked.
    fn command(&mut self, command: &Command) -> Result<(), TaskError>;

    /// Whether the last frame is to be kept for [`Processor::repeat`].
    fn keeps_last(&self) -> bool {
        false
    }

    /// No frames come, for a process before this one is away and its nodes hold: shows the last one again, or what stands
    /// for none, at this media time.
    ///
    /// # Errors
    /// Counted.
    fn repeat(
        &mut self,
        last: Option<&Frame>,
        media_time_ns: u64,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        let _ = (last, media_time_ns, out);
        Ok(())
    }

    /// Makes frames, in a task that has no input; gives how long to wait until the next call.
    ///
    /// # Errors
    /// Counted; it is called again after a second.
    fn produce(&mut self, out: &mut Output<'_>) -> Result<Duration, TaskError> {
        let _ = out;
        Err(TaskError::failed("this processor makes nothing by itself"))
    }

    /// The task reads from, or writes to, other channels from now on: a process beside it was replaced. An encoder makes
    /// its next frame a keyframe.
    fn rewired(&mut self) {}
}

/// Makes processors.
pub trait Factory: Send {
    /// What tasks it can make processors for; told to the router once.
    fn catalogue(&self) -> Catalogue;

    /// What the process may take of the machine; asked for once, at its start.
    fn limits(&self) -> Limits {
        Limits::default()
    }

    /// A processor for this task. May take long: it runs on the task's thread, while heartbeats go on.
    ///
    /// # Errors
    /// Refuses the task; the text is for a person.
    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError>;
}
