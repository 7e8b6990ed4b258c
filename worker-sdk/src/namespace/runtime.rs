//! The runtime folder: where the roots of all sessions lie; checked before anything is put into it.

use super::config::{MAX_ROOT_AND_PREFIX, PREFIX_LEN, ROOT_NAME_LEN};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use nix::unistd::Uid;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Bytes that the runtime folder's path may have: what a root and a prefix leave of [`MAX_ROOT_AND_PREFIX`].
const MAX_DIR: usize = MAX_ROOT_AND_PREFIX - PREFIX_LEN - ROOT_NAME_LEN - 1;

/// Why a folder cannot be the runtime folder.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeFault {
    /// Relative, or not text.
    #[error("the runtime folder {0:?} must be an absolute path in UTF-8")]
    NotAbsolute(PathBuf),
    /// Sockets in it could not be reached.
    #[error(
        "the runtime folder {dir:?} has {has} bytes, {most} are allowed: root and prefix together may have \
         {MAX_ROOT_AND_PREFIX}, of which a session takes {}; choose a shorter one with `runtime_dir` or \
         REMOTEMEDIA_RUNTIME_DIR",
        has + 1 + ROOT_NAME_LEN + PREFIX_LEN
    )]
    TooLong {
        /// The folder.
        dir: PathBuf,
        /// Its length.
        has: usize,
        /// What is allowed.
        most: usize,
    },
    /// A file or a link stands there.
    #[error("{0:?} is not a folder (a link to one is not taken)")]
    NotAFolder(PathBuf),
    /// On a disk.
    #[error(
        "the runtime folder {dir:?} is not on tmpfs (its filesystem has magic {magic:#x}, tmpfs {:#x}): media would be \
         written to a disk; choose one below /run/user or /dev/shm",
        TMPFS_MAGIC.0
    )]
    NotTmpfs {
        /// The folder.
        dir: PathBuf,
        /// What it is on.
        magic: i64,
    },
    /// Somebody else's.
    #[error("the runtime folder {dir:?} belongs to user {owner}, this process runs as {own}")]
    Owner {
        /// The folder.
        dir: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        own: u32,
    },
    /// Open to others.
    #[error("the runtime folder {dir:?} has mode {mode:04o}, 0700 is needed: chmod 0700 {}", dir.display())]
    Mode {
        /// The folder.
        dir: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot {what} the runtime folder {dir:?}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// A checked runtime folder.
#[derive(Debug, Clone)]
pub struct Runtime {
    dir: PathBuf,
}

impl Runtime {
    /// A folder of this user's own on tmpfs: below `XDG_RUNTIME_DIR` where that is one, else in `/dev/shm`.
    #[must_use]
    pub fn default_dir() -> PathBuf {
        if let Some(base) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from) {
            let dir = base.join("remotemedia");
            let tmpfs = statfs(&base).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC);
            if base.is_absolute() && tmpfs && dir.as_os_str().len() <= MAX_DIR {
                return dir;
            }
        }
        PathBuf::from(format!("/dev/shm/remotemedia-{}", Uid::effective()))
    }

    /// Makes the folder if it is not there (its parent must be), and checks it.
    ///
    /// # Errors
    /// Says what was found and what is needed.
    pub fn open(dir: &Path) -> Result<Self, RuntimeFault> {
        let text = dir.to_str().filter(|text| text.starts_with('/'));
        let Some(text) = text else {
            return Err(RuntimeFault::NotAbsolute(dir.into()));
        };
        let text = if text.len() > 1 { text.trim_end_matches('/') } else { text };
        if text.len() > MAX_DIR {
            let has = text.len();
            return Err(RuntimeFault::TooLong { dir: dir.into(), has, most: MAX_DIR });
        }
        let dir = PathBuf::from(text);
        let io = |what| {
            let dir = dir.clone();
            move |source| RuntimeFault::Io { what, dir, source }
        };
        match std::fs::DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => open_to_owner(&dir).map_err(io("give a mode to"))?,
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) => return Err(io("create")(e)),
        }
        let meta = std::fs::symlink_metadata(&dir).map_err(io("look at"))?;
        if !meta.is_dir() {
            return Err(RuntimeFault::NotAFolder(dir));
        }
        let own = Uid::effective().as_raw();
        if meta.uid() != own {
            return Err(RuntimeFault::Owner { dir, owner: meta.uid(), own });
        }
        let mode = meta.mode() & 0o7777;
        if mode != 0o700 {
            return Err(RuntimeFault::Mode { dir, mode });
        }
        let fs = statfs(&dir).map_err(|e| io("look at")(e.into()))?;
        if fs.filesystem_type() != TMPFS_MAGIC {
            #[allow(clippy::unnecessary_cast, reason = "its type differs between C libraries")]
            let magic = fs.filesystem_type().0 as i64;
            return Err(RuntimeFault::NotTmpfs { dir, magic });
        }
        Ok(Self { dir })
    }

    /// The folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

/// Says the mode of a folder that was just made once more: the umask, which iceoryx2 narrows for a moment whenever it binds
/// a listener's socket, may have cut it.
pub(super) fn open_to_owner(dir: &Path) -> io::Result<()> {
    std::fs::set_permissions(dir, Permissions::from_mode(0o700))
}
