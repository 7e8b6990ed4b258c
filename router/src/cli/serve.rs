//! `remotemedia serve`: flags to settings, then the router.

use super::Failure;
use crate::config::{self, Given};
use crate::serve;
use anyhow::Context;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// The stack below logs what every browser does as warnings; a filter that names these targets counts over this.
const QUIET: &str = "rtc=warn,rtc_ice=error,rtc_dtls=error,rtc_sctp=error,webrtc=warn";

/// Run the router. A flag counts over the environment, the environment over the config file.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Serve WebRTC: the only transport there is, and the default
    #[arg(long)]
    webrtc: bool,
    /// Where to listen; 0 picks a free port [default: 9000]
    #[arg(long)]
    port: Option<u16>,
    /// The address to listen on; other than loopback only with --allow-unauthenticated [default: 127.0.0.1]
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// A TOML file with settings; remotemedia.example.toml has them all
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The pipeline of sessions that name none: one of the config's or built-in ones, or a manifest's file
    #[arg(long, value_name = "NAME|FILE")]
    pipeline: Option<String>,
    /// Be a client of an external signaling hub (not supported yet) [env: REMOTEMEDIA_SIGNALING_URL]
    #[arg(long, value_name = "URL")]
    signaling: Option<String>,
    /// The id of this router on an external hub (not supported yet)
    #[arg(long, value_name = "ID")]
    peer_id: Option<String>,
    /// Let everyone who reaches the address use this router: needed to bind to other than loopback
    #[arg(long)]
    allow_unauthenticated: bool,
    /// Where sessions keep their sockets; on tmpfs, of this user's own [env: REMOTEMEDIA_RUNTIME_DIR]
    #[arg(long, value_name = "DIR")]
    runtime_dir: Option<PathBuf>,
    /// Where the workers' programs are [env: REMOTEMEDIA_WORKER_DIR]
    #[arg(long, value_name = "DIR")]
    worker_dir: Option<PathBuf>,
    /// STUN servers, separated by commas [env: REMOTEMEDIA_STUN_URLS]
    #[arg(long, value_name = "URLS")]
    stun_urls: Option<String>,
    /// A TURN server, turn:USER:PASS@HOST:PORT; better in the environment, where other users cannot read it
    /// [env: REMOTEMEDIA_TURN_URL]
    #[arg(long, value_name = "URL")]
    turn_url: Option<String>,
    /// What is logged: error, warn, info, debug, trace, or filters as tracing has them [default: info]
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let settings = config::load(&given(args).with_environment())
        .map_err(|fault| Failure::Wrong(fault.to_string()))?;
    let filter = EnvFilter::builder().parse_lossy(format!("{QUIET},{}", settings.log));
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).init();
    crate::allocator::share_arena();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start threads")?;
    Ok(runtime.block_on(serve::run(settings))?)
}

fn given(args: Args) -> Given {
    // There is no other transport to choose.
    let _ = args.webrtc;
    Given {
        config: args.config,
        bind: args.bind,
        port: args.port,
        pipeline: args.pipeline,
        signaling_url: args.signaling,
        peer_id: args.peer_id,
        allow_unauthenticated: args.allow_unauthenticated,
        runtime_dir: args.runtime_dir,
        worker_dir: args.worker_dir,
        stun_urls: args.stun_urls,
        turn_url: args.turn_url,
        log: args.log,
        environment: BTreeMap::new(),
    }
}
