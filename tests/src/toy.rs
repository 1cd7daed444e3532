//! A tool server of both eras that does as it is told, also what no server should.
//!
//! Its tools are named after what they do; `append` writes a line to a ledger file, so that a test
//! can count what really happened. One function turns a message into what is to be done about it;
//! the two transports do it, over stdio and over HTTP.

use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

/// What to do about a message.
#[derive(Clone, Debug, PartialEq)]
enum Act {
    /// Send this message.
    Say(Value),
    /// Send these bytes as they are.
    Raw(Vec<u8>),
    /// Send a text result of that many bytes, without ever holding it.
    Flood(Value, usize),
    /// Wait first.
    Wait(Duration),
    /// End the process, or close the connection in the middle of the answer.
    Die,
    /// Nothing at all, for ever.
    Hang,
}

/// A GitHub token that never was one: its checksum fits, and it is written in two pieces so that
/// nobody mistakes this file for a leak.
pub const GITHUB_TOKEN: &str = concat!("gh", "p_aB3dE5fG7hJ9kL1mN2pQ4rS6tU8vW00snvpY");
/// A card number that only a test accepts; it passes the Luhn check.
pub const CARD: &str = "4111 1111 1111 1111";
/// An address of a domain that cannot exist.
pub const EMAIL: &str = "jane.doe@customers.example";

const TOOLS: [(&str, &str); 15] = [
    ("echo", "Returns the text it was given."),
    ("append", "Appends the text to the ledger."),
    ("append_held", "Appends the text to the ledger; tests demand an approval for it."),
    ("remove", "Appends the text to the ledger; tests refuse it by an argument rule."),
    ("leak", "Returns personal data and a key."),
    ("sleep", "Returns after the time given in text, in milliseconds."),
    ("garbage", "Answers with something that is not JSON."),
    ("die", "Ends in the middle of the call."),
    ("twice", "Answers twice."),
    ("foreign", "Answers with another id."),
    ("flood", "Returns as many bytes as text says."),
    ("hang", "Never answers."),
    ("shape", "Answers with JSON that is not a JSON-RPC message."),
    ("headers", "Returns the headers that arrived (HTTP only)."),
    ("count", "Returns how many lines the ledger has."),
];

/// The server's settings.
#[derive(Clone, Debug, Default)]
pub struct Toy {
    /// The file that `append` writes to.
    pub ledger: Option<PathBuf>,
}

impl Toy {
    fn tools(&self) -> Vec<Value> {
        let schema = json!({"type": "object", "properties": {"text": {"type": "string"}}});
        TOOLS
            .iter()
            .map(|(name, description)| {
                json!({"name": name, "description": description, "inputSchema": schema,
                       "annotations": {"readOnlyHint": !name.starts_with("append")}})
            })
            .collect()
    }

    fn append(&self, line: &str) -> usize {
        let Some(path) = &self.ledger else { return 0 };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        file.and_then(|mut file| writeln!(file, "{line}")).expect("the ledger can be written");
        self.lines()
    }

    fn lines(&self) -> usize {
        let text = self.ledger.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.map_or(0, |text| text.lines().count())
    }

    fn answer(&self, message: &Value) -> Vec<Act> {
        let id = &message["id"];
        if id.is_null() {
            return Vec::new();
        }
        let params = &message["params"];
        let modern = params["_meta"]["io.modelcontextprotocol/protocolVersion"].is_string();
        let say = |mut result: Value| {
            if modern {
                result["resultType"] = json!("complete");
                result["ttlMs"] = json!(0);
                result["cacheScope"] = json!("private");
            }
            vec![Act::Say(json!({"jsonrpc": "2.0", "id": id, "result": result}))]
        };
        match message["method"].as_str().unwrap_or_default() {
            "initialize" => say(json!({
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "toy", "version": "1"}})),
            "server/discover" => say(json!({
                "supportedVersions": ["2026-07-28"],
                "capabilities": {"tools": {}},
                "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "toy", "version": "1"}}})),
            "ping" => say(json!({})),
            "tools/list" => say(json!({"tools": self.tools()})),
            "tools/call" => self.call(id, params, say),
            method => vec![Act::Say(json!({"jsonrpc": "2.0", "id": id,
                "error": {"code": -32601, "message": format!("no method {method}")}}))],
        }
    }

    fn call(&self, id: &Value, params: &Value, say: impl Fn(Value) -> Vec<Act>) -> Vec<Act> {
        let text = params["arguments"]["text"].as_str().unwrap_or_default();
        let result = |text: &str| say(json!({"content": [{"type": "text", "text": text}]}));
        match params["name"].as_str().unwrap_or_default() {
            "echo" => result(text),
            "append" | "append_held" | "remove" => result(&format!("line {}", self.append(text))),
            "count" => result(&self.lines().to_string()),
            "leak" => {
                let told =
                    format!("Write to {EMAIL}, pay with {CARD}, log in with {GITHUB_TOKEN}.");
                say(json!({"content": [{"type": "text", "text": told}],
                    "structuredContent": {"mail": EMAIL, "card": CARD, "nested": {"key": GITHUB_TOKEN}}}))
            }
            "sleep" => {
                let wait = Act::Wait(Duration::from_millis(text.parse().unwrap_or(0)));
                std::iter::once(wait).chain(result("slept")).collect()
            }
            "garbage" => vec![Act::Raw(b"\x00\xffthis is {not JSON\n".to_vec())],
            "die" => vec![Act::Die],
            "twice" => [result("first"), result("second")].concat(),
            "foreign" => vec![
                Act::Say(json!({"jsonrpc": "2.0", "id": "someone-else",
                "result": {"content": [{"type": "text", "text": "not yours"}]}})),
                Act::Hang,
            ],
            "flood" => vec![Act::Flood(id.clone(), text.parse().unwrap_or(200_000_000))],
            "hang" => vec![Act::Hang],
            "shape" => vec![Act::Raw(b"{\"hello\":\"world\"}\n".to_vec())],
            name => vec![Act::Say(json!({"jsonrpc": "2.0", "id": id,
                "error": {"code": -32602, "message": format!("no tool {name}")}}))],
        }
    }
}

/// The parts before and after the text of a flood.
fn flood_frame(id: &Value) -> (String, &'static str) {
    let head =
        format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":""#);
    (head, r#""}]}}"#)
}

static BLOCK: [u8; 65_536] = [b'x'; 65_536];

/// Serves one client on stdin and stdout until stdin ends.
///
/// # Errors
/// If stdin or stdout fails.
pub async fn serve_stdio(toy: Toy) -> anyhow::Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<Bytes>(16);
    let writer = tokio::spawn(async move {
        let mut stdout = tokio::io::stdout();
        while let Some(bytes) = receiver.recv().await {
            stdout.write_all(&bytes).await?;
            stdout.flush().await?;
        }
        anyhow::Ok(())
    });
    while let Some(line) = lines.next_line().await? {
        let Ok(message) = serde_json::from_str::<Value>(&line) else { continue };
        let acts = toy.answer(&message);
        let sender = sender.clone();
        tokio::spawn(async move { act_stdio(acts, sender).await });
    }
    drop(sender);
    writer.await??;
    Ok(())
}

#[expect(clippy::exit, reason = "dying is what this server is for")]
async fn act_stdio(acts: Vec<Act>, out: tokio::sync::mpsc::Sender<Bytes>) {
    for act in acts {
        let bytes = match act {
            Act::Say(message) => format!("{message}\n").into_bytes(),
            Act::Raw(bytes) => bytes,
            Act::Flood(id, length) => {
                let (head, tail) = flood_frame(&id);
                drop(out.send(head.into()).await);
                for _ in 0..length / BLOCK.len() {
                    if out.send(Bytes::from_static(&BLOCK)).await.is_err() {
                        return;
                    }
                }
                format!("{tail}\n").into_bytes()
            }
            Act::Wait(time) => {
                tokio::time::sleep(time).await;
                continue;
            }
            Act::Die => std::process::exit(3),
            Act::Hang => return std::future::pending().await,
        };
        drop(out.send(bytes.into()).await);
    }
}

/// Serves `/mcp` on `127.0.0.1:port`; without sessions, which the specification allows.
///
/// # Errors
/// If the port cannot be bound.
pub async fn serve_http(toy: Toy, port: u16, ready: impl FnOnce(&str)) -> anyhow::Result<()> {
    let router = Router::new().route("/mcp", any(post)).with_state(Arc::new(toy));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    ready(&format!("http://{}/mcp", listener.local_addr()?));
    axum::serve(listener, router).await?;
    Ok(())
}

fn response(status: u16, kind: &str, body: Body) -> Response {
    Response::builder().status(status).header("content-type", kind).body(body).expect("a response")
}

/// The tool `headers`: `echo` with the names and values of the request's headers as its text.
fn told_headers(message: &Value, headers: &http::HeaderMap) -> Value {
    let lines: Vec<String> = headers
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
        .collect();
    let mut echo = message.clone();
    echo["params"]["name"] = json!("echo");
    echo["params"]["arguments"] = json!({"text": lines.join("\n")});
    echo
}

async fn post(State(toy): State<Arc<Toy>>, request: axum::extract::Request) -> Response {
    if request.method() != http::Method::POST {
        return response(405, "text/plain", Body::empty());
    }
    let headers = request.headers().clone();
    let Ok(body) = axum::body::to_bytes(request.into_body(), 64 << 20).await else {
        return response(413, "text/plain", Body::empty());
    };
    let Ok(message) = serde_json::from_slice::<Value>(&body) else {
        return response(400, "text/plain", Body::empty());
    };
    let acts = if message["params"]["name"] == "headers" {
        toy.answer(&told_headers(&message, &headers))
    } else {
        toy.answer(&message)
    };
    let mut wait = Duration::ZERO;
    let mut said = Vec::new();
    for act in acts {
        if let Act::Wait(time) = act {
            wait = time;
        } else {
            said.push(act);
        }
    }
    tokio::time::sleep(wait).await;
    match said.as_slice() {
        [] => response(202, "text/plain", Body::empty()),
        [Act::Say(message)] => response(200, "application/json", Body::from(message.to_string())),
        [Act::Raw(bytes)] => response(200, "application/json", Body::from(bytes.clone())),
        [Act::Flood(id, length)] => {
            let (head, tail) = flood_frame(id);
            let blocks = stream::repeat(Bytes::from_static(&BLOCK)).take(length / BLOCK.len());
            let all = stream::iter([Bytes::from(head)])
                .chain(blocks)
                .chain(stream::iter([Bytes::from_static(tail.as_bytes())]));
            response(200, "application/json", Body::from_stream(all.map(std::io::Result::Ok)))
        }
        [Act::Die] => {
            let broken = stream::iter([
                Ok(Bytes::from_static(b"{\"jsonrpc\":\"2.0\",")),
                Err(std::io::Error::other("the server dies")),
            ]);
            response(200, "application/json", Body::from_stream(broken))
        }
        [Act::Hang] => std::future::pending().await,
        // Several messages: a stream, which ends after the last one or never.
        several => {
            let hang = several.contains(&Act::Hang);
            let events: Vec<std::io::Result<Bytes>> = several
                .iter()
                .filter_map(|act| {
                    let Act::Say(message) = act else { return None };
                    Some(Ok(Bytes::from(format!("data: {message}\n\n"))))
                })
                .collect();
            let events = stream::iter(events);
            let body = if hang {
                Body::from_stream(events.chain(stream::pending()))
            } else {
                Body::from_stream(events)
            };
            response(200, "text/event-stream", body)
        }
    }
}
