//! Programs that are no part of the workspace, as somebody else would write them: `examples/rust`, built as it stands.

use crate::attached::{Room, Scene, attached, has_channel, interrupt};
use crate::media::{flowing, pattern};
use crate::recovery::{finished, flows_on};
use crate::router::{Router, eventually, kill, report, turn};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

/// The folder of the built programs; builds them if nobody has.
fn built() -> &'static Path {
    static PLACE: OnceLock<PathBuf> = OnceLock::new();
    PLACE.get_or_init(|| {
        // It is busy with both cores: no story is to run beside it.
        let _turn = turn();
        let own = std::env::current_exe().unwrap();
        let target = own.ancestors().nth(3).unwrap();
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/rust/Cargo.toml");
        let output = Command::new(std::env::var_os("CARGO").unwrap_or("cargo".into()))
            .args(["build", "--release", "--locked", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(target)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the examples do not build:\n{said}");
        target.join("release")
    })
}

/// Starts an example as a user would who has one router.
fn start(router: &Router, name: &str, argument: &str) -> Child {
    Command::new(built().join(name))
        .arg(argument)
        .env("REMOTEMEDIA_RUNTIME_DIR", router.runtime())
        .env_remove("REMOTEMEDIA_CONTROL")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_tap_and_an_insert_from_outside_come_and_go_with_ctrl_c_and_the_call_goes_on() {
    built();
    let mut scene = Scene::play();
    let channel = scene.channel("in/anna/video0/raw");
    let insert = start(&scene.router, "insert", &channel);
    scene.until("the inserted node", |session| {
        attached(session, &[("insert", "dark")]) && session["node_states"]["dark"] == "running"
    });
    // Of what the other one makes.
    let behind = scene.channel("node/dark.out@anna/raw");
    let tap = start(&scene.router, "tap", &behind);
    scene.until("both", |session| {
        attached(session, &[("insert", "dark"), ("tap", behind.as_str())])
    });
    flows_on(&mut scene.router, 60);
    kill(tap.id() as i32, Signal::SIGINT);
    let output = finished("the tap", tap);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let lines = String::from_utf8(output.stdout).unwrap();
    assert!(lines.lines().count() >= 2, "one line in thirty frames: {lines:?}");
    // Whole rows of 320 and of 192 bytes: chroma's 160 are padded to a multiple of 64.
    let bytes = 320 * 180 + 2 * 192 * 90;
    assert!(lines.lines().all(|line| line.contains(&format!(": {bytes} bytes"))), "{lines}");

    interrupt("the inserted node", insert);
    scene.until("a call without the node", |session| {
        attached(session, &[]) && !has_channel(session, "/node/dark.")
    });
    scene.untouched();
}

#[test]
fn a_source_from_outside_is_seen_in_a_room_until_it_goes_with_ctrl_c() {
    built();
    let mut room = Room::enter();
    let source = start(&room.router, "source", "red");
    eventually("the bar at anna's", || {
        let session = room.session();
        let sends = session["members"][0]["media"]["sends"].as_array()?;
        let sent = sends.iter().find(|s| s["from"] == "bar" && s["kind"] == "video")?;
        (sent["frames"].as_u64() > Some(30)).then_some(())
    });
    interrupt("the source", source);
    eventually("an empty picture", || {
        let session = room.session();
        (attached(&session, &[]) && !has_channel(&session, "/bar/")).then_some(())
    });
    let report = room.leave();
    let bar = &report["peers"]["bar"]["video"];
    assert!(bar["received"].as_u64().unwrap() > 15, "{report}");
    assert_eq!((&bar["width"], &bar["height"]), (&320.into(), &180.into()), "{report}");
}

#[test]
fn a_worker_from_outside_is_started_for_a_call_as_the_config_says() {
    let command = built().join("started");
    let config = format!(
        "[workers.quiet]\ncommand = {command:?}\n[pipelines.quiet]\n\
         nodes = [{{ id = \"quiet\", type = \"Quiet\", worker = \"quiet\" }}]\n"
    );
    let mut router = Router::with(&config, &[]);
    let more = ["--peer-id", "anna", "--pipeline", "quiet"];
    let call = router.spawn_call(&[&pattern("120")[..], &more].concat());
    flowing(&mut router);
    eventually("sound through it", || {
        let session = &router.sessions()["sessions"][0];
        let mut tasks = session["tasks"].as_array()?.iter();
        let task = tasks.find(|task| task["task"] == "nodes to quiet on audio of anna")?;
        assert_eq!(task["errors"], 0, "{session}");
        (task["published"].as_u64() > Some(50)).then_some(())
    });
    kill(call.id() as i32, Signal::SIGINT);
    let report = report(&call.wait_with_output().unwrap());
    assert!(report["audio"]["received"].as_u64().unwrap() > 50, "{report}");
    router.wait_for_sessions(0);
    router.stop();
}
