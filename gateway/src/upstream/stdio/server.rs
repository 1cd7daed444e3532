//! The processes of one stdio server: sessions, shared processes, eras, restarts.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use forge_schemas::ids::ServerName;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::child::{request, unrelated, write};
use super::era::{discover, fault, is_modern, status_of};
use super::process::{Child, End, Spawner, Surroundings};
use super::routes::{Routes, one_line};
use crate::ids;
use crate::upstream::body::{Body, Events, Incoming, after, expiry};
use crate::upstream::error::UpstreamError;
use crate::upstream::gate::{Attempt, Gate, doubled};
use crate::upstream::health::Meter;
use crate::upstream::message::{Era, MessageKind, Outgoing, Verb};
use crate::upstream::settings::{Common, StdioSettings};
use crate::upstream::span::Message;

#[derive(Debug)]
pub(in crate::upstream) struct StdioServer {
    around: Surroundings,
    slots: Arc<Semaphore>,
    state: Mutex<State>,
    crashes: Arc<Mutex<CrashList>>,
    closing: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    sessions: BTreeMap<String, Session>,
    shared: BTreeMap<String, Arc<Slot>>,
    verdict: Option<Verdict>,
}

/// Crashes by principal.
#[derive(Debug, Default)]
struct CrashList(BTreeMap<String, Crashes>);

/// A legacy session: only its principal may use it.
#[derive(Debug)]
struct Session {
    principal: String,
    child: Arc<Child>,
}

/// Where the modern process of one principal is, or is being started.
#[derive(Debug, Default)]
struct Slot(tokio::sync::Mutex<Option<Arc<Child>>>);

/// What a program was found to speak. Legacy is believed for a while only: no process stands for
/// it, and the program may be another one tomorrow.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    era: Era,
    until: Option<Instant>,
}

/// Crashes of one principal's processes in a row.
#[derive(Clone, Copy, Debug)]
struct Crashes {
    count: u32,
    until: Instant,
}

/// A modern process, or the finding that there is none.
enum Modern {
    Child(Arc<Child>),
    Legacy,
}

impl StdioServer {
    /// Must be called inside the runtime.
    pub(in crate::upstream) fn new(
        name: &ServerName,
        settings: StdioSettings,
        common: &Arc<Common>,
        meter: Meter,
    ) -> std::io::Result<Self> {
        let Meter { limits, counters } = meter;
        let around = Surroundings {
            name: name.clone(),
            settings: Arc::new(settings),
            common: Arc::clone(common),
            limits,
            counters,
            stderr: Arc::new(Mutex::new(VecDeque::new())),
            spawner: Spawner::start(tokio::runtime::Handle::current())?,
            tasks: TaskTracker::new(),
        };
        let slots = Arc::new(Semaphore::new(limits.sessions_max));
        let closing = CancellationToken::new();
        Ok(Self { around, slots, state: Mutex::default(), crashes: Arc::default(), closing })
    }

    /// Passes one message on.
    pub(in crate::upstream) async fn send(
        &self,
        out: &Outgoing,
        deadline: Instant,
        gate: &Gate,
    ) -> Result<Incoming, UpstreamError> {
        match (out.era, out.verb, &out.kind) {
            (Era::Modern, Verb::Post, MessageKind::Request { id }) => {
                self.modern_request(out, id, deadline, gate).await
            }
            (Era::Modern, Verb::Post, MessageKind::Notification) => {
                self.modern_notification(out, deadline, gate).await
            }
            (Era::Modern, Verb::Post, _) => Ok(Incoming::empty(400)),
            (Era::Modern, ..) => Ok(Incoming::empty(405)),
            (Era::Legacy, Verb::Post, MessageKind::Request { id })
                if out.method == "initialize" && out.session.is_none() =>
            {
                self.initialize(out, id, deadline, gate).await
            }
            (Era::Legacy, ..) => self.in_session(out, deadline).await,
        }
    }

    pub(in crate::upstream) async fn end_session(&self, id: &str) {
        let session = self.state().sessions.remove(id);
        if let Some(Session { child, .. }) = session {
            child.stop(None);
            child.ended().await;
        }
    }

    /// Ends every process and waits until nothing of them is left.
    pub(in crate::upstream) async fn shutdown(&self, grace: Duration) {
        self.closing.cancel();
        for child in self.children() {
            child.stop(Some(grace));
        }
        let mut state = std::mem::take(&mut *self.state());
        state.sessions.clear();
        state.shared.clear();
        self.around.tasks.close();
        self.around.tasks.wait().await;
    }

    pub(in crate::upstream) fn processes(&self) -> usize {
        self.around.limits.sessions_max.saturating_sub(self.slots.available_permits())
    }

    pub(in crate::upstream) fn sessions(&self) -> usize {
        self.state().sessions.values().filter(|session| !session.child.is_dead()).count()
    }

    pub(in crate::upstream) fn era(&self) -> Option<Era> {
        self.state().verdict.map(|verdict| verdict.era)
    }

    /// The end of what the processes wrote to standard error. May hold anything: for `doctor` only.
    pub(in crate::upstream) fn stderr(&self) -> String {
        let kept = self.around.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&kept).into_owned()
    }

    fn sessions_of(&self, principal: &str) -> usize {
        let state = self.state();
        let own = state.sessions.values().filter(|session| session.principal == principal);
        own.filter(|session| !session.child.is_dead()).count()
    }

    fn children(&self) -> Vec<Arc<Child>> {
        let state = self.state();
        let sessions = state.sessions.values().map(|session| Arc::clone(&session.child));
        // A slot that is locked is being filled; whoever fills it sees `closing`.
        let shared = state.shared.values().filter_map(|slot| slot.0.try_lock().ok()?.clone());
        sessions.chain(shared).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    async fn initialize(
        &self,
        out: &Outgoing,
        id: &Bytes,
        deadline: Instant,
        gate: &Gate,
    ) -> Result<Incoming, UpstreamError> {
        let attempt = gate.attempt()?;
        if self.sessions_of(&out.principal) >= self.around.limits.principal_sessions_max {
            return Err(UpstreamError::Sessions);
        }
        let idle = self.around.settings.session_idle;
        let child = self.start(Era::Legacy, idle, &out.principal, deadline, &out.cancel).await;
        let answer = match child {
            Ok(child) => greet(&child, out, id, deadline).await.map(|message| (child, message)),
            Err(error) => Err(error),
        };
        let (child, message) = judge(attempt, answer)?;
        let accepted = Message::parse(&message).is_ok_and(|answer| answer.result().is_some());
        if !accepted {
            child.stop(None);
            return Ok(Incoming::json(200, message));
        }
        let session = session_id()?;
        let principal = out.principal.clone();
        let mut state = self.state();
        state.sessions.retain(|_, session| !session.child.is_dead());
        state.sessions.insert(session.clone(), Session { principal, child });
        Ok(Incoming { session: Some(session), ..Incoming::json(200, message) })
    }

    async fn in_session(
        &self,
        out: &Outgoing,
        deadline: Instant,
    ) -> Result<Incoming, UpstreamError> {
        let Some(id) = &out.session else {
            return Ok(fault(400, out, "A session id is required; send initialize first."));
        };
        let Some(child) = self.session(id, &out.principal) else {
            return Ok(fault(404, out, SESSION_OVER));
        };
        match self.to_session(&child, id, out, deadline).await {
            // It ended between the look and the write.
            Err(UpstreamError::Gone) => Ok(fault(404, out, SESSION_OVER)),
            outcome => outcome,
        }
    }

    async fn to_session(
        &self,
        child: &Arc<Child>,
        session: &str,
        out: &Outgoing,
        deadline: Instant,
    ) -> Result<Incoming, UpstreamError> {
        match (out.verb, &out.kind) {
            (Verb::Delete, _) => {
                self.end_session(session).await;
                Ok(Incoming::empty(200))
            }
            (Verb::Get, _) => {
                let events = unrelated(child, out)?;
                Ok(Incoming { body: Body::Events(events), ..Incoming::empty(200) })
            }
            (Verb::Post, MessageKind::Request { id }) => {
                let body = request(child, out, id, deadline).await?;
                Ok(Incoming { body, ..Incoming::empty(200) })
            }
            (Verb::Post, MessageKind::Notification) => {
                let line = child.routes().notification(out)?;
                if let Some(line) = line {
                    write(child, line, deadline, &out.cancel).await?;
                }
                Ok(Incoming::empty(202))
            }
            (Verb::Post, MessageKind::Response) => {
                write(child, one_line(&out.body), deadline, &out.cancel).await?;
                Ok(Incoming::empty(202))
            }
            (Verb::Post, MessageKind::None) => Err(UpstreamError::Message("no message")),
        }
    }

    fn session(&self, id: &str, principal: &str) -> Option<Arc<Child>> {
        let state = self.state();
        let session = state.sessions.get(id)?;
        let usable = session.principal == principal && !session.child.is_dead();
        usable.then(|| Arc::clone(&session.child))
    }

    async fn modern_request(
        &self,
        out: &Outgoing,
        id: &Bytes,
        deadline: Instant,
        gate: &Gate,
    ) -> Result<Incoming, UpstreamError> {
        let Modern::Child(child) = self.modern(out, deadline, gate).await? else {
            return Ok(fault(400, out, LEGACY_ONLY));
        };
        let mut body = request(&child, out, id, deadline).await;
        if matches!(body, Err(UpstreamError::Gone)) {
            // It ended between the look and the write, as an idle process does; nothing was sent.
            let Modern::Child(child) = self.modern(out, deadline, gate).await? else {
                return Ok(fault(400, out, LEGACY_ONLY));
            };
            body = request(&child, out, id, deadline).await;
        }
        let body = body?;
        let status = match &body {
            Body::Json(message) => status_of(message),
            Body::Empty | Body::Events(_) => 200,
        };
        Ok(Incoming { body, ..Incoming::empty(status) })
    }

    async fn modern_notification(
        &self,
        out: &Outgoing,
        deadline: Instant,
        gate: &Gate,
    ) -> Result<Incoming, UpstreamError> {
        if out.method == "notifications/cancelled" && !self.has_modern(&out.principal) {
            return Ok(Incoming::empty(202));
        }
        let Modern::Child(child) = self.modern(out, deadline, gate).await? else {
            return Ok(fault(400, out, LEGACY_ONLY));
        };
        let line = child.routes().notification(out)?;
        if let Some(line) = line {
            write(&child, line, deadline, &out.cancel).await?;
        }
        Ok(Incoming::empty(202))
    }

    /// The principal's process, started if there is none.
    async fn modern(
        &self,
        out: &Outgoing,
        deadline: Instant,
        gate: &Gate,
    ) -> Result<Modern, UpstreamError> {
        if self.known_legacy() {
            return Ok(Modern::Legacy);
        }
        let slot = self.slot(&out.principal);
        let mut place = tokio::select! {
            biased;
            () = out.cancel.cancelled() => return Err(UpstreamError::Cancelled { sent: false }),
            place = slot.0.lock() => place,
            () = expiry(Some(deadline)) => return Err(UpstreamError::Timeout { sent: false }),
        };
        if let Some(child) = place.as_ref().filter(|child| !child.is_dead()) {
            return Ok(Modern::Child(Arc::clone(child)));
        }
        if self.known_legacy() {
            return Ok(Modern::Legacy);
        }
        *place = None;
        let attempt = gate.attempt()?;
        *place = judge(attempt, self.start_modern(out, deadline).await)?;
        Ok(place.clone().map_or(Modern::Legacy, Modern::Child))
    }

    /// Starts a process and asks for its era; `None` if that is legacy.
    async fn start_modern(
        &self,
        out: &Outgoing,
        deadline: Instant,
    ) -> Result<Option<Arc<Child>>, UpstreamError> {
        let idle = self.around.settings.idle;
        let child = self.start(Era::Modern, idle, &out.principal, deadline, &out.cancel).await?;
        let verdict = self.probe(&child, deadline, &out.cancel).await?;
        self.state().verdict = Some(verdict);
        if verdict.era == Era::Legacy {
            child.stop(None);
            return Ok(None);
        }
        // Whoever shuts down may have looked before the process was in its place.
        if self.closing.is_cancelled() {
            return Err(UpstreamError::Draining);
        }
        Ok(Some(child))
    }

    fn known_legacy(&self) -> bool {
        let mut state = self.state();
        state.verdict.take_if(|verdict| verdict.until.is_some_and(|until| until <= Instant::now()));
        state.verdict.is_some_and(|verdict| verdict.era == Era::Legacy)
    }

    /// Whether the principal has a process, or one is being started.
    fn has_modern(&self, principal: &str) -> bool {
        let state = self.state();
        let place = state.shared.get(principal).map(|slot| slot.0.try_lock());
        place.is_some_and(|place| {
            place.map_or(true, |place| place.as_ref().is_some_and(|child| !child.is_dead()))
        })
    }

    fn slot(&self, principal: &str) -> Arc<Slot> {
        let mut state = self.state();
        if let Some(slot) = state.shared.get(principal) {
            return Arc::clone(slot);
        }
        // Places of processes that have ended go, unless somebody holds them.
        state.shared.retain(|_, slot| {
            let alive = |child: &Arc<Child>| !child.is_dead();
            Arc::strong_count(slot) > 1
                || slot.0.try_lock().is_ok_and(|place| place.as_ref().is_some_and(alive))
        });
        Arc::clone(state.shared.entry(principal.to_owned()).or_default())
    }

    /// Starts a process, unless there are too many or the last one crashed just now.
    async fn start(
        &self,
        era: Era,
        idle: Duration,
        principal: &str,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Arc<Child>, UpstreamError> {
        if self.closing.is_cancelled() {
            return Err(UpstreamError::Draining);
        }
        self.pause(principal, deadline, cancel).await?;
        let slot = Arc::clone(&self.slots).try_acquire_owned();
        let slot = slot.map_err(|_none| UpstreamError::Sessions)?;
        let routes = Routes::new(era, self.around.limits, Arc::clone(&self.around.counters));
        let (crashes, owner) = (Arc::clone(&self.crashes), principal.to_owned());
        let ended = move |end: End| {
            drop(slot);
            lock(&crashes).note(owner, end);
        };
        let child = Child::start(&self.around, routes, idle, ended).await;
        let child = child.map_err(UpstreamError::Start)?;
        if self.closing.is_cancelled() {
            child.stop(None);
            return Err(UpstreamError::Draining);
        }
        Ok(child)
    }

    /// Waits out a short pause after a crash; refuses a long one.
    async fn pause(
        &self,
        principal: &str,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<(), UpstreamError> {
        let Some(Crashes { count, until }) = lock(&self.crashes).0.get(principal).copied() else {
            return Ok(());
        };
        let wait = until.saturating_duration_since(Instant::now());
        if wait > PAUSE_WAITED || until > deadline {
            return Err(UpstreamError::Backoff { failures: count, wait });
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(UpstreamError::Cancelled { sent: false }),
            () = tokio::time::sleep(wait) => Ok(()),
        }
    }

    /// Asks a fresh process for its era.
    async fn probe(
        &self,
        child: &Arc<Child>,
        deadline: Instant,
        cancel: &CancellationToken,
    ) -> Result<Verdict, UpstreamError> {
        let time = self.around.settings.probe_timeout;
        let time = time.min(deadline.saturating_duration_since(Instant::now()));
        let probe = Outgoing {
            verb: Verb::Post,
            era: Era::Modern,
            kind: MessageKind::Request { id: Bytes::from_static(b"0") },
            method: "server/discover".to_owned(),
            body: discover(),
            headers: ::http::HeaderMap::new(),
            session: None,
            principal: String::new(),
            deadline: time,
            cancel: cancel.clone(),
        };
        let id = Bytes::from_static(b"0");
        let answer = match request(child, &probe, &id, after(time)).await {
            Ok(body) => last(body).await,
            Err(error) => Err(error),
        };
        let legacy = |believed| Verdict { era: Era::Legacy, until: Some(after(believed)) };
        match answer {
            Ok(message) if is_modern(&message) => Ok(Verdict { era: Era::Modern, until: None }),
            Ok(_) => Ok(legacy(LEGACY_BELIEVED)),
            // Silence means legacy, or a slow start.
            Err(UpstreamError::Timeout { .. }) if deadline > Instant::now() => {
                Ok(legacy(SILENCE_BELIEVED))
            }
            Err(UpstreamError::Timeout { .. }) => Err(UpstreamError::Timeout { sent: false }),
            Err(UpstreamError::Cancelled { .. }) => Err(UpstreamError::Cancelled { sent: false }),
            // Whatever went wrong, the client's own message was not sent.
            Err(_) => Err(UpstreamError::Gone),
        }
    }
}

impl CrashList {
    /// Remembers crashes, so that a program that dies at once is not started in a loop.
    fn note(&mut self, principal: String, end: End) {
        self.0.retain(|_, crashes| crashes.until.elapsed() < LIVED);
        if end.asked || end.lived >= LIVED {
            self.0.remove(&principal);
        } else {
            let before = self.0.get(&principal).map_or(0, |crashes| crashes.count);
            let until = after(doubled(PAUSE, before, PAUSE_MAX));
            self.0.insert(principal, Crashes { count: before.saturating_add(1), until });
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `initialize`, up to its answer: that decides whether there is a session.
async fn greet(
    child: &Arc<Child>,
    out: &Outgoing,
    id: &Bytes,
    deadline: Instant,
) -> Result<Bytes, UpstreamError> {
    let answer = match request(child, out, id, deadline).await {
        Ok(body) => last(body).await,
        Err(error) => Err(error),
    };
    // A handshake runs no tool, so nothing is in doubt if the process dies of it.
    if matches!(answer, Err(UpstreamError::Lost)) { Err(UpstreamError::Gone) } else { answer }
}

/// Tells the circuit how it went: only a process that does not start or dies at its first message
/// is a server that cannot be reached.
fn judge<T>(attempt: Attempt<'_>, outcome: Result<T, UpstreamError>) -> Result<T, UpstreamError> {
    match &outcome {
        Ok(_) => attempt.reached(),
        Err(UpstreamError::Start(_) | UpstreamError::Gone) => {
            attempt.failed();
        }
        Err(_) => {}
    }
    outcome
}

/// The final message of a body.
pub(in crate::upstream) async fn last(body: Body) -> Result<Bytes, UpstreamError> {
    match body {
        Body::Empty => Err(UpstreamError::Invalid("no answer")),
        Body::Json(message) => Ok(message),
        Body::Events(events) => last_event(events).await,
    }
}

async fn last_event(mut events: Events) -> Result<Bytes, UpstreamError> {
    while let Some(event) = events.next().await {
        let event = event?;
        if events.is_over() {
            return Ok(event.data);
        }
    }
    Err(UpstreamError::Lost)
}

/// 32 hexadecimal digits from the operating system.
fn session_id() -> Result<String, UpstreamError> {
    let random = ids::random::<16>().map_err(UpstreamError::Random)?;
    Ok(random.iter().map(|byte| format!("{byte:02x}")).collect())
}

const SESSION_OVER: &str = "The session does not exist or has ended. Send initialize.";
const LEGACY_ONLY: &str =
    "This server speaks protocol version 2025-11-25 and older. Send initialize.";
/// How long a program that answered like a legacy server counts as one.
const LEGACY_BELIEVED: Duration = Duration::from_secs(600);
/// How long a program that said nothing counts as a legacy server.
const SILENCE_BELIEVED: Duration = Duration::from_secs(60);
/// Pause after the first crash, doubled after each further one.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// A pause up to this length is waited out.
const PAUSE_WAITED: Duration = Duration::from_secs(1);
/// A process that lived so long was well.
const LIVED: Duration = Duration::from_secs(60);
