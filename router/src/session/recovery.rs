//! Pure: what follows from the deaths of a session's processes: another process at once, or later, or none; and who is to
//! blame.
//!
//! A process that dies is replaced at once. One that dies again without [`HEALTHY`] between its deaths is replaced ever
//! later, and after [`MAX_DEATHS`] not at all, until somebody asks for it. What it was working on is suspected; a track or a
//! node that is suspected a second time is convicted: the track is not decoded any more, the node does not run any more, and
//! all the others go on.

use super::wiring::Source;
use crate::workers::Role;
use remotemedia_shm_schema::NodeId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Deaths in a row after which a process is not replaced (DESIGN: 5).
pub const MAX_DEATHS: u32 = 5;
/// A process that lived so long is healthy: its next death is the first of a new row (DESIGN: 30 s).
pub const HEALTHY: Duration = Duration::from_secs(30);
/// Suspicions after which a track or a node is convicted (DESIGN: 2).
const CONVICTED: u32 = 2;
/// The pause before the third process in a row; doubles (chosen).
const PAUSE: Duration = Duration::from_millis(100);
/// The longest pause (chosen).
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// Convicts of tracks that left, kept for [`HEALTHY`] (chosen: a room has 16 peers by default).
const MAX_GONE: usize = 64;
/// With so many tracks convicted in a session, the next one is on its first suspicion if it is the only suspect (chosen):
/// whoever comes again under ever new names is not given two deaths each time.
const WARY: usize = 3;

/// What a process may have died of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Suspect {
    /// What a peer sent.
    Track(Source),
    /// A node.
    Node(NodeId),
}

/// What is to be done about a death.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Take another process after this pause.
    Replace(Duration),
    /// It has failed: none is taken until somebody asks.
    Failed,
}

#[derive(Debug, Default)]
struct Health {
    deaths: u32,
    since: Option<Instant>,
    failed: bool,
    error: Option<String>,
}

#[derive(Debug)]
struct Record {
    count: u32,
    last: Instant,
}

/// The state machine of one session.
#[derive(Debug, Default)]
pub struct Recovery {
    roles: BTreeMap<Role, Health>,
    records: BTreeMap<Suspect, Record>,
    convicted: BTreeMap<Suspect, String>,
    /// Of tracks that left, since when.
    gone: BTreeMap<Suspect, (Instant, String)>,
}

impl Recovery {
    /// A process of this role began its work.
    pub fn began(&mut self, now: Instant, role: Role) {
        self.roles.entry(role).or_default().since = Some(now);
    }

    /// It died; `restart` is whether one of its kind is ever to be replaced.
    pub fn died(&mut self, now: Instant, role: Role, restart: bool) -> Next {
        let health = self.roles.entry(role).or_default();
        let healthy = health.since.take().is_some_and(|since| now.duration_since(since) >= HEALTHY);
        health.deaths = if healthy { 1 } else { health.deaths.saturating_add(1) };
        if health.failed || health.deaths >= MAX_DEATHS || !restart {
            health.failed = true;
            return Next::Failed;
        }
        Next::Replace(match health.deaths {
            0 | 1 => Duration::ZERO,
            row => PAUSE.saturating_mul(1 << (row - 2).min(16)).min(MAX_PAUSE),
        })
    }

    /// What is known of its end: how, and who is suspected. Gives those who are convicted by it.
    pub fn examined(
        &mut self,
        now: Instant,
        role: Role,
        how: &str,
        suspects: impl IntoIterator<Item = Suspect>,
    ) -> Vec<Suspect> {
        self.roles.entry(role).or_default().error = Some(how.to_owned());
        // One death is one suspicion, however many threads had to do with the track.
        let suspects: BTreeSet<Suspect> = suspects.into_iter().collect();
        self.expire(now);
        let tracks = self.convicted.keys().chain(self.gone.keys());
        let tracks = tracks.filter(|suspect| matches!(suspect, Suspect::Track(_))).count();
        let alone = suspects.len() == 1 && matches!(suspects.first(), Some(Suspect::Track(_)));
        let enough = if alone && tracks >= WARY { 1 } else { CONVICTED };
        let mut convicted = Vec::new();
        for suspect in suspects {
            if self.convicted.contains_key(&suspect) {
                continue;
            }
            let fresh = || Record { count: 0, last: now };
            let record = self.records.entry(suspect.clone()).or_insert_with(fresh);
            if now.duration_since(record.last) >= HEALTHY {
                record.count = 0;
            }
            record.count += 1;
            record.last = now;
            if record.count >= enough {
                self.records.remove(&suspect);
                self.convicted.insert(suspect.clone(), how.to_owned());
                convicted.push(suspect);
            }
        }
        if !convicted.is_empty() {
            // The cause is found: the process itself is not to blame.
            self.roles.entry(role).or_default().deaths = 0;
        }
        convicted
    }

    /// Whether no process of this role is to be taken.
    #[must_use]
    pub fn failed(&self, role: Role) -> bool {
        self.roles.get(&role).is_some_and(|health| health.failed)
    }

    /// How the last process of this role ended.
    #[must_use]
    pub fn error(&self, role: Role) -> Option<&str> {
        self.roles.get(&role).and_then(|health| health.error.as_deref())
    }

    /// Those that are convicted, with what their process died of.
    pub fn convicted(&self) -> impl Iterator<Item = (&Suspect, &str)> {
        self.convicted.iter().map(|(suspect, how)| (suspect, how.as_str()))
    }

    /// Somebody asks for a role again: its row of deaths is forgotten.
    pub fn forgive_role(&mut self, role: Role) {
        if let Some(health) = self.roles.get_mut(&role) {
            (health.deaths, health.failed) = (0, false);
        }
    }

    /// No graph uses a process of this role any more.
    pub fn forget(&mut self, role: Role) {
        self.roles.remove(&role);
    }

    /// Somebody asks for what was convicted again; whether it was.
    pub fn forgive(&mut self, suspect: &Suspect) -> bool {
        self.records.remove(suspect);
        self.convicted.remove(suspect).is_some()
    }

    /// A track is gone; what it was convicted of holds for one of the same name that comes soon.
    pub fn left(&mut self, now: Instant, source: &Source) {
        let suspect = Suspect::Track(source.clone());
        self.records.remove(&suspect);
        self.expire(now);
        if let Some(how) = self.convicted.remove(&suspect)
            && self.gone.len() < MAX_GONE
        {
            self.gone.insert(suspect, (now, how));
        }
    }

    /// A track came; what it is convicted of, if one of its name was a moment ago.
    pub fn came(&mut self, now: Instant, source: &Source) -> Option<&str> {
        self.expire(now);
        let (suspect, (_, how)) = self.gone.remove_entry(&Suspect::Track(source.clone()))?;
        Some(self.convicted.entry(suspect).or_insert(how))
    }

    fn expire(&mut self, now: Instant) {
        self.gone.retain(|_, (since, _)| now.saturating_duration_since(*since) < HEALTHY);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remotemedia_shm_schema::Media;

    fn track(peer: &str) -> Suspect {
        Suspect::Track(Source { peer: peer.parse().expect("an id"), kind: Media::Video })
    }

    fn after(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[test]
    fn a_process_that_keeps_dying_is_replaced_ever_later_and_then_not_any_more() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        let mut next = Vec::new();
        for n in 0..6 {
            recovery.began(after(now, n * 10), Role::Pipeline);
            next.push(recovery.died(after(now, n * 10 + 5), Role::Pipeline, true));
        }
        let ms = |ms| Next::Replace(Duration::from_millis(ms));
        assert_eq!(next, [ms(0), ms(100), ms(200), ms(400), Next::Failed, Next::Failed]);
        assert!(recovery.failed(Role::Pipeline) && !recovery.failed(Role::Codec));
        recovery.forgive_role(Role::Pipeline);
        recovery.began(now, Role::Pipeline);
        assert_eq!(recovery.died(now, Role::Pipeline, true), ms(0), "asked for, it begins anew");
    }

    #[test]
    fn a_process_that_was_healthy_for_half_a_minute_may_die_for_ever() {
        let mut now = Instant::now();
        let mut recovery = Recovery::default();
        for _ in 0..50 {
            recovery.began(now, Role::Codec);
            now += HEALTHY;
            assert_eq!(recovery.died(now, Role::Codec, true), Next::Replace(Duration::ZERO));
        }
    }

    #[test]
    fn two_threads_of_one_track_are_one_suspicion() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        // Its decoder and its encoder were both at work when the process died.
        let twice = [track("anna"), track("anna")];
        assert_eq!(recovery.examined(now, Role::Codec, "signal 6", twice), []);
    }

    #[test]
    fn the_second_death_on_one_track_convicts_it_and_acquits_the_process() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        let (mallory, anna) = (track("mallory"), track("anna"));
        assert_eq!(recovery.died(now, Role::Codec, true), Next::Replace(Duration::ZERO));
        let both = [mallory.clone(), anna.clone()];
        assert_eq!(recovery.examined(now, Role::Codec, "signal 11", both), []);
        recovery.died(after(now, 50), Role::Codec, true);
        let convicted =
            recovery.examined(after(now, 50), Role::Codec, "signal 11", [mallory.clone()]);
        assert_eq!(convicted, std::slice::from_ref(&mallory));
        // All that happened is explained by it: the next death is a first one.
        assert_eq!(
            recovery.died(after(now, 100), Role::Codec, true),
            Next::Replace(Duration::ZERO)
        );
        assert_eq!(recovery.convicted().count(), 1);
        assert!(recovery.forgive(&mallory) && !recovery.forgive(&mallory));
    }

    #[test]
    fn who_comes_again_with_the_same_poison_is_not_given_two_deaths_each_time() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        let source = |peer: &str| Source { peer: peer.parse().expect("an id"), kind: Media::Video };
        let deaths_until_convicted = |peer: &str, recovery: &mut Recovery| {
            (1..)
                .find(|_| {
                    !recovery.examined(now, Role::Codec, "signal 11", [track(peer)]).is_empty()
                })
                .expect("sometime")
        };
        assert_eq!(deaths_until_convicted("mallory", &mut recovery), 2);
        recovery.left(now, &source("mallory"));
        assert_eq!(recovery.convicted().count(), 0);
        assert_eq!(recovery.came(after(now, 1000), &source("mallory")), Some("signal 11"));
        recovery.left(now, &source("mallory"));
        assert_eq!(recovery.came(now + HEALTHY, &source("mallory")), None, "long ago");
        for (peer, deaths) in [("m1", 2), ("m2", 2), ("m3", 2), ("m4", 1), ("m5", 1)] {
            assert_eq!(deaths_until_convicted(peer, &mut recovery), deaths, "{peer}");
            recovery.left(now, &source(peer));
        }
        // Of several that may have done it nobody is convicted at once.
        let both = [track("anna"), track("bert")];
        assert_eq!(recovery.examined(now, Role::Codec, "signal 11", both), []);
    }

    #[test]
    fn suspicions_that_lie_far_apart_do_not_add_up() {
        let now = Instant::now();
        let mut recovery = Recovery::default();
        for n in 0..10 {
            let at = now + HEALTHY * n;
            assert_eq!(recovery.examined(at, Role::Codec, "signal 6", [track("anna")]), []);
        }
    }

    proptest! {
        /// In any order of begins, deaths and findings: a failed role stays failed until it is forgiven, nobody is
        /// convicted twice, and pauses stay within their bound.
        #[test]
        fn no_order_of_deaths_confuses_it(events in prop::collection::vec((0u8..6, 0u8..3, 0u64..40_000), 0..100)) {
            let mut now = Instant::now();
            let mut recovery = Recovery::default();
            let mut failed = false;
            let mut convicted = std::collections::BTreeSet::new();
            for (kind, who, ms) in events {
                now += Duration::from_millis(ms);
                let suspect = track(["a", "b", "c"][usize::from(who)]);
                match kind {
                    0 => recovery.began(now, Role::Codec),
                    1 => match recovery.died(now, Role::Codec, true) {
                        Next::Replace(pause) => {
                            prop_assert!(!failed && pause <= MAX_PAUSE);
                        }
                        Next::Failed => failed = true,
                    },
                    2 => {
                        recovery.forgive_role(Role::Codec);
                        failed = false;
                    }
                    3 => {
                        if recovery.forgive(&suspect) {
                            prop_assert!(convicted.remove(&suspect));
                        }
                    }
                    _ => {
                        for one in recovery.examined(now, Role::Codec, "x", [suspect]) {
                            prop_assert!(convicted.insert(one), "convicted twice");
                        }
                    }
                }
                prop_assert_eq!(recovery.failed(Role::Codec), failed);
                prop_assert_eq!(recovery.convicted().count(), convicted.len());
            }
        }
    }
}
