//! One line of time for a connection: the stack's `Instant`s, `CLOCK_MONOTONIC` nanoseconds, and NTP.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant, SystemTime};

/// Seconds from NTP's epoch (1900) to Unix's (1970).
const NTP_UNIX: u64 = 2_208_988_800;

/// The same moment on the three lines, from which all others are reckoned. NTP thus never jumps while a connection lives,
/// even when the wall clock is set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    monotonic_ns: u64,
    unix_ns: u64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        // The stack's Instant is CLOCK_MONOTONIC on Linux, but opaque.
        let monotonic =
            clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { instant: Instant::now(), monotonic_ns: nanos(monotonic), unix_ns: nanos(unix) }
    }

    /// `CLOCK_MONOTONIC` at `instant`.
    pub(crate) fn monotonic_ns(&self, instant: Instant) -> u64 {
        match instant.checked_duration_since(self.instant) {
            Some(later) => self.monotonic_ns.saturating_add(nanos(later)),
            None => self.monotonic_ns.saturating_sub(nanos(self.instant - instant)),
        }
    }

    /// NTP at a time of `CLOCK_MONOTONIC`.
    pub(crate) fn ntp(&self, monotonic_ns: u64) -> u64 {
        let unix_ns =
            i128::from(self.unix_ns) + i128::from(monotonic_ns) - i128::from(self.monotonic_ns);
        let unix_ns = u128::try_from(unix_ns).unwrap_or(0);
        let ntp_ns = unix_ns + u128::from(NTP_UNIX) * 1_000_000_000;
        // 32.32 fixed point; wraps in 2036 as NTP itself does.
        ((ntp_ns << 32) / 1_000_000_000) as u64
    }

    /// The middle 32 bits of NTP, in which reception reports reckon: 1/65536 s.
    pub(crate) fn ntp_middle(&self, monotonic_ns: u64) -> u32 {
        (self.ntp(monotonic_ns) >> 16) as u32
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_is_a_second_on_every_line() {
        let clock = Clock::start();
        let (a, b) = (clock.instant, clock.instant + Duration::from_secs(1));
        let (a, b) = (clock.monotonic_ns(a), clock.monotonic_ns(b));
        assert_eq!(b - a, 1_000_000_000);
        assert_eq!(clock.ntp(b).wrapping_sub(clock.ntp(a)) >> 8, (1u64 << 32) >> 8);
        assert_eq!(clock.ntp_middle(b).wrapping_sub(clock.ntp_middle(a)), 65_536);
        assert_eq!(clock.monotonic_ns(clock.instant - Duration::from_secs(1)), a - 1_000_000_000);
    }
}
