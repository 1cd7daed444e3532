//! One governed call from end to end: allowed, refused by an argument, redacted; and what is
//! written about it.

use forge_tests::client::{LEGACY, Modern};
use forge_tests::gateway::{Gateway, Setup};
use forge_tests::process::{Folder, Process, program};
use forge_tests::toy::{CARD, EMAIL, GITHUB_TOKEN};
use serde_json::{Value, json};
use tokio::process::Command;

/// A gateway in front of the toy server over stdio; the second value is the ledger's folder.
pub(crate) async fn with_toy() -> (Gateway, Folder) {
    let folder = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&folder.join("ledger")).unwrap();
    (Gateway::start(&setup).await.unwrap(), folder)
}

/// The toy server over HTTP.
pub(crate) async fn toy_over_http() -> (Process, Folder) {
    let folder = Folder::new("toy").unwrap();
    let mut command = Command::new(program("toy").unwrap());
    command.arg("--ledger").arg(folder.join("ledger"));
    let process = Process::start(command, &folder.join("stderr.log")).await.unwrap();
    (process, folder)
}

pub(crate) fn lines(folder: &Folder) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("ledger")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Records of one kind about one tool.
pub(crate) fn of_kind<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records.iter().filter(|record| record["kind"] == kind).collect()
}

async fn assert_sound(gateway: &Gateway) {
    let verdict = gateway.verdict().await.unwrap();
    assert_eq!(verdict["ok"], true, "{verdict}");
    assert_eq!(verdict["open_slots"], 0, "{verdict}");
}

#[tokio::test]
async fn an_allowed_call_reaches_the_tool_and_is_recorded_in_both_eras() {
    let (gateway, ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();

    let legacy = gateway.legacy("toy", &token).await.unwrap();
    assert_eq!(legacy.initialized["protocolVersion"], LEGACY);
    let called = legacy.call("append", json!({"text": "by alice"})).await.unwrap();
    assert_eq!(called.text(), "line 1", "{}", called.message);

    let modern = gateway.modern("toy", &token);
    let called = modern.call("append", json!({"text": "by alice again"})).await.unwrap();
    assert_eq!(called.text(), "line 2", "{}", called.message);
    assert_eq!(lines(&ledger), ["by alice", "by alice again"]);

    let records = gateway.records().await.unwrap();
    let decisions: Vec<_> = of_kind(&records, "decision")
        .into_iter()
        .filter(|record| record["tool"] == "append")
        .collect();
    assert_eq!(decisions.len(), 2, "{records:?}");
    for decision in decisions {
        assert_eq!(decision["effect"], "allow");
        assert_eq!(decision["principal"]["id"], "alice");
        let of_call = |record: &&&Value| record["call"] == decision["call"];
        let outcomes = of_kind(&records, "outcome");
        let outcome = outcomes.iter().find(of_call).expect("each decision has its outcome");
        assert_eq!(outcome["outcome"], "answered");
        assert!(outcome["seq"].as_u64() > decision["seq"].as_u64());
    }
    assert_sound(&gateway).await;
}

#[tokio::test]
async fn an_argument_rule_refuses_and_the_tool_never_hears_of_it() {
    let (gateway, ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);

    let called = client.call("remove", json!({"text": "protected things"})).await.unwrap();
    assert_eq!(called.refusal(), Some("policy.denied"), "{}", called.message);
    assert_eq!(called.message["result"]["isError"], true);
    let told = called.message.to_string();
    assert!(!told.contains("test.remove"), "the rule stays inside: {told}");
    assert!(lines(&ledger).is_empty());

    let called = client.call("remove", json!({"text": "other things"})).await.unwrap();
    assert_eq!(called.text(), "line 1", "{}", called.message);

    let records = gateway.records().await.unwrap();
    let refused: Vec<_> = of_kind(&records, "decision")
        .into_iter()
        .filter(|record| record["effect"] == "deny")
        .collect();
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0]["refusal"], "policy.denied");
    assert_eq!(refused[0]["reasons"][0]["id"], "test.remove");
    assert_sound(&gateway).await;
}

#[tokio::test]
async fn personal_data_and_keys_are_taken_out_of_a_result_in_every_copy() {
    let (gateway, _ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let legacy = gateway.legacy("toy", &token).await.unwrap();
    let modern = gateway.modern("toy", &token);
    for called in [
        legacy.call("leak", json!({})).await.unwrap(),
        modern.call("leak", json!({})).await.unwrap(),
    ] {
        let text = called.message.to_string();
        for secret in [EMAIL, CARD, GITHUB_TOKEN] {
            assert!(!text.contains(secret), "{secret} came through: {text}");
        }
        let structured = &called.message["result"]["structuredContent"];
        assert!(structured["mail"].is_string(), "types stay: {text}");
        assert!(structured["nested"]["key"].is_string(), "types stay: {text}");
        assert!(called.text().starts_with("Write to "), "the rest stays: {text}");
    }
    let records = gateway.records().await.unwrap();
    let written = serde_json::to_string(&records).unwrap();
    for secret in [EMAIL, CARD, GITHUB_TOKEN] {
        assert!(!written.contains(secret), "{secret} was recorded");
        assert!(!gateway.process.log().contains(secret), "{secret} was logged");
    }
    assert_sound(&gateway).await;
}

#[tokio::test]
async fn a_key_in_the_arguments_does_not_leave() {
    let (gateway, ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let text = format!("deploy with {GITHUB_TOKEN} please");
    client.call("append", json!({"text": text})).await.unwrap();
    assert!(!lines(&ledger).concat().contains(GITHUB_TOKEN));
}

#[tokio::test]
async fn the_clients_token_never_goes_upstream() {
    let (toy, _folder) = toy_over_http().await;
    let url = toy.ready["url"].as_str().unwrap();
    let gateway = Gateway::start(&Setup::default().with_url("toy", url)).await.unwrap();
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    for called in [
        gateway.legacy("toy", &token).await.unwrap().call("headers", json!({})).await.unwrap(),
        gateway.modern("toy", &token).call("headers", json!({})).await.unwrap(),
    ] {
        let seen = called.text().to_lowercase();
        assert!(seen.contains("content-type: application/json"), "{}", called.message);
        assert!(!seen.contains("authorization"), "{seen}");
        assert!(!seen.contains(&token.to_lowercase()), "{seen}");
        assert!(!seen.contains("cookie"), "{seen}");
    }
}

#[tokio::test]
async fn numbers_order_and_unknown_members_survive_the_way() {
    let (gateway, ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let text = "ünï \u{1f980} \\ \" \u{7f} 1e2 9007199254740993";
    let called = client.call("append", json!({"zeta": 1, "text": text, "alpha": 1})).await.unwrap();
    assert!(called.is_answer(), "{}", called.message);
    assert_eq!(lines(&ledger), [text]);
    let called = client.call("echo", json!({"text": text})).await.unwrap();
    assert_eq!(called.text(), text);
}

#[tokio::test]
async fn nobody_gets_in_without_a_token() {
    let (gateway, ledger) = with_toy().await;
    let stranger = Modern::new(&gateway.url("toy"), None);
    let body = stranger.body("tools/call", json!({"name": "append", "arguments": {"text": "x"}}));
    let answer = stranger.post(&stranger.headers(&body), &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate");
    assert!(challenge.starts_with("Bearer"), "{challenge}");
    let forged = Modern::new(&gateway.url("toy"), Some("eyJhbGciOiJub25lIn0.e30."));
    let answer = forged.post(&forged.headers(&body), &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 401);
    assert!(lines(&ledger).is_empty());
}

#[tokio::test]
async fn tools_are_listed_the_same_in_both_eras() {
    let (gateway, _ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let names = |message: &Value| -> Vec<String> {
        let tools = message["result"]["tools"].as_array().cloned().unwrap_or_default();
        tools.iter().map(|tool| tool["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let legacy = gateway.legacy("toy", &token).await.unwrap();
    let legacy = legacy.request("tools/list", json!({})).await.unwrap();
    let modern = gateway.modern("toy", &token).request("tools/list", json!({})).await.unwrap();
    assert!(names(&legacy).contains(&"append".to_owned()), "{legacy}");
    assert_eq!(names(&legacy), names(&modern));
    assert_eq!(modern["result"]["cacheScope"], "private", "{modern}");
}
