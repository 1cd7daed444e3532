//! Tool servers: a child process on stdin and stdout, or Streamable HTTP. Bytes in, bytes out.
//!
//! One message goes to one server and what comes back is handed on as it was written; only ids that
//! would collide on a shared pipe are replaced, span by span, and restored. Framing and routing
//! follow MCP 2026-07-28 and 2025-11-25 `basic/transports`. What this module deliberately does not
//! do: judge a message (that is `call`), keep the client's session ids (that is `mcp::session`),
//! dereference or repair anything a server says, translate one era into the other, or pass the
//! client's credential on. rmcp does not stand in this path.

mod body;
mod catalog;
mod error;
pub mod exec;
mod gate;
mod health;
mod http;
mod message;
mod server;
mod settings;
mod span;
pub(crate) mod sse;
mod stdio;

#[cfg(test)]
mod tests;

pub use body::{Body, Events, Incoming, SseEvent};
pub use catalog::{Catalog, RawTool};
pub use error::UpstreamError;
pub use health::{Circuit, Counts, Health};
pub use message::{Era, MessageKind, Outgoing, Verb};
pub use server::{SetUpError, Upstream, Upstreams};
pub use settings::{
    Common, Credential, HttpSettings, Limits, ServerSettings, StdioSettings, Transport,
};
