//! Golden schemas and the canonical form of every record.

use std::path::PathBuf;

use schemars::{JsonSchema, schema_for};

use crate::{finding, policy, record, refusal, verdict};

fn check_schema<T: JsonSchema>(name: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("{name}.schema.json"));
    let mut fresh = serde_json::to_string_pretty(&schema_for!(T)).unwrap();
    fresh.push('\n');
    if option_env!("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &fresh).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, fresh, "{name}: run with UPDATE_GOLDEN=1 at build time and review the diff");
}

#[test]
fn schemas_in_the_tree_are_those_of_the_types() {
    check_schema::<policy::PolicyInput>("policy-input");
    check_schema::<policy::Decision>("decision");
    check_schema::<finding::Finding>("finding");
    check_schema::<record::Record>("record");
    check_schema::<verdict::Verdict>("verdict");
    check_schema::<refusal::RefusalData>("refusal");
}

#[test]
fn every_refusal_code_is_dotted_and_unique() {
    let mut seen = std::collections::BTreeSet::new();
    for code in refusal::RefusalCode::ALL {
        assert!(code.code().contains('.'), "{}", code.code());
        assert!(seen.insert(code.code()), "{} twice", code.code());
        assert_eq!(serde_json::to_value(code).unwrap(), code.code());
    }
}

/// A record of each kind, with every optional member present.
fn samples() -> Vec<record::Record> {
    let decision = serde_json::json!({
        "kind": "decision", "at": 1, "bundle": crate::digest::Digest::of(b"b"), "call": "call_1",
        "client": {"agent": "a", "name": "n", "protocol": "p", "transport": "http", "version": "1"},
        "config": crate::digest::Digest::of(b"c"), "definition": crate::digest::Digest::of(b"d"),
        "effect": "allow", "evaluation": "ev_1",
        "findings": [{"confidence": "confirmed", "count": 1, "entity": "E", "kind": "pii", "rule": "r"}],
        "forwarded": crate::digest::Digest::of(b"f"), "input": crate::digest::Digest::of(b"i"), "log": "l",
        "method": "tools/call", "mode": "enforce", "principal": {"id": "alice", "issuer": "i", "kind": "user"},
        "reasons": [{"file": "a.rego", "id": "x", "layer": "org", "line": 3}],
        "received": crate::digest::Digest::of(b"r"), "refusal": "policy.denied", "revision": "r@1",
        "rules": crate::digest::Digest::of(b"u"), "seq": 4, "server": "s", "session": "ses_1",
        "session_prev": crate::digest::Digest::of(b"p"), "session_seq": 2, "slot": 9, "tenant": "t",
        "tool": "echo", "v": 1});
    let outcome = serde_json::json!({
        "kind": "outcome", "approval": "ap_1", "at": 1, "call": "call_1", "events": 0, "findings": [],
        "log": "l", "outcome": "answered", "received": null, "refusal": null, "returned": null, "seq": 5,
        "session": null, "session_prev": null, "session_seq": null, "slot": 9, "tenant": "t",
        "timings": {"hold_us": 1, "total_us": 2, "upstream_us": 3}, "v": 1});
    let approval = serde_json::json!({
        "kind": "approval.decided", "approval": "ap_1", "approver": {"id": "b", "issuer": "i", "kind": "user"},
        "arguments": crate::digest::Digest::of(b"a"), "at": 1, "call": "call_1",
        "digest": crate::digest::Digest::of(b"d"), "expires_at": 7, "log": "l", "max_uses": 1, "reason": null,
        "requirements": ["x"], "seq": 6, "session": null, "session_prev": null, "session_seq": null,
        "tenant": "t", "v": 1, "verdict": "approve"});
    let event = serde_json::json!({
        "kind": "session.close", "actor": null, "at": 1, "call": null, "detail": {"b": 1, "a": ["x"]},
        "log": "l", "seq": 7, "session": "ses_1", "session_prev": null, "session_seq": 3, "tenant": "t", "v": 1});
    [decision, outcome, approval, event]
        .into_iter()
        .map(|value| record::Record::parse(value.to_string().as_bytes()).unwrap())
        .collect()
}

#[test]
fn fields_stand_in_the_order_of_rfc_8785() {
    for sample in samples() {
        let leaf = sample.canonical().unwrap();
        // serde_json's map sorts by bytes, which for ASCII names is RFC 8785 §3.2.3.
        let sorted: serde_json::Value = serde_json::from_slice(&leaf).unwrap();
        assert_eq!(String::from_utf8(leaf).unwrap(), sorted.to_string());
    }
}

#[test]
fn a_record_reads_back_as_what_was_written() {
    for sample in samples() {
        assert_eq!(record::Record::parse(&sample.canonical().unwrap()).unwrap(), sample);
    }
}

#[test]
fn the_reference_page_lists_every_refusal_code() {
    let mut page = String::from(
        "# Refusal codes\n\nStable. A client sees the code, the sentence and the call id; why a rule \
         fired stays in the record\n(`GET /api/v1/calls/{id}`).\n\n| code | what it means and what to do |\n|---|---|\n",
    );
    for code in refusal::RefusalCode::ALL {
        page.push_str(&format!("| `{}` | {} |\n", code.code(), code.sentence()));
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/reference/refusals.md");
    if option_env!("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(golden, page, "run with UPDATE_GOLDEN=1 at build time and review the diff");
}
