//! RFC 8785 canonical JSON of documents that others wrote, and a check that a leaf is canonical.
//!
//! Records do not go through here: their structs are written in sorted order already. This is for
//! tool definitions, whose digest must not depend on member order or white space.
//!
//! One deliberate difference from RFC 8785 §3.2.2.3: an integer that fits 64 bits keeps its exact
//! digits, where ECMAScript would round it above 2^53. Two definitions that differ only in such a
//! number are different definitions. I-JSON documents (RFC 7493 §2.2) never notice.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// Deepest nesting that is read.
pub const DEPTH_MAX: usize = 100;

/// The bytes have no canonical form.
#[derive(Debug, thiserror::Error)]
pub enum CanonicalError {
    /// Not JSON, or a member name stands twice in one object.
    #[error("the document is not JSON, or has a member twice")]
    Json(#[source] serde_json::Error),
    /// A number that no double can hold.
    #[error("the number {0} is out of range")]
    Number(String),
    /// Nested deeper than [`DEPTH_MAX`].
    #[error("the document is nested deeper than {DEPTH_MAX} levels")]
    Depth,
    /// Canonical form was expected, and this is not it.
    #[error("the document is not in its RFC 8785 form")]
    NotCanonical,
    /// A leaf has something that leaves do not have.
    #[error("a leaf has integers and ASCII member names only")]
    NotLeaf,
}

/// The RFC 8785 form of a JSON document.
///
/// # Errors
/// If the bytes are not one JSON document, an object has a member twice, a number does not fit a
/// double, or the nesting is deeper than [`DEPTH_MAX`].
pub fn canonicalize(json: &[u8]) -> Result<Vec<u8>, CanonicalError> {
    let raw: &RawValue = serde_json::from_slice(json).map_err(CanonicalError::Json)?;
    let mut out = Vec::with_capacity(json.len());
    write_value(raw.get(), 0, &mut out)?;
    Ok(out)
}

/// Checks that the document is its own canonical form.
///
/// # Errors
/// As [`canonicalize`], and [`CanonicalError::NotCanonical`] if the bytes differ from it.
pub fn check(json: &[u8]) -> Result<(), CanonicalError> {
    if canonicalize(json)? == json { Ok(()) } else { Err(CanonicalError::NotCanonical) }
}

/// Checks that a leaf is canonical, has no number but integers, and only ASCII member names.
///
/// # Errors
/// As [`check`].
pub fn check_leaf(json: &[u8]) -> Result<(), CanonicalError> {
    check(json)?;
    let value: Value = serde_json::from_slice(json).map_err(CanonicalError::Json)?;
    if is_leaf_value(&value) { Ok(()) } else { Err(CanonicalError::NotLeaf) }
}

fn is_leaf_value(value: &Value) -> bool {
    match value {
        Value::Number(number) => !number.is_f64(),
        Value::Array(items) => items.iter().all(is_leaf_value),
        Value::Object(members) => {
            members.iter().all(|(name, value)| name.is_ascii() && is_leaf_value(value))
        }
        Value::Null | Value::Bool(_) | Value::String(_) => true,
    }
}

fn write_value(text: &str, depth: usize, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    if depth > DEPTH_MAX {
        return Err(CanonicalError::Depth);
    }
    let deeper = depth.saturating_add(1);
    match text.as_bytes().first() {
        Some(b'{') => {
            let Members(members) = serde_json::from_str(text).map_err(CanonicalError::Json)?;
            out.push(b'{');
            for (index, (_order, (name, value))) in members.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, out)?;
                out.push(b':');
                write_value(value.get(), deeper, out)?;
            }
            out.push(b'}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(CanonicalError::Json)?;
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_value(item.get(), deeper, out)?;
            }
            out.push(b']');
        }
        Some(b'"') => {
            let string: Cow<'_, str> = serde_json::from_str(text).map_err(CanonicalError::Json)?;
            write_string(&string, out)?;
        }
        Some(b't' | b'f' | b'n') => out.extend_from_slice(text.as_bytes()),
        _ => out.extend_from_slice(number(text)?.as_bytes()),
    }
    Ok(())
}

/// RFC 8785 §3.2.2.2: the escapes of `serde_json` are the ones prescribed.
fn write_string(text: &str, out: &mut Vec<u8>) -> Result<(), CanonicalError> {
    serde_json::to_writer(out, text).map_err(CanonicalError::Json)
}

/// RFC 8785 §3.2.2.3 with the difference named in the module's header.
fn number(text: &str) -> Result<String, CanonicalError> {
    if let Ok(integer) = text.parse::<i64>() {
        return Ok(integer.to_string());
    }
    if let Ok(integer) = text.parse::<u64>() {
        return Ok(integer.to_string());
    }
    let out_of_range = || CanonicalError::Number(text.chars().take(40).collect());
    let double: f64 = text.parse().ok().filter(|d: &f64| d.is_finite()).ok_or_else(out_of_range)?;
    if double == 0.0 {
        return Ok("0".to_owned());
    }
    // Rust writes the shortest digits that read back as the same double, as ECMAScript does, but
    // not always the nearest of that length; rounding to that length is nearest, ties to even.
    let shortest = format!("{:e}", double.abs());
    let count = shortest.bytes().take_while(|byte| *byte != b'e').filter(u8::is_ascii_digit);
    let rounded = format!("{:.*e}", count.count().saturating_sub(1), double.abs());
    let scientific = if rounded.parse() == Ok(double.abs()) { rounded } else { shortest };
    let (mantissa, exponent) = scientific.split_once('e').ok_or_else(out_of_range)?;
    let digits: String = mantissa.chars().filter(char::is_ascii_digit).collect();
    let exponent: i64 = exponent.parse().map_err(|_not_a_number| out_of_range())?;
    let sign = if double < 0.0 { "-" } else { "" };
    Ok(format!("{sign}{}", ecmascript(&digits, exponent)))
}

/// ECMA-262 Number::toString for radix 10: `digits` with the point after the first one, times ten
/// to the power of `exponent`.
fn ecmascript(digits: &str, exponent: i64) -> String {
    let count = i64::try_from(digits.len()).unwrap_or(i64::MAX);
    let point = exponent.saturating_add(1);
    let zeros = |many: i64| "0".repeat(usize::try_from(many).unwrap_or(0));
    let split = |at: i64| digits.split_at_checked(usize::try_from(at).unwrap_or(0));
    if (count..=21).contains(&point) {
        return format!("{digits}{}", zeros(point.saturating_sub(count)));
    }
    if (1..=21).contains(&point) {
        let (whole, fraction) = split(point).unwrap_or((digits, ""));
        return format!("{whole}.{fraction}");
    }
    if (-5..=0).contains(&point) {
        return format!("0.{}{digits}", zeros(point.saturating_neg()));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    let (first, rest) = split(1).unwrap_or((digits, ""));
    let dot = if rest.is_empty() { "" } else { "." };
    format!("{first}{dot}{rest}e{sign}{}", exponent.unsigned_abs())
}

/// Members by their UTF-16 form, which is the order of RFC 8785 §3.2.3.
struct Members<'a>(BTreeMap<Vec<u16>, (String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    let order = name.encode_utf16().collect();
                    if members.insert(order, (name, value)).is_some() {
                        return Err(serde::de::Error::custom("a member stands twice"));
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
