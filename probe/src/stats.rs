//! Counts of one returned track: what came, in which order, how late.

use crate::report::{Gap, Latency};
use hdrhistogram::Histogram;
use std::collections::VecDeque;

/// Numbers behind the highest that are still told apart as late or double; 34 s of video at 30 fps.
const WINDOW: u64 = 1_024;

/// Follows numbers that should come once each and in order, and that wrap.
#[derive(Debug)]
pub struct Order {
    modulus: u64,
    first: Option<u64>,
    highest: u64,
    /// Whether `highest - i` was seen, the newest at the front.
    seen: VecDeque<bool>,
    distinct: u64,
    out_of_order: u64,
    duplicates: u64,
}

/// What a number was to the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Higher than all before.
    New,
    /// Missed before, and here now.
    Late,
    /// Seen before.
    Again,
}

impl Order {
    /// Numbers run from 0 to `modulus - 1` and begin again.
    #[must_use]
    pub fn new(modulus: u64) -> Self {
        Self {
            modulus: modulus.max(2),
            first: None,
            highest: 0,
            seen: VecDeque::with_capacity(WINDOW as usize),
            distinct: 0,
            out_of_order: 0,
            duplicates: 0,
        }
    }

    /// Takes the next number.
    pub fn push(&mut self, number: u64) -> Place {
        let number = number % self.modulus;
        if self.first.is_none() {
            // Room below for numbers that come late before the first.
            let start = number + self.modulus;
            self.first = Some(start);
            self.highest = start;
            self.seen.push_front(true);
            self.distinct = 1;
            return Place::New;
        }
        let ahead = (number + self.modulus - self.highest % self.modulus) % self.modulus;
        if ahead == 0 {
            self.duplicates += 1;
            return Place::Again;
        }
        if ahead <= self.modulus / 2 {
            for _ in 1..ahead.min(WINDOW) {
                self.keep(false);
            }
            self.keep(true);
            self.highest += ahead;
            self.distinct += 1;
            return Place::New;
        }
        let behind = self.modulus - ahead;
        match self.seen.get_mut(behind as usize) {
            Some(seen) if !*seen => {
                *seen = true;
                self.distinct += 1;
                self.out_of_order += 1;
                Place::Late
            }
            Some(_) => {
                self.duplicates += 1;
                Place::Again
            }
            None => {
                // Before the first, or too far back to know: a late one that nothing was missed for.
                self.out_of_order += 1;
                Place::Late
            }
        }
    }

    fn keep(&mut self, seen: bool) {
        self.seen.push_front(seen);
        self.seen.truncate(WINDOW as usize);
    }

    /// Different numbers that came.
    #[must_use]
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    /// Numbers between the first and the highest that did not come.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.first.map_or(0, |first| (self.highest - first + 1).saturating_sub(self.distinct))
    }

    /// Numbers that came after a higher one.
    #[must_use]
    pub fn out_of_order(&self) -> u64 {
        self.out_of_order
    }

    /// Numbers that came more than once, counted each time after the first.
    #[must_use]
    pub fn duplicates(&self) -> u64 {
        self.duplicates
    }
}

/// Durations with percentiles, in steps of a thousandth of their value.
#[derive(Debug)]
pub struct Spread(Histogram<u64>);

/// Microseconds of the longest duration that is told apart: ten minutes.
const LONGEST_US: u64 = 600_000_000;

impl Default for Spread {
    fn default() -> Self {
        #[expect(
            clippy::unwrap_used,
            reason = "it fails for wrong bounds only, these are constants"
        )]
        let histogram = Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap();
        Self(histogram)
    }
}

impl Spread {
    /// Adds one.
    pub fn record_ns(&mut self, ns: u64) {
        self.0.saturating_record((ns / 1_000).max(1));
    }

    /// How many were added.
    #[must_use]
    pub fn samples(&self) -> u64 {
        self.0.len()
    }

    /// Milliseconds below which this share of them lies; `None` without any.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> Option<f64> {
        (!self.0.is_empty()).then(|| round(self.0.value_at_quantile(share) as f64 / 1_000.0))
    }

    /// Milliseconds of the greatest.
    #[must_use]
    pub fn max_ms(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| round(self.0.max() as f64 / 1_000.0))
    }

    /// Milliseconds of the mean.
    #[must_use]
    pub fn mean_ms(&self) -> Option<f64> {
        (!self.0.is_empty()).then(|| round(self.0.mean() / 1_000.0))
    }

    /// As the report has latencies.
    #[must_use]
    pub fn latency(&self) -> Latency {
        Latency {
            p50: self.quantile_ms(0.5),
            p95: self.quantile_ms(0.95),
            p99: self.quantile_ms(0.99),
            max: self.max_ms(),
        }
    }

    /// As the report has gaps.
    #[must_use]
    pub fn gap(&self) -> Gap {
        Gap { p99: self.quantile_ms(0.99), max: self.max_ms() }
    }
}

fn round(ms: f64) -> f64 {
    (ms * 1_000.0).round() / 1_000.0
}

/// Time between things that come one after another.
#[derive(Debug, Default)]
pub struct Gaps {
    last_ns: Option<u64>,
    spread: Spread,
}

impl Gaps {
    /// One more came.
    pub fn push(&mut self, now_ns: u64) {
        if let Some(last) = self.last_ns.replace(now_ns) {
            self.spread.record_ns(now_ns.saturating_sub(last));
        }
    }

    /// The times between.
    #[must_use]
    pub fn spread(&self) -> &Spread {
        &self.spread
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn follow(modulus: u64, numbers: impl IntoIterator<Item = u64>) -> Order {
        let mut order = Order::new(modulus);
        for number in numbers {
            order.push(number);
        }
        order
    }

    #[test]
    fn frames_that_come_in_order_lose_nothing_even_when_their_numbers_wrap() {
        let order = follow(64, (50..250).map(|n| n % 64));
        assert_eq!(order.distinct(), 200);
        assert_eq!((order.lost(), order.out_of_order(), order.duplicates()), (0, 0, 0));
    }

    #[test]
    fn a_frame_that_never_comes_is_lost_and_one_that_comes_late_is_not() {
        let order = follow(1 << 24, [10, 11, 14, 13, 15]);
        assert_eq!((order.lost(), order.out_of_order(), order.duplicates()), (1, 1, 0));
        assert_eq!(order.distinct(), 5);
    }

    #[test]
    fn a_picture_that_is_held_counts_as_double_not_as_received() {
        let order = follow(1 << 24, [7, 7, 7, 8, 7]);
        assert_eq!((order.distinct(), order.duplicates(), order.lost()), (2, 3, 0));
    }

    #[test]
    fn a_jump_beyond_the_window_is_all_lost() {
        let order = follow(1 << 24, [0, 5_000, 4_999]);
        assert_eq!((order.lost(), order.out_of_order()), (4_998, 1));
    }

    #[test]
    fn percentiles_are_those_of_what_was_recorded() {
        let mut spread = Spread::default();
        (1..=1_000).for_each(|ms| spread.record_ns(ms * 1_000_000));
        let near = |value: Option<f64>, expected: f64| {
            assert!((value.unwrap() - expected).abs() <= expected * 0.002, "{value:?} {expected}");
        };
        near(spread.quantile_ms(0.5), 500.0);
        near(spread.quantile_ms(0.95), 950.0);
        near(spread.max_ms(), 1_000.0);
        assert_eq!(Spread::default().quantile_ms(0.5), None);
    }
}
