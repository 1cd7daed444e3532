//! Protocol revision and mirrored headers (MCP 2026-07-28 `basic/transports`, SEP-2243).
//!
//! A modern request says its revision in `_meta` and repeats it, its method and its target in
//! headers; who reads both has to verify that they agree. Legacy requests have none of these
//! headers, so nothing is ever decided on a header alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use forge_schemas::refusal::RefusalCode;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::envelope::{Kind, Message, meta_keys};

/// Revisions without sessions, newest first.
pub const MODERN: &[&str] = &["2026-07-28"];
/// Revisions with `initialize`, newest first.
pub const LEGACY: &[&str] = &["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05"];

/// `MCP-Protocol-Version`.
pub const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
/// `Mcp-Session-Id`.
pub const SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
/// `Mcp-Method`.
pub const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// `Mcp-Name`.
pub const NAME: HeaderName = HeaderName::from_static("mcp-name");
/// Prefix of headers that mirror annotated arguments.
pub const PARAM_PREFIX: &str = "mcp-param-";

/// The two ways in which MCP is spoken (`basic/versioning`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, requests in both directions.
    Legacy,
    /// From 2026-07-28: every request stands alone.
    Modern,
}

/// A header and the body disagree, or a revision is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub struct HeaderError {
    /// Stable code.
    pub code: RefusalCode,
    /// What disagrees.
    pub sentence: String,
    /// The revision asked for, where that is the fault.
    pub requested: Option<String>,
}

impl HeaderError {
    fn mismatch(sentence: impl Into<String>) -> Self {
        Self { code: RefusalCode::ProtocolHeader, sentence: sentence.into(), requested: None }
    }

    fn version(requested: &str) -> Self {
        Self {
            code: RefusalCode::ProtocolVersion,
            sentence: format!("protocol version {requested:?} is not supported"),
            requested: Some(requested.to_owned()),
        }
    }
}

/// Finds the era of a message that came over HTTP and verifies the headers of a modern one.
///
/// # Errors
/// If the revision is unknown, or a mirrored header is missing or differs.
pub fn verify(headers: &HeaderMap, message: &Message) -> Result<Era, HeaderError> {
    let header = single(headers, &PROTOCOL_VERSION)?;
    let meta = message.facts().protocol.as_deref();
    let modern = |version: &str| MODERN.contains(&version);
    match (header, meta) {
        (None, None) => return Ok(Era::Legacy),
        (Some(header), None) if LEGACY.contains(&header) => return Ok(Era::Legacy),
        (Some(header), None) if modern(header) => {}
        (Some(header), None) => return Err(HeaderError::version(header)),
        (None, Some(_)) => {
            return Err(HeaderError::mismatch("the header MCP-Protocol-Version is missing"));
        }
        (Some(header), Some(meta)) if header != meta => {
            return Err(HeaderError::mismatch(
                "MCP-Protocol-Version and _meta name different versions",
            ));
        }
        (Some(_), Some(meta)) if modern(meta) => {}
        (Some(_), Some(meta)) => return Err(HeaderError::version(meta)),
    }
    if message.kind() != Kind::Response {
        verify_mirrors(headers, message)?;
    }
    verify_meta(message)?;
    Ok(Era::Modern)
}

/// "Every request" carries its revision and the client's capabilities (`basic/index`).
fn verify_meta(message: &Message) -> Result<(), HeaderError> {
    let facts = message.facts();
    if message.kind() != Kind::Request || (facts.protocol.is_some() && facts.capabilities) {
        return Ok(());
    }
    let sentence = "_meta lacks the protocol version or the client's capabilities".to_owned();
    Err(HeaderError { code: RefusalCode::ProtocolMeta, sentence, requested: None })
}

fn verify_mirrors(headers: &HeaderMap, message: &Message) -> Result<(), HeaderError> {
    match single(headers, &METHOD)? {
        Some(method) if method == message.method() => {}
        Some(_) => return Err(HeaderError::mismatch("Mcp-Method is not the method of the body")),
        None => return Err(HeaderError::mismatch("the header Mcp-Method is missing")),
    }
    let Some(expected) = mirrored_name(message) else { return Ok(()) };
    match single(headers, &NAME)?.map(decode) {
        Some(Some(name)) if name == expected => Ok(()),
        Some(_) => Err(HeaderError::mismatch("Mcp-Name is not the name or uri of the body")),
        None => Err(HeaderError::mismatch("the header Mcp-Name is missing")),
    }
}

/// What `Mcp-Name` has to mirror, for the methods that have it.
fn mirrored_name(message: &Message) -> Option<&str> {
    let facts = message.facts();
    match message.method() {
        "tools/call" | "prompts/get" => facts.name.as_deref(),
        "resources/read" => facts.uri.as_deref(),
        "tasks/get" | "tasks/update" | "tasks/cancel" => facts.task.as_deref(),
        _ => None,
    }
}

/// An argument that the tool's schema wants mirrored in `Mcp-Param-{header}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MirroredParam {
    /// Header name after the prefix, lowercase.
    pub header: String,
    /// Member names from the arguments down to the value.
    pub path: Vec<String>,
}

/// The `x-mcp-header` annotations of an `inputSchema`: primitive values reached through
/// `properties` alone.
#[must_use]
pub fn mirrored_params(input_schema: &Value) -> Vec<MirroredParam> {
    let mut found = Vec::new();
    collect(input_schema, &mut Vec::new(), &mut found);
    found
}

fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<MirroredParam>) {
    if path.len() > MIRROR_DEPTH_MAX {
        return;
    }
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        if let Some(header) = property.get("x-mcp-header").and_then(Value::as_str) {
            found.push(MirroredParam { header: header.to_ascii_lowercase(), path: path.clone() });
        }
        collect(property, path, found);
        path.pop();
    }
}

/// Verifies `Mcp-Param-*` headers of a call against its arguments.
///
/// # Errors
/// If an annotated argument that is present has no header, or a header says something else.
pub fn verify_params(
    headers: &HeaderMap,
    params: &[MirroredParam],
    arguments: &Value,
) -> Result<(), HeaderError> {
    for param in params {
        let value = param.path.iter().try_fold(arguments, |value, name| value.get(name));
        let name = HeaderName::try_from(format!("{PARAM_PREFIX}{}", param.header)).map_err(
            |_bad_annotation| HeaderError::mismatch("the tool's x-mcp-header is not a header name"),
        )?;
        let header = single(headers, &name)?;
        match (value, header) {
            (None | Some(Value::Null), None) => {}
            (Some(value), Some(header)) if same(value, header) => {}
            (Some(_), None) => {
                return Err(HeaderError::mismatch(format!(
                    "the header Mcp-Param-{} is missing",
                    param.header
                )));
            }
            (_, Some(_)) => {
                return Err(HeaderError::mismatch(format!(
                    "Mcp-Param-{} is not the argument it mirrors",
                    param.header
                )));
            }
        }
    }
    Ok(())
}

fn same(value: &Value, header: &str) -> bool {
    let Some(text) = decode(header) else { return false };
    match value {
        Value::String(value) => *value == text,
        Value::Bool(value) => value.to_string() == text,
        Value::Number(number) => {
            number.to_string() == text || number.as_i64().is_some_and(|int| text.parse() == Ok(int))
        }
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

/// The headers that a modern request needs, made from its body: for clients that came over stdio.
#[must_use]
pub fn mirror(message: &Message, params: &[MirroredParam]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: HeaderName, text: &str| {
        if let Ok(value) = HeaderValue::from_str(&encode(text)) {
            headers.insert(name, value);
        }
    };
    let facts = message.facts();
    if let Some(version) = &facts.protocol {
        put(PROTOCOL_VERSION, version);
    }
    put(METHOD, message.method());
    if let Some(name) = mirrored_name(message) {
        put(NAME, name);
    }
    let arguments: Value = facts
        .arguments
        .as_deref()
        .and_then(|raw| serde_json::from_slice(raw).ok())
        .unwrap_or_default();
    for param in params {
        let value = param.path.iter().try_fold(&arguments, |value, name| value.get(name));
        let text = match value {
            Some(Value::String(text)) => text.clone(),
            Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
            Some(Value::Null | Value::Array(_) | Value::Object(_)) | None => continue,
        };
        if let Ok(name) = HeaderName::try_from(format!("{PARAM_PREFIX}{}", param.header)) {
            put(name, &text);
        }
    }
    headers
}

/// The request headers that travel on to a tool server; everything else stays here
/// (`Authorization` and `Cookie` above all). Headers that mirror the body are made anew from the
/// bytes that are sent ([`mirror`]), so that what was redacted there does not leave here.
#[must_use]
pub fn forwarded(headers: &HeaderMap) -> HeaderMap {
    const ALLOWED: &[&str] =
        &["accept", "content-type", "last-event-id", "mcp-protocol-version", "traceparent"];
    let allowed = |name: &HeaderName| ALLOWED.contains(&name.as_str());
    headers
        .iter()
        .filter(|(name, _)| allowed(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// A header that may stand there once at most.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, HeaderError> {
    let mut values = headers.get_all(name).iter();
    let (first, second) = (values.next(), values.next());
    if second.is_some() {
        return Err(HeaderError::mismatch(format!("the header {name} stands there twice")));
    }
    first
        .map(|value| value.to_str().map(str::trim))
        .transpose()
        .map_err(|_not_ascii| HeaderError::mismatch(format!("the header {name} is not ASCII")))
}

/// Undoes `=?base64?…?=`; `None` if that is broken.
fn decode(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="))
    else {
        return Some(value.to_owned());
    };
    String::from_utf8(STANDARD.decode(inner).ok()?).ok()
}

/// Safe ASCII as it is, everything else as `=?base64?…?=`.
fn encode(text: &str) -> String {
    let safe = text.bytes().all(|byte| (0x20..0x7f).contains(&byte))
        && text.trim() == text
        && !text.starts_with("=?base64?");
    if safe { text.to_owned() } else { format!("=?base64?{}?=", STANDARD.encode(text)) }
}

/// `error.data` of -32022: what is supported.
#[must_use]
pub fn supported() -> Vec<&'static str> {
    MODERN.iter().chain(LEGACY).copied().collect()
}

/// The key of `_meta` that makes a body modern.
#[must_use]
pub fn modern_key() -> &'static str {
    meta_keys::PROTOCOL_VERSION
}

const MIRROR_DEPTH_MAX: usize = 16;
