//! What every request passes: `Host` and `Origin`, and the headers that every response carries.

use super::Site;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;

/// The page uses modules, styles and a worker of its own, and speaks to its own port; nothing else. Its camera stays
/// with it.
const HEADERS: [(&str, &str); 7] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; img-src 'self' data:; \
         media-src 'self' blob:; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(self), microphone=(self)"),
];

/// Refuses what is not for us with 403 and the reason.
pub(super) async fn guard(State(site): State<Arc<Site>>, request: Request, next: Next) -> Response {
    let mut response = match check(&site, &request) {
        Ok(()) => next.run(request).await,
        Err(reason) => {
            tracing::debug!(reason, "refused");
            (StatusCode::FORBIDDEN, format!("{reason}\n")).into_response()
        }
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

fn check(site: &Site, request: &Request) -> Result<(), String> {
    let host = only(request.headers(), header::HOST)?;
    let origin = only(request.headers(), header::ORIGIN)?;
    site.names.check(host, origin).map_err(|refusal| refusal.to_string())?;
    // A request line with a whole URL: its authority counts like the header.
    if let Some(authority) = request.uri().authority() {
        site.names.check(Some(authority.as_str()), None).map_err(|refusal| refusal.to_string())?;
    }
    Ok(())
}

/// A header that may come once: of two, the check and whoever reads it later might take different ones.
fn only(headers: &HeaderMap, name: HeaderName) -> Result<Option<&str>, String> {
    let mut values = headers.get_all(&name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(format!("the header {name} came more than once"));
    }
    first
        .map(HeaderValue::to_str)
        .transpose()
        .map_err(|_| format!("the header {name} is not readable text"))
}
