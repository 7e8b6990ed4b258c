//! What becomes of a call whose nodes fail, hang or die: what each node's `on_failure` says, and no more than that.
//!
//! The nodes are those of `worker-sdk/examples/moody.rs`. They invert the lower half of each picture, and the clip that is
//! sent is dark there: what a viewer saw tells whether it was processed.

use crate::media::{flowing, pattern};
use crate::router::{Router, eventually, kill, report, turn};
use nix::sys::signal::Signal;
use remotemedia_shm_schema::{Codec, VideoGeometry};
use serde_json::Value;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

// --- tools, also of the stories about kills, attached programs and pipelines -------------------------------------------

/// The program of all moods: an example of the worker SDK, which `cargo test --workspace` builds.
pub fn moody() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let place = own.ancestors().nth(2).unwrap().join("examples/moody");
    let build = "cargo build --release -p remotemedia-worker --example moody";
    assert!(place.is_file(), "{} is not there; `{build}` makes it", place.display());
    place
}

/// Starts the program with these arguments.
pub fn spawn(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_remotemedia"))
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// What a program printed that must end by itself. It prints less than a pipe holds.
pub fn finished(what: &str, mut child: Child) -> Output {
    let ended = catch_unwind(AssertUnwindSafe(|| {
        eventually(&format!("the end of {what}"), || child.try_wait().unwrap());
    }));
    if ended.is_err() {
        kill(child.id() as i32, Signal::SIGKILL);
    }
    let output = child.wait_with_output().unwrap();
    assert!(ended.is_ok(), "{what} ran on: {output:?}");
    output
}

/// What a program says on stderr that must end with this code.
pub fn ends(what: &str, child: Child, code: i32) -> String {
    let output = finished(what, child);
    assert_eq!(output.status.code(), Some(code), "{what}: {output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// The session's worker of this role.
pub fn worker<'a>(session: &'a Value, role: &str) -> Option<&'a Value> {
    session["workers"].as_array()?.iter().find(|worker| worker["role"] == role)
}

/// The process of the session's worker of this role.
pub fn pid(session: &Value, role: &str) -> i32 {
    let worker = worker(session, role).unwrap_or_else(|| panic!("no {role} worker: {session}"));
    worker["pid"].as_i64().unwrap() as i32
}

/// Whether the session's worker of this role is the so-manieth.
pub fn generation(session: &Value, role: &str, wanted: u64) -> bool {
    worker(session, role).is_some_and(|worker| worker["generation"] == wanted)
}

/// Pictures that the session's first peer was sent.
pub fn pictures(session: &Value) -> u64 {
    let sends = session["members"][0]["media"]["sends"].as_array();
    let video = sends.into_iter().flatten().find(|sent| sent["kind"] == "video");
    video.and_then(|sent| sent["frames"].as_u64()).unwrap_or(0)
}

/// Pictures that came from the session's first peer, and those that it was sent. A peer that is too busy to answer is
/// shown without its counters; this waits until it is not.
fn counts(router: &mut Router) -> (u64, u64) {
    eventually("the peer's counters", || {
        let session = &router.sessions()["sessions"][0];
        let units = session["members"][0]["media"]["receives"]["video"]["units"].as_u64()?;
        Some((units, pictures(session))).filter(|(_, shown)| *shown > 0)
    })
}

/// Waits until the first peer of the first session was sent so many pictures more.
pub fn flows_on(router: &mut Router, more: u64) {
    let (_, before) = counts(router);
    eventually("pictures that flow on", || {
        (pictures(&router.sessions()["sessions"][0]) >= before + more).then_some(())
    });
}

/// How many pictures the first peer was sent while so many came from it: at 30 a second a measure of time that a machine
/// which stands still does not pass.
pub fn shown_while(router: &mut Router, came: u64) -> u64 {
    let (begin, before) = counts(router);
    eventually("pictures that come in", || {
        let (units, shown) = counts(router);
        (units >= begin + came).then(|| shown - before)
    })
}

/// Pictures that are shown in two seconds of a peer whose media are held: one a second is repeated, and some were under way.
pub const HELD: u64 = 8;

// --- the clip and what is seen of it ----------------------------------------------------------------------------------

const SIDES: (u16, u16) = (192, 112);
const DARK: u8 = 60;
const PROCESSED: u8 = 255 - DARK;

fn write_clip(path: &Path) {
    let (width, height) = (usize::from(SIDES.0), usize::from(SIDES.1));
    let mut y4m = format!("YUV4MPEG2 W{width} H{height} F30:1 Ip A1:1 C420jpeg\n").into_bytes();
    for _ in 0..10 {
        y4m.extend_from_slice(b"FRAME\n");
        y4m.resize(y4m.len() + width * height, DARK);
        y4m.resize(y4m.len() + width * height / 2, 128);
    }
    std::fs::write(path, y4m).unwrap();
}

/// The luma of one place in the lower half of each picture of an IVF file.
fn seen(ivf: &[u8]) -> Vec<u8> {
    let geometry = VideoGeometry::i420(SIDES.0, SIDES.1);
    let mut decoder =
        remotemedia_codec_worker::video_decoder(Codec::Vp8, geometry.payload_len() as u32).unwrap();
    let mut bytes = vec![0; geometry.payload_len()];
    let middle = geometry.planes[0].stride as usize * usize::from(SIDES.1) * 3 / 4
        + usize::from(SIDES.0) / 2;
    let (mut at, mut all) = (32, Vec::new());
    while at + 12 <= ivf.len() {
        let length = u32::from_le_bytes(ivf[at..at + 4].try_into().unwrap()) as usize;
        let unit = &ivf[at + 12..at + 12 + length];
        at += 12 + length;
        let Ok(Some(shown)) = decoder.decode(unit) else { continue };
        shown.picture.copy_into(&geometry, &mut bytes).unwrap();
        all.push(bytes[middle]);
    }
    all
}

fn some(seen: &[u8], luma: u8) -> bool {
    seen.iter().any(|one| one.abs_diff(luma) <= 15)
}

// --- a call through one node ------------------------------------------------------------------------------------------

/// A config with the worker `moody`, more lines for it, and the pipeline `sin` of one node of this type.
fn config(worker: &str, kind: &str, params: &str, on_failure: &str) -> String {
    let node = format!(
        "{{ id = \"sin\", type = \"{kind}\", worker = \"moody\", on_failure = \"{on_failure}\", params = {{ {params} }} }}"
    );
    let command = moody();
    format!("[workers.moody]\ncommand = {command:?}\n{worker}\n[pipelines.sin]\nnodes = [{node}]\n")
}

/// A router and a call with the clip through the pipeline `sin`.
struct Scene {
    router: Router,
    call: Child,
    folder: tempfile::TempDir,
}

impl Scene {
    /// Begins the call, and waits until it flows.
    fn play(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clip, back) = (folder.path().join("clip.y4m"), folder.path().join("back"));
        write_clip(&clip);
        let mut router = Router::with(config, &[]);
        let (clip, back) = (clip.to_str().unwrap(), back.to_str().unwrap());
        let own = ["--video", clip, "--audio", "ticks", "--save", back];
        let more = ["--pipeline", "sin", "--seconds", "120"];
        let call = router.spawn_call(&[&own[..], &more].concat());
        flowing(&mut router);
        Self { router, call, folder }
    }

    fn session(&mut self) -> Value {
        self.router.sessions()["sessions"][0].clone()
    }

    fn kill(&mut self) {
        let session = self.session();
        kill(pid(&session, "custom"), Signal::SIGKILL);
    }

    /// Waits for the node's state; the session then.
    fn state(&mut self, state: &str) -> Value {
        eventually(&format!("the node {state}"), || {
            let session = self.session();
            (session["nodes"][0]["state"] == state).then_some(session)
        })
    }

    /// Waits until the node's last error says this.
    fn error(&mut self, words: &str) {
        eventually(&format!("an error that says {words}"), || {
            let session = self.session();
            session["nodes"][0]["error"].as_str()?.contains(words).then_some(())
        });
    }

    /// Waits for the so-manieth process of the worker.
    fn generation(&mut self, wanted: u64) {
        eventually(&format!("generation {wanted}"), || {
            generation(&self.session(), "custom", wanted).then_some(())
        });
    }

    fn restart(&mut self) {
        let session = self.session();
        let (id, runtime) = (session["session_id"].as_str().unwrap(), self.router.runtime());
        ends("restart", spawn(&["restart", id, "sin", "--router", runtime.to_str().unwrap()]), 0);
    }

    /// Ends the call, which must have been a whole one, and the router; what its viewer saw.
    fn end(mut self) -> Vec<u8> {
        assert_eq!(self.session()["state"], "active");
        kill(self.call.id() as i32, Signal::SIGINT);
        let report = report(&self.call.wait_with_output().unwrap());
        assert_eq!(report["video"]["out_of_order"], 0, "{report}");
        assert!(report["audio"]["received"].as_u64().unwrap() > 0, "{report}");
        self.router.wait_for_sessions(0);
        self.router.stop();
        seen(&std::fs::read(self.folder.path().join("back.ivf")).unwrap())
    }
}

// --- what `on_failure` says -------------------------------------------------------------------------------------------

#[test]
fn while_a_node_that_holds_is_away_nothing_unprocessed_is_seen_and_a_command_brings_it_back() {
    let mut scene = Scene::play(&config("restart = \"never\"", "Negative", "", "hold"));
    scene.kill();
    let session = scene.state("failed");
    assert!(worker(&session, "custom").is_none(), "it is not to be restarted: {session}");
    scene.error("SIGKILL");
    let shown = shown_while(&mut scene.router, 60);
    assert!((1..=HELD).contains(&shown), "{shown} pictures: the last one is repeated, no more");
    scene.restart();
    scene.generation(2);
    scene.state("running");
    flows_on(&mut scene.router, 30);
    let seen = scene.end();
    assert!(some(&seen, PROCESSED) && !some(&seen, DARK), "{seen:?}");
}

#[test]
fn while_a_node_that_may_be_bypassed_is_away_its_input_is_seen() {
    let mut scene = Scene::play(&config("restart = \"never\"", "Negative", "", "bypass"));
    scene.kill();
    scene.state("failed");
    flows_on(&mut scene.router, 60);
    let seen = scene.end();
    assert!(some(&seen, PROCESSED) && some(&seen, DARK), "{seen:?}");
}

#[test]
fn the_death_of_a_node_that_says_close_ends_the_session_and_everybody_is_told() {
    let mut scene = Scene::play(&config("", "Negative", "", "close"));
    scene.kill();
    let after = scene.router.wait_for_sessions(0);
    let receipt = &after["receipts"][0];
    for word in ["sin", "`close`"] {
        assert!(receipt["cause"].as_str().unwrap().contains(word), "{receipt}");
        assert!(receipt["failed"].as_str().unwrap().contains(word), "{receipt}");
    }
    assert_eq!(receipt["left"].as_array().map(Vec::len), Some(0), "{receipt}");
    // Its viewer did not ask for the end: to it that is a failure.
    let said = ends("the call", scene.call, 1);
    assert!(said.contains("error:"), "{said}");
    scene.router.stop();
}

#[test]
fn a_node_that_fails_on_each_frame_and_holds_shows_nothing_any_more() {
    let mut scene = Scene::play(&config("", "Fails", "", "hold"));
    scene.error("no mood");
    let shown = shown_while(&mut scene.router, 60);
    assert!(shown <= HELD, "{shown} pictures of a node that fails");
    assert!(generation(&scene.session(), "custom", 1), "an error is no death");
    let seen = scene.end();
    assert!(some(&seen, PROCESSED) && !some(&seen, DARK), "{seen:?}");
}

#[test]
fn a_node_that_fails_on_each_frame_and_may_be_bypassed_is() {
    let mut scene = Scene::play(&config("", "Fails", "", "bypass"));
    flows_on(&mut scene.router, 60);
    assert!(generation(&scene.session(), "custom", 1), "an error is no death");
    let seen = scene.end();
    assert!(some(&seen, PROCESSED) && some(&seen, DARK), "{seen:?}");
}

// --- nodes that take their process with them --------------------------------------------------------------------------

/// A node that dies or hangs twice is not run any more, and the call goes on without it.
fn convicted(kind: &str, how: &str) -> Scene {
    let mut scene = Scene::play(&config("", kind, "after = 15", "bypass"));
    // The third process is there and has nothing to do: that it came must not make the node look well.
    scene.generation(3);
    scene.error(how);
    scene.state("failed");
    flows_on(&mut scene.router, 30);
    let session = scene.session();
    assert!(generation(&session, "custom", 3), "nothing dies any more: {session}");
    assert_eq!(session["nodes"][0]["state"], "failed", "{session}");
    scene
}

#[test]
fn a_node_that_aborts_each_time_fails_after_two_deaths_and_may_be_tried_again_by_command() {
    let mut scene = convicted("Abort", "SIGABRT");
    scene.restart();
    // Its two deaths of now convict it anew; nothing of before is held against its process.
    scene.generation(5);
    scene.state("failed");
    flows_on(&mut scene.router, 30);
    assert!(some(&scene.end(), DARK), "what it did not process");
}

#[test]
fn a_node_that_faults_each_time_fails_after_two_deaths() {
    convicted("Segfault", "SIGSEGV").end();
}

#[test]
fn a_node_that_exits_as_if_all_were_well_fails_after_two_deaths() {
    convicted("ExitZero", "exited with 0").end();
}

#[test]
fn an_endless_loop_is_taken_for_a_hang_and_its_process_is_replaced_until_the_node_has_failed() {
    convicted("Loop", "frame limit").end();
}

#[test]
fn a_node_that_takes_all_memory_dies_at_the_limit_of_its_process_and_fails() {
    convicted("Hoard", "SIGABRT").end();
}

#[test]
fn pictures_that_kill_a_node_cost_that_node_only() {
    let config = config("", "Poison", "", "bypass");
    let mut router = Router::with(&config, &[]);
    let more = ["--resize", "2=640x360", "--pipeline", "sin"];
    let call = router.spawn_call(&[&pattern("120")[..], &more].concat());
    flowing(&mut router);
    eventually("the node's failure", || {
        let session = &router.sessions()["sessions"][0];
        let failed = session["nodes"][0]["state"] == "failed";
        (failed && generation(session, "custom", 3)).then_some(())
    });
    flows_on(&mut router, 30);
    kill(call.id() as i32, Signal::SIGINT);
    let report = report(&call.wait_with_output().unwrap());
    assert_eq!(report["video"]["width"], 640, "{report}");
    assert_eq!(report["video"]["out_of_order"], 0, "{report}");
    router.stop();
}

#[test]
fn a_worker_that_is_killed_at_each_start_stays_away_after_five_times_and_the_session_lives() {
    // Killed as by a kernel without memory: that is nobody's fault, so that only the row of deaths stops it.
    let mut scene = Scene::play(&config("", "Kill", "after = 0", "bypass"));
    let session = scene.state("failed");
    assert!(worker(&session, "custom").is_none(), "{session}");
    scene.error("SIGKILL");
    flows_on(&mut scene.router, 60);
    let session = scene.session();
    assert!(worker(&session, "custom").is_none(), "it is not tried again: {session}");
    assert_eq!(session["nodes"][0]["state"], "failed", "{session}");
    assert!(some(&scene.end(), DARK), "what it did not process");
}

// --- those that are only slow -----------------------------------------------------------------------------------------

#[test]
fn a_node_that_takes_200_ms_a_frame_is_not_hung() {
    let mut scene = Scene::play(&config("", "Slow", "after = 0, ms = 200", "hold"));
    // Five seconds.
    let shown = shown_while(&mut scene.router, 150);
    assert!((10..=60).contains(&shown), "{shown} of 150: about five a second");
    let session = scene.session();
    assert!(generation(&session, "custom", 1), "{session}");
    assert_eq!(session["nodes"][0]["state"], "running", "{session}");
    scene.end();
}

/// Neither its beginning nor that of the process which replaces it is taken for a hang.
fn slow_to_begin(config: &str) {
    let mut scene = Scene::play(config);
    let session = scene.session();
    assert!(generation(&session, "custom", 1), "{session}");
    scene.kill();
    scene.generation(2);
    flows_on(&mut scene.router, 30);
    let session = scene.session();
    assert!(generation(&session, "custom", 2), "{session}");
    let seen = scene.end();
    assert!(some(&seen, PROCESSED) && !some(&seen, DARK), "{seen:?}");
}

#[test]
fn a_worker_that_takes_three_seconds_to_start_is_not_hung() {
    slow_to_begin(&config("args = [\"--slow-start\", \"3000\"]", "Negative", "", "hold"));
}

#[test]
fn a_node_that_takes_three_seconds_to_load_its_model_is_not_hung() {
    slow_to_begin(&config("", "Load", "ms = 3000", "hold"));
}

#[test]
fn while_a_model_loads_for_twenty_seconds_a_dead_codec_worker_is_replaced_and_the_model_is_loaded_once()
 {
    let folder = tempfile::tempdir().unwrap();
    let (clip, back) = (folder.path().join("clip.y4m"), folder.path().join("back"));
    write_clip(&clip);
    let mut router = Router::with(&config("", "Load", "ms = 20000", "hold"), &[]);
    let (clip, back) = (clip.to_str().unwrap(), back.to_str().unwrap());
    let own = ["--video", clip, "--audio", "ticks", "--save", back];
    let call = router.spawn_call(&[&own[..], &["--pipeline", "sin", "--seconds", "120"]].concat());
    // Sound, which the node does not take, need not wait for it.
    let heard = |session: &Value| {
        let sends = session["members"][0]["media"]["sends"].as_array().cloned().unwrap_or_default();
        let sound = sends.iter().find(|sent| sent["kind"] == "audio");
        sound.and_then(|sent| sent["frames"].as_u64()).unwrap_or(0)
    };
    let before = eventually("sound while the model loads", || {
        let session = router.sessions()["sessions"][0].clone();
        (heard(&session) > 50).then_some(session)
    });
    kill(pid(&before, "codec"), Signal::SIGKILL);
    let after = eventually("the next codec worker and sound of it", || {
        let session = router.sessions()["sessions"][0].clone();
        let on = heard(&session) > heard(&before) + 100;
        (generation(&session, "codec", 2) && on).then_some(session)
    });
    assert!(pictures(&after) < 30, "the model loads still: {after}");
    eventually("pictures of the loaded model", || {
        (pictures(&router.sessions()["sessions"][0]) > 90).then_some(())
    });
    let session = &router.sessions()["sessions"][0];
    assert!(generation(session, "custom", 1), "it was not taken for a hang: {session}");
    kill(call.id() as i32, Signal::SIGINT);
    report(&call.wait_with_output().unwrap());
    router.wait_for_sessions(0);
    router.stop();
    let seen = seen(&std::fs::read(folder.path().join("back.ivf")).unwrap());
    assert!(some(&seen, PROCESSED) && !some(&seen, DARK), "{seen:?}");
}

#[test]
fn a_worker_of_the_operators_locks_itself_in_if_the_config_says_so() {
    let mut scene = Scene::play(&config("sandbox = true", "Negative", "", "hold"));
    let session = scene.session();
    let custom = worker(&session, "custom").unwrap();
    assert_eq!(custom["sandbox"]["seccomp"], true, "{session}");
    assert!(custom["sandbox"]["landlock"].as_u64() > Some(0), "{session}");
    // What takes its place is locked as well.
    scene.kill();
    scene.generation(2);
    flows_on(&mut scene.router, 30);
    let session = scene.session();
    assert_eq!(worker(&session, "custom").unwrap()["sandbox"], custom["sandbox"], "{session}");
    scene.end();
}

// --- one process for many ---------------------------------------------------------------------------------------------

#[test]
fn two_sessions_share_a_process_and_both_outlive_it() {
    let config = config("isolation = \"shared\"", "Negative", "", "hold");
    let mut router = Router::with(&config, &[]);
    let calls = ["anna", "bert"].map(|peer| {
        let more = ["--peer-id", peer, "--pipeline", "sin"];
        router.spawn_call(&[&pattern("120")[..], &more].concat())
    });
    // Both sessions, once each has the so-manieth process and was sent so many pictures.
    let both = |router: &mut Router, wanted: u64, beyond: [u64; 2]| {
        eventually(&format!("two sessions in generation {wanted}"), || {
            let all = router.sessions()["sessions"].as_array()?.clone();
            let [one, two] = <[Value; 2]>::try_from(all).ok()?;
            let flows = |session: &Value, beyond| {
                generation(session, "custom", wanted) && pictures(session) > beyond
            };
            (flows(&one, beyond[0]) && flows(&two, beyond[1])).then_some([one, two])
        })
    };
    let before = both(&mut router, 1, [10, 10]);
    let pids = before.each_ref().map(|session| pid(session, "custom"));
    assert_eq!(pids[0], pids[1], "one process: {before:?}");
    kill(pids[0], Signal::SIGKILL);
    let after = both(&mut router, 2, [0, 0]);
    let next = after.each_ref().map(|session| pid(session, "custom"));
    assert!(next[0] == next[1] && next[0] != pids[0], "another, again for both: {after:?}");
    let counts = after.each_ref().map(pictures);
    both(&mut router, 2, counts.map(|count| count + 30));
    for call in &calls {
        kill(call.id() as i32, Signal::SIGINT);
    }
    for call in calls {
        let report = report(&call.wait_with_output().unwrap());
        assert_eq!(report["video"]["out_of_order"], 0, "{report}");
    }
    router.stop();
}

// --- what is refused --------------------------------------------------------------------------------------------------

#[test]
fn workers_that_cannot_be_as_described_are_refused_at_the_start() {
    let moody = moody();
    let worker = |lines: &str| format!("[workers.moody]\ncommand = {moody:?}\n{lines}\n");
    let node = "{ id = \"a\", type = \"Negative\", worker = \"mody\" }";
    let unknown = worker(&format!("[pipelines.p]\nnodes = [{node}]"));
    for (config, code, words) in [
        (worker("sandbox = true\nisolation = \"shared\""), 2, &["contradicts", "shared"][..]),
        (worker("isolation = \"none\""), 2, &["\"none\"", "session", "shared"]),
        (worker("restart = \"sometimes\""), 2, &["\"sometimes\"", "always", "never"]),
        (worker("env = { REMOTEMEDIA_X = \"1\" }"), 2, &["REMOTEMEDIA_X", "cannot be set"]),
        ("[workers.x]\ncommand = \"/nowhere/x\"\n".into(), 2, &["/nowhere/x", "no such file"]),
        ("[workers.x]\ncommand = \"nobody-has-this\"\n".into(), 2, &["nobody-has-this", "PATH"]),
        ("[workers.codec]\ncommand = \"true\"\n".into(), 2, &["\"codec\""]),
        // Known only when the workers have told what they can do.
        (unknown, 1, &["`p`", "/pipeline/nodes/0/worker", "did you mean `moody`"]),
    ] {
        let _turn = turn();
        let folder = tempfile::Builder::new().prefix("rmt").tempdir_in("/dev/shm").unwrap();
        let (file, run) = (folder.path().join("bad.toml"), folder.path().join("run"));
        std::fs::write(&file, &config).unwrap();
        let (file, run) = (file.to_str().unwrap(), run.to_str().unwrap());
        let serve = ["serve", "--port", "0", "--config", file, "--runtime-dir", run];
        let said = ends(&format!("serve with {config}"), spawn(&serve), code);
        for word in words.iter().chain(&["bad.toml"]) {
            assert!(said.contains(word), "{config}: no {word:?} in: {said}");
        }
    }
}
