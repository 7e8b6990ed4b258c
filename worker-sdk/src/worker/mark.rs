//! Marks of calls under way, in a file that the router keeps: what a decoder or node died of is read there.
//!
//! A mark is one `pwrite` of 16 bytes into memory, about 0.3 µs; a mapping would be faster and could not be had without
//! `unsafe`.

use remotemedia_shm_schema::control::TaskId;
use remotemedia_shm_schema::mark::{CLEAR, MARK_LEN, Mark, SLOTS};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex, PoisonError};

/// The file with its places. A worker that nobody gave one marks nothing.
#[derive(Debug)]
pub(super) struct Marks {
    file: Option<File>,
    taken: Mutex<[bool; SLOTS]>,
}

impl Marks {
    pub(super) fn new(file: Option<File>) -> Arc<Self> {
        Arc::new(Self { file, taken: Mutex::new([false; SLOTS]) })
    }

    /// A place for one thread of this task.
    pub(super) fn place(self: &Arc<Self>, task: TaskId) -> Place {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = taken.iter().position(|taken| !taken).filter(|_| self.file.is_some());
        if let Some(slot) = slot.and_then(|slot| taken.get_mut(slot)) {
            *slot = true;
        }
        drop(taken);
        Place { marks: Arc::clone(self), slot, task, sequence: 0 }
    }

    fn write(&self, slot: usize, bytes: &[u8; MARK_LEN]) {
        if let Some(file) = &self.file {
            // It only fails when the router gave something else than it says; then nothing is marked.
            let _ = file.write_all_at(bytes, (slot * MARK_LEN) as u64);
        }
    }
}

/// One thread's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    marks: Arc<Marks>,
    slot: Option<usize>,
    task: TaskId,
    sequence: u64,
}

impl Place {
    /// A call for this frame begins.
    pub(super) fn begin(&mut self, sequence: u64) {
        self.sequence = sequence;
        self.enter(None);
    }

    /// Within the call, a node begins.
    pub(super) fn enter(&self, node: Option<u8>) {
        if let Some(slot) = self.slot {
            let mark = Mark { task: self.task, node, sequence: self.sequence };
            self.marks.write(slot, &mark.to_bytes());
        }
    }

    /// The call came back.
    pub(super) fn end(&self) {
        if let Some(slot) = self.slot {
            self.marks.write(slot, &CLEAR);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.end();
        if let Some(slot) = self.slot {
            let mut taken = self.marks.taken.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(taken) = taken.get_mut(slot) {
                *taken = false;
            }
        }
    }
}
