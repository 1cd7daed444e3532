//! A thin MCP client on rmcp: what the demo sends its calls with.
//!
//! Streamable HTTP with a bearer token. It probes with `server/discover` and falls back to
//! `initialize`, as the SDKs' automatic mode does; rounds of `input_required` are driven by rmcp.
//! It is a client like anybody else's: nothing in the gateway knows it.

use anyhow::Context as _;
use rmcp::model::{
    CallToolRequestParams, CallToolResult, ClientCapabilities, ClientConfig, ContentBlock,
    Implementation, JsonObject, ProtocolVersion, Tool,
};
use rmcp::service::RunningService;
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _, RoleClient};
use serde_json::Value;

/// A connected client.
#[derive(Debug)]
pub struct DemoClient {
    service: RunningService<RoleClient, ClientConfig>,
}

/// What a call came to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Called {
    /// The text blocks, one after the other.
    pub text: String,
    /// The tool, or the gateway, says that it failed.
    pub is_error: bool,
    /// `structuredContent`, if there is any.
    pub structured: Option<Value>,
    /// `_meta` of the result.
    pub meta: Value,
}

impl Called {
    /// A member of `_meta["dev.forge/refusal"]`; empty if the gateway refused nothing.
    #[must_use]
    pub fn refusal(&self, member: &str) -> &str {
        let refusal = self.meta.get("dev.forge/refusal").and_then(|refusal| refusal.get(member));
        refusal.and_then(Value::as_str).unwrap_or_default()
    }
}

/// Connects to `url` as `client`, with `token`.
///
/// # Errors
/// If the address cannot be reached, the token is refused, or no common protocol is found.
pub async fn connect(
    http: reqwest::Client,
    url: &str,
    token: &str,
    client: &str,
) -> anyhow::Result<DemoClient> {
    let config = StreamableHttpClientTransportConfig::with_uri(url).auth_header(token);
    let transport = StreamableHttpClientTransport::with_client(http, config);
    let about = Implementation::new(client, env!("CARGO_PKG_VERSION"));
    let info = ClientConfig::new(ClientCapabilities::default(), about);
    let lifecycle = ClientLifecycleMode::Auto {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
        legacy_version: Some(ProtocolVersion::V_2025_11_25),
    };
    let service = info.serve_with_lifecycle(transport, lifecycle).await;
    Ok(DemoClient { service: service.with_context(|| format!("cannot connect to {url}"))? })
}

impl DemoClient {
    /// The revision that both sides speak; empty if the server did not say.
    #[must_use]
    pub fn protocol(&self) -> String {
        let info = self.service.peer_info();
        info.map(|info| info.protocol_version.to_string()).unwrap_or_default()
    }

    /// The tools, all pages.
    ///
    /// # Errors
    /// If the request fails.
    pub async fn list(&self) -> anyhow::Result<Vec<Tool>> {
        self.service.list_all_tools().await.context("tools/list failed")
    }

    /// Calls a tool. A refusal by the gateway is a result, not an error.
    ///
    /// # Errors
    /// If no result comes back.
    pub async fn call(&self, tool: &str, arguments: JsonObject) -> anyhow::Result<Called> {
        let params = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let result = self.service.call_tool(params).await;
        result.map(called).with_context(|| format!("the call of {tool} brought no result"))
    }

    /// Ends the connection.
    ///
    /// # Errors
    /// If the client's task died.
    pub async fn close(self) -> anyhow::Result<()> {
        self.service.cancel().await.map(drop).context("the client's task died")
    }
}

fn called(result: CallToolResult) -> Called {
    let texts = result.content.iter().filter_map(ContentBlock::as_text);
    Called {
        text: texts.map(|block| block.text.as_str()).collect::<Vec<_>>().join("\n"),
        is_error: result.is_error.unwrap_or_default(),
        structured: result.structured_content,
        meta: serde_json::to_value(result.meta).unwrap_or_default(),
    }
}
