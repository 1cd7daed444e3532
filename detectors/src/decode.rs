//! Encodings that hide text inside text: base64, hexadecimal digits, percent and backslash escapes,
//! and JSON documents in strings.
//!
//! Decoding is bounded by the caller's budget. Bytes that do not decode to readable text are left
//! alone: an image is no hiding place for a pattern, and guessing on would cost more than it finds.
//! Not undone: compression, encryption, character references of HTML, quoted-printable.

use std::ops::Range;

use base64::Engine as _;

use crate::check::{STANDARD, URL};
use crate::json::Fault;
use crate::json::tree::{Kind, Tree, decode_escape};
use crate::map::Map;
use crate::text::{byte, part};

/// A decoded piece of a text.
#[derive(Debug)]
pub(crate) struct Decoded {
    pub(crate) encoding: &'static str,
    pub(crate) text: String,
    pub(crate) map: Map,
}

const BLOB_MIN: usize = 16;
const LINE_MIN: usize = 60;
const SPLIT_MAX: usize = 4096;

/// A JSON document inside a text.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    pub(crate) range: Range<usize>,
    pub(crate) tree: Tree<'a>,
}

/// JSON objects, arrays and strings in `text`: the whole of it, or objects and arrays that begin
/// and end with a line. At most [`ATTEMPTS_MAX`] places are tried in vain.
pub(crate) fn documents(text: &str, depth_max: usize) -> Result<Vec<Document<'_>>, Fault> {
    const ATTEMPTS_MAX: usize = 8;
    let mut found = Vec::new();
    let trimmed = text.trim_start();
    if trimmed.starts_with('"') {
        match Tree::read(text, depth_max) {
            Ok(tree) => found.push(Document { range: 0..text.len(), tree }),
            Err(Fault::Syntax(_)) => {}
            Err(Fault::Depth) => return Err(Fault::Depth),
        }
        return Ok(found);
    }
    let (mut at, mut vain) = (0_usize, 0_usize);
    while at < text.len() && vain < ATTEMPTS_MAX {
        let rest = part(text, at..text.len());
        let indent =
            rest.len().saturating_sub(rest.trim_start_matches([' ', '\t', '\r', '\n']).len());
        let start = at.saturating_add(indent);
        if matches!(byte(text.as_bytes(), start), b'{' | b'[') {
            match Tree::read_prefix(part(text, start..text.len()), depth_max) {
                Ok((tree, length)) => {
                    let end = start.saturating_add(length);
                    found.push(Document { range: start..end, tree });
                    at = end;
                    continue;
                }
                Err(Fault::Syntax(_)) => vain = vain.saturating_add(1),
                Err(Fault::Depth) => return Err(Fault::Depth),
            }
        }
        let line = part(text, start..text.len()).find('\n');
        at = line.map_or(text.len(), |line| start.saturating_add(line).saturating_add(1));
    }
    found.retain(|document| {
        document.tree.nodes.first().is_some_and(|node| node.kind != Kind::Literal)
    });
    Ok(found)
}

/// The next run from `from` on that may be base64 or hexadecimal, padding included.
pub(crate) fn next_blob(text: &str, from: usize) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    let mut at = from;
    while at < bytes.len() {
        let rest = bytes.get(at..)?;
        let start = at.saturating_add(rest.iter().position(|byte| blob_byte(*byte))?);
        let mut end = start;
        loop {
            let rest = bytes.get(end..).unwrap_or_default();
            let line = rest.iter().take_while(|byte| blob_byte(**byte)).count();
            end = end.saturating_add(line);
            let tail = bytes.get(end..).unwrap_or_default();
            let wrap = tail.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
            let further = byte(bytes, end.saturating_add(wrap));
            if line < LINE_MIN || !(1..=2).contains(&wrap) || !blob_byte(further) {
                break;
            }
            end = end.saturating_add(wrap);
        }
        let tail = bytes.get(end..).unwrap_or_default();
        let padding = tail.iter().take(2).take_while(|byte| **byte == b'=').count();
        if end.saturating_sub(start) >= BLOB_MIN.saturating_sub(2)
            && end.saturating_sub(start).saturating_add(padding) >= BLOB_MIN
        {
            return Some(start..end.saturating_add(padding));
        }
        at = end;
    }
    None
}

const fn blob_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// What a run of [`next_blob`] decodes to, if that is text. A run that is none as a whole may be
/// several, joined by characters of the alphabet (`/path/base64`).
pub(crate) fn blob(text: &str, range: &Range<usize>) -> Vec<Decoded> {
    let run = part(text, range.clone());
    if let Some((encoding, decoded)) = decode_blob(run) {
        return vec![whole(encoding, decoded, range.clone())];
    }
    let mut found = Vec::new();
    if run.len() > SPLIT_MAX {
        return found;
    }
    let mut at = range.start;
    for piece in run.split_inclusive(['/', '-', '_', '+']) {
        let bare = piece.trim_end_matches(['/', '-', '_', '+']);
        let inner = at..at.saturating_add(bare.len());
        at = at.saturating_add(piece.len());
        if bare.len() < BLOB_MIN || bare.len() == run.len() {
            continue;
        }
        if let Some((encoding, decoded)) = decode_blob(bare) {
            found.push(whole(encoding, decoded, inner));
        }
    }
    found
}

fn whole(encoding: &'static str, text: String, range: Range<usize>) -> Decoded {
    let map = Map::whole(text.len(), range);
    Decoded { encoding, text, map }
}

fn decode_blob(run: &str) -> Option<(&'static str, String)> {
    let digits = run.strip_prefix("0x").unwrap_or(run);
    if digits.len().is_multiple_of(2) && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        let bytes = forge_schemas::digest::unhex(digits)?;
        if let Some(text) = readable(bytes) {
            return Some(("hex", text));
        }
    }
    let mut run = std::borrow::Cow::Borrowed(run);
    if run.contains(['\n', '\r']) {
        run = run.replace(['\n', '\r'], "").into();
    }
    let url = run.contains(['-', '_']);
    if url && run.contains(['+', '/']) {
        return None;
    }
    let engine = if url { &URL } else { &STANDARD };
    // Most long runs are images and keys: look at a start before decoding all.
    let head = run.get(..64).filter(|_| run.len() > 256);
    if let Some(head) = head
        && !looks_readable(&engine.decode(head).ok()?)
    {
        return None;
    }
    readable(engine.decode(run.as_ref()).ok()?).map(|text| ("base64", text))
}

/// The bytes as text, if at least 85 % of it can be read. UTF-16 of Latin text counts.
fn readable(bytes: Vec<u8>) -> Option<String> {
    let wide = bytes.len() >= 8
        && bytes.len().is_multiple_of(2)
        && bytes.chunks(2).all(|pair| pair.last() == Some(&0));
    if wide {
        let narrow: Vec<u8> = bytes.chunks(2).filter_map(|pair| pair.first().copied()).collect();
        return readable(narrow);
    }
    looks_readable(&bytes).then(|| String::from_utf8(bytes).ok()).flatten()
}

fn looks_readable(bytes: &[u8]) -> bool {
    let plain = |byte: &u8| *byte >= b' ' && *byte != 0x7F || matches!(byte, b'\t' | b'\n' | b'\r');
    let count = bytes.iter().filter(|byte| plain(byte)).count();
    // A start may be cut inside a character.
    let valid = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        Err(error) => error.error_len().is_none(),
    };
    valid && !bytes.is_empty() && count.saturating_mul(100) >= bytes.len().saturating_mul(85)
}

/// Lines with percent escapes (RFC 3986 §2.1), decoded.
pub(crate) fn percent_lines(text: &str) -> Vec<Decoded> {
    lines(text, '%', "percent", |rest| {
        let run = percent_run(rest);
        (run > 0).then(|| {
            let bytes: Vec<u8> =
                rest.as_bytes().chunks(3).take(run).filter_map(percent_byte).collect();
            // Escapes of ASCII stand for one character each; others only together.
            match bytes.first() {
                Some(first) if first.is_ascii() => (char::from(*first).to_string(), 3),
                _ => {
                    let wide = bytes.iter().take_while(|byte| !byte.is_ascii()).count();
                    let bytes = bytes.get(..wide).unwrap_or_default();
                    (String::from_utf8_lossy(bytes).into_owned(), wide.saturating_mul(3))
                }
            }
        })
    })
}

/// How many `%XX` follow each other at the start of `rest`, at most four.
fn percent_run(rest: &str) -> usize {
    rest.as_bytes().chunks(3).take(4).take_while(|three| percent_byte(three).is_some()).count()
}

fn percent_byte(three: &[u8]) -> Option<u8> {
    match three {
        [b'%', high, low] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            let digits = [*high, *low];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()
        }
        _ => None,
    }
}

/// Lines with backslash escapes that can hide a character (`\u0041`, `\x41`, `\/`), decoded.
pub(crate) fn escape_lines(text: &str) -> Vec<Decoded> {
    let hides = text.contains("\\u") || text.contains("\\x") || text.contains("\\/");
    if !hides {
        return Vec::new();
    }
    lines(text, '\\', "escape", |rest| {
        let hex = |from: usize, to: usize| {
            let digits = rest.as_bytes().get(from..to).unwrap_or_default();
            digits.len() == to.saturating_sub(from) && digits.iter().all(u8::is_ascii_hexdigit)
        };
        match byte(rest.as_bytes(), 1) {
            b'u' if hex(2, 6) => {
                let (character, length) = decode_escape(rest);
                Some((character.to_string(), length))
            }
            b'x' if hex(2, 4) => {
                let value = u8::from_str_radix(part(rest, 2..4), 16).ok()?;
                Some((char::from(value).to_string(), 4))
            }
            b'"' | b'\'' | b'/' | b'\\' | b'n' | b'r' | b't' => {
                let (character, length) = decode_escape(rest);
                Some((character.to_string(), length))
            }
            _ => None,
        }
    })
}

/// Decodes each line of `text` in which `decode` changes something. `decode` is asked at each
/// `sign` for the text that stands there and the length of its escape.
fn lines(
    text: &str,
    sign: char,
    encoding: &'static str,
    decode: impl Fn(&str) -> Option<(String, usize)>,
) -> Vec<Decoded> {
    let mut found = Vec::new();
    let mut at = 0_usize;
    for line in text.split_inclusive('\n') {
        let start = at;
        at = at.saturating_add(line.len());
        if !line.contains(sign) {
            continue;
        }
        let mut out = String::with_capacity(line.len());
        let mut map = Map::at(start);
        let mut rest = line;
        let mut changed = false;
        while let Some(next) = rest.find(sign) {
            let (plain, escape) = rest.split_at(next);
            out.push_str(plain);
            let here = at.saturating_sub(escape.len());
            let inner = out.len();
            let length = if let Some((piece, length)) = decode(escape) {
                out.push_str(&piece);
                map.push(inner..out.len(), here..here.saturating_add(length));
                changed = true;
                length
            } else {
                out.push(sign);
                1
            };
            rest = escape.get(length..).unwrap_or("");
        }
        out.push_str(rest);
        if changed {
            found.push(Decoded { encoding, text: out, map });
        }
    }
    found
}
