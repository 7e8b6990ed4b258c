//! Packets in the order of their sequence numbers, with the holes between them and when each hole was seen.

use crate::Packet;
use std::collections::VecDeque;

/// One sequence number's place.
#[derive(Debug)]
pub(crate) enum Slot {
    /// Not there; a later one came at this time.
    Missing {
        /// When the hole was seen.
        since_ns: u64,
    },
    /// There.
    Filled(Packet),
}

/// What became of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inserted {
    /// It is the newest one.
    Newest,
    /// It filled a hole that was seen at this time.
    Filled {
        /// When the hole was seen.
        since_ns: u64,
    },
    /// It is there already.
    Duplicate,
    /// Its place is gone.
    Late,
    /// It lies further ahead than the queue may reach: make room first.
    Ahead,
}

/// The queue. It holds at most `max_slots` places; the caller bounds the bytes.
#[derive(Debug)]
pub(crate) struct Queue {
    base: i64,
    slots: VecDeque<Slot>,
    bytes: usize,
    max_slots: usize,
}

impl Queue {
    pub(crate) fn new(max_slots: usize) -> Self {
        Self { base: 0, slots: VecDeque::new(), bytes: 0, max_slots: max_slots.max(1) }
    }

    /// Forgets all; the next place is `base`.
    pub(crate) fn restart(&mut self, base: i64) {
        self.slots.clear();
        self.bytes = 0;
        self.base = base;
    }

    /// The extended sequence number of the first place.
    pub(crate) fn base(&self) -> i64 {
        self.base
    }

    /// Bytes of payload in it.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Places in it, holes included.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn front(&self) -> Option<&Slot> {
        self.slots.front()
    }

    /// The place of an extended sequence number, if it is in reach.
    pub(crate) fn get(&self, extended: i64) -> Option<&Slot> {
        self.slots.get(usize::try_from(extended.checked_sub(self.base)?).ok()?)
    }

    /// The first packet that is there.
    pub(crate) fn first_filled(&self) -> Option<&Packet> {
        self.slots.iter().find_map(|slot| match slot {
            Slot::Filled(packet) => Some(packet),
            Slot::Missing { .. } => None,
        })
    }

    /// Takes the first place out.
    pub(crate) fn pop(&mut self) -> Option<Slot> {
        let slot = self.slots.pop_front()?;
        self.base += 1;
        if let Slot::Filled(packet) = &slot {
            self.bytes -= packet.payload.len();
        }
        Some(slot)
    }

    pub(crate) fn insert(&mut self, extended: i64, packet: Packet, now_ns: u64) -> Inserted {
        let Some(place) = extended.checked_sub(self.base).and_then(|d| usize::try_from(d).ok())
        else {
            return Inserted::Late;
        };
        if place >= self.max_slots {
            return Inserted::Ahead;
        }
        let bytes = packet.payload.len();
        if let Some(slot) = self.slots.get_mut(place) {
            let Slot::Missing { since_ns } = *slot else {
                return Inserted::Duplicate;
            };
            *slot = Slot::Filled(packet);
            self.bytes += bytes;
            return Inserted::Filled { since_ns };
        }
        while self.slots.len() < place {
            self.slots.push_back(Slot::Missing { since_ns: now_ns });
        }
        self.slots.push_back(Slot::Filled(packet));
        self.bytes += bytes;
        Inserted::Newest
    }

    /// Reaches further back, as long as nothing was taken out: the first packet to arrive need not be the first sent.
    pub(crate) fn reach_back(&mut self, extended: i64, now_ns: u64) {
        while self.base > extended && self.slots.len() < self.max_slots {
            self.slots.push_front(Slot::Missing { since_ns: now_ns });
            self.base -= 1;
        }
    }
}
