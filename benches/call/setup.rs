//! How long it takes until a call stands: P6, native.

use crate::Options;
use crate::echo;
use crate::report::interval::percentile;
use crate::report::{Figures, Row};
use crate::router::Router;

/// `p50` and `p95` of values in any order.
pub(crate) fn figures(mut values: Vec<f64>) -> Figures {
    values.sort_by(f64::total_cmp);
    let at = |share| percentile(&values, share).unwrap_or(f64::NAN);
    vec![("p50", at(0.5)), ("p95", at(0.95))]
}

pub(crate) fn native(options: &Options) -> Vec<Row> {
    let router = Router::start(None);
    let (mut connected, mut first, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..options.setups {
        eprintln!("bench: setting up a call, {} of {}", number + 1, options.setups);
        let report =
            router.call(&["--video", "pattern", "--size", "1280x720", "--seconds", "1"]).report();
        connected.extend(report["setup_ms"].as_f64());
        first.extend(report["first_frame_ms"].as_f64());
        router.wait_for_sessions(0);
        bare.push(echo::run(20, 0).connected_ms);
    }
    let samples = connected.len() as u64;
    let connected = Row {
        name: "native, offer to connected".into(),
        unit: "ms",
        ours: figures(connected),
        floor: figures(bare),
        floor_is: "two connections of the webrtc crate in one process, without signaling",
        samples,
        ..Row::default()
    };
    let first = Row {
        name: "native, offer to first processed picture".into(),
        unit: "ms",
        samples: first.len() as u64,
        ours: figures(first),
        ..Row::default()
    };
    vec![connected, first]
}
