//! What a worker's thread is working on, written where a survivor can read it after the worker's death.
//!
//! The router gives each worker a sealed file in memory with [`SLOTS`] places of [`MARK_LEN`] bytes. Before each call of a
//! decoder, an encoder or a node a thread writes its place, and clears it when the call came back. Whoever reads it takes
//! nothing in it for granted but that it may name a task.

use crate::control::TaskId;

/// Bytes of one place.
pub const MARK_LEN: usize = 16;
/// Places: a thread takes one; threads beyond them are not marked (chosen: as many as a worker has tasks in a session).
pub const SLOTS: usize = 128;
/// Bytes of the whole.
pub const MARKS_LEN: usize = SLOTS * MARK_LEN;

/// Means that no call is under way.
const IDLE: u32 = u32::MAX;
/// Means that no node has been entered.
const NO_NODE: u32 = u32::MAX;

/// One call under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub task: TaskId,
    /// The node that works, by its number in the session.
    pub node: Option<u8>,
    /// The frame's.
    pub sequence: u64,
}

/// What stands in the place of a thread that waits.
pub const CLEAR: [u8; MARK_LEN] = {
    let mut bytes = [0xff; MARK_LEN];
    let mut at = 8;
    while at < MARK_LEN {
        bytes[at] = 0;
        at += 1;
    }
    bytes
};

impl Mark {
    /// As it is written.
    #[must_use]
    pub fn to_bytes(self) -> [u8; MARK_LEN] {
        let node = self.node.map_or(NO_NODE, u32::from);
        let mut bytes = [0; MARK_LEN];
        let (task, rest) = bytes.split_at_mut(4);
        task.copy_from_slice(&self.task.0.to_le_bytes());
        let (place, sequence) = rest.split_at_mut(4);
        place.copy_from_slice(&node.to_le_bytes());
        sequence.copy_from_slice(&self.sequence.to_le_bytes());
        bytes
    }

    /// The call that stands in one place, if there is one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; MARK_LEN]) -> Option<Self> {
        let [t0, t1, t2, t3, n0, n1, n2, n3, sequence @ ..] = *bytes;
        let task = u32::from_le_bytes([t0, t1, t2, t3]);
        let node = u32::from_le_bytes([n0, n1, n2, n3]);
        (task != IDLE).then(|| Self {
            task: TaskId(task),
            node: u8::try_from(node).ok(),
            sequence: u64::from_le_bytes(sequence),
        })
    }

    /// All calls that were under way.
    pub fn all(bytes: &[u8]) -> impl Iterator<Item = Self> {
        bytes.as_chunks::<MARK_LEN>().0.iter().take(SLOTS).filter_map(Self::from_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_cleared_place_names_no_task() {
        assert_eq!(Mark::from_bytes(&CLEAR), None);
        assert_eq!(Mark::all(&CLEAR.repeat(SLOTS)).count(), 0);
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(task in 0..u32::MAX, node in prop::option::of(any::<u8>()), sequence: u64) {
            let mark = Mark { task: TaskId(task), node, sequence };
            prop_assert_eq!(Mark::from_bytes(&mark.to_bytes()), Some(mark));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..3000)) {
            prop_assert!(Mark::all(&bytes).count() <= SLOTS);
        }
    }
}
