//! Workers in Python, in real processes: this test is the router, as in `a_worker_and_its_router`.

#[path = "support/liar.rs"]
mod liar;
mod support;

use command_fds::{CommandFdExt, FdMapping};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remotemedia_worker::monotonic_ns;
use remotemedia_worker::schema::contract::DropReason;
use remotemedia_worker::schema::control::{
    Attach, Change, ChannelSpec, Encoding, OnFailure, Role, Task, TaskId, TaskKind, ToRouter,
    ToWorker,
};
use remotemedia_worker::schema::mark::{MARK_LEN, MARKS_LEN, Mark};
use remotemedia_worker::schema::{
    AudioGeometry, ChannelIndex, Content, Contract, Flags, FrameHeader, Media, Meta, Stage,
};
use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use support::{
    Ends, Hand, PATIENCE, Rig, Wiring, dropped, geometry, send_picture, send_unit, session,
};

#[test]
fn pictures_come_back_inverted_in_order_with_their_times_and_without_a_copy() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "invert");
    let hello = hand.hello.clone().expect("greeted");
    assert_eq!((hello.role, hello.encoding), (Role::Custom, Encoding::Json));
    assert_eq!((hello.name.as_str(), hello.pid), ("invert", hand.child.id()));
    for number in 101..=160 {
        let sent = send_picture(&mut ends.to, number);
        let frame = ends.receive();
        let meta = frame.meta();
        assert_eq!(meta.sequence, u64::from(number) - 101, "each in its turn");
        assert_eq!((meta.epoch, meta.generation, meta.content), (1, 1, sent.content));
        assert_eq!(
            (meta.media_time_ns, meta.duration_ns, meta.rtp_time, meta.source),
            (sent.media_time_ns, sent.duration_ns, sent.rtp_time, sent.source)
        );
        let stages: Vec<_> = meta.stamps.iter().map(|stamp| stamp.stage).collect();
        assert_eq!(stages, [Stage::Received, Stage::Assembled, Stage::Node(3)]);
        let times: Vec<_> = meta.stamps.iter().map(|stamp| stamp.ns).collect();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(frame.payload().as_ptr().align_offset(64), 0, "aligned for SIMD");
        let picture = frame.picture().expect("a picture");
        for (plane, value) in [(0, number), (1, 90), (2, 200)] {
            assert!(picture.rows(plane).all(|row| row.iter().all(|byte| *byte == 255 - value)));
        }
        assert_eq!(frame.missed(), 0);
    }
    let counters = hand.beat(|counters| counters.published == 60);
    assert_eq!((counters.received, counters.errors, counters.dropped), (60, 0, [0; 10]));
    assert_eq!(counters.copied_bytes, 0, "read and written in place");
    // What it says in order when it goes, and that Ctrl-C is not for it.
    let pid = Pid::from_raw(hand.child.id() as i32);
    kill(pid, Signal::SIGINT).expect("sent");
    send_picture(&mut ends.to, 9);
    drop(ends.receive());
    kill(pid, Signal::SIGTERM).expect("sent");
    assert_eq!(hand.answer(), ToRouter::Released { session: session() });
    assert_eq!(hand.answer(), ToRouter::Drained);
    assert_eq!(hand.ended().code(), Some(0));
    drop(ends);
    rig.end();
}

#[test]
fn sound_is_halved_and_what_stands_for_silence_goes_on_as_it_is() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_AUDIO, 3840);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "half");
    let block = AudioGeometry { rate: 48_000, channels: 2, samples: 480 };
    for number in 1..=100u8 {
        let mut meta = Meta::new(Content::Sound(block));
        meta.media_time_ns = u64::from(number) * 10_000_000;
        if number % 10 == 0 {
            meta.flags = Flags::SILENCE;
            ends.to.publish_empty(meta).expect("published");
            let frame = ends.receive();
            assert_eq!((frame.meta().flags, frame.payload().len()), (Flags::SILENCE, 0));
            assert_eq!(frame.meta().content, meta.content);
            continue;
        }
        let mut loan = ends.to.loan(block.payload_len()).expect("a loan");
        for (at, sample) in loan.samples_mut().iter_mut().enumerate() {
            *sample = f32::from(number) + at as f32 / 1024.0;
        }
        loan.publish(meta).expect("published");
        let frame = ends.receive();
        assert_eq!(frame.meta().media_time_ns, meta.media_time_ns);
        let sound = frame.sound().expect("sound");
        let wanted = (0..960).map(|at| (f32::from(number) + at as f32 / 1024.0) / 2.0);
        assert!(sound.iter().copied().eq(wanted), "{:?}", &sound[..4]);
    }
    let counters = hand.beat(|counters| counters.published == 100);
    assert_eq!((counters.received, counters.errors, counters.copied_bytes), (100, 0, 0));
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_new_wiring_goes_on_with_the_same_object_and_new_parameters_reach_it() {
    let mut rig = Rig::new();
    let first = raw(&mut rig, 1);
    let mut hand = started("add");
    hand.assign(&mut rig);
    let mut ends = rig.ends(&first);
    let mut task = first.task("add");
    if let TaskKind::Graph { nodes } = &mut task.kind {
        nodes[0].params = r#"{"add":1}"#.into();
    }
    hand.dance(1, vec![Change::Add(task)]);
    send_picture(&mut ends.to, 50);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 51);
    for (request, params, says) in [
        (5, r#"{"add":7}"#, None),
        (6, r#"{"add":-1}"#, Some("ValueError: add must not be negative")),
        (7, "[]", Some("parameters that are not a JSON object")),
    ] {
        let node = "node".parse().expect("an id");
        hand.say(&ToWorker::Params { session: session(), node, params: params.into(), request });
        let error = says.map(str::to_owned);
        assert_eq!(hand.answer(), ToRouter::Applied { session: session(), request, error });
    }
    // Fresh services under the next generation, as when the process behind the output was replaced.
    let mut second = raw(&mut rig, 2);
    second.input.wakes = first.input.wakes.clone();
    let mut fresh = rig.ends(&second);
    let rewire = |wiring: &Wiring| Change::Rewire {
        task: TaskId(7),
        input: Some(wiring.input.clone()),
        output: Some(wiring.output.clone()),
    };
    let ready = |epoch| ToRouter::Ready { session: session(), epoch };
    assert_eq!(hand.prepare(2, vec![rewire(&second)]), ready(2));
    // Prepared is not in force: frames still take the old way.
    send_picture(&mut ends.to, 50);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 57);
    hand.switch(2);
    for number in 60..70 {
        send_picture(&mut fresh.to, number);
        let frame = fresh.receive();
        assert_eq!(frame.picture().expect("a picture").y[0], number + 7, "its state went along");
        assert_eq!((frame.meta().epoch, frame.meta().generation), (2, 2));
        assert_eq!(frame.meta().sequence, u64::from(number) - 60, "a new port counts anew");
    }
    // The same services under a new description: the ports stay, and so does the sequence.
    let mut third = second;
    third.output.epoch = 3;
    hand.dance(3, vec![rewire(&third)]);
    fresh.from.respec(&third.output).expect("the same service");
    // A switch has no answer; that of what is said after it tells that the task has taken it.
    let (node, params) = ("node".parse().expect("an id"), r#"{"add":7}"#.to_owned());
    hand.say(&ToWorker::Params { session: session(), node, params, request: 8 });
    assert_eq!(hand.answer(), ToRouter::Applied { session: session(), request: 8, error: None });
    send_picture(&mut fresh.to, 70);
    let frame = fresh.receive();
    assert_eq!((frame.meta().epoch, frame.meta().sequence), (3, 10));
    let counters = hand.beat(|counters| counters.published == 13);
    assert_eq!(counters.received, 13, "counted over all wirings");
    assert!(ends.from.receive().is_none(), "nothing goes the old way");
    drop((frame, ends, fresh));
    hand.kill();
    rig.end();
}

#[test]
fn a_wiring_or_a_task_that_cannot_be_had_is_refused_with_the_reason() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut hand = started("add");
    hand.assign(&mut rig);
    let mut nobodys = wiring.task("add");
    nobodys.output.as_mut().expect("one").service = "nobody-made-this".into();
    let mut impossible = wiring.task("add");
    if let TaskKind::Graph { nodes } = &mut impossible.kind {
        nodes[0].params = r#"{"add":"impossible"}"#.into();
    }
    let decode = Task {
        kind: TaskKind::Decode { codec: remotemedia_worker::schema::Codec::Vp8 },
        ..wiring.task("add")
    };
    for (epoch, change, says) in [
        (1, Change::Add(nobodys), "nobody-made-this"),
        (2, Change::Add(impossible), "ValueError: nobody can make this"),
        (3, Change::Add(decode), "not a task `decode`"),
        (4, Change::Add(wiring.task("mystery")), "mystery"),
        (5, Change::Remove(TaskId(9)), "there is no task 9"),
    ] {
        match hand.prepare(epoch, vec![change]) {
            ToRouter::Refused { epoch: of, error, .. } => {
                assert_eq!(of, epoch);
                assert!(error.contains(says), "{error}");
            }
            other => panic!("{other:?}"),
        }
    }
    // Each refusal gave its ports back: this one finds room, and an abandoned one goes away.
    let mut ends = rig.ends(&wiring);
    let ready = |epoch| ToRouter::Ready { session: session(), epoch };
    assert_eq!(hand.prepare(6, vec![Change::Add(wiring.task("add"))]), ready(6));
    hand.say(&ToWorker::Abandon { session: session(), epoch: 6 });
    hand.switch(6);
    assert_eq!(hand.prepare(7, vec![Change::Add(wiring.task("add"))]), ready(7));
    send_picture(&mut ends.to, 5);
    assert_eq!(hand.beat(|_| true).received, 0, "it holds its ports and reads nothing");
    hand.switch(7);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 5, "what waited is read then");
    // Released: its ports are gone, its process is not.
    drop(ends);
    hand.say(&ToWorker::Release { session: session() });
    assert_eq!(hand.answer(), ToRouter::Released { session: session() });
    hand.say(&ToWorker::Drain);
    assert_eq!(hand.answer(), ToRouter::Drained);
    assert_eq!(hand.ended().code(), Some(0));
    rig.end();
}

#[test]
fn a_function_that_fails_costs_the_frame_and_under_bypass_lets_it_pass() {
    for bypass in [false, true] {
        let mut rig = Rig::new();
        let wiring = raw(&mut rig, 1);
        let mut hand = started("add");
        hand.assign(&mut rig);
        let mut ends = rig.ends(&wiring);
        let mut task = wiring.task("add");
        if let (TaskKind::Graph { nodes }, true) = (&mut task.kind, bypass) {
            nodes[0].on_failure = OnFailure::Bypass;
        }
        hand.dance(1, vec![Change::Add(task)]);
        for number in [12, 13, 14] {
            send_picture(&mut ends.to, number);
            if number == 13 {
                let error = "RuntimeError: thirteen brings bad luck".into();
                let node = "node".parse().expect("an id");
                assert_eq!(hand.answer(), ToRouter::NodeError { session: session(), node, error });
            }
            if number != 13 || bypass {
                let frame = ends.receive();
                assert_eq!(frame.picture().expect("a picture").y[0], number);
                let passed = frame.meta().stamps.iter().any(|stamp| stamp.stage == Stage::Node(3));
                assert_eq!(passed, number != 13, "a node that failed has not been passed");
            }
        }
        let counters = hand.beat(|counters| counters.published == 2 + u64::from(bypass));
        assert_eq!((counters.received, counters.errors), (3, 1));
        assert_eq!(dropped(&counters, DropReason::NodeError), 1);
        drop(ends);
        hand.kill();
        rig.end();
    }
}

#[test]
fn heartbeats_go_on_while_a_function_computes_and_tell_since_when() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("enough");
    let mut command = program("spin");
    command.env("SPIN_UNTIL", &file);
    let mut hand = Hand::run(command);
    hand.greet();
    hand.assign(&mut rig);
    let mut ends = rig.ends(&wiring);
    hand.dance(1, vec![Change::Add(wiring.task("spin"))]);
    let before = monotonic_ns();
    send_picture(&mut ends.to, 5);
    let mut busy = Vec::new();
    while busy.len() < 5 {
        if let ToRouter::Heartbeat { threads, .. } = hand.next() {
            busy.extend(threads.iter().filter_map(|thread| thread.busy_since_ns));
        }
    }
    assert!(busy.iter().all(|since| *since == busy[0] && *since > before), "{busy:?}");
    std::fs::write(&file, "").expect("written");
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 5);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn views_cannot_be_written_where_they_are_read_and_a_kept_one_ends_nothing() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (hand, mut ends) = running(&mut rig, &wiring, "naughty");
    for wanted in [4, 4] {
        send_picture(&mut ends.to, 100);
        assert_eq!(ends.receive().picture().expect("a picture").y[0], wanted, "all were refused");
    }
    drop(ends);
    hand.kill();
    rig.end();

    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "keep");
    for number in 1..=20 {
        send_picture(&mut ends.to, number);
        assert_eq!(ends.receive().picture().expect("a picture").y[0], number, "it goes on");
    }
    // Its ports go while it still has views of their memory.
    let mut second = raw(&mut rig, 2);
    second.input.wakes = wiring.input.wakes.clone();
    let mut fresh = rig.ends(&second);
    let (input, output) = (Some(second.input.clone()), Some(second.output.clone()));
    hand.dance(2, vec![Change::Rewire { task: TaskId(7), input, output }]);
    for number in 21..=30 {
        send_picture(&mut fresh.to, number);
        assert_eq!(fresh.receive().picture().expect("a picture").y[0], number);
    }
    assert_eq!(hand.beat(|counters| counters.published == 30).errors, 0);
    drop((ends, fresh));
    hand.kill();
    rig.end();
}

#[test]
fn a_chain_of_nodes_works_in_one_task_and_rgb_is_converted_and_counted() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut hand = started("add");
    hand.assign(&mut rig);
    let mut ends = rig.ends(&wiring);
    let mut task = wiring.task("add");
    if let TaskKind::Graph { nodes } = &mut task.kind {
        nodes[0].params = r#"{"add":1}"#.into();
        let mut second = nodes[0].clone();
        (second.id, second.number) = ("other".parse().expect("an id"), 4);
        second.params = r#"{"add":10}"#.into();
        nodes.push(second);
    }
    hand.dance(1, vec![Change::Add(task)]);
    send_picture(&mut ends.to, 50);
    let frame = ends.receive();
    assert_eq!(frame.picture().expect("a picture").y[0], 61);
    let stages: Vec<_> = frame.meta().stamps.iter().map(|stamp| stamp.stage).collect();
    assert_eq!(stages[2..], [Stage::Node(3), Stage::Node(4)]);
    drop((frame, ends));
    hand.kill();
    rig.end();

    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "rgb");
    send_picture(&mut ends.to, 120);
    let frame = ends.receive();
    let picture = frame.picture().expect("a picture");
    // V far above U was red and is blue now.
    assert!(picture.u[0] > 150 && picture.v[0] < 110, "{} {}", picture.u[0], picture.v[0]);
    let counters = hand.beat(|counters| counters.published == 1);
    let pixels = 320 * 180;
    assert_eq!(counters.copied_bytes, pixels * (3 + 3 + 3 + 3) / 2 + pixels * 3 / 2, "told");
    drop((frame, ends));
    hand.kill();
    rig.end();
}

#[test]
fn an_attached_tap_sees_frames_and_leaves_when_it_is_asked_to() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut to = rig.outlet(&wiring.input);
    let mut tap = Attached::start(program("tap"), &["rm/s/in/p/video0/raw"], |wish| {
        assert_eq!(wish, Attach::Tap { channel: "rm/s/in/p/video0/raw".parse().expect("a name") });
    });
    tap.hand.assign(&mut rig);
    let task = Task { kind: TaskKind::Tap, output: None, ..wiring.task("") };
    tap.hand.dance(1, vec![Change::Add(task)]);
    for number in 1..=20 {
        send_picture(&mut to, number);
        assert_eq!(tap.line(), format!("picture {number} 90 0"));
    }
    assert_eq!(tap.hand.beat(|counters| counters.received == 20).published, 0);
    tap.leaves_on(Signal::SIGINT);
    drop(to);
    rig.end();
}

#[test]
fn a_tap_of_coded_video_sees_nothing_after_a_gap_but_a_keyframe() {
    let mut rig = Rig::new();
    let mut wiring = rig.wire(1, Contract::ENCODED_VIDEO, 4096);
    wiring.input.name = "rm/s/in/p/video0/encoded".parse().expect("a name");
    let mut to = rig.outlet(&wiring.input);
    let channel = "rm/s/in/p/video0/encoded";
    let mut tap = Attached::start(program("tap"), &[channel], |_| ());
    tap.hand.assign(&mut rig);
    let task = Task { kind: TaskKind::Tap, output: None, ..wiring.task("") };
    let ready = ToRouter::Ready { session: session(), epoch: 1 };
    assert_eq!(tap.hand.prepare(1, vec![Change::Add(task)]), ready);
    // It holds its port and does not read yet: the channel takes eight, two go over.
    send_unit(&mut to, 0, true);
    for number in 1..10 {
        send_unit(&mut to, number, false);
    }
    tap.hand.switch(1);
    let counters = tap.hand.beat(|c| dropped(c, DropReason::AwaitingKeyframe) == 8);
    assert_eq!(counters.received, 0);
    send_unit(&mut to, 10, true);
    assert_eq!(tap.line(), "coded vp8 10 0");
    send_unit(&mut to, 11, false);
    assert_eq!(tap.line(), "coded vp8 11 0");
    tap.leaves_on(Signal::SIGTERM);
    drop(to);
    rig.end();
}

#[test]
fn an_attached_node_is_told_what_it_is_and_works() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut ends = rig.ends(&wiring);
    let channel = "rm/s/in/p/video0/raw";
    let mut node = Attached::start(program("insert"), &[channel], |wish| {
        let (channel, node) = (channel.parse().expect("a name"), "node".parse().expect("an id"));
        assert_eq!(wish, Attach::Insert { channel, node, on_failure: OnFailure::Bypass });
    });
    node.hand.assign(&mut rig);
    node.hand.dance(1, vec![Change::Add(wiring.task("negative"))]);
    send_picture(&mut ends.to, 5);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 250);
    node.leaves_on(Signal::SIGTERM);
    drop(ends);
    rig.end();
}

#[test]
fn sources_make_frames_at_their_rate_on_a_grid_of_time() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_AUDIO, 3840);
    let mut ends = rig.ends(&wiring);
    let mut tone = Attached::start(program("tone"), &[], |wish| {
        let peer = "tone".parse().expect("an id");
        assert_eq!(wish, Attach::Source { session: session(), peer, media: Media::Audio });
    });
    tone.hand.assign(&mut rig);
    tone.hand.dance(1, vec![source(&wiring.output, Media::Audio)]);
    // By its own count: a source waits for nobody, and this reader may miss some on a busy machine.
    let mut begin = None;
    for _ in 0..30 {
        let frame = ends.receive();
        let (meta, number) = (frame.meta(), frame.meta().sequence);
        assert_eq!(meta.duration_ns, 10_000_000);
        let begin = *begin.get_or_insert(meta.media_time_ns - number * 10_000_000);
        assert_eq!(meta.media_time_ns, begin + number * 10_000_000);
        assert!(meta.stamps.at(Stage::Received).is_some());
        let sound = frame.sound().expect("sound");
        assert!(sound.len() == 960 && sound.iter().all(|sample| *sample == number as f32));
    }
    tone.leaves_on(Signal::SIGINT);
    drop(ends);
    rig.end();

    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut ends = rig.ends(&wiring);
    let mut flat = Attached::start(program("flat"), &[], |_| ());
    flat.hand.assign(&mut rig);
    flat.hand.dance(1, vec![source(&wiring.output, Media::Video)]);
    for _ in 0..30 {
        let frame = ends.receive();
        assert_eq!(frame.meta().content, Content::Picture(geometry()));
        let picture = frame.picture().expect("a picture");
        let number = frame.meta().sequence as u8;
        assert_eq!([picture.y[0], picture.u[0], picture.v[0]], [number, 1, 2]);
    }
    flat.leaves_on(Signal::SIGINT);
    drop(ends);
    rig.end();
}

#[test]
fn the_examples_do_what_they_say() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut ends = rig.ends(&wiring);
    let mut hand = Hand::run(python("examples/blur.py"));
    hand.greet();
    hand.assign(&mut rig);
    hand.dance(1, vec![Change::Add(wiring.task("PyBlur"))]);
    let (node, request) = ("node".parse().expect("an id"), 1);
    hand.say(&ToWorker::Params {
        session: session(),
        node,
        params: r#"{"sigma":9}"#.into(),
        request,
    });
    assert_eq!(hand.answer(), ToRouter::Applied { session: session(), request, error: None });
    send_picture(&mut ends.to, 77);
    let frame = ends.receive();
    let picture = frame.picture().expect("a picture");
    assert!(picture.rows(0).all(|row| row.iter().all(|y| *y == 77)), "of one colour, it stays so");
    assert_eq!((picture.u[0], picture.v[0]), (90, 200));
    drop((frame, ends));
    hand.kill();
    rig.end();

    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut ends = rig.ends(&wiring);
    let mut edges = Attached::start(python("examples/edges.py"), &["rm/s/in/p/video0/raw"], |_| ());
    edges.hand.assign(&mut rig);
    edges.hand.dance(1, vec![Change::Add(wiring.task("edges"))]);
    send_picture(&mut ends.to, 77);
    let frame = ends.receive();
    let picture = frame.picture().expect("a picture");
    assert!(picture.rows(0).all(|row| row.iter().all(|y| *y == 0)), "without an edge");
    assert_eq!((picture.u[0], picture.v[0]), (128, 128));
    edges.leaves_on(Signal::SIGINT);
    drop((frame, ends));
    rig.end();

    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_AUDIO, 3840);
    let mut ends = rig.ends(&wiring);
    let mut tone = Attached::start(python("examples/test_tone.py"), &["s"], |_| ());
    tone.hand.assign(&mut rig);
    tone.hand.dance(1, vec![source(&wiring.output, Media::Audio)]);
    let mut meter =
        Attached::start(python("examples/level_meter.py"), &["rm/s/in/p/audio0/raw"], |_| ());
    meter.hand.assign(&mut rig);
    let task = Task { kind: TaskKind::Tap, output: None, ..wiring.task("") };
    meter.hand.dance(1, vec![Change::Add(task)]);
    // Fewer than the channel holds.
    for _ in 0..5 {
        let frame = ends.receive();
        let sound = frame.sound().expect("sound");
        let mut loan = ends.to.loan(sound.len() * 4).expect("a loan");
        loan.samples_mut().copy_from_slice(sound);
        loan.publish(*frame.meta()).expect("published");
    }
    meter.hand.beat(|counters| counters.received == 5);
    tone.leaves_on(Signal::SIGINT);
    meter.leaves_on(Signal::SIGINT);
    let mut shown = String::new();
    std::io::Read::read_to_string(&mut meter.lines, &mut shown).expect("text");
    assert!(shown.contains("-17.0 dB ####"), "a sine of 0.2: {shown:?}");
    drop(ends);
    rig.end();
}

#[test]
fn whoever_attaches_is_told_why_not_and_that_the_router_is_gone() {
    let mut tap = Attached::start(program("tap"), &["rm/s/in/p/video0/raw"], |_| ());
    tap.hand.say(&ToWorker::Denied { error: "there is no such channel".into() });
    assert_eq!(tap.hand.ended().code(), Some(1));
    assert!(tap.said().contains("the router refuses: there is no such channel"));

    let mut tap = Attached::start(program("tap"), &["rm/s/in/p/video0/raw"], |_| ());
    let socket = tap.hand.socket.as_ref().expect("open");
    socket.shutdown(std::net::Shutdown::Write).expect("closed");
    assert_eq!(tap.hand.ended().code(), Some(1));
    assert!(tap.said().contains("the router is gone"));

    // A router that does not answer `detach` is not waited for.
    let mut tap = Attached::start(program("tap"), &["rm/s/in/p/video0/raw"], |_| ());
    tap.signal(Signal::SIGINT);
    assert_eq!(tap.hand.answer(), ToRouter::Detach);
    assert_eq!(tap.hand.ended().code(), Some(0));

    for (arguments, code, says) in [
        (["tap", "rm/s/nonsense"], 2, "is not one of rm/<session>/in/"),
        (["tap", "rm/s/in/p/video0/raw"], 1, "cannot reach the router at /nobody/listens"),
        (["invert", ""], 2, "started by the remotemedia router"),
    ] {
        let mut command = program(arguments[0]);
        command.args(arguments.get(1).filter(|argument| !argument.is_empty()));
        command.env("REMOTEMEDIA_CONTROL", "/nobody/listens").env_remove("REMOTEMEDIA_CONTROL_FD");
        let told = command.output().expect("started");
        let said = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(code), "{said}");
        assert!(said.contains(says), "{said}");
    }
}

#[test]
fn a_producer_that_lies_is_counted_by_the_lie_and_costs_no_honest_frame() {
    let mut rig = Rig::new();
    let len = geometry().payload_len();
    let contract = Contract { capacity: 64, ..Contract::RAW_AUDIO };
    let wiring = rig.wire(1, contract, len as u32);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "invert");
    send_picture(&mut ends.to, 101);
    drop(ends.receive());
    let liar = liar::Liar::new(rig.host().namespace(), &wiring.input);
    let honest = {
        let mut meta = Meta::new(Content::Picture(geometry()));
        (meta.epoch, meta.generation, meta.sequence) = (1, 1, 1 << 40);
        meta.to_wire(len as u32)
    };
    type Lie = fn(&mut FrameHeader);
    let lies: [Lie; 8] = [
        |h| h.abi = 999,
        |h| h.payload_len = u32::MAX,
        |h| h.height = 8000,
        |h| h.planes[2].offset = u32::MAX,
        |h| h.stride_alignment = 0,
        |h| h.flags = u32::MAX,
        |h| h.stamp_count = 255,
        |h| h.sequence = 0,
    ];
    for lie in &lies {
        let mut header = honest;
        lie(&mut header);
        liar.send(&header, len);
    }
    liar.send_claiming(&honest, len, 1 << 40);
    liar.send_claiming(&honest, len, u64::MAX);
    let stale: [Lie; 3] = [|h| h.epoch = 0, |h| h.epoch = 2, |h| h.generation = 7];
    for change in stale {
        let mut header = honest;
        change(&mut header);
        liar.send(&header, len);
    }
    let counters = hand.beat(|c| dropped(c, DropReason::Malformed) == 10);
    assert_eq!(dropped(&counters, DropReason::Stale), 3);
    assert_eq!((counters.received, counters.errors), (1, 0), "the function saw none of it");
    for number in 102..=110 {
        send_picture(&mut ends.to, number);
        assert_eq!(ends.receive().picture().expect("a picture").y[0], 255 - number);
    }
    drop((liar, ends));
    hand.kill();
    rig.end();
}

#[test]
fn what_it_died_of_stands_where_the_router_can_read_it() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let marks = tempfile::tempfile().expect("a file");
    marks.set_len(MARKS_LEN as u64).expect("room");
    let mut command = program("die");
    let parent_fd = marks.try_clone().expect("a second one").into();
    // Far from those that the socket may have in this process.
    command.fd_mappings(vec![FdMapping { parent_fd, child_fd: 100 }]).expect("it is free");
    let mut hand = Hand::run({
        command.env("REMOTEMEDIA_MARKS_FD", "100");
        command
    });
    hand.greet();
    hand.assign(&mut rig);
    let mut ends = rig.ends(&wiring);
    hand.dance(1, vec![Change::Add(wiring.task("die"))]);
    let read = || {
        let mut bytes = vec![0; MARKS_LEN];
        marks.read_exact_at(&mut bytes, 0).expect("read");
        // Places that nobody took are zeros.
        Mark::all(&bytes[..MARK_LEN]).collect::<Vec<_>>()
    };
    for number in 60..66 {
        send_picture(&mut ends.to, number);
        drop(ends.receive());
    }
    hand.beat(|counters| counters.published == 6);
    send_picture(&mut ends.to, 66);
    assert_eq!(hand.ended().signal(), Some(9));
    assert_eq!(read(), [Mark { task: TaskId(7), node: Some(3), sequence: 6 }]);
    drop(ends);
    rig.end();
}

#[test]
fn it_ends_with_the_router_and_takes_no_other_build_for_one() {
    let mut hand = started("invert");
    hand.socket.as_ref().expect("open").shutdown(std::net::Shutdown::Write).expect("closed");
    assert_eq!(hand.ended().code(), Some(0), "what the router started has nobody to tell");

    let mut hand = Hand::run(program("invert"));
    let mut hello = b"RMCP".to_vec();
    hello.extend([1, 0, 0xff, 0, 0, 0, 2, 0, 0, 0]);
    hello.extend(b"{}");
    hand.socket.as_mut().expect("open").write_all(&hello).expect("written");
    assert_eq!(hand.ended().code(), Some(1));

    let (_ours, theirs) = UnixStream::pair().expect("a pair");
    let mut command = program("invert");
    command.env("REMOTEMEDIA_CONTROL_FD", "3").env("REMOTEMEDIA_ROUTER_PID", "1");
    let mapping = FdMapping { parent_fd: theirs.into(), child_fd: 3 };
    command.fd_mappings(vec![mapping]).expect("fd 3 is free");
    let told = command.output().expect("started");
    let said = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(1), "{said}");
    assert!(said.contains("the process that started it is gone"), "{said}");
}

/// A program that came by itself, and the connection that it opened.
struct Attached {
    hand: Hand,
    lines: BufReader<std::process::ChildStdout>,
    folder: tempfile::TempDir,
}

impl Attached {
    /// Starts it beside a socket that is the router's, and reads its wish.
    fn start(mut command: Command, arguments: &[&str], wish: impl Fn(Attach)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("router-1.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        let mut child = command
            .args(arguments)
            .env_remove("REMOTEMEDIA_CONTROL_FD")
            .env("REMOTEMEDIA_CONTROL", &path)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("stderr")).expect("a file"))
            .spawn()
            .expect("a process");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let socket = accepted(&listener, &mut child);
        let mut hand = Hand::holding(child, socket);
        hand.greet();
        match hand.answer() {
            ToRouter::Attach(wished) => wish(wished),
            other => panic!("{other:?}"),
        }
        Self { hand, lines, folder }
    }

    /// The next line that it prints.
    fn line(&mut self) -> String {
        let mut line = String::new();
        let mut fds = [PollFd::new(self.lines.get_ref().as_fd(), PollFlags::POLLIN)];
        if self.lines.buffer().is_empty() {
            let limit = PollTimeout::try_from(PATIENCE).expect("short enough");
            assert_eq!(poll(&mut fds, limit), Ok(1), "it prints nothing; {}", self.said());
        }
        self.lines.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }

    /// What it said to its user.
    fn said(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("stderr")).expect("text")
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.hand.child.id() as i32), signal).expect("sent");
    }

    /// It asks to be taken out, and goes when it is.
    fn leaves_on(&mut self, signal: Signal) {
        self.signal(signal);
        assert_eq!(self.hand.answer(), ToRouter::Detach);
        self.hand.say(&ToWorker::Release { session: session() });
        assert_eq!(self.hand.answer(), ToRouter::Released { session: session() });
        assert_eq!(self.hand.answer(), ToRouter::Drained);
        assert_eq!(self.hand.ended().code(), Some(0), "{}", self.said());
    }
}

fn accepted(listener: &UnixListener, child: &mut Child) -> UnixStream {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        if poll(&mut fds, PollTimeout::from(100u16)).expect("poll") == 1 {
            return listener.accept().expect("a connection").0;
        }
        assert!(child.try_wait().expect("a child").is_none(), "it ended and never came");
    }
    panic!("nobody attached");
}

fn source(output: &ChannelSpec, media: Media) -> Change {
    Change::Add(Task {
        id: TaskId(7),
        kind: TaskKind::Source { media },
        input: None,
        output: Some(ChannelSpec { index: ChannelIndex(1), ..output.clone() }),
        wake: String::new(),
        max_raw: output.max_payload,
        frame_limit_ms: 1000,
    })
}

fn raw(rig: &mut Rig, generation: u32) -> Wiring {
    rig.wire(generation, Contract::RAW_VIDEO, geometry().payload_len() as u32)
}

fn started(name: &str) -> Hand {
    let mut hand = Hand::run(program(name));
    hand.greet();
    hand
}

fn running(rig: &mut Rig, wiring: &Wiring, name: &str) -> (Hand, Ends) {
    let mut hand = started(name);
    hand.assign(rig);
    let ends = rig.ends(wiring);
    hand.dance(1, vec![Change::Add(wiring.task(name))]);
    (hand, ends)
}

/// A worker of `python/tests/program.py`.
fn program(name: &str) -> Command {
    let mut command = python("tests/program.py");
    command.arg(name);
    command
}

/// A program of `python/`.
fn python(path: &str) -> Command {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let python = root.join(".cache/python/bin/python");
    assert!(
        python.is_file(),
        "{} is not there: python/setup-tests makes the environment that Python workers run in",
        python.display()
    );
    let mut command = Command::new(python);
    command.arg(root.join("python").join(path));
    command
}
