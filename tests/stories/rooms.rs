//! Who sees whom.

use crate::router::{Router, eventually, kill, report};
use nix::sys::signal::Signal;

#[test]
fn two_peers_of_a_room_see_each_other_and_two_rooms_stay_apart() {
    let router = Router::start();
    let peer = |session: &str, id: &str| {
        router.spawn_call(&[
            "--session",
            session,
            "--peer-id",
            id,
            "--video",
            "pattern",
            "--audio",
            "ticks",
            "--size",
            "320x180",
            "--seconds",
            "6",
        ])
    };
    let calls =
        [peer("red", "anna"), peer("red", "bert"), peer("blue", "cara"), peer("blue", "dora")];
    let reports = calls.map(|call| report(&call.wait_with_output().unwrap()));
    for (own, other) in [(0, "bert"), (1, "anna"), (2, "dora"), (3, "cara")] {
        let peers = reports[own]["peers"].as_object().unwrap();
        let seen: Vec<&String> = peers.keys().collect();
        assert_eq!(seen, [other], "{}", reports[own]);
        assert!(peers[other]["video"]["received"].as_u64().unwrap() > 30, "{}", reports[own]);
        assert_eq!(peers[other]["video"]["out_of_order"], 0, "{}", reports[own]);
        assert!(peers[other]["audio"]["received"].as_u64().unwrap() > 0, "{}", reports[own]);
    }
    router.stop();
}

#[test]
fn a_peer_that_vanishes_from_a_room_leaves_its_seat_and_the_other_stays() {
    let mut router = Router::with("grace_seconds = 1\n", &[]);
    let peer = |router: &Router, id: &str| {
        router.spawn_call(&[
            "--session",
            "red",
            "--peer-id",
            id,
            "--video",
            "pattern",
            "--size",
            "320x180",
            "--seconds",
            "60",
        ])
    };
    let (anna, mut bert) = (peer(&router, "anna"), peer(&router, "bert"));
    eventually("two peers that see each other", || {
        let sessions = router.sessions();
        let members = sessions["sessions"][0]["members"].as_array()?;
        let sends = |m: &serde_json::Value| m["media"]["sends"].as_array().map(Vec::len);
        let both = members.len() == 2 && members.iter().all(|m| sends(m) >= Some(1));
        (both && sessions["load"]["peers"] == 2).then_some(())
    });
    kill(bert.id() as i32, Signal::SIGKILL);
    bert.wait().unwrap();
    eventually("his seat", || (router.sessions()["load"]["peers"] == 1).then_some(()));
    assert_eq!(router.sessions()["sessions"][0]["members"].as_array().map(Vec::len), Some(1));
    kill(anna.id() as i32, Signal::SIGINT);
    let report = report(&anna.wait_with_output().unwrap());
    assert!(report["video"]["sent"].as_u64().unwrap() > 30, "her call went on: {report}");
    router.wait_for_sessions(0);
    router.stop();
}
