//! Bounds what retransmissions may cost, so that no peer can draw more from us by NACK than a share of its media; and sends
//! none again that is still on its way.

use super::{Counters, RoundTrip, count, passes};
use rtc::interceptor::{Attribute, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use webrtc::error::Error;

/// Half of what is sent may be sent again: a path that loses more does not get better by sending more.
const SHARE: u64 = 2;
/// Bytes a second that may be sent again in any case, for streams that have just begun.
const FLOOR: u64 = 16 * 1024;
/// Bytes that can be saved up: 200 ms of 10 Mb/s.
const MOST: u64 = 256 * 1024;
/// Retransmissions that are remembered: those of a round trip of 100 ms at 20 % loss of 10 Mb/s.
const RECENT: usize = 64;

pub(super) struct Budget {
    counters: Arc<Counters>,
    round_trip: Arc<RoundTrip>,
    /// SSRC and original sequence number of what was sent again, and when.
    recent: VecDeque<(u32, [u8; 2], Instant)>,
    bytes: u64,
    filled: Option<Instant>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Budget {
    pub(super) fn new(counters: Arc<Counters>, round_trip: Arc<RoundTrip>) -> Self {
        Self {
            counters,
            round_trip,
            recent: VecDeque::with_capacity(RECENT),
            bytes: FLOOR,
            filled: None,
            reads: VecDeque::new(),
            writes: VecDeque::new(),
        }
    }

    /// Whether this one was sent less than a round trip ago: whoever asks for it cannot have it yet.
    fn under_way(&mut self, ssrc: u32, payload: &[u8], now: Instant) -> bool {
        let (Some(round_trip), Some(original)) =
            (self.round_trip.get(), payload.first_chunk::<2>())
        else {
            return false;
        };
        while self.recent.len() >= RECENT
            || self
                .recent
                .front()
                .is_some_and(|(.., at)| now.saturating_duration_since(*at) > round_trip)
        {
            self.recent.pop_front();
        }
        if self.recent.iter().any(|(of, sequence, _)| *of == ssrc && sequence == original) {
            return true;
        }
        self.recent.push_back((ssrc, *original, now));
        false
    }

    fn fill(&mut self, now: Instant) {
        let before = *self.filled.get_or_insert(now);
        let millis = now.saturating_duration_since(before).as_millis() as u64;
        if millis > 0 {
            self.filled = Some(now);
            self.bytes = (self.bytes + FLOOR.saturating_mul(millis) / 1000).min(MOST);
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Budget {
    passes!();

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.reads.push_back(msg);
        Ok(())
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &msg.message.packet {
            let size = packet.payload.len() as u64;
            if msg.message.has(&Attribute::Retransmission) {
                if self.under_way(packet.header.ssrc, &packet.payload, msg.now) {
                    count(&self.counters.retransmissions_refused);
                    return Ok(());
                }
                self.fill(msg.now);
                let Some(left) = self.bytes.checked_sub(size) else {
                    count(&self.counters.retransmissions_refused);
                    return Ok(());
                };
                self.bytes = left;
                count(&self.counters.retransmitted);
            } else {
                self.bytes = (self.bytes + size / SHARE).min(MOST);
            }
        }
        self.writes.push_back(msg);
        Ok(())
    }
}

impl Interceptor for Budget {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
