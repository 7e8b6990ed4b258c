//! A namespace as files: its root folder and its prefix, made before anything is in them and taken away with all that is.
//!
//! No object of it is opened here: whoever holds the ground may be a process that must not map what others can write. What it
//! holds is a lock on the file that tells the prefix. The kernel lets go of it however the process ends, so a namespace
//! whose lock can be taken belongs to nobody.

use super::Runtime;
use super::config::ROOT_NAME_LEN;
use super::runtime::open_to_owner;
use super::sweep::{Objects, PREFIX_FILE, Swept, objects, sweep_dead};
use crate::Fault;
use nix::fcntl::{Flock, FlockArg};
use remotemedia_shm_schema::control::Namespace;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Tries to find a folder name that is free; a second one is needed once in 280,000 billion.
const TRIES: usize = 8;

/// One session's namespace; dropping it sweeps, [`Ground::sweep`] tells what was found.
#[derive(Debug)]
pub struct Ground {
    namespace: Namespace,
    swept: bool,
    // After what stands for it is taken away: see `Drop`.
    _lock: Flock<File>,
}

impl Ground {
    /// A new one in the runtime folder, with a random name.
    ///
    /// # Errors
    /// When the folder cannot be made.
    pub fn make(runtime: &Runtime) -> Result<Self, Fault> {
        let (root, text) = fresh_root(runtime.dir())?;
        let namespace =
            Namespace { prefix: format!("m{:016x}_", rand::random::<u64>()), root: text };
        // First of all: a router that dies after this line leaves what a later one can sweep.
        let held = hold(&root, &namespace.prefix);
        if held.is_err() {
            let _ = std::fs::remove_dir_all(&root);
        }
        Ok(Self { namespace, swept: false, _lock: held? })
    }

    /// Where it is; what workers are told.
    #[must_use]
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Counts what is in it, by listing.
    ///
    /// # Errors
    /// When it cannot be listed.
    pub fn objects(&self) -> io::Result<Objects> {
        objects(self.namespace())
    }

    /// Takes everything away: to be called after all processes of the session are reaped.
    #[must_use = "it tells what is left"]
    pub fn sweep(mut self) -> Swept {
        self.take_away()
    }

    fn take_away(&mut self) -> Swept {
        if std::mem::replace(&mut self.swept, true) {
            return Swept::default();
        }
        sweep_dead(&self.namespace.prefix, Path::new(&self.namespace.root))
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // After `sweep` this finds nothing; a forgotten one must not leave memory behind.
        let swept = self.take_away();
        if !swept.left.is_empty() {
            tracing::warn!(left = ?swept.left, "a session's namespace could not be removed");
        }
    }
}

/// Writes down the prefix and locks it: under another name first, so that nobody sees it without the lock.
fn hold(root: &Path, prefix: &str) -> Result<Flock<File>, Fault> {
    let (draft, path) = (root.join("draft"), root.join(PREFIX_FILE));
    let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft);
    let locked = open.and_then(|file| {
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock);
        let mut lock = lock.map_err(|(_, error)| io::Error::from(error))?;
        lock.write_all(prefix.as_bytes())?;
        std::fs::rename(&draft, &path)?;
        Ok(lock)
    });
    locked.map_err(|source| Fault::Io { what: "write", path, source })
}

fn fresh_root(runtime: &Path) -> Result<(PathBuf, String), Fault> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    let mut path = runtime.to_path_buf();
    for _ in 0..TRIES {
        path = runtime.join(format!(
            "{:0ROOT_NAME_LEN$x}",
            rand::random::<u64>() >> (64 - 4 * ROOT_NAME_LEN)
        ));
        match DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {
                open_to_owner(&path).map_err(|source| Fault::Io {
                    what: "give a mode to",
                    path: path.clone(),
                    source,
                })?;
                let text = path.to_string_lossy().into_owned();
                return Ok((path, text));
            }
            Err(e) => last = e,
        }
        if last.kind() != io::ErrorKind::AlreadyExists {
            break;
        }
    }
    Err(Fault::Io { what: "create", path, source: last })
}
