//! What a frame costs in copies and allocations inside of the workers: P2.
//!
//! The workers run behind `count.c`, which counts allocations by thread and by whether the program or a shared library
//! asked; a task is one thread, so a thread's count over its frames is the task's. What a codec takes for itself is
//! counted by the same codec in a loop without a worker around it, and told apart, as is iceoryx2's one of each loan.

use crate::report::{Row, Target};
use crate::router::{Call, Router};
use crate::work::{AUDIO_BITRATE, Clip, FPS, VIDEO_BITRATE};
use crate::{Options, proc};
use remotemedia_codec_worker::{Planes, video_decoder, video_encoder};
use remotemedia_probe::codec::{AudioDecoder, AudioEncoder};
use remotemedia_probe::picture::Picture;
use remotemedia_probe::source::Sound;
use remotemedia_shm_schema::Codec;
use remotemedia_shm_schema::control::VideoEncode;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// The layout of count.c.
const SMALL: usize = 512;
const SLOT: usize = 8 * (3 + SMALL);
const FOLDER: &str = "ALLOCATION_COUNTS";
/// iceoryx2 0.10 allocates this much for each loan; the SDK's `steady_state` test holds it to one.
const LOAN_BYTES: usize = 104;
/// Frames before those that count (chosen): buffers have their size then.
const WARM_UP: u64 = 60;

/// One thread's counts.
#[derive(Clone)]
struct Counts {
    program: u64,
    libraries: u64,
    small: Vec<u64>,
}

impl Counts {
    fn since(&self, before: &Self) -> Self {
        let small = self.small.iter().zip(&before.small).map(|(now, then)| now - then);
        Self {
            program: self.program - before.program,
            libraries: self.libraries - before.libraries,
            small: small.collect(),
        }
    }
}

/// All threads of a process by their id.
fn counts(folder: &Path, pid: u32) -> BTreeMap<u64, Counts> {
    let bytes = fs::read(folder.join(pid.to_string())).unwrap_or_default();
    let slot = |slot: &[u8]| {
        let words: Vec<u64> =
            slot.chunks_exact(8).map(|w| u64::from_ne_bytes(w.try_into().unwrap())).collect();
        (words[0], Counts { program: words[1], libraries: words[2], small: words[3..].to_vec() })
    };
    bytes.chunks_exact(SLOT).map(slot).filter(|(tid, _)| *tid > 0).collect()
}

/// The interposed library, workers behind it, and the folder that they count into.
struct Counting {
    folder: tempfile::TempDir,
}

impl Counting {
    fn new() -> Self {
        let folder = tempfile::Builder::new().prefix("rmb").tempdir_in("/dev/shm").unwrap();
        let this = Self { folder };
        fs::create_dir(this.counts()).unwrap();
        fs::create_dir(this.workers()).unwrap();
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/call/count.c");
        let status = Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .arg(this.library())
            .arg(source)
            .status()
            .expect("cc is installed by scripts/setup bench");
        assert!(status.success(), "count.c does not compile");
        for program in [
            env!("CARGO_BIN_EXE_remotemedia-codec-worker"),
            env!("CARGO_BIN_EXE_remotemedia-pipeline-worker"),
            env!("CARGO_BIN_EXE_remotemedia-steward"),
        ] {
            // The router clears its workers' environment, so it is set behind its back.
            let script = format!(
                "#!/bin/sh\nLD_PRELOAD='{}' {FOLDER}='{}' exec '{program}' \"$@\"\n",
                this.library().display(),
                this.counts().display(),
            );
            let path = this.workers().join(Path::new(program).file_name().unwrap());
            fs::write(&path, script).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
        }
        this
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("count.so")
    }

    fn counts(&self) -> PathBuf {
        self.folder.path().join("counts")
    }

    fn workers(&self) -> PathBuf {
        self.folder.path().join("workers")
    }

    /// A codec's own allocations a frame: `decode` and `encode`.
    fn codec_alone(&self, codec: Codec) -> Value {
        let output = Command::new(std::env::current_exe().unwrap())
            .args(["--codec-loop", codec.name()])
            .env("LD_PRELOAD", self.library())
            .env(FOLDER, self.counts())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "the loop of {codec} ended with {}", output.status);
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

pub(crate) fn measure(options: &Options, clip: &Clip) -> Target {
    let counting = Counting::new();
    let router = Router::start(Some(&counting.workers()));
    let mut rows = Vec::new();
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Opus] {
        eprintln!("bench: copies and allocations in a call in {codec}");
        let alone = counting.codec_alone(codec);
        let name = codec.to_string();
        let arguments = match codec {
            Codec::Opus => vec!["--video", "none", "--audio", "ticks"],
            _ => vec![
                "--video",
                &clip.argument,
                "--size",
                "1280x720",
                "--codec",
                &name,
                "--audio",
                "none",
            ],
        };
        // Warm-up, what is counted, and some for the beginning.
        let seconds = (options.round_seconds + WARM_UP / u64::from(FPS) + 3).to_string();
        let call = router.call(&[&arguments[..], &["--seconds", &seconds]].concat());
        rows.extend(steady(&router, &counting, codec, &alone, options.round_seconds, call));
        router.wait_for_sessions(0);
    }
    let ours =
        rows.iter().flat_map(|row| row.ours.first()).map(|(_, value)| *value).fold(0.0, f64::max);
    let headline = Row {
        name: "between processes; most of any task".into(),
        unit: "a frame",
        ours: vec![("bytes copied", 0.0), ("our allocations", ours)],
        ratio_is: "no hop copies: a frame is handed on as a place in shared memory; what tasks copy inside their process is below",
        samples: rows.iter().map(|row| row.samples).sum(),
        ..Row::default()
    };
    rows.insert(0, headline);
    Target {
        number: "P2",
        what: "copies and allocations of a frame in the workers, in steady state",
        rows,
    }
}

/// A task by its thread's name and by its name in `/api/sessions`.
const TASKS: [(&str, &str); 3] = [("decode", "decode"), ("graph", "nodes"), ("encode", "encode")];

/// Counters of the tasks of the only session, by how their names begin.
fn tasks(sessions: &Value) -> BTreeMap<&'static str, Value> {
    let rows = sessions.pointer("/sessions/0/tasks").and_then(Value::as_array);
    let known = |row: &Value| {
        let name = row["task"].as_str()?;
        let (thread, _) = TASKS.iter().find(|(_, task)| name.starts_with(task))?;
        Some((*thread, row.clone()))
    };
    rows.into_iter().flatten().filter_map(known).collect()
}

/// One moment: every counter of every task, and every thread's allocations.
struct Moment {
    tasks: BTreeMap<&'static str, Value>,
    threads: BTreeMap<&'static str, Counts>,
    /// All other threads of the workers together.
    others: u64,
}

fn moment(router: &Router, counting: &Counting) -> Moment {
    let mut moment =
        Moment { tasks: tasks(&router.sessions()), threads: BTreeMap::new(), others: 0 };
    let (leased, _) = router.workers();
    for pid in leased {
        let mut counted = counts(&counting.counts(), pid);
        for thread in proc::threads(pid) {
            let Some(counts) = counted.remove(&thread.tid) else { continue };
            match TASKS.iter().find(|(name, _)| thread.name.starts_with(&format!("{name}-"))) {
                Some((name, _)) => drop(moment.threads.insert(name, counts)),
                None => moment.others += counts.program + counts.libraries,
            }
        }
    }
    moment
}

fn steady(
    router: &Router,
    counting: &Counting,
    codec: Codec,
    alone: &Value,
    seconds: u64,
    call: Call,
) -> Vec<Row> {
    router.wait("a steady call", |sessions| {
        let tasks = tasks(sessions);
        (tasks.len() == TASKS.len()
            && tasks.values().all(|task| task["published"].as_u64() >= Some(WARM_UP)))
        .then_some(())
    });
    let before = moment(router, counting);
    std::thread::sleep(Duration::from_secs(seconds));
    let after = moment(router, counting);
    drop(call.report());
    let others = after.others.saturating_sub(before.others) as f64 / seconds as f64;
    let mut rows = Vec::new();
    for (thread, _) in TASKS {
        let (Some(from), Some(to)) = (before.threads.get(thread), after.threads.get(thread)) else {
            continue;
        };
        let counts = to.since(from);
        let counter = |name: &str| {
            let of = |moment: &Moment| moment.tasks.get(thread)?[name].as_u64();
            of(&after).unwrap_or(0).saturating_sub(of(&before).unwrap_or(0))
        };
        let frames = counter("published");
        let each = |count: u64| count as f64 / frames.max(1) as f64;
        let loans = each(counts.small[LOAN_BYTES]);
        // A library is never ours; of the program's the codec's loop tells what is not.
        let codec_program = alone[thread]["program"].as_f64().unwrap_or(0.0);
        let ours = (each(counts.program) - loans - codec_program).max(0.0);
        let sizes: Map<String, Value> = counts
            .small
            .iter()
            .enumerate()
            .filter(|(_, calls)| **calls > 0)
            .map(|(bytes, calls)| (bytes.to_string(), json!(each(*calls))))
            .collect();
        let more = json!({
            "program": each(counts.program), "libraries": each(counts.libraries), "iceoryx2": loans,
            "codec_alone": alone[thread], "sizes": sizes,
            "other_threads_a_second": others,
        });
        rows.push(Row {
            name: format!("{codec} {thread}"),
            unit: "a frame",
            ours: vec![("our allocations", ours), ("bytes copied inside", each(counter("copied_bytes")))],
            floor: vec![("codec", codec_program + each(counts.libraries)), ("iceoryx2", loans)],
            floor_is: "allocations of the codec for itself, and of iceoryx2 for the loan: not ours, not in `ours`",
            samples: frames,
            more: more.as_object().cloned().unwrap_or_default(),
            ..Row::default()
        });
    }
    rows
}

// --- the codec alone, in a process of its own ----------------------------------------------------------------------

/// This thread's counters, read without an allocation.
struct Own {
    file: File,
    at: u64,
}

impl Own {
    fn open() -> Self {
        let folder = PathBuf::from(std::env::var_os(FOLDER).unwrap());
        let file = File::open(folder.join(std::process::id().to_string())).unwrap();
        let tid = nix::unistd::gettid().as_raw() as u64;
        let mut word = [0; 8];
        let mut at = 0;
        while file.read_exact_at(&mut word, at).is_ok() {
            if u64::from_ne_bytes(word) == tid {
                return Self { file, at };
            }
            at += SLOT as u64;
        }
        panic!("this thread is not counted");
    }

    fn read(&self) -> [u64; 2] {
        let mut words = [0; 16];
        self.file.read_exact_at(&mut words, self.at + 8).unwrap();
        let word = |at: usize| u64::from_ne_bytes(words[at..at + 8].try_into().unwrap());
        [word(0), word(8)]
    }

    /// Allocations of each frame after the warm-up.
    fn each(&self, frames: u64, mut frame: impl FnMut(u64)) -> Value {
        (0..WARM_UP).for_each(&mut frame);
        let before = self.read();
        (WARM_UP..WARM_UP + frames).for_each(frame);
        let after = self.read();
        let each = |which: usize| (after[which] - before[which]) as f64 / frames as f64;
        json!({ "program": each(0), "libraries": each(1) })
    }
}

const ALONE: u64 = 120;

/// Encodes and decodes as a worker does, without one; prints what that allocates.
pub(crate) fn codec_loop(codec: &str, clip: &Clip) {
    let codec: Codec = codec.parse().expect("a codec's name");
    let own = Own::open();
    let told = if codec == Codec::Opus { sound(&own) } else { pictures(&own, codec, clip) };
    println!("{told}");
}

/// Units one behind another in memory that does not grow.
struct Units {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Units {
    fn new() -> Self {
        Self { bytes: vec![0; 64 << 20], ends: Vec::with_capacity(4_096) }
    }

    fn place(&mut self) -> &mut [u8] {
        let from = self.ends.last().copied().unwrap_or(0);
        &mut self.bytes[from..]
    }

    fn add(&mut self, length: usize) {
        self.ends.push(self.ends.last().copied().unwrap_or(0) + length);
    }

    fn get(&self, number: u64) -> &[u8] {
        let number = number as usize;
        let from = if number == 0 { 0 } else { self.ends[number - 1] };
        &self.bytes[from..self.ends[number]]
    }
}

fn pictures(own: &Own, codec: Codec, clip: &Clip) -> Value {
    let settings = VideoEncode {
        codec,
        bitrate: VIDEO_BITRATE,
        max_width: 1280,
        max_height: 720,
        frame_rate: FPS,
    };
    let mut encoder = video_encoder(&settings).unwrap();
    let mut picture = Picture::black(1280, 720);
    let most = picture.geometry().payload_len() as u32;
    let mut decoder = video_decoder(codec, most).unwrap();
    let mut units = Units::new();
    let encode = own.each(ALONE, |number| {
        clip.video.fill(number, &mut picture);
        let planes = Planes::of_payload(picture.geometry(), picture.bytes()).unwrap();
        let time = number * 1_000_000_000 / u64::from(FPS);
        let length = match encoder.encode(&planes, time, false).unwrap() {
            Some(unit) => unit.write_to(units.place()).unwrap(),
            None => 0,
        };
        units.add(length);
    });
    let decode = own.each(ALONE, |number| {
        std::hint::black_box(decoder.decode(units.get(number)).unwrap());
    });
    json!({ "encode": encode, "decode": decode })
}

fn sound(own: &Own) -> Value {
    let (ticks, mut block) = (Sound::ticks(), vec![0.0f32; 960]);
    let mut encoder = AudioEncoder::new(1, AUDIO_BITRATE).unwrap();
    let mut decoder = AudioDecoder::new(1).unwrap();
    let mut units = Units::new();
    let encode = own.each(ALONE, |number| {
        ticks.fill(number * 960, &mut block);
        let packet = encoder.encode(&block).unwrap();
        units.place()[..packet.len()].copy_from_slice(packet);
        units.add(packet.len());
    });
    let decode = own.each(ALONE, |number| {
        decoder.decode(units.get(number), &mut block).unwrap();
    });
    json!({ "encode": encode, "decode": decode })
}
