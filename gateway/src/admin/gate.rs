//! Asks policy and writes the record. A [`Permit`] is made only here, by an `allow`, and every
//! request that got one ends in [`close`].

use std::collections::BTreeMap;

use bytes::Bytes;
use forge_schemas::digest::Digest;
use forge_schemas::policy::{
    Action, ActionProperties, Client, Context, Counters, Decision, Effect, Phase, PolicyInput,
    RequestFacts, Resource, ResourceProperties, Session, Upstream,
};
use forge_schemas::record::{EventKind, Record};
use forge_schemas::refusal::RefusalCode;
use serde_json::{Value, json};
use tracing::{error, info};

use crate::approval::model::Approval;
use crate::call::{input, record};
use crate::ids;
use crate::state::Gateway;

use super::{AdminError, Answer, Request};

/// Phase `admin` allowed the request. Neither `Clone` nor `Default`.
#[derive(Debug)]
pub(super) struct Permit {
    request: Request,
    evaluation: String,
}

impl Permit {
    /// The request.
    pub(super) const fn request(&self) -> &Request {
        &self.request
    }
}

/// Phase `approve` allowed this vote on this approval, and that is on record. Neither `Clone` nor
/// `Default`.
#[derive(Debug)]
pub(super) struct Entitled(());

/// Asks phase `admin`.
///
/// # Errors
/// If policy does not allow it (on record), or the record cannot be written.
pub(super) async fn admit(gateway: &Gateway, request: Request) -> Result<Permit, AdminError> {
    let decision = ask(gateway, question(gateway, &request, None)).await;
    match denied(decision.as_ref()) {
        None => {
            let evaluation = decision.map(|decision| decision.evaluation_id).unwrap_or_default();
            Ok(Permit { request, evaluation })
        }
        Some(denied) => {
            let detail = detail(&request, Phase::Admin, decision.as_ref(), Some(&denied));
            note(gateway, &request, detail).await?;
            Err(denied)
        }
    }
}

/// Asks phase `approve` about a vote, and records an `allow` before the vote takes effect.
///
/// # Errors
/// If policy does not allow it, or the record cannot be written.
pub(super) async fn entitle(
    gateway: &Gateway,
    permit: &Permit,
    approval: &Approval,
    expect: &Digest,
) -> Result<Entitled, AdminError> {
    let request = &permit.request;
    let decision = ask(gateway, question(gateway, request, Some(approval))).await;
    let outcome = denied(decision.as_ref());
    let mut detail = detail(request, Phase::Approve, decision.as_ref(), outcome.as_ref());
    detail.insert("expect".to_owned(), json!(expect));
    note(gateway, request, detail).await?;
    outcome.map_or(Ok(Entitled(())), Err)
}

/// Records what came of a permitted request; without the record there is no answer.
///
/// # Errors
/// The request's own, or that the record cannot be written.
pub(super) async fn close(
    gateway: &Gateway,
    permit: Permit,
    answer: Result<Answer, AdminError>,
) -> Result<Bytes, AdminError> {
    let Permit { request, evaluation } = permit;
    let mut detail = named(&request);
    detail.insert("effect".to_owned(), json!(Effect::Allow));
    detail.insert("evaluation".to_owned(), json!(evaluation));
    detail.insert("phase".to_owned(), json!(Phase::Admin));
    match answer {
        Ok(answer) if answer.recorded => Ok(answer.body),
        Ok(answer) => {
            if !answer.shown.is_empty() {
                detail.insert("shown".to_owned(), json!(answer.shown));
            }
            note(gateway, &request, detail).await?;
            Ok(answer.body)
        }
        // `entitle` recorded it.
        Err(fault @ AdminError::Denied { .. }) => Err(fault),
        Err(fault) => {
            detail.insert("code".to_owned(), json!(fault.code()));
            note(gateway, &request, detail).await?;
            Err(fault)
        }
    }
}

/// One evaluation, off the executor: an approval carries up to 128 KiB of display.
async fn ask(gateway: &Gateway, input: PolicyInput) -> Option<Decision> {
    let snapshot = gateway.snapshot.load_full();
    let asked =
        tokio::task::spawn_blocking(move || snapshot.policy.decide(&input, ids::evaluation()));
    asked.await.ok()
}

fn question(gateway: &Gateway, request: &Request, approval: Option<&Approval>) -> PolicyInput {
    let principal = &request.principal;
    let changes = request.endpoint.is_vote();
    PolicyInput {
        v: 1,
        phase: if approval.is_some() { Phase::Approve } else { Phase::Admin },
        subject: input::subject(principal),
        action: Action {
            name: request.endpoint.action().to_owned(),
            properties: ActionProperties {
                read_only: !changes,
                destructive: false,
                idempotent: !changes,
                open_world: false,
                hints_source: "catalog".to_owned(),
            },
        },
        resource: resource(request, approval),
        context: Context {
            agent: principal.agent.clone(),
            client: Client::default(),
            session: Session::default(),
            request: RequestFacts {
                id: request.id.to_string(),
                ip: request.ip.clone(),
                transport: "http".to_owned(),
                trace_id: String::new(),
            },
            time: input::time(gateway.clock.now_ms()),
            findings: Vec::new(),
            counters: Counters::default(),
            // An approval is made of strings, integers and JSON, all of which can be written.
            approval: approval.and_then(|approval| serde_json::to_value(approval).ok()),
            grants: Vec::new(),
            env: input::env(gateway),
            upstream: Upstream { circuit: "closed".to_owned() },
        },
        result: None,
    }
}

/// Of a vote also the server and tool that it is about, so that their own packages are asked.
fn resource(request: &Request, approval: Option<&Approval>) -> Resource {
    let text = |part: fn(&Approval) -> &str| approval.map(part).unwrap_or_default().to_owned();
    Resource {
        r#type: request.endpoint.resource().to_owned(),
        id: clipped(&request.target),
        properties: ResourceProperties {
            server: text(|approval| &approval.server),
            tool: text(|approval| &approval.tool),
            tenant: request.principal.tenant.to_string(),
            region: String::new(),
            trust: String::new(),
            tags: Vec::new(),
            schema_digest: text(|approval| &approval.schema_digest),
            pin: "new".to_owned(),
            data_class: String::new(),
            arguments: json!({}),
            arguments_digest: approval
                .map(|approval| approval.arguments_digest.to_string())
                .unwrap_or_default(),
            arguments_bytes: approval.map_or(0, |approval| approval.arguments_bytes),
        },
    }
}

/// The refusal, unless policy allows and asks for nothing that cannot be done here.
fn denied(decision: Option<&Decision>) -> Option<AdminError> {
    let Some(decision) = decision else {
        return Some(AdminError::Denied { code: RefusalCode::PolicyError, note: String::new() });
    };
    if decision.effect == Effect::Allow && decision.redactions.is_empty() {
        return None;
    }
    let host = |code: RefusalCode| {
        let fits = |id: &str, layer: &str| layer == "host" && id == code.code();
        decision.reasons.iter().any(|reason| fits(&reason.id, &reason.layer)).then_some(code)
    };
    let code = match decision.effect {
        Effect::Deny => host(RefusalCode::PolicyError)
            .or_else(|| host(RefusalCode::PolicyObligation))
            .unwrap_or(RefusalCode::PolicyDenied),
        // Redactions of an answer, or an approval of an approval: nobody carries that out.
        Effect::Allow | Effect::RequireApproval => RefusalCode::PolicyObligation,
    };
    let sentences = decision.reasons.iter().map(|reason| reason.user_msg.as_str());
    let mut note: Vec<&str> = sentences.filter(|sentence| !sentence.is_empty()).collect();
    note.dedup();
    let evaluation = format!("[{}]", decision.evaluation_id);
    note.push(&evaluation);
    Some(AdminError::Denied { code, note: note.join(" ") })
}

fn named(request: &Request) -> BTreeMap<String, Value> {
    BTreeMap::from([
        ("action".to_owned(), json!(request.endpoint.action())),
        ("resource".to_owned(), json!(request.endpoint.resource())),
        ("id".to_owned(), json!(clipped(&request.target))),
    ])
}

fn detail(
    request: &Request,
    phase: Phase,
    decision: Option<&Decision>,
    outcome: Option<&AdminError>,
) -> BTreeMap<String, Value> {
    let mut detail = named(request);
    let effect = if outcome.is_some() { Effect::Deny } else { Effect::Allow };
    detail.insert("effect".to_owned(), json!(effect));
    detail.insert("phase".to_owned(), json!(phase));
    if let Some(decision) = decision {
        let reasons = decision.reasons.iter().take(REASONS_MAX);
        let reasons: Vec<String> = reasons.map(|reason| clipped(&reason.id)).collect();
        detail.insert("evaluation".to_owned(), json!(decision.evaluation_id));
        detail.insert("reasons".to_owned(), json!(reasons));
    }
    if let Some(denied) = outcome {
        detail.insert("code".to_owned(), json!(denied.code()));
    }
    detail
}

/// Writes an `admin` record and returns when it is durable.
async fn note(
    gateway: &Gateway,
    request: &Request,
    detail: BTreeMap<String, Value>,
) -> Result<(), AdminError> {
    let principal = &request.principal;
    let code = detail.get("code").and_then(Value::as_str).unwrap_or_default();
    let action = request.endpoint.action();
    info!(call.id = %request.id, action, code, "admin request");
    let mut event =
        record::event(principal.tenant.clone(), EventKind::Admin, Some(principal), detail);
    event.call = Some(request.id.clone());
    let written = gateway.journal.append(vec![Record::Event(Box::new(event))]).await;
    written.map(drop).map_err(|fault| {
        error!(call.id = %request.id, error = %fault, "an admin request could not be recorded");
        AdminError::Refused { code: RefusalCode::EvidenceUnavailable, note: String::new() }
    })
}

/// What came from outside, short enough for a record.
fn clipped(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

const TEXT_CHARS_MAX: usize = 80;
const REASONS_MAX: usize = 64;
