//! `remotemedia doctor`: whether this machine can run a router, and what to do where it cannot.

use super::Failure;
use super::table::{json, megabytes, print, table};
use super::target::runtime_dir;
use crate::registry;
use crate::workers::{Role, locate};
use anyhow::anyhow;
use nix::sys::resource::{Resource, getrlimit};
use nix::sys::statvfs::statvfs;
use remotemedia_worker::namespace::Runtime;
use remotemedia_worker::worker::sandbox;
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Shared memory that one 720p peer with its workers must find (DESIGN: it fits into 64 MB).
const SHM_ONE_PEER: u64 = 48 * 1024 * 1024;
/// Below this only few sessions fit (chosen: four peers at 720p).
const SHM_COMFORT: u64 = 256 * 1024 * 1024;
/// About 44 descriptors a session of four channels, 16 sessions, sockets and media; for a router by its defaults.
const DESCRIPTORS: u64 = 2048;

/// Check that this machine can run a router.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runtime folder; without it, this user's
    #[arg(long, value_name = "DIR", visible_alias = "router")]
    runtime_dir: Option<PathBuf>,
    /// Where the workers' programs are
    #[arg(long, value_name = "DIR", env = "REMOTEMEDIA_WORKER_DIR")]
    worker_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// How a check came out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Ok,
    Warning,
    Failed,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    found: String,
    /// What to do; empty where all is well.
    advice: String,
}

impl Check {
    fn new(name: &'static str, verdict: Verdict, found: String, advice: &str) -> Self {
        Self { name, verdict, found, advice: advice.to_owned() }
    }
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let dir = args.runtime_dir.unwrap_or_else(runtime_dir);
    let existed = dir.exists();
    let mut checks = vec![shared_memory(Path::new("/dev/shm")), descriptors()];
    checks.extend(Role::OWN.map(|role| worker(role, args.worker_dir.as_deref())));
    checks.extend(runtime(&dir));
    checks.push(lock());
    if !existed {
        // Looking must leave no trace; with a router started meanwhile it is not empty and stays.
        let _ = std::fs::remove_dir(&dir);
    }
    if args.json {
        json(&json!({"checks": checks}))?;
    } else {
        print(&text(&checks))?;
    }
    let failed: Vec<&str> =
        checks.iter().filter(|c| c.verdict == Verdict::Failed).map(|c| c.name).collect();
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(anyhow!("a router would not run here: {}", failed.join(", "))))
    }
}

fn text(checks: &[Check]) -> String {
    let mut table = table(&["CHECK", "", "FOUND"]);
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "FAILED",
        };
        let found = match check.advice.as_str() {
            "" => check.found.clone(),
            advice => format!("{}\n{advice}", check.found),
        };
        table.add_row([check.name, verdict, &found]);
    }
    table.to_string()
}

fn shared_memory(place: &Path) -> Check {
    const NAME: &str = "shared memory";
    let stat = match statvfs(place) {
        Ok(stat) => stat,
        Err(error) => {
            let found = format!("{}: {error}", place.display());
            return Check::new(NAME, Verdict::Failed, found, "mount a tmpfs at /dev/shm");
        }
    };
    let free = stat.blocks_available().saturating_mul(stat.fragment_size());
    let all = stat.blocks().saturating_mul(stat.fragment_size());
    let found =
        format!("{} MB of {} MB in {} are free", megabytes(free), megabytes(all), place.display());
    let more = "give it more: `mount -o remount,size=1G /dev/shm`, in a container --shm-size=1g";
    match free {
        _ if free < SHM_ONE_PEER => Check::new(NAME, Verdict::Failed, found, more),
        _ if free < SHM_COMFORT => Check::new(NAME, Verdict::Warning, found, more),
        _ => Check::new(NAME, Verdict::Ok, found, ""),
    }
}

fn descriptors() -> Check {
    const NAME: &str = "descriptors";
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => return Check::new(NAME, Verdict::Failed, error.to_string(), ""),
    };
    // The router raises the soft limit itself.
    let found = format!("{soft} now, {hard} may be asked for");
    if hard < DESCRIPTORS {
        let advice = "about 44 are needed for each session: raise the hard limit (`ulimit -Hn`)";
        return Check::new(NAME, Verdict::Warning, found, advice);
    }
    Check::new(NAME, Verdict::Ok, found, "")
}

fn worker(role: Role, dir: Option<&Path>) -> Check {
    let name = match role {
        Role::Codec => "codec worker",
        Role::Steward => "steward",
        Role::Pipeline | Role::Custom(_) | Role::Attached(_) => "pipeline worker",
    };
    match locate::find(role, dir) {
        Ok(path) => Check::new(name, Verdict::Ok, path.display().to_string(), ""),
        Err(error) => Check::new(name, Verdict::Failed, error.to_string(), ""),
    }
}

fn runtime(dir: &Path) -> [Check; 2] {
    const NAME: &str = "runtime folder";
    const LEFT: &str = "leftovers";
    let runtime = match Runtime::open(dir) {
        Ok(runtime) => runtime,
        Err(error) => {
            let unknown = "not looked for without a runtime folder".to_owned();
            let advice = "name another with --runtime-dir or REMOTEMEDIA_RUNTIME_DIR";
            return [
                Check::new(NAME, Verdict::Failed, error.to_string(), advice),
                Check::new(LEFT, Verdict::Warning, unknown, ""),
            ];
        }
    };
    let first = Check::new(NAME, Verdict::Ok, runtime.dir().display().to_string(), "");
    let advice = "remove it with `remotemedia clean`";
    let second = match (registry::list(dir), registry::abandoned(&runtime)) {
        (Ok(records), Ok(abandoned)) => {
            let dead = records.iter().filter(|record| !record.alive).count();
            let live = records.len() - dead;
            let found = format!(
                "{live} live routers, {dead} dead ones' records, {} abandoned namespaces",
                abandoned.len()
            );
            if dead == 0 && abandoned.is_empty() {
                Check::new(LEFT, Verdict::Ok, found, "")
            } else {
                Check::new(LEFT, Verdict::Warning, found, advice)
            }
        }
        (Err(error), _) | (_, Err(error)) => {
            Check::new(LEFT, Verdict::Warning, error.to_string(), "")
        }
    };
    [first, second]
}

fn lock() -> Check {
    const NAME: &str = "sandbox";
    let there = sandbox::available();
    let advice = "workers cannot lock themselves wholly: boot a kernel of 5.13 or later with lsm=landlock,..., or say \
                  sandbox = \"try\" in the config";
    match (there.landlock, there.seccomp) {
        (0, true) => Check::new(NAME, Verdict::Failed, "seccomp, but no Landlock".into(), advice),
        (0, false) => {
            Check::new(NAME, Verdict::Failed, "neither Landlock nor seccomp".into(), advice)
        }
        (abi, false) => {
            Check::new(NAME, Verdict::Failed, format!("Landlock ABI {abi}, but no seccomp"), advice)
        }
        (abi, true) => Check::new(NAME, Verdict::Ok, format!("Landlock ABI {abi} and seccomp"), ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_runtime_folder_on_a_disk_fails_with_the_reason_and_what_to_do() {
        let [first, _] = runtime(Path::new("relative"));
        assert_eq!(first.verdict, Verdict::Failed);
        assert!(first.advice.contains("--runtime-dir"), "{first:?}");
    }

    #[test]
    fn workers_that_are_not_there_fail_with_every_place() {
        let dir = tempfile::tempdir().expect("a folder");
        let check = worker(Role::Codec, Some(dir.path()));
        assert_eq!(check.verdict, Verdict::Failed);
        assert!(check.found.contains(&dir.path().display().to_string()), "{check:?}");
    }

    #[test]
    fn a_dead_routers_record_is_a_warning_that_names_clean() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::Builder::new().prefix("rmt").tempdir_in("/dev/shm").expect("a folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("0700");
        std::fs::write(dir.path().join("router-1-0123456789ab.json"), b"{}").expect("a record");
        let [first, second] = runtime(dir.path());
        assert_eq!(first.verdict, Verdict::Ok, "{first:?}");
        assert_eq!(second.verdict, Verdict::Warning, "{second:?}");
        assert!(second.advice.contains("remotemedia clean"), "{second:?}");
    }
}
