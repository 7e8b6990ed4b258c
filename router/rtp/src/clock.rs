//! RTP time on the router's line: first arrival + RTP delta, slowly refined, never running backwards.
//!
//! A sender's clock differs from ours by some ten to a hundred parts in a million, and its packets come with a
//! delay that varies. The least delay of the last seconds is the line that its media lies on; the clock follows
//! that line by at most [`SLEW`], so that a later RTP time never gets an earlier media time. Sender
//! reports tell how two tracks of one sender relate: [`align`] puts both on the line of the one with less delay.

use crate::{MS, wrap::Timestamp};

/// Nanoseconds that the clock may be corrected by per nanosecond of media, as a divisor: 1 in 200 (chosen: a drift
/// of 100 ppm is followed fifty times over, a correction of 5 ms a second is not seen).
pub const SLEW: i64 = 200;
/// The same where media times lie in the future of their arrival: one in 2 (chosen: out of there within seconds).
const HASTE: i64 = 2;
/// Span of each of the two windows that the least delay is taken over, in ns (chosen: two of them outlast a burst).
const WINDOW_NS: i64 = 5_000 * MS as i64;
/// RTP time and arrival may part by this before the clock begins anew, in ns (chosen: longer than any sane delay).
const JUMP_NS: i64 = 2_000 * MS as i64;
/// Sender reports may move a track against its arrivals by this at most, in ns (chosen: more is a lie or a broken
/// clock).
const MAX_ALIGN_NS: i64 = 500 * MS as i64;

/// Nanoseconds of a number of ticks, exact to the nanosecond below.
pub(crate) fn ticks_to_ns(ticks: i64, rate: u32) -> i64 {
    let ns = i128::from(ticks) * 1_000_000_000 / i128::from(rate.max(1));
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// The line of least delay: arrival − RTP time, the least of the last 5 to 10 s.
#[derive(Debug, Clone)]
pub(crate) struct Line {
    rate: u32,
    ticks: Timestamp,
    window_began_ns: i64,
    least: Option<i64>,
    least_before: Option<i64>,
}

impl Line {
    pub(crate) fn new(rate: u32) -> Self {
        Self {
            rate,
            ticks: Timestamp::default(),
            window_began_ns: 0,
            least: None,
            least_before: None,
        }
    }

    /// Forgets all but the rate.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.rate);
    }

    /// Takes note of an arrival; returns the RTP time in ns and its offset to the arrival.
    pub(crate) fn observe(&mut self, rtp_time: u32, arrival_ns: u64) -> (i64, i64) {
        let arrival = i64::try_from(arrival_ns).unwrap_or(i64::MAX);
        let ticks = self.ticks.near(rtp_time);
        if self.ticks.last().is_none_or(|last| ticks > last) {
            self.ticks.set(ticks);
        }
        let media = ticks_to_ns(ticks, self.rate);
        let offset = arrival.saturating_sub(media);
        if arrival.saturating_sub(self.window_began_ns) >= WINDOW_NS {
            self.window_began_ns = arrival;
            self.least_before = self.least.take();
        }
        self.least = Some(self.least.map_or(offset, |least| least.min(offset)));
        (media, offset)
    }

    /// RTP time in ns on its own scale.
    pub(crate) fn media_ns(&self, rtp_time: u32) -> i64 {
        ticks_to_ns(self.ticks.near(rtp_time), self.rate)
    }

    /// The least offset that was seen lately.
    pub(crate) fn offset(&self) -> Option<i64> {
        match (self.least, self.least_before) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// When a packet of this RTP time arrives if nothing delays it.
    pub(crate) fn expected_ns(&self, rtp_time: u32) -> Option<u64> {
        let at = self.media_ns(rtp_time).saturating_add(self.offset()?);
        Some(u64::try_from(at).unwrap_or(0))
    }
}

/// The clock of one incoming track.
#[derive(Debug, Clone)]
pub struct MediaClock {
    line: Line,
    /// What is in force: media time = RTP time in ns + this. Moves towards the line (or the alignment) by slewing.
    offset: Option<i64>,
    /// The latest RTP time (ns) that was given a media time, and that.
    last: Option<(i64, i64)>,
    /// RTP time in ns − the sender's NTP time in ns, from its last report.
    report: Option<i64>,
    /// Offset − least offset, as wanted by [`align`]; not positive, as nothing arrives before it was taken.
    shift: i64,
    jumps: u64,
}

impl MediaClock {
    /// A clock for a track whose timestamps count `clock_rate` ticks a second.
    #[must_use]
    pub fn new(clock_rate: u32) -> Self {
        Self {
            line: Line::new(clock_rate),
            offset: None,
            last: None,
            report: None,
            shift: 0,
            jumps: 0,
        }
    }

    /// Takes note that media of this RTP time arrived, and returns its time on the router's line.
    ///
    /// To be called for each access unit or sound packet, in order, with the arrival of its *first* packet.
    pub fn arrived(&mut self, rtp_time: u32, arrival_ns: u64) -> u64 {
        let (mut media, mut offset) = self.line.observe(rtp_time, arrival_ns);
        let parted =
            self.offset.is_some_and(|o| offset.saturating_sub(o).saturating_abs() > JUMP_NS);
        if parted {
            // A new RTP timeline, or a sender that was suspended: what was learned of the old one does not hold.
            self.jumps += 1;
            self.line.restart();
            (media, offset) = self.line.observe(rtp_time, arrival_ns);
            self.offset = None;
            self.report = None;
            self.shift = 0;
            if let Some((_, given)) = self.last.take() {
                // Still not backwards: the last given time is the floor of the new timeline.
                offset = offset.max(given.saturating_add(1).saturating_sub(media));
            }
        }
        let mut in_force = self.offset.unwrap_or(offset);
        if let (Some(least), Some((last_media, _))) = (self.line.offset(), self.last) {
            let wanted = least.saturating_add(self.shift);
            // Nothing arrives before it was taken: from there the way back is short.
            let slew = if in_force > offset { HASTE } else { SLEW };
            let room = media.saturating_sub(last_media).max(0) / slew;
            let step = wanted.saturating_sub(in_force).clamp(-room, room);
            in_force = in_force.saturating_add(step);
        }
        self.offset = Some(in_force);
        u64::try_from(self.give(media, in_force)).unwrap_or(0)
    }

    /// The time on the router's line of an RTP time, without an arrival: for what was lost, or silence.
    pub fn media_time_ns(&mut self, rtp_time: u32) -> Option<u64> {
        let media = self.line.media_ns(rtp_time);
        let given = self.give(media, self.offset?);
        Some(u64::try_from(given).unwrap_or(0))
    }

    /// A sender report: the sender's wall clock (NTP, 32.32 bits) at this RTP time.
    pub fn sender_report(&mut self, ntp: u64, rtp_time: u32) {
        if self.offset.is_none() {
            // Without media there is no RTP timeline to place it on.
            return;
        }
        self.report = Some(self.line.media_ns(rtp_time).saturating_sub(ntp_to_ns(ntp)));
    }

    /// Router's line − sender's wall clock, by the track's least delay; `None` before a report.
    #[must_use]
    pub fn sender_offset_ns(&self) -> Option<i64> {
        Some(self.line.offset()?.saturating_add(self.report?))
    }

    /// How often the timeline began anew because RTP time and arrival had parted.
    #[must_use]
    pub fn jumps(&self) -> u64 {
        self.jumps
    }

    /// Not before the last given one where the RTP time is later.
    fn give(&mut self, media: i64, offset: i64) -> i64 {
        let at = media.saturating_add(offset);
        match self.last {
            Some((last_media, given)) if media > last_media => {
                let at = at.max(given);
                self.last = Some((media, at));
                at
            }
            Some(_) => at,
            None => {
                self.last = Some((media, at));
                at
            }
        }
    }
}

/// Puts the tracks of one sender on one line, that of the track with the least delay; those without a report keep
/// theirs.
///
/// To be called after each sender report. The correction is slewed in, and bounded: a lying report moves a
/// track by half a second at most.
pub fn align(clocks: &mut [&mut MediaClock]) {
    let Some(least) = clocks.iter().filter_map(|clock| clock.sender_offset_ns()).min() else {
        return;
    };
    for clock in clocks {
        if let Some(own) = clock.sender_offset_ns() {
            clock.shift = least.saturating_sub(own).clamp(-MAX_ALIGN_NS, 0);
        }
    }
}

/// Seconds from 1900 (NTP) to 1970 (Unix).
const NTP_TO_UNIX_S: u64 = 2_208_988_800;

/// The NTP time (32.32 bits) of nanoseconds since 1970.
#[must_use]
pub fn ntp_from_unix_ns(unix_ns: u64) -> u64 {
    let seconds = (unix_ns / 1_000_000_000).wrapping_add(NTP_TO_UNIX_S);
    let fraction = ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
    (seconds << 32) | fraction
}

/// Nanoseconds since 1900 of an NTP time; only differences of it are used.
fn ntp_to_ns(ntp: u64) -> i64 {
    let seconds = (ntp >> 32) * 1_000_000_000;
    let fraction = ((ntp & 0xffff_ffff) * 1_000_000_000) >> 32;
    i64::try_from(seconds + fraction).unwrap_or(i64::MAX)
}
