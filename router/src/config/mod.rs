//! Settings: a TOML file, the environment and flags go in, checked settings come out, once.
//!
//! A flag counts over the environment, the environment over the file, the file over what is built in. What does not fit
//! is refused with its place and what is allowed; nobody downstream sees the raw form. `remotemedia.example.toml` at the
//! root of the tree has every key with its default.

mod check;
mod fault;
mod file;
mod media;
mod pipelines;
mod workers;

pub use check::{Given, load};
pub use fault::{Fault, Place};
pub use pipelines::{Pipeline, read_manifest};
pub use workers::Worker;

use crate::signaling;
use crate::workers::Lock;
use remotemedia_shm_schema::Codec;
use remotemedia_signaling::Limits;
use remotemedia_signaling::host::Names;
use remotemedia_signaling::message::IceServer;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Signaling sockets beyond one per peer (chosen): those that have not announced, and those that are being replaced.
const SPARE_SOCKETS: usize = 64;

/// What the router runs with.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where HTTP and signaling listen.
    pub bind: IpAddr,
    /// See `bind`; 0 picks a free one.
    pub port: u16,
    /// Names of this router besides loopback and `bind`.
    pub hosts: Vec<String>,
    /// Pages from elsewhere that may use it.
    pub origins: Vec<String>,
    /// Said in as many words: anyone who reaches the port may use it.
    pub allow_unauthenticated: bool,
    /// Where sessions' namespaces and this router's record are; not yet checked to be on tmpfs.
    pub runtime_dir: PathBuf,
    /// Where the workers' programs are, if told.
    pub worker_dir: Option<PathBuf>,
    /// Idle workers of each role.
    pub spares: usize,
    /// Sessions at once.
    pub max_sessions: usize,
    /// Peers of one session.
    pub max_peers: usize,
    /// Peers in all.
    pub max_peers_total: usize,
    /// Session starts a second, of one address.
    pub session_starts_per_second: u32,
    /// How long a peer without socket and media is kept.
    pub grace: Duration,
    /// After so long without media a peer is suspended.
    pub suspend_after: Duration,
    /// Greatest picture.
    pub max_video: (u16, u16),
    /// Bits a second to begin with, and at most.
    pub video_bitrate: u32,
    /// Bits a second.
    pub audio_bitrate: u32,
    /// What may be negotiated, the most wanted first.
    pub codecs: Vec<Codec>,
    /// How paths between peers and router are found.
    pub ice: Ice,
    /// How our own workers are locked.
    pub sandbox: Lock,
    /// The operator's own workers, by name.
    pub workers: BTreeMap<String, Worker>,
    /// By name; the built-in ones are among them.
    pub pipelines: BTreeMap<String, Pipeline>,
    /// The one for sessions that name none; it is among them.
    pub default_pipeline: String,
    /// Where files are that a manifest from the network may name; absolute.
    pub media_dir: Option<PathBuf>,
    /// Hosts that such a manifest may name.
    pub media_hosts: BTreeSet<String>,
    /// What is logged, as `tracing` filters are written.
    pub log: String,
}

/// How paths between peers and router are found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ice {
    /// `stun:` URLs.
    pub stun_urls: Vec<String>,
    /// A relay.
    pub turn: Option<Turn>,
    /// Where media sockets are bound; port 0 picks free ones.
    pub udp_bind: Vec<SocketAddr>,
}

/// A TURN server with its credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct Turn {
    /// `turn:host:port`.
    pub url: String,
    /// Who we are to it.
    pub username: String,
    /// The secret.
    pub credential: String,
}

impl std::fmt::Debug for Turn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The credential stays out of logs.
        f.debug_struct("Turn").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Settings {
    /// The built-in defaults.
    ///
    /// # Errors
    /// Never: a test shows that they are in order.
    pub fn defaults() -> Result<Self, Fault> {
        load(&Given::default())
    }

    /// STUN and TURN servers, for the router's connections and for its peers.
    #[must_use]
    pub fn ice_servers(&self) -> Vec<IceServer> {
        let stun = (!self.ice.stun_urls.is_empty()).then(|| IceServer {
            urls: self.ice.stun_urls.clone(),
            username: None,
            credential: None,
        });
        let turn = self.ice.turn.as_ref().map(|turn| IceServer {
            urls: vec![turn.url.clone()],
            username: Some(turn.username.clone()),
            credential: Some(turn.credential.clone()),
        });
        stun.into_iter().chain(turn).collect()
    }

    /// What the hub goes by.
    #[must_use]
    pub fn hub(&self) -> signaling::Settings {
        let limits = Limits {
            max_peers: self.max_peers,
            max_peers_total: self.max_peers_total,
            session_starts: self.session_starts_per_second,
            ..Limits::default()
        };
        let ice_servers = self.ice_servers();
        let max_sockets = self.max_peers_total.saturating_add(SPARE_SOCKETS);
        signaling::Settings { limits, ice_servers, max_sockets }
    }

    /// Whom the port answers.
    #[must_use]
    pub fn names(&self) -> Names {
        Names::new(&[self.bind], &self.hosts, &self.origins)
    }

    /// `/api/pipelines`.
    #[must_use]
    pub fn pipelines_json(&self) -> Value {
        let list = self.pipelines.iter().map(|(name, pipeline)| {
            let default = *name == self.default_pipeline;
            json!({"name": name, "description": pipeline.description, "default": default})
        });
        json!({"default": self.default_pipeline, "pipelines": list.collect::<Vec<_>>()})
    }

    /// `/api/info`.
    #[must_use]
    pub fn info_json(&self) -> Value {
        json!({
            "name": "remotemedia",
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "runtime_dir": self.runtime_dir,
            "default_pipeline": self.default_pipeline,
            "codecs": self.codecs,
            "max_video": {"width": self.max_video.0, "height": self.max_video.1},
            "limits": {
                "max_sessions": self.max_sessions,
                "max_peers": self.max_peers,
                "max_peers_total": self.max_peers_total,
                "session_starts_per_second": self.session_starts_per_second,
            },
        })
    }
}
