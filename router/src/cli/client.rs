//! A request to a router's `/api`: hyper's own client, which comes with axum; one connection, one answer.

use anyhow::{Context, bail};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::time::Duration;
use tokio::net::TcpStream;

/// A router answers within this, or it is taken for hung (chosen).
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Bytes of an answer (chosen: 1,000 sessions have about 10 MB).
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// The JSON at a path of a router.
///
/// # Errors
/// When it cannot be reached, does not answer in time, or answers something else.
pub(super) async fn get(url: &str, path: &str) -> anyhow::Result<Value> {
    let place = format!("{}{path}", url.trim_end_matches('/'));
    match tokio::time::timeout(ANSWER_WITHIN, ask(url, path)).await {
        Ok(answer) => answer.with_context(|| format!("cannot ask the router at {place}")),
        Err(_) => bail!(
            "the router at {place} did not answer within {} s; see its log, or end it and start it again",
            ANSWER_WITHIN.as_secs()
        ),
    }
}

async fn ask(url: &str, path: &str) -> anyhow::Result<Value> {
    let host = authority(url)?;
    let stream =
        TcpStream::connect(&host).await.with_context(|| format!("connecting to {host}"))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer; what goes wrong in it is told by the request.
    let driver = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, &host)
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await;
    driver.abort();
    let body = body.map_err(|error| anyhow::anyhow!("reading the answer: {error}"))?.to_bytes();
    if status != StatusCode::OK {
        let text: String = String::from_utf8_lossy(&body).trim().chars().take(300).collect();
        bail!("it answered {status}: {text}");
    }
    serde_json::from_slice(&body).context("its answer is not JSON: is this a remotemedia router?")
}

/// `host:port` of an `http://` URL.
pub(super) fn authority(url: &str) -> anyhow::Result<String> {
    let uri: hyper::Uri = url.parse().with_context(|| format!("{url:?} is not a URL"))?;
    if uri.scheme_str() != Some("http") {
        bail!("{url:?}: only http:// URLs are spoken here; a router serves no TLS itself");
    }
    let host = uri.host().with_context(|| format!("{url:?} names no host"))?;
    Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_of_a_url_is_host_and_port() {
        assert_eq!(authority("http://127.0.0.1:9000").expect("good"), "127.0.0.1:9000");
        assert_eq!(authority("http://localhost/").expect("good"), "localhost:80");
        assert_eq!(authority("http://[::1]:9000/x").expect("good"), "[::1]:9000");
        for bad in ["https://127.0.0.1:1", "127.0.0.1:9000", "/dev/shm/x", "http://", "ws://a:1"] {
            assert!(authority(bad).is_err(), "{bad}");
        }
    }
}
