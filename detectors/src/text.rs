//! Small looks at bytes and words that never panic, and what may stand beside a token.

use std::ops::Range;

/// The byte at `at`, or 0 beyond the end. Text never contains 0 where it matters here.
pub(crate) fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// The byte before `at`, or 0 at the start.
pub(crate) fn before(bytes: &[u8], at: usize) -> u8 {
    at.checked_sub(1).map_or(0, |previous| byte(bytes, previous))
}

/// The part of `text` in `range`; empty where the range leaves the text or cuts a character.
pub(crate) fn part(text: &str, range: Range<usize>) -> &str {
    text.get(range).unwrap_or("")
}

/// The nearest character boundary at or before `at`.
pub(crate) fn floor(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_sub(1);
    }
    at
}

/// The nearest character boundary at or after `at`.
pub(crate) fn ceil(text: &str, at: usize) -> usize {
    let mut at = at.min(text.len());
    while !text.is_char_boundary(at) {
        at = at.saturating_add(1);
    }
    at
}

/// Classes of characters of tokens. All are ASCII.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Class {
    /// No character.
    None,
    /// `0-9`
    Digit,
    /// `0-9a-fA-F`
    Hex,
    /// `0-9A-Za-z`
    Alnum,
    /// `0-9A-Za-z_`
    Word,
    /// `0-9A-Za-z_-`
    Token,
    /// `0-9A-Za-z_.-`
    Dotted,
    /// `0-9A-Za-z_.~-`
    Tilde,
    /// `0-9A-Za-z+/=`
    Base64,
}

impl Class {
    pub(crate) fn has(self, byte: u8) -> bool {
        match self {
            Self::None => false,
            Self::Digit => byte.is_ascii_digit(),
            Self::Hex => byte.is_ascii_hexdigit(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_',
            Self::Token => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Self::Dotted => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'),
            Self::Tilde => {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'~')
            }
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
        }
    }

    /// How far the class reaches from `at`, at most `most` bytes.
    pub(crate) fn run(self, bytes: &[u8], at: usize, most: usize) -> usize {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.iter().take(most).take_while(|byte| self.has(**byte)).count()
    }

    /// How far the class reaches back from `at`, at most `most` bytes.
    pub(crate) fn run_back(self, bytes: &[u8], at: usize, most: usize) -> usize {
        let rest = bytes.get(..at).unwrap_or_default();
        rest.iter().rev().take(most).take_while(|byte| self.has(**byte)).count()
    }
}

/// A token may start at `at`: what stands before is outside `class`, or is the tail of an escape
/// (`\n`, `\u0022`, `%3D`), which is no part of the token although it is made of letters.
pub(crate) fn starts(bytes: &[u8], at: usize, class: Class) -> bool {
    let previous = before(bytes, at);
    if !class.has(previous) {
        return true;
    }
    let back = |count: usize| at.checked_sub(count).map_or(0, |index| byte(bytes, index));
    if matches!(previous, b'n' | b'r' | b't' | b'b' | b'f') && back(2) == b'\\' {
        return true;
    }
    let hex = |count: usize| (1..=count).all(|step| back(step).is_ascii_hexdigit());
    (hex(2) && back(3) == b'%') || (hex(4) && back(5) == b'u' && back(6) == b'\\')
}

/// A token may end at `at`: what stands there is outside `class`.
pub(crate) fn ends(bytes: &[u8], at: usize, class: Class) -> bool {
    !class.has(byte(bytes, at))
}

/// Shannon entropy of the bytes of `text`, in bits for each byte.
pub(crate) fn entropy(text: &str) -> f64 {
    let mut counts = [0_u32; 256];
    for byte in text.bytes() {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count = count.saturating_add(1);
        }
    }
    let total = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    counts
        .iter()
        .filter(|count| **count > 0)
        .map(|count| {
            let share = f64::from(*count) / total;
            -share * share.log2()
        })
        .sum()
}

/// The words of an identifier or of a path of them: lowercase, split at case changes and at
/// anything that is neither letter nor digit, joined by single spaces.
pub(crate) fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(8));
    let mut previous = ' ';
    for character in text.chars() {
        if character.is_alphanumeric() {
            if character.is_uppercase() && previous.is_lowercase() {
                out.push(' ');
            }
            out.extend(character.to_lowercase());
        } else if !out.ends_with(' ') && !out.is_empty() {
            out.push(' ');
        }
        previous = character;
    }
    out.truncate(out.trim_end().len());
    out
}

/// `phrase` stands in `words` (both as [`words`] writes them) as whole words.
pub(crate) fn has_phrase(words: &str, phrase: &str) -> bool {
    words.match_indices(phrase).any(|(at, found)| {
        let end = at.saturating_add(found.len());
        !before(words.as_bytes(), at).is_ascii_alphanumeric()
            && !byte(words.as_bytes(), end).is_ascii_alphanumeric()
    })
}

/// What starts the marker of a redacted span.
pub(crate) const MARKER: &str = "[REDACTED:";

/// The words of a stretch of text that ends where a candidate starts. Markers of earlier
/// redactions are left out: what they name is not there any more.
pub(crate) fn spoken(stretch: &str) -> String {
    // The stretch may begin inside a marker.
    let inside = |start: &str| start.bytes().all(|b| b.is_ascii_uppercase() || b"_:[".contains(&b));
    let rest = match stretch.split_once(']') {
        Some((start, rest)) if inside(start) => rest,
        _ => stretch,
    };
    if !rest.contains(MARKER) {
        return words(rest);
    }
    let mut out = String::with_capacity(rest.len());
    for (index, piece) in rest.split(MARKER).enumerate() {
        let kept =
            if index == 0 { piece } else { piece.split_once(']').map_or("", |(_, kept)| kept) };
        out.push_str(kept);
        out.push(' ');
    }
    words(&out)
}
