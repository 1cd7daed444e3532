//! A commitment to the policy input of a call: whoever holds the tenant's input later can show
//! that it is the one that was decided on, and nobody can guess it from the record.

use std::fmt;

use aws_lc_rs::hmac;
use forge_schemas::digest::Digest;
use forge_schemas::ids::CallId;
use forge_schemas::policy::PolicyInput;

/// Key of the commitments, derived from the gateway's master secret.
pub struct CommitmentKey(hmac::Key);

impl fmt::Debug for CommitmentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CommitmentKey(…)")
    }
}

impl CommitmentKey {
    /// Wraps the derived key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// HMAC-SHA-256 over the call id, a zero byte, and the input as JSON.
    #[must_use]
    pub fn commit(&self, call: &CallId, input: &PolicyInput) -> Digest {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(call.as_str().as_bytes());
        context.update(&[0]);
        // The input is made of strings, integers and parsed JSON, all of which can be written.
        context.update(&serde_json::to_vec(input).unwrap_or_default());
        let tag = context.sign();
        let mut bytes = [0; 32];
        for (target, source) in bytes.iter_mut().zip(tag.as_ref()) {
            *target = *source;
        }
        Digest::from_bytes(bytes)
    }
}
