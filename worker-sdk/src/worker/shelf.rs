//! Processors that were made for a wiring which never came into force: a model that took long to load is not loaded twice
//! because something else had to change meanwhile.

use super::Processor;
use remotemedia_shm_schema::control::{Task, TaskKind};
use std::sync::{Mutex, PoisonError};

/// Processors that one session keeps (chosen: a model may be large).
const MOST: usize = 4;

/// Those of one session.
#[derive(Default)]
pub(super) struct Shelf(Mutex<Vec<Shelved>>);

struct Shelved {
    kind: TaskKind,
    max_raw: u32,
    processor: Box<dyn Processor>,
}

impl Shelf {
    /// One for this task that has not seen a frame yet.
    pub(super) fn take(&self, task: &Task) -> Option<Box<dyn Processor>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |one: &Shelved| one.kind == task.kind && one.max_raw == task.max_raw;
        let at = all.iter().position(fits)?;
        Some(all.swap_remove(at).processor)
    }

    /// Keeps it; the oldest goes when there are too many.
    pub(super) fn put(&self, task: &Task, processor: Box<dyn Processor>) {
        if !matches!(task.kind, TaskKind::Graph { .. } | TaskKind::Source { .. }) {
            // A codec is made in a moment.
            return;
        }
        let one = Shelved { kind: task.kind.clone(), max_raw: task.max_raw, processor };
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = (all.len() >= MOST).then(|| all.remove(0));
        all.push(one);
        drop(all);
        // Its destructor is not the others' affair.
        drop(oldest);
    }
}
