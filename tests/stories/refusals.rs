//! What the router and its commands refuse, in words and with the right code; and what they tell of a live call.

use crate::media::{flowing, pattern};
use crate::router::{Router, eventually, kill, report, turn};
use crate::socket::{Client, description, offer};
use nix::sys::signal::Signal;
use procfs::process::Process;
use remotemedia_shm_schema::ChannelName;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The program, run to its end.
fn program(arguments: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_remotemedia"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It prints less than a pipe holds, so it may be waited for first: one that should end and serves would never.
    let pid = child.id() as i32;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually(&format!("the end of {arguments:?}"), || child.try_wait().unwrap());
    }));
    if ended.is_err() {
        kill(pid, Signal::SIGKILL);
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended.is_ok(), "it ran on: {output:?}");
    output
}

/// Its exit code and what it said on stderr; stdout must be empty then.
fn fails(arguments: &[&str]) -> (i32, String) {
    let output = program(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{said}");
    (output.status.code().unwrap(), said)
}

/// The JSON of a command that must succeed.
fn json_of(arguments: &[&str]) -> Value {
    let output = program(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `serve` with a config that must be refused; the words.
fn refused(config: &str, arguments: &[&str], code: i32) -> String {
    let _turn = turn();
    let folder = tempfile::Builder::new().prefix("rmt").tempdir_in("/dev/shm").unwrap();
    let file = folder.path().join("bad.toml");
    std::fs::write(&file, config).unwrap();
    let run = folder.path().join("run");
    let (file, run) = (file.to_str().unwrap(), run.to_str().unwrap());
    let all = ["serve", "--port", "0", "--config", file, "--runtime-dir", run];
    let (got, said) = fails(&[&all[..], arguments].concat());
    assert_eq!(got, code, "{config:?} {arguments:?}: {said}");
    let left = std::fs::read_dir(run).map(Iterator::count).unwrap_or_default();
    assert_eq!(left, 0, "left in the runtime folder after: {said}");
    said
}

#[test]
fn a_config_that_is_wrong_is_refused_with_file_line_and_what_is_allowed() {
    for (config, words) in [
        ("spares = 1\nmax_sesions = 3\n", &["bad.toml:2", "max_sesions", "max_sessions"][..]),
        ("\n\nmax_sessions = 0\n", &["bad.toml:3", "max_sessions = 0", "1 to 1000"]),
        ("port = \"nine\"\n", &["bad.toml:1", "u16"]),
        ("max_peers = 20\nmax_peers_total = 5\n", &["bad.toml:2", "contradicts", "20"]),
        ("codecs = [\"av1\"]\n", &["bad.toml:1", "av1", "vp8"]),
        ("max_video = \"wide\"\n", &["bad.toml:1", "wide", "1280x720"]),
        ("log = \"info\"\n[ice\n", &["bad.toml:2"]),
        ("default_pipeline = \"none\"\n", &["bad.toml:1", "\"none\"", "overlay", "grayscale"]),
        ("bind = \"0.0.0.0\"\n", &["bad.toml:1", "allow_unauthenticated", "no authorization"]),
        ("signaling_url = \"ws://127.0.0.1:1/\"\n", &["bad.toml:1", "not supported yet"]),
    ] {
        let said = refused(config, &[], 2);
        for word in words {
            assert!(said.contains(word), "{config:?}: no {word:?} in: {said}");
        }
    }
}

#[test]
fn flags_that_are_wrong_are_refused_with_what_is_allowed() {
    for (arguments, words) in [
        (&["--bind", "0.0.0.0"][..], &["--bind", "--allow-unauthenticated"][..]),
        (&["--pipeline", "none"], &["--pipeline", "\"none\"", "overlay"]),
        (&["--worker-dir", "/nowhere"], &["--worker-dir", "/nowhere"]),
        (&["--nonsense"], &["--nonsense", "Usage"]),
    ] {
        let said = refused("", arguments, 2);
        for word in words {
            assert!(said.contains(word), "{arguments:?}: no {word:?} in: {said}");
        }
    }
    for arguments in [&["dance"][..], &["serve", "--port", "70000"]] {
        let (code, said) = fails(arguments);
        assert!(code == 2 && said.contains(arguments[arguments.len() - 1]), "{code}: {said}");
    }
}

#[test]
fn a_router_without_its_workers_says_where_it_looked() {
    let empty = tempfile::tempdir().unwrap();
    let place = empty.path().to_str().unwrap();
    let said = refused("", &["--worker-dir", place], 1);
    for word in [place, "remotemedia-codec-worker", "cargo build", "--worker-dir"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[test]
fn a_peer_without_a_router_fails_and_says_so() {
    // A port that was free a moment ago.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}");
    let (code, said) = fails(&["peer", "--connect", &url, "--json"]);
    assert_eq!(code, 1, "{said}");
    for word in ["error:", &port.to_string(), "remotemedia serve"] {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_pages_and_rebinding_names_are_turned_away_from_page_and_socket() {
    let router = Router::start();
    let own = router.address().to_string();
    let port = router.address().port();
    let evil = format!("evil.example:{port}");
    for (host, origin, status) in [
        (own.as_str(), None, 200),
        (&own, Some(format!("http://{own}")), 200),
        (&own, Some(format!("http://localhost:{port}")), 200),
        (&evil, None, 403),
        (&evil, Some(format!("http://{evil}")), 403),
        (&evil, Some(format!("http://{own}")), 403),
        (&own, Some("https://evil.example".to_owned()), 403),
        (&own, Some("null".to_owned()), 403),
    ] {
        let header = origin.as_ref().map(|o| format!("Origin: {o}\r\n")).unwrap_or_default();
        for path in ["/", "/api/sessions", "/healthz"] {
            let (got, body) = router.request(&format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\n{header}Connection: close\r\n\r\n"
            ));
            assert_eq!(got, status, "{path} for {host} from {origin:?}: {body}");
            if status == 403 {
                assert!(body.contains("evil.example") || body.contains("null"), "{body}");
            }
        }
        let mut headers = vec![("host", host)];
        headers.extend(origin.as_deref().map(|origin| ("origin", origin)));
        for path in ["/", "/ws"] {
            let got = Client::dial(&router, path, &headers).await.err().unwrap_or(200);
            assert_eq!(got, status, "socket {path} for {host} from {origin:?}");
        }
    }
    router.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_session_over_the_limit_is_refused_until_another_ends() {
    let mut router = Router::with("max_sessions = 2\n", &[]);
    let mut one = Client::announced(&router, "one", None).await;
    let mut two = Client::announced(&router, "two", None).await;
    let mut three = Client::announced(&router, "three", None).await;
    let create = json!({ "pipeline": "passthrough" });
    let first = one.request("session.create", create.clone()).await.unwrap();
    assert_eq!(router.get("/readyz").0, 200);
    two.request("session.create", create.clone()).await.unwrap();
    let (status, body) = router.get("/readyz");
    assert!(status == 503 && body.contains("2 of 2 sessions"), "{status}: {body}");
    let full = json!({ "what": "sessions", "limit": 2, "in_use": 2 });
    let sdp = description("UDP/TLS/RTP/SAVPF", true);
    for error in [
        three.refused("session.create", create.clone()).await,
        three.refused("peer.offer", offer(&sdp)).await,
    ] {
        assert_eq!((&error["code"], &error["data"]), (&json!(-32009), &full), "{error}");
    }
    let receipt = one.request("session.close", first.clone()).await.unwrap();
    assert_eq!((&receipt["session_id"], &receipt["left"]), (&first["session_id"], &json!([])));
    eventually("room for another", || (router.get("/readyz").0 == 200).then_some(()));
    three.request("session.create", create).await.unwrap();
    router.wait_for_sessions(2);
    router.stop();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_peer_over_a_rooms_limit_is_refused_and_the_defaults_are_the_contracts() {
    let router = Router::with("max_peers = 2\n", &[]);
    let _one = Client::announced(&router, "one", Some("red")).await;
    let _two = Client::announced(&router, "two", Some("red")).await;
    let mut three = Client::connect(&router).await;
    let error = three.announce("three", Some("red")).await.unwrap_err();
    assert_eq!((&error["code"], &error["data"]), (&json!(-32005), &json!({ "max_peers": 2 })));
    // The other room has places, and a name is free in each.
    three.announce("two", Some("blue")).await.unwrap();
    let mut four = Client::connect(&router).await;
    let error = four.announce("two", Some("red")).await.unwrap_err();
    assert!(error["code"] == -32001 && error["data"]["registered_at"].is_u64(), "{error}");
    router.stop();

    let router = Router::start();
    let info: Value = serde_json::from_str(&router.get("/api/info").1).unwrap();
    let limits = &info["limits"];
    assert_eq!((&limits["max_sessions"], &limits["max_peers"]), (&json!(16), &json!(10)), "{info}");
    router.stop();
}

/// The session's frames to its one peer.
fn sent(router: &mut Router) -> u64 {
    let sessions = router.sessions();
    let sends = sessions["sessions"][0]["members"][0]["media"]["sends"].as_array().unwrap().clone();
    sends.iter().map(|s| s["frames"].as_u64().unwrap()).min().unwrap()
}

#[test]
fn the_commands_show_a_live_call_and_leave_it_alone() {
    let mut router = Router::start();
    let call = router.spawn_call(&[&pattern("60")[..], &["--peer-id", "anna"]].concat());
    let live = flowing(&mut router);
    let session = live["sessions"][0]["session_id"].as_str().unwrap().to_owned();
    let folder = router.runtime();
    let folder = folder.to_str().unwrap();

    let ps = json_of(&["ps", "--json", "--router", folder]);
    assert_eq!(ps["router"]["url"], router.url.as_str(), "{ps}");
    let processes = ps["processes"].as_array().unwrap();
    let mut pids = BTreeSet::new();
    let mut leased = BTreeSet::new();
    for process in processes {
        let (pid, role) =
            (process["pid"].as_i64().unwrap() as i32, process["role"].as_str().unwrap());
        assert!(pids.insert(pid), "every one is a process of its own: {ps}");
        assert!(process["pss_bytes"].as_u64().unwrap() > 100_000, "{process}");
        let real = Process::new(pid).unwrap();
        let program = real.exe().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        if role == "router" {
            assert_eq!((pid, program.as_str()), (router.pid(), "remotemedia"));
        } else {
            let own = if role == "steward" { String::new() } else { "-worker".into() };
            assert_eq!(program, format!("remotemedia-{role}{own}"), "{process}");
            assert_eq!(real.stat().unwrap().ppid, router.pid(), "{process}");
        }
        if process["session"] == session.as_str() {
            assert_eq!(process["state"], "leased", "{process}");
            leased.insert(role);
        }
    }
    assert_eq!(leased, BTreeSet::from(["codec", "pipeline", "steward"]), "{ps}");
    let stages = ps["sessions"][0]["stages"]["video"].as_object().unwrap();
    for stage in ["assembled", "decoded", "node:clock", "encoded", "sent"] {
        assert!(stages[stage]["p50"].is_number() && stages[stage]["p95"].is_number(), "{stages:?}");
    }

    let all = json_of(&["channels", "--json", "--router", folder]);
    let names: BTreeSet<&str> = all["sessions"][0]["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|channel| channel["name"].as_str().unwrap())
        .collect();
    let expected = [
        "in/anna/audio0/encoded",
        "in/anna/audio0/raw",
        "in/anna/video0/encoded",
        "in/anna/video0/raw",
        "out/main-audio@anna/full.opus/encoded",
        "out/main-video@anna/full.vp8/encoded",
        "out/main-video@anna/raw",
    ]
    .map(|name| format!("rm/{session}/{name}"));
    assert_eq!(names, expected.iter().map(String::as_str).collect(), "{all}");
    for name in names {
        name.parse::<ChannelName>().unwrap();
    }
    let table = program(&["channels", &session, "--router", folder]);
    assert!(String::from_utf8_lossy(&table.stdout).contains(&expected[0]), "{table:?}");
    let (code, said) = fails(&["channels", "none", "--router", folder]);
    assert!(code == 1 && said.contains(&session), "it names those that are there: {said}");

    let sessions = json_of(&["sessions", "--json", "--router", &router.url]);
    assert_eq!(sessions["sessions"][0]["session_id"], session.as_str(), "{sessions}");
    assert_eq!(sessions["load"]["sessions"], 1, "{sessions}");

    let doctor = json_of(&["doctor", "--json", "--runtime-dir", folder]);
    let checks = doctor["checks"].as_array().unwrap();
    let check = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    for name in ["codec worker", "pipeline worker", "runtime folder", "leftovers"] {
        assert_eq!(check(name)["verdict"], "ok", "{doctor}");
    }
    assert!(check("leftovers")["found"].as_str().unwrap().contains("1 live"), "{doctor}");

    let before = sent(&mut router);
    let clean = json_of(&["clean", "--json", "--runtime-dir", folder]);
    assert_eq!(clean["cleaning"], json!({ "namespaces": [], "records": [] }), "{clean}");
    assert_eq!(clean["complete"], true, "{clean}");
    eventually("media after the cleaning", || (sent(&mut router) > before + 20).then_some(()));
    kill(call.id() as i32, Signal::SIGINT);
    let report = report(&call.wait_with_output().unwrap());
    assert_eq!(report["video"]["out_of_order"], 0, "{report}");
    router.wait_for_sessions(0);
    router.stop();
}

#[test]
fn of_two_routers_in_one_folder_the_killed_one_is_cleaned_up_and_the_other_goes_on() {
    let mut router = Router::start();
    let call = router.spawn_call(&pattern("60"));
    flowing(&mut router);
    let folder = router.runtime();
    let folder = folder.to_str().unwrap();
    let mut second = Command::new(env!("CARGO_BIN_EXE_remotemedia"))
        .args(["serve", "--webrtc", "--port", "0", "--runtime-dir", folder])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(second.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap_or_else(|| panic!("{line:?}"));
    let mut other = Command::new(env!("CARGO_BIN_EXE_remotemedia"))
        .args(["peer", "--connect", url, "--json", "--seconds", "60", "--audio", "ticks"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let namespaces = || {
        let entries = std::fs::read_dir(folder).unwrap().flatten();
        entries.filter(|entry| entry.path().join("prefix").exists()).count()
    };
    eventually("a session of either router", || (namespaces() == 2).then_some(()));
    second.kill().unwrap();
    second.wait().unwrap();

    let clean = json_of(&["clean", "--json", "--runtime-dir", folder]);
    let removed = clean["cleaning"]["namespaces"].as_array().unwrap();
    assert_eq!((removed.len(), &clean["complete"]), (1, &json!(true)), "{clean}");
    assert_eq!(clean["cleaning"]["records"].as_array().unwrap().len(), 1, "{clean}");
    assert_eq!(namespaces(), 1, "the living router's stays");
    let before = sent(&mut router);
    eventually("media after the cleaning", || (sent(&mut router) > before + 20).then_some(()));
    let session = &router.sessions()["sessions"][0];
    for worker in session["workers"].as_array().unwrap() {
        assert_eq!(worker["generation"], 1, "a worker of the living router was ended: {session}");
    }
    other.kill().unwrap();
    other.wait().unwrap();
    kill(call.id() as i32, Signal::SIGINT);
    report(&call.wait_with_output().unwrap());
    router.wait_for_sessions(0);
    router.stop();
}

#[test]
fn what_a_killed_router_leaves_is_told_by_doctor_and_removed_by_clean() {
    let mut router = Router::start();
    let mut call = router.spawn_call(&pattern("60"));
    let live = flowing(&mut router);
    let workers: Vec<i32> = live["workers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|worker| worker["pid"].as_i64().unwrap() as i32)
        .collect();
    assert!(workers.len() >= 2, "{live}");
    kill(router.pid(), Signal::SIGKILL);
    assert!(!router.wait().success());
    for pid in workers {
        eventually(&format!("the end of worker {pid} by itself"), || {
            // One whose new parent has not looked yet has ended as well.
            let ended = Process::new(pid).and_then(|p| p.stat()).map_or(true, |s| s.state == 'Z');
            ended.then_some(())
        });
    }
    let folder = router.runtime();
    let folder = folder.to_str().unwrap();
    let leftovers = || {
        let doctor = json_of(&["doctor", "--json", "--runtime-dir", folder]);
        let checks = doctor["checks"].as_array().unwrap();
        checks.iter().find(|check| check["name"] == "leftovers").unwrap().clone()
    };
    let told = leftovers();
    assert_eq!(told["verdict"], "warning", "{told}");
    assert!(told["advice"].as_str().unwrap().contains("remotemedia clean"), "{told}");
    assert!(told["found"].as_str().unwrap().contains("1 abandoned"), "{told}");

    let clean = json_of(&["clean", "--json", "--runtime-dir", folder]);
    let removed = &clean["cleaning"]["namespaces"][0];
    assert!(removed["removed"].as_u64().unwrap() > 0, "{clean}");
    assert_eq!((&removed["left"], &clean["complete"]), (&json!([]), &json!(true)), "{clean}");
    assert_eq!(clean["cleaning"]["records"].as_array().unwrap().len(), 1, "{clean}");
    assert!(!Path::new(folder).exists(), "the folder was a leftover as well");
    assert_eq!(leftovers()["verdict"], "ok");
    router.check_leftovers();
    kill(call.id() as i32, Signal::SIGKILL);
    call.wait().unwrap();
}
