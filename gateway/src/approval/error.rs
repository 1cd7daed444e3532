//! Why an approval could not be asked for, decided or used.

use std::time::Duration;

use forge_schemas::refusal::RefusalCode;

use super::quorum::TermsError;
use super::state::{State, TransitionError};
use crate::store::StoreError;

/// Longest text that an approver may write, in bytes.
pub const REASON_BYTES_MAX: usize = 4096;

/// The operation was refused; the approval is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// There is none of this id, or not for this tenant or principal: the two are not told apart.
    #[error("there is no such approval")]
    Unknown,
    /// The terms of the decision cannot be carried out.
    #[error("the terms of the decision cannot be carried out")]
    Terms(#[source] TermsError),
    /// The principal has as many undecided requests as it may have.
    #[error("{open} approval requests of this principal are waiting, at most {most} may")]
    PrincipalFull {
        /// How many wait.
        open: u64,
        /// The limit.
        most: u64,
    },
    /// The tenant has.
    #[error("{open} approval requests of this tenant are waiting, at most {most} may")]
    TenantFull {
        /// How many wait.
        open: u64,
        /// The limit.
        most: u64,
    },
    /// It was decided, used or ended before.
    #[error("the approval is {0}")]
    Closed(State),
    /// It waits for votes.
    #[error("the approval has not been given yet")]
    Pending,
    /// Its time is over.
    #[error("the approval has expired")]
    Expired,
    /// The approver named another digest than that of the approval.
    #[error("the digest is not that of the approval")]
    Digest,
    /// The requester may not approve their own request.
    #[error("the requester may not decide this approval")]
    Requester,
    /// No requirement asks this person.
    #[error("this person is not asked by any requirement")]
    Stranger,
    /// One person, one vote.
    #[error("this person has voted before")]
    Voted,
    /// The reason is too long.
    #[error("the reason has {0} bytes, at most {REASON_BYTES_MAX} are taken")]
    ReasonLength(usize),
    /// Tool definition or policy are not those that were approved.
    #[error("the tool's definition or the policy is not what was approved")]
    Changed,
    /// An identical call used it, or is using it.
    #[error("the approval is used up")]
    Used,
    /// What the store holds does not match its own digests or votes: somebody wrote to it.
    #[error("the stored approval does not match its {0}")]
    Altered(&'static str),
    /// The caller stopped waiting.
    #[error("the wait was cancelled")]
    Cancelled,
    /// Another process kept changing it.
    #[error("the approval kept changing")]
    Contended,
    /// The state machine has no such way.
    #[error("the approval cannot take this step")]
    Transition(#[source] TransitionError),
    /// The journal did not take the record.
    #[error("the record of the approval cannot be written")]
    Record(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The journal did not answer.
    #[error("the record of the approval was not written within {0:?}")]
    RecordTime(Duration),
    /// A value could not be written as JSON.
    #[error("the approval cannot be written as JSON")]
    Json(#[source] serde_json::Error),
    /// The store refused.
    #[error("the store failed")]
    Store(#[source] StoreError),
}

impl ApprovalError {
    /// Stable code for the admin API and the command line (`docs/reference/approvals.md`).
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown => "approval.unknown",
            Self::Terms(_) => "approval.invalid_terms",
            Self::PrincipalFull { .. } | Self::TenantFull { .. } => "limit.approvals",
            Self::Closed(_) => "approval.closed",
            Self::Pending => "approval.pending",
            Self::Expired => "approval.expired",
            Self::Digest => "approval.digest",
            Self::Requester => "approval.requester",
            Self::Stranger => "approval.not_approver",
            Self::Voted => "approval.voted",
            Self::ReasonLength(_) => "approval.reason_length",
            Self::Changed => "approval.changed",
            Self::Used => "approval.used",
            Self::Altered(_) => "approval.altered",
            Self::Cancelled => "approval.cancelled",
            Self::Contended => "approval.contended",
            Self::Transition(_) | Self::Json(_) => "internal.error",
            Self::Record(_) | Self::RecordTime(_) => "evidence.unavailable",
            Self::Store(error) => error.code(),
        }
    }

    /// What the held call is refused with.
    #[must_use]
    pub const fn refusal(&self) -> RefusalCode {
        match self {
            Self::Terms(_) => RefusalCode::PolicyError,
            Self::PrincipalFull { .. } | Self::TenantFull { .. } => RefusalCode::LimitApprovals,
            Self::Pending => RefusalCode::ApprovalPending,
            Self::Unknown | Self::Expired => RefusalCode::ApprovalExpired,
            Self::Closed(State::Denied) => RefusalCode::ApprovalDenied,
            Self::Closed(State::Cancelled) | Self::Cancelled => RefusalCode::ApprovalCancelled,
            Self::Closed(State::Unknown) => RefusalCode::UpstreamUnknown,
            Self::Closed(_) | Self::Used => RefusalCode::ApprovalUsed,
            Self::Changed => RefusalCode::ApprovalChanged,
            Self::Record(_) | Self::RecordTime(_) | Self::Store(_) => {
                RefusalCode::EvidenceUnavailable
            }
            Self::Digest
            | Self::Requester
            | Self::Stranger
            | Self::Voted
            | Self::ReasonLength(_)
            | Self::Altered(_)
            | Self::Contended
            | Self::Transition(_)
            | Self::Json(_) => RefusalCode::InternalError,
        }
    }
}

impl From<StoreError> for ApprovalError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<TransitionError> for ApprovalError {
    fn from(error: TransitionError) -> Self {
        Self::Transition(error)
    }
}
