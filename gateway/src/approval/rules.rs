//! The rules of the service, without its I/O: what a new approval holds, who may vote, what a vote
//! changes, and whether a call may use an approval.

use forge_schemas::digest::Digest;
use forge_schemas::record::ApprovalVerdict;

use super::digest::digest;
use super::display;
use super::error::ApprovalError;
use super::model::{Approval, Approver, Facts, NewApproval, Parcel, Vote};
use super::quorum::{self, Misfit};
use super::state::{Event, State, next};
use crate::ids;

/// A new approval, not yet recorded or stored.
pub(super) fn drafted(new: &NewApproval, now: i64) -> Result<Approval, ApprovalError> {
    let mut approval = Approval {
        id: ids::approval(),
        tenant: new.tenant.clone(),
        call: new.call.clone(),
        session: new.session.clone(),
        evaluation_id: new.evaluation_id.clone(),
        subject: new.subject.clone(),
        agent: new.agent.clone(),
        server: new.server.clone(),
        tool: new.tool.clone(),
        schema_digest: new.schema_digest.clone(),
        policy_revision: new.policy_revision.clone(),
        message_digest: Digest::of(&new.parcel.message),
        arguments_digest: Digest::of(&new.parcel.arguments),
        arguments_bytes: u64::try_from(new.parcel.arguments.len()).unwrap_or(u64::MAX),
        digest: Digest::of(b""),
        terms: new.terms.clone(),
        display: display::page(new).map_err(ApprovalError::Json)?,
        state: State::Pending,
        version: 0,
        created_at: now,
        expires_at: later(now, new.terms.ttl_s),
        approved_at: None,
        execute_by: None,
        used: 0,
        node: None,
        votes: Vec::new(),
    };
    approval.digest = digest(&approval).map_err(ApprovalError::Json)?;
    Ok(approval)
}

/// The vote, if this person may cast it.
pub(super) fn cast(
    approval: &Approval,
    approver: &Approver,
    verdict: ApprovalVerdict,
    expect: &Digest,
    now: i64,
) -> Result<Vote, ApprovalError> {
    if approval.state != State::Pending {
        return Err(ApprovalError::Closed(approval.state));
    }
    let fits =
        quorum::fits(&approval.terms, &approval.subject, approver).map_err(|why| match why {
            Misfit::Requester => ApprovalError::Requester,
            Misfit::Stranger => ApprovalError::Stranger,
        })?;
    if digest(approval).map_err(ApprovalError::Json)? != approval.digest {
        return Err(ApprovalError::Altered("digest"));
    }
    if *expect != approval.digest {
        return Err(ApprovalError::Digest);
    }
    let person = approver.person();
    if approval.votes.iter().any(|vote| vote.person == person) {
        return Err(ApprovalError::Voted);
    }
    let approver = approver.principal();
    Ok(Vote { person, approver, verdict, fits, digest: *expect, reason: None, at: now })
}

/// The approval with the vote in it.
pub(super) fn counted(before: &Approval, vote: &Vote) -> Result<Approval, ApprovalError> {
    let mut after = before.clone();
    after.votes.push(vote.clone());
    let event = match vote.verdict {
        ApprovalVerdict::Deny => Event::Denied,
        ApprovalVerdict::Approve if quorum::is_met(&after.terms, &after.votes) => Event::Approved,
        ApprovalVerdict::Approve => Event::Voted,
    };
    after.state = next(before.state, event)?;
    if event == Event::Approved {
        after.approved_at = Some(vote.at);
        after.execute_by = Some(later(vote.at, before.terms.execute_within_s));
    }
    Ok(after)
}

/// Whether this call may use this approval now, time apart.
pub(super) fn check_claim(approval: &Approval, facts: &Facts<'_>) -> Result<(), ApprovalError> {
    let own = approval.subject.id == facts.subject.id
        && approval.subject.issuer == facts.subject.issuer
        && approval.agent == facts.agent;
    if !own {
        return Err(ApprovalError::Unknown);
    }
    match approval.state {
        State::Approved => {}
        State::Pending => return Err(ApprovalError::Pending),
        State::Expired => return Err(ApprovalError::Expired),
        State::Executing | State::Done | State::Failed => return Err(ApprovalError::Used),
        State::Denied | State::Cancelled | State::Unknown => {
            return Err(ApprovalError::Closed(approval.state));
        }
    }
    if approval.schema_digest != facts.schema_digest
        || approval.policy_revision != facts.policy_revision
    {
        return Err(ApprovalError::Changed);
    }
    if approval.used >= approval.terms.max_uses {
        return Err(ApprovalError::Used);
    }
    if digest(approval).map_err(ApprovalError::Json)? != approval.digest {
        return Err(ApprovalError::Altered("digest"));
    }
    let shown = approval.votes.iter().all(|vote| vote.digest == approval.digest);
    if !shown || !quorum::is_met(&approval.terms, &approval.votes) {
        return Err(ApprovalError::Altered("votes"));
    }
    Ok(())
}

/// The bytes are those that were asked for.
pub(super) fn check_parcel(approval: &Approval, parcel: &Parcel) -> Result<(), ApprovalError> {
    if Digest::of(&parcel.arguments) != approval.arguments_digest {
        return Err(ApprovalError::Altered("arguments"));
    }
    if Digest::of(&parcel.message) != approval.message_digest {
        return Err(ApprovalError::Altered("message"));
    }
    Ok(())
}

fn later(now: i64, seconds: u64) -> i64 {
    let ms = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1000);
    now.saturating_add(ms)
}
