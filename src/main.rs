//! `remotemedia`: the router, the commands that look at it and act on it, and the native peer.

use clap::{Parser, Subcommand};
use remotemedia_router::cli;
use std::process::ExitCode;

/// A media router that decodes, processes and encodes live audio and video in processes of their own.
#[derive(Debug, Parser)]
#[command(name = "remotemedia", version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Router(cli::Command),
    /// Call a router without a browser: send coded pictures and ticks, measure what comes back
    Peer(Box<remotemedia_probe::Args>),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Router(command) => command.run().into(),
        Command::Peer(args) => {
            match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(remotemedia_probe::run(*args)),
                Err(error) => {
                    eprintln!("error: cannot start threads: {error}");
                    ExitCode::FAILURE
                }
            }
        }
    }
}
