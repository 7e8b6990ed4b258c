//! The sending side: a thread for each kind of media, paced by an absolute clock.

use crate::args::{Args, Media, Mute};
use crate::codec::{AudioEncoder, CodecFault, VideoEncoder};
use crate::picture::Picture;
use crate::source::{Sound, Video};
use crate::strip::{self, Code};
use crate::ticks;
use bytes::Bytes;
use remotemedia_peer::{OutPacket, PeerError, Sender};
use remotemedia_rtp::egress::{Start, Stream};
use remotemedia_rtp::packetize::{MTU_PAYLOAD, Packetizer};
use remotemedia_shm_schema::Codec;
use remotemedia_worker::monotonic_ns;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Handle;

/// Behind its clock by more than this many pictures, a sender leaves them out, as a camera would.
const LATEST: u64 = 2;
/// A keyframe that is asked for sooner after the last is put off; a burst of requests is one.
const KEYFRAMES_NS: u64 = 100_000_000;

/// What can be told to a sending thread from outside.
#[derive(Debug, Default)]
pub struct Signals {
    stop: AtomicBool,
    keyframe: AtomicBool,
}

/// A sending thread.
#[derive(Debug)]
pub struct Sending {
    signals: Arc<Signals>,
    thread: JoinHandle<Sent>,
}

/// What a sending thread did.
#[derive(Debug, Default)]
pub struct Sent {
    /// Pictures or packets of sound.
    pub frames: u64,
    /// Those that were left out because this machine was too slow.
    pub skipped: u64,
    /// Why it ended early.
    pub fault: Option<String>,
}

impl Sending {
    /// The next picture shall be a keyframe.
    pub fn want_keyframe(&self) {
        self.signals.keyframe.store(true, Ordering::Relaxed);
    }

    /// Tells it to end.
    pub fn stop(&self) {
        self.signals.stop.store(true, Ordering::Relaxed);
    }

    /// Waits until it has ended, at most a frame after [`Self::stop`].
    #[must_use]
    pub fn join(self) -> Sent {
        self.stop();
        let panicked = |_| Sent { fault: Some("the sender panicked".into()), ..Sent::default() };
        self.thread.join().unwrap_or_else(panicked)
    }
}

/// Pictures to send, and those of other sizes from later on.
#[derive(Debug)]
pub struct VideoPlan {
    /// First pictures.
    pub source: Video,
    /// When to change to which.
    pub later: Vec<(Duration, Video)>,
    /// Pictures a second.
    pub fps: u32,
    /// Bits a second.
    pub bitrate: u32,
    /// When not to send.
    pub mutes: Vec<Mute>,
}

/// Sound to send.
#[derive(Debug)]
pub struct AudioPlan {
    /// The sound.
    pub source: Sound,
    /// Milliseconds in a packet.
    pub frame_ms: u32,
    /// Bits a second.
    pub bitrate: u32,
    /// When not to send.
    pub mutes: Vec<Mute>,
}

impl VideoPlan {
    /// As the flags say.
    ///
    /// # Errors
    /// When the source has no such size.
    pub fn new(args: &Args, source: Video) -> Result<Self, String> {
        let later = args
            .resize
            .iter()
            .map(|r| Ok((r.at, source.at_size(r.size.0, r.size.1)?)))
            .collect::<Result<_, String>>()?;
        let mutes = mutes(args, Media::Video);
        Ok(Self { source, later, fps: args.fps, bitrate: args.bitrate, mutes })
    }

    /// Begins to send.
    #[must_use]
    pub fn start(self, sender: Sender, codec: Codec, runtime: Handle) -> Sending {
        start("send video", move |signals| {
            let mut sent = Sent::default();
            let mut wire = Wire::new(sender, codec, runtime);
            if let Err(fault) = self.send(codec, &mut wire, signals, &mut sent) {
                sent.fault = Some(fault.to_string());
            }
            sent
        })
    }

    fn send(
        mut self,
        codec: Codec,
        wire: &mut Wire,
        signals: &Signals,
        sent: &mut Sent,
    ) -> Result<(), CodecFault> {
        let sizes = || self.later.iter().map(|(_, v)| v.size()).chain([self.source.size()]);
        let most = (
            sizes().map(|s| s.0).max().unwrap_or_default(),
            sizes().map(|s| s.1).max().unwrap_or_default(),
        );
        let mut encoder = VideoEncoder::new(codec, self.bitrate, self.fps, most)?;
        let mut picture = Picture::black(self.source.size().0, self.source.size().1);
        self.later.reverse();
        let period = 1_000_000_000 / u64::from(self.fps.max(1));
        let begin = monotonic_ns();
        let mut last_keyframe = 0;
        let mut step = 0u64;
        while wait_until(begin + step * period, signals) {
            let behind = monotonic_ns().saturating_sub(begin + step * period) / period;
            if behind > LATEST {
                sent.skipped += behind;
                step += behind;
            }
            let (now_step, due) = (step, begin + step * period);
            step += 1;
            let since = Duration::from_nanos(due - begin);
            if let Some((_, source)) = self.later.pop_if(|(at, _)| *at <= since) {
                self.source = source;
            }
            if is_muted(&self.mutes, since) {
                continue;
            }
            self.source.fill(now_step, &mut picture);
            let force = monotonic_ns() - last_keyframe >= KEYFRAMES_NS
                && signals.keyframe.swap(false, Ordering::Relaxed);
            // The number is the count of what was really sent: a picture that rate control drops takes none.
            let number = sent.frames as u32;
            strip::stamp(&mut picture, Code::at(number, monotonic_ns()));
            let Some(unit) = encoder.encode(&picture, due, force)? else { continue };
            if unit.keyframe {
                last_keyframe = monotonic_ns();
            }
            if !wire.send(unit.bytes, unit.keyframe, due, period) {
                break;
            }
            sent.frames += 1;
        }
        Ok(())
    }
}

impl AudioPlan {
    /// As the flags say.
    #[must_use]
    pub fn new(args: &Args, source: Sound) -> Self {
        let mutes = mutes(args, Media::Audio);
        Self { source, frame_ms: args.audio_frame, bitrate: args.audio_bitrate, mutes }
    }

    /// Begins to send.
    #[must_use]
    pub fn start(self, sender: Sender, runtime: Handle) -> Sending {
        start("send audio", move |signals| {
            let mut sent = Sent::default();
            let mut wire = Wire::new(sender, Codec::Opus, runtime);
            if let Err(fault) = self.send(&mut wire, signals, &mut sent) {
                sent.fault = Some(fault.to_string());
            }
            sent
        })
    }

    fn send(self, wire: &mut Wire, signals: &Signals, sent: &mut Sent) -> Result<(), CodecFault> {
        let channels = self.source.channels();
        let mut encoder = AudioEncoder::new(channels, self.bitrate)?;
        let samples = u64::from(self.frame_ms * ticks::RATE / 1_000).max(1);
        let mut block = vec![0f32; samples as usize * usize::from(channels)];
        let begin = ticks::sample_at(monotonic_ns());
        let mut first = begin;
        // A block is there once its last sample was played into the microphone.
        while wait_until(ticks::due_ns(first + samples), signals) {
            let late = ticks::sample_at(monotonic_ns()).saturating_sub(first + samples) / samples;
            if late > 50 {
                // This machine slept for half a second or more: what was not heard then is left out.
                sent.skipped += late;
                first += late * samples;
            }
            let (due, length) = (ticks::due_ns(first), ticks::due_ns(samples));
            // Ticks stand on the machine's clock, a clip begins with the call.
            let place = if self.source.is_ticks() { first } else { first - begin };
            first += samples;
            if is_muted(&self.mutes, Duration::from_nanos(due - ticks::due_ns(begin))) {
                wire.silence(due, length);
                continue;
            }
            self.source.fill(place, &mut block);
            let packet = encoder.encode(&block)?;
            if !wire.send(packet, false, due, length) {
                break;
            }
            sent.frames += 1;
        }
        Ok(())
    }
}

/// From access units to the connection.
struct Wire {
    sender: Sender,
    runtime: Handle,
    packetizer: Packetizer,
    stream: Stream,
    payloads: Vec<Bytes>,
}

impl Wire {
    fn new(sender: Sender, codec: Codec, runtime: Handle) -> Self {
        // RFC 3550 wants these three to begin anywhere; the hasher's keys are random, and that is random enough.
        let random = RandomState::new();
        let start = Start {
            ssrc: sender.ssrc(),
            sequence: random.hash_one(1) as u16,
            timestamp: random.hash_one(2) as u32,
        };
        Self {
            packetizer: Packetizer::starting_at(codec, MTU_PAYLOAD, random.hash_one(3) as u16),
            stream: Stream::new(codec, start),
            payloads: Vec::new(),
            sender,
            runtime,
        }
    }

    /// Sends a unit; `false` when the connection is closed for good.
    fn send(&mut self, unit: &[u8], keyframe: bool, media_time_ns: u64, duration_ns: u64) -> bool {
        self.packetizer.packetize(unit, keyframe, &mut self.payloads);
        self.stream.begin(media_time_ns, duration_ns);
        let last = self.payloads.len().saturating_sub(1);
        for (index, payload) in self.payloads.drain(..).enumerate() {
            let header = self.stream.next(index == last);
            let packet = OutPacket {
                payload_type: None,
                sequence: header.sequence,
                timestamp: header.timestamp,
                marker: header.marker,
                media_time_ns: Some(media_time_ns),
                payload,
            };
            match self.runtime.block_on(self.sender.send(packet)) {
                // Without a path for the moment media is lost, as it would be for a browser.
                Ok(()) | Err(PeerError::NotConnected) => {}
                Err(error) => {
                    tracing::debug!(%error, "sending ends");
                    return false;
                }
            }
        }
        true
    }

    fn silence(&mut self, media_time_ns: u64, duration_ns: u64) {
        self.stream.silence(media_time_ns, duration_ns);
    }
}

fn start(name: &str, work: impl FnOnce(&Signals) -> Sent + Send + 'static) -> Sending {
    let signals = Arc::<Signals>::default();
    let theirs = Arc::clone(&signals);
    let thread = std::thread::Builder::new().name(name.into());
    #[expect(clippy::expect_used, reason = "a machine without a thread left cannot be measured")]
    let thread = thread.spawn(move || work(&theirs)).expect("a thread can be started");
    Sending { signals, thread }
}

/// Sleeps until a time; `false` when it shall stop.
fn wait_until(due_ns: u64, signals: &Signals) -> bool {
    loop {
        if signals.stop.load(Ordering::Relaxed) {
            return false;
        }
        let now = monotonic_ns();
        if now >= due_ns {
            return true;
        }
        // In pieces, so that a pause of seconds between pictures would not delay the end.
        std::thread::sleep(Duration::from_nanos((due_ns - now).min(100_000_000)));
    }
}

fn mutes(args: &Args, media: Media) -> Vec<Mute> {
    args.mute.iter().copied().filter(|m| m.media == media).collect()
}

fn is_muted(mutes: &[Mute], since: Duration) -> bool {
    mutes.iter().any(|mute| (mute.from..mute.to).contains(&since))
}
