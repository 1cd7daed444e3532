//! One JSON-RPC message, read strictly and kept as bytes.
//!
//! MCP 2025-11-25 and 2026-07-28 `basic`: a request has a string or integer id, a notification
//! none, a response no method. Batches are refused in every era (only 2025-03-26 had them).
//! Members that this file does not know stay in the bytes and are forwarded untouched.

use std::borrow::Cow;
use std::ops::Range;

use bytes::Bytes;
use forge_schemas::refusal::RefusalCode;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::strict::{self, StrictError};

/// `_meta` keys of MCP 2026-07-28 `basic/index`.
pub mod meta_keys {
    /// The protocol revision of this request.
    pub const PROTOCOL_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
    /// Name and version of the client, unverified.
    pub const CLIENT_INFO: &str = "io.modelcontextprotocol/clientInfo";
    /// What the client can do.
    pub const CLIENT_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
}

/// What sort of message it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Has a method and an id.
    Request,
    /// Has a method and no id.
    Notification,
    /// Has an id and no method: the client's answer to a server's request, or a server's answer.
    Response,
}

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct EnvelopeError {
    /// Stable code.
    pub code: RefusalCode,
    /// What exactly is wrong.
    pub sentence: &'static str,
    /// Raw id, where one could be read, for the error answer.
    pub id: Option<Bytes>,
}

/// A message. All slices share the body's memory.
#[derive(Clone, Debug)]
pub struct Message {
    body: Bytes,
    kind: Kind,
    id: Option<Bytes>,
    method: String,
    params: Option<Bytes>,
    /// `result` or `error` of a response.
    outcome: Option<Bytes>,
    failed: bool,
    facts: ParamsFacts,
}

/// What the gateway itself needs of `params`.
#[derive(Clone, Debug, Default)]
pub struct ParamsFacts {
    /// `name`, of tools and prompts.
    pub name: Option<String>,
    /// `uri`, of resources.
    pub uri: Option<String>,
    /// `taskId`, of tasks.
    pub task: Option<String>,
    /// `arguments` as sent.
    pub arguments: Option<Bytes>,
    /// `requestState` of a retried request, decoded.
    pub request_state: Option<String>,
    /// The request carries `inputResponses`.
    pub input_responses: bool,
    /// `_meta` as sent.
    pub meta: Option<Bytes>,
    /// `_meta.progressToken` as sent.
    pub progress_token: Option<Bytes>,
    /// `_meta["io.modelcontextprotocol/protocolVersion"]`.
    pub protocol: Option<String>,
    /// `clientInfo`, from `_meta` or from `initialize`.
    pub client: ClientInfo,
    /// `_meta` declares client capabilities.
    pub capabilities: bool,
    /// W3C trace id of `_meta.traceparent`.
    pub trace_id: String,
    /// `protocolVersion` of `initialize`.
    pub initialize_version: Option<String>,
}

/// Name and version of the client software, as it says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, serde::Serialize)]
#[serde(default)]
pub struct ClientInfo {
    /// `name`.
    pub name: String,
    /// `version`.
    pub version: String,
}

#[derive(Deserialize)]
struct Wire<'a> {
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

#[derive(Deserialize, Default)]
struct WireParams<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    uri: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "taskId", deserialize_with = "present")]
    task: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    arguments: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "requestState", deserialize_with = "present")]
    request_state: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "inputResponses", deserialize_with = "present")]
    input_responses: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    meta: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "clientInfo", deserialize_with = "present")]
    client: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "protocolVersion", deserialize_with = "present")]
    protocol: Option<&'a RawValue>,
}

#[derive(Deserialize, Default)]
struct WireMeta<'a> {
    #[serde(borrow, default, rename = "progressToken", deserialize_with = "present")]
    progress_token: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/protocolVersion",
        deserialize_with = "present"
    )]
    protocol: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/clientInfo",
        deserialize_with = "present"
    )]
    client: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/clientCapabilities",
        deserialize_with = "present"
    )]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    traceparent: Option<&'a RawValue>,
}

/// Tells a member that is `null` from one that is absent.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

impl Message {
    /// Reads one message.
    ///
    /// # Errors
    /// A code and a sentence; with the id, if there is one to answer to.
    pub fn parse(body: Bytes, depth_max: usize) -> Result<Self, EnvelopeError> {
        let refuse = |code, sentence| EnvelopeError { code, sentence, id: None };
        if body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'[') {
            return Err(refuse(RefusalCode::ProtocolBatch, "the body is a JSON-RPC batch"));
        }
        strict::check(&body, depth_max).map_err(|fault| match fault {
            StrictError::Syntax => {
                refuse(RefusalCode::ProtocolJson, "the body is not one JSON value in UTF-8")
            }
            StrictError::DuplicateKey => {
                refuse(RefusalCode::ProtocolDuplicateKey, "an object has the same key twice")
            }
            StrictError::Depth => {
                refuse(RefusalCode::ProtocolDepth, "the body is nested too deeply")
            }
        })?;
        let wire: Wire<'_> = serde_json::from_slice(&body).map_err(|_shape| {
            refuse(RefusalCode::ProtocolRequest, "the body is not a JSON-RPC 2.0 message")
        })?;
        let id = wire.id.map(|raw| body.slice_ref(raw.get().as_bytes()));
        let refuse = |code, sentence| {
            let id = id.clone().filter(|raw| is_id(raw));
            EnvelopeError { code, sentence, id }
        };
        if wire.jsonrpc != "2.0" {
            return Err(refuse(
                RefusalCode::ProtocolRequest,
                "the member jsonrpc has to be \"2.0\"",
            ));
        }
        if id.as_ref().is_some_and(|raw| !is_id(raw)) {
            return Err(refuse(
                RefusalCode::ProtocolId,
                "the id is neither a string nor an integer",
            ));
        }
        let (kind, outcome, failed) =
            kind(&wire).map_err(|sentence| refuse(RefusalCode::ProtocolRequest, sentence))?;
        let facts = wire
            .params
            .map(|raw| params_facts(&body, raw))
            .transpose()
            .map_err(|sentence| refuse(RefusalCode::ProtocolRequest, sentence))?
            .unwrap_or_default();
        let slice = |raw: &RawValue| body.slice_ref(raw.get().as_bytes());
        let (params, outcome) = (wire.params.map(slice), outcome.map(slice));
        let method = wire.method.map(Cow::into_owned).unwrap_or_default();
        Ok(Self { id, kind, method, params, outcome, failed, facts, body })
    }

    /// The exact bytes.
    #[must_use]
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// Request, notification or response.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Raw id.
    #[must_use]
    pub fn id(&self) -> Option<&Bytes> {
        self.id.as_ref()
    }

    /// Method; empty in a response.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.method
    }

    /// Raw `params`.
    #[must_use]
    pub fn params(&self) -> Option<&Bytes> {
        self.params.as_ref()
    }

    /// Raw `result` or `error`.
    #[must_use]
    pub fn outcome(&self) -> Option<&Bytes> {
        self.outcome.as_ref()
    }

    /// The response carries `error`.
    #[must_use]
    pub fn failed(&self) -> bool {
        self.failed
    }

    /// What the gateway itself needs of `params`.
    #[must_use]
    pub fn facts(&self) -> &ParamsFacts {
        &self.facts
    }

    /// The tool, prompt, resource or task that the request names.
    #[must_use]
    pub fn target(&self) -> &str {
        let facts = &self.facts;
        let named = match self.method.as_str() {
            "resources/read" | "resources/subscribe" | "resources/unsubscribe" => &facts.uri,
            "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => &facts.task,
            _ => &facts.name,
        };
        named.as_deref().unwrap_or_default()
    }

    /// The body with `part`, a slice of it, replaced.
    #[must_use]
    pub fn splice(&self, part: &Bytes, replacement: &[u8]) -> Option<Bytes> {
        splice(&self.body, &span(&self.body, part)?, replacement)
    }
}

/// `body` with the bytes of `span` replaced.
#[must_use]
pub fn splice(body: &[u8], span: &Range<usize>, replacement: &[u8]) -> Option<Bytes> {
    Some(Bytes::from([body.get(..span.start)?, replacement, body.get(span.end..)?].concat()))
}

/// Where `part` lies in `whole`; `None` if it is not a slice of it.
#[must_use]
pub fn span(whole: &[u8], part: &[u8]) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(whole.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (end <= whole.len()).then_some(start..end)
}

fn kind<'a>(wire: &Wire<'a>) -> Result<(Kind, Option<&'a RawValue>, bool), &'static str> {
    match (&wire.method, wire.id, wire.result, wire.error) {
        (Some(_), Some(_), None, None) => Ok((Kind::Request, None, false)),
        (Some(_), None, None, None) => Ok((Kind::Notification, None, false)),
        (None, Some(_), Some(result), None) => Ok((Kind::Response, Some(result), false)),
        (None, Some(_), None, Some(error)) => Ok((Kind::Response, Some(error), true)),
        (Some(_), ..) => Err("a message with a method has neither result nor error"),
        (None, None, ..) => Err("the message has neither a method nor an id"),
        (None, Some(_), ..) => Err("a response has either result or error"),
    }
}

/// JSON-RPC 2.0 §4 as MCP narrows it: a string or an integer.
fn is_id(raw: &[u8]) -> bool {
    match raw {
        [b'"', ..] => raw.len() <= ID_BYTES_MAX,
        [b'-', digits @ ..] | digits => {
            !digits.is_empty() && digits.len() <= 19 && digits.iter().all(u8::is_ascii_digit)
        }
    }
}

fn params_facts(body: &Bytes, raw: &RawValue) -> Result<ParamsFacts, &'static str> {
    if !raw.get().starts_with('{') {
        return Err("params is not an object");
    }
    let wire: WireParams<'_> =
        serde_json::from_str(raw.get()).map_err(|_shape| "params is not an object")?;
    let slice = |raw: &RawValue| body.slice_ref(raw.get().as_bytes());
    let meta: WireMeta<'_> = match wire.meta {
        Some(meta) => {
            serde_json::from_str(meta.get()).map_err(|_shape| "_meta is not an object")?
        }
        None => WireMeta::default(),
    };
    Ok(ParamsFacts {
        name: text(wire.name, "name is not a string")?,
        uri: text(wire.uri, "uri is not a string")?,
        task: text(wire.task, "taskId is not a string")?,
        arguments: wire.arguments.map(slice),
        request_state: text(wire.request_state, "requestState is not a string")?,
        input_responses: wire.input_responses.is_some(),
        meta: wire.meta.map(slice),
        progress_token: meta.progress_token.map(slice),
        protocol: text(meta.protocol, "the protocol version in _meta is not a string")?,
        client: meta.client.or(wire.client).map(client_info).unwrap_or_default(),
        capabilities: meta.capabilities.is_some_and(|raw| raw.get().starts_with('{')),
        trace_id: meta.traceparent.map(trace_id).unwrap_or_default(),
        initialize_version: wire.protocol.and_then(|raw| serde_json::from_str(raw.get()).ok()),
    })
}

fn text(raw: Option<&RawValue>, fault: &'static str) -> Result<Option<String>, &'static str> {
    raw.map(|raw| serde_json::from_str(raw.get()).map_err(|_type| fault)).transpose()
}

/// Unverified and for display only, so anything odd is simply left out.
fn client_info(raw: &RawValue) -> ClientInfo {
    let mut info: ClientInfo = serde_json::from_str(raw.get()).unwrap_or_default();
    for text in [&mut info.name, &mut info.version] {
        *text = text.chars().filter(|c| !c.is_control()).take(CLIENT_INFO_CHARS_MAX).collect();
    }
    info
}

/// W3C Trace Context §3.2.2: version, trace id, parent id, flags.
fn trace_id(raw: &RawValue) -> String {
    let header: String = serde_json::from_str(raw.get()).unwrap_or_default();
    let id = header.split('-').nth(1).unwrap_or_default();
    let fits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    if fits { id.to_owned() } else { String::new() }
}

const ID_BYTES_MAX: usize = 512;
const CLIENT_INFO_CHARS_MAX: usize = 80;
