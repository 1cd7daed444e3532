//! A tool server behind Streamable HTTP (MCP 2026-07-28 and 2025-11-25, `basic/transports`).
//!
//! The body goes out as it came, with the headers that the caller chose and the gateway's own
//! credential. No redirects, no cookies, no proxy from the environment, no transparent
//! decompression. The response is only as large as the limit and belongs to the request, or it is
//! not passed on.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use ::http::{HeaderMap, HeaderName, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use reqwest::{Method, Response};
use tokio::runtime::Handle;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use super::body::{Body, Events, Incoming, Source, SseEvent, expiry};
use super::error::UpstreamError;
use super::gate::Gate;
use super::health::{Counters, Meter};
use super::message::{Era, MessageKind, Outgoing, Verb, cancelled};
use super::settings::{HttpSettings, Limits};
use super::span::{Message, Shape, is_fault, same_id};
use super::sse::Parser;

#[derive(Debug)]
pub(super) struct HttpServer {
    client: reqwest::Client,
    settings: HttpSettings,
    limits: Limits,
    counters: Arc<Counters>,
    /// What still runs after a call: reading a stream to its end.
    tasks: TaskTracker,
}

impl HttpServer {
    /// Builds the client. Needs the process's rustls provider.
    pub(super) fn new(settings: HttpSettings, meter: Meter) -> Result<Self, reqwest::Error> {
        let mut client = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .referer(false)
            .connect_timeout(settings.connect_timeout)
            .pool_idle_timeout(Duration::from_secs(60))
            .user_agent(concat!("forge-gateway/", env!("CARGO_PKG_VERSION")));
        if let Some(proxy) = &settings.proxy {
            client = client.proxy(reqwest::Proxy::all(proxy.clone())?);
        }
        if let Some(pem) = &settings.authorities {
            client = client.tls_certs_merge(reqwest::Certificate::from_pem_bundle(pem)?);
        }
        let (Meter { limits, counters }, tasks) = (meter, TaskTracker::new());
        Ok(Self { client: client.build()?, settings, limits, counters, tasks })
    }

    /// Sends one message and reads what comes back, up to the first byte of a stream.
    pub(super) async fn send(
        &self,
        out: &Outgoing,
        deadline: Instant,
        gate: &Gate,
    ) -> Result<Incoming, UpstreamError> {
        let reply = self.exchange(out, deadline, gate);
        let outcome = tokio::select! {
            biased;
            () = out.cancel.cancelled() => Err(UpstreamError::Cancelled { sent: true }),
            reply = reply => reply,
            () = expiry(Some(deadline)) => Err(UpstreamError::Timeout { sent: true }),
        };
        if matches!(outcome, Err(UpstreamError::Cancelled { .. } | UpstreamError::Timeout { .. })) {
            self.give_up(out);
        }
        outcome
    }

    /// Ends a session; what the server says to that does not matter.
    pub(super) async fn end_session(&self, session: &str) {
        let Ok(session) = HeaderValue::from_str(session) else { return };
        let request = self.request(Method::DELETE).header(SESSION, session).timeout(LINGER);
        drop(request.send().await);
    }

    pub(super) async fn shutdown(&self, grace: Duration) {
        self.tasks.close();
        drop(tokio::time::timeout(grace, self.tasks.wait()).await);
    }

    fn request(&self, method: Method) -> reqwest::RequestBuilder {
        let mut request = self.client.request(method, self.settings.url.clone());
        if let Some(credential) = &self.settings.credential {
            request = request.header(credential.name.clone(), credential.value.clone());
        }
        request
    }

    fn prepare(&self, out: &Outgoing) -> Result<reqwest::RequestBuilder, UpstreamError> {
        let method = match out.verb {
            Verb::Post => Method::POST,
            Verb::Get => Method::GET,
            Verb::Delete => Method::DELETE,
        };
        let mut headers = out.headers.clone();
        for name in NEVER {
            headers.remove(*name);
        }
        if let Some(credential) = &self.settings.credential {
            headers.remove(&credential.name);
        }
        headers.remove(SESSION);
        if let Some(session) = &out.session {
            let session = HeaderValue::from_str(session)
                .map_err(|_characters| UpstreamError::Message("the session id is not a header"))?;
            headers.insert(SESSION, session);
        }
        if out.verb == Verb::Post {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
            let both = HeaderValue::from_static("application/json, text/event-stream");
            headers.entry(header::ACCEPT).or_insert(both);
        } else if out.verb == Verb::Get {
            let stream = HeaderValue::from_static("text/event-stream");
            headers.entry(header::ACCEPT).or_insert(stream);
        }
        let request = self.request(method).headers(headers);
        Ok(if out.verb == Verb::Post { request.body(out.body.clone()) } else { request })
    }

    async fn exchange(
        &self,
        out: &Outgoing,
        deadline: Instant,
        gate: &Gate,
    ) -> Result<Incoming, UpstreamError> {
        let attempt = gate.attempt()?;
        let response = match self.prepare(out)?.send().await {
            Ok(response) => response,
            Err(error) => {
                attempt.failed();
                return Err(if error.is_connect() {
                    UpstreamError::Connect(error.without_url())
                } else {
                    UpstreamError::Broken(error.without_url())
                });
            }
        };
        attempt.reached();
        let status = response.status();
        match status.as_u16() {
            // A challenge for the gateway's credential means nothing to the client.
            status @ (401 | 403 | 407) => return Err(UpstreamError::Credential { status }),
            300..=399 => return Err(UpstreamError::Invalid("a redirect")),
            _ => {}
        }
        let headers = passed_on(response.headers());
        let opened = out.method == "initialize" && status.is_success();
        let session = response.headers().get(SESSION).filter(|_| opened);
        let session = session.and_then(|id| id.to_str().ok()).map(str::to_owned);
        let body = self.body(out, response, deadline).await?;
        Ok(Incoming { status: status.as_u16(), headers, session, body })
    }

    async fn body(
        &self,
        out: &Outgoing,
        response: Response,
        deadline: Instant,
    ) -> Result<Body, UpstreamError> {
        let success = response.status().is_success();
        let request = match &out.kind {
            MessageKind::Request { id } => Some(id),
            MessageKind::Notification | MessageKind::Response | MessageKind::None => None,
        };
        match media_type(response.headers()).as_deref() {
            Some("text/event-stream") if success => {
                let events = HttpEvents::new(self, out, response, request.cloned());
                let deadline = (!out.is_endless()).then_some(deadline);
                let source = Source::Http(Box::new(events));
                Ok(Body::Events(Events::new(source, deadline, out.cancel.clone())))
            }
            Some("application/json") => {
                let message = self.read(response).await?;
                if let (Some(id), true) = (request, success) {
                    check_answer(&message, id)?;
                } else if Message::parse(&message).is_err() && !is_fault(&message) {
                    // An error page that calls itself JSON: the status says enough.
                    self.counters.garbage.up();
                    return Ok(Body::Empty);
                }
                Ok(Body::Json(message))
            }
            _ if success && request.is_some() => {
                Err(UpstreamError::Invalid("neither JSON nor an event stream"))
            }
            _ => Ok(Body::Empty),
        }
    }

    async fn read(&self, response: Response) -> Result<Bytes, UpstreamError> {
        let message = read(response, self.limits.message_bytes_max).await;
        if matches!(message, Err(UpstreamError::TooLarge { .. })) {
            self.counters.too_large.up();
        }
        message
    }

    fn give_up(&self, out: &Outgoing) {
        if let Some(farewell) = self.farewell(out) {
            farewell.send(&self.tasks);
        }
    }

    /// What tells a legacy server that nobody waits any more; a modern one sees the connection
    /// close.
    fn farewell(&self, out: &Outgoing) -> Option<Farewell> {
        let MessageKind::Request { id } = &out.kind else { return None };
        if out.era == Era::Modern || out.method == "initialize" {
            return None;
        }
        let kind = MessageKind::Notification;
        let note = Outgoing { kind, body: cancelled(id), ..out.clone() };
        self.prepare(&note).ok().map(Farewell)
    }
}

#[derive(Debug)]
struct Farewell(reqwest::RequestBuilder);

impl Farewell {
    fn send(self, tasks: &TaskTracker) {
        if !tasks.is_closed() && Handle::try_current().is_ok() {
            tasks.spawn(async move { drop(self.0.timeout(LINGER).send().await) });
        }
    }
}

/// The events of one response.
#[derive(Debug)]
pub(super) struct HttpEvents {
    response: Option<Response>,
    parser: Parser,
    ready: VecDeque<SseEvent>,
    /// Of the request that this stream answers; none for a GET stream, which may carry any answer.
    id: Option<Bytes>,
    era: Era,
    answered: bool,
    limit: usize,
    counters: Arc<Counters>,
    farewell: Option<Farewell>,
    /// Where the rest is read; taken once, since a task that is dropped at shutdown drops this too.
    tasks: Option<TaskTracker>,
}

impl HttpEvents {
    fn new(server: &HttpServer, out: &Outgoing, response: Response, id: Option<Bytes>) -> Self {
        let limit = server.limits.message_bytes_max;
        Self {
            response: Some(response),
            parser: Parser::new(limit),
            ready: VecDeque::new(),
            id,
            era: out.era,
            answered: false,
            limit,
            counters: Arc::clone(&server.counters),
            farewell: server.farewell(out),
            tasks: Some(server.tasks.clone()),
        }
    }

    pub(super) const fn is_answered(&self) -> bool {
        self.answered
    }

    pub(super) async fn next(&mut self) -> Option<Result<SseEvent, UpstreamError>> {
        loop {
            while let Some(event) = self.ready.pop_front() {
                match self.judge(event) {
                    Ok(Some(event)) => return Some(Ok(event)),
                    Ok(None) => {}
                    Err(error) => return Some(Err(error)),
                }
            }
            match self.response.as_mut()?.chunk().await {
                Ok(Some(piece)) => {
                    if self.parser.push(&piece, &mut self.ready).is_err() {
                        self.counters.too_large.up();
                        self.response = None;
                        return Some(Err(UpstreamError::TooLarge { limit: self.limit }));
                    }
                }
                Ok(None) => self.response = None,
                Err(error) => {
                    self.response = None;
                    return Some(Err(UpstreamError::Broken(error.without_url())));
                }
            }
        }
    }

    /// Keeps what belongs on this stream.
    fn judge(&mut self, event: SseEvent) -> Result<Option<SseEvent>, UpstreamError> {
        if event.data.is_empty() {
            return Ok(Some(event));
        }
        let counters = &self.counters;
        let Ok(message) = Message::parse(&event.data) else {
            counters.garbage.up();
            return Ok(without_data(event));
        };
        let Some(own) = &self.id else { return Ok(Some(event)) };
        match message.what() {
            Shape::Notification => {}
            Shape::Request if self.era == Era::Legacy => {}
            Shape::Request => {
                counters.out_of_place.up();
                return Ok(without_data(event));
            }
            Shape::Answer { id } | Shape::Broken { id } if !same_id(id.get().as_bytes(), own) => {
                counters.unknown_id.up();
                return Ok(without_data(event));
            }
            Shape::Answer { .. } | Shape::Broken { .. } if self.answered => {
                counters.answered_twice.up();
                return Ok(None);
            }
            Shape::Answer { .. } => self.answered = true,
            Shape::Broken { .. } => {
                return Err(UpstreamError::Invalid("neither a result nor an error"));
            }
        }
        Ok(Some(event))
    }

    /// Reads what comes after the answer, briefly: it is only counted, and the connection can be
    /// used again.
    async fn linger(mut self) {
        drop(tokio::time::timeout(LINGER, async { while self.next().await.is_some() {} }).await);
        self.response = None;
    }
}

impl Drop for HttpEvents {
    fn drop(&mut self) {
        let (Some(response), Some(tasks)) = (self.response.take(), self.tasks.take()) else {
            return;
        };
        if !self.answered {
            if let Some(farewell) = self.farewell.take() {
                farewell.send(&tasks);
            }
            return;
        }
        if tasks.is_closed() || Handle::try_current().is_err() {
            return;
        }
        let rest = Self {
            response: Some(response),
            parser: std::mem::replace(&mut self.parser, Parser::new(0)),
            ready: std::mem::take(&mut self.ready),
            id: self.id.take(),
            era: self.era,
            answered: true,
            limit: self.limit,
            counters: Arc::clone(&self.counters),
            farewell: None,
            tasks: None,
        };
        tasks.spawn(rest.linger());
    }
}

/// An event whose data was dropped still carries its id and retry time.
fn without_data(event: SseEvent) -> Option<SseEvent> {
    let rest = SseEvent { data: Bytes::new(), ..event };
    (rest.id.is_some() || rest.retry.is_some()).then_some(rest)
}

fn check_answer(message: &[u8], id: &[u8]) -> Result<(), UpstreamError> {
    let parsed = Message::parse(message)
        .map_err(|_detail| UpstreamError::Invalid("not a JSON-RPC message"))?;
    match parsed.what() {
        Shape::Answer { id: answered } if same_id(answered.get().as_bytes(), id) => Ok(()),
        Shape::Answer { .. } => Err(UpstreamError::Invalid("the answer to another request")),
        Shape::Broken { .. } => Err(UpstreamError::Invalid("neither a result nor an error")),
        Shape::Request | Shape::Notification => Err(UpstreamError::Invalid("not a response")),
    }
}

async fn read(mut response: Response, limit: usize) -> Result<Bytes, UpstreamError> {
    let declared = response.content_length().unwrap_or(0);
    if usize::try_from(declared).map_or(true, |declared| declared > limit) {
        return Err(UpstreamError::TooLarge { limit });
    }
    let mut body = BytesMut::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) if body.len().saturating_add(piece.len()) > limit => {
                return Err(UpstreamError::TooLarge { limit });
            }
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return Ok(body.freeze()),
            Err(error) => return Err(UpstreamError::Broken(error.without_url())),
        }
    }
}

fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

fn passed_on(headers: &HeaderMap) -> HeaderMap {
    let chosen = headers.iter().filter(|(name, _)| PASSED_ON.contains(&name.as_str()));
    chosen.map(|(name, value)| (name.clone(), value.clone())).collect()
}

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// Response headers that mean something to a client.
const PASSED_ON: &[&str] = &["mcp-protocol-version", "retry-after", "allow"];

/// Request headers that never leave, whatever the caller chose.
const NEVER: &[&str] = &[
    "authorization",
    "proxy-authorization",
    "cookie",
    "origin",
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "upgrade",
    "te",
    "trailer",
    "expect",
    "accept-encoding",
];

/// How long something may still take that nobody waits for.
const LINGER: Duration = Duration::from_secs(2);
