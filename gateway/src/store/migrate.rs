//! The schema's versions: numbered, each with a way back, never edited once merged.
//!
//! Every step is one transaction. The text that was applied is remembered by its digest; a store
//! whose steps are not those of this build is refused, and so is one that is newer.

use forge_schemas::digest::Digest;
use sqlx::{Row, SqliteConnection};

use super::error::{StoreError, StoreFault};

/// One step of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// From 1, without gaps.
    pub version: i64,
    /// What it brings.
    pub name: &'static str,
    up: &'static str,
    down: &'static str,
}

impl Migration {
    fn checksum(&self) -> String {
        Digest::of(self.up.as_bytes()).to_string()
    }
}

macro_rules! sqlite_migration {
    ($version:literal, $name:literal, $file:literal) => {
        Migration {
            version: $version,
            name: $name,
            up: include_str!(concat!("migrations/sqlite/", $file, ".up.sql")),
            down: include_str!(concat!("migrations/sqlite/", $file, ".down.sql")),
        }
    };
}

/// The steps for SQLite.
pub const SQLITE: [Migration; 4] = [
    sqlite_migration!(1, "approvals", "0001_approvals"),
    sqlite_migration!(2, "index", "0002_index"),
    sqlite_migration!(3, "mode", "0003_mode"),
    sqlite_migration!(4, "age", "0004_age"),
];

/// The newest version that this build knows.
pub const KNOWN: i64 = 4;

/// One step and whether the store has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Version.
    pub version: i64,
    /// What it brings.
    pub name: &'static str,
    /// When it was applied, in milliseconds since 1970 UTC.
    pub applied_at: Option<i64>,
}

struct Applied {
    version: i64,
    checksum: String,
    at: i64,
}

/// Which steps the store has.
pub(super) async fn status(connection: &mut SqliteConnection) -> Result<Vec<Status>, StoreError> {
    let applied = applied(connection).await?;
    let at = |version| applied.iter().find(|step| step.version == version).map(|step| step.at);
    Ok(SQLITE
        .iter()
        .map(|step| Status { version: step.version, name: step.name, applied_at: at(step.version) })
        .collect())
}

/// Applies what is missing.
pub(super) async fn up(connection: &mut SqliteConnection, now: i64) -> Result<(), StoreError> {
    for step in SQLITE {
        run(connection, "BEGIN IMMEDIATE").await?;
        let done = up_one(connection, &step, now).await;
        end(connection, done).await?;
    }
    Ok(())
}

/// Takes steps back until the store has version `to`.
pub(super) async fn down(connection: &mut SqliteConnection, to: i64) -> Result<(), StoreError> {
    for step in SQLITE.iter().rev().filter(|step| step.version > to) {
        run(connection, "BEGIN IMMEDIATE").await?;
        let done = down_one(connection, step).await;
        end(connection, done).await?;
    }
    Ok(())
}

/// Refuses a store that is not exactly of this build's version, and changes nothing.
pub(super) async fn check(connection: &mut SqliteConnection) -> Result<(), StoreError> {
    let found = version(&applied(connection).await?)?;
    if found < KNOWN {
        return Err(StoreError::bare(OPERATION, StoreFault::Older { found, known: KNOWN }));
    }
    Ok(())
}

async fn up_one(
    connection: &mut SqliteConnection,
    step: &Migration,
    now: i64,
) -> Result<(), StoreError> {
    // Read inside the transaction: another process may have been quicker.
    run(connection, TABLE).await?;
    if version(&applied(connection).await?)? >= step.version {
        return Ok(());
    }
    run(connection, step.up).await?;
    sqlx::query("INSERT INTO schema_migrations VALUES (?1, ?2, ?3, ?4)")
        .bind(step.version)
        .bind(step.name)
        .bind(step.checksum())
        .bind(now)
        .execute(connection)
        .await
        .map_err(StoreError::of(OPERATION))?;
    Ok(())
}

async fn down_one(connection: &mut SqliteConnection, step: &Migration) -> Result<(), StoreError> {
    if version(&applied(connection).await?)? < step.version {
        return Ok(());
    }
    run(connection, step.down).await?;
    sqlx::query("DELETE FROM schema_migrations WHERE version = ?1")
        .bind(step.version)
        .execute(connection)
        .await
        .map_err(StoreError::of(OPERATION))?;
    Ok(())
}

/// The version that the steps add up to, if they are those of this build.
fn version(applied: &[Applied]) -> Result<i64, StoreError> {
    let found = applied.iter().map(|step| step.version).max().unwrap_or(0);
    if found > KNOWN {
        return Err(StoreError::bare(OPERATION, StoreFault::Newer { found, known: KNOWN }));
    }
    let steps = SQLITE.iter().filter(|step| step.version <= found);
    for step in steps {
        let same =
            |done: &&Applied| done.version == step.version && done.checksum == step.checksum();
        if !applied.iter().any(|done| same(&done)) {
            return Err(StoreError::bare(OPERATION, StoreFault::Migration(step.version)));
        }
    }
    Ok(found)
}

async fn applied(connection: &mut SqliteConnection) -> Result<Vec<Applied>, StoreError> {
    let known = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = 'schema_migrations'")
        .fetch_optional(&mut *connection)
        .await
        .map_err(StoreError::of(OPERATION))?;
    if known.is_none() {
        return Ok(Vec::new());
    }
    let rows = sqlx::query("SELECT version, checksum, applied_at FROM schema_migrations")
        .fetch_all(connection)
        .await
        .map_err(StoreError::of(OPERATION))?;
    rows.iter()
        .map(|row| {
            Ok(Applied {
                version: row.try_get(0).map_err(StoreError::of(OPERATION))?,
                checksum: row.try_get(1).map_err(StoreError::of(OPERATION))?,
                at: row.try_get(2).map_err(StoreError::of(OPERATION))?,
            })
        })
        .collect()
}

async fn run(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), StoreError> {
    sqlx::raw_sql(sql).execute(connection).await.map_err(StoreError::of(OPERATION))?;
    Ok(())
}

async fn end(
    connection: &mut SqliteConnection,
    done: Result<(), StoreError>,
) -> Result<(), StoreError> {
    match done {
        Ok(()) => run(connection, "COMMIT").await,
        Err(error) => {
            // Where SQLite has rolled back by itself there is nothing left to roll back.
            run(connection, "ROLLBACK").await.ok();
            Err(error)
        }
    }
}

const OPERATION: &str = "bring its schema up to date";

const TABLE: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (
  version    INTEGER NOT NULL PRIMARY KEY,
  name       TEXT    NOT NULL,
  checksum   TEXT    NOT NULL,
  applied_at INTEGER NOT NULL
) STRICT";
