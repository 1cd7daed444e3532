//! The admin API's use-cases: who may do what, what is shown, and the evidence of it.
//!
//! Every request is decided by the Rego package `forge.org.admin` (phase `admin`); a vote on an
//! approval is decided by `forge.org.approve` (phase `approve`) as well. Both always bind, also in
//! shadow mode. What was decided is a durable `admin` record before the answer leaves, and before
//! a vote takes effect. A principal sees its own tenant and nothing of another.
//!
//! No HTTP in here (that is `http::admin`), and no rule about who may (that is policy).

mod approvals;
mod calls;
mod endpoint;
mod error;
mod evidence;
mod gate;
mod health;
pub mod openapi;
mod policies;
mod query;
mod servers;


use std::sync::Arc;

use bytes::Bytes;
use forge_schemas::ids::CallId;
use forge_schemas::record::ApprovalVerdict;
use serde::Serialize;

use crate::auth::Principal;
use crate::state::Gateway;

pub use endpoint::Endpoint;
pub use error::{AdminError, ProblemDocument};
pub use health::{Check, Readiness, readiness};

/// A request of somebody who is known.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names it in records and problem documents.
    pub id: CallId,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// Peer address.
    pub ip: String,
    /// What is asked for.
    pub endpoint: Endpoint,
    /// The `{id}` of the path, as it came; empty where the path has none.
    pub target: String,
    /// The query, without its question mark.
    pub query: String,
    /// The body; empty for reads.
    pub body: Bytes,
}

/// An answer that is not yet recorded.
#[derive(Debug)]
struct Answer {
    body: Bytes,
    /// Ids of what it shows, for the record.
    shown: Vec<String>,
    /// The record was written before the effect.
    recorded: bool,
}

impl Answer {
    fn of(body: &impl Serialize) -> Result<Self, AdminError> {
        let body = serde_json::to_vec(body).map_err(AdminError::Json)?;
        Ok(Self { body: Bytes::from(body), shown: Vec::new(), recorded: false })
    }
}

/// Decides, does and records; the body of the answer, as JSON.
///
/// Cancelled before it returns: a vote is counted or not, never half; a read may be without record,
/// but then nobody got its answer.
///
/// # Errors
/// Why not. It is on record, unless the journal itself is what failed.
pub async fn run(gateway: &Gateway, request: Request) -> Result<Bytes, AdminError> {
    let permit = gate::admit(gateway, request).await?;
    let answer = perform(gateway, &permit).await;
    gate::close(gateway, permit, answer).await
}

async fn perform(gateway: &Gateway, permit: &gate::Permit) -> Result<Answer, AdminError> {
    match permit.request().endpoint {
        Endpoint::ListApprovals => approvals::list(gateway, permit).await,
        Endpoint::ReadApproval => approvals::read(gateway, permit).await,
        Endpoint::Approve => Box::pin(approvals::vote(gateway, permit, ApprovalVerdict::Approve)).await,
        Endpoint::Deny => Box::pin(approvals::vote(gateway, permit, ApprovalVerdict::Deny)).await,
        Endpoint::ListCalls => calls::list(gateway, permit).await,
        Endpoint::ReadCall => calls::read(gateway, permit).await,
        Endpoint::ListServers => servers::list(gateway, permit),
        Endpoint::ListTools => servers::tools(gateway, permit),
        Endpoint::ReadEvidence => evidence::read(gateway, permit),
        Endpoint::ReadPolicies => policies::read(gateway, permit),
        Endpoint::ReadHealth => health::read(gateway, permit).await,
        Endpoint::ReadOpenapi => openapi::read(permit),
    }
}
