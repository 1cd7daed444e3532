//! What a new user meets first: the demo's story, and the gateway on stdin and stdout.

use std::process::Stdio;

use forge_tests::process::{Folder, Output, program, run};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::Command;

async fn told(folder: &Folder) -> Output {
    let program = program("forge-gateway").unwrap();
    run(&program, &["demo", "--once", "--dir", "demo"], folder.path()).await.unwrap()
}

#[tokio::test]
async fn the_demo_tells_its_whole_story_and_ends_with_0() {
    let folder = Folder::new("demo").unwrap();
    let output = told(&folder).await;
    assert_eq!(output.code, 0, "{}{}", output.stdout, output.stderr);
    let parts = [
        "rule read_file.outside",
        "[REDACTED:GITHUB_TOKEN]",
        "rule transfer.large",
        "executed exactly once",
        "approval.denied",
        "verdict     ok:",
        "not verified",
    ];
    for part in parts {
        assert!(output.stdout.contains(part), "{part} is missing: {}", output.stdout);
    }
    assert!(!output.stdout.contains('\u{1b}'), "colour goes to terminals only");
    assert!(output.stdout.lines().all(|line| line.chars().count() <= 100), "{}", output.stdout);
}

#[tokio::test]
async fn a_client_that_only_starts_a_process_is_governed_too() {
    let folder = Folder::new("stdio").unwrap();
    assert_eq!(told(&folder).await.code, 0);
    let mut child = Command::new(program("forge-gateway").unwrap())
        .args(["stdio", "--config", "demo/forge.toml"])
        .current_dir(folder.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let hello = json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"}});
    let file = json!({"name": "read_file", "arguments": {"path": "/etc/passwd"}});
    let sum = json!({"name": "add", "arguments": {"a": 1, "b": 2}});
    let steps = [
        (json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}), true),
        (json!({"jsonrpc": "2.0", "method": "notifications/initialized"}), false),
        (json!({"jsonrpc": "2.0", "id": "two", "method": "tools/call", "params": file}), true),
        (json!({"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": sum}), true),
        (json!([1]), true),
    ];
    let mut answers: Vec<Value> = Vec::new();
    for (message, answered) in steps {
        input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
        if answered {
            let line = lines.next_line().await.unwrap().expect("an answer");
            answers.push(serde_json::from_str(&line).unwrap());
        }
    }
    assert_eq!(answers[0]["result"]["protocolVersion"], "2025-11-25");
    assert_eq!(answers[1]["id"], "two");
    assert_eq!(answers[1]["result"]["_meta"]["dev.forge/refusal"]["code"], "policy.denied");
    assert_eq!(answers[2]["result"]["structuredContent"]["sum"].as_f64(), Some(3.0));
    assert_eq!(answers[3]["error"]["data"]["code"], "protocol.batch");
    drop(input);
    assert!(lines.next_line().await.unwrap().is_none(), "nothing is left on stdout");
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}
