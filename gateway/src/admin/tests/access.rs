//! Who may do what: every endpoint for everybody, each with its record.

use forge_schemas::policy::Effect;
use forge_schemas::record::{EventKind, Outcome};
use serde_json::json;

use super::world::World;
use crate::admin::Endpoint;
use crate::journal::testing::{decision, outcome};

/// Everybody, in the order of the columns below.
const PEOPLE: [(&str, &str, &[&str]); 6] = [
    ("", "", &[]),
    ("default", "vera", &["viewer"]),
    ("default", "paul", &["approver"]),
    ("default", "aude", &["auditor"]),
    ("default", "root", &["administrator"]),
    ("other", "omar", &["administrator", "approver"]),
];

/// Statuses for nobody, viewer, approver, auditor, administrator, and all of these roles of
/// another tenant. A new endpoint does not compile until it has its row.
const fn row(endpoint: Endpoint) -> [u16; 6] {
    match endpoint {
        Endpoint::ListApprovals => [401, 200, 200, 200, 200, 200],
        Endpoint::ReadApproval => [401, 200, 200, 200, 200, 404],
        Endpoint::Approve | Endpoint::Deny => [401, 403, 200, 403, 403, 404],
        Endpoint::ListCalls => [401, 200, 403, 200, 200, 200],
        Endpoint::ReadCall => [401, 200, 403, 200, 200, 404],
        Endpoint::ListServers | Endpoint::ListTools => [401, 200, 403, 200, 200, 200],
        Endpoint::ReadHealth => [401, 200, 200, 200, 200, 200],
        Endpoint::ReadEvidence => [401, 403, 403, 200, 200, 200],
        Endpoint::ReadPolicies => [401, 403, 403, 200, 200, 200],
        Endpoint::ReadOpenapi => [401, 200, 200, 200, 200, 200],
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_endpoint_asks_who_is_there_and_whether_they_may_and_records_it() {
    let world = World::new().await;
    let call = "call_access";
    let records = vec![
        decision("default", call, 0, Effect::Allow),
        outcome("default", call, 0, Outcome::Answered),
    ];
    world.gateway().journal.append(records).await.unwrap();
    for (column, (tenant, subject, roles)) in PEOPLE.into_iter().enumerate() {
        let token =
            if subject.is_empty() { String::new() } else { world.token_of(tenant, subject, roles) };
        for endpoint in Endpoint::ALL {
            let approval = world.pending(&format!("asker-{column}")).await;
            let id = if endpoint.resource() == "calls" { call } else { approval.id.as_str() };
            let path = endpoint.path().replace("{id}", id);
            let log = if tenant.is_empty() { "default" } else { tenant };
            let before = world.head(log);
            let reply = match endpoint.method() {
                "POST" => {
                    let body = json!({ "expect": approval.digest }).to_string();
                    world.post(&path, &token, body).await
                }
                _ => world.get(&path, &token).await,
            };
            let wanted = row(endpoint)[column];
            assert_eq!(reply.status, wanted, "{subject} {endpoint:?}: {reply:?}");
            assert_eq!(reply.header("cache-control"), "no-store");
            assert_eq!(reply.header("x-content-type-options"), "nosniff");
            let (code, challenge) = match wanted {
                200 => (None, ""),
                401 => (Some("auth.missing_token"), "Bearer realm=\"forge-gateway\""),
                403 => (Some("policy.denied"), ""),
                _ if endpoint.resource() == "calls" => (Some("call.unknown"), ""),
                _ => (Some("approval.unknown"), ""),
            };
            assert_eq!(reply.header("www-authenticate"), challenge, "{reply:?}");
            if let Some(code) = code {
                assert_eq!(reply.problem(), code);
            } else {
                assert_eq!(reply.header("content-type"), "application/json");
            }
            let events = world.events(log, before);
            let event = events.last().unwrap_or_else(|| panic!("no record of {endpoint:?}"));
            if wanted == 401 {
                assert_eq!((event.kind, event.actor.is_none()), (EventKind::Refused, true));
                continue;
            }
            let effect = if wanted == 403 { "deny" } else { "allow" };
            assert_eq!(event.kind, EventKind::Admin, "{event:?}");
            assert_eq!(event.actor.as_ref().unwrap().id, subject);
            assert_eq!(event.detail["action"], endpoint.action());
            assert_eq!(event.detail["resource"], endpoint.resource());
            assert_eq!(event.detail["effect"], effect);
            let named = if path.contains(id) { id } else { "" };
            assert_eq!(event.detail["id"], named);
            assert_eq!(event.detail.get("code").and_then(|code| code.as_str()), code);
            if code.is_some() {
                assert_eq!(reply.json()["call_id"], event.call.as_ref().unwrap().as_str());
            }
            if wanted != 200 {
                assert!(!reply.text.contains("\"to\""), "{reply:?}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tenant_sees_nothing_of_another() {
    let world = World::new().await;
    let approval = world.pending("ann").await;
    world
        .gateway()
        .journal
        .append(vec![decision("default", "call_1", 0, Effect::Allow)])
        .await
        .unwrap();
    let token = world.token_of("other", "omar", &["administrator", "approver"]);
    for path in ["/api/v1/approvals", "/api/v1/calls", "/api/v1/evidence"] {
        let reply = world.get(path, &token).await;
        assert!(!reply.text.contains(approval.id.as_str()), "{reply:?}");
        assert!(!reply.text.contains("call_1") && !reply.text.contains("default"), "{reply:?}");
    }
    // Somebody else's id and one that nobody has cannot be told apart.
    let theirs = world.get(&format!("/api/v1/approvals/{}", approval.id), &token).await;
    let nobodys = world.get("/api/v1/approvals/ap_guessed", &token).await;
    assert_eq!(
        (theirs.status, theirs.json()["detail"].clone()),
        (404, nobodys.json()["detail"].clone())
    );
    let verb = world.vote(&approval, "approve", &token).await;
    assert_eq!((verb.status, verb.problem().as_str()), (404, "approval.unknown"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_record_there_is_no_answer() {
    let world = World::new().await;
    let approval = world.pending("ann").await;
    let (root, paul) =
        (world.token("root", &["administrator"]), world.token("paul", &["approver"]));
    world.gateway().journal.close().await.unwrap();
    for endpoint in Endpoint::ALL.into_iter().filter(|endpoint| !endpoint.is_vote()) {
        let path = endpoint.path().replace("{id}", approval.id.as_str());
        let reply = world.get(&path, &root).await;
        assert_eq!(
            (reply.status, reply.problem().as_str()),
            (503, "evidence.unavailable"),
            "{path}"
        );
    }
    for verb in ["approve", "deny"] {
        let reply = world.vote(&approval, verb, &paul).await;
        assert_eq!((reply.status, reply.problem().as_str()), (503, "evidence.unavailable"));
    }
    let reply = world.get("/api/v1/approvals", "").await;
    assert_eq!((reply.status, reply.problem().as_str()), (503, "evidence.unavailable"));
    let stored = world.gateway().store.approval(&approval.id).await.unwrap().unwrap();
    assert!(stored.votes.is_empty(), "{stored:?}");
}
