//! Takes the peer's packets out of the stack, with the time of their arrival.
//!
//! The stack's own way out is a queue of 256 per track, which drops with an error in the log each, loses the end of a track
//! when packets fill it, and tells no arrival times.

use super::{Shared, count, passes};
use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use std::collections::{HashSet, VecDeque};
use webrtc::error::Error;

/// SSRCs that the stack may have bound at once; it binds no more than one and its repair for each section.
const MAX_BOUND: usize = 256;

pub(super) struct Exit {
    shared: Shared,
    bound: HashSet<u32>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Exit {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, bound: HashSet::new(), reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Exit {
    passes!();

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        let arrival_ns = self.shared.clock.monotonic_ns(msg.now);
        match msg.message.packet {
            Packet::Rtp(packet) => {
                count(&self.shared.counters.packets_in);
                let bound = self.bound.contains(&packet.header.ssrc);
                let packet = remotemedia_rtp::Packet {
                    ssrc: packet.header.ssrc,
                    payload_type: packet.header.payload_type,
                    sequence: packet.header.sequence_number,
                    timestamp: packet.header.timestamp,
                    marker: packet.header.marker,
                    payload: packet.payload,
                    arrival_ns,
                };
                self.shared.inbound.packet(packet, bound);
            }
            _ => self.reads.push_back(msg),
        }
        Ok(())
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(msg);
        Ok(())
    }
}

impl Interceptor for Exit {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        if self.bound.len() < MAX_BOUND {
            self.bound.insert(info.ssrc);
        }
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        self.bound.remove(&info.ssrc);
    }
}
