//! The admin listener: `/api/v1/…` for who has a token, `/healthz`, `/readyz` and `/metrics` for
//! everybody who can reach it (`docs/reference/admin-api.md`).
//!
//! The paths come from [`Endpoint`]; what happens behind them is `admin`. Host and Origin are
//! checked as on the MCP listener. Probes from this machine may use any Host: they say nothing
//! that a page could use.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use axum::routing::any;
use bytes::Bytes;
use forge_schemas::refusal::RefusalCode;
use serde_json::json;
use tokio::time::Duration;

use crate::admin::{self, Endpoint, readiness};
use crate::auth::{AuthError, Principal};
use crate::ids;
use crate::mcp::front;
use crate::state::Gateway;
use crate::telemetry::{CALLS_OPEN, HOLDS_OPEN, READY};

use super::guard;
use super::mcp::{authenticate, read_body};
use super::problem::{Problem, answer};
use super::wellknown::challenge;


/// Routes of the admin listener.
pub fn router(gateway: Arc<Gateway>) -> Router {
    let paths: BTreeSet<&'static str> = Endpoint::ALL.into_iter().map(Endpoint::path).collect();
    let mut router = Router::new();
    for path in paths {
        let handle = move |State(gateway): State<Arc<Gateway>>,
                           ConnectInfo(peer): ConnectInfo<SocketAddr>,
                           request: Request<Body>| async move {
            Box::pin(serve(&gateway, peer, path, request)).await
        };
        router = router.route(path, any(handle));
    }
    router
        .route("/healthz", any(healthz))
        .route("/readyz", any(readyz))
        .route("/metrics", any(metrics))
        .fallback(|| async { Problem::not_found().response() })
        .with_state(gateway)
}

async fn serve(
    gateway: &Gateway,
    peer: SocketAddr,
    path: &'static str,
    request: Request<Body>,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let snapshot = gateway.snapshot.load_full();
    if !guard::passes(&parts.headers, &snapshot.config.listen.allowed) {
        return refused(gateway, RefusalCode::ProtocolOrigin, None).await;
    }
    let offered: Vec<Endpoint> =
        Endpoint::ALL.into_iter().filter(|endpoint| endpoint.path() == path).collect();
    let fits = |endpoint: &&Endpoint| endpoint.method() == parts.method.as_str();
    let Some(endpoint) = offered.iter().find(fits).copied() else {
        let methods: Vec<&str> = offered.iter().map(|endpoint| endpoint.method()).collect();
        return method_not_allowed(&methods.join(", "));
    };
    let principal = match authenticate(gateway, &parts.headers).await {
        Ok(principal) => principal,
        Err(fault) => return unauthenticated(gateway, &fault).await,
    };
    let mut content = Bytes::new();
    if parts.method == Method::POST {
        if !is_json(&parts.headers) {
            return refused(gateway, RefusalCode::ProtocolMedia, Some(&principal)).await;
        }
        let limits = &snapshot.config.limits;
        let within = Duration::from_millis(limits.body_ms);
        match read_body(body, limits.body_bytes.min(BODY_BYTES_MAX), within).await {
            Ok(whole) => content = whole,
            Err(code) => return refused(gateway, code, Some(&principal)).await,
        }
    }
    let id = ids::call();
    let request = admin::Request {
        id: id.clone(),
        principal,
        ip: peer.ip().to_string(),
        endpoint,
        target: target(path, parts.uri.path()),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        body: content,
    };
    match admin::run(gateway, request).await {
        Ok(body) => answer(StatusCode::OK, "application/json", body),
        Err(error) => {
            tracing::info!(call.id = %id, code = error.code(), "admin request refused");
            Problem::of(&error, id).response()
        }
    }
}

/// The segment at `{id}`, as it came: ids need no escapes, so what has some is no id.
fn target(template: &str, path: &str) -> String {
    let pairs = template.split('/').zip(path.split('/'));
    let found = pairs.into_iter().find(|(name, _)| *name == "{id}");
    found.map_or("", |(_, segment)| segment).to_owned()
}

fn is_json(headers: &HeaderMap) -> bool {
    let content = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media = content.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    media.eq_ignore_ascii_case("application/json")
}

async fn unauthenticated(gateway: &Gateway, fault: &AuthError) -> Response<Body> {
    tracing::info!(refusal = fault.code.code(), detail = %fault.detail, "request not authenticated");
    let mut response = refused(gateway, fault.code, None).await;
    challenge(gateway, fault, &mut response);
    response
}

/// A request that nobody decided about; recorded as `refused`.
async fn refused(
    gateway: &Gateway,
    code: RefusalCode,
    principal: Option<&Principal>,
) -> Response<Body> {
    let id = ids::call();
    let detail = BTreeMap::from([("edge".to_owned(), json!("admin"))]);
    let recorded = front::record_refused(gateway, &id, code, principal, detail).await;
    Problem::refused(recorded.err().unwrap_or(code), id).response()
}

fn method_not_allowed(allow: &str) -> Response<Body> {
    let mut response = Problem::method_not_allowed().response();
    if let Ok(allow) = HeaderValue::from_str(allow) {
        response.headers_mut().insert(ALLOW, allow);
    }
    response
}

/// The process runs.
async fn healthz(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    if let Some(turned) = open_to(&gateway, peer, &request) {
        return turned;
    }
    answer(StatusCode::OK, "application/json", Bytes::from_static(br#"{"status":"ok"}"#))
}

/// Whether it can serve calls.
async fn readyz(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    if let Some(turned) = open_to(&gateway, peer, &request) {
        return turned;
    }
    let found = readiness(&gateway).await;
    let status = if found.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let query = request.uri().query().unwrap_or_default();
    let verbose = query.split('&').any(|pair| pair.split('=').next() == Some("verbose"));
    let body = if verbose {
        serde_json::to_vec(&found).unwrap_or_default()
    } else {
        json!({ "ready": found.ready }).to_string().into_bytes()
    };
    answer(status, "application/json", Bytes::from(body))
}

/// OpenMetrics text.
async fn metrics(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    if let Some(turned) = open_to(&gateway, peer, &request) {
        return turned;
    }
    let ready = readiness(&gateway).await.ready;
    let calls = u64::try_from(gateway.calls.len()).unwrap_or(u64::MAX);
    let mut gauges = vec![
        (CALLS_OPEN, "Calls under way", calls),
        (READY, "1 if calls can be served", u64::from(ready)),
    ];
    // A store that cannot be asked makes the gateway unready; a wrong 0 would hide it here.
    if let Ok(holds) = gateway.store.pending_approvals().await {
        gauges.push((HOLDS_OPEN, "Approvals that wait for people", holds));
    }
    let text = gateway.metrics.text(&gauges);
    answer(StatusCode::OK, OPENMETRICS, Bytes::from(text))
}

/// The refusal of a probe with a wrong method, or from elsewhere for another host.
fn open_to(gateway: &Gateway, peer: SocketAddr, request: &Request<Body>) -> Option<Response<Body>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return Some(method_not_allowed("GET, HEAD"));
    }
    let allowed = &gateway.snapshot.load().config.listen.allowed;
    let near = peer.ip().to_canonical().is_loopback();
    let passes = near || guard::passes(request.headers(), allowed);
    (!passes).then(|| Problem::refused(RefusalCode::ProtocolOrigin, ids::call()).response())
}

/// A reason of 4,096 bytes, each of them escaped, and the rest.
const BODY_BYTES_MAX: usize = 32_768;
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
