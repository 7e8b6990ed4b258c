//! How long frames take from stage to stage, over the last ten seconds.

use hdrhistogram::Histogram;
use remotemedia_shm_schema::{NodeId, Stage, Stamps};
use serde::Serialize;
use std::collections::BTreeMap;

/// A window's length; percentiles are those of the window under way and the one before.
const WINDOW_NS: u64 = 5_000_000_000;
/// Longer steps count as this long.
const MAX_US: u64 = 60_000_000;

/// Two percentiles of a step, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Percentiles {
    /// Half of all frames took no longer.
    pub p50: f64,
    /// Nineteen of twenty took no longer.
    pub p95: f64,
}

#[derive(Debug)]
struct Windows {
    now: Histogram<u32>,
    before: Histogram<u32>,
}

/// The stages of one viewer's stream.
#[derive(Debug, Default)]
pub struct Stages {
    began_ns: u64,
    steps: BTreeMap<Stage, Windows>,
}

impl Stages {
    /// Takes a frame's stamps; the first stage has no step before it and counts as 0.
    pub fn record(&mut self, now_ns: u64, stamps: &Stamps) {
        if now_ns.saturating_sub(self.began_ns) >= WINDOW_NS {
            self.began_ns = now_ns;
            for windows in self.steps.values_mut() {
                std::mem::swap(&mut windows.now, &mut windows.before);
                windows.now.reset();
            }
        }
        let mut last = None;
        for stamp in stamps.iter() {
            let step = last.map_or(0, |last| stamp.ns.saturating_sub(last)) / 1_000;
            last = Some(stamp.ns);
            if let Some(windows) = self.windows(stamp.stage) {
                windows.now.saturating_record(step.clamp(1, MAX_US));
            }
        }
    }

    fn windows(&mut self, stage: Stage) -> Option<&mut Windows> {
        use std::collections::btree_map::Entry;
        match self.steps.entry(stage) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => {
                let now = Histogram::new_with_bounds(1, MAX_US, 2).ok()?;
                let before = now.clone();
                Some(entry.insert(Windows { now, before }))
            }
        }
    }

    /// Each stage's percentiles, by its name in the contract (`node:<id>` for nodes).
    #[must_use]
    pub fn snapshot(&self, nodes: &[(u8, NodeId)]) -> BTreeMap<String, Percentiles> {
        let mut all = BTreeMap::new();
        for (stage, windows) in &self.steps {
            let mut both = windows.now.clone();
            if both.add(&windows.before).is_err() || both.is_empty() {
                continue;
            }
            let ms = |quantile| both.value_at_quantile(quantile) as f64 / 1_000.0;
            all.insert(name(*stage, nodes), Percentiles { p50: ms(0.5), p95: ms(0.95) });
        }
        all
    }
}

fn name(stage: Stage, nodes: &[(u8, NodeId)]) -> String {
    match stage {
        Stage::Received => "received".into(),
        Stage::Assembled => "assembled".into(),
        Stage::Decoded => "decoded".into(),
        Stage::Encoded => "encoded".into(),
        Stage::Sent => "sent".into(),
        Stage::Node(number) => match nodes.iter().find(|(n, _)| *n == number) {
            Some((_, id)) => format!("node:{id}"),
            None => format!("node:{number}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remotemedia_shm_schema::Stamp;

    #[test]
    fn a_stage_shows_the_time_since_the_stage_before() {
        let mut stages = Stages::default();
        for n in 0..100u64 {
            let mut stamps = Stamps::default();
            let begin = n * 33_000_000;
            stamps.push(Stamp { stage: Stage::Received, ns: begin });
            stamps.push(Stamp { stage: Stage::Decoded, ns: begin + 2_000_000 });
            stamps.push(Stamp { stage: Stage::Node(3), ns: begin + 3_000_000 });
            stages.record(begin, &stamps);
        }
        let nodes = [(3, NodeId::new("blur").expect("an id"))];
        let snapshot = stages.snapshot(&nodes);
        assert!((snapshot["decoded"].p50 - 2.0).abs() < 0.05, "{snapshot:?}");
        assert!((snapshot["node:blur"].p95 - 1.0).abs() < 0.05, "{snapshot:?}");
    }

    #[test]
    fn what_was_slow_a_minute_ago_is_forgotten() {
        let mut stages = Stages::default();
        let frame = |begin: u64, step: u64| {
            let mut stamps = Stamps::default();
            stamps.push(Stamp { stage: Stage::Received, ns: begin });
            stamps.push(Stamp { stage: Stage::Sent, ns: begin + step });
            stamps
        };
        stages.record(0, &frame(0, 900_000_000));
        for second in 55..60 {
            let now = second * 1_000_000_000;
            stages.record(now, &frame(now, 1_000_000));
        }
        for second in 60..66 {
            let now = second * 1_000_000_000;
            stages.record(now, &frame(now, 1_000_000));
        }
        assert!(stages.snapshot(&[])["sent"].p95 < 2.0);
    }
}
