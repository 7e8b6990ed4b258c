//! A custom worker for the stories of recovery: each of its node types but the first has a sin, which it commits after so
//! many good pictures. Good pictures have the luma of their lower half inverted: it shows that they were processed, and
//! leaves the probe's code strip, which stands at the top, to be read.
//!
//! `moody [--slow-start MS]` is started by the router. `moody insert CHANNEL NODE`, `moody tap CHANNEL` and
//! `moody source SESSION PEER audio|video` attach to one that runs.

use nix::sys::signal::{Signal, raise};
use remotemedia_worker::schema::control::{GraphNode, OnFailure};
use remotemedia_worker::schema::{AudioGeometry, Content, Stage, Stamp, VideoGeometry};
use remotemedia_worker::worker::{
    Catalogue, Command, Factory, Limits, NodeDescription, Output, Processor, Role, Task, TaskError,
    TaskKind, Worker, run,
};
use remotemedia_worker::{Frame, Picture, PictureMut, monotonic_ns};
use serde_json::Value;
use std::process::ExitCode;
use std::time::Duration;

/// Good pictures before the sin, where the manifest says nothing else.
const AFTER: u64 = 30;
/// From this width on `Poison` cannot stand a picture.
const POISONOUS: u16 = 640;
/// What it may take: far more than it needs, and soon taken by `Hoard`.
const MEMORY: u64 = 256 * 1024 * 1024;
/// Of all node types.
const SCHEMA: &str = r#"{"type": "object", "additionalProperties": false, "properties": {
    "after": {"type": "integer", "minimum": 0, "description": "good pictures before the sin; 30"},
    "ms": {"type": "integer", "minimum": 0, "maximum": 60000, "description": "how long Slow and Load take; 200 and 3000"}
}}"#;

fn main() -> ExitCode {
    let given: Vec<String> = std::env::args().skip(1).collect();
    let given: Vec<&str> = given.iter().map(String::as_str).collect();
    match given.as_slice() {
        [] => serve(0),
        ["--slow-start", ms] => match ms.parse() {
            Ok(ms) => serve(ms),
            Err(_) => wrong(),
        },
        ["insert", channel, node] => {
            Worker::video("moody", |input: Picture<'_>, output: &mut PictureMut<'_>| {
                negate(&input, output);
                Ok(())
            })
            .insert(channel, node)
        }
        ["tap", channel] => Worker::tap("moody", channel, |_: &Frame| Ok(())),
        ["source", session, peer, "video"] => Worker::picture_source(
            peer,
            session,
            (320, 180),
            30,
            |number: u64, picture: &mut PictureMut<'_>| {
                picture.y.fill((number % 200) as u8 + 16);
                picture.u.fill(128);
                picture.v.fill(128);
                Ok(())
            },
        ),
        ["source", session, peer, "audio"] => {
            // 20 ms in one channel.
            let block = AudioGeometry { rate: 48_000, channels: 1, samples: 960 };
            Worker::sound_source(peer, session, block, |_: u64, samples: &mut [f32]| {
                for (n, sample) in samples.iter_mut().enumerate() {
                    // 1 kHz has 48 samples a turn, so that blocks join.
                    *sample = (n as f32 / 48.0 * std::f32::consts::TAU).sin() * 0.3;
                }
                Ok(())
            })
        }
        _ => wrong(),
    }
}

fn serve(slow_start_ms: u64) -> ExitCode {
    std::thread::sleep(Duration::from_millis(slow_start_ms));
    run(Role::Custom, "moody", Moody)
}

fn wrong() -> ExitCode {
    eprintln!(
        "usage: moody [--slow-start MS] | insert CHANNEL NODE | tap CHANNEL | source SESSION PEER audio|video"
    );
    ExitCode::from(2)
}

fn negate(input: &Picture<'_>, output: &mut PictureMut<'_>) {
    output.copy_from(input);
    let upper = usize::from(input.geometry.height) / 2;
    for row in output.rows_mut(0).skip(upper) {
        for pixel in row {
            *pixel = 255 - *pixel;
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sin {
    None,
    Abort,
    Segfault,
    Kill,
    ExitZero,
    Loop,
    Hoard,
    Slow,
    Fails,
    Poison,
    Load,
}

/// By the names of their node types.
const SINS: [(&str, Sin, &str); 11] = [
    ("Negative", Sin::None, "has no sin"),
    ("Abort", Sin::Abort, "aborts"),
    ("Segfault", Sin::Segfault, "dies of SIGSEGV"),
    ("Kill", Sin::Kill, "is killed, as by a kernel that is out of memory"),
    ("ExitZero", Sin::ExitZero, "exits with 0 in the middle of a frame"),
    ("Loop", Sin::Loop, "never comes back"),
    ("Hoard", Sin::Hoard, "takes memory until there is none"),
    ("Slow", Sin::Slow, "takes long for each frame"),
    ("Fails", Sin::Fails, "fails on each frame"),
    ("Poison", Sin::Poison, "aborts on a picture that is 640 wide or wider"),
    ("Load", Sin::Load, "takes long until it is there, as a model does"),
];

impl Sin {
    /// Comes back from those that can be survived; with an error's text from one.
    fn commit(self, input: &Picture<'_>, time: Duration) -> Option<&'static str> {
        match self {
            Self::None | Self::Load => None,
            Self::Abort => std::process::abort(),
            // Rust's own handler takes the first for no overflow of a stack and steps aside; the second one kills.
            Self::Segfault => loop {
                let _ = raise(Signal::SIGSEGV);
            },
            Self::Kill => loop {
                let _ = raise(Signal::SIGKILL);
            },
            Self::ExitZero => std::process::exit(0),
            Self::Loop => loop {
                std::hint::spin_loop();
            },
            Self::Hoard => {
                let mut hoard = Vec::new();
                loop {
                    // Written to, so that it is memory and not a promise.
                    hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            Self::Slow => {
                std::thread::sleep(time);
                None
            }
            Self::Fails => Some("it is in no mood for this picture"),
            Self::Poison if input.geometry.width >= POISONOUS => std::process::abort(),
            Self::Poison => None,
        }
    }
}

struct Moody;

impl Factory for Moody {
    fn catalogue(&self) -> Catalogue {
        let describe = |(kind, _, what): &(&str, Sin, &str)| NodeDescription {
            kind: (*kind).to_owned(),
            summary: format!("inverts the lower half of pictures; {what}"),
            video: true,
            audio: false,
            params_schema: SCHEMA.to_owned(),
        };
        Catalogue { codecs: Vec::new(), nodes: SINS.iter().map(describe).collect() }
    }

    fn limits(&self) -> Limits {
        Limits { memory: Some(MEMORY), ..Limits::default() }
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        let TaskKind::Graph { nodes } = &task.kind else {
            return Err(TaskError::failed("moody has no codecs"));
        };
        let [node] = nodes.as_slice() else {
            return Err(TaskError::failed("moody runs one node in a task"));
        };
        let Some((_, sin, _)) = SINS.iter().find(|(kind, ..)| *kind == node.kind) else {
            return Err(TaskError::failed(format!("moody has no node of type `{}`", node.kind)));
        };
        let params: Value = serde_json::from_str(&node.params)
            .map_err(|e| TaskError::failed(format!("parameters: {e}")))?;
        let number = |key: &str, or: u64| params.get(key).and_then(Value::as_u64).unwrap_or(or);
        let usual = if *sin == Sin::Load { 3000 } else { 200 };
        let time = Duration::from_millis(number("ms", usual));
        if *sin == Sin::Load {
            std::thread::sleep(time);
        }
        let (sin, after) = (*sin, number("after", AFTER));
        Ok(Box::new(Sinner { node: node.clone(), sin, after, time, seen: 0 }))
    }
}

struct Sinner {
    node: GraphNode,
    sin: Sin,
    after: u64,
    time: Duration,
    seen: u64,
}

impl Processor for Sinner {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let Some(input) = frame.picture() else { return Ok(out.publish_empty(*frame.meta())?) };
        // Before it does anything: whoever looks at the corpse finds who it was.
        out.marker().node(self.node.number);
        self.seen += 1;
        let error = if self.seen > self.after { self.sin.commit(&input, self.time) } else { None };

        let (of, meta) = (input.geometry, frame.meta());
        let geometry = VideoGeometry {
            matrix: of.matrix,
            range: of.range,
            rotation: of.rotation,
            ..VideoGeometry::i420(of.width, of.height)
        };
        let mut loan = out.loan(geometry.payload_len())?;
        let mut picture = loan
            .picture_mut(geometry)
            .ok_or_else(|| TaskError::failed("a picture that does not fit into its loan"))?;
        let mut meta = meta.derive(Content::Picture(geometry));
        meta.stamps.push(Stamp { stage: Stage::Node(self.node.number), ns: monotonic_ns() });
        match (error, self.node.on_failure) {
            (None, _) => {
                negate(&input, &mut picture);
                Ok(loan.publish(meta)?)
            }
            (Some(error), OnFailure::Bypass) => {
                picture.copy_from(&input);
                loan.publish(meta)?;
                out.node_error(&self.node.id, error);
                Ok(())
            }
            (Some(error), OnFailure::Hold | OnFailure::Close) => {
                drop(loan);
                out.node_error(&self.node.id, error);
                Err(TaskError::failed(error))
            }
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        match command {
            Command::Params { .. } => Err(TaskError::failed("moody does not change its mind")),
            _ => Ok(()),
        }
    }
}
