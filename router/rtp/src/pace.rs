//! Spreads a viewer's video over time: a token bucket at a multiple of the target rate, bounded in bytes and in age.
//!
//! Sound never passes through here. An ordinary picture fits into the bucket and leaves at once; a keyframe is
//! spread so that it does not overrun the path's queues. When the queue has grown too old or too large all of it
//! goes, and nothing is taken until the next keyframe, which is asked for. Sequence numbers are given to what comes
//! out ([`crate::egress::Stream::header`]), so that a drop leaves no hole in them.

use crate::MS;
use std::collections::VecDeque;

/// Bounds and speed of a pacer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Settings {
    /// Speed as a multiple of the target rate (as in libwebrtc).
    pub gain: f64,
    /// The bucket holds this much time at that speed, in ns (libwebrtc: 40 ms); at most [`MAX_BURST`].
    pub burst_ns: u64,
    /// Where what waits would not all be gone this long after the oldest came, in ns, it is sped up, by
    /// [`MAX_HASTE`] at most.
    pub drain_ns: u64,
    /// When the oldest waited for longer, all goes; in ns.
    pub max_age_ns: u64,
    /// Bytes that may wait; when more come, all goes.
    pub max_bytes: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            gain: 2.5,
            burst_ns: 40 * MS,
            drain_ns: 150 * MS,
            max_age_ns: 250 * MS,
            max_bytes: 2 * 1024 * 1024,
        }
    }
}

/// Bytes of one burst at most: socket buffers take no more (as in libwebrtc).
pub const MAX_BURST: f64 = 63_000.0;
/// How far the speed may rise above the gain to drain a queue in time (chosen: a keyframe of 40 frames' size at
/// 30/s gets through).
pub const MAX_HASTE: f64 = 4.0;
/// The bucket holds at least this, in bytes: one packet must always fit.
const MIN_BURST: f64 = 1500.0;
/// Least target, in bits a second; below it the time to the next packet would have no sensible bound.
const MIN_TARGET: u32 = 10_000;

/// What a pacer gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output<T> {
    /// Send it now.
    Send(T),
    /// The queue was dropped: ask the encoder for a keyframe. Comes once a drop.
    KeyframeNeeded,
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pushed {
    /// It waits for its time.
    Queued,
    /// Dropped: a keyframe must come first.
    AwaitingKeyframe,
}

/// Counts since the beginning.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets given out.
    pub sent: u64,
    /// Bytes given out.
    pub sent_bytes: u64,
    /// Packets dropped because the queue was too old.
    pub too_old: u64,
    /// Packets dropped because the queue was full.
    pub overflow: u64,
    /// Packets dropped while a keyframe was awaited.
    pub awaiting_keyframe: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    item: T,
    bytes: usize,
    since_ns: u64,
}

/// The pacer of one viewer's video; `T` is what the caller wants to be handed back.
#[derive(Debug)]
pub struct Pacer<T> {
    settings: Settings,
    target_bps: u32,
    queue: VecDeque<Waiting<T>>,
    queued_bytes: usize,
    /// Bytes that may leave now; negative after a packet larger than what was left.
    tokens: f64,
    filled_ns: Option<u64>,
    awaiting_keyframe: bool,
    ask: bool,
    stats: Stats,
}

impl<T> Pacer<T> {
    /// A pacer for this target rate, its bucket full.
    #[must_use]
    pub fn new(settings: Settings, target_bps: u32) -> Self {
        Self {
            settings,
            target_bps: target_bps.max(MIN_TARGET),
            queue: VecDeque::new(),
            queued_bytes: 0,
            tokens: f64::MAX,
            filled_ns: None,
            awaiting_keyframe: false,
            ask: false,
            stats: Stats::default(),
        }
    }

    /// Changes the target rate, from now on.
    pub fn set_target(&mut self, now_ns: u64, target_bps: u32) {
        self.fill(now_ns);
        self.target_bps = target_bps.max(MIN_TARGET);
    }

    /// Takes one packet of `bytes`; `keyframe` tells that it is the *first* packet of a keyframe.
    pub fn push(&mut self, now_ns: u64, item: T, bytes: usize, keyframe: bool) -> Pushed {
        self.expire(now_ns);
        if self.queued_bytes.saturating_add(bytes) > self.settings.max_bytes {
            self.stats.overflow += self.drop_all();
        }
        if self.awaiting_keyframe {
            if !keyframe {
                self.stats.awaiting_keyframe += 1;
                return Pushed::AwaitingKeyframe;
            }
            self.awaiting_keyframe = false;
            self.ask = false;
        }
        // The speed depends on what waits: what has flowed so far is settled at the old one.
        self.fill(now_ns);
        self.queued_bytes += bytes;
        self.queue.push_back(Waiting { item, bytes, since_ns: now_ns });
        Pushed::Queued
    }

    /// What is to be done now; to be called until `None`.
    pub fn poll(&mut self, now_ns: u64) -> Option<Output<T>> {
        self.expire(now_ns);
        if std::mem::take(&mut self.ask) {
            return Some(Output::KeyframeNeeded);
        }
        self.fill(now_ns);
        if self.tokens <= 0.0 {
            return None;
        }
        let waiting = self.queue.pop_front()?;
        self.queued_bytes -= waiting.bytes;
        self.tokens -= waiting.bytes as f64;
        self.stats.sent += 1;
        self.stats.sent_bytes += waiting.bytes as u64;
        Some(Output::Send(waiting.item))
    }

    /// When to poll again; `None` while nothing waits.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        let filled = self.filled_ns.unwrap_or(0);
        if self.ask {
            return Some(filled);
        }
        let oldest = self.queue.front()?;
        if self.tokens > 0.0 {
            return Some(filled);
        }
        // One nanosecond more, as the bucket must be above zero then.
        let wait_ns = (-self.tokens / self.bytes_per_ns(filled)).ceil() as u64 + 1;
        let expires = oldest.since_ns.saturating_add(self.settings.max_age_ns).saturating_add(1);
        Some(filled.saturating_add(wait_ns).min(expires))
    }

    /// Drops what waits; the next packet must begin a keyframe. For a viewer that was paused or changed its source.
    pub fn clear(&mut self) {
        self.stats.awaiting_keyframe += self.drop_all();
        self.ask = false;
    }

    /// Bytes that wait.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes
    }

    /// Counts since the beginning.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    fn bytes_per_ns(&self, now_ns: u64) -> f64 {
        let paced = f64::from(self.target_bps) / 8.0 / 1e9 * self.settings.gain.max(1.0);
        let left_ns = self.queue.front().map_or(self.settings.drain_ns, |oldest| {
            oldest.since_ns.saturating_add(self.settings.drain_ns).saturating_sub(now_ns)
        });
        let drain = self.queued_bytes as f64 / left_ns.max(MS) as f64;
        drain.clamp(paced, paced * MAX_HASTE)
    }

    /// Lets tokens flow in for the time that passed, at the speed of its beginning.
    fn fill(&mut self, now_ns: u64) {
        let filled_ns = self.filled_ns.unwrap_or(now_ns);
        let speed = self.bytes_per_ns(filled_ns);
        let full = (speed * self.settings.burst_ns as f64).clamp(MIN_BURST, MAX_BURST);
        let passed = now_ns.saturating_sub(filled_ns);
        self.tokens = (self.tokens + passed as f64 * speed).min(full);
        self.filled_ns = Some(filled_ns.max(now_ns));
    }

    fn expire(&mut self, now_ns: u64) {
        let old = self.queue.front().is_some_and(|oldest| {
            now_ns.saturating_sub(oldest.since_ns) > self.settings.max_age_ns
        });
        if old {
            self.stats.too_old += self.drop_all();
        }
    }

    fn drop_all(&mut self) -> u64 {
        let dropped = self.queue.len() as u64;
        self.queue.clear();
        self.queued_bytes = 0;
        self.awaiting_keyframe = true;
        self.ask = true;
        dropped
    }
}
