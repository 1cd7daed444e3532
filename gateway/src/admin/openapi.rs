//! The OpenAPI 3.1 description of the admin API, made from the table of endpoints and the schemas
//! of the types that are really written. `schemas/openapi.json` is the same text; a test compares.

use bytes::Bytes;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::approval::model::Approval;
use crate::approval::state::State;

use super::approvals::{ApprovalPage, Ballot};
use super::calls::{CallDetail, CallList};
use super::evidence::Evidence;
use super::gate::Permit;
use super::policies::PolicyInForce;
use super::query::Query;
use super::servers::{ServerList, ToolList};
use super::{AdminError, Answer, Endpoint, ProblemDocument, Readiness};

/// `GET /openapi.json`.
pub(super) fn read(permit: &Permit) -> Result<Answer, AdminError> {
    Query::parse(&permit.request().query, &[])?;
    let body = Bytes::from_static(include_bytes!("../../../schemas/openapi.json"));
    Ok(Answer { body, shown: Vec::new(), recorded: false })
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut generator = settings.for_serialize().into_generator();
    let problem = reference::<ProblemDocument>(&mut generator);
    let mut paths = Map::new();
    for endpoint in Endpoint::ALL {
        let operation = operation(endpoint, &mut generator, &problem);
        let method = endpoint.method().to_ascii_lowercase();
        let item = paths.entry(endpoint.path()).or_insert_with(|| json!({}));
        if let Value::Object(methods) = item {
            methods.insert(method, operation);
        }
    }
    for (path, summary, media) in OPEN {
        let answers = json!({
            "200": { "description": "Yes.", "content": { (media): {} } },
            "503": { "description": "Not ready (only /readyz).", "content": { (media): {} } },
        });
        let operation = json!({
            "operationId": path.trim_start_matches('/'), "summary": summary, "security": [],
            "responses": answers,
        });
        paths.insert(path.to_owned(), json!({ "get": operation }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "FORGE MCP Gateway: admin API",
            "version": "v1",
            "summary": "Approvals, calls, servers, policy and evidence of one tenant.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": generator.take_definitions(true),
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
        },
    })
}

fn operation(endpoint: Endpoint, generator: &mut SchemaGenerator, problem: &Value) -> Value {
    let failed = |description: &str| {
        json!({
            "description": description,
            "content": { "application/problem+json": { "schema": problem } },
        })
    };
    let mut responses = json!({
        "200": {
            "description": "The answer.",
            "content": { "application/json": { "schema": answer(endpoint, generator) } },
        },
        "400": failed("The query or the body is not as described."),
        "401": failed("No valid access token; see WWW-Authenticate."),
        "403": failed("Policy, Host or Origin do not allow it."),
        "503": failed("Evidence, store or issuer are not available."),
    });
    let by_id = endpoint.path().contains("{id}");
    if let Value::Object(responses) = &mut responses {
        if by_id {
            responses.insert("404".to_owned(), failed("The tenant has none of this id."));
        }
        if endpoint.is_vote() {
            for (status, description) in VOTE_FAILURES {
                responses.insert(status.to_owned(), failed(description));
            }
        }
    }
    let mut parameters: Vec<Value> = parameters(endpoint)
        .iter()
        .map(|(name, schema, description)| {
            json!({
                "name": name, "in": "query", "description": description, "schema": schema,
            })
        })
        .collect();
    if by_id {
        let schema = json!({ "type": "string", "maxLength": 64 });
        parameters
            .insert(0, json!({ "name": "id", "in": "path", "required": true, "schema": schema }));
    }
    let mut operation = json!({
        "operationId": format!("{endpoint:?}"),
        "summary": summary(endpoint),
        "x-forge-action": endpoint.action(),
        "parameters": parameters,
        "responses": responses,
    });
    if let (true, Value::Object(members)) = (endpoint.is_vote(), &mut operation) {
        let schema = reference::<Ballot>(generator);
        let body =
            json!({ "required": true, "content": { "application/json": { "schema": schema } } });
        members.insert("requestBody".to_owned(), body);
    }
    operation
}

fn reference<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    generator.subschema_for::<T>().to_value()
}

fn answer(endpoint: Endpoint, generator: &mut SchemaGenerator) -> Value {
    match endpoint {
        Endpoint::ListApprovals => reference::<ApprovalPage>(generator),
        Endpoint::ReadApproval | Endpoint::Approve | Endpoint::Deny => {
            reference::<Approval>(generator)
        }
        Endpoint::ListCalls => reference::<CallList>(generator),
        Endpoint::ReadCall => reference::<CallDetail>(generator),
        Endpoint::ListServers => reference::<ServerList>(generator),
        Endpoint::ListTools => reference::<ToolList>(generator),
        Endpoint::ReadEvidence => reference::<Evidence>(generator),
        Endpoint::ReadPolicies => reference::<PolicyInForce>(generator),
        Endpoint::ReadHealth => reference::<Readiness>(generator),
        Endpoint::ReadOpenapi => json!({ "type": "object" }),
    }
}

const fn summary(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::ListApprovals => "Approvals, newest first",
        Endpoint::ReadApproval => "One approval",
        Endpoint::Approve => "Vote in favour; the second person, if two are asked for, decides",
        Endpoint::Deny => "Vote against: ends the request",
        Endpoint::ListCalls => "Calls, newest first",
        Endpoint::ReadCall => "One call with its records",
        Endpoint::ListServers => "Tool servers and how they are",
        Endpoint::ListTools => "Tools of all servers",
        Endpoint::ReadEvidence => "The tenant's log and the keys that verify it",
        Endpoint::ReadPolicies => "The policy in force",
        Endpoint::ReadHealth => "Readiness, part by part",
        Endpoint::ReadOpenapi => "This document",
    }
}

fn parameters(endpoint: Endpoint) -> Vec<(&'static str, Value, &'static str)> {
    let text = || json!({ "type": "string" });
    let number = |most: u32| json!({ "type": "integer", "minimum": 1, "maximum": most });
    let time = || json!({ "type": "integer" });
    let after = ("after", text(), "The `next` of the page before.");
    match endpoint {
        Endpoint::ListApprovals => vec![
            ("state", json!({ "enum": State::ALL }), "Only in this state."),
            ("limit", number(100), "At most so many; 100 if left out."),
            after,
        ],
        Endpoint::ListCalls => vec![
            ("principal", text(), "Only of this subject."),
            ("server", text(), "Only to this server."),
            ("tool", text(), "Only of this tool."),
            ("session", text(), "Only in this session, as evidence counts it."),
            ("effect", json!({ "enum": EFFECTS }), "Only with this decision."),
            ("outcome", json!({ "enum": OUTCOMES }), "Only with this outcome."),
            ("since", time(), "Decided at or after, in milliseconds since 1970 UTC."),
            ("until", time(), "Decided before, in milliseconds since 1970 UTC."),
            ("limit", number(500), "At most so many; 500 if left out."),
            after,
        ],
        Endpoint::ListTools => vec![("server", text(), "Only of this server.")],
        Endpoint::ReadApproval
        | Endpoint::Approve
        | Endpoint::Deny
        | Endpoint::ReadCall
        | Endpoint::ListServers
        | Endpoint::ReadEvidence
        | Endpoint::ReadPolicies
        | Endpoint::ReadHealth
        | Endpoint::ReadOpenapi => Vec::new(),
    }
}

/// What is served without a token: path, purpose, media type.
pub const OPEN: [(&str, &str, &str); 3] = [
    ("/healthz", "The process runs", "application/json"),
    ("/readyz", "It can serve calls; ?verbose says why not", "application/json"),
    ("/metrics", "Metrics in the OpenMetrics text format", "application/openmetrics-text"),
];

const VOTE_FAILURES: [(&str, &str); 5] = [
    ("408", "The body did not arrive in time."),
    ("409", "Closed, expired, used, voted before, or another digest."),
    ("413", "The body is too large."),
    ("415", "The body is not application/json."),
    ("500", "The approval was altered in the store, or the gateway failed."),
];
const EFFECTS: [&str; 3] = ["allow", "deny", "require_approval"];
const OUTCOMES: [&str; 4] = ["answered", "refused", "failed", "outcome_unknown"];
