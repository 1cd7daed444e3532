//! What is taken out, and what stays byte for byte.

use super::{quoted, redact, scan, scanner};
use crate::{RedactError, marker};

#[test]
fn only_the_spans_change() {
    let json =
        "{ \"a\" : \"\\u00e9 jo@example.org\\t\\/ \\ud83d\\ude00\" ,\n \"n\": 1.50, \"b\":[ ] }";
    assert_eq!(
        redact(json),
        "{ \"a\" : \"\\u00e9 [REDACTED:EMAIL_ADDRESS]\\t\\/ \\ud83d\\ude00\" ,\n \"n\": 1.50, \"b\":[ ] }"
    );
}

#[test]
fn a_document_without_findings_comes_back_as_it_was() {
    for json in ["{}", "[1,2]", "{ \"a\":\"b\" }", "\"x\""] {
        assert_eq!(redact(json), json);
    }
}

#[test]
fn several_findings_of_one_string_are_all_taken_out() {
    let json = r#"{"a":"jo@example.org, al@example.org; card 4111111111111111"}"#;
    let mail = marker("EMAIL_ADDRESS");
    let wanted = format!(r#"{{"a":"{mail}, {mail}; card {}"}}"#, marker("CREDIT_CARD"));
    assert_eq!(redact(json), wanted);
}

#[test]
fn overlapping_findings_become_one_marker_named_by_the_strongest() {
    let json = r#"{"a":"xxxxxxxxxxjo@example.org"}"#;
    let mut findings = scan(json);
    findings[0].start = 4;
    let mut secret = findings[0].clone();
    (secret.start, secret.end, secret.entity) = (0, 12, "GITHUB_TOKEN".to_owned());
    secret.kind = forge_schemas::finding::FindingKind::Secret;
    findings.push(secret);
    let bytes = scanner().redact_json(json.as_bytes(), "/r", &findings).unwrap();
    assert_eq!(bytes, br#"{"a":"[REDACTED:GITHUB_TOKEN]"}"#);
}

#[test]
fn spans_that_cut_a_character_are_widened() {
    let json = r#"{"a":"éé jo@example.org"}"#;
    let mut findings = scan(json);
    (findings[0].start, findings[0].end) = (1, 3);
    let bytes = scanner().redact_json(json.as_bytes(), "/r", &findings).unwrap();
    assert_eq!(bytes, br#"{"a":"[REDACTED:EMAIL_ADDRESS] jo@example.org"}"#);
}

#[test]
fn findings_of_another_document_are_an_error() {
    let mut findings = scan(r#"{"a":"jo@example.org"}"#);
    let error = scanner().redact_json(br#"{"b":"x"}"#, "/r", &findings).unwrap_err();
    assert!(matches!(error, RedactError::Pointer { .. }), "{error}");
    // A span across two values of a nested document would break it.
    let nested = br#"{"a":"{\"x\":\"abcdefgh\",\"y\":\"abcdefgh\"}"}"#;
    (findings[0].start, findings[0].end) = (8, 20);
    let error = scanner().redact_json(nested, "/r", &findings).unwrap_err();
    assert_eq!(error.code(), "span");
}

#[test]
fn text_that_is_json_stays_json() {
    let text = "{\"card\": 4111111111111111, \"jo@example.org\": \"x\"}";
    let findings = scanner().scan_text(text).unwrap();
    let redacted = scanner().redact_text(text, &findings);
    assert_eq!(redacted, "{\"card\": 0, \"[REDACTED:EMAIL_ADDRESS]\": \"x\"}");
}

#[test]
fn findings_never_carry_the_value() {
    let json = format!(r#"{{"jo@example.org":{}}}"#, quoted("4111111111111111 al@example.org"));
    let written = serde_json::to_string(&scan(&json)).unwrap();
    for value in ["jo@", "al@", "4111111111111111"] {
        assert!(!written.contains(value), "{written}");
    }
}

#[test]
fn the_digest_is_the_same_for_the_same_value_whatever_its_encoding() {
    let plain = scan(r#"{"a":"4111111111111111"}"#);
    let number = scan(r#"{"b":4111111111111111}"#);
    let hidden = scan(r#"{"c":"NDExMTExMTExMTExMTExMQ=="}"#);
    assert_eq!(hidden[0].decoded, ["base64"]);
    assert!(plain[0].digest.starts_with("hmac-sha256:"));
    assert_eq!(plain[0].digest, number[0].digest);
    assert_eq!(plain[0].digest, hidden[0].digest);
}
