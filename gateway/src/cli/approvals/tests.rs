//! What approvers read, and what is sent in their name.

use serde_json::{Value, json};

use super::super::api::may_carry_token;
use super::{Reach, checked, is_no, page};

fn approval() -> Value {
    json!({
        "id": "ap_1", "state": "pending", "call": "call_1", "tool": "transfer_funds", "server": "demo",
        "subject": {"id": "alice", "issuer": "local", "kind": "user"}, "agent": "",
        "schema_digest": "sha256:aa", "policy_revision": "starter@1", "arguments_bytes": 15,
        "digest": "sha256:dd", "expires_at": 600_000, "votes": [],
        "terms": {"required": [{"id": "transfer.large", "approvers": ["role:approver"], "quorum": 1,
            "not": ["requester"]}], "ttl_s": 900, "execute_within_s": 300, "scope": "call", "max_uses": 1},
        "display": {"arguments": {"bytes": 15, "complete": true, "digest": "sha256:ee", "escaped": 0,
            "text": "{\"amount\":2500}"}, "facts": {"reasons": [{"id": "transfer.large", "msg": "much"}]}},
    })
}

#[test]
fn an_approver_reads_everything_that_will_be_done() {
    let page = page::long(&approval(), 0);
    let wanted = [
        "ap_1",
        "pending, expires in 10 min",
        "alice (local)",
        "transfer_funds on demo",
        "sha256:aa",
        "transfer.large: much",
        "starter@1",
        "1 of role:approver, not the requester",
        "once, within 300 s",
        "{\"amount\":2500}",
        "sha256:dd",
    ];
    for part in wanted {
        assert!(page.contains(part), "{part} in\n{page}");
    }
    assert!(!page.contains("look twice"));
}

#[test]
fn what_would_lie_to_the_eye_is_escaped_and_said() {
    let mut approval = approval();
    approval["subject"]["id"] = json!("bob\u{1b}[2K\u{202e}");
    approval["display"]["arguments"]["escaped"] = json!(3);
    approval["display"]["arguments"]["complete"] = json!(false);
    let page = page::long(&approval, 0);
    assert!(page.contains("bob\\u001b[2K\\u202e"), "{page}");
    assert!(page.contains("3 characters do not show") && page.contains("cut off"), "{page}");
    assert!(page::short(&approval, 0).lines().all(|line| !line.contains('\u{1b}')));
}

#[test]
fn times_are_told_in_words() {
    for (ms, wanted) in [
        (-5, "now"),
        (999, "now"),
        (1000, "in 1 s"),
        (119_000, "in 119 s"),
        (120_000, "in 2 min"),
        (7_200_000, "in 2 h"),
    ] {
        assert_eq!(page::span(ms), wanted);
    }
}

#[test]
fn the_next_command_reaches_the_same_gateway() {
    let reach = Reach {
        config: Some("/tmp/a b/forge.toml".into()),
        url: None,
        token_file: Some("bob.token".into()),
    };
    assert_eq!(reach.flags(), " --config '/tmp/a b/forge.toml' --token-file bob.token");
    assert_eq!(Reach::default().flags(), "");
}

#[test]
fn ids_cannot_leave_their_place_in_the_path() {
    assert!(checked("ap_0193").is_ok());
    for bad in ["", "..", "a/b", "a?b", "a b", "%2e", &"a".repeat(65)] {
        assert!(checked(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_no_is_not_a_failure_to_ask() {
    for (status, no) in
        [(400, true), (403, true), (404, true), (409, true), (401, false), (500, false)]
    {
        assert_eq!(is_no(status), no, "{status}");
    }
}

#[test]
fn tokens_go_over_tls_or_stay_on_this_machine() {
    let fine = ["https://a.example", "http://127.0.0.1:8081", "http://localhost", "http://[::1]:9"];
    let not = [
        "http://a.example",
        "http://10.0.0.1",
        "ftp://127.0.0.1",
        "127.0.0.1:1",
        "http://localhost.evil.test",
    ];
    assert!(fine.iter().all(|url| may_carry_token(url)));
    assert!(!not.iter().any(|url| may_carry_token(url)));
}
