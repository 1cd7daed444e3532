//! The immutable snapshot that decides a call, and the parts that outlive snapshots.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use forge_detectors::Scanner;
use forge_evidence::note::PublicKey;
use forge_policies::PolicySet;
use forge_schemas::digest::Digest;
use forge_schemas::ids::{ServerName, Tenant};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::approval::service::Approvals;
use crate::auth::Authenticator;
use crate::auth::challenge::Resource;
use crate::call::commitment::CommitmentKey;
use crate::clock::Clock;
use crate::config::Config;
use crate::control::counters::Counters;
use crate::journal::Journal;
use crate::keys::SealingKey;
use crate::mcp::catalog::ServerCatalog;
use crate::store::Store;
use crate::telemetry::Metrics;
use crate::upstream::Upstreams;

/// Config, policy and rules of one generation: a reload never changes a call in flight, and the
/// record names the exact digests that decided.
#[derive(Debug)]
pub struct Snapshot {
    /// Counts loads, from 1.
    pub generation: u64,
    /// Parsed configuration.
    pub config: Arc<Config>,
    /// Digest of the configuration file's bytes.
    pub config_digest: Digest,
    /// Policy bundle.
    pub policy: PolicySet,
    /// Detector rules.
    pub scanner: Scanner,
}

/// The running gateway.
#[derive(Debug)]
pub struct Gateway {
    /// What decides.
    pub snapshot: ArcSwap<Snapshot>,
    /// Evidence.
    pub journal: Arc<Journal>,
    /// Approvals, index.
    pub store: Arc<dyn Store>,
    /// Held calls.
    pub approvals: Approvals,
    /// Tool servers.
    pub upstreams: Upstreams,
    /// Their tools.
    pub catalogs: BTreeMap<ServerName, ServerCatalog>,
    /// Who is who.
    pub auth: Authenticator,
    /// This gateway as an OAuth protected resource.
    pub resource: Resource,
    /// Seals session ids and request states.
    pub sealing: SealingKey,
    /// Verifies checkpoints.
    pub checkpoint_key: PublicKey,
    /// Verifies packs.
    pub pack_key: PublicKey,
    /// Commits to policy inputs.
    pub commitment: CommitmentKey,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counts for policy.
    pub counters: Counters,
    /// Counts for operators.
    pub metrics: Metrics,
    /// Every call runs on it; the drain waits for it.
    pub calls: TaskTracker,
    /// The gateway shuts down: nothing new is admitted, waits end.
    pub draining: CancellationToken,
}

impl Gateway {
    /// The tenant of records that belong to nobody yet.
    #[must_use]
    pub fn own_tenant(&self) -> Tenant {
        self.snapshot.load().config.auth.default_tenant.clone()
    }
}
