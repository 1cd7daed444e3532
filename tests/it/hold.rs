//! Calls that wait for a person: approved once, refused, expired, cancelled by nobody else, and
//! still there after a crash.

use std::sync::Arc;

use forge_tests::gateway::{Gateway, Setup, eventually};
use forge_tests::process::Folder;
use serde_json::json;

use crate::line::{lines, of_kind, with_toy};

struct Scene {
    gateway: Arc<Gateway>,
    ledger: Folder,
    alice: String,
    bob: String,
}

async fn scene() -> Scene {
    let (gateway, ledger) = with_toy().await;
    let alice = gateway.token("alice", &["developer", "approver"]).await.unwrap();
    let bob = gateway.token("bob", &["approver"]).await.unwrap();
    Scene { gateway: Arc::new(gateway), ledger, alice, bob }
}

impl Scene {
    fn call(&self, text: &str) -> tokio::task::JoinHandle<forge_tests::client::Called> {
        let (gateway, token) = (Arc::clone(&self.gateway), self.alice.clone());
        let arguments = json!({"text": text});
        tokio::spawn(async move {
            let client = gateway.modern("toy", &token);
            client.call_rounds("append_held", arguments, 10).await.unwrap()
        })
    }
}

#[tokio::test]
async fn an_approved_call_is_executed_once_with_the_bytes_that_were_shown() {
    let scene = scene().await;
    let call = scene.call("held");
    let approval = scene.gateway.one_pending(&scene.bob).await.unwrap();
    assert!(lines(&scene.ledger).is_empty(), "nothing happens before the approval");
    let shown = approval.to_string();
    assert!(shown.contains("held") && shown.contains("append_held"), "{shown}");

    let answer = scene.gateway.decide(&approval, "approve", &scene.bob).await.unwrap();
    assert!(answer.status.is_success(), "{} {}", answer.status, answer.text());
    let called = call.await.unwrap();
    assert_eq!(called.text(), "line 1", "{}", called.message);
    assert_eq!(lines(&scene.ledger), ["held"]);

    // The approval is spent: the same call again waits again.
    let again = scene.call("held");
    let second = scene.gateway.one_pending(&scene.bob).await.unwrap();
    assert_ne!(second["id"], approval["id"]);
    let answer = scene.gateway.decide(&approval, "approve", &scene.bob).await.unwrap();
    assert!(answer.status.is_client_error(), "a second verdict: {}", answer.text());
    scene.gateway.decide(&second, "deny", &scene.bob).await.unwrap();
    assert_eq!(again.await.unwrap().refusal(), Some("approval.denied"));
    assert_eq!(lines(&scene.ledger), ["held"]);

    let records = scene.gateway.records().await.unwrap();
    for (kind, count) in [("approval.requested", 2), ("approval.decided", 2)] {
        assert_eq!(of_kind(&records, kind).len(), count, "{kind}: {records:?}");
    }
    let verdict = scene.gateway.verdict().await.unwrap();
    assert_eq!(verdict["ok"], true, "{verdict}");
}

#[tokio::test]
async fn a_client_with_a_session_waits_too() {
    let scene = scene().await;
    let client = scene.gateway.legacy("toy", &scene.alice).await.unwrap();
    let call = tokio::spawn(async move {
        client.call("append_held", json!({"text": "with a session"})).await.unwrap()
    });
    let approval = scene.gateway.one_pending(&scene.bob).await.unwrap();
    scene.gateway.decide(&approval, "approve", &scene.bob).await.unwrap();
    assert_eq!(call.await.unwrap().text(), "line 1");
    assert_eq!(lines(&scene.ledger), ["with a session"]);
}

#[tokio::test]
async fn a_refused_call_is_not_executed() {
    let scene = scene().await;
    let call = scene.call("never");
    let approval = scene.gateway.one_pending(&scene.bob).await.unwrap();
    let answer = scene.gateway.decide(&approval, "deny", &scene.bob).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());
    let called = call.await.unwrap();
    assert_eq!(called.refusal(), Some("approval.denied"), "{}", called.message);
    assert!(lines(&scene.ledger).is_empty());
}

#[tokio::test]
async fn nobody_approves_the_own_call_or_another_digest_or_without_the_role() {
    let scene = scene().await;
    let call = scene.call("mine");
    let mut approval = scene.gateway.one_pending(&scene.bob).await.unwrap();

    let own = scene.gateway.decide(&approval, "approve", &scene.alice).await.unwrap();
    assert!(own.status.is_client_error(), "the requester approved: {}", own.text());
    let carol = scene.gateway.token("carol", &["developer"]).await.unwrap();
    let other = scene.gateway.decide(&approval, "approve", &carol).await.unwrap();
    assert!(other.status.is_client_error(), "no role was needed: {}", other.text());
    let right = approval["digest"].clone();
    approval["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    let wrong = scene.gateway.decide(&approval, "approve", &scene.bob).await.unwrap();
    assert!(wrong.status.is_client_error(), "any digest would do: {}", wrong.text());
    assert!(lines(&scene.ledger).is_empty());

    approval["digest"] = right;
    scene.gateway.decide(&approval, "deny", &scene.bob).await.unwrap();
    assert_eq!(call.await.unwrap().refusal(), Some("approval.denied"));
}

#[tokio::test]
async fn time_runs_out_into_a_refusal() {
    let folder = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&folder.join("ledger")).unwrap();
    let setup = setup.with_rule("\"ttl_s\": 120", "\"ttl_s\": 1");
    let gateway = Gateway::start(&setup).await.unwrap();
    let alice = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &alice);
    let called = client.call_rounds("append_held", json!({"text": "late"}), 10).await.unwrap();
    assert_eq!(called.refusal(), Some("approval.expired"), "{}", called.message);
    assert!(lines(&folder).is_empty());
    let records = gateway.records().await.unwrap();
    assert_eq!(of_kind(&records, "approval.expired").len(), 1, "{records:?}");
}

#[tokio::test]
async fn an_approval_survives_a_crash() {
    let (mut gateway, ledger) = with_toy().await;
    let alice = gateway.token("alice", &["developer"]).await.unwrap();
    let bob = gateway.token("bob", &["approver"]).await.unwrap();
    let client = gateway.modern("toy", &alice);
    let waiting = tokio::spawn(async move {
        // The crash cuts this one off.
        client.call_rounds("append_held", json!({"text": "survivor"}), 10).await.is_err()
    });
    let approval = gateway.one_pending(&bob).await.unwrap();
    gateway.process.crash().await.unwrap();
    assert!(waiting.await.unwrap());
    gateway.restart().await.unwrap();

    let still = gateway.one_pending(&bob).await.unwrap();
    assert_eq!(still["id"], approval["id"]);
    assert_eq!(still["digest"], approval["digest"]);
    assert!(lines(&ledger).is_empty());
    let answer = gateway.decide(&still, "approve", &bob).await.unwrap();
    assert!(answer.status.is_success(), "{}", answer.text());

    // The same call by the same principal finds its approval.
    let client = gateway.modern("toy", &alice);
    let called = client.call_rounds("append_held", json!({"text": "survivor"}), 10).await.unwrap();
    assert_eq!(called.text(), "line 1", "{}", called.message);
    assert_eq!(lines(&ledger), ["survivor"]);
    let verdict = gateway.verdict().await.unwrap();
    assert_eq!(verdict["ok"], true, "{verdict}");
}

#[tokio::test]
async fn the_command_line_approves_too() {
    let scene = scene().await;
    let call = scene.call("by command");
    let approval = scene.gateway.one_pending(&scene.bob).await.unwrap();
    let id = approval["id"].as_str().unwrap();
    let digest = approval["digest"].as_str().unwrap();
    let file = scene.gateway.folder.write("bob.token", &scene.bob).unwrap();
    let file = file.to_string_lossy().into_owned();
    let words = ["approvals", "list", "--json", "--token-file", &file];
    let listed = scene.gateway.command(&words).await.unwrap();
    assert!(listed.stdout.contains(id), "{} {}", listed.stdout, listed.stderr);
    let words = ["approvals", "approve", id, "--expect", digest, "--token-file", &file];
    let output = scene.gateway.command(&words).await.unwrap();
    assert_eq!(output.code, 0, "{} {}", output.stdout, output.stderr);
    assert_eq!(call.await.unwrap().text(), "line 1");
    eventually("the ledger", || async { Ok((lines(&scene.ledger).len() == 1).then_some(())) })
        .await
        .unwrap();
}
