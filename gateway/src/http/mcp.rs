//! `/mcp/{server}`: Streamable HTTP for clients of both eras.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use axum::routing::any;
use bytes::{Bytes, BytesMut};
use forge_schemas::ids::ServerName;
use forge_schemas::refusal::RefusalCode;
use futures_util::stream;
use http_body_util::{BodyExt as _, Limited};
use serde_json::json;
use tokio::time::{Duration, timeout};

use crate::auth::{AuthError, Principal};
use crate::call::keep_alive;
use crate::ids;
use crate::mcp::catalog::{Transport, Verb};
use crate::mcp::front::{self, Inbound, Reply, ReplyBody, ReplyStream};
use crate::mcp::headers::{Era, SESSION_ID};
use crate::mcp::refusal::{Addressee, Refusal, render};
use crate::state::Gateway;

use super::{guard, sse, wellknown};

/// Routes of the MCP listener.
pub fn router(gateway: Arc<Gateway>) -> Router {
    Router::new()
        .route("/mcp", any(only_server))
        .route("/mcp/{server}", any(one_server))
        .route("/.well-known/oauth-protected-resource", any(wellknown::metadata))
        .route("/.well-known/oauth-protected-resource/{*path}", any(wellknown::metadata))
        .with_state(gateway)
}

async fn one_server(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    Path(server): Path<String>,
    request: Request<Body>,
) -> Response<Body> {
    match ServerName::parse(&server) {
        Ok(server) => serve(&gateway, peer, server, request).await,
        Err(_not_a_name) => plain(&gateway, RefusalCode::UpstreamServer, "", None).await,
    }
}

/// `/mcp` is the one server, as long as there is only one; presenting several as one comes later.
async fn only_server(
    State(gateway): State<Arc<Gateway>>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request<Body>,
) -> Response<Body> {
    let mut names = gateway.catalogs.keys();
    match (names.next().cloned(), names.next()) {
        (Some(server), None) => serve(&gateway, peer, server, request).await,
        _ => plain(&gateway, RefusalCode::UpstreamServer, "Name one: /mcp/{server}.", None).await,
    }
}

async fn serve(
    gateway: &Arc<Gateway>,
    peer: SocketAddr,
    server: ServerName,
    request: Request<Body>,
) -> Response<Body> {
    let snapshot = gateway.snapshot.load_full();
    let (parts, body) = request.into_parts();
    if !guard::passes(&parts.headers, &snapshot.config.listen.allowed) {
        return plain(gateway, RefusalCode::ProtocolOrigin, "", None).await;
    }
    let verb = match parts.method {
        Method::POST => Verb::Post,
        Method::GET => Verb::Get,
        Method::DELETE => Verb::Delete,
        _ => return status(StatusCode::METHOD_NOT_ALLOWED),
    };
    let principal = match authenticate(gateway, &parts.headers).await {
        Ok(principal) => principal,
        Err(fault) => return unauthenticated(gateway, &fault).await,
    };
    if verb == Verb::Post && !speaks_json(&parts.headers) {
        return plain(gateway, RefusalCode::ProtocolMedia, "", Some(&principal)).await;
    }
    let limits = &snapshot.config.limits;
    let body = match read_body(body, limits.body_bytes, Duration::from_millis(limits.body_ms)).await
    {
        Ok(body) => body,
        Err(code) => return plain(gateway, code, "", Some(&principal)).await,
    };
    let session =
        parts.headers.get(SESSION_ID).and_then(|value| value.to_str().ok()).map(str::to_owned);
    if verb != Verb::Post && session.is_none() {
        // Modern servers have neither stream nor session (405); a legacy client sends its session.
        return status(StatusCode::METHOD_NOT_ALLOWED);
    }
    let transport = Transport::Http(peer.ip().to_string());
    let inbound =
        Inbound { verb, headers: parts.headers, body, principal, server, transport, session };
    let quiet = Duration::from_millis(limits.keep_alive_ms);
    respond(front::handle(gateway, inbound).await, quiet)
}

/// The principal behind the one `Authorization` header.
///
/// # Errors
/// As [`crate::auth::Authenticator::verify`].
pub async fn authenticate(
    gateway: &Gateway,
    headers: &HeaderMap,
) -> Result<Arc<Principal>, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next().map(|value| value.to_str().unwrap_or("\0"));
    let value = if values.next().is_some() { Some("\0") } else { first };
    gateway.auth.verify(value).await
}

async fn unauthenticated(gateway: &Gateway, fault: &AuthError) -> Response<Body> {
    tracing::info!(refusal = fault.code.code(), detail = %fault.detail, "request not authenticated");
    let mut response = plain(gateway, fault.code, "", None).await;
    wellknown::challenge(gateway, fault, &mut response);
    response
}

/// A refusal of something whose body was not read or not understood.
async fn plain(
    gateway: &Gateway,
    code: RefusalCode,
    note: &str,
    principal: Option<&Principal>,
) -> Response<Body> {
    let id = ids::call();
    let detail = BTreeMap::from([("edge".to_owned(), json!("http"))]);
    let recorded = front::record_refused(gateway, &id, code, principal, detail).await;
    let refusal = Refusal::new(recorded.err().unwrap_or(code), id).note(note);
    let rendered = render(&refusal, &Addressee { id: None, tool_call: false, era: Era::Legacy });
    json_response(rendered.status, HeaderMap::new(), rendered.body)
}

fn speaks_json(headers: &HeaderMap) -> bool {
    let media = |name: HeaderName| {
        headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    };
    let content =
        media(CONTENT_TYPE).split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let accept = media(ACCEPT).to_ascii_lowercase();
    let accepts = |kind: &str| accept.contains(kind) || accept.contains("*/*");
    content == "application/json"
        && (accept.is_empty() || accepts("application/json") || accepts("text/event-stream"))
}

/// Reads a body up to its limits in bytes and time.
///
/// # Errors
/// `limit.body_bytes`, `limit.body_time`, or `protocol.invalid_json` if the client broke off.
pub async fn read_body(
    body: Body,
    bytes_max: usize,
    within: Duration,
) -> Result<Bytes, RefusalCode> {
    let read = async {
        let mut limited = Limited::new(body, bytes_max);
        let mut whole = BytesMut::new();
        let mut first = None;
        while let Some(frame) = limited.frame().await {
            let frame = frame.map_err(|fault| {
                if fault.is::<http_body_util::LengthLimitError>() {
                    RefusalCode::LimitBody
                } else {
                    RefusalCode::ProtocolJson
                }
            })?;
            let Ok(data) = frame.into_data() else { continue };
            // Most bodies are one frame: no copy then.
            match first.take() {
                None if whole.is_empty() => first = Some(data),
                None => whole.extend_from_slice(&data),
                Some(before) => {
                    whole.extend_from_slice(&before);
                    whole.extend_from_slice(&data);
                }
            }
        }
        Ok(first.unwrap_or_else(|| whole.freeze()))
    };
    timeout(within, read).await.unwrap_or(Err(RefusalCode::LimitBodyTime))
}

fn respond(reply: Reply, quiet: Duration) -> Response<Body> {
    let Reply { status: code, headers, body } = reply;
    match body {
        ReplyBody::Empty => {
            let mut response =
                status(StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY));
            response.headers_mut().extend(headers);
            response
        }
        ReplyBody::Message(bytes) => json_response(code, headers, bytes),
        ReplyBody::Stream(events) => {
            let mut response = Response::new(Body::from_stream(text_of(events, quiet)));
            *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::OK);
            let fixed = [
                (CONTENT_TYPE, "text/event-stream"),
                (CACHE_CONTROL, "no-cache, no-transform"),
                (HeaderName::from_static("x-accel-buffering"), "no"),
            ];
            response.headers_mut().extend(headers);
            for (name, value) in fixed {
                response.headers_mut().insert(name, HeaderValue::from_static(value));
            }
            response
        }
    }
}

/// Events as text, with a comment after each silence of `quiet`.
fn text_of(
    events: ReplyStream,
    quiet: Duration,
) -> impl stream::Stream<Item = Result<Bytes, Infallible>> {
    stream::unfold(events, move |mut events| async move {
        let event = match timeout(quiet, events.next()).await {
            Ok(event) => event?,
            Err(_silence) => keep_alive(),
        };
        Some((Ok(sse::encode(&event)), events))
    })
}

fn json_response(code: u16, headers: HeaderMap, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::BAD_GATEWAY);
    response.headers_mut().extend(headers);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn status(code: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = code;
    response
}
