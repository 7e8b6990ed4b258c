//! A wiring is planned: what each step must do, and what it must not touch.

use super::*;

fn plan(nodes: usize) -> Plan {
    let video_nodes = (0..nodes)
        .map(|n| GraphNode {
            id: format!("n{n}").parse().expect("an id"),
            number: n as u8,
            kind: "Grayscale".into(),
            params: "{}".into(),
        })
        .collect();
    Plan {
        session: "s".parse().expect("an id"),
        video_nodes,
        audio_nodes: Vec::new(),
        max_video: (1280, 720),
        video_bitrate: 1_500_000,
        audio_bitrate: 32_000,
        frame_limit_ms: 250,
    }
}

fn source(peer: &str, kind: Kind) -> Source {
    Source { peer: peer.parse().expect("an id"), kind }
}

fn product(peer: &str, codec: Codec) -> Product {
    Product { source: source(peer, Kind::of(codec)), codec }
}

fn call() -> Desired {
    Desired {
        sources: [(source("a", Kind::Video), Codec::Vp8), (source("a", Kind::Audio), Codec::Opus)]
            .into(),
        products: [product("a", Codec::Vp8), product("a", Codec::Opus)].into(),
    }
}

fn add_count(changes: &[Change]) -> usize {
    changes.iter().filter(|c| matches!(c, Change::Add(_))).count()
}

#[test]
fn a_call_is_wired_through_both_workers_and_back() {
    let wiring = Wiring::new(plan(1));
    let (step, next) = wiring.plan(&call(), &BTreeSet::new()).expect("a step");
    assert_eq!((add_count(&step.codec), add_count(&step.pipeline)), (4, 1));
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
    let decode = next.find(&TaskKey::Decode(source("a", Kind::Video))).expect("a decoder");
    let graph = next.find(&TaskKey::Graph(source("a", Kind::Video))).expect("a graph");
    assert_eq!(decode.output, graph.input);
    assert_eq!(decode.output.wakes, std::slice::from_ref(&graph.wake));
    assert!(next.plan(&call(), &BTreeSet::new()).is_none(), "nothing more to do");
}

#[test]
fn a_viewer_that_changes_its_codec_gets_an_encoder_that_finds_a_place_at_the_channel() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let mut desired = call();
    desired.products = [product("a", Codec::H264), product("a", Codec::Opus)].into();
    let (step, next) = wiring.plan(&desired, &BTreeSet::new()).expect("a step");
    let graph = TaskKey::Graph(source("a", Kind::Video));
    let (old, new) = (wiring.find(&graph).expect("a graph"), next.find(&graph).expect("a graph"));
    // The old encoder reads until the switch, so its channel has no place for the new one.
    assert_ne!(old.output.service, new.output.service);
    assert_eq!(old.input, new.input, "the decoder notices nothing");
    assert_eq!(add_count(&step.codec), 1);
    assert!(step.pipeline.iter().any(|c| matches!(c, Change::Rewire { .. })));
    assert!(next.plan(&desired, &BTreeSet::new()).is_none(), "nothing more to do");
}

#[test]
fn a_dead_pipeline_worker_gets_fresh_channels_and_the_codecs_keep_their_state() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let (step, next) =
        wiring.plan(&call(), &[Role::Pipeline].into()).expect("a replacement is a step");
    assert_eq!(add_count(&step.pipeline), 1);
    assert_eq!(add_count(&step.codec), 0, "no codec begins anew");
    assert_eq!(step.codec.len(), 2, "decoder and encoder are rewired: {:?}", step.codec);
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
    assert_eq!(add_count(&step.codec), 4);
    assert_eq!(step.channels.len(), next.channels().count());
    assert_eq!((step.outlets.len(), step.inlets.len()), (2, 2));
}

#[test]
fn a_viewer_of_another_codec_adds_an_encoder_only() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let mut more = call();
    more.products.insert(product("a", Codec::H264));
    let (step, next) = wiring.plan(&more, &BTreeSet::new()).expect("a step");
    assert_eq!(add_count(&step.codec), 1);
    assert_eq!(add_count(&step.pipeline), 0);
    // The raw output needs room for a second reader.
    assert!(step.channels.iter().any(|c| c.max_readers == 2));
    let (step, _) = next.plan(&call(), &BTreeSet::new()).expect("a step back");
    assert!(step.codec.iter().any(|c| matches!(c, Change::Remove(_))));
    assert_eq!(step.closed_inlets.len(), 1);
}

#[test]
fn a_sender_that_changes_its_codec_gets_another_decoder_in_fresh_channels() {
    let (_, wiring) = Wiring::new(plan(1)).plan(&call(), &BTreeSet::new()).expect("a step");
    let mut other = call();
    other.sources.insert(source("a", Kind::Video), Codec::Vp9);
    let (step, next) = wiring.plan(&other, &BTreeSet::new()).expect("a step");
    assert!(matches!(step.codec.first(), Some(Change::Remove(_))));
    assert_eq!(add_count(&step.codec), 1);
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
        desired.sources.insert(source(&guest, Kind::Video), Codec::Vp8);
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
    two.sources.insert(source("b", Kind::Video), Codec::Vp8);
    two.products.insert(product("b", Codec::Vp8));
    let (_, wiring) = Wiring::new(plan(1)).plan(&two, &BTreeSet::new()).expect("a step");
    let (step, next) = wiring.plan(&call(), &BTreeSet::new()).expect("a step");
    assert!(next.channels().all(|c| !c.name.to_string().contains("/b/")));
    assert!(step.closed_outlets.contains(&source("b", Kind::Video)));
    assert_eq!(step.forget.iter().filter(|s| s.starts_with("rm/")).count(), 4);
    assert!(step.channels.is_empty(), "the other peer's media are not touched");
    assert!(step.codec.iter().chain(&step.pipeline).all(|c| matches!(c, Change::Remove(_))));
}
