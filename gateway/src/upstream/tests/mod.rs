//! What every test of the tool servers needs, and the tests of the pure parts.

mod exec;
mod http;
mod pure;
mod stdio;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use forge_schemas::ids::ServerName;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;

/// A server and what keeps it.
struct Bench {
    all: Upstreams,
    one: Arc<Upstream>,
}

impl Bench {
    fn new(transport: Transport, limits: Limits, launcher: Vec<OsString>) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let name = ServerName::parse("one").unwrap();
        let settings = BTreeMap::from([(name.clone(), ServerSettings { transport, limits })]);
        let base_env = [("PATH", "/usr/local/bin:/usr/bin:/bin"), ("LANG", "C.UTF-8")];
        let base_env = base_env.map(|(key, value)| (key.into(), value.into())).into();
        let all = Upstreams::new(settings, Common { launcher, base_env }).unwrap();
        let one = Arc::clone(all.server(&name).unwrap());
        Self { all, one }
    }

    async fn send(&self, out: Outgoing) -> Result<Incoming, UpstreamError> {
        self.one.send(out).await
    }

    /// Sends and waits for the answer.
    async fn ask(&self, out: Outgoing) -> Result<Value, UpstreamError> {
        answer(self.send(out).await?).await
    }

    /// A legacy session.
    async fn session(&self) -> String {
        let incoming = self.send(initialize()).await.unwrap();
        assert_eq!(incoming.status, 200);
        let session = incoming.session.unwrap();
        let ready = Outgoing {
            session: Some(session.clone()),
            ..note("notifications/initialized", &json!({}))
        };
        assert_eq!(self.send(legacy(ready)).await.unwrap().status, 202);
        session
    }

    async fn end(self) {
        self.all.shutdown(Duration::from_secs(2)).await;
    }
}

fn hostile(mode: &str) -> StdioSettings {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/upstreams/hostile.py");
    let mut settings = StdioSettings::new("python3");
    settings.args = vec![script.into(), mode.into()];
    settings
}

fn stdio(mode: &str) -> Bench {
    Bench::new(Transport::Stdio(hostile(mode)), Limits::default(), Vec::new())
}

fn outgoing(kind: MessageKind, method: &str, body: &Value) -> Outgoing {
    Outgoing {
        verb: Verb::Post,
        era: Era::Modern,
        kind,
        method: method.to_owned(),
        body: body.to_string().into(),
        headers: HeaderMap::new(),
        session: None,
        principal: "alice".to_owned(),
        deadline: Duration::from_secs(20),
        cancel: CancellationToken::new(),
    }
}

fn ask(id: &Value, method: &str, params: &Value) -> Outgoing {
    let body = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
    outgoing(MessageKind::Request { id: id.to_string().into() }, method, &body)
}

fn note(method: &str, params: &Value) -> Outgoing {
    let body = json!({"jsonrpc": "2.0", "method": method, "params": params});
    outgoing(MessageKind::Notification, method, &body)
}

fn tool(id: &Value, name: &str, arguments: &Value) -> Outgoing {
    ask(
        id,
        "tools/call",
        &json!({"name": name, "arguments": arguments, "_meta": {"progressToken": "tok", "io.modelcontextprotocol/logLevel": "info"}}),
    )
}

fn initialize() -> Outgoing {
    let params = json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}});
    legacy(ask(&json!("init"), "initialize", &params))
}

fn legacy(out: Outgoing) -> Outgoing {
    Outgoing { era: Era::Legacy, ..out }
}

fn within(session: &str, out: Outgoing) -> Outgoing {
    Outgoing { session: Some(session.to_owned()), ..legacy(out) }
}

fn value(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

async fn answer(incoming: Incoming) -> Result<Value, UpstreamError> {
    Ok(messages(incoming).await?.pop().expect("an answer"))
}

/// Every message of the reply.
async fn messages(incoming: Incoming) -> Result<Vec<Value>, UpstreamError> {
    match incoming.body {
        Body::Empty => Ok(Vec::new()),
        Body::Json(message) => Ok(vec![value(&message)]),
        Body::Events(mut events) => {
            let mut seen = Vec::new();
            while let Some(event) = events.next().await {
                let event = event?;
                if !event.data.is_empty() {
                    seen.push(value(&event.data));
                }
            }
            Ok(seen)
        }
    }
}

fn said(answer: &Value) -> &str {
    answer["result"]["content"][0]["text"].as_str().unwrap_or_else(|| panic!("no text in {answer}"))
}

/// Waits until something is true; the test runner's own limit ends it if it never is.
async fn until(mut is: impl FnMut() -> bool) {
    while !is() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn is_running(pid: u32) -> bool {
    // "pid (name) state …": a zombie is not running.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}
