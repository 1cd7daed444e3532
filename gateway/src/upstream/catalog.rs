//! The gateway's own questions to a server: what it is, and which tools it has.
//!
//! `server/discover` first; whatever is not a modern answer leads to `initialize` (MCP 2026-07-28
//! `basic/versioning`). Then `tools/list`, page by page; each definition stays as it was written.

use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use super::body::Incoming;
use super::error::UpstreamError;
use super::message::{Era, LEGACY_VERSION, MODERN_VERSION, MessageKind, Outgoing, Verb};
use super::server::Upstream;
use super::stdio::{discover, last};

/// What a server said about itself.
#[derive(Debug)]
pub struct Catalog {
    /// How it was asked.
    pub era: Era,
    /// The protocol revision it agreed to.
    pub version: String,
    /// Its name and version in its own words; not to be trusted.
    pub server_info: Option<Box<RawValue>>,
    /// Its tools, in its order.
    pub tools: Vec<RawTool>,
}

/// One tool as the server wrote it down.
#[derive(Debug)]
pub struct RawTool {
    /// Its name.
    pub name: String,
    /// The whole definition.
    pub definition: Box<RawValue>,
}

#[derive(Debug, Deserialize)]
struct Answer<T> {
    result: Option<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Discovered {
    supported_versions: Vec<String>,
    server_info: Option<Box<RawValue>>,
    #[serde(rename = "_meta")]
    meta: Option<DiscoveredMeta>,
}

#[derive(Debug, Deserialize)]
struct DiscoveredMeta {
    #[serde(rename = "io.modelcontextprotocol/serverInfo")]
    server_info: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Initialized {
    protocol_version: String,
    server_info: Option<Box<RawValue>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Page {
    tools: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

struct Asker<'a> {
    upstream: &'a Upstream,
    deadline: Duration,
    era: Era,
    version: String,
    session: Option<String>,
    next: u64,
}

/// Asks everything.
pub(super) async fn fetch(
    upstream: &Upstream,
    deadline: Duration,
) -> Result<Catalog, UpstreamError> {
    let version = MODERN_VERSION.to_owned();
    let mut asker = Asker { upstream, deadline, era: Era::Modern, version, session: None, next: 1 };
    let found = match asker.discover().await {
        Some(server_info) => Ok(server_info),
        None => asker.initialize().await,
    };
    let tools = match found {
        Ok(server_info) => asker.tools().await.map(|tools| (server_info, tools)),
        Err(error) => Err(error),
    };
    if let Some(session) = asker.session.take() {
        upstream.end_session(&session).await;
    }
    let (server_info, tools) = tools?;
    Ok(Catalog { era: asker.era, version: asker.version, server_info, tools })
}

impl Asker<'_> {
    /// `None` if this is not a modern server.
    async fn discover(&mut self) -> Option<Option<Box<RawValue>>> {
        let reply = self.send("server/discover", discover(), Some(Bytes::from_static(b"0"))).await;
        let message = last(reply.ok()?.body).await.ok()?;
        let found: Discovered = result(&message)?;
        let spoken = found.supported_versions.iter().any(|version| version == MODERN_VERSION);
        let in_meta = found.meta.and_then(|meta| meta.server_info);
        spoken.then(|| in_meta.or(found.server_info))
    }

    async fn initialize(&mut self) -> Result<Option<Box<RawValue>>, UpstreamError> {
        self.era = Era::Legacy;
        let client = client_info();
        let params = format!(
            r#"{{"protocolVersion":"{LEGACY_VERSION}","capabilities":{{}},"clientInfo":{client}}}"#
        );
        let reply = self.ask("initialize", &params).await?;
        self.session = reply.session;
        let message = last(reply.body).await?;
        let found: Initialized =
            result(&message).ok_or(UpstreamError::Invalid("no result of initialize"))?;
        self.version = found.protocol_version;
        let ready = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        self.send("notifications/initialized", Bytes::from_static(ready), None).await?;
        Ok(found.server_info)
    }

    async fn tools(&mut self) -> Result<Vec<RawTool>, UpstreamError> {
        let mut tools = Vec::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let params = self.list_params(cursor.as_deref());
            let message = last(self.ask("tools/list", &params).await?.body).await?;
            let Some(page) = result::<Page>(&message) else { return no_tools(&message) };
            for definition in page.tools {
                let named: Named = serde_json::from_str(definition.get())
                    .map_err(|_detail| UpstreamError::Invalid("a tool without a name"))?;
                tools.push(RawTool { name: named.name, definition });
            }
            cursor = page.next_cursor;
            if cursor.is_none() {
                return Ok(tools);
            }
            if tools.len() > TOOLS_MAX {
                return Err(UpstreamError::Invalid("more tools than a catalogue may have"));
            }
        }
        Err(UpstreamError::Invalid("more pages than a catalogue may have"))
    }

    fn list_params(&self, cursor: Option<&str>) -> String {
        let cursor = cursor.map(|cursor| serde_json::Value::from(cursor).to_string());
        let cursor = cursor.map(|cursor| format!(r#""cursor":{cursor}"#));
        let meta = (self.era == Era::Modern).then(|| format!(r#""_meta":{}"#, modern_meta()));
        let members: Vec<String> = cursor.into_iter().chain(meta).collect();
        format!("{{{}}}", members.join(","))
    }

    async fn ask(&mut self, method: &str, params: &str) -> Result<Incoming, UpstreamError> {
        let id = self.next.to_string();
        self.next = self.next.saturating_add(1);
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
        self.send(method, body.into(), Some(id.into())).await
    }

    async fn send(
        &self,
        method: &str,
        body: Bytes,
        id: Option<Bytes>,
    ) -> Result<Incoming, UpstreamError> {
        let kind = id.map_or(MessageKind::Notification, |id| MessageKind::Request { id });
        let out = Outgoing {
            verb: Verb::Post,
            era: self.era,
            kind,
            method: method.to_owned(),
            body,
            headers: self.headers(method),
            session: self.session.clone(),
            principal: OWN_PRINCIPAL.to_owned(),
            deadline: self.deadline,
            cancel: CancellationToken::new(),
        };
        self.upstream.send(out).await
    }

    fn headers(&self, method: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if method != "initialize"
            && let Ok(version) = HeaderValue::from_str(&self.version)
        {
            headers.insert(HeaderName::from_static("mcp-protocol-version"), version);
        }
        if self.era == Era::Modern
            && let Ok(method) = HeaderValue::from_str(method)
        {
            headers.insert(HeaderName::from_static("mcp-method"), method);
        }
        headers
    }
}

/// The result, if the answer is one of this form.
fn result<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Option<T> {
    serde_json::from_slice::<Answer<T>>(message).ok()?.result
}

/// A server without tools may not know the method.
fn no_tools(message: &[u8]) -> Result<Vec<RawTool>, UpstreamError> {
    let code = super::span::Message::parse(message).ok().and_then(|answer| answer.error_code());
    if code == Some(-32601) {
        Ok(Vec::new())
    } else {
        Err(UpstreamError::Invalid("no list of tools"))
    }
}

/// `_meta` of a modern request by the gateway itself.
pub(super) fn modern_meta() -> String {
    let client = client_info();
    format!(
        r#"{{"io.modelcontextprotocol/protocolVersion":"{MODERN_VERSION}","io.modelcontextprotocol/clientInfo":{client},"io.modelcontextprotocol/clientCapabilities":{{}}}}"#
    )
}

const fn client_info() -> &'static str {
    concat!(r#"{"name":"forge-gateway","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#)
}

/// Not the form of any principal's key: no client can share the gateway's own process.
const OWN_PRINCIPAL: &str = "\0gateway";
const PAGES_MAX: usize = 200;
const TOOLS_MAX: usize = 10_000;
