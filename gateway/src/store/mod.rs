//! What outlives the process apart from evidence: approvals, and an index of the journal.
//!
//! [`Store`] speaks in verbs of the domain. Its first implementation is [`sqlite`]; the one for
//! Postgres comes with clusters. One test suite runs over every implementation. SQL is written by
//! hand for each backend, without the macros of sqlx; no other module uses sqlx.
//!
//! The truth about approvals is here; the truth about calls is the journal, and `calls` can be
//! thrown away and indexed anew.

pub mod error;
pub mod migrate;
pub mod sqlite;

use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;

use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, CallId, SessionId, Tenant};
use forge_schemas::policy::Effect;
use forge_schemas::record::{Outcome, Record, RecordPrincipal, RecordReason, Timings};
use forge_schemas::refusal::RefusalCode;
use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::Serialize;

pub use self::error::{StoreError, StoreFault};
use crate::approval::model::{Approval, ApprovalFilter, Parcel, Vote};
use crate::approval::state::State;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
pub(crate) mod tests;

/// What every verb gives.
pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// The store. Every write is one transaction; a future that is dropped has written all or nothing.
/// No verb is repeated by the store itself: the caller decides what a failure means.
pub trait Store: Send + Sync + Debug {
    /// Puts in a new approval, unless an identical one is open or a limit is reached; durable when
    /// it returns.
    fn insert_approval<'a>(&'a self, row: &'a NewRow, limits: OpenLimits) -> Answer<'a, Inserted>;

    /// The open approval with this join key.
    fn open_approval<'a>(&'a self, join_key: &'a Digest) -> Answer<'a, Option<Approval>>;

    /// How many approvals are pending for the principal, and for the tenant.
    fn waiting_approvals<'a>(
        &'a self,
        tenant: &'a Tenant,
        subject: &'a RecordPrincipal,
    ) -> Answer<'a, (u64, u64)>;

    /// How many approvals are pending, of all tenants.
    fn pending_approvals(&self) -> Answer<'_, u64>;

    /// One approval with its votes.
    fn approval<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, Option<Approval>>;

    /// Where it stands: the cheap question of those who wait.
    fn approval_state<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, Option<State>>;

    /// The exact bytes.
    fn parcel<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, Option<Parcel>>;

    /// Writes a change if the row still has the version that was read, and the vote with it;
    /// false if it has not. Durable when it returns.
    fn change_approval<'a>(&'a self, change: &'a Change<'a>) -> Answer<'a, bool>;

    /// Approvals whose time is over at `now`, the oldest first.
    fn due_approvals(&self, now: i64, limit: u32) -> Answer<'_, Vec<Approval>>;

    /// Approvals that `node` was executing when it stopped, and approved ones with more
    /// `approval.executed` records in the index than uses in the store.
    fn interrupted_approvals<'a>(&'a self, node: &'a str) -> Answer<'a, Vec<Approval>>;

    /// How many `approval.executed` records of an approval the index has.
    fn recorded_executions<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, u64>;

    /// Approvals of one tenant, newest first.
    fn approvals<'a>(&'a self, filter: &'a ApprovalFilter) -> Answer<'a, Vec<Approval>>;

    /// Indexes records of the journal. Again is the same as once. Returns where records are
    /// missing, so that the caller reads them from the journal; what was given is indexed anyway.
    fn index<'a>(&'a self, records: &'a [Record]) -> Answer<'a, Vec<Gap>>;

    /// For each tenant the sequence number up to which the index has every record.
    fn indexed(&self) -> Answer<'_, Vec<(Tenant, u64)>>;

    /// Throws the index away, so that it can be built anew from the journal.
    fn clear_index(&self) -> Answer<'_, ()>;

    /// Calls of one tenant, newest first.
    fn calls<'a>(&'a self, filter: &'a CallFilter) -> Answer<'a, CallPage>;

    /// One call of one tenant.
    fn call<'a>(&'a self, tenant: &'a Tenant, call: &'a CallId) -> Answer<'a, Option<CallRow>>;

    /// Deletes at most `limit` calls and ended approvals older than `before`; returns how many.
    fn prune(&self, before: i64, limit: u32) -> Answer<'_, u64>;

    /// Whether a change could be written now.
    fn health(&self) -> Answer<'_, ()>;

    /// Waits for what is under way and closes the files.
    fn close(&self) -> BoxFuture<'_, ()>;
}

/// A new approval with what only the store keeps.
#[derive(Clone, Debug)]
pub struct NewRow {
    /// The approval.
    pub approval: Approval,
    /// Equal for identical requests.
    pub join_key: Digest,
    /// The exact bytes.
    pub parcel: Parcel,
}

/// How many approvals may be pending at once.
#[derive(Clone, Copy, Debug)]
pub struct OpenLimits {
    /// For one principal.
    pub per_principal: u64,
    /// For one tenant.
    pub per_tenant: u64,
}

/// What came of an insertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    /// It is in.
    New,
    /// An identical one is open.
    Exists,
    /// The principal has too many.
    PrincipalFull {
        /// How many.
        open: u64,
    },
    /// The tenant has too many.
    TenantFull {
        /// How many.
        open: u64,
    },
}

/// A change of one approval: state, version, clocks, uses and node are written, nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// As it was read.
    pub before: &'a Approval,
    /// As it will be, but for the version.
    pub after: &'a Approval,
    /// The vote that comes with it.
    pub vote: Option<&'a Vote>,
}

/// Records that the index lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose log.
    pub tenant: Tenant,
    /// The first that is missing.
    pub from: u64,
    /// The first after it that was given.
    pub to: u64,
}

/// One call, as the index has it. Fields of a record that has not come yet are empty.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct CallRow {
    /// Which.
    pub call: CallId,
    /// Whose.
    pub tenant: Tenant,
    /// When it was decided, in milliseconds since 1970 UTC.
    pub at: i64,
    /// The session.
    pub session: Option<SessionId>,
    /// Who.
    pub principal: String,
    /// Their issuer.
    pub issuer: String,
    /// OAuth client.
    pub agent: String,
    /// What the client calls itself.
    pub client: String,
    /// `http` or `stdio`.
    pub transport: String,
    /// Tool server.
    pub server: String,
    /// Tool.
    pub tool: String,
    /// MCP method.
    pub method: String,
    /// Names the evaluation.
    pub evaluation: String,
    /// Policy revision.
    pub revision: String,
    /// `enforce`, or `shadow`: then the decision did not bind.
    pub mode: String,
    /// What policy came to.
    pub effect: Option<Effect>,
    /// Why it was refused: the outcome's reason, else the decision's.
    pub refusal: Option<RefusalCode>,
    /// What came of it; `None` while it runs.
    pub outcome: Option<Outcome>,
    /// The approval under which it was executed.
    pub approval: Option<ApprovalId>,
    /// Leaf index of the decision.
    pub decision_seq: Option<u64>,
    /// Leaf index of the outcome.
    pub outcome_seq: Option<u64>,
    /// Rules that fired.
    pub reasons: Vec<RecordReason>,
    /// Findings in the request.
    pub request_findings: u64,
    /// Findings in the response.
    pub response_findings: u64,
    /// How long it took.
    pub timings: Option<Timings>,
}

/// Which calls to list.
#[derive(Clone, Debug)]
pub struct CallFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Of this subject.
    pub principal: Option<String>,
    /// To this server.
    pub server: Option<String>,
    /// Of this tool.
    pub tool: Option<String>,
    /// In this session.
    pub session: Option<SessionId>,
    /// With this effect.
    pub effect: Option<Effect>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Decided at or after this time.
    pub since: Option<i64>,
    /// Decided before this time.
    pub until: Option<i64>,
    /// Only those that come after the page with this cursor.
    pub cursor: Option<CallCursor>,
    /// At most so many; the store gives no more than 500.
    pub limit: u32,
}

impl CallFilter {
    /// Everything of one tenant, the newest 100.
    #[must_use]
    pub const fn of(tenant: Tenant) -> Self {
        Self {
            tenant,
            principal: None,
            server: None,
            tool: None,
            session: None,
            effect: None,
            outcome: None,
            since: None,
            until: None,
            cursor: None,
            limit: 100,
        }
    }
}

/// A page of calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallPage {
    /// Newest first.
    pub calls: Vec<CallRow>,
    /// Where the next page begins; `None` if this is the last.
    pub next: Option<CallCursor>,
}

/// A place in the list of calls. Written `TIME.CALL`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallCursor {
    /// Time of the last call that was given.
    pub at: i64,
    /// Its id.
    pub call: CallId,
}

impl CallCursor {
    /// Reads the written form; `None` if it is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (at, call) = text.split_once('.')?;
        Some(Self { at: at.parse().ok()?, call: CallId::parse(call).ok()? })
    }
}

impl std::fmt::Display for CallCursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.at, self.call)
    }
}

/// Opens the store that `url` names, `sqlite://FILE`, and brings its schema up to date.
///
/// # Errors
/// If the URL names no store that this build knows, or it cannot be opened.
pub async fn open(url: &str) -> Result<Arc<dyn Store>, StoreError> {
    let settings = sqlite::Settings::new(sqlite_path(url)?);
    Ok(Arc::new(sqlite::SqliteStore::open(settings).await?))
}

/// The file that a `sqlite://` URL names: `sqlite://forge.db` is relative, `sqlite:///var/forge.db`
/// absolute. Nothing is decoded and there are no parameters.
///
/// # Errors
/// If the URL is not of this form.
pub fn sqlite_path(url: &str) -> Result<PathBuf, StoreError> {
    let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:"));
    match path {
        Some(path) if !path.is_empty() && !path.contains(['?', '#', '\0']) => Ok(path.into()),
        Some(_) | None => Err(StoreError::bare("understand its URL", StoreFault::Url)),
    }
}
