//! Input made to cost: what the rules look at grows with the text, and every limit says its name.
//! Counted, not timed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{quoted, scanner};
use crate::{DigestKey, Limits, ScanError, Scanner};

/// Pieces that begin something and never end it, repeated.
const PIECES: &[&str] = &[
    "ghp_",
    "eyJ",
    "eyJ.",
    "eyJa.eyJb.",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN ",
    "://a:b",
    "://",
    "password=",
    "token:",
    "secret secret ",
    "api_key: \"",
    "4111 ",
    "4",
    "1.",
    "1:",
    "a@",
    "@",
    "a@b.",
    "::",
    "+1 ",
    "AKIA",
    "sk-",
    "Q~",
    "JQQJ99",
    ":AA",
    "123:AA",
    "T3BlbkFJ",
    "sk-T3BlbkFJ",
    "xoxb-",
    "SK",
    "MD",
    "%41",
    "%",
    "\\u0041",
    "\\",
    "aGVsbG8g",
    "41",
    "0x",
    "\n{",
    "\n[",
    "{\"a\":",
    "DE12",
    "(",
    "é",
    "\u{200b}",
    "Basic ",
    "Bearer aaaaaaaaaaaaaaaaaaaa ",
    ".atlasv1.",
    "Private-Lines: 1\n",
    "glpat-",
    "hooks.slack.com/",
    "NATS ",
    "SA",
    "AccountKey=",
    "phone 1",
];

fn cost(piece: &str, bytes: usize) -> Result<usize, ScanError> {
    let times = bytes.checked_div(piece.len()).unwrap_or(1);
    scanner().cost(&format!(" {}", piece.repeat(times)))
}

#[test]
fn cost_grows_in_step_with_the_text() {
    for piece in PIECES {
        let (small, large) = (cost(piece, 8 << 10), cost(piece, 64 << 10));
        match (small, large) {
            (Ok(small), Ok(large)) => {
                let bound = small.saturating_add(4096).saturating_mul(10);
                assert!(large <= bound, "{piece:?}: {small} then {large}");
            }
            // Refusing is an answer too, as long as it names its limit.
            (_, Err(error)) | (Err(error), _) => {
                let known = ["work", "decoded", "layers", "depth", "findings"];
                assert!(known.contains(&error.code()), "{piece:?}: {error}");
            }
        }
    }
}

#[test]
fn ordinary_shapes_are_never_refused() {
    for piece in [
        "lorem ipsum ",
        "a\\nb ",
        "C:\\new\\table ",
        "%20",
        "1234567 ",
        "key: value\n",
        "{} ",
        "x=1&",
    ] {
        cost(piece, 256 << 10).unwrap();
    }
    let image =
        STANDARD.encode((0..300_000_u32).map(|i| i.to_le_bytes()[0] ^ 0xA5).collect::<Vec<_>>());
    scanner().scan_json(format!(r#"{{"data":"{image}"}}"#).as_bytes(), "").unwrap();
}

fn limited(change: impl FnOnce(&mut Limits)) -> Scanner {
    let mut limits = Limits::default();
    change(&mut limits);
    Scanner::builtin(DigestKey::new(&[7; 32])).unwrap().with_limits(limits)
}

#[test]
fn each_limit_is_named_when_it_is_met() {
    let mails = "jo@example.org ".repeat(20);
    let nested = (0..4)
        .fold("\"jo@example.org\"".to_owned(), |inner, _| format!(r#"{{"a":{}}}"#, quoted(&inner)));
    let layers =
        (0..6).fold("jo@example.org, that is me".to_owned(), |inner, _| STANDARD.encode(inner));
    let cases = [
        (limited(|l| l.bytes_max = 10), mails.clone(), "bytes"),
        (limited(|l| l.findings_max = 19), mails.clone(), "findings"),
        (limited(|l| l.depth_max = 3), "{\"a\":[[[[1]]]]}".to_owned(), "depth"),
        (limited(|_| ()), nested, "layers"),
        (limited(|_| ()), layers, "layers"),
        (limited(|l| l.decoded_factor = 0), STANDARD.encode(mails.repeat(300)), "decoded"),
        (limited(|l| l.work_factor = 0), mails.repeat(300), "work"),
    ];
    for (scanner, text, code) in cases {
        assert_eq!(scanner.scan_text(&text).unwrap_err().code(), code);
    }
}

#[test]
fn random_bytes_as_text_neither_panic_nor_leave_anything_behind() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut roll = |most: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.checked_rem(most).and_then(|roll| usize::try_from(roll).ok()).unwrap_or(0)
    };
    let examples: Vec<String> = scanner().rules().map(|rule| rule.example(5).text).collect();
    for _ in 0..800 {
        let mut text = String::new();
        for _ in 0..roll(6) {
            match roll(4) {
                0 => text.push_str(&examples[roll(u64::try_from(examples.len()).unwrap())]),
                1 => text.push_str(PIECES[roll(u64::try_from(PIECES.len()).unwrap())]),
                2 => text.push_str(&STANDARD.encode(&text)),
                _ => {
                    text.extend(
                        (0..roll(12)).map(|_| char::from(u8::try_from(roll(128)).unwrap())),
                    );
                }
            }
        }
        // Taking one thing out can set the next one free: then a second look finds that.
        let mut json = format!(r#"{{"a":{}}}"#, quoted(&text)).into_bytes();
        for round in 0..4 {
            let Ok(findings) = scanner().scan_json(&json, "/r") else { break };
            if findings.is_empty() || findings.iter().any(|finding| finding.in_key) {
                break;
            }
            assert!(round < 3, "{text}\n{}\n{findings:?}", String::from_utf8_lossy(&json));
            json = scanner().redact_json(&json, "/r", &findings).unwrap();
            serde_json::from_slice::<serde_json::Value>(&json).unwrap();
        }
    }
}
