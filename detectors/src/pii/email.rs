//! E-mail addresses: the part of RFC 5321 that people use (dot-atoms, a domain with a top level of
//! letters). Quoted local parts and addresses of bare hosts are not looked for.

use forge_schemas::finding::Confidence;

use super::{Found, Subject};
use crate::text::{before, byte, part};

const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 253;

/// Ends of file names that stand where a top-level domain would, and are none.
const FILES: [&str; 22] = [
    "png", "jpg", "jpeg", "gif", "svg", "webp", "bmp", "ico", "css", "js", "mjs", "cjs", "jsx",
    "tsx", "json", "xml", "html", "htm", "txt", "yaml", "yml", "lock",
];

/// `at` is the `@`.
pub(super) fn find(subject: &Subject<'_>, at: usize) -> Found {
    let start = local(subject.bytes, at)?;
    let end = domain(subject, at.saturating_add(1))?;
    let taken = remote(subject, start, at, end) || user_info(subject, start);
    (!taken).then_some((start..end, Confidence::Structural))
}

fn local(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = bytes.get(..at)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._%+'!#&*=?^~$-".contains(byte);
    let length = rest.iter().rev().take(LOCAL_MAX).take_while(|byte| allowed(byte)).count();
    let mut start = at.saturating_sub(length);
    // `to=alice@…`, `'alice@…'`: what joins words in text does not start an address.
    let joined = bytes.get(start..at).unwrap_or_default();
    if let Some(joint) = joined.iter().rposition(|byte| b"=&?'*!#$".contains(byte)) {
        start = start.saturating_add(joint).saturating_add(1);
    }
    while byte(bytes, start) == b'.' {
        start = start.saturating_add(1);
    }
    (start < at && before(bytes, at) != b'.').then_some(start)
}

fn domain(subject: &Subject<'_>, start: usize) -> Option<usize> {
    let rest = subject.bytes.get(start..)?;
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-');
    let length = rest.iter().take(DOMAIN_MAX).take_while(|byte| allowed(byte)).count();
    let run = part(subject.text, start..start.saturating_add(length));
    let domain = run.trim_end_matches(['.', '-']);
    // A sentence may go on after the address: only labels in a row count.
    let mut end = 0_usize;
    for label in domain.split('.') {
        let ok =
            (1..=63).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-');
        if !ok {
            break;
        }
        end = end.saturating_add(label.len()).saturating_add(1);
    }
    let domain = part(domain, 0..end.saturating_sub(1));
    let (host, top) = domain.rsplit_once('.')?;
    let letters = top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    let known = letters || top.to_ascii_lowercase().starts_with("xn--");
    let file = FILES.iter().any(|file| top.eq_ignore_ascii_case(file));
    (known && !file && !host.is_empty()).then(|| start.saturating_add(domain.len()))
}

/// `git@host:path` and `git@host/path` name a repository.
fn remote(subject: &Subject<'_>, start: usize, at: usize, end: usize) -> bool {
    part(subject.text, start..at) == "git" && matches!(byte(subject.bytes, end), b':' | b'/')
}

/// The address is the end of the user information of a URL (`scheme://user:password@host`).
fn user_info(subject: &Subject<'_>, start: usize) -> bool {
    if !matches!(before(subject.bytes, start), b':' | b'/') {
        return false;
    }
    let rest = subject.bytes.get(..start).unwrap_or_default();
    let back = rest.iter().rev().take(256).take_while(|byte| byte.is_ascii_graphic()).count();
    let window = rest.get(start.saturating_sub(back)..).unwrap_or_default();
    let from = window
        .iter()
        .rposition(|byte| b"\"'<>`".contains(byte))
        .map_or(0, |at| at.saturating_add(1));
    window.get(from..).unwrap_or_default().windows(3).any(|three| three == b"://")
}
