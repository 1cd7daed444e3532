//! Deciding: who, what, once; and bodies that are no vote.

use forge_schemas::digest::Digest;
use serde_json::json;

use super::world::World;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_counts_once_and_only_for_what_was_read() {
    let world = World::new().await;
    let approval = world.pending("ann").await;
    let path = format!("/api/v1/approvals/{}/approve", approval.id);
    let (paul, vic) = (world.token("paul", &["approver"]), world.token("vic", &["approver"]));
    let other = json!({ "expect": Digest::of(b"something else") }).to_string();
    let before = world.head("default");
    let reply = world.post(&path, &paul, other).await;
    assert_eq!((reply.status, reply.problem().as_str()), (409, "approval.digest"));
    let events = world.events("default", before);
    let said: Vec<_> =
        events.iter().map(|event| (&event.detail["phase"], event.detail.get("code"))).collect();
    assert_eq!(
        said,
        [(&json!("approve"), None), (&json!("admin"), Some(&json!("approval.digest")))]
    );

    let reply = world.vote(&approval, "approve", &paul).await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let decided = reply.json();
    assert_eq!(
        (&decided["state"], &decided["votes"][0]["approver"]["id"]),
        (&json!("approved"), &json!("paul"))
    );
    for (verb, token) in [("approve", &paul), ("deny", &vic)] {
        let reply = world.vote(&approval, verb, token).await;
        assert_eq!((reply.status, reply.problem().as_str()), (409, "approval.closed"), "{verb}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_decides_their_own_request() {
    let world = World::new().await;
    let approval = world.pending("ann").await;
    for subject in ["ann", "Ann"] {
        let token = world.token(subject, &["approver", "administrator"]);
        for verb in ["approve", "deny"] {
            let before = world.head("default");
            let reply = world.vote(&approval, verb, &token).await;
            assert_eq!((reply.status, reply.problem().as_str()), (403, "policy.denied"));
            assert!(reply.text.contains("You cannot decide a request of your own."), "{reply:?}");
            let events = world.events("default", before);
            assert_eq!(events.len(), 1, "{events:?}");
            let detail = &events[0].detail;
            assert_eq!((&detail["phase"], &detail["effect"]), (&json!("approve"), &json!("deny")));
            assert_eq!(detail["reasons"], json!(["approve.own"]));
        }
    }
    let stored = world.gateway().store.approval(&approval.id).await.unwrap().unwrap();
    assert!(stored.votes.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessed_and_misshapen_ids_are_unknown() {
    let world = World::new().await;
    let token = world.token("paul", &["approver"]);
    let body = json!({ "expect": Digest::of(b"x") }).to_string();
    let long = "a".repeat(3000);
    for id in ["ap_00000000000000000000000000000000", "..", "%2e%2e", "ap_%00", "a'b", &long] {
        let path = format!("/api/v1/approvals/{id}/approve");
        let reply = world.post(&path, &token, body.clone()).await;
        // Clients themselves resolve the dots, and then there is nothing at the path.
        let code = if id.len() < 7 && id.contains('.') || id == "%2e%2e" {
            "http.not_found"
        } else {
            "approval.unknown"
        };
        assert_eq!((reply.status, reply.problem().as_str()), (404, code), "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_is_a_vote_and_nothing_else() {
    let world = World::new().await;
    let approval = world.pending("ann").await;
    let token = world.token("paul", &["approver"]);
    let path = format!("/api/v1/approvals/{}/approve", approval.id);
    let digest = approval.digest;
    let invalid = "protocol.invalid_request";
    let table: [(String, u16, &str); 12] = [
        (String::new(), 400, invalid),
        ("[]".to_owned(), 400, invalid),
        ("{}".to_owned(), 400, invalid),
        (format!(r#"{{"expect":"{digest}"}} {{}}"#), 400, invalid),
        (format!(r#"{{"expect":"{digest}","force":true}}"#), 400, invalid),
        (r#"{"expect":"sha256:1234"}"#.to_owned(), 400, invalid),
        (format!(r#"{{"expect":"{digest}","reason":7}}"#), 400, invalid),
        (format!(r#"{{"expect":"{digest}","expect":"{digest}"}}"#), 400, "protocol.duplicate_key"),
        (
            format!(r#"{{"expect":"{digest}","\u0065xpect":"{digest}"}}"#),
            400,
            "protocol.duplicate_key",
        ),
        (format!(r#"{{"expect":{}{}}}"#, "[".repeat(50), "]".repeat(50)), 400, "protocol.too_deep"),
        (
            json!({ "expect": digest, "reason": "r".repeat(5000) }).to_string(),
            400,
            "approval.reason_length",
        ),
        (
            json!({ "expect": digest, "reason": "r".repeat(40_000) }).to_string(),
            413,
            "limit.body_bytes",
        ),
    ];
    for (body, status, code) in table {
        let reply = world.post(&path, &token, body.clone()).await;
        assert_eq!((reply.status, reply.problem().as_str()), (status, code), "{body}");
    }
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "text/plain")];
    let body = json!({ "expect": digest }).to_string();
    let reply = world.send("POST", &path, &headers, body).await;
    assert_eq!((reply.status, reply.problem().as_str()), (415, "protocol.media_type"));
    let reply = world.post(&path, &token, b"{\"expect\":\"\xff\"}".to_vec()).await;
    assert_eq!((reply.status, reply.problem().as_str()), (400, invalid));
    let stored = world.gateway().store.approval(&approval.id).await.unwrap().unwrap();
    assert!(stored.votes.is_empty());
    let reply = world.vote(&approval, "deny", &token).await;
    assert_eq!((reply.status, &reply.json()["state"]), (200, &json!("denied")));
}
