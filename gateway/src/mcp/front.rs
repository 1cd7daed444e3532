//! From bytes and a principal to a reply: what HTTP and stdio have in common.
//!
//! Reads the envelope, finds the era, opens the session, takes the sequence slot and resolves the
//! target; then the line runs on its own task, and the reply is a message or a stream, whichever
//! comes first. What is refused here was not a call yet; it is recorded as `refused`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use forge_schemas::ids::{CallId, ServerName};
use forge_schemas::record::{EventKind, Record};
use forge_schemas::refusal::RefusalCode;
use http::HeaderMap;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{error, info};

use crate::auth::Principal;
use crate::call::hold::{HoldState, STATE_PREFIX, bound_to};
use crate::call::{self, Finished, Sink};
use crate::ids;
use crate::state::{Gateway, Snapshot};
use crate::upstream::SseEvent;

use super::catalog::{Admission, Call, Transport, Verb};
use super::envelope::{EnvelopeError, Kind, Message};
use super::headers::{self, Era, HeaderError};
use super::refusal::{Addressee, Refusal, render};
use super::session::{self, LegacySession};

/// One message as it came in.
#[derive(Debug)]
pub struct Inbound {
    /// HTTP method, or POST over stdio.
    pub verb: Verb,
    /// All request headers; empty over stdio.
    pub headers: HeaderMap,
    /// The body; empty for GET and DELETE.
    pub body: Bytes,
    /// Who sent it.
    pub principal: Arc<Principal>,
    /// To which server.
    pub server: ServerName,
    /// How it came.
    pub transport: Transport,
    /// Session id that the client sent.
    pub session: Option<String>,
}

/// What goes back.
#[derive(Debug)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Headers, `Mcp-Session-Id` among them.
    pub headers: HeaderMap,
    /// The body.
    pub body: ReplyBody,
}

/// One message, none, or a stream of them.
#[derive(Debug)]
pub enum ReplyBody {
    /// Nothing.
    Empty,
    /// One JSON message.
    Message(Bytes),
    /// A stream that ends after the answer.
    Stream(ReplyStream),
}

/// Messages as they come; the answer is the last one.
#[derive(Debug)]
pub struct ReplyStream {
    first: Option<SseEvent>,
    events: mpsc::Receiver<SseEvent>,
    answer: Option<Ending>,
    _cancel: Option<DropGuard>,
}

/// The answer: still to come, or there already.
#[derive(Debug)]
enum Ending {
    Running(JoinHandle<Finished>),
    Ready(Box<Finished>),
}

impl ReplyStream {
    /// The next message; `None` at the end.
    ///
    /// Dropping the stream cancels a modern call and leaves a legacy one running.
    pub async fn next(&mut self) -> Option<SseEvent> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        if let Some(event) = self.events.recv().await {
            return Some(event);
        }
        // Waiting may be given up and begun again: the handle stays until it has answered.
        if let Some(Ending::Running(task)) = &mut self.answer {
            let finished = task.await;
            self.answer = finished.ok().map(|finished| Ending::Ready(Box::new(finished)));
        }
        let Some(Ending::Ready(finished)) = self.answer.take() else { return None };
        let Finished { body, event, .. } = *finished;
        Some(SseEvent { data: body?, ..event.unwrap_or_default() })
    }
}

/// Why a message is no call.
#[derive(Debug)]
struct Turned {
    code: RefusalCode,
    note: String,
    addressee: Addressee,
}

/// Governs one message.
pub async fn handle(gateway: &Arc<Gateway>, inbound: Inbound) -> Reply {
    let started = Instant::now();
    let id = ids::call();
    let principal = Arc::clone(&inbound.principal);
    let server = inbound.server.clone();
    match admit(gateway, inbound, id.clone(), started).await {
        Ok(admission) => run(gateway, admission).await,
        Err(turned) => turn_away(gateway, &id, turned, &principal, &server).await,
    }
}

/// Records and renders a refusal of something that was not a call yet.
async fn turn_away(
    gateway: &Gateway,
    id: &CallId,
    turned: Turned,
    principal: &Principal,
    server: &ServerName,
) -> Reply {
    let detail = BTreeMap::from([("server".to_owned(), json!(server.as_str()))]);
    let mut refusal = Refusal::new(turned.code, id.clone()).note(turned.note);
    if let Err(code) = record_refused(gateway, id, turned.code, Some(principal), detail).await {
        refusal = Refusal::new(code, id.clone());
    }
    let rendered = render(&refusal, &turned.addressee);
    let body = ReplyBody::Message(rendered.body);
    Reply { status: rendered.status, headers: HeaderMap::new(), body }
}

/// Writes the record of a refused message that was not a call.
///
/// # Errors
/// `evidence.unavailable`.
pub async fn record_refused(
    gateway: &Gateway,
    id: &CallId,
    code: RefusalCode,
    principal: Option<&Principal>,
    mut detail: BTreeMap<String, Value>,
) -> Result<(), RefusalCode> {
    info!(call.id = %id, refusal = code.code(), "message refused");
    gateway.metrics.refusals.count(code);
    detail.insert("code".to_owned(), json!(code.code()));
    let tenant =
        principal.map_or_else(|| gateway.own_tenant(), |principal| principal.tenant.clone());
    let mut event = call::record::event(tenant, EventKind::Refused, principal, detail);
    event.call = Some(id.clone());
    gateway.journal.append(vec![Record::Event(Box::new(event))]).await.map(drop).map_err(|fault| {
        error!(call.id = %id, error = %fault, "a refusal could not be recorded");
        RefusalCode::EvidenceUnavailable
    })
}

async fn admit(
    gateway: &Arc<Gateway>,
    inbound: Inbound,
    id: CallId,
    started: Instant,
) -> Result<Admission, Turned> {
    let snapshot = gateway.snapshot.load_full();
    let message = read(&snapshot, &inbound)?;
    let era = era(&inbound, &message)?;
    let addressee = Addressee::of(&message, era);
    let refuse =
        |code, note: &str| Turned { code, note: note.to_owned(), addressee: addressee.clone() };
    if gateway.draining.is_cancelled() {
        return Err(refuse(RefusalCode::LimitDraining, ""));
    }
    if era == Era::Modern && inbound.verb != Verb::Post {
        return Err(refuse(RefusalCode::ProtocolMethod, ""));
    }
    if gateway.upstreams.server(&inbound.server).is_none() {
        return Err(refuse(RefusalCode::UpstreamServer, ""));
    }
    if gateway.calls.len() >= snapshot.config.limits.calls_max {
        return Err(refuse(RefusalCode::LimitConcurrency, ""));
    }
    let session =
        open_session(gateway, &inbound, &message, era).map_err(|code| refuse(code, ""))?;
    let (message, round) =
        strip_state(gateway, &inbound, message).map_err(|code| refuse(code, ""))?;
    if let Some(server) = gateway.catalogs.get(&inbound.server) {
        learn(gateway, &inbound.server, server, &message).await;
        verify_params(&inbound, server, &message, era)
            .map_err(|fault| refuse(fault.code, &fault.sentence))?;
    }
    let slot = gateway
        .journal
        .slot(&inbound.principal.tenant)
        .map_err(|_unavailable| refuse(RefusalCode::EvidenceUnavailable, ""))?;
    // A stream without an end of its own ends when the gateway drains.
    let endless = inbound.verb == Verb::Get || message.method() == "subscriptions/listen";
    Ok(Admission {
        id,
        slot,
        server: inbound.server,
        verb: inbound.verb,
        message,
        era,
        headers: headers::forwarded(&inbound.headers),
        transport: inbound.transport,
        session,
        round,
        snapshot,
        started,
        cancel: if endless { gateway.draining.child_token() } else { CancellationToken::new() },
        principal: inbound.principal,
    })
}

fn read(snapshot: &Snapshot, inbound: &Inbound) -> Result<Message, Turned> {
    let body = match inbound.verb {
        Verb::Post => inbound.body.clone(),
        Verb::Get => Bytes::from_static(br#"{"jsonrpc":"2.0","method":"session/listen"}"#),
        Verb::Delete => Bytes::from_static(br#"{"jsonrpc":"2.0","method":"session/close"}"#),
    };
    Message::parse(body, snapshot.config.limits.depth_max).map_err(|fault| {
        let EnvelopeError { code, sentence, id } = fault;
        let addressee = Addressee { id, tool_call: false, era: Era::Legacy };
        Turned { code, note: sentence.to_owned(), addressee }
    })
}

fn era(inbound: &Inbound, message: &Message) -> Result<Era, Turned> {
    let found = match inbound.transport {
        Transport::Http(_) => headers::verify(&inbound.headers, message),
        Transport::Stdio => Ok(match &message.facts().protocol {
            Some(version) if headers::MODERN.contains(&version.as_str()) => Era::Modern,
            Some(_) | None => Era::Legacy,
        }),
    };
    found.map_err(|fault| {
        let HeaderError { code, sentence, requested } = fault;
        let note = requested.unwrap_or(sentence);
        Turned { code, note, addressee: Addressee::of(message, Era::Modern) }
    })
}

/// The session of a legacy message: new for `initialize`, opened from the header otherwise.
fn open_session(
    gateway: &Gateway,
    inbound: &Inbound,
    message: &Message,
    era: Era,
) -> Result<Option<LegacySession>, RefusalCode> {
    if era == Era::Modern {
        return Ok(None);
    }
    if message.method() == "initialize" && message.kind() == Kind::Request {
        let facts = message.facts();
        return Ok(Some(LegacySession {
            upstream: String::new(),
            evidence: ids::session(),
            opened_at: gateway.clock.now_ms(),
            protocol: facts.initialize_version.clone().unwrap_or_default(),
            client: facts.client.clone(),
        }));
    }
    let Some(sealed) = &inbound.session else {
        // A client that has none yet may probe; whether the server minds is the server's affair.
        return Ok(None);
    };
    session::open(&gateway.sealing, sealed, &inbound.principal, &inbound.server)
        .map(Some)
        .ok_or(RefusalCode::ProtocolSession)
}

/// Takes our own `requestState` out of a retried request. What an upstream issued stays.
fn strip_state(
    gateway: &Gateway,
    inbound: &Inbound,
    message: Message,
) -> Result<(Message, u32), RefusalCode> {
    let sealed =
        message.facts().request_state.as_deref().and_then(|state| state.strip_prefix(STATE_PREFIX));
    let Some(sealed) = sealed else { return Ok((message, 0)) };
    let invalid = || RefusalCode::ProtocolState;
    let aad = bound_to(&inbound.principal, inbound.server.as_str(), message.target());
    let plain = gateway.sealing.open(&aad, sealed).ok_or_else(invalid)?;
    let state: HoldState = serde_json::from_slice(&plain).map_err(|_shape| invalid())?;
    let arguments = call::input::argument_bytes(&message).unwrap_or_default();
    if state.expires_at < gateway.clock.now_ms()
        || state.arguments != forge_schemas::digest::Digest::of(arguments)
    {
        return Err(invalid());
    }
    let params = message.params().ok_or_else(invalid)?;
    let stripped = without_member(params, "requestState").ok_or_else(invalid)?;
    let depth = gateway.snapshot.load().config.limits.depth_max;
    let body = message.splice(params, stripped.as_bytes()).ok_or_else(invalid)?;
    let message = Message::parse(body, depth).map_err(|_shape| invalid())?;
    Ok((message, state.round))
}

/// An object without one member; order and spelling of the others stay.
fn without_member(object: &[u8], name: &str) -> Option<String> {
    let members: Members<'_> = serde_json::from_slice(object).ok()?;
    let kept: Vec<String> = members
        .0
        .iter()
        .filter(|(key, _)| key != name)
        .map(|(key, value)| format!("{}:{}", Value::String(key.clone()), value.get()))
        .collect();
    Some(format!("{{{}}}", kept.join(",")))
}

/// Members of an object in their order.
struct Members<'a>(Vec<(String, &'a serde_json::value::RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl<'de> serde::de::Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Reader)
    }
}

/// Makes sure that the tool's definition is known before policy is asked about it. One probe at a
/// time; if it fails, policy sees a tool without a definition.
async fn learn(
    gateway: &Gateway,
    name: &ServerName,
    catalog: &super::catalog::ServerCatalog,
    message: &Message,
) {
    if message.method() != "tools/call" || catalog.tool(message.target()).is_some() {
        return;
    }
    let _one = catalog.probing.lock().await;
    if catalog.tool(message.target()).is_some() {
        return;
    }
    let Some(server) = gateway.upstreams.server(name) else { return };
    match server.catalog().await {
        Ok(probed) => {
            let named = probed.tools.iter().map(|tool| (tool.name.as_str(), &*tool.definition));
            let news = catalog.observe(named);
            catalog.speaks(probed.era, &probed.version);
            info!(server = %name, tools = news.len(), "catalog learnt");
        }
        Err(fault) => info!(server = %name, error = %fault, "the catalog could not be read"),
    }
}

fn verify_params(
    inbound: &Inbound,
    catalog: &super::catalog::ServerCatalog,
    message: &Message,
    era: Era,
) -> Result<(), HeaderError> {
    let over_http = matches!(inbound.transport, Transport::Http(_));
    if era == Era::Legacy || !over_http || message.method() != "tools/call" {
        return Ok(());
    }
    let Some(tool) = catalog.tool(message.target()).filter(|tool| !tool.mirrored.is_empty()) else {
        return Ok(());
    };
    let arguments =
        message.facts().arguments.as_deref().and_then(|raw| serde_json::from_slice(raw).ok());
    headers::verify_params(&inbound.headers, &tool.mirrored, &arguments.unwrap_or_default())
}

/// Runs the line and answers with whatever comes first: the answer, or something before it.
async fn run(gateway: &Arc<Gateway>, admission: Admission) -> Reply {
    let Some(catalog) = gateway.catalogs.get(&admission.server) else {
        return Reply { status: 404, headers: HeaderMap::new(), body: ReplyBody::Empty };
    };
    let facts = admission.snapshot.config.server_facts(&admission.server);
    let (era, verb) = (admission.era, admission.verb);
    let cancel = admission.cancel.clone();
    let (session, principal, server) =
        (admission.session.clone(), Arc::clone(&admission.principal), admission.server.clone());
    let opens = admission.message.method() == "initialize";
    let quiet = Duration::from_millis(admission.snapshot.config.limits.keep_alive_ms);
    let streams = admission.message.kind() == Kind::Request || verb == Verb::Get;
    let call = Call::resolve(admission, catalog, facts);
    let (sink, mut events) = Sink::channel(EVENTS_WAITING_MAX);
    let mut task = gateway.calls.spawn(call::run(Arc::clone(gateway), call, sink));
    // A modern client that goes away cancels; a legacy one does not, unless it only listens.
    let guard = (era == Era::Modern || verb == Verb::Get).then(|| cancel.drop_guard());
    let first = tokio::select! {
        biased;
        finished = &mut task => {
            let _disarmed = guard.map(DropGuard::disarm);
            let sealing = |finished: &Finished| seal_session(gateway, finished, session, &principal, &server);
            return finished_reply(finished, events, (verb, opens), sealing);
        }
        Some(event) = events.recv(), if streams && !opens => event,
        () = tokio::time::sleep(quiet), if streams && !opens => call::keep_alive(),
    };
    let stream = ReplyStream {
        first: Some(first),
        events,
        answer: Some(Ending::Running(task)),
        _cancel: guard,
    };
    Reply { status: 200, headers: HeaderMap::new(), body: ReplyBody::Stream(stream) }
}

fn finished_reply(
    finished: Result<Finished, tokio::task::JoinError>,
    events: mpsc::Receiver<SseEvent>,
    (verb, opens): (Verb, bool),
    seal: impl FnOnce(&Finished) -> Option<http::HeaderValue>,
) -> Reply {
    let Ok(finished) = finished else {
        return Reply { status: 500, headers: HeaderMap::new(), body: ReplyBody::Empty };
    };
    let mut headers = finished.headers.clone();
    if opens
        && finished.answered
        && let Some(value) = seal(&finished)
    {
        headers.insert(headers::SESSION_ID, value);
    }
    // Clients take 204 for the end of a session; some SDKs complain about 202.
    let status = if verb == Verb::Delete && finished.status == 202 { 204 } else { finished.status };
    // What the server streamed, the client gets as a stream, with the ids it may resume from.
    let streamed = finished.event.is_some() || !events.is_empty();
    let body = match &finished.body {
        None => ReplyBody::Empty,
        Some(_) if streamed => {
            let answer = Some(Ending::Ready(Box::new(finished)));
            ReplyBody::Stream(ReplyStream { first: None, events, answer, _cancel: None })
        }
        Some(body) => ReplyBody::Message(body.clone()),
    };
    Reply { status, headers, body }
}

fn seal_session(
    gateway: &Gateway,
    finished: &Finished,
    session: Option<LegacySession>,
    principal: &Principal,
    server: &ServerName,
) -> Option<http::HeaderValue> {
    let mut session = session?;
    session.upstream = finished.session.clone().unwrap_or_default();
    http::HeaderValue::from_str(&session::seal(&gateway.sealing, &session, principal, server)?).ok()
}

const EVENTS_WAITING_MAX: usize = 64;
