//! What was done: counted by kind, and the last of it in words, which a soak that fails tells with its seed.

use super::calls::Verdict;
use super::programs::What;
use super::trouble::Whom;
use nix::sys::signal::Signal;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Display;
use std::time::{SystemTime, UNIX_EPOCH};

/// Acts that are kept in words (chosen: some ten seconds, the longest that a call's end has to do with).
const KEPT: usize = 60;

/// What can be done, and what comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// A peer calls.
    Join,
    /// A signal.
    Sent(Whom, Signal),
    /// A program, or a command of the operator's.
    Ran(What),
    /// A call is over.
    Over(Verdict),
}

/// All acts of one soak.
pub struct Diary {
    seed: u64,
    counts: BTreeMap<Act, u64>,
    last: VecDeque<String>,
}

impl Diary {
    /// An empty one.
    pub fn new(seed: u64) -> Self {
        Self { seed, counts: BTreeMap::new(), last: VecDeque::new() }
    }

    /// Takes down an act, and whom it was done to.
    pub fn note(&mut self, act: Act, on: impl Display) {
        self.count(act);
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(format!("{} {act:?}: {on}", clock()));
    }

    /// Counts what is no act of ours.
    pub fn count(&mut self, act: Act) {
        *self.counts.entry(act).or_default() += 1;
    }

    /// How often such things were done.
    pub fn sum(&self, wanted: impl Fn(Act) -> bool) -> u64 {
        self.counts.iter().filter(|(act, _)| wanted(**act)).map(|(_, count)| count).sum()
    }

    /// Every kind of act with its number.
    pub fn tally(&self) -> String {
        let all: Vec<String> = self.counts.iter().map(|(act, n)| format!("{act:?} {n}")).collect();
        all.join(", ")
    }
}

impl Drop for Diary {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (seed, tally) = (self.seed, self.tally());
            let last = self.last.make_contiguous().join("\n");
            eprintln!("--- the soak of seed {seed}: {tally}\n--- its last acts\n{last}\n---");
        }
    }
}

/// The time of day as the router's log tells it.
fn clock() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let (day, ms) = (now.as_secs() % 86_400, now.subsec_millis());
    format!("{:02}:{:02}:{:02}.{ms:03}Z", day / 3600, day / 60 % 60, day % 60)
}
