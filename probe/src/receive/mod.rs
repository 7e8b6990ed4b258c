//! The receiving side: a thread for each returned track, from packets to what the report says of it.

mod audio;
mod video;

pub use audio::AudioTrack;
pub use video::VideoTrack;

use crate::report::{AudioReport, VideoReport};
use remotemedia_rtp::Packet;
use remotemedia_shm_schema::Codec;
use remotemedia_worker::monotonic_ns;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// Packets that may wait for a track's thread: half a second of 20 Mb/s. What is over it is dropped and counted.
const QUEUE: usize = 1_024;
/// How long a thread waits when its ingest wants nothing.
const IDLE: Duration = Duration::from_secs(1);
/// How long holes are waited for after the last packet: longer than any ingest does (150 ms of pictures).
const LAST_HOLES: Duration = Duration::from_millis(400);

/// A track's number in the call, in the order in which they came.
pub type TrackNumber = usize;

/// What a track's thread tells the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// The sender of this track shall make a keyframe.
    KeyframeWanted(TrackNumber),
    /// The first picture was decoded, at this time.
    FirstPicture(u64),
}

/// A returned track with its thread.
#[derive(Debug)]
pub struct Track {
    packets: SyncSender<Packet>,
    dropped: u64,
    thread: JoinHandle<Outcome>,
}

/// What came of a track.
#[derive(Debug)]
pub enum Outcome {
    /// A picture's.
    Video(VideoReport),
    /// Sound's.
    Audio(AudioReport),
    /// It could not be received.
    Fault(String),
}

impl Track {
    /// Begins to receive a track, and saves it where a file is named.
    #[must_use]
    pub fn start(
        number: TrackNumber,
        codec: Codec,
        save: Option<PathBuf>,
        tell: mpsc::Sender<Told>,
    ) -> Self {
        let (packets, inbox) = sync_channel(QUEUE);
        let name = if codec.is_audio() { "receive audio" } else { "receive video" };
        let work = move || {
            if codec.is_audio() {
                let mut track = AudioTrack::new(save);
                pump(&inbox, &mut track);
                Outcome::Audio(track.finish())
            } else {
                VideoTrack::new(number, codec, save, tell).map_or_else(
                    Outcome::Fault,
                    |mut track| {
                        pump(&inbox, &mut track);
                        Outcome::Video(track.finish())
                    },
                )
            }
        };
        #[expect(
            clippy::expect_used,
            reason = "a machine without a thread left cannot be measured"
        )]
        let thread = std::thread::Builder::new()
            .name(name.into())
            .spawn(work)
            .expect("a thread can be started");
        Self { packets, dropped: 0, thread }
    }

    /// Hands a packet over; dropped when the thread is far behind.
    pub fn push(&mut self, packet: Packet) {
        if let Err(TrySendError::Full(_)) = self.packets.try_send(packet) {
            self.dropped += 1;
        }
    }

    /// Ends the thread, once it has taken all packets.
    #[must_use]
    pub fn finish(self) -> Outcome {
        drop(self.packets);
        if self.dropped > 0 {
            tracing::warn!(dropped = self.dropped, "this machine is too slow to receive a track");
        }
        self.thread.join().unwrap_or_else(|_| Outcome::Fault("a receiver panicked".into()))
    }
}

/// What both kinds of track do with packets and time.
trait Ingest {
    fn push(&mut self, packet: Packet);
    fn drain(&mut self);
    fn wake_at(&self) -> Option<u64>;
    /// Whether packets wait for one before them.
    fn holds(&self) -> bool;
}

/// Until the other end is dropped.
fn pump(inbox: &Receiver<Packet>, track: &mut impl Ingest) {
    let mut end = None;
    loop {
        let wait = track.wake_at().map_or(IDLE, |at| {
            Duration::from_nanos(at.saturating_sub(monotonic_ns())).clamp(Duration::ZERO, IDLE)
        });
        match inbox.recv_timeout(wait) {
            Ok(packet) => {
                track.push(packet);
                // All that is there first: a picture is many packets.
                while let Ok(packet) = inbox.try_recv() {
                    track.push(packet);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                track.drain();
                // What is missing will not come any more, but how long to wait for it is the ingest's to say. Half of a
                // picture at the very end it keeps for ever.
                let end = *end.get_or_insert_with(|| Instant::now() + LAST_HOLES);
                if !track.holds() || Instant::now() >= end {
                    return;
                }
                std::thread::sleep(wait.min(LAST_HOLES / 4));
            }
        }
        track.drain();
    }
}

/// Bits a second of bytes that came between two times.
fn bitrate(bytes: u64, first_ns: Option<u64>, last_ns: u64) -> u64 {
    let Some(first) = first_ns else { return 0 };
    let span = u128::from(last_ns.saturating_sub(first));
    (u128::from(bytes) * 8_000_000_000).checked_div(span).map_or(0, |rate| rate as u64)
}

#[cfg(test)]
mod tests;
