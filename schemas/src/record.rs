//! Evidence records: the leaves of the log (contract §5).
//!
//! A leaf is the RFC 8785 form of one record: members sorted, integers only, ASCII member names.
//! The structs below have their fields in that order, so that `serde_json` writes the canonical
//! form directly; a test compares with a parse and sort. Records carry digests, counts and names,
//! never arguments, results or found values.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::digest::Digest;
use crate::finding::{Confidence, FindingKind};
use crate::ids::{ApprovalId, CallId, SessionId, Tenant};
use crate::policy::Effect;
use crate::refusal::RefusalCode;

/// Version of the record shapes.
pub const RECORD_VERSION: u32 = 1;

/// Longest leaf in bytes (C2SP tlog-tiles: a 16-bit length).
pub const RECORD_BYTES_MAX: usize = 65_535;

/// Where the journal put a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// Origin of the log.
    pub log: String,
    /// Leaf index.
    pub seq: u64,
    /// Leaf hash of the record before this one in the session.
    pub session_prev: Option<Digest>,
    /// Index of the record in its session, from 0.
    pub session_seq: Option<u64>,
}

/// Any record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Record {
    /// What was decided about a message, before anything left.
    Decision(Box<DecisionRecord>),
    /// What came of it.
    Outcome(Box<OutcomeRecord>),
    /// Life of an approval.
    Approval(Box<ApprovalRecord>),
    /// Everything else.
    Event(Box<EventRecord>),
}

/// `kind: decision`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRecord {
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// Digest of the policy bundle.
    pub bundle: Digest,
    /// Which message.
    pub call: CallId,
    /// OAuth client id, and what the client software calls itself.
    pub client: RecordClient,
    /// Digest of the configuration.
    pub config: Digest,
    /// Digest of the tool's definition, if it is known.
    pub definition: Option<Digest>,
    /// What policy came to.
    pub effect: Effect,
    /// Names the evaluation.
    pub evaluation: String,
    /// What detectors found in the request.
    pub findings: Vec<RecordFinding>,
    /// Digest of the bytes that are to be forwarded; `None` if none are.
    pub forwarded: Option<Digest>,
    /// Keyed commitment to the policy input.
    pub input: Digest,
    /// `decision`.
    pub kind: DecisionKind,
    /// Origin of the log.
    pub log: String,
    /// MCP method.
    pub method: String,
    /// `enforce`, or `shadow`: then the decision was recorded and did not bind.
    pub mode: String,
    /// Who.
    pub principal: RecordPrincipal,
    /// Ids of the rules that fired, with file and line.
    pub reasons: Vec<RecordReason>,
    /// Digest of the bytes received.
    pub received: Digest,
    /// Why it is refused, if it is.
    pub refusal: Option<RefusalCode>,
    /// Revision of the bundle.
    pub revision: String,
    /// Digest of the detector rules.
    pub rules: Digest,
    /// Leaf index.
    pub seq: u64,
    /// Tool server.
    pub server: String,
    /// The session.
    pub session: Option<SessionId>,
    /// Leaf hash of the session's record before this one.
    pub session_prev: Option<Digest>,
    /// Index in the session.
    pub session_seq: Option<u64>,
    /// Sequence slot, given before policy ran.
    pub slot: u64,
    /// Whose log.
    pub tenant: Tenant,
    /// Tool, prompt or resource; empty for methods of the server itself.
    pub tool: String,
    /// 1.
    pub v: u32,
}

/// `kind: outcome`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutcomeRecord {
    /// The approval under which it was executed.
    pub approval: Option<ApprovalId>,
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// Which message.
    pub call: CallId,
    /// Messages other than the response that were passed on while the call ran.
    pub events: u64,
    /// What detectors found in what came back.
    pub findings: Vec<RecordFinding>,
    /// `outcome`.
    pub kind: OutcomeKind,
    /// Origin of the log.
    pub log: String,
    /// What came of it.
    pub outcome: Outcome,
    /// Digest of the bytes that came from the server; `None` if none did.
    pub received: Option<Digest>,
    /// Why, if it was refused or failed.
    pub refusal: Option<RefusalCode>,
    /// Digest of the bytes returned to the client; `None` if none were.
    pub returned: Option<Digest>,
    /// Leaf index.
    pub seq: u64,
    /// The session.
    pub session: Option<SessionId>,
    /// Leaf hash of the session's record before this one.
    pub session_prev: Option<Digest>,
    /// Index in the session.
    pub session_seq: Option<u64>,
    /// The slot of the decision.
    pub slot: u64,
    /// Whose log.
    pub tenant: Tenant,
    /// How long each part took, in microseconds.
    pub timings: Timings,
    /// 1.
    pub v: u32,
}

/// `kind: approval.requested | approval.decided | approval.expired | approval.executed`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRecord {
    /// Which approval.
    pub approval: ApprovalId,
    /// Who decided, if somebody did.
    pub approver: Option<RecordPrincipal>,
    /// Digest of the exact argument bytes.
    pub arguments: Digest,
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// The call that asked, or executes.
    pub call: CallId,
    /// Approval digest of contract §3.
    pub digest: Digest,
    /// When an undecided request expires, in milliseconds since 1970 UTC.
    pub expires_at: i64,
    /// Which of the four.
    pub kind: ApprovalKind,
    /// Origin of the log.
    pub log: String,
    /// How often it may be executed.
    pub max_uses: u64,
    /// Digest of what the approver wrote.
    pub reason: Option<Digest>,
    /// The requirements that have to be met.
    pub requirements: Vec<String>,
    /// Leaf index.
    pub seq: u64,
    /// The session.
    pub session: Option<SessionId>,
    /// Leaf hash of the session's record before this one.
    pub session_prev: Option<Digest>,
    /// Index in the session.
    pub session_seq: Option<u64>,
    /// Whose log.
    pub tenant: Tenant,
    /// 1.
    pub v: u32,
    /// What the approver said.
    pub verdict: Option<ApprovalVerdict>,
}

/// Records that are not about one message: `list`, `session.open`, `session.close`, `config`,
/// `policy`, `pins`, `switch`, `key`, `export`, `erase`, `hold`, `node.start`, `node.stop`, `proof`,
/// `admin`, and requests refused before they could be decided (`refused`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EventRecord {
    /// Who did it; `None` for the gateway itself.
    pub actor: Option<RecordPrincipal>,
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// The call it belongs to.
    pub call: Option<CallId>,
    /// Facts: integers, strings, booleans and lists of them.
    pub detail: BTreeMap<String, Value>,
    /// What happened.
    pub kind: EventKind,
    /// Origin of the log.
    pub log: String,
    /// Leaf index.
    pub seq: u64,
    /// The session.
    pub session: Option<SessionId>,
    /// Leaf hash of the session's record before this one.
    pub session_prev: Option<Digest>,
    /// Index in the session.
    pub session_seq: Option<u64>,
    /// Whose log.
    pub tenant: Tenant,
    /// 1.
    pub v: u32,
}

/// The word `decision`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum DecisionKind {
    /// The only one.
    #[default]
    Decision,
}

/// The word `outcome`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OutcomeKind {
    /// The only one.
    #[default]
    Outcome,
}

/// Which step of an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApprovalKind {
    /// Asked for.
    #[serde(rename = "approval.requested")]
    Requested,
    /// Somebody voted.
    #[serde(rename = "approval.decided")]
    Decided,
    /// Nobody decided in time, or it was not executed in time.
    #[serde(rename = "approval.expired")]
    Expired,
    /// Claimed for execution: the one use.
    #[serde(rename = "approval.executed")]
    Executed,
}

/// What an approver said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ApprovalVerdict {
    /// Go on.
    Approve,
    /// Do not.
    Deny,
}

/// What an event record is about.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum EventKind {
    /// A list was filtered for a principal.
    #[serde(rename = "list")]
    List,
    /// A session began.
    #[serde(rename = "session.open")]
    SessionOpen,
    /// A session ended; `detail.count` is the number of its records, this one included.
    #[serde(rename = "session.close")]
    SessionClose,
    /// Configuration was loaded.
    #[serde(rename = "config")]
    Config,
    /// A policy bundle was loaded.
    #[serde(rename = "policy")]
    Policy,
    /// Tool definitions were seen for the first time, or changed.
    #[serde(rename = "pins")]
    Pins,
    /// A kill switch was turned.
    #[serde(rename = "switch")]
    Switch,
    /// A key was made, rotated or revoked.
    #[serde(rename = "key")]
    Key,
    /// Evidence was exported.
    #[serde(rename = "export")]
    Export,
    /// Personal values were made unreadable.
    #[serde(rename = "erase")]
    Erase,
    /// A legal hold was set or lifted.
    #[serde(rename = "hold")]
    Hold,
    /// The gateway started; `detail.recovered` counts calls closed as `outcome_unknown`.
    #[serde(rename = "node.start")]
    NodeStart,
    /// The gateway stopped in good order.
    #[serde(rename = "node.stop")]
    NodeStop,
    /// Coverage proof.
    #[serde(rename = "proof")]
    Proof,
    /// Something was done or read in the admin API.
    #[serde(rename = "admin")]
    Admin,
    /// A message was refused before it could be decided: authentication, protocol, limits.
    #[serde(rename = "refused")]
    Refused,
}

/// What came of a message.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The server's answer was passed on.
    Answered,
    /// The gateway refused it.
    Refused,
    /// The server or the way to it failed.
    Failed,
    /// It was forwarded, and nobody knows.
    #[serde(rename = "outcome_unknown")]
    Unknown,
}

/// A principal in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordPrincipal {
    /// Subject.
    pub id: String,
    /// Issuer, or `local`, `fixed`.
    pub issuer: String,
    /// `user` or `service`.
    pub kind: String,
}

/// A client in a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordClient {
    /// OAuth client id.
    pub agent: String,
    /// `clientInfo.name`, unverified.
    pub name: String,
    /// Protocol revision.
    pub protocol: String,
    /// `http` or `stdio`.
    pub transport: String,
    /// `clientInfo.version`, unverified.
    pub version: String,
}

/// A rule that fired, in a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordReason {
    /// File in the bundle.
    pub file: String,
    /// Rule id.
    pub id: String,
    /// Layer.
    pub layer: String,
    /// Line.
    pub line: u32,
}

/// Findings of one rule, in a record: where they lie is counted, not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecordFinding {
    /// The strongest.
    pub confidence: Confidence,
    /// How many.
    pub count: u64,
    /// Entity type.
    pub entity: String,
    /// Kind.
    pub kind: FindingKind,
    /// Rule id.
    pub rule: String,
}

/// Microseconds of wall time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timings {
    /// Waiting for a person.
    pub hold_us: u64,
    /// From the first byte received to this record.
    pub total_us: u64,
    /// Waiting for the tool server.
    pub upstream_us: u64,
}

macro_rules! each {
    ($record:expr, $inner:ident => $body:expr) => {
        match $record {
            Record::Decision($inner) => $body,
            Record::Outcome($inner) => $body,
            Record::Approval($inner) => $body,
            Record::Event($inner) => $body,
        }
    };
}

impl Record {
    /// Reads a leaf.
    ///
    /// # Errors
    /// If the bytes are not JSON or no kind of record has these members.
    pub fn parse(leaf: &[u8]) -> Result<Self, serde_json::Error> {
        #[derive(Deserialize)]
        struct Kind {
            kind: String,
        }
        let Kind { kind } = serde_json::from_slice(leaf)?;
        match kind.as_str() {
            "decision" => serde_json::from_slice(leaf).map(Self::Decision),
            "outcome" => serde_json::from_slice(leaf).map(Self::Outcome),
            _ if kind.starts_with("approval.") => serde_json::from_slice(leaf).map(Self::Approval),
            _ => serde_json::from_slice(leaf).map(Self::Event),
        }
    }

    /// The leaf: RFC 8785 bytes.
    ///
    /// # Errors
    /// Only if a `detail` holds something that JSON cannot spell.
    pub fn canonical(&self) -> Result<Vec<u8>, serde_json::Error> {
        each!(self, record => serde_json::to_vec(record))
    }

    /// Says where the journal put it.
    pub fn place(&mut self, place: Place) {
        let Place { at, log, seq, session_prev, session_seq } = place;
        each!(self, record => {
            record.at = at;
            record.log = log;
            record.seq = seq;
            record.session_prev = session_prev;
            record.session_seq = session_seq;
        });
    }

    /// Whose log it belongs to.
    #[must_use]
    pub fn tenant(&self) -> &Tenant {
        each!(self, record => &record.tenant)
    }

    /// The session it belongs to.
    #[must_use]
    pub fn session(&self) -> Option<&SessionId> {
        each!(self, record => record.session.as_ref())
    }

    /// Leaf index.
    #[must_use]
    pub fn seq(&self) -> u64 {
        each!(self, record => record.seq)
    }

    /// Milliseconds since 1970 UTC.
    #[must_use]
    pub fn at(&self) -> i64 {
        each!(self, record => record.at)
    }

    /// Origin of the log.
    #[must_use]
    pub fn log(&self) -> &str {
        each!(self, record => &record.log)
    }

    /// Index in the session.
    #[must_use]
    pub fn session_seq(&self) -> Option<u64> {
        each!(self, record => record.session_seq)
    }

    /// Leaf hash of the session's record before this one.
    #[must_use]
    pub fn session_prev(&self) -> Option<Digest> {
        each!(self, record => record.session_prev)
    }

    /// The call it belongs to.
    #[must_use]
    pub fn call(&self) -> Option<&CallId> {
        match self {
            Self::Decision(record) => Some(&record.call),
            Self::Outcome(record) => Some(&record.call),
            Self::Approval(record) => Some(&record.call),
            Self::Event(record) => record.call.as_ref(),
        }
    }
}
