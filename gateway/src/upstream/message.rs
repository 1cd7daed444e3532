//! What goes to a tool server.

use std::fmt;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// The HTTP verb that the client used, or would have used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// One message.
    Post,
    /// The stream of messages that belong to no request (legacy only).
    Get,
    /// The end of a session (legacy only).
    Delete,
}

/// The two families of protocol revisions (MCP 2026-07-28 `basic/versioning`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    /// 2025-11-25 and older: `initialize` and sessions.
    Legacy,
    /// 2026-07-28: every request stands for itself.
    Modern,
}

/// Which JSON-RPC shape the body has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageKind {
    /// A request, with the JSON text of its id as the client wrote it.
    Request {
        /// A JSON string or integer.
        id: Bytes,
    },
    /// A notification.
    Notification,
    /// The client's answer to a request of the server (legacy only).
    Response,
    /// No body: GET and DELETE.
    None,
}

/// One message on its way to a tool server. Its `Debug` form leaves out all content.
#[derive(Clone)]
pub struct Outgoing {
    /// How it is sent.
    pub verb: Verb,
    /// By which rules.
    pub era: Era,
    /// What it is.
    pub kind: MessageKind,
    /// Its JSON-RPC method; empty if it has none.
    pub method: String,
    /// Exactly what is sent over HTTP. On a pipe the id, the progress token and a cancelled
    /// request's id are replaced and line breaks between tokens become spaces; nothing else.
    pub body: Bytes,
    /// Headers that the caller chose to pass on. Credentials and hop-by-hop headers among them are
    /// dropped all the same.
    pub headers: HeaderMap,
    /// The session, as [`super::Incoming::session`] named it.
    pub session: Option<String>,
    /// Keeps principals apart: a process serves one of them.
    pub principal: String,
    /// From now until the final answer. For streams that belong to no single answer (GET,
    /// `subscriptions/listen`) only until the stream opens.
    pub deadline: Duration,
    /// Gives the message up; a stdio server is told so.
    pub cancel: CancellationToken,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing")
            .field("verb", &self.verb)
            .field("era", &self.era)
            .field("method", &self.method)
            .field("body_bytes", &self.body.len())
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Outgoing {
    /// Whether the answer is a stream without a foreseeable end.
    pub(super) fn is_endless(&self) -> bool {
        self.verb == Verb::Get || self.method == LISTEN
    }
}

/// The method of the modern era's subscription stream.
pub(super) const LISTEN: &str = "subscriptions/listen";
/// The newest revision that this module speaks for itself.
pub(super) const MODERN_VERSION: &str = "2026-07-28";
/// The newest revision with a handshake.
pub(super) const LEGACY_VERSION: &str = "2025-11-25";

/// The notification that gives a request up. `id` is the JSON text of its id.
pub(super) fn cancelled(id: &[u8]) -> Bytes {
    const BEFORE: &[u8] =
        br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"#;
    [BEFORE, id, b"}}"].concat().into()
}
