//! A router under test, and the native peers that call it.

use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Nothing that a test waits for takes longer, however busy the machine is.
pub const LIMIT: Duration = Duration::from_secs(30);

/// Waits for a condition, looking every few milliseconds; for what no event tells.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begin.elapsed() < LIMIT, "{what} did not happen within {LIMIT:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// One story at a time: what appears in /dev/shm meanwhile is its own, and two cores carry one call at full rate.
pub fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A running router.
pub struct Router {
    child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    address: SocketAddr,
    folder: tempfile::TempDir,
    before: BTreeSet<String>,
    /// Workers that were seen, with when they started: numbers come again.
    workers: BTreeSet<(i32, u64)>,
    stopped: bool,
    _turn: MutexGuard<'static, ()>,
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_remotemedia")
}

fn shared_memory() -> BTreeSet<String> {
    std::fs::read_dir("/dev/shm")
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

/// When the process of this number started, in the kernel's ticks. A zombie is somebody's unreaped child: as good as left
/// behind.
fn started(pid: i32) -> Option<u64> {
    Some(procfs::process::Process::new(pid).ok()?.stat().ok()?.starttime)
}

impl Router {
    /// With the default settings.
    pub fn start() -> Self {
        Self::with("", &[])
    }

    /// With a config of these TOML lines, and further arguments.
    pub fn with(config: &str, arguments: &[&str]) -> Self {
        let _turn = turn();
        let before = shared_memory();
        let folder = tempfile::Builder::new().prefix("rmt").tempdir_in("/dev/shm").unwrap();
        let file = folder.path().join("remotemedia.toml");
        std::fs::write(&file, config).unwrap();
        let mut child = Command::new(program())
            .args(["serve", "--webrtc", "--port", "0", "--config"])
            .arg(&file)
            .arg("--runtime-dir")
            .arg(folder.path().join("run"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(folder.path().join("router.log")).unwrap())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line
            .trim()
            .strip_prefix("listening on ")
            .unwrap_or_else(|| panic!("the first line is {line:?}"))
            .to_owned();
        let address = url.strip_prefix("http://").unwrap().parse().unwrap();
        Self {
            child,
            url,
            address,
            folder,
            before,
            workers: BTreeSet::new(),
            stopped: false,
            _turn,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> i32 {
        self.child.id() as i32
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its runtime folder.
    pub fn runtime(&self) -> PathBuf {
        self.folder.path().join("run")
    }

    /// `/api/sessions`; remembers every worker, so that [`Self::stop`] can look for it.
    pub fn sessions(&mut self) -> Value {
        let (status, body) = self.get("/api/sessions");
        assert_eq!(status, 200, "{body}");
        let value: Value = serde_json::from_str(&body).unwrap();
        for worker in value["workers"].as_array().into_iter().flatten() {
            let pid = worker["pid"].as_i64().map(|pid| pid as i32);
            self.workers.extend(pid.and_then(|pid| Some((pid, started(pid)?))));
        }
        value
    }

    /// A GET of its own: status and body.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.request(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
            self.address
        ))
    }

    /// Raw bytes to its port: status and body of the answer.
    pub fn request(&self, request: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (status, body.to_owned())
    }

    /// A native peer's whole call; its report.
    pub fn call(&self, arguments: &[&str]) -> Value {
        let output = self.spawn_call(arguments).wait_with_output().unwrap();
        report(&output)
    }

    /// A native peer that calls in the background; hand what it printed to [`report`].
    pub fn spawn_call(&self, arguments: &[&str]) -> Child {
        Command::new(program())
            .args(["peer", "--connect", &self.url, "--json"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Waits until it has so many sessions.
    pub fn wait_for_sessions(&mut self, count: usize) -> Value {
        eventually(&format!("{count} sessions"), || {
            let sessions = self.sessions();
            (sessions["sessions"].as_array().map(Vec::len) == Some(count)).then_some(sessions)
        })
    }

    /// SIGTERM; it must exit 0, and nothing may be left.
    pub fn stop(mut self) {
        self.sessions();
        kill(self.pid(), nix::sys::signal::Signal::SIGTERM);
        let status = self.wait();
        assert!(status.success(), "the router ended with {status}");
        self.check_leftovers();
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let status = eventually("the router's end", || self.child.try_wait().unwrap());
        self.stopped = true;
        status
    }

    /// Looks for processes, shared memory, folders and the port.
    pub fn check_leftovers(&self) {
        for (pid, at) in &self.workers {
            eventually(&format!("the end of worker {pid}"), || {
                (started(*pid) != Some(*at)).then_some(())
            });
        }
        let own = self.folder.path().file_name().unwrap().to_string_lossy().into_owned();
        let left: Vec<String> = shared_memory()
            .difference(&self.before)
            .filter(|name| **name != own)
            .cloned()
            .collect();
        assert!(left.is_empty(), "left in /dev/shm: {left:?}");
        let run: Vec<String> = std::fs::read_dir(self.runtime())
            .map(|entries| {
                entries.map(|e| e.unwrap().file_name().to_string_lossy().into_owned()).collect()
            })
            .unwrap_or_default();
        assert!(run.is_empty(), "left in the runtime folder: {run:?}");
        assert!(TcpStream::connect(self.address).is_err(), "the port is still open");
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.folder.path().join("router.log"));
            eprintln!("--- the router's log\n{}---", log.unwrap_or_default());
        }
        if !self.stopped {
            // A story that failed should not make the next ones fail by what its router left.
            kill(self.pid(), nix::sys::signal::Signal::SIGTERM);
            let begin = Instant::now();
            while begin.elapsed() < LIMIT / 3 && matches!(self.child.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(10));
            }
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// What a native peer reported.
pub fn report(output: &Output) -> Value {
    assert!(
        output.status.success(),
        "the peer ended with {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!("not JSON ({error}): {}", String::from_utf8_lossy(&output.stdout))
    })
}

/// Sends a signal to one process.
pub fn kill(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}
