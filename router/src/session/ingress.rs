//! One incoming track: RTP packets to access units on their way to its decoder.
//!
//! The packets wait in the jitter buffer of `remotemedia_rtp`; a unit that is whole is copied once, into what is sent to the
//! session's steward (the assembly that the copy budget allows). While no decoder is wired its units are dropped and counted.

use super::relay::Inflow;
use remotemedia_rtp::clock::MediaClock;
use remotemedia_rtp::{Packet, audio, video};
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::{Codec, Content, Flags, Meta, Stage, Stamp};
use remotemedia_worker::monotonic_ns;

/// Counters of a track.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(super) struct Counters {
    /// Packets taken.
    pub(super) packets: u64,
    /// Access units and sound packets handed on.
    pub(super) units: u64,
    /// Periods that are told as lost.
    pub(super) lost: u64,
    /// Units that no decoder was there for, or no room.
    pub(super) dropped: u64,
    /// Keyframes asked for.
    pub(super) keyframe_requests: u64,
}

enum Buffer {
    Video(Box<video::Ingest>),
    Audio(Box<audio::Ingest>),
}

/// One incoming track.
pub(super) struct Ingress {
    codec: Codec,
    source: u64,
    buffer: Buffer,
    clock: MediaClock,
    inflow: Option<Inflow>,
    counters: Counters,
    keyframe_needed: bool,
}

impl Ingress {
    /// A track of this codec; `source` is the router's number of it.
    #[must_use]
    pub(super) fn new(codec: Codec, source: u64) -> Self {
        let buffer = match video::Ingest::new(codec, video::Settings::default()) {
            Ok(ingest) => Buffer::Video(Box::new(ingest)),
            Err(video::NotVideo(_)) => {
                Buffer::Audio(Box::new(audio::Ingest::new(audio::Settings::default())))
            }
        };
        Self {
            codec,
            source,
            buffer,
            clock: MediaClock::new(codec.clock_rate()),
            inflow: None,
            counters: Counters::default(),
            keyframe_needed: false,
        }
    }

    /// What it carries.
    #[must_use]
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Its counters.
    #[must_use]
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// The clock that gives its media time.
    pub(super) fn clock(&mut self) -> &mut MediaClock {
        &mut self.clock
    }

    /// Where its units go from now on. A decoder that begins needs a keyframe.
    pub(super) fn connect(&mut self, inflow: Option<Inflow>) {
        let fresh = inflow.is_some();
        self.inflow = inflow;
        if fresh {
            self.want_keyframe();
        }
    }

    /// Another decoder waits for a keyframe, or lost its state.
    pub(super) fn want_keyframe(&mut self) {
        // Its answer comes with the next pump, spaced from those before.
        if let Buffer::Video(ingest) = &mut self.buffer {
            ingest.want_keyframe();
        }
    }

    /// The path's round trip: how long a retransmission is waited for follows it.
    pub(super) fn set_round_trip(&mut self, round_trip_ns: u64) {
        match &mut self.buffer {
            Buffer::Video(ingest) => ingest.set_round_trip(round_trip_ns),
            Buffer::Audio(_) => {}
        }
    }

    /// Whether a keyframe is to be asked for; asking is the caller's.
    pub(super) fn take_keyframe_request(&mut self) -> bool {
        let needed = std::mem::take(&mut self.keyframe_needed);
        self.counters.keyframe_requests += u64::from(needed);
        needed
    }

    /// When to call [`Self::pump`] at the latest.
    #[must_use]
    pub(super) fn wake_at(&self) -> Option<u64> {
        match &self.buffer {
            Buffer::Video(ingest) => ingest.wake_at(),
            Buffer::Audio(ingest) => ingest.wake_at(),
        }
    }

    /// Takes a packet and hands on what became whole.
    pub(super) fn push(&mut self, packet: Packet) {
        self.counters.packets += 1;
        let now = monotonic_ns();
        match &mut self.buffer {
            Buffer::Video(ingest) => ingest.push(now, packet),
            Buffer::Audio(ingest) => ingest.push(now, packet),
        }
        self.pump(now);
    }

    /// Hands on what is due.
    pub(super) fn pump(&mut self, now: u64) {
        loop {
            match &mut self.buffer {
                Buffer::Video(ingest) => match ingest.poll(now) {
                    Some(video::Output::Unit(unit)) => {
                        let mut meta = Meta::new(Content::Coded(self.codec));
                        meta.media_time_ns =
                            self.clock.arrived(unit.rtp_time, unit.first_arrival_ns);
                        meta.rtp_time = unit.rtp_time;
                        meta.source = self.source;
                        if unit.keyframe {
                            meta.flags = meta.flags.with(Flags::KEYFRAME);
                        }
                        if unit.discontinuity {
                            meta.flags = meta.flags.with(Flags::DISCONTINUITY);
                        }
                        stamp(&mut meta, unit.first_arrival_ns);
                        let wrote = write(self.inflow.as_ref(), unit.len(), meta, |payload| {
                            unit.write_to(payload)
                        });
                        ingest.recycle(unit);
                        match wrote {
                            Ok(()) => self.counters.units += 1,
                            Err(reason) => {
                                self.counters.dropped += 1;
                                // What comes next refers to what was dropped.
                                self.keyframe_needed |= reason != DropReason::NoConsumer;
                            }
                        }
                    }
                    Some(video::Output::KeyframeNeeded) => self.keyframe_needed = true,
                    None => return,
                },
                Buffer::Audio(ingest) => {
                    let Some(output) = ingest.poll(now) else { return };
                    self.sound(now, output);
                }
            }
        }
    }

    fn sound(&mut self, now: u64, output: audio::Output) {
        let mut meta = Meta::new(Content::Coded(self.codec));
        meta.source = self.source;
        let lost = matches!(output, audio::Output::Lost { .. });
        let wrote = match output {
            audio::Output::Packet {
                rtp_time,
                payload,
                duration_ns,
                first_arrival_ns,
                discontinuity,
            } => {
                meta.media_time_ns = self.clock.arrived(rtp_time, first_arrival_ns);
                meta.rtp_time = rtp_time;
                meta.duration_ns = duration_ns;
                if discontinuity {
                    meta.flags = meta.flags.with(Flags::DISCONTINUITY);
                }
                stamp(&mut meta, first_arrival_ns);
                write(self.inflow.as_ref(), payload.len(), meta, |into| {
                    into.copy_from_slice(&payload);
                    payload.len()
                })
            }
            audio::Output::Lost { rtp_time, duration_ns }
            | audio::Output::Silence { rtp_time, duration_ns } => {
                self.counters.lost += u64::from(lost);
                let flag = if lost { Flags::LOST } else { Flags::SILENCE };
                meta.flags = meta.flags.with(flag);
                meta.media_time_ns = self.clock.media_time_ns(rtp_time).unwrap_or(now);
                meta.rtp_time = rtp_time;
                meta.duration_ns = duration_ns;
                stamp(&mut meta, now);
                write(self.inflow.as_ref(), 0, meta, |_| 0)
            }
        };
        match wrote {
            Ok(()) => self.counters.units += 1,
            Err(_) => self.counters.dropped += 1,
        }
    }
}

fn stamp(meta: &mut Meta, received_ns: u64) {
    meta.stamps.push(Stamp { stage: Stage::Received, ns: received_ns });
    meta.stamps.push(Stamp { stage: Stage::Assembled, ns: monotonic_ns() });
}

fn write(
    inflow: Option<&Inflow>,
    len: usize,
    meta: Meta,
    fill: impl FnOnce(&mut [u8]) -> usize,
) -> Result<(), DropReason> {
    inflow.ok_or(DropReason::NoConsumer)?.write(len, meta, fill)
}
