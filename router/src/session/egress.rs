//! One viewer's stream of one product: packets of shared batches with this viewer's numbers, video paced, sound at once.

use super::stages::{Percentiles, Stages};
use bytes::Bytes;
use remotemedia_peer::{OutPacket, Sender};
use remotemedia_rtp::egress::{Start, Stream};
use remotemedia_rtp::pace::{self, Pacer};
use remotemedia_rtp::rate::{Estimator, LossRate, Report};
use remotemedia_shm_schema::{Codec, Media, NodeId, Stage, Stamp, Stamps};
use remotemedia_worker::monotonic_ns;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The rate goes down to this share of the configured one (chosen: 150 kb/s of 1.5 Mb/s still carries 320x180).
const FLOOR_SHARE: u32 = 10;

/// One encoded frame as packets, shared by all its viewers.
#[derive(Debug)]
pub(super) struct Batch {
    /// Counts the product's frames: a viewer that misses one waits for a keyframe.
    pub(super) number: u64,
    /// Payloads, in order.
    pub(super) packets: Vec<Bytes>,
    /// When it is.
    pub(super) media_time_ns: u64,
    /// How long it lasts.
    pub(super) duration_ns: u64,
    /// Decodable by itself.
    pub(super) keyframe: bool,
    /// Stages that it passed.
    pub(super) stamps: Stamps,
}

/// A packet in the pacer.
#[derive(Debug)]
struct Queued {
    timestamp: u32,
    last: bool,
    media_time_ns: u64,
    payload: Bytes,
    /// With the first packet of a frame: its stamps.
    stamps: Option<Stamps>,
}

/// Counters of a viewer's stream.
#[derive(Debug, Clone, Copy, Default, serde::Serialize)]
pub(super) struct Counters {
    /// Frames handed to the wire.
    pub(super) frames: u64,
    /// Packets handed to the wire.
    pub(super) packets: u64,
    /// Bytes of their payloads.
    pub(super) bytes: u64,
    /// Frames dropped: before the first keyframe, or because the pacer was full.
    pub(super) dropped: u64,
    /// Loss that the viewer reported last, in percent.
    pub(super) loss_percent: f32,
}

/// One viewer's stream.
pub(super) struct Egress {
    codec: Codec,
    sender: Sender,
    stream: Stream,
    pacer: Option<Pacer<Queued>>,
    /// The place of the sound estimator: today the viewer's reported loss.
    rate: Box<dyn Estimator>,
    stages: Stages,
    counters: Counters,
    awaits_keyframe: bool,
    last_number: Option<u64>,
    hush: Hush,
}

/// Silence that is sent while no sound comes that should.
#[derive(Debug, Default)]
struct Hush {
    /// Media time behind the last packet, whoever made it; none before the first.
    until_ns: Option<u64>,
    /// When the next packet of silence is due; none while sound comes.
    due_ns: Option<u64>,
}

/// A packet of silence: 20 ms, one channel, CELT, full band (RFC 6716, sections 3.1 and 4.3: the second and third byte are a
/// frame whose energy is nothing).
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// What it lasts.
const SILENCE_NS: u64 = 20_000_000;
/// Sound that is late by so much is away (chosen: a packet and the jitter of a busy machine).
const AWAY_NS: u64 = 40_000_000;

impl Egress {
    /// A stream to `sender`; `bitrate` is the configured one.
    #[must_use]
    pub(super) fn new(codec: Codec, sender: Sender, start: Start, bitrate: u32) -> Self {
        let video = !codec.is_audio();
        Self {
            codec,
            sender,
            stream: Stream::new(codec, start),
            pacer: video.then(|| Pacer::new(pace::Settings::default(), bitrate)),
            rate: Box::new(LossRate::new(bitrate / FLOOR_SHARE, bitrate)),
            stages: Stages::default(),
            counters: Counters::default(),
            awaits_keyframe: video,
            last_number: None,
            hush: Hush::default(),
        }
    }

    /// Sound does not come for now; silence takes its place on the frame clock until it does.
    pub(super) fn hush(&mut self) {
        if self.pacer.is_none() && self.hush.until_ns.is_some() && self.hush.due_ns.is_none() {
            self.hush.due_ns = Some(monotonic_ns() + AWAY_NS);
        }
    }

    /// Goes on where the stream before it on the same sender stopped, if there was one.
    pub(super) fn go_on(&mut self) {
        if let Some(sequence) = self.sender.next_sequence() {
            self.stream.go_on_at(sequence);
        }
    }

    /// Sound or picture.
    #[must_use]
    pub(super) fn kind(&self) -> Media {
        Media::of(self.codec)
    }

    /// Its codec.
    #[must_use]
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// The connection's sender behind it.
    #[must_use]
    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    /// Its counters.
    #[must_use]
    pub(super) fn counters(&self) -> Counters {
        self.counters
    }

    /// Its stages.
    #[must_use]
    pub(super) fn stages(&self, nodes: &[(u8, NodeId)]) -> BTreeMap<String, Percentiles> {
        self.stages.snapshot(nodes)
    }

    /// The viewer reported; returns the rate that it allows now.
    pub(super) fn report(
        &mut self,
        now_ns: u64,
        fraction_lost: f32,
        round_trip_ns: Option<u64>,
    ) -> u32 {
        self.counters.loss_percent = fraction_lost * 100.0;
        self.rate.on_report(now_ns, Report { fraction_lost, round_trip_ns });
        let target = self.rate.target_bps();
        if let Some(pacer) = &mut self.pacer {
            pacer.set_target(now_ns, target);
        }
        target
    }

    /// The rate that the viewer allows.
    #[must_use]
    pub(super) fn target(&self) -> u32 {
        self.rate.target_bps()
    }

    /// When to call [`Self::pump`] at the latest.
    #[must_use]
    pub(super) fn wake_at(&self) -> Option<u64> {
        self.pacer.as_ref().and_then(Pacer::wake_at).or(self.hush.due_ns)
    }

    /// Takes a frame. Returns whether a keyframe is needed to go on.
    pub(super) async fn push(&mut self, batch: &Arc<Batch>) -> bool {
        let missed = self.last_number.is_some_and(|last| batch.number != last.wrapping_add(1));
        self.last_number = Some(batch.number);
        let broken = missed && self.kind() == Media::Video;
        if self.awaits_keyframe || broken {
            self.awaits_keyframe = true;
            if !batch.keyframe {
                self.counters.dropped += 1;
                return broken;
            }
            self.awaits_keyframe = false;
        }
        self.hush.due_ns = None;
        self.hush.until_ns = Some(batch.media_time_ns.saturating_add(batch.duration_ns));
        let timestamp = self.stream.begin(batch.media_time_ns, batch.duration_ns);
        let now = monotonic_ns();
        let count = batch.packets.len();
        for (index, payload) in batch.packets.iter().enumerate() {
            let queued = Queued {
                timestamp,
                last: index + 1 == count,
                media_time_ns: batch.media_time_ns,
                payload: payload.clone(),
                stamps: (index == 0).then_some(batch.stamps),
            };
            match &mut self.pacer {
                None => self.send(queued).await,
                Some(pacer) => {
                    let bytes = queued.payload.len();
                    pacer.push(now, queued, bytes, batch.keyframe && index == 0);
                }
            }
        }
        self.pump(now).await
    }

    /// A period of sound that is not sent.
    pub(super) fn silence(&mut self, media_time_ns: u64, duration_ns: u64) {
        self.hush.due_ns = None;
        self.hush.until_ns = Some(media_time_ns.saturating_add(duration_ns));
        self.stream.silence(media_time_ns, duration_ns);
    }

    /// Sends what is due. Returns whether a keyframe is needed to go on: what waited had grown too old.
    pub(super) async fn pump(&mut self, now: u64) -> bool {
        let mut needed = false;
        while let (Some(due), Some(at)) = (self.hush.due_ns, self.hush.until_ns) {
            if now < due {
                break;
            }
            let timestamp = self.stream.begin(at, SILENCE_NS);
            self.hush.until_ns = Some(at.saturating_add(SILENCE_NS));
            // A task that was stopped for long does not make up for it packet by packet.
            let next = due.saturating_add(SILENCE_NS);
            self.hush.due_ns = Some(if now.saturating_sub(next) > AWAY_NS { now } else { next });
            let payload = Bytes::from_static(&SILENCE);
            let media_time_ns = at;
            self.send(Queued { timestamp, last: true, media_time_ns, payload, stamps: None }).await;
        }
        while let Some(output) = self.pacer.as_mut().and_then(|pacer| pacer.poll(now)) {
            match output {
                pace::Output::Send(queued) => self.send(queued).await,
                pace::Output::KeyframeNeeded => {
                    self.counters.dropped += 1;
                    self.awaits_keyframe = true;
                    needed = true;
                }
            }
        }
        needed
    }

    async fn send(&mut self, queued: Queued) {
        self.counters.packets += 1;
        self.counters.bytes += queued.payload.len() as u64;
        // Numbered as it leaves: what the pacer dropped leaves no hole that the viewer would ask for.
        let header = self.stream.header(queued.timestamp, queued.last);
        let packet = OutPacket {
            payload_type: None,
            media_time_ns: Some(queued.media_time_ns),
            sequence: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload: queued.payload,
        };
        // A connection that is going down says so by its state; a packet more or less is nobody's concern.
        if self.sender.send(packet).await.is_ok()
            && let Some(mut stamps) = queued.stamps
        {
            let now = monotonic_ns();
            stamps.push(Stamp { stage: Stage::Sent, ns: now });
            self.stages.record(now, &stamps);
            self.counters.frames += 1;
        }
    }
}
