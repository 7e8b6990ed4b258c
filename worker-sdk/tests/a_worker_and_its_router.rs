//! Two real processes: this test is the router, and starts itself again as the worker.

#[path = "support/liar.rs"]
mod liar;
mod support;
#[path = "support/worker.rs"]
mod worker;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use remotemedia_worker::schema::contract::DropReason;
use remotemedia_worker::schema::control::{
    Change, KeyframeReason, Role, TaskId, TaskKind, ToRouter, ToWorker,
};
use remotemedia_worker::schema::{Content, Contract, Flags, FrameHeader, Meta, Stage};
use std::io::Write;
use std::process::{Command, Stdio};
use support::{Hand, Rig, dropped, geometry, send_picture, send_unit, session};

const WORKER: &str = "the_worker_of_these_stories";

/// Not a story: what the others start. Run among them it has nothing to do.
#[test]
fn the_worker_of_these_stories() {
    if let Some(code) = worker::act() {
        std::process::exit(if code == std::process::ExitCode::from(2) { 2 } else { 1 });
    }
}

fn raw(rig: &mut Rig, generation: u32) -> support::Wiring {
    rig.wire(generation, Contract::RAW_VIDEO, geometry().payload_len() as u32)
}

fn running(rig: &mut Rig, wiring: &support::Wiring, kind: &str) -> (Hand, support::Ends) {
    let mut hand = Hand::greeted(WORKER);
    hand.assign(rig);
    let ends = rig.ends(wiring);
    hand.dance(1, vec![Change::Add(wiring.task(kind))]);
    (hand, ends)
}

#[test]
fn pictures_come_back_gray_in_order_and_with_their_times() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "gray");
    let hello = hand.hello.clone().expect("greeted");
    assert_eq!((hello.role, hello.pid), (Role::Pipeline, hand.child.id()));
    for number in 101..=160 {
        let sent = send_picture(&mut ends.to, number);
        let frame = ends.receive();
        let meta = frame.meta();
        assert_eq!(meta.sequence, u64::from(number) - 101, "each in its turn");
        assert_eq!((meta.epoch, meta.generation), (1, 1));
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
        assert!(picture.rows(0).all(|row| row.len() == 320 && row.iter().all(|y| *y == number)));
        for chroma in [1, 2] {
            assert!(picture.rows(chroma).all(|row| row.iter().all(|c| *c == 128)), "gray");
        }
        assert_eq!(frame.missed(), 0);
    }
    let counters = hand.beat(|counters| counters.published == 60);
    assert_eq!(counters.received, 60);
    assert_eq!((counters.errors, counters.dropped), (0, [0; 10]));
    assert_eq!(counters.copied_bytes, 60 * 320 * 180 * 3 / 2, "what the node told of its copies");
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_new_wiring_goes_on_with_the_same_processor_and_the_old_one_is_left_behind() {
    let mut rig = Rig::new();
    let first = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &first, "gray");
    hand.say(&ToWorker::Params {
        session: session(),
        node: "node".parse().expect("an id"),
        params: "count".into(),
        request: 5,
    });
    assert_eq!(hand.answer(), ToRouter::Applied { session: session(), request: 5, error: None });
    for number in 1..=3 {
        send_picture(&mut ends.to, 100);
        assert_eq!(ends.receive().picture().expect("a picture").y[0], number);
    }
    // Fresh services under the next generation, as when the process behind the output was replaced. The task's own
    // wake-up stays: its thread does.
    let mut second = raw(&mut rig, 2);
    second.input.wakes = first.input.wakes.clone();
    let mut fresh = rig.ends(&second);
    let rewire = Change::Rewire {
        task: TaskId(7),
        input: Some(second.input.clone()),
        output: Some(second.output.clone()),
    };
    assert_eq!(hand.prepare(2, vec![rewire]), ToRouter::Ready { session: session(), epoch: 2 });
    // Prepared is not in force: frames still take the old way.
    send_picture(&mut ends.to, 100);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 4);
    hand.switch(2);
    for number in 5..=8 {
        send_picture(&mut fresh.to, 100);
        let frame = fresh.receive();
        assert_eq!(frame.picture().expect("a picture").y[0], number, "its state went along");
        assert_eq!((frame.meta().epoch, frame.meta().generation), (2, 2));
    }
    let counters = hand.beat(|counters| counters.published == 8);
    assert_eq!(counters.received, 8, "counted over both wirings");
    assert!(ends.from.receive().is_none(), "nothing goes the old way");
    drop((ends, fresh));
    hand.kill();
    rig.end();
}

#[test]
fn only_one_side_of_a_task_can_be_rewired_and_its_other_port_stays_open() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "gray");
    send_picture(&mut ends.to, 50);
    assert_eq!(ends.receive().meta().sequence, 0);
    let mut second = raw(&mut rig, 2);
    second.input.wakes = wiring.input.wakes.clone();
    let mut to = rig.outlet(&second.input);
    let (input, output) = (second.input.clone(), wiring.output.clone());
    let (input, output) = (Some(input), Some(output));
    hand.dance(2, vec![Change::Rewire { task: TaskId(7), input, output }]);
    send_picture(&mut to, 51);
    let frame = ends.receive();
    assert_eq!(frame.meta().sequence, 1, "the producer goes on where it was");
    assert_eq!(frame.picture().expect("a picture").y[0], 51);
    let counters = hand.beat(|counters| counters.published == 2);
    assert_eq!(counters.received, 2);
    drop((frame, ends, to));
    hand.kill();
    rig.end();
}

#[test]
fn a_wiring_that_cannot_be_opened_is_refused_and_the_old_one_goes_on() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "gray");
    let mut elsewhere = wiring.output.clone();
    elsewhere.service = "nobody made this".replace(' ', "-");
    let (input, output) = (Some(wiring.input.clone()), Some(elsewhere));
    let rewire = Change::Rewire { task: TaskId(7), input, output };
    for (epoch, changes, says) in [
        (2, vec![rewire], "nobody-made-this"),
        (3, vec![Change::Remove(TaskId(99))], "there is no task 99"),
        (4, vec![Change::Add(wiring.task("gray"))], "task 7 is there already"),
    ] {
        match hand.prepare(epoch, changes) {
            ToRouter::Refused { epoch: of, error, .. } => {
                assert_eq!(of, epoch);
                assert!(error.contains(says), "{error}");
            }
            other => panic!("{other:?}"),
        }
        // A router that switches all the same gets nothing new.
        hand.switch(epoch);
        send_picture(&mut ends.to, 77);
        assert_eq!(ends.receive().picture().expect("a picture").y[0], 77);
    }
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_task_that_the_worker_cannot_make_is_refused_with_the_reason() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut hand = Hand::greeted(WORKER);
    hand.assign(&mut rig);
    let mut decode = wiring.task("gray");
    decode.kind = TaskKind::Decode { codec: "vp8".parse().expect("a codec") };
    for (epoch, task, says) in [
        (1, decode, "only graphs"),
        (2, wiring.task("mystery"), "mystery"),
        (3, wiring.task("impossible"), "nobody can make this"),
    ] {
        match hand.prepare(epoch, vec![Change::Add(task)]) {
            ToRouter::Refused { error, .. } => assert!(error.contains(says), "{error}"),
            other => panic!("{other:?}"),
        }
    }
    // Each refusal gave its ports back: the fourth finds room.
    let mut ends = rig.ends(&wiring);
    hand.dance(4, vec![Change::Add(wiring.task("gray"))]);
    send_picture(&mut ends.to, 1);
    ends.receive();
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_prepared_task_waits_until_it_is_switched_and_an_abandoned_one_goes_away() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let mut ends = rig.ends(&wiring);
    let mut hand = Hand::greeted(WORKER);
    hand.assign(&mut rig);
    let ready = |epoch| ToRouter::Ready { session: session(), epoch };
    assert_eq!(hand.prepare(1, vec![Change::Add(wiring.task("gray"))]), ready(1));
    hand.say(&ToWorker::Abandon { session: session(), epoch: 1 });
    hand.switch(1);
    assert_eq!(hand.prepare(2, vec![Change::Add(wiring.task("gray"))]), ready(2));
    send_picture(&mut ends.to, 5);
    let counters = hand.beat(|_| true);
    assert_eq!(counters.received, 0, "it holds its ports and reads nothing");
    hand.switch(2);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 5, "what waited is read then");
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_processor_that_panics_costs_one_frame() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "gray");
    for number in [12, 13, 14] {
        send_picture(&mut ends.to, number);
        if number != 13 {
            let frame = ends.receive();
            assert_eq!(frame.picture().expect("a picture").y[0], number);
        } else {
            hand.beat(|counters| counters.errors == 1);
        }
    }
    let counters = hand.beat(|counters| counters.published == 2);
    assert_eq!((counters.received, counters.errors), (3, 1));
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_reader_that_stalls_does_not_stop_the_writer_and_counts_what_it_missed() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "gray");
    send_picture(&mut ends.to, 1);
    assert_eq!(ends.receive().missed(), 0);
    // This reader holds one picture and does not look at the next nine.
    for number in 2..=10 {
        send_picture(&mut ends.to, number);
        hand.beat(|counters| counters.published == u64::from(number));
    }
    let frame = ends.receive();
    assert_eq!(frame.picture().expect("a picture").y[0], 9, "two wait, the newest ones");
    assert_eq!(frame.missed(), 7);
    assert_eq!(ends.receive().picture().expect("a picture").y[0], 10);
    assert_eq!(ends.from.counters().dropped[DropReason::Overflow.index()], 7);
    drop((frame, ends));
    hand.kill();
    rig.end();
}

#[test]
fn after_an_overflow_of_coded_video_nothing_passes_but_a_keyframe_and_one_is_asked_for() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::ENCODED_VIDEO, 4096);
    let mut ends = rig.ends(&wiring);
    let mut hand = Hand::greeted(WORKER);
    hand.assign(&mut rig);
    let add = Change::Add(wiring.task("echo"));
    let ready = ToRouter::Ready { session: session(), epoch: 1 };
    assert_eq!(hand.prepare(1, vec![add]), ready);
    // It holds its ports and does not read yet: the channel takes eight, two go over.
    send_unit(&mut ends.to, 0, true);
    for number in 1..10 {
        send_unit(&mut ends.to, number, false);
    }
    hand.switch(1);
    let wanted = ToRouter::KeyframeWanted {
        session: session(),
        channel: wiring.input.index,
        epoch: 1,
        reason: KeyframeReason::Overflow,
    };
    assert_eq!(hand.answer(), wanted);
    let counters = hand.beat(|counters| dropped(counters, DropReason::AwaitingKeyframe) == 8);
    assert_eq!((counters.received, counters.published), (0, 0));
    send_unit(&mut ends.to, 10, true);
    send_unit(&mut ends.to, 11, false);
    for number in [10, 11] {
        let frame = ends.receive();
        assert_eq!(frame.payload(), [number; 4], "as long as the encoder said");
        assert_eq!(frame.meta().flags.contains(Flags::KEYFRAME), number == 10);
    }
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_decoder_that_lost_its_state_asks_for_a_keyframe_and_is_made_anew() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::ENCODED_AUDIO, 4096);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "echo");
    send_unit(&mut ends.to, 99, true);
    let wanted = ToRouter::KeyframeWanted {
        session: session(),
        channel: wiring.input.index,
        epoch: 1,
        reason: KeyframeReason::Decoder,
    };
    assert_eq!(hand.answer(), wanted);
    send_unit(&mut ends.to, 1, true);
    assert_eq!(ends.receive().payload(), [1; 4]);
    assert_eq!(hand.beat(|counters| counters.published == 1).errors, 1);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn keyframe_rate_and_parameters_reach_the_task_that_they_are_for() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::ENCODED_AUDIO, 4096);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "echo");
    let (session_id, channel, epoch) = (session(), wiring.output.index, 1);
    hand.say(&ToWorker::Bitrate {
        session: session_id.clone(),
        channel,
        epoch,
        bits_per_second: 300_000,
    });
    let reason = KeyframeReason::Viewer;
    hand.say(&ToWorker::Keyframe { session: session_id.clone(), channel, epoch, reason });
    for (node, params, request, says) in
        [("node", "{}", 8, None), ("other", "{}", 9, Some("no task here runs the node `other`"))]
    {
        let node = node.parse().expect("an id");
        hand.say(&ToWorker::Params {
            session: session_id.clone(),
            node,
            params: params.into(),
            request,
        });
        // The answer also tells that what was said before it has arrived.
        let error = says.map(str::to_owned);
        assert_eq!(
            hand.answer(),
            ToRouter::Applied { session: session_id.clone(), request, error }
        );
    }
    send_unit(&mut ends.to, 1, false);
    send_unit(&mut ends.to, 2, false);
    let first = ends.receive();
    assert!(first.meta().flags.contains(Flags::KEYFRAME));
    assert_eq!(first.meta().duration_ns, 300_000);
    drop(first);
    assert!(!ends.receive().meta().flags.contains(Flags::KEYFRAME), "once");
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_producer_that_lies_is_counted_by_the_lie_and_costs_no_honest_frame() {
    let mut rig = Rig::new();
    let contract = Contract { capacity: 64, ..Contract::RAW_AUDIO };
    let len = geometry().payload_len();
    let wiring = rig.wire(1, contract, len as u32);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "gray");
    send_picture(&mut ends.to, 101);
    ends.receive();
    let liar = liar::Liar::new(rig.host().namespace(), &wiring.input);
    let honest = {
        let mut meta = Meta::new(Content::Picture(geometry()));
        (meta.epoch, meta.generation, meta.sequence) = (1, 1, 1 << 40);
        meta.to_wire(len as u32)
    };
    type Lie = fn(&mut FrameHeader);
    let lies: [(&str, Lie); 10] = [
        ("another ABI", |h| h.abi = 999),
        ("more payload than there is", |h| h.payload_len += 1),
        ("all payload there could be", |h| h.payload_len = u32::MAX),
        ("a picture that is higher than its payload", |h| h.height = 8000),
        ("a plane behind the end", |h| h.planes[2].offset = u32::MAX),
        ("rows that overlap", |h| h.planes[0].stride = 64),
        ("no alignment", |h| h.stride_alignment = 0),
        ("flags that nobody knows", |h| h.flags = u32::MAX),
        ("more stamps than fit", |h| h.stamp_count = 255),
        ("an old place in the order", |h| h.sequence = 0),
    ];
    for (_, lie) in &lies {
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
    let counters = hand.beat(|c| dropped(c, DropReason::Malformed) == 12);
    assert_eq!(dropped(&counters, DropReason::Stale), 3);
    assert_eq!((counters.received, counters.errors), (1, 0), "the processor saw none of it");
    for number in 102..=110 {
        send_picture(&mut ends.to, number);
        assert_eq!(ends.receive().picture().expect("a picture").y[0], number);
    }
    drop((liar, ends));
    hand.kill();
    rig.end();
}

#[test]
fn a_released_session_takes_its_ports_and_threads_along_and_the_worker_lives_on() {
    let mut rig = Rig::new();
    let before = rig.host().objects().expect("a listing");
    let wiring = raw(&mut rig, 1);
    let (mut hand, ends) = running(&mut rig, &wiring, "gray");
    hand.say(&ToWorker::Release { session: session() });
    assert_eq!(hand.answer(), ToRouter::Released { session: session() });
    let threads = std::fs::read_dir(format!("/proc/{}/task", hand.child.id())).expect("proc");
    let names: Vec<String> = threads
        .flatten()
        .filter_map(|t| std::fs::read_to_string(t.path().join("comm")).ok())
        .collect();
    assert!(!names.iter().any(|name| name.starts_with("graph")), "{names:?}");
    loop {
        if let ToRouter::Heartbeat { threads, .. } = hand.next() {
            assert!(threads.is_empty());
            break;
        }
    }
    drop(ends);
    for service in
        [&wiring.input.service, &wiring.output.service, &wiring.task_wake, &wiring.own_wake]
    {
        let residue = rig.host().forget(service);
        assert_eq!(residue, Vec::<u128>::new(), "all ports were given back");
    }
    let after = rig.host().objects().expect("a listing");
    // One management object and empty folders are what iceoryx2 leaves even of an orderly end.
    assert!(after.count <= before.count + 4, "{before:?} {after:?} {:?}", rig.objects());
    hand.kill();
    rig.end();
}

#[test]
fn killed_in_mid_frame_it_leaves_nothing_behind_after_the_sweep() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, mut ends) = running(&mut rig, &wiring, "gray");
    for number in 20..40 {
        send_picture(&mut ends.to, number);
    }
    hand.beat(|counters| counters.received > 0);
    hand.kill();
    assert!(!rig.objects().is_empty(), "its residue stands until the sweep");
    // The router's own ports do not care.
    for number in 20..40 {
        send_picture(&mut ends.to, number);
        let _ = ends.from.receive();
    }
    drop(ends);
    rig.end();
}

#[test]
fn killed_while_it_attaches_it_leaves_nothing_behind_after_the_sweep() {
    for round in 0..12 {
        let mut rig = Rig::new();
        let wiring = raw(&mut rig, 1);
        let ends = rig.ends(&wiring);
        let mut hand = Hand::greeted(WORKER);
        let namespace = rig.host().namespace().clone();
        hand.say(&ToWorker::Assign { session: session(), namespace });
        let changes = vec![Change::Add(wiring.task("gray"))];
        hand.say(&ToWorker::Prepare { session: session(), epoch: 1, changes });
        // Each round lets it come a little further: a busy loop, since no event marks these points.
        for _ in 0..round * 20_000 {
            std::hint::spin_loop();
        }
        hand.kill();
        drop(ends);
        rig.end();
    }
}

#[test]
fn it_ends_at_once_when_the_router_is_gone() {
    let mut rig = Rig::new();
    let wiring = raw(&mut rig, 1);
    let (mut hand, ends) = running(&mut rig, &wiring, "gray");
    let socket = hand.socket.as_ref().expect("open");
    socket.shutdown(std::net::Shutdown::Write).expect("closed");
    assert_eq!(hand.ended().code(), Some(0));
    drop(ends);
    rig.end();
}

#[test]
fn the_example_inverts_and_ends_in_order_when_drained_or_terminated_and_ctrl_c_is_not_for_it() {
    for by_signal in [false, true] {
        let mut rig = Rig::new();
        let wiring = raw(&mut rig, 1);
        let mut ends = rig.ends(&wiring);
        // A program of its own: in this one the test harness's main thread would take the signals.
        let mut hand = Hand::run(Command::new(support::example("invert")));
        hand.greet();
        hand.assign(&mut rig);
        hand.dance(1, vec![Change::Add(wiring.task("invert"))]);
        let pid = Pid::from_raw(hand.child.id() as i32);
        kill(pid, Signal::SIGINT).expect("sent");
        send_picture(&mut ends.to, 9);
        let frame = ends.receive();
        let picture = frame.picture().expect("a picture");
        let first = |plane| picture.rows(plane).next().expect("a row")[0];
        assert_eq!([first(0), first(1), first(2)], [246, 165, 55]);
        if by_signal {
            kill(pid, Signal::SIGTERM).expect("sent");
        } else {
            hand.say(&ToWorker::Drain);
        }
        assert_eq!(hand.answer(), ToRouter::Released { session: session() });
        assert_eq!(hand.answer(), ToRouter::Drained);
        assert_eq!(hand.ended().code(), Some(0));
        drop((frame, ends));
        rig.end();
    }
}

#[test]
fn a_router_of_another_build_or_none_at_all_is_told_apart() {
    // Another ABI in the greeting.
    let mut hand = Hand::start(WORKER);
    let mut hello = b"RMCP".to_vec();
    hello.extend([1, 0, 0xff, 0, 0, 0, 2, 0, 0, 0]);
    hello.extend(b"{}");
    hand.socket.as_mut().expect("open").write_all(&hello).expect("written");
    assert_eq!(hand.ended().code(), Some(1));
    // Rubbish after the greeting.
    let mut hand = Hand::greeted(WORKER);
    hand.socket.as_mut().expect("open").write_all(&[0xff; 64]).expect("written");
    assert_eq!(hand.ended().code(), Some(1));
    // Started by hand.
    let by_hand = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", WORKER, "--nocapture"])
        .env("REMOTEMEDIA_CONTROL_FD", "77")
        .stdout(Stdio::null())
        .output()
        .expect("started");
    assert_eq!(by_hand.status.code(), Some(2));
    let said = String::from_utf8_lossy(&by_hand.stderr);
    assert!(said.contains("started by the remotemedia router"), "{said}");
}
