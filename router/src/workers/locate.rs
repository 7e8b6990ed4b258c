//! Where the workers' programs are: the config's folder, the environment's, beside this program, above it, `PATH`.

use super::Role;
use std::path::{Path, PathBuf};

/// No worker program was found anywhere.
#[derive(Debug, thiserror::Error)]
#[error(
    "the program `{program}` was not found; looked in:\n{}\nbuild it with `cargo build --release`, or name its folder \
     with `worker_dir` in the config, `--worker-dir`, or REMOTEMEDIA_WORKER_DIR",
    places.iter().map(|p| format!("  {}", p.display())).collect::<Vec<_>>().join("\n")
)]
pub struct NotFound {
    /// Its file name.
    pub program: &'static str,
    /// Every folder that was looked into.
    pub places: Vec<PathBuf>,
}

/// The file name of a role's program.
#[must_use]
pub fn program(role: Role) -> &'static str {
    match role {
        Role::Codec => "remotemedia-codec-worker",
        Role::Pipeline => "remotemedia-pipeline-worker",
        Role::Steward => "remotemedia-steward",
        // The operator names their files.
        Role::Custom(_) | Role::Attached(_) => "",
    }
}

/// The program of a role.
///
/// # Errors
/// Lists every folder that was looked into.
pub fn find(role: Role, configured: Option<&Path>) -> Result<PathBuf, NotFound> {
    let program = program(role);
    let mut places: Vec<PathBuf> = configured.map(Path::to_path_buf).into_iter().collect();
    // A folder that was named is meant: falling through to another build would hide the mistake.
    if places.is_empty() {
        if let Ok(own) = std::env::current_exe() {
            let beside = own.parent().map(Path::to_path_buf);
            let above = beside.as_deref().and_then(Path::parent).map(Path::to_path_buf);
            places.extend(beside);
            places.extend(above);
        }
        if let Some(path) = std::env::var_os("PATH") {
            places.extend(std::env::split_paths(&path));
        }
    }
    match places.iter().map(|place| place.join(program)).find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => Err(NotFound { program, places }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_worker_is_an_error_that_lists_every_place() {
        let empty = tempfile::tempdir().expect("a folder");
        let error = find(Role::Codec, Some(empty.path())).expect_err("nothing is there");
        assert_eq!(error.places, [empty.path()]);
        assert!(error.to_string().contains(&empty.path().display().to_string()), "{error}");
    }
}
