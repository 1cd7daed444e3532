//! Clients of both protocol eras that can also misbehave.

use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, ensure};
use http::Method;
use serde_json::{Value, json};

use crate::http::{Answer, Stream, open, send};

/// The newest revision with sessions.
pub const LEGACY: &str = "2025-11-25";
/// The stateless revision.
pub const MODERN: &str = "2026-07-28";

const ACCEPT: &str = "application/json, text/event-stream";

/// What a `tools/call` came to, whichever way it was told.
#[derive(Clone, Debug)]
pub struct Called {
    /// The whole JSON-RPC message.
    pub message: Value,
}

impl Called {
    /// All text blocks, joined.
    #[must_use]
    pub fn text(&self) -> String {
        let blocks = self.message.pointer("/result/content").and_then(Value::as_array);
        let texts = blocks.into_iter().flatten().filter_map(|block| block["text"].as_str());
        texts.collect::<Vec<_>>().join("\n")
    }

    /// The gateway's refusal code; `None` if the gateway did not refuse.
    #[must_use]
    pub fn refusal(&self) -> Option<&str> {
        self.refusal_data()?.get("code")?.as_str()
    }

    /// The id of the call in the records.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.refusal_data()?.get("call_id")?.as_str()
    }

    fn refusal_data(&self) -> Option<&Value> {
        let inside = |pointer: &str| self.message.pointer(pointer);
        inside("/result/_meta/dev.forge~1refusal").or_else(|| inside("/error/data"))
    }

    /// The tool answered, and not with an error.
    #[must_use]
    pub fn is_answer(&self) -> bool {
        self.message.get("result").is_some_and(|result| result["isError"] != json!(true))
    }
}

/// A client up to 2025-11-25: `initialize`, a session, notifications.
#[derive(Debug)]
pub struct Legacy {
    /// The endpoint.
    pub url: String,
    token: Option<String>,
    /// `Mcp-Session-Id`, if the server gave one.
    pub session: Option<String>,
    /// The result of `initialize`.
    pub initialized: Value,
    next: AtomicU64,
}

impl Legacy {
    /// Opens a session, declaring sampling and elicitation.
    ///
    /// # Errors
    /// If the handshake is refused.
    pub async fn connect(url: &str, token: Option<&str>) -> anyhow::Result<Self> {
        Self::connect_with(url, token, json!({"sampling": {}, "elicitation": {}})).await
    }

    /// Opens a session with these client capabilities.
    ///
    /// # Errors
    /// If the handshake is refused.
    pub async fn connect_with(
        url: &str,
        token: Option<&str>,
        capabilities: Value,
    ) -> anyhow::Result<Self> {
        let mut client = Self {
            url: url.to_owned(),
            token: token.map(str::to_owned),
            session: None,
            initialized: Value::Null,
            next: AtomicU64::new(1),
        };
        let params = json!({"protocolVersion": LEGACY, "capabilities": capabilities,
            "clientInfo": {"name": "forge-tests", "version": "1"}});
        let answer = client.post(&client.request_body("initialize", params)).await?;
        let message = answer.message()?;
        ensure!(message.get("result").is_some(), "initialize: {} {message}", answer.status);
        let session = answer.header("mcp-session-id");
        client.session = (!session.is_empty()).then(|| session.to_owned());
        client.initialized = message["result"].clone();
        let done = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        let answer = client.post(&done.to_string()).await?;
        ensure!(answer.status.is_success(), "initialized: {} {}", answer.status, answer.text());
        Ok(client)
    }

    /// The body of a request under the next id.
    pub fn request_body(&self, method: &str, params: Value) -> String {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}).to_string()
    }

    fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-type", "application/json".to_owned()),
            ("accept", ACCEPT.to_owned()),
            ("mcp-protocol-version", LEGACY.to_owned()),
        ];
        if let Some(token) = &self.token {
            headers.push(("authorization", format!("Bearer {token}")));
        }
        if let Some(session) = &self.session {
            headers.push(("mcp-session-id", session.clone()));
        }
        headers
    }

    async fn open(
        &self,
        method: Method,
        body: &str,
        more: &[(&str, &str)],
    ) -> anyhow::Result<Stream> {
        let own = self.headers();
        let mut headers: Vec<(&str, &str)> =
            own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend_from_slice(more);
        open(method, &self.url, &headers, body.to_owned()).await
    }

    /// POSTs a body as it is and reads the whole answer.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn post(&self, body: &str) -> anyhow::Result<Answer> {
        self.open(Method::POST, body, &[]).await?.rest().await
    }

    /// POSTs a body as it is; the answer may still be arriving.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn stream(&self, body: &str) -> anyhow::Result<Stream> {
        self.open(Method::POST, body, &[]).await
    }

    /// Opens the stream for messages that belong to no request.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn listen(&self) -> anyhow::Result<Stream> {
        self.open(Method::GET, "", &[]).await
    }

    /// Ends the session.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn close(&self) -> anyhow::Result<Answer> {
        self.open(Method::DELETE, "", &[]).await?.rest().await
    }

    /// A request; the message that answers it.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn request(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let answer = self.post(&self.request_body(method, params)).await?;
        answer.message().with_context(|| format!("{method}: {}", answer.status))
    }

    /// `tools/call`.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn call(&self, tool: &str, arguments: Value) -> anyhow::Result<Called> {
        let params = json!({"name": tool, "arguments": arguments});
        Ok(Called { message: self.request("tools/call", params).await? })
    }
}

/// A client of 2026-07-28: every request stands alone.
#[derive(Debug)]
pub struct Modern {
    /// The endpoint.
    pub url: String,
    token: Option<String>,
    capabilities: Value,
    next: AtomicU64,
}

impl Modern {
    /// A client; nothing is sent yet.
    #[must_use]
    pub fn new(url: &str, token: Option<&str>) -> Self {
        Self {
            url: url.to_owned(),
            token: token.map(str::to_owned),
            capabilities: json!({}),
            next: AtomicU64::new(1),
        }
    }

    /// `_meta` of a request.
    #[must_use]
    pub fn meta(&self) -> Value {
        json!({
            "io.modelcontextprotocol/protocolVersion": MODERN,
            "io.modelcontextprotocol/clientCapabilities": self.capabilities,
            "io.modelcontextprotocol/clientInfo": {"name": "forge-tests", "version": "1"},
        })
    }

    /// A body under the next id, with `_meta`.
    pub fn body(&self, method: &str, mut params: Value) -> Value {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        params["_meta"] = self.meta();
        json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
    }

    /// The headers that mirror a body, the token included.
    #[must_use]
    pub fn headers(&self, body: &Value) -> Vec<(String, String)> {
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("accept".to_owned(), ACCEPT.to_owned()),
            ("mcp-protocol-version".to_owned(), MODERN.to_owned()),
        ];
        let method = body["method"].as_str().unwrap_or_default();
        headers.push(("mcp-method".to_owned(), method.to_owned()));
        let name = ["name", "uri", "taskId"].iter().find_map(|key| body["params"][*key].as_str());
        if let Some(name) = name {
            headers.push(("mcp-name".to_owned(), name.to_owned()));
        }
        if let Some(token) = &self.token {
            headers.push(("authorization".to_owned(), format!("Bearer {token}")));
        }
        headers
    }

    /// POSTs any text with these headers.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn post(&self, headers: &[(String, String)], body: &str) -> anyhow::Result<Answer> {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        send(Method::POST, &self.url, &headers, body.to_owned()).await
    }

    /// Sends a request whose answer may be a stream.
    ///
    /// # Errors
    /// If the connection fails.
    pub async fn stream(&self, method: &str, params: Value) -> anyhow::Result<Stream> {
        let body = self.body(method, params);
        let own = self.headers(&body);
        let headers: Vec<(&str, &str)> =
            own.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        open(Method::POST, &self.url, &headers, body.to_string()).await
    }

    /// A request; the message that answers it.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn request(&self, method: &str, params: Value) -> anyhow::Result<Value> {
        let body = self.body(method, params);
        let answer = self.post(&self.headers(&body), &body.to_string()).await?;
        answer.message().with_context(|| format!("{method}: {}", answer.status))
    }

    /// `tools/call`, one round.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn call(&self, tool: &str, arguments: Value) -> anyhow::Result<Called> {
        let params = json!({"name": tool, "arguments": arguments});
        Ok(Called { message: self.request("tools/call", params).await? })
    }

    /// `tools/call`, going on with `requestState` for as long as the server asks for nothing else.
    ///
    /// # Errors
    /// If there is no answer, or after `rounds` rounds.
    pub async fn call_rounds(
        &self,
        tool: &str,
        arguments: Value,
        rounds: usize,
    ) -> anyhow::Result<Called> {
        let mut params = json!({"name": tool, "arguments": arguments});
        for _ in 0..rounds {
            let message = self.request("tools/call", params.clone()).await?;
            if message["result"]["resultType"] != "input_required" {
                return Ok(Called { message });
            }
            params["requestState"] = message["result"]["requestState"].clone();
        }
        anyhow::bail!("still asking after {rounds} rounds")
    }
}
