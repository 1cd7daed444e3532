//! Calls, from the index of the log, and the records of one call, from the log itself.

use forge_evidence::merkle::leaf_hash;
use forge_schemas::digest::Digest;
use forge_schemas::ids::{CallId, SessionId, Tenant};
use forge_schemas::record::Record;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::{Duration, Instant, sleep};

use crate::journal::{LogReader, ReadError};
use crate::state::Gateway;
use crate::store::{CallCursor, CallFilter, CallRow};

use super::gate::Permit;
use super::query::{Query, word};
use super::{AdminError, Answer};

/// A page of calls, newest first.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct CallList {
    /// The calls.
    items: Vec<CallRow>,
    /// What to send as `after` for the next page; `null` on the last.
    next: Option<String>,
    /// Everything that was on record when the request came in is in the index. If not, ask again.
    complete: bool,
}

/// One call and what is on record about it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct CallDetail {
    /// As in the list.
    call: CallRow,
    /// Its records, in the order of the log.
    records: Vec<CallRecord>,
    /// As in the list; also false if the call spans more of the log than is searched.
    complete: bool,
}

/// A leaf of the log.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct CallRecord {
    /// Leaf index.
    seq: u64,
    /// RFC 6962 leaf hash.
    leaf: Digest,
    /// The record.
    record: Record,
}

/// `GET /calls`.
pub(super) async fn list(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    let tenant = &permit.request().principal.tenant;
    let filter = filter(&permit.request().query, tenant)?;
    let complete = caught_up(gateway, tenant).await?;
    let page = gateway.store.calls(&filter).await.map_err(AdminError::Store)?;
    let next = page.next.map(|cursor| cursor.to_string());
    Answer::of(&CallList { items: page.calls, next, complete })
}

fn filter(query: &str, tenant: &Tenant) -> Result<CallFilter, AdminError> {
    let known = [
        "after", "effect", "limit", "outcome", "principal", "server", "session", "since", "tool",
        "until",
    ];
    let mut query = Query::parse(query, &known)?;
    let time = "milliseconds since 1970 UTC";
    let limit = query.limit(PAGE_MAX)?;
    Ok(CallFilter {
        principal: query.text("principal"),
        server: query.text("server"),
        tool: query.text("tool"),
        session: query.get("session", "a session id", |text| SessionId::parse(text).ok())?,
        effect: query.get("effect", "allow, deny or require_approval", word)?,
        outcome: query.get("outcome", "answered, refused, failed or outcome_unknown", word)?,
        since: query.get("since", time, |text| text.parse().ok())?,
        until: query.get("until", time, |text| text.parse().ok())?,
        cursor: query.get("after", "a value of next", CallCursor::parse)?,
        limit,
        ..CallFilter::of(tenant.clone())
    })
}

/// `GET /calls/{id}`.
pub(super) async fn read(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    let request = permit.request();
    Query::parse(&request.query, &[])?;
    let tenant = &request.principal.tenant;
    let id = CallId::parse(&request.target).map_err(|_not_an_id| AdminError::UnknownCall)?;
    let complete = caught_up(gateway, tenant).await?;
    let call = gateway.store.call(tenant, &id).await.map_err(AdminError::Store)?;
    let call = call.ok_or(AdminError::UnknownCall)?;
    let (records, all) = records(gateway, tenant, &call).await?;
    Answer::of(&CallDetail { call, records, complete: complete && all })
}

/// Reads what the log has about a call, from its decision to just behind its outcome; a call that
/// is under way, from its decision to the end. At most [`SEARCHED_MAX`] records are looked at.
async fn records(
    gateway: &Gateway,
    tenant: &Tenant,
    call: &CallRow,
) -> Result<(Vec<CallRecord>, bool), AdminError> {
    let Some(from) = call.decision_seq.or(call.outcome_seq) else { return Ok((Vec::new(), false)) };
    let head = gateway.journal.heads().get(tenant).copied().unwrap_or_default();
    // A session that the call opens or closes is recorded right behind its outcome.
    let wanted = call.outcome_seq.map_or(head, |seq| seq.saturating_add(3).min(head));
    let end = wanted.min(from.saturating_add(SEARCHED_MAX));
    let dir = gateway.snapshot.load().config.evidence.path.clone();
    let (tenant, id) = (tenant.clone(), call.call.clone());
    let read = tokio::task::spawn_blocking(move || {
        let mut found = Vec::new();
        for entry in LogReader::open(&dir, &tenant, from, Some(end))? {
            let entry = entry?;
            if call_of(&entry.record) == Some(&id) {
                let leaf = leaf_hash(&entry.leaf);
                found.push(CallRecord { seq: entry.seq, leaf, record: entry.record });
            }
        }
        Ok::<_, ReadError>(found)
    });
    let found = read.await.map_err(|panicked| AdminError::Log(panicked.into()))?;
    Ok((found.map_err(|fault| AdminError::Log(fault.into()))?, end == wanted))
}

fn call_of(record: &Record) -> Option<&CallId> {
    match record {
        Record::Decision(decision) => Some(&decision.call),
        Record::Outcome(outcome) => Some(&outcome.call),
        Record::Approval(approval) => Some(&approval.call),
        Record::Event(event) => event.call.as_ref(),
    }
}

/// The index follows the log a little behind. Waits until it has what was durable when the request
/// came in, at most [`INDEX_WAIT`], so that callers read what they wrote.
async fn caught_up(gateway: &Gateway, tenant: &Tenant) -> Result<bool, AdminError> {
    let head = gateway.journal.heads().get(tenant).copied().unwrap_or_default();
    let end = Instant::now().checked_add(INDEX_WAIT);
    loop {
        let indexed = gateway.store.indexed().await.map_err(AdminError::Store)?;
        let own = indexed.iter().find(|(owner, _)| owner == tenant);
        if own.map_or(0, |(_, seq)| seq.saturating_add(1)) >= head {
            return Ok(true);
        }
        if end.is_none_or(|end| Instant::now() >= end) {
            return Ok(false);
        }
        sleep(INDEX_STEP).await;
    }
}

const PAGE_MAX: u32 = 500;
const SEARCHED_MAX: u64 = 20_000;
const INDEX_WAIT: Duration = Duration::from_millis(500);
const INDEX_STEP: Duration = Duration::from_millis(10);
