//! How calls end, and what is left of them: nothing.

use crate::router::{Router, eventually, kill, report};
use nix::sys::signal::Signal;

const CALL: [&str; 6] = ["--video", "pattern", "--audio", "ticks", "--size", "320x180"];

fn calling(router: &Router, seconds: &str) -> std::process::Child {
    router.spawn_call(&[&CALL[..], &["--seconds", seconds]].concat())
}

fn flowing(router: &mut Router) -> serde_json::Value {
    eventually("media in both directions", || {
        let sessions = router.sessions();
        let sent = sessions["sessions"][0]["members"][0]["media"]["sends"].as_array().cloned();
        let flows = sent.is_some_and(|sent| {
            sent.len() == 2 && sent.iter().all(|s| s["frames"].as_u64().unwrap_or(0) > 10)
        });
        flows.then_some(sessions)
    })
}

#[test]
fn a_peer_that_says_goodbye_is_gone_with_all_that_it_used() {
    let mut router = Router::start();
    let call = calling(&router, "3");
    flowing(&mut router);
    report(&call.wait_with_output().unwrap());
    let after = router.wait_for_sessions(0);
    let receipt = &after["receipts"][0];
    assert_eq!(receipt["cause"], "the last peer left", "{receipt}");
    assert_eq!(receipt["workers_reaped"], 3, "{receipt}");
    assert_eq!(receipt["left"].as_array().unwrap().len(), 0, "{receipt}");
    router.stop();
}

#[test]
fn a_peer_that_vanishes_is_suspended_and_then_gone_at_the_end_of_its_grace() {
    let mut router = Router::with("grace_seconds = 3\n", &[]);
    let mut call = calling(&router, "60");
    flowing(&mut router);
    kill(call.id() as i32, Signal::SIGKILL);
    call.wait().unwrap();
    eventually("its suspension", || {
        (router.sessions()["sessions"][0]["state"] == "suspended").then_some(())
    });
    let after = router.wait_for_sessions(0);
    assert_eq!(after["receipts"][0]["cause"], "the last peer left");
    router.stop();
}

#[test]
fn a_killed_codec_worker_does_not_end_the_call() {
    survives("codec");
}

#[test]
fn a_killed_pipeline_worker_does_not_end_the_call() {
    survives("pipeline");
}

fn survives(role: &str) {
    let mut router = Router::start();
    let call = calling(&router, "8");
    let before = flowing(&mut router);
    let worker = |sessions: &serde_json::Value| {
        let workers = sessions["sessions"][0]["workers"].as_array().unwrap().clone();
        workers.into_iter().find(|w| w["role"] == role)
    };
    let pid = worker(&before).unwrap()["pid"].as_i64().unwrap();
    kill(pid as i32, Signal::SIGKILL);
    let after = eventually("the next generation", || {
        let sessions = router.sessions();
        worker(&sessions).filter(|w| w["generation"] == 2).map(|_| sessions)
    });
    let frames = |sessions: &serde_json::Value| {
        let sent = sessions["sessions"][0]["members"][0]["media"]["sends"].as_array().unwrap();
        sent.iter().map(|s| s["frames"].as_u64().unwrap()).min().unwrap()
    };
    let sent = frames(&after);
    eventually("media of the next generation", || {
        (frames(&router.sessions()) > sent + 20).then_some(())
    });
    let report = report(&call.wait_with_output().unwrap());
    assert_eq!(report["video"]["out_of_order"], 0, "{report}");
    router.stop();
}

#[test]
fn ctrl_c_in_mid_call_leaves_nothing() {
    let mut router = Router::start();
    let mut call = calling(&router, "60");
    flowing(&mut router);
    kill(router.pid(), Signal::SIGINT);
    let status = router.wait();
    assert!(status.success(), "{status}");
    router.check_leftovers();
    kill(call.id() as i32, Signal::SIGKILL);
    call.wait().unwrap();
}
