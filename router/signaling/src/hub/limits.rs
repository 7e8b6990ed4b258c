//! The limits and times of SIGNALING.md, and what the hub must be told once.

use crate::message::IceServer;
use std::time::{Duration, Instant};

/// What the hub goes by. Defaults are the contract's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// A socket that has not announced by then is closed.
    pub announce_within: Duration,
    /// A registration whose socket dropped is kept for so long.
    pub retention: Duration,
    /// An offer, and any other question to the router, is given up after so long.
    pub answer_within: Duration,
    /// The same of a question whose answer may wait for a model that loads up to 30 s (chosen: above what the router itself waits).
    pub update_within: Duration,
    /// A ping goes out so often.
    pub ping_every: Duration,
    /// A socket without any frame for so long is closed.
    pub idle: Duration,
    /// Calls a second and connection.
    pub rate: u32,
    /// Calls at once and connection.
    pub burst: u32,
    /// Peers of a named room, `router` not counted.
    pub max_peers: usize,
    /// Peers of all rooms.
    pub max_peers_total: usize,
    /// Sessions that one address may start in a second.
    pub session_starts: u32,
    /// Devices of one peer (chosen).
    pub max_devices: usize,
    /// Unanswered offers of one peer, and offers that wait for one who is away.
    pub max_offers: usize,
    /// Candidates that wait for one offer or its answer.
    pub max_candidates: usize,
    /// Requests of one connection that the router has not answered yet (chosen).
    pub max_outstanding: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            announce_within: Duration::from_secs(10),
            retention: Duration::from_secs(30),
            answer_within: Duration::from_secs(30),
            update_within: Duration::from_secs(45),
            ping_every: Duration::from_secs(20),
            idle: Duration::from_secs(60),
            rate: 200,
            burst: 400,
            max_peers: 10,
            max_peers_total: 100,
            session_starts: 20,
            max_devices: 8,
            max_offers: 16,
            max_candidates: 64,
            max_outstanding: 32,
        }
    }
}

/// What the hub cannot find out by itself.
#[derive(Debug, Clone)]
pub struct Config {
    /// See there.
    pub limits: Limits,
    /// Told to every peer that announces.
    pub ice_servers: Vec<IceServer>,
    /// An instant, and which time of day it was, in milliseconds since 1970: from then on only instants come.
    pub epoch: (Instant, u64),
}

/// Calls that may be made: refilled evenly, up to a burst.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    /// Calls a second; so many thousandths come in a millisecond.
    rate: u64,
    /// In thousandths of a call.
    full: u64,
    level: u64,
    at: Instant,
}

impl Bucket {
    pub(super) fn full(now: Instant, rate: u32, burst: u32) -> Self {
        let full = u64::from(burst.max(1)) * 1000;
        Self { rate: u64::from(rate.max(1)), full, level: full, at: now }
    }

    /// Takes one call, or says in how many milliseconds there will be one.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), u64> {
        self.refill(now);
        match self.level.checked_sub(1000) {
            Some(left) => {
                self.level = left;
                Ok(())
            }
            None => Err((1000 - self.level).div_ceil(self.rate)),
        }
    }

    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.level == self.full
    }

    fn refill(&mut self, now: Instant) {
        // Only whole milliseconds are taken off the clock, or a fast sender would round its own refill away.
        let elapsed = now.saturating_duration_since(self.at).as_millis();
        let elapsed = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.at += Duration::from_millis(elapsed);
        self.level = elapsed.saturating_mul(self.rate).saturating_add(self.level).min(self.full);
    }
}
