//! What an approver sees.

use serde_json::{Value, json};

use super::fixture::new_approval;
use crate::approval::display::{SHOWN_BYTES_MAX, page, safe, show};

fn check(raw: &str, wanted: &str) {
    let shown = show(raw.as_bytes(), SHOWN_BYTES_MAX);
    assert_eq!(shown.text, wanted);
    assert!(shown.complete);
    assert_eq!(shown.escaped > 0, raw != wanted, "{raw:?}");
}

#[test]
fn hidden_characters_are_shown_as_escapes() {
    check(r#"{"plain":"ä€😀 text"}"#, r#"{"plain":"ä€😀 text"}"#);
    check("{\"a\":\"x\u{202e}y\"}", r#"{"a":"x\u202ey"}"#);
    check("{\"a\":\"x\u{200b}\u{feff}\u{2066}y\"}", r#"{"a":"x\u200b\ufeff\u2066y"}"#);
    check("{\"a\":1,\n\t\"b\":2}\r", r#"{"a":1,\u000a\u0009"b":2}\u000d"#);
    check("\u{e0041}", r"\udb40\udc41");
    check("a\u{a0}b\u{3000}c\u{2800}d\u{3164}", r"a\u00a0b\u3000c\u2800d\u3164");
    check("\u{7f}\u{85}\u{1b}[2J", r"\u007f\u0085\u001b[2J");
}

#[test]
fn shown_strings_mean_what_the_raw_ones_mean() {
    let raw = "{\"a\":\"x\u{202e}\u{e0041}\u{200d}y\"}";
    let shown = show(raw.as_bytes(), SHOWN_BYTES_MAX);
    let (before, after): (Value, Value) =
        (serde_json::from_str(raw).unwrap(), serde_json::from_str(&shown.text).unwrap());
    assert_eq!(before, after);
}

#[test]
fn no_shown_text_has_a_control_or_bidi_character() {
    for code in 0..=0x10_ffff_u32 {
        let Some(character) = char::from_u32(code) else { continue };
        let shown = show(character.to_string().as_bytes(), 64).text;
        let bidi = ['\u{061c}', '\u{200e}', '\u{200f}'].contains(&character)
            || ('\u{202a}'..='\u{202e}').contains(&character)
            || ('\u{2066}'..='\u{2069}').contains(&character);
        if character.is_control() || bidi || (character.is_whitespace() && character != ' ') {
            assert!(shown.is_ascii(), "{code:x}");
        }
    }
}

#[test]
fn bytes_that_are_not_utf8_are_shown_as_hexadecimal() {
    assert_eq!(show(b"a\xff\xc0b", 64).text, r"a\xff\xc0b");
}

#[test]
fn long_text_is_cut_before_a_character_and_stood_for_by_its_digest() {
    let raw = "é".repeat(SHOWN_BYTES_MAX);
    let shown = show(raw.as_bytes(), SHOWN_BYTES_MAX - 1);
    assert!(!shown.complete);
    assert_eq!(shown.text.len(), SHOWN_BYTES_MAX - 2);
    assert_eq!(shown.bytes, u64::try_from(raw.len()).unwrap());
    assert_eq!(shown.digest, forge_schemas::digest::Digest::of(raw.as_bytes()));
}

#[test]
fn escapes_count_towards_the_length() {
    let shown = show("\u{202e}".repeat(100).as_bytes(), 60);
    assert_eq!((shown.text.len(), shown.complete), (60, false));
}

#[test]
fn facts_of_the_caller_are_made_safe_as_well() {
    let facts = json!({"ti\u{202e}tle": ["a\u{200b}", {"b": "c\n"}, 1, null, true]});
    let wanted = json!({"ti\\u202etle": ["a\\u200b", {"b": "c\\u000a"}, 1, null, true]});
    assert_eq!(safe(&facts), wanted);
}

#[test]
fn facts_that_are_too_long_are_left_out() {
    let mut new = new_approval("alice", "{}");
    new.display = json!("x".repeat(SHOWN_BYTES_MAX));
    let page = page(&new).unwrap();
    assert_eq!(page["facts"], json!({"omitted_bytes": SHOWN_BYTES_MAX + 2}));
    assert_eq!(page["arguments"]["text"], "{}");
}
