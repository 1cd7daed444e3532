//! What comes back from a tool server.

use std::fmt;
use std::time::Duration;

use ::http::HeaderMap;
use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::error::UpstreamError;
use super::gate::Permit;
use super::http::HttpEvents;
use super::stdio::PipeEvents;

/// A server's reply to one message.
#[derive(Debug)]
pub struct Incoming {
    /// The HTTP status; for a child process the one that a server over HTTP would have used.
    pub status: u16,
    /// The few response headers that mean something to a client.
    pub headers: HeaderMap,
    /// The session that an `initialize` opened.
    pub session: Option<String>,
    /// The content.
    pub body: Body,
}

impl Incoming {
    pub(super) fn empty(status: u16) -> Self {
        Self { status, headers: HeaderMap::new(), session: None, body: Body::Empty }
    }

    pub(super) fn json(status: u16, message: Bytes) -> Self {
        Self { status, headers: HeaderMap::new(), session: None, body: Body::Json(message) }
    }
}

/// The content of a reply. Its `Debug` form leaves the messages out.
pub enum Body {
    /// None.
    Empty,
    /// One JSON-RPC message.
    Json(Bytes),
    /// A stream of them.
    Events(Events),
}

/// One event of a stream. Its `Debug` form leaves the message out.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SseEvent {
    /// `id:`, for resuming; never from a child process.
    pub id: Option<String>,
    /// `event:`.
    pub event: Option<String>,
    /// `retry:`, milliseconds.
    pub retry: Option<u64>,
    /// One JSON-RPC message, or nothing in events that only carry an id or a retry time.
    pub data: Bytes,
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("Empty"),
            Self::Json(message) => write!(f, "Json({} bytes)", message.len()),
            Self::Events(_) => f.write_str("Events"),
        }
    }
}

impl fmt::Debug for SseEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SseEvent")
            .field("id", &self.id)
            .field("event", &self.event)
            .field("retry", &self.retry)
            .field("data_bytes", &self.data.len())
            .finish()
    }
}

/// Messages as they arrive. The stream of a request ends after the final answer, or without it if
/// the server closed it. Dropping the stream of a request before its answer gives the request up: a
/// child process is sent `notifications/cancelled`, a connection is closed.
#[derive(Debug)]
pub struct Events {
    first: Option<SseEvent>,
    source: Source,
    deadline: Option<Instant>,
    cancel: CancellationToken,
    permit: Option<Permit>,
}

#[derive(Debug)]
pub(super) enum Source {
    Pipe(PipeEvents),
    Http(Box<HttpEvents>),
    Ended,
}

impl Events {
    pub(super) const fn new(
        source: Source,
        deadline: Option<Instant>,
        cancel: CancellationToken,
    ) -> Self {
        Self { first: None, source, deadline, cancel, permit: None }
    }

    /// Puts back an event that was taken to see what the stream begins with.
    pub(super) fn put_back(&mut self, event: SseEvent) {
        self.first = Some(event);
    }

    /// Holds a slot of the server until the stream ends.
    pub(super) fn hold(&mut self, permit: Permit) {
        self.permit = Some(permit);
    }

    /// Whether nothing more will come.
    pub(super) const fn is_over(&self) -> bool {
        self.first.is_none() && matches!(self.source, Source::Ended)
    }

    /// The next event; `None` once the stream has ended. After an error the stream has ended.
    ///
    /// Nothing is lost if the future is dropped before it is ready.
    pub async fn next(&mut self) -> Option<Result<SseEvent, UpstreamError>> {
        if let Some(first) = self.first.take() {
            return Some(Ok(first));
        }
        if matches!(self.source, Source::Ended) {
            return None;
        }
        let next = tokio::select! {
            biased;
            () = self.cancel.cancelled() => Some(Err(UpstreamError::Cancelled { sent: true })),
            next = self.source.next() => next,
            () = expiry(self.deadline) => Some(Err(UpstreamError::Timeout { sent: true })),
        };
        if !matches!(next, Some(Ok(_))) || self.source.is_answered() {
            self.source = Source::Ended;
            self.permit = None;
        }
        next
    }
}

impl Source {
    async fn next(&mut self) -> Option<Result<SseEvent, UpstreamError>> {
        match self {
            Self::Pipe(events) => events.next().await,
            Self::Http(events) => events.next().await,
            Self::Ended => None,
        }
    }

    /// The final answer was handed out.
    pub(super) const fn is_answered(&self) -> bool {
        match self {
            Self::Pipe(events) => events.is_answered(),
            Self::Http(events) => events.is_answered(),
            Self::Ended => true,
        }
    }
}

/// The moment so much later than now; for ever is a year.
pub(super) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(wait.min(YEAR)).unwrap_or(now)
}

const YEAR: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Waits for a moment, or for ever.
pub(super) async fn expiry(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
