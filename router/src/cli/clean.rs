//! `remotemedia clean`: removes what routers left behind that ended without cleaning up.

use super::Failure;
use super::table::{json, megabytes, print};
use super::target::runtime_dir;
use crate::registry::{self, Cleaning};
use anyhow::{Context, anyhow};
use remotemedia_worker::namespace::Runtime;
use serde_json::json;
use std::path::PathBuf;

/// Remove what routers left behind that ended without cleaning up.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The runtime folder; without it, this user's
    #[arg(long, value_name = "DIR", visible_alias = "router")]
    runtime_dir: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let dir = args.runtime_dir.unwrap_or_else(runtime_dir);
    let cleaning = if dir.exists() {
        let runtime = Runtime::open(&dir).map_err(anyhow::Error::from)?;
        let cleaning = registry::clean(&runtime).context("cannot look for leftovers")?;
        // A folder in which nothing lives is a leftover itself; one that is in use cannot be removed.
        let _ = std::fs::remove_dir(runtime.dir());
        cleaning
    } else {
        Cleaning::default()
    };
    if args.json {
        json(&json!({"runtime_dir": dir, "cleaning": cleaning, "complete": cleaning.complete()}))?;
    } else {
        print(&text(&cleaning))?;
    }
    if cleaning.complete() {
        return Ok(());
    }
    let left = cleaning.namespaces.iter().flat_map(|n| n.left.iter().map(move |why| (n, why)));
    let lines: Vec<String> = left.map(|(n, why)| format!("  {}: {why}", n.root)).collect();
    Err(Failure::Failed(anyhow!("not everything could be removed:\n{}", lines.join("\n"))))
}

fn text(cleaning: &Cleaning) -> String {
    let mut lines: Vec<String> = cleaning
        .namespaces
        .iter()
        .map(|n| {
            let killed = match n.killed.len() {
                0 => String::new(),
                count => format!(", {count} workers ended"),
            };
            format!("{}: {} objects removed, {} MB{killed}", n.root, n.removed, megabytes(n.bytes))
        })
        .collect();
    lines.extend(cleaning.records.iter().map(|path| format!("{}: removed", path.display())));
    if lines.is_empty() { "nothing was left behind".into() } else { lines.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_folder_there_is_nothing_to_clean_and_none_is_made() {
        let base = tempfile::tempdir().expect("a folder");
        let dir = base.path().join("none");
        run(Args { runtime_dir: Some(dir.clone()), json: false }).expect("nothing to do");
        assert!(!dir.exists());
        assert_eq!(text(&Cleaning::default()), "nothing was left behind");
    }
}
