//! The operator's own workers: what is started, and how.

use super::fault::{Fault, Place};
use super::file;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Idle processes of one worker that may be kept (chosen).
const MAX_SPARES: usize = 16;
/// Workers that a config may describe (chosen).
pub(super) const MAX_WORKERS: usize = 64;
/// Variables of ours that a worker gets from the router, and nobody else may set.
const RESERVED: &str = "REMOTEMEDIA_";

/// A program that the router starts for the nodes that name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// Its file, absolute.
    pub command: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its environment, besides what every worker gets.
    pub env: BTreeMap<String, String>,
    /// One process serves many sessions.
    pub shared: bool,
    /// Whether it must lock itself.
    pub sandbox: bool,
    /// Whether another one is started when one dies.
    pub restart: bool,
    /// Idle processes that are kept ready; of a shared one, all of them.
    pub spares: usize,
    /// Where it was described.
    pub place: Place,
}

/// Checks one; `folder` is the config file's, from which a relative command is looked for.
pub(super) fn check(
    name: &str,
    raw: &file::Worker,
    place: Place,
    folder: &Path,
) -> Result<Worker, Fault> {
    let fault = |what: String| Fault { place: place.clone(), what };
    let good = (1..=32).contains(&name.len())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-'))
        && !matches!(name, "codec" | "pipeline" | "router" | "attached");
    if !good {
        return Err(fault(format!(
            "the worker's name {name:?}: 1 to 32 of the letters a-z, digits, `_` and `-` are allowed, and not codec, pipeline, \
             router or attached"
        )));
    }
    let command =
        find(&raw.command, folder).map_err(|why| fault(format!("workers.{name}: {why}")))?;
    let shared = match raw.isolation.as_str() {
        "session" => false,
        "shared" => true,
        other => {
            return Err(fault(format!(
                "workers.{name}: isolation = {other:?}; allowed are \"session\" (a process for each session) and \"shared\" \
                 (one for many)"
            )));
        }
    };
    if shared && raw.sandbox {
        return Err(fault(format!(
            "workers.{name}: sandbox = true contradicts isolation = \"shared\": a locked process sees one session only"
        )));
    }
    let restart = match raw.restart.as_str() {
        "always" => true,
        "never" => false,
        other => {
            return Err(fault(format!(
                "workers.{name}: restart = {other:?}; allowed are \"always\" and \"never\""
            )));
        }
    };
    if raw.spares > MAX_SPARES {
        return Err(fault(format!(
            "workers.{name}: spares = {}: 0 to {MAX_SPARES} is allowed",
            raw.spares
        )));
    }
    if let Some(key) =
        raw.env.keys().find(|key| key.starts_with(RESERVED) || key.contains(['=', '\0']))
    {
        return Err(fault(format!(
            "workers.{name}: env: {key:?} cannot be set; {RESERVED}* is the router's own"
        )));
    }
    Ok(Worker {
        command,
        args: raw.args.clone(),
        env: raw.env.clone(),
        shared,
        sandbox: raw.sandbox,
        restart,
        spares: raw.spares,
        place,
    })
}

/// A path as it stands, or from the config's folder; a bare name is looked for in `PATH`.
fn find(command: &Path, folder: &Path) -> Result<PathBuf, String> {
    let bare = command.components().count() == 1 && !command.is_absolute();
    let places: Vec<PathBuf> = if bare {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|dir| dir.join(command)).collect()
    } else {
        vec![folder.join(command)]
    };
    let found = places.iter().find(|path| path.is_file());
    let Some(found) = found else {
        let command = command.display();
        return Err(if bare {
            format!("command = \"{command}\": there is no such program in PATH")
        } else {
            format!(
                "command = \"{command}\": there is no such file; looked for {}",
                places[0].display()
            )
        });
    };
    std::path::absolute(found).map_err(|e| format!("command = {found:?}: {e}"))
}
