//! Starting: configuration with several errors, a policy that does not compile, a store that cannot
//! be written; health and readiness.

use forge_tests::gateway::{Gateway, Setup};
use forge_tests::process::{Folder, Output, program, run};
use serde_json::json;

use crate::line::with_toy;

async fn refused(folder: &Folder) -> Output {
    let program = program("forge-gateway").unwrap();
    run(&program, &["serve", "--config", "forge.toml"], folder.path()).await.unwrap()
}

#[tokio::test]
async fn five_errors_of_a_configuration_are_reported_at_once() {
    let folder = Folder::new("config").unwrap();
    folder
        .write(
            "forge.toml",
            "[listen]\nmcp = \"not an address\"\n\n[auth]\nmode = \"open\"\n\n[detect]\n\
             request = \"maybe\"\n\n[evidence]\ncommit_interval_ms = -4\n\n\
             [servers.one]\nurl = \"ftp://x\"\n\n[servers.two]\ncolour = \"red\"\n",
        )
        .unwrap();
    let output = refused(&folder).await;
    assert_eq!(output.code, 2, "{}", output.stderr);
    for place in
        ["listen.mcp", "auth.mode", "detect.request", "evidence.commit_interval_ms", "servers.one"]
    {
        assert!(output.stderr.contains(place), "{place} is missing: {}", output.stderr);
    }
    assert!(output.stderr.contains("colour"), "unknown keys are refused: {}", output.stderr);
    assert!(output.stderr.contains("forge.toml"), "the file is named: {}", output.stderr);
    assert!(output.stdout.is_empty(), "{}", output.stdout);
}

#[tokio::test]
async fn a_policy_that_does_not_compile_is_refused_with_its_place() {
    for (name, rule) in [
        ("a syntax error", "package forge.org.request\n\nallow if {\n"),
        ("an unknown function", "package forge.org.request\n\nallow if no_such_thing(1)\n"),
        ("a recursion", "package forge.org.request\n\nallow if allow\n"),
    ] {
        let mut setup = Setup::default();
        setup.policy.retain(|(file, _)| file != "request.rego");
        setup.policy.push(("request.rego".to_owned(), rule.to_owned()));
        let folder = Gateway::prepare(&setup).unwrap();
        let output = refused(&folder).await;
        assert_eq!(output.code, 2, "{name}: {}", output.stderr);
        assert!(output.stderr.contains("request.rego"), "{name}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_refused_at_the_start() {
    let folder = Gateway::prepare(&Setup::default()).unwrap();
    // Root may write to read-only files, so the file is one that is no database at all.
    folder.write("forge.db", "this is not a database, it only has its name").unwrap();
    let output = refused(&folder).await;
    assert_eq!(output.code, 1, "{}", output.stderr);
    assert!(output.stderr.contains("forge.db"), "{}", output.stderr);
}

#[tokio::test]
async fn open_authentication_is_refused_off_the_loopback() {
    let folder = Folder::new("config").unwrap();
    folder
        .write("forge.toml", "[listen]\nmcp = \"0.0.0.0:0\"\n[auth]\nmode = \"local\"\n")
        .unwrap();
    let output = refused(&folder).await;
    assert_eq!(output.code, 2, "{}", output.stderr);
    assert!(output.stderr.contains("listen.mcp"), "{}", output.stderr);
}

#[tokio::test]
async fn health_readiness_and_metrics_are_open_and_say_nothing_of_calls() {
    let (gateway, _ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let text = json!({"text": "a very particular text"});
    gateway.modern("toy", &token).call("echo", text).await.unwrap();
    for path in ["/healthz", "/readyz", "/readyz?verbose", "/metrics"] {
        let answer = gateway.open(path).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert!(!answer.text().contains("particular"), "{path}: {}", answer.text());
    }
    let metrics = gateway.open("/metrics").await.unwrap().text();
    assert!(metrics.contains("mcp_server_operation_duration"), "{metrics}");
}

#[tokio::test]
async fn the_admin_api_asks_who_is_there_and_whether_they_may() {
    let (gateway, _ledger) = with_toy().await;
    let stranger = gateway.open("/api/v1/approvals").await.unwrap();
    assert_eq!(stranger.status, 401, "{}", stranger.text());
    let alice = gateway.token("alice", &["developer"]).await.unwrap();
    let answer = gateway.api(http::Method::GET, "/approvals", &alice, None).await.unwrap();
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/problem+json");
    assert!(answer.json().unwrap()["code"].is_string(), "{}", answer.text());
    let root = gateway.token("root", &["administrator"]).await.unwrap();
    for path in ["/approvals", "/calls", "/servers"] {
        let answer = gateway.api(http::Method::GET, path, &root, None).await.unwrap();
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
}
