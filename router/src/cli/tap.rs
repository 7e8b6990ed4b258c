//! `remotemedia tap`: a channel's frames while they pass: how many, how large, how old, how many were missed; and into a
//! file.

mod save;

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
use std::path::PathBuf;
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
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
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
        seconds: args.seconds,
        told: now,
        count: Count::default(),
        last: "nothing yet".into(),
    };
    let wish = Attach::Tap { channel: args.channel };
    let code = attach_over(socket, "tap", wish, Once(Some(tap)));
    // It returns only when it could not begin, and has said why.
    std::process::exit(if code == std::process::ExitCode::SUCCESS { 0 } else { 1 })
}

/// Gives its one processor away: a channel that is made afresh is read by the same task.
struct Once(Option<Tap>);

impl Factory for Once {
    fn catalogue(&self) -> Catalogue {
        Catalogue::default()
    }

    fn make(&mut self, _: &Task) -> Result<Box<dyn Processor>, TaskError> {
        let tap = self.0.take().ok_or_else(|| TaskError::failed("it reads one channel"))?;
        if let Some(seconds) = tap.seconds {
            // As Ctrl-C does: the router is told, and the process ends. From a thread of this one, which has SIGTERM blocked:
            // it is for the main thread.
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_secs(seconds));
                let own = nix::unistd::getpid();
                let _ = nix::sys::signal::kill(own, nix::sys::signal::Signal::SIGTERM);
            });
        }
        Ok(Box::new(tap))
    }
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
    seconds: Option<u64>,
    told: Instant,
    count: Count,
    last: String,
}

impl Processor for Tap {
    fn process(&mut self, frame: &Frame, _: &mut Output<'_>) -> Result<(), TaskError> {
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
        if now.duration_since(self.told) >= EVERY {
            self.tell(now);
        }
        Ok(())
    }

    fn command(&mut self, _: &Command) -> Result<(), TaskError> {
        Ok(())
    }
}

impl Tap {
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
            println!(
                "{rate:6.1} /s  {kbit:9.0} kb/s  age {age:6.1} ms  missed {missed}  keyframes {keyframes}  empty {empty}  {}",
                self.last
            );
        }
    }
}
