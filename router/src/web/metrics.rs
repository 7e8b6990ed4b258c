//! `/metrics`: a snapshot as OpenMetrics text.

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use remotemedia_signaling::hub::Counts;
use std::fmt;

/// What Prometheus asks for and gets.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How a metric may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only up; its name is shown with `_total`.
    Counter,
    /// Up and down.
    Gauge,
}

/// One metric with all its samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// In full, as `remotemedia_sessions`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Labels and value.
    pub samples: Vec<(Vec<(&'static str, String)>, f64)>,
}

impl Metric {
    /// A gauge without labels.
    #[must_use]
    pub fn gauge(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: Kind::Gauge, samples: vec![(Vec::new(), value)] }
    }

    /// A counter without labels.
    #[must_use]
    pub fn counter(name: &'static str, help: &'static str, value: f64) -> Self {
        Self { name, help, kind: Kind::Counter, samples: vec![(Vec::new(), value)] }
    }
}

/// The hub's own.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "counts that lose a digit at 2^53 are still counts")]
pub fn of_hub(counts: Counts) -> Vec<Metric> {
    let gauges = [
        ("remotemedia_signaling_connections", "Open signaling sockets", counts.connections),
        (
            "remotemedia_signaling_peers",
            "Registered peers, those whose socket dropped included",
            counts.peers,
        ),
        ("remotemedia_signaling_rooms", "Rooms with somebody in them", counts.rooms),
    ];
    let counters = [
        ("remotemedia_signaling_calls", "Requests and notifications taken", counts.calls),
        ("remotemedia_signaling_errors", "Errors sent", counts.errors),
        ("remotemedia_signaling_limited", "Calls over the rate limit", counts.limited),
        ("remotemedia_signaling_dropped", "Messages that nobody could take", counts.dropped),
        (
            "remotemedia_signaling_overruns",
            "Sockets closed because they were not read",
            counts.overruns,
        ),
    ];
    let gauges =
        gauges.into_iter().map(|(name, help, value)| Metric::gauge(name, help, value as f64));
    let counters =
        counters.into_iter().map(|(name, help, value)| Metric::counter(name, help, value as f64));
    gauges.chain(counters).collect()
}

/// The text.
///
/// # Errors
/// When a label cannot be written.
pub fn text(metrics: Vec<Metric>) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Snapshot(metrics)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Snapshot(Vec<Metric>);

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for metric in &self.0 {
            let kind = match metric.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
            };
            let mut family = encoder.encode_descriptor(metric.name, metric.help, None, kind)?;
            match metric.samples.as_slice() {
                [(labels, value)] if labels.is_empty() => one(metric.kind, *value, family)?,
                samples => {
                    for (labels, value) in samples {
                        one(metric.kind, *value, family.encode_family(labels)?)?;
                    }
                }
            }
        }
        Ok(())
    }
}

fn one(
    kind: Kind,
    value: f64,
    encoder: prometheus_client::encoding::MetricEncoder<'_>,
) -> Result<(), fmt::Error> {
    match kind {
        Kind::Counter => ConstCounter::new(value).encode(encoder),
        Kind::Gauge => ConstGauge::new(value).encode(encoder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_counters_gauges_and_labels() {
        let mut all = of_hub(Counts { connections: 3, calls: 12, ..Counts::default() });
        let labels = vec![("state", "a \"quoted\" one".to_owned())];
        let samples = vec![(labels, 2.0)];
        all.push(Metric {
            name: "remotemedia_workers",
            help: "Worker processes",
            kind: Kind::Gauge,
            samples,
        });
        let text = text(all).expect("text");
        assert!(text.contains("# TYPE remotemedia_signaling_connections gauge\n"), "{text}");
        assert!(text.contains("\nremotemedia_signaling_connections 3.0\n"), "{text}");
        assert!(text.contains("\nremotemedia_signaling_calls_total 12.0\n"), "{text}");
        assert!(text.contains(r#"remotemedia_workers{state="a \"quoted\" one"} 2.0"#), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
