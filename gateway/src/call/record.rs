//! Evidence of a call: the decision before anything leaves, the outcome before the answer.

use std::collections::BTreeMap;

use forge_schemas::digest::Digest;
use forge_schemas::finding::Finding;
use forge_schemas::ids::{ApprovalId, CallId, SessionId, Tenant};
use forge_schemas::policy::{Decision, Effect};
use forge_schemas::record::{
    DecisionKind, DecisionRecord, EventKind, EventRecord, Outcome, OutcomeKind, OutcomeRecord,
    RECORD_VERSION, Record, RecordClient, RecordFinding, RecordPrincipal, RecordReason, Timings,
};
use forge_schemas::refusal::RefusalCode;
use serde_json::Value;
use tokio::time::Instant;
use tracing::error;

use crate::auth::Principal;
use crate::mcp::catalog::Call;
use crate::mcp::envelope::Message;
use crate::state::Gateway;

use super::Stop;
use super::decide::{Decided, DecidedFacts};

/// A call whose decision is durable, and was not a refusal.
#[derive(Debug)]
pub struct Recorded {
    call: Call,
    findings: Vec<Finding>,
    forward: Message,
    decision: Decision,
}

impl Recorded {
    /// Hands everything to the next stage.
    pub(super) fn into_parts(self) -> (Call, Vec<Finding>, Message, Decision) {
        (self.call, self.findings, self.forward, self.decision)
    }
}

/// What the record of the outcome will say. Stages write into it as they learn; it is written
/// whatever happens.
#[derive(Debug)]
pub struct Trail {
    call: CallId,
    tenant: Tenant,
    session: Option<SessionId>,
    slot: u64,
    started: Instant,
    intent: bool,
    sent: bool,
    approval: Option<ApprovalId>,
    events: u64,
    findings: Vec<RecordFinding>,
    outcome: Outcome,
    refusal: Option<RefusalCode>,
    received: Option<Digest>,
    returned: Option<Digest>,
    hold_us: u64,
    upstream_us: u64,
    opened: Option<Opened>,
}

/// A session that this call opens or closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opened {
    Open,
    Close,
}

impl Trail {
    /// The trail of a call at its start: refused for an internal fault unless somebody knows better.
    #[must_use]
    pub fn of(call: &Call) -> Self {
        let admission = call.admission();
        let opened = match call.method() {
            "initialize" => Some(Opened::Open),
            "session/close" => Some(Opened::Close),
            _ => None,
        };
        Self {
            call: admission.id.clone(),
            tenant: admission.principal.tenant.clone(),
            session: admission.session.as_ref().map(|session| session.evidence.clone()),
            slot: admission.slot,
            started: admission.started,
            intent: false,
            sent: false,
            approval: None,
            events: 0,
            findings: Vec::new(),
            outcome: Outcome::Refused,
            refusal: Some(RefusalCode::InternalError),
            received: None,
            returned: None,
            hold_us: 0,
            upstream_us: 0,
            opened,
        }
    }

    /// Whose trail.
    #[must_use]
    pub fn call(&self) -> &CallId {
        &self.call
    }

    /// Bytes have left for the tool server.
    #[must_use]
    pub fn was_sent(&self) -> bool {
        self.sent
    }

    /// Bytes are about to leave.
    pub fn sending(&mut self) {
        self.sent = true;
    }

    /// A message other than the answer was passed on.
    pub fn passed(&mut self) {
        self.events = self.events.saturating_add(1);
    }

    /// Detectors found something in what came back.
    pub fn found(&mut self, findings: &[Finding]) {
        merge(&mut self.findings, findings);
    }

    /// The bytes of the server's answer.
    pub fn received(&mut self, bytes: &[u8]) {
        self.received = Some(Digest::of(bytes));
    }

    /// The approval that releases the call.
    pub fn approved(&mut self, approval: ApprovalId) {
        self.approval = Some(approval);
    }

    /// How long it was held.
    pub fn held(&mut self, since: Instant) {
        self.hold_us = micros(since);
    }

    /// How long the tool server took.
    pub fn upstream_took(&mut self, since: Instant) {
        self.upstream_us = micros(since);
    }

    /// It goes to the client.
    pub fn answered(&mut self, body: Option<&[u8]>) {
        self.outcome = Outcome::Answered;
        self.refusal = None;
        self.returned = body.map(Digest::of);
    }

    /// It ends here.
    pub fn stopped(&mut self, stop: &Stop) {
        self.outcome = stop.outcome;
        self.refusal = Some(stop.code);
        self.opened = None;
    }

    /// The bytes of a refusal.
    pub fn returned(&mut self, body: &[u8]) {
        self.returned = Some(Digest::of(body));
    }
}

/// Makes the decision durable. Nothing has left before this returns, and nothing does if it fails
/// or if the decision is a refusal.
///
/// # Errors
/// `evidence.unavailable` if the record cannot be written; else the refusal that was decided.
pub async fn intent(
    gateway: &Gateway,
    decided: Decided,
    trail: &mut Trail,
) -> Result<Recorded, Stop> {
    let record = decision_record(&decided.facts());
    gateway.journal.append(vec![Record::Decision(Box::new(record))]).await.map_err(|fault| {
        error!(call.id = %trail.call, error = %fault, "the decision could not be recorded");
        Stop::refused(RefusalCode::EvidenceUnavailable)
    })?;
    trail.intent = true;
    let facts = decided.facts();
    if let Some(code) = facts.refusal {
        return Err(match facts.decision.effect {
            Effect::Deny if code != RefusalCode::PolicyDenied => Stop::refused(code),
            Effect::Deny | Effect::Allow | Effect::RequireApproval => {
                super::decide::denied(facts.decision)
            }
        });
    }
    let (call, findings, forward, decision) = decided.into_parts();
    Ok(Recorded { call, findings, forward, decision })
}

/// Makes the outcome durable, with the records that belong to it. Finishes whatever happens to the
/// client: it runs on the call's own task.
///
/// # Errors
/// `evidence.unavailable`: the answer has to be withheld, and the next start closes the call as
/// `outcome_unknown`.
pub async fn outcome(gateway: &Gateway, trail: &Trail) -> Result<(), RefusalCode> {
    if !trail.intent && trail.refusal == Some(RefusalCode::EvidenceUnavailable) {
        return Ok(());
    }
    let mut records = vec![Record::Outcome(Box::new(outcome_record(trail)))];
    let kind = match trail.opened {
        Some(Opened::Open) => Some(EventKind::SessionOpen),
        Some(Opened::Close) => Some(EventKind::SessionClose),
        None => None,
    };
    if let (Some(kind), Some(session)) = (kind, &trail.session) {
        let mut event = event(trail.tenant.clone(), kind, None, BTreeMap::new());
        event.call = Some(trail.call.clone());
        event.session = Some(session.clone());
        records.push(Record::Event(Box::new(event)));
    }
    gateway.metrics.calls.observe(trail.outcome, trail.started.elapsed());
    gateway.journal.append(records).await.map(drop).map_err(|fault| {
        error!(call.id = %trail.call, error = %fault, "the outcome could not be recorded");
        RefusalCode::EvidenceUnavailable
    })
}

/// An event record, to be placed by the journal.
#[must_use]
pub fn event(
    tenant: Tenant,
    kind: EventKind,
    actor: Option<&Principal>,
    detail: BTreeMap<String, Value>,
) -> EventRecord {
    EventRecord {
        actor: actor.map(record_principal),
        at: 0,
        call: None,
        detail,
        kind,
        log: String::new(),
        seq: 0,
        session: None,
        session_prev: None,
        session_seq: None,
        tenant,
        v: RECORD_VERSION,
    }
}

/// A principal, for a record.
#[must_use]
pub fn record_principal(principal: &Principal) -> RecordPrincipal {
    RecordPrincipal {
        id: principal.id.clone(),
        issuer: principal.issuer.clone(),
        kind: principal.kind.clone(),
    }
}

fn decision_record(facts: &DecidedFacts<'_>) -> DecisionRecord {
    let &DecidedFacts { call, findings, forward, decision, refusal, input } = facts;
    let admission = call.admission();
    let snapshot = &admission.snapshot;
    let principal = &admission.principal;
    let (info, protocol) = match &admission.session {
        Some(session) => (&session.client, session.protocol.clone()),
        None => (
            &admission.message.facts().client,
            admission.message.facts().protocol.clone().unwrap_or_default(),
        ),
    };
    let mut found = Vec::new();
    merge(&mut found, findings);
    DecisionRecord {
        at: 0,
        bundle: snapshot.policy.digest(),
        call: admission.id.clone(),
        client: RecordClient {
            agent: principal.agent.clone(),
            name: info.name.clone(),
            protocol,
            transport: admission.transport.as_str().to_owned(),
            version: info.version.clone(),
        },
        config: snapshot.config_digest,
        definition: call.tool().map(|tool| tool.digest),
        effect: decision.effect,
        evaluation: decision.evaluation_id.clone(),
        findings: found,
        forwarded: refusal.is_none().then(|| Digest::of(forward.body())),
        input,
        kind: DecisionKind::Decision,
        log: String::new(),
        method: clipped(call.method()),
        mode: snapshot.config.policy.mode.as_str().to_owned(),
        principal: record_principal(principal),
        reasons: reasons(decision),
        received: Digest::of(admission.message.body()),
        refusal,
        revision: decision.revision.clone(),
        rules: snapshot.scanner.rules_digest(),
        seq: 0,
        server: admission.server.to_string(),
        session: admission.session.as_ref().map(|session| session.evidence.clone()),
        session_prev: None,
        session_seq: None,
        slot: admission.slot,
        tenant: principal.tenant.clone(),
        tool: clipped(admission.message.target()),
        v: RECORD_VERSION,
    }
}

fn reasons(decision: &Decision) -> Vec<RecordReason> {
    let reason = |reason: &forge_schemas::policy::Reason| RecordReason {
        file: reason.file.clone(),
        id: clipped(&reason.id),
        layer: reason.layer.clone(),
        line: reason.line,
    };
    decision.reasons.iter().take(REASONS_MAX).map(reason).collect()
}

fn outcome_record(trail: &Trail) -> OutcomeRecord {
    OutcomeRecord {
        approval: trail.approval.clone(),
        at: 0,
        call: trail.call.clone(),
        events: trail.events,
        findings: trail.findings.clone(),
        kind: OutcomeKind::Outcome,
        log: String::new(),
        outcome: trail.outcome,
        received: trail.received,
        refusal: trail.refusal,
        returned: trail.returned,
        seq: 0,
        session: trail.session.clone(),
        session_prev: None,
        session_seq: None,
        slot: trail.slot,
        tenant: trail.tenant.clone(),
        timings: Timings {
            hold_us: trail.hold_us,
            total_us: micros(trail.started),
            upstream_us: trail.upstream_us,
        },
        v: RECORD_VERSION,
    }
}

/// Counts findings by rule; at most [`FINDINGS_MAX`] rules are named.
fn merge(counts: &mut Vec<RecordFinding>, findings: &[Finding]) {
    for finding in findings {
        if let Some(known) = counts.iter_mut().find(|known| known.rule == finding.rule) {
            known.count = known.count.saturating_add(1);
            known.confidence = known.confidence.max(finding.confidence);
        } else if counts.len() < FINDINGS_MAX {
            counts.push(RecordFinding {
                confidence: finding.confidence,
                count: 1,
                entity: finding.entity.clone(),
                kind: finding.kind,
                rule: finding.rule.clone(),
            });
        }
    }
}

/// Names come from clients; a record has to stay below its size.
fn clipped(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

fn micros(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX)
}

const NAME_CHARS_MAX: usize = 256;
const REASONS_MAX: usize = 64;
const FINDINGS_MAX: usize = 64;
