//! Where the few interesting parts of a JSON-RPC message lie in its bytes, and how to replace them.
//!
//! A message is parsed into borrowed raw values, so that everything that is not replaced stays as
//! it was written. Keys that are read here may appear once only; other keys are not looked at.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// Not one JSON-RPC message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotMessage;

/// One JSON-RPC message, borrowed from its text.
#[derive(Debug)]
pub(super) struct Message<'a> {
    text: &'a str,
    envelope: Envelope<'a>,
}

/// What a message is.
#[derive(Debug)]
pub(super) enum Shape<'a> {
    Request,
    Notification,
    Answer {
        id: &'a RawValue,
    },
    /// Says that it answers an id, but carries both or neither of result and error.
    Broken {
        id: &'a RawValue,
    },
}

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    jsonrpc: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    params: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    error: Option<&'a RawValue>,
}

/// The parts of `params` or `result` that carry ids.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Parts<'a> {
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestId", deserialize_with = "present")]
    pub(super) request: Option<&'a RawValue>,
    /// Of `notifications/progress` itself.
    #[serde(borrow, default, rename = "progressToken", deserialize_with = "present")]
    pub(super) progress: Option<&'a RawValue>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Meta<'a> {
    #[serde(borrow, default, rename = "progressToken", deserialize_with = "present")]
    pub(super) progress: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/subscriptionId",
        deserialize_with = "present"
    )]
    pub(super) subscription: Option<&'a RawValue>,
    /// The modern era's wish for log messages.
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/logLevel",
        deserialize_with = "present"
    )]
    pub(super) log_level: Option<&'a RawValue>,
}

/// `null` is there, unlike nothing.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

impl<'a> Message<'a> {
    /// Parses one message.
    pub(super) fn parse(bytes: &'a [u8]) -> Result<Self, NotMessage> {
        let text = std::str::from_utf8(bytes).map_err(|_position| NotMessage)?;
        // serde would read an array as the envelope's fields in order; a batch is not a message.
        if !text.trim_start().starts_with('{') {
            return Err(NotMessage);
        }
        let envelope: Envelope<'a> = serde_json::from_str(text).map_err(|_detail| NotMessage)?;
        let message = Self { text, envelope };
        if message.envelope.jsonrpc == "2.0" && message.shape().is_some() {
            Ok(message)
        } else {
            Err(NotMessage)
        }
    }

    fn shape(&self) -> Option<Shape<'a>> {
        let Envelope { id, method, result, error, .. } = &self.envelope;
        match (method, id) {
            (Some(_), Some(_)) => Some(Shape::Request),
            (Some(_), None) => Some(Shape::Notification),
            (None, Some(id)) if result.is_some() != error.is_some() => Some(Shape::Answer { id }),
            (None, Some(id)) => Some(Shape::Broken { id }),
            (None, None) => None,
        }
    }

    /// What it is. A message without method and id never parses; it would be a notification.
    pub(super) fn what(&self) -> Shape<'a> {
        self.shape().unwrap_or(Shape::Notification)
    }

    pub(super) fn method(&self) -> &str {
        self.envelope.method.as_deref().unwrap_or_default()
    }

    pub(super) fn id(&self) -> Option<&'a RawValue> {
        self.envelope.id
    }

    pub(super) fn result(&self) -> Option<&'a RawValue> {
        self.envelope.result
    }

    /// The JSON-RPC error code, if this is an error with one.
    pub(super) fn error_code(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Fault {
            code: i64,
        }
        serde_json::from_str(self.envelope.error?.get()).ok().map(|fault: Fault| fault.code)
    }

    /// The id-carrying parts of `params`.
    pub(super) fn params(&self) -> Result<Parts<'a>, NotMessage> {
        object(self.envelope.params)
    }

    /// The id-carrying parts of `result`.
    pub(super) fn result_parts(&self) -> Result<Parts<'a>, NotMessage> {
        object(self.envelope.result)
    }

    /// Where a part of this message lies. `None` only for a value of another message.
    pub(super) fn span(&self, part: &RawValue) -> Option<Range<usize>> {
        let start = part.get().as_ptr().addr().checked_sub(self.text.as_ptr().addr())?;
        let end = start.checked_add(part.get().len())?;
        (end <= self.text.len()).then_some(start..end)
    }
}

impl<'a> Parts<'a> {
    pub(super) fn meta(&self) -> Result<Meta<'a>, NotMessage> {
        object(self.meta)
    }
}

fn object<'a, T: Default + Deserialize<'a>>(raw: Option<&'a RawValue>) -> Result<T, NotMessage> {
    match raw {
        Some(raw) if raw.get().starts_with('{') => {
            serde_json::from_str(raw.get()).map_err(|_detail| NotMessage)
        }
        // Something else than an object has no parts; it is for the receiver to complain.
        _ => Ok(T::default()),
    }
}

/// Whether this is a JSON-RPC error, even one without an id, as the body of a 4xx may be
/// (MCP 2025-11-25 `basic/transports`, sending messages to the server).
pub(super) fn is_fault(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let object = text.trim_start().starts_with('{');
    object
        && serde_json::from_str(text).is_ok_and(|envelope: Envelope<'_>| {
            let Envelope { jsonrpc, method, result, error, .. } = envelope;
            jsonrpc == "2.0" && method.is_none() && result.is_none() && error.is_some()
        })
}

/// Replaces spans, which do not overlap, and copies the rest.
pub(super) fn splice(source: &[u8], mut edits: Vec<(Range<usize>, Bytes)>) -> Bytes {
    edits.sort_by_key(|(span, _)| span.start);
    let added: usize = edits.iter().map(|(_, with)| with.len()).sum();
    let mut spliced = Vec::with_capacity(source.len().saturating_add(added));
    let mut from = 0;
    for (span, with) in edits {
        spliced.extend_from_slice(source.get(from..span.start).unwrap_or_default());
        spliced.extend_from_slice(&with);
        from = span.end;
    }
    spliced.extend_from_slice(source.get(from..).unwrap_or_default());
    spliced.into()
}

/// Whether two ids are the same string or the same integer, however they are written.
pub(super) fn same_id(one: &[u8], other: &[u8]) -> bool {
    let parsed = |id| serde_json::from_slice::<serde_json::Value>(id).ok();
    one == other || matches!((parsed(one), parsed(other)), (Some(a), Some(b)) if a == b)
}

/// The number, if the text is a plain integer as this module writes its own ids.
pub(super) fn own_id(raw: &RawValue) -> Option<u64> {
    raw.get().parse().ok()
}

/// Like [`own_id`], and also inside a string: some servers turn tokens into strings.
pub(super) fn own_token(raw: &RawValue) -> Option<u64> {
    raw.get().trim_matches('"').parse().ok()
}
