//! A native peer calls, and gets its own picture and sound back, processed.

use crate::router::Router;

fn call(codec: &str) {
    let router = Router::start();
    let report = router.call(&[
        "--video",
        "pattern",
        "--audio",
        "ticks",
        "--codec",
        codec,
        "--size",
        "320x180",
        "--seconds",
        "4",
    ]);
    let video = &report["video"];
    let (sent, received) = (video["sent"].as_u64().unwrap(), video["received"].as_u64().unwrap());
    assert_eq!(video["codec"], codec, "{report}");
    assert!(sent >= 60, "{report}");
    // What was sent before the path stood does not come back.
    assert!(received + 30 >= sent, "{received} of {sent} came back: {report}");
    assert_eq!(video["out_of_order"], 0, "{report}");
    assert_eq!((video["width"].as_u64(), video["height"].as_u64()), (Some(320), Some(180)));
    assert!(report["audio"]["received"].as_u64().unwrap() > 0, "{report}");
    for stage in ["received", "assembled", "decoded", "encoded", "sent"] {
        assert!(report["stages"].get(stage).is_some(), "no stage {stage}: {report}");
    }
    router.stop();
}

#[test]
fn a_native_peer_gets_its_vp8_pictures_back_in_order() {
    call("vp8");
}

#[test]
fn a_native_peer_gets_its_vp9_pictures_back_in_order() {
    call("vp9");
}

#[test]
fn a_native_peer_gets_its_h264_pictures_back_in_order() {
    call("h264");
}

#[test]
fn a_call_in_720p_comes_back_in_720p() {
    let router = Router::start();
    let report = router.call(&[
        "--video",
        "pattern",
        "--audio",
        "ticks",
        "--size",
        "1280x720",
        "--seconds",
        "4",
    ]);
    let video = &report["video"];
    assert_eq!((video["width"].as_u64(), video["height"].as_u64()), (Some(1280), Some(720)));
    assert!(video["received"].as_u64().unwrap() >= 60, "{report}");
    router.stop();
}
