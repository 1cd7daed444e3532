//! Approvals in SQLite.

use bytes::Bytes;
use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, CallId, SessionId, Tenant};
use forge_schemas::record::{ApprovalVerdict, RecordPrincipal};
use serde::de::DeserializeOwned;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::super::error::{StoreError, StoreFault};
use super::super::{Change, Inserted, NewRow, OpenLimits};
use super::SqliteStore;
use crate::approval::model::{Approval, ApprovalFilter, Parcel, Vote};
use crate::approval::state::State;

impl SqliteStore {
    pub(super) async fn put_approval(
        &self,
        row: &NewRow,
        limits: OpenLimits,
    ) -> Result<Inserted, StoreError> {
        const OPERATION: &str = "take an approval";
        let mut writing = self.durable(OPERATION).await?;
        let connection = &mut *writing.transaction;
        let open =
            sqlx::query(concat!("SELECT 1 FROM approvals WHERE join_key = ?1 AND ", open!()))
                .bind(row.join_key.to_string())
                .fetch_optional(&mut *connection)
                .await
                .map_err(StoreError::of(OPERATION))?;
        if open.is_some() {
            return Ok(Inserted::Exists);
        }
        let approval = &row.approval;
        let (own, all) = waiting(connection, &approval.tenant, &approval.subject).await?;
        if own >= limits.per_principal {
            return Ok(Inserted::PrincipalFull { open: own });
        }
        if all >= limits.per_tenant {
            return Ok(Inserted::TenantFull { open: all });
        }
        insert(connection, row, OPERATION).await?;
        sqlx::query("INSERT INTO approval_parcels VALUES (?1, ?2, ?3)")
            .bind(approval.id.as_str())
            .bind(&row.parcel.message[..])
            .bind(&row.parcel.arguments[..])
            .execute(connection)
            .await
            .map_err(StoreError::of(OPERATION))?;
        writing.commit().await?;
        Ok(Inserted::New)
    }

    pub(super) async fn find_open(&self, key: &Digest) -> Result<Option<Approval>, StoreError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query(concat!(select!(), "WHERE join_key = ?1 AND ", open!()))
            .bind(key.to_string())
            .fetch_optional(&mut *reader)
            .await
            .map_err(StoreError::of(READ))?;
        one(&mut reader, row).await
    }

    pub(super) async fn count_waiting(
        &self,
        tenant: &Tenant,
        subject: &RecordPrincipal,
    ) -> Result<(u64, u64), StoreError> {
        let mut reader = self.reader().await?;
        waiting(&mut reader, tenant, subject).await
    }

    pub(super) async fn count_pending(&self) -> Result<u64, StoreError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT count(*) FROM approvals WHERE state = 'pending'")
            .fetch_one(&mut *reader)
            .await
            .map_err(StoreError::of(READ))?;
        count(row.try_get(0).map_err(StoreError::of(READ))?)
    }

    pub(super) async fn find_approval(
        &self,
        id: &ApprovalId,
    ) -> Result<Option<Approval>, StoreError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query(concat!(select!(), "WHERE id = ?1"))
            .bind(id.as_str())
            .fetch_optional(&mut *reader)
            .await
            .map_err(StoreError::of(READ))?;
        one(&mut reader, row).await
    }

    pub(super) async fn find_state(&self, id: &ApprovalId) -> Result<Option<State>, StoreError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query("SELECT state FROM approvals WHERE id = ?1")
            .bind(id.as_str())
            .fetch_optional(&mut *reader)
            .await
            .map_err(StoreError::of(READ))?;
        row.map(|row| state(&text(&row, "state")?)).transpose()
    }

    pub(super) async fn find_parcel(&self, id: &ApprovalId) -> Result<Option<Parcel>, StoreError> {
        let mut reader = self.reader().await?;
        let row =
            sqlx::query("SELECT message, arguments FROM approval_parcels WHERE approval = ?1")
                .bind(id.as_str())
                .fetch_optional(&mut *reader)
                .await
                .map_err(StoreError::of(READ))?;
        row.map(|row| {
            let message: Vec<u8> = row.try_get("message").map_err(StoreError::of(READ))?;
            let arguments: Vec<u8> = row.try_get("arguments").map_err(StoreError::of(READ))?;
            Ok(Parcel { message: Bytes::from(message), arguments: Bytes::from(arguments) })
        })
        .transpose()
    }

    pub(super) async fn put_change(&self, change: &Change<'_>) -> Result<bool, StoreError> {
        const OPERATION: &str = "change an approval";
        let mut writing = self.durable(OPERATION).await?;
        let after = change.after;
        let changed = sqlx::query(
            "UPDATE approvals SET state = ?3, version = version + 1, approved_at = ?4, \
             execute_by = ?5, used = ?6, node = ?7 WHERE id = ?1 AND version = ?2 AND state = ?8",
        )
        .bind(change.before.id.as_str())
        .bind(stored(change.before.version)?)
        .bind(after.state.as_str())
        .bind(after.approved_at)
        .bind(after.execute_by)
        .bind(stored(after.used)?)
        .bind(&after.node)
        .bind(change.before.state.as_str())
        .execute(&mut *writing.transaction)
        .await
        .map_err(StoreError::of(OPERATION))?;
        if changed.rows_affected() != 1 {
            return Ok(false);
        }
        if let Some(vote) = change.vote {
            insert_vote(&mut writing.transaction, &after.id, vote, OPERATION).await?;
        }
        writing.commit().await?;
        Ok(true)
    }

    pub(super) async fn find_due(&self, now: i64, limit: u32) -> Result<Vec<Approval>, StoreError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(concat!(
            select!(),
            "WHERE (state = 'pending' AND expires_at <= ?1) \
             OR (state = 'approved' AND execute_by <= ?1) ORDER BY created_at, id LIMIT ?2"
        ))
        .bind(now)
        .bind(i64::from(limit))
        .fetch_all(&mut *reader)
        .await
        .map_err(StoreError::of(READ))?;
        many(&mut reader, rows).await
    }

    pub(super) async fn find_interrupted(&self, node: &str) -> Result<Vec<Approval>, StoreError> {
        let mut reader = self.reader().await?;
        let rows = sqlx::query(concat!(
            select!(),
            "WHERE (state = 'executing' AND (node = ?1 OR node IS NULL)) OR (state = 'approved' \
             AND used < (SELECT count(*) FROM approval_records WHERE approval = approvals.id \
             AND kind = 'approval.executed')) ORDER BY created_at, id"
        ))
        .bind(node)
        .fetch_all(&mut *reader)
        .await
        .map_err(StoreError::of(READ))?;
        many(&mut reader, rows).await
    }

    pub(super) async fn count_executions(&self, id: &ApprovalId) -> Result<u64, StoreError> {
        let mut reader = self.reader().await?;
        let row = sqlx::query(
            "SELECT count(*) FROM approval_records WHERE approval = ?1 \
             AND kind = 'approval.executed'",
        )
        .bind(id.as_str())
        .fetch_one(&mut *reader)
        .await
        .map_err(StoreError::of(READ))?;
        count(row.try_get(0).map_err(StoreError::of(READ))?)
    }

    pub(super) async fn list_approvals(
        &self,
        filter: &ApprovalFilter,
    ) -> Result<Vec<Approval>, StoreError> {
        let mut reader = self.reader().await?;
        let (before_at, before_id) = filter
            .before
            .as_ref()
            .map_or((None, None), |(at, id)| (Some(*at), Some(id.as_str().to_owned())));
        let rows = sqlx::query(concat!(
            select!(),
            "WHERE tenant = ?1 AND (?2 IS NULL OR state = ?2) AND (?3 IS NULL OR subject_id = ?3) \
             AND (?4 IS NULL OR (created_at, id) < (?4, ?5)) \
             ORDER BY created_at DESC, id DESC LIMIT ?6"
        ))
        .bind(filter.tenant.as_str())
        .bind(filter.state.map(State::as_str))
        .bind(&filter.subject)
        .bind(before_at)
        .bind(before_id)
        .bind(i64::from(filter.limit.min(LIST_MAX)))
        .fetch_all(&mut *reader)
        .await
        .map_err(StoreError::of(READ))?;
        many(&mut reader, rows).await
    }

    pub(super) async fn reader(
        &self,
    ) -> Result<sqlx::pool::PoolConnection<sqlx::Sqlite>, StoreError> {
        self.readers.acquire().await.map_err(StoreError::of(READ))
    }
}

/// The start of every question for whole approvals.
macro_rules! select {
    () => {
        "SELECT id, tenant, call, session, evaluation_id, subject_id, subject_issuer, \
         subject_kind, agent, server, tool, schema_digest, policy_revision, message_digest, \
         arguments_digest, arguments_bytes, digest, terms, display, state, version, created_at, \
         expires_at, approved_at, execute_by, used, node FROM approvals "
    };
}
/// As `State::is_open` says; spelled as the partial index spells it, so that it is used.
macro_rules! open {
    () => {
        "state IN ('pending', 'approved', 'executing')"
    };
}
use {open, select};

async fn insert(
    connection: &mut SqliteConnection,
    row: &NewRow,
    operation: &'static str,
) -> Result<(), StoreError> {
    let approval = &row.approval;
    let terms = serde_json::to_string(&approval.terms)
        .map_err(|error| StoreError::row(operation, "the terms", error))?;
    sqlx::query(
        "INSERT INTO approvals (id, tenant, call, session, evaluation_id, subject_id, \
         subject_issuer, subject_kind, agent, server, tool, schema_digest, policy_revision, \
         message_digest, arguments_digest, arguments_bytes, digest, join_key, terms, display, \
         state, version, created_at, expires_at, approved_at, execute_by, used, max_uses, node) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, \
         ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29)",
    )
    .bind(approval.id.as_str())
    .bind(approval.tenant.as_str())
    .bind(approval.call.as_str())
    .bind(approval.session.as_ref().map(SessionId::as_str))
    .bind(&approval.evaluation_id)
    .bind(&approval.subject.id)
    .bind(&approval.subject.issuer)
    .bind(&approval.subject.kind)
    .bind(&approval.agent)
    .bind(&approval.server)
    .bind(&approval.tool)
    .bind(&approval.schema_digest)
    .bind(&approval.policy_revision)
    .bind(approval.message_digest.to_string())
    .bind(approval.arguments_digest.to_string())
    .bind(stored(approval.arguments_bytes)?)
    .bind(approval.digest.to_string())
    .bind(row.join_key.to_string())
    .bind(terms)
    .bind(approval.display.to_string())
    .bind(approval.state.as_str())
    .bind(stored(approval.version)?)
    .bind(approval.created_at)
    .bind(approval.expires_at)
    .bind(approval.approved_at)
    .bind(approval.execute_by)
    .bind(stored(approval.used)?)
    .bind(stored(approval.terms.max_uses)?)
    .bind(&approval.node)
    .execute(connection)
    .await
    .map_err(StoreError::of(operation))?;
    Ok(())
}

async fn insert_vote(
    connection: &mut SqliteConnection,
    id: &ApprovalId,
    vote: &Vote,
    operation: &'static str,
) -> Result<(), StoreError> {
    let fits = serde_json::to_string(&vote.fits)
        .map_err(|error| StoreError::row(operation, "a vote", error))?;
    sqlx::query("INSERT INTO approval_votes VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)")
        .bind(id.as_str())
        .bind(&vote.person)
        .bind(&vote.approver.id)
        .bind(&vote.approver.issuer)
        .bind(&vote.approver.kind)
        .bind(match vote.verdict {
            ApprovalVerdict::Approve => "approve",
            ApprovalVerdict::Deny => "deny",
        })
        .bind(fits)
        .bind(vote.digest.to_string())
        .bind(&vote.reason)
        .bind(vote.at)
        .execute(connection)
        .await
        .map_err(StoreError::of(operation))?;
    Ok(())
}

async fn waiting(
    connection: &mut SqliteConnection,
    tenant: &Tenant,
    subject: &RecordPrincipal,
) -> Result<(u64, u64), StoreError> {
    let row = sqlx::query(
        "SELECT (SELECT count(*) FROM approvals WHERE state = 'pending' AND tenant = ?1 \
         AND subject_issuer = ?2 AND subject_id = ?3), \
         (SELECT count(*) FROM approvals WHERE state = 'pending' AND tenant = ?1)",
    )
    .bind(tenant.as_str())
    .bind(&subject.issuer)
    .bind(&subject.id)
    .fetch_one(connection)
    .await
    .map_err(StoreError::of(READ))?;
    let own: i64 = row.try_get(0).map_err(StoreError::of(READ))?;
    let all: i64 = row.try_get(1).map_err(StoreError::of(READ))?;
    Ok((count(own)?, count(all)?))
}

async fn one(
    connection: &mut SqliteConnection,
    row: Option<SqliteRow>,
) -> Result<Option<Approval>, StoreError> {
    let rows = row.into_iter().collect();
    Ok(many(connection, rows).await?.pop())
}

/// Votes are read after the rows, so they may be newer: then the version of the row is old, and a
/// change that was computed from the two is refused.
async fn many(
    connection: &mut SqliteConnection,
    rows: Vec<SqliteRow>,
) -> Result<Vec<Approval>, StoreError> {
    let mut approvals = Vec::with_capacity(rows.len());
    for row in rows {
        let mut approval = approval(&row)?;
        let votes =
            sqlx::query("SELECT * FROM approval_votes WHERE approval = ?1 ORDER BY at, person")
                .bind(approval.id.as_str())
                .fetch_all(&mut *connection)
                .await
                .map_err(StoreError::of(READ))?;
        approval.votes = votes.iter().map(vote).collect::<Result<_, _>>()?;
        approvals.push(approval);
    }
    Ok(approvals)
}

fn approval(row: &SqliteRow) -> Result<Approval, StoreError> {
    let session: Option<String> = row.try_get("session").map_err(StoreError::of(READ))?;
    Ok(Approval {
        id: parsed(row, "id", ApprovalId::parse)?,
        tenant: parsed(row, "tenant", Tenant::parse)?,
        call: parsed(row, "call", CallId::parse)?,
        session: session
            .map(|id| SessionId::parse(&id))
            .transpose()
            .map_err(|error| StoreError::row(READ, "session", error))?,
        evaluation_id: text(row, "evaluation_id")?,
        subject: RecordPrincipal {
            id: text(row, "subject_id")?,
            issuer: text(row, "subject_issuer")?,
            kind: text(row, "subject_kind")?,
        },
        agent: text(row, "agent")?,
        server: text(row, "server")?,
        tool: text(row, "tool")?,
        schema_digest: text(row, "schema_digest")?,
        policy_revision: text(row, "policy_revision")?,
        message_digest: parsed(row, "message_digest", str::parse)?,
        arguments_digest: parsed(row, "arguments_digest", str::parse)?,
        arguments_bytes: number(row, "arguments_bytes")?,
        digest: parsed(row, "digest", str::parse)?,
        terms: json(row, "terms")?,
        display: json(row, "display")?,
        state: state(&text(row, "state")?)?,
        version: number(row, "version")?,
        created_at: row.try_get("created_at").map_err(StoreError::of(READ))?,
        expires_at: row.try_get("expires_at").map_err(StoreError::of(READ))?,
        approved_at: row.try_get("approved_at").map_err(StoreError::of(READ))?,
        execute_by: row.try_get("execute_by").map_err(StoreError::of(READ))?,
        used: number(row, "used")?,
        node: row.try_get("node").map_err(StoreError::of(READ))?,
        votes: Vec::new(),
    })
}

fn vote(row: &SqliteRow) -> Result<Vote, StoreError> {
    Ok(Vote {
        person: text(row, "person")?,
        approver: RecordPrincipal {
            id: text(row, "approver_id")?,
            issuer: text(row, "approver_issuer")?,
            kind: text(row, "approver_kind")?,
        },
        verdict: match text(row, "verdict")?.as_str() {
            "approve" => ApprovalVerdict::Approve,
            "deny" => ApprovalVerdict::Deny,
            _ => return Err(StoreError::bare(READ, StoreFault::Row("verdict"))),
        },
        fits: json(row, "fits")?,
        digest: parsed(row, "digest", str::parse)?,
        reason: row.try_get("reason").map_err(StoreError::of(READ))?,
        at: row.try_get("at").map_err(StoreError::of(READ))?,
    })
}

fn state(text: &str) -> Result<State, StoreError> {
    State::parse(text).ok_or(StoreError::bare(READ, StoreFault::Row("state")))
}

pub(super) fn text(row: &SqliteRow, column: &'static str) -> Result<String, StoreError> {
    row.try_get(column).map_err(StoreError::of(READ))
}

pub(super) fn parsed<T, E>(
    row: &SqliteRow,
    column: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<T, StoreError>
where
    E: std::error::Error + Send + Sync + 'static,
{
    parse(&text(row, column)?).map_err(|error| StoreError::row(READ, column, error))
}

pub(super) fn json<T: DeserializeOwned>(
    row: &SqliteRow,
    column: &'static str,
) -> Result<T, StoreError> {
    serde_json::from_str(&text(row, column)?).map_err(|error| StoreError::row(READ, column, error))
}

pub(super) fn number(row: &SqliteRow, column: &'static str) -> Result<u64, StoreError> {
    count(row.try_get(column).map_err(StoreError::of(READ))?)
}

pub(super) fn count(number: i64) -> Result<u64, StoreError> {
    u64::try_from(number).map_err(|error| StoreError::row(READ, "a number", error))
}

/// SQLite's integers are signed.
pub(super) fn stored(number: u64) -> Result<i64, StoreError> {
    i64::try_from(number).map_err(|error| StoreError::row("write a number", "a number", error))
}

pub(super) const READ: &str = "be read";
pub(super) const LIST_MAX: u32 = 500;
