//! The way to a running router for a program that it did not start: its control socket in the runtime folder.

use crate::namespace::Runtime;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// Opens the control socket of a router: of the one that `REMOTEMEDIA_CONTROL` names by its socket's path, else of the
/// only live one in the runtime folder (`REMOTEMEDIA_RUNTIME_DIR`, else this user's own).
///
/// # Errors
/// When there is none, or there are several: the error lists them.
pub fn connect() -> io::Result<UnixStream> {
    if let Some(path) = std::env::var_os("REMOTEMEDIA_CONTROL").filter(|path| !path.is_empty()) {
        return to(Path::new(&path));
    }
    let named = std::env::var_os("REMOTEMEDIA_RUNTIME_DIR").filter(|dir| !dir.is_empty());
    connect_in(&named.map_or_else(Runtime::default_dir, PathBuf::from))
}

/// As [`connect`], in this runtime folder.
///
/// # Errors
/// As there.
pub fn connect_in(dir: &Path) -> io::Result<UnixStream> {
    let mut live: Vec<(PathBuf, UnixStream)> = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| told(&e, "look for routers in", dir))?.flatten()
    {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("router-") && name.ends_with(".sock") {
            // A dead router's socket refuses.
            if let Ok(socket) = UnixStream::connect(entry.path()) {
                live.push((entry.path(), socket));
            }
        }
    }
    match (live.pop(), live.as_slice()) {
        (None, _) => {
            let what = format!(
                "no live router in {}; start one with `remotemedia serve --webrtc`, or name its control socket with \
                 REMOTEMEDIA_CONTROL",
                dir.display()
            );
            Err(io::Error::new(io::ErrorKind::NotFound, what))
        }
        (Some((_, socket)), []) => Ok(socket),
        (Some((last, _)), others) => {
            let paths = others.iter().map(|(path, _)| path).chain([&last]);
            let lines: Vec<String> = paths.map(|path| format!("  {}", path.display())).collect();
            let what = format!(
                "several routers are alive in {}; name one with REMOTEMEDIA_CONTROL:\n{}",
                dir.display(),
                lines.join("\n")
            );
            Err(io::Error::other(what))
        }
    }
}

fn to(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).map_err(|e| told(&e, "reach the router at", path))
}

fn told(error: &io::Error, what: &str, path: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("cannot {what} {}: {error}", path.display()))
}
