//! What tool servers do that they should not, over stdio and over HTTP: each call gets a stable
//! code and an outcome, and everybody else's calls go on.

use forge_tests::gateway::{Gateway, Setup};
use forge_tests::process::Folder;
use serde_json::json;

use crate::line::{of_kind, toy_over_http, with_toy};

/// Calls `tool`, expects one of the `codes`, and finds the same code in the outcome.
async fn check(gateway: &Gateway, tool: &str, text: &str, codes: &[&str]) {
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let called = client.call(tool, json!({"text": text})).await.unwrap();
    let code = called.refusal().unwrap_or_default().to_owned();
    assert!(codes.contains(&code.as_str()), "{tool}: {}", called.message);
    let id = called.call_id().expect("a refusal names its call").to_owned();

    let other = client.call("echo", json!({"text": "on"})).await.unwrap();
    assert_eq!(other.text(), "on", "after {tool}: {}", other.message);

    let records = gateway.records().await.unwrap();
    let outcomes = of_kind(&records, "outcome");
    let outcome = outcomes.iter().find(|record| record["call"] == json!(id));
    let outcome = outcome.unwrap_or_else(|| panic!("{tool}: no outcome of {id}: {records:?}"));
    assert_eq!(outcome["refusal"], json!(code), "{tool}: {outcome}");
    assert_ne!(outcome["outcome"], "answered", "{tool}: {outcome}");
}

/// Answers over 1 MiB are too large, and a call may take one second.
const LIMITS: &str = "\n[limits]\ncall_ms = 1500\n";

async fn over_stdio() -> (Gateway, Folder) {
    let ledger = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&ledger.join("ledger")).unwrap();
    let setup = setup.with("message_bytes_max = 1048576\n").with(LIMITS);
    (Gateway::start(&setup).await.unwrap(), ledger)
}

const GONE: [&str; 2] = ["upstream.lost", "upstream.invalid_response"];
const LATE: [&str; 2] = ["upstream.timeout", "upstream.invalid_response"];

#[tokio::test]
async fn a_child_that_writes_garbage_harms_only_its_call() {
    let (gateway, _ledger) = over_stdio().await;
    let codes = ["upstream.invalid_response", "upstream.lost", "upstream.timeout"];
    check(&gateway, "garbage", "", &codes).await;
    check(&gateway, "shape", "", &codes).await;
}

#[tokio::test]
async fn a_child_that_dies_is_started_again() {
    let (gateway, _ledger) = over_stdio().await;
    check(&gateway, "die", "", &GONE).await;
    check(&gateway, "die", "", &GONE).await;
}

#[tokio::test]
async fn a_child_that_answers_twice_is_heard_once() {
    let (gateway, _ledger) = over_stdio().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    for _ in 0..3 {
        let called = client.call("twice", json!({})).await.unwrap();
        assert_eq!(called.text(), "first", "{}", called.message);
        let other = client.call("echo", json!({"text": "on"})).await.unwrap();
        assert_eq!(other.text(), "on", "{}", other.message);
    }
}

#[tokio::test]
async fn a_child_that_answers_with_a_foreign_id_has_not_answered() {
    let (gateway, _ledger) = over_stdio().await;
    check(&gateway, "foreign", "", &LATE).await;
}

#[tokio::test]
async fn a_child_that_floods_is_cut_off() {
    let (gateway, _ledger) = over_stdio().await;
    check(&gateway, "flood", "200000000", &["upstream.too_large"]).await;
}

#[tokio::test]
async fn a_child_that_never_answers_times_out() {
    let (gateway, _ledger) = over_stdio().await;
    check(&gateway, "hang", "", &["upstream.timeout"]).await;
}

#[tokio::test]
async fn a_server_over_http_can_do_no_more_harm() {
    let (toy, _folder) = toy_over_http().await;
    let url = toy.ready["url"].as_str().unwrap();
    let setup = Setup::default().with_url("toy", url);
    let setup = setup.with("message_bytes_max = 1048576\n").with(LIMITS);
    let gateway = Gateway::start(&setup).await.unwrap();
    check(&gateway, "garbage", "", &["upstream.invalid_response"]).await;
    check(&gateway, "shape", "", &["upstream.invalid_response"]).await;
    check(&gateway, "die", "", &GONE).await;
    check(&gateway, "foreign", "", &LATE).await;
    check(&gateway, "flood", "200000000", &["upstream.too_large"]).await;
    check(&gateway, "hang", "", &["upstream.timeout"]).await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let called = gateway.modern("toy", &token).call("twice", json!({})).await.unwrap();
    assert_eq!(called.text(), "first", "{}", called.message);
}

#[tokio::test]
async fn a_server_that_is_not_there_refuses_only_its_own_calls() {
    let ledger = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&ledger.join("ledger")).unwrap();
    // Port 1 is reserved and closed.
    let setup = setup.with_url("gone", "http://127.0.0.1:1/mcp");
    let setup = setup.with("\n[servers.never]\ncommand = [\"/no/such/program\"]\n");
    let gateway = Gateway::start(&setup).await.unwrap();
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    for server in ["gone", "never"] {
        let called = gateway.modern(server, &token).call("echo", json!({})).await.unwrap();
        assert_eq!(called.refusal(), Some("upstream.unavailable"), "{}", called.message);
    }
    let called = gateway.modern("toy", &token).call("echo", json!({"text": "on"})).await.unwrap();
    assert_eq!(called.text(), "on");
}

#[tokio::test]
async fn slow_calls_do_not_hold_up_others() {
    let (gateway, _ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let slow = gateway.modern("toy", &token);
    let slow = tokio::spawn(async move { slow.call("sleep", json!({"text": "600"})).await });
    let client = gateway.modern("toy", &token);
    for _ in 0..5 {
        client.call("echo", json!({"text": "on"})).await.unwrap();
    }
    assert!(!slow.is_finished(), "five calls went past a slow one");
    assert_eq!(slow.await.unwrap().unwrap().text(), "slept");
}
