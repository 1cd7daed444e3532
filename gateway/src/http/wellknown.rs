//! OAuth 2.0 protected resource metadata (RFC 9728) and the challenges that point to it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};
use forge_schemas::ids::ServerName;

use crate::auth::{AuthError, challenge as auth_challenge};
use crate::state::Gateway;

/// `/.well-known/oauth-protected-resource[/mcp…]`: which issuers' tokens count here.
pub async fn metadata(State(gateway): State<Arc<Gateway>>, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().strip_prefix(WELL_KNOWN).unwrap_or_default().to_owned();
    let document = gateway.auth.resource_metadata(&resource(&gateway, &path));
    let (Some(document), Method::GET) = (document, request.method().clone()) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(Body::from(document.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// `WWW-Authenticate` for a refused request.
#[must_use]
pub fn challenge(gateway: &Gateway, fault: &AuthError, server: Option<&ServerName>) -> String {
    let path = server.map_or_else(|| "/mcp".to_owned(), |server| format!("/mcp/{server}"));
    let url = format!("{}{WELL_KNOWN}{path}", base(gateway));
    auth_challenge::www_authenticate(fault, &url)
}

fn resource(gateway: &Gateway, path: &str) -> String {
    let path = if path.is_empty() { "/mcp" } else { path };
    format!("{}{path}", base(gateway))
}

/// Scheme and authority of the public URL.
fn base(gateway: &Gateway) -> String {
    let url = gateway.snapshot.load().config.listen.public_url.clone();
    let path_at = url.find("://").and_then(|at| url.get(at.saturating_add(3)..)).and_then(|rest| rest.find('/'));
    match (url.find("://"), path_at) {
        (Some(scheme), Some(path)) => {
            url.get(..scheme.saturating_add(3).saturating_add(path)).unwrap_or(&url).to_owned()
        }
        _ => url,
    }
}

const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
