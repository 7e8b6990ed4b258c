//! The page's files, embedded from `web/`.

use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Write;

#[derive(rust_embed::RustEmbed)]
#[folder = "../web"]
struct Files;

/// Types that the page is made of. What is not among them is not served: `nosniff` would make browsers refuse it anyway.
const TYPES: [(&str, &str); 10] = [
    ("html", "text/html; charset=utf-8"),
    ("js", "text/javascript; charset=utf-8"),
    ("mjs", "text/javascript; charset=utf-8"),
    ("css", "text/css; charset=utf-8"),
    ("json", "application/json"),
    ("svg", "image/svg+xml"),
    ("png", "image/png"),
    ("ico", "image/x-icon"),
    ("woff2", "font/woff2"),
    ("txt", "text/plain; charset=utf-8"),
];

/// A file by its name, or 304 to who has it, or 404.
pub(super) fn file(name: &str, headers: &HeaderMap) -> Response {
    let extension = name.rsplit_once('.').map(|(_, extension)| extension);
    let kind = TYPES.iter().find(|(known, _)| Some(*known) == extension);
    let Some(((_, kind), file)) = kind.zip(Files::get(name)) else {
        return (StatusCode::NOT_FOUND, "there is no such page\n").into_response();
    };
    let mut tag = String::from("\"");
    for byte in file.metadata.sha256_hash().iter().take(16) {
        // Writing to a String cannot fail.
        let _ = write!(tag, "{byte:02x}");
    }
    tag.push('"');
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag.as_str());
    // Asked again each time: after an update of the router page and contract must fit.
    let caching = [(header::CACHE_CONTROL, "no-cache".to_owned()), (header::ETAG, tag)];
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, *kind)], file.data.into_owned()).into_response()
}
