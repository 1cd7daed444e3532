//! Whether the gateway can do what it is there for.
//!
//! A control that cannot run makes it unready; a dead tool server does not, since its calls alone
//! fail. Nothing here says more than names and codes: it is shown without authentication.

use forge_schemas::ids::ServerName;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Duration, timeout};

use crate::state::Gateway;
use crate::upstream::Circuit;

use super::gate::Permit;
use super::query::Query;
use super::{AdminError, Answer};

/// Readiness, part by part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Readiness {
    /// Every check is.
    pub ready: bool,
    /// What was looked at.
    pub checks: Vec<Check>,
    /// Tool servers; they do not count.
    pub servers: Vec<ServerState>,
    /// Generation of the configuration in force.
    pub generation: u64,
}

/// One part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Check {
    /// `evidence`, `store`, `auth:` and an issuer, `policy`, `draining`.
    pub name: String,
    /// It works.
    pub ok: bool,
    /// Stable code of what is wrong; empty if nothing is.
    pub code: &'static str,
}

/// A tool server, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ServerState {
    /// Its name.
    pub name: ServerName,
    /// Its circuit.
    pub circuit: Circuit,
}

/// Looks at everything that a call needs. Bounded by [`STORE_WAIT`].
pub async fn readiness(gateway: &Gateway) -> Readiness {
    let check = |name: &str, code: Option<&'static str>| Check {
        name: name.to_owned(),
        ok: code.is_none(),
        code: code.unwrap_or_default(),
    };
    let evidence = gateway.journal.health().err().map(|_failed| "evidence.unavailable");
    let store = match timeout(STORE_WAIT, gateway.store.health()).await {
        Ok(Ok(())) => None,
        Ok(Err(fault)) => Some(fault.code()),
        Err(_slow) => Some("store.busy"),
    };
    let snapshot = gateway.snapshot.load();
    let policy = snapshot.policy.revision().is_empty().then_some("policy.error");
    let draining = gateway.draining.is_cancelled().then_some("limit.draining");
    let mut checks = vec![check("evidence", evidence), check("store", store)];
    for (issuer, health) in gateway.auth.health() {
        let code = health.err().map(|_why| "auth.issuer_unavailable");
        checks.push(check(&format!("auth:{issuer}"), code));
    }
    checks.extend([check("policy", policy), check("draining", draining)]);
    let servers = gateway.catalogs.keys().filter_map(|name| {
        let circuit = gateway.upstreams.server(name)?.health().circuit;
        Some(ServerState { name: name.clone(), circuit })
    });
    Readiness {
        ready: checks.iter().all(|check| check.ok),
        checks,
        servers: servers.collect(),
        generation: snapshot.generation,
    }
}

/// `GET /health`.
pub(super) async fn read(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    Query::parse(&permit.request().query, &[])?;
    Answer::of(&readiness(gateway).await)
}

/// How long the store may take to say that it can be written.
const STORE_WAIT: Duration = Duration::from_secs(2);
