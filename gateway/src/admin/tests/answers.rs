//! What is answered: lists and pages, records of calls, servers without secrets, health.

use forge_schemas::policy::Effect;
use forge_schemas::record::{ApprovalKind, Outcome};
use serde_json::{Value, json};

use super::world::{SECRET, World};
use crate::journal::testing::{approval, decision, event, outcome};

fn ids(list: &Value, member: &str) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items.iter().map(|item| item[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn approvals_are_paged_without_loss_and_the_record_names_what_was_shown() {
    let world = World::new().await;
    let mut made = Vec::new();
    for _ in 0..5 {
        made.push(world.pending("ann").await.id.to_string());
    }
    let token = world.token("paul", &["approver"]);
    let (mut seen, mut after) = (Vec::new(), String::new());
    loop {
        let before = world.head("default");
        let page =
            world.get(&format!("/api/v1/approvals?state=pending&limit=2{after}"), &token).await;
        let page = page.json();
        let shown = ids(&page, "id");
        assert_eq!(world.events("default", before)[0].detail["shown"], json!(shown));
        seen.extend(shown);
        let Some(next) = page["next"].as_str() else { break };
        after = format!("&after={next}");
    }
    seen.sort();
    made.sort();
    assert_eq!(seen, made);
    let none = world.get("/api/v1/approvals?state=denied", &token).await;
    assert_eq!(none.json(), json!({ "items": [], "next": null }));
    let one = world.get(&format!("/api/v1/approvals/{}", made[0]), &token).await.json();
    assert!(one["display"]["arguments"]["text"].as_str().unwrap().contains("\"to\""), "{one}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_written_before_the_request_is_in_its_answer() {
    let world = World::new().await;
    let token = world.token("aude", &["auditor"]);
    for number in 0..20 {
        let call = format!("call_{number}");
        let records = vec![
            decision("default", &call, number, Effect::Allow),
            approval("default", &call, ApprovalKind::Executed),
            outcome("default", &call, number, Outcome::Answered),
            event("default", &call),
            event("default", "call_of_another"),
        ];
        let receipts = world.gateway().journal.append(records).await.unwrap();
        let list =
            world.get("/api/v1/calls?limit=1&outcome=answered&effect=allow", &token).await.json();
        assert_eq!((ids(&list, "call"), &list["complete"]), (vec![call.clone()], &json!(true)));
        let one = world.get(&format!("/api/v1/calls/{call}"), &token).await.json();
        assert_eq!((&one["call"]["outcome"], &one["complete"]), (&json!("answered"), &json!(true)));
        let records = one["records"].as_array().unwrap();
        let found: Vec<_> = records
            .iter()
            .map(|record| {
                (record["seq"].as_u64().unwrap(), record["leaf"].as_str().unwrap().to_owned())
            })
            .collect();
        let wanted: Vec<_> =
            receipts[..4].iter().map(|receipt| (receipt.seq, receipt.leaf.to_string())).collect();
        assert_eq!(found, wanted);
        assert_eq!(records[0]["record"]["kind"], "decision");
    }
    let list = world.get("/api/v1/calls?limit=15", &token).await.json();
    let rest =
        world.get(&format!("/api/v1/calls?after={}", list["next"].as_str().unwrap()), &token).await;
    assert_eq!((ids(&list, "call").len(), ids(&rest.json(), "call").len()), (15, 5));
    assert_eq!(rest.json()["next"], Value::Null);
    let open = vec![decision("default", "call_open", 99, Effect::Allow)];
    world.gateway().journal.append(open).await.unwrap();
    let one = world.get("/api/v1/calls/call_open", &token).await.json();
    assert_eq!(
        (&one["call"]["outcome"], one["records"].as_array().unwrap().len()),
        (&Value::Null, 1)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_filter_is_refused() {
    let world = World::new().await;
    let token = world.token("aude", &["auditor"]);
    let queries = [
        "approvals?status=pending",
        "approvals?state=open",
        "approvals?limit=0",
        "approvals?limit=101",
        "approvals?limit=1&limit=2",
        "approvals?after=1",
        "approvals/ap_1?verbose",
        "calls?outcome=fine",
        "calls?since=yesterday",
        "calls?session=%2F",
        "calls?limit=501",
        "servers?name=dead",
        "tools?tool=x",
        "evidence?tenant=other",
        "policies?x",
        "health?x",
        "openapi.json?x",
    ];
    for query in queries {
        let reply = world.get(&format!("/api/v1/{query}"), &token).await;
        assert_eq!(
            (reply.status, reply.problem().as_str()),
            (400, "protocol.invalid_request"),
            "{query}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_described_without_addresses_and_secrets() {
    let world = World::new().await;
    let token = world.token("vera", &["viewer"]);
    let catalog = world.gateway().catalogs.values().next().unwrap();
    let definition = json!({ "name": "pay", "annotations": { "readOnlyHint": true } }).to_string();
    let definition: Box<serde_json::value::RawValue> = serde_json::from_str(&definition).unwrap();
    catalog.observe([("pay", &*definition)].into_iter());
    catalog.speaks(crate::upstream::Era::Modern, "2026-07-28");
    let reply = world.get("/api/v1/servers", &token).await;
    let list = reply.json();
    let server = &list["items"][0];
    assert_eq!((&server["name"], &server["transport"]), (&json!("dead"), &json!("http")));
    assert_eq!((&server["era"], &server["version"]), (&json!("modern"), &json!("2026-07-28")));
    assert_eq!((&server["tags"], &server["tools"][0]["pin"]), (&json!(["test"]), &json!("new")));
    assert!(server["health"]["circuit"].is_string() && server["health"]["counts"].is_object());
    let tools = world.get("/api/v1/tools?server=dead", &token).await;
    assert_eq!(tools.json()["items"], server["tools"]);
    assert_eq!(world.get("/api/v1/tools?server=none", &token).await.json()["items"], json!([]));
    for text in [&reply.text, &tools.text] {
        assert!(!text.contains(SECRET) && !text.contains("127.0.0.1"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn evidence_and_policy_are_named_by_what_verifies_them() {
    use forge_evidence::note::TrustedKey;
    let world = World::new().await;
    let token = world.token("aude", &["auditor"]);
    let found = world.get("/api/v1/evidence", &token).await.json();
    let gateway = world.gateway();
    let log = &found["logs"][0];
    assert_eq!(log["origin"], "default.gateway.forge.localhost");
    assert!(log["records"].as_u64().unwrap() > 0);
    let keys = |text: &Value| TrustedKey::parse_all(text.as_str().unwrap()).unwrap();
    assert_eq!(keys(&log["verifier_key"])[0].key, gateway.checkpoint_key);
    assert_eq!(keys(&found["checkpoint_key"]["pem"])[0].key, gateway.checkpoint_key);
    assert_eq!(keys(&found["pack_key"]["pem"])[0].key, gateway.pack_key);
    let policy = world.get("/api/v1/policies", &token).await.json();
    let snapshot = gateway.snapshot.load();
    assert_eq!(policy["digest"], json!(snapshot.policy.digest()));
    assert_eq!((&policy["mode"], &policy["source"]), (&json!("enforce"), &json!("starter")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_need_no_token_and_a_drain_is_seen() {
    let world = World::new().await;
    assert_eq!(world.get("/healthz", "").await.json(), json!({ "status": "ok" }));
    assert_eq!(world.get("/readyz", "").await.json(), json!({ "ready": true }));
    let verbose = world.get("/readyz?verbose", "").await.json();
    let names: Vec<_> =
        verbose["checks"].as_array().unwrap().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(json!(names), json!(["evidence", "store", "auth:local", "policy", "draining"]));
    assert_eq!(verbose["servers"][0]["name"], "dead");
    world.pending("ann").await;
    let metrics = world.get("/metrics", "").await;
    assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
    for line in ["gateway_holds_open 1", "gateway_calls_open 0", "gateway_ready 1", "# EOF"] {
        assert!(metrics.text.lines().any(|seen| seen == line), "{line}: {}", metrics.text);
    }
    // From this machine any Host will do.
    assert_eq!(world.send("GET", "/healthz", &[("host", "evil.example")], "").await.status, 200);
    assert_eq!(world.send("HEAD", "/healthz", &[], "").await.status, 200);
    let posted = world.send("POST", "/readyz", &[], "").await;
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));

    world.gateway().draining.cancel();
    let reply = world.get("/readyz?verbose", "").await;
    assert_eq!((reply.status, &reply.json()["ready"]), (503, &json!(false)));
    assert!(reply.text.contains("limit.draining"));
    assert_eq!(world.get("/healthz", "").await.status, 200);
    assert!(world.get("/metrics", "").await.text.contains("gateway_ready 0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_hosts_origins_paths_and_methods_are_refused() {
    let world = World::new().await;
    let bearer = format!("Bearer {}", world.token("root", &["administrator"]));
    let mine = ("authorization", bearer.as_str());
    for header in [("host", "evil.example"), ("origin", "https://evil.example"), ("origin", "null")]
    {
        let before = world.head("default");
        let reply = world.send("GET", "/api/v1/calls", &[mine, header], "").await;
        assert_eq!((reply.status, reply.problem().as_str()), (403, "protocol.origin_not_allowed"));
        assert_eq!(world.events("default", before).len(), 1);
    }
    for path in [
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v2/calls",
        "/api/v1/calls/",
        "/api/v1/approvals/a/b",
        "/mcp",
    ] {
        let reply = world.send("GET", path, &[mine], "").await;
        assert_eq!((reply.status, reply.problem().as_str()), (404, "http.not_found"), "{path}");
    }
    let table = [
        ("POST", "/api/v1/approvals", "GET"),
        ("HEAD", "/api/v1/approvals", "GET"),
        ("OPTIONS", "/api/v1/calls", "GET"),
        ("GET", "/api/v1/approvals/ap_1/approve", "POST"),
        ("DELETE", "/api/v1/approvals/ap_1/deny", "POST"),
    ];
    for (method, path, allow) in table {
        let reply = world.send(method, path, &[mine], "").await;
        assert_eq!((reply.status, reply.header("allow")), (405, allow), "{method} {path}");
    }
    let twice = world.send("GET", "/api/v1/calls", &[mine, mine], "").await;
    assert_eq!(twice.status, 401, "{twice:?}");
}
