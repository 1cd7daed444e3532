//! What tests of the journal and of keys share.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use forge_evidence::note::{PublicKey, SignError, Signer};
use forge_schemas::digest::Digest;
use forge_schemas::ids::Tenant;
use forge_schemas::policy::Effect;
use forge_schemas::record::{ApprovalKind, Outcome, Record, RecordClient, Timings};
use serde_json::{Value, json};

use super::Keys;

/// A directory of its own for one test, removed at the end.
#[derive(Debug)]
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    pub(crate) fn new(name: &str) -> Self {
        let unique = format!("forge-{name}-{}", uuid::Uuid::now_v7().simple());
        let path = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

/// A tenant by its name.
pub(crate) fn tenant(name: &str) -> Tenant {
    Tenant::parse(name).unwrap()
}

/// The same signing key in every test.
pub(crate) fn keys() -> Keys {
    Keys { signer: Arc::new(TestSigner), earlier: Vec::new() }
}

#[derive(Debug)]
struct TestSigner;

impl TestSigner {
    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[9; 32]).unwrap()
    }
}

impl Signer for TestSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, SignError> {
        Ok(Self::pair().sign(message).as_ref().to_vec())
    }

    fn public(&self) -> PublicKey {
        PublicKey::Ed25519(Self::pair().public_key().as_ref().try_into().unwrap())
    }
}

fn record(value: &Value) -> Record {
    Record::parse(value.to_string().as_bytes()).unwrap()
}

/// A decision.
pub(crate) fn decision(tenant: &str, call: &str, slot: u64, effect: Effect) -> Record {
    let digest = Digest::of(b"something");
    let refusal = (effect == Effect::Deny).then_some("policy.denied");
    record(&json!({
        "at": 0, "bundle": digest, "call": call, "client": RecordClient::default(),
        "config": digest, "definition": null, "effect": effect, "evaluation": "ev_1",
        "findings": [], "forwarded": digest, "input": digest, "kind": "decision", "log": "",
        "method": "tools/call", "mode": "enforce", "principal": {"id": "alice", "issuer": "i", "kind": "user"},
        "reasons": [], "received": digest, "refusal": refusal, "revision": "r", "rules": digest,
        "seq": 0, "server": "s", "session": null, "session_prev": null, "session_seq": null,
        "slot": slot, "tenant": tenant, "tool": "echo", "v": 1}))
}

/// An outcome.
pub(crate) fn outcome(tenant: &str, call: &str, slot: u64, outcome: Outcome) -> Record {
    record(&json!({
        "approval": null, "at": 0, "call": call, "events": 0, "findings": [], "kind": "outcome",
        "log": "", "outcome": outcome, "received": null, "refusal": null, "returned": null,
        "seq": 0, "session": null, "session_prev": null, "session_seq": null, "slot": slot,
        "tenant": tenant, "timings": Timings::default(), "v": 1}))
}

/// A step of an approval.
pub(crate) fn approval(tenant: &str, call: &str, kind: ApprovalKind) -> Record {
    let digest = Digest::of(b"something");
    record(&json!({
        "approval": "ap_1", "approver": null, "arguments": digest, "at": 0, "call": call,
        "digest": digest, "expires_at": 1, "kind": kind, "log": "", "max_uses": 1, "reason": null,
        "requirements": [], "seq": 0, "session": null, "session_prev": null, "session_seq": null,
        "tenant": tenant, "v": 1, "verdict": null}))
}

/// An event.
pub(crate) fn event(tenant: &str, call: &str) -> Record {
    record(&json!({
        "actor": null, "at": 0, "call": call, "detail": {}, "kind": "list", "log": "", "seq": 0,
        "session": null, "session_prev": null, "session_seq": null, "tenant": tenant, "v": 1}))
}
