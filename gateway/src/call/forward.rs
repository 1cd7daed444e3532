//! The only byte that leaves.

use std::sync::Arc;

use bytes::Bytes;
use forge_schemas::ids::ApprovalId;
use forge_schemas::refusal::RefusalCode;
use http::HeaderMap;
use tokio::time::{Duration, Instant};
use tracing::info;

use crate::approval::model::Finished;
use crate::mcp::catalog::{Call, Verb};
use crate::mcp::envelope::{Kind, Message};
use crate::mcp::headers::{self, Era};
use crate::state::Gateway;
use crate::upstream::{self, Body, Incoming, MessageKind, Outgoing, SseEvent, UpstreamError};

use super::hold::Released;
use super::input::principal_key;
use super::record::Trail;
use super::{Sink, Stop, inspect, keep_alive};

/// What came back: the answer, or the good end of something that has none.
#[derive(Debug)]
pub struct Response {
    call: Call,
    approval: Option<ApprovalId>,
    message: Option<Message>,
    status: u16,
    headers: HeaderMap,
    event: Option<SseEvent>,
    session: Option<String>,
    placeholder: Message,
}

impl Response {
    /// The call.
    #[must_use]
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// The approval under which it was executed.
    #[must_use]
    pub fn approval(&self) -> Option<&ApprovalId> {
        self.approval.as_ref()
    }

    /// The answer; where there is none, the message that was sent.
    #[must_use]
    pub fn message(&self) -> &Message {
        self.message.as_ref().unwrap_or(&self.placeholder)
    }

    /// There is no answer: a notification, a posted response, a stream that ended.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.message.is_none()
    }

    /// SSE id and retry, if the server streamed the answer.
    #[must_use]
    pub fn event(&self) -> Option<&SseEvent> {
        self.event.as_ref()
    }

    /// What the edge needs beside the message.
    pub(super) fn into_edge(self) -> (u16, HeaderMap, Option<String>) {
        (self.status, self.headers, self.session)
    }
}

/// Sends the released bytes and waits for the answer; what precedes it goes to `sink`, examined.
///
/// On cancel the request to the server is dropped, which closes its stream.
///
/// # Errors
/// Says whether anything had left, and so whether the outcome is known.
pub async fn run(
    gateway: &Gateway,
    released: Released,
    sink: &Sink,
    trail: &mut Trail,
) -> Result<Response, Stop> {
    let (call, forward, approval) = released.into_parts();
    let admission = call.admission();
    let server = gateway
        .upstreams
        .server(&admission.server)
        .ok_or_else(|| Stop::refused(RefusalCode::UpstreamServer))?;
    let since = Instant::now();
    trail.sending();
    let sent = server.send(outgoing(&call, &forward)).await;
    let incoming = match sent {
        Ok(incoming) => incoming,
        Err(fault) => {
            trail.upstream_took(since);
            let how = if fault.sent() { Finished::Unknown } else { Finished::Failed };
            finish_approval(gateway, approval.as_ref(), how).await;
            return Err(stopped(&call, &fault));
        }
    };
    let received = receive(&call, incoming, sink, trail).await;
    trail.upstream_took(since);
    let unknown = received
        .as_ref()
        .is_err_and(|stop| stop.outcome == forge_schemas::record::Outcome::Unknown);
    let how = if unknown { Finished::Unknown } else { Finished::Done };
    finish_approval(gateway, approval.as_ref(), how).await;
    let Received { message, status, headers, event, session } = received?;
    if let Some(message) = &message {
        trail.received(message.body());
    }
    Ok(Response { call, approval, message, status, headers, event, session, placeholder: forward })
}

/// Closes the approval that was claimed for this execution.
pub(super) async fn finish_approval(
    gateway: &Gateway,
    approval: Option<&ApprovalId>,
    how: Finished,
) {
    let Some(id) = approval else { return };
    if let Err(fault) = gateway.approvals.finish(id, how).await {
        // The evidence has the outcome; the next start's recovery marks the row.
        tracing::warn!(approval.id = %id, error = %fault, "an executed approval could not be closed");
    }
}

fn outgoing(call: &Call, forward: &Message) -> Outgoing {
    let admission = call.admission();
    let limits = &admission.snapshot.config.limits;
    let kind = match forward.kind() {
        Kind::Request => MessageKind::Request { id: forward.id().cloned().unwrap_or_default() },
        Kind::Notification => MessageKind::Notification,
        Kind::Response => MessageKind::Response,
    };
    Outgoing {
        verb: match admission.verb {
            Verb::Post => upstream::Verb::Post,
            Verb::Get => upstream::Verb::Get,
            Verb::Delete => upstream::Verb::Delete,
        },
        era: match admission.era {
            Era::Legacy => upstream::Era::Legacy,
            Era::Modern => upstream::Era::Modern,
        },
        kind,
        method: if admission.verb == Verb::Post {
            forward.method().to_owned()
        } else {
            String::new()
        },
        body: if admission.verb == Verb::Post { forward.body().clone() } else { Bytes::new() },
        headers: forward_headers(call, forward),
        session: admission
            .session
            .as_ref()
            .map(|session| session.upstream.clone())
            .filter(|id| !id.is_empty()),
        principal: principal_key(&admission.principal),
        // Of a stream without an end the deadline covers the opening.
        deadline: Duration::from_millis(limits.call_ms),
        cancel: admission.cancel.clone(),
    }
}

/// A modern request's mirrored headers always follow the bytes that are sent.
fn forward_headers(call: &Call, forward: &Message) -> HeaderMap {
    let admission = call.admission();
    let mut headers = admission.headers.clone();
    if admission.era == Era::Modern && forward.kind() != Kind::Response {
        let mirrored = call.tool().map(|tool| tool.mirrored.as_slice()).unwrap_or_default();
        for (name, value) in &headers::mirror(forward, mirrored) {
            headers.insert(name.clone(), value.clone());
        }
    }
    headers
}

struct Received {
    message: Option<Message>,
    status: u16,
    headers: HeaderMap,
    event: Option<SseEvent>,
    session: Option<String>,
}

async fn receive(
    call: &Call,
    incoming: Incoming,
    sink: &Sink,
    trail: &mut Trail,
) -> Result<Received, Stop> {
    let Incoming { status, headers, session, body } = incoming;
    let request = call.message().kind() == Kind::Request && call.admission().verb == Verb::Post;
    let (message, event) = match body {
        Body::Empty if request && status < 400 => {
            return Err(Stop::unknown(RefusalCode::UpstreamInvalid));
        }
        Body::Empty => (None, None),
        Body::Json(bytes) => (Some(parsed(call, bytes, status)?), None),
        Body::Events(events) => match listen(call, events, sink, trail).await? {
            Some((message, event)) => (Some(message), Some(event)),
            None if request => return Err(Stop::unknown(RefusalCode::UpstreamLost)),
            None => (None, None),
        },
    };
    if message.is_none() && status >= 400 {
        return Err(rejected(call, status));
    }
    Ok(Received { message, status, headers, event, session })
}

/// Tells a listening client at once that the stream is open, then passes on what comes.
async fn listen(
    call: &Call,
    events: upstream::Events,
    sink: &Sink,
    trail: &mut Trail,
) -> Result<Option<(Message, SseEvent)>, Stop> {
    if call.admission().verb == Verb::Get {
        sink.send(keep_alive()).await;
    }
    drain(call, events, sink, trail).await
}

/// Passes on what precedes the answer; ends with the answer or with the stream.
async fn drain(
    call: &Call,
    mut events: upstream::Events,
    sink: &Sink,
    trail: &mut Trail,
) -> Result<Option<(Message, SseEvent)>, Stop> {
    let admission = call.admission();
    let mut reads = true;
    loop {
        let next = tokio::select! {
            next = events.next() => next,
            () = admission.cancel.cancelled() => return Err(Stop::unknown(RefusalCode::Cancelled)),
        };
        let event = match next {
            None => return Ok(None),
            Some(Ok(event)) => event,
            Some(Err(fault)) => return Err(stopped(call, &fault)),
        };
        if !event.data.is_empty() {
            let message = parsed(call, event.data.clone(), 200)?;
            if is_answer(call, &message) {
                return Ok(Some((message, event)));
            }
            // Any other answer would pass without policy, list filter and outcome: also one that
            // a resumed stream brings back.
            if message.kind() == Kind::Response {
                info!(call.id = %admission.id, "an answer to another request was withheld");
                continue;
            }
        }
        if let Some(examined) = inspect::event(Arc::clone(&admission.snapshot), event, trail).await
        {
            trail.passed();
            // A client that keeps its connection and does not read gets nothing more but the answer.
            reads =
                reads && tokio::time::timeout(CLIENT_READ_WAIT, sink.send(examined)).await.is_ok();
        } else {
            info!(call.id = %admission.id, "a message before the answer was withheld");
        }
    }
}

/// A message of the server. One that is not a message at all leaves the outcome unknown.
fn parsed(call: &Call, bytes: Bytes, status: u16) -> Result<Message, Stop> {
    let depth = call.admission().snapshot.config.limits.depth_max;
    Message::parse(bytes, depth).map_err(|fault| {
        info!(call.id = %call.admission().id, error = %fault, "the tool server sent something invalid");
        if status >= 400 { rejected(call, status) } else { Stop::unknown(RefusalCode::UpstreamInvalid) }
    })
}

/// The server refused on the level of HTTP, with nothing that could be passed on.
fn rejected(call: &Call, status: u16) -> Stop {
    let legacy_session = call.admission().session.is_some() && call.admission().era == Era::Legacy;
    let code = match status {
        404 if legacy_session => RefusalCode::ProtocolSession,
        _ => RefusalCode::UpstreamInvalid,
    };
    Stop {
        status: Some(status),
        ..Stop::failed(code).note(format!("The tool server answered with HTTP status {status}."))
    }
}

fn stopped(call: &Call, fault: &UpstreamError) -> Stop {
    info!(call.id = %call.admission().id, error = %fault, sent = fault.sent(), "the tool server failed");
    if fault.sent() { Stop::unknown(fault.code()) } else { Stop::failed(fault.code()) }
}

/// The answer to the call's own request. Ids are compared by value: `"\u0061"` is `"a"`.
fn is_answer(call: &Call, message: &Message) -> bool {
    let value =
        |id: Option<&Bytes>| -> Option<serde_json::Value> { serde_json::from_slice(id?).ok() };
    let own = value(call.message().id());
    call.admission().verb == Verb::Post
        && message.kind() == Kind::Response
        && own.is_some()
        && value(message.id()) == own
}

/// How long one message may wait for a client to read the ones before it.
const CLIENT_READ_WAIT: Duration = Duration::from_secs(30);
