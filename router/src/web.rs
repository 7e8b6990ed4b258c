//! The HTTP side of the port: page, health, metrics, JSON, and the way in for signaling sockets.
//!
//! | path | |
//! |---|---|
//! | `/`, `/ws` with `Upgrade: websocket` | signaling |
//! | `/` and files | the page, embedded from `web/` |
//! | `/healthz` | 200 while the process runs |
//! | `/readyz` | 200 while a session could start, else 503 with the reason |
//! | `/metrics` | OpenMetrics text |
//! | `/api/sessions`, `/api/pipelines`, `/api/info` | JSON |
//!
//! Everything passes [`guard`] first. [`server`] bounds connections and times.

mod guard;
pub mod metrics;
mod page;
pub mod server;

use crate::signaling::{self, HubHandle};
use axum::Router;
use axum::extract::ws::{WebSocketUpgrade, rejection::WebSocketUpgradeRejection};
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use metrics::Metric;
use remotemedia_signaling::host::Names;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;

pub use server::serve;

/// What the web side looks at; the router implements it.
#[async_trait::async_trait]
pub trait Observe: Send + Sync {
    /// `/api/sessions`: an object with `sessions`, `workers`, `load`, `receipts`.
    async fn sessions(&self) -> Value;
    /// More for `/metrics` than the hub's own.
    async fn metrics(&self) -> Vec<Metric>;
    /// Why no session could start now; none when one could.
    async fn full(&self) -> Option<String>;
}

/// What a site is made of.
#[derive(Clone)]
pub struct Site {
    /// Who may speak to it.
    pub names: Names,
    /// Where sockets go.
    pub hub: HubHandle,
    /// What it shows.
    pub observe: Arc<dyn Observe>,
    /// `/api/pipelines`.
    pub pipelines: Value,
    /// `/api/info`.
    pub info: Value,
}

/// The peer's address, put into every request by [`server`].
#[derive(Debug, Clone, Copy)]
pub struct Remote(pub SocketAddr);

/// All routes, behind the guard.
pub fn app(site: Site) -> Router {
    let site = Arc::new(site);
    Router::new()
        .route("/", get(root))
        .route("/ws", get(socket))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route("/api/sessions", get(sessions))
        .route("/api/pipelines", get(pipelines))
        .route("/api/info", get(info))
        .fallback(get(file))
        .layer(axum::middleware::from_fn_with_state(Arc::clone(&site), guard::guard))
        .with_state(site)
}

type Upgrade = Result<WebSocketUpgrade, WebSocketUpgradeRejection>;

async fn root(
    State(site): State<Arc<Site>>,
    remote: Option<Extension<Remote>>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    if headers.contains_key(header::UPGRADE) {
        enter(&site, remote, upgrade)
    } else {
        page::file("index.html", &headers)
    }
}

async fn socket(
    State(site): State<Arc<Site>>,
    remote: Option<Extension<Remote>>,
    headers: HeaderMap,
    upgrade: Upgrade,
) -> Response {
    if headers.contains_key(header::UPGRADE) {
        return enter(&site, remote, upgrade);
    }
    let text = "this is the signaling endpoint: connect with a WebSocket\n";
    (StatusCode::UPGRADE_REQUIRED, [(header::UPGRADE, "websocket")], text).into_response()
}

fn enter(site: &Site, remote: Option<Extension<Remote>>, upgrade: Upgrade) -> Response {
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return rejection.into_response(),
    };
    let Some(seat) = site.hub.seat() else {
        let text = "all signaling connections are in use; try again later\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text)
            .into_response();
    };
    let address = remote.map(|Extension(Remote(address))| address.ip());
    upgrade
        .max_message_size(signaling::MAX_FRAME)
        .max_frame_size(signaling::MAX_FRAME)
        .on_upgrade(move |socket| signaling::serve(socket, seat, address))
}

async fn ready(State(site): State<Arc<Site>>) -> Response {
    match site.observe.full().await {
        None => Json(json!({"ready": true})).into_response(),
        Some(reason) => {
            let body = Json(json!({"ready": false, "reason": reason}));
            (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
        }
    }
}

async fn metrics_text(State(site): State<Arc<Site>>) -> Response {
    let mut all = metrics::of_hub(site.hub.counts());
    all.extend(site.observe.metrics().await);
    match metrics::text(all) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn sessions(State(site): State<Arc<Site>>) -> Json<Value> {
    Json(site.observe.sessions().await)
}

async fn pipelines(State(site): State<Arc<Site>>) -> Json<Value> {
    Json(site.pipelines.clone())
}

async fn info(State(site): State<Arc<Site>>) -> Json<Value> {
    Json(site.info.clone())
}

async fn file(uri: Uri, headers: HeaderMap) -> Response {
    page::file(uri.path().trim_start_matches('/'), &headers)
}
