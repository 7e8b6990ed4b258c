//! The file as it is written: every key optional, unknown ones refused, each value with its place.

use super::fault::{Fault, Place};
use remotemedia_manifest::shape::{Edge, Node, Route};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use toml::Spanned;

/// Bytes of a config file (chosen): one that is larger is something else.
const MAX_FILE: u64 = 1024 * 1024;

/// All keys. A missing one leaves the environment's or the built-in value.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) bind: Option<Spanned<String>>,
    pub(super) port: Option<Spanned<u16>>,
    pub(super) hosts: Option<Spanned<Vec<String>>>,
    pub(super) origins: Option<Spanned<Vec<String>>>,
    pub(super) allow_unauthenticated: Option<Spanned<bool>>,
    pub(super) runtime_dir: Option<Spanned<PathBuf>>,
    pub(super) worker_dir: Option<Spanned<PathBuf>>,
    pub(super) spares: Option<Spanned<usize>>,
    pub(super) max_sessions: Option<Spanned<usize>>,
    pub(super) max_peers: Option<Spanned<usize>>,
    pub(super) max_peers_total: Option<Spanned<usize>>,
    pub(super) session_starts_per_second: Option<Spanned<u32>>,
    pub(super) grace_seconds: Option<Spanned<f64>>,
    pub(super) suspend_after_seconds: Option<Spanned<f64>>,
    pub(super) max_video: Option<Spanned<String>>,
    pub(super) video_bitrate: Option<Spanned<u32>>,
    pub(super) audio_bitrate: Option<Spanned<u32>>,
    pub(super) codecs: Option<Spanned<Vec<String>>>,
    pub(super) default_pipeline: Option<Spanned<String>>,
    pub(super) media_dir: Option<Spanned<PathBuf>>,
    pub(super) media_hosts: Option<Spanned<Vec<String>>>,
    pub(super) log: Option<Spanned<String>>,
    pub(super) signaling_url: Option<Spanned<String>>,
    pub(super) peer_id: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) ice: Ice,
    pub(super) sandbox: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) pipelines: BTreeMap<Spanned<String>, Pipeline>,
    #[serde(default)]
    pub(super) workers: BTreeMap<Spanned<String>, Worker>,
}

/// `[workers.NAME]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worker {
    pub(super) command: PathBuf,
    #[serde(default)]
    pub(super) args: Vec<String>,
    #[serde(default)]
    pub(super) env: BTreeMap<String, String>,
    #[serde(default = "session")]
    pub(super) isolation: String,
    #[serde(default)]
    pub(super) sandbox: bool,
    #[serde(default = "always")]
    pub(super) restart: String,
    #[serde(default = "one")]
    pub(super) spares: usize,
}

fn session() -> String {
    "session".into()
}

fn always() -> String {
    "always".into()
}

fn one() -> usize {
    1
}

/// `[ice]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Ice {
    pub(super) stun_urls: Option<Spanned<Vec<String>>>,
    pub(super) turn_url: Option<Spanned<String>>,
    pub(super) udp_bind: Option<Spanned<Vec<String>>>,
}

/// `[pipelines.NAME]`: what a manifest has in its `pipeline`, and a description.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pipeline {
    #[serde(default)]
    pub(super) description: String,
    pub(super) nodes: Vec<Node>,
    pub(super) graph: Option<Vec<Edge>>,
    pub(super) routes: Option<Vec<Route>>,
}

/// A file with its text, which places are looked up in.
#[derive(Debug, Default)]
pub(super) struct Source {
    path: PathBuf,
    text: String,
    pub(super) file: File,
}

impl Source {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Fault> {
        let place = || Place::File(path.to_path_buf(), None);
        let fault = |what: String| Fault { place: place(), what };
        let size =
            std::fs::metadata(path).map_err(|e| fault(format!("cannot be read: {e}")))?.len();
        if size > MAX_FILE {
            return Err(fault(format!("has {size} bytes; a config has {MAX_FILE} at most")));
        }
        let text =
            std::fs::read_to_string(path).map_err(|e| fault(format!("cannot be read: {e}")))?;
        let mut source = Self { path: path.to_path_buf(), text, file: File::default() };
        match toml::from_str::<File>(&source.text) {
            Ok(file) => source.file = file,
            Err(error) => {
                let line = error.span().map(|span| source.line(span.start));
                let what = error.message().replace('\n', "; ");
                return Err(Fault { place: Place::File(source.path, line), what });
            }
        }
        Ok(source)
    }

    /// The folder that relative paths in it are from.
    pub(super) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// The place of a value.
    pub(super) fn place<T>(&self, value: &Spanned<T>) -> Place {
        Place::File(self.path.clone(), Some(self.line(value.span().start)))
    }

    fn line(&self, offset: usize) -> usize {
        let before = self.text.as_bytes().get(..offset).unwrap_or(self.text.as_bytes());
        before.iter().filter(|byte| **byte == b'\n').count() + 1
    }
}
