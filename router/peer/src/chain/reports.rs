//! Sender reports: which moment is which RTP time.
//!
//! The stack's own take the moment at which a packet was sent. Ours take the moment of its media, so that a receiver that
//! aligns sound and picture by them does not see the longer way that the picture took through the workers.

use super::{Shared, passes};
use crate::outbound::MediaTime;
use rtc::interceptor::{AttributedPacket, Interceptor, Packet, StreamInfo, TaggedPacket};
use rtc::rtcp::sender_report::SenderReport;
use rtc::sansio::Protocol;
use rtc::shared::TransportContext;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use webrtc::error::Error;

/// Between two reports of a stream.
const EVERY: Duration = Duration::from_secs(1);
/// After a stream's first packet: a browser aligns sound and picture only once it has a report of both.
const FIRST: Duration = Duration::from_millis(20);

struct Stream {
    clock_rate: u32,
    time: Option<Arc<MediaTime>>,
    packets: u32,
    octets: u32,
    /// The newest packet and when it was sent, for a stream without media times.
    last: Option<(u32, Instant)>,
    due: Option<Instant>,
}

pub(super) struct SenderReports {
    shared: Shared,
    streams: HashMap<u32, Stream>,
    reads: VecDeque<TaggedPacket>,
    writes: VecDeque<TaggedPacket>,
}

impl SenderReports {
    pub(super) fn new(shared: Shared) -> Self {
        Self { shared, streams: HashMap::new(), reads: VecDeque::new(), writes: VecDeque::new() }
    }

    fn report(&self, ssrc: u32, stream: &Stream, now: Instant) -> Option<SenderReport> {
        let now_ns = self.shared.clock.monotonic_ns(now);
        let (rtp_time, at_ns) = match stream.time.as_ref().and_then(|time| time.get()) {
            Some(media) => media,
            None => {
                let (rtp_time, sent) = stream.last?;
                (rtp_time, self.shared.clock.monotonic_ns(sent))
            }
        };
        // The report is about now, at which the media's clock has gone on (or not quite begun).
        let since = i128::from(now_ns) - i128::from(at_ns);
        let ticks = since * i128::from(stream.clock_rate) / 1_000_000_000;
        Some(SenderReport {
            ssrc,
            ntp_time: self.shared.clock.ntp(now_ns),
            rtp_time: rtp_time.wrapping_add(ticks as u32),
            packet_count: stream.packets,
            octet_count: stream.octets,
            ..Default::default()
        })
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for SenderReports {
    passes!();

    fn handle_read(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        self.reads.push_back(msg);
        Ok(())
    }

    fn handle_write(&mut self, msg: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(packet) = &msg.message.packet
            && let Some(stream) = self.streams.get_mut(&packet.header.ssrc)
        {
            stream.packets = stream.packets.wrapping_add(1);
            stream.octets = stream.octets.wrapping_add(packet.payload.len() as u32);
            // The first packet of a picture: the others leave later by pacing.
            if stream.last.is_none_or(|(rtp_time, _)| rtp_time != packet.header.timestamp) {
                stream.last = Some((packet.header.timestamp, msg.now));
            }
            stream.due.get_or_insert(msg.now + FIRST);
        }
        self.writes.push_back(msg);
        Ok(())
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        let due: Vec<u32> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.due.is_some_and(|due| due <= now))
            .map(|(ssrc, _)| *ssrc)
            .collect();
        for ssrc in due {
            let report = self.streams.get(&ssrc).and_then(|stream| self.report(ssrc, stream, now));
            if let Some(report) = report {
                self.writes.push_back(TaggedPacket {
                    now,
                    transport: TransportContext::default(),
                    message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(report)])),
                });
            }
            if let Some(stream) = self.streams.get_mut(&ssrc) {
                stream.due = Some(now + EVERY);
            }
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.streams.values().filter_map(|stream| stream.due).min()
    }
}

impl Interceptor for SenderReports {
    fn bind_local_stream(&mut self, info: &StreamInfo) {
        self.streams.insert(
            info.ssrc,
            Stream {
                clock_rate: info.clock_rate,
                time: self.shared.outbound.time(info.ssrc),
                packets: 0,
                octets: 0,
                last: None,
                due: None,
            },
        );
    }

    fn unbind_local_stream(&mut self, info: &StreamInfo) {
        self.streams.remove(&info.ssrc);
    }

    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}
