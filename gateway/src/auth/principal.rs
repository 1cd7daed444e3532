//! What authentication yields: a principal, or a refusal with a code for the client and a sentence
//! for the log.

use forge_schemas::ids::Tenant;
use forge_schemas::refusal::RefusalCode;
use serde_json::Value;

/// Who acts, as the verified credential says. Nothing else the caller sends goes in here.
#[derive(Clone, Debug, PartialEq)]
pub struct Principal {
    /// The subject: unique together with `issuer` only.
    pub id: String,
    /// Who vouches: the `iss` of the token, `local`, or `fixed`.
    pub issuer: String,
    /// `user` or `service`.
    pub kind: String,
    /// Whose data.
    pub tenant: Tenant,
    /// Roles, by the configured claim.
    pub roles: Vec<String>,
    /// Groups, by the configured claim.
    pub groups: Vec<String>,
    /// Scopes, split.
    pub scope: Vec<String>,
    /// The configured audience that matched.
    pub audience: String,
    /// Authentication context class; empty if the token has none.
    pub acr: String,
    /// Authentication methods (RFC 8176).
    pub amr: Vec<String>,
    /// OAuth client that obtained the token: `client_id`, else `azp`, else empty.
    pub agent: String,
    /// RFC 8693 §4.1 `act`: who acts on the subject's behalf.
    pub act: Option<Value>,
    /// When the credential ends, in milliseconds since 1970 UTC; `None` never.
    pub expires_at_ms: Option<i64>,
}

/// The credential was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct AuthError {
    /// What the client learns.
    pub code: RefusalCode,
    /// What the log learns: never a token, never a whole claim set.
    pub detail: String,
}

impl AuthError {
    pub(super) fn new(code: RefusalCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into() }
    }

    pub(super) fn invalid(detail: impl Into<String>) -> Self {
        Self::new(RefusalCode::AuthInvalid, detail)
    }

    pub(super) fn claims(detail: impl Into<String>) -> Self {
        Self::new(RefusalCode::AuthClaims, detail)
    }
}

/// Caller-chosen text for a log line: escaped, and at most 80 characters of it.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(80).collect();
    format!("{short:?}")
}
