//! Pure: the life of a session and of its peers' presence.
//!
//! One enum, one place that changes it, one way out: whatever ends a session, [`Action::TearDown`] comes exactly once.
//! Times are DESIGN.md's table: a peer whose media are silent is suspended; one whose socket and media are both gone has
//! a grace and then has left; one that says goodbye leaves at once.

use remotemedia_shm_schema::PeerId;
use remotemedia_signaling::message::Reason;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// Times of a session.
#[derive(Debug, Clone, Copy)]
pub struct Times {
    /// Media silent for so long: suspended.
    pub silence: Duration,
    /// Socket and media gone, or nobody ever there, for so long: left.
    pub grace: Duration,
}

/// Why a session, or a peer's part in it, ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It said goodbye, or closed its connection.
    Left,
    /// Socket and media were gone for the grace time.
    Vanished,
    /// The last peer left.
    Empty,
    /// Nobody came within the grace time.
    Unused,
    /// By API.
    Closed,
    /// The router stops.
    Stopping,
    /// It could not start.
    StartFailed(String),
    /// It could not go on.
    Failed(String),
}

impl Cause {
    /// The reason on the wire (`peer.left`, `peer.disconnected`).
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Left | Self::Closed => Reason::UserRequested,
            Self::Vanished => Reason::Timeout,
            Self::Empty | Self::Unused => Reason::Unknown,
            Self::Stopping | Self::StartFailed(_) | Self::Failed(_) => Reason::Error,
        }
    }

    /// For receipts and logs.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Left => "said goodbye".into(),
            Self::Vanished => "vanished".into(),
            Self::Empty => "the last peer left".into(),
            Self::Unused => "nobody came".into(),
            Self::Closed => "closed by request".into(),
            Self::Stopping => "the router stops".into(),
            Self::StartFailed(why) => format!("could not start: {why}"),
            Self::Failed(why) => format!("could not go on: {why}"),
        }
    }
}

/// Where in its life a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its workers are being leased.
    Starting,
    /// Media may flow.
    Active,
    /// All media are silent; everything is kept.
    Suspended,
    /// Being torn down.
    Draining(Cause),
    /// Nothing is left of it.
    Closed(Cause),
}

impl State {
    /// Its name in tables.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Draining(_) => "draining",
            Self::Closed(_) => "closed",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Workers and namespace are there.
    Started,
    /// They could not be had.
    StartFailed(String),
    /// They were lost and could not be had again.
    Failed(String),
    /// A peer's offer was taken.
    Joined(PeerId),
    /// A peer said goodbye or closed its connection.
    Left(PeerId),
    /// Its last signaling socket closed.
    SocketGone(PeerId),
    /// It took its registration back.
    SocketBack(PeerId),
    /// Its media flowed just now.
    Media(PeerId),
    /// Its connection says that nothing comes any more.
    MediaGone(PeerId),
    /// Somebody with the right to asked.
    CloseAsked,
    /// The router stops.
    Stopping,
    /// The teardown is done.
    TornDown,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Free what only this peer used.
    Drop(PeerId, Cause),
    /// Everything fell silent.
    Suspend,
    /// Something flows again.
    Resume,
    /// Free everything; comes once.
    TearDown(Cause),
}

#[derive(Debug)]
struct Presence {
    socket: bool,
    /// When media last flowed, or the peer joined.
    heard: Instant,
    /// The connection told that nothing comes any more.
    cut: bool,
    /// Since when both are gone.
    absent: Option<Instant>,
}

impl Presence {
    fn silent(&self, now: Instant, times: Times) -> bool {
        self.cut || now.saturating_duration_since(self.heard) >= times.silence
    }
}

/// The state machine.
#[derive(Debug)]
pub struct Life {
    times: Times,
    state: State,
    peers: BTreeMap<PeerId, Presence>,
    /// When the last peer left, or it began without one.
    empty_since: Option<Instant>,
    actions: VecDeque<Action>,
}

impl Life {
    /// A session that starts now.
    #[must_use]
    pub fn new(now: Instant, times: Times) -> Self {
        Self {
            times,
            state: State::Starting,
            peers: BTreeMap::new(),
            empty_since: Some(now),
            actions: VecDeque::new(),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether this peer's media are silent.
    #[must_use]
    pub fn suspended(&self, now: Instant, peer: &PeerId) -> bool {
        self.peers.get(peer).is_some_and(|presence| presence.silent(now, self.times))
    }

    /// Takes an event.
    pub fn handle(&mut self, now: Instant, event: Event) {
        match (&self.state, event) {
            (State::Draining(cause), Event::TornDown) => {
                self.state = State::Closed(cause.clone());
            }
            (State::Draining(_) | State::Closed(_), _) => {}
            (State::Starting, Event::Started) => self.state = State::Active,
            (_, Event::StartFailed(why)) => self.end(Cause::StartFailed(why)),
            (_, Event::Failed(why)) => self.end(Cause::Failed(why)),
            (_, Event::CloseAsked) => self.end(Cause::Closed),
            (_, Event::Stopping) => self.end(Cause::Stopping),
            (_, Event::Joined(peer)) => {
                self.empty_since = None;
                let presence = Presence { socket: true, heard: now, cut: false, absent: None };
                self.peers.insert(peer, presence);
                self.resume();
            }
            (_, Event::Left(peer)) => self.drop_peer(peer, Cause::Left),
            (_, Event::SocketGone(peer)) => {
                if let Some(presence) = self.peers.get_mut(&peer) {
                    presence.socket = false;
                }
                self.tick(now);
            }
            (_, Event::SocketBack(peer)) => {
                if let Some(presence) = self.peers.get_mut(&peer) {
                    presence.socket = true;
                    presence.absent = None;
                }
            }
            (_, Event::Media(peer)) => {
                if let Some(presence) = self.peers.get_mut(&peer) {
                    presence.heard = now;
                    presence.cut = false;
                    presence.absent = None;
                    self.resume();
                }
            }
            (_, Event::MediaGone(peer)) => {
                if let Some(presence) = self.peers.get_mut(&peer) {
                    presence.cut = true;
                }
                self.tick(now);
            }
            (State::Active | State::Suspended, Event::Started) => {}
            (State::Starting | State::Active | State::Suspended, Event::TornDown) => {}
        }
    }

    /// Looks at the clock; wants to be called a few times a second.
    pub fn tick(&mut self, now: Instant) {
        match self.state {
            State::Draining(_) | State::Closed(_) => return,
            State::Starting | State::Active | State::Suspended => {}
        }
        let times = self.times;
        let mut vanished = Vec::new();
        for (peer, presence) in &mut self.peers {
            if presence.socket || !presence.silent(now, times) {
                presence.absent = None;
                continue;
            }
            let since = *presence.absent.get_or_insert(now);
            if now.saturating_duration_since(since) >= times.grace {
                vanished.push(peer.clone());
            }
        }
        for peer in vanished {
            self.drop_peer(peer, Cause::Vanished);
        }
        if self.empty_since.is_some_and(|at| now.saturating_duration_since(at) >= times.grace) {
            self.end(Cause::Unused);
        }
        if self.state == State::Active
            && !self.peers.is_empty()
            && self.peers.values().all(|presence| presence.silent(now, times))
        {
            self.state = State::Suspended;
            self.actions.push_back(Action::Suspend);
        }
    }

    fn resume(&mut self) {
        if self.state == State::Suspended {
            self.state = State::Active;
            self.actions.push_back(Action::Resume);
        }
    }

    fn drop_peer(&mut self, peer: PeerId, cause: Cause) {
        if self.peers.remove(&peer).is_none() {
            return;
        }
        self.actions.push_back(Action::Drop(peer, cause));
        if self.peers.is_empty() {
            self.end(Cause::Empty);
        }
    }

    fn end(&mut self, cause: Cause) {
        match self.state {
            State::Draining(_) | State::Closed(_) => {}
            State::Starting | State::Active | State::Suspended => {
                self.state = State::Draining(cause.clone());
                self.actions.push_back(Action::TearDown(cause));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TIMES: Times = Times { silence: Duration::from_secs(5), grace: Duration::from_secs(30) };

    fn peer(n: u8) -> PeerId {
        PeerId::new(format!("p{n}")).expect("an id")
    }

    fn call() -> (Life, Instant) {
        let now = Instant::now();
        let mut life = Life::new(now, TIMES);
        life.handle(now, Event::Joined(peer(1)));
        life.handle(now, Event::Started);
        life.handle(now, Event::Media(peer(1)));
        (life, now)
    }

    fn drain(life: &mut Life) -> Vec<Action> {
        std::iter::from_fn(|| life.poll()).collect()
    }

    fn at(now: Instant, ms: u64) -> Instant {
        now + Duration::from_millis(ms)
    }

    #[test]
    fn a_peer_that_says_goodbye_ends_its_session_at_once() {
        let (mut life, now) = call();
        life.handle(now, Event::Left(peer(1)));
        assert_eq!(
            drain(&mut life),
            [Action::Drop(peer(1), Cause::Left), Action::TearDown(Cause::Empty)]
        );
        life.handle(now, Event::TornDown);
        assert_eq!(*life.state(), State::Closed(Cause::Empty));
    }

    #[test]
    fn a_peer_that_vanishes_is_suspended_then_gone_after_the_grace() {
        let (mut life, now) = call();
        life.handle(at(now, 100), Event::SocketGone(peer(1)));
        life.tick(at(now, 4_999));
        assert_eq!(drain(&mut life), []);
        life.tick(at(now, 5_000));
        assert_eq!(drain(&mut life), [Action::Suspend]);
        life.tick(at(now, 34_999));
        assert_eq!(drain(&mut life), []);
        life.tick(at(now, 35_000));
        assert_eq!(
            drain(&mut life),
            [Action::Drop(peer(1), Cause::Vanished), Action::TearDown(Cause::Empty)]
        );
    }

    #[test]
    fn a_peer_whose_socket_alone_is_gone_lives_on() {
        let (mut life, now) = call();
        life.handle(now, Event::SocketGone(peer(1)));
        for second in 1..600 {
            life.handle(at(now, second * 1000), Event::Media(peer(1)));
            life.tick(at(now, second * 1000));
        }
        assert_eq!(drain(&mut life), []);
        assert_eq!(*life.state(), State::Active);
    }

    #[test]
    fn a_silent_peer_with_a_socket_is_kept_and_resumes() {
        let (mut life, now) = call();
        life.tick(at(now, 5_000));
        life.tick(at(now, 500_000));
        life.handle(at(now, 500_001), Event::Media(peer(1)));
        assert_eq!(drain(&mut life), [Action::Suspend, Action::Resume]);
    }

    #[test]
    fn a_session_that_nobody_joins_ends_after_the_grace() {
        let now = Instant::now();
        let mut life = Life::new(now, TIMES);
        life.handle(now, Event::Started);
        life.tick(at(now, 30_000));
        assert_eq!(drain(&mut life), [Action::TearDown(Cause::Unused)]);
    }

    fn event(kind: u8, who: u8) -> Event {
        match kind {
            0 => Event::Started,
            1 => Event::StartFailed("no".into()),
            2 => Event::Joined(peer(who)),
            3 => Event::Left(peer(who)),
            4 => Event::SocketGone(peer(who)),
            5 => Event::SocketBack(peer(who)),
            6 => Event::Media(peer(who)),
            7 => Event::MediaGone(peer(who)),
            8 => Event::CloseAsked,
            9 => Event::Stopping,
            10 => Event::Failed("no".into()),
            _ => Event::TornDown,
        }
    }

    proptest! {
        /// In any order of events there is one teardown at most, nothing happens after it, and a session whose peers are
        /// all gone is never stuck.
        #[test]
        fn no_order_of_events_tears_down_twice_or_gets_stuck(
            events in prop::collection::vec((2u8..12, 0u8..4, 0u64..40_000), 0..80)
        ) {
            let mut now = Instant::now();
            let mut life = Life::new(now, TIMES);
            let mut torn = 0;
            for (kind, who, ms) in events {
                now += Duration::from_millis(ms);
                let over = torn > 0;
                life.handle(now, event(kind, who));
                life.tick(now);
                for action in drain(&mut life) {
                    prop_assert!(!over, "{action:?} after the teardown");
                    torn += u32::from(matches!(action, Action::TearDown(_)));
                }
                prop_assert!(torn <= 1);
            }
            for n in 0..4 {
                life.handle(now, Event::SocketGone(peer(n)));
            }
            for second in 0..40 {
                life.tick(at(now, second * 1000));
            }
            torn += drain(&mut life).iter().filter(|a| matches!(a, Action::TearDown(_))).count() as u32;
            prop_assert_eq!(torn, 1, "everybody is gone and it lives on: {:?}", life);
        }
    }
}
