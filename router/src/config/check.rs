//! From what was given to what is right: each value against its bounds, then against the others.

use super::fault::{Fault, Place};
use super::file::Source;
use super::{Ice, Settings, Turn, media, pipelines, workers};
use crate::workers::Lock;
use remotemedia_shm_schema::Codec;
use remotemedia_worker::namespace::Runtime;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;
use toml::Spanned;
use tracing_subscriber::EnvFilter;

/// Asked only by a router that is bound to other than loopback, and only where the settings name none.
const PUBLIC_STUN: &str = "stun:stun.l.google.com:19302";

/// An environment variable's name, and how it is read.
type Variable<T> = (&'static str, fn(&str) -> T);

/// What flags and environment give; every value counts over the file's.
#[derive(Debug, Clone, Default)]
pub struct Given {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--bind`.
    pub bind: Option<String>,
    /// `--port`.
    pub port: Option<u16>,
    /// `--pipeline`: a name, or a manifest's file.
    pub pipeline: Option<String>,
    /// `--signaling`.
    pub signaling_url: Option<String>,
    /// `--peer-id`.
    pub peer_id: Option<String>,
    /// `--allow-unauthenticated`.
    pub allow_unauthenticated: bool,
    /// `--runtime-dir`.
    pub runtime_dir: Option<PathBuf>,
    /// `--worker-dir`.
    pub worker_dir: Option<PathBuf>,
    /// `--stun-urls`, separated by commas.
    pub stun_urls: Option<String>,
    /// `--turn-url`.
    pub turn_url: Option<String>,
    /// `--log`.
    pub log: Option<String>,
    /// The environment's variables, by name; tests give their own.
    pub environment: BTreeMap<String, String>,
}

/// Variables that settings are read from.
pub(crate) const VARIABLES: [&str; 5] = [
    "REMOTEMEDIA_SIGNALING_URL",
    "REMOTEMEDIA_STUN_URLS",
    "REMOTEMEDIA_TURN_URL",
    "REMOTEMEDIA_RUNTIME_DIR",
    "REMOTEMEDIA_WORKER_DIR",
];

impl Given {
    /// Takes the process's environment along.
    #[must_use]
    pub fn with_environment(mut self) -> Self {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        self.environment =
            VARIABLES.iter().filter_map(|name| Some(((*name).to_owned(), set(name)?))).collect();
        self
    }
}

/// A value and where it came from.
#[derive(Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

impl<T> At<T> {
    pub(super) fn fault(&self, what: impl Into<String>) -> Fault {
        Fault { place: self.place.clone(), what: what.into() }
    }
}

/// The layers, to pick single values from.
pub(super) struct Layers<'a> {
    pub(super) given: &'a Given,
    pub(super) source: &'a Source,
}

impl Layers<'_> {
    /// The file's value or the built-in one.
    pub(super) fn file<T: Clone>(&self, file: Option<&Spanned<T>>, built_in: T) -> At<T> {
        match file {
            Some(value) => At { value: value.get_ref().clone(), place: self.source.place(value) },
            None => At { value: built_in, place: Place::BuiltIn },
        }
    }

    /// The flag's value, or the environment's, or the file's, if there is one.
    pub(super) fn pick<T: Clone>(
        &self,
        flag: (&'static str, Option<T>),
        environment: Option<Variable<T>>,
        file: Option<&Spanned<T>>,
    ) -> Option<At<T>> {
        if let (name, Some(value)) = flag {
            return Some(At { value, place: Place::Flag(name) });
        }
        if let Some((name, read)) = environment
            && let Some(text) = self.given.environment.get(name)
        {
            return Some(At { value: read(text), place: Place::Environment(name) });
        }
        file.map(|value| At { value: value.get_ref().clone(), place: self.source.place(value) })
    }
}

/// Reads the file if one is named, puts the layers together and checks the whole.
///
/// # Errors
/// The first thing that does not fit: where it stands, what is wrong, what is allowed.
pub fn load(given: &Given) -> Result<Settings, Fault> {
    let source = match &given.config {
        Some(path) => Source::read(path)?,
        None => Source::default(),
    };
    let layers = Layers { given, source: &source };
    let file = &source.file;

    not_yet(&layers)?;
    let (bind, hosts, origins, allow_unauthenticated) = listening(&layers)?;
    let port = layers.pick(("--port", given.port), None, file.port.as_ref());
    let (pipelines, default_pipeline) = pipelines::all(&layers)?;

    let max_peers = within(&layers.file(file.max_peers.as_ref(), 10), 1..=100, "max_peers")?;
    let total = layers.file(file.max_peers_total.as_ref(), max_peers.max(100));
    let max_peers_total = within(&total, 1..=10_000, "max_peers_total")?;
    if max_peers_total < max_peers {
        return Err(total.fault(format!(
            "max_peers_total = {max_peers_total} contradicts max_peers = {max_peers}: one session could not fill; at \
             least {max_peers} is allowed"
        )));
    }
    let codecs = codecs(&layers)?;
    if file.workers.len() > workers::MAX_WORKERS {
        let most = workers::MAX_WORKERS;
        let what = format!("{} workers; {most} are allowed", file.workers.len());
        return Err(Fault { place: Place::File(source.folder().to_path_buf(), None), what });
    }
    let mut workers = BTreeMap::new();
    for (name, raw) in &file.workers {
        let place = source.place(name);
        let worker = workers::check(name.get_ref(), raw, place, source.folder())?;
        workers.insert(name.get_ref().clone(), worker);
    }
    let log = layers
        .pick(("--log", given.log.clone()), None, file.log.as_ref())
        .unwrap_or_else(|| At { value: "info".into(), place: Place::BuiltIn });
    if let Err(error) = EnvFilter::builder().parse(&log.value) {
        let what = format!(
            "log = {:?}: {error}; allowed are `error`, `warn`, `info`, `debug`, `trace`, or filters as \
             `info,remotemedia_router=debug`",
            log.value
        );
        return Err(log.fault(what));
    }

    Ok(Settings {
        port: port.map_or(9000, |p| p.value),
        hosts,
        origins,
        allow_unauthenticated,
        runtime_dir: runtime_dir(&layers)?,
        worker_dir: worker_dir(&layers)?,
        spares: within(&layers.file(file.spares.as_ref(), 2), 0..=16, "spares")?,
        max_sessions: within(
            &layers.file(file.max_sessions.as_ref(), 16),
            1..=1000,
            "max_sessions",
        )?,
        max_peers,
        max_peers_total,
        session_starts_per_second: within(
            &layers.file(file.session_starts_per_second.as_ref(), 20),
            1..=1000,
            "session_starts_per_second",
        )?,
        grace: seconds(
            &layers.file(file.grace_seconds.as_ref(), 30.0),
            0.0..=3600.0,
            "grace_seconds",
        )?,
        suspend_after: seconds(
            &layers.file(file.suspend_after_seconds.as_ref(), 5.0),
            0.5..=60.0,
            "suspend_after_seconds",
        )?,
        max_video: size(&layers.file(file.max_video.as_ref(), "1280x720".into()))?,
        video_bitrate: within(
            &layers.file(file.video_bitrate.as_ref(), 1_500_000),
            50_000..=50_000_000,
            "video_bitrate",
        )?,
        audio_bitrate: within(
            &layers.file(file.audio_bitrate.as_ref(), 64_000),
            6_000..=510_000,
            "audio_bitrate",
        )?,
        codecs,
        ice: ice(&layers, bind)?,
        sandbox: sandbox(&layers)?,
        workers,
        pipelines,
        default_pipeline,
        media_dir: media::dir(&layers)?,
        media_hosts: media::hosts(&layers)?,
        log: log.value,
        bind,
    })
}

/// Keys of the contract that this version cannot honour: taking them silently would be worse.
fn not_yet(layers: &Layers<'_>) -> Result<(), Fault> {
    let (given, file) = (layers.given, &layers.source.file);
    let url = layers.pick(
        ("--signaling", given.signaling_url.clone()),
        Some(("REMOTEMEDIA_SIGNALING_URL", str::to_owned)),
        file.signaling_url.as_ref(),
    );
    let peer_id = layers.pick(("--peer-id", given.peer_id.clone()), None, file.peer_id.as_ref());
    if let Some(at) = url {
        return Err(at.fault(
            "being a client of an external signaling hub is not supported yet; leave it out to use the router's own hub",
        ));
    }
    if let Some(at) = peer_id {
        return Err(at.fault(
            "a peer id of the router's own is for external hubs, which are not supported yet; in its own hub it is `router`",
        ));
    }
    Ok(())
}

type Listening = (IpAddr, Vec<String>, Vec<String>, bool);

fn listening(layers: &Layers<'_>) -> Result<Listening, Fault> {
    let (given, file) = (layers.given, &layers.source.file);
    let bind = layers
        .pick(("--bind", given.bind.clone()), None, file.bind.as_ref())
        .unwrap_or_else(|| At { value: "127.0.0.1".into(), place: Place::BuiltIn });
    let address: IpAddr = match bind.value.as_str() {
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        text => parse(&bind, text, "bind", "an IP address, as 127.0.0.1 or ::1")?,
    };
    let flag = given.allow_unauthenticated.then_some(true);
    let allow =
        layers.pick(("--allow-unauthenticated", flag), None, file.allow_unauthenticated.as_ref());
    let allow = allow.is_some_and(|at| at.value);
    if !address.is_loopback() && !allow {
        return Err(bind.fault(format!(
            "bind = {address} lets everyone who reaches that address use cameras, microphones and processors here: there is \
             no authorization yet. Allowed are loopback addresses (127.0.0.1, ::1), or with \
             `allow_unauthenticated = true` (--allow-unauthenticated) any"
        )));
    }
    let hosts = layers.file(file.hosts.as_ref(), Vec::new());
    if let Some(host) = hosts.value.iter().find(|host| !is_host(host)) {
        return Err(hosts.fault(format!(
            "hosts: {host:?} is not a name; allowed are DNS names and IP addresses without scheme and port"
        )));
    }
    if address.is_unspecified() && hosts.value.is_empty() {
        return Err(bind.fault(format!(
            "bind = {address} contradicts an empty `hosts`: it is no name that a browser could use, so every request but \
             loopback's would be refused; list this machine's names and addresses in `hosts`"
        )));
    }
    let origins = layers.file(file.origins.as_ref(), Vec::new());
    for origin in &origins.value {
        let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        let good = rest.is_some_and(|rest| {
            let rest = rest.trim_end_matches('/');
            !rest.is_empty() && !rest.contains(['/', '?', '#', '@', '*', ' '])
        });
        if !good {
            return Err(origins.fault(format!(
                "origins: {origin:?} is not an origin; allowed is `scheme://host[:port]`, as https://app.example.org"
            )));
        }
    }
    Ok((address, hosts.value, origins.value, allow))
}

/// Whether this is a DNS name or an IP address, and nothing besides.
pub(super) fn is_host(text: &str) -> bool {
    let name = text.trim_start_matches('[').trim_end_matches(']');
    let letters = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    name.parse::<IpAddr>().is_ok() || ((1..=253).contains(&name.len()) && name.bytes().all(letters))
}

fn runtime_dir(layers: &Layers<'_>) -> Result<PathBuf, Fault> {
    let dir = layers.pick(
        ("--runtime-dir", layers.given.runtime_dir.clone()),
        Some(("REMOTEMEDIA_RUNTIME_DIR", |text| PathBuf::from(text))),
        layers.source.file.runtime_dir.as_ref(),
    );
    absolute(dir, "runtime_dir").map(|dir| dir.unwrap_or_else(Runtime::default_dir))
}

fn worker_dir(layers: &Layers<'_>) -> Result<Option<PathBuf>, Fault> {
    let dir = layers.pick(
        ("--worker-dir", layers.given.worker_dir.clone()),
        Some(("REMOTEMEDIA_WORKER_DIR", |text| PathBuf::from(text))),
        layers.source.file.worker_dir.as_ref(),
    );
    let Some(dir) = dir else { return Ok(None) };
    if !dir.value.is_dir() {
        return Err(dir.fault(format!(
            "worker_dir = {:?} is not a folder; it must hold remotemedia-codec-worker, remotemedia-pipeline-worker and remotemedia-steward",
            dir.value
        )));
    }
    // A flag may be relative to where the command is run; the workers are started from elsewhere.
    let real = std::fs::canonicalize(&dir.value);
    real.map(Some).map_err(|e| dir.fault(format!("worker_dir = {:?}: {e}", dir.value)))
}

fn absolute(dir: Option<At<PathBuf>>, key: &str) -> Result<Option<PathBuf>, Fault> {
    match dir {
        Some(dir) if !dir.value.is_absolute() => {
            Err(dir.fault(format!("{key} = {:?} must be an absolute path", dir.value)))
        }
        dir => Ok(dir.map(|dir| dir.value)),
    }
}

fn ice(layers: &Layers<'_>, bind: IpAddr) -> Result<Ice, Fault> {
    let (given, file) = (layers.given, &layers.source.file.ice);
    let split = |text: &str| -> Vec<String> {
        text.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
    };
    let stun = layers.pick(
        ("--stun-urls", given.stun_urls.as_deref().map(split)),
        Some(("REMOTEMEDIA_STUN_URLS", split)),
        file.stun_urls.as_ref(),
    );
    let stun_urls = match stun {
        None if bind.is_loopback() => Vec::new(),
        None => vec![PUBLIC_STUN.to_owned()],
        Some(stun) => {
            for url in &stun.value {
                let rest = url.strip_prefix("stun:").or_else(|| url.strip_prefix("stuns:"));
                if !rest.is_some_and(authority) {
                    return Err(stun.fault(format!(
                        "stun_urls: {url:?}; allowed is stun:HOST:PORT, as {PUBLIC_STUN}"
                    )));
                }
            }
            stun.value
        }
    };
    let turn = layers.pick(
        ("--turn-url", given.turn_url.clone()),
        Some(("REMOTEMEDIA_TURN_URL", str::to_owned)),
        file.turn_url.as_ref(),
    );
    let turn = turn.map(|at| turn_of(&at)).transpose()?;
    let udp = layers.file(file.udp_bind.as_ref(), Vec::new());
    let mut udp_bind = Vec::new();
    for text in &udp.value {
        let address = match text.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, 0),
            Err(_) => parse(&udp, text, "udp_bind", "IP or IP:PORT, as 192.0.2.1 or [::1]:0")?,
        };
        udp_bind.push(address);
    }
    if udp_bind.is_empty() {
        udp_bind.push(SocketAddr::new(bind, 0));
    }
    Ok(Ice { stun_urls, turn, udp_bind })
}

/// `turn:user:pass@host:port`, with `?transport=` if need be. The secret is not quoted in the error.
fn turn_of(at: &At<String>) -> Result<Turn, Fault> {
    let wrong = || at.fault("turn_url: allowed is turn:USER:PASS@HOST:PORT");
    let (scheme, rest) = at.value.split_once(':').ok_or_else(wrong)?;
    if !matches!(scheme, "turn" | "turns") {
        return Err(wrong());
    }
    // A password may hold `@` and `:`; host and user may not.
    let (credentials, host) = rest.rsplit_once('@').ok_or_else(wrong)?;
    let (username, credential) = credentials.split_once(':').ok_or_else(wrong)?;
    let plain = host.split('?').next().unwrap_or_default();
    if username.is_empty() || credential.is_empty() || !authority(plain) {
        return Err(wrong());
    }
    Ok(Turn {
        url: format!("{scheme}:{host}"),
        username: username.to_owned(),
        credential: credential.to_owned(),
    })
}

fn authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.ends_with(':') && !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    !host.is_empty()
        && !host.contains(['/', '@', ' ', '?', '#'])
        && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn codecs(layers: &Layers<'_>) -> Result<Vec<Codec>, Fault> {
    let names = ["vp8", "vp9", "h264", "opus"].map(str::to_owned).to_vec();
    let at = layers.file(layers.source.file.codecs.as_ref(), names);
    let mut codecs = Vec::new();
    for name in &at.value {
        let codec = Codec::from_str(name).map_err(|e| at.fault(format!("codecs: {e}")))?;
        if codecs.contains(&codec) {
            return Err(at.fault(format!("codecs: {codec} is named twice")));
        }
        codecs.push(codec);
    }
    if codecs.is_empty() {
        return Err(at.fault("codecs is empty: at least one of opus, vp8, vp9, h264 is needed"));
    }
    Ok(codecs)
}

fn sandbox(layers: &Layers<'_>) -> Result<Lock, Fault> {
    let at = layers.file(layers.source.file.sandbox.as_ref(), Lock::Require.name().into());
    let all = [Lock::Require, Lock::Try, Lock::Off];
    all.into_iter().find(|mode| mode.name() == at.value).ok_or_else(|| {
        at.fault(format!("sandbox = {:?}; allowed are \"require\", \"try\" and \"off\"", at.value))
    })
}

fn within<T: PartialOrd + Display + Copy>(
    at: &At<T>,
    allowed: RangeInclusive<T>,
    key: &str,
) -> Result<T, Fault> {
    if allowed.contains(&at.value) {
        return Ok(at.value);
    }
    let (from, to) = allowed.into_inner();
    Err(at.fault(format!("{key} = {}: {from} to {to} is allowed", at.value)))
}

fn seconds(at: &At<f64>, allowed: RangeInclusive<f64>, key: &str) -> Result<Duration, Fault> {
    // Within the range, a value is finite and not negative.
    within(at, allowed, key).map(Duration::from_secs_f64)
}

fn size(at: &At<String>) -> Result<(u16, u16), Fault> {
    let wrong = || {
        at.fault(format!(
            "max_video = {:?}: WIDTHxHEIGHT is allowed, from 16x16 to 4096x4096, as \"1280x720\"",
            at.value
        ))
    };
    let (width, height) = at.value.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| text.parse::<u16>().ok().filter(|side| (16..=4096).contains(side));
    side(width).zip(side(height)).ok_or_else(wrong)
}

fn parse<T: FromStr, U>(at: &At<U>, text: &str, key: &str, allowed: &str) -> Result<T, Fault> {
    text.parse().map_err(|_| at.fault(format!("{key}: {text:?}; allowed is {allowed}")))
}
