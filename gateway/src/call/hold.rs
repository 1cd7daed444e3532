//! Waits for a person, if policy asks for one.
//!
//! The request is durable before anybody waits, so it survives the process. Older clients get a
//! held response with progress; clients of 2026-07-28 get rounds of `input_required` with a sealed
//! `requestState`, each of which waits a while (MCP 2026-07-28 `basic/patterns/mrtr`). When the
//! client's patience ends, it is told to ask again with the same arguments, and joins the same
//! request. Approval is claimed once, and the arguments that are sent come from the store.

use bytes::Bytes;
use forge_schemas::digest::Digest;
use forge_schemas::ids::ApprovalId;
use forge_schemas::policy::{ApprovalTerms, Decision, Effect};
use forge_schemas::refusal::RefusalCode;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::{Duration, Instant};
use tracing::{error, info};

use crate::approval::error::ApprovalError;
use crate::approval::model::{Approval, Facts, Finished, NewApproval, Parcel};
use crate::approval::state::State;
use crate::auth::Principal;
use crate::mcp::catalog::Call;
use crate::mcp::envelope::{Kind, Message};
use crate::mcp::headers::Era;
use crate::mcp::refusal::{Addressee, message};
use crate::state::Gateway;
use crate::upstream::SseEvent;

use super::forward::finish_approval;
use super::record::{Recorded, Trail, record_principal};
use super::{Sink, Stop, decide, input};

/// A call that may be sent: allowed, or approved and claimed.
#[derive(Debug)]
pub struct Released {
    call: Call,
    forward: Message,
    approval: Option<ApprovalId>,
}

impl Released {
    /// Hands everything to the next stage.
    pub(super) fn into_parts(self) -> (Call, Message, Option<ApprovalId>) {
        (self.call, self.forward, self.approval)
    }
}

/// What a sealed `requestState` says: which request is waited for, and how often it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldState {
    /// The approval that is waited for.
    pub approval: ApprovalId,
    /// Rounds so far.
    pub round: u32,
    /// Digest of the arguments that the state belongs to.
    pub arguments: Digest,
    /// End of validity, in milliseconds since 1970 UTC.
    pub expires_at: i64,
}

/// Lets an allowed call through; holds the others.
///
/// # Errors
/// Refused, expired, cancelled, or still pending when the client's patience ends.
pub async fn run(
    gateway: &Gateway,
    recorded: Recorded,
    sink: &Sink,
    trail: &mut Trail,
) -> Result<Released, Stop> {
    let (call, findings, forward, decision) = recorded.into_parts();
    let shadow = call.admission().snapshot.config.policy.mode == crate::config::PolicyMode::Shadow;
    let terms = match (decision.effect, &decision.approval) {
        (Effect::Allow, _) => return Ok(Released { call, forward, approval: None }),
        _ if shadow => return Ok(Released { call, forward, approval: None }),
        (Effect::RequireApproval, Some(terms)) => terms.clone(),
        (Effect::RequireApproval, None) | (Effect::Deny, _) => {
            return Err(Stop::refused(RefusalCode::PolicyError));
        }
    };
    let since = Instant::now();
    let wanted = wanted(&call, &forward, &decision, terms);
    let requested = gateway.approvals.request(wanted).await.map_err(|fault| failed(&fault))?;
    let approval = wait(gateway, &call, requested.approval, sink, since).await;
    trail.held(since);
    let approval = approval?;
    let requirements: Vec<&str> =
        approval.terms.required.iter().map(|one| one.id.as_str()).collect();
    let facts = json!({
        "id": approval.id,
        "state": "approved",
        "approved_at": approval.approved_at,
        "requirements": requirements,
    });
    decide::again(gateway, &call, &findings, &forward, facts).await?;
    let admission = call.admission();
    let schema_digest = call.tool().map(|tool| tool.digest.to_string()).unwrap_or_default();
    let facts = Facts {
        call: &admission.id,
        session: admission.session.as_ref().map(|session| &session.evidence),
        tenant: &admission.principal.tenant,
        subject: &record_principal(&admission.principal),
        agent: &admission.principal.agent,
        schema_digest: &schema_digest,
        policy_revision: &decision.revision,
    };
    let claimed =
        gateway.approvals.claim(&approval.id, &facts).await.map_err(|fault| failed(&fault))?;
    trail.approved(approval.id.clone());
    let forward = match with_stored_arguments(&call, &forward, &claimed.parcel.arguments) {
        Ok(forward) => forward,
        Err(stop) => {
            finish_approval(gateway, Some(&approval.id), Finished::Failed).await;
            return Err(stop);
        }
    };
    Ok(Released { call, forward, approval: Some(approval.id) })
}

fn wanted(
    call: &Call,
    forward: &Message,
    decision: &Decision,
    terms: ApprovalTerms,
) -> NewApproval {
    let admission = call.admission();
    let principal: &Principal = &admission.principal;
    NewApproval {
        tenant: principal.tenant.clone(),
        call: admission.id.clone(),
        session: admission.session.as_ref().map(|session| session.evidence.clone()),
        evaluation_id: decision.evaluation_id.clone(),
        subject: record_principal(principal),
        agent: principal.agent.clone(),
        server: admission.server.to_string(),
        tool: format_target(call),
        schema_digest: call.tool().map(|tool| tool.digest.to_string()).unwrap_or_default(),
        policy_revision: decision.revision.clone(),
        terms,
        parcel: Parcel {
            message: forward.body().clone(),
            arguments: approved_bytes(forward).unwrap_or_default(),
        },
        display: json!({
            "reasons": decision.reasons.iter().map(|reason| json!({ "id": reason.id, "msg": reason.msg })).collect::<Vec<_>>(),
            "method": call.method(),
        }),
    }
}

/// The tool, or the method and what it names.
fn format_target(call: &Call) -> String {
    let target = call.message().target();
    if call.method() == "tools/call" {
        target.to_owned()
    } else {
        format!("{} {target}", call.method())
    }
}

/// The exact bytes that a person approves: the arguments; of a retried or any other request all of
/// `params`, so that nothing travels beside what was shown.
fn approved_bytes(forward: &Message) -> Option<Bytes> {
    if forward.kind() == Kind::Response {
        return forward.outcome().cloned();
    }
    let facts = forward.facts();
    let plain =
        forward.method() == "tools/call" && !facts.input_responses && facts.request_state.is_none();
    if plain { facts.arguments.clone() } else { forward.params().cloned() }
}

fn with_stored_arguments(call: &Call, forward: &Message, stored: &[u8]) -> Result<Message, Stop> {
    let Some(part) = approved_bytes(forward) else { return Ok(forward.clone()) };
    let depth = call.admission().snapshot.config.limits.depth_max;
    let spliced = forward.splice(&part, stored).and_then(|body| Message::parse(body, depth).ok());
    spliced.ok_or_else(|| Stop::refused(RefusalCode::InternalError))
}

/// Waits as long as this client can be kept waiting.
async fn wait(
    gateway: &Gateway,
    call: &Call,
    approval: Approval,
    sink: &Sink,
    since: Instant,
) -> Result<Approval, Stop> {
    let admission = call.admission();
    let holds = &admission.snapshot.config.approval;
    let patience = match (admission.era, &admission.message.facts().progress_token) {
        (Era::Modern, _) => holds.leg_ms,
        (Era::Legacy, Some(_)) => holds.hold_ms,
        (Era::Legacy, None) => holds.hold_silent_ms,
    };
    let until = since.checked_add(Duration::from_millis(patience)).unwrap_or(since);
    info!(call.id = %admission.id, approval.id = %approval.id, "call held for approval");
    let mut current = approval;
    let mut beat = 0_u64;
    loop {
        match current.state {
            State::Pending => {}
            State::Approved => return Ok(current),
            State::Denied => return Err(Stop::refused(RefusalCode::ApprovalDenied)),
            State::Expired => return Err(Stop::refused(RefusalCode::ApprovalExpired)),
            State::Cancelled => return Err(Stop::refused(RefusalCode::ApprovalCancelled)),
            State::Executing | State::Done | State::Failed | State::Unknown => {
                return Err(pending(gateway, call, &current));
            }
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(out_of_patience(gateway, call, &current));
        }
        if admission.cancel.is_cancelled() {
            return Err(Stop::refused(RefusalCode::ApprovalCancelled));
        }
        let step = left.min(Duration::from_millis(holds.beat_ms));
        current = gateway
            .approvals
            .wait(&current.id, step, &admission.cancel)
            .await
            .map_err(|fault| failed(&fault))?;
        if current.state == State::Pending {
            beat = beat.saturating_add(1);
            sink.send(heartbeat(call, beat)).await;
        }
    }
}

/// Progress for clients that asked for it (strictly increasing), a comment for the others.
fn heartbeat(call: &Call, beat: u64) -> SseEvent {
    let token = call.message().facts().progress_token.as_deref();
    let data = match (call.admission().era, token) {
        (Era::Legacy, Some(token)) => Bytes::from(format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{},"progress":{beat},"message":"waiting for approval"}}}}"#,
            String::from_utf8_lossy(token),
        )),
        _ => return super::keep_alive(),
    };
    SseEvent { data, ..SseEvent::default() }
}

fn out_of_patience(gateway: &Gateway, call: &Call, approval: &Approval) -> Stop {
    let admission = call.admission();
    let round = admission.round.saturating_add(1);
    let mut stop = pending(gateway, call, approval);
    let rounds = admission.snapshot.config.approval.rounds_max;
    if admission.era == Era::Modern && round < rounds && call.method() == "tools/call" {
        let state = HoldState {
            approval: approval.id.clone(),
            round,
            arguments: Digest::of(input::argument_bytes(call.message()).unwrap_or_default()),
            expires_at: approval.expires_at,
        };
        let plain = serde_json::to_vec(&state).unwrap_or_default();
        let sealed = gateway.sealing.seal(&state_bound_to(&admission.principal, call), &plain);
        stop.ask_again = sealed.ok().map(|sealed| format!("{STATE_PREFIX}{sealed}"));
    }
    stop
}

/// What a sealed state is bound to: principal, server and tool.
fn state_bound_to(principal: &Principal, call: &Call) -> Vec<u8> {
    bound_to(principal, call.admission().server.as_str(), call.message().target())
}

/// See [`state_bound_to`]; the front opens states before there is a call.
#[must_use]
pub fn bound_to(principal: &Principal, server: &str, target: &str) -> Vec<u8> {
    serde_json::to_vec(&["request-state", &input::principal_key(principal), server, target])
        .unwrap_or_default()
}

fn pending(gateway: &Gateway, call: &Call, approval: &Approval) -> Stop {
    let until = input::time(approval.expires_at).rfc3339;
    let left_ms = approval.expires_at.saturating_sub(gateway.clock.now_ms()).max(0);
    let retry = call.admission().snapshot.config.approval.retry_s;
    let mut stop = Stop::refused(RefusalCode::ApprovalPending);
    stop.note = format!("Approval {} is open until {until}.", approval.id);
    stop.retry = Some(retry);
    stop.structured = Some(json!({
        "status": "pending_approval",
        "approval_id": approval.id,
        "retry_after_s": retry,
        "expires_at": until,
        "expires_in_s": left_ms / 1000,
    }));
    stop
}

fn failed(fault: &ApprovalError) -> Stop {
    error!(error = %fault, "an approval step failed");
    Stop::refused(fault.refusal())
}

/// The answer that makes a modern client ask again.
#[must_use]
pub fn input_required(addressee: &Addressee, state: &str) -> Bytes {
    message(
        addressee.id.as_deref(),
        "result",
        &json!({ "resultType": "input_required", "requestState": state }),
    )
}

/// Marks a `requestState` as ours.
pub const STATE_PREFIX: &str = "forge1.";
