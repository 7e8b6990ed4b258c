//! Programs that somebody attaches by hand to a call: they see it, change it or add to it, and the call goes on whatever
//! becomes of them.

use crate::media::{flowing, pattern, untouched};
use crate::recovery::{HELD, ends, finished, flows_on, moody, shown_while, spawn};
use crate::router::{Router, eventually, kill, report};
use nix::sys::signal::Signal;
use remotemedia_shm_schema::control::{Encoding, Hello, Operation, Role, ToRouter, encode};
use serde_json::Value;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Child;

/// A router with anna's call that flows, and the session's id.
pub struct Scene {
    pub router: Router,
    pub call: Child,
    pub id: String,
}

impl Scene {
    pub fn play() -> Self {
        let mut router = Router::start();
        let call = router.spawn_call(&[&pattern("120")[..], &["--peer-id", "anna"]].concat());
        let all = flowing(&mut router);
        let id = all["sessions"][0]["session_id"].as_str().unwrap().to_owned();
        Self { router, call, id }
    }

    /// The full name of a channel of this session.
    pub fn channel(&self, name: &str) -> String {
        format!("rm/{}/{name}", self.id)
    }

    pub fn session(&mut self) -> Value {
        self.router.sessions()["sessions"][0].clone()
    }

    /// Waits until the session is as wanted.
    pub fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || {
            let session = self.session();
            wanted(&session).then_some(session)
        })
    }

    /// Hangs up; the call must have been one that nothing happened to.
    pub fn untouched(mut self) {
        // Enough for the report to say something, whatever the story took.
        flows_on(&mut self.router, 60);
        kill(self.call.id() as i32, Signal::SIGINT);
        untouched(self.call);
        self.router.wait_for_sessions(0);
        self.router.stop();
    }
}

/// A router with anna alone in the room `red`.
pub struct Room {
    pub router: Router,
    call: Child,
}

impl Room {
    pub fn enter() -> Self {
        let mut router = Router::start();
        let more = ["--session", "red", "--peer-id", "anna"];
        let call = router.spawn_call(&[&pattern("120")[..], &more].concat());
        eventually("anna in the room", || {
            let sessions = router.sessions();
            (sessions["sessions"][0]["members"][0]["connected"] == true).then_some(())
        });
        Self { router, call }
    }

    pub fn session(&mut self) -> Value {
        self.router.sessions()["sessions"][0].take()
    }

    /// Hangs up; what anna saw and heard.
    pub fn leave(mut self) -> Value {
        kill(self.call.id() as i32, Signal::SIGINT);
        let report = report(&self.call.wait_with_output().unwrap());
        self.router.wait_for_sessions(0);
        self.router.stop();
        report
    }
}

/// A command to this router.
fn command(router: &Router, arguments: &[&str]) -> Child {
    let runtime = router.runtime();
    spawn(&[arguments, &["--router", runtime.to_str().unwrap()]].concat())
}

/// `moody` with the way to this router, as `remotemedia attach` runs it in its own place.
pub fn attach(router: &Router, arguments: &[&str]) -> Child {
    let (runtime, program) = (router.runtime(), moody());
    let way = ["attach", "--router", runtime.to_str().unwrap(), program.to_str().unwrap()];
    spawn(&[&way[..], arguments].concat())
}

/// Whether exactly these are attached, by what they are and what of.
pub fn attached(session: &Value, wanted: &[(&str, &str)]) -> bool {
    let rows = session["attached"].as_array().map(Vec::as_slice).unwrap_or_default();
    rows.len() == wanted.len()
        && wanted.iter().all(|(what, of)| {
            rows.iter().any(|row| {
                row["what"] == *what && row["of"].as_str().is_some_and(|text| text.contains(of))
            })
        })
}

/// Whether the session has a channel of which this is a part of the name.
pub fn has_channel(session: &Value, part: &str) -> bool {
    let all = session["channels"].as_array().into_iter().flatten();
    all.filter_map(|channel| channel["name"].as_str()).any(|name| name.contains(part))
}

fn has_node(session: &Value, id: &str) -> bool {
    session["nodes"].as_array().into_iter().flatten().any(|node| node["id"] == id)
}

/// Ctrl-C; it must end as a program that did what it should.
pub fn interrupt(what: &str, program: Child) {
    kill(program.id() as i32, Signal::SIGINT);
    ends(what, program, 0);
}

// --- taps -------------------------------------------------------------------------------------------------------------

/// What the lines of a tap come to: the highest rate (the first second has the attaching in it), and all that it missed.
fn told(stdout: &[u8]) -> (f64, u64) {
    let text = String::from_utf8_lossy(stdout);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(!lines.is_empty(), "it told nothing");
    let rates = lines.iter().map(|line| line["frames_per_second"].as_f64().unwrap());
    let missed = lines.iter().map(|line| line["missed"].as_u64().unwrap()).sum();
    (rates.fold(0.0, f64::max), missed)
}

#[test]
fn a_tap_sees_and_saves_what_passes_and_the_call_does_not_feel_it() {
    let scene = Scene::play();
    let folder = tempfile::tempdir().unwrap();
    // Pictures 30 a second; sound in blocks of 20 ms.
    let channels = [
        ("in/anna/video0/raw", "raw.y4m", &b"YUV4MPEG2 W320 H180 "[..], 30.0),
        ("out/main-video@anna/full.vp8/encoded", "coded.ivf", b"DKIF\0\0\x20\0VP80", 30.0),
        ("in/anna/audio0/raw", "sound.wav", b"RIFF", 50.0),
    ];
    let taps = channels.map(|(name, file, ..)| {
        let (channel, file) = (scene.channel(name), folder.path().join(file));
        let file = file.to_str().unwrap();
        command(&scene.router, &["tap", &channel, "--json", "--seconds", "3", "--save", file])
    });
    for (tap, (name, file, magic, rate)) in taps.into_iter().zip(channels) {
        let output = finished(&format!("the tap of {name}"), tap);
        assert!(output.status.success(), "{name}: {output:?}");
        let (got, missed) = told(&output.stdout);
        assert!((rate * 0.7..rate * 1.3).contains(&got), "{name}: {got} a second: {output:?}");
        assert_eq!(missed, 0, "{name}: {output:?}");
        let saved = std::fs::read(folder.path().join(file)).unwrap();
        assert!(saved.starts_with(magic), "{name}: {:?}", &saved[..saved.len().min(64)]);
        assert!(saved.len() > 1000, "{name}: {} bytes", saved.len());
    }
    scene.untouched();
}

#[test]
fn a_tap_of_a_muted_picture_ends_at_its_time_all_the_same() {
    let mut router = Router::start();
    let call = router.spawn_call(
        &[&pattern("120")[..], &["--peer-id", "anna", "--mute", "video=1-100"]].concat(),
    );
    let all = flowing(&mut router);
    let id = all["sessions"][0]["session_id"].as_str().unwrap().to_owned();
    // Units of sound and of pictures that came.
    let came = |router: &mut Router| {
        let received = &router.sessions()["sessions"][0]["members"][0]["media"]["receives"];
        let count = |kind: &str| received[kind]["units"].as_u64().unwrap_or(0);
        (count("audio"), count("video"))
    };
    eventually("a picture that stands still", || {
        let (sound, pictures) = came(&mut router);
        eventually("sound", || (came(&mut router).0 > sound + 20).then_some(()));
        (came(&mut router).1 == pictures && pictures > 0).then_some(())
    });
    let channel = format!("rm/{id}/in/anna/video0/raw");
    ends("the tap", command(&router, &["tap", &channel, "--json", "--seconds", "1"]), 0);
    kill(call.id() as i32, Signal::SIGINT);
    report(&call.wait_with_output().unwrap());
    router.stop();
}

#[test]
fn a_channel_has_one_tap_and_is_free_again_when_that_goes() {
    let mut scene = Scene::play();
    let channel = scene.channel("in/anna/video0/raw");
    let first = command(&scene.router, &["tap", &channel, "--json"]);
    scene.until("the first tap", |session| attached(session, &[("tap", channel.as_str())]));
    let said = ends("a second tap", command(&scene.router, &["tap", &channel]), 1);
    assert!(said.contains(&channel) && said.contains("has a tap already"), "{said}");
    interrupt("the first tap", first);
    scene.until("no tap", |session| attached(session, &[]));
    // A program of somebody's own is as good as the command.
    let third = attach(&scene.router, &["tap", &channel]);
    scene.until("the third tap", |session| attached(session, &[("tap", channel.as_str())]));
    interrupt("the third tap", third);
    scene.untouched();
}

#[test]
fn a_tap_that_does_not_move_is_cut_off_and_the_call_does_not_feel_it() {
    let mut scene = Scene::play();
    let channel = scene.channel("in/anna/video0/raw");
    let tap = command(&scene.router, &["tap", &channel, "--json"]);
    scene.until("the tap", |session| attached(session, &[("tap", channel.as_str())]));
    kill(tap.id() as i32, Signal::SIGSTOP);
    flows_on(&mut scene.router, 60);
    scene.until("its end", |session| attached(session, &[]));
    flows_on(&mut scene.router, 30);
    kill(tap.id() as i32, Signal::SIGCONT);
    let said = ends("the tap", tap, 1);
    assert!(said.contains("the router is gone"), "{said}");
    scene.untouched();
}

#[test]
fn a_tap_that_is_killed_leaves_its_place_to_the_next_one_and_the_call_does_not_feel_it() {
    let mut scene = Scene::play();
    let channel = scene.channel("in/anna/video0/raw");
    for round in 0..3 {
        let mut tap = command(&scene.router, &["tap", &channel, "--json"]);
        scene.until("the tap", |session| attached(session, &[("tap", channel.as_str())]));
        flows_on(&mut scene.router, 10);
        tap.kill().unwrap();
        tap.wait().unwrap();
        scene.until("its end", |session| attached(session, &[]));
        let next = command(&scene.router, &["tap", &channel, "--json", "--seconds", "2"]);
        let output = finished("the next tap", next);
        assert!(output.status.success(), "round {round}: {output:?}");
        let (rate, _) = told(&output.stdout);
        assert!(rate > 20.0, "round {round}: {rate} a second: {output:?}");
    }
    // By a terminal that is closed it lets go in order.
    let tap = command(&scene.router, &["tap", &channel, "--json"]);
    let before = scene.until("the tap", |session| attached(session, &[("tap", channel.as_str())]));
    kill(tap.id() as i32, Signal::SIGHUP);
    ends("the tap", tap, 0);
    let after = scene.until("its end", |session| attached(session, &[]));
    assert_eq!(after["epoch"], before["epoch"], "nothing had to be made afresh: {after}");
    scene.untouched();
}

#[test]
fn a_tap_goes_on_when_its_channel_goes_and_comes_again() {
    let mut room = Room::enter();
    let robot = attach(&room.router, &["source", "red", "robot", "video"]);
    let there = |room: &mut Room| has_channel(&room.session(), "in/robot/video0/raw");
    eventually("the robot's pictures", || there(&mut room).then_some(()));
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("lines");
    let tap = std::process::Command::new(env!("CARGO_BIN_EXE_remotemedia"))
        .args(["tap", "rm/red/in/robot/video0/raw", "--json", "--router"])
        .arg(room.router.runtime())
        .stdout(std::fs::File::create(&file).unwrap())
        .spawn()
        .unwrap();
    let told = || {
        let lines = std::fs::read_to_string(&file).unwrap();
        let rate =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["frames_per_second"].as_f64();
        lines.lines().filter(|line| rate(line) > Some(10.0)).count()
    };
    eventually("a second of them", || (told() > 0).then_some(()));
    interrupt("the robot", robot);
    eventually("its end", || (!there(&mut room)).then_some(()));
    let robot = attach(&room.router, &["source", "red", "robot", "video"]);
    eventually("the robot again", || there(&mut room).then_some(()));
    let before = told();
    eventually("more of its pictures", || (told() > before + 1).then_some(()));
    kill(tap.id() as i32, Signal::SIGINT);
    ends("the tap", tap, 0);
    interrupt("the robot", robot);
    room.leave();
}

// --- inserted nodes ---------------------------------------------------------------------------------------------------

const NODE: &str = "negative";

/// Inserts a node behind anna's decoder, and waits until it is in the call.
fn insert(scene: &mut Scene) -> Child {
    let channel = scene.channel("in/anna/video0/raw");
    let program = attach(&scene.router, &["insert", &channel, NODE]);
    scene.until("the inserted node", |session| {
        attached(session, &[("insert", NODE)])
            && has_channel(session, "/node/negative.")
            && session["node_states"][NODE] == "running"
    });
    flows_on(&mut scene.router, 20);
    program
}

/// Waits until nothing is left of the inserted node.
fn taken_out(scene: &mut Scene) {
    scene.until("a call without the node", |session| {
        attached(session, &[])
            && !has_channel(session, "/node/negative.")
            && !has_node(session, NODE)
    });
    flows_on(&mut scene.router, 20);
}

#[test]
fn a_node_is_inserted_and_taken_out_again_in_mid_call_and_nobody_feels_it() {
    let mut scene = Scene::play();
    for _ in 0..2 {
        let program = insert(&mut scene);
        assert!(has_node(&scene.session(), NODE));
        interrupt("the inserted node", program);
        taken_out(&mut scene);
    }
    let session = scene.session();
    for worker in session["workers"].as_array().unwrap() {
        assert_eq!(worker["generation"], 1, "a worker died: {session}");
    }
    scene.untouched();
}

#[test]
fn an_inserted_node_that_is_killed_is_held_for_until_it_comes_back_and_a_command_takes_it_out() {
    let mut scene = Scene::play();
    let mut program = insert(&mut scene);
    kill(program.id() as i32, Signal::SIGKILL);
    program.wait().unwrap();
    let away = |session: &Value| session["node_states"][NODE] == "away";
    scene.until("a node that is away", away);
    let shown = shown_while(&mut scene.router, 60);
    assert!(shown <= HELD, "{shown} pictures without the node that holds");
    assert!(away(&scene.session()), "it has ten seconds to come back");

    let again = insert(&mut scene);
    let id = scene.id.clone();
    ends("detach", command(&scene.router, &["detach", &id, NODE]), 0);
    ends("the program that was taken out", again, 0);
    taken_out(&mut scene);
    // Two seconds of it were held, so that it was not untouched; it lived all the same.
    kill(scene.call.id() as i32, Signal::SIGINT);
    let report = report(&scene.call.wait_with_output().unwrap());
    assert_eq!(report["video"]["out_of_order"], 0, "{report}");
    scene.router.stop();
}

#[test]
fn a_node_may_be_inserted_behind_an_inserted_one_and_either_may_go_first() {
    let mut scene = Scene::play();
    let behind = scene.channel("node/negative.out@anna/raw");
    for first_goes_first in [true, false] {
        let first = insert(&mut scene);
        let second = attach(&scene.router, &["insert", &behind, "again"]);
        scene.until("the second node", |session| {
            has_channel(session, "/node/again.") && session["node_states"]["again"] == "running"
        });
        flows_on(&mut scene.router, 20);
        let (one, other) = if first_goes_first { (first, second) } else { (second, first) };
        interrupt("the one that goes first", one);
        let stays = if first_goes_first { "again" } else { NODE };
        scene.until("one node", |session| attached(session, &[("insert", stays)]));
        flows_on(&mut scene.router, 20);
        assert!(has_channel(&scene.session(), &format!("/node/{stays}.")));
        interrupt("the other", other);
        taken_out(&mut scene);
    }
    scene.untouched();
}

// --- sources ----------------------------------------------------------------------------------------------------------

/// Whether the first member is sent frames of this kind from this source.
fn sent_from(session: &Value, from: &str, kind: &str) -> bool {
    let sends = session["members"][0]["media"]["sends"].as_array();
    sends.into_iter().flatten().any(|sent| {
        sent["from"] == from && sent["kind"] == kind && sent["frames"].as_u64() > Some(20)
    })
}

#[test]
fn sources_that_are_attached_to_a_room_are_seen_and_heard_in_it_until_they_go() {
    let mut room = Room::enter();
    let robot = attach(&room.router, &["source", "red", "robot", "video"]);
    let flute = attach(&room.router, &["source", "red", "flute", "audio"]);
    eventually("the sources at anna's", || {
        let session = room.session();
        let rows = [("source", "video of robot"), ("source", "audio of flute")];
        let flows = sent_from(&session, "robot", "video") && sent_from(&session, "flute", "audio");
        (flows && attached(&session, &rows)).then_some(())
    });
    let said =
        ends("a second robot", attach(&room.router, &["source", "red", "robot", "video"]), 1);
    assert!(said.contains("has video of `robot` already"), "{said}");
    interrupt("the robot", robot);
    interrupt("the flute", flute);
    eventually("silence", || {
        let session = room.session();
        let sends = session["members"][0]["media"]["sends"].as_array()?;
        let over = sends.is_empty() && attached(&session, &[]) && !has_channel(&session, "robot");
        over.then_some(())
    });
    let report = room.leave();
    let (robot, flute) = (&report["peers"]["robot"]["video"], &report["peers"]["flute"]["audio"]);
    assert!(robot["received"].as_u64().unwrap() > 20, "{report}");
    assert_eq!((&robot["width"], &robot["height"]), (&320.into(), &180.into()), "{report}");
    assert!(flute["received"].as_u64().unwrap() > 20, "{report}");
    // A sine of 0.3 has 0.21.
    assert!((0.1..0.3).contains(&flute["level"].as_f64().unwrap()), "{report}");
}

#[test]
fn a_source_that_is_killed_may_come_back_under_its_name() {
    let mut room = Room::enter();
    let frames = |session: &Value| {
        let sends = session["members"][0]["media"]["sends"].as_array().cloned().unwrap_or_default();
        let robot = sends.iter().find(|sent| sent["from"] == "robot");
        robot.and_then(|sent| sent["frames"].as_u64()).unwrap_or(0)
    };
    let mut robot = attach(&room.router, &["source", "red", "robot", "video"]);
    let mut before = 0;
    for _ in 0..2 {
        before = eventually("pictures of the robot", || {
            let frames = frames(&room.session());
            (frames > before + 20).then_some(frames)
        });
        robot.kill().unwrap();
        robot.wait().unwrap();
        eventually("a robot that is away", || {
            let session = room.session();
            (session["node_states"]["robot"] == "away").then_some(())
        });
        robot = attach(&room.router, &["source", "red", "robot", "video"]);
    }
    eventually("pictures of the third robot", || {
        (frames(&room.session()) > before + 20).then_some(())
    });
    interrupt("the robot", robot);
    let report = room.leave();
    assert_eq!(report["peers"]["robot"]["video"]["out_of_order"], 0, "{report}");
}

// --- what is refused --------------------------------------------------------------------------------------------------

#[test]
fn what_cannot_be_attached_or_detached_is_refused_with_what_there_is() {
    let scene = Scene::play();
    let (raw, coded) =
        (scene.channel("in/anna/video0/raw"), scene.channel("in/anna/video0/encoded"));
    let nobody = scene.channel("in/nobody/video0/raw");
    let (id, router) = (scene.id.as_str(), &scene.router);
    for (program, words) in [
        (command(router, &["tap", "rm/none/in/anna/video0/raw"]), &["no session none", id][..]),
        (command(router, &["tap", &nobody]), &["there is no channel", &nobody, &raw]),
        (attach(router, &["insert", &nobody, NODE]), &["there is no channel", &nobody, &raw]),
        (attach(router, &["insert", &coded, NODE]), &["access units", &coded]),
        (attach(router, &["insert", &raw, "clock"]), &["has a node `clock` already"]),
        (attach(router, &["source", id, "anna", "video"]), &["has video of `anna` already"]),
        (attach(router, &["source", "none", "robot", "video"]), &["no session none", id]),
        (command(router, &["detach", id, "nobody"]), &["`nobody`", "attached"]),
        (command(router, &["restart", id]), &["nothing has failed"]),
        (command(router, &["restart", id, "nobody"]), &["no node `nobody`"]),
    ] {
        let said = ends(&format!("what is to say {words:?}"), program, 1);
        for word in words {
            assert!(said.contains(word), "no {word:?} in: {said}");
        }
    }
    // Used wrongly: nobody was asked.
    ends("a tap of nothing", command(router, &["tap", "nothing"]), 2);
    let said = ends("pictures into a pipe", command(router, &["tap", &raw, "--show"]), 2);
    assert!(said.contains("--show needs a terminal"), "{said}");
    ends("pictures as JSON", command(router, &["tap", &raw, "--show", "--json"]), 2);
    ends("a node without a name", attach(router, &["insert", &raw, "No Name"]), 2);
    scene.untouched();
}

/// Connects as a user that is nobody here. The rights of a thread are its own in Linux, and the kernel notes them for the
/// other end.
fn connect_as_nobody(socket: &Path) -> io::Result<UnixStream> {
    let socket = socket.to_owned();
    let nobody = rustix::thread::Uid::from_raw(65_534);
    let thread = std::thread::spawn(move || {
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody)?;
        UnixStream::connect(socket)
    });
    thread.join().unwrap()
}

/// A router's control socket.
fn control(runtime: &Path) -> PathBuf {
    let entries = fs::read_dir(runtime).unwrap().map(|entry| entry.unwrap().path());
    let mut sockets = entries.filter(|path| path.extension().is_some_and(|it| it == "sock"));
    sockets.next().expect("a control socket")
}

#[test]
fn a_program_of_another_user_is_not_let_in_even_where_the_files_would_allow_it() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("only root can be another user: not tried");
        return;
    }
    let mut scene = Scene::play();
    let runtime = scene.router.runtime();
    let socket = control(&runtime);
    assert_eq!(connect_as_nobody(&socket).unwrap_err().kind(), ErrorKind::PermissionDenied);
    // As if somebody had opened the files to all: what is left is who is at the other end.
    let modes = [(runtime.parent().unwrap(), 0o755), (&runtime, 0o755), (&socket, 0o666)];
    let before = modes.map(|(path, _)| (path, fs::metadata(path).unwrap().permissions()));
    for (path, mode) in modes {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }
    let mut stream = connect_as_nobody(&socket).unwrap();
    let session = scene.id.parse().unwrap();
    let detach = Operation::Detach { session, name: "nobody".into() };
    let pid = std::process::id();
    let hello =
        Hello { role: Role::Operator, name: "nobody".into(), pid, encoding: Encoding::Json };
    let mut bytes = hello.to_bytes();
    bytes.extend(encode(Encoding::Json, &ToRouter::Operate(detach)).unwrap());
    // The router may have closed it before it was written to.
    let _ = stream.write_all(&bytes);
    let mut said = Vec::new();
    if let Err(error) = stream.read_to_end(&mut said) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}");
    }
    assert!(said.is_empty(), "it was answered: {said:?}");
    for (path, permissions) in before {
        fs::set_permissions(path, permissions).unwrap();
    }
    scene.until("the call", |session| session["state"] == "active");
    scene.untouched();
}
