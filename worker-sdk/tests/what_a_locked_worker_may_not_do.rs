//! A worker that means harm, or whose code was taken over: what it tries, and what becomes of it.
//!
//! Each deed is done twice, by a worker that is not locked and by one that is: a refusal counts only where the deed would
//! have been done without the lock.

mod support;

use remotemedia_worker::schema::Contract;
use remotemedia_worker::schema::control::{Change, TaskKind};
use remotemedia_worker::worker::sandbox;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use support::{Hand, Rig, geometry, send_picture};

/// How a deed came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Done,
    Refused(i32),
    /// The worker died of it, by this signal.
    Killed(i32),
    /// The worker ended in order.
    Left,
}

const SECCOMP: Outcome = Outcome::Killed(libc::SIGSYS);
const LANDLOCK: Outcome = Outcome::Refused(libc::EACCES);

/// Lets a worker do this deed under this policy.
fn outcome(deed: &str, policy: &str) -> Outcome {
    let mut rig = Rig::new();
    let wiring = rig.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let mut ends = rig.ends(&wiring);
    let mut command = Command::new(support::example("locked_up"));
    command.env("REMOTEMEDIA_SANDBOX", policy);
    let mut hand = Hand::run(command);
    hand.greet();
    hand.assign(&mut rig);
    let mut task = wiring.task("deed");
    let TaskKind::Graph { nodes } = &mut task.kind else { unreachable!("a graph") };
    nodes[0].params = deed.to_owned();
    hand.dance(1, vec![Change::Add(task)]);
    send_picture(&mut ends.to, 1);
    // Each heartbeat is a look at the channel; a dead worker sends none any more.
    let outcome = loop {
        if let Some(frame) = ends.from.receive() {
            let luma = frame.picture().expect("a picture").y;
            break match i32::from_le_bytes(luma[..4].try_into().expect("four")) {
                0 => Outcome::Done,
                errno => Outcome::Refused(errno),
            };
        }
        if hand.next_if_alive().is_none() {
            break match hand.ended().signal() {
                Some(signal) => Outcome::Killed(signal),
                None => Outcome::Left,
            };
        }
    };
    drop((hand, ends));
    rig.end();
    outcome
}

/// Says all that did not come out as it should, not the first only.
fn check(deeds: &[(String, Outcome)]) {
    assert!(sandbox::available().landlock >= 6, "these stories are about Landlock ABI 6 and later");
    let mut wrong = Vec::new();
    for (deed, expected) in deeds {
        let free = outcome(deed, "off");
        if free != Outcome::Done && free != Outcome::Left {
            wrong.push(format!("{deed}: not done without the lock either: {free:?}"));
        }
        let locked = outcome(deed, "require");
        if locked != *expected {
            wrong.push(format!("{deed}: {locked:?} under the lock, not {expected:?}"));
        }
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[test]
fn it_speaks_with_nobody_outside_its_session() {
    let dir = tempfile::tempdir().expect("a folder");
    let tcp = TcpListener::bind("127.0.0.1:0").expect("a port");
    let path = dir.path().join("control.sock");
    let _unix = UnixListener::bind(&path).expect("a socket");
    let name = format!("remotemedia-story-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _abstract = UnixDatagram::bind_addr(&address).expect("a socket");
    check(&[
        (format!("connect-tcp {}", tcp.local_addr().expect("bound")), SECCOMP),
        ("listen-tcp 127.0.0.1:0".into(), SECCOMP),
        ("open-udp 127.0.0.1:0".into(), SECCOMP),
        (format!("connect-unix {}", path.display()), SECCOMP),
        (format!("send-abstract {name}"), Outcome::Refused(libc::EPERM)),
    ]);
}

#[test]
fn it_reads_and_writes_no_file_of_the_machine() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, "precious").expect("written");
        path.display().to_string()
    };
    let (kept, opened) = (path("kept"), path("opened"));
    check(&[
        ("read /etc/passwd".into(), LANDLOCK),
        (format!("write {}", dir.path().join("new").display()), LANDLOCK),
        (format!("write {kept}"), LANDLOCK),
        // The chmod of a path is nothing that Landlock would see.
        (format!("open-up {opened}"), SECCOMP),
        (format!("follow /proc/{}/exe", std::process::id()), Outcome::Refused(libc::ENOSYS)),
    ]);
    // Once done without the lock, it is gone.
    for policy in ["require", "off"] {
        let refused = outcome(&format!("remove {kept}"), policy);
        assert_eq!(refused, if policy == "off" { Outcome::Done } else { LANDLOCK });
    }
}

#[test]
fn it_finds_no_other_sessions_memory() {
    let mut other = Rig::new();
    let wiring = other.wire(1, Contract::RAW_VIDEO, geometry().payload_len() as u32);
    let ends = other.ends(&wiring);
    let neighbour = std::path::PathBuf::from(&other.host().namespace().root);
    let runtime = neighbour.parent().expect("the runtime folder").display().to_string();
    check(&[
        ("list /dev/shm".into(), LANDLOCK),
        (format!("list {runtime}"), LANDLOCK),
        // Where the router's own mappings would tell the names.
        (format!("read /proc/{}/maps", std::process::id()), LANDLOCK),
        ("read /proc/self/maps".into(), LANDLOCK),
    ]);
    drop(ends);
    other.end();
}

#[test]
fn it_starts_no_process_and_touches_none() {
    let own = std::process::id();
    check(&[
        ("spawn /bin/true".into(), SECCOMP),
        ("fork itself".into(), SECCOMP),
        ("become /bin/true".into(), SECCOMP),
        (format!("trace {own}"), SECCOMP),
        (format!("signal {own}"), SECCOMP),
        ("limit itself".into(), SECCOMP),
    ]);
}

#[test]
fn no_code_comes_to_it() {
    check(&[("map-code here".into(), SECCOMP), ("make-code here".into(), SECCOMP)]);
}
