//! The router's part in the stories: a namespace on tmpfs, worker processes, the dance.

#![allow(dead_code, reason = "each story file uses its part of it")]

use command_fds::{CommandFdExt, FdMapping};
use remotemedia_worker::namespace::{Host, Runtime};
use remotemedia_worker::schema::contract::DropReason;
use remotemedia_worker::schema::control::{
    Change, ChannelSpec, Counters, Encoding, Frames, GraphNode, HELLO_LEN, Hello, OnFailure, Role,
    Sandbox, Task, TaskId, TaskKind, ToRouter, ToWorker, encode,
};
use remotemedia_worker::schema::{
    ChannelIndex, Content, Contract, Flags, Meta, SessionId, Stage, Stamp, VideoGeometry,
};
use remotemedia_worker::{Frame, Inlet, Outlet, PictureMut, Wake, monotonic_ns};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// No story takes so long; a watchdog for what would hang, nothing is asserted by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) const WIDTH: u16 = 320;
pub(crate) const HEIGHT: u16 = 180;

/// A runtime folder of the test's own in `/dev/shm`, and a host in it; both gone, and looked for, at the end.
pub(crate) struct Rig {
    pub(crate) host: Option<Host>,
    prefix: String,
    dir: PathBuf,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let dir = PathBuf::from(format!("/dev/shm/rmt-{:08x}", rand::random::<u32>()));
        let runtime = Runtime::open(&dir).expect("a runtime folder");
        let host = Host::create(&runtime).expect("a namespace");
        let prefix = host.namespace().prefix.clone();
        Self { host: Some(host), prefix, dir }
    }

    pub(crate) fn host(&mut self) -> &mut Host {
        self.host.as_mut().expect("not ended yet")
    }

    pub(crate) fn outlet(&mut self, spec: &ChannelSpec) -> Outlet {
        self.host().attachment().outlet(spec).expect("an outlet")
    }

    pub(crate) fn inlet(&mut self, spec: &ChannelSpec) -> Inlet {
        self.host().attachment().inlet(spec).expect("an inlet")
    }

    /// Makes two channels of this form, and the wake-ups that `task` and the router wait on.
    pub(crate) fn wire(&mut self, generation: u32, contract: Contract, max_payload: u32) -> Wiring {
        let host = self.host();
        let (task_wake, own_wake) =
            (format!("wake/task.{generation}"), format!("wake/router.{generation}"));
        host.create_wake(&task_wake).expect("a wake-up");
        host.create_wake(&own_wake).expect("a wake-up");
        let spec = |index: u32, name: &str, wake: &str| ChannelSpec {
            index: ChannelIndex(index),
            name: name.parse().expect("a name"),
            service: format!("{name}#{generation}"),
            epoch: generation,
            generation,
            contract,
            max_payload,
            max_readers: 1,
            wakes: vec![wake.to_owned()],
        };
        let input = spec(0, "rm/s/in/p/video0/raw", &task_wake);
        let output = spec(1, "rm/s/out/main-video@p/raw", &own_wake);
        host.create_channel(&input).expect("a channel");
        host.create_channel(&output).expect("a channel");
        Wiring { input, output, task_wake, own_wake }
    }

    /// The router's ends of a wiring.
    pub(crate) fn ends(&mut self, wiring: &Wiring) -> Ends {
        Ends {
            wake: self.host().attachment().wake(&wiring.own_wake).expect("a wake-up"),
            to: self.outlet(&wiring.input),
            from: self.inlet(&wiring.output),
        }
    }

    /// Takes the session away and proves by listing that nothing of it is left.
    pub(crate) fn end(mut self) {
        let swept = self.host.take().expect("not ended yet").sweep();
        assert_eq!(swept.left, Vec::<String>::new());
        assert_eq!(self.objects(), Vec::<String>::new(), "shared memory is left");
        assert_eq!(std::fs::read_dir(&self.dir).expect("the folder").count(), 0, "roots are left");
    }

    /// What a listing of `/dev/shm` has of this session.
    pub(crate) fn objects(&self) -> Vec<String> {
        let entries = std::fs::read_dir("/dev/shm").expect("/dev/shm");
        let names = entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with(&self.prefix)).collect()
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.host = None;
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

pub(crate) struct Wiring {
    pub(crate) input: ChannelSpec,
    pub(crate) output: ChannelSpec,
    pub(crate) task_wake: String,
    pub(crate) own_wake: String,
}

impl Wiring {
    pub(crate) fn task(&self, kind: &str) -> Task {
        let node = GraphNode {
            id: "node".parse().expect("an id"),
            number: 3,
            kind: kind.into(),
            params: "{}".into(),
            on_failure: OnFailure::Hold,
        };
        Task {
            id: TaskId(7),
            kind: TaskKind::Graph { nodes: vec![node] },
            input: Some(self.input.clone()),
            output: Some(self.output.clone()),
            wake: self.task_wake.clone(),
            max_raw: self.input.max_payload,
            frame_limit_ms: 1000,
        }
    }
}

/// What the router holds of a wiring.
pub(crate) struct Ends {
    pub(crate) wake: Wake,
    pub(crate) to: Outlet,
    pub(crate) from: Inlet,
}

impl Ends {
    /// The next frame that comes back.
    pub(crate) fn receive(&mut self) -> Frame {
        let begin = Instant::now();
        loop {
            self.wake.drain(|_| ());
            if let Some(frame) = self.from.receive() {
                return frame;
            }
            assert!(begin.elapsed() < PATIENCE, "no frame came; {:?}", self.from.counters());
            self.wake.wait(Some(Duration::from_millis(100))).expect("poll");
        }
    }
}

/// The geometry of all pictures here.
pub(crate) fn geometry() -> VideoGeometry {
    VideoGeometry::i420(WIDTH, HEIGHT)
}

/// A coloured picture whose luma carries `number`, with what the router puts on a frame.
pub(crate) fn send_picture(outlet: &mut Outlet, number: u8) -> Meta {
    let mut meta = Meta::new(Content::Picture(geometry()));
    meta.media_time_ns = 1_000 * u64::from(number) + 1;
    meta.duration_ns = 33_333_333;
    meta.rtp_time = 3000 * u32::from(number);
    meta.source = 42;
    for stage in [Stage::Received, Stage::Assembled] {
        meta.stamps.push(Stamp { stage, ns: monotonic_ns() });
    }
    let mut loan = outlet.loan(geometry().payload_len()).expect("a loan");
    let PictureMut { y, u, v, .. } = loan.picture_mut(geometry()).expect("it fits");
    y.fill(number);
    u.fill(90);
    v.fill(200);
    loan.publish(meta).expect("published");
    meta
}

/// An access unit of a few bytes.
pub(crate) fn send_unit(outlet: &mut Outlet, number: u8, keyframe: bool) {
    let mut meta = Meta::new(Content::Coded(remotemedia_worker::schema::Codec::Vp8));
    if keyframe {
        meta.flags = Flags::KEYFRAME;
    }
    let mut loan = outlet.loan(4).expect("a loan");
    loan.payload_mut().fill(number);
    loan.publish(meta).expect("published");
}

/// A worker process and the router's end of its control socket.
pub(crate) struct Hand {
    pub(crate) child: Child,
    pub(crate) socket: Option<UnixStream>,
    /// As the worker's hello says: our own speak bincode, those in other languages JSON.
    encoding: Encoding,
    frames: Frames,
    arrived: VecDeque<ToRouter>,
    pub(crate) hello: Option<Hello>,
}

impl Hand {
    /// Starts this very test program as a worker; `main` is the name of the test that acts as one.
    pub(crate) fn start(main: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", main, "--nocapture", "--test-threads=1"]);
        Self::run(command)
    }

    /// Starts this program as a worker.
    pub(crate) fn run(mut command: Command) -> Self {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .env("REMOTEMEDIA_CONTROL_FD", "3")
            .env("REMOTEMEDIA_ROUTER_PID", std::process::id().to_string());
        command
            .fd_mappings(vec![FdMapping { parent_fd: OwnedFd::from(theirs), child_fd: 3 }])
            .expect("fd 3 is free");
        let child = command.spawn().expect("a process");
        Self::holding(child, ours)
    }

    /// A process that is there, and the router's end of its connection.
    pub(crate) fn holding(child: Child, ours: UnixStream) -> Self {
        ours.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        Self {
            child,
            socket: Some(ours),
            encoding: Encoding::Bincode,
            frames: Frames::new(Encoding::Bincode),
            arrived: VecDeque::new(),
            hello: None,
        }
    }

    /// Starts it, greets, reads its catalogue.
    pub(crate) fn greeted(main: &str) -> Self {
        let mut hand = Self::start(main);
        hand.greet();
        hand
    }

    pub(crate) fn greet(&mut self) {
        let own = Hello {
            role: Role::Router,
            name: "router".into(),
            pid: std::process::id(),
            encoding: Encoding::Bincode,
        };
        let socket = self.socket.as_mut().expect("open");
        socket.write_all(&own.to_bytes()).expect("written");
        let mut head = [0; HELLO_LEN];
        socket.read_exact(&mut head).expect("its hello");
        let mut body = vec![0; Hello::check_head(&head).expect("a head of ours")];
        socket.read_exact(&mut body).expect("its hello");
        let hello = Hello::from_body(&body).expect("a hello");
        self.encoding = hello.encoding;
        self.frames = Frames::new(hello.encoding);
        self.hello = Some(hello);
        assert!(matches!(self.next(), ToRouter::Catalogue(_)), "the catalogue comes first");
    }

    pub(crate) fn say(&mut self, message: &ToWorker) {
        let bytes = encode(self.encoding, message).expect("encoded");
        self.socket.as_mut().expect("open").write_all(&bytes).expect("written");
    }

    /// The next message of any kind.
    pub(crate) fn next(&mut self) -> ToRouter {
        self.next_if_alive().expect("the worker closed its socket")
    }

    /// The next message of any kind, or none any more.
    pub(crate) fn next_if_alive(&mut self) -> Option<ToRouter> {
        loop {
            if let Some(message) = self.arrived.pop_front() {
                return Some(message);
            }
            let mut buffer = [0; 4096];
            let n = match self.socket.as_mut().expect("open").read(&mut buffer) {
                // A reset is an end as well: it left something unread.
                Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => 0,
                read => read.expect("a message"),
            };
            if n == 0 {
                return None;
            }
            self.frames.push(&buffer[..n]);
            while let Some(message) = self.frames.next().expect("a message of ours") {
                self.arrived.push_back(message);
            }
        }
    }

    /// The next message that is not a heartbeat.
    pub(crate) fn answer(&mut self) -> ToRouter {
        loop {
            match self.next() {
                ToRouter::Heartbeat { .. } => {}
                message => return message,
            }
        }
    }

    /// Waits for a heartbeat whose task counters are as wished.
    pub(crate) fn beat(&mut self, wish: impl Fn(&Counters) -> bool) -> Counters {
        let begin = Instant::now();
        let mut last = None;
        while begin.elapsed() < PATIENCE {
            if let ToRouter::Heartbeat { threads, .. } = self.next()
                && let [thread] = threads.as_slice()
            {
                if wish(&thread.counters) {
                    return thread.counters;
                }
                last = Some(thread.counters);
            }
        }
        panic!("no heartbeat as wished; the last was {last:?}");
    }

    /// Assigns the rig's session; gives what the worker put in force then.
    pub(crate) fn assign(&mut self, rig: &mut Rig) -> Sandbox {
        let namespace = rig.host().namespace().clone();
        self.say(&ToWorker::Assign { session: session(), namespace });
        match self.answer() {
            ToRouter::Assigned { session: of, sandbox } if of == session() => sandbox,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn prepare(&mut self, epoch: u32, changes: Vec<Change>) -> ToRouter {
        self.say(&ToWorker::Prepare { session: session(), epoch, changes });
        self.answer()
    }

    pub(crate) fn switch(&mut self, epoch: u32) {
        self.say(&ToWorker::Switch { session: session(), epoch });
    }

    /// The whole dance for one new wiring.
    pub(crate) fn dance(&mut self, epoch: u32, changes: Vec<Change>) {
        assert_eq!(self.prepare(epoch, changes), ToRouter::Ready { session: session(), epoch });
        self.switch(epoch);
    }

    /// Waits for its end: the end of file on its socket, which only its process holds.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut rest = Vec::new();
        // A reset is an end as well: it left something unread.
        match self.socket.as_mut().expect("open").read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::ConnectionReset, "it does not end"),
        }
        self.child.wait().expect("reaped")
    }

    /// kill -9, and reaped.
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("killed");
        let status = self.ended();
        assert_eq!(status.signal(), Some(9), "{status:?}");
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An example's program, which cargo builds with the tests.
pub(crate) fn example(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("this program");
    let profile = own.parent().and_then(|deps| deps.parent()).expect("target/<profile>/deps");
    let program = profile.join("examples").join(name);
    assert!(program.is_file(), "{program:?} is not there: cargo build --examples makes it");
    program
}

pub(crate) fn session() -> SessionId {
    SessionId::new("s").expect("an id")
}

pub(crate) fn dropped(counters: &Counters, reason: DropReason) -> u64 {
    counters.dropped[reason.index()]
}
