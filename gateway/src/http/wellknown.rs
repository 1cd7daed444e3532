//! OAuth 2.0 protected resource metadata (RFC 9728) and the challenges that point to it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, Request, Response, StatusCode};

use crate::auth::AuthError;
use crate::state::Gateway;

/// `/.well-known/oauth-protected-resource[/mcp…]`: which issuers' tokens count here.
pub async fn metadata(
    State(gateway): State<Arc<Gateway>>,
    request: Request<Body>,
) -> Response<Body> {
    let document = gateway.resource.document_at(request.uri().path());
    let (Some(document), &Method::GET) = (document, request.method()) else {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NOT_FOUND;
        return response;
    };
    let mut response = Response::new(Body::from(document.to_string()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Adds `WWW-Authenticate` to the answer to a refused credential.
pub fn challenge(gateway: &Gateway, fault: &AuthError, response: &mut Response<Body>) {
    let challenge = gateway.resource.challenge(fault.code, &[]);
    if let Some(value) = challenge.and_then(|text| HeaderValue::from_str(&text).ok()) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
}
