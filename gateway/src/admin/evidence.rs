//! The tenant's log, and the public keys by which somebody else verifies it.

use forge_evidence::note::PublicKey;
use forge_schemas::digest::Digest;
use forge_schemas::ids::Tenant;
use schemars::JsonSchema;
use serde::Serialize;

use crate::state::Gateway;

use super::gate::Permit;
use super::query::Query;
use super::{AdminError, Answer};

/// What an auditor needs before there is a pack.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct Evidence {
    /// The logs that the principal may know of: its tenant's.
    logs: Vec<LogHead>,
    /// Verifies checkpoints (Ed25519).
    checkpoint_key: Key,
    /// Verifies packs (ECDSA P-256).
    pack_key: Key,
}

/// How far a log has come.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct LogHead {
    /// Whose.
    tenant: Tenant,
    /// Origin in checkpoints.
    origin: String,
    /// Durable records.
    records: u64,
    /// The checkpoint key as a verifier key line for this origin (C2SP signed-note).
    verifier_key: Option<String>,
}

/// A public key.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Key {
    /// SHA-256 of the DER form.
    fingerprint: Digest,
    /// SubjectPublicKeyInfo, PEM: save it as it is and give it to `evidence verify --key`.
    pem: String,
}

impl Key {
    fn of(key: &PublicKey) -> Self {
        Self { fingerprint: key.fingerprint(), pem: key.pem() }
    }
}

/// `GET /evidence`.
pub(super) fn read(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    Query::parse(&permit.request().query, &[])?;
    let tenant = &permit.request().principal.tenant;
    let snapshot = gateway.snapshot.load();
    let origin = format!("{tenant}.{}", snapshot.config.evidence.origin);
    let head = LogHead {
        tenant: tenant.clone(),
        records: gateway.journal.heads().get(tenant).copied().unwrap_or_default(),
        verifier_key: gateway.checkpoint_key.verifier_key(&origin),
        origin,
    };
    Answer::of(&Evidence {
        logs: vec![head],
        checkpoint_key: Key::of(&gateway.checkpoint_key),
        pack_key: Key::of(&gateway.pack_key),
    })
}
