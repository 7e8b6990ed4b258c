//! Encodes blocks of sound of any length as Opus packets, straight into shared memory.

use super::{failed, next_meta};
use crate::sound::{FRAMES, MAX_PACKET, MAX_SAMPLES, OpusEncoder, RATE};
use remotemedia_shm_schema::control::AudioEncode;
use remotemedia_shm_schema::{AudioGeometry, Codec, Content, Flags, Meta, Stage};
use remotemedia_worker::Frame;
use remotemedia_worker::worker::{Command, DropReason, Output, Processor, TaskError};

/// Opus frame that blocks of odd lengths below 20 ms are gathered into: 10 ms.
const SHORT: usize = 480;
/// The same for longer ones: 20 ms.
const LONG: usize = 960;
/// Nanoseconds by which a block may be off the one before; further off, what is gathered belongs to another time.
const JUMP_NS: u64 = 20_000_000;

/// An output's encoder for sound.
pub(super) struct EncodeAudio {
    encoder: OpusEncoder,
    /// Samples a channel of the packets that are made now.
    frame: usize,
    /// Interleaved samples that do not fill a packet yet.
    gathered: Vec<f32>,
    /// Media time right behind what is gathered.
    until_ns: u64,
    /// A block in the encoder's number of channels.
    mixed: Vec<f32>,
}

impl EncodeAudio {
    pub(super) fn new(settings: &AudioEncode) -> Result<Self, TaskError> {
        let encoder = OpusEncoder::new(settings).map_err(failed)?;
        let channels = usize::from(settings.channels);
        Ok(Self {
            encoder,
            frame: LONG,
            gathered: Vec::with_capacity(MAX_SAMPLES * channels),
            until_ns: 0,
            mixed: Vec::with_capacity(MAX_SAMPLES * channels),
        })
    }

    /// Encodes what a block, with what was gathered before it, fills packets of.
    fn feed(&mut self, block: &[f32], meta: &Meta, out: &mut Output<'_>) -> Result<(), TaskError> {
        let wide = usize::from(self.encoder.channels());
        let samples = block.len() / wide;
        if meta.media_time_ns.abs_diff(self.until_ns) > JUMP_NS {
            self.gathered.clear();
        }
        self.until_ns = meta.media_time_ns.saturating_add(nanoseconds(samples));
        if self.gathered.is_empty() {
            self.frame = frame_for(samples);
        }
        let mut rest = block;
        // Where the next packet begins, in samples from the block's begin.
        let mut at = -((self.gathered.len() / wide) as i64);
        let mut result = Ok(());
        if !self.gathered.is_empty() {
            let lacks = (self.frame * wide).saturating_sub(self.gathered.len()).min(rest.len());
            let (head, tail) = rest.split_at(lacks);
            self.gathered.extend_from_slice(head);
            out.count_copied(size_of_val(head));
            rest = tail;
            if self.gathered.len() < self.frame * wide {
                return Ok(());
            }
            result = put(&mut self.encoder, &self.gathered, &moved(meta, at), out);
            self.gathered.clear();
            at += self.frame as i64;
            self.frame = frame_for(samples);
        }
        while let Some((packet, tail)) = rest.split_at_checked(self.frame * wide) {
            // The first failure is told, those behind it still get their turn.
            result = result.and(put(&mut self.encoder, packet, &moved(meta, at), out));
            at += self.frame as i64;
            rest = tail;
        }
        self.gathered.extend_from_slice(rest);
        out.count_copied(size_of_val(rest));
        result
    }

    /// A block in another number of channels than the encoder's.
    fn mix(&mut self, block: &[f32], channels: usize) {
        self.mixed.clear();
        let stereo = self.encoder.channels() == 2;
        for sample in block.chunks_exact(channels.max(1)) {
            match (stereo, sample) {
                (true, [one]) => self.mixed.extend([*one, *one]),
                // Left and right come first in every layout.
                (true, [left, right, ..]) => self.mixed.extend([*left, *right]),
                _ => self.mixed.push(sample.iter().sum::<f32>() / channels as f32),
            }
        }
    }

    fn sound(
        &mut self,
        geometry: &AudioGeometry,
        block: &[f32],
        meta: &Meta,
        out: &mut Output<'_>,
    ) -> Result<(), TaskError> {
        if geometry.rate != RATE {
            out.count_drop(DropReason::Malformed);
            return Err(TaskError::failed("raw sound has 48,000 samples a second"));
        }
        if geometry.channels == self.encoder.channels() {
            return self.feed(block, meta, out);
        }
        self.mix(block, geometry.channels.into());
        out.count_copied(size_of_val(self.mixed.as_slice()));
        let mixed = std::mem::take(&mut self.mixed);
        let result = self.feed(&mixed, meta, out);
        self.mixed = mixed;
        result
    }

    /// A period without sound: the encoder hears silence.
    fn quiet(&mut self, meta: &Meta, out: &mut Output<'_>) -> Result<(), TaskError> {
        let samples = super::conceal::samples_of(meta.duration_ns, self.frame);
        let mut mixed = std::mem::take(&mut self.mixed);
        mixed.clear();
        mixed.resize(samples * usize::from(self.encoder.channels()), 0.0);
        let result = self.feed(&mixed, meta, out);
        self.mixed = mixed;
        result
    }
}

/// Encodes one packet into a loan and publishes it.
fn put(
    encoder: &mut OpusEncoder,
    block: &[f32],
    meta: &Meta,
    out: &mut Output<'_>,
) -> Result<(), TaskError> {
    let most = out.spec().map_or(0, |spec| spec.max_payload as usize).min(MAX_PACKET);
    let mut loan = out.loan(most)?;
    let len = encoder.encode(block, loan.payload_mut()).map_err(failed)?;
    let mut next = next_meta(meta, Content::Coded(Codec::Opus), Stage::Encoded);
    next.duration_ns = nanoseconds(block.len() / usize::from(encoder.channels()));
    if len > 2 {
        loan.publish_len(next, len)?;
    } else {
        // DTX: nothing is to be sent, and the listener's decoder goes on with background noise.
        drop(loan);
        next.flags = next.flags.with(Flags::SILENCE);
        out.publish_empty(next)?;
    }
    Ok(())
}

/// The packet's length for blocks of a length: the same where Opus has it.
fn frame_for(samples: usize) -> usize {
    if FRAMES.contains(&samples) {
        samples
    } else if samples < LONG {
        SHORT
    } else {
        LONG
    }
}

/// A block's description, for what begins `samples` behind its begin.
fn moved(meta: &Meta, samples: i64) -> Meta {
    let mut moved = *meta;
    let ns = nanoseconds(samples.unsigned_abs() as usize);
    moved.media_time_ns = if samples < 0 {
        meta.media_time_ns.saturating_sub(ns)
    } else {
        meta.media_time_ns.saturating_add(ns)
    };
    moved.rtp_time = meta.rtp_time.wrapping_add(samples as u32);
    moved
}

fn nanoseconds(samples: usize) -> u64 {
    samples as u64 * 1_000_000_000 / u64::from(RATE)
}

impl Processor for EncodeAudio {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let meta = frame.meta();
        let (Content::Sound(geometry), Some(block)) = (&meta.content, frame.sound()) else {
            if meta.flags.contains(Flags::END) {
                let content = Content::Coded(Codec::Opus);
                out.publish_empty(next_meta(meta, content, Stage::Encoded))?;
            } else if frame.payload().is_empty() && matches!(meta.content, Content::Sound(_)) {
                return self.quiet(meta, out);
            } else {
                out.count_drop(DropReason::Malformed);
            }
            return Ok(());
        };
        self.sound(geometry, block, meta, out)
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        match command {
            // Every packet of Opus can be decoded by itself.
            Command::Keyframe => Ok(()),
            Command::Bitrate(rate) => self.encoder.set_bitrate(*rate).map_err(failed),
            other => Err(TaskError::failed(format!("an encoder has no use for {other:?}"))),
        }
    }

    fn rewired(&mut self) {
        self.gathered.clear();
    }
}
