//! Which router a command speaks to: the one that is named, else this user's only live one.

use super::{Failure, client};
use crate::registry::{self, Record};
use anyhow::{Context, anyhow};
use clap::Args;
use remotemedia_worker::namespace::Runtime;
use serde_json::Value;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// `--router` and `--json`.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// The router: its URL, or its runtime folder; without it, this user's only live one
    #[arg(long, value_name = "URL|DIR")]
    router: Option<String>,
    /// Print JSON in place of tables
    #[arg(long)]
    pub(super) json: bool,
}

/// A router that was found.
pub(super) struct Router {
    /// Where it listens.
    pub(super) url: String,
    /// What it told of itself, if it was found by its record.
    pub(super) record: Option<Record>,
}

impl Router {
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        Ok(client::get(&self.url, path).await?)
    }
}

impl Target {
    /// Finds it.
    pub(super) fn find(&self) -> Result<Router, Failure> {
        match &self.router {
            Some(url) if url.contains("://") => {
                client::authority(url)
                    .map_err(|error| Failure::Wrong(format!("--router: {error:#}")))?;
                Ok(Router { url: url.clone(), record: None })
            }
            Some(dir) => only(Path::new(dir)),
            None => only(&runtime_dir()),
        }
    }
}

impl Target {
    /// The control socket of the router that is meant; it must run here, as this user.
    pub(super) fn control_path(&self) -> Result<PathBuf, Failure> {
        let dir = match &self.router {
            Some(dir) if !dir.contains("://") => PathBuf::from(dir),
            _ => runtime_dir(),
        };
        let router = self.find()?;
        let known = |dir: &Path| -> anyhow::Result<Option<Record>> {
            let all = registry::list(dir)?.into_iter().filter(|found| found.alive);
            Ok(all.filter_map(|found| found.record).find(|record| record.url == router.url))
        };
        let record = match router.record {
            Some(record) => Some(record),
            None => known(&dir)?,
        };
        let Some(record) = record else {
            return Err(Failure::Failed(anyhow!(
                "{} is not a router of this user on this machine (looked in {}): its control socket is what is needed; name \
                 its runtime folder with --router DIR",
                router.url,
                dir.display()
            )));
        };
        Ok(record.control)
    }

    /// A connection to it.
    pub(super) fn control(&self) -> anyhow::Result<UnixStream> {
        let path = self.control_path()?;
        UnixStream::connect(&path).with_context(|| format!("cannot connect to {}", path.display()))
    }
}

/// The runtime folder of commands that are not told one.
pub(super) fn runtime_dir() -> PathBuf {
    let set = std::env::var_os("REMOTEMEDIA_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    set.map_or_else(Runtime::default_dir, PathBuf::from)
}

fn only(dir: &Path) -> Result<Router, Failure> {
    let all = registry::list(dir)
        .with_context(|| format!("cannot look for routers in {}", dir.display()))?;
    let mut alive: Vec<Record> =
        all.into_iter().filter(|found| found.alive).filter_map(|found| found.record).collect();
    match (alive.pop(), alive.as_slice()) {
        (None, _) => Err(Failure::Failed(anyhow!(
            "no live router in {}; start one with `remotemedia serve --webrtc`, or name one with --router URL or \
             --router DIR (its runtime folder)",
            dir.display()
        ))),
        (Some(record), []) => Ok(Router { url: record.url.clone(), record: Some(record) }),
        (Some(last), others) => {
            let lines: Vec<String> = others
                .iter()
                .chain([&last])
                .map(|record| format!("  --router {}  (pid {})", record.url, record.pid))
                .collect();
            Err(Failure::Wrong(format!(
                "several routers are alive in {}; name one:\n{}",
                dir.display(),
                lines.join("\n")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_live_router_the_error_says_where_was_looked_and_what_to_do() {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("router-7-0123456789ab.json"), b"{}")
            .expect("a dead one's record");
        let target = Target { router: Some(dir.path().display().to_string()), json: false };
        let Err(Failure::Failed(error)) = target.find() else { panic!("found one") };
        let text = error.to_string();
        assert!(text.contains(&dir.path().display().to_string()), "{text}");
        assert!(text.contains("remotemedia serve --webrtc"), "{text}");
    }

    #[test]
    fn several_live_routers_are_listed_and_one_is_used() {
        use nix::fcntl::{Flock, FlockArg};
        let dir = tempfile::tempdir().expect("a folder");
        let live = |pid: u32| {
            let path = dir.path().join(format!("router-{pid}-0123456789ab.json"));
            let record = Record {
                url: format!("http://127.0.0.1:{pid}"),
                pid,
                started_at: 0,
                version: "0".into(),
                control: path.with_extension("sock"),
            };
            std::fs::write(&path, serde_json::to_vec(&record).expect("JSON")).expect("a record");
            let file = std::fs::File::open(&path).expect("open");
            Flock::lock(file, FlockArg::LockExclusiveNonblock).expect("its lock")
        };
        let target = || Target { router: Some(dir.path().display().to_string()), json: false };
        let _one = live(4001);
        assert_eq!(
            target().find().map(|router| router.url).ok(),
            Some("http://127.0.0.1:4001".into())
        );
        let _two = live(4002);
        let Err(Failure::Wrong(text)) = target().find() else { panic!("chose one") };
        assert!(text.contains("--router http://127.0.0.1:4001  (pid 4001)"), "{text}");
        assert!(text.contains("--router http://127.0.0.1:4002  (pid 4002)"), "{text}");
    }

    #[test]
    fn a_url_that_is_not_http_is_used_wrongly() {
        let target = Target { router: Some("https://127.0.0.1:1".into()), json: false };
        assert!(matches!(target.find(), Err(Failure::Wrong(_))));
    }
}
