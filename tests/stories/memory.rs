//! Shared memory where there is little of it, and what the dead leave in it.
//!
//! A small `/dev/shm`, as a container has, is a tmpfs in a mount namespace that the router is started in. To make one takes
//! root, or a kernel that lets everybody have user namespaces, as Debian's does.

use crate::media::{flowing, pattern};
use crate::recovery::{ends, flows_on, generation, pictures, pid, spawn};
use crate::router::{LIMIT, Router, eventually, kill, report, turn};
use nix::sys::signal::Signal;
use nix::unistd::Uid;
use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::MutexGuard;

/// Mounts a tmpfs of the size `$0`, and becomes the program of the other arguments.
const MOUNT: &str = r#"mount -t tmpfs -o "size=$0,mode=1777" tmpfs /dev/shm && exec "$@""#;

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

/// A router that has a small `/dev/shm` for itself.
struct Small {
    child: Child,
    /// HOST:PORT.
    address: String,
    folder: tempfile::TempDir,
    /// Its `/dev/shm`, which stays to be looked at when the router and its namespace are gone.
    shm: File,
    _turn: MutexGuard<'static, ()>,
}

impl Small {
    fn start(size: &str) -> Self {
        let _turn = turn();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("router.log");
        let user: &[&str] =
            if Uid::effective().is_root() { &[] } else { &["--user", "--map-root-user"] };
        // None of them forks: the process that is started becomes the router.
        let mut child = Command::new("unshare")
            .args(user)
            .args(["--mount", "--propagation", "private", "sh", "-c", MOUNT, size])
            .args([env!("CARGO_BIN_EXE_remotemedia"), "serve", "--webrtc", "--port", "0"])
            .args(["--runtime-dir", "/dev/shm/run"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim().strip_prefix("listening on http://") else {
            let status = child.wait().unwrap();
            let log = std::fs::read_to_string(log).unwrap();
            panic!(
                "no router in a namespace of its own ({status}); this takes root or user namespaces \
                 (/proc/sys/user/max_user_namespaces):\n{log}"
            );
        };
        let shm = File::open(format!("/proc/{}/root/dev/shm", child.id())).unwrap();
        Self { child, address: address.to_owned(), folder, shm, _turn }
    }

    fn sessions(&self) -> Value {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let host = &self.address;
        write!(stream, "GET /api/sessions HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        serde_json::from_str(body).unwrap()
    }

    /// A native peer's call in 720p.
    fn call(&self, peer: &str, more: &[&str]) -> Child {
        let url = format!("http://{}", self.address);
        let own = ["peer", "--connect", &url, "--json", "--peer-id", peer, "--size", "1280x720"];
        let media = ["--video", "pattern", "--audio", "ticks", "--seconds", "120"];
        spawn(&[&own[..], &media, more].concat())
    }

    /// A call that must be refused for want of memory.
    fn refuses(&self, peer: &str, more: &[&str]) {
        let said = ends("a call without room", self.call(peer, more), 1);
        for word in ["shared memory", "/dev/shm", "-32009"] {
            assert!(said.contains(word), "no {word:?} in: {said}");
        }
    }

    /// Waits until so many pictures more were sent to the first session's first peer; all sessions then.
    fn flows_on(&self, more: u64) -> Value {
        // A peer that is too busy to answer is shown without its counters.
        let before = eventually("a picture", || {
            Some(pictures(&self.sessions()["sessions"][0])).filter(|shown| *shown > 0)
        });
        eventually("pictures that flow on", || {
            let all = self.sessions();
            (pictures(&all["sessions"][0]) >= before + more).then_some(all)
        })
    }

    /// Hangs up, and waits until all is given back; the call must have gone well.
    fn hang_up(&self, call: Child) {
        kill(call.id() as i32, Signal::SIGINT);
        let report = report(&call.wait_with_output().unwrap());
        let video = &report["video"];
        assert_eq!((&video["width"], &video["height"]), (&json!(1280), &json!(720)), "{report}");
        assert_eq!(video["out_of_order"], 0, "{report}");
        assert!(report["audio"]["received"].as_u64().unwrap() > 0, "{report}");
        eventually("an empty router", || {
            let all = self.sessions();
            (all["sessions"] == json!([]) && all["shared_memory"]["reserved"] == 0).then_some(())
        });
    }

    /// SIGTERM; it must exit 0, and nothing may be left, nor have died for want of memory.
    fn stop(mut self) {
        kill(self.child.id() as i32, Signal::SIGTERM);
        let status = eventually("the router's end", || self.child.try_wait().unwrap());
        assert!(status.success(), "the router ended with {status}");
        let shm = PathBuf::from(format!("/proc/self/fd/{}", self.shm.as_raw_fd()));
        assert_eq!((names(&shm), names(&shm.join("run"))), (vec!["run".to_owned()], vec![]));
        let log = std::fs::read_to_string(self.folder.path().join("router.log")).unwrap();
        for word in ["SIGBUS", "signal 7", "signal: 7"] {
            assert!(!log.contains(word), "{word}:\n{log}");
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("router.log"));
            eprintln!("--- the router's log\n{}---", log.unwrap_or_default());
        }
        // After `stop` there is nothing to kill; its workers end with it.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn in_64_mb_a_call_in_720p_goes_well_and_a_second_one_is_refused_until_it_has_ended() {
    let router = Small::start("64m");
    let first = router.call("anna", &[]);
    let alone = router.flows_on(10);
    router.refuses("bert", &[]);
    let after = router.flows_on(60);
    assert_eq!(after["sessions"].as_array().map(Vec::len), Some(1), "{after}");
    assert_eq!(after["shared_memory"]["reserved"], alone["shared_memory"]["reserved"], "{after}");
    let memory = &after["sessions"][0]["shared_memory"];
    assert!(memory["used"].as_u64() <= memory["reserved"].as_u64(), "{after}");
    for role in ["codec", "pipeline"] {
        assert!(generation(&after["sessions"][0], role, 1), "a worker died: {after}");
    }
    router.hang_up(first);
    let third = router.call("carl", &[]);
    router.flows_on(30);
    router.hang_up(third);
    router.stop();
}

#[test]
fn in_64_mb_a_second_peer_of_a_room_is_refused_and_the_first_stays() {
    let router = Small::start("64m");
    let connected = || {
        let members = router.sessions()["sessions"][0]["members"].clone();
        let all = members.as_array().map(Vec::as_slice).unwrap_or_default();
        all.len() == 1 && all[0]["peer_id"] == "anna" && all[0]["connected"] == true
    };
    let mut first = router.call("anna", &["--session", "red"]);
    eventually("anna in the room", || connected().then_some(()));
    router.refuses("bert", &["--session", "red"]);
    eventually("anna alone in the room", || connected().then_some(()));
    assert!(first.try_wait().unwrap().is_none(), "anna's call goes on");
    kill(first.id() as i32, Signal::SIGINT);
    ends("anna's call", first, 0);
    router.stop();
}

#[test]
fn in_32_mb_the_first_call_is_refused_and_the_router_lives_on() {
    let router = Small::start("32m");
    for peer in ["anna", "bert"] {
        router.refuses(peer, &[]);
        let all = router.sessions();
        assert_eq!((&all["sessions"], &all["load"]["sessions"]), (&json!([]), &json!(0)), "{all}");
        assert_eq!(all["shared_memory"]["reserved"], 0, "{all}");
    }
    router.stop();
}

#[test]
fn in_64_mb_a_call_in_720p_outlives_each_of_its_workers() {
    let router = Small::start("64m");
    let call = router.call("anna", &[]);
    for role in ["pipeline", "codec"] {
        let all = router.flows_on(30);
        kill(pid(&all["sessions"][0], role), Signal::SIGKILL);
        eventually("the next generation", || {
            generation(&router.sessions()["sessions"][0], role, 2).then_some(())
        });
    }
    router.flows_on(30);
    router.hang_up(call);
    router.stop();
}

// --- what the dead leave ----------------------------------------------------------------------------------------------

/// What workers that died may leave behind until the session's end, each: lists of ports, no media.
const LEFT_BY_ONE: u64 = 256 * 1024;

/// What the one session has in `/dev/shm`: data segments, their bytes, and connections.
fn held(router: &Router) -> (usize, u64, usize) {
    let roots = std::fs::read_dir(router.runtime()).unwrap();
    let mut prefixes =
        roots.filter_map(|e| std::fs::read_to_string(e.unwrap().path().join("prefix")).ok());
    let prefix = prefixes.next().unwrap();
    let own: Vec<String> =
        names(Path::new("/dev/shm")).into_iter().filter(|name| name.starts_with(&prefix)).collect();
    let data: Vec<&String> = own.iter().filter(|name| name.ends_with(".data")).collect();
    // One that goes while it is looked at has nothing.
    let bytes = |name: &&String| {
        let meta = std::fs::metadata(Path::new("/dev/shm").join(name));
        meta.map_or(0, |meta| meta.blocks() * 512)
    };
    let connections = own.iter().filter(|name| name.ends_with(".connection")).count();
    (data.len(), data.iter().map(bytes).sum(), connections)
}

/// Waits until each channel has the segment of its one producer and the connection of its one reader, and no others are
/// there; what the session takes besides.
fn tidy(router: &mut Router) -> u64 {
    eventually("one data segment and one connection a channel", || {
        let session = &router.sessions()["sessions"][0];
        let channels = session["channels"].as_array()?.len();
        let (data, bytes, connections) = held(router);
        let used = session["shared_memory"]["used"].as_u64()?;
        (channels == 7 && data == 7 && connections == 7).then(|| used.saturating_sub(bytes))
    })
}

#[test]
fn what_six_dead_workers_of_one_call_leave_is_taken_away_while_it_goes_on() {
    let mut router = Router::start();
    let call = router.spawn_call(&[&pattern("120")[..], &["--peer-id", "anna"]].concat());
    flowing(&mut router);
    let before = tidy(&mut router);
    // By turns: five deaths in a row of one kind are too many.
    for round in 2..=4 {
        for role in ["codec", "pipeline"] {
            kill(pid(&router.sessions()["sessions"][0], role), Signal::SIGKILL);
            eventually("the next generation", || {
                generation(&router.sessions()["sessions"][0], role, round).then_some(())
            });
            flows_on(&mut router, 20);
            tidy(&mut router);
        }
    }
    let after = tidy(&mut router);
    assert!(after < before + 6 * LEFT_BY_ONE, "{before} bytes beside the media, then {after}");
    let session = &router.sessions()["sessions"][0];
    let memory = &session["shared_memory"];
    assert!(memory["used"].as_u64() <= memory["reserved"].as_u64(), "{session}");
    kill(call.id() as i32, Signal::SIGINT);
    let report = report(&call.wait_with_output().unwrap());
    assert_eq!(report["video"]["out_of_order"], 0, "{report}");
    let over = router.wait_for_sessions(0);
    assert_eq!(over["receipts"][0]["left"], json!([]), "{over}");
    router.stop();
}
