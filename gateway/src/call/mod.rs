//! THE LINE: the stages that every message follows, in the order in which they happen.
//!
//! ```text
//! inspect::request   Call       -> Inspected    detectors over every string that would leave
//! decide::request    Inspected  -> Decided      policy: allow | deny | hold, redactions
//! record::intent     Decided    -> Recorded     durable before anything else happens
//! hold::run          Recorded   -> Released     waits for a person, if asked
//! forward::run       Released   -> Response     the only byte that leaves
//! inspect::response  Response   -> Examined     detectors over what came back
//! decide::response   Examined   -> Answer       policy on what came back
//! record::outcome    always
//! ```
//!
//! Each stage's output has private fields, is made in its own module only, is neither `Clone` nor
//! `Default`, and is the only thing the next stage takes: a stage that is left out or swapped does
//! not compile. No stage returns early past the record of the outcome: `run` is the outer
//! function that always records, `line` the inner one that decides.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use forge_schemas::record::Outcome;
use forge_schemas::refusal::RefusalCode;
use futures_util::FutureExt as _;
use http::HeaderMap;
use serde_json::Value;
use tokio::sync::mpsc;
use tracing::{debug, error};

use crate::mcp::catalog::Call;
use crate::mcp::refusal::{Addressee, Refusal, render};
use crate::state::Gateway;
use crate::upstream::SseEvent;

pub mod commitment;
pub mod decide;
pub mod forward;
pub mod hold;
pub mod input;
pub mod inspect;
pub mod record;

/// Why a message ends before it is answered.
#[derive(Debug)]
pub struct Stop {
    /// For the client.
    pub code: RefusalCode,
    /// For the client, after the code's sentence.
    pub note: String,
    /// For the record.
    pub outcome: Outcome,
    /// Seconds after which the very same call may be tried again.
    pub retry: Option<u64>,
    /// `structuredContent` of the refusal.
    pub structured: Option<Value>,
    /// HTTP status that the tool server gave, where the client has to see it.
    pub status: Option<u16>,
    /// A modern held call: the client is to ask again with this sealed `requestState`.
    pub ask_again: Option<String>,
}

impl Stop {
    /// The gateway refuses.
    #[must_use]
    pub fn refused(code: RefusalCode) -> Self {
        let (note, outcome) = (String::new(), Outcome::Refused);
        Self { code, note, outcome, retry: None, structured: None, status: None, ask_again: None }
    }

    /// The tool server, or the way to it, failed.
    #[must_use]
    pub fn failed(code: RefusalCode) -> Self {
        Self { outcome: Outcome::Failed, ..Self::refused(code) }
    }

    /// It was forwarded, and nobody knows.
    #[must_use]
    pub fn unknown(code: RefusalCode) -> Self {
        Self { outcome: Outcome::Unknown, ..Self::refused(code) }
    }

    /// The same with a note for the client.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

/// What a finished message gives to its edge.
#[derive(Debug)]
pub struct Finished {
    /// HTTP status.
    pub status: u16,
    /// Response headers that may pass.
    pub headers: HeaderMap,
    /// The answer; `None` where there is nothing to say (202, a stream that ended).
    pub body: Option<Bytes>,
    /// SSE id and retry of the answer, where the server streamed it.
    pub event: Option<SseEvent>,
    /// The tool server's id of a session that was opened.
    pub session: Option<String>,
    /// The tool server answered; false for refusals.
    pub answered: bool,
}

/// The sign of life of a stream: an event with nothing in it.
#[must_use]
pub fn keep_alive() -> SseEvent {
    SseEvent::default()
}

/// Takes messages that precede the answer: notifications, requests of the server, keep-alives.
#[derive(Clone, Debug)]
pub struct Sink(mpsc::Sender<SseEvent>);

impl Sink {
    /// A sink and what it fills; `capacity` messages wait at most.
    #[must_use]
    pub fn channel(capacity: usize) -> (Self, mpsc::Receiver<SseEvent>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Passes one on. Waits while the client reads slowly; if the client has gone, nobody minds.
    pub async fn send(&self, event: SseEvent) {
        if self.0.send(event).await.is_err() {
            debug!("client no longer reads the stream");
        }
    }
}

/// Runs a message to its end and records what came of it. Not dropped with the client: the caller
/// spawns it on the tracker and awaits the handle.
pub async fn run(gateway: Arc<Gateway>, call: Call, sink: Sink) -> Finished {
    let addressee = Addressee::of(call.message(), call.admission().era);
    let mut trail = record::Trail::of(&call);
    // On the heap: the stages together are large, and most of a call is waiting.
    let stages = Box::pin(line(&gateway, call, &sink, &mut trail));
    let ended = AssertUnwindSafe(stages).catch_unwind().await;
    let ended = ended.unwrap_or_else(|_panic| {
        error!(call.id = %trail.call(), "a stage panicked");
        // Whether something was sent is what the trail says.
        Err(if trail.was_sent() { Stop::unknown } else { Stop::refused }(
            RefusalCode::InternalError,
        ))
    });
    let finished = match ended {
        Ok(answer) => answer.finish(&mut trail),
        Err(stop) => finish_stopped(&gateway, &stop, &addressee, &mut trail),
    };
    match record::outcome(&gateway, &trail).await {
        Ok(()) => finished,
        Err(code) => {
            // Without a durable outcome no answer leaves (architecture §3.1).
            let rendered = render(&Refusal::new(code, trail.call().clone()), &addressee);
            let (status, body) = (rendered.status, Some(rendered.body));
            Finished {
                status,
                body,
                headers: HeaderMap::new(),
                event: None,
                session: None,
                answered: false,
            }
        }
    }
}

async fn line(
    gateway: &Gateway,
    call: Call,
    sink: &Sink,
    trail: &mut record::Trail,
) -> Result<decide::Answer, Stop> {
    let inspected = inspect::request(call).await;
    let decided = decide::request(gateway, inspected).await;
    let recorded = record::intent(gateway, decided, trail).await?;
    let released = Box::pin(hold::run(gateway, recorded, sink, trail)).await?;
    let response = Box::pin(forward::run(gateway, released, sink, trail)).await?;
    let examined = inspect::response(response, trail).await;
    decide::response(gateway, examined).await
}

fn finish_stopped(
    gateway: &Gateway,
    stop: &Stop,
    addressee: &Addressee,
    trail: &mut record::Trail,
) -> Finished {
    trail.stopped(stop);
    gateway.metrics.refusals.count(stop.code);
    if let Some(state) = &stop.ask_again {
        let body = hold::input_required(addressee, state);
        trail.returned(&body);
        let body = Some(body);
        return Finished {
            status: 200,
            headers: HeaderMap::new(),
            body,
            event: None,
            session: None,
            answered: false,
        };
    }
    let mut refusal = Refusal::new(stop.code, trail.call().clone()).note(stop.note.clone());
    refusal.retry = stop.retry;
    refusal.structured.clone_from(&stop.structured);
    let rendered = render(&refusal, addressee);
    trail.returned(&rendered.body);
    let status = stop.status.unwrap_or(rendered.status);
    let body = Some(rendered.body);
    Finished {
        status,
        headers: HeaderMap::new(),
        body,
        event: None,
        session: None,
        answered: false,
    }
}
