//! One graph takes the place of another: what goes on, what begins, and where inserted nodes stand then.

use super::*;

fn with_params(mut node: GraphNode, params: &str) -> GraphNode {
    node.params = params.to_owned();
    node
}

fn hold(id: &str) -> GraphNode {
    // Manifests do not number their nodes for a running session.
    node(id, 77, OnFailure::Hold)
}

fn id(id: &str) -> NodeId {
    id.parse().expect("an id")
}

fn graph(name: &str) -> TaskKey {
    TaskKey::Graph(source("a", Media::Video), id(name))
}

/// `a` in our process and `b` in an operator's, one behind the other.
fn two() -> Plan {
    of_video(vec![
        segment(Role::Pipeline, vec![node("a", 0, OnFailure::Hold)]),
        segment(Role::Custom(0), vec![node("b", 1, OnFailure::Hold)]),
    ])
}

fn wired(plan: &Plan) -> Wiring {
    Wiring::new(plan.clone()).plan(&one_video(), &BTreeSet::new()).expect("a step").1
}

/// The graph of these segments in place of another.
fn next(before: &Plan, segments: Vec<Segment>) -> Successor {
    let Plan { stages, outputs, .. } = of_video(segments);
    before.succeeded_by(stages, outputs, &BTreeSet::new()).expect("numbers enough")
}

fn step_to(wiring: &Wiring, next: &Successor) -> (Step, Wiring) {
    wiring.with(&next.plan).plan(&one_video(), &BTreeSet::new()).expect("a step")
}

/// Tasks that are the same in both, by their purpose.
fn going_on(before: &Wiring, after: &Wiring) -> Vec<TaskKey> {
    let same = |key: &TaskKey, task: &Task| after.find(key).is_some_and(|now| now.id == task.id);
    before.tasks().filter(|(key, task)| same(key, task)).map(|(key, _)| key.clone()).collect()
}

#[test]
fn a_node_at_the_end_lets_all_before_it_go_on() {
    let before = two();
    let wiring = wired(&before);
    let [a, b] = [before.stages[0].segment.clone(), before.stages[1].segment.clone()];
    let next = next(&before, vec![a, b, segment(Role::Pipeline, vec![hold("c")])]);
    let (step, after) = step_to(&wiring, &next);
    assert_eq!(going_on(&wiring, &after).len(), wiring.tasks().count(), "nothing begins anew");
    assert!(matches!(step.changes(Role::Pipeline), [Change::Add(_)]));
    assert_eq!(reads(&after, &graph("c")), "rm/s/node/b.out@a/raw");
    assert_eq!(reads(&after, &encoder()), "rm/s/out/main-video@a/raw");
    let decoder = TaskKey::Decode(source("a", Media::Video));
    assert_eq!(wiring.find(&decoder), after.find(&decoder), "the decoder notices nothing");
    assert!(step.inlets.is_empty() && step.outlets.is_empty(), "nor do the router's ends");
    let number = next.plan.stages[2].segment.nodes[0].number;
    assert_eq!(number, 2, "the first one that is free");
}

#[test]
fn a_node_that_goes_is_all_that_ends() {
    let before = two();
    let wiring = wired(&before);
    let next = next(&before, vec![segment(Role::Pipeline, vec![hold("a")])]);
    let (step, after) = step_to(&wiring, &next);
    assert!(matches!(step.changes(Role::Custom(0)), [Change::Remove(_)]));
    assert!(step.changes(Role::Pipeline).iter().all(|c| matches!(c, Change::Rewire { .. })));
    assert!(step.changes(Role::Codec).iter().all(|c| matches!(c, Change::Rewire { .. })));
    assert_eq!(going_on(&wiring, &after).len() + 1, wiring.tasks().count());
    assert!(!next.plan.roles().contains(&Role::Custom(0)));
    assert!(after.with(&next.plan).plan(&one_video(), &BTreeSet::new()).is_none(), "once");
}

#[test]
fn an_output_of_a_new_branch_touches_no_other_outputs_encoder() {
    let before = branches::tree(OnFailure::Hold);
    let high = |plan: &Plan| plan.outputs[0].clone();
    let view = |output: &Output| Product {
        stream: Stream { source: source("a", Media::Video), output: output.id.clone() },
        codec: Codec::Vp8,
    };
    let desired = |products: BTreeSet<Product>| Desired { products, ..one_video() };
    let viewed = desired([view(&high(&before))].into());
    let wiring = Wiring::new(before.clone()).plan(&viewed, &BTreeSet::new()).expect("a step").1;
    let mut stages = before.stages.clone();
    let feed = Feed::Segment(id("a"));
    let own = segment(Role::Pipeline, vec![hold("tiny")]);
    stages.push(Stage { kind: Media::Video, feed, segment: own });
    let mut outputs = before.outputs.clone();
    let (name, feed) = ("tiny".parse().expect("an id"), Feed::Segment(id("tiny")));
    let tiny = Output { id: name, feed, ..high(&before) };
    outputs.push(tiny.clone());
    let next = before.succeeded_by(stages, outputs, &BTreeSet::new()).expect("numbers enough");
    let both = desired([view(&high(&before)), view(&tiny)].into());
    let (step, after) = wiring.with(&next.plan).plan(&both, &BTreeSet::new()).expect("a step");
    let encoder = TaskKey::Encode(view(&high(&before)));
    assert_eq!(wiring.find(&encoder), after.find(&encoder));
    assert_eq!(going_on(&wiring, &after).len(), wiring.tasks().count());
    assert_eq!(step.inlets.keys().collect::<Vec<_>>(), [&view(&tiny)]);
    // And away again, while somebody still views it: what is no output is not coded.
    let Plan { stages, outputs, .. } = before;
    let back = next.plan.succeeded_by(stages, outputs, &BTreeSet::new()).expect("numbers enough");
    let (step, last) = after.with(&back.plan).plan(&both, &BTreeSet::new()).expect("a step");
    assert_eq!(step.closed_inlets, BTreeSet::from([view(&tiny)]));
    assert_eq!(wiring.find(&encoder).map(|t| t.id), last.find(&encoder).map(|t| t.id));
}

#[test]
fn parameters_that_are_new_or_differ_are_told_to_the_node_that_runs() {
    let of = |params| {
        let node = with_params(node("a", 3, OnFailure::Hold), params);
        of_video(vec![segment(Role::Pipeline, vec![node])])
    };
    let before = of(r#"{"width": 160, "soft": true}"#);
    let segments = |params| vec![segment(Role::Pipeline, vec![with_params(hold("a"), params)])];
    let more = next(&before, segments(r#"{"soft": true, "height": 90, "width": 200}"#));
    let wiring = wired(&before);
    let same = wiring.with(&more.plan).plan(&one_video(), &BTreeSet::new());
    assert!(same.is_none(), "nothing is wired otherwise");
    let told = serde_json::to_value(&more.params).expect("JSON");
    assert_eq!(told, serde_json::json!({"a": {"height": 90, "width": 200}}));
    let same = next(&before, segments(r#"{"soft": true, "width": 160}"#));
    assert!(same.params.is_empty());
    // What is merged cannot be taken back.
    let less = next(&before, segments(r#"{"width": 160}"#));
    assert!(less.params.is_empty());
    let (step, after) = step_to(&wiring, &less);
    assert!(matches!(step.changes(Role::Pipeline), [Change::Remove(_), Change::Add(_)]));
    let TaskKind::Graph { nodes } = &after.find(&graph("a")).expect("a task").kind else {
        panic!("it runs nodes")
    };
    assert_eq!((nodes[0].params.as_str(), nodes[0].number), (r#"{"width": 160}"#, 3));
}

#[test]
fn a_node_of_another_kind_policy_process_or_limit_begins_anew() {
    let before = two();
    let wiring = wired(&before);
    let b = before.stages[1].segment.clone();
    let a = |change: fn(&mut Segment)| {
        let mut segment = segment(Role::Pipeline, vec![hold("a")]);
        change(&mut segment);
        segment
    };
    let begins: [fn(&mut Segment); 4] = [
        |s| s.nodes[0].kind = "Other".into(),
        |s| s.nodes[0].on_failure = OnFailure::Bypass,
        |s| s.role = Role::Custom(1),
        |s| s.frame_limit_ms = 2_000,
    ];
    for change in begins {
        let (_, after) = step_to(&wiring, &next(&before, vec![a(change), b.clone()]));
        let went_on = going_on(&wiring, &after);
        assert!(!went_on.contains(&graph("a")), "{:?}", after.find(&graph("a")));
        assert_eq!(went_on.len() + 1, wiring.tasks().count(), "and nothing else does");
    }
}

#[test]
fn a_channel_that_is_to_hold_more_is_made_afresh_and_its_tasks_go_on() {
    let before = two();
    let wiring = wired(&before);
    let mut a = before.stages[0].segment.clone();
    a.queue.capacity = Some(5);
    let (step, after) = step_to(&wiring, &next(&before, vec![a, before.stages[1].segment.clone()]));
    assert_eq!(going_on(&wiring, &after).len(), wiring.tasks().count());
    let [channel] = &step.channels[..] else { panic!("one channel: {:?}", step.channels) };
    assert_eq!((channel.contract.capacity, channel.generation), (5, 1));
    assert!(after.plan(&one_video(), &BTreeSet::new()).is_none(), "once");
}

#[test]
fn new_nodes_get_numbers_that_nobody_has_until_there_are_none() {
    let before = two();
    // An inserted node has 2.
    let taken = BTreeSet::from([2]);
    let Plan { stages, outputs, .. } =
        of_video(vec![segment(Role::Pipeline, vec![hold("x"), hold("b"), hold("y")])]);
    let next = before.succeeded_by(stages.clone(), outputs.clone(), &taken);
    let next = next.expect("numbers enough");
    let numbers: Vec<u8> = next.plan.stages[0].segment.nodes.iter().map(|n| n.number).collect();
    assert_eq!(numbers, [3, 1, 4]);
    let all = (0..=u8::MAX).collect();
    assert!(before.succeeded_by(stages, outputs, &all).is_none());
}

#[test]
fn an_insert_behind_what_is_gone_stands_where_that_stood_and_never_nowhere() {
    let before = two();
    let behind = |name: &str| Insert {
        source: source("a", Media::Video),
        after: Feed::Segment(id(name)),
        segment: segment(Role::Attached(1), vec![node("x", 9, OnFailure::Hold)]),
    };
    let place = |next: &Plan, name: &str| {
        let desired = Desired { inserts: vec![behind(name)], ..one_video() };
        let wiring = Wiring::new(next.clone()).plan(&desired, &BTreeSet::new()).expect("a step").1;
        assert!(wiring.find(&graph("x")).is_some(), "it does nothing");
        let held = held(next, &desired, &main(source("a", Media::Video)), |role| {
            role != Role::Attached(1)
        });
        assert!(held, "what it may hide gets past it");
        stands(next, &desired, &desired.inserts[0])
    };
    let a = segment(Role::Pipeline, vec![hold("a")]);
    // `b` is gone: it stands behind `a`, which `b` took its frames from.
    let gone = next(&before, vec![a]).plan;
    assert_eq!(place(&gone, "b"), Feed::Segment(id("a")));
    // Both are gone, one after the other.
    assert_eq!(place(&next(&before, Vec::new()).plan, "b"), Feed::Input);
    // `b` is within another segment now.
    let within = next(&before, vec![segment(Role::Pipeline, vec![hold("b"), hold("c")])]).plan;
    assert_eq!(place(&within, "b"), Feed::Segment(id("c")));
    assert_eq!(place(&within, "a"), Feed::Input);
    // Of what no graph ever had.
    assert_eq!(place(&before, "z"), Feed::Input);
    assert_eq!(place(&before, "b"), Feed::Segment(id("b")), "what is there stays");
}
