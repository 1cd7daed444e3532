//! Values in and out of the library, without a detour over text.
//!
//! **In**: `serde_json::Value` is translated member by member rather than deserialised, because
//! the library's deserialiser reads an object with the key `$serde_json::private::Number` as a
//! number: what policy reads would not be what the tool reads. Integers from -2^63 to 2^64-1 stay
//! exact; all other numbers are the IEEE doubles that `serde_json` made of them.
//!
//! **Out**: strict. Undefined anywhere, also spelled `"<undefined>"`, an object key that is not a
//! string and a number that is not finite are malformed.

use regorus::Value;
use serde_json::Value as Json;

/// Deepest nesting translated in either direction.
const DEPTH_MAX: usize = 128;

/// Why a value does not translate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ValueError {
    #[error("nested deeper than {DEPTH_MAX}")]
    Depth,
    #[error("undefined")]
    Undefined,
    #[error("an object key that is not a string")]
    Key,
    #[error("a number out of range")]
    Number,
}

/// From JSON.
pub(crate) fn from_json(json: &Json) -> Result<Value, ValueError> {
    inward(json, 0)
}

fn inward(json: &Json, depth: usize) -> Result<Value, ValueError> {
    if depth > DEPTH_MAX {
        return Err(ValueError::Depth);
    }
    let below = depth.saturating_add(1);
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(*truth),
        Json::Number(number) => number_in(number)?,
        Json::String(text) => Value::from(text.as_str()),
        Json::Array(items) => {
            let items: Result<Vec<_>, _> = items.iter().map(|item| inward(item, below)).collect();
            Value::from(items?)
        }
        Json::Object(members) => {
            let mut object = std::collections::BTreeMap::new();
            for (key, value) in members {
                object.insert(Value::from(key.as_str()), inward(value, below)?);
            }
            Value::from(object)
        }
    })
}

fn number_in(number: &serde_json::Number) -> Result<Value, ValueError> {
    if let Some(natural) = number.as_u64() {
        return Ok(Value::from(natural));
    }
    if let Some(integer) = number.as_i64() {
        return Ok(Value::from(integer));
    }
    match number.as_f64() {
        Some(double) if double.is_finite() => Ok(Value::from(double)),
        _ => Err(ValueError::Number),
    }
}

/// To JSON; sets become arrays in their order.
pub(crate) fn to_json(value: &Value) -> Result<Json, ValueError> {
    outward(value, 0)
}

fn outward(value: &Value, depth: usize) -> Result<Json, ValueError> {
    if depth > DEPTH_MAX {
        return Err(ValueError::Depth);
    }
    let below = depth.saturating_add(1);
    Ok(match value {
        Value::Undefined => return Err(ValueError::Undefined),
        Value::Null => Json::Null,
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Number(number) => {
            let integer =
                number.as_u64().map(Json::from).or_else(|| number.as_i64().map(Json::from));
            let double = || number.as_f64().filter(|double| double.is_finite()).map(Json::from);
            integer.or_else(double).ok_or(ValueError::Number)?
        }
        Value::String(text) if text.as_ref() == "<undefined>" => return Err(ValueError::Undefined),
        Value::String(text) => Json::String(text.as_ref().to_owned()),
        Value::Array(items) => items
            .iter()
            .map(|item| outward(item, below))
            .collect::<Result<_, _>>()
            .map(Json::Array)?,
        Value::Set(items) => items
            .iter()
            .map(|item| outward(item, below))
            .collect::<Result<_, _>>()
            .map(Json::Array)?,
        Value::Object(members) => {
            let mut object = serde_json::Map::new();
            for (key, value) in members.iter_sorted() {
                let Value::String(key) = key else { return Err(ValueError::Key) };
                object.insert(key.as_ref().to_owned(), outward(value, below)?);
            }
            Json::Object(object)
        }
    })
}
