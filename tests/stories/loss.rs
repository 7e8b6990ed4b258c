//! Calls over a bad path: the picture moves on and comes back, sound is concealed, nothing storms.

use crate::relay::{Conditions, Counts, Relay, Side};
use crate::router::{Router, eventually, report};
use serde_json::Value;

/// Packets of sound in a second.
const SOUND: u64 = 50;
/// Pictures that a call may miss at its begin, until the path stands, and at its end, still under way.
const EDGES: u64 = 45;
/// A tick is heard about ten times a second.
const TICKS: f64 = 48_000.0 / 4_877.0;
const SECONDS: u64 = 6;

fn call(relay: &Relay, codec: &str) -> std::process::Child {
    let seconds = SECONDS.to_string();
    relay.spawn_call(&[
        "--video",
        "pattern",
        "--audio",
        "ticks",
        "--size",
        "320x180",
        "--codec",
        codec,
        "--seconds",
        &seconds,
    ])
}

/// The router's count of a kind's stream from the only peer, by name.
fn receives(router: &mut Router, kind: &str, counter: &str) -> u64 {
    let sessions = router.sessions();
    sessions["sessions"][0]["members"][0]["media"]["receives"][kind][counter].as_u64().unwrap_or(0)
}

fn number(report: &Value, path: &str) -> u64 {
    report.pointer(path).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {path}: {report}"))
}

/// What holds at the end of a call, whatever was lost on its way.
fn carried_on(report: &Value, least_share: f64) {
    let video = |name: &str| number(report, &format!("/video/{name}"));
    let (sent, received) = (video("sent"), video("received"));
    assert!(sent >= 20 * SECONDS, "{report}");
    assert!(received as f64 >= least_share * sent as f64, "{received} of {sent} came: {report}");
    assert_eq!(video("out_of_order"), 0, "{report}");
    assert!(video("unreadable") * 20 <= received, "the picture stays broken: {report}");
    // From the first number that came to the last.
    let span = received - video("unreadable") - video("duplicates") + video("lost");
    assert!(span + EDGES >= sent, "the picture stands still at the end: {report}");
    let ticks = |name: &str| number(report, &format!("/audio/ticks/{name}"));
    assert!(ticks("received") > 0, "{report}");
    let heard = (ticks("received") + ticks("lost")) as f64;
    assert!(heard >= TICKS * (SECONDS as f64 - 1.5), "the sound ends early: {report}");
}

/// What was lost is sent again.
fn is_repaired(counts: Counts) {
    assert!(counts.dropped > 0, "nothing was lost: {counts:?}");
    assert!(counts.again > 0, "nothing was sent again: {counts:?}");
}

/// And not more than that.
fn does_not_storm(counts: Counts) {
    let first = counts.sound + counts.picture;
    assert!(counts.again * 2 <= first, "too much was sent again: {counts:?}");
}

fn survives(codec: &str, seed: u64, conditions: Conditions) {
    let mut router = Router::start();
    let relay = Relay::start(&router, seed, conditions);
    let call = call(&relay, codec);
    eventually("a concealed period of sound", || {
        (receives(&mut router, "audio", "lost") > 0).then_some(())
    });
    let report = report(&call.wait_with_output().unwrap());
    let counts = [Side::Router, Side::Peer].map(|side| relay.towards(side));
    eprintln!("{codec} {conditions:?}\n{counts:?}\n{report}");
    carried_on(&report, 0.6);
    assert!(number(&report, "/audio/concealed") > 0, "{report}");
    counts.into_iter().for_each(is_repaired);
    counts.into_iter().for_each(does_not_storm);
    router.stop();
}

#[test]
fn a_path_that_loses_one_packet_in_twenty_carries_a_vp8_call() {
    survives("vp8", 1, Conditions::loss(0.05));
}

#[test]
fn a_path_that_loses_reorders_and_doubles_carries_a_vp8_call() {
    survives("vp8", 2, Conditions { loss: 0.05, reorder: 0.05, duplicate: 0.01 });
}

#[test]
fn a_path_that_loses_one_packet_in_twenty_carries_an_h264_call() {
    survives("h264", 3, Conditions::loss(0.05));
}

#[test]
fn a_second_of_heavy_loss_is_over_with_a_keyframe() {
    let mut router = Router::start();
    let relay = Relay::start(&router, 4, Conditions::default());
    let call = call(&relay, "vp8");
    let sound = || relay.towards(Side::Router).sound;
    eventually("a call that flows", || {
        (receives(&mut router, "video", "units") > 30 && sound() > SOUND).then_some(())
    });
    let keyframes = receives(&mut router, "video", "keyframe_requests");
    let begin = sound();
    relay.set(Conditions::loss(0.4));
    eventually("a second of it", || (sound() >= begin + SOUND).then_some(()));
    relay.set(Conditions::default());
    let units = receives(&mut router, "video", "units");
    eventually("pictures after it", || {
        (receives(&mut router, "video", "units") > units + 60).then_some(())
    });
    let asked = receives(&mut router, "video", "keyframe_requests") - keyframes;
    let report = report(&call.wait_with_output().unwrap());
    let counts = [Side::Router, Side::Peer].map(|side| relay.towards(side));
    eprintln!("burst: {asked} keyframes asked for\n{counts:?}\n{report}");
    carried_on(&report, 0.5);
    assert!(asked > 0, "{report}");
    // While pictures stand still for want of a keyframe, hardly any are sent back.
    is_repaired(counts[0]);
    counts.into_iter().for_each(does_not_storm);
    router.stop();
}
