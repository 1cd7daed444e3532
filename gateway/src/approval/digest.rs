//! What an approval is bound to (contract §3), and what makes two requests the same.
//!
//! The approval digest is SHA-256 over the RFC 8785 form of one object with the members
//! `agent`, `approval`, `arguments_digest`, `expires_at`, `policy_revision`, `requirements`,
//! `schema_digest`, `server`, `subject` (`id`, `issuer`, `kind`), `tenant`, `tool`. The struct below
//! has its fields in that order and holds only strings, one integer and a list of strings, for
//! which `serde_json` writes exactly RFC 8785; a test compares with a parse and sort.
//!
//! `arguments_digest` is over the exact bytes that will be sent, not over a canonical form: two
//! numbers that RFC 8785 spells alike may be different values to a tool.

use forge_schemas::digest::Digest;
use forge_schemas::record::RecordPrincipal;
use serde::Serialize;

use super::model::{Approval, NewApproval};

/// Fields in RFC 8785 order: UTF-16 code units, here plain ASCII.
#[derive(Serialize)]
struct Bound<'a> {
    agent: &'a str,
    approval: &'a str,
    arguments_digest: String,
    expires_at: i64,
    policy_revision: &'a str,
    requirements: Vec<&'a str>,
    schema_digest: &'a str,
    server: &'a str,
    subject: Subject<'a>,
    tenant: &'a str,
    tool: &'a str,
}

#[derive(Serialize)]
struct Subject<'a> {
    id: &'a str,
    issuer: &'a str,
    kind: &'a str,
}

impl<'a> Subject<'a> {
    fn of(principal: &'a RecordPrincipal) -> Self {
        Self { id: &principal.id, issuer: &principal.issuer, kind: &principal.kind }
    }
}

/// The bytes under the approval digest.
///
/// # Errors
/// None in practice: strings and integers can always be written.
pub fn canonical(approval: &Approval) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&Bound {
        agent: &approval.agent,
        approval: approval.id.as_str(),
        arguments_digest: approval.arguments_digest.to_string(),
        expires_at: approval.expires_at,
        policy_revision: &approval.policy_revision,
        requirements: requirements(approval),
        schema_digest: &approval.schema_digest,
        server: &approval.server,
        subject: Subject::of(&approval.subject),
        tenant: approval.tenant.as_str(),
        tool: &approval.tool,
    })
}

/// The approval digest.
///
/// # Errors
/// As [`canonical`].
pub fn digest(approval: &Approval) -> Result<Digest, serde_json::Error> {
    canonical(approval).map(|bytes| Digest::of(&bytes))
}

/// The ids of the requirements, sorted, each once.
#[must_use]
pub fn requirements(approval: &Approval) -> Vec<&str> {
    let mut ids: Vec<&str> = approval.terms.required.iter().map(|item| item.id.as_str()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Two requests with the same key are the same request: same tenant, subject, agent, server, tool,
/// definition, policy revision and exact argument bytes.
///
/// # Errors
/// None in practice, as [`canonical`].
pub fn join_key(new: &NewApproval) -> Result<Digest, serde_json::Error> {
    #[derive(Serialize)]
    struct Same<'a> {
        agent: &'a str,
        arguments_digest: String,
        policy_revision: &'a str,
        schema_digest: &'a str,
        server: &'a str,
        subject: Subject<'a>,
        tenant: &'a str,
        tool: &'a str,
    }
    serde_json::to_vec(&Same {
        agent: &new.agent,
        arguments_digest: Digest::of(&new.parcel.arguments).to_string(),
        policy_revision: &new.policy_revision,
        schema_digest: &new.schema_digest,
        server: &new.server,
        subject: Subject::of(&new.subject),
        tenant: new.tenant.as_str(),
        tool: &new.tool,
    })
    .map(|bytes| Digest::of(&bytes))
}
