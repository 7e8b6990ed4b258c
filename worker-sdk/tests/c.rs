//! The example in C: a C compiler takes it without a warning, it greets, and it reads headers as everybody does.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use remotemedia_worker::schema::control::{Encoding, HELLO_LEN, Hello, Role};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

#[test]
fn it_says_hello_as_a_custom_worker_and_tells_what_the_router_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = built(folder.path());
    let path = folder.path().join("router-1.sock");
    for (role, code, says) in [
        (Role::Router, 0, "frame header 360 bytes, router the-router\n"),
        (Role::Codec, 1, "not a router"),
    ] {
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let child = Command::new(&program)
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("started");
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        assert_eq!(poll(&mut fds, PollTimeout::from(20_000u16)), Ok(1), "it never came");
        let (mut socket, _) = listener.accept().expect("a connection");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a timeout");
        let mut head = [0; HELLO_LEN];
        socket.read_exact(&mut head).expect("its hello");
        let mut body = vec![0; Hello::check_head(&head).expect("a head of ours")];
        socket.read_exact(&mut body).expect("its hello");
        let hello = Hello::from_body(&body).expect("a hello");
        assert_eq!((hello.role, hello.encoding), (Role::Custom, Encoding::Json));
        assert_eq!((hello.name.as_str(), hello.pid), ("c-hello", child.id()));
        let own = Hello { role, name: "the-router".into(), pid: 1, encoding: Encoding::Json };
        socket.write_all(&own.to_bytes()).expect("written");
        let output = child.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(code), "{}", said(&output));
        assert!(said(&output).contains(says), "{}", said(&output));
    }
}

#[test]
fn it_reads_the_headers_that_other_languages_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = built(folder.path());
    let vectors = std::fs::read_to_string(root().join("shm-schema/vectors/frame_header.json"));
    let vectors: Vec<Value> = serde_json::from_str(&vectors.expect("the vectors")).expect("a list");
    assert!(vectors.len() >= 5);
    for vector in vectors {
        let f = &vector["fields"];
        let mut wanted = format!(
            "kind {} codec {} flags {} sequence {} epoch {} generation {} time {} duration {} payload {} size {}x{} \
             v {}+{} rate {} channels {} samples {}",
            f["kind"],
            f["codec"],
            f["flags"],
            f["sequence"],
            f["epoch"],
            f["generation"],
            f["media_time_ns"],
            f["duration_ns"],
            f["payload_len"],
            f["width"],
            f["height"],
            f["planes"][2]["offset"],
            f["planes"][2]["stride"],
            f["rate"],
            f["channels"],
            f["samples"],
        );
        for stamp in f["stamps"].as_array().expect("a list") {
            let _ = write!(wanted, " stamp {}:{}", stamp["stage"], stamp["ns"]);
        }
        let bytes = vector["bytes"].as_str().expect("hex digits");
        let output = Command::new(&program).args(["--header", bytes]).output().expect("started");
        assert!(output.status.success(), "{}", said(&output));
        assert_eq!(said(&output), format!("{wanted}\n"), "{}", vector["what"]);
    }
    for wrong in ["", "00", &"zz".repeat(360), &"ff".repeat(360)] {
        let output = Command::new(&program).args(["--header", wrong]).output().expect("started");
        assert!(!output.status.success(), "{wrong}: {}", said(&output));
    }
}

#[test]
fn it_reads_the_messages_that_other_languages_know() {
    let folder = tempfile::tempdir().expect("a folder");
    let program = built(folder.path());
    let read = |frame: &str| {
        let output = Command::new(&program).args(["--message", frame]).output();
        output.expect("started")
    };
    for file in ["to_worker.json", "to_router.json"] {
        let vectors = std::fs::read_to_string(root().join("shm-schema/vectors").join(file));
        let vectors: Vec<Value> =
            serde_json::from_str(&vectors.expect("the vectors")).expect("a list");
        assert!(vectors.len() >= 16, "{file}");
        for vector in vectors {
            let message = &vector["message"];
            let (kind, body) = match message.as_object().and_then(|object| object.iter().next()) {
                Some((kind, body)) => (kind.as_str(), body),
                None => (message.as_str().expect("a kind alone"), &Value::Null),
            };
            // The first that the text has, wherever it stands.
            let session = body["session"].as_str().or_else(|| {
                let inner = body.as_object()?.values().next()?;
                inner["session"].as_str().or_else(|| inner[0]["session"].as_str())
            });
            let beats = kind == "heartbeat";
            let session = session.or(beats.then_some("demo")).unwrap_or("no session");
            let output = read(vector["json_frame"].as_str().expect("hex digits"));
            assert_eq!(said(&output), format!("{kind} of {session}\n"), "{message}");
        }
    }
    for wrong in ["", "00", "02000000", "0300000022612200", "030000007b2261", "05000000226122"] {
        assert!(!read(wrong).status.success(), "{wrong}");
    }
}

fn built(folder: &Path) -> PathBuf {
    let program = folder.join("hello");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let told = Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I"])
        .arg(root().join("shm-schema"))
        .arg(root().join("examples/c/hello.c"))
        .arg("-o")
        .arg(&program)
        .output()
        .unwrap_or_else(|e| panic!("a C compiler is needed, `{compiler}` says: {e}"));
    assert!(told.status.success(), "{}", said(&told));
    program
}

fn said(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}
