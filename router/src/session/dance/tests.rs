//! A wiring is changed in virtual time, while its processes answer late, twice, out of turn or never, and die.
//!
//! [`Sim`] does with a [`Dance`] what a session's task does with it, in any order of [`Event`]s. Whatever is said to a
//! process is held against the [`Law`]s in that moment.

mod sim;

use super::*;
use proptest::prelude::*;
use remotemedia_shm_schema::Codec;
use sim::{BYPASSED, Program, SLOW_ONE, Sim, attached};
use std::ops::Range;

/// What happens to a session; a number chooses among those that there are.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// A peer sends this from now on.
    Sends(u8, Codec),
    /// Somebody takes a source as this codec, or does not any more.
    Views(u8, Codec),
    Leaves(u8),
    /// A node is attached behind a source's decoder.
    Inserts(u8),
    /// A source is attached.
    Sounds,
    /// An attached program leaves in good order.
    Goes(u8),
    TapDies(u8),
    /// A node has failed, or is asked for again.
    Fails(u8),
    /// Another graph is wanted.
    Replans(u8),
    Dies(u8),
    /// A process that died is replaced, or comes back.
    Returns(u8),
    Answers(u8, How),
    AllAnswer,
    /// A process says that it is ready, asked or not.
    Lies(u8),
    /// Milliseconds.
    Passes(u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Once,
    /// Now, and another time.
    Twice,
    Never,
    /// It says that it cannot.
    No,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Law {
    /// Epochs and generations only grow.
    Grows,
    /// Who switches was asked, and all who were asked are ready and alive.
    Ready,
    /// What a process is asked for ends once, before it is asked for anything else.
    Once,
    /// What a process is asked for it can do: services stand, tasks are known. Nothing in use is forgotten.
    Possible,
    /// Nobody speaks to the dead, and what they say changes nothing.
    Dead,
    /// No change is under way for longer than it may.
    Deadline,
    /// When all answer again, all is as it is wanted.
    Rest,
}

/// Of each property (chosen: together they take two seconds).
const CASES: u32 = 256;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(CASES))]

    #[test]
    fn a_change_is_switched_only_when_everyone_asked_is_ready(events in storm()) {
        prop_assert_eq!(breach(&events, Law::Ready), None);
    }

    #[test]
    fn what_is_prepared_is_switched_or_abandoned_once(events in storm()) {
        prop_assert_eq!(breach(&events, Law::Once), None);
    }

    #[test]
    fn nobody_is_asked_for_what_cannot_be_done_and_nothing_in_use_is_forgotten(events in storm()) {
        prop_assert_eq!(breach(&events, Law::Possible), None);
    }

    #[test]
    fn epochs_and_generations_only_grow(events in storm()) {
        prop_assert_eq!(breach(&events, Law::Grows), None);
    }

    #[test]
    fn nobody_speaks_to_the_dead_and_their_late_answers_change_nothing(events in storm()) {
        prop_assert_eq!(breach(&events, Law::Dead), None);
    }

    #[test]
    fn no_change_is_under_way_beyond_its_deadline(events in storm()) {
        prop_assert_eq!(breach(&events, Law::Deadline), None);
    }

    /// No stuck state: each process runs what is wired, that is what is wanted, and the steward holds what it takes.
    #[test]
    fn when_all_answer_again_all_is_as_it_is_wanted(events in storm()) {
        let mut sim = Sim::play(&events);
        sim.rest();
        prop_assert_eq!(sim.laws.0.remove(&Law::Rest), None);
    }

    /// Whatever was under way. That nothing can be asked of it any more, and nobody can end it twice, its type tells.
    #[test]
    fn after_the_end_nobody_is_told_anything_and_nothing_is_left(events in storm()) {
        let Sim { dance, leases, mut programs, treasury, folder, .. } = Sim::play(&events);
        let ground = dance.into_ground();
        drop(leases);
        let silent = programs.values_mut().all(|program| program.inbox.try_recv().is_err());
        prop_assert!(silent, "somebody was told something");
        prop_assert_eq!(treasury.sums().reserved, 0);
        prop_assert_eq!(ground.sweep().left, Vec::<String>::new());
        prop_assert_eq!(std::fs::read_dir(folder.path().join("run")).expect("it").count(), 0);
    }
}

#[test]
fn a_steward_that_says_twice_that_all_is_made_has_nobody_asked_twice() {
    let mut sim = Sim::begin();
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.happen(Event::Answers(0, How::Twice));
    sim.happen(Event::Answers(0, How::Twice));
    assert_eq!(sim.laws.0, BTreeMap::new());
}

#[test]
fn a_source_that_dies_before_anybody_hears_it_stops_nobody() {
    let mut sim = Sim::begin();
    sim.happen(Event::Sounds);
    sim.settle();
    let source = sim.leases.keys().copied().find(attached).expect("it is attached");
    sim.die(source);
    sim.pass(200);
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    assert!(sim.wired(0).is_some(), "nothing is wired any more");
    sim.rest();
    assert_eq!(sim.laws.0, BTreeMap::new());
}

#[test]
fn a_session_that_moves_in_mid_change_names_no_epoch_again() {
    let mut sim = Sim::begin();
    sim.happen(Event::Sends(0, Codec::Vp8));
    // Its steward's stream broke: the dance is not told of a death.
    sim.bury(Role::Steward);
    sim.move_house();
    sim.rest();
    assert_eq!(sim.laws.0, BTreeMap::new());
}

#[test]
fn one_that_never_gets_ready_keeps_nobody_else_waiting() {
    assert!(is_wired_beside(1));
}

#[test]
fn two_that_never_get_ready_keep_nobody_else_waiting() {
    assert!(is_wired_beside(2), "they take turns, and nothing else is done");
}

/// Whether a peer that joins is wired, while so many programs are attached that never get ready.
fn is_wired_beside(programs: u8) -> bool {
    let mut sim = Sim::begin();
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    for _ in 0..programs {
        sim.happen(Event::Inserts(0));
    }
    sim.happen(Event::Sends(1, Codec::Vp8));
    // Twenty seconds: each of them has five.
    for _ in 0..200 {
        sim.answer(|program| !attached(&program.role));
        sim.pass(100);
    }
    sim.wired(1).is_some()
}

#[test]
fn what_flows_is_not_taken_down_while_a_model_loads_for_it() {
    let mut sim = Sim::begin();
    sim.happen(Event::Fails(BYPASSED));
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    let decoder = sim.wired(0);
    assert!(decoder.is_some(), "it flows past the failed node");
    // Which is asked for again, and takes its time.
    sim.happen(Event::Fails(BYPASSED));
    for _ in 0..20 {
        sim.answer(|program| !(program.role == Role::Custom(0) && program.begins()));
        sim.pass(100);
    }
    assert_eq!(sim.wired(0), decoder, "it is decoded anew, or not at all");
}

#[test]
fn a_graph_whose_model_still_loads_holds_up_nobody_and_comes_into_force_as_a_whole() {
    let mut sim = Sim::begin();
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    let before = sim.tasks();
    sim.happen(Event::Replans(SLOW_ONE));
    let willing = |program: &Program| program.role != Role::Custom(1);
    for _ in 0..20 {
        sim.answer(willing);
        sim.pass(100);
    }
    assert!(sim.dance.replanning(), "it came into force without its model");
    assert_eq!(sim.tasks(), before, "what flows is another graph's already");
    sim.happen(Event::Sends(1, Codec::Vp8));
    for _ in 0..20 {
        sim.answer(willing);
        sim.pass(100);
    }
    assert!(sim.wired(1).is_some(), "a peer that joins waits for the model");
    sim.settle();
    sim.rest();
    assert!(!sim.dance.replanning() && sim.tasks() != before);
    assert_eq!(sim.laws.0, BTreeMap::new());
}

#[test]
fn a_graph_that_somebody_refuses_leaves_the_one_before_as_it_was() {
    let mut sim = Sim::begin();
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    let before = sim.tasks();
    sim.happen(Event::Replans(SLOW_ONE));
    // The steward makes its channels, and then somebody will not.
    sim.happen(Event::Answers(0, How::Once));
    sim.happen(Event::Answers(0, How::No));
    assert!(!sim.dance.replanning(), "it is still to be");
    sim.settle();
    assert_eq!(sim.tasks(), before);
    sim.rest();
    assert_eq!(sim.laws.0, BTreeMap::new());
}

#[test]
fn a_process_that_dies_in_mid_update_is_waited_for_and_the_graph_before_goes_on() {
    let mut sim = Sim::begin();
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    sim.happen(Event::Replans(SLOW_ONE));
    sim.die(Role::Custom(1));
    // It is away by now; with its place held the next graph would hold all that flows.
    sim.pass(300);
    sim.settle();
    assert!(sim.dance.replanning() && sim.wired(0).is_some());
    sim.rest();
    assert!(!sim.dance.replanning());
    assert_eq!(sim.laws.0, BTreeMap::new());
}

#[test]
fn a_graph_in_which_nothing_runs_otherwise_is_in_force_at_once() {
    let mut sim = Sim::begin();
    sim.happen(Event::Replans(SLOW_ONE));
    assert!(!sim.dance.replanning(), "nobody sends anything that could be wired otherwise");
    let epoch = sim.dance.wiring().epoch();
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    assert!(sim.dance.wiring().epoch() > epoch);
    assert!(
        sim.leases
            .get(&Role::Custom(1))
            .is_some_and(|lease| { sim.dance.wiring().tasks_of(lease.role).next().is_some() })
    );
}

#[test]
fn what_a_change_needs_stays_reserved_until_it_is_over() {
    let mut sim = Sim::begin();
    sim.happen(Event::Sends(0, Codec::Vp8));
    sim.settle();
    sim.happen(Event::Leaves(0));
    sim.settle();
    sim.pass(900);
    sim.happen(Event::Sends(1, Codec::Vp8));
    // What the first one had is forgotten meanwhile.
    sim.pass(200);
    let pending = sim.dance.pending.as_ref().expect("a change under way");
    assert!(sim.dance.budget().reserved() >= bytes_of(pending.next.channels()));
}

fn breach(events: &[Event], law: Law) -> Option<String> {
    Sim::play(events).laws.0.remove(&law)
}

const ANY: Range<u8> = 0..16;

fn storm() -> impl Strategy<Value = Vec<Event>> {
    let sent = prop::sample::select(vec![Codec::Vp8, Codec::Vp9]);
    let seen = prop::sample::select(vec![Codec::Vp8, Codec::H264]);
    let wishes = prop_oneof![
        4 => (ANY, sent).prop_map(|(n, codec)| Event::Sends(n, codec)),
        4 => (ANY, seen).prop_map(|(n, codec)| Event::Views(n, codec)),
        2 => ANY.prop_map(Event::Leaves),
        2 => ANY.prop_map(Event::Inserts),
        1 => Just(Event::Sounds),
        1 => ANY.prop_map(Event::Goes),
        1 => ANY.prop_map(Event::TapDies),
        1 => ANY.prop_map(Event::Fails),
        2 => ANY.prop_map(Event::Replans),
    ];
    let deaths = prop_oneof![2 => ANY.prop_map(Event::Dies), 3 => ANY.prop_map(Event::Returns)];
    let how = prop::sample::select(vec![How::Once, How::Once, How::Twice, How::Never, How::No]);
    let answers = prop_oneof![
        6 => Just(Event::AllAnswer),
        6 => (ANY, how).prop_map(|(n, how)| Event::Answers(n, how)),
        1 => ANY.prop_map(Event::Lies),
    ];
    let times = prop::sample::select(vec![50_u64, 150, 600, 600, 2_100, 5_100, 30_100]);
    let times = times.prop_map(Event::Passes);
    let event = prop_oneof![4 => wishes, 2 => deaths, 5 => answers, 2 => times];
    prop::collection::vec(event, 1..80)
}
