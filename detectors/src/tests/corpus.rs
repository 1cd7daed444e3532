//! The corpus: texts that a person wrote down with what is in them, and texts with nothing in them.
//!
//! `{rule-id}` in a positive case stands for that rule's first example, so that no token stands in
//! the repository.

use serde_json::Value;

use super::scanner;

const POSITIVE: &str = include_str!("../../corpus/positive.jsonl");
const NEGATIVE: &str = include_str!("../../corpus/negative.jsonl");

fn filled(text: &str) -> String {
    scanner().rules().fold(text.to_owned(), |text, rule| {
        let example = rule.example(0);
        // A secret that needs its name is filled in with it where a text is, not where a value is.
        let whole = rule.id() == "aws-secret-access-key";
        text.replace(
            &format!("{{{}}}", rule.id()),
            if whole { &example.text } else { &example.secret },
        )
    })
}

/// The value that a pointer leads to, as text.
fn value(json: &Value, pointer: &str) -> String {
    let value = json.pointer(pointer).unwrap();
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[test]
fn positive_cases_give_exactly_what_they_name() {
    let mut failures = Vec::new();
    for line in POSITIVE.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let mut wanted = Vec::new();
        for pair in case["find"].as_array().unwrap() {
            let rule = pair[0].as_str().unwrap().to_owned();
            let secret = if rule == "aws-secret-access-key" {
                scanner().rules().find(|r| r.id() == rule).unwrap().example(0).secret
            } else {
                filled(pair[1].as_str().unwrap())
            };
            wanted.push((rule, secret));
        }
        let seen: Vec<(String, String)> = if let Some(text) = case["text"].as_str() {
            super::found(&filled(text))
        } else {
            let json = filled_json(&case["json"]);
            let findings = scanner().scan_json(json.to_string().as_bytes(), "").unwrap();
            let span = |f: &forge_schemas::finding::Finding| {
                // A name is masked in its pointer; there is one in the corpus.
                let name = || json.as_object().unwrap().keys().next().unwrap().clone();
                let text = if f.in_key { name() } else { value(&json, &f.pointer) };
                super::span(&text, f).to_owned()
            };
            findings.iter().map(|f| (f.rule.clone(), span(f))).collect()
        };
        if seen != wanted {
            failures.push(format!("{line}\n  wanted {wanted:?}\n  found  {seen:?}"));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

fn filled_json(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(filled(text)),
        Value::Array(items) => items.iter().map(filled_json).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), filled_json(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[test]
fn negative_cases_give_nothing() {
    let mut failures = Vec::new();
    for line in NEGATIVE.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let findings = match case["text"].as_str() {
            Some(text) => scanner().scan_text(text).unwrap(),
            None => scanner().scan_json(case["json"].to_string().as_bytes(), "").unwrap(),
        };
        if !findings.is_empty() {
            let seen: Vec<_> = findings.iter().map(|f| (&f.rule, f.start, f.end)).collect();
            failures.push(format!("{line}\n  found {seen:?}"));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}
