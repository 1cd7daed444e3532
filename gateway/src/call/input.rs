//! The policy input of a message (contract §3): every key always present.

use forge_schemas::digest::Digest;
use forge_schemas::finding::Finding;
use forge_schemas::policy::{
    Action, ActionProperties, Client, Context, Counters, Env, InputFinding, Phase, PolicyInput,
    RequestFacts, Resource, ResourceProperties, ResultFacts, Session, Subject, SubjectClaims,
    SubjectProperties, Time, Upstream,
};
use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::Principal;
use crate::mcp::catalog::{Call, Transport};
use crate::mcp::envelope::{Kind, Message};
use crate::state::Gateway;

/// What is examined: the call, the message as it would be forwarded, and what is known beside.
#[derive(Debug)]
pub struct Question<'a> {
    /// When in its life.
    pub phase: Phase,
    /// The call.
    pub call: &'a Call,
    /// The message, after redaction.
    pub message: &'a Message,
    /// Findings of this phase.
    pub findings: &'a [Finding],
    /// The approval that would release it.
    pub approval: Option<Value>,
    /// What came back.
    pub result: Option<ResultFacts>,
}

/// Builds the input.
#[must_use]
pub fn build(gateway: &Gateway, question: Question<'_>) -> PolicyInput {
    let Question { phase, call, message, findings, approval, result } = question;
    let admission = call.admission();
    PolicyInput {
        v: 1,
        phase,
        subject: subject(&admission.principal),
        action: Action { name: call.method().to_owned(), properties: hints(call) },
        resource: resource(call, message),
        context: Context {
            agent: admission.principal.agent.clone(),
            client: client(call),
            session: session(gateway, call),
            request: RequestFacts {
                id: admission.id.to_string(),
                ip: match &admission.transport {
                    Transport::Http(ip) => ip.clone(),
                    Transport::Stdio => String::new(),
                },
                transport: admission.transport.as_str().to_owned(),
                trace_id: message.facts().trace_id.clone(),
            },
            time: time(gateway.clock.now_ms()),
            findings: findings.iter().map(InputFinding::from).collect(),
            counters: counters(gateway, phase, call),
            approval,
            grants: Vec::new(),
            env: env(gateway),
            upstream: Upstream { circuit: circuit(gateway, call) },
        },
        result,
    }
}

/// The gateway itself, as policy sees it.
#[must_use]
pub fn env(gateway: &Gateway) -> Env {
    let env = &gateway.snapshot.load().config.env;
    Env {
        name: env.name.clone(),
        region: env.region.clone(),
        gateway: env.gateway.clone(),
        kill: Vec::new(),
    }
}

/// A principal, as policy sees it.
#[must_use]
pub fn subject(principal: &Principal) -> Subject {
    Subject {
        r#type: "identity".to_owned(),
        id: principal.id.clone(),
        properties: SubjectProperties {
            kind: principal.kind.clone(),
            tenant: principal.tenant.to_string(),
            roles: principal.roles.clone(),
            groups: principal.groups.clone(),
            claims: SubjectClaims {
                iss: principal.issuer.clone(),
                aud: principal.audience.clone(),
                scope: principal.scope.clone(),
                acr: principal.acr.clone(),
                amr: principal.amr.clone(),
            },
            act: principal.act.clone(),
        },
    }
}

/// Names a principal towards everything that keeps principals apart.
#[must_use]
pub fn principal_key(principal: &Principal) -> String {
    // A JSON array keeps the parts apart whatever characters they have.
    Value::from(vec![principal.tenant.as_str(), &principal.issuer, &principal.id]).to_string()
}

/// One instant, spelled the ways policy may want it (UTC).
#[must_use]
pub fn time(now_ms: i64) -> Time {
    let nanos = i128::from(now_ms).saturating_mul(1_000_000);
    let instant =
        OffsetDateTime::from_unix_timestamp_nanos(nanos).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let minute =
        u32::from(instant.hour()).saturating_mul(60).saturating_add(u32::from(instant.minute()));
    Time {
        epoch_ms: now_ms,
        rfc3339: instant.format(&Rfc3339).unwrap_or_default(),
        weekday: instant.weekday().to_string(),
        minute_of_day: minute,
        tz: "UTC".to_owned(),
    }
}

/// The tool's hints; for other methods, what the protocol says of them; else the worst.
fn hints(call: &Call) -> ActionProperties {
    if let Some(tool) = call.tool() {
        return tool.hints.clone();
    }
    let read_only = !matches!(
        call.method(),
        "tools/call" | "client/response" | "tasks/update" | "tasks/cancel"
    );
    ActionProperties {
        read_only,
        destructive: !read_only,
        idempotent: read_only,
        open_world: true,
        hints_source: if call.method() == "tools/call" { "none" } else { "catalog" }.to_owned(),
    }
}

fn resource(call: &Call, message: &Message) -> Resource {
    let admission = call.admission();
    let target = admission.message.target();
    let kind = match call.method() {
        "tools/call" => "tool",
        "prompts/get" => "prompt",
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => "resource",
        _ => "server",
    };
    let id = if target.is_empty() {
        admission.server.to_string()
    } else {
        format!("{}/{target}", admission.server)
    };
    let received = argument_bytes(&admission.message).unwrap_or_default();
    let facts = call.server_facts();
    Resource {
        r#type: kind.to_owned(),
        id,
        properties: ResourceProperties {
            server: admission.server.to_string(),
            tool: target.to_owned(),
            tenant: admission.principal.tenant.to_string(),
            region: facts.region.clone(),
            trust: facts.trust.clone(),
            tags: facts.tags.clone(),
            schema_digest: call.tool().map(|tool| tool.digest.to_string()).unwrap_or_default(),
            pin: call.tool().map_or("new", |tool| tool.pin).to_owned(),
            data_class: facts.data_class.clone(),
            arguments: arguments(message),
            arguments_digest: Digest::of(received).to_string(),
            arguments_bytes: u64::try_from(received.len()).unwrap_or(u64::MAX),
        },
    }
}

/// The exact bytes that count as a message's arguments.
#[must_use]
pub fn argument_bytes(message: &Message) -> Option<&[u8]> {
    match message.kind() {
        Kind::Response => message.outcome().map(AsRef::as_ref),
        Kind::Request | Kind::Notification if message.method() == "tools/call" => {
            message.facts().arguments.as_deref()
        }
        Kind::Request | Kind::Notification => message.params().map(AsRef::as_ref),
    }
}

fn arguments(message: &Message) -> Value {
    let parsed: Option<Value> =
        argument_bytes(message).and_then(|raw| serde_json::from_slice(raw).ok());
    match parsed {
        Some(Value::Object(mut members)) if message.method() != "tools/call" => {
            members.remove("_meta");
            Value::Object(members)
        }
        Some(value) => value,
        None => Value::Object(Map::new()),
    }
}

fn circuit(gateway: &Gateway, call: &Call) -> String {
    let server = gateway.upstreams.server(&call.admission().server);
    server.map_or("open", |server| server.health().circuit.as_str()).to_owned()
}

fn client(call: &Call) -> Client {
    let admission = call.admission();
    let facts = admission.message.facts();
    let (info, protocol) = match &admission.session {
        Some(session) => (&session.client, session.protocol.clone()),
        None => (&facts.client, facts.protocol.clone().unwrap_or_default()),
    };
    Client { name: info.name.clone(), version: info.version.clone(), protocol }
}

fn session(gateway: &Gateway, call: &Call) -> Session {
    call.admission().session.as_ref().map_or_else(Session::default, |session| {
        let age_ms = gateway.clock.now_ms().saturating_sub(session.opened_at).max(0);
        Session {
            id: session.evidence.to_string(),
            age_s: u64::try_from(age_ms / 1000).unwrap_or_default(),
            taint: Vec::new(),
            calls: 0,
        }
    })
}

fn counters(gateway: &Gateway, phase: Phase, call: &Call) -> Counters {
    if phase != Phase::Request {
        return Counters::default();
    }
    let admission = call.admission();
    let principal = principal_key(&admission.principal);
    let tool = format!("{}/{}/{}", admission.server, call.method(), admission.message.target());
    let counted = gateway.counters.call(&principal, &tool, gateway.clock.now_ms());
    Counters {
        principal_tool_1m: counted.tool_1m,
        principal_tool_1h: counted.tool_1h,
        denied_1h: counted.denied_1h,
        ..Counters::default()
    }
}
