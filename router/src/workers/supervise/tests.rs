//! Workers come, go and fail in virtual time.

use super::*;
use proptest::prelude::*;

fn started(supervisor: &mut Supervisor) -> Vec<(WorkerId, Role)> {
    std::iter::from_fn(|| supervisor.poll())
        .filter_map(|action| match action {
            Action::Start { worker, role } => Some((worker, role)),
            _ => None,
        })
        .collect()
}

fn one_spare() -> Limits {
    let staff = Role::OWN.map(|role| (role, Staff { spares: 1, shared: false })).into();
    Limits { staff, ..Limits::default() }
}

fn with_spares(now: Instant) -> (Supervisor, Vec<(WorkerId, Role)>) {
    let mut supervisor = Supervisor::new(one_spare());
    supervisor.tick(now);
    let workers = started(&mut supervisor);
    for (id, _) in &workers {
        supervisor.ready(now, *id);
    }
    (supervisor, workers)
}

#[test]
fn a_session_gets_a_spare_at_once_and_another_spare_is_started_a_moment_later() {
    let now = Instant::now();
    let (mut supervisor, workers) = with_spares(now);
    supervisor.lease(now, Ticket(7), Role::Codec);
    assert_eq!(supervisor.poll(), Some(Action::Grant { worker: workers[0].0, ticket: Ticket(7) }));
    // The session that took it has the cores first.
    supervisor.tick(now + Duration::from_millis(49));
    assert_eq!(supervisor.poll(), None);
    supervisor.tick(now + Duration::from_millis(50));
    assert!(matches!(supervisor.poll(), Some(Action::Start { role: Role::Codec, .. })));
    assert_eq!(supervisor.poll(), None);
}

#[test]
fn a_session_that_finds_no_spare_does_not_wait_for_more_than_a_start() {
    let now = Instant::now();
    let (mut supervisor, _) = with_spares(now);
    supervisor.lease(now, Ticket(1), Role::Codec);
    supervisor.lease(now, Ticket(2), Role::Codec);
    let started = started(&mut supervisor);
    assert_eq!(started.len(), 1, "{started:?}");
    supervisor.ready(now, started[0].0);
    let granted = Action::Grant { worker: started[0].0, ticket: Ticket(2) };
    assert_eq!(supervisor.poll(), Some(granted));
}

#[test]
fn a_worker_that_stops_beating_is_killed_and_its_session_told() {
    let now = Instant::now();
    let (mut supervisor, workers) = with_spares(now);
    supervisor.lease(now, Ticket(1), Role::Pipeline);
    supervisor.tick(now + Duration::from_millis(50));
    while supervisor.poll().is_some() {}
    let pipeline = workers[1].0;
    let later = now + Duration::from_millis(999);
    supervisor.tick(later);
    assert_eq!(supervisor.poll(), None);
    for (id, _) in &workers[..1] {
        supervisor.beat(later, *id, false);
    }
    supervisor.tick(now + Duration::from_secs(1));
    let actions: Vec<_> = std::iter::from_fn(|| supervisor.poll()).collect();
    assert!(actions.contains(&Action::Kill { worker: pipeline, reason: KillReason::NoBeat }));
    assert!(actions.contains(&Action::Lost { worker: pipeline, ticket: Ticket(1) }));
}

/// The pauses before starts of a kind of worker to each of which this happens.
fn pauses(end: impl Fn(&mut Supervisor, Instant, WorkerId)) -> Vec<u128> {
    let mut now = Instant::now();
    let mut supervisor = Supervisor::new(one_spare());
    let mut pauses = Vec::new();
    supervisor.tick(now);
    for _ in 0..8 {
        let (codec, _) = started(&mut supervisor)
            .into_iter()
            .find(|(_, role)| *role == Role::Codec)
            .expect("a start");
        end(&mut supervisor, now, codec);
        let asked = now;
        loop {
            now += Duration::from_millis(10);
            supervisor.tick(now);
            let again = supervisor
                .actions
                .iter()
                .any(|action| matches!(action, Action::Start { role: Role::Codec, .. }));
            if again {
                break;
            }
        }
        pauses.push((now - asked).as_millis());
    }
    pauses
}

#[test]
fn a_worker_that_cannot_start_is_tried_again_ever_later() {
    let exits = |supervisor: &mut Supervisor, now, id| supervisor.exited(now, id);
    assert_eq!(pauses(exits), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
}

#[test]
fn a_worker_that_says_it_is_ready_and_dies_at_once_is_tried_again_ever_later() {
    let breaks_off = |supervisor: &mut Supervisor, now, id| {
        supervisor.ready(now, id);
        supervisor.broken(id);
        supervisor.exited(now, id);
    };
    assert_eq!(pauses(breaks_off), [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    let lives = |supervisor: &mut Supervisor, now, id| {
        supervisor.ready(now, id);
        supervisor.beat(now + STEADY, id, false);
        supervisor.exited(now, id);
    };
    assert_eq!(pauses(lives), [100; 8]);
}

#[test]
fn a_worker_that_does_not_end_when_asked_is_killed() {
    let now = Instant::now();
    let (mut supervisor, workers) = with_spares(now);
    supervisor.stop(now);
    supervisor.tick(now + Duration::from_millis(250));
    let kills = std::iter::from_fn(|| supervisor.poll())
        .filter(|a| matches!(a, Action::Kill { reason: KillReason::SlowDrain, .. }))
        .count();
    assert_eq!(kills, workers.len());
    for (id, _) in workers {
        supervisor.exited(now, id);
    }
    assert_eq!(supervisor.alive(), 0);
    assert_eq!(supervisor.poll(), None, "a stopping supervisor starts nobody");
}

proptest! {
    /// Whatever happens in whatever order: a ticket is granted at most once and lost at most once, only after its
    /// grant; the number of processes stays within spares + leases + corpses. After its stop nothing begins any more, nobody
    /// is asked to end twice, and when all have ended it knows nobody.
    #[test]
    fn no_order_of_events_confuses_it(
        events in prop::collection::vec((0u8..8, 0u64..24, 0u64..700), 1..200),
        stop_at in prop::option::of(0usize..200),
    ) {
        let mut now = Instant::now();
        let mut supervisor = Supervisor::new(Limits::default());
        let (mut granted, mut lost) = (BTreeMap::new(), Vec::new());
        let (mut stopped, mut drained) = (false, Vec::new());
        let mut tickets = 0;
        for (place, (kind, number, ms)) in events.into_iter().enumerate() {
            now += Duration::from_millis(ms);
            if stop_at == Some(place) {
                supervisor.stop(now);
                stopped = true;
            }
            let id = WorkerId(number);
            match kind {
                0 => supervisor.ready(now, id),
                1 => supervisor.beat(now, id, number % 7 == 0),
                2 => supervisor.broken(id),
                3 => supervisor.exited(now, id),
                4 => { tickets += 1; supervisor.lease(now, Ticket(tickets), Role::OWN[(number % 2) as usize]); }
                5 => supervisor.release(now, id, Ticket(number)),
                6 => supervisor.withdraw(Ticket(number)),
                _ => supervisor.tick(now),
            }
            while let Some(action) = supervisor.poll() {
                match action {
                    Action::Grant { worker, ticket } => {
                        prop_assert!(!stopped, "granted after the stop");
                        prop_assert!(granted.insert(ticket, worker).is_none(), "granted twice");
                    }
                    Action::Lost { worker, ticket } => {
                        prop_assert_eq!(granted.get(&ticket), Some(&worker));
                        prop_assert!(!lost.contains(&ticket), "lost twice");
                        lost.push(ticket);
                    }
                    Action::Drain { worker } => {
                        prop_assert!(!drained.contains(&worker), "asked to end twice");
                        drained.push(worker);
                    }
                    Action::Start { .. } => prop_assert!(!stopped, "started after the stop"),
                    Action::Kill { .. } => {}
                }
            }
            let idle = supervisor.workers().filter(|(_, _, s)| matches!(s, State::Starting { .. } | State::Spare { .. })).count();
            prop_assert!(idle <= 3 * 2 + supervisor.waiting.len() + tickets as usize);
        }
        supervisor.stop(now);
        let all: Vec<WorkerId> = supervisor.workers().map(|(id, ..)| id).collect();
        for id in all {
            supervisor.exited(now, id);
        }
        supervisor.tick(now + Duration::from_secs(60));
        prop_assert_eq!(supervisor.workers().count(), 0);
    }
}
