//! Takes a namespace away, whatever its processes left, and proves by listing that nothing of it remains.

use super::config::{PREFIX_LEN, is_prefix, is_root_name};
use nix::fcntl::{Flock, FlockArg};
use remotemedia_shm_schema::control::Namespace;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Where shared-memory objects can be listed.
const SHM: &str = "/dev/shm";
/// The file in a root that tells its prefix to a later router; written before anything else is made.
pub(super) const PREFIX_FILE: &str = "prefix";
/// More than a prefix has: what is longer is none.
const PREFIX_BYTES: u64 = 64;

/// What a namespace has at the moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Objects {
    /// Shared-memory objects and files.
    pub count: usize,
    /// Memory that they really take; untouched pages do not count.
    pub bytes: u64,
}

/// What a sweep did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Swept {
    /// Objects and files that were removed.
    pub removed: usize,
    /// Memory that they took.
    pub bytes: u64,
    /// What is still there, with the reason; empty when all is well.
    pub left: Vec<String>,
}

/// Counts what a namespace has, by listing.
///
/// # Errors
/// When `/dev/shm` or the root cannot be listed; a root that is not there has nothing.
pub fn objects(namespace: &Namespace) -> io::Result<Objects> {
    let mut found = Objects::default();
    let mut add = |meta: &std::fs::Metadata| {
        found.count += 1;
        found.bytes += meta.blocks() * 512;
    };
    for entry in std::fs::read_dir(SHM)? {
        let entry = entry?;
        if of_prefix(&entry, &namespace.prefix)
            && let Ok(meta) = entry.metadata()
        {
            add(&meta);
        }
    }
    let mut folders = vec![Path::new(&namespace.root).to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(e),
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => folders.push(entry.path()),
                // Gone between listing and looking: a process of the session took it away.
                Ok(_) | Err(_) => {
                    if let Ok(meta) = entry.metadata() {
                        add(&meta);
                    }
                }
            }
        }
    }
    Ok(found)
}

/// The memory that each namespace's objects in `/dev/shm` really take, by one listing.
///
/// # Errors
/// When `/dev/shm` cannot be listed.
pub fn bytes_by_prefix() -> io::Result<BTreeMap<String, u64>> {
    let mut bytes = BTreeMap::new();
    for entry in std::fs::read_dir(SHM)?.flatten() {
        let name = entry.file_name();
        let prefix = name.to_str().and_then(|name| name.get(..PREFIX_LEN));
        if let Some(prefix) = prefix.filter(|prefix| is_prefix(prefix))
            && let Ok(meta) = entry.metadata()
        {
            *bytes.entry(prefix.to_owned()).or_default() += meta.blocks() * 512;
        }
    }
    Ok(bytes)
}

/// Removes all that has this prefix, and this root: for a router that finds what a dead one left.
///
/// The processes of that session must be gone. A prefix or root that no router of ours made is refused, in `left`.
#[must_use]
pub fn sweep_dead(prefix: &str, root: &Path) -> Swept {
    let mut swept = Swept::default();
    if !is_ours(prefix, root) {
        swept.left.push(format!("refused: {prefix:?} with {root:?} is not one of our namespaces"));
        return swept;
    }
    let namespace = Namespace { prefix: prefix.into(), root: root.to_string_lossy().into_owned() };
    let before = objects(&namespace).unwrap_or_default();
    unlink_objects(prefix);
    if let Err(e) = std::fs::remove_dir_all(root)
        && e.kind() != io::ErrorKind::NotFound
    {
        swept.left.push(format!("{}: {e}", root.display()));
    }
    match std::fs::read_dir(SHM) {
        Ok(entries) => {
            let left = entries.flatten().filter(|entry| of_prefix(entry, prefix));
            swept.left.extend(left.map(|entry| entry.path().display().to_string()));
        }
        Err(e) => swept.left.push(format!("{SHM}: {e}")),
    }
    if root.symlink_metadata().is_ok() && swept.left.is_empty() {
        swept.left.push(root.display().to_string());
    }
    let after = if swept.left.is_empty() {
        Objects::default()
    } else {
        objects(&namespace).unwrap_or_default()
    };
    swept.removed = before.count.saturating_sub(after.count);
    swept.bytes = before.bytes.saturating_sub(after.bytes);
    swept
}

/// The namespaces of a runtime folder whose router is gone.
#[must_use]
pub fn leftovers(runtime: &super::Runtime) -> Vec<Namespace> {
    let Ok(entries) = std::fs::read_dir(runtime.dir()) else { return Vec::new() };
    let mut found: Vec<_> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_root_name))
        .filter_map(|entry| abandoned(&entry.path()))
        .collect();
    found.sort_by(|a, b| a.root.cmp(&b.root));
    found
}

/// What stands at this root, if no process holds its lock.
fn abandoned(root: &Path) -> Option<Namespace> {
    let mut open = OpenOptions::new();
    open.read(true).custom_flags(nix::libc::O_NOFOLLOW);
    let file = open.open(root.join(PREFIX_FILE)).ok()?;
    let mut prefix = String::new();
    (&file).take(PREFIX_BYTES).read_to_string(&mut prefix).ok()?;
    // Shared, so that two who look at once do not take each other for its router.
    Flock::lock(file, FlockArg::LockSharedNonblock).ok()?;
    let root = root.to_string_lossy().into_owned();
    is_prefix(&prefix).then_some(Namespace { prefix, root })
}

/// Whether a router of ours made these: an empty prefix would be everybody's objects, a wrong root anybody's files.
fn is_ours(prefix: &str, root: &Path) -> bool {
    let named = root.file_name().and_then(|name| name.to_str()).is_some_and(is_root_name);
    is_prefix(prefix) && root.is_absolute() && named
}

fn unlink_objects(prefix: &str) {
    let Ok(entries) = std::fs::read_dir(SHM) else { return };
    for entry in entries.flatten().filter(|entry| of_prefix(entry, prefix)) {
        // What cannot be removed shows in the listing afterwards.
        let _ = std::fs::remove_file(entry.path());
    }
}

/// Unlinks data segments and connections of these ports of dead processes.
pub fn unlink_ports(prefix: &str, ports: &[u128]) {
    if ports.is_empty() || !is_prefix(prefix) {
        return;
    }
    let Ok(entries) = std::fs::read_dir(SHM) else { return };
    for entry in entries.flatten().filter(|entry| of_prefix(entry, prefix)) {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        // `<prefix><hash of the type>_<publisher>.data`, `…_<publisher>_<subscriber>.connection`
        let stem = name.strip_suffix(".data").or_else(|| name.strip_suffix(".connection"));
        let Some(stem) = stem.and_then(|stem| stem.get(prefix.len()..)) else { continue };
        let mut numbers = stem.split('_').filter_map(|part| part.parse::<u128>().ok());
        if numbers.any(|number| ports.contains(&number)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn of_prefix(entry: &std::fs::DirEntry, prefix: &str) -> bool {
    entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    // Only the question is asked here: a broken answer must not remove anything on the machine that tests it.
    #[test]
    fn only_what_a_router_of_ours_made_is_swept() {
        let (prefix, root) = ("m0123456789abcdef_", "/dev/shm/x/0123456789ab");
        assert!(is_ours(prefix, Path::new(root)));
        for foreign in [
            "",
            "m",
            "m_",
            "iox2_",
            "m0123456789ABCDEF_",
            "m0123456789abcdef",
            "m0123456789abcde__",
            "x0123456789abcdef_",
            "../../../dev/shm/x_",
        ] {
            assert!(!is_ours(foreign, Path::new(root)), "{foreign:?}");
        }
        for foreign in
            ["", "/", "/dev/shm", "/dev/shm/x", "0123456789ab", "/dev/shm/..", "/0123456789ag"]
        {
            assert!(!is_ours(prefix, Path::new(foreign)), "{foreign:?}");
        }
    }
}
