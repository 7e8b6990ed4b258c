//! A sound track's packets into exactly one packet, loss or silence for each of its periods.

mod ingest;
pub(crate) mod opus;

pub use ingest::Ingest;
pub use opus::duration_ns;

use crate::MS;
use bytes::Bytes;

/// Bounds and times of an ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// A hole before a packet that came is waited for at least this long, in ns.
    pub min_gap_wait_ns: u64,
    /// And at most this long.
    pub max_gap_wait_ns: u64,
    /// A period whose packet did not come is declared lost this late at the earliest, in ns behind its expected
    /// arrival.
    pub min_lateness_ns: u64,
    /// And this late at the latest.
    pub max_lateness_ns: u64,
    /// When no packet comes, periods are `Lost` for this long, in ns, then `Silence`: concealment of more is noise.
    pub max_lost_ns: u64,
    /// When no packet came for this long, in ns, the track is not active any more, and gives nothing until the next
    /// one.
    pub idle_after_ns: u64,
    /// Places for packets, holes included.
    pub max_packets: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            min_gap_wait_ns: 10 * MS,
            max_gap_wait_ns: 60 * MS,
            min_lateness_ns: 30 * MS,
            max_lateness_ns: 200 * MS,
            max_lost_ns: 200 * MS,
            idle_after_ns: 1000 * MS,
            max_packets: 128,
        }
    }
}

/// What an ingest gives: one for each period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// An Opus packet.
    Packet {
        /// Its RTP timestamp.
        rtp_time: u32,
        /// The packet.
        payload: Bytes,
        /// How long it lasts.
        duration_ns: u64,
        /// When it arrived.
        first_arrival_ns: u64,
        /// It does not go on where the period before ended.
        discontinuity: bool,
    },
    /// A period whose packet did not come: conceal it, or recover it by FEC from the next one.
    Lost {
        /// Where its RTP timestamp would be.
        rtp_time: u32,
        /// How long it lasts.
        duration_ns: u64,
    },
    /// A period in which the sender had nothing to say.
    Silence {
        /// Where its RTP timestamp would be.
        rtp_time: u32,
        /// How long it lasts.
        duration_ns: u64,
    },
}

/// Counts since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets that were pushed.
    pub packets: u64,
    /// Bytes of their payload.
    pub bytes: u64,
    /// Packets that were there already.
    pub duplicates: u64,
    /// Packets that came when their period was over.
    pub late: u64,
    /// Packets that filled a hole.
    pub recovered: u64,
    /// Packets that were given up.
    pub lost: u64,
    /// Packets that are not Opus.
    pub malformed: u64,
    /// Packets dropped because the buffer was full.
    pub overflow: u64,
    /// Packets given out.
    pub given: u64,
    /// Periods that were lost.
    pub lost_periods: u64,
    /// Periods of silence.
    pub silent_periods: u64,
    /// The timeline began anew: another SSRC, or a jump of sequence or time.
    pub restarts: u64,
}
