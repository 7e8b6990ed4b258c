//! Hostile media, from outside and from within: it is counted, and everyone else's call goes on.

use crate::media::{flowing, pattern, untouched};
use crate::router::{Router, eventually, report};
use crate::socket::Guest;
use nix::sys::uio::{RemoteIoVec, process_vm_readv, process_vm_writev};
use nix::unistd::Pid;
use procfs::process::{FDTarget, Process};
use remotemedia_peer::{Kind, OutPacket};
use remotemedia_pipeline_worker::registry::Registry;
use remotemedia_pipeline_worker::task::Graphs;
use remotemedia_shm_schema::{Codec, Content, FrameHeader};
use remotemedia_worker::Frame;
use remotemedia_worker::worker::{
    Catalogue, Command, Factory, Output, Processor, Role, Task, TaskError, TaskKind, run,
};
use serde_json::Value;
use std::io::{IoSlice, IoSliceMut};
use std::mem::offset_of;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

/// The UDP sockets of a process on this machine.
fn media_ports(pid: i32) -> Vec<SocketAddr> {
    let own: Vec<u64> = Process::new(pid)
        .unwrap()
        .fd()
        .unwrap()
        .flatten()
        .filter_map(|fd| match fd.target {
            FDTarget::Socket(inode) => Some(inode),
            _ => None,
        })
        .collect();
    let all = procfs::net::udp().unwrap();
    all.into_iter().filter(|s| own.contains(&s.inode)).map(|s| s.local_address).collect()
}

/// The same nonsense in every run.
struct Nonsense(u64);

impl Nonsense {
    fn word(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn bytes(&mut self, most: usize) -> Vec<u8> {
        let length = self.word() as usize % (most + 1);
        (0..length).map(|_| self.word() as u8).collect()
    }

    /// What begins like one of the protocols that share the port (RFC 7983), and goes on as it likes.
    fn datagram(&mut self) -> Vec<u8> {
        let begin: &[u8] = match self.word() % 10 {
            // STUN: a binding request without integrity, an indication, one whose length lies.
            0 => b"\x00\x01\x00\x00\x21\x12\xa4\x42",
            1 => b"\x00\x11\xff\xfc\x21\x12\xa4\x42",
            // DTLS: an alert that says goodbye, a hello, application data.
            2 => return b"\x15\xfe\xfd\0\0\0\0\0\0\0\0\0\x02\x01\x00".to_vec(),
            3 => b"\x16\xfe\xfd\0\0\0\0\0\0\0\0\xff\xff\x01",
            4 => b"\x17\xfe\xfd\0\x01\0\0\0\0\0\x09\x00\x40",
            // RTP: with fifteen contributing sources that are not there, with an extension of 256 KB.
            5 => b"\x8f\x60\x00\x01",
            6 => b"\x90\x60\x00\x02\0\0\0\0\0\0\0\x01\xbe\xde\xff\xff",
            // RTCP: a sender report without end, a NACK for all, a goodbye.
            7 => b"\x81\xc8\xff\xff",
            8 => b"\x81\xcd\x00\x40\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff",
            _ => b"",
        };
        let most = if self.word().is_multiple_of(50) { 9000 } else { 1400 };
        [begin, &self.bytes(most)].concat()
    }
}

#[test]
fn garbage_on_the_media_port_does_not_touch_the_call() {
    let mut router = Router::start();
    let mut call = router.spawn_call(&pattern("5"));
    let before = flowing(&mut router);
    let ports = media_ports(router.pid());
    assert!(!ports.is_empty(), "the router has a media port");
    let sockets = [(); 4].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
    let mut nonsense = Nonsense(0x5eed);
    let mut thrown = 0;
    while call.try_wait().unwrap().is_none() {
        for socket in &sockets {
            for port in &ports {
                for _ in 0..4 {
                    // Its socket may be full, or gone at the call's end.
                    thrown += usize::from(socket.send_to(&nonsense.datagram(), port).is_ok());
                }
            }
        }
        // Not faster than loopback takes it: a flood that the kernel drops proves nothing.
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(thrown > 1000, "{thrown}");
    untouched(call);
    let after = router.wait_for_sessions(0);
    let (begun, ended) = (&before["load"]["started"], &after["load"]["ended"]);
    assert_eq!((begun.as_u64(), ended.as_u64()), (Some(1), Some(1)), "{after}");
    router.stop();
}

/// Encrypted well, and nonsense inside: nobody but the depacketizers and the decoders can see it.
async fn babble(router: &mut Router, codec: Codec, nonsense: &mut Nonsense) {
    let name = format!("babbler-{codec}");
    let kinds = [Kind::Audio, Kind::Video];
    let guest = Guest::call(router, &name, &[codec, Codec::Opus], &kinds, &[]).await;
    for sequence in 0..300u16 {
        for sender in &guest.senders {
            let mut payload = nonsense.bytes(1100);
            if sequence % 3 == 0 {
                // Begins like a keyframe, in turn: VP8's, VP9's, H.264's parameter sets and fragments.
                let begins: [&[u8]; 4] = [
                    b"\x10\x00\x00\x00\x9d\x01\x2a\xff\xff\xff\xff",
                    b"\x88\x80\x49\x83\x42\xff\xff\xff\xff",
                    b"\x78\x00\x04\x67\x42\xe0\x1f\xff\xff",
                    b"\x7c\x85\xff\xff",
                ];
                payload.splice(0..0, begins[usize::from(sequence / 3) % 4].iter().copied());
            }
            let packet = OutPacket {
                payload_type: None,
                sequence,
                timestamp: u32::from(sequence / 4) * 3000,
                marker: sequence % 4 == 3,
                media_time_ns: None,
                payload: payload.into(),
            };
            let _ = sender.send(packet).await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let sessions = eventually("the nonsense in the router", || {
        let sessions = router.sessions();
        let all = sessions["sessions"].as_array().unwrap();
        let members = all.iter().flat_map(|s| s["members"].as_array().unwrap());
        let own = members.into_iter().find(|m| m["peer_id"] == name.as_str())?;
        let packets = own["media"]["receives"]["video"]["packets"].as_u64().unwrap_or(0);
        (packets >= 250).then_some(sessions)
    });
    for session in sessions["sessions"].as_array().unwrap() {
        for worker in session["workers"].as_array().unwrap() {
            assert_eq!(worker["generation"], 1, "a worker died: {session}");
        }
    }
    guest.hang_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_sends_encrypted_nonsense_harms_nobody_and_no_worker_dies_of_it() {
    let mut router = Router::start();
    let mut call = router.spawn_call(&[&pattern("7")[..], &["--peer-id", "anna"]].concat());
    flowing(&mut router);
    let mut nonsense = Nonsense(0xbad5eed);
    for codec in [Codec::Vp8, Codec::Vp9, Codec::H264] {
        babble(&mut router, codec, &mut nonsense).await;
    }
    assert!(call.try_wait().unwrap().is_none(), "all that happened during the call");
    untouched(call);
    router.wait_for_sessions(0);
    router.stop();
}

// --- a worker that lies -------------------------------------------------------------------------------------------

/// The pipeline worker's program but for one node: `Grayscale` publishes every second picture under a header that lies.
struct Hostile(Graphs);

impl Factory for Hostile {
    fn catalogue(&self) -> Catalogue {
        self.0.catalogue()
    }

    fn make(&mut self, task: &Task) -> Result<Box<dyn Processor>, TaskError> {
        match &task.kind {
            TaskKind::Graph { nodes } if nodes.iter().any(|node| node.kind == "Grayscale") => {
                Ok(Box::new(Liar(0)))
            }
            TaskKind::Graph { nodes } if nodes.iter().any(|node| node.kind == "GaussianBlur") => {
                Ok(Box::new(Scribbler { honest: self.0.make(task)?, frames: 0 }))
            }
            _ => self.0.make(task),
        }
    }
}

struct Liar(usize);

/// Where the payload's header begins before it: the header, filled up to cache lines.
const HEADER: usize = size_of::<FrameHeader>().next_multiple_of(64);

impl Processor for Liar {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        let Some(picture) = frame.picture() else { return Ok(out.publish_empty(*frame.meta())?) };
        let geometry = picture.geometry;
        let generation = out.spec().unwrap().generation;
        let mut loan = out.loan(geometry.payload_len())?;
        loan.picture_mut(geometry).expect("it fits").copy_from(&picture);
        let header = loan.payload_mut().as_ptr() as usize - HEADER;
        loan.publish(frame.meta().derive(Content::Picture(geometry)))?;
        self.0 += 1;
        if self.0.is_multiple_of(2) {
            lie(header, generation, self.0 / 2);
        }
        Ok(())
    }

    fn command(&mut self, _: &Command) -> Result<(), TaskError> {
        Ok(())
    }
}

/// A worker that was taken over: after a second of honest work it writes nonsense over all the shared memory that it may
/// write, for as long as it lives.
struct Scribbler {
    honest: Box<dyn Processor>,
    frames: usize,
}

impl Processor for Scribbler {
    fn process(&mut self, frame: &Frame, out: &mut Output<'_>) -> Result<(), TaskError> {
        self.frames += 1;
        if self.frames == 30 {
            // Beside the honest work, which goes on as well as it can.
            std::thread::spawn(scribble);
        }
        self.honest.process(frame, out)
    }

    fn command(&mut self, command: &Command) -> Result<(), TaskError> {
        self.honest.command(command)
    }
}

fn scribble() {
    let mut nonsense = Nonsense(0x5c21bb1e);
    loop {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        let shared =
            maps.lines().filter(|line| line.contains(" rw-s ") && line.contains("/dev/shm/"));
        for line in shared {
            let range = line.split(' ').next().and_then(|range| range.split_once('-'));
            let Some((begin, end)) = range else { continue };
            let parse = |hex: &str| usize::from_str_radix(hex, 16).unwrap_or(0);
            let (begin, end) = (parse(begin), parse(end));
            // Whole where it is small, as queues and lists are; a tenth of what is large.
            let step = if end - begin > 1 << 20 { 40_960 } else { 4_096 };
            for at in (begin..end).step_by(step) {
                let bytes: Vec<u8> =
                    (0..4_096.min(end - at)).map(|_| nonsense.word() as u8).collect();
                let to = [RemoteIoVec { base: at, len: bytes.len() }];
                // Gone meanwhile: a port was closed.
                let _ = process_vm_writev(Pid::this(), &[IoSlice::new(&bytes)], &to);
            }
        }
    }
}

/// Writes over a published header through the system, before its reader can have woken.
fn lie(header: usize, generation: u32, turn: usize) {
    let (offset, bytes) = match turn % 6 {
        0 => (offset_of!(FrameHeader, generation), (generation + 1).to_ne_bytes()),
        1 => (offset_of!(FrameHeader, abi), u32::MAX.to_ne_bytes()),
        2 => (offset_of!(FrameHeader, payload_len), u32::MAX.to_ne_bytes()),
        3 => (offset_of!(FrameHeader, planes), u32::MAX.to_ne_bytes()),
        // Width and height at once.
        4 => (offset_of!(FrameHeader, width), u32::MAX.to_ne_bytes()),
        _ => (offset_of!(FrameHeader, epoch), u32::MAX.to_ne_bytes()),
    };
    let mut abi = [0; 4];
    let at = |base: usize| [RemoteIoVec { base, len: 4 }];
    process_vm_readv(Pid::this(), &mut [IoSliceMut::new(&mut abi)], &at(header)).expect("read");
    assert_eq!(u32::from_ne_bytes(abi), remotemedia_shm_schema::ABI_VERSION, "the header is there");
    process_vm_writev(Pid::this(), &[IoSlice::new(&bytes)], &at(header + offset)).expect("written");
}

/// Not a story: what [`Hostile`]'s processes run, and nothing when a person runs the tests.
#[test]
fn the_hostile_worker() {
    if std::env::var_os("REMOTEMEDIA_CONTROL_FD").is_some() {
        run(Role::Pipeline, "hostile", Hostile(Graphs::new(Registry::built_in())));
        panic!("it could not begin");
    }
}

/// A folder of workers: the true codec worker and steward, and this program as the pipeline worker, by what it runs as a test.
pub fn hostile_workers(test: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let codec = env!("CARGO_BIN_EXE_remotemedia-codec-worker");
    std::os::unix::fs::symlink(codec, folder.path().join("remotemedia-codec-worker")).unwrap();
    let steward = env!("CARGO_BIN_EXE_remotemedia-steward");
    std::os::unix::fs::symlink(steward, folder.path().join("remotemedia-steward")).unwrap();
    let own = std::env::current_exe().unwrap();
    let script = folder.path().join("remotemedia-pipeline-worker");
    let text = format!(
        "#!/bin/sh\nexec '{}' --exact {test} --nocapture --test-threads=1\n",
        own.display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn a_worker_that_lies_in_its_headers_is_counted_and_another_session_goes_on() {
    let workers = hostile_workers("hostile::the_hostile_worker");
    // What lies writes over memory by a system call that no locked worker has.
    let mut router =
        Router::with("sandbox = \"off\"\n", &["--worker-dir", workers.path().to_str().unwrap()]);
    let call = |peer: &str, pipeline: &str| {
        let more = ["--peer-id", peer, "--pipeline", pipeline];
        router.spawn_call(&[&pattern("6")[..], &more].concat())
    };
    let (lied_to, honest) = (call("lied-to", "grayscale"), call("honest", "passthrough"));
    let of = |sessions: &Value, pipeline: &str| {
        let all = sessions["sessions"].as_array().unwrap().clone();
        all.into_iter().find(|s| s["pipeline"] == pipeline).unwrap_or_default()
    };
    let sessions = eventually("lies that are counted", || {
        let sessions = router.sessions();
        let dropped = of(&sessions, "grayscale")["dropped"].clone();
        let count = |reason: &str| dropped[reason].as_u64().unwrap_or(0);
        (count("malformed") > 5 && count("stale") > 5).then_some(sessions)
    });
    for pipeline in ["grayscale", "passthrough"] {
        for worker in of(&sessions, pipeline)["workers"].as_array().unwrap() {
            assert_eq!(worker["generation"], 1, "a worker died: {sessions}");
        }
    }
    let clean = of(&sessions, "passthrough");
    assert_eq!(clean["dropped"].get("malformed"), None, "{clean}");
    untouched(honest);
    // Whoever is lied to loses those pictures, not the call.
    let report = report(&lied_to.wait_with_output().unwrap());
    let video = &report["video"];
    let (sent, received) = (video["sent"].as_u64().unwrap(), video["received"].as_u64().unwrap());
    assert!(received > 20 && received < sent, "{report}");
    assert_eq!(video["out_of_order"], 0, "{report}");
    router.wait_for_sessions(0);
    router.stop();
}

#[test]
fn a_worker_that_was_taken_over_costs_its_own_session_at_most() {
    let workers = hostile_workers("hostile::the_hostile_worker");
    let mut router =
        Router::with("sandbox = \"off\"\n", &["--worker-dir", workers.path().to_str().unwrap()]);
    for round in 0..3 {
        let call = |peer: &str, pipeline: &str| {
            let peer = format!("{peer}{round}");
            router.spawn_call(
                &[&pattern("5")[..], &["--peer-id", &peer, "--pipeline", pipeline]].concat(),
            )
        };
        let (victim, honest) = (call("victim", "blur"), call("honest", "passthrough"));
        // Its session ends in one way or another, or goes on without sense; the other one notices nothing.
        untouched(honest);
        let ended = victim.wait_with_output().unwrap();
        assert!(ended.status.code().is_some(), "the peer itself died: {ended:?}");
        let after = router.wait_for_sessions(0);
        let receipts = after["receipts"].as_array().unwrap();
        assert!(receipts.iter().all(|receipt| receipt["left"] == serde_json::json!([])), "{after}");
    }
    router.stop();
}
