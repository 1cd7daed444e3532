//! A bridge from stdio to a gateway over Streamable HTTP.
//!
//! Older clients get the session header kept for them; modern messages get the headers that have
//! to mirror the body (SEP-2243), those of annotated arguments once the client has listed the
//! tools. A stream that breaks before its answer is an error for its request; it is not resumed,
//! and nothing is sent a second time.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use reqwest::{Method, Response};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

use crate::mcp::envelope::{Kind, Message};
use crate::mcp::headers::{
    self, LEGACY, METHOD, MODERN, MirroredParam, PROTOCOL_VERSION, SESSION_ID, mirror,
};
use crate::mcp::refusal::message;
use crate::upstream::SseEvent;
use crate::upstream::sse::Parser;

use super::super::api::{ApiError, may_carry_token};
use super::pipe::{Out, fault, put};

/// One client of a gateway elsewhere.
#[derive(Debug)]
pub(super) struct Bridge {
    http: reqwest::Client,
    url: String,
    token: String,
    /// `initialize` has been answered with a session.
    opened: watch::Sender<bool>,
    known: Mutex<Known>,
}

/// What went by and is needed for headers.
#[derive(Debug, Default)]
struct Known {
    /// `Mcp-Session-Id` that `initialize` brought.
    session: Option<String>,
    /// Revision that `initialize` agreed on, or that the last modern message named.
    protocol: Option<String>,
    /// Annotated arguments by tool.
    mirrored: BTreeMap<String, Vec<MirroredParam>>,
}

/// The part of a request that its answer needs.
#[derive(Debug, Default)]
struct Asked {
    id: Option<Bytes>,
    method: String,
}

impl Bridge {
    /// A client that shows `token` at `url`.
    ///
    /// # Errors
    /// If `url` is not an address to which a token may go.
    pub(super) fn new(http: reqwest::Client, url: &str, token: &str) -> Result<Self, ApiError> {
        if !may_carry_token(url) {
            return Err(ApiError::Address(url.to_owned()));
        }
        let (url, token) = (url.to_owned(), token.to_owned());
        Ok(Self { http, url, token, opened: watch::Sender::new(false), known: Mutex::default() })
    }

    /// Sends one message and passes on what comes back.
    pub(super) async fn exchange(&self, body: Bytes, out: &Out) {
        let read = Message::parse(body.clone(), DEPTH_MAX).ok();
        let asked =
            read.as_ref().filter(|message| message.kind() == Kind::Request).map(|message| Asked {
                id: message.id().cloned(),
                method: message.method().to_owned(),
            });
        let headers = read.as_ref().map(|message| self.headers(message)).unwrap_or_default();
        let request = self.request(Method::POST, headers).header(CONTENT_TYPE, "application/json");
        let answered = match request.body(body).send().await {
            Ok(response) => self.pass(response, asked.as_ref(), out).await,
            Err(fault) => {
                tracing::warn!(error = %fault.without_url(), "the gateway cannot be reached");
                false
            }
        };
        if let Some(asked) = asked.filter(|_| !answered) {
            put(out, fault(asked.id.as_deref(), LOST)).await;
        }
    }

    /// Passes on what the server says of its own accord, whenever there is a session.
    pub(super) async fn listen(&self, out: &Out) {
        let mut opened = self.opened.subscribe();
        while opened.wait_for(|opened| *opened).await.is_ok() {
            let headers = self.session_headers();
            if let Ok(response) = self.request(Method::GET, headers).send().await {
                if !response.status().is_success() {
                    return;
                }
                self.stream(response, None, out).await;
            }
            sleep(LISTEN_AGAIN).await;
        }
    }

    /// Ends the session, if there is one.
    pub(super) async fn close(&self) {
        if *self.opened.borrow() {
            // Who goes away cannot do anything about a failure.
            drop(self.request(Method::DELETE, self.session_headers()).send().await);
        }
    }

    /// Passes an answer on; false if it holds none for this request.
    async fn pass(&self, response: Response, asked: Option<&Asked>, out: &Out) -> bool {
        let text =
            |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let opens = asked.is_some_and(|asked| asked.method == "initialize");
        if let Some(id) = text(SESSION_ID).filter(|_| opens) {
            // Known before the answer is passed on, so that what follows the answer carries it.
            self.known().session = Some(id.to_owned());
        }
        let media = text(CONTENT_TYPE).unwrap_or_default().to_ascii_lowercase();
        let answered = if media.starts_with("text/event-stream") {
            self.stream(response, asked, out).await
        } else {
            self.whole(response, asked, out).await
        };
        if opens && self.known().session.is_some() {
            self.opened.send_replace(true);
        }
        answered
    }

    /// Passes a single answer on; false if there is none.
    async fn whole(&self, response: Response, asked: Option<&Asked>, out: &Out) -> bool {
        let (status, body) = (response.status(), response.bytes().await.unwrap_or_default());
        if asked.is_none() && status.is_success() {
            return true;
        }
        self.answer(body, asked, out).await
    }

    /// Passes a stream on; false if it ended without the answer.
    async fn stream(&self, response: Response, asked: Option<&Asked>, out: &Out) -> bool {
        let mut parser = Parser::new(EVENT_MAX);
        let mut pieces = response.bytes_stream();
        let mut answered = false;
        while let Some(Ok(piece)) = pieces.next().await {
            let mut events: Vec<SseEvent> = Vec::new();
            let fits = parser.push(&piece, &mut events).is_ok();
            for event in events.into_iter().filter(|event| !event.data.is_empty()) {
                let last = asked.is_some_and(|asked| answers(&event.data, asked));
                if last {
                    answered |= self.answer(event.data, asked, out).await;
                } else {
                    put(out, event.data).await;
                }
            }
            if !fits {
                break;
            }
        }
        answered
    }

    /// Passes on one JSON answer, under the id that was asked with.
    async fn answer(&self, body: Bytes, asked: Option<&Asked>, out: &Out) -> bool {
        let Ok(value) = serde_json::from_slice::<Value>(&body) else { return false };
        let error = value.get("error").filter(|_| value.get("id").is_none_or(Value::is_null));
        if value.get("jsonrpc").is_none() {
            return false;
        }
        if let Some(asked) = asked {
            self.learn(asked, &value);
        }
        match (error, asked) {
            // Refused before the body was read: the answer does not know the id.
            (Some(error), Some(asked)) => {
                put(out, message(asked.id.as_deref(), "error", error)).await;
            }
            (Some(_) | None, _) => put(out, body).await,
        }
        true
    }

    /// Remembers what later headers need.
    fn learn(&self, asked: &Asked, answer: &Value) {
        match asked.method.as_str() {
            "initialize" => {
                let version = answer.pointer("/result/protocolVersion").and_then(Value::as_str);
                if let Some(version) = version {
                    self.known().protocol = Some(version.to_owned());
                }
            }
            "tools/list" => {
                let tools = answer.pointer("/result/tools").and_then(Value::as_array);
                for tool in tools.into_iter().flatten() {
                    let (name, schema) =
                        (tool.get("name").and_then(Value::as_str), tool.get("inputSchema"));
                    if let (Some(name), Some(schema)) = (name, schema) {
                        self.known()
                            .mirrored
                            .insert(name.to_owned(), headers::mirrored_params(schema));
                    }
                }
            }
            _ => {}
        }
    }

    /// The headers that the message's era asks for.
    fn headers(&self, message: &Message) -> HeaderMap {
        let facts = message.facts();
        let mut known = self.known();
        if let Some(version) = facts.protocol.as_deref().filter(|version| MODERN.contains(version))
        {
            known.protocol = Some(version.to_owned());
            let params = facts.name.as_ref().and_then(|name| known.mirrored.get(name));
            return mirror(message, params.map(Vec::as_slice).unwrap_or_default());
        }
        let modern = known.protocol.as_deref().filter(|version| MODERN.contains(version));
        if let Some(version) = modern.filter(|_| message.kind() == Kind::Notification) {
            // A modern notification need not say its revision in the body; the header has to.
            let mut headers = HeaderMap::new();
            insert(&mut headers, PROTOCOL_VERSION, version);
            insert(&mut headers, METHOD, message.method());
            return headers;
        }
        drop(known);
        if message.method() == "initialize" { HeaderMap::new() } else { self.session_headers() }
    }

    fn session_headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let known = self.known();
        if let Some(id) = &known.session {
            insert(&mut headers, SESSION_ID, id);
        }
        if let Some(version) = known.protocol.as_deref().filter(|version| LEGACY.contains(version))
        {
            insert(&mut headers, PROTOCOL_VERSION, version);
        }
        headers
    }

    fn request(&self, method: Method, headers: HeaderMap) -> reqwest::RequestBuilder {
        let both = if method == Method::GET {
            "text/event-stream"
        } else {
            "application/json, text/event-stream"
        };
        let request = self.http.request(method, &self.url).bearer_auth(&self.token);
        request.header(ACCEPT, both).headers(headers)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The message is the answer to what was asked, not something before it.
fn answers(data: &[u8], asked: &Asked) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(data) else { return false };
    if value.get("method").is_some() {
        return false;
    }
    let id = asked.id.as_deref().and_then(|id| serde_json::from_slice::<Value>(id).ok());
    value.get("id").is_none_or(Value::is_null) || value.get("id") == id.as_ref()
}

fn insert(headers: &mut HeaderMap, name: http::HeaderName, text: &str) {
    // What no header can carry is no version and no session of ours.
    if let Ok(value) = HeaderValue::from_str(text) {
        headers.insert(name, value);
    }
}

const LOST: &str = "The gateway did not answer. Whether the call took effect is unknown; check before \
repeating it, and ask whoever runs the gateway.";
const DEPTH_MAX: usize = 100;
const EVENT_MAX: usize = 256 << 20;
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
