//! Checksums: against published vectors, and what a failed one means.

use forge_schemas::finding::Confidence;

use super::scanner;
use crate::check::{Check, crc16};
use crate::pii::luhn_sum;

#[test]
fn checks_hold_for_published_vectors() {
    // CRC-16/XMODEM of the standard check string; BIP-173 valid string; ISO/IEC 7812-1 example.
    assert_eq!(crc16(b"123456789"), 0x31C3);
    assert!(Check::Bech32.holds("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"));
    assert!(!Check::Bech32.holds("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxq"));
    assert_eq!(luhn_sum("79927398713").checked_rem(10), Some(0));
    assert_ne!(luhn_sum("79927398710").checked_rem(10), Some(0));
}

#[test]
fn github_checksum_is_base62_of_the_crc_of_the_body() {
    // CRC-32 of "123456789" is 0xCBF43926; six base-62 digits of it are 3j9OKS.
    assert_eq!(crate::check::base62(0xCBF4_3926).len(), 6);
    let digits = crate::check::base62(crc32fast::hash(b"123456789"));
    assert!(Check::Crc32Base62.holds(&format!("ghp_123456789{digits}")));
    assert!(!Check::Crc32Base62.holds(&format!("ghp_123456788{digits}")));
}

/// Another last character, so that a checksum does not fit any more.
fn broken(token: &str) -> String {
    let (start, end) = token.split_at(token.len().saturating_sub(1));
    format!("{start}{}", if end == "2" { "3" } else { "2" })
}

#[test]
fn a_failed_checksum_leaves_a_structural_finding_where_the_prefix_is_distinct() {
    let dropped = ["nats-seed"];
    let mut seen = 0;
    for rule in scanner().rules() {
        if !rule.check().is_some_and(Check::confirms) {
            continue;
        }
        seen += 1;
        let findings = scanner().scan_text(&broken(&rule.example(0).text)).unwrap();
        let found = findings.iter().find(|f| f.rule == rule.id()).map(|f| f.confidence);
        let wanted = (!dropped.contains(&rule.id())).then_some(Confidence::Structural);
        assert_eq!(found, wanted, "{}", rule.id());
    }
    assert!(seen >= 10, "{seen}");
}

#[test]
fn there_are_enough_rules_and_each_is_documented() {
    let rules: Vec<_> = scanner().rules().collect();
    assert!(rules.len() >= 80, "{}", rules.len());
    for rule in rules {
        assert!(rule.page().starts_with("https://"), "{}", rule.id());
        assert!(!rule.title().is_empty() && !rule.entity().is_empty());
        assert!(
            rule.id().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        );
        assert!(
            rule.entity().bytes().all(|b| b.is_ascii_uppercase() || b == b'_'),
            "{}",
            rule.entity()
        );
    }
}

#[test]
fn the_reference_page_lists_every_rule_as_it_is() {
    let page = include_str!("../../../docs/reference/detectors.md");
    let word = |value: serde_json::Value| value.as_str().unwrap().to_owned();
    for rule in scanner().rules() {
        let severity = word(serde_json::to_value(rule.severity()).unwrap());
        let confidence = word(serde_json::to_value(rule.confidence()).unwrap());
        let (id, title, entity) = (rule.id(), rule.title(), rule.entity());
        let row = format!("| `{id}` | {title} | `{entity}` | {severity} | {confidence} |");
        assert!(page.contains(&row), "missing in docs/reference/detectors.md: {row}");
    }
}
