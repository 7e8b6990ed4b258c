//! Pure: how much a process may say, for what it says costs the router time and other sessions their turn.

use remotemedia_shm_schema::control::ToRouter;
use std::time::{Duration, Instant};

/// Messages within [`WINDOW`] (chosen: twice what 128 tasks say that all lack a keyframe, each four times a second).
const MOST: u32 = 1000;
/// Heartbeats among them; ten come by the protocol (chosen: one that was stopped and goes on has none to make up for).
const MOST_BEATS: u32 = 40;
const WINDOW: Duration = Duration::from_secs(1);
/// A router that stood still for longer than this many windows hears those only (chosen; a full socket holds fewer).
const MOST_WINDOWS: u32 = 60;

/// Counts what one process said.
#[derive(Debug)]
pub(crate) struct Flood {
    since: Instant,
    messages: u32,
    beats: u32,
    /// Windows whose messages may come in this one.
    windows: u32,
}

impl Flood {
    /// Nothing said yet.
    #[must_use]
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, messages: 0, beats: 0, windows: 1 }
    }

    /// It said something; whether that is too much.
    pub(crate) fn heard(&mut self, now: Instant, beat: bool) -> bool {
        let since = now.saturating_duration_since(self.since);
        if since >= WINDOW {
            // What was said while the router itself stood still comes at once: it is measured by that time.
            let windows = u32::try_from(since.as_secs()).unwrap_or(u32::MAX).min(MOST_WINDOWS);
            *self = Self { windows, ..Self::new(now) };
        }
        self.messages = self.messages.saturating_add(1);
        self.beats = self.beats.saturating_add(u32::from(beat));
        self.messages > MOST.saturating_mul(self.windows)
            || self.beats > MOST_BEATS.saturating_mul(self.windows)
    }
}

/// Characters of what a process says for people that are kept.
const MAX_WORDS: usize = 1024;

/// Cuts what a process says for people: it is queued, logged, shown and told to peers.
pub(crate) fn cut(message: &mut ToRouter) {
    let said = match message {
        ToRouter::Unassigned { error, .. }
        | ToRouter::Refused { error, .. }
        | ToRouter::NodeError { error, .. }
        | ToRouter::Created { error: Some(error), .. }
        | ToRouter::Applied { error: Some(error), .. } => error,
        _ => return,
    };
    if let Some((end, _)) = said.char_indices().nth(MAX_WORDS) {
        said.truncate(end);
        said.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_protocol_takes_is_no_flood_and_a_hundred_times_of_it_is() {
        let begin = Instant::now();
        let mut flood = Flood::new(begin);
        for tenth in 0..600 {
            let now = begin + Duration::from_millis(tenth * 100);
            assert!(!flood.heard(now, true));
            assert!((0..50).all(|_| !flood.heard(now, false)));
        }
        let mut flood = Flood::new(begin);
        assert!((0..MOST_BEATS).all(|_| !flood.heard(begin, true)) && flood.heard(begin, true));
        let mut flood = Flood::new(begin);
        assert!((0..MOST).all(|_| !flood.heard(begin, false)) && flood.heard(begin, false));
        assert!(!flood.heard(begin + WINDOW, false), "a second later it may speak again");
        // The router was stopped for ten seconds, in which its workers went on beating.
        let mut flood = Flood::new(begin);
        assert!((0..100).all(|_| !flood.heard(begin + 10 * WINDOW, true)));
    }
}
