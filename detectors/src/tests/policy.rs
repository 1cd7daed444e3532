//! Redactions that policy asks for.

use forge_schemas::policy::{RedactAction, Redaction};

use super::{scan, scanner};
use crate::RedactError;

fn redaction(path: &str, action: RedactAction, with: &str, finding: &str) -> Redaction {
    Redaction { path: path.to_owned(), action, with: with.to_owned(), finding: finding.to_owned() }
}

fn apply(json: &str, redactions: &[Redaction]) -> Result<String, RedactError> {
    let bytes = scanner().apply(json.as_bytes(), "/r", redactions, &scan(json))?;
    serde_json::from_slice::<serde_json::Value>(&bytes).unwrap();
    Ok(String::from_utf8(bytes).unwrap())
}

#[test]
fn each_action_keeps_the_document_valid_and_its_types() {
    use RedactAction::{Mask, Remove, Truncate};
    let json = r#"{"a":"abc","n":12,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]},"l":["m",2]}"#;
    for (path, action, with, wanted) in [
        (
            "/r/a",
            Mask,
            "",
            r#"{"a":"***","n":12,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]},"l":["m",2]}"#,
        ),
        (
            "/r/a",
            Mask,
            "\"\\",
            r#"{"a":"\"\\","n":12,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]},"l":["m",2]}"#,
        ),
        (
            "/r/n",
            Mask,
            "x",
            r#"{"a":"abc","n":0,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]},"l":["m",2]}"#,
        ),
        (
            "/r/t",
            Mask,
            "",
            r#"{"a":"abc","n":12,"t":false,"z":null,"o":{"x":"q","y":[1,"w"]},"l":["m",2]}"#,
        ),
        (
            "/r/o",
            Mask,
            "",
            r#"{"a":"abc","n":12,"t":true,"z":null,"o":{"x":"***","y":[0,"***"]},"l":["m",2]}"#,
        ),
        ("/r/a", Remove, "", r#"{"n":12,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]},"l":["m",2]}"#),
        ("/r/l", Remove, "", r#"{"a":"abc","n":12,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]}}"#),
        (
            "/r/l/0",
            Remove,
            "",
            r#"{"a":"abc","n":12,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]},"l":[null,2]}"#,
        ),
        (
            "/r/a",
            Truncate,
            "2",
            r#"{"a":"ab…","n":12,"t":true,"z":null,"o":{"x":"q","y":[1,"w"]},"l":["m",2]}"#,
        ),
        ("/r/a", Truncate, "", json),
        ("/r/gone", Mask, "", json),
        ("/r/z", Mask, "", json),
    ] {
        let seen = apply(json, &[redaction(path, action, with, "")]).unwrap();
        assert_eq!(seen, wanted, "{path} {action:?} {with:?}");
    }
}

#[test]
fn all_members_can_be_removed_in_any_order() {
    let json = r#"{"a":1, "b":2 ,"c":3}"#;
    for names in [["a", "b", "c"], ["c", "b", "a"], ["b", "a", "c"], ["c", "a", "b"]] {
        let redactions: Vec<Redaction> = names
            .iter()
            .map(|name| redaction(&format!("/r/{name}"), RedactAction::Remove, "", ""))
            .collect();
        for count in 1..=3 {
            let seen = apply(json, &redactions[..count]).unwrap();
            let left: serde_json::Value = serde_json::from_str(&seen).unwrap();
            assert_eq!(
                left.as_object().unwrap().len(),
                3_usize.saturating_sub(count),
                "{names:?} {seen}"
            );
        }
    }
}

#[test]
fn hashes_and_tokens_are_the_same_for_the_same_value() {
    for action in [RedactAction::Hash, RedactAction::Tokenize] {
        let json = r#"{"a":"x y","b":"x y","c":"z"}"#;
        let paths = ["/r/a", "/r/b", "/r/c"].map(|path| redaction(path, action, "", ""));
        let seen: serde_json::Value = serde_json::from_str(&apply(json, &paths).unwrap()).unwrap();
        assert_eq!(seen["a"], seen["b"]);
        assert_ne!(seen["a"], seen["c"]);
        let prefix = if action == RedactAction::Hash { "hmac-sha256:" } else { "tok_" };
        assert!(seen["a"].as_str().unwrap().starts_with(prefix), "{seen}");
    }
}

#[test]
fn a_redaction_of_a_finding_changes_only_its_spans() {
    let json = r#"{"a":{"text":"to jo@example.org, card 4111111111111111","n":4111111111111111}}"#;
    let mail = redaction("/r/a", RedactAction::Mask, "(mail)", "email-address");
    assert_eq!(
        apply(json, &[mail]).unwrap(),
        r#"{"a":{"text":"to (mail), card 4111111111111111","n":4111111111111111}}"#
    );
    let card = redaction("/r/a", RedactAction::Mask, "", "credit-card");
    assert_eq!(
        apply(json, &[card]).unwrap(),
        r#"{"a":{"text":"to jo@example.org, card [REDACTED:CREDIT_CARD]","n":0}}"#
    );
}

#[test]
fn a_path_outside_of_the_root_is_an_error() {
    for path in ["/result/a", "/rx", ""] {
        let error = apply("{}", &[redaction(path, RedactAction::Mask, "", "")]).unwrap_err();
        assert_eq!(error.code(), "pointer", "{path}");
    }
    let error = apply("{}", &[redaction("/r", RedactAction::Remove, "", "")]).unwrap_err();
    assert_eq!(error.code(), "pointer");
}
