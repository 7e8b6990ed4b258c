//! Pure: how long it took from a process's death until media came again, step by step; what a receipt tells.

use crate::workers::Role;
use remotemedia_shm_schema::Media;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Deaths that are kept (chosen: a session that sees more has other troubles).
const MOST: usize = 64;

/// One death, in milliseconds since it was heard of; what did not come to pass is none.
#[derive(Debug, Clone, Serialize)]
pub struct Mended {
    /// Whose.
    pub role: &'static str,
    /// Another process was there.
    pub worker_ms: Option<f64>,
    /// It was wired.
    pub wired_ms: Option<f64>,
    /// The first picture came out of an encoder after that. Where a decoder began anew, it waited for the sender's keyframe.
    pub picture_ms: Option<f64>,
    /// The first sound.
    pub sound_ms: Option<f64>,
}

#[derive(Debug)]
struct Open {
    role: Role,
    since: Instant,
    mended: Mended,
}

/// The deaths of one session.
#[derive(Debug, Default)]
pub struct Mending {
    all: Vec<Open>,
    /// Those of which a step is missing; while there is none, media cost nothing here.
    open: bool,
}

impl Mending {
    /// A process died.
    pub fn lost(&mut self, now: Instant, role: Role) {
        if self.all.len() >= MOST {
            return;
        }
        let (worker_ms, wired_ms, picture_ms, sound_ms) = (None, None, None, None);
        let mended = Mended { role: role.name(), worker_ms, wired_ms, picture_ms, sound_ms };
        self.all.push(Open { role, since: now, mended });
        self.open = true;
    }

    /// Another one is there.
    pub fn granted(&mut self, now: Instant, role: Role) {
        for open in self.all.iter_mut().filter(|open| open.role == role) {
            open.mended.worker_ms.get_or_insert(ms(now, open.since));
        }
    }

    /// A wiring is in force, with all that are there.
    pub fn wired(&mut self, now: Instant) {
        for open in self.all.iter_mut().filter(|open| open.mended.worker_ms.is_some()) {
            open.mended.wired_ms.get_or_insert(ms(now, open.since));
        }
    }

    /// Processed media came.
    pub fn flows(&mut self, now: impl FnOnce() -> Instant, kind: Media) {
        if !self.open {
            return;
        }
        let now = now();
        for open in self.all.iter_mut().filter(|open| open.mended.wired_ms.is_some()) {
            let first = match kind {
                Media::Video => &mut open.mended.picture_ms,
                Media::Audio => &mut open.mended.sound_ms,
            };
            first.get_or_insert(ms(now, open.since));
        }
        let whole =
            |open: &Open| open.mended.picture_ms.is_some() && open.mended.sound_ms.is_some();
        // A call of one kind of media only stays open for a while, at the cost of a look a frame.
        self.open = !self.all.iter().all(|open| whole(open) || ms(now, open.since) > 10_000.0);
    }

    /// For the receipt.
    #[must_use]
    pub fn into_all(self) -> Vec<Mended> {
        self.all.into_iter().map(|open| open.mended).collect()
    }
}

fn ms(now: Instant, since: Instant) -> f64 {
    let whole: Duration = now.saturating_duration_since(since);
    (whole.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_step_of_a_recovery_is_told_once_and_in_its_order() {
        let begin = Instant::now();
        let at = |ms| begin + Duration::from_millis(ms);
        let mut mending = Mending::default();
        mending.lost(at(0), Role::Codec);
        // What still came of the old process is no recovery, nor is a wiring without the new one.
        mending.flows(|| at(1), Media::Video);
        mending.wired(at(2));
        mending.granted(at(3), Role::Pipeline);
        mending.granted(at(4), Role::Codec);
        mending.wired(at(10));
        mending.flows(|| at(30), Media::Video);
        mending.flows(|| at(20_000), Media::Audio);
        mending.flows(|| panic!("all is told: nobody looks at the clock"), Media::Video);
        let [one] = &mending.into_all()[..] else { panic!("one death") };
        assert_eq!(
            (one.worker_ms, one.wired_ms, one.picture_ms, one.sound_ms),
            (Some(4.0), Some(10.0), Some(30.0), Some(20_000.0))
        );
    }

    #[test]
    fn a_session_that_keeps_dying_is_not_kept_account_of_without_end() {
        let now = Instant::now();
        let mut mending = Mending::default();
        (0..1000).for_each(|_| mending.lost(now, Role::Pipeline));
        assert_eq!(mending.into_all().len(), MOST);
    }
}
