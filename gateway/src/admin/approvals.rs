//! Approvals: listing, reading, deciding.

use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, Tenant};
use forge_schemas::record::ApprovalVerdict;
use forge_schemas::refusal::RefusalCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::approval::error::ApprovalError;
use crate::approval::model::{Approval, ApprovalFilter, Approver};
use crate::approval::state::State;
use crate::auth::Principal;
use crate::mcp::strict::{self, StrictError};
use crate::state::Gateway;

use super::gate::{self, Permit};
use super::query::Query;
use super::{AdminError, Answer};

/// A page of approvals, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ApprovalPage {
    /// Each with the arguments as they are shown to an approver.
    items: Vec<Approval>,
    /// What to send as `after` for the next page; `null` on the last.
    next: Option<String>,
}

/// A vote.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Ballot {
    /// The `digest` of the approval that the voter has read.
    expect: Digest,
    /// Why: shown to people, recorded as a digest. At most 4,096 bytes.
    #[serde(default)]
    reason: Option<String>,
}

/// `GET /approvals`.
pub(super) async fn list(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    let mut query = Query::parse(&permit.request().query, &["after", "limit", "state"])?;
    let limit = query.limit(PAGE_MAX)?;
    let states = State::ALL.map(State::as_str).join(", ");
    let filter = ApprovalFilter {
        state: query.get("state", &format!("one of {states}"), State::parse)?,
        before: query.get("after", "a value of next", cursor)?,
        // One more than asked for, only to know whether there is another page.
        limit: limit.saturating_add(1),
        ..ApprovalFilter::of(permit.request().principal.tenant.clone())
    };
    let mut items = gateway.approvals.list(&filter).await.map_err(AdminError::Approval)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let more = items.len() > limit;
    items.truncate(limit);
    let last = items.last().filter(|_| more);
    let next = last.map(|last| format!("{}.{}", last.created_at, last.id));
    let shown = items.iter().map(|item| item.id.to_string()).collect();
    Ok(Answer { shown, ..Answer::of(&ApprovalPage { items, next })? })
}

/// `GET /approvals/{id}`.
pub(super) async fn read(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    Query::parse(&permit.request().query, &[])?;
    Answer::of(&find(gateway, permit).await?)
}

/// `POST /approvals/{id}/approve` and `/deny`. Cancelled before it returns: the vote is counted or
/// not, never half.
pub(super) async fn vote(
    gateway: &Gateway,
    permit: &Permit,
    verdict: ApprovalVerdict,
) -> Result<Answer, AdminError> {
    let request = permit.request();
    Query::parse(&request.query, &[])?;
    let Ballot { expect, reason } = ballot(&request.body)?;
    let approval = find(gateway, permit).await?;
    let _entitled = gate::entitle(gateway, permit, &approval, &expect).await?;
    let approver = approver(&request.principal);
    let decided =
        gateway.approvals.vote(&approval.id, &approver, verdict, &expect, reason).await;
    let decided = decided.map_err(AdminError::Approval)?;
    Ok(Answer { recorded: true, ..Answer::of(&decided)? })
}

async fn find(gateway: &Gateway, permit: &Permit) -> Result<Approval, AdminError> {
    let request = permit.request();
    let tenant: &Tenant = &request.principal.tenant;
    let found = match ApprovalId::parse(&request.target) {
        Ok(id) => gateway.approvals.show(&id, tenant).await,
        Err(_not_an_id) => Err(ApprovalError::Unknown),
    };
    found.map_err(AdminError::Approval)
}

fn ballot(body: &[u8]) -> Result<Ballot, AdminError> {
    let refused = |code| AdminError::Refused { code, note: String::new() };
    strict::check(body, DEPTH_MAX).map_err(|fault| match fault {
        StrictError::Syntax => AdminError::Refused {
            code: RefusalCode::ProtocolRequest,
            note: "The body is not one valid JSON value in UTF-8.".to_owned(),
        },
        StrictError::DuplicateKey => refused(RefusalCode::ProtocolDuplicateKey),
        StrictError::Depth => refused(RefusalCode::ProtocolDepth),
    })?;
    serde_json::from_slice(body).map_err(|_shape| {
        AdminError::invalid(
            "The body has to be {\"expect\": \"sha256:…\", \"reason\": \"…\"}; reason may be \
             left out, and nothing else may be there.",
        )
    })
}

fn approver(principal: &Principal) -> Approver {
    Approver {
        id: principal.id.clone(),
        issuer: principal.issuer.clone(),
        kind: principal.kind.clone(),
        tenant: principal.tenant.clone(),
        roles: principal.roles.clone(),
        groups: principal.groups.clone(),
    }
}

/// `TIME.ID` of the last item of a page.
fn cursor(text: &str) -> Option<(i64, ApprovalId)> {
    let (at, id) = text.split_once('.')?;
    Some((at.parse().ok()?, ApprovalId::parse(id).ok()?))
}

/// Items carry up to 128 KiB each.
const PAGE_MAX: u32 = 100;
const DEPTH_MAX: usize = 4;
