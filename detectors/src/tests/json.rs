//! The reader of documents: what it accepts, where it says things are, and what it does with names.

use forge_schemas::finding::Finding;

use super::{quoted, redact, scan, scanner};
use crate::json::Fault;
use crate::json::tree::Tree;
use crate::{RedactError, ScanError};

#[test]
fn documents_are_accepted_exactly_when_serde_json_accepts_them() {
    let cases = [
        "{}",
        "[]",
        "0",
        "-0",
        "1.5e+10",
        "\"\"",
        "null",
        " { \"a\" : [ 1 , true , false ] } ",
        "[[],{}]",
        "\"\\u0041\\n\\/\"",
        "",
        " ",
        "{",
        "[",
        "]",
        "{]",
        "[}",
        "[1,]",
        "[,1]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{a:1}",
        "01",
        "1.",
        ".5",
        "+1",
        "1e",
        "--1",
        "\"\\x\"",
        "\"\\u12\"",
        "\"a",
        "nul",
        "truex",
        "[1] 2",
        "{\"a\":1 \"b\":2}",
        "[1 2]",
        "\"\u{1}\"",
        "'a'",
        "NaN",
        "[\"a\",\"b\"]",
        "{\"\":\"\"}",
    ];
    for case in cases {
        let ours = Tree::read(case, 128).is_ok();
        let theirs = serde_json::from_str::<serde_json::Value>(case).is_ok();
        assert_eq!(ours, theirs, "{case}");
    }
}

#[test]
fn nesting_over_the_limit_is_named() {
    let deep = format!("{}{}", "[".repeat(129), "]".repeat(129));
    assert_eq!(Tree::read(&deep, 128).unwrap_err(), Fault::Depth);
    let error = scanner().scan_json(deep.as_bytes(), "").unwrap_err();
    assert_eq!((error, error.code()), (ScanError::Depth { most: 128 }, "depth"));
}

#[test]
fn broken_documents_are_refused_with_the_place() {
    assert_eq!(scanner().scan_json(b"{\"a\":x}", ""), Err(ScanError::Json { at: 5 }));
    assert_eq!(scanner().scan_json(b"{\"a\":\"\xff\"}", ""), Err(ScanError::Utf8 { at: 6 }));
}

fn one(json: &str) -> Finding {
    let mut findings = scan(json);
    assert_eq!(findings.len(), 1, "{json}: {findings:?}");
    findings.remove(0)
}

#[test]
fn offsets_count_bytes_of_the_decoded_string() {
    let finding = one(r#"{"a":["x",{"b/~":"\u00e9\n\"jo@example.org\" \ud83d\ude00"}]}"#);
    assert_eq!(finding.pointer, "/r/a/1/b~1~0");
    let decoded = "\u{e9}\n\"jo@example.org\" \u{1f600}";
    assert_eq!(super::span(decoded, &finding), "jo@example.org");
}

#[test]
fn a_span_in_a_nested_document_covers_its_bytes_in_the_outer_string() {
    let inner = format!(r#"{{"to":{}}}"#, quoted("say \"jo@example.org\""));
    let finding = one(&format!(r#"{{"text":{}}}"#, quoted(&inner)));
    assert_eq!(
        (finding.pointer.as_str(), finding.decoded.as_slice()),
        ("/r/text", &["json".to_owned()][..])
    );
    assert_eq!(super::span(&inner, &finding), "jo@example.org");
}

#[test]
fn numbers_keep_all_their_digits() {
    for (json, redacted) in [
        (r#"{"card":4111111111111111}"#, r#"{"card":0}"#),
        (r#"{"card":4000000000000000006}"#, r#"{"card":0}"#),
        (r#"[4.111111111111111e15 , 1]"#, "[0 , 1]"),
        (
            r#"{"text":"{\"card\": 4111111111111111, \"n\": 1}"}"#,
            r#"{"text":"{\"card\": 0, \"n\": 1}"}"#,
        ),
        (
            r#"{"text":"rows:\n{\"card\":4111111111111111}\n{\"card\":5555555555554444}"}"#,
            r#"{"text":"rows:\n{\"card\":0}\n{\"card\":0}"}"#,
        ),
    ] {
        assert_eq!(redact(json), redacted);
    }
}

#[test]
fn a_finding_in_a_name_points_at_the_member_without_saying_it_and_cannot_be_redacted() {
    let json = r#"{"by_mail":{"jo@example.org":{"card":"4111111111111111"}}}"#;
    let findings = scan(json);
    assert!(findings[0].in_key && !findings[1].in_key);
    assert_eq!(findings[0].pointer, "/r/by_mail/[REDACTED:EMAIL_ADDRESS]");
    assert_eq!(findings[1].pointer, "/r/by_mail/[REDACTED:EMAIL_ADDRESS]/card");
    let error = scanner().redact_json(json.as_bytes(), "/r", &findings).unwrap_err();
    assert!(matches!(error, RedactError::Key { .. }), "{error}");
    // What is below such a name can still be reached.
    let rest = scanner().redact_json(json.as_bytes(), "/r", &findings[1..]).unwrap();
    assert_eq!(rest, br#"{"by_mail":{"jo@example.org":{"card":"[REDACTED:CREDIT_CARD]"}}}"#);
}

#[test]
fn a_name_in_a_nested_document_cannot_be_redacted_either() {
    let json = r#"{"text":"{\"jo@example.org\":1}"}"#;
    let findings = scan(json);
    assert_eq!((findings[0].pointer.as_str(), findings[0].in_key), ("/r/text", true));
    let error = scanner().redact_json(json.as_bytes(), "/r", &findings).unwrap_err();
    assert_eq!(error.code(), "key");
}

#[test]
fn the_same_name_twice_is_redacted_twice() {
    let json = r#"{"a":"jo@example.org","a":"jo@example.org"}"#;
    assert_eq!(redact(json), r#"{"a":"[REDACTED:EMAIL_ADDRESS]","a":"[REDACTED:EMAIL_ADDRESS]"}"#);
}
