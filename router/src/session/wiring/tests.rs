//! A wiring is planned: what each step must do, and what it must not touch.

mod branches;
mod successors;

use super::*;
use remotemedia_shm_schema::control::{GraphNode, OnFailure};

fn node(id: &str, number: u8, on_failure: OnFailure) -> GraphNode {
    GraphNode {
        id: id.parse().expect("an id"),
        number,
        kind: "Grayscale".into(),
        params: "{}".into(),
        on_failure,
    }
}

fn segment(role: Role, nodes: Vec<GraphNode>) -> Segment {
    Segment { role, nodes, frame_limit_ms: 1_000, queue: Queue::default() }
}

fn plan(nodes: usize) -> Plan {
    let nodes: Vec<GraphNode> =
        (0..nodes).map(|n| node(&format!("n{n}"), n as u8, OnFailure::Hold)).collect();
    of_video(if nodes.is_empty() { Vec::new() } else { vec![segment(Role::Pipeline, nodes)] })
}

/// Pictures through these, sound as it is.
fn of_video(segments: Vec<Segment>) -> Plan {
    let (stages, video) = chain(Media::Video, segments);
    let (_, audio) = chain(Media::Audio, Vec::new());
    Plan {
        session: "s".parse().expect("an id"),
        stages,
        outputs: vec![audio, video],
        former: BTreeMap::new(),
        max_video: (1280, 720),
        video_bitrate: 1_500_000,
        audio_bitrate: 32_000,
    }
}

fn source(peer: &str, kind: Media) -> Source {
    Source { peer: peer.parse().expect("an id"), kind }
}

fn main(source: Source) -> Stream {
    Stream { source, output: MAIN.parse().expect("an id") }
}

fn product(peer: &str, codec: Codec) -> Product {
    Product { stream: main(source(peer, Media::of(codec))), codec }
}

fn call() -> Desired {
    Desired {
        sources: [
            (source("a", Media::Video), Origin::Coded(Codec::Vp8)),
            (source("a", Media::Audio), Origin::Coded(Codec::Opus)),
        ]
        .into(),
        products: [product("a", Codec::Vp8), product("a", Codec::Opus)].into(),
        ..Desired::default()
    }
}

fn add_count(changes: &[Change]) -> usize {
    changes.iter().filter(|c| matches!(c, Change::Add(_))).count()
}

#[test]
fn a_call_is_wired_through_both_workers_and_back() {
    let wiring = Wiring::new(plan(1));
    let (step, next) = wiring.plan(&call(), &BTreeSet::new()).expect("a step");
    assert_eq!(
        (add_count(step.changes(Role::Codec)), add_count(step.changes(Role::Pipeline))),
        (4, 1)
    );
    assert_eq!((step.outlets.len(), step.inlets.len()), (2, 2));
    let names: Vec<String> = next.channels().map(|c| c.name.to_string()).collect();
    assert_eq!(
        names,
        [
            "rm/s/in/a/audio0/encoded",
            "rm/s/in/a/audio0/raw",
            "rm/s/in/a/video0/encoded",
            "rm/s/in/a/video0/raw",
            "rm/s/out/main-video@a/raw",
            "rm/s/out/main-audio@a/full.opus/encoded",
            "rm/s/out/main-video@a/full.vp8/encoded",
        ]
    );
    let decode = next.find(&TaskKey::Decode(source("a", Media::Video))).expect("a decoder");
    let graph = next
        .find(&TaskKey::Graph(source("a", Media::Video), "n0".parse().expect("an id")))
        .expect("a graph");
    assert_eq!(decode.output, graph.input);
    let raw = decode.output.as_ref().expect("it writes");
    assert_eq!(raw.wakes.first(), Some(&graph.wake));
    assert!(tap_wake(raw).is_some());
    assert!(next.plan(&call(), &BTreeSet::new()).is_none(), "nothing more to do");
}

#[test]
fn a_viewer_that_changes_its_codec_gets_an_encoder_that_finds_a_place_at_the_channel() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let mut desired = call();
    desired.products = [product("a", Codec::H264), product("a", Codec::Opus)].into();
    let (step, next) = wiring.plan(&desired, &BTreeSet::new()).expect("a step");
    let graph = TaskKey::Graph(source("a", Media::Video), "n0".parse().expect("an id"));
    let (old, new) = (wiring.find(&graph).expect("a graph"), next.find(&graph).expect("a graph"));
    // The old encoder reads until the switch, so its channel has no place for the new one.
    let (old_out, new_out) = (old.output.as_ref(), new.output.as_ref());
    assert_ne!(service(old_out), service(new_out));
    assert_eq!(old.input, new.input, "the decoder notices nothing");
    assert_eq!(add_count(step.changes(Role::Codec)), 1);
    assert!(step.changes(Role::Pipeline).iter().any(|c| matches!(c, Change::Rewire { .. })));
    assert!(next.plan(&desired, &BTreeSet::new()).is_none(), "nothing more to do");
}

#[test]
fn a_dead_pipeline_worker_gets_fresh_channels_and_the_codecs_keep_their_state() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let (step, next) =
        wiring.plan(&call(), &[Role::Pipeline].into()).expect("a replacement is a step");
    assert_eq!(add_count(step.changes(Role::Pipeline)), 1);
    assert_eq!(add_count(step.changes(Role::Codec)), 0, "no codec begins anew");
    assert_eq!(
        step.changes(Role::Codec).len(),
        2,
        "decoder and encoder are rewired: {:?}",
        step.changes(Role::Codec)
    );
    assert!(step.outlets.is_empty() && step.inlets.is_empty(), "the router's ends stay");
    assert_eq!(step.channels.len(), 2);
    for spec in &step.channels {
        assert_eq!(spec.generation, 1);
        assert!(wiring.channels().all(|old| old.service != spec.service));
    }
    assert!(next.plan(&call(), &BTreeSet::new()).is_none());
}

#[test]
fn a_dead_codec_worker_gets_every_channel_afresh() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let (step, next) = wiring.plan(&call(), &[Role::Codec].into()).expect("a step");
    assert_eq!(add_count(step.changes(Role::Codec)), 4);
    assert_eq!(step.channels.len(), next.channels().count());
    assert_eq!((step.outlets.len(), step.inlets.len()), (2, 2));
}

#[test]
fn a_viewer_of_another_codec_adds_an_encoder_only() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let mut more = call();
    more.products.insert(product("a", Codec::H264));
    let (step, next) = wiring.plan(&more, &BTreeSet::new()).expect("a step");
    assert_eq!(add_count(step.changes(Role::Codec)), 1);
    assert_eq!(add_count(step.changes(Role::Pipeline)), 0);
    // The raw output needs room for a second reader.
    assert!(step.channels.iter().any(|c| c.max_readers == 2));
    let (step, _) = next.plan(&call(), &BTreeSet::new()).expect("a step back");
    assert!(step.changes(Role::Codec).iter().any(|c| matches!(c, Change::Remove(_))));
    assert_eq!(step.closed_inlets.len(), 1);
}

#[test]
fn a_sender_that_changes_its_codec_gets_another_decoder_in_fresh_channels() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let mut other = call();
    other.sources.insert(source("a", Media::Video), Origin::Coded(Codec::Vp9));
    let (step, next) = wiring.plan(&other, &BTreeSet::new()).expect("a step");
    assert!(matches!(step.changes(Role::Codec).first(), Some(Change::Remove(_))));
    assert_eq!(add_count(step.changes(Role::Codec)), 1);
    assert_eq!(step.outlets.len(), 1);
    assert!(next.plan(&other, &BTreeSet::new()).is_none());
}

#[test]
fn a_plan_that_was_called_off_leaves_no_name_behind() {
    let mut wiring = Wiring::new(plan(1));
    let (first, abandoned) = wiring.plan(&call(), &BTreeSet::new()).expect("a step");
    wiring.called_off(&abandoned);
    let (second, _) = wiring.plan(&call(), &BTreeSet::new()).expect("a step");
    assert_ne!(first.epoch, second.epoch);
    assert!(first.wakes.iter().all(|wake| !second.wakes.contains(wake)));
    for channel in &first.channels {
        assert!(second.channels.iter().all(|again| again.service != channel.service));
    }
}

#[test]
fn a_thousand_peers_that_come_and_go_use_few_indexes() {
    let mut wiring = Wiring::new(plan(1));
    for n in 0..1000 {
        let mut desired = call();
        let guest = format!("guest{n}");
        desired.sources.insert(source(&guest, Media::Video), Origin::Coded(Codec::Vp8));
        desired.products.insert(product(&guest, Codec::Vp8));
        wiring = wiring.plan(&desired, &BTreeSet::new()).expect("a step").1;
        let mut indexes: Vec<u32> = wiring.channels().map(|c| c.index.0).collect();
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), wiring.channels().count(), "no index stands for two");
        assert!(indexes.last().is_some_and(|greatest| *greatest < 32), "{indexes:?}");
    }
}

#[test]
fn a_peer_that_leaves_takes_what_only_it_used() {
    let mut two = call();
    two.sources.insert(source("b", Media::Video), Origin::Coded(Codec::Vp8));
    two.products.insert(product("b", Codec::Vp8));
    let (_, wiring) = Wiring::new(plan(1)).plan(&two, &BTreeSet::new()).expect("a step");
    let (step, next) = wiring.plan(&call(), &BTreeSet::new()).expect("a step");
    assert!(next.channels().all(|c| !c.name.to_string().contains("/b/")));
    assert!(step.closed_outlets.contains(&source("b", Media::Video)));
    assert_eq!(step.forget.iter().filter(|s| s.starts_with("rm/")).count(), 4);
    assert_eq!(step.forget.iter().filter(|s| s.starts_with(TAP_WAKE)).count(), 4);
    assert!(step.channels.is_empty(), "the other peer's media are not touched");
    assert!(step.changes.values().flatten().all(|c| matches!(c, Change::Remove(_))));
}

/// A video chain over three processes: a program of the operator's between two of our own.
fn long(policy: OnFailure) -> Plan {
    let custom = Role::Custom(0);
    of_video(vec![
        segment(Role::Pipeline, vec![node("a", 0, OnFailure::Hold)]),
        segment(custom, vec![node("b", 1, policy)]),
        segment(Role::Pipeline, vec![node("c", 2, OnFailure::Hold)]),
    ])
}

fn names(wiring: &Wiring) -> Vec<String> {
    let video = wiring.channels().filter(|c| c.name.to_string().contains("raw"));
    video.map(|c| c.name.to_string()).filter(|n| !n.contains("audio")).collect()
}

fn one_video() -> Desired {
    let mut desired = call();
    desired.sources.retain(|source, _| source.kind == Media::Video);
    desired.products.retain(|product| product.stream.source.kind == Media::Video);
    desired
}

fn reads(wiring: &Wiring, key: &TaskKey) -> String {
    wiring.find(key).and_then(|t| t.input.as_ref()).map(|c| c.name.to_string()).unwrap_or_default()
}

fn encoder() -> TaskKey {
    TaskKey::Encode(product("a", Codec::Vp8))
}

#[test]
fn a_chain_over_three_processes_has_a_channel_at_each_border() {
    let (step, wiring) =
        Wiring::new(long(OnFailure::Hold)).plan(&one_video(), &BTreeSet::new()).expect("a step");
    assert_eq!(
        names(&wiring),
        [
            "rm/s/in/a/video0/raw",
            "rm/s/node/a.out@a/raw",
            "rm/s/node/b.out@a/raw",
            "rm/s/out/main-video@a/raw",
        ]
    );
    assert_eq!(add_count(step.changes(Role::Pipeline)), 2);
    assert_eq!(add_count(step.changes(Role::Custom(0))), 1);
    assert_eq!(reads(&wiring, &encoder()), "rm/s/out/main-video@a/raw");
}

#[test]
fn a_process_that_is_away_and_says_hold_keeps_its_place_and_nothing_gets_past_it() {
    let (_, wiring) =
        Wiring::new(long(OnFailure::Hold)).plan(&one_video(), &BTreeSet::new()).expect("a step");
    let mut desired = one_video();
    desired.absence.roles.insert(Role::Custom(0));
    let dead: BTreeSet<Role> = [Role::Custom(0)].into();
    let (step, next) = wiring.plan(&desired, &dead).expect("a step");
    let b = "rm/s/node/b.out@a/raw".parse().expect("a name");
    assert_eq!(next.producer(&b), None, "nobody writes what the dead one wrote");
    assert_eq!(reads(&next, &encoder()), "rm/s/out/main-video@a/raw");
    assert!(step.changes(Role::Custom(0)).is_empty(), "nobody is there to be told");
    assert!(held(&next.plan, &desired, &main(source("a", Media::Video)), |_| true));
    // It comes back: one task begins, in channels that the dead one never saw.
    let (step, last) = next.plan(&one_video(), &BTreeSet::new()).expect("a step back");
    assert_eq!(add_count(step.changes(Role::Custom(0))), 1);
    let old: BTreeSet<&str> = wiring.channels().map(|c| c.service.as_str()).collect();
    let key = TaskKey::Graph(source("a", Media::Video), "b".parse().expect("an id"));
    let task = last.find(&key).expect("it runs again");
    for spec in task.input.iter().chain(&task.output) {
        assert!(!old.contains(spec.service.as_str()), "{}", spec.service);
    }
    assert!(!held(&last.plan, &one_video(), &main(source("a", Media::Video)), |_| true));
}

#[test]
fn a_process_that_is_away_and_says_bypass_is_left_out_and_comes_back() {
    let (_, wiring) =
        Wiring::new(long(OnFailure::Bypass)).plan(&one_video(), &BTreeSet::new()).expect("a step");
    let mut desired = one_video();
    desired.absence.roles.insert(Role::Custom(0));
    let (step, next) = wiring.plan(&desired, &[Role::Custom(0)].into()).expect("a step");
    let c = TaskKey::Graph(source("a", Media::Video), "c".parse().expect("an id"));
    assert_eq!(reads(&next, &c), "rm/s/node/a.out@a/raw", "the input took the output's place");
    assert!(step.changes(Role::Pipeline).iter().all(|c| matches!(c, Change::Rewire { .. })));
    assert!(!held(&next.plan, &desired, &main(source("a", Media::Video)), |_| true));
    let (step, last) = next.plan(&one_video(), &BTreeSet::new()).expect("a step back");
    assert_eq!(reads(&last, &c), "rm/s/node/b.out@a/raw");
    assert_eq!(add_count(step.changes(Role::Custom(0))), 1);
    assert_eq!(add_count(step.changes(Role::Pipeline)), 0, "our nodes keep their state");
}

#[test]
fn the_strictest_policy_of_a_process_is_that_of_all_its_nodes() {
    let nodes = vec![node("a", 0, OnFailure::Bypass), node("b", 1, OnFailure::Hold)];
    let mixed = segment(Role::Pipeline, nodes);
    assert_eq!(mixed.on_failure(), OnFailure::Hold);
    let desired = {
        let mut desired = one_video();
        desired.absence.roles.insert(Role::Pipeline);
        desired
    };
    let plan = of_video(vec![mixed]);
    assert!(held(&plan, &desired, &main(source("a", Media::Video)), |_| true));
}

#[test]
fn of_a_failed_node_only_its_own_policy_counts() {
    let of = |policy| {
        let nodes = vec![node("a", 0, policy), node("b", 1, OnFailure::Hold)];
        of_video(vec![segment(Role::Pipeline, nodes)])
    };
    let mut desired = one_video();
    desired.absence.nodes.insert("a".parse().expect("an id"));
    let video = source("a", Media::Video);
    assert!(held(&of(OnFailure::Hold), &desired, &main(video.clone()), |_| true));
    assert!(!held(&of(OnFailure::Bypass), &desired, &main(video.clone()), |_| true));
    let (_, wiring) =
        Wiring::new(of(OnFailure::Bypass)).plan(&desired, &BTreeSet::new()).expect("a step");
    let task = wiring.find(&TaskKey::Graph(video, "b".parse().expect("an id"))).expect("b runs");
    assert!(matches!(&task.kind, TaskKind::Graph { nodes } if nodes.len() == 1));
}

#[test]
fn an_inserted_node_stands_behind_its_channel_and_leaves_no_trace() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&one_video(), &BTreeSet::new()).expect("a step");
    let at = "rm/s/in/a/video0/raw".parse().expect("a name");
    let (whose, after) = wiring.place(&at).expect("a raw channel");
    let mut desired = one_video();
    let own = segment(Role::Attached(1), vec![node("x", 9, OnFailure::Hold)]);
    desired.inserts.push(Insert { source: whose.clone(), after: after.clone(), segment: own });
    let (step, with) = wiring.plan(&desired, &BTreeSet::new()).expect("a step");
    let graph = TaskKey::Graph(source("a", Media::Video), "n0".parse().expect("an id"));
    assert_eq!(reads(&with, &graph), "rm/s/node/x.out@a/raw");
    assert_eq!(add_count(step.changes(Role::Attached(1))), 1);
    assert_eq!(add_count(step.changes(Role::Pipeline)), 0, "the running node is rewired");
    // A second one at the same channel stands before the first.
    let own = segment(Role::Attached(2), vec![node("y", 10, OnFailure::Hold)]);
    desired.inserts.push(Insert { source: whose, after, segment: own });
    let (_, both) = with.plan(&desired, &BTreeSet::new()).expect("a step");
    let x = TaskKey::Graph(source("a", Media::Video), "x".parse().expect("an id"));
    assert_eq!(reads(&both, &x), "rm/s/node/y.out@a/raw");
    let (step, without) = both.plan(&one_video(), &BTreeSet::new()).expect("a step back");
    assert_eq!(reads(&without, &graph), "rm/s/in/a/video0/raw");
    for role in [Role::Attached(1), Role::Attached(2)] {
        assert!(matches!(step.changes(role), [Change::Remove(_)]));
    }
}

#[test]
fn a_node_may_stand_behind_an_inserted_one_and_stays_when_that_goes() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&one_video(), &BTreeSet::new()).expect("a step");
    let mut desired = one_video();
    let mut insert = |wiring: &Wiring, at: &str, role, id: &str, number| {
        let (source, after) = wiring.place(&at.parse().expect("a name")).expect("a raw channel");
        let segment = segment(role, vec![node(id, number, OnFailure::Hold)]);
        desired.inserts.push(Insert { source, after, segment });
        wiring.plan(&desired, &BTreeSet::new()).expect("a step").1
    };
    let first = insert(&wiring, "rm/s/in/a/video0/raw", Role::Attached(1), "x", 9);
    let both = insert(&first, "rm/s/node/x.out@a/raw", Role::Attached(2), "y", 10);
    let graph = |id: &str| TaskKey::Graph(source("a", Media::Video), id.parse().expect("an id"));
    assert_eq!(reads(&both, &graph("x")), "rm/s/in/a/video0/raw");
    assert_eq!(reads(&both, &graph("y")), "rm/s/node/x.out@a/raw");
    assert_eq!(reads(&both, &graph("n0")), "rm/s/node/y.out@a/raw");
    assert!(!held(&plan(1), &desired, &main(source("a", Media::Video)), |_| true));
    let dead = |role| role != Role::Attached(2);
    assert!(
        held(&plan(1), &desired, &main(source("a", Media::Video)), dead),
        "it holds there as well"
    );
}

#[test]
fn an_insert_behind_a_segment_whose_last_node_is_left_out_stands_behind_the_segment() {
    let nodes = vec![node("a", 0, OnFailure::Hold), node("b", 1, OnFailure::Bypass)];
    let plan = of_video(vec![segment(Role::Pipeline, nodes)]);
    let mut desired = one_video();
    desired.absence.nodes.insert("b".parse().expect("an id"));
    let (_, wiring) = Wiring::new(plan).plan(&desired, &BTreeSet::new()).expect("a step");
    let at = "rm/s/out/main-video@a/raw".parse().expect("a name");
    let (source, after) = wiring.place(&at).expect("a raw channel");
    let own = segment(Role::Attached(1), vec![node("x", 9, OnFailure::Hold)]);
    desired.inserts.push(Insert { source: source.clone(), after, segment: own });
    for absent in [true, false] {
        if !absent {
            desired.absence.nodes.clear();
        }
        let (_, next) = wiring.plan(&desired, &BTreeSet::new()).expect("a step");
        let x = next.find(&TaskKey::Graph(source.clone(), "x".parse().expect("an id")));
        assert!(x.is_some(), "with b {}", if absent { "left out" } else { "back" });
    }
}

#[test]
fn a_channel_that_a_dead_tap_has_a_place_at_is_made_afresh_with_its_taps_wake_up() {
    let (_, mut wiring) =
        Wiring::new(plan(1)).plan(&one_video(), &BTreeSet::new()).expect("a step");
    let name: ChannelName = "rm/s/out/main-video@a/raw".parse().expect("a name");
    wiring.wear(&"rm/s/in/b/video0/raw".parse().expect("a name"));
    assert!(wiring.plan(&one_video(), &BTreeSet::new()).is_none(), "no such channel");
    wiring.wear(&name);
    let (step, next) = wiring.plan(&one_video(), &BTreeSet::new()).expect("a step");
    let (old, new) = (wiring.channel(&name).expect("old"), next.channel(&name).expect("new"));
    assert_eq!((step.channels.len(), new.generation), (1, old.generation + 1));
    assert_ne!(tap_wake(old), tap_wake(new));
    for gone in [old.service.as_str(), tap_wake(old).expect("a wake-up")] {
        assert!(step.forget.iter().any(|name| name == gone), "{gone} is not forgotten");
    }
    assert!(step.wakes.iter().any(|wake| Some(wake.as_str()) == tap_wake(new)));
    assert_eq!(add_count(step.changes(Role::Codec)) + add_count(step.changes(Role::Pipeline)), 0);
    assert!(next.plan(&one_video(), &BTreeSet::new()).is_none(), "once");
}

#[test]
fn an_attached_source_needs_no_decoder() {
    let mut desired = Desired::default();
    let tone = source("tone", Media::Audio);
    desired.sources.insert(tone.clone(), Origin::Attached(Role::Attached(1)));
    desired.products.insert(Product { stream: main(tone.clone()), codec: Codec::Opus });
    let (step, wiring) = Wiring::new(plan(1)).plan(&desired, &BTreeSet::new()).expect("a step");
    assert_eq!((step.outlets.len(), step.inlets.len()), (0, 1));
    let task = wiring.find(&TaskKey::Make(tone)).expect("a source");
    assert!(task.input.is_none() && task.output.is_some());
    assert_eq!(add_count(step.changes(Role::Codec)), 1, "the encoder");
}

#[test]
fn a_quarantined_track_is_not_decoded_and_the_others_go_on() {
    let mut two = call();
    two.sources.insert(source("b", Media::Video), Origin::Coded(Codec::Vp8));
    two.products.insert(product("b", Codec::Vp8));
    let (_, wiring) = Wiring::new(plan(1)).plan(&two, &BTreeSet::new()).expect("a step");
    two.absence.tracks.insert(source("b", Media::Video));
    let (step, next) = wiring.plan(&two, &BTreeSet::new()).expect("a step");
    assert!(next.channels().all(|c| !c.name.to_string().contains("/b/")));
    assert!(step.channels.is_empty(), "the other's media are not touched");
    assert!(step.closed_outlets.contains(&source("b", Media::Video)));
}

#[test]
fn a_call_of_one_peer_in_720p_fits_into_a_small_dev_shm() {
    let bytes = plan(1).bytes_of_a_peer();
    assert!(bytes < 62 * 1024 * 1024, "{bytes}");
}

mod any_order {
    use super::*;
    use proptest::prelude::*;

    fn role(n: u8) -> Role {
        [Role::Codec, Role::Pipeline, Role::Custom(0), Role::Attached(1)][usize::from(n % 4)]
    }

    proptest! {
        /// Whatever comes, goes, dies and returns, in any order: every task that reads or writes does so in a channel that
        /// stands; no two channels share an index; no process is told of a task that it cannot know; a dead process's
        /// channels are never used again; and nothing is planned twice.
        #[test]
        fn no_order_of_changes_wires_anything_wrong(
            events in prop::collection::vec((0u8..8, 0u8..4), 1..60),
            policy in prop::sample::select(OnFailure::ALL.to_vec()),
            branches: bool,
        ) {
            let plan = if branches { branches::tree(policy) } else { long(policy) };
            let outputs: Vec<OutputId> =
                plan.outputs_of(Media::Video).map(|output| output.id.clone()).collect();
            let each = |peer: &str, codec| -> Vec<Product> {
                let source = source(peer, Media::Video);
                let of = |output: &OutputId| Stream { source: source.clone(), output: output.clone() };
                outputs.iter().map(|output| Product { stream: of(output), codec }).collect()
            };
            let mut wiring = Wiring::new(plan);
            let mut desired = call();
            let mut dead = BTreeSet::new();
            let mut known: BTreeMap<Role, BTreeSet<TaskId>> = BTreeMap::new();
            let mut used = BTreeSet::new();
            for (what, who) in events {
                let peer = ["a", "b", "c", "d"][usize::from(who)];
                match what {
                    0 | 1 => {
                        desired.sources.insert(source(peer, Media::Video), Origin::Coded(Codec::Vp8));
                        desired.products.extend(each(peer, Codec::Vp8).into_iter().take(1 + usize::from(what)));
                    }
                    2 => {
                        desired.sources.remove(&source(peer, Media::Video));
                        desired.products.retain(|p| p.stream.source != source(peer, Media::Video));
                    }
                    3 => { desired.products.extend(each(peer, Codec::H264).pop()); }
                    4 => {
                        dead.insert(role(who));
                        known.remove(&role(who));
                        if role(who) != Role::Codec && who % 2 == 0 {
                            desired.absence.roles.insert(role(who));
                        }
                    }
                    5 => { desired.absence.roles.clear(); }
                    6 => {
                        let own = segment(Role::Attached(1), vec![node("x", 9, policy)]);
                        let whose = source(peer, Media::Video);
                        desired.inserts = vec![Insert { source: whose, after: Feed::Input, segment: own }];
                    }
                    _ => desired.inserts.clear(),
                }
                let before: BTreeSet<String> = wiring
                    .tasks()
                    .filter(|(key, _)| dead.contains(&wiring.tasks[*key].role))
                    .flat_map(|(_, task)| task.input.iter().chain(&task.output))
                    .map(|spec| spec.service.clone())
                    .collect();
                used.extend(before);
                let Some((step, next)) = wiring.plan(&desired, &dead) else {
                    dead.clear();
                    continue;
                };
                for (role, changes) in &step.changes {
                    let known = known.entry(*role).or_default();
                    for change in changes {
                        match change {
                            Change::Add(task) => prop_assert!(known.insert(task.id), "twice: {task:?}"),
                            Change::Remove(task) => prop_assert!(known.remove(task), "unknown {task:?}"),
                            Change::Rewire { task, .. } => prop_assert!(known.contains(task)),
                        }
                    }
                }
                let mut indexes = BTreeSet::new();
                for spec in next.channels() {
                    prop_assert!(indexes.insert(spec.index), "an index stands for two");
                    prop_assert!(!used.contains(&spec.service), "{} was a dead one's", spec.service);
                }
                for (key, task) in next.tasks() {
                    for spec in task.input.iter().chain(&task.output) {
                        prop_assert_eq!(next.channel(&spec.name), Some(spec), "{:?}", key);
                    }
                }
                wiring = next;
                dead.clear();
                prop_assert!(wiring.plan(&desired, &dead).is_none(), "it is never done");
            }
        }
    }
}
