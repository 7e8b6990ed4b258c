//! Files that are generated, checked in, and compared.

use std::{env, fs, path::Path};

/// Fails when the file in the tree is not this text; writes it when `REMOTEMEDIA_REGENERATE` is set.
pub(crate) fn in_step(file: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    if env::var_os("REMOTEMEDIA_REGENERATE").is_some() {
        fs::create_dir_all(path.parent().expect("a file has a folder")).expect("folder is made");
        fs::write(&path, text).expect("file is written");
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    if let Some(line) = (0..)
        .zip(text.lines())
        .find_map(|(n, line)| (kept.lines().nth(n) != Some(line)).then_some(n + 1))
    {
        panic!("{file} differs from the code at line {line}: {}", ADVICE);
    }
    assert!(kept == text, "{file} is longer than what the code makes: {ADVICE}");
}

const ADVICE: &str = "if the change is meant, raise ABI_VERSION or PROTOCOL_VERSION where others would misread it, \
     and run REMOTEMEDIA_REGENERATE=1 cargo test --release -p remotemedia-shm-schema";
