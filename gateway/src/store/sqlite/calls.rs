//! The index of the journal in SQLite.
//!
//! Every record is written by itself and a second time changes nothing, so any part of the journal
//! may be given in any order. The position of a tenant moves only over records that were given
//! without a gap: from there on the journal is read again after a restart.
//!
//! Under load a call's decision and outcome mostly come in one batch and are written as one row.

use std::collections::BTreeMap;

use forge_schemas::ids::{ApprovalId, CallId, SessionId, Tenant};
use forge_schemas::record::{
    ApprovalKind, ApprovalRecord, DecisionRecord, OutcomeRecord, Record, RecordFinding,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::super::error::StoreError;
use super::super::{CallCursor, CallFilter, CallPage, CallRow, Gap};
use super::SqliteStore;
use super::approvals::{LIST_MAX, READ, count, json, parsed, stored, text};

impl SqliteStore {
    pub(super) async fn put_records(&self, records: &[Record]) -> Result<Vec<Gap>, StoreError> {
        if records.is_empty() {
            return Ok(Vec::new());
        }
        let mut writing = self.relaxed(INDEX).await?;
        let connection = &mut *writing.transaction;
        let mut given: BTreeMap<&Tenant, Vec<u64>> = BTreeMap::new();
        let mut calls: BTreeMap<(&Tenant, &CallId), Halves<'_>> = BTreeMap::new();
        for record in records {
            match record {
                Record::Decision(it) => {
                    calls.entry((&it.tenant, &it.call)).or_default().decision = Some(it);
                }
                Record::Outcome(it) => {
                    calls.entry((&it.tenant, &it.call)).or_default().outcome = Some(it);
                }
                Record::Approval(approval) => put_approval(connection, approval).await?,
                Record::Event(_) => {}
            }
            given.entry(record.tenant()).or_default().push(record.seq());
        }
        // In the order of the ids, which is that of time and of the table.
        for call in calls.into_values() {
            put_call(connection, call).await?;
        }
        let mut gaps = Vec::new();
        for (tenant, mut sequence) in given {
            sequence.sort_unstable();
            gaps.extend(advance(connection, tenant, &sequence).await?);
        }
        writing.commit().await?;
        Ok(gaps)
    }

    pub(super) async fn find_positions(&self) -> Result<Vec<(Tenant, u64)>, StoreError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query("SELECT tenant, seq FROM index_positions ORDER BY tenant")
            .fetch_all(&mut *reader)
            .await
            .map_err(StoreError::of(READ))?;
        rows.iter()
            .map(|row| {
                let seq: i64 = row.try_get("seq").map_err(StoreError::of(READ))?;
                Ok((parsed(row, "tenant", Tenant::parse)?, count(seq)?))
            })
            .collect()
    }

    pub(super) async fn drop_records(&self) -> Result<(), StoreError> {
        const OPERATION: &str = "clear its index";
        let mut writing = self.relaxed(OPERATION).await?;
        sqlx::raw_sql(
            "DELETE FROM calls; DELETE FROM approval_records; DELETE FROM index_positions",
        )
        .execute(&mut *writing.transaction)
        .await
        .map_err(StoreError::of(OPERATION))?;
        writing.commit().await
    }

    pub(super) async fn list_calls(&self, filter: &CallFilter) -> Result<CallPage, StoreError> {
        let limit = filter.limit.min(LIST_MAX);
        let mut reader = self.reader().await?;
        let rows = sqlx::query(
            "SELECT * FROM calls WHERE tenant = ?1 AND (?2 IS NULL OR principal = ?2) \
             AND (?3 IS NULL OR server = ?3) AND (?4 IS NULL OR tool = ?4) \
             AND (?5 IS NULL OR session = ?5) AND (?6 IS NULL OR effect = ?6) \
             AND (?7 IS NULL OR outcome = ?7) AND (?8 IS NULL OR at >= ?8) \
             AND (?9 IS NULL OR at < ?9) AND (?10 IS NULL OR (at, call) < (?10, ?11)) \
             ORDER BY at DESC, call DESC LIMIT ?12",
        )
        .bind(filter.tenant.as_str())
        .bind(&filter.principal)
        .bind(&filter.server)
        .bind(&filter.tool)
        .bind(filter.session.as_ref().map(SessionId::as_str))
        .bind(filter.effect.as_ref().map(word).transpose()?)
        .bind(filter.outcome.as_ref().map(word).transpose()?)
        .bind(filter.since)
        .bind(filter.until)
        .bind(filter.cursor.as_ref().map(|cursor| cursor.at))
        .bind(filter.cursor.as_ref().map(|cursor| cursor.call.as_str().to_owned()))
        .bind(i64::from(limit).saturating_add(1))
        .fetch_all(&mut *reader)
        .await
        .map_err(StoreError::of(READ))?;
        let mut calls: Vec<CallRow> = rows.iter().map(call).collect::<Result<_, _>>()?;
        // One more than was asked for is read, only to know whether there is another page.
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = calls.len() > limit;
        calls.truncate(limit);
        let last = calls.last().filter(|_| more);
        let next = last.map(|row| CallCursor { at: row.at, call: row.call.clone() });
        Ok(CallPage { calls, next })
    }

    pub(super) async fn find_call(
        &self,
        tenant: &Tenant,
        id: &CallId,
    ) -> Result<Option<CallRow>, StoreError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT * FROM calls WHERE tenant = ?1 AND call = ?2")
            .bind(tenant.as_str())
            .bind(id.as_str())
            .fetch_optional(&mut *reader)
            .await
            .map_err(StoreError::of(READ))?;
        row.as_ref().map(call).transpose()
    }

    pub(super) async fn drop_old(&self, before: i64, limit: u32) -> Result<u64, StoreError> {
        const OPERATION: &str = "delete what is old";
        let mut writing = self.relaxed(OPERATION).await?;
        let calls = sqlx::query(
            "DELETE FROM calls WHERE (tenant, call) IN (SELECT c.tenant, c.call \
             FROM index_positions t CROSS JOIN calls c \
             ON c.tenant = t.tenant AND c.at < ?1 LIMIT ?2)",
        )
        .bind(before)
        .bind(i64::from(limit))
        .execute(&mut *writing.transaction)
        .await
        .map_err(StoreError::of(OPERATION))?;
        let approvals = sqlx::query(
            "DELETE FROM approvals WHERE id IN (SELECT id FROM approvals WHERE expires_at < ?1 \
             AND state NOT IN ('pending', 'approved', 'executing') LIMIT ?2)",
        )
        .bind(before)
        .bind(i64::from(limit))
        .execute(&mut *writing.transaction)
        .await
        .map_err(StoreError::of(OPERATION))?;
        sqlx::query(
            "DELETE FROM approval_records WHERE (tenant, seq) IN (SELECT tenant, seq FROM \
             approval_records WHERE at < ?1 AND approval NOT IN (SELECT id FROM approvals) LIMIT ?2)",
        )
        .bind(before)
        .bind(i64::from(limit))
        .execute(&mut *writing.transaction)
        .await
        .map_err(StoreError::of(OPERATION))?;
        writing.commit().await?;
        Ok(calls.rows_affected().saturating_add(approvals.rows_affected()))
    }
}

/// What a batch has of one call.
#[derive(Clone, Copy, Default)]
struct Halves<'a> {
    decision: Option<&'a DecisionRecord>,
    outcome: Option<&'a OutcomeRecord>,
}

async fn put_call(connection: &mut SqliteConnection, call: Halves<'_>) -> Result<(), StoreError> {
    if let Halves { decision: Some(decision), outcome: Some(outcome) } = call
        && put_both(connection, decision, outcome).await?
    {
        return Ok(());
    }
    if let Some(decision) = call.decision {
        put_decision(connection, decision).await?;
    }
    if let Some(outcome) = call.outcome {
        put_outcome(connection, outcome).await?;
    }
    Ok(())
}

/// A call that is new as a whole; false if there is something of it already.
async fn put_both(
    connection: &mut SqliteConnection,
    decision: &DecisionRecord,
    outcome: &OutcomeRecord,
) -> Result<bool, StoreError> {
    let done = sqlx::query(
        "INSERT INTO calls (tenant, call, at, session, principal, issuer, agent, client, \
         transport, server, tool, method, evaluation, revision, effect, decision_refusal, \
         decision_seq, reasons, request_findings, mode, outcome, outcome_refusal, outcome_seq, \
         approval, response_findings, timings) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, \
         ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26) \
         ON CONFLICT (tenant, call) DO NOTHING",
    )
    .bind(decision.tenant.as_str())
    .bind(decision.call.as_str())
    .bind(decision.at)
    .bind(decision.session.as_ref().map(SessionId::as_str))
    .bind(&decision.principal.id)
    .bind(&decision.principal.issuer)
    .bind(&decision.client.agent)
    .bind(&decision.client.name)
    .bind(&decision.client.transport)
    .bind(&decision.server)
    .bind(&decision.tool)
    .bind(&decision.method)
    .bind(&decision.evaluation)
    .bind(&decision.revision)
    .bind(word(&decision.effect)?)
    .bind(decision.refusal.as_ref().map(word).transpose()?)
    .bind(stored(decision.seq)?)
    .bind(written(&decision.reasons)?)
    .bind(stored(total(&decision.findings))?)
    .bind(&decision.mode)
    .bind(word(&outcome.outcome)?)
    .bind(outcome.refusal.as_ref().map(word).transpose()?)
    .bind(stored(outcome.seq)?)
    .bind(outcome.approval.as_ref().map(ApprovalId::as_str))
    .bind(stored(total(&outcome.findings))?)
    .bind(written(&outcome.timings)?)
    .execute(connection)
    .await
    .map_err(StoreError::of(INDEX))?;
    Ok(done.rows_affected() == 1)
}

async fn put_decision(
    connection: &mut SqliteConnection,
    record: &DecisionRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO calls (tenant, call, at, session, principal, issuer, agent, client, \
         transport, server, tool, method, evaluation, revision, effect, decision_refusal, \
         decision_seq, reasons, request_findings, mode) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, \
         ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20) ON CONFLICT (tenant, call) DO UPDATE \
         SET at = excluded.at, session = excluded.session, principal = excluded.principal, \
         issuer = excluded.issuer, agent = excluded.agent, client = excluded.client, \
         transport = excluded.transport, server = excluded.server, tool = excluded.tool, \
         method = excluded.method, evaluation = excluded.evaluation, \
         revision = excluded.revision, effect = excluded.effect, \
         decision_refusal = excluded.decision_refusal, decision_seq = excluded.decision_seq, \
         reasons = excluded.reasons, request_findings = excluded.request_findings, \
         mode = excluded.mode \
         WHERE decision_seq IS NULL OR decision_seq <= excluded.decision_seq",
    )
    .bind(record.tenant.as_str())
    .bind(record.call.as_str())
    .bind(record.at)
    .bind(record.session.as_ref().map(SessionId::as_str))
    .bind(&record.principal.id)
    .bind(&record.principal.issuer)
    .bind(&record.client.agent)
    .bind(&record.client.name)
    .bind(&record.client.transport)
    .bind(&record.server)
    .bind(&record.tool)
    .bind(&record.method)
    .bind(&record.evaluation)
    .bind(&record.revision)
    .bind(word(&record.effect)?)
    .bind(record.refusal.as_ref().map(word).transpose()?)
    .bind(stored(record.seq)?)
    .bind(written(&record.reasons)?)
    .bind(stored(total(&record.findings))?)
    .bind(&record.mode)
    .execute(connection)
    .await
    .map_err(StoreError::of(INDEX))?;
    Ok(())
}

async fn put_outcome(
    connection: &mut SqliteConnection,
    record: &OutcomeRecord,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO calls (tenant, call, at, session, outcome, outcome_refusal, outcome_seq, \
         approval, response_findings, timings) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) \
         ON CONFLICT (tenant, call) DO UPDATE SET outcome = excluded.outcome, \
         outcome_refusal = excluded.outcome_refusal, outcome_seq = excluded.outcome_seq, \
         approval = excluded.approval, response_findings = excluded.response_findings, \
         timings = excluded.timings \
         WHERE outcome_seq IS NULL OR outcome_seq <= excluded.outcome_seq",
    )
    .bind(record.tenant.as_str())
    .bind(record.call.as_str())
    .bind(record.at)
    .bind(record.session.as_ref().map(SessionId::as_str))
    .bind(word(&record.outcome)?)
    .bind(record.refusal.as_ref().map(word).transpose()?)
    .bind(stored(record.seq)?)
    .bind(record.approval.as_ref().map(ApprovalId::as_str))
    .bind(stored(total(&record.findings))?)
    .bind(written(&record.timings)?)
    .execute(connection)
    .await
    .map_err(StoreError::of(INDEX))?;
    Ok(())
}

async fn put_approval(
    connection: &mut SqliteConnection,
    record: &ApprovalRecord,
) -> Result<(), StoreError> {
    sqlx::query("INSERT OR IGNORE INTO approval_records VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
        .bind(record.tenant.as_str())
        .bind(stored(record.seq)?)
        .bind(record.approval.as_str())
        .bind(match record.kind {
            ApprovalKind::Requested => "approval.requested",
            ApprovalKind::Decided => "approval.decided",
            ApprovalKind::Expired => "approval.expired",
            ApprovalKind::Executed => "approval.executed",
        })
        .bind(record.call.as_str())
        .bind(record.at)
        .execute(connection)
        .await
        .map_err(StoreError::of(INDEX))?;
    Ok(())
}

/// Moves the tenant's position over what follows it without a gap; `sequence` is sorted.
async fn advance(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    sequence: &[u64],
) -> Result<Option<Gap>, StoreError> {
    let row = sqlx::query("SELECT seq FROM index_positions WHERE tenant = ?1")
        .bind(tenant.as_str())
        .fetch_optional(&mut *connection)
        .await
        .map_err(StoreError::of(INDEX))?;
    let before: Option<u64> =
        row.map(|row| count(row.try_get(0).map_err(StoreError::of(INDEX))?)).transpose()?;
    // The first record that the index lacks.
    let mut wanted = before.map_or(0, |seq| seq.saturating_add(1));
    let mut gap = None;
    for seq in sequence {
        if *seq == wanted {
            wanted = wanted.saturating_add(1);
        } else if *seq > wanted {
            gap = Some(Gap { tenant: tenant.clone(), from: wanted, to: *seq });
            break;
        }
    }
    let Some(position) = wanted.checked_sub(1).filter(|last| Some(*last) != before) else {
        return Ok(gap);
    };
    sqlx::query(
        "INSERT INTO index_positions VALUES (?1, ?2) \
         ON CONFLICT (tenant) DO UPDATE SET seq = excluded.seq",
    )
    .bind(tenant.as_str())
    .bind(stored(position)?)
    .execute(connection)
    .await
    .map_err(StoreError::of(INDEX))?;
    Ok(gap)
}

fn call(row: &SqliteRow) -> Result<CallRow, StoreError> {
    let decided: Option<String> = optional(row, "decision_refusal")?;
    let refused: Option<String> = optional(row, "outcome_refusal")?;
    let timings: Option<String> = optional(row, "timings")?;
    Ok(CallRow {
        call: parsed(row, "call", CallId::parse)?,
        tenant: parsed(row, "tenant", Tenant::parse)?,
        at: row.try_get("at").map_err(StoreError::of(READ))?,
        session: word_of(optional(row, "session")?, "session")?,
        principal: text(row, "principal")?,
        issuer: text(row, "issuer")?,
        agent: text(row, "agent")?,
        client: text(row, "client")?,
        transport: text(row, "transport")?,
        server: text(row, "server")?,
        tool: text(row, "tool")?,
        method: text(row, "method")?,
        evaluation: text(row, "evaluation")?,
        revision: text(row, "revision")?,
        mode: text(row, "mode")?,
        effect: word_of(optional(row, "effect")?, "effect")?,
        refusal: word_of(refused.or(decided), "refusal")?,
        outcome: word_of(optional(row, "outcome")?, "outcome")?,
        approval: word_of(optional(row, "approval")?, "approval")?,
        decision_seq: sequence(row, "decision_seq")?,
        outcome_seq: sequence(row, "outcome_seq")?,
        reasons: json(row, "reasons")?,
        request_findings: super::approvals::number(row, "request_findings")?,
        response_findings: super::approvals::number(row, "response_findings")?,
        timings: timings
            .map(|text| serde_json::from_str(&text))
            .transpose()
            .map_err(|error| StoreError::row(READ, "timings", error))?,
    })
}

fn optional(row: &SqliteRow, column: &'static str) -> Result<Option<String>, StoreError> {
    row.try_get(column).map_err(StoreError::of(READ))
}

fn sequence(row: &SqliteRow, column: &'static str) -> Result<Option<u64>, StoreError> {
    let seq: Option<i64> = row.try_get(column).map_err(StoreError::of(READ))?;
    seq.map(count).transpose()
}

fn total(findings: &[RecordFinding]) -> u64 {
    findings.iter().fold(0, |sum, finding| sum.saturating_add(finding.count))
}

/// The word by which JSON spells a value, without its quotes.
fn word<T: Serialize>(value: &T) -> Result<String, StoreError> {
    let text = written(value)?;
    Ok(text.trim_matches('"').to_owned())
}

fn word_of<T: DeserializeOwned>(
    text: Option<String>,
    column: &'static str,
) -> Result<Option<T>, StoreError> {
    text.map(|text| serde_json::from_value(serde_json::Value::String(text)))
        .transpose()
        .map_err(|error| StoreError::row(READ, column, error))
}

fn written<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::row(INDEX, "a value", error))
}

const INDEX: &str = "index the journal";
