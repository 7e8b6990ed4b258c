//! Workers in Python beside a real router: started by the config, or attached by hand while a call goes on. They are the
//! examples that people start from.

use crate::attached::{Room, Scene, attached, has_channel, interrupt};
use crate::media::{flowing, pattern};
use crate::recovery::{ends, finished, flows_on, generation, pid, spawn};
use crate::router::{Router, eventually, kill, report};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The Python of the tests, in which the worker package is.
fn python() -> PathBuf {
    let place = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(".cache/python/bin/python");
    assert!(place.is_file(), "{} is not there; python/setup-tests makes it", place.display());
    place
}

fn example(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("python/examples").join(name)
}

/// Starts an example as a user would who has one router.
fn start(router: &Router, name: &str, argument: &str, stdout: Stdio) -> Child {
    Command::new(python())
        .arg(example(name))
        .arg(argument)
        .env("REMOTEMEDIA_RUNTIME_DIR", router.runtime())
        .env_remove("REMOTEMEDIA_CONTROL")
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Luma and chroma of a picture that passes a raw channel, without what pads its rows.
fn seen(router: &Router, channel: &str) -> (Vec<u8>, Vec<u8>) {
    const PIXELS: usize = 320 * 180;
    let folder = tempfile::tempdir().unwrap();
    let (file, runtime) = (folder.path().join("seen.y4m"), router.runtime());
    let (path, runtime) = (file.to_str().unwrap(), runtime.to_str().unwrap());
    let tap = ["tap", channel, "--json", "--seconds", "1", "--save", path, "--router", runtime];
    ends("the tap", spawn(&tap), 0);
    let y4m = std::fs::read(file).unwrap();
    // A line for the clip, a line for the picture, the picture.
    let mut lines = y4m.splitn(3, |byte| *byte == b'\n');
    assert!(lines.next().unwrap().starts_with(b"YUV4MPEG2 W320 H180 "));
    assert!(lines.next().unwrap().starts_with(b"FRAME"));
    let (luma, rest) = lines.next().unwrap().split_at(PIXELS);
    (luma.to_vec(), rest[..PIXELS / 2].to_vec())
}

/// How much neighbours differ, all over the picture.
fn sharpness(luma: &[u8]) -> u64 {
    luma.windows(2).map(|two| u64::from(two[0].abs_diff(two[1]))).sum()
}

#[test]
fn a_python_worker_that_is_to_lock_itself_in_is_refused_for_it_cannot() {
    let (command, script) = (python(), example("blur.py"));
    let config = format!(
        "[workers.blur]\ncommand = {command:?}\nargs = [{script:?}]\nsandbox = true\n[pipelines.soft]\n\
         nodes = [{{ id = \"soft\", type = \"PyBlur\", worker = \"blur\" }}]\n"
    );
    let mut router = Router::with(&config, &[]);
    let call = router.spawn_call(&[&pattern("5")[..], &["--pipeline", "soft"]].concat());
    let said = ends("a call through it", call, 1);
    assert!(said.contains("is to lock itself in"), "{said}");
    let over = router.wait_for_sessions(0);
    assert_eq!(over["receipts"][0]["left"], serde_json::json!([]), "{over}");
    router.stop();
}

#[test]
fn a_python_worker_that_the_config_names_blurs_a_calls_pictures_in_place_and_is_replaced() {
    let (command, script) = (python(), example("blur.py"));
    let config = format!(
        "[workers.blur]\ncommand = {command:?}\nargs = [{script:?}]\n[pipelines.soft]\n\
         nodes = [{{ id = \"soft\", type = \"PyBlur\", worker = \"blur\", params = {{ sigma = 6.0 }} }}]\n"
    );
    let mut router = Router::with(&config, &[]);
    let more = ["--peer-id", "anna", "--pipeline", "soft"];
    let call = router.spawn_call(&[&pattern("120")[..], &more].concat());
    let all = flowing(&mut router);
    let id = all["sessions"][0]["session_id"].as_str().unwrap();
    let (sharp, _) = seen(&router, &format!("rm/{id}/in/anna/video0/raw"));
    let (soft, _) = seen(&router, &format!("rm/{id}/out/main-video@anna/raw"));
    let (sharp, soft) = (sharpness(&sharp), sharpness(&soft));
    assert!(soft * 3 < sharp * 2, "{soft} of {sharp}: not blurred");

    let session = router.sessions()["sessions"][0].clone();
    let tasks = session["tasks"].as_array().unwrap();
    let task = tasks.iter().find(|task| task["task"] == "nodes to soft on video of anna").unwrap();
    assert!(task["worker"].as_str().unwrap().starts_with("blur-"), "{task}");
    assert!(task["published"].as_u64().unwrap() > 0, "{task}");
    assert_eq!((task["errors"].as_u64(), task["copied_bytes"].as_u64()), (Some(0), Some(0)));
    assert!(session["stages"]["video"]["node:soft"]["p50"].is_number(), "{session}");

    kill(pid(&session, "custom"), Signal::SIGKILL);
    eventually("the next generation", || {
        generation(&router.sessions()["sessions"][0], "custom", 2).then_some(())
    });
    flows_on(&mut router, 30);
    kill(call.id() as i32, Signal::SIGINT);
    let report = report(&call.wait_with_output().unwrap());
    assert!(report["video"]["received"].as_u64().unwrap() > 30, "{report}");
    router.wait_for_sessions(0);
    router.stop();
}

// --- attached by hand -------------------------------------------------------------------------------------------------

const NODE: &str = "edges";

/// Inserts the example behind anna's decoder, and waits until it is in the call.
fn insert(scene: &mut Scene) -> Child {
    let channel = scene.channel("in/anna/video0/raw");
    let program = start(&scene.router, "edges.py", &channel, Stdio::null());
    scene.until("the inserted node", |session| {
        attached(session, &[("insert", NODE)]) && session["node_states"][NODE] == "running"
    });
    flows_on(&mut scene.router, 20);
    let (luma, chroma) = seen(&scene.router, &scene.channel("node/edges.out@anna/raw"));
    assert!(luma.contains(&255) && luma.iter().all(|y| [0, 255].contains(y)), "edges");
    assert!(chroma.iter().all(|c| *c == 128), "without colour");
    program
}

fn taken_out(session: &Value) -> bool {
    attached(session, &[]) && !has_channel(session, "/node/edges.")
}

#[test]
fn a_python_insert_comes_and_goes_with_ctrl_c_and_the_call_goes_on() {
    let mut scene = Scene::play();
    for _ in 0..2 {
        let program = insert(&mut scene);
        interrupt("the inserted node", program);
        scene.until("a call without the node", taken_out);
    }
    scene.untouched();
}

#[test]
fn a_python_insert_that_is_killed_is_away_is_passed_by_as_it_said_and_comes_back() {
    let mut scene = Scene::play();
    let mut program = insert(&mut scene);
    kill(program.id() as i32, Signal::SIGKILL);
    program.wait().unwrap();
    scene.until("a node that is away", |session| session["node_states"][NODE] == "away");
    flows_on(&mut scene.router, 30);
    let again = insert(&mut scene);
    interrupt("the node that came back", again);
    scene.until("a call without the node", taken_out);
    flows_on(&mut scene.router, 20);
    kill(scene.call.id() as i32, Signal::SIGINT);
    let report = report(&scene.call.wait_with_output().unwrap());
    assert!(report["video"]["received"].as_u64().unwrap() > 60, "{report}");
    scene.router.wait_for_sessions(0);
    scene.router.stop();
}

#[test]
fn a_python_tap_tells_how_loud_a_call_is_and_goes_with_ctrl_c() {
    let mut scene = Scene::play();
    let channel = scene.channel("in/anna/audio0/raw");
    let folder = tempfile::tempdir().unwrap();
    // A file, for nobody reads while it runs.
    let file = folder.path().join("meter");
    let meter =
        start(&scene.router, "level_meter.py", &channel, File::create(&file).unwrap().into());
    scene.until("the tap", |session| attached(session, &[("tap", channel.as_str())]));
    eventually("a second of sound", || {
        let shown = std::fs::read_to_string(&file).unwrap();
        // A tick is louder than -40 dB.
        (shown.matches(" dB ").count() > 100 && shown.contains(&"#".repeat(20))).then_some(())
    });
    interrupt("the tap", meter);
    scene.until("no tap", |session| attached(session, &[]));
    scene.untouched();
}

#[test]
fn a_python_source_is_heard_in_a_room_until_it_goes_with_ctrl_c() {
    let mut room = Room::enter();
    let tone = start(&room.router, "test_tone.py", "red", Stdio::null());
    eventually("the tone at anna's", || {
        let session = room.session();
        let sends = session["members"][0]["media"]["sends"].as_array()?;
        let sent = sends.iter().find(|s| s["from"] == "tone" && s["kind"] == "audio")?;
        let flows = sent["frames"].as_u64() > Some(100);
        (flows && attached(&session, &[("source", "audio of tone")])).then_some(())
    });
    let again = start(&room.router, "test_tone.py", "red", Stdio::null());
    let refused = finished("a second tone", again);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{said}");
    assert!(said.contains("has audio of `tone` already"), "{said}");
    interrupt("the tone", tone);
    eventually("silence", || {
        let session = room.session();
        let sends = session["members"][0]["media"]["sends"].as_array()?;
        (sends.is_empty() && attached(&session, &[]) && !has_channel(&session, "tone"))
            .then_some(())
    });
    let report = room.leave();
    let heard = &report["peers"]["tone"]["audio"];
    assert!(heard["received"].as_u64().unwrap() > 50, "{report}");
    // A sine of 0.2 has 0.14; spread over two channels each has less.
    assert!((0.05..0.2).contains(&heard["level"].as_f64().unwrap()), "{report}");
}
