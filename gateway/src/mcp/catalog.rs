//! Which tools a server has, and what a message is about: name + catalog → [`Call`].
//!
//! Definitions are read as bytes (typed models lose fields) and digested over their RFC 8785 form.
//! A server's own hints are claims: they are used, and marked as such. Pins and review come with
//! the lock file of a later issue.

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use forge_schemas::digest::Digest;
use forge_schemas::ids::{CallId, ServerName};
use forge_schemas::policy::ActionProperties;
use http::HeaderMap;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::auth::Principal;
use crate::state::Snapshot;
use crate::upstream;

use super::envelope::{Kind, Message};
use super::headers::{Era, MirroredParam, mirrored_params};
use super::session::LegacySession;

/// What the configuration says of a server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerFacts {
    /// Words for policy.
    pub tags: Vec<String>,
    /// Where it runs.
    pub region: String,
    /// `verified` or `unverified`.
    pub trust: String,
    /// Class of its data.
    pub data_class: String,
}

/// What is known of one tool.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolFacts {
    /// Over the RFC 8785 form of the definition.
    pub digest: Digest,
    /// Effects, as the server claims them.
    pub hints: ActionProperties,
    /// Arguments that are mirrored in headers.
    pub mirrored: Vec<MirroredParam>,
    /// `new`, or `changed` if the definition differs from the first one seen.
    pub pin: &'static str,
}

/// Tools of one server, replaced as a whole.
#[derive(Debug, Default)]
pub struct ServerCatalog {
    tools: ArcSwap<BTreeMap<String, Arc<ToolFacts>>>,
    spoken: ArcSwapOption<(upstream::Era, String)>,
    /// One probe at a time.
    pub probing: tokio::sync::Mutex<()>,
}

/// A definition that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("a tool definition has no canonical form")]
pub struct DefinitionError;

impl ServerCatalog {
    /// The tool of this name.
    #[must_use]
    pub fn tool(&self, name: &str) -> Option<Arc<ToolFacts>> {
        self.tools.load().get(name).cloned()
    }

    /// Names and digests, sorted.
    #[must_use]
    pub fn digests(&self) -> Vec<(String, Digest)> {
        self.tools.load().iter().map(|(name, facts)| (name.clone(), facts.digest)).collect()
    }

    /// Everything known of each tool, by name.
    #[must_use]
    pub fn tools(&self) -> Arc<BTreeMap<String, Arc<ToolFacts>>> {
        self.tools.load_full()
    }

    /// Era and protocol revision that the server agreed to when the gateway last asked it.
    #[must_use]
    pub fn spoken(&self) -> Option<Arc<(upstream::Era, String)>> {
        self.spoken.load_full()
    }

    /// Remembers what the server agreed to.
    pub fn speaks(&self, era: upstream::Era, version: &str) {
        self.spoken.store(Some(Arc::new((era, version.to_owned()))));
    }

    /// Takes over definitions; returns the names that are new or changed.
    pub fn observe<'a>(
        &self,
        definitions: impl Iterator<Item = (&'a str, &'a RawValue)>,
    ) -> Vec<String> {
        let mut news = Vec::new();
        let mut tools = BTreeMap::clone(&self.tools.load());
        for (name, definition) in definitions {
            let Ok(mut facts) = facts(definition) else { continue };
            match tools.get(name) {
                Some(known) if known.digest == facts.digest => continue,
                Some(_) => facts.pin = "changed",
                // A server that makes up names without end fills no memory; the tools beyond stay
                // without a definition, and policy sees that.
                None if tools.len() >= TOOLS_MAX => continue,
                None => {}
            }
            news.push(name.to_owned());
            tools.insert(name.to_owned(), Arc::new(facts));
        }
        if !news.is_empty() {
            self.tools.store(Arc::new(tools));
        }
        news
    }
}

fn facts(definition: &RawValue) -> Result<ToolFacts, DefinitionError> {
    let canonical = forge_evidence::canonical::canonicalize(definition.get().as_bytes())
        .map_err(|_odd_number| DefinitionError)?;
    let value: Value = serde_json::from_slice(&canonical).map_err(|_syntax| DefinitionError)?;
    let hint = |name: &str, default| {
        value.pointer(&format!("/annotations/{name}")).and_then(Value::as_bool).unwrap_or(default)
    };
    let read_only = hint("readOnlyHint", false);
    // Defaults of MCP `ToolAnnotations`: the worst, but for a tool that says it only reads.
    let hints = ActionProperties {
        read_only,
        destructive: hint("destructiveHint", !read_only) && !read_only,
        idempotent: hint("idempotentHint", read_only),
        open_world: hint("openWorldHint", true),
        hints_source: "server".to_owned(),
    };
    let mirrored = value.get("inputSchema").map(mirrored_params).unwrap_or_default();
    Ok(ToolFacts { digest: Digest::of(&canonical), hints, mirrored, pin: "new" })
}

/// How a message came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Streamable HTTP, with the peer's address.
    Http(String),
    /// A client that started this process.
    Stdio,
}

impl Transport {
    /// The word for records and policy.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Http(_) => "http",
            Self::Stdio => "stdio",
        }
    }
}

/// HTTP method of a message: legacy sessions also listen and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// Carries one message.
    Post,
    /// Opens the stream of messages that belong to no request.
    Get,
    /// Ends the session.
    Delete,
}

/// Everything known of a message before it is examined.
#[derive(Debug)]
pub struct Admission {
    /// New id.
    pub id: CallId,
    /// Sequence slot, taken before policy runs.
    pub slot: u64,
    /// Who sent it.
    pub principal: Arc<Principal>,
    /// To which server.
    pub server: ServerName,
    /// Verb.
    pub verb: Verb,
    /// The message; of a GET or DELETE a notification made up for the line.
    pub message: Message,
    /// How it is spoken.
    pub era: Era,
    /// How it came.
    pub transport: Transport,
    /// Headers that may travel on.
    pub headers: HeaderMap,
    /// Session of a legacy client.
    pub session: Option<LegacySession>,
    /// Rounds of `input_required` that this gateway already answered for the same hold.
    pub round: u32,
    /// The generation that decides all of it.
    pub snapshot: Arc<Snapshot>,
    /// When the first byte was there.
    pub started: Instant,
    /// The client, or the drain, wants it to end.
    pub cancel: CancellationToken,
}

/// A message whose target is known: what the line takes.
#[derive(Debug)]
pub struct Call {
    admission: Admission,
    tool: Option<Arc<ToolFacts>>,
    facts: ServerFacts,
}

impl Call {
    /// Resolves the target by the server's catalog.
    #[must_use]
    pub fn resolve(admission: Admission, catalog: &ServerCatalog, facts: ServerFacts) -> Self {
        let tool = (admission.message.method() == "tools/call")
            .then(|| catalog.tool(admission.message.target()))
            .flatten();
        Self { admission, tool, facts }
    }

    /// What was known when it came in.
    #[must_use]
    pub fn admission(&self) -> &Admission {
        &self.admission
    }

    /// The tool's definition, if the catalog has it.
    #[must_use]
    pub fn tool(&self) -> Option<&ToolFacts> {
        self.tool.as_deref()
    }

    /// What the configuration says of the server.
    #[must_use]
    pub fn server_facts(&self) -> &ServerFacts {
        &self.facts
    }

    /// The message.
    #[must_use]
    pub fn message(&self) -> &Message {
        &self.admission.message
    }

    /// The method as policy and records name it.
    #[must_use]
    pub fn method(&self) -> &str {
        method(self.admission.verb, self.message())
    }
}

/// The method as policy and records name it; what has none on the wire gets one here.
#[must_use]
pub fn method(verb: Verb, message: &Message) -> &str {
    match (verb, message.kind()) {
        (Verb::Get, _) => "session/listen",
        (Verb::Delete, _) => "session/close",
        (Verb::Post, Kind::Response) => "client/response",
        (Verb::Post, Kind::Request | Kind::Notification) => message.method(),
    }
}

const TOOLS_MAX: usize = 20_000;
