//! Each rule's example is found and taken out in every encoding.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::{quoted, scanner};
use crate::{Example, Rule};

/// A way to hide a text in a JSON document, and the encodings that a finding names then.
struct Hiding {
    name: &'static str,
    hide: fn(&str) -> String,
    decoded: &'static [&'static str],
    /// Works for examples that are JSON themselves, too.
    any: bool,
}

const HIDINGS: &[Hiding] = &[
    Hiding {
        name: "json",
        hide: |text| format!(r#"{{"a":{}}}"#, quoted(text)),
        decoded: &[],
        any: true,
    },
    Hiding {
        name: "structured content beside its copy",
        hide: |text| {
            let inner = format!(r#"{{"v":{}}}"#, quoted(text));
            format!(
                r#"{{"structuredContent":{inner},"content":[{{"type":"text","text":{}}}]}}"#,
                quoted(&inner)
            )
        },
        decoded: &[],
        any: true,
    },
    Hiding { name: "nested json", hide: |text| nest(text, 1), decoded: &["json"], any: true },
    Hiding {
        name: "nested json twice",
        hide: |text| nest(text, 2),
        decoded: &["json", "json"],
        any: true,
    },
    Hiding {
        name: "nested json thrice",
        hide: |text| nest(text, 3),
        decoded: &["json", "json", "json"],
        any: false,
    },
    Hiding {
        name: "base64",
        hide: |text| format!(r#"{{"a":"blob {} end"}}"#, STANDARD.encode(text)),
        decoded: &["base64"],
        any: true,
    },
    Hiding {
        name: "base64url in nested json",
        hide: |text| nest(&URL_SAFE_NO_PAD.encode(text), 1),
        decoded: &["json", "base64"],
        any: true,
    },
    Hiding {
        name: "base64 twice",
        hide: |text| format!(r#"{{"a":"{}"}}"#, STANDARD.encode(STANDARD.encode(text))),
        decoded: &["base64", "base64"],
        any: true,
    },
    Hiding {
        name: "hex",
        hide: |text| format!(r#"{{"a":"{}"}}"#, forge_schemas::digest::hex(text.as_bytes())),
        decoded: &["hex"],
        any: true,
    },
    Hiding {
        name: "percent, all of it",
        hide: |text| format!(r#"{{"a":"q={}"}}"#, percent(text, |_| true)),
        decoded: &["percent"],
        any: false,
    },
    Hiding {
        name: "unicode escapes of the document",
        hide: |text| format!(r#"{{"a":"{}"}}"#, unicode(text)),
        decoded: &[],
        any: true,
    },
    Hiding {
        name: "unicode escapes in the text",
        hide: |text| format!(r#"{{"a":{}}}"#, quoted(&unicode(text))),
        decoded: &["escape"],
        any: true,
    },
    Hiding {
        name: "zero-width characters",
        hide: |text| {
            let dotted: Vec<String> = text.chars().map(String::from).collect();
            format!(r#"{{"a":{}}}"#, quoted(&dotted.join("\u{200b}")))
        },
        decoded: &[],
        any: false,
    },
    Hiding {
        name: "full-width forms",
        hide: |text| format!(r#"{{"a":{}}}"#, quoted(&wide(text))),
        decoded: &[],
        any: false,
    },
];

fn nest(text: &str, times: usize) -> String {
    (0..times).fold(format!(r#"{{"a":{}}}"#, quoted(text)), |inner, _| {
        format!(r#"{{"content":[{{"type":"text","text":{}}}]}}"#, quoted(&inner))
    })
}

fn percent(text: &str, wanted: fn(u8) -> bool) -> String {
    text.bytes()
        .map(|b| if wanted(b) { format!("%{b:02X}") } else { char::from(b).to_string() })
        .collect()
}

fn unicode(text: &str) -> String {
    text.chars().map(|c| format!("\\u{:04x}", u32::from(c))).collect()
}

fn wide(text: &str) -> String {
    let widen = |c: char| match u32::from(c) {
        code @ 0x21..=0x7e => char::from_u32(code.wrapping_add(0xFEE0)).unwrap(),
        _ => c,
    };
    text.chars().map(widen).collect()
}

fn check(rule: &Rule, example: &Example, hiding: &Hiding) -> Result<(), String> {
    let json = (hiding.hide)(&example.text);
    let fail = |why: String| Err(format!("{} in {}: {why}\n  {json}", rule.id(), hiding.name));
    let findings = match scanner().scan_json(json.as_bytes(), "/r") {
        Ok(findings) => findings,
        Err(error) => return fail(error.to_string()),
    };
    let Some(finding) = findings.iter().find(|finding| finding.rule == rule.id()) else {
        return fail(format!("not found, but {findings:?}"));
    };
    // An example that is JSON itself adds a layer of its own.
    let own = usize::from(example.text.starts_with('{'));
    let decoded = finding.decoded.len().checked_sub(own).map(|count| &finding.decoded[..count]);
    if finding.confidence != rule.confidence() || decoded.is_none_or(|d| d != hiding.decoded) {
        return fail(format!("found as {finding:?}"));
    }
    let redacted = match scanner().redact_json(json.as_bytes(), "/r", &findings) {
        Ok(redacted) => redacted,
        Err(error) => return fail(format!("{error} for {findings:?}")),
    };
    let text = String::from_utf8(redacted.clone()).unwrap();
    if let Err(error) = serde_json::from_str::<serde_json::Value>(&text) {
        return fail(format!("{error} in {text}"));
    }
    match scanner().scan_json(&redacted, "/r") {
        Ok(left) if left.is_empty() => Ok(()),
        left => fail(format!("left {left:?} in {text}")),
    }
}

fn check_alone(rule: &Rule, example: &Example) -> Result<(), String> {
    let findings = scanner().scan_text(&example.text).unwrap();
    let spans: Vec<(&str, &str)> =
        findings.iter().map(|f| (f.rule.as_str(), super::span(&example.text, f))).collect();
    if spans != [(rule.id(), example.secret.as_str())]
        || findings[0].confidence != rule.confidence()
    {
        return Err(format!("{} in {:?} gives {spans:?}", rule.id(), example.text));
    }
    let redacted = scanner().redact_text(&example.text, &findings);
    match scanner().scan_text(&redacted) {
        Ok(left) if left.is_empty() && !redacted.contains(&example.secret) => Ok(()),
        left => Err(format!("{} leaves {left:?} in {redacted:?}", rule.id())),
    }
}

fn assert_none(failures: &[String]) {
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn every_rule_is_found_and_taken_out_in_every_encoding() {
    let mut failures = Vec::new();
    for rule in scanner().rules() {
        for variant in 0..3 {
            let example = rule.example(variant);
            // An example that is JSON is not JSON any more in other characters, and one layer deeper.
            let fits = |hiding: &&Hiding| hiding.any || !example.text.starts_with('{');
            let checks = HIDINGS.iter().filter(fits).map(|hiding| check(rule, &example, hiding));
            failures.extend(checks.filter_map(Result::err));
        }
    }
    assert_none(&failures);
}

#[test]
fn every_rule_is_found_standing_alone_with_its_exact_span() {
    let mut failures = Vec::new();
    for rule in scanner().rules() {
        let checks = (0..20).map(|variant| check_alone(rule, &rule.example(variant)));
        failures.extend(checks.filter_map(Result::err));
    }
    assert_none(&failures);
}

#[test]
fn layers_of_different_encodings_are_undone_in_order() {
    let token = scanner().rules().find(|r| r.id() == "github-pat").unwrap().example(1).text;
    let inner = format!(r#"{{"log":{}}}"#, quoted(&percent(&STANDARD.encode(&token), |_| true)));
    let json = format!(r#"{{"text":{}}}"#, quoted(&inner));
    let findings = scanner().scan_json(json.as_bytes(), "").unwrap();
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].decoded, ["json", "percent", "base64"]);
    assert_eq!(findings[0].pointer, "/text");
}
