//! The answer of `evidence verify --json` (contract §6).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What verification of a pack came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// True if, and only if, `problems` is empty.
    pub ok: bool,
    /// Records read.
    pub records: u64,
    /// Which part of which log the pack covers; `None` where not even that could be read.
    pub range: Option<Range>,
    /// The pack holds every record of its range, and the range is what the statement claims.
    pub complete: bool,
    /// Decisions that allowed a call and have no outcome inside the range.
    pub open_slots: u64,
    /// What re-running the decisions came to; `None` without `--replay`.
    pub replayed: Option<Replayed>,
    /// Everything that is wrong, in the order of the checks.
    pub problems: Vec<Problem>,
}

/// A contiguous part of one log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Range {
    /// Whose log.
    pub tenant: String,
    /// Origin of the log's checkpoints.
    pub log: String,
    /// First leaf index.
    pub first: u64,
    /// Leaf index after the last one.
    pub end: u64,
    /// Size of the tree that the last checkpoint signs.
    pub tree_size: u64,
}

/// Counts of decisions that were run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Replayed {
    /// Same decision again.
    pub same: u64,
    /// Another decision.
    pub different: u64,
    /// An input was erased or is not in the pack.
    pub not_decidable: u64,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// Stable code.
    pub code: ProblemCode,
    /// File, record or checkpoint: `data/records/000000.jsonl:17`, `record 17`, …
    pub r#where: String,
    /// One sentence for a person.
    pub sentence: String,
}

/// The stable codes of contract §6.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
pub enum ProblemCode {
    /// A record's bytes are not those that were logged.
    #[serde(rename = "record.altered")]
    RecordAltered,
    /// A record is not there.
    #[serde(rename = "record.missing")]
    RecordMissing,
    /// Records stand in another order than they were logged in.
    #[serde(rename = "record.reordered")]
    RecordReordered,
    /// A record stands there twice.
    #[serde(rename = "record.duplicated")]
    RecordDuplicated,
    /// A record belongs to another tenant or log.
    #[serde(rename = "record.foreign")]
    RecordForeign,
    /// The log ends before its checkpoint says.
    #[serde(rename = "log.truncated")]
    LogTruncated,
    /// Two checkpoints of one size differ.
    #[serde(rename = "log.forked")]
    LogForked,
    /// A later checkpoint does not contain an earlier one.
    #[serde(rename = "log.inconsistent")]
    LogInconsistent,
    /// A checkpoint's signature is wrong.
    #[serde(rename = "checkpoint.forged")]
    CheckpointForged,
    /// A checkpoint is signed by a key the auditor did not give.
    #[serde(rename = "checkpoint.unknown_key")]
    CheckpointUnknownKey,
    /// The newest checkpoint is older than what the auditor asked for.
    #[serde(rename = "checkpoint.stale")]
    CheckpointStale,
    /// The pack's signature is wrong or missing.
    #[serde(rename = "signature.invalid")]
    SignatureInvalid,
    /// A file of the bag is not what its manifest says.
    #[serde(rename = "bag.altered")]
    BagAltered,
    /// A policy bundle that decided is not in the pack.
    #[serde(rename = "policy.missing")]
    PolicyMissing,
    /// A decision comes out otherwise when it is run again.
    #[serde(rename = "policy.different")]
    PolicyDifferent,
    /// An approval does not fit the call that was executed.
    #[serde(rename = "approval.invalid")]
    ApprovalInvalid,
    /// One approval stands behind more executions than it allows.
    #[serde(rename = "approval.reused")]
    ApprovalReused,
    /// A sequence slot or a session's count has a gap.
    #[serde(rename = "completeness.gap")]
    CompletenessGap,
    /// A document does not fit its schema.
    #[serde(rename = "schema.invalid")]
    SchemaInvalid,
}
