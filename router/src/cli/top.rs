//! `remotemedia top`: `ps` every second, in place.

use super::{Failure, ps};
use crossterm::cursor::MoveTo;
use crossterm::execute;
use crossterm::terminal::{Clear, ClearType};
use std::io::{IsTerminal, stdout};
use std::time::Duration;

/// Show a running router's processes, nodes and stages every second until Ctrl-C.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    ps: ps::Args,
    /// Seconds between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

pub(super) async fn run(args: Args) -> Result<(), Failure> {
    let mut every = tokio::time::interval(Duration::from_secs(args.every));
    loop {
        tokio::select! {
            _ = every.tick() => {}
            _ = tokio::signal::ctrl_c() => return Ok(()),
        }
        // Into a file or a pipe one goes behind the other.
        if stdout().is_terminal() && !args.ps.json() {
            execute!(stdout(), Clear(ClearType::All), MoveTo(0, 0)).map_err(anyhow::Error::from)?;
        }
        ps::run(&args.ps).await?;
    }
}
