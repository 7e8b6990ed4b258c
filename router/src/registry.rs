//! Which routers of this user there are, and what dead ones left behind.
//!
//! A router holds a lock on `<runtime>/router-<pid>-<random>.json` for as long as it lives. The kernel lets go of it however
//! the process ends, so a record whose lock can be taken belongs to nobody: no pid is trusted, which may be another's by now.
//! The name cannot be guessed, for a locked worker may open what it can name below `/dev/shm`, and list nothing.

use nix::fcntl::{Flock, FlockArg};
use remotemedia_shm_schema::control::Namespace;
use remotemedia_worker::namespace::{self, Runtime, Swept};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes of a record (chosen; it has about 150).
const MAX_RECORD: u64 = 4096;

/// What a router tells of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Where it listens.
    pub url: String,
    /// Its process.
    pub pid: u32,
    /// Milliseconds since 1970.
    pub started_at: u64,
    /// Its version.
    pub version: String,
    /// The socket at which programs attach and operators command.
    pub control: PathBuf,
}

/// A name for the files of this process.
#[must_use]
pub fn fresh_name() -> String {
    format!("router-{}-{:012x}", std::process::id(), rand::random::<u64>() >> 16)
}

/// This process's record. Dropped, the record is gone.
#[derive(Debug)]
pub struct Registration {
    path: PathBuf,
    // The lock goes with it, after the file: whoever finds the file finds it locked.
    _lock: Flock<File>,
}

impl Registration {
    /// Writes this process's record beside its control socket and holds it.
    ///
    /// # Errors
    /// When the file cannot be made or another process holds it.
    pub fn new(url: &str, control: &Path) -> io::Result<Self> {
        let pid = std::process::id();
        let path = control.with_extension("json");
        // Locked and filled under another name first: nobody sees a record that is unlocked or half written.
        let draft = control.with_extension("draft");
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(nix::libc::O_NOFOLLOW)
            .open(&draft)?;
        let mut lock =
            Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, error)| error)?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let record = Record {
            url: url.to_owned(),
            pid,
            started_at: u64::try_from(now).unwrap_or(u64::MAX),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            control: control.to_owned(),
        };
        lock.write_all(&serde_json::to_vec(&record)?)?;
        std::fs::rename(&draft, &path)?;
        Ok(Self { path, _lock: lock })
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "cannot remove this router's record");
        }
    }
}

/// A record that lies in a runtime folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// Whether its router lives.
    pub alive: bool,
    /// What it says; none when that cannot be read.
    pub record: Option<Record>,
}

/// All records of a folder; none when there is no such folder.
///
/// # Errors
/// When the folder cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Found>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found: Vec<Found> = entries.flatten().filter_map(|entry| look(entry.path())).collect();
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

fn look(path: PathBuf) -> Option<Found> {
    let name = path.file_name()?.to_str()?;
    let (pid, random) = name.strip_prefix("router-")?.strip_suffix(".json")?.split_once('-')?;
    let hex = !random.is_empty() && random.bytes().all(|b| b.is_ascii_hexdigit());
    if pid.is_empty() || !pid.bytes().all(|b| b.is_ascii_digit()) || !hex {
        return None;
    }
    let open = OpenOptions::new().read(true).custom_flags(nix::libc::O_NOFOLLOW).open(&path);
    let mut text = String::new();
    let file = open.ok()?;
    let read = (&file).take(MAX_RECORD).read_to_string(&mut text);
    let record = read.ok().and_then(|_| serde_json::from_str(&text).ok());
    // Shared, so that two who look at once do not take each other for the router.
    let alive = Flock::lock(file, FlockArg::LockSharedNonblock).is_err();
    Some(Found { path, alive, record })
}

/// What became of one namespace that was found.
#[derive(Debug, Clone, Serialize)]
pub struct Cleaned {
    /// Its folder.
    pub root: String,
    /// Its shared-memory prefix.
    pub prefix: String,
    /// Workers of a dead router that were ended.
    pub killed: Vec<i32>,
    /// Objects and files removed.
    pub removed: usize,
    /// Memory given back.
    pub bytes: u64,
    /// What is still there, with the reason.
    pub left: Vec<String>,
}

/// What a cleaning did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cleaning {
    /// Records of dead routers, removed.
    pub records: Vec<PathBuf>,
    /// Namespaces of dead routers.
    pub namespaces: Vec<Cleaned>,
}

impl Cleaning {
    /// Whether nothing is left that should not be.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.namespaces.iter().all(|namespace| namespace.left.is_empty())
    }
}

/// Namespaces in a runtime folder that no living router holds.
///
/// # Errors
/// When processes or the folder cannot be looked at.
pub fn abandoned(runtime: &Runtime) -> io::Result<Vec<Namespace>> {
    Ok(look_through(runtime)?.into_iter().map(|(namespace, _)| namespace).collect())
}

/// Removes what dead routers left: their workers, if any still runs, their namespaces, their records.
///
/// # Errors
/// When processes or the folder cannot be looked at; what cannot be removed is in the result.
pub fn clean(runtime: &Runtime) -> io::Result<Cleaning> {
    let mut cleaning = Cleaning::default();
    for (namespace, users) in look_through(runtime)? {
        let mut left = Vec::new();
        let mut killed = Vec::new();
        for user in users {
            match user.end() {
                Ok(()) => killed.push(user.pid),
                Err(why) => left.push(why),
            }
        }
        let swept = if left.is_empty() {
            namespace::sweep_dead(&namespace.prefix, Path::new(&namespace.root))
        } else {
            Swept { left, ..Swept::default() }
        };
        cleaning.namespaces.push(Cleaned {
            root: namespace.root,
            prefix: namespace.prefix,
            killed,
            removed: swept.removed,
            bytes: swept.bytes,
            left: swept.left,
        });
    }
    // The records last: while one is there, what it stands for is not all gone.
    for found in list(runtime.dir())?.into_iter().filter(|found| !found.alive) {
        if cleaning.complete() && std::fs::remove_file(&found.path).is_ok() {
            // Its control socket bears the same name; nobody listens there any more.
            let _ = std::fs::remove_file(found.path.with_extension("sock"));
            cleaning.records.push(found.path);
        }
    }
    Ok(cleaning)
}

/// A process that maps objects of a namespace.
#[derive(Debug)]
struct User {
    pid: i32,
    program: String,
    process: procfs::process::Process,
}

impl User {
    /// Ends a worker and waits for it; any other program is left alone.
    fn end(&self) -> Result<(), String> {
        let worker = self.program.ends_with("-worker") || self.program == "remotemedia-steward";
        if !(self.program.starts_with("remotemedia-") && worker) {
            return Err(format!(
                "process {} ({}) still uses it; end it first",
                self.pid, self.program
            ));
        }
        let pid = nix::unistd::Pid::from_raw(self.pid);
        // The handle was opened before its maps were read: if it is still alive, the pid is still its own.
        if self.process.is_alive()
            && let Err(error) = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL)
            && error != nix::errno::Errno::ESRCH
        {
            return Err(format!("process {} cannot be ended: {error}", self.pid));
        }
        // SIGKILL cannot be refused; what takes time is giving back its memory.
        for _ in 0..100 {
            if !self.process.is_alive() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Err(format!("process {} was killed and is still there", self.pid))
    }
}

/// Namespaces that no living router holds, each with the processes that still map something of it.
fn look_through(runtime: &Runtime) -> io::Result<Vec<(Namespace, Vec<User>)>> {
    let mut all: BTreeMap<String, (Namespace, Vec<User>)> = namespace::leftovers(runtime)
        .into_iter()
        .map(|namespace| (namespace.prefix.clone(), (namespace, Vec::new())))
        .collect();
    if all.is_empty() {
        return Ok(Vec::new());
    }
    for process in procfs::process::all_processes().map_err(io::Error::other)?.flatten() {
        // Other users' processes cannot be read, and cannot map what only this user may open.
        let Ok(maps) = process.maps() else { continue };
        let prefixes: BTreeSet<String> = maps
            .iter()
            .filter_map(|map| match &map.pathname {
                procfs::process::MMapPath::Path(path) => path.to_str(),
                _ => None,
            })
            .filter_map(|path| path.strip_prefix("/dev/shm/"))
            .filter_map(|object| all.keys().find(|prefix| object.starts_with(prefix.as_str())))
            .cloned()
            .collect();
        for prefix in prefixes {
            let program = process.exe().ok();
            let program = program.as_deref().and_then(Path::file_name).and_then(|n| n.to_str());
            let program = program.unwrap_or("?").to_owned();
            let Ok(handle) = procfs::process::Process::new(process.pid()) else { continue };
            if let Some((_, users)) = all.get_mut(&prefix) {
                users.push(User { pid: process.pid(), program, process: handle });
            }
        }
    }
    Ok(all.into_values().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    /// A runtime folder on tmpfs that goes with the test.
    fn runtime() -> (tempfile::TempDir, Runtime) {
        let dir = tempfile::Builder::new().prefix("rmt").tempdir_in("/dev/shm").expect("a folder");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).expect("0700");
        let runtime = Runtime::open(dir.path()).expect("a runtime folder");
        (dir, runtime)
    }

    fn control(runtime: &Runtime) -> PathBuf {
        runtime.dir().join(format!("{}.sock", fresh_name()))
    }

    #[test]
    fn a_router_is_found_while_it_lives_and_not_after() {
        let (_dir, runtime) = runtime();
        let registration =
            Registration::new("http://127.0.0.1:9000", &control(&runtime)).expect("a record");
        let found = list(runtime.dir()).expect("a listing");
        assert_eq!(found.len(), 1);
        assert!(found[0].alive, "its lock is held");
        let record = found[0].record.clone().expect("it can be read");
        assert_eq!(
            (record.url.as_str(), record.pid),
            ("http://127.0.0.1:9000", std::process::id())
        );
        drop(registration);
        assert_eq!(list(runtime.dir()).expect("a listing"), []);
    }

    #[test]
    fn two_who_look_at_once_do_not_take_a_dead_router_for_a_living_one() {
        let (_dir, runtime) = runtime();
        let path = runtime.dir().join("router-1-0123456789ab.json");
        std::fs::write(&path, b"{}").expect("a dead router's record");
        let file = File::open(&path).expect("open");
        let other = Flock::lock(file, FlockArg::LockSharedNonblock).expect("another looks");
        let found = list(runtime.dir()).expect("a listing");
        assert!(!found[0].alive);
        assert_eq!(found[0].record, None, "an unreadable record is still found");
        drop(other);
    }

    #[test]
    fn what_a_dead_router_left_is_swept_and_what_a_living_one_holds_stays() {
        let (_dir, runtime) = runtime();
        let prefix = format!("m{:016x}_", rand::random::<u64>());
        let root = runtime.dir().join(format!("{:012x}", rand::random::<u64>() >> 16));
        std::fs::create_dir(&root).expect("a root");
        std::fs::write(root.join("prefix"), &prefix).expect("its prefix");
        let object = PathBuf::from(format!("/dev/shm/{prefix}object"));
        std::fs::write(&object, vec![0_u8; 4096]).expect("an object");
        std::fs::write(runtime.dir().join("router-1-0123456789ab.json"), b"{}")
            .expect("its record");

        let registration =
            Registration::new("http://127.0.0.1:1", &control(&runtime)).expect("a record");
        let ground = namespace::Ground::make(&runtime).expect("a living router's namespace");
        let cleaning = clean(&runtime).expect("a cleaning");
        assert!(cleaning.complete(), "{cleaning:?}");
        assert_eq!(cleaning.namespaces.len(), 1, "{cleaning:?}");
        assert_eq!(cleaning.records.len(), 1, "{cleaning:?}");
        assert!(!object.exists() && !root.exists());
        let live = list(runtime.dir()).expect("a listing");
        assert!(live.len() == 1 && live[0].alive, "{live:?}");
        assert!(Path::new(&ground.namespace().root).join("prefix").exists());
        drop(registration);
        assert_eq!(ground.sweep().left, Vec::<String>::new());
    }

    #[test]
    fn a_dead_routers_namespace_that_a_foreign_process_still_maps_is_told_and_left() {
        let (_dir, runtime) = runtime();
        let prefix = format!("m{:016x}_", rand::random::<u64>());
        let root = runtime.dir().join(format!("{:012x}", rand::random::<u64>() >> 16));
        std::fs::create_dir(&root).expect("a root");
        std::fs::write(root.join("prefix"), &prefix).expect("its prefix");
        let namespace = Namespace { prefix, root: root.to_string_lossy().into_owned() };
        let mut host = namespace::Host::keep(&namespace).expect("its services");
        host.create_wake("wake").expect("something to map");
        let cleaning = clean(&runtime).expect("a cleaning");
        // This test is no worker.
        let [cleaned] = cleaning.namespaces.as_slice() else { panic!("{cleaning:?}") };
        assert!(cleaned.left.iter().any(|why| why.contains("still uses it")), "{cleaned:?}");
        assert!(root.exists());
        drop(host);
        assert!(clean(&runtime).expect("a cleaning").complete());
        assert!(!root.exists());
    }
}
