//! What tells the eras apart on a pipe, and the replies that a server over HTTP would give.

use bytes::Bytes;

use crate::upstream::body::Incoming;
use crate::upstream::message::{MessageKind, Outgoing};
use crate::upstream::span::Message;

/// `server/discover`, as the gateway itself asks it.
pub(in crate::upstream) fn discover() -> Bytes {
    let meta = crate::upstream::catalog::modern_meta();
    format!(r#"{{"jsonrpc":"2.0","id":0,"method":"server/discover","params":{{"_meta":{meta}}}}}"#)
        .into()
}

/// Whether the answer to `server/discover` comes from a server of the modern era.
pub(super) fn is_modern(message: &[u8]) -> bool {
    let Ok(answer) = Message::parse(message) else { return false };
    answer.result().is_some()
        || answer.error_code().is_some_and(|code| MODERN_ERRORS.contains(&code))
}

/// The status that a modern server over HTTP gives this answer (MCP 2026-07-28 `basic/index`,
/// `basic/transports/streamable-http`).
pub(super) fn status_of(message: &[u8]) -> u16 {
    match Message::parse(message).ok().and_then(|answer| answer.error_code()) {
        Some(-32601) => 404,
        Some(code) if MODERN_ERRORS.contains(&code) => 400,
        _ => 200,
    }
}

/// A JSON-RPC error that the module itself gives, as a server over HTTP would.
pub(super) fn fault(status: u16, out: &Outgoing, sentence: &str) -> Incoming {
    let id = match &out.kind {
        MessageKind::Request { id } => id.clone(),
        MessageKind::Notification | MessageKind::Response | MessageKind::None => {
            Bytes::from_static(b"null")
        }
    };
    let code = if status == 404 { "-32001" } else { "-32600" };
    let (begin, middle) = (br#"{"jsonrpc":"2.0","id":"#, br#","error":{"code":"#);
    let message = serde_json::Value::from(sentence).to_string();
    let parts =
        [&begin[..], &id, middle, code.as_bytes(), br#","message":"#, message.as_bytes(), b"}}"];
    Incoming::json(status, parts.concat().into())
}

/// `HeaderMismatch`, `MissingRequiredClientCapability`, `UnsupportedProtocolVersion`.
const MODERN_ERRORS: &[i64] = &[-32020, -32021, -32022];
