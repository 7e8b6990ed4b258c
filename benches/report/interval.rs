//! Medians, percentiles, and ratios of things that were measured by turns, with their intervals.

use serde_json::{Value, json};

/// A ratio's median over blocks in which both sides were measured side by side.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ratio {
    /// Of all blocks.
    pub(crate) median: f64,
    /// The interval's ends: two of the blocks' ratios (order statistics, so nothing is assumed of their distribution).
    pub(crate) low: f64,
    /// The upper one.
    pub(crate) high: f64,
    /// How likely the true median lies within; 0.95 or more from six blocks on, less with fewer.
    pub(crate) confidence: f64,
    /// How many blocks.
    pub(crate) blocks: usize,
}

impl Ratio {
    /// Of block ratios; `None` without any.
    #[must_use]
    pub(crate) fn of(mut ratios: Vec<f64>) -> Option<Self> {
        ratios.retain(|r| r.is_finite());
        ratios.sort_by(f64::total_cmp);
        let n = ratios.len();
        let (rank, confidence) = rank(n)?;
        Some(Self {
            median: percentile(&ratios, 0.5)?,
            low: ratios[rank],
            high: ratios[n - 1 - rank],
            confidence,
            blocks: n,
        })
    }

    /// Of samples that were taken in pairs, in blocks of so many: the blocks' medians over one another.
    #[must_use]
    pub(crate) fn paired(ours: &[f64], other: &[f64], block: usize) -> Option<Self> {
        let blocks = ours.chunks(block).zip(other.chunks(block));
        let ratios = blocks
            .filter(|(a, b)| a.len() == block && b.len() == block)
            .filter_map(|(a, b)| Some(median(a)? / median(b)?));
        Self::of(ratios.collect())
    }

    /// For the report.
    #[must_use]
    pub(crate) fn json(&self) -> Value {
        let round = |v: f64| (v * 1_000.0).round() / 1_000.0;
        json!({
            "median": round(self.median), "low": round(self.low), "high": round(self.high),
            "confidence": round(self.confidence), "blocks": self.blocks,
        })
    }

    /// For the table.
    #[must_use]
    pub(crate) fn text(&self) -> String {
        let weak = if self.confidence < 0.95 {
            format!(" ({:.0} %)", self.confidence * 100.0)
        } else {
            String::new()
        };
        format!("{:.2} [{:.2}, {:.2}]{weak}", self.median, self.low, self.high)
    }
}

/// The greatest rank from either end that still holds the median with 95 %, and with how much; the outermost where
/// there are too few.
fn rank(n: usize) -> Option<(usize, f64)> {
    // P(fewer than k of n lie below the median), k = 1, 2, …
    let mut term = 0.5f64.powi(n.try_into().ok()?);
    let mut below = term;
    let mut best = (0, 1.0 - 2.0 * below);
    for k in 1..n / 2 {
        term *= (n - k + 1) as f64 / k as f64;
        below += term;
        if 1.0 - 2.0 * below < 0.95 {
            break;
        }
        best = (k, 1.0 - 2.0 * below);
    }
    (n > 0).then_some((best.0, best.1.max(0.0)))
}

/// Of values in any order.
#[must_use]
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, 0.5)
}

/// The value below which this share of sorted ones lies; between the two in the middle for a median of an even number.
#[must_use]
pub(crate) fn percentile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = share * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    Some(low + (high - low) * place.fract())
}
