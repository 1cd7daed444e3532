//! The server over a pipe, with rmcp's own client in both eras.

use rmcp::model::{
    CallToolRequestParams, ClientCapabilities, ClientConfig, Implementation, ProtocolVersion,
};
use rmcp::service::RunningService;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient, ServiceExt as _};
use serde_json::{Value, json};

use super::{DemoServer, api_key};

type Client = RunningService<RoleClient, ClientConfig>;

async fn connected(lifecycle: ClientLifecycleMode) -> Client {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    tokio::spawn(async move { DemoServer::default().serve(theirs).await.unwrap().waiting().await });
    let about = Implementation::new("test", "1");
    let client = ClientConfig::new(ClientCapabilities::default(), about);
    client.serve_with_lifecycle(ours, lifecycle).await.unwrap()
}

fn modern() -> ClientLifecycleMode {
    ClientLifecycleMode::Discover { preferred_versions: vec![ProtocolVersion::V_2026_07_28] }
}

async fn call(client: &Client, tool: &'static str, arguments: Value) -> Value {
    let arguments = arguments.as_object().unwrap().clone();
    let params = CallToolRequestParams::new(tool).with_arguments(arguments);
    serde_json::to_value(client.call_tool(params).await.unwrap()).unwrap()
}

#[tokio::test]
async fn both_eras_see_the_same_tools() {
    for lifecycle in [modern(), ClientLifecycleMode::Initialize] {
        let client = connected(lifecycle).await;
        let tools = client.list_all_tools().await.unwrap();
        let mut names: Vec<&str> = tools.iter().map(|tool| tool.name.as_ref()).collect();
        names.sort_unstable();
        let wanted =
            ["add", "ledger", "lookup_customer", "read_file", "send_email", "transfer_funds"];
        assert_eq!(names, wanted);
        for tool in &tools {
            assert!(tool.title.is_some() && tool.description.is_some(), "{}", tool.name);
            assert!(tool.output_schema.is_some(), "{}", tool.name);
            let reads = tool.annotations.as_ref().unwrap().read_only_hint.unwrap();
            assert_eq!(reads, !["transfer_funds", "send_email"].contains(&tool.name.as_ref()));
        }
    }
}

#[tokio::test]
async fn transfers_are_counted() {
    let client = connected(modern()).await;
    let transfer = json!({"from": "ops", "to": "rent", "amount": 10});
    for execution in 1..=2 {
        let done = call(&client, "transfer_funds", transfer.clone()).await;
        assert_eq!(done["structuredContent"]["execution"], execution);
    }
    let ledger = call(&client, "ledger", json!({})).await;
    assert_eq!(ledger["structuredContent"]["executions"], 2);
    assert_eq!(ledger["structuredContent"]["transfers"][0]["to"], "rent");
}

#[tokio::test]
async fn answers_are_structured_and_text_alike() {
    let client = connected(modern()).await;
    let cases = [
        ("add", json!({"a": 2, "b": 40.5}), json!({"sum": 42.5})),
        (
            "send_email",
            json!({"to": "a@example.com", "subject": "hi", "body": "there"}),
            json!({"to": "a@example.com", "bytes": 7}),
        ),
    ];
    for (tool, arguments, wanted) in cases {
        let result = call(&client, tool, arguments).await;
        assert_eq!(result["structuredContent"], wanted);
        let text = result["content"][0]["text"].as_str().unwrap();
        assert_eq!(serde_json::from_str::<Value>(text).unwrap(), wanted);
    }
    let notes = call(&client, "read_file", json!({"path": "/workspace/notes.txt"})).await;
    assert!(notes["content"][0]["text"].as_str().unwrap().contains("Thursday"));
}

#[tokio::test]
async fn what_is_not_there_is_a_tool_error_that_says_what_is() {
    let client = connected(modern()).await;
    let file = call(&client, "read_file", json!({"path": "/workspace/none"})).await;
    assert_eq!(file["isError"], true);
    assert!(file["content"][0]["text"].as_str().unwrap().contains("/workspace/notes.txt"));
    let customer = call(&client, "lookup_customer", json!({"id": "C-9"})).await;
    assert_eq!(customer["isError"], true);
}

#[tokio::test]
async fn a_customer_carries_what_detectors_know() {
    let client = connected(modern()).await;
    let result = call(&client, "lookup_customer", json!({"id": "C-1001"})).await;
    let scanner =
        forge_detectors::Scanner::builtin(forge_detectors::DigestKey::new(&[7; 32])).unwrap();
    let whole = serde_json::to_vec(&result["structuredContent"]).unwrap();
    let findings = scanner.scan_json(&whole, "").unwrap();
    let confirmed = |finding: &&forge_schemas::finding::Finding| {
        finding.confidence == forge_schemas::finding::Confidence::Confirmed
    };
    let key = findings.iter().find(|finding| finding.entity == "GITHUB_TOKEN");
    assert!(key.as_ref().is_some_and(confirmed));
    let mut entities: Vec<&str> = findings.iter().map(|finding| finding.entity.as_str()).collect();
    entities.sort_unstable();
    let wanted = ["CREDIT_CARD", "EMAIL_ADDRESS", "GITHUB_TOKEN", "PHONE_NUMBER", "US_SSN"];
    assert_eq!(entities, wanted);
    assert_eq!(api_key().len(), 40);
}
