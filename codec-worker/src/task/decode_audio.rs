//! Decodes an Opus track: one block of sound for every period, whatever came in it.

use super::conceal::{self, Stretch, samples_of};
use super::{failed, next_meta};
use crate::sound::{self, OpusDecoder, PacketInfo, RATE};
use remotemedia_shm_schema::{AudioGeometry, Content, Flags, Meta, Stage};
use remotemedia_worker::Frame;
use remotemedia_worker::worker::{Command, Output, Processor, TaskError};

/// Packets after one with FEC during which a lost one waits for the next: quiet frames carry none in between.
const FEC_MEMORY: u32 = 50;

/// Frames that the channel dropped and that are made up at once; behind more, time jumps instead (100 ms of sound in
/// one go would only overflow the next channel).
const MAX_MISSED: u64 = 4;

/// An Opus track's decoder.
pub(super) struct DecodeAudio {
    decoder: OpusDecoder,
    /// Samples a channel of the last packet.
    usual: usize,
    /// Packets for which a lost one still waits for the next.
    fec_hope: u32,
    /// A lost period that the next packet may bring back.
    held: Option<(Meta, usize)>,
    stretch: Stretch,
}

/// What a block is made from.
#[derive(Clone, Copy)]
enum Source<'a> {
    Packet(&'a [u8]),
    /// The packet behind the one that was lost.
    Next(&'a [u8]),
    /// What came before, for a stretch that is full so long.
    Before(usize),
}

impl DecodeAudio {
    pub(super) fn new() -> Result<Self, TaskError> {
        Ok(Self {
            decoder: OpusDecoder::new(1).map_err(failed)?,
            usual: 960,
            fec_hope: 0,
            held: None,
            stretch: Stretch::default(),
        })
    }

    /// A block for a period without a packet.
    fn empty(&mut self, meta: &Meta, out: &mut Output<'_>) -> Result<(), TaskError> {
        if let Some((held, samples)) = self.held.take() {
            self.put(&held, samples, Source::Before(conceal::LOST), out)?;
        }
        let samples = samples_of(meta.duration_ns, self.usual);
        if meta.flags.contains(Flags::LOST) {
            if self.fec_hope > 0 {
                // The router lets go of a lost period when the next packet is there, so this waits for next to nothing.
                self.held = Some((*meta, samples));
                return Ok(());
            }
            return self.put(meta, samples, Source::Before(conceal::LOST), out);
        }
        if meta.flags.contains(Flags::END) {
            let content = Content::Sound(self.geometry(self.usual));
            out.publish_empty(next_meta(meta, content, Stage::Decoded))?;
            return Ok(());
        }
        self.put(meta, samples, Source::Before(conceal::SILENT), out)
    }

    fn packet(
        &mut self,
        packet: &[u8],
        info: PacketInfo,
        frame: &Frame,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        // Once stereo, always stereo: nodes behind this see at most one change.
        if info.channels > self.decoder.channels() {
            self.decoder = OpusDecoder::new(info.channels).map_err(failed)?;
        }
        self.usual = info.samples;
        self.fec_hope = if info.fec { FEC_MEMORY } else { self.fec_hope.saturating_sub(1) };
        let filled = self.fill_gap(packet, info, frame, out);
        // Whatever became of the gap, the decoder must not miss this one.
        filled.and(self.put(frame.meta(), info.samples, Source::Packet(packet), out))
    }

    /// Makes up, or brings back, what is missing right before a packet.
    fn fill_gap(
        &mut self,
        packet: &[u8],
        info: PacketInfo,
        frame: &Frame,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        let last = if info.fec { Source::Next(packet) } else { Source::Before(conceal::LOST) };
        if let Some((held, samples)) = self.held.take() {
            self.put(&held, samples, last, out)?;
        }
        let missed = frame.missed();
        if missed == 0 || missed > MAX_MISSED {
            return Ok(());
        }
        let period = self.geometry(info.samples).duration_ns();
        for back in (1..=missed).rev() {
            let mut meta = *frame.meta();
            meta.media_time_ns = meta.media_time_ns.saturating_sub(back * period);
            meta.rtp_time = meta.rtp_time.wrapping_sub(back as u32 * info.samples as u32);
            let source = if back == 1 { last } else { Source::Before(conceal::LOST) };
            self.put(&meta, info.samples, source, out)?;
        }
        Ok(())
    }

    /// Publishes one block. A broken packet's time is made up, and the error told when the block is out.
    fn put(
        &mut self,
        meta: &Meta,
        samples: usize,
        source: Source<'_>,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        let geometry = self.geometry(samples);
        let mut loan = out.loan(geometry.payload_len())?;
        let block = loan.samples_mut();
        let result = match source {
            Source::Packet(packet) => self.decoder.decode(packet, block).map(|got| {
                // Within a packet the lengths agree, or `inspect` had refused it.
                if let Some(rest) = block.get_mut(got * usize::from(geometry.channels)..) {
                    rest.fill(0.0);
                }
            }),
            Source::Next(next) => self.decoder.recover(next, block).map(|_| ()),
            Source::Before(_) => Ok(()),
        };
        let made_up = match (source, &result) {
            (Source::Packet(_), Ok(())) => {
                self.stretch.end();
                false
            }
            (Source::Next(_), Ok(())) => {
                self.stretch.end();
                true
            }
            (Source::Before(full), _) => {
                self.make_up(block, full);
                true
            }
            (_, Err(_)) => {
                self.make_up(block, conceal::LOST);
                true
            }
        };
        let mut next = next_meta(meta, Content::Sound(geometry), Stage::Decoded);
        next.flags = next.flags.without(Flags::END);
        next.duration_ns = geometry.duration_ns();
        loan.publish(next)?;
        let silent = matches!(source, Source::Before(conceal::SILENT));
        if made_up && !silent {
            out.count_concealed();
        }
        result.map_err(failed)
    }

    fn make_up(&mut self, block: &mut [f32], full: usize) {
        if self.stretch.faded(full) || self.decoder.conceal(block).is_err() {
            block.fill(0.0);
        }
        self.stretch.shape(block, self.decoder.channels().into(), full);
    }

    fn geometry(&self, samples: usize) -> AudioGeometry {
        AudioGeometry { rate: RATE, channels: self.decoder.channels(), samples: samples as u32 }
    }
}

impl Processor for DecodeAudio {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let packet = frame.payload();
        if packet.is_empty() {
            return self.empty(frame.meta(), out);
        }
        match sound::inspect(packet) {
            Some(info) => self.packet(packet, info, frame, out),
            None => {
                // As good as lost: the next packet may bring it back.
                let mut lost = *frame.meta();
                lost.flags = lost.flags.with(Flags::LOST).without(Flags::SILENCE);
                self.empty(&lost, out)?;
                Err(TaskError::failed("not an Opus packet"))
            }
        }
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        Err(TaskError::failed(format!("a decoder has no use for {command:?}")))
    }

    fn rewired(&mut self) {
        // What was lost before is long past.
        self.held = None;
    }
}
