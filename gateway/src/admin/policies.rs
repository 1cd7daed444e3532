//! The policy in force.

use forge_schemas::digest::Digest;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::BundleSource;
use crate::state::Gateway;

use super::gate::Permit;
use super::query::Query;
use super::{AdminError, Answer};

/// What decides now, by the digests that records name.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct PolicyInForce {
    /// `NAME@DIGITS`.
    revision: String,
    /// Of the bundle.
    digest: Digest,
    /// `starter` or `folder`.
    source: &'static str,
    /// `enforce`, or `shadow`: then decisions about calls are recorded and do not bind.
    mode: &'static str,
    /// Of the detector rules.
    rules: Digest,
    /// Of the configuration.
    config: Digest,
    /// Counts loads, from 1.
    generation: u64,
}

/// `GET /policies`.
pub(super) fn read(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    Query::parse(&permit.request().query, &[])?;
    let snapshot = gateway.snapshot.load();
    Answer::of(&PolicyInForce {
        revision: snapshot.policy.revision().to_owned(),
        digest: snapshot.policy.digest(),
        source: match snapshot.config.policy.bundle {
            BundleSource::Starter => "starter",
            BundleSource::Folder(_) => "folder",
        },
        mode: snapshot.config.policy.mode.as_str(),
        rules: snapshot.scanner.rules_digest(),
        config: snapshot.config_digest,
        generation: snapshot.generation,
    })
}
