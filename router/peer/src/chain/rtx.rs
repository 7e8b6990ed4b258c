//! Unwraps retransmissions (RFC 4588) below those who count what is missing.
//!
//! The stack unwraps above its interceptors, so that its NACK generator never learns that a packet was repaired and asks
//! for it again and again.

use super::{Counters, count, passes};
use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::sansio::Protocol;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use webrtc::error::Error;

/// Repair streams of a connection: one for each track that is received, and as many again.
const MAX_REPAIRS: usize = 64;

struct Repaired {
    ssrc: u32,
    payload_type: u8,
    rtx_payload_type: u8,
}

pub(super) struct Unwrap {
    counters: Arc<Counters>,
    repairs: HashMap<u32, Repaired>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Unwrap {
    pub(super) fn new(counters: Arc<Counters>) -> Self {
        Self { counters, repairs: HashMap::new(), reads: VecDeque::new(), writes: VecDeque::new() }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Unwrap {
    passes!();

    fn handle_read(&mut self, mut msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &mut msg.message.packet
            && let Some(repaired) = self.repairs.get(&packet.header.ssrc)
        {
            let Some(&[high, low]) = packet.payload.first_chunk::<2>() else {
                return Ok(()); // padding only: a probe of the path, nothing in it
            };
            if packet.header.payload_type != repaired.rtx_payload_type {
                return Ok(());
            }
            packet.header.ssrc = repaired.ssrc;
            packet.header.payload_type = repaired.payload_type;
            packet.header.sequence_number = u16::from_be_bytes([high, low]);
            packet.header.padding = false;
            packet.payload = packet.payload.slice(2..);
            count(&self.counters.unwrapped);
        }
        self.reads.push_back(msg);
        Ok(())
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.writes.push_back(msg);
        Ok(())
    }
}

impl Interceptor for Unwrap {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}

    fn bind_remote_stream(&mut self, info: &StreamInfo) {
        if let (Some(rtx), Some(rtx_payload_type)) = (info.ssrc_rtx, info.payload_type_rtx)
            && (self.repairs.len() < MAX_REPAIRS || self.repairs.contains_key(&rtx))
        {
            let repaired =
                Repaired { ssrc: info.ssrc, payload_type: info.payload_type, rtx_payload_type };
            self.repairs.insert(rtx, repaired);
        }
    }

    fn unbind_remote_stream(&mut self, info: &StreamInfo) {
        if let Some(rtx) = info.ssrc_rtx {
            self.repairs.remove(&rtx);
        }
    }
}
