//! The evidence of an approval's life (contract §5), and the way it gets into the journal.
//!
//! The journal fills in place, time and session chain; nothing here knows how.

use std::fmt;
use std::sync::Arc;

use forge_schemas::digest::Digest;
use forge_schemas::ids::{CallId, SessionId};
use forge_schemas::record::{ApprovalKind, ApprovalRecord, RECORD_VERSION, Record};
use futures_util::future::BoxFuture;

use super::digest::requirements;
use super::model::{Approval, Facts, Vote};

/// Any error of the journal.
pub type RecordError = Box<dyn std::error::Error + Send + Sync>;

type Write = dyn Fn(Record) -> BoxFuture<'static, Result<(), RecordError>> + Send + Sync;

/// Writes one record and returns when it is durable. The gateway gives it the journal's `append`.
#[derive(Clone)]
pub struct Recorder(Arc<Write>);

impl Recorder {
    /// From a function that returns when the record is durable, or an error when it may not be.
    pub fn new<F, E>(write: impl Fn(Record) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<RecordError>,
    {
        Self(Arc::new(move |record| {
            let written = write(record);
            Box::pin(async move { written.await.map_err(Into::into) })
        }))
    }

    /// Writes `record`.
    ///
    /// # Errors
    /// The journal's own.
    pub async fn write(&self, record: Record) -> Result<(), RecordError> {
        (self.0)(record).await
    }
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Recorder")
    }
}

/// `approval.requested`.
pub(super) fn requested(approval: &Approval) -> Record {
    record(approval, ApprovalKind::Requested, &approval.call, approval.session.as_ref(), None)
}

/// `approval.decided`: one vote.
pub(super) fn decided(approval: &Approval, vote: &Vote) -> Record {
    let session = approval.session.as_ref();
    record(approval, ApprovalKind::Decided, &approval.call, session, Some(vote))
}

/// `approval.expired`.
pub(super) fn expired(approval: &Approval) -> Record {
    record(approval, ApprovalKind::Expired, &approval.call, approval.session.as_ref(), None)
}

/// `approval.executed`: names the call that executes, which need not be the one that asked.
pub(super) fn executed(approval: &Approval, facts: &Facts<'_>) -> Record {
    record(approval, ApprovalKind::Executed, facts.call, facts.session, None)
}

fn record(
    approval: &Approval,
    kind: ApprovalKind,
    call: &CallId,
    session: Option<&SessionId>,
    vote: Option<&Vote>,
) -> Record {
    let reason = vote.and_then(|vote| vote.reason.as_deref());
    Record::Approval(Box::new(ApprovalRecord {
        approval: approval.id.clone(),
        approver: vote.map(|vote| vote.approver.clone()),
        arguments: approval.arguments_digest,
        at: 0,
        call: call.clone(),
        digest: approval.digest,
        expires_at: approval.expires_at,
        kind,
        log: String::new(),
        max_uses: approval.terms.max_uses,
        reason: reason.map(|text| Digest::of(text.as_bytes())),
        requirements: requirements(approval).into_iter().map(str::to_owned).collect(),
        seq: 0,
        session: session.cloned(),
        session_prev: None,
        session_seq: None,
        tenant: approval.tenant.clone(),
        v: RECORD_VERSION,
        verdict: vote.map(|vote| vote.verdict),
    }))
}
