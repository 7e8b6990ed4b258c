//! One viewer's stream: sequence numbers and timestamps that go on over generations, sources and pauses.
//!
//! Video timestamps are the media time in ticks. Audio timestamps count samples: they go on by each packet's
//! duration, so that the viewer's jitter buffer sees no seams, and follow the media time only over a hole. The
//! drift between the two is told by [`Stream::rtp_at`], from which sender reports of all tracks of a viewer must be
//! made: then sound and picture stay together, however long each was processed.

use remotemedia_shm_schema::Codec;

/// Steps of audio media time that differ from the duration by more are a hole, in ns (chosen: above jitter and slew).
const HOLE_NS: i64 = 60_000_000;

/// Where a stream begins. RFC 3550 wants all three random; this crate draws none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Start {
    /// Identifies the stream.
    pub ssrc: u32,
    /// Of the first packet.
    pub sequence: u16,
    /// Of the first frame.
    pub timestamp: u32,
}

/// The fields of one packet's RTP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The stream.
    pub ssrc: u32,
    /// One more than the last one's.
    pub sequence: u16,
    /// The frame's.
    pub timestamp: u32,
    /// Video: the frame's last packet. Audio: the first one after silence.
    pub marker: bool,
}

/// One viewer's and track's stream.
#[derive(Debug, Clone)]
pub struct Stream {
    audio: bool,
    rate: u32,
    ssrc: u32,
    sequence: u16,
    /// Timestamp, media time and duration of the current frame.
    frame: Option<(u32, u64, u64)>,
    first_timestamp: u32,
    /// The next audio packet follows a silence.
    talk_begins: bool,
    packets: u64,
}

impl Stream {
    /// A stream of this codec's clock.
    #[must_use]
    pub fn new(codec: Codec, start: Start) -> Self {
        Self {
            audio: codec.is_audio(),
            rate: codec.clock_rate(),
            ssrc: start.ssrc,
            sequence: start.sequence,
            frame: None,
            first_timestamp: start.timestamp,
            talk_begins: true,
            packets: 0,
        }
    }

    /// Begins a frame and returns its timestamp; [`Self::next`] then gives its packets' headers.
    ///
    /// A frame whose media time does not lie behind the last one's (another source, a repeated keyframe) still gets
    /// a later timestamp.
    pub fn begin(&mut self, media_time_ns: u64, duration_ns: u64) -> u32 {
        let timestamp = match self.frame {
            None => self.first_timestamp,
            Some((last, last_media, last_duration)) => {
                let step = signed_diff(media_time_ns, last_media);
                let step_ns = if self.audio {
                    let expected = i64::try_from(last_duration).unwrap_or(i64::MAX);
                    if step.saturating_sub(expected) > HOLE_NS { step } else { expected }
                } else {
                    step
                };
                // At most half the circle, or it would be read as a step back.
                let ticks = self.ticks(step_ns).clamp(1, i64::from(u32::MAX / 2));
                last.wrapping_add(ticks as u32)
            }
        };
        self.frame = Some((timestamp, media_time_ns, duration_ns));
        timestamp
    }

    /// The header of the frame's next packet; `last` tells that it is the frame's last one.
    ///
    /// Before the first [`Self::begin`] the timestamp is the start's.
    pub fn next(&mut self, last: bool) -> Header {
        let timestamp = self.frame.map_or(self.first_timestamp, |(timestamp, ..)| timestamp);
        self.header(timestamp, last)
    }

    /// The header of a packet of a frame that was begun earlier.
    ///
    /// For packets that come out of a pacer: only there they get their sequence numbers, so that what a pacer drops
    /// leaves no hole that the viewer would have sent again.
    pub fn header(&mut self, timestamp: u32, last: bool) -> Header {
        let marker = if self.audio { std::mem::take(&mut self.talk_begins) } else { last };
        let header = Header { ssrc: self.ssrc, sequence: self.sequence, timestamp, marker };
        self.sequence = self.sequence.wrapping_add(1);
        self.packets += 1;
        header
    }

    /// A period of audio that is not sent: time goes on, sequence numbers do not, and the next packet is marked.
    pub fn silence(&mut self, media_time_ns: u64, duration_ns: u64) {
        self.begin(media_time_ns, duration_ns);
        self.talk_begins = true;
    }

    /// The RTP time that belongs to a time on the router's line, by the last frame; for a sender report, whose NTP
    /// time must be of the same instant. `None` before the first frame.
    #[must_use]
    pub fn rtp_at(&self, media_time_ns: u64) -> Option<u32> {
        let (timestamp, media, _) = self.frame?;
        let ticks = self.ticks(signed_diff(media_time_ns, media));
        Some(timestamp.wrapping_add(ticks as u32))
    }

    /// A sender report's pair (NTP time, RTP time) for now: both clocks are read at the same instant by the caller.
    #[must_use]
    pub fn report(&self, now_ns: u64, unix_now_ns: u64) -> Option<(u64, u32)> {
        Some((crate::clock::ntp_from_unix_ns(unix_now_ns), self.rtp_at(now_ns)?))
    }

    /// Goes on after another stream of this SSRC: SRTP takes no number twice (RFC 3711, section 3.3.1), and a receiver drops
    /// what lies behind the greatest that it saw.
    pub fn go_on_at(&mut self, sequence: u16) {
        self.sequence = sequence;
    }

    /// The stream's identity.
    #[must_use]
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// The sequence number that the next packet will have.
    #[must_use]
    pub fn next_sequence(&self) -> u16 {
        self.sequence
    }

    /// Headers given out so far.
    #[must_use]
    pub fn packets(&self) -> u64 {
        self.packets
    }

    fn ticks(&self, ns: i64) -> i64 {
        // To the nearest tick: 20 ms of 48 kHz are 960 even where the nanoseconds were cut.
        let scaled = i128::from(ns) * i128::from(self.rate);
        let half = if scaled < 0 { -500_000_000 } else { 500_000_000 };
        i64::try_from((scaled + half) / 1_000_000_000).unwrap_or(0)
    }
}

fn signed_diff(a: u64, b: u64) -> i64 {
    i64::try_from(i128::from(a) - i128::from(b)).unwrap_or(if a < b { i64::MIN } else { i64::MAX })
}
