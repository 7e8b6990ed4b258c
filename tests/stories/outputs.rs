//! A pipeline with several outputs: who gets which, what a peer asks for besides, a node that is given other parameters, and
//! another graph in mid-call.

use crate::attached::{attach, has_channel, interrupt};
use crate::media::pattern;
use crate::recovery::{generation, moody, pid, worker};
use crate::router::{Router, eventually, kill, report};
use crate::socket::{Client, Guest};
use nix::sys::signal::Signal;
use remotemedia_peer::{Event, Kind};
use remotemedia_shm_schema::Codec;
use serde_json::{Value, json};
use std::process::Child;

/// One source in three sizes; the smallest only for who asks.
const THREE: &str = r#"
default_pipeline = "three"
[pipelines.three]
description = "One source in three sizes"
nodes = [
    { id = "mid", type = "Scale", params = { width = 160, height = 90 } },
    { id = "small", type = "Scale", params = { width = 80, height = 46 } },
]
graph = [
    { from = "input.video", to = "output.high" },
    { from = "input.video", to = "mid" },
    { from = "mid", to = "output.mid" },
    { from = "mid", to = "small" },
    { from = "small", to = "output.low" },
]
routes = [{ output = "high", to = "others" }, { output = "mid", to = "all" }]
"#;

fn enter(router: &Router, id: &str) -> Child {
    let more = ["--session", "red", "--peer-id", id];
    router.spawn_call(&[&pattern("120")[..], &more].concat())
}

/// What is sent to this peer: by whom, of which output, and how many frames of it.
fn sent(session: &Value, to: &str) -> Vec<(String, String, u64)> {
    let members = session["members"].as_array();
    let member = members.into_iter().flatten().find(|member| member["peer_id"] == to);
    let sends = member.and_then(|member| member["media"]["sends"].as_array());
    let video = sends.into_iter().flatten().filter(|sent| sent["kind"] == "video");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = video
        .map(|s| (text(&s["from"]), text(&s["output"]), s["frames"].as_u64().unwrap_or(0)))
        .collect();
    all.sort();
    all
}

/// Waits until exactly these outputs flow to this peer.
fn flows(router: &mut Router, to: &str, wanted: &[(&str, &str)]) {
    eventually("the outputs that are wanted", || {
        let sent = sent(&router.sessions()["sessions"][0], to);
        let named: Vec<(&str, &str)> =
            sent.iter().map(|(from, output, _)| (from.as_str(), output.as_str())).collect();
        (named == wanted && sent.iter().all(|(_, _, frames)| *frames > 20)).then_some(())
    });
}

/// [`THREE`] as a manifest, with another width of its `mid`, and with nodes, edges and routes besides.
fn three(width: u32, [nodes, graph, routes]: [Value; 3]) -> Value {
    let mut all = json!({
        "nodes": [
            {"id": "mid", "type": "Scale", "params": {"width": width, "height": 90}},
            {"id": "small", "type": "Scale", "params": {"width": 80, "height": 46}},
        ],
        "graph": [
            {"from": "input.video", "to": "output.high"},
            {"from": "input.video", "to": "mid"},
            {"from": "mid", "to": "output.mid"},
            {"from": "mid", "to": "small"},
            {"from": "small", "to": "output.low"},
        ],
        "routes": [{"output": "high", "to": "others"}, {"output": "mid", "to": "all"}],
    });
    for (key, more) in [("nodes", nodes), ("graph", graph), ("routes", routes)] {
        let more = more.as_array().cloned().unwrap_or_default();
        all[key].as_array_mut().unwrap().extend(more);
    }
    json!({"manifest": {"pipeline": all}})
}

/// The same with a further output, of a node in the operator's worker that takes a second to load.
fn with_late(params: Value, routes: Value) -> Value {
    let node = json!({"id": "late", "type": "Load", "worker": "moody", "params": params});
    let graph = json!([
        {"from": "mid", "to": "late"},
        {"from": "late", "to": "output.late"},
        {"from": "small", "to": "output.more"},
    ]);
    three(160, [json!([node]), graph, routes])
}

fn hang_up(call: Child) -> Value {
    kill(call.id() as i32, Signal::SIGINT);
    report(&call.wait_with_output().unwrap())
}

#[test]
fn one_source_is_decoded_once_and_each_output_goes_where_its_route_says() {
    let mut router = Router::with(THREE, &[]);
    let (anna, bert) = (enter(&router, "anna"), enter(&router, "bert"));
    let (own, other) = (("anna", "mid"), ("bert", "high"));
    flows(&mut router, "anna", &[own, other, ("bert", "mid")]);
    flows(&mut router, "bert", &[("anna", "high"), ("anna", "mid"), ("bert", "mid")]);
    let session = router.sessions()["sessions"][0].take();
    let tasks = session["tasks"].as_array().unwrap();
    let count = |name: &str| {
        let of = |task: &&Value| task["task"].as_str().is_some_and(|t| t.starts_with(name));
        tasks.iter().filter(of).count()
    };
    assert_eq!(count("decode video of"), 2, "{tasks:?}");
    assert_eq!(count("encode vp8 of"), 4, "each output once, whoever views it: {tasks:?}");
    let (anna, bert) = (hang_up(anna), hang_up(bert));
    for (report, stream, width, height) in [
        (&anna, "bert.high", 320, 180),
        (&anna, "bert.mid", 160, 90),
        (&anna, "anna.mid", 160, 90),
        (&bert, "anna.high", 320, 180),
    ] {
        let video = &report["peers"][stream]["video"];
        let size = (video["width"].as_u64(), video["height"].as_u64());
        assert_eq!(size, (Some(width), Some(height)), "{stream}: {report}");
        assert_eq!(video["out_of_order"], 0, "{stream}: {report}");
    }
    router.wait_for_sessions(0);
    router.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_output_that_is_routed_to_nobody_comes_to_who_subscribes_until_it_pauses() {
    let mut router = Router::with(THREE, &[]);
    let client = Client::announced(&router, "bert", Some("red")).await;
    let mut bert = Guest::join(client, "bert", &[Codec::Vp8], &[Kind::Video], &[]).await;
    let robot = attach(&router, &["source", "red", "robot", "video"]);
    let low = |event: &Event| match event {
        Event::Track { receiver, stream, .. } if stream == "robot.low" => Some(*receiver),
        _ => None,
    };
    let refused = bert.client.refused("subscription.set", json!({"output": "none"})).await;
    let said = refused["message"].as_str().unwrap_or_default();
    assert!(said.contains("no output `none`; there are: high, low, main, mid"), "{refused}");
    let huge = json!({"output": "low", "tier": "huge"});
    assert_eq!(bert.client.refused("subscription.set", huge).await["code"], -32602);

    let wish = |paused: bool| json!({"output": "low", "paused": paused});
    let set = bert.client.request("subscription.set", wish(false)).await.unwrap();
    assert_eq!(set, json!({"tier": "full"}));
    let track = bert.until("pictures of the smallest output", low).await;
    let packet = |event: &Event| matches!(event, Event::Rtp { receiver, .. } if *receiver == track);
    for paused in [true, false, true] {
        bert.client.request("subscription.set", wish(paused)).await.unwrap();
        let coded = |router: &mut Router| {
            let session = &router.sessions()["sessions"][0];
            has_channel(session, "/low-video@robot/full.vp8")
        };
        eventually("an encoder only while it is wanted", || {
            (coded(&mut router) != paused).then_some(())
        });
        if !paused {
            bert.until("a picture", |event| packet(event).then_some(())).await;
        }
    }
    interrupt("the robot", robot);
    bert.hang_up().await;
    router.wait_for_sessions(0);
    router.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_with_the_right_gives_a_node_other_parameters_and_its_successor_has_them() {
    let mut router = Router::with(THREE, &[]);
    let mut client = Client::announced(&router, "maker", Some("red")).await;
    let made = json!({"session_id": "red", "pipeline": "three"});
    client.request("session.create", made).await.unwrap();
    let (anna, bert) = (enter(&router, "anna"), enter(&router, "bert"));
    flows(&mut router, "anna", &[("anna", "mid"), ("bert", "high"), ("bert", "mid")]);

    let size = |width: i64| json!({"node": "mid", "params": {"width": width, "height": 120}});
    let refused = client.refused("session.reconfigure", size(-1)).await;
    assert_eq!(refused["code"], -32602, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("width"), "{refused}");
    let nobody = json!({"node": "nobody", "params": {}});
    let refused = client.refused("session.reconfigure", nobody).await;
    assert!(refused["message"].as_str().unwrap().contains("no node `nobody`"), "{refused}");
    let mut other = Client::announced(&router, "other", Some("red")).await;
    let refused = other.refused("session.reconfigure", size(200)).await;
    assert_eq!(refused["code"], -32007, "{refused}");

    let applied = client.request("session.reconfigure", size(200)).await.unwrap();
    assert_eq!(applied, json!({"applied": true}));
    let session = router.sessions()["sessions"][0].take();
    let before = session["epoch"].clone();
    kill(pid(&session, "pipeline"), Signal::SIGKILL);
    eventually("its successor", || {
        let session = &router.sessions()["sessions"][0];
        (generation(session, "pipeline", 2) && session["epoch"] != before).then_some(())
    });
    let frames = |router: &mut Router| {
        let sent = sent(&router.sessions()["sessions"][0], "anna");
        sent.iter().find(|s| s.1 == "mid" && s.0 == "bert").map_or(0, |s| s.2)
    };
    let came = frames(&mut router);
    eventually("pictures of the successor's", || (frames(&mut router) > came + 20).then_some(()));
    let restarted = client.request("session.restart", json!({"node": "mid"})).await.unwrap();
    assert_eq!(restarted, json!({"generation": 3}));
    eventually("the third", || {
        let session = &router.sessions()["sessions"][0];
        generation(session, "pipeline", 3).then_some(())
    });
    let came = frames(&mut router);
    eventually("pictures of the third's", || (frames(&mut router) > came + 20).then_some(()));
    let anna = hang_up(anna);
    let video = &anna["peers"]["bert.mid"]["video"];
    assert_eq!((&video["width"], &video["height"]), (&200.into(), &120.into()), "{anna}");
    let _ = hang_up(bert);
    router.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_graph_changes_in_mid_call_and_what_it_does_not_touch_misses_no_picture() {
    let config = format!("{THREE}[workers.moody]\ncommand = {:?}\n", moody());
    let mut router = Router::with(&config, &[]);
    let mut client = Client::announced(&router, "maker", Some("red")).await;
    let made = json!({"session_id": "red", "pipeline": "three"});
    client.request("session.create", made).await.unwrap();
    let (anna, bert) = (enter(&router, "anna"), enter(&router, "bert"));
    let first = [("anna", "mid"), ("bert", "high"), ("bert", "mid")];
    flows(&mut router, "anna", &first);
    let epoch = |router: &mut Router| router.sessions()["sessions"][0]["epoch"].as_u64().unwrap();
    let before = epoch(&mut router);

    let late = json!({"output": "late", "to": "all"});
    let next = with_late(json!({"ms": 1000}), json!([late]));
    let mut other = Client::announced(&router, "other", Some("red")).await;
    assert_eq!(other.refused("session.update", next.clone()).await["code"], -32007);
    let wrong = json!({"manifest": {"pipeline": {"nodes": [{"id": "mid", "type": "Scla"}]}}});
    let refused = client.refused("session.update", wrong).await;
    assert_eq!(refused["code"], -32602, "{refused}");
    assert_eq!(epoch(&mut router), before);

    let updated = client.request("session.update", next).await.unwrap();
    assert!(updated["epoch"].as_u64().unwrap() > before, "{updated}");
    let second =
        [("anna", "late"), ("anna", "mid"), ("bert", "high"), ("bert", "late"), ("bert", "mid")];
    flows(&mut router, "anna", &second);
    let custom = pid(&router.sessions()["sessions"][0], "custom");

    // Its worker does not change its mind: what came with that goes back again.
    let more = json!({"output": "more", "to": "all"});
    let stubborn = with_late(json!({"ms": 1000, "after": 7}), json!([late, more]));
    let refused = client.refused("session.update", stubborn).await;
    assert_eq!(refused["code"], -32602, "{refused}");
    assert!(refused["message"].as_str().unwrap().contains("change its mind"), "{refused}");
    flows(&mut router, "anna", &second);
    let session = router.sessions()["sessions"][0].take();
    assert_eq!(pid(&session, "custom"), custom, "it is the same process: {session}");
    assert!(!has_channel(&session, "/more-video@"), "{session}");

    let none = || json!([]);
    let last = three(200, [none(), none(), none()]);
    let updated = client.request("session.update", last).await.unwrap();
    assert_eq!(updated["epoch"], epoch(&mut router));
    flows(&mut router, "anna", &first);
    eventually("the end of a process that nobody needs", || {
        worker(&router.sessions()["sessions"][0], "custom").is_none().then_some(())
    });
    let frames = |router: &mut Router| {
        let sent = sent(&router.sessions()["sessions"][0], "anna");
        sent.iter().find(|s| s.1 == "mid" && s.0 == "bert").map_or(0, |s| s.2)
    };
    let came = frames(&mut router);
    eventually("pictures of another size", || (frames(&mut router) > came + 20).then_some(()));

    let (anna, bert) = (hang_up(anna), hang_up(bert));
    for (report, stream) in [(&anna, "bert.high"), (&bert, "anna.high")] {
        let video = &report["peers"][stream]["video"];
        assert_eq!((&video["out_of_order"], &video["lost"]), (&0.into(), &0.into()), "{report}");
    }
    let mid = &anna["peers"]["bert.mid"]["video"];
    assert_eq!((&mid["width"], &mid["height"]), (&200.into(), &90.into()), "{anna}");
    router.wait_for_sessions(0);
    router.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_makes_a_session_of_its_own_manifest_or_is_told_all_that_is_wrong_with_it() {
    let mut router = Router::start();
    let mut client = Client::announced(&router, "maker", Some("red")).await;
    let manifest = |kind: &str, sigma: f64| {
        let nodes = json!([{"id": "soft", "type": kind, "params": {"sigma": sigma}}]);
        json!({"session_id": "red", "manifest": {"pipeline": {"nodes": nodes}}})
    };
    let faulty = json!({"session_id": "red", "manifest": {"pipeline": {"nodes": [
        {"id": "soft", "type": "Bluur"},
        {"id": "quiet", "type": "Gain", "params": {"gain_db": 99}},
    ]}}});
    let refused = client.refused("session.create", faulty).await;
    assert_eq!(refused["code"], -32602, "{refused}");
    let errors = refused["data"]["errors"].as_array().unwrap();
    let places: Vec<&str> = errors.iter().filter_map(|error| error["path"].as_str()).collect();
    assert_eq!(places, ["/pipeline/nodes/0/type", "/pipeline/nodes/1/params/gain_db"]);
    assert_eq!(errors[0]["suggestion"], "did you mean `GaussianBlur`?", "{refused}");
    let mut both = manifest("GaussianBlur", 2.0);
    both["pipeline"] = "overlay".into();
    let refused = client.refused("session.create", both).await;
    assert!(refused["message"].as_str().unwrap().contains("not both"), "{refused}");
    assert_eq!(router.sessions()["load"]["sessions"], 0, "nothing began");

    let made = client.request("session.create", manifest("GaussianBlur", 2.0)).await.unwrap();
    assert_eq!(made, json!({"session_id": "red"}));
    let (anna, bert) = (enter(&router, "anna"), enter(&router, "bert"));
    flows(&mut router, "anna", &[("bert", "main")]);
    let session = router.sessions()["sessions"][0].take();
    assert_eq!(session["nodes"][0]["id"], "soft", "{session}");
    let (anna, _) = (hang_up(anna), hang_up(bert));
    assert!(anna["peers"]["bert"]["video"]["received"].as_u64() > Some(10), "{anna}");
    router.wait_for_sessions(0);
    router.stop();
}
