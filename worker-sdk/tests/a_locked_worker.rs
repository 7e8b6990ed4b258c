//! A worker under its lock lives through all that happens to a session. The worker and its neighbour are real processes;
//! both are locked.

mod support;
#[path = "support/worker.rs"]
mod worker;

use remotemedia_worker::schema::control::{
    Change, ChannelSpec, Sandbox, Task, TaskId, ToRouter, ToWorker,
};
use remotemedia_worker::schema::{ChannelIndex, Contract};
use remotemedia_worker::worker::sandbox;
use remotemedia_worker::{Frame, Inlet, Outlet, Wake};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{Hand, PATIENCE, Rig, geometry, send_picture, session};

const HARNESS: &str = "the_worker_of_these_stories";

/// Not a story: a worker that has a thread too many, the test harness's own.
#[test]
fn the_worker_of_these_stories() {
    if worker::act().is_some() {
        std::process::exit(1);
    }
}

fn start(policy: &str) -> Hand {
    let mut command = Command::new(support::example("locked_up"));
    command.env("REMOTEMEDIA_SANDBOX", policy).env("RUST_BACKTRACE", "1").stderr(Stdio::piped());
    let mut hand = Hand::run(command);
    hand.greet();
    hand
}

fn locked(rig: &mut Rig) -> Hand {
    let mut hand = start("require");
    let sandbox = hand.assign(rig);
    assert_eq!(sandbox, sandbox::available(), "all that the machine has");
    assert!(sandbox.seccomp && sandbox.landlock > 0, "{sandbox:?}");
    hand
}

/// What it said on stderr; it must have ended.
fn said(hand: &mut Hand) -> String {
    let mut text = String::new();
    hand.child.stderr.take().expect("piped").read_to_string(&mut text).expect("text");
    text
}

fn limit(hand: &Hand, name: &str) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", hand.child.id()));
    let limits = limits.expect("a process");
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).expect("a limit");
    line.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// A new channel that two may read, waking these.
fn channel(rig: &mut Rig, index: u32, generation: u32, wakes: &[&str]) -> ChannelSpec {
    let spec = ChannelSpec {
        index: ChannelIndex(index),
        name: "rm/s/in/p/video0/raw".parse().expect("a name"),
        service: format!("channel-{index}#{generation}"),
        epoch: generation,
        generation,
        contract: Contract::RAW_VIDEO,
        max_payload: geometry().payload_len() as u32,
        max_readers: 2,
        wakes: wakes.iter().map(|wake| (*wake).to_owned()).collect(),
    };
    rig.host().create_channel(&spec).expect("a channel");
    spec
}

fn task(id: u32, kind: &str, input: &ChannelSpec, output: &ChannelSpec) -> Task {
    let wiring = support::Wiring {
        input: input.clone(),
        output: output.clone(),
        task_wake: input.wakes[0].clone(),
        own_wake: String::new(),
    };
    Task { id: TaskId(id), ..wiring.task(kind) }
}

fn rewire(id: u32, input: &ChannelSpec, output: &ChannelSpec) -> Change {
    let (input, output) = (Some(input.clone()), Some(output.clone()));
    Change::Rewire { task: TaskId(id), input, output }
}

/// A reader with a wake-up of its own.
struct Reader {
    wake: Wake,
    inlet: Inlet,
}

impl Reader {
    fn new(rig: &mut Rig, wake: &str, spec: &ChannelSpec) -> Self {
        let wake = rig.host().attachment().wake(wake).expect("a wake-up");
        Self { wake, inlet: rig.inlet(spec) }
    }

    fn receive(&mut self) -> Frame {
        let begin = Instant::now();
        loop {
            self.wake.drain(|_| ());
            if let Some(frame) = self.inlet.receive() {
                return frame;
            }
            assert!(begin.elapsed() < PATIENCE, "no frame came; {:?}", self.inlet.counters());
            self.wake.wait(Some(Duration::from_millis(100))).expect("poll");
        }
    }

    /// The next frame is this one, and none is missing before it.
    fn expect(&mut self, number: u8) {
        let frame = self.receive();
        assert_eq!((frame.picture().expect("a picture").y[0], frame.missed()), (number, 0));
    }
}

/// A new wiring, and until every task has it: parameters are taken after it, and answered.
fn rewired(hand: &mut Hand, epoch: u32, change: Change) {
    hand.dance(epoch, vec![change]);
    hand.say(&ToWorker::Params {
        session: session(),
        node: "node".parse().expect("an id"),
        params: "{}".into(),
        request: epoch,
    });
    let applied = ToRouter::Applied { session: session(), request: epoch, error: None };
    assert_eq!(hand.answer(), applied);
}

fn flows(to: &mut Outlet, readers: &mut [&mut Reader]) {
    for number in 101..=120 {
        send_picture(to, number);
        for reader in readers.iter_mut() {
            reader.expect(number);
        }
    }
}

#[test]
fn a_replaced_neighbour_a_join_a_tap_an_insert_and_the_end_all_go_well_under_the_lock() {
    let mut rig = Rig::new();
    for wake in ["first", "next", "next-2", "router", "joined", "router-2", "tap"] {
        rig.host().create_wake(wake).expect("a wake-up");
    }
    let input = channel(&mut rig, 0, 1, &["first"]);
    let between = channel(&mut rig, 1, 1, &["next"]);
    let output = channel(&mut rig, 2, 1, &["router"]);
    let mut to = rig.outlet(&input);
    let mut main = Reader::new(&mut rig, "router", &output);

    // Two workers in a row; everything is opened after the lock.
    let mut hand = locked(&mut rig);
    let mut neighbour = locked(&mut rig);
    rewired(&mut neighbour, 1, Change::Add(task(1, "busy", &between, &output)));
    rewired(&mut hand, 1, Change::Add(task(7, "busy", &input, &between)));
    flows(&mut to, &mut [&mut main]);
    assert_eq!(limit(&hand, "Max open files"), "1000 1000");
    assert_eq!(limit(&hand, "Max data size"), format!("{0} {0}", 1_u64 << 30));

    // The neighbour dies and is replaced; what it touched is left behind.
    neighbour.kill();
    let between = channel(&mut rig, 1, 2, &["next-2"]);
    let output = channel(&mut rig, 2, 2, &["router"]);
    main.inlet = rig.inlet(&output);
    let mut neighbour = locked(&mut rig);
    rewired(&mut neighbour, 2, Change::Add(task(1, "busy", &between, &output)));
    rewired(&mut hand, 2, rewire(7, &input, &between));
    flows(&mut to, &mut [&mut main]);

    // A peer joins: a further task, by services that were not there when the lock was put on.
    let joined = channel(&mut rig, 3, 1, &["joined"]);
    let processed = channel(&mut rig, 4, 1, &["router-2"]);
    let mut to_joined = rig.outlet(&joined);
    let mut second = Reader::new(&mut rig, "router-2", &processed);
    rewired(&mut hand, 3, Change::Add(task(8, "busy", &joined, &processed)));
    flows(&mut to_joined, &mut [&mut second]);
    flows(&mut to, &mut [&mut main]);

    // Somebody taps what the worker makes: the main reader misses nothing, neither before the worker is told, which connects
    // to the tap at its next frame all the same, nor after.
    let mut tap = Reader::new(&mut rig, "tap", &processed);
    flows(&mut to_joined, &mut [&mut second, &mut tap]);
    let mut tapped = processed.clone();
    tapped.wakes.push("tap".into());
    rewired(&mut hand, 4, rewire(8, &joined, &tapped));
    flows(&mut to_joined, &mut [&mut second, &mut tap]);
    drop(tap);
    flows(&mut to_joined, &mut [&mut second]);
    rewired(&mut hand, 5, rewire(8, &joined, &processed));

    // Something is put between: the worker reads another channel from now on.
    let inserted = channel(&mut rig, 5, 1, &["first"]);
    let mut to_inserted = rig.outlet(&inserted);
    rewired(&mut hand, 6, rewire(7, &inserted, &between));
    flows(&mut to_inserted, &mut [&mut main]);

    // A panic is told with its backtrace and costs its frame, not the process.
    send_picture(&mut to_inserted, 13);
    flows(&mut to_inserted, &mut [&mut main]);

    // A peer leaves: its task goes, and the others' frames go on.
    rewired(&mut hand, 7, Change::Remove(TaskId(8)));
    flows(&mut to_inserted, &mut [&mut main]);
    hand.beat(|_| true);

    for hand in [&mut hand, &mut neighbour] {
        hand.say(&ToWorker::Release { session: session() });
        assert_eq!(hand.answer(), ToRouter::Released { session: session() });
        // It serves no other: not even the same once more.
        let namespace = rig.host().namespace().clone();
        hand.say(&ToWorker::Assign { session: session(), namespace });
        match hand.answer() {
            ToRouter::Unassigned { error, .. } => {
                assert!(error.contains("has locked itself into the session `s`"), "{error}");
            }
            other => panic!("{other:?}"),
        }
        hand.say(&ToWorker::Drain);
        assert_eq!(hand.answer(), ToRouter::Drained);
        assert_eq!(hand.ended().code(), Some(0));
    }
    // What is dropped under the lock takes its files along, without a word.
    assert_eq!(said(&mut neighbour), "");
    let said = said(&mut hand);
    assert_eq!(said.matches("panicked").count(), 1, "the one of its node: {said}");
    assert!(said.contains("a picture that it cannot stand"), "{said}");
    drop((to, to_joined, to_inserted, main, second));
    rig.end();
}

#[test]
fn a_released_session_leaves_no_more_than_without_the_lock() {
    let [free, locked] = ["off", "require"].map(|policy| {
        let mut rig = Rig::new();
        let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
        let mut ends = rig.ends(&wiring);
        let mut hand = start(policy);
        let sandbox = hand.assign(&mut rig);
        assert_eq!(sandbox == Sandbox::default(), policy == "off");
        hand.dance(1, vec![Change::Add(wiring.task("busy"))]);
        send_picture(&mut ends.to, 1);
        ends.receive();
        hand.say(&ToWorker::Release { session: session() });
        assert_eq!(hand.answer(), ToRouter::Released { session: session() });
        let left = rig.host().objects().expect("a listing").count;
        drop(ends);
        hand.kill();
        rig.end();
        left
    });
    assert_eq!(locked, free);
}

#[test]
fn a_worker_that_cannot_lock_itself_in_refuses_the_session_or_says_what_is_in_force() {
    let mut rig = Rig::new();
    let under = |policy: &str| {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.args(["--exact", HARNESS, "--nocapture", "--test-threads=1"]);
        command.env("REMOTEMEDIA_SANDBOX", policy);
        let mut hand = Hand::run(command);
        hand.greet();
        hand
    };
    let mut hand = under("require");
    let namespace = rig.host().namespace().clone();
    hand.say(&ToWorker::Assign { session: session(), namespace });
    match hand.answer() {
        ToRouter::Unassigned { error, .. } => assert_eq!(
            error,
            "the worker cannot lock itself in: 2 threads run already, and those before the lock would stay free"
        ),
        other => panic!("{other:?}"),
    }
    hand.kill();
    // One thread is outside of Landlock, so Landlock is not said to be in force; seccomp is, on all of them.
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let mut ends = rig.ends(&wiring);
    let mut hand = under("try");
    assert_eq!(hand.assign(&mut rig), Sandbox { landlock: 0, seccomp: true });
    hand.dance(1, vec![Change::Add(wiring.task("gray"))]);
    send_picture(&mut ends.to, 9);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 9);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_slip_in_the_policy_does_not_leave_the_door_open() {
    let mut command = Command::new(support::example("locked_up"));
    command.env("REMOTEMEDIA_SANDBOX", "yes").stderr(Stdio::piped());
    let mut hand = Hand::run(command);
    assert_eq!(hand.ended().code(), Some(1));
    assert!(said(&mut hand).contains("it takes off, try or require"));
}
