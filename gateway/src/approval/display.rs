//! What an approver is shown: the raw JSON, with everything made visible that a screen would hide.
//!
//! A rendering made from parsed values, or by a model, could differ from what is sent; the raw text
//! cannot. But raw text can lie to the eye: control characters move the cursor, bidirectional
//! overrides (Unicode UAX #9) reorder what is read, zero-width and tag characters carry text that
//! nobody sees, blank letters look like spaces. All of them are shown as JSON escapes (`\u202e`),
//! which inside a string mean the very same value. Look-alike letters are left as they are.
//!
//! The result has no line breaks: a value that was pushed off the screen is not seen either.

use forge_schemas::digest::Digest;
use serde::Serialize;
use serde_json::{Value, json};

use super::model::NewApproval;

/// Most bytes of text that are shown of one thing; the rest is stood for by its digest.
pub const SHOWN_BYTES_MAX: usize = 65_536;

/// Text that is safe to print.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Shown {
    /// Length of the original in bytes.
    pub bytes: u64,
    /// Nothing was cut off.
    pub complete: bool,
    /// Digest of the whole original.
    pub digest: Digest,
    /// How many characters were escaped. Above 0 is a reason to look twice.
    pub escaped: u64,
    /// The text, or its beginning.
    pub text: String,
}

/// Shows `raw` in at most `most` bytes.
#[must_use]
pub fn show(raw: &[u8], most: usize) -> Shown {
    let mut text = String::with_capacity(raw.len().min(most));
    let mut escaped: u64 = 0;
    let mut complete = true;
    'all: for chunk in raw.utf8_chunks() {
        let hidden = chunk.invalid().iter().map(|byte| (format!("\\x{byte:02x}"), true));
        let plain = chunk.valid().chars().map(|character| {
            if is_hidden(character) {
                (escape(character), true)
            } else {
                (character.to_string(), false)
            }
        });
        for (piece, was_escaped) in plain.chain(hidden) {
            if text.len().saturating_add(piece.len()) > most {
                complete = false;
                break 'all;
            }
            text.push_str(&piece);
            escaped = escaped.saturating_add(u64::from(was_escaped));
        }
    }
    let bytes = u64::try_from(raw.len()).unwrap_or(u64::MAX);
    Shown { bytes, complete, digest: Digest::of(raw), escaped, text }
}

/// What is stored for the approver: the arguments as above, and the caller's facts with every
/// string and key made safe.
///
/// # Errors
/// If the facts cannot be written as JSON.
pub fn page(new: &NewApproval) -> Result<Value, serde_json::Error> {
    let facts = safe(&new.display);
    let size = serde_json::to_vec(&facts)?.len();
    let facts = if size > SHOWN_BYTES_MAX { json!({ "omitted_bytes": size }) } else { facts };
    Ok(json!({ "arguments": show(&new.parcel.arguments, SHOWN_BYTES_MAX), "facts": facts }))
}

/// The same value with hidden characters escaped in every string and key.
#[must_use]
pub fn safe(value: &Value) -> Value {
    match value {
        Value::String(text) => Value::String(safe_text(text)),
        Value::Array(items) => Value::Array(items.iter().map(safe).collect()),
        Value::Object(members) => Value::Object(
            members.iter().map(|(key, value)| (safe_text(key), safe(value))).collect(),
        ),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

/// The same text with hidden characters escaped.
#[must_use]
pub fn safe_text(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for character in text.chars() {
        if is_hidden(character) {
            shown.push_str(&escape(character));
        } else {
            shown.push(character);
        }
    }
    shown
}

fn escape(character: char) -> String {
    let mut units = [0; 2];
    character.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")).collect()
}

/// Characters that do not show what they are: controls (Cc), format characters (Cf), separators
/// other than the space (Zs, Zl, Zp), default-ignorable and blank characters, private use and
/// noncharacters (Unicode 16, `DerivedCoreProperties.txt` and `UnicodeData.txt`).
#[must_use]
pub fn is_hidden(character: char) -> bool {
    let code = u32::from(character);
    HIDDEN.iter().any(|(first, last)| (*first..=*last).contains(&code)) || code & 0xfffe == 0xfffe
}

const HIDDEN: [(u32, u32); 35] = [
    (0x0000, 0x001f),
    (0x007f, 0x00a0),
    (0x00ad, 0x00ad),
    (0x034f, 0x034f),
    (0x0600, 0x0605),
    (0x061c, 0x061c),
    (0x06dd, 0x06dd),
    (0x070f, 0x070f),
    (0x0890, 0x0891),
    (0x08e2, 0x08e2),
    (0x115f, 0x1160),
    (0x1680, 0x1680),
    (0x17b4, 0x17b5),
    (0x180b, 0x180f),
    (0x2000, 0x200f),
    (0x2028, 0x202f),
    (0x205f, 0x206f),
    (0x2800, 0x2800),
    (0x3000, 0x3000),
    (0x3164, 0x3164),
    (0xe000, 0xf8ff),
    (0xfdd0, 0xfdef),
    (0xfe00, 0xfe0f),
    (0xfeff, 0xfeff),
    (0xffa0, 0xffa0),
    (0xfff0, 0xfffb),
    (0x1_10bd, 0x1_10bd),
    (0x1_10cd, 0x1_10cd),
    (0x1_3430, 0x1_345f),
    (0x1_bca0, 0x1_bca3),
    (0x1_d159, 0x1_d159),
    (0x1_d173, 0x1_d17a),
    (0xe_0000, 0xe_0fff),
    (0xf_0000, 0xf_fffd),
    (0x10_0000, 0x10_fffd),
];
