//! `remotemedia attach`: runs a program with the way to a router in its environment.

use super::Failure;
use super::target::Target;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Run a program that attaches to a running router, as one built on the worker SDK does by itself.
///
/// The program finds the router in REMOTEMEDIA_CONTROL. It ends by itself or with Ctrl-C, which detaches it.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    command: Vec<OsString>,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let path = args.target.control_path()?;
    let (program, arguments) =
        args.command.split_first().ok_or_else(|| Failure::Wrong("which program?".into()))?;
    // In this process's place: signals and the exit code are the program's own.
    let error = Command::new(program).args(arguments).env("REMOTEMEDIA_CONTROL", path).exec();
    Err(Failure::Failed(
        anyhow::Error::from(error).context(format!("cannot run {}", program.to_string_lossy())),
    ))
}
