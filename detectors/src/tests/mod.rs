//! Tests of the crate, by subject.

mod checks;
mod corpus;
mod encodings;
mod hostile;
mod json;
mod personal;
mod policy;
mod redaction;

use std::sync::OnceLock;

use forge_schemas::finding::Finding;

use crate::{DigestKey, Scanner};

/// One scanner for all tests: compiling it is most of what a test would cost.
fn scanner() -> &'static Scanner {
    static SCANNER: OnceLock<Scanner> = OnceLock::new();
    SCANNER.get_or_init(|| Scanner::builtin(DigestKey::new(&[7; 32])).unwrap())
}

/// What is found in a text: rule and the text of the span.
fn found(text: &str) -> Vec<(String, String)> {
    let findings = scanner().scan_text(text).unwrap();
    findings.iter().map(|f| (f.rule.clone(), span(text, f).to_owned())).collect()
}

/// The bytes that a finding points at.
fn span<'a>(text: &'a str, finding: &Finding) -> &'a str {
    text.get(finding.start..finding.end).unwrap()
}

/// Findings of a JSON document under the root `/r`.
fn scan(json: &str) -> Vec<Finding> {
    scanner().scan_json(json.as_bytes(), "/r").unwrap()
}

/// The document with all that was found in it taken out.
fn redact(json: &str) -> String {
    let bytes = scanner().redact_json(json.as_bytes(), "/r", &scan(json)).unwrap();
    String::from_utf8(bytes).unwrap()
}

/// `text` as the content of a JSON string.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.to_owned()).to_string()
}
