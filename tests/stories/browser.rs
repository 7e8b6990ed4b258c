//! A person calls from the page, in a real browser.

use crate::chromium::Browser;
use crate::router::Router;
use serde_json::Value;

fn call(router: &Router, query: &str) -> (Browser, Value) {
    let mut browser = Browser::open(&format!("{}/?auto=1&size=320x180&{query}", router.url));
    let stats = browser.wait_until(
        "remotemedia.stats().frames.returned >= 60 && remotemedia.stats().audio.peak > 0.01 \
         && remotemedia.stats().returned",
    );
    (browser, stats)
}

fn sees_gray(codec: &str) {
    let router = Router::start();
    let (mut browser, stats) = call(&router, &format!("codec={codec}&pipeline=grayscale"));
    let name = stats["connection"]["in"]["video"]["codec"].as_str().unwrap().to_lowercase();
    assert_eq!(name, codec, "{stats}");
    let (sent, returned) = (&stats["sent"], &stats["returned"]);
    assert!(sent["chroma"].as_f64().unwrap() > 10.0, "what was sent has colour: {stats}");
    assert!(returned["chroma"].as_f64().unwrap() < 4.0, "what came back is gray: {stats}");
    assert!(stats["latency"]["p50"].as_f64().unwrap() > 0.0, "{stats}");
    browser.evaluate("remotemedia.hangUp()");
    let mut router = router;
    router.wait_for_sessions(0);
    drop(browser);
    router.stop();
}

#[test]
fn a_person_sees_their_vp8_picture_come_back_gray() {
    sees_gray("vp8");
}

#[test]
fn a_person_sees_their_vp9_picture_come_back_gray() {
    sees_gray("vp9");
}

#[test]
fn a_person_sees_their_h264_picture_come_back_gray() {
    sees_gray("h264");
}

#[test]
fn a_person_sees_their_picture_come_back_blurred() {
    // Soft enough for the strip that tells which picture it is: its cells are a 32nd of the width.
    let soft = r#"
        [pipelines.soft]
        nodes = [{ id = "soft", type = "GaussianBlur", params = { sigma = 2.0 } }]
    "#;
    let router = Router::with(soft, &[]);
    let (browser, blurred) = call(&router, "source=test&pipeline=soft");
    drop(browser);
    let (browser, plain) = call(&router, "source=test&pipeline=passthrough");
    drop(browser);
    let detail = |stats: &Value| {
        stats["returned"]["detail"].as_f64().unwrap() / stats["sent"]["detail"].as_f64().unwrap()
    };
    assert!(
        detail(&blurred) < 0.6 * detail(&plain),
        "a blur takes detail away: {blurred} against {plain}"
    );
    router.stop();
}
