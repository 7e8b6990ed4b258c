//! The worker that the stories start: nodes that show what was done to a frame, and how they fare.

use remotemedia_worker::schema::{Content, Flags, Stage, Stamp};
use remotemedia_worker::worker::{
    Catalogue, Command, Factory, KeyframeReason, NodeDescription, Output, Processor, Role, Task,
    TaskError, TaskKind, run,
};
use remotemedia_worker::{Frame, monotonic_ns};
use std::process::ExitCode;

/// Acts as the worker when this process was started as one; the caller leaves with the code.
pub(crate) fn act() -> Option<ExitCode> {
    std::env::var_os("REMOTEMEDIA_CONTROL_FD")?;
    Some(run(Role::Pipeline, "story", Stories))
}

pub(crate) struct Stories;

impl Factory for Stories {
    fn catalogue(&self) -> Catalogue {
        let node = NodeDescription {
            kind: "gray".into(),
            summary: "takes the colour away".into(),
            video: true,
            audio: false,
            params_schema: "{}".into(),
        };
        Catalogue { codecs: Vec::new(), nodes: vec![node] }
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        let TaskKind::Graph { nodes } = &task.kind else {
            return Err(TaskError::failed("only graphs"));
        };
        match nodes.first().map(|node| node.kind.as_str()) {
            Some("gray") => Ok(Box::new(Gray { number: nodes[0].number, ..Gray::default() })),
            Some("echo") => Ok(Box::new(Echo::default())),
            Some("impossible") => panic!("nobody can make this"),
            other => Err(TaskError::failed(format!("no node of type {other:?}"))),
        }
    }
}

/// Luma as it came, chroma neutral; panics on a picture of luma 13; counts its frames into the first luma byte when told
/// to by parameters.
#[derive(Default)]
struct Gray {
    number: u8,
    count: Option<u8>,
}

impl Processor for Gray {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let Some(picture) = frame.picture() else {
            return Ok(out.publish_empty(*frame.meta())?);
        };
        assert_ne!(picture.y[0], 13, "a picture that it cannot stand");
        let geometry = picture.geometry;
        let mut loan = out.loan(geometry.payload_len())?;
        let mut gray = loan.picture_mut(geometry).expect("it fits");
        let copied = gray.copy_from(&picture);
        gray.u.fill(128);
        gray.v.fill(128);
        if let Some(count) = &mut self.count {
            *count += 1;
            gray.y[0] = *count;
        }
        let mut meta = frame.meta().derive(Content::Picture(geometry));
        meta.stamps.push(Stamp { stage: Stage::Node(self.number), ns: monotonic_ns() });
        loan.publish(meta)?;
        out.count_copied(copied);
        Ok(())
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        match command {
            Command::Params { json, .. } if json == "count" => self.count = Some(0),
            Command::Params { json, .. } => return Err(TaskError::failed(format!("no {json:?}"))),
            _ => {}
        }
        Ok(())
    }
}

/// Passes access units on; after commands tells of them in the next frame: a keyframe flag, the rate as its duration.
#[derive(Default)]
struct Echo {
    keyframe: bool,
    rate: u32,
    rewired: u32,
}

impl Processor for Echo {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let mut meta = *frame.meta();
        meta.flags = meta.flags.without(Flags::KEYFRAME);
        if std::mem::take(&mut self.keyframe) || frame.meta().flags.contains(Flags::KEYFRAME) {
            meta.flags = meta.flags.with(Flags::KEYFRAME);
        }
        meta.duration_ns = u64::from(self.rate);
        meta.rtp_time = self.rewired;
        if frame.payload().first() == Some(&99) {
            out.want_keyframe(KeyframeReason::Decoder);
            return Err(TaskError::broken("a unit that costs it its state"));
        }
        // As an encoder does: the greatest loan, and the true length afterwards.
        let mut loan = out.loan_max()?;
        let len = frame.payload().len();
        loan.payload_mut()[..len].copy_from_slice(frame.payload());
        loan.publish_len(meta, len)?;
        Ok(())
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        match command {
            Command::Keyframe => self.keyframe = true,
            Command::Bitrate(rate) => self.rate = *rate,
            _ => {}
        }
        Ok(())
    }

    fn rewired(&mut self) {
        self.rewired += 1;
    }
}
