//! The one clock of all stamps and media times.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`: the same line in every process of a machine.
#[must_use]
pub fn monotonic_ns() -> u64 {
    // The clock exists on every Linux; the call cannot fail with a constant id.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(0, |t| {
        (t.tv_sec() as u64).saturating_mul(1_000_000_000).saturating_add(t.tv_nsec() as u64)
    })
}
