//! The router's part in a story about one task: a namespace on tmpfs, the worker's process, the dance.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part")]

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use remotemedia_shm_schema::contract::{
    DropReason, MAX_ACCESS_UNIT, MAX_AUDIO_BLOCK, MAX_AUDIO_PACKET,
};
use remotemedia_shm_schema::control::{
    Catalogue, Change, ChannelSpec, Counters, Encoding, Frames, HELLO_LEN, Hello, KeyframeReason,
    Role, Task, TaskId, TaskKind, ToRouter, ToWorker, encode,
};
use remotemedia_shm_schema::{
    ChannelIndex, Codec, Content, Contract, Flags, Meta, SessionId, Stage, Stamp,
};
use remotemedia_worker::namespace::{Host, Runtime};
use remotemedia_worker::{Frame, Inlet, Outlet, Wake, monotonic_ns};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A watchdog for what would hang; nothing is asserted by it.
const PATIENCE: Duration = Duration::from_secs(30);

/// The test that acts as the worker in each file of stories.
const WORKER: &str = "the_worker_of_these_stories";

/// Media time of the first frame.
pub const BEGIN_NS: u64 = 50_000_000_000;

/// Nanoseconds of a picture at 30 a second.
const FRAME_NS: u64 = 33_333_333;

/// Room for any picture of these stories.
pub const MAX_RAW: u32 = 4 << 20;

/// Acts as the worker when this process was started as one.
pub fn act() {
    if std::env::var_os("REMOTEMEDIA_CONTROL_FD").is_some() {
        let code = remotemedia_codec_worker::main();
        std::process::exit(i32::from(code != std::process::ExitCode::SUCCESS));
    }
}

/// How the two channels of a task are.
pub struct Shape {
    pub input: (&'static str, Contract, u32),
    pub output: (&'static str, Contract, u32),
    pub max_raw: u32,
}

/// One task in a worker process, and what the router holds of it.
pub struct Rig {
    host: Option<Host>,
    dir: PathBuf,
    child: Child,
    socket: UnixStream,
    frames: Frames,
    arrived: VecDeque<ToRouter>,
    task: Task,
    to: Option<Outlet>,
    from: Option<Inlet>,
    wake: Option<Wake>,
    pub keyframes_wanted: Vec<KeyframeReason>,
    pub catalogue: Catalogue,
}

impl Rig {
    /// Starts this very program as a worker by the test named `main`, and gives it a task.
    pub fn new(main: &str, kind: TaskKind, shape: &Shape) -> Self {
        let dir = PathBuf::from(format!("/dev/shm/rmc-{:08x}", rand::random::<u32>()));
        let runtime = Runtime::open(&dir).unwrap();
        let mut host = Host::create(&runtime).unwrap();
        host.create_wake("wake/task").unwrap();
        host.create_wake("wake/router").unwrap();
        let spec = |index, (name, contract, max_payload): (&str, _, _), wake: &str| ChannelSpec {
            index: ChannelIndex(index),
            name: name.parse().unwrap(),
            service: format!("{name}#1"),
            epoch: 1,
            generation: 1,
            contract,
            max_payload,
            max_readers: 1,
            wakes: vec![wake.to_owned()],
        };
        let task = Task {
            id: TaskId(1),
            kind,
            input: Some(spec(0, shape.input, "wake/task")),
            output: Some(spec(1, shape.output, "wake/router")),
            wake: "wake/task".into(),
            max_raw: shape.max_raw,
            frame_limit_ms: 250,
        };
        let (input, output) = (task.input.as_ref().unwrap(), task.output.as_ref().unwrap());
        host.create_channel(input).unwrap();
        host.create_channel(output).unwrap();
        let attachment = host.attachment();
        let wake = attachment.wake("wake/router").unwrap();
        let from = attachment.inlet(output).unwrap();
        let to = attachment.outlet(input).unwrap();
        let (child, socket) = start(main);
        let mut rig = Self {
            host: Some(host),
            dir,
            child,
            socket,
            frames: Frames::new(Encoding::Bincode),
            arrived: VecDeque::new(),
            task,
            to: Some(to),
            from: Some(from),
            wake: Some(wake),
            keyframes_wanted: Vec::new(),
            catalogue: Catalogue::default(),
        };
        rig.dance();
        rig
    }

    fn dance(&mut self) {
        let own = Hello {
            role: Role::Router,
            name: "router".into(),
            pid: std::process::id(),
            encoding: Encoding::Bincode,
        };
        self.socket.write_all(&own.to_bytes()).unwrap();
        let mut head = [0; HELLO_LEN];
        self.socket.read_exact(&mut head).unwrap();
        let mut body = vec![0; Hello::check_head(&head).unwrap()];
        self.socket.read_exact(&mut body).unwrap();
        assert_eq!(Hello::from_body(&body).unwrap().role, Role::Codec);
        let ToRouter::Catalogue(catalogue) = self.next() else { panic!("the catalogue is first") };
        self.catalogue = catalogue;
        let namespace = self.host.as_ref().unwrap().namespace().clone();
        self.say(&ToWorker::Assign { session: session(), namespace });
        assert!(matches!(self.answer(), ToRouter::Assigned { .. }));
        let changes = vec![Change::Add(self.task.clone())];
        self.say(&ToWorker::Prepare { session: session(), epoch: 1, changes });
        assert_eq!(self.answer(), ToRouter::Ready { session: session(), epoch: 1 });
        self.say(&ToWorker::Switch { session: session(), epoch: 1 });
    }

    /// Sends a frame to the task.
    pub fn send(&mut self, meta: Meta, payload: &[u8]) {
        let outlet = self.to.as_mut().unwrap();
        let mut loan = outlet.loan(payload.len()).unwrap();
        loan.payload_mut().copy_from_slice(payload);
        loan.publish(meta).unwrap();
    }

    /// The next frame that comes back.
    pub fn receive(&mut self) -> Frame {
        let begin = Instant::now();
        loop {
            let wake = self.wake.as_ref().unwrap();
            wake.drain(|_| ());
            if let Some(frame) = self.from.as_mut().unwrap().receive() {
                return frame;
            }
            assert!(begin.elapsed() < PATIENCE, "no frame came");
            wake.wait(Some(Duration::from_millis(100))).unwrap();
        }
    }

    /// Whatever has come back and was not taken.
    pub fn waiting(&mut self) -> Option<Frame> {
        self.from.as_mut().unwrap().receive()
    }

    pub fn say(&mut self, message: &ToWorker) {
        self.socket.write_all(&encode(Encoding::Bincode, message).unwrap()).unwrap();
    }

    fn output(&self) -> &ChannelSpec {
        self.task.output.as_ref().unwrap()
    }

    /// Shows the encoder's last picture again, as while the process before it is away.
    pub fn repeat(&mut self, media_time_ns: u64) {
        let channel = self.output().index;
        self.say(&ToWorker::Repeat { session: session(), channel, epoch: 1, media_time_ns });
        self.heard();
    }

    /// Asks the encoder for a keyframe, as for a viewer.
    pub fn ask_for_a_keyframe(&mut self) {
        let (channel, reason) = (self.output().index, KeyframeReason::Viewer);
        self.say(&ToWorker::Keyframe { session: session(), channel, epoch: 1, reason });
        self.heard();
    }

    pub fn set_bitrate(&mut self, bits_per_second: u32) {
        let channel = self.output().index;
        self.say(&ToWorker::Bitrate { session: session(), channel, epoch: 1, bits_per_second });
        self.heard();
    }

    /// Gives the running task fresh channels, as when a process beside it was replaced.
    pub fn rewire(&mut self) {
        let (mut input, mut output) = (self.task.input.clone().unwrap(), self.output().clone());
        let host = self.host.as_mut().unwrap();
        for spec in [&mut input, &mut output] {
            (spec.epoch, spec.generation) = (2, 2);
            spec.service = format!("{}#2", spec.name);
            host.create_channel(spec).unwrap();
        }
        self.from = Some(host.attachment().inlet(&output).unwrap());
        self.to = Some(host.attachment().outlet(&input).unwrap());
        let (input, output) = (Some(input), Some(output));
        let changes = vec![Change::Rewire { task: self.task.id, input, output }];
        self.say(&ToWorker::Prepare { session: session(), epoch: 2, changes });
        assert_eq!(self.answer(), ToRouter::Ready { session: session(), epoch: 2 });
        self.say(&ToWorker::Switch { session: session(), epoch: 2 });
        self.heard();
    }

    /// The limits that the worker's process has, as the kernel tells them.
    pub fn limits(&self) -> String {
        std::fs::read_to_string(format!("/proc/{}/limits", self.child.id())).unwrap()
    }

    /// Stops the worker's process, and waits until it stands.
    pub fn halt(&self) {
        let pid = Pid::from_raw(self.child.id() as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        let stopped = waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        assert_eq!(stopped, WaitStatus::Stopped(pid, Signal::SIGSTOP));
    }

    /// Lets it go on.
    pub fn resume(&self) {
        kill(Pid::from_raw(self.child.id() as i32), Signal::SIGCONT).unwrap();
    }

    /// Waits until the worker has read all that was said: it answers in order, and frames take another way.
    fn heard(&mut self) {
        let node = "nobody".parse().unwrap();
        self.say(&ToWorker::Params { session: session(), node, params: "{}".into(), request: 9 });
        let answer = self.answer();
        assert!(
            matches!(answer, ToRouter::Applied { request: 9, error: Some(_), .. }),
            "{answer:?}"
        );
    }

    fn next(&mut self) -> ToRouter {
        loop {
            if let Some(message) = self.arrived.pop_front() {
                return message;
            }
            let mut buffer = [0; 4096];
            let n = self.socket.read(&mut buffer).unwrap();
            assert!(n > 0, "the worker closed its socket");
            self.frames.push(&buffer[..n]);
            while let Some(message) = self.frames.next().unwrap() {
                self.arrived.push_back(message);
            }
        }
    }

    fn answer(&mut self) -> ToRouter {
        loop {
            match self.next() {
                ToRouter::Heartbeat { .. } => {}
                ToRouter::KeyframeWanted { reason, .. } => self.keyframes_wanted.push(reason),
                message => return message,
            }
        }
    }

    /// Reads on until a heartbeat tells of counters as wished. Wishes for keyframes are noted on the way.
    pub fn until(&mut self, wish: impl Fn(&Counters) -> bool) -> Counters {
        let begin = Instant::now();
        let mut last = None;
        while begin.elapsed() < PATIENCE {
            match self.next() {
                ToRouter::KeyframeWanted { reason, .. } => self.keyframes_wanted.push(reason),
                ToRouter::Heartbeat { threads, .. } => {
                    let Some(thread) = threads.first() else { continue };
                    if wish(&thread.counters) {
                        return thread.counters;
                    }
                    last = Some(thread.counters);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
        panic!("no heartbeat as wished; the last was {last:?}");
    }

    /// Drains the worker, which ends well, and proves that nothing of the session is left.
    pub fn end(mut self) {
        self.say(&ToWorker::Drain);
        loop {
            match self.next() {
                ToRouter::Drained => break,
                ToRouter::Heartbeat { .. }
                | ToRouter::KeyframeWanted { .. }
                | ToRouter::Released { .. } => {}
                other => panic!("unexpected {other:?}"),
            }
        }
        assert!(self.child.wait().unwrap().success());
        (self.to, self.from, self.wake) = (None, None, None);
        let swept = self.host.take().unwrap().sweep();
        assert_eq!(swept.left, Vec::<String>::new());
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        (self.to, self.from, self.wake, self.host) = (None, None, None, None);
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

fn start(main: &str) -> (Child, UnixStream) {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", main, "--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .env("REMOTEMEDIA_CONTROL_FD", "3")
        .env("REMOTEMEDIA_ROUTER_PID", std::process::id().to_string());
    command.fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: 3 }]).unwrap();
    let child = command.spawn().unwrap();
    ours.set_read_timeout(Some(PATIENCE)).unwrap();
    (child, ours)
}

fn session() -> SessionId {
    SessionId::new("s").unwrap()
}

pub fn dropped(counters: &Counters, reason: DropReason) -> u64 {
    counters.dropped[reason.index()]
}

/// A worker that decodes one track, with room for any picture or block of these stories behind it.
pub fn decoding(codec: Codec, max_raw: u32) -> Rig {
    let (contract, most) = if codec.is_audio() {
        (Contract::ENCODED_AUDIO, MAX_AUDIO_PACKET)
    } else {
        (Contract::ENCODED_VIDEO, MAX_ACCESS_UNIT)
    };
    let raw = if codec.is_audio() { Contract::RAW_AUDIO } else { Contract::RAW_VIDEO };
    let raw_most = if codec.is_audio() { MAX_AUDIO_BLOCK } else { MAX_RAW };
    let shape = Shape {
        input: ("rm/s/in/p/video0/encoded", contract, most),
        output: ("rm/s/in/p/video0/raw", raw, raw_most),
        max_raw,
    };
    Rig::new(WORKER, TaskKind::Decode { codec }, &shape)
}

/// A worker that encodes one output.
pub fn encoding(kind: TaskKind) -> Rig {
    let sound = matches!(kind, TaskKind::EncodeAudio(_));
    let shape = if sound {
        Shape {
            input: ("rm/s/out/main-audio@p/raw", Contract::RAW_AUDIO, MAX_AUDIO_BLOCK),
            output: (
                "rm/s/out/main-audio@p/full.opus/encoded",
                Contract::ENCODED_AUDIO,
                MAX_AUDIO_PACKET,
            ),
            max_raw: MAX_AUDIO_BLOCK,
        }
    } else {
        Shape {
            input: ("rm/s/out/main-video@p/raw", Contract::RAW_VIDEO, MAX_RAW),
            output: (
                "rm/s/out/main-video@p/full.vp8/encoded",
                Contract::ENCODED_VIDEO,
                MAX_ACCESS_UNIT,
            ),
            max_raw: MAX_RAW,
        }
    };
    Rig::new(WORKER, kind, &shape)
}

/// What the router says of a frame.
pub fn meta(content: Content, number: u32, flags: Flags) -> Meta {
    let mut meta = Meta::new(content);
    meta.flags = flags;
    meta.media_time_ns = BEGIN_NS + u64::from(number) * FRAME_NS;
    meta.duration_ns = FRAME_NS;
    meta.rtp_time = number.wrapping_mul(3000);
    meta.source = 77;
    for stage in [Stage::Received, Stage::Assembled] {
        meta.stamps.push(Stamp { stage, ns: monotonic_ns() });
    }
    meta
}

pub fn stages(frame: &Frame) -> Vec<Stage> {
    let stamps: Vec<_> = frame.meta().stamps.iter().collect();
    assert!(stamps.windows(2).all(|w| w[0].ns <= w[1].ns), "stamps are in order");
    stamps.iter().map(|s| s.stage).collect()
}
