//! The listening loop: bounded in connections and in time, because anyone may connect and say nothing.

use super::Remote;
use axum::Router;
use axum::extract::Extension;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// HTTP connections at once, signaling sockets not counted (chosen); one more is closed at once.
const CONNECTIONS: usize = 256;
/// A request's head must have come by then, on a fresh connection and on one that is kept (chosen).
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// A connection ends after this, however slowly its client reads (chosen); signaling sockets have left it by then.
const LIFETIME: Duration = Duration::from_secs(120);
/// Bytes of a request's head (chosen; browsers send about 1 KB).
const HEAD: usize = 16 * 1024;
/// Responses under way when the router stops have this long (chosen).
const DRAIN: Duration = Duration::from_millis(500);
/// A failing accept is tried again after this: out of descriptors it would fail at full speed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves until `stop` completes, then lets responses under way finish for half a second.
pub async fn serve(listener: TcpListener, app: Router, stop: impl Future<Output = ()>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    tokio::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, remote)) => {
                    let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                        tracing::debug!(%remote, "{CONNECTIONS} connections are open: refused");
                        continue;
                    };
                    let app = app.clone();
                    connections.spawn(async move {
                        connection(stream, remote, app).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_AGAIN).await;
                }
            },
        }
    }
    drop(listener);
    let finish = async { while connections.join_next().await.is_some() {} };
    let _ = tokio::time::timeout(DRAIN, finish).await;
    // What is left is a client that keeps its connection: dropping the set ends it.
}

async fn connection(stream: TcpStream, remote: SocketAddr, app: Router) {
    // Signaling messages are small and waited for.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%remote, %error, "cannot switch delay off");
    }
    let service = TowerToHyperService::new(app.layer(Extension(Remote(remote))));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .max_header_size(HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    match tokio::time::timeout(LIFETIME, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%remote, %error, "connection ended"),
        Err(_) => tracing::debug!(%remote, "connection was open for too long"),
    }
}
