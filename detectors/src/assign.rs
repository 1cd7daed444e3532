//! `word = value`: what stands beside a word such as `password` or `api_key`, by hand instead of
//! by an expression, because these words are everywhere and their cost would be most of a scan's.

use std::ops::Range;

use crate::limits::{ScanError, Work};
use crate::rule::Assignment;
use crate::text::{Class, MARKER, byte, entropy, floor, part, words};

const IDENTIFIER_MAX: usize = 24;
const VALUE_BYTES_MAX: usize = 256;

/// The spellings of a word of the table that are looked for: `api key` gives `api_key`, `apiKey`,
/// `API_KEY`, `ApiKey`, `apikey`, `APIKEY`, `api-key`, `Api-Key`.
pub(crate) fn spellings(phrase: &str) -> Vec<String> {
    let parts: Vec<&str> = phrase.split(' ').collect();
    let capital = |word: &&str| {
        let mut letters = word.chars();
        letters.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(letters).collect()
    };
    let capitals: Vec<String> = parts.iter().map(capital).collect();
    let mut camel = capitals.concat();
    if let (Some(first), Some(rest)) = (parts.first(), capitals.get(1..)) {
        camel = format!("{first}{}", rest.concat());
    }
    let mut all = vec![
        parts.join("_"),
        camel,
        parts.join("_").to_ascii_uppercase(),
        capitals.concat(),
        parts.concat(),
        parts.concat().to_ascii_uppercase(),
        parts.join("-"),
        capitals.join("-"),
        parts.join(" "),
    ];
    all.sort();
    all.dedup();
    all
}

/// The value that is assigned to the identifier around `word`, if it is one that may hold a secret.
pub(crate) fn value(
    text: &str,
    word: Range<usize>,
    work: &mut Work,
) -> Result<Option<Range<usize>>, ScanError> {
    let bytes = text.as_bytes();
    let back = Class::Word.run_back(bytes, word.start, IDENTIFIER_MAX);
    let ahead = Class::Token.run(bytes, word.end, IDENTIFIER_MAX);
    work.count(back.saturating_add(ahead).saturating_add(8))?;
    let name_end = word.end.saturating_add(ahead);
    let name = part(text, word.start.saturating_sub(back)..name_end);
    let Some(start) = operator(bytes, name_end) else { return Ok(None) };
    let redacted = part(text, 0..word.start.saturating_sub(back)).ends_with(MARKER);
    if redacted || !names_secret(name) {
        return Ok(None);
    }
    let (start, close) = opening(bytes, start);
    let rest = part(text, start..floor(text, start.saturating_add(VALUE_BYTES_MAX)));
    let length = match close {
        Some(quote) => rest.bytes().position(|byte| byte == quote || byte < b' '),
        None => Some(rest.bytes().position(ends_value).unwrap_or(rest.len())),
    };
    work.count(length.unwrap_or(rest.len()))?;
    let Some(length) = length else { return Ok(None) };
    // A quote inside a string inside a string is written with a backslash.
    let value = part(rest, 0..length);
    let value = value.trim_end_matches('\\');
    let scheme = ["Bearer ", "bearer ", "Basic ", "Token ", "token "];
    let skipped = scheme.iter().find(|scheme| value.starts_with(**scheme)).map_or(0, |s| s.len());
    Ok(Some(start.saturating_add(skipped)..start.saturating_add(value.len())))
}

const fn ends_value(byte: u8) -> bool {
    byte <= b' '
        || matches!(
            byte,
            b'"' | b'\'' | b'`' | b',' | b';' | b')' | b'}' | b']' | b'<' | b'>' | b'&' | b'|'
        )
}

/// Where the value starts, after `=`, `:`, `:=`, `=>` or ` is `, with quotes and white space.
fn operator(bytes: &[u8], at: usize) -> Option<usize> {
    let mut at = at;
    let quote = |at: usize| matches!(byte(bytes, at), b'"' | b'\'' | b'`' | b'\\' | b']');
    for _ in 0..3 {
        if quote(at) {
            at = at.saturating_add(1);
        }
    }
    at = spaces(bytes, at);
    let rest = bytes.get(at..).unwrap_or_default();
    let operators: [&[u8]; 7] = [b":=", b"=>", b"==", b"=", b":", b"is ", b"-> "];
    let operator = operators.iter().find(|operator| rest.starts_with(operator))?;
    Some(spaces(bytes, at.saturating_add(operator.len())))
}

fn spaces(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let count = rest.iter().take(4).take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    at.saturating_add(count)
}

/// Steps over an opening quote; says which quote closes the value.
fn opening(bytes: &[u8], at: usize) -> (usize, Option<u8>) {
    let escaped = usize::from(byte(bytes, at) == b'\\');
    let quote_at = at.saturating_add(escaped);
    match byte(bytes, quote_at) {
        quote @ (b'"' | b'\'' | b'`') => (quote_at.saturating_add(1), Some(quote)),
        _ => (at, None),
    }
}

/// The identifier names a secret itself, not its id, its place or its lifetime.
pub(crate) fn names_secret(name: &str) -> bool {
    let words = words(name);
    let mut last = "";
    for word in words.split(' ') {
        if NOT_SECRET.contains(&word) {
            return false;
        }
        last = word;
    }
    !NOT_LAST.contains(&last)
}

/// Words that make an identifier something else wherever they stand.
const NOT_SECRET: [&str; 16] = [
    "page",
    "next",
    "prev",
    "previous",
    "cursor",
    "continuation",
    "progress",
    "resumption",
    "sync",
    "cancellation",
    "public",
    "csrf",
    "xsrf",
    "pagination",
    "max",
    "min",
];

/// Words that make an identifier something else at its end.
const NOT_LAST: [&str; 35] = [
    "id",
    "ids",
    "name",
    "names",
    "type",
    "types",
    "url",
    "uri",
    "path",
    "file",
    "length",
    "count",
    "size",
    "limit",
    "expiry",
    "expires",
    "expiration",
    "ttl",
    "at",
    "in",
    "age",
    "version",
    "policy",
    "field",
    "hint",
    "label",
    "enabled",
    "required",
    "format",
    "prefix",
    "algorithm",
    "endpoint",
    "tokens",
    "manager",
    "arn",
];

/// The value looks like a secret of its kind rather than like code, prose or a placeholder.
pub(crate) fn plausible(kind: Assignment, value: &str) -> bool {
    if placeholder(value) {
        return false;
    }
    let has = |test: fn(&u8) -> bool| value.as_bytes().iter().any(test);
    let digit = has(u8::is_ascii_digit);
    let letter = has(u8::is_ascii_alphabetic);
    match kind {
        Assignment::Secret => {
            let tokenish = value
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"+/=_.~!#$%^*-".contains(&byte));
            let floor = if value.len() >= 24 { 3.4 } else { 3.2 };
            // A long random value may have no digit; a long name in code has no such spread.
            let bare = value.bytes().all(|byte| byte.is_ascii_alphanumeric());
            let random = digit || (bare && value.len() >= 32 && entropy(value) >= 4.0);
            (16..=VALUE_BYTES_MAX).contains(&value.len())
                && tokenish
                && letter
                && random
                && entropy(value) >= floor
        }
        Assignment::Password => {
            let printable = value.bytes().all(|byte| byte.is_ascii_graphic() || byte >= 0x80);
            let symbol = value.bytes().any(|byte| b"!@#$%^&*?+=".contains(&byte));
            (7..=128).contains(&value.len())
                && printable
                && letter
                && (digit || symbol)
                && entropy(value) >= 2.3
        }
    }
}

/// The value stands for a secret without being one.
fn placeholder(value: &str) -> bool {
    const STARTS: [&str; 14] = [
        "$",
        "{",
        "<",
        "[REDACTED",
        "%(",
        "(",
        "/",
        "./",
        "~/",
        "http://",
        "https://",
        "@",
        "&",
        "*",
    ];
    if STARTS.iter().any(|start| value.starts_with(start)) {
        return true;
    }
    let lower = value.to_ascii_lowercase();
    let code = value.contains("()") || value.contains("${") || value.contains("{{");
    code || PLACEHOLDERS.iter().any(|word| lower.contains(word))
}

const PLACEHOLDERS: [&str; 22] = [
    "example",
    "xxxx",
    "changeme",
    "change_me",
    "change-me",
    "your_",
    "your-",
    "placeholder",
    "dummy",
    "redacted",
    "process.env",
    "os.environ",
    "getenv",
    "env.",
    "config.",
    "settings.",
    "secrets.",
    "****",
    "....",
    "insert",
    "replace",
    "undefined",
];
