//! Reads the peer's RTCP at the wire: keyframe requests, reports on what we send, its sender reports.

use super::{Shared, count, passes};
use crate::event::Event;
use rtc::interceptor::{Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp;
use rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc::rtcp::receiver_report::ReceiverReport;
use rtc::rtcp::reception_report::ReceptionReport;
use rtc::rtcp::sender_report::SenderReport;
use rtc::rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtc::sansio::Protocol;
use std::collections::VecDeque;
use std::time::Duration;
use webrtc::error::Error;

/// Longer round trips are taken for nonsense (chosen: a satellite has 0.6 s).
const MAX_ROUND_TRIP: Duration = Duration::from_secs(30);

pub(super) struct Feedback {
    shared: Shared,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl Feedback {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, reads: VecDeque::new(), writes: VecDeque::new() }
    }

    fn read(&self, packet: &dyn rtcp::Packet, arrival_ns: u64) {
        let any = packet.as_any();
        if let Some(pli) = any.downcast_ref::<PictureLossIndication>() {
            self.keyframe(pli.media_ssrc);
        } else if let Some(fir) = any.downcast_ref::<FullIntraRequest>() {
            for entry in &fir.fir {
                self.keyframe(entry.ssrc);
            }
        } else if let Some(report) = any.downcast_ref::<ReceiverReport>() {
            for block in &report.reports {
                self.report(block, arrival_ns);
            }
        } else if let Some(report) = any.downcast_ref::<SenderReport>() {
            self.shared.inbound.sender_report(
                report.ssrc,
                report.ntp_time,
                report.rtp_time,
                arrival_ns,
            );
            for block in &report.reports {
                self.report(block, arrival_ns);
            }
        } else if any.is::<TransportLayerNack>() {
            count(&self.shared.counters.nacks_in);
        }
    }

    fn keyframe(&self, ssrc: u32) {
        if let Some(sender) = self.shared.outbound.sender(ssrc) {
            self.shared.outbox.keyframe_wanted(sender);
        }
    }

    fn report(&self, block: &ReceptionReport, arrival_ns: u64) {
        let Some(sender) = self.shared.outbound.sender(block.ssrc) else { return };
        let round_trip = (block.last_sender_report != 0)
            .then(|| {
                // RFC 3550, section 6.4.1: all in 1/65536 s.
                let now = self.shared.clock.ntp_middle(arrival_ns);
                let ticks = now.wrapping_sub(block.last_sender_report).wrapping_sub(block.delay);
                // The peer rounds its delay: a path without any may come out one tick below zero.
                let ticks = if ticks > u32::MAX - 66 { 0 } else { ticks };
                Duration::from_nanos(u64::from(ticks) * 1_000_000_000 / 65_536)
            })
            .filter(|round_trip| *round_trip <= MAX_ROUND_TRIP);
        if let Some(round_trip) = round_trip {
            self.shared.round_trip.set(round_trip);
        }
        self.shared.outbox.report(Event::ReceiverReport {
            sender,
            fraction_lost: f32::from(block.fraction_lost) / 256.0,
            jitter: block.jitter,
            round_trip,
        });
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Feedback {
    passes!();

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(packets) = &msg.message.packet {
            let arrival_ns = self.shared.clock.monotonic_ns(msg.now);
            for packet in packets {
                self.read(packet.as_ref(), arrival_ns);
            }
        }
        self.reads.push_back(msg);
        Ok(())
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if matches!(msg.message.packet, Packet::Rtp(_)) {
            count(&self.shared.counters.packets_out);
        }
        self.writes.push_back(msg);
        Ok(())
    }
}

impl Interceptor for Feedback {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
