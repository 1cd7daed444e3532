//! What the edge says to a caller that it does not let in: status, `WWW-Authenticate`, and the
//! protected resource metadata that leads a client to the issuer.
//!
//! Implements RFC 6750 §3, RFC 9728 §2, §3 and §5.1, and MCP 2026-07-28 `basic/authorization` for
//! a resource server. The texts are those of the refusal codes; nothing of the token comes back.

use forge_schemas::refusal::RefusalCode;
use serde_json::{Value, json};

use super::uri;

/// This gateway as a protected resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    resource: String,
    metadata_url: String,
    metadata_path: String,
    authorization_servers: Vec<String>,
    scopes: Vec<String>,
}

/// The public URL cannot be a resource identifier.
#[derive(Debug, thiserror::Error)]
#[error("public_url {seen:?} has to be an http or https URL without query, fragment or user")]
pub struct ResourceError {
    seen: String,
}

impl Resource {
    /// The resource with this identifier (`listen.public_url`, for instance
    /// `https://gateway.example/mcp`), whose tokens these issuers issue. `scopes` are those that a
    /// client should ask for at first; `offline_access` is not for a resource to ask for.
    ///
    /// # Errors
    /// If the URL has a query, a fragment or a user, or is neither `http` nor `https`.
    pub fn new(
        public_url: &str,
        authorization_servers: Vec<String>,
        scopes: Vec<String>,
    ) -> Result<Self, ResourceError> {
        let wrong = || ResourceError { seen: public_url.to_owned() };
        let resource = uri::canonical(public_url).filter(|url| !url.contains('?'));
        let resource = resource.ok_or_else(wrong)?;
        let (scheme, rest) = resource.split_once("://").ok_or_else(wrong)?;
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, format!("/{path}")),
            None => (rest, String::new()),
        };
        // RFC 9728 §3: the well-known string goes "between the host component and the path".
        let metadata_path = format!("{WELL_KNOWN}{path}");
        let metadata_url = format!("{scheme}://{authority}{metadata_path}");
        let scopes = scopes.into_iter().filter(|scope| scope != "offline_access").collect();
        Ok(Self { resource, metadata_url, metadata_path, authorization_servers, scopes })
    }

    /// The resource identifier in canonical form: what `aud` has to name.
    #[must_use]
    pub fn identifier(&self) -> &str {
        &self.resource
    }

    /// Where the document is, as clients are told.
    #[must_use]
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }

    /// The document, if it is served at this path: at the root, at the path of the resource, and
    /// below for the single servers, which are part of this one resource. `None` without issuers
    /// (local mode): there is nobody to send a client to.
    #[must_use]
    pub fn document_at(&self, path: &str) -> Option<Value> {
        let below = path.strip_prefix(&self.metadata_path);
        let served = path == WELL_KNOWN
            || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        if !served || self.authorization_servers.is_empty() {
            return None;
        }
        let mut document = json!({
            "resource": self.resource,
            "authorization_servers": self.authorization_servers,
            "bearer_methods_supported": ["header"],
            "resource_name": "FORGE MCP Gateway",
        });
        if let (false, Some(map)) = (self.scopes.is_empty(), document.as_object_mut()) {
            map.insert("scopes_supported".to_owned(), json!(self.scopes));
        }
        Some(document)
    }

    /// The `WWW-Authenticate` value for a refusal, or `None` if the code is none that a credential
    /// can cure. `scopes` are all that the operation needs, for `auth.insufficient_scope`.
    #[must_use]
    pub fn challenge(&self, code: RefusalCode, scopes: &[&str]) -> Option<String> {
        let mut parameters = vec![format!("realm=\"{REALM}\"")];
        if status(code).is_none_or(|status| status == 503) {
            return None;
        }
        // RFC 6750 §3.1: without any authentication information there is no error code.
        if code != RefusalCode::AuthMissing {
            let narrow = code == RefusalCode::AuthScope;
            let error = if narrow { "insufficient_scope" } else { "invalid_token" };
            parameters.push(format!("error=\"{error}\""));
            parameters.push(format!("error_description=\"{}\"", code.sentence()));
        }
        let scopes: Vec<&str> = if code == RefusalCode::AuthScope {
            scopes.to_vec()
        } else {
            self.scopes.iter().map(String::as_str).collect()
        };
        let scopes: Vec<&str> = scopes.into_iter().filter(|scope| is_scope(scope)).collect();
        if !scopes.is_empty() {
            parameters.push(format!("scope=\"{}\"", scopes.join(" ")));
        }
        if !self.authorization_servers.is_empty() {
            parameters.push(format!("resource_metadata=\"{}\"", self.metadata_url));
        }
        Some(format!("Bearer {}", parameters.join(", ")))
    }
}

/// The HTTP status of a refused credential; `None` for codes that are not `auth.*`.
///
/// `auth.issuer_unavailable` is 503: the token may be good, so the client is to keep it.
#[must_use]
pub fn status(code: RefusalCode) -> Option<u16> {
    if code == RefusalCode::AuthScope {
        Some(403)
    } else if code == RefusalCode::AuthUnavailable {
        Some(503)
    } else {
        code.code().starts_with("auth.").then_some(401)
    }
}

/// `scope-token` of RFC 6749 §3.3.
fn is_scope(scope: &str) -> bool {
    let allowed = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    !scope.is_empty() && scope.bytes().all(allowed)
}

/// RFC 9728 §3.
const WELL_KNOWN: &str = "/.well-known/oauth-protected-resource";
const REALM: &str = "forge-gateway";
