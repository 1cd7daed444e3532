//! The signature of a pack: in-toto Statement v1, DSSE, Sigstore bundle v0.3 with a managed key.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use forge_schemas::digest::Digest;
use serde::{Deserialize, Serialize};

use super::{PackError, Summary, TAG_MANIFEST};
use crate::note::{PublicKey, Signer};

/// What the statement says: see `docs/reference/evidence-format.md` §5.
pub const PREDICATE_TYPE: &str = "https://forge.dev/evidence-pack/v1";
/// in-toto Statement v1.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// DSSE payload type of in-toto.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// Sigstore bundle v0.3.
pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// in-toto Statement v1 about one pack.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// The pack's summary.
    pub predicate: Summary,
    /// [`PREDICATE_TYPE`].
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The tag manifest.
    pub subject: Vec<Subject>,
}

/// A file that the statement is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// Digests in hexadecimal digits by algorithm.
    pub digest: SubjectDigest,
    /// File name.
    pub name: String,
}

/// SHA-256 in 64 lowercase hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubjectDigest {
    /// The digits.
    pub sha256: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Bundle {
    media_type: String,
    dsse_envelope: Envelope,
    verification_material: Material,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<Signature>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    sig: String,
    /// Empty: sigstore-go compares anything else with its own spelling of the key's digest.
    #[serde(default)]
    keyid: String,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Material {
    public_key: Hint,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hint {
    hint: String,
}

/// A pack's signature is not one, or not good.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum StatementError {
    /// Not a bundle of this kind.
    #[error("not a Sigstore bundle v0.3 with a DSSE envelope and a public key")]
    Form,
    /// None of the keys is meant.
    #[error("none of the given keys signed it (the bundle names the key {0})")]
    UnknownKey(String),
    /// The signature is wrong.
    #[error("the signature is wrong")]
    Forged,
    /// Not a statement about this.
    #[error("the signed statement is not one about an evidence pack")]
    Statement,
}

/// DSSE's pre-authentication encoding: what is really signed.
#[must_use]
pub fn pae(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let head = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len());
    [head.as_bytes(), payload].concat()
}

/// Signs a pack, given the digest of its tag manifest.
///
/// # Errors
/// If the key does not sign.
pub fn sign(summary: &Summary, digest: &Digest, signer: &dyn Signer) -> Result<Vec<u8>, PackError> {
    let statement = Statement {
        statement_type: STATEMENT_TYPE.to_owned(),
        predicate: summary.clone(),
        predicate_type: PREDICATE_TYPE.to_owned(),
        subject: vec![Subject {
            digest: SubjectDigest { sha256: digest.hex() },
            name: TAG_MANIFEST.to_owned(),
        }],
    };
    let payload = super::json(&statement)?;
    let signature = signer.sign(&pae(PAYLOAD_TYPE, &payload)).map_err(PackError::Sign)?;
    let hint = BASE64.encode(signer.public().fingerprint().as_bytes());
    super::json(&Bundle {
        media_type: BUNDLE_TYPE.to_owned(),
        dsse_envelope: Envelope {
            payload: BASE64.encode(payload),
            payload_type: PAYLOAD_TYPE.to_owned(),
            signatures: vec![Signature { sig: BASE64.encode(signature), keyid: String::new() }],
        },
        verification_material: Material { public_key: Hint { hint } },
    })
}

/// Reads a pack's signature and checks it with the auditor's keys.
///
/// # Errors
/// If it is not a bundle, none of the keys signed it, or it says something else.
pub fn open<'k>(
    bundle: &[u8],
    keys: impl Iterator<Item = &'k PublicKey>,
) -> Result<Statement, StatementError> {
    let bundle: Bundle =
        serde_json::from_slice(bundle).map_err(|_not_a_bundle| StatementError::Form)?;
    let Envelope { payload, payload_type, signatures } = bundle.dsse_envelope;
    let payload = BASE64.decode(payload).map_err(|_not_base64| StatementError::Form)?;
    let (BUNDLE_TYPE, PAYLOAD_TYPE, [signature]) =
        (bundle.media_type.as_str(), payload_type.as_str(), signatures.as_slice())
    else {
        return Err(StatementError::Form);
    };
    let Signature { sig, keyid } = signature;
    let signature = BASE64.decode(sig).map_err(|_not_base64| StatementError::Form)?;
    let hint = bundle.verification_material.public_key.hint;
    if !keyid.is_empty() {
        return Err(StatementError::Form);
    }
    let signed = pae(PAYLOAD_TYPE, &payload);
    let mut named = false;
    let mut good = false;
    for key in keys {
        if BASE64.encode(key.fingerprint().as_bytes()) == hint {
            named = true;
            good |= key.verifies(&signed, &signature);
        }
    }
    match (good, named) {
        (true, _) => {}
        (false, true) => return Err(StatementError::Forged),
        (false, false) => return Err(StatementError::UnknownKey(hint)),
    }
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|_other| StatementError::Statement)?;
    let fits = statement.statement_type == STATEMENT_TYPE
        && statement.predicate_type == PREDICATE_TYPE
        && statement.subject.len() == 1
        && statement.subject.iter().all(|subject| subject.name == TAG_MANIFEST);
    if fits { Ok(statement) } else { Err(StatementError::Statement) }
}
