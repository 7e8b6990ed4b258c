//! A graph that branches: one source, several outputs.

use super::*;

/// Pictures as they are (`high`), of two nodes one behind the other in two processes (`mid`, `low`), and from between them.
///
/// ```text
/// input ─┬─ output high
///        └─ a ─┬─ output mid
///              └─ b ── output low
/// ```
pub(super) fn tree(policy: OnFailure) -> Plan {
    let stage = |feed, role, id, number| Stage {
        kind: Media::Video,
        feed,
        segment: segment(role, vec![node(id, number, policy)]),
    };
    let behind = |id: &str| Feed::Segment(id.parse().expect("an id"));
    let output = |id: &str, feed| Output {
        id: id.parse().expect("an id"),
        kind: Media::Video,
        feed,
        routes: vec![Route::All],
    };
    Plan {
        stages: vec![
            stage(Feed::Input, Role::Pipeline, "a", 0),
            stage(behind("a"), Role::Custom(0), "b", 1),
        ],
        outputs: vec![
            output("high", Feed::Input),
            output("low", behind("b")),
            output("mid", behind("a")),
        ],
        ..of_video(Vec::new())
    }
}

fn stream(output: &str) -> Stream {
    Stream { source: source("a", Media::Video), output: output.parse().expect("an id") }
}

fn coded(output: &str) -> Product {
    Product { stream: stream(output), codec: Codec::Vp8 }
}

fn viewed(outputs: &[&str]) -> Desired {
    let products = outputs.iter().map(|output| coded(output)).collect();
    Desired { products, ..one_video() }
}

const ALL: &[&str] = &["high", "mid", "low"];

#[test]
fn one_source_is_decoded_once_and_each_output_is_coded_where_it_comes_out() {
    let (_, wiring) =
        Wiring::new(tree(OnFailure::Hold)).plan(&viewed(ALL), &BTreeSet::new()).expect("a step");
    let count = |is: fn(&TaskKey) -> bool| wiring.tasks().filter(|(key, _)| is(key)).count();
    assert_eq!(count(|key| matches!(key, TaskKey::Decode(_))), 1);
    assert_eq!(count(|key| matches!(key, TaskKey::Graph(..))), 2);
    assert_eq!(count(|key| matches!(key, TaskKey::Encode(_))), 3);
    for (output, from) in [
        ("high", "in/a/video0/raw"),
        ("mid", "out/mid-video@a/raw"),
        ("low", "out/low-video@a/raw"),
    ] {
        assert_eq!(reads(&wiring, &TaskKey::Encode(coded(output))), format!("rm/s/{from}"));
    }
    // By reference: the decoder's channel has both readers and room for a tap.
    let raw =
        wiring.channel(&"rm/s/in/a/video0/raw".parse().expect("a name")).expect("it is there");
    assert_eq!((raw.max_readers, raw.wakes.len()), (2 + TAPS, 3));
}

#[test]
fn an_output_that_gets_its_first_viewer_touches_no_other() {
    let (_, wiring) = Wiring::new(tree(OnFailure::Hold))
        .plan(&viewed(&["mid"]), &BTreeSet::new())
        .expect("a step");
    let (step, next) = wiring.plan(&viewed(&["mid", "low"]), &BTreeSet::new()).expect("a step");
    assert!(step.closed_inlets.is_empty() && step.outlets.is_empty());
    assert_eq!(step.inlets.keys().collect::<Vec<_>>(), [&coded("low")]);
    assert!(matches!(step.changes(Role::Codec), [Change::Add(_)]));
    assert!(step.changes(Role::Pipeline).is_empty());
    // It rings one more.
    assert!(matches!(step.changes(Role::Custom(0)), [Change::Rewire { .. }]));
    assert!(step.channels.iter().all(|spec| spec.name.to_string().contains("/low-video@a/full")));
    assert!(
        next.find(&TaskKey::Encode(coded("mid"))) == wiring.find(&TaskKey::Encode(coded("mid")))
    );
}

#[test]
fn what_is_away_holds_only_the_outputs_behind_it() {
    let plan = tree(OnFailure::Hold);
    let mut desired = viewed(ALL);
    desired.absence.roles.insert(Role::Custom(0));
    let holds = |desired: &Desired, output| held(&plan, desired, &stream(output), |_| true);
    assert_eq!(ALL.iter().map(|o| holds(&desired, o)).collect::<Vec<_>>(), [false, false, true]);
    desired.absence.roles = [Role::Pipeline].into();
    assert_eq!(ALL.iter().map(|o| holds(&desired, o)).collect::<Vec<_>>(), [false, true, true]);
    assert!(holds(&viewed(ALL), "none"), "what is no output comes from nowhere");
}

#[test]
fn a_node_that_is_passed_by_leaves_two_outputs_of_one_channel() {
    let mut desired = viewed(ALL);
    desired.absence.roles.insert(Role::Custom(0));
    let (_, wiring) =
        Wiring::new(tree(OnFailure::Bypass)).plan(&desired, &BTreeSet::new()).expect("a step");
    for output in ["mid", "low"] {
        let from = reads(&wiring, &TaskKey::Encode(coded(output)));
        assert_eq!(from, "rm/s/out/mid-video@a/raw");
    }
}

#[test]
fn a_node_that_is_inserted_stands_before_all_that_reads_its_channel_and_nothing_else() {
    let (_, wiring) =
        Wiring::new(tree(OnFailure::Hold)).plan(&viewed(ALL), &BTreeSet::new()).expect("a step");
    let with = |at: &str| {
        let (source, after) = wiring.place(&at.parse().expect("a name")).expect("a raw channel");
        let segment = segment(Role::Attached(1), vec![node("x", 9, OnFailure::Hold)]);
        let mut desired = viewed(ALL);
        desired.inserts.push(Insert { source, after, segment });
        wiring.plan(&desired, &BTreeSet::new()).expect("a step").1
    };
    let of = |wiring: &Wiring, output| reads(wiring, &TaskKey::Encode(coded(output)));
    let graph = |id: &str| TaskKey::Graph(source("a", Media::Video), id.parse().expect("an id"));
    let first = with("rm/s/in/a/video0/raw");
    assert_eq!(of(&first, "high"), "rm/s/node/x.out@a/raw");
    assert_eq!(reads(&first, &graph("a")), "rm/s/node/x.out@a/raw");
    assert_eq!(of(&first, "low"), "rm/s/out/low-video@a/raw");
    let second = with("rm/s/out/mid-video@a/raw");
    assert_eq!(of(&second, "high"), "rm/s/in/a/video0/raw");
    assert_eq!(of(&second, "mid"), "rm/s/node/x.out@a/raw");
    assert_eq!(reads(&second, &graph("b")), "rm/s/node/x.out@a/raw");
}
