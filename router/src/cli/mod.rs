//! The command line: one file a command.
//!
//! Exit codes: 0 done, 1 failed, 2 used wrongly. An error says what was wrong, where, and what to do. `remotemedia peer`
//! is the probe's; the program puts it beside these.

mod attach;
mod channels;
mod clean;
mod client;
mod doctor;
mod operate;
mod pipelines;
mod ps;
mod serve;
mod sessions;
mod table;
mod tap;
mod target;
mod top;

use clap::Subcommand;
use std::process::ExitCode;

/// What can be done with and to a router.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the router: page, signaling, WebRTC, and its workers
    Serve(Box<serve::Args>),
    /// Show a running router's processes and how long frames take from stage to stage
    Ps(ps::Args),
    /// Show the same every second until Ctrl-C
    Top(top::Args),
    /// Show a running router's sessions
    Sessions(sessions::Args),
    /// Show the channels of a running router's sessions
    Channels(channels::Args),
    /// Show the config's pipelines, check and draw manifests, list node types
    Pipelines(pipelines::Args),
    /// Look at a channel's frames while they pass, without holding anybody up
    Tap(tap::Args),
    /// Run a program that attaches to a running router
    Attach(attach::Args),
    /// Take an attached node, source or tap out of a session
    Detach(operate::Detach),
    /// Put what failed in a session to work again
    Restart(operate::Restart),
    /// Check that this machine can run a router
    Doctor(doctor::Args),
    /// Remove what routers left behind that ended without cleaning up
    Clean(clean::Args),
}

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It is done.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// It was used wrongly.
    Wrong = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not end well.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What was asked cannot be meant.
    #[error("{0}")]
    Wrong(String),
    /// What was asked did not succeed.
    #[error("{0:#}")]
    Failed(#[from] anyhow::Error),
}

impl Command {
    /// Does it, and tells on stderr what went wrong.
    #[must_use]
    pub fn run(self) -> Exit {
        let result = match self {
            Self::Serve(args) => serve::run(*args),
            Self::Ps(args) => waiting(async { ps::run(&args).await }),
            Self::Top(args) => waiting(top::run(args)),
            Self::Sessions(args) => waiting(sessions::run(args)),
            Self::Channels(args) => waiting(channels::run(args)),
            Self::Pipelines(args) => waiting(pipelines::run(args)),
            Self::Tap(args) => tap::run(args),
            Self::Attach(args) => attach::run(&args),
            Self::Detach(args) => operate::detach(args),
            Self::Restart(args) => operate::restart(args),
            Self::Doctor(args) => doctor::run(args),
            Self::Clean(args) => clean::run(args),
        };
        match result {
            Ok(()) => Exit::Done,
            Err(failure) => {
                eprintln!("error: {failure}");
                match failure {
                    Failure::Wrong(_) => Exit::Wrong,
                    Failure::Failed(_) => Exit::Failed,
                }
            }
        }
    }
}

/// Runs a command that speaks to a router.
fn waiting(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)?;
    runtime.block_on(command)
}
