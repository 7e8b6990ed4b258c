//! The worker as a process of its own, over real shared memory: this test is the router, and starts itself as the worker.

#![allow(clippy::unwrap_used, reason = "a test ends where it finds nothing")]

#[path = "../../worker-sdk/tests/support/mod.rs"]
mod support;

use remotemedia_shm_schema::contract::{DropReason, MAX_AUDIO_BLOCK};
use remotemedia_shm_schema::control::{
    Change, GraphNode, OnFailure, Task, TaskKind, ToRouter, ToWorker,
};
use remotemedia_shm_schema::{AudioGeometry, Content, Contract, Flags, Meta, NodeId, Stage};
use remotemedia_worker::{Frame, Outlet};
use std::process::ExitCode;
use support::{Ends, Hand, Rig, Wiring, dropped, geometry, send_picture, session};

/// Not a story: what the others start. Run among them it has nothing to do.
#[test]
fn the_worker_of_these_stories() {
    if std::env::var_os("REMOTEMEDIA_CONTROL_FD").is_some() {
        let code = remotemedia_pipeline_worker::main();
        std::process::exit(i32::from(code != ExitCode::SUCCESS));
    }
}

#[test]
fn pictures_pass_the_nodes_of_their_task_in_order_and_none_is_copied() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let nodes = [
        ("blur", "GaussianBlur", r#"{"sigma":3}"#),
        ("through", "Passthrough", "{}"),
        ("gray", "Grayscale", "{}"),
    ];
    let (mut hand, mut ends) = running(&mut rig, &wiring, &nodes);
    for number in 101..=130 {
        let sent = send_picture(&mut ends.to, number);
        let frame = ends.receive();
        assert_eq!(frame.meta().media_time_ns, sent.media_time_ns);
        let stages: Vec<Stage> = frame.meta().stamps.iter().map(|s| s.stage).collect();
        let node = Stage::Node;
        assert_eq!(stages, [Stage::Received, Stage::Assembled, node(0), node(1), node(2)]);
        let picture = frame.picture().unwrap();
        assert!(picture.rows(0).all(|row| row.iter().all(|y| *y == number)));
        assert!([1, 2].iter().all(|p| picture.rows(*p).all(|row| row.iter().all(|c| *c == 128))));
    }
    let counters = hand.beat(|c| c.published == 30);
    assert_eq!((counters.received, counters.copied_bytes, counters.errors), (30, 0, 0));
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn parameters_change_between_two_frames_and_bad_ones_change_nothing() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let (mut hand, mut ends) =
        running(&mut rig, &wiring, &[("o", "Overlay", r#"{"show":"text","text":""}"#)]);
    let covered = |ends: &mut Ends| {
        send_picture(&mut ends.to, 100);
        let frame = ends.receive();
        frame.picture().unwrap().rows(0).flatten().filter(|y| **y != 100).count()
    };
    assert_eq!(covered(&mut ends), 0);
    assert_eq!(set(&mut hand, "o", r#"{"text":"Hello"}"#), None);
    let small = covered(&mut ends);
    assert!(small > 0);
    assert_eq!(
        set(&mut hand, "o", r#"{"text":"Goodbye","position":"middle"}"#).unwrap(),
        "$.params.position: is the text `middle`; allowed are \"bottom_left\", \"bottom_right\", \
         \"top_left\", \"top_right\""
    );
    assert_eq!(covered(&mut ends), small);
    assert_eq!(set(&mut hand, "o", r#"{"text":"Goodbye"}"#), None);
    assert!(covered(&mut ends) > small);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_picture_gets_another_size_up_to_what_the_channel_has_room_for() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let small = r#"{"width":160,"height":100}"#;
    let (mut hand, mut ends) = running(&mut rig, &wiring, &[("s", "Scale", small)]);
    let size = |frame: &Frame| {
        let picture = frame.picture().unwrap();
        assert_eq!(frame.payload().len(), picture.geometry.payload_len());
        (picture.geometry.width, picture.geometry.height)
    };
    send_picture(&mut ends.to, 77);
    let frame = ends.receive();
    assert_eq!(size(&frame), (160, 100));
    // Between bars of five lines, which are cut to four.
    let picture = frame.picture().unwrap();
    let column: Vec<u8> = picture.rows(0).map(|row| row[80]).collect();
    assert_eq!((column[3], column[4], column[93], column[95]), (16, 77, 77, 16));
    drop(frame);
    // While it runs, up to the channel's size and not beyond.
    assert_eq!(set(&mut hand, "s", r#"{"width":null,"height":180}"#), None);
    send_picture(&mut ends.to, 78);
    let frame = ends.receive();
    assert_eq!((size(&frame), frame.picture().unwrap().y[0]), ((320, 180), 78));
    drop(frame);
    let why = set(&mut hand, "s", r#"{"height":182}"#).unwrap();
    assert!(why.starts_with("$.params: it makes 324x182, which has"), "{why}");
    send_picture(&mut ends.to, 79);
    assert_eq!(size(&ends.receive()), (320, 180));
    // What is empty says what it would have been.
    assert_eq!(set(&mut hand, "s", r#"{"width":80}"#), None);
    let mut end = Meta::new(Content::Picture(geometry()));
    end.flags = Flags::END;
    ends.to.publish_empty(end).unwrap();
    let frame = ends.receive();
    let Content::Picture(of) = frame.meta().content else { panic!("no picture") };
    assert_eq!((of.width, of.height, frame.payload().len()), (80, 180, 0));
    drop(frame);
    let counters = hand.beat(|c| c.published == 4);
    assert_eq!((counters.errors, counters.dropped.iter().sum::<u64>()), (0, 0));
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_size_without_room_is_refused_before_any_frame() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let mut hand = Hand::greeted(WORKER);
    hand.assign(&mut rig);
    let large = [("s", "Scale", r#"{"width":1280,"height":720}"#)];
    let ToRouter::Refused { error, .. } = hand.prepare(1, vec![Change::Add(task(&wiring, &large))])
    else {
        panic!("a picture that nobody can send was taken");
    };
    let room = geometry().payload_len();
    let why = format!(
        "s.params: it makes 1280x720, which has 1382400 bytes; `max_video` leaves room for {room}"
    );
    assert!(error.contains(&why), "{error}");
    hand.kill();
    rig.end();
}

#[test]
fn a_node_that_makes_nothing_of_a_picture_is_passed_by_with_another_size_where_it_says_so() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let nodes = [("c", "Crop", r#"{"x":320}"#), ("g", "Grayscale", "{}")];
    let mut bypassed = task(&wiring, &nodes);
    if let TaskKind::Graph { nodes } = &mut bypassed.kind {
        nodes[0].on_failure = OnFailure::Bypass;
    }
    let mut hand = Hand::greeted(WORKER);
    hand.assign(&mut rig);
    let mut ends = rig.ends(&wiring);
    hand.dance(1, vec![Change::Add(bypassed)]);
    send_picture(&mut ends.to, 50);
    let frame = ends.receive();
    let picture = frame.picture().unwrap();
    // Of its own size, through the other node, with that one's stamp alone.
    assert_eq!((picture.geometry.width, picture.y[0], picture.u[0]), (320, 50, 128));
    let stages: Vec<Stage> = frame.meta().stamps.iter().map(|s| s.stage).collect();
    assert_eq!(stages, [Stage::Received, Stage::Assembled, Stage::Node(1)]);
    drop(frame);
    let ToRouter::NodeError { node, error, .. } = hand.answer() else {
        panic!("the router was not told");
    };
    let why = "it leaves nothing of a picture of 320x180";
    assert_eq!((node.as_str(), error.as_str()), ("c", why));
    // And as soon as it can, it does.
    assert_eq!(set(&mut hand, "c", r#"{"x":160}"#), None);
    send_picture(&mut ends.to, 51);
    assert_eq!(ends.receive().picture().unwrap().geometry.width, 160);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn pictures_beyond_the_rate_are_left_out_and_the_mark_of_a_gap_is_not() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let nodes = [("r", "FrameRate", r#"{"fps":10}"#), ("g", "Grayscale", "{}")];
    let (mut hand, mut ends) = running(&mut rig, &wiring, &nodes);
    for number in 0..12u64 {
        let mut meta = Meta::new(Content::Picture(geometry()));
        meta.media_time_ns = 1 + number * 33_333_333;
        if number == 4 {
            meta.flags = Flags::DISCONTINUITY;
        }
        ends.to.loan(geometry().payload_len()).unwrap().publish(meta).unwrap();
        if number % 3 == 0 {
            let frame = ends.receive();
            assert_eq!(frame.meta().media_time_ns, meta.media_time_ns);
            assert_eq!(frame.meta().flags.contains(Flags::DISCONTINUITY), number == 6);
            assert_eq!(frame.missed(), 0);
        } else {
            // It has been looked at before the next one comes.
            hand.beat(|c| c.received == number + 1);
        }
    }
    let counters = hand.beat(|c| c.received == 12 && c.published == 4);
    assert_eq!((counters.errors, counters.dropped.iter().sum::<u64>()), (0, 0));
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn nodes_that_cannot_run_are_refused_before_any_frame_with_every_fault() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let mut hand = Hand::greeted(WORKER);
    hand.assign(&mut rig);
    let nodes = [("a", "GausianBlur", "{}"), ("b", "GaussianBlur", r#"{"sigma":0}"#)];
    let ToRouter::Refused { epoch: 1, error, .. } =
        hand.prepare(1, vec![Change::Add(task(&wiring, &nodes))])
    else {
        panic!("nodes that cannot run were taken");
    };
    assert!(error.contains("did you mean `GaussianBlur`?"), "{error}");
    assert!(error.contains("b.params.sigma: is 0; allowed is 0.1 to 50"), "{error}");
    // And the next attempt is none the worse.
    hand.dance(2, vec![Change::Add(task(&wiring, &[("b", "GaussianBlur", "{}")]))]);
    let mut ends = rig.ends(&wiring);
    send_picture(&mut ends.to, 77);
    assert_eq!(ends.receive().picture().unwrap().y[0], 77);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn sound_is_changed_and_its_lost_and_silent_periods_go_on_by_the_clock() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_AUDIO, MAX_AUDIO_BLOCK);
    let (mut hand, mut ends) = running(&mut rig, &wiring, &[("g", "Gain", r#"{"gain_db":-20}"#)]);
    send_sound(&mut ends.to, 48_000, 1, 0.5);
    let frame = ends.receive();
    assert!(frame.sound().unwrap().iter().all(|s| *s == 0.05));
    assert_eq!((frame.meta().media_time_ns, frame.meta().duration_ns), (1, 10_000_000));
    for (time, flag) in [(2, Flags::LOST), (3, Flags::SILENCE), (4, Flags::END)] {
        let meta = Meta { flags: flag, ..sound_meta(48_000, time) };
        ends.to.publish_empty(meta).unwrap();
        let frame = ends.receive();
        assert_eq!((frame.meta().flags, frame.meta().media_time_ns), (flag, time));
        assert!(frame.payload().is_empty());
    }
    hand.beat(|c| c.published == 4 && c.copied_bytes == 0);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn what_a_node_still_has_to_say_is_heard_in_periods_that_come_empty() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_AUDIO, MAX_AUDIO_BLOCK);
    let later = r#"{"delay_ms":15,"feedback":0,"mix":1}"#;
    let (mut hand, mut ends) = running(&mut rig, &wiring, &[("e", "Echo", later)]);
    let empty = |ends: &mut Ends, flag: Flags, time: u64| {
        let meta = Meta { flags: flag, ..sound_meta(48_000, time) };
        ends.to.publish_empty(meta).unwrap();
        ends.receive()
    };
    // Nothing was heard yet.
    let frame = empty(&mut ends, Flags::LOST, 1);
    assert_eq!((frame.meta().flags, frame.payload().len()), (Flags::LOST, 0));
    drop(frame);
    send_sound(&mut ends.to, 48_000, 2, 0.5);
    assert!(ends.receive().sound().unwrap().iter().all(|s| *s == 0.0));
    for (flag, time, halves) in [(Flags::LOST, 3, [0.0, 0.5]), (Flags::SILENCE, 4, [0.5, 0.0])] {
        let frame = empty(&mut ends, flag, time);
        assert_eq!((frame.meta().flags, frame.meta().media_time_ns), (Flags::default(), time));
        let sound = frame.sound().unwrap();
        assert_eq!((sound.len(), [sound[100], sound[400]]), (480, halves));
    }
    // The end is the end.
    let frame = empty(&mut ends, Flags::END, 5);
    assert_eq!((frame.meta().flags, frame.payload().len()), (Flags::END, 0));
    drop(frame);
    hand.beat(|c| c.published == 5 && c.errors == 0);
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn a_node_that_fails_on_sound_gives_silence_in_its_place_and_the_router_is_told() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_AUDIO, MAX_AUDIO_BLOCK);
    let (mut hand, mut ends) = running(&mut rig, &wiring, &[("n", "NoiseSuppression", "{}")]);
    send_sound(&mut ends.to, 44_100, 1, 0.5);
    let frame = ends.receive();
    assert!(frame.meta().flags.contains(Flags::SILENCE) && frame.payload().is_empty());
    let ToRouter::NodeError { node, error, .. } = hand.answer() else {
        panic!("the router was not told");
    };
    assert_eq!(
        (node.as_str(), error.as_str()),
        ("n", "sound has 44100 samples a second; 48000 are needed")
    );
    send_sound(&mut ends.to, 48_000, 2, 0.5);
    assert_eq!(ends.receive().sound().unwrap().len(), 480);
    let counters = hand.beat(|c| c.published == 2);
    assert_eq!((dropped(&counters, DropReason::NodeError), counters.errors), (1, 1));
    drop(ends);
    hand.kill();
    rig.end();
}

#[test]
fn media_of_the_wrong_kind_is_an_error_and_never_passes_unprocessed() {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let (mut hand, mut ends) = running(&mut rig, &wiring, &[("b", "GaussianBlur", "{}")]);
    send_sound(&mut ends.to, 48_000, 1, 0.5);
    hand.beat(|c| c.errors == 1 && c.published == 0);
    send_picture(&mut ends.to, 9);
    assert_eq!(ends.receive().picture().unwrap().y[0], 9);
    drop(ends);
    hand.kill();
    rig.end();
}

const WORKER: &str = "the_worker_of_these_stories";

fn task(wiring: &Wiring, nodes: &[(&str, &str, &str)]) -> Task {
    let nodes = nodes
        .iter()
        .zip(0u8..)
        .map(|((id, kind, params), number)| GraphNode {
            id: NodeId::new(*id).unwrap(),
            number,
            kind: (*kind).into(),
            params: (*params).into(),
            on_failure: OnFailure::Hold,
        })
        .collect();
    Task { kind: TaskKind::Graph { nodes }, ..wiring.task("") }
}

fn running(rig: &mut Rig, wiring: &Wiring, nodes: &[(&str, &str, &str)]) -> (Hand, Ends) {
    let mut hand = Hand::greeted(WORKER);
    hand.assign(rig);
    let ends = rig.ends(wiring);
    hand.dance(1, vec![Change::Add(task(wiring, nodes))]);
    (hand, ends)
}

/// Sets parameters and gives what the worker has against them.
fn set(hand: &mut Hand, node: &str, params: &str) -> Option<String> {
    hand.say(&ToWorker::Params {
        session: session(),
        node: NodeId::new(node).unwrap(),
        params: params.into(),
        request: 1,
    });
    match hand.answer() {
        ToRouter::Applied { error, .. } => error,
        other => panic!("no answer but {other:?}"),
    }
}

fn sound_meta(rate: u32, time: u64) -> Meta {
    let mut meta = Meta::new(Content::Sound(AudioGeometry { rate, channels: 1, samples: 480 }));
    (meta.media_time_ns, meta.duration_ns) = (time, 10_000_000);
    meta
}

fn send_sound(outlet: &mut Outlet, rate: u32, time: u64, level: f32) {
    let mut loan = outlet.loan(480 * 4).unwrap();
    loan.samples_mut().fill(level);
    loan.publish(sound_meta(rate, time)).unwrap();
}
