//! The line in this process: each message goes through the same front as over HTTP.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use forge_schemas::ids::ServerName;
use forge_schemas::refusal::RefusalCode;
use http::HeaderMap;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

use crate::auth::Principal;
use crate::ids;
use crate::mcp::catalog::{Transport, Verb};
use crate::mcp::envelope::Message;
use crate::mcp::front::{self, Inbound, ReplyBody};
use crate::mcp::headers::{Era, SESSION_ID};
use crate::mcp::refusal::{Addressee, Refusal, render};
use crate::state::Gateway;

use super::pipe::{Out, fault, put};

/// One client of one server.
#[derive(Debug)]
pub(super) struct Local {
    gateway: Arc<Gateway>,
    server: ServerName,
    authorization: Option<String>,
    /// The sealed id that `initialize` brought.
    session: watch::Sender<Option<String>>,
}

impl Local {
    /// A client that shows `token`.
    pub(super) fn new(gateway: &Arc<Gateway>, server: ServerName, token: Option<String>) -> Self {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let session = watch::Sender::new(None);
        Self { gateway: Arc::clone(gateway), server, authorization, session }
    }

    /// Governs one message and passes on what comes back.
    pub(super) async fn exchange(&self, body: Bytes, out: &Out) {
        let Some(principal) = self.principal(&body, out).await else { return };
        let reply =
            front::handle(&self.gateway, self.inbound(Verb::Post, body.clone(), principal)).await;
        let opened = reply.headers.get(SESSION_ID).and_then(|value| value.to_str().ok());
        if let Some(id) = opened {
            self.session.send_replace(Some(id.to_owned()));
        }
        match reply.body {
            ReplyBody::Empty if reply.status < 400 => {}
            ReplyBody::Empty => {
                let read = Message::parse(body, DEPTH_MAX).ok();
                let id = read.as_ref().and_then(|message| message.id());
                put(out, fault(id.map(|id| &**id), RefusalCode::InternalError.sentence())).await;
            }
            ReplyBody::Message(message) => put(out, message).await,
            ReplyBody::Stream(mut events) => {
                while let Some(event) = events.next().await {
                    put(out, event.data).await;
                }
            }
        }
    }

    /// Refuses, and records, what is no message.
    pub(super) async fn refuse(&self, code: RefusalCode, out: &Out) {
        let to = Addressee { id: None, tool_call: false, era: Era::Legacy };
        put(out, self.refusal(code, &to).await).await;
    }

    async fn refusal(&self, code: RefusalCode, to: &Addressee) -> Bytes {
        let id = ids::call();
        let detail = BTreeMap::from([("edge".to_owned(), json!("stdio"))]);
        let recorded = front::record_refused(&self.gateway, &id, code, None, detail).await;
        render(&Refusal::new(recorded.err().unwrap_or(code), id), to).body
    }

    /// Passes on what the server says of its own accord, whenever there is a session.
    pub(super) async fn listen(&self, out: &Out) {
        let mut session = self.session.subscribe();
        while session.wait_for(Option::is_some).await.is_ok() {
            let Ok(principal) = self.gateway.auth.verify(self.authorization.as_deref()).await
            else {
                return;
            };
            let inbound = self.inbound(Verb::Get, Bytes::new(), principal);
            let ReplyBody::Stream(mut events) = front::handle(&self.gateway, inbound).await.body
            else {
                return;
            };
            while let Some(event) = events.next().await {
                put(out, event.data).await;
            }
            sleep(LISTEN_AGAIN).await;
        }
    }

    /// Ends the session, if there is one.
    pub(super) async fn close(&self) {
        if self.session.borrow().is_none() {
            return;
        }
        if let Ok(principal) = self.gateway.auth.verify(self.authorization.as_deref()).await {
            front::handle(&self.gateway, self.inbound(Verb::Delete, Bytes::new(), principal)).await;
        }
    }

    /// Who is at the other end, verified anew for each message: a token can end.
    async fn principal(&self, body: &Bytes, out: &Out) -> Option<Arc<Principal>> {
        match self.gateway.auth.verify(self.authorization.as_deref()).await {
            Ok(principal) => Some(principal),
            Err(fault) => {
                tracing::info!(refusal = fault.code.code(), detail = %fault.detail, "message not authenticated");
                let read = Message::parse(body.clone(), DEPTH_MAX).ok();
                let to = read.map_or(
                    Addressee { id: None, tool_call: false, era: Era::Legacy },
                    |message| Addressee::of(&message, Era::Legacy),
                );
                put(out, self.refusal(fault.code, &to).await).await;
                None
            }
        }
    }

    fn inbound(&self, verb: Verb, body: Bytes, principal: Arc<Principal>) -> Inbound {
        Inbound {
            verb,
            headers: HeaderMap::new(),
            body,
            principal,
            server: self.server.clone(),
            transport: Transport::Stdio,
            session: self.session.borrow().clone(),
        }
    }
}

const DEPTH_MAX: usize = 100;
const LISTEN_AGAIN: Duration = Duration::from_secs(1);
