//! How many bits a second a viewer gets: the configured rate, lowered and raised by what its reports say.
//!
//! [`Estimator`] is the place of a sound estimator. [`LossRate`] is the loss-based half of Google congestion
//! control (draft-ietf-rmcat-gcc-02, section 6): above 10 % of loss `rate × (1 − 0.5 × loss)`, below 2 % 5 % more a
//! second, in between it holds.

use crate::MS;

/// What a viewer reported.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Report {
    /// Share of packets that did not arrive since the report before, 0 to 1.
    pub fraction_lost: f32,
    /// The path's round trip, where known.
    pub round_trip_ns: Option<u64>,
}

/// One sent packet by transport-wide feedback.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivery {
    /// When it was sent, on our clock.
    pub sent_ns: u64,
    /// When it arrived, on the receiver's clock; `None` where it did not.
    pub arrived_ns: Option<u64>,
    /// Bytes on the wire.
    pub bytes: u32,
}

/// Tells the rate that a viewer's path takes.
pub trait Estimator: Send {
    /// A receiver report came.
    fn on_report(&mut self, now_ns: u64, report: Report);
    /// Transport-wide feedback came, in the order of sending. One that goes by reports only leaves it.
    fn on_deliveries(&mut self, _now_ns: u64, _deliveries: &[Delivery]) {}
    /// The configured bounds changed.
    fn set_bounds(&mut self, floor_bps: u32, ceiling_bps: u32);
    /// Bits a second to send now, never outside the bounds.
    fn target_bps(&self) -> u32;
    /// Whether the path takes less than the floor: the video is to be paused and the viewer told.
    fn starved(&self) -> bool;
}

/// Loss above which the rate goes down.
const HIGH: f64 = 0.10;
/// Loss below which it goes up.
const LOW: f64 = 0.02;
/// Growth in a second without loss.
const GROWTH: f64 = 1.05;
/// Between two reductions, besides a round trip, in ns: the first one must be seen in a report before the next (as
/// in libwebrtc).
const SETTLE_NS: u64 = 300 * MS;
/// Growth for the time between two reports counts this much of it, in ns: a report after an hour raises by one
/// second's share.
const MAX_GROWTH_SPAN_NS: u64 = 1000 * MS;
/// Reports in a row that wanted less than the floor, until the path counts as starved (chosen: about 5 s of reports
/// at one a second).
const STARVED_REPORTS: u32 = 5;

/// The rate by reported loss.
#[derive(Debug, Clone)]
pub struct LossRate {
    floor: f64,
    ceiling: f64,
    rate: f64,
    last_report_ns: Option<u64>,
    last_cut_ns: Option<u64>,
    below_floor: u32,
}

impl LossRate {
    /// Begins at the ceiling, which is the configured rate.
    #[must_use]
    pub fn new(floor_bps: u32, ceiling_bps: u32) -> Self {
        let mut rate = Self {
            floor: 0.0,
            ceiling: 0.0,
            rate: f64::from(ceiling_bps),
            last_report_ns: None,
            last_cut_ns: None,
            below_floor: 0,
        };
        rate.set_bounds(floor_bps, ceiling_bps);
        rate
    }
}

impl Estimator for LossRate {
    fn on_report(&mut self, now_ns: u64, report: Report) {
        if !report.fraction_lost.is_finite() {
            return;
        }
        let loss = f64::from(report.fraction_lost).clamp(0.0, 1.0);
        let span_ns = self.last_report_ns.map_or(0, |last| now_ns.saturating_sub(last));
        self.last_report_ns = Some(now_ns);
        if loss > HIGH {
            let settle = SETTLE_NS.saturating_add(report.round_trip_ns.unwrap_or(0));
            if self.last_cut_ns.is_some_and(|last| now_ns.saturating_sub(last) < settle) {
                return;
            }
            self.last_cut_ns = Some(now_ns);
            let wanted = self.rate * (1.0 - 0.5 * loss);
            self.below_floor = if wanted < self.floor { self.below_floor + 1 } else { 0 };
            self.rate = wanted.clamp(self.floor, self.ceiling);
        } else {
            self.below_floor = 0;
            if loss < LOW {
                let seconds = span_ns.min(MAX_GROWTH_SPAN_NS) as f64 / 1e9;
                self.rate = (self.rate * GROWTH.powf(seconds)).clamp(self.floor, self.ceiling);
            }
        }
    }

    fn set_bounds(&mut self, floor_bps: u32, ceiling_bps: u32) {
        self.ceiling = f64::from(ceiling_bps);
        self.floor = f64::from(floor_bps.min(ceiling_bps));
        self.rate = self.rate.clamp(self.floor, self.ceiling);
    }

    fn target_bps(&self) -> u32 {
        self.rate.round() as u32
    }

    fn starved(&self) -> bool {
        self.below_floor >= STARVED_REPORTS
    }
}
