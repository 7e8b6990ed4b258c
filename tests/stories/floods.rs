//! Floods and nonsense: a worker that was taken over, or a program at the attach socket, says or publishes more than
//! anybody can use, or what nobody can read. It is ended or bounded, and everyone else's call goes on.

use crate::attached::{Scene, attached};
use crate::hostile::hostile_workers;
use crate::media::{flowing, pattern, untouched};
use crate::recovery::{ends, flows_on, generation, pictures, spawn};
use crate::router::{LIMIT, Router, eventually, kill, report};
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::sys::socket::{MsgFlags, Shutdown, send, shutdown};
use procfs::process::Process;
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_pipeline_worker::task::Graphs;
use remotemedia_shm_schema::channel::Place;
use remotemedia_shm_schema::contract::{DropReason, MAX_ACCESS_UNIT};
use remotemedia_shm_schema::control::{
    Attach, Catalogue, Counters, Encoding, Frames, HELLO_LEN, Hello, KeyframeReason, MAX_MESSAGE,
    Operation, Role, Sandbox, Task, TaskId, TaskKind, ThreadBeat, ToRouter, ToWorker, encode,
};
use remotemedia_shm_schema::{ChannelIndex, Content, SessionId};
use remotemedia_worker::Frame;
use remotemedia_worker::worker::{Command, Factory, Output, Processor, TaskError, connect_in, run};
use serde_json::{Value, json};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

// --- what the workers do ---------------------------------------------------------------------------------------------

/// Frames of honest work before the deed: a second.
const HONEST: usize = 30;
/// Frames during which a torrent pours: two seconds.
const POURED: usize = 60;

/// What is said without end, each by a worker of its own.
const FLOODS: [&str; 6] = ["beats", "answers", "wishes", "errors", "others", "drained"];

/// What cannot be read, or is not a worker's to say in mid-call; each is said once.
const BROKEN: [&str; 13] = [
    "garbage", "endless", "empty", "cut-off", "unknown", "too-long", "not-text", "hello", "skills",
    "operate", "attach", "resign", "busy",
];

/// The error that the last of the odd words tells.
const LAST: &str = "that was all";

/// The pipeline worker's program but for `Grayscale`, which is turned by its peer's name: `<case>_<another session>`.
struct Turncoats(Graphs);

impl Factory for Turncoats {
    fn catalogue(&self) -> Catalogue {
        self.0.catalogue()
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        let honest = self.0.make(task)?;
        Ok(match Deed::of(task) {
            Some(deed) => Box::new(Turned { honest, deed, frames: 0 }),
            None => honest,
        })
    }
}

struct Turned {
    honest: Box<dyn Processor>,
    deed: Deed,
    frames: usize,
}

impl Processor for Turned {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        self.frames += 1;
        if self.frames == HONEST {
            self.deed.begin();
        }
        let done = self.honest.process(frame, out);
        if self.deed.case == "torrent" && (HONEST..HONEST + POURED).contains(&self.frames) {
            pour(frame, out)?;
        }
        done
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        self.honest.command(command)
    }
}

/// Publishes one picture again and again for most of the time until the next one comes.
fn pour(frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
    let Some(picture) = frame.picture() else { return Ok(()) };
    let geometry = picture.geometry;
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(25) {
        let mut loan = out.loan(geometry.payload_len())?;
        loan.picture_mut(geometry).expect("it fits").copy_from(&picture);
        let mut meta = frame.meta().derive(Content::Picture(geometry));
        meta.media_time_ns += begin.elapsed().as_nanos() as u64;
        loan.publish(meta)?;
    }
    Ok(())
}

/// What a worker does when it turns.
struct Deed {
    case: String,
    own: SessionId,
    other: SessionId,
    epoch: u32,
}

impl Deed {
    fn of(task: &Task) -> Option<Self> {
        let (input, output) = (task.input.as_ref()?, task.output.as_ref()?);
        let TaskKind::Graph { nodes } = &task.kind else { return None };
        let Place::In { peer, .. } = &input.name.place else { return None };
        let (case, other) = peer.as_str().split_once('_')?;
        let gray = nodes.iter().any(|node| node.kind == "Grayscale");
        // Once a session: whoever stands in for a process that was ended writes a channel of a later generation.
        if !gray || output.generation > 0 {
            return None;
        }
        let (own, epoch) = (input.name.session.clone(), output.epoch);
        Some(Self { case: case.to_owned(), own, other: other.parse().ok()?, epoch })
    }

    fn begin(&self) {
        if let Some(frames) = self.flood() {
            // Beside the honest work and its heartbeats, for as long as the process lives.
            std::thread::spawn(move || while say(&frames) {});
            return;
        }
        say(&self.once());
        if self.case == "cut-off" {
            shutdown(control(), Shutdown::Write).expect("it is open");
        }
    }

    /// What it says without end, if its case is a flood.
    fn flood(&self) -> Option<Vec<u8>> {
        let (session, epoch) = (self.own.clone(), self.epoch);
        let frames: Vec<u8> = match self.case.as_str() {
            "beats" => said(&ToRouter::Heartbeat { sequence: 0, threads: Vec::new() }),
            "answers" => [
                ToRouter::Applied { session: session.clone(), request: 0, error: None },
                ToRouter::Assigned { session: session.clone(), sandbox: Sandbox::default() },
                ToRouter::Ready { session: session.clone(), epoch },
                ToRouter::Released { session },
            ]
            .iter()
            .flat_map(said)
            .collect(),
            "wishes" => {
                let (channel, reason) = (ChannelIndex(u32::MAX), KeyframeReason::Viewer);
                said(&ToRouter::KeyframeWanted { session, channel, epoch, reason })
            }
            "errors" => said(&complaint(&self.own, "gray", &"x".repeat(60_000))),
            "others" => said(&complaint(&self.other, "pass", "x")),
            "drained" => said(&ToRouter::Drained),
            _ => return None,
        };
        // So few at a time that the socket takes all or nothing: no honest heartbeat falls into the middle of one. It
        // may into one of the longest, and what follows is nonsense then.
        Some(frames.repeat(4096_usize.div_ceil(frames.len())))
    }

    /// What it says once.
    fn once(&self) -> Vec<u8> {
        let own = self.own.clone();
        match self.case.as_str() {
            "garbage" => (0..4096_u32).map(|n| (n * 7 + 0x80) as u8).collect(),
            "endless" => u32::MAX.to_le_bytes().to_vec(),
            "empty" => framed(b""),
            "cut-off" => framed(b"the first half and the other")[..10].to_vec(),
            "unknown" => framed(&[250]),
            "too-long" => framed(&[&said(&ToRouter::Drained)[4..], b"more"].concat()),
            "not-text" => {
                let mut bytes = said(&complaint(&own, "gray", "~~~~"));
                bytes.iter_mut().filter(|byte| **byte == b'~').for_each(|byte| *byte = 0xff);
                bytes
            }
            "hello" => hello(Role::Pipeline, Encoding::Bincode),
            "skills" => said(&ToRouter::Catalogue(Catalogue::default())),
            "operate" => said(&ToRouter::Operate(Operation::Close { session: self.other.clone() })),
            "attach" => {
                let channel = format!("rm/{}/in/honest/video0/raw", self.other);
                said(&ToRouter::Attach(Attach::Tap { channel: channel.parse().unwrap() }))
            }
            "resign" => said(&ToRouter::Unassigned { session: own, error: "x".repeat(60_000) }),
            "busy" => said(&ToRouter::Heartbeat { sequence: 0, threads: vec![beat(&own, 1)] }),
            "odd" => self.odd(),
            _ => Vec::new(),
        }
    }

    /// What is in the protocol and means nothing: of another session, of an epoch that is not under way, a steward's.
    fn odd(&self) -> Vec<u8> {
        let threads = vec![beat(&self.own, u64::MAX), beat(&self.other, u64::MAX)];
        let mut words =
            vec![ToRouter::Heartbeat { sequence: u64::MAX, threads }, ToRouter::Drained];
        for id in [&self.own, &self.other] {
            let (session, error) = (|| id.clone(), || "no".to_owned());
            for epoch in [0, self.epoch, u32::MAX] {
                words.push(ToRouter::Ready { session: session(), epoch });
                words.push(ToRouter::Refused { session: session(), epoch, error: error() });
                for error in [None, Some(error())] {
                    words.push(ToRouter::Created { session: session(), epoch, error });
                }
            }
            let (channel, reason) = (ChannelIndex(u32::MAX), KeyframeReason::Overflow);
            let (epoch, request) = (u32::MAX, u32::MAX);
            words.push(ToRouter::KeyframeWanted { session: session(), channel, epoch, reason });
            words.push(ToRouter::Applied { session: session(), request, error: None });
            words.push(ToRouter::Residue { session: session(), ports: vec!["1".into(), error()] });
            words.push(ToRouter::Released { session: session() });
            words.push(complaint(id, "nobody", "no"));
        }
        words.push(ToRouter::Unassigned { session: self.other.clone(), error: "no".into() });
        words.push(complaint(&self.other, "pass", "no"));
        words.push(complaint(&self.own, "gray", LAST));
        words.iter().flat_map(said).collect()
    }
}

/// A thread's state that cannot be.
fn beat(session: &SessionId, since: u64) -> ThreadBeat {
    let dropped = [u64::MAX; DropReason::ALL.len()];
    let counters = Counters { received: u64::MAX, dropped, ..Counters::default() };
    let (session, task) = (session.clone(), TaskId(u32::MAX));
    ThreadBeat { session, task, frames: u64::MAX, busy_since_ns: Some(since), counters }
}

fn said(message: &ToRouter) -> Vec<u8> {
    encode(Encoding::Bincode, message).expect("it is within the limit")
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&(body.len() as u32).to_le_bytes()[..], body].concat()
}

fn hello(role: Role, encoding: Encoding) -> Vec<u8> {
    Hello { role, name: "flood".into(), pid: std::process::id(), encoding }.to_bytes()
}

fn complaint(session: &SessionId, node: &str, error: &str) -> ToRouter {
    let (session, node) = (session.clone(), node.parse().expect("a node's name"));
    ToRouter::NodeError { session, node, error: error.to_owned() }
}

fn control() -> RawFd {
    std::env::var("REMOTEMEDIA_CONTROL_FD").unwrap().parse().unwrap()
}

/// Writes to the control socket past the SDK, which keeps it to itself; false when nobody reads it any more.
fn say(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match send(control(), bytes, MsgFlags::MSG_NOSIGNAL) {
            Ok(taken) => bytes = &bytes[taken..],
            // The SDK made it non-blocking.
            Err(Errno::EAGAIN | Errno::EINTR) => std::thread::yield_now(),
            Err(_) => return false,
        }
    }
    true
}

/// Not a story: what the pipeline workers of these stories run, and nothing when a person runs the tests.
#[test]
fn the_turned_worker() {
    if std::env::var_os("REMOTEMEDIA_CONTROL_FD").is_some() {
        run(Role::Pipeline, "turned", Turncoats(Graphs::new(Registry::built_in())));
        panic!("it could not begin");
    }
}

// --- what comes of it ------------------------------------------------------------------------------------------------

/// A router with such workers, and an honest call through it.
struct Town {
    router: Router,
    honest: Child,
    /// The honest call's session.
    id: String,
    _workers: tempfile::TempDir,
}

impl Town {
    fn found() -> Self {
        let workers = hostile_workers("floods::the_turned_worker");
        // Unlocked, so that nobody but the router stops it. A peer that broke off in a flood is not waited for.
        let config = "sandbox = \"off\"\ngrace_seconds = 1\n";
        let mut router = Router::with(config, &["--worker-dir", workers.path().to_str().unwrap()]);
        let more = ["--peer-id", "honest", "--pipeline", "passthrough"];
        let honest = router.spawn_call(&[&pattern("120")[..], &more].concat());
        let all = flowing(&mut router);
        let id = all["sessions"][0]["session_id"].as_str().unwrap().to_owned();
        Self { router, honest, id, _workers: workers }
    }

    /// The call of a peer whose worker turns in this way, and the peer's name.
    fn call(&self, case: &str) -> (String, Child) {
        let peer = format!("{case}_{}", self.id);
        let more = ["--peer-id", &peer, "--pipeline", "grayscale"];
        let call = self.router.spawn_call(&[&pattern("120")[..], &more].concat());
        (peer, call)
    }

    /// Waits until this peer's session is as wanted.
    fn until<T>(&mut self, peer: &str, what: &str, wanted: impl Fn(&Value) -> Option<T>) -> T {
        eventually(&format!("{what} of {peer}"), || {
            let all = self.router.sessions();
            let mut sessions = all["sessions"].as_array()?.iter();
            wanted(sessions.find(|session| session["members"][0]["peer_id"] == peer)?)
        })
    }

    /// Waits until the session's first pipeline worker is gone: another one works there, or the session is over.
    fn turned_out(&mut self, id: &str) {
        eventually(&format!("the end of a worker of session {id}"), || {
            let all = self.router.sessions();
            let mut sessions = all["sessions"].as_array()?.iter();
            let session = sessions.find(|session| session["session_id"] == id);
            session.is_none_or(|session| generation(session, "pipeline", 2)).then_some(())
        });
    }

    /// All is over; the honest call must have been one that nothing happened to, and nothing is left.
    fn end(mut self) {
        assert!(self.honest.try_wait().unwrap().is_none(), "all that happened during the call");
        hang_up(&self.honest);
        untouched(self.honest);
        let after = self.router.wait_for_sessions(0);
        let receipts = after["receipts"].as_array().unwrap();
        assert!(receipts.iter().all(|receipt| receipt["left"] == json!([])), "{after}");
        // What a worker says must not fill the operator's disk either.
        let log = self.router.runtime().with_file_name("router.log").metadata().unwrap().len();
        assert!(log < 1 << 20, "a log of {log} bytes");
        self.router.stop();
    }
}

fn hang_up(call: &Child) {
    kill(call.id() as i32, Signal::SIGINT);
}

/// The most memory that a process ever had, in bytes.
fn peak(pid: i32) -> u64 {
    Process::new(pid).unwrap().status().unwrap().vmhwm.unwrap() * 1024
}

#[test]
fn a_worker_that_floods_its_control_socket_is_ended_and_the_other_session_goes_on() {
    let mut town = Town::found();
    let before = peak(town.router.pid());
    for pair in FLOODS.chunks(2) {
        let calls = [pair[0], pair[1]].map(|case| town.call(case));
        let named = |session: &Value| session["session_id"].as_str().map(str::to_owned);
        let ids = calls.each_ref().map(|(peer, _)| town.until(peer, "the session", named));
        for id in ids {
            town.turned_out(&id);
        }
        for (peer, call) in calls {
            hang_up(&call);
            let ended = call.wait_with_output().unwrap();
            assert!(ended.status.code().is_some(), "{peer} itself died: {ended:?}");
        }
    }
    // 1024 of the longest messages may wait for the pool, and as many for each of two sessions; as much again for the
    // allocator.
    let most = 2 * 3 * 1024 * MAX_MESSAGE as u64;
    let grown = peak(town.router.pid()) - before;
    assert!(grown < most, "the router grew by {grown} bytes");
    town.end();
}

#[test]
fn a_worker_that_sends_malformed_control_messages_is_replaced_and_the_other_session_goes_on() {
    let mut town = Town::found();
    for four in BROKEN.chunks(4) {
        let calls: Vec<(String, Child)> = four.iter().map(|case| town.call(case)).collect();
        for (peer, call) in calls {
            let again =
                |session: &Value| generation(session, "pipeline", 2).then(|| pictures(session));
            let shown = town.until(&peer, "another worker", again);
            town.until(&peer, "the next pictures", |session| {
                (pictures(session) >= shown + 15).then_some(())
            });
            hang_up(&call);
            let report = report(&call.wait_with_output().unwrap());
            assert_eq!(report["video"]["out_of_order"], 0, "{peer}: {report}");
        }
    }
    let (peer, call) = town.call("odd");
    let told =
        |session: &Value| (session["node_errors"]["gray"] == LAST).then(|| pictures(session));
    let shown = town.until(&peer, "the last words", told);
    town.until(&peer, "pictures that flow on", |session| {
        assert!(generation(session, "pipeline", 1), "its worker died: {session}");
        (pictures(session) >= shown + 60).then_some(())
    });
    hang_up(&call);
    untouched(call);
    town.end();
}

#[test]
fn a_worker_that_floods_its_queues_costs_pictures_of_its_own_session_and_no_memory() {
    let mut town = Town::found();
    let before = peak(town.router.pid());
    let (peer, call) = town.call("torrent");
    let task = format!("nodes to gray on video of {peer}");
    let (published, shown) = town.until(&peer, "the end of the torrent", |session| {
        let row = session["tasks"].as_array()?.iter().find(|row| row["task"] == task.as_str())?;
        let over = row["received"].as_u64()? > (HONEST + POURED) as u64;
        // Counted by who reads it, in another process: it may be told a little later.
        let counted = session["dropped"]["overflow"].as_u64() > Some(1000);
        (over && counted).then(|| (row["published"].as_u64().unwrap(), pictures(session)))
    });
    assert!(published > 2000, "{published} in two seconds");
    let session = town.until(&peer, "pictures behind the torrent", |session| {
        (pictures(session) >= shown + 30).then(|| session.clone())
    });
    for worker in session["workers"].as_array().unwrap() {
        assert_eq!(worker["generation"], 1, "a worker died: {session}");
    }
    hang_up(&call);
    let report = report(&call.wait_with_output().unwrap());
    assert_eq!(report["video"]["out_of_order"], 0, "{report}");
    assert!(report["video"]["received"].as_u64().unwrap() > 20, "{report}");
    // Not more than 128 of the longest units, which is what may wait for one session.
    let grown = peak(town.router.pid()) - before;
    assert!(grown < 128 * u64::from(MAX_ACCESS_UNIT), "the router grew by {grown} bytes");
    town.end();
}

// --- at the attach socket --------------------------------------------------------------------------------------------

/// Connections of a crowd; the router takes 256 at once.
const CROWD: usize = 300;

fn reach(runtime: &Path) -> UnixStream {
    let socket = connect_in(runtime).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_write_timeout(Some(LIMIT)).unwrap();
    socket
}

fn told(message: &ToRouter) -> Vec<u8> {
    encode(Encoding::Json, message).expect("it is within the limit")
}

/// What the router says until it closes the connection.
fn last_words(mut socket: UnixStream) -> Vec<u8> {
    let mut said = Vec::new();
    match socket.read_to_end(&mut said) {
        Ok(_) => {}
        // It did not read all that it was told.
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("the router keeps the connection: {error}"),
    }
    said
}

/// What it answers to this, behind its own hello.
fn answer(runtime: &Path, bytes: &[u8]) -> Option<ToWorker> {
    let mut socket = reach(runtime);
    // It may have heard enough before the end.
    let _ = socket.write_all(bytes);
    let said = last_words(socket);
    let (head, rest) = said.split_first_chunk::<HELLO_LEN>()?;
    let mut frames = Frames::new(Encoding::Json);
    frames.push(rest.get(Hello::check_head(head).unwrap()..)?);
    frames.next().unwrap()
}

/// What the router has open, once no worker is on its way any more.
fn descriptors(router: &mut Router) -> usize {
    eventually("two spares of each kind", || {
        let all = router.sessions();
        let states = all["workers"].as_array()?.iter().map(|worker| &worker["state"]);
        let (spares, others): (Vec<&Value>, Vec<&Value>) = states.partition(|s| **s == "spare");
        (spares.len() == 6 && others.iter().all(|state| **state == "leased")).then_some(())
    });
    Process::new(router.pid()).unwrap().fd_count().unwrap()
}

#[test]
fn a_program_that_floods_the_attach_socket_is_turned_away_and_the_call_goes_on() {
    let mut scene = Scene::play();
    let before = descriptors(&mut scene.router);
    let (id, runtime) = (scene.id.clone(), scene.router.runtime());
    let session: SessionId = id.parse().unwrap();
    let greeting = |role| hello(role, Encoding::Json);
    let operator = greeting(Role::Operator);
    let detach = Operation::Detach { session: session.clone(), name: "nobody".into() };
    let detach = told(&ToRouter::Operate(detach));

    let mut endless = operator.clone();
    endless[HELLO_LEN - 4..HELLO_LEN].copy_from_slice(&u32::MAX.to_le_bytes());
    let mut older = operator.clone();
    older[4] = older[4].wrapping_add(1);
    let longest = framed(&vec![b'['; MAX_MESSAGE]);
    for nonsense in [
        vec![b'x'; MAX_MESSAGE],
        endless,
        older,
        [&operator[..HELLO_LEN], &[0xff_u8; 4096]].concat(),
        [&operator[..], &u32::MAX.to_le_bytes()].concat(),
        [&operator[..], &longest].concat(),
        [&operator[..], &framed(b"{\"operate\":{\"close\":{\"session\":\"\xff\"}}}")].concat(),
        [&operator[..], &framed(b"")].concat(),
    ] {
        assert_eq!(answer(&runtime, &nonsense), None, "{:?}", &nonsense[..40.min(nonsense.len())]);
    }
    // Readable, and nobody's to say here.
    let close = told(&ToRouter::Operate(Operation::Close { session: session.clone() }));
    for words in [
        [greeting(Role::Steward), close.clone()].concat(),
        [greeting(Role::Custom), close].concat(),
        [&operator[..], &told(&ToRouter::Drained)].concat(),
    ] {
        let denied = answer(&runtime, &words);
        assert!(matches!(denied, Some(ToWorker::Denied { .. })), "{denied:?}");
    }

    // An operator has one wish, however many he tells.
    let wishes = [&operator[..], &detach.repeat(20)].concat();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..100 {
                    let denied = answer(&runtime, &wishes);
                    assert!(matches!(denied, Some(ToWorker::Denied { .. })), "{denied:?}");
                }
            });
        }
    });

    // A tap that has much to say is heard out or cut off.
    let channel = scene.channel("in/anna/video0/raw");
    let mut tap = reach(&runtime);
    let wish = told(&ToRouter::Attach(Attach::Tap { channel: channel.parse().unwrap() }));
    tap.write_all(&[greeting(Role::Custom), wish].concat()).unwrap();
    scene.until("the tap", |session| attached(session, &[("tap", channel.as_str())]));
    let word = told(&ToRouter::Applied { session, request: 0, error: None });
    let _ = tap.write_all(&word.repeat(5000));
    drop(tap);
    scene.until("no tap", |session| attached(session, &[]));

    // More than there are places, of whom half say nothing and half do not finish their first word.
    let crowd: Vec<UnixStream> = (0..CROWD)
        .map(|n| {
            let mut socket = reach(&runtime);
            let _ = socket.write_all(&operator[..n % 2 * 20]);
            socket
        })
        .collect();
    let mut head = [0; HELLO_LEN];
    let (greeted, refused): (Vec<UnixStream>, Vec<UnixStream>) =
        crowd.into_iter().partition(|mut socket| socket.read_exact(&mut head).is_ok());
    assert!(refused.len() >= CROWD - 256 && greeted.len() > 200, "{} refused", refused.len());
    flows_on(&mut scene.router, 30);
    for socket in greeted {
        last_words(socket);
    }

    let at = ["--router", runtime.to_str().unwrap()];
    let said = ends("detach", spawn(&[&["detach", &id, "nobody"][..], &at].concat()), 1);
    assert!(said.contains("`nobody`"), "{said}");
    let tap = ["tap", &channel, "--json", "--seconds", "1"];
    ends("a tap", spawn(&[&tap[..], &at].concat()), 0);
    let pid = scene.router.pid();
    eventually("the descriptors' return", || {
        (Process::new(pid).unwrap().fd_count().unwrap() <= before).then_some(())
    });
    scene.untouched();
}
