//! A returned sound track: packets → blocks of sound → ticks.

use super::{Ingest, bitrate};
use crate::codec::AudioDecoder;
use crate::report::{AudioReport, TicksReport};
use crate::sink::Wav;
use crate::stats::{Gaps, Order, Place, Spread};
use crate::ticks::{self, Detector, Heard};
use remotemedia_codec_worker::sound;
use remotemedia_rtp::{Packet, audio};
use remotemedia_shm_schema::Codec;
use remotemedia_worker::monotonic_ns;
use std::path::PathBuf;

/// The thread's state.
#[derive(Debug)]
pub struct AudioTrack {
    ingest: audio::Ingest,
    /// Made for as many channels as the first packet has.
    decoder: Option<(AudioDecoder, usize)>,
    block: Vec<f32>,
    mono: Vec<f32>,
    detector: Detector,
    heard: Vec<Heard>,
    save: Option<PathBuf>,
    sink: Option<Wav>,
    order: Order,
    latency: Spread,
    uncertain: u64,
    gaps: Gaps,
    packet_ns: u64,
    squares: f64,
    samples: u64,
    concealed: u64,
    /// Periods made up since the last packet; at the end of a call they are no loss.
    missing: u64,
    errors: u64,
    first_ns: Option<u64>,
    last_ns: u64,
}

impl AudioTrack {
    /// A track of Opus.
    #[must_use]
    pub fn new(save: Option<PathBuf>) -> Self {
        Self {
            ingest: audio::Ingest::new(audio::Settings::default()),
            decoder: None,
            block: vec![0.0; 2 * sound::MAX_SAMPLES],
            mono: Vec::with_capacity(sound::MAX_SAMPLES),
            detector: Detector::default(),
            heard: Vec::new(),
            save,
            sink: None,
            order: Order::new(u64::MAX / 4),
            latency: Spread::default(),
            uncertain: 0,
            gaps: Gaps::default(),
            packet_ns: 0,
            squares: 0.0,
            samples: 0,
            concealed: 0,
            missing: 0,
            errors: 0,
            first_ns: None,
            last_ns: 0,
        }
    }

    /// What came of it.
    #[must_use]
    pub fn finish(mut self) -> AudioReport {
        if let Some(Err(error)) = self.sink.take().map(Wav::finish) {
            tracing::error!(%error, "the sound could not be saved whole");
        }
        let stats = self.ingest.stats();
        AudioReport {
            sent: 0,
            received: stats.given,
            lost: stats.lost,
            out_of_order: stats.recovered + stats.late,
            duplicates: stats.duplicates,
            latency_ms: self.latency.latency(),
            gap_ms: self.gaps.spread().gap(),
            codec: Some(Codec::Opus.name()),
            bitrate: bitrate(stats.bytes, self.first_ns, self.last_ns),
            level: match self.samples {
                0 => 0.0,
                n => ((self.squares / n as f64).sqrt() * 1e6).round() / 1e6,
            },
            frame_ms: (self.packet_ns / 1_000_000) as u32,
            errors: self.errors + stats.malformed,
            concealed: self.concealed,
            ticks: TicksReport {
                received: self.order.distinct(),
                lost: self.order.lost(),
                out_of_order: self.order.out_of_order(),
                duplicates: self.order.duplicates(),
                unreadable: self.detector.unreadable() + self.uncertain,
            },
            ..AudioReport::default()
        }
    }

    fn packet(&mut self, payload: &[u8], duration_ns: u64) {
        if self.decoder.is_none() {
            let channels = sound::inspect(payload).map_or(1, |info| info.channels);
            match AudioDecoder::new(channels) {
                Ok(decoder) => self.decoder = Some((decoder, usize::from(channels))),
                Err(error) => tracing::error!(%error, "no decoder"),
            }
        }
        let Some((decoder, channels)) = &mut self.decoder else { return };
        self.packet_ns = duration_ns;
        match decoder.decode(payload, &mut self.block) {
            Ok(count) => {
                let length = count * *channels;
                self.sound(length);
            }
            Err(error) => {
                tracing::debug!(%error, "a packet was not decoded");
                self.errors += 1;
                self.conceal(duration_ns);
            }
        }
        self.gaps.push(monotonic_ns());
    }

    fn conceal(&mut self, duration_ns: u64) {
        let Some((decoder, channels)) = &mut self.decoder else { return };
        let length = samples(duration_ns) / sound::GRAIN * sound::GRAIN * *channels;
        let Some(block) = self.block.get_mut(..length) else { return };
        if decoder.conceal(block).is_err() {
            block.fill(0.0);
        }
        self.sound(length);
    }

    fn silence(&mut self, duration_ns: u64) {
        let Some((_, channels)) = &self.decoder else { return };
        let length = (samples(duration_ns) * channels).min(self.block.len());
        if let Some(block) = self.block.get_mut(..length) {
            block.fill(0.0);
        }
        self.sound(length);
    }

    /// Takes the begin of `block`: listens for ticks, saves it.
    fn sound(&mut self, length: usize) {
        let now = monotonic_ns();
        let channels = self.decoder.as_ref().map_or(1, |(_, channels)| *channels);
        let Some(block) = self.block.get(..length) else { return };
        self.mono.clear();
        self.mono.extend(
            block.chunks(channels).map(|frame| frame.iter().sum::<f32>() / channels as f32),
        );
        self.squares += self.mono.iter().map(|&s| f64::from(s) * f64::from(s)).sum::<f64>();
        self.samples += self.mono.len() as u64;
        self.detector.push(&self.mono, now, |heard| self.heard.push(heard));
        if let Some(path) = self.save.take() {
            match Wav::create(&path, channels as u8) {
                Ok(sink) => self.sink = Some(sink),
                Err(error) => tracing::error!(%error, ?path, "the sound cannot be saved"),
            }
        }
        if let Some(Err(error)) = self.sink.as_mut().map(|sink| sink.write(block)) {
            tracing::error!(%error, "the sound is not saved any further");
            self.sink = None;
        }
        while let Some(heard) = self.heard.pop() {
            self.tick(heard);
        }
    }

    fn tick(&mut self, heard: Heard) {
        // By its place on the line, not by its number alone: one that was misread is taken for an old one, never for one that
        // all that follow would be behind.
        let tick = ticks::tick_of(heard.number, heard.arrival_ns);
        let age = heard.arrival_ns.saturating_sub(ticks::due_ns(tick * ticks::PERIOD));
        if !ticks::certain(age) {
            self.uncertain += 1;
        } else if self.order.push(tick) != Place::Again {
            self.latency.record_ns(age);
        }
    }
}

impl Ingest for AudioTrack {
    fn push(&mut self, packet: Packet) {
        self.first_ns.get_or_insert(packet.arrival_ns);
        self.last_ns = self.last_ns.max(packet.arrival_ns);
        self.ingest.push(monotonic_ns(), packet);
    }

    fn drain(&mut self) {
        while let Some(output) = self.ingest.poll(monotonic_ns()) {
            match output {
                audio::Output::Packet { payload, duration_ns, .. } => {
                    self.concealed += std::mem::take(&mut self.missing);
                    self.packet(&payload, duration_ns);
                }
                audio::Output::Lost { duration_ns, .. } => {
                    self.missing += 1;
                    self.conceal(duration_ns);
                }
                audio::Output::Silence { duration_ns, .. } => self.silence(duration_ns),
            }
        }
    }

    fn wake_at(&self) -> Option<u64> {
        self.ingest.wake_at()
    }

    fn holds(&self) -> bool {
        self.ingest.buffered().0 > 0
    }
}

fn samples(duration_ns: u64) -> usize {
    (ticks::sample_at(duration_ns) as usize).min(sound::MAX_SAMPLES)
}
