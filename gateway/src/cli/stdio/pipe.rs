//! Lines in, lines out: requests side by side, everything else in the order it came.
//!
//! A request waits for the notifications that stood before it, so that `notifications/initialized`
//! cannot be overtaken. `notifications/cancelled` of a modern request ends that request here, which
//! is what a closed connection does over HTTP; older ones travel on, since their server knows the
//! id. What is cancelled is not answered.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use forge_schemas::refusal::RefusalCode;
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::mcp::envelope::{Kind, Message};
use crate::mcp::headers::MODERN;
use crate::mcp::refusal::message;
use crate::serve;

use super::bridge::Bridge;
use super::lines::{self, Line};
use super::local::Local;

/// Where messages go.
#[derive(Debug)]
pub(super) enum Link {
    /// The line in this process.
    Local(Local),
    /// A gateway over HTTP.
    Bridge(Bridge),
}

/// Where answers go: one JSON-RPC message each.
pub(super) type Out = mpsc::Sender<Bytes>;

impl Link {
    /// Sends a message and passes on everything that comes back, until the answer.
    async fn exchange(&self, body: Bytes, out: &Out) {
        match self {
            Self::Local(local) => local.exchange(body, out).await,
            Self::Bridge(bridge) => bridge.exchange(body, out).await,
        }
    }

    /// A line that is too long to be a message.
    async fn refuse_length(&self, out: &Out) {
        match self {
            Self::Local(local) => local.refuse(RefusalCode::LimitBody, out).await,
            Self::Bridge(_) => put(out, fault(None, RefusalCode::LimitBody.sentence())).await,
        }
    }

    /// Passes on what an older server says of its own accord, once there is a session.
    async fn listen(&self, out: &Out) {
        match self {
            Self::Local(local) => local.listen(out).await,
            Self::Bridge(bridge) => bridge.listen(out).await,
        }
    }

    /// Ends the session, if there is one.
    async fn close(&self) {
        match self {
            Self::Local(local) => local.close().await,
            Self::Bridge(bridge) => bridge.close().await,
        }
    }
}

/// Runs until stdin ends or a signal comes; gives open requests `drain` to end.
///
/// # Errors
/// If signals cannot be received.
pub(super) async fn run(link: Link, line_max: usize, drain: Duration) -> anyhow::Result<()> {
    let (out, written) = lines::stdout();
    let input = lines::stdin(line_max);
    let ended = serve_lines(link, input, out, drain).await;
    // The last answer has to be out before the process is.
    drop(timeout(WRITE_WAIT, written).await);
    ended
}

/// The same on channels.
pub(super) async fn serve_lines(
    link: Link,
    mut input: mpsc::Receiver<Line>,
    out: Out,
    drain: Duration,
) -> anyhow::Result<()> {
    let pipe = Pipe::start(link, out);
    let signalled = serve::signalled();
    tokio::pin!(signalled);
    let ended = loop {
        tokio::select! {
            ended = &mut signalled => break ended,
            () = pipe.out.closed() => break Ok(()),
            line = input.recv() => match line {
                Some(Line::Message(body)) => pipe.take(body).await,
                Some(Line::TooLong) => pipe.link.refuse_length(&pipe.out).await,
                None => break Ok(()),
            },
        }
    };
    pipe.end(drain).await;
    ended
}

/// A client at work.
struct Pipe {
    link: Arc<Link>,
    out: Out,
    /// Open modern requests by raw id.
    open: Arc<Mutex<BTreeMap<Bytes, CancellationToken>>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    ordered: mpsc::Sender<Bytes>,
    taken: watch::Sender<u64>,
    done: watch::Receiver<u64>,
}

impl Pipe {
    fn start(link: Link, out: Out) -> Self {
        let link = Arc::new(link);
        let (ordered, mut queue) = mpsc::channel::<Bytes>(QUEUE_MAX);
        let (finished, done) = watch::channel(0_u64);
        let tasks = TaskTracker::new();
        let stop = CancellationToken::new();
        let (worker, worker_out) = (Arc::clone(&link), out.clone());
        tasks.spawn(async move {
            while let Some(body) = queue.recv().await {
                worker.exchange(body, &worker_out).await;
                finished.send_modify(|count| *count = count.saturating_add(1));
            }
        });
        let (listener, listener_out, listener_stop) =
            (Arc::clone(&link), out.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = listener_stop.cancelled() => {}
                () = listener.listen(&listener_out) => {}
            }
        });
        let (taken, _) = watch::channel(0);
        Self { link, out, open: Arc::default(), tasks, stop, ordered, taken, done }
    }

    async fn take(&self, body: Bytes) {
        let read = Message::parse(body.clone(), DEPTH_MAX).ok();
        let request = read.as_ref().is_some_and(|message| message.kind() == Kind::Request);
        if let Some(message) = read.filter(|_| request) {
            return self.spawn(&message, body);
        }
        if self.cancels(&body) {
            return;
        }
        self.taken.send_modify(|count| *count = count.saturating_add(1));
        // The worker ends only after this sender is gone.
        drop(self.ordered.send(body).await);
    }

    fn spawn(&self, request: &Message, body: Bytes) {
        let token = CancellationToken::new();
        let version = request.facts().protocol.as_deref();
        let modern = version.is_some_and(|version| MODERN.contains(&version));
        let id = request.id().cloned().filter(|_| modern);
        if let Some(id) = id.clone() {
            self.requests().insert(id, token.clone());
        }
        let (link, out, open) = (Arc::clone(&self.link), self.out.clone(), Arc::clone(&self.open));
        let (mut done, before) = (self.done.clone(), *self.taken.borrow());
        self.tasks.spawn(async move {
            // A notification that takes for ever holds nobody up for ever.
            drop(timeout(ORDER_WAIT, done.wait_for(|done| *done >= before)).await);
            tokio::select! {
                () = token.cancelled() => {}
                () = link.exchange(body, &out) => {}
            }
            if let Some(id) = id {
                open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            }
        });
    }

    /// The message cancels an open modern request.
    fn cancels(&self, body: &[u8]) -> bool {
        let Ok(read) = serde_json::from_slice::<Value>(body) else { return false };
        if read.get("method").and_then(Value::as_str) != Some("notifications/cancelled") {
            return false;
        }
        let Some(id) = read.pointer("/params/requestId").map(Value::to_string) else {
            return false;
        };
        let found = self.requests().remove(id.as_bytes());
        found.is_some_and(|token| {
            token.cancel();
            true
        })
    }

    fn requests(&self) -> std::sync::MutexGuard<'_, BTreeMap<Bytes, CancellationToken>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn end(self, drain: Duration) {
        let Self { link, out, open, tasks, stop, ordered, .. } = self;
        drop(ordered);
        stop.cancel();
        tasks.close();
        if timeout(drain, tasks.wait()).await.is_err() {
            tracing::warn!(requests = tasks.len(), "requests did not end in time");
            let left = std::mem::take(&mut *open.lock().unwrap_or_else(PoisonError::into_inner));
            left.into_values().for_each(|token| token.cancel());
        }
        drop(timeout(CLOSE_WAIT, link.close()).await);
        drop(out);
    }
}

/// Writes a message; what cannot be written has no reader.
pub(super) async fn put(out: &Out, message: Bytes) {
    if !message.is_empty() {
        drop(out.send(message).await);
    }
}

/// A JSON-RPC error of our own.
pub(super) fn fault(id: Option<&[u8]>, sentence: &str) -> Bytes {
    message(id, "error", &json!({ "code": INTERNAL_ERROR, "message": sentence }))
}

/// JSON-RPC 2.0 §5.1.
const INTERNAL_ERROR: i64 = -32603;
const DEPTH_MAX: usize = 100;
const QUEUE_MAX: usize = 64;
const ORDER_WAIT: Duration = Duration::from_secs(10);
const CLOSE_WAIT: Duration = Duration::from_secs(5);
const WRITE_WAIT: Duration = Duration::from_secs(5);
