//! Policy on what would leave and on what came back.

use bytes::Bytes;
use forge_schemas::digest::Digest;
use forge_schemas::finding::Finding;
use forge_schemas::policy::{Decision, Effect, Engine, Phase, PolicyInput, Reason, ResultFacts};
use forge_schemas::refusal::RefusalCode;
use http::HeaderMap;
use serde_json::Value;

use crate::config::PolicyMode;
use crate::ids;
use crate::mcp::catalog::Call;
use crate::mcp::envelope::Message;
use crate::state::Gateway;
use crate::upstream::SseEvent;

use super::forward::Response;
use super::input::{self, Question, principal_key};
use super::inspect::{Examined, Inspected};
use super::record::Trail;
use super::{Finished, Stop};

mod lists;

/// A call with its decision.
#[derive(Debug)]
pub struct Decided {
    call: Call,
    findings: Vec<Finding>,
    forward: Message,
    decision: Decision,
    refusal: Option<RefusalCode>,
    input: Digest,
}

impl Decided {
    /// The decision and what it is about, for the record.
    pub(super) fn facts(&self) -> DecidedFacts<'_> {
        DecidedFacts {
            call: &self.call,
            findings: &self.findings,
            forward: &self.forward,
            decision: &self.decision,
            refusal: self.refusal,
            input: self.input,
        }
    }

    /// Hands everything to the next stage.
    pub(super) fn into_parts(self) -> (Call, Vec<Finding>, Message, Decision) {
        (self.call, self.findings, self.forward, self.decision)
    }
}

/// A view of [`Decided`].
#[derive(Debug)]
pub struct DecidedFacts<'a> {
    /// The call.
    pub call: &'a Call,
    /// What was found in it.
    pub findings: &'a [Finding],
    /// What is to be forwarded.
    pub forward: &'a Message,
    /// What policy came to.
    pub decision: &'a Decision,
    /// Why it is refused, if it is.
    pub refusal: Option<RefusalCode>,
    /// Commitment to the policy input.
    pub input: Digest,
}

/// Asks the policy whether the message may leave.
pub async fn request(gateway: &Gateway, inspected: Inspected) -> Decided {
    let (call, findings, forward, fault) = inspected.into_parts();
    let question = Question {
        phase: Phase::Request,
        call: &call,
        message: &forward,
        findings: &findings,
        approval: None,
        result: None,
    };
    let input = input::build(gateway, question);
    let commitment = gateway.commitment.commit(&call.admission().id, &input);
    let mut decision = ask(&call, &input).await;
    let mut forward = forward;
    let mut refusal = refusal_of(&decision);
    if let Some(code) = fault {
        host_deny(&mut decision, code);
        refusal = Some(code);
    } else if refusal.is_none() && !decision.redactions.is_empty() {
        match redacted(&call, &forward, &decision) {
            Some(changed) => forward = changed,
            None => {
                host_deny(&mut decision, RefusalCode::DetectBlocked);
                refusal = Some(RefusalCode::DetectBlocked);
            }
        }
    }
    if refusal.is_some() && shadow(&call) && fault.is_none() {
        // Shadow mode: the decision is recorded as it came out, and nothing is held back.
        refusal = None;
    }
    if refusal.is_some() {
        gateway
            .counters
            .denied(&principal_key(&call.admission().principal), gateway.clock.now_ms());
    }
    gateway.metrics.decisions.count(decision.effect);
    Decided { call, findings, forward, decision, refusal, input: commitment }
}

/// Asks once more for a held call that was approved: a deny still wins, and so does anything that
/// changed meanwhile.
pub(super) async fn again(
    gateway: &Gateway,
    call: &Call,
    findings: &[Finding],
    forward: &Message,
    approval: Value,
) -> Result<(), Stop> {
    let approval = Some(approval);
    let question = Question {
        phase: Phase::Request,
        call,
        message: forward,
        findings,
        approval,
        result: None,
    };
    let decision = ask(call, &input::build(gateway, question)).await;
    match decision.effect {
        Effect::Allow => Ok(()),
        // Policy asks for more than was approved.
        Effect::RequireApproval => Err(Stop::refused(RefusalCode::ApprovalChanged)),
        Effect::Deny => Err(denied(&decision)),
    }
}

/// One evaluation, on a blocking thread if the input is large.
async fn ask(call: &Call, input: &PolicyInput) -> Decision {
    let snapshot = &call.admission().snapshot;
    if input.resource.properties.arguments_bytes <= INLINE_BYTES_MAX {
        return snapshot.policy.decide(input, ids::evaluation());
    }
    let (worker, input) = (std::sync::Arc::clone(snapshot), input.clone());
    let asked =
        tokio::task::spawn_blocking(move || worker.policy.decide(&input, ids::evaluation())).await;
    asked.unwrap_or_else(|_panic| policy_error(snapshot.policy.revision()))
}

fn policy_error(revision: &str) -> Decision {
    Decision {
        effect: Effect::Deny,
        decision: false,
        evaluation_id: ids::evaluation(),
        revision: revision.to_owned(),
        reasons: vec![host_reason("policy.error")],
        redactions: Vec::new(),
        obligations: Vec::new(),
        approval: None,
        limits: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        engine: Engine::Interp,
        us: 0,
    }
}

fn host_reason(id: &str) -> Reason {
    let (msg, user_msg, file) = (String::new(), String::new(), String::new());
    Reason { id: id.to_owned(), layer: "host".to_owned(), msg, user_msg, file, line: 0 }
}

/// The gateway itself refuses, whatever policy said; the record shows both.
fn host_deny(decision: &mut Decision, code: RefusalCode) {
    decision.effect = Effect::Deny;
    decision.decision = false;
    decision.approval = None;
    decision.reasons.push(host_reason(code.code()));
}

fn refusal_of(decision: &Decision) -> Option<RefusalCode> {
    let host =
        |id: &str| decision.reasons.iter().any(|reason| reason.layer == "host" && reason.id == id);
    match decision.effect {
        Effect::Allow | Effect::RequireApproval => None,
        Effect::Deny if host("policy.error") => Some(RefusalCode::PolicyError),
        Effect::Deny if host("policy.unknown_obligation") => Some(RefusalCode::PolicyObligation),
        Effect::Deny => Some(RefusalCode::PolicyDenied),
    }
}

/// What the client learns of a denial: the rule's sentence for users and the evaluation id.
pub(super) fn denied(decision: &Decision) -> Stop {
    let code = refusal_of(decision).unwrap_or(RefusalCode::PolicyDenied);
    Stop::refused(code).note(user_note(decision))
}

/// The sentences that rules have for users, and the evaluation's name.
pub(super) fn user_note(decision: &Decision) -> String {
    let mut note: Vec<&str> = decision
        .reasons
        .iter()
        .map(|reason| reason.user_msg.as_str())
        .filter(|msg| !msg.is_empty())
        .collect();
    note.dedup();
    let evaluation = format!("(evaluation {})", decision.evaluation_id);
    note.push(&evaluation);
    note.join(" ")
}

fn shadow(call: &Call) -> bool {
    call.admission().snapshot.config.policy.mode == PolicyMode::Shadow
}

/// Applies policy's redactions to the bytes as they are now: what detectors found before their own
/// redaction lies elsewhere by then.
fn redacted(call: &Call, forward: &Message, decision: &Decision) -> Option<Message> {
    let snapshot = &call.admission().snapshot;
    let params = forward.params()?;
    let findings = snapshot.scanner.scan_json(params, "").ok()?;
    let changed = snapshot.scanner.apply(params, "", &decision.redactions, &findings).ok()?;
    Message::parse(forward.splice(params, &changed)?, snapshot.config.limits.depth_max).ok()
}

/// What goes to the client: made here only, after policy has seen the result.
#[derive(Debug)]
pub struct Answer {
    body: Option<Bytes>,
    status: u16,
    headers: HeaderMap,
    event: Option<SseEvent>,
    session: Option<String>,
}

impl Answer {
    /// An answer without a message (202 to a notification, a stream that ended in good order).
    pub(super) fn empty(response: Response) -> Self {
        let (status, headers, session) = response.into_edge();
        Self { body: None, status, headers, event: None, session }
    }

    /// Hands it to the edge, and its digest to the record.
    pub(super) fn finish(self, trail: &mut Trail) -> Finished {
        trail.answered(self.body.as_deref());
        let Self { body, status, headers, event, session } = self;
        Finished { status, headers, body, event, session, answered: true }
    }
}

/// Asks the policy whether what came back may go to the client.
pub async fn response(gateway: &Gateway, examined: Examined) -> Result<Answer, Stop> {
    let (response, message, findings, fault) = examined.into_parts();
    if response.is_empty() {
        return Ok(Answer::empty(response));
    }
    if let Some(code) = fault {
        return Err(Stop {
            outcome: forge_schemas::record::Outcome::Refused,
            ..Stop::unknown(code)
        });
    }
    let message = policy_on_result(gateway, &response, message, &findings).await?;
    let message = lists::shape(gateway, response.call(), message).await?;
    let event = response.event().cloned();
    let (status, headers, session) = response.into_edge();
    Ok(Answer { body: Some(message.body().clone()), status, headers, event, session })
}

async fn policy_on_result(
    gateway: &Gateway,
    response: &Response,
    message: Message,
    findings: &[Finding],
) -> Result<Message, Stop> {
    let call = response.call();
    let admission = call.admission();
    let policy = &admission.snapshot.policy;
    let (server, tool, tenant) =
        (&admission.server, admission.message.target(), &admission.principal.tenant);
    if !policy.has_phase(Phase::Response, server.as_str(), tool, tenant.as_str()) {
        return Ok(message);
    }
    let result = Some(result_facts(&message));
    let question = Question {
        phase: Phase::Response,
        call,
        message: &admission.message,
        findings,
        approval: None,
        result,
    };
    let decision = ask(call, &input::build(gateway, question)).await;
    match decision.effect {
        Effect::Allow => {}
        Effect::Deny | Effect::RequireApproval if shadow(call) => return Ok(message),
        Effect::Deny | Effect::RequireApproval => {
            return Err(Stop::refused(RefusalCode::PolicyWithheld).note(user_note(&decision)));
        }
    }
    if decision.redactions.is_empty() {
        return Ok(message);
    }
    let changed = message.outcome().and_then(|part| {
        let root = if message.failed() { "/error" } else { "/result" };
        let scanner = &admission.snapshot.scanner;
        let findings = scanner.scan_json(part, root).ok()?;
        let changed = scanner.apply(part, root, &decision.redactions, &findings).ok()?;
        Message::parse(message.splice(part, &changed)?, admission.snapshot.config.limits.depth_max)
            .ok()
    });
    changed.ok_or_else(|| Stop::refused(RefusalCode::DetectResidue))
}

/// The result as policy sees it; a long one is cut, and says so.
fn result_facts(message: &Message) -> ResultFacts {
    let bytes = message.outcome().map_or(0, Bytes::len);
    let truncated = bytes > RESULT_BYTES_MAX;
    let value: Value = match message.outcome() {
        Some(outcome) if !truncated => serde_json::from_slice(outcome).unwrap_or_default(),
        Some(_) | None => Value::Null,
    };
    let is_error = message.failed() || value.get("isError") == Some(&Value::Bool(true));
    let structured = value.get("structuredContent").cloned().unwrap_or_default();
    let content = value.get("content").cloned().unwrap_or(value);
    ResultFacts {
        is_error,
        content,
        structured,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        truncated,
    }
}

const INLINE_BYTES_MAX: u64 = 65_536;
const RESULT_BYTES_MAX: usize = 262_144;
