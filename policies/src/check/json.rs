//! The checker as a function from bytes to bytes, for a child process, and `data.json` files.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CheckReport, Fault, code};
use crate::bundle::{Bundle, Source};

/// What the child process reads.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// The files of the bundle.
    pub sources: Vec<Source>,
}

/// What the child process writes.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CheckResponse {
    /// Without a fault.
    Report(CheckReport),
    /// At least one.
    Faults(Vec<Fault>),
}

/// Checks the bundle in `request` (a `CheckRequest`) and writes a `CheckResponse`. Never fails:
/// a request that cannot be read is a fault.
#[must_use]
pub fn check_json(request: &[u8]) -> Vec<u8> {
    let response = respond(request);
    serde_json::to_vec(&response).unwrap_or_default()
}

fn respond(request: &[u8]) -> CheckResponse {
    let unreadable =
        |sentence: String| CheckResponse::Faults(vec![Fault::new("", 0, 0, code::LOAD, sentence)]);
    let request: CheckRequest = match serde_json::from_slice(request) {
        Ok(request) => request,
        Err(error) => return unreadable(error.to_string()),
    };
    let bundle = match Bundle::new(request.sources) {
        Ok(bundle) => bundle,
        Err(error) => return unreadable(error.to_string()),
    };
    match super::check(&bundle) {
        Ok(report) => CheckResponse::Report(report),
        Err(faults) => CheckResponse::Faults(faults),
    }
}

/// Every `data.json` of the bundle, each under the path of its folder.
pub(crate) fn data(bundle: &Bundle) -> Result<Value, Vec<Fault>> {
    let (mut root, mut faults) = (Value::Object(serde_json::Map::new()), Vec::new());
    for source in bundle.sources().iter().filter(|source| source.is_data()) {
        match document(source).and_then(|document| merge(&mut root, document)) {
            Ok(()) => {}
            Err(sentence) => faults.push(Fault::new(&source.path, 0, 0, code::DATA, sentence)),
        }
    }
    if faults.is_empty() { Ok(root) } else { Err(faults) }
}

fn document(source: &Source) -> Result<Value, String> {
    let Strict(content) = serde_json::from_str(&source.text).map_err(|error| error.to_string())?;
    if !content.is_object() {
        return Err("a data document is an object".to_owned());
    }
    let folder = source.path.trim_end_matches("data.json").trim_end_matches('/');
    let mut wrapped = content;
    for word in folder.rsplit('/').filter(|word| !word.is_empty()) {
        let mut object = serde_json::Map::new();
        object.insert(word.to_owned(), wrapped);
        wrapped = Value::Object(object);
    }
    if wrapped.get("forge").is_some() {
        return Err("data.forge belongs to packages; put data elsewhere".to_owned());
    }
    Ok(wrapped)
}

/// Objects are united; any other overlap is refused.
fn merge(target: &mut Value, source: Value) -> Result<(), String> {
    let (Value::Object(target), Value::Object(source)) = (target, source) else {
        return Err("two data documents overlap".to_owned());
    };
    for (key, value) in source {
        match target.get_mut(&key) {
            Some(present) => merge(present, value)?,
            None => drop(target.insert(key, value)),
        }
    }
    Ok(())
}

/// JSON in which no object has a key twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Strict;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Strict, E> {
        Ok(Strict(Value::Null))
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Strict, E> {
        Ok(Strict(Value::Bool(truth)))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Strict, E> {
        Ok(Strict(Value::from(number)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Strict, E> {
        Ok(Strict(Value::from(number)))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Strict, E> {
        Ok(Strict(Value::from(number)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Strict, E> {
        Ok(Strict(Value::from(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Strict, A::Error> {
        let mut array = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Strict(Value::Array(array)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Strict, A::Error> {
        let mut object = serde_json::Map::new();
        while let Some((key, Strict(value))) = members.next_entry::<String, Strict>()? {
            if object.insert(key.clone(), value).is_some() {
                return Err(serde::de::Error::custom(format!("the key {key:?} occurs twice")));
            }
        }
        Ok(Strict(Value::Object(object)))
    }
}
