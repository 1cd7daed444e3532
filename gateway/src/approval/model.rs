//! What an approval is: the words that the service, the store and the admin API share.
//!
//! Nothing here is decided; see `state` and `quorum`. The exact bytes of the message and of the
//! arguments are not part of [`Approval`]: only [`Parcel`] carries them, and only to the store and
//! to the one who claims.

use bytes::Bytes;
use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, CallId, SessionId, Tenant};
use forge_schemas::policy::ApprovalTerms;
use forge_schemas::record::{ApprovalVerdict, RecordPrincipal};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::state::State;

/// One approval, as the store has it and as an approver may see it.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Approval {
    /// Names it; knowing the name gives no authority.
    pub id: ApprovalId,
    /// Whose.
    pub tenant: Tenant,
    /// The call that asked.
    pub call: CallId,
    /// The session of that call.
    pub session: Option<SessionId>,
    /// The evaluation that asked for it.
    pub evaluation_id: String,
    /// Who wants the call made.
    pub subject: RecordPrincipal,
    /// OAuth client through which it was asked.
    pub agent: String,
    /// Tool server.
    pub server: String,
    /// Tool.
    pub tool: String,
    /// Digest of the tool's definition; empty if it is not known.
    pub schema_digest: String,
    /// Revision of the policy that asked for it.
    pub policy_revision: String,
    /// Digest of the exact message that would be sent.
    pub message_digest: Digest,
    /// Digest of the exact argument bytes in it.
    pub arguments_digest: Digest,
    /// Length of the arguments in bytes.
    pub arguments_bytes: u64,
    /// The approval digest of contract §3: what an approver has to name.
    pub digest: Digest,
    /// Who has to approve, and the two clocks.
    pub terms: ApprovalTerms,
    /// What an approver is shown: safe to print as it is.
    pub display: Value,
    /// Where it stands.
    pub state: State,
    /// Counts the changes; the store changes a row only from the version that was read.
    pub version: u64,
    /// Milliseconds since 1970 UTC, like every time here.
    pub created_at: i64,
    /// When it expires undecided.
    pub expires_at: i64,
    /// When the last vote that was needed came in.
    pub approved_at: Option<i64>,
    /// Until when it may be claimed once it is approved.
    pub execute_by: Option<i64>,
    /// How often it has been claimed.
    pub used: u64,
    /// Which gateway process claimed it last.
    pub node: Option<String>,
    /// The votes so far, oldest first.
    pub votes: Vec<Vote>,
}

impl Approval {
    /// Whether its time is over at `now`: undecided past `expires_at`, or approved past
    /// `execute_by`. True as soon as the clock says so, whether or not a sweep has come by.
    #[must_use]
    pub fn is_due(&self, now: i64) -> bool {
        match self.state {
            State::Pending => now >= self.expires_at,
            State::Approved => self.execute_by.is_none_or(|limit| now >= limit),
            State::Denied
            | State::Expired
            | State::Cancelled
            | State::Executing
            | State::Done
            | State::Failed
            | State::Unknown => false,
        }
    }
}

/// One person's vote.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Vote {
    /// Who, with all of a person's accounts folded into one (see [`Approver::person`]).
    pub person: String,
    /// The account that voted.
    pub approver: RecordPrincipal,
    /// What they said.
    pub verdict: ApprovalVerdict,
    /// Places in `terms.required` of the requirements that the person fitted at that time.
    pub fits: Vec<usize>,
    /// The approval digest that they were shown.
    pub digest: Digest,
    /// What they wrote; shown to people, never to a model.
    pub reason: Option<String>,
    /// When.
    pub at: i64,
}

/// Somebody who decides, as their own verified credential describes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approver {
    /// Subject.
    pub id: String,
    /// Issuer of the credential.
    pub issuer: String,
    /// `user` or `service`.
    pub kind: String,
    /// Whose approvals they can see at all.
    pub tenant: Tenant,
    /// Roles.
    pub roles: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
}

impl Approver {
    /// Names the person behind the account.
    #[must_use]
    pub fn person(&self) -> String {
        person(&self.id)
    }

    /// As records spell it.
    #[must_use]
    pub fn principal(&self) -> RecordPrincipal {
        RecordPrincipal {
            id: self.id.clone(),
            issuer: self.issuer.clone(),
            kind: self.kind.clone(),
        }
    }
}

/// The person that an account belongs to: its id without regard to case, whatever the issuer.
///
/// The same id at two issuers counts as one person. Where that is wrong, a vote too few is
/// counted; the other way round, one person with two accounts would be two.
#[must_use]
pub fn person(id: &str) -> String {
    id.trim().to_lowercase()
}

/// The exact bytes that an approval is about.
#[derive(Clone, PartialEq, Eq)]
pub struct Parcel {
    /// The whole message as it would be sent.
    pub message: Bytes,
    /// The arguments in it.
    pub arguments: Bytes,
}

/// Arguments never reach a log, so only lengths are shown.
impl std::fmt::Debug for Parcel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parcel")
            .field("message_bytes", &self.message.len())
            .field("arguments_bytes", &self.arguments.len())
            .finish()
    }
}

/// What the line asks for when policy holds a call.
#[derive(Clone, Debug)]
pub struct NewApproval {
    /// Whose.
    pub tenant: Tenant,
    /// The call that is held.
    pub call: CallId,
    /// Its session.
    pub session: Option<SessionId>,
    /// The evaluation that asked.
    pub evaluation_id: String,
    /// Who wants the call made.
    pub subject: RecordPrincipal,
    /// OAuth client.
    pub agent: String,
    /// Tool server.
    pub server: String,
    /// Tool.
    pub tool: String,
    /// Digest of the tool's definition; empty if it is not known.
    pub schema_digest: String,
    /// Revision of the policy bundle.
    pub policy_revision: String,
    /// Terms of the decision.
    pub terms: ApprovalTerms,
    /// The exact bytes.
    pub parcel: Parcel,
    /// Facts for the approver (title, reasons, findings …); made safe to print before it is stored.
    pub display: Value,
}

/// Answer to a request for approval.
#[derive(Clone, Debug)]
pub struct Requested {
    /// The approval to wait for.
    pub approval: Approval,
    /// It was there already, for an identical call.
    pub joined: bool,
}

/// What is true now of the call that wants to use an approval.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// The call that would execute.
    pub call: &'a CallId,
    /// Its session.
    pub session: Option<&'a SessionId>,
    /// Whose.
    pub tenant: &'a Tenant,
    /// Who calls.
    pub subject: &'a RecordPrincipal,
    /// OAuth client.
    pub agent: &'a str,
    /// Digest of the tool's definition now.
    pub schema_digest: &'a str,
    /// Revision of the policy now.
    pub policy_revision: &'a str,
}

/// An approval that was claimed: the one time its bytes are given out.
///
/// The record `approval.executed` is durable. Neither `Clone` nor `Default`.
#[derive(Debug)]
pub struct Claimed {
    /// The approval, state `executing`.
    pub approval: Approval,
    /// What is to be sent, byte for byte.
    pub parcel: Parcel,
}

/// How the execution of a claimed approval ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// The server answered.
    Done,
    /// It certainly did not take effect.
    Failed,
    /// Nobody knows.
    Unknown,
}

/// Which approvals to list: newest first.
#[derive(Clone, Debug)]
pub struct ApprovalFilter {
    /// Whose.
    pub tenant: Tenant,
    /// Only in this state.
    pub state: Option<State>,
    /// Only those asked for by this subject id.
    pub subject: Option<String>,
    /// Only those older than this one: its `created_at` and id.
    pub before: Option<(i64, ApprovalId)>,
    /// At most so many; the store gives no more than 500.
    pub limit: u32,
}

impl ApprovalFilter {
    /// Everything of one tenant, the newest 100.
    #[must_use]
    pub const fn of(tenant: Tenant) -> Self {
        Self { tenant, state: None, subject: None, before: None, limit: 100 }
    }
}
