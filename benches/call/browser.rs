//! Chromium through the router's page, by turns with Chromium with itself: the browser's rows of P3 and P6.
//!
//! Latency is the page's own: a canvas is stamped, the returned video's frame is presented. The beginning is counted from
//! before the page's WebSocket opens, so signaling is in it.

use crate::Options;
use crate::chromium::Browser;
use crate::report::interval::{Ratio, median};
use crate::report::{Row, Target};
use crate::router::{LIMIT, Router};
use crate::setup::figures;
use serde_json::{Value, json};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// What one call in the browser came to.
#[derive(Default)]
struct Times {
    p50: Vec<f64>,
    p95: Vec<f64>,
    first: Vec<f64>,
    frames: u64,
    width: u64,
}

impl Times {
    fn take(&mut self, stats: &Value, width: &Value) {
        self.p50.extend(stats["latency"]["p50"].as_f64());
        self.p95.extend(stats["latency"]["p95"].as_f64());
        self.first.extend(stats["firstFrameMs"].as_f64());
        self.frames += stats["frames"]["returned"].as_u64().unwrap_or(0);
        self.width = width.as_u64().unwrap_or(0);
    }
}

/// Adds the rows to the targets that want them.
pub(crate) fn add(options: &Options, targets: &mut [Target]) {
    if !options.wants("P3") && !options.wants("P6") {
        return;
    }
    let measured = catch_unwind(AssertUnwindSafe(|| measure(options)));
    let Ok((ours, itself)) = measured else {
        eprintln!(
            "bench: Chromium could not be measured (why stands above); its rows are left out"
        );
        return;
    };
    for target in targets {
        match target.number {
            "P3" => target.rows.push(latency(&ours, &itself)),
            "P6" => target.rows.push(first(&ours, &itself)),
            _ => {}
        }
    }
}

fn measure(options: &Options) -> (Times, Times) {
    let router = Router::start(None);
    let page = |query: &str| format!("{}/?{query}", router.url);
    let mut browser = Browser::open(&page(""));
    let (mut ours, mut itself) = (Times::default(), Times::default());
    let long = options.browser_seconds.min(12);
    // Some long calls for latency, the others only for their beginning.
    let calls = (options.setups / 2).max(options.rounds);
    for number in 0..calls {
        let seconds = if number < options.rounds { long } else { 1 };
        eprintln!(
            "bench: Chromium through the page and with itself, {} of {calls}, {seconds} s",
            number + 1
        );
        go(&mut browser, &page("auto=1&source=test&size=1280x720&codec=vp8&pipeline=bench"));
        browser.wait_until("remotemedia.stats().frames?.returned >= 5");
        std::thread::sleep(Duration::from_secs(seconds));
        let stats = browser.evaluate("remotemedia.stats()");
        if number < options.rounds {
            ours.take(&stats, &stats["returned"]["width"]);
        } else {
            ours.first.extend(stats["firstFrameMs"].as_f64());
        }
        browser.evaluate("remotemedia.hangUp()");
        router.wait_for_sessions(0);

        go(&mut browser, &page(""));
        browser.wait_until("remotemedia.state === 'idle'");
        assert_eq!(
            browser.evaluate(include_str!("itself.js")),
            true,
            "Chromium with itself begins"
        );
        until(&mut browser, "itself().frames.returned >= 5");
        std::thread::sleep(Duration::from_secs(seconds));
        let stats = browser.evaluate("itself()");
        if number < options.rounds {
            itself.take(&stats, &stats["width"]);
        } else {
            itself.first.extend(stats["firstFrameMs"].as_f64());
        }
    }
    (ours, itself)
}

/// Another page in the same browser; the old one's figures are out of reach at once.
fn go(browser: &mut Browser, url: &str) {
    browser.evaluate(&format!("window.remotemedia = undefined; location.replace({})", json!(url)));
}

fn until(browser: &mut Browser, expression: &str) {
    let begin = Instant::now();
    while browser.evaluate(expression) != true {
        assert!(begin.elapsed() < LIMIT, "in the page never: {expression}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn over(values: &[f64]) -> f64 {
    median(values).unwrap_or(f64::NAN)
}

const ITSELF: &str = "Chromium with itself: one page, no server, coded once each way less";

fn latency(ours: &Times, itself: &Times) -> Row {
    let ratios = ours.p95.iter().zip(&itself.p95).map(|(a, b)| a / b).collect();
    let more = json!({ "width": { "ours": ours.width, "rival": itself.width } });
    Row {
        name: "Chromium, VP8, canvas to presented picture".into(),
        unit: "ms",
        ours: vec![("p50", over(&ours.p50)), ("p95", over(&ours.p95))],
        rival: vec![("p50", over(&itself.p50)), ("p95", over(&itself.p95))],
        rival_is: ITSELF,
        ratio: Ratio::of(ratios),
        ratio_is: "p95 ours / p95 rival in Chromium's row",
        samples: ours.frames,
        more: more.as_object().cloned().unwrap_or_default(),
        ..Row::default()
    }
}

fn first(ours: &Times, itself: &Times) -> Row {
    Row {
        name: "Chromium, from before the WebSocket to the first picture".into(),
        unit: "ms",
        ours: figures(ours.first.clone()),
        rival: figures(itself.first.clone()),
        rival_is: ITSELF,
        ratio: Ratio::of(ours.first.iter().zip(&itself.first).map(|(a, b)| a / b).collect()),
        ratio_is: "ours / rival in Chromium's row",
        samples: ours.first.len() as u64,
        ..Row::default()
    }
}
