//! Shared memory that sessions may take together: reckoned before any of it is made, for a full `/dev/shm` kills whoever
//! writes next.
//!
//! Every session holds a reservation of what its channels come to if all of them are full. The sum of what all sessions
//! may still take must be free; a session that would take more is refused.

use nix::sys::statvfs::statvfs;
use remotemedia_worker::namespace::{Objects, bytes_by_prefix};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Free bytes that are left alone: other programs live in `/dev/shm` as well (chosen).
const MARGIN: u64 = 2 * 1024 * 1024;

/// There is no room for more shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "no room in shared memory: {needed} bytes more are needed, {free} are free and not promised to other sessions; give \
     /dev/shm more (`mount -o remount,size=1G /dev/shm`, in a container --shm-size=1g) or lower max_video"
)]
pub struct NoRoom {
    /// Bytes that are needed.
    pub needed: u64,
    /// Bytes that can be had.
    pub free: u64,
}

/// How much is promised and used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Sums {
    /// What all sessions may take together.
    pub reserved: u64,
    /// What is free in the file system, used by nobody.
    pub free: u64,
}

#[derive(Debug, Clone, Default)]
struct Account {
    reserved: u64,
    /// What was in use when it was last looked at.
    used: u64,
    /// Of its namespace.
    prefix: String,
}

#[derive(Debug, Default)]
struct Ledger {
    accounts: BTreeMap<u64, Account>,
    next: u64,
}

impl Ledger {
    /// Counts anew what each account uses.
    fn look(&mut self) {
        let Ok(bytes) = bytes_by_prefix() else { return };
        for account in self.accounts.values_mut() {
            account.used = bytes.get(&account.prefix).copied().unwrap_or(0).min(account.reserved);
        }
    }
}

/// The reservations of all sessions of a router.
#[derive(Debug, Clone)]
pub struct Treasury {
    place: PathBuf,
    ledger: Arc<Mutex<Ledger>>,
}

/// One session's reservation; given back when dropped.
#[derive(Debug)]
pub struct Budget {
    treasury: Treasury,
    number: u64,
}

impl Treasury {
    /// Of what is free where this folder lies.
    #[must_use]
    pub fn new(place: impl Into<PathBuf>) -> Self {
        Self { place: place.into(), ledger: Arc::default() }
    }

    /// An account without anything in it.
    #[must_use]
    pub fn open(&self) -> Budget {
        let mut ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let number = ledger.next;
        ledger.next += 1;
        ledger.accounts.insert(number, Account::default());
        Budget { treasury: self.clone(), number }
    }

    /// For tables.
    #[must_use]
    pub fn sums(&self) -> Sums {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = ledger.accounts.values().map(|account| account.reserved).sum();
        Sums { reserved, free: self.free().unwrap_or(0) }
    }

    fn free(&self) -> io::Result<u64> {
        let stat = statvfs(&self.place)?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

impl Budget {
    /// Makes the reservation so large; lowering it always succeeds.
    ///
    /// # Errors
    /// When so much is not there; the reservation stays as it was.
    pub fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let mut ledger = self.treasury.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if bytes > ledger.accounts.get(&self.number).map_or(0, |own| own.reserved)
            && self.room(&ledger, bytes).is_err()
        {
            // What the others use was counted some time ago, and may be more by now: then less of their promises is open.
            ledger.look();
            self.room(&ledger, bytes)?;
        }
        ledger.accounts.entry(self.number).or_default().reserved = bytes;
        Ok(())
    }

    /// Whether the reservation can be so large.
    fn room(&self, ledger: &Ledger, bytes: u64) -> Result<(), NoRoom> {
        let free = self.treasury.free().unwrap_or(0).saturating_sub(MARGIN);
        // What is used already is not free any more, so only the rest of each promise must still be found.
        let outstanding = |account: &Account| account.reserved.saturating_sub(account.used);
        let others = ledger.accounts.iter().filter(|(number, _)| **number != self.number);
        let promised: u64 = others.map(|(_, account)| outstanding(account)).sum();
        let needed =
            bytes.saturating_sub(ledger.accounts.get(&self.number).map_or(0, |own| own.used));
        let free = free.saturating_sub(promised);
        if needed > free { Err(NoRoom { needed, free }) } else { Ok(()) }
    }

    /// Says in which namespace it is spent.
    pub fn spent_in(&self, prefix: &str) {
        let mut ledger = self.treasury.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = ledger.accounts.get_mut(&self.number) {
            own.prefix = prefix.to_owned();
        }
    }

    /// Takes note of what the session really uses.
    pub fn used(&self, objects: Objects) {
        let mut ledger = self.treasury.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = ledger.accounts.get_mut(&self.number) {
            own.used = objects.bytes.min(own.reserved);
        }
    }

    /// Bytes that are reserved.
    #[must_use]
    pub fn reserved(&self) -> u64 {
        let ledger = self.treasury.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.accounts.get(&self.number).map_or(0, |account| account.reserved)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        let mut ledger = self.treasury.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.accounts.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_together_get_no_more_than_there_is() {
        let treasury = Treasury::new("/dev/shm");
        let there = treasury.free().expect("a file system") - MARGIN;
        let (one, two) = (treasury.open(), treasury.open());
        one.take(there / 2).expect("half of it");
        let refused = two.take(there / 4 * 3).expect_err("there is only the other half");
        assert_eq!(refused.needed, there / 4 * 3);
        // Others give back a little meanwhile.
        assert!(refused.free <= there - there / 2 + MARGIN, "{refused:?}");
        assert_eq!(two.reserved(), 0, "nothing is kept of what was refused");
        two.take(there / 8).expect("there is room for that");
        two.take(1).expect("less is always possible");
        drop(one);
        two.take(there / 4 * 3).expect("what was given back is there");
        assert!(treasury.sums().reserved >= there / 4 * 3);
    }

    #[test]
    fn what_others_use_is_counted_anew_before_anybody_is_refused() {
        let treasury = Treasury::new("/dev/shm");
        let (one, two) = (treasury.open(), treasury.open());
        let prefix = format!("m{:016x}_", rand::random::<u64>());
        one.spent_in(&prefix);
        let object = format!("/dev/shm/{prefix}object");
        let taken = 16 << 20;
        let there = treasury.free().expect("a file system") - MARGIN;
        one.take(there / 2).expect("half of it");
        std::fs::write(&object, vec![1; taken]).expect("it uses some of that");
        // To the last byte but a little: other tests use shared memory as well.
        let least = there / 2 - (taken as u64) / 2;
        let took = two.take(least);
        std::fs::remove_file(&object).expect("removed");
        took.expect("what is used is not promised any more");
    }

    #[test]
    fn what_a_session_uses_already_is_not_asked_for_twice() {
        let treasury = Treasury::new("/dev/shm");
        let there = treasury.free().expect("a file system") - MARGIN;
        let (one, two) = (treasury.open(), treasury.open());
        one.take(there / 2).expect("half of it");
        one.used(Objects { count: 1, bytes: there / 2 });
        two.take(there / 4 * 3)
            .expect("the file system still has it all: what one uses is counted there");
    }
}
