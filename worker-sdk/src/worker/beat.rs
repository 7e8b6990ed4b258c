//! How a task's thread is, where the main thread can read it without a lock.

use remotemedia_shm_schema::SessionId;
use remotemedia_shm_schema::contract::DropReason;
use remotemedia_shm_schema::control::{Counters, TaskId, ThreadBeat};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const PLAIN: usize = 6;
const VALUES: usize = PLAIN + DropReason::ALL.len();

/// One task's state: written by its thread after each frame, read by the heartbeat. Each value is right by itself, they
/// need not be of the same instant.
#[derive(Debug)]
pub(super) struct Beat {
    frames: AtomicU64,
    /// 0 while it waits.
    busy_since_ns: AtomicU64,
    values: [AtomicU64; VALUES],
}

impl Beat {
    pub(super) fn new() -> Self {
        Self {
            frames: AtomicU64::new(0),
            busy_since_ns: AtomicU64::new(0),
            values: [const { AtomicU64::new(0) }; VALUES],
        }
    }

    /// One call into the processor begins.
    pub(super) fn busy(&self, now_ns: u64) {
        self.busy_since_ns.store(now_ns.max(1), Relaxed);
    }

    /// It came back; `frame` when it was for a frame.
    pub(super) fn idle(&self, frame: bool) {
        self.busy_since_ns.store(0, Relaxed);
        if frame {
            self.frames.fetch_add(1, Relaxed);
        }
    }

    /// What the task did so far.
    pub(super) fn count(&self, counters: &Counters) {
        for (place, value) in self.values.iter().zip(flat(counters)) {
            place.store(value, Relaxed);
        }
    }

    /// For the heartbeat.
    pub(super) fn read(&self, session: SessionId, task: TaskId) -> ThreadBeat {
        let value = |index: usize| self.values.get(index).map_or(0, |v| v.load(Relaxed));
        let mut counters = Counters {
            received: value(0),
            published: value(1),
            copied_bytes: value(2),
            concealed: value(3),
            errors: value(4),
            keyframes: value(5),
            ..Counters::default()
        };
        for (index, dropped) in counters.dropped.iter_mut().enumerate() {
            *dropped = value(PLAIN + index);
        }
        let since = self.busy_since_ns.load(Relaxed);
        ThreadBeat {
            session,
            task,
            frames: self.frames.load(Relaxed),
            busy_since_ns: (since != 0).then_some(since),
            counters,
        }
    }
}

fn flat(counters: &Counters) -> impl Iterator<Item = u64> {
    [
        counters.received,
        counters.published,
        counters.copied_bytes,
        counters.concealed,
        counters.errors,
        counters.keyframes,
    ]
    .into_iter()
    .chain(counters.dropped)
}
