//! The router as a whole: started in one order, ended in the opposite one.

use crate::attach::Socket;
use crate::config::Settings;
use crate::pipeline::Pipeline;
use crate::session::life::Times;
use crate::sessions::{self, Sessions};
use crate::signaling::{self, HubHandle};
use crate::staff::{self, Offered};
use crate::web::{self, Observe, Site, metrics::Metric};
use crate::workers::{Lock, Pool};
use anyhow::{Context, anyhow, bail};
use remotemedia_manifest::Origin;
use remotemedia_peer as rtc;
use remotemedia_worker::namespace::Runtime;
use remotemedia_worker::worker::sandbox;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// Everything ends within this after a signal, or the process exits all the same (the contract's 5 s, less what exiting
/// takes).
const STOP_TIMEOUT: Duration = Duration::from_millis(4_500);
/// Descriptors that the router wants: about 44 a session of four channels, and sockets.
const DESCRIPTORS: u64 = 65_536;

/// Runs until SIGTERM or Ctrl-C; all that it started has ended when this returns.
///
/// # Errors
/// When it cannot start; nothing is left then either.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    raise_descriptors();
    // First, so that an interrupt during the start is not lost.
    let mut terminate = signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut interrupt = signal(tokio::signal::unix::SignalKind::interrupt())?;
    let runtime = Arc::new(Runtime::open(&settings.runtime_dir)?);
    let address = SocketAddr::new(settings.bind, settings.port);
    let listener =
        TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let url = format!("http://{}", listener.local_addr()?);
    check_lock(&settings)?;
    let socket = Socket::open(&runtime)?;
    let registration = crate::registry::Registration::new(&url, socket.path())?;
    let pool = staff::start(&settings)?;
    let (pipelines, offered) = match pipelines(&settings, &pool).await {
        Ok(found) => found,
        Err(error) => {
            pool.stop().await;
            return Err(error);
        }
    };
    let (hub, from_hub) = signaling::spawn(settings.hub());
    let of_sessions = of_sessions(&settings, pipelines, offered);
    let sessions =
        Sessions::start(of_sessions, Arc::clone(&runtime), pool.clone(), hub.clone(), from_hub);
    let attaching = tokio::spawn(socket.serve(sessions.clone()));
    let site = Site {
        names: settings.names(),
        hub: hub.clone(),
        observe: Arc::new(Observed { sessions: sessions.clone(), pool: pool.clone() }),
        pipelines: settings.pipelines_json(),
        info: settings.info_json(),
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(web::serve(listener, web::app(site), async {
        let _ = stopped.await;
    }));
    // The contract's first line; whoever waits for it may connect at once.
    writeln!(std::io::stdout(), "listening on {url}").context("cannot write to stdout")?;
    tracing::info!(%url, "the page is there");

    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    let ending = end(stop, sessions, hub, pool, server);
    if tokio::time::timeout(STOP_TIMEOUT, ending).await.is_err() {
        tracing::error!("not all ended within {} ms", STOP_TIMEOUT.as_millis());
    }
    // Its file goes with its task.
    attaching.abort();
    let _ = attaching.await;
    drop(registration);
    Ok(())
}

/// Workers that parse what strangers send must be able to lock themselves, unless the config says otherwise.
fn check_lock(settings: &Settings) -> anyhow::Result<()> {
    let there = sandbox::available();
    if there.landlock > 0 && there.seccomp {
        return Ok(());
    }
    let lacks = match (there.landlock, there.seccomp) {
        (0, true) => "Landlock",
        (0, false) => "Landlock and seccomp",
        _ => "seccomp",
    };
    match settings.sandbox {
        Lock::Require => bail!(
            "this kernel has no {lacks}, so workers cannot be locked; `sandbox = \"try\"` in the config starts the router all \
             the same"
        ),
        Lock::Try => tracing::warn!("this kernel has no {lacks}: workers are not wholly locked"),
        Lock::Off => {}
    }
    Ok(())
}

/// Checks every pipeline against what the workers offer, so that a fault in one is told before anybody calls.
async fn pipelines(
    settings: &Settings,
    pool: &Pool,
) -> anyhow::Result<(BTreeMap<String, Pipeline>, Offered)> {
    let offered = Offered::by(pool, settings).await?;
    let mut all = BTreeMap::new();
    for (name, pipeline) in &settings.pipelines {
        let what = || format!("{}: the pipeline `{name}` cannot be run", pipeline.place);
        let graph = offered.check(&pipeline.manifest, Origin::Operator);
        let graph = graph.map_err(|faults| anyhow!(faults.list())).with_context(what)?;
        all.insert(name.clone(), offered.pipeline(&graph).with_context(what)?);
    }
    Ok((all, offered))
}

fn of_sessions(
    settings: &Settings,
    pipelines: BTreeMap<String, Pipeline>,
    offered: Offered,
) -> sessions::Settings {
    let mut peer = rtc::Settings {
        role: rtc::Role::Answerer,
        codecs: settings.codecs.clone(),
        ice_servers: settings
            .ice_servers()
            .into_iter()
            .map(|server| rtc::IceServer {
                urls: server.urls,
                username: server.username.unwrap_or_default(),
                credential: server.credential.unwrap_or_default(),
            })
            .collect(),
        ..rtc::Settings::default()
    };
    if !settings.ice.udp_bind.is_empty() {
        peer.bind.clone_from(&settings.ice.udp_bind);
    }
    sessions::Settings {
        pipelines,
        offered: Arc::new(offered),
        default_pipeline: settings.default_pipeline.clone(),
        max_sessions: settings.max_sessions,
        max_peers: settings.max_peers,
        max_peers_total: settings.max_peers_total,
        times: Times { silence: settings.suspend_after, grace: settings.grace },
        peer,
        max_video: settings.max_video,
        video_bitrate: settings.video_bitrate,
        audio_bitrate: settings.audio_bitrate,
    }
}

async fn end(
    stop: oneshot::Sender<()>,
    sessions: Sessions,
    hub: HubHandle,
    pool: Pool,
    server: tokio::task::JoinHandle<()>,
) {
    let receipts = sessions.stop().await;
    for receipt in &receipts {
        if !receipt.left.is_empty() {
            tracing::error!(session = %receipt.session_id, left = ?receipt.left, "left behind");
        }
    }
    // After the sessions, which tell their peers through it.
    hub.stop().await;
    pool.stop().await;
    let _ = stop.send(());
    let _ = server.await;
}

fn signal(kind: tokio::signal::unix::SignalKind) -> anyhow::Result<tokio::signal::unix::Signal> {
    tokio::signal::unix::signal(kind).context("cannot listen for signals")
}

fn raise_descriptors() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else { return };
    let wanted = DESCRIPTORS.min(hard);
    if soft < wanted && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_err() {
        tracing::warn!(soft, hard, "cannot raise the number of descriptors");
    }
}

struct Observed {
    sessions: Sessions,
    pool: Pool,
}

#[async_trait::async_trait]
impl Observe for Observed {
    async fn sessions(&self) -> Value {
        self.sessions.list().await
    }

    async fn metrics(&self) -> Vec<Metric> {
        let load = self.sessions.load().await;
        let workers = self.pool.view().await;
        let count = |state: &str| workers.iter().filter(|w| w.state == state).count() as f64;
        vec![
            Metric::gauge("remotemedia_sessions", "Sessions there are", load.sessions as f64),
            Metric::gauge("remotemedia_media_peers", "Peers with media", load.peers as f64),
            Metric::counter("remotemedia_sessions_started", "Sessions begun", load.started as f64),
            Metric::counter("remotemedia_sessions_ended", "Sessions ended", load.ended as f64),
            Metric::gauge("remotemedia_workers_spare", "Idle workers", count("spare")),
            Metric::gauge("remotemedia_workers_leased", "Workers in sessions", count("leased")),
        ]
    }

    async fn full(&self) -> Option<String> {
        let load = self.sessions.load().await;
        if load.sessions >= load.max_sessions {
            return Some(format!("{} of {} sessions are in use", load.sessions, load.max_sessions));
        }
        if load.peers >= load.max_peers_total {
            return Some(format!("{} of {} peers are there", load.peers, load.max_peers_total));
        }
        None
    }
}
