//! A router that is measured, and the native peers that call it.

use crate::work::CONFIG;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nothing that is waited for takes longer; a bench that finds nothing ends.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A running router; its end is the end of this.
pub(crate) struct Router {
    child: Child,
    pub(crate) url: String,
    folder: tempfile::TempDir,
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_remotemedia")
}

impl Router {
    /// With the bench's pipelines; `workers` is a folder with other workers than those built.
    pub(crate) fn start(workers: Option<&Path>) -> Self {
        let folder = tempfile::Builder::new().prefix("rmb").tempdir_in("/dev/shm").unwrap();
        let file = folder.path().join("bench.toml");
        std::fs::write(&file, CONFIG).unwrap();
        let mut command = Command::new(program());
        command.args(["serve", "--webrtc", "--port", "0", "--config"]).arg(&file);
        command.arg("--runtime-dir").arg(folder.path().join("run"));
        if let Some(workers) = workers {
            command.arg("--worker-dir").arg(workers);
        }
        // What it logs belongs to a bench only where something is wrong.
        command.env("RUST_LOG", std::env::var("RUST_LOG").unwrap_or_else(|_| "warn".into()));
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the router starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("listening on ").map(str::to_owned);
        let url = url.unwrap_or_else(|| panic!("the router's first line is {line:?}"));
        Self { child, url, folder }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// `/api/sessions`.
    pub(crate) fn sessions(&self) -> Value {
        let address = self.url.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(
            stream,
            "GET /api/sessions HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_else(|e| panic!("/api/sessions: {e}: {answer}"))
    }

    /// Pids of workers: those of sessions, and spares.
    pub(crate) fn workers(&self) -> (Vec<u32>, Vec<u32>) {
        let sessions = self.sessions();
        let pids = |leased: bool| {
            let workers = sessions["workers"].as_array().into_iter().flatten();
            workers
                .filter(|w| (w["state"] == "leased") == leased)
                .filter_map(|w| w["pid"].as_u64()?.try_into().ok())
                .collect()
        };
        (pids(true), pids(false))
    }

    /// Waits until this is so of its sessions.
    pub(crate) fn wait<T>(&self, what: &str, look: impl Fn(&Value) -> Option<T>) -> T {
        let begin = Instant::now();
        loop {
            let sessions = self.sessions();
            if let Some(found) = look(&sessions) {
                return found;
            }
            assert!(begin.elapsed() < LIMIT, "never: {what}; {sessions}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Until nobody calls any more, so that the next one finds the machine at rest.
    pub(crate) fn wait_for_sessions(&self, count: usize) {
        self.wait(&format!("{count} sessions"), |sessions| {
            (sessions["sessions"].as_array().map(Vec::len) == Some(count)).then_some(())
        });
    }

    /// A native peer that calls in the background.
    pub(crate) fn call(&self, arguments: &[&str]) -> Call {
        let child = Command::new(program())
            .args(["peer", "--connect", &self.url, "--json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Call(Some(child))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
        let begin = Instant::now();
        while self.child.try_wait().is_ok_and(|status| status.is_none()) {
            if begin.elapsed() > LIMIT {
                let _ = self.child.kill();
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let run = self.folder.path().join("run");
        let left = std::fs::read_dir(run).map_or(0, Iterator::count);
        if left > 0 && !std::thread::panicking() {
            eprintln!("bench: the router left {left} entries in its runtime folder");
        }
    }
}

/// A native peer under way; it does not outlive this.
pub(crate) struct Call(Option<Child>);

impl Call {
    /// Waits for its end: the report.
    pub(crate) fn report(mut self) -> Value {
        let output = self.0.take().unwrap().wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "the peer ended with {}: {text}", output.status);
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("not JSON ({e}): {text}"))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
