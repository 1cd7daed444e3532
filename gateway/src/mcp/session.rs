//! Legacy sessions: the `Mcp-Session-Id` that clients get is sealed, not stored.
//!
//! It carries what the gateway needs to go on (the upstream's own id, the evidence session, the
//! client's name), encrypted and bound to principal and server, so it survives a restart and
//! cannot be used by anybody else (MCP 2025-11-25 transports, security best practices).

use forge_schemas::ids::{ServerName, SessionId};
use serde::{Deserialize, Serialize};

use crate::auth::Principal;
use crate::keys::SealingKey;

use super::envelope::ClientInfo;

/// What a sealed session id carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LegacySession {
    /// The tool server's own session id; empty if it gave none.
    pub upstream: String,
    /// The session as evidence counts it.
    pub evidence: SessionId,
    /// When it began, in milliseconds since 1970 UTC.
    pub opened_at: i64,
    /// Revision asked for in `initialize`.
    pub protocol: String,
    /// What the client calls itself.
    pub client: ClientInfo,
}

/// Seals the session for its principal and server; `None` if there are no random bytes.
#[must_use]
pub fn seal(
    key: &SealingKey,
    session: &LegacySession,
    principal: &Principal,
    server: &ServerName,
) -> Option<String> {
    let plain = serde_json::to_vec(session).unwrap_or_default();
    key.seal(&bound_to(principal, server), &plain).ok()
}

/// Opens a session id; `None` if it is not one of ours for this principal and server.
#[must_use]
pub fn open(
    key: &SealingKey,
    id: &str,
    principal: &Principal,
    server: &ServerName,
) -> Option<LegacySession> {
    let plain = key.open(&bound_to(principal, server), id)?;
    serde_json::from_slice(&plain).ok()
}

fn bound_to(principal: &Principal, server: &ServerName) -> Vec<u8> {
    let parts = [
        "mcp-session",
        principal.tenant.as_str(),
        &principal.issuer,
        &principal.id,
        server.as_str(),
    ];
    // A JSON array keeps the parts apart whatever characters they have.
    serde_json::to_vec(&parts).unwrap_or_default()
}
