//! What a manifest that came over the network may name outside itself: files below one folder, and hosts of a list.

use super::check::{At, Layers, is_host};
use super::fault::Fault;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The folder, absolute; a relative one is from the config file's folder.
pub(super) fn dir(layers: &Layers<'_>) -> Result<Option<PathBuf>, Fault> {
    let Some(dir) = &layers.source.file.media_dir else { return Ok(None) };
    let place = layers.source.place(dir);
    let at = At { value: layers.source.folder().join(dir.get_ref()), place };
    real(&at.value).map(Some).map_err(|why| {
        at.fault(format!(
            "media_dir = {:?}: {why}; a folder that is there is needed",
            dir.get_ref()
        ))
    })
}

fn real(dir: &Path) -> Result<PathBuf, String> {
    let real = std::fs::canonicalize(dir).map_err(|error| error.to_string())?;
    if real.is_dir() { Ok(real) } else { Err("it is no folder".to_owned()) }
}

/// The hosts, as manifests name them.
pub(super) fn hosts(layers: &Layers<'_>) -> Result<BTreeSet<String>, Fault> {
    let hosts = layers.file(layers.source.file.media_hosts.as_ref(), Vec::new());
    match hosts.value.iter().find(|host| !is_host(host)) {
        Some(host) => Err(hosts.fault(format!(
            "media_hosts: {host:?} is not a name; allowed are DNS names and IP addresses without scheme and port"
        ))),
        None => Ok(hosts.value.into_iter().collect()),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Given, load};

    #[test]
    fn the_folder_for_media_is_there_and_is_from_the_configs_folder() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("clips")).expect("made");
        let path = folder.path().join("remotemedia.toml");
        let of = |text: &str| {
            std::fs::write(&path, text).expect("written");
            load(&Given { config: Some(path.clone()), ..Given::default() })
        };
        let settings = of("").expect("the defaults");
        assert_eq!((settings.media_dir, settings.media_hosts.len()), (None, 0));
        let settings = of("media_dir = \"clips\"\nmedia_hosts = [\"store.example\", \"::1\"]\n");
        let settings = settings.expect("both are in order");
        let clips = folder.path().join("clips").canonicalize().expect("it is there");
        assert_eq!(settings.media_dir, Some(clips));
        assert!(settings.media_hosts.contains("store.example"));

        let said = |text: &str| of(text).expect_err(text).to_string();
        for (text, words) in [
            ("\nmedia_dir = \"films\"\n", &["remotemedia.toml:2", "films", "is needed"][..]),
            ("media_dir = \"remotemedia.toml\"\n", &["remotemedia.toml:1", "it is no folder"]),
            ("media_hosts = [\"http://x\"]\n", &["remotemedia.toml:1", "http://x", "scheme"]),
        ] {
            let said = said(text);
            assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
        }
    }
}
