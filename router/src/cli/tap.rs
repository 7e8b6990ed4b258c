//! `remotemedia tap`: a channel's frames while they pass: how many, how large, how old, how many were missed; and into a
//! file, or onto the terminal.

mod save;
mod show;

use super::Failure;
use super::target::Target;
use anyhow::Context;
use remotemedia_shm_schema::control::Attach;
use remotemedia_shm_schema::{ChannelName, Content, Flags};
use remotemedia_worker::worker::{
    Catalogue, Command, Factory, Output, Processor, Task, TaskError, attach_over,
};
use remotemedia_worker::{Frame, monotonic_ns};
use save::Saver;
use serde_json::json;
use show::Show;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How often it tells.
const EVERY: Duration = Duration::from_secs(1);

/// Look at a channel's frames while they pass, without holding anybody up. Ctrl-C ends it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The channel, as `remotemedia channels` shows it
    channel: ChannelName,
    /// Save what passes: pictures as Y4M, access units as IVF, sound as WAV
    #[arg(long, value_name = "FILE")]
    save: Option<PathBuf>,
    /// Show the pictures of a raw video channel in this terminal, as well as it can
    #[arg(long, conflicts_with = "json")]
    show: bool,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    // Before a file is emptied for nothing, and while no router waits for what a slow terminal answers.
    let show = args.show.then(Show::new).transpose()?;
    let saver = match &args.save {
        Some(path) => {
            Some(Saver::create(path).with_context(|| format!("cannot write {}", path.display()))?)
        }
        None => None,
    };
    let socket = args.target.control()?;
    let now = Instant::now();
    let tap = Tap {
        json: args.target.json,
        saver,
        show,
        seconds: args.seconds,
        told: now,
        count: Count::default(),
        last: "nothing yet".into(),
    };
    let wish = Attach::Tap { channel: args.channel };
    let code = attach_over(socket, "tap", wish, Again::First(Box::new(tap)));
    // It returns only when it could not begin, and has said why.
    std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 1 })
}

/// One tap, whatever becomes of its channel: one that goes and comes again is read by another task, which is made while the one
/// before still runs.
enum Again {
    First(Box<Tap>),
    /// Its tasks own it, so that its file is whole when the last of them ends.
    Running(Weak<Mutex<Tap>>),
}

impl Factory for Again {
    fn catalogue(&self) -> Catalogue {
        Catalogue::default()
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        let mut tap = match std::mem::replace(self, Self::Running(Weak::new())) {
            Self::First(tap) => tap,
            Self::Running(tap) => {
                *self = Self::Running(Weak::clone(&tap));
                let tap = tap.upgrade().ok_or_else(|| TaskError::failed("it has ended"))?;
                return Ok(Box::new(Reads(tap)));
            }
        };
        if let Some(show) = &mut tap.show {
            show.start(task)?;
        }
        if let Some(seconds) = tap.seconds {
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(seconds));
                end();
            });
        }
        let tap = Arc::new(Mutex::new(*tap));
        *self = Self::Running(Arc::downgrade(&tap));
        Ok(Box::new(Reads(tap)))
    }
}

/// One task of the tap's. Only one at a time is given frames.
struct Reads(Arc<Mutex<Tap>>);

impl Processor for Reads {
    fn process(&mut self, frame: &Frame, _: &mut Output<'_>) -> Result<(), TaskError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).frame(frame)
    }

    fn command(&mut self, _: &Command) -> Result<(), TaskError> {
        Ok(())
    }
}

/// As Ctrl-C does: the router is told, and the process ends. To be called from a thread that this one started, which has
/// SIGTERM blocked: it is for the main thread.
fn end() {
    let own = nix::unistd::getpid();
    let _ = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGTERM);
}

#[derive(Default)]
struct Count {
    frames: u64,
    bytes: u64,
    missed: u64,
    keyframes: u64,
    empty: u64,
    age_ns: u64,
}

struct Tap {
    json: bool,
    saver: Option<Saver>,
    show: Option<Show>,
    seconds: Option<u64>,
    told: Instant,
    count: Count,
    last: String,
}

impl Tap {
    fn frame(&mut self, frame: &Frame) -> Result<(), TaskError> {
        let meta = frame.meta();
        let count = &mut self.count;
        count.frames += 1;
        count.bytes += frame.payload().len() as u64;
        count.missed += frame.missed();
        count.keyframes += u64::from(meta.flags.contains(Flags::KEYFRAME));
        count.empty += u64::from(frame.payload().is_empty());
        count.age_ns = count.age_ns.max(monotonic_ns().saturating_sub(meta.media_time_ns));
        if !frame.payload().is_empty() {
            self.last = match meta.content {
                Content::Picture(g) => format!("{}x{} I420", g.width, g.height),
                Content::Sound(g) => {
                    format!("{} Hz, {} channels, {} samples", g.rate, g.channels, g.samples)
                }
                Content::Coded(codec) => codec.to_string(),
                Content::Data => "data".into(),
            };
        }
        if let Some(saver) = &mut self.saver {
            saver.write(frame).map_err(|e| TaskError::failed(e.to_string()))?;
        }
        let now = Instant::now();
        if let Some(show) = &mut self.show {
            show.picture(frame, now);
        }
        if now.duration_since(self.told) >= EVERY {
            self.tell(now);
        }
        Ok(())
    }

    fn tell(&mut self, now: Instant) {
        let seconds = now.duration_since(self.told).as_secs_f64();
        self.told = now;
        let Count { frames, bytes, missed, keyframes, empty, age_ns } =
            std::mem::take(&mut self.count);
        #[allow(clippy::cast_precision_loss, reason = "shown with one decimal")]
        let (rate, kbit, age) =
            (frames as f64 / seconds, bytes as f64 * 8e-3 / seconds, age_ns as f64 / 1e6);
        if self.json {
            println!(
                "{}",
                json!({"frames_per_second": rate, "kbit_per_second": kbit, "max_age_ms": age, "missed": missed,
                       "keyframes": keyframes, "empty": empty, "content": self.last})
            );
        } else {
            let line = format!(
                "{rate:6.1} /s  {kbit:9.0} kb/s  age {age:6.1} ms  missed {missed}  keyframes {keyframes}  empty {empty}  {}",
                self.last
            );
            match &mut self.show {
                Some(show) => show.tell(line),
                None => println!("{line}"),
            }
        }
    }
}
