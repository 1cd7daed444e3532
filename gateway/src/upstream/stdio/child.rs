//! Messages to a child process and the streams that come back.

use std::sync::Arc;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::process::Child;
use super::routes::{Delivery, Inbox};
use crate::upstream::body::{Body, Events, Source, SseEvent, expiry};
use crate::upstream::error::UpstreamError;
use crate::upstream::message::{Outgoing, cancelled};

/// Messages of one stream out of a child's pipe.
#[derive(Debug)]
pub(in crate::upstream) struct PipeEvents {
    inbox: Inbox,
    _ticket: Ticket,
    answered: bool,
}

/// The claim to a stream; given up when dropped.
#[derive(Debug)]
struct Ticket {
    child: Arc<Child>,
    id: u64,
    kind: Kind,
    /// When the answer is due.
    due: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Request,
    /// Must not be cancelled (MCP 2025-11-25 `basic/utilities/cancellation`).
    Initialize,
    Unrelated,
}

/// Sends a request and waits for the first message that comes back: if that is the answer, it is
/// handed on alone.
pub(super) async fn request(
    child: &Arc<Child>,
    out: &Outgoing,
    id: &Bytes,
    deadline: Instant,
) -> Result<Body, UpstreamError> {
    let opened = child.routes().open(out, id)?;
    let initialize = out.method == "initialize";
    let kind = if initialize { Kind::Initialize } else { Kind::Request };
    let whole = (!out.is_endless()).then_some(deadline);
    let ticket = Ticket { child: Arc::clone(child), id: opened.id, kind, due: whole };
    if let Err(error) = write(child, opened.line, deadline, &out.cancel).await {
        if !error.sent() {
            ticket.forget();
        }
        return Err(error);
    }
    let source = PipeEvents { inbox: opened.inbox, _ticket: ticket, answered: false };
    let mut events = Events::new(Source::Pipe(source), whole, out.cancel.clone());
    let first = tokio::select! {
        biased;
        first = events.next() => first,
        () = expiry(Some(deadline)) => return Err(UpstreamError::Timeout { sent: true }),
    };
    let first = first.unwrap_or(Err(UpstreamError::Lost))?;
    if events.is_over() {
        return Ok(Body::Json(first.data));
    }
    events.put_back(first);
    Ok(Body::Events(events))
}

/// Opens the stream of messages that belong to no request.
pub(super) fn unrelated(child: &Arc<Child>, out: &Outgoing) -> Result<Events, UpstreamError> {
    let (id, inbox) = child.routes().open_stream()?;
    let ticket = Ticket { child: Arc::clone(child), id, kind: Kind::Unrelated, due: None };
    let source = PipeEvents { inbox, _ticket: ticket, answered: false };
    Ok(Events::new(Source::Pipe(source), None, out.cancel.clone()))
}

/// Writes one line and waits until it is out.
pub(super) async fn write(
    child: &Arc<Child>,
    line: Bytes,
    deadline: Instant,
    cancel: &CancellationToken,
) -> Result<(), UpstreamError> {
    child.touch();
    let queued = tokio::select! {
        biased;
        () = cancel.cancelled() => return Err(UpstreamError::Cancelled { sent: false }),
        queued = child.queue(line) => queued,
        () = expiry(Some(deadline)) => return Err(UpstreamError::Timeout { sent: false }),
    };
    let Some(mut sending) = queued else { return Err(UpstreamError::Gone) };
    tokio::select! {
        biased;
        () = cancel.cancelled() => Err(UpstreamError::Cancelled { sent: !sending.withdraw() }),
        written = sending.written() => written.ok_or_else(|| {
            if sending.withdraw() { UpstreamError::Gone } else { UpstreamError::Lost }
        }),
        () = expiry(Some(deadline)) => Err(UpstreamError::Timeout { sent: !sending.withdraw() }),
    }
}

impl PipeEvents {
    pub(in crate::upstream) const fn is_answered(&self) -> bool {
        self.answered
    }

    pub(in crate::upstream) async fn next(&mut self) -> Option<Result<SseEvent, UpstreamError>> {
        match self.inbox.next().await? {
            Delivery::Message { data, last } => {
                self.answered = last;
                Some(Ok(SseEvent { data, ..SseEvent::default() }))
            }
            Delivery::Failed(error) => Some(Err(error)),
        }
    }
}

impl Ticket {
    /// Nothing was sent, so there is nothing to take back.
    fn forget(self) {
        self.child.routes().abandon(self.id);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.child.touch();
        if self.kind == Kind::Unrelated {
            return self.child.routes().close_stream(self.id);
        }
        let tell = self.child.routes().abandon(self.id);
        if tell && self.due.is_some_and(|due| due <= Instant::now()) {
            self.child.missed();
        }
        if tell && self.kind == Kind::Request {
            self.child.queue_now(cancelled(self.id.to_string().as_bytes()));
        }
    }
}
