//! Which message on a child's pipes belongs to whom. No I/O: lines in, lines and deliveries out.
//!
//! Several clients share a pipe, or may use one id twice, so every request gets an id of the
//! gateway's own, which is its progress token too. What a child sends is matched by that id and
//! gets the client's id back. Everything else in a message stays byte for byte.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::upstream::error::UpstreamError;
use crate::upstream::health::Counters;
use crate::upstream::message::{Era, LISTEN, Outgoing};
use crate::upstream::settings::Limits;
use crate::upstream::span::{Message, NotMessage, Shape, own_id, own_token, splice};

/// Something for whoever waits on a stream.
#[derive(Debug)]
pub(super) enum Delivery {
    Message { data: Bytes, last: bool },
    Failed(UpstreamError),
}

/// The reading end of a stream.
#[derive(Debug)]
pub(super) struct Inbox {
    receiver: UnboundedReceiver<Delivery>,
    backlog: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Outbox {
    sender: UnboundedSender<Delivery>,
    backlog: Arc<AtomicUsize>,
}

/// The routing table of one child process.
#[derive(Debug)]
pub(super) struct Routes {
    era: Era,
    limits: Limits,
    counters: Arc<Counters>,
    next: u64,
    open: BTreeMap<u64, Open>,
    closed: VecDeque<Closed>,
    /// The client's stream for messages that belong to no request, by the number it got.
    stream: Option<(u64, Outbox)>,
    /// What waits for that stream.
    queue: VecDeque<Bytes>,
    queue_bytes: usize,
    dead: bool,
}

/// A request that was not answered yet.
#[derive(Debug)]
struct Open {
    client: Bytes,
    token: Option<Bytes>,
    listen: bool,
    /// Messages that name no request may go here. A handshake wants its answer only, and a
    /// subscription what it subscribed to.
    takes_others: bool,
    /// "Without it the server MUST NOT emit them" (MCP 2026-07-28 `basic/index`, log level): log
    /// messages go to a request that asked for some. In the legacy era they are for the session.
    takes_logs: bool,
    outbox: Outbox,
}

/// A request that is over: what still comes for it is told apart from what never was.
#[derive(Debug)]
struct Closed {
    id: u64,
    token: Option<Bytes>,
    answered: bool,
}

/// A request ready to be written.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) id: u64,
    pub(super) line: Bytes,
    pub(super) inbox: Inbox,
}

/// What to do with a message that answers no request.
enum Aim {
    Request(u64, Bytes),
    Newest(Bytes),
    Log(Bytes),
    Unrelated(Bytes),
    Nobody,
}

impl Routes {
    pub(super) const fn new(era: Era, limits: Limits, counters: Arc<Counters>) -> Self {
        Self {
            era,
            limits,
            counters,
            next: 1,
            open: BTreeMap::new(),
            closed: VecDeque::new(),
            stream: None,
            queue: VecDeque::new(),
            queue_bytes: 0,
            dead: false,
        }
    }

    /// Gives a request its own id.
    pub(super) fn open(&mut self, out: &Outgoing, client: &Bytes) -> Result<Opened, UpstreamError> {
        if self.dead {
            return Err(UpstreamError::Gone);
        }
        let id = self.next;
        self.next = id.saturating_add(1);
        let Rewritten { line, token, asks_logs } = rewrite_request(&out.body, id)
            .map_err(|NotMessage| UpstreamError::Message("not a JSON-RPC request"))?;
        let (outbox, inbox) = channel();
        let listen = out.method == LISTEN;
        let takes_others = !listen && !HANDSHAKES.contains(&out.method.as_str());
        let takes_logs = takes_others && (asks_logs || self.era == Era::Legacy);
        let client = client.clone();
        self.open.insert(id, Open { client, token, listen, takes_others, takes_logs, outbox });
        Ok(Opened { id, line, inbox })
    }

    /// The line of a notification: what it cancels is translated. `None` if that is over already.
    pub(super) fn notification(&self, out: &Outgoing) -> Result<Option<Bytes>, UpstreamError> {
        let refuse = |NotMessage| UpstreamError::Message("not a JSON-RPC notification");
        if out.method != "notifications/cancelled" {
            return Ok(Some(one_line(&out.body)));
        }
        let message = Message::parse(&out.body).map_err(refuse)?;
        let Some(request) = message.params().map_err(refuse)?.request else { return Ok(None) };
        let wanted = request.get().as_bytes();
        let own = self.open.iter().rev().find(|(_, open)| open.client == wanted);
        let line = own.zip(message.span(request)).map(|((own, _), span)| {
            one_line(&splice(&out.body, vec![(span, own.to_string().into())]))
        });
        Ok(line)
    }

    /// Gives a request up. Whether the child should be told.
    pub(super) fn abandon(&mut self, id: u64) -> bool {
        let Some(open) = self.open.remove(&id) else { return false };
        self.close(id, open.token, false);
        !self.dead
    }

    /// Opens the stream for unrelated messages; an older one ends.
    pub(super) fn open_stream(&mut self) -> Result<(u64, Inbox), UpstreamError> {
        if self.dead {
            return Err(UpstreamError::Gone);
        }
        let (outbox, inbox) = channel();
        for data in self.queue.drain(..) {
            outbox.send(Delivery::Message { data, last: false });
        }
        self.queue_bytes = 0;
        let id = self.next;
        self.next = id.saturating_add(1);
        self.stream = Some((id, outbox));
        Ok((id, inbox))
    }

    /// Closes it, if it is still that one.
    pub(super) fn close_stream(&mut self, id: u64) {
        self.stream.take_if(|(open, _)| *open == id);
    }

    /// Whether someone waits for something.
    pub(super) fn is_busy(&self) -> bool {
        !self.open.is_empty() || self.stream.is_some()
    }

    pub(super) const fn is_dead(&self) -> bool {
        self.dead
    }

    /// No more messages will come: every request fails.
    pub(super) fn die(&mut self) {
        self.dead = true;
        for (_, open) in std::mem::take(&mut self.open) {
            open.outbox.send(Delivery::Failed(UpstreamError::Lost));
        }
        self.stream = None;
        self.queue.clear();
    }

    /// A message was over the limit. Its beginning and its end may tell which request it answers.
    pub(super) fn too_large(&mut self, head: &[u8], tail: &[u8]) {
        self.counters.too_large.up();
        let only = self.open.first_key_value().map(|(id, _)| *id).filter(|_| self.open.len() == 1);
        let Some(id) = only.or_else(|| guess_id(head, tail)) else { return };
        let limit = self.limits.message_bytes_max;
        self.fail(id, UpstreamError::TooLarge { limit });
    }

    /// Takes one line that the child wrote.
    pub(super) fn receive(&mut self, line: &Bytes) {
        let Ok(message) = Message::parse(line) else { return self.counters.garbage.up() };
        match message.what() {
            Shape::Answer { id } => self.answer(line, &message, id),
            Shape::Broken { id } => {
                self.counters.garbage.up();
                if let Some(id) = own_id(id) {
                    self.fail(id, UpstreamError::Invalid("neither a result nor an error"));
                }
            }
            Shape::Request if self.era == Era::Modern => self.counters.out_of_place.up(),
            Shape::Request => {
                let most = self.limits.message_bytes_max;
                self.send(Aim::Newest(line.clone()), most);
            }
            Shape::Notification => match self.aim(line, &message) {
                Ok(aim) => self.send(aim, self.limits.backlog_bytes_max),
                Err(NotMessage) => self.counters.garbage.up(),
            },
        }
    }

    fn answer(&mut self, line: &Bytes, message: &Message<'_>, raw: &RawValue) {
        let Some(id) = own_id(raw) else { return self.counters.unknown_id.up() };
        let Some(open) = self.open.remove(&id) else {
            return match self.closed.iter().find(|closed| closed.id == id) {
                Some(closed) if closed.answered => self.counters.answered_twice.up(),
                Some(_) => self.counters.late.up(),
                None => self.counters.unknown_id.up(),
            };
        };
        let mut edits = Vec::new();
        edits.extend(message.span(raw).map(|span| (span, open.client.clone())));
        if open.listen
            && let Ok(meta) = message.result_parts().and_then(|parts| parts.meta())
            && let Some(span) = meta.subscription.and_then(|raw| message.span(raw))
        {
            edits.push((span, open.client.clone()));
        }
        open.outbox.send(Delivery::Message { data: splice(line, edits), last: true });
        self.close(id, open.token, true);
    }

    /// Finds out for whom a notification is.
    fn aim(&self, line: &Bytes, message: &Message<'_>) -> Result<Aim, NotMessage> {
        let params = message.params()?;
        if let Some(raw) = params.meta()?.subscription {
            return Ok(match own_token(raw).and_then(|id| self.open.get_key_value(&id)) {
                Some((id, open)) => Aim::Request(*id, replaced(line, message, raw, &open.client)),
                None => self.lost(own_token(raw)),
            });
        }
        match (message.method(), params.progress, params.request) {
            ("notifications/progress", Some(raw), _) => Ok(self.aim_progress(line, message, raw)),
            ("notifications/cancelled", _, Some(raw)) if self.era == Era::Modern => {
                Ok(match own_id(raw).and_then(|id| self.open.get_key_value(&id)) {
                    Some((id, open)) => {
                        Aim::Request(*id, replaced(line, message, raw, &open.client))
                    }
                    None => self.lost(own_id(raw)),
                })
            }
            // What a request logs belongs to it, and so does taking back a question.
            ("notifications/message", ..) => Ok(Aim::Log(line.clone())),
            ("notifications/cancelled", ..) => Ok(Aim::Newest(line.clone())),
            _ if self.era == Era::Legacy => Ok(Aim::Unrelated(line.clone())),
            _ => Ok(Aim::Newest(line.clone())),
        }
    }

    fn aim_progress(&self, line: &Bytes, message: &Message<'_>, raw: &RawValue) -> Aim {
        let Some(id) = own_token(raw) else { return self.lost(None) };
        if let Some(Open { token: Some(token), .. }) = self.open.get(&id) {
            return Aim::Request(id, replaced(line, message, raw, token));
        }
        // A task of 2025-11-25 goes on after its request was answered.
        let over = self.closed.iter().find(|closed| closed.id == id && closed.answered);
        match over.and_then(|closed| closed.token.as_ref()) {
            Some(token) if self.era == Era::Legacy => {
                Aim::Unrelated(replaced(line, message, raw, token))
            }
            _ => self.lost(Some(id)),
        }
    }

    fn lost(&self, id: Option<u64>) -> Aim {
        match id.filter(|id| self.closed.iter().any(|closed| closed.id == *id)) {
            Some(_) => self.counters.late.up(),
            None => self.counters.unknown_id.up(),
        }
        Aim::Nobody
    }

    /// Hands a message on, unless more than `most` bytes wait there already.
    fn send(&mut self, aim: Aim, most: usize) {
        match aim {
            Aim::Nobody => {}
            Aim::Request(id, data) => match self.open.get(&id) {
                Some(open) => self.put(&open.outbox, data, most),
                None => self.counters.late.up(),
            },
            Aim::Newest(data) => match self.open.values().rev().find(|open| open.takes_others) {
                Some(open) => self.put(&open.outbox, data, most),
                None => self.send(Aim::Unrelated(data), most),
            },
            Aim::Log(data) => match self.open.values().rev().find(|open| open.takes_logs) {
                Some(open) => self.put(&open.outbox, data, most),
                None => self.send(Aim::Unrelated(data), most),
            },
            Aim::Unrelated(data) => match &self.stream {
                Some((_, outbox)) => self.put(outbox, data, most),
                None if self.era == Era::Modern => self.counters.out_of_place.up(),
                None => self.enqueue(data, most),
            },
        }
    }

    fn put(&self, outbox: &Outbox, data: Bytes, most: usize) {
        if outbox.backlog.load(Ordering::Relaxed).saturating_add(data.len()) > most {
            self.counters.dropped.up();
        } else {
            outbox.send(Delivery::Message { data, last: false });
        }
    }

    fn enqueue(&mut self, data: Bytes, most: usize) {
        if data.len() > most {
            return self.counters.dropped.up();
        }
        self.queue_bytes = self.queue_bytes.saturating_add(data.len());
        self.queue.push_back(data);
        while self.queue_bytes > most || self.queue.len() > QUEUE_MAX {
            let Some(oldest) = self.queue.pop_front() else { break };
            self.queue_bytes = self.queue_bytes.saturating_sub(oldest.len());
            self.counters.dropped.up();
        }
    }

    fn fail(&mut self, id: u64, error: UpstreamError) {
        if let Some(open) = self.open.remove(&id) {
            open.outbox.send(Delivery::Failed(error));
            self.close(id, open.token, true);
        }
    }

    fn close(&mut self, id: u64, token: Option<Bytes>, answered: bool) {
        let token = token.filter(|token| token.len() <= TOKEN_KEPT);
        self.closed.push_back(Closed { id, token, answered });
        if self.closed.len() > CLOSED_MAX {
            self.closed.pop_front();
        }
    }
}

impl Inbox {
    /// The next delivery; `None` once nothing can come any more.
    pub(super) async fn next(&mut self) -> Option<Delivery> {
        let delivery = self.receiver.recv().await;
        if let Some(Delivery::Message { data, .. }) = &delivery {
            self.backlog.fetch_sub(data.len(), Ordering::Relaxed);
        }
        delivery
    }
}

impl Outbox {
    /// Whoever does not listen any more misses nothing.
    fn send(&self, delivery: Delivery) {
        if let Delivery::Message { data, .. } = &delivery {
            self.backlog.fetch_add(data.len(), Ordering::Relaxed);
        }
        drop(self.sender.send(delivery));
    }
}

fn channel() -> (Outbox, Inbox) {
    let (sender, receiver) = unbounded_channel();
    let backlog = Arc::new(AtomicUsize::new(0));
    (Outbox { sender, backlog: Arc::clone(&backlog) }, Inbox { receiver, backlog })
}

/// A request as it goes to the child.
struct Rewritten {
    line: Bytes,
    /// The client's progress token.
    token: Option<Bytes>,
    asks_logs: bool,
}

/// Puts the own id in, also as progress token if the client wants progress.
fn rewrite_request(body: &Bytes, id: u64) -> Result<Rewritten, NotMessage> {
    let message = Message::parse(body)?;
    let written = Bytes::from(id.to_string());
    let mut edits = Vec::new();
    let raw = message.id().ok_or(NotMessage)?;
    edits.extend(message.span(raw).map(|span| (span, written.clone())));
    let meta = message.params()?.meta()?;
    edits.extend(meta.progress.and_then(|raw| message.span(raw)).map(|span| (span, written)));
    let token = meta.progress.map(|raw| Bytes::copy_from_slice(raw.get().as_bytes()));
    let line = one_line(&splice(body, edits));
    Ok(Rewritten { line, token, asks_logs: meta.log_level.is_some() })
}

fn replaced(line: &Bytes, message: &Message<'_>, part: &RawValue, with: &Bytes) -> Bytes {
    splice(line, message.span(part).map(|span| (span, with.clone())).into_iter().collect())
}

/// A message on a pipe must not contain line breaks. In JSON they are white space between tokens.
pub(super) fn one_line(message: &Bytes) -> Bytes {
    if !message.iter().any(|byte| matches!(byte, b'\n' | b'\r')) {
        return message.clone();
    }
    message.iter().map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte }).collect()
}

/// The id at the beginning or at the end of an answer that is not kept whole. A wrong guess fails a
/// request of the same principal.
fn guess_id(head: &[u8], tail: &[u8]) -> Option<u64> {
    let tight = |bytes: &[u8]| -> String {
        String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_ascii_whitespace()).collect()
    };
    let number = |text: &str| -> Option<u64> {
        let (_, after) = text.rsplit_once("\"id\":")?;
        let (digits, _) = after.split_once([',', '}'])?;
        digits.parse().ok()
    };
    let (head, tail) = (tight(head), tight(tail));
    let before = head.split_once("\"result\":").map_or("", |(before, _)| before);
    let after = tail.rsplit_once("},").map_or("", |(_, after)| after);
    number(before).or_else(|| number(after))
}

const HANDSHAKES: &[&str] = &["initialize", "server/discover"];
/// Messages kept while no stream for them is open.
const QUEUE_MAX: usize = 256;
/// Requests remembered after they are over.
const CLOSED_MAX: usize = 256;
/// Progress tokens up to this length are remembered with them.
const TOKEN_KEPT: usize = 256;
