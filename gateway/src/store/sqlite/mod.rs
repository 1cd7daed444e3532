//! The store in one SQLite file, for one machine.
//!
//! Write-ahead log; foreign keys on; a connection that writes approvals with `synchronous=FULL`,
//! one that writes the index with `NORMAL` (the journal is its truth, so a power cut may cost the
//! last rows), and some that only read. The two writers take turns in this process by a fair lock
//! and among processes by SQLite's own, for which they wait at most `busy_timeout`.
//!
//! SQLite runs on the driver's own threads, so nothing here blocks the executor.

mod approvals;
mod calls;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, CallId, Tenant};
use forge_schemas::record::{Record, RecordPrincipal};
use futures_util::future::BoxFuture;
use sqlx::pool::PoolOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::Instant;

use super::error::{StoreError, StoreFault};
use super::migrate::{self, Status};
use super::{
    Answer, CallFilter, CallPage, CallRow, Change, Gap, Inserted, NewRow, OpenLimits, Store,
};
use crate::approval::model::{Approval, ApprovalFilter, Parcel};
use crate::approval::state::State;
use crate::clock::{self, Clock};

/// How to open the file.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file; its folder has to exist.
    pub path: PathBuf,
    /// How long to wait for other processes.
    pub busy_timeout: Duration,
    /// How many connections read.
    pub readers: u32,
    /// The file may grow to so many bytes; beyond that writes are refused as `store.full`.
    pub bytes_max: Option<u64>,
    /// Change nothing: neither data nor schema.
    pub read_only: bool,
    /// Stamps migrations.
    pub clock: Arc<dyn Clock>,
}

impl Settings {
    /// The defaults for a gateway.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self {
            path,
            busy_timeout: Duration::from_secs(5),
            readers: 4,
            bytes_max: None,
            read_only: false,
            clock: clock::system(),
        }
    }
}

/// The store in a SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    /// Approvals: `synchronous=FULL`, one connection.
    durable: SqlitePool,
    /// The index: `synchronous=NORMAL`, one connection.
    relaxed: SqlitePool,
    readers: SqlitePool,
    /// Whose turn it is to write. Held over a transaction, which the driver's thread runs; fair,
    /// so that a busy index does not starve approvals.
    turn: Mutex<()>,
}

impl SqliteStore {
    /// Opens the file, makes it if there is none (mode 0600), and brings its schema up to date.
    ///
    /// # Errors
    /// If it cannot be opened, is no store, is newer than this build, or was tampered with.
    pub async fn open(settings: Settings) -> Result<Self, StoreError> {
        if !settings.read_only {
            protect(&settings.path).await?;
            let mut connection = connect(&settings).await?;
            let now = settings.clock.now_ms();
            let migrated = migrate::up(&mut connection, now).await;
            shut(connection).await?;
            migrated?;
        }
        let store = Self::pools(&settings);
        let mut reader = store.readers.acquire().await.map_err(StoreError::of("be opened"))?;
        migrate::check(&mut reader).await?;
        Ok(store)
    }

    fn pools(settings: &Settings) -> Self {
        let full = options(settings, SqliteSynchronous::Full);
        let normal = options(settings, SqliteSynchronous::Normal);
        let reading = full.clone().read_only(true);
        // A read-only file is opened read-only by all, so that a write is refused by SQLite itself.
        let writing = |writes: SqliteConnectOptions| {
            if settings.read_only { reading.clone() } else { writes }
        };
        Self {
            durable: pool(writing(full), 1, settings),
            relaxed: pool(writing(normal), 1, settings),
            readers: pool(reading.clone(), settings.readers.max(1), settings),
            turn: Mutex::new(()),
        }
    }

    /// Which migrations the file has. Makes nothing and changes nothing.
    ///
    /// # Errors
    /// If there is no such file or it cannot be read.
    pub async fn migrations(settings: &Settings) -> Result<Vec<Status>, StoreError> {
        let mut connection = connect_existing(settings).await?;
        let status = migrate::status(&mut connection).await;
        shut(connection).await?;
        status
    }

    /// Takes migrations back until the file has version `to`, with what they held. No gateway may
    /// have it open.
    ///
    /// # Errors
    /// If there is no such file, it is newer than this build, or it cannot be written.
    pub async fn migrate_down(settings: &Settings, to: i64) -> Result<(), StoreError> {
        let mut connection = connect_existing(settings).await?;
        let done = migrate::down(&mut connection, to).await;
        shut(connection).await?;
        done
    }

    #[cfg(test)]
    pub(super) const fn test_pools(&self) -> (&SqlitePool, &SqlitePool, &SqlitePool) {
        (&self.durable, &self.relaxed, &self.readers)
    }

    /// Begins a transaction that writes approvals: on disk when it is committed.
    async fn durable(&self, operation: &'static str) -> Result<Writing<'_>, StoreError> {
        self.write(&self.durable, operation).await
    }

    /// Begins a transaction that writes the index: complete or absent, but perhaps not yet on disk.
    async fn relaxed(&self, operation: &'static str) -> Result<Writing<'_>, StoreError> {
        self.write(&self.relaxed, operation).await
    }

    async fn write(
        &self,
        pool: &SqlitePool,
        operation: &'static str,
    ) -> Result<Writing<'_>, StoreError> {
        let turn = self.turn.lock().await;
        // IMMEDIATE takes the write lock now: a transaction that began by reading could otherwise
        // find, when it writes, that what it read is old.
        let transaction =
            pool.begin_with("BEGIN IMMEDIATE").await.map_err(StoreError::of(operation))?;
        Ok(Writing { transaction, operation, _turn: turn })
    }
}

/// A transaction and the turn to write. Dropped, it is rolled back.
struct Writing<'a> {
    transaction: Transaction<'static, Sqlite>,
    operation: &'static str,
    _turn: MutexGuard<'a, ()>,
}

impl Writing<'_> {
    async fn commit(self) -> Result<(), StoreError> {
        self.transaction.commit().await.map_err(StoreError::of(self.operation))
    }
}

impl Store for SqliteStore {
    fn insert_approval<'a>(&'a self, row: &'a NewRow, limits: OpenLimits) -> Answer<'a, Inserted> {
        Box::pin(self.put_approval(row, limits))
    }

    fn open_approval<'a>(&'a self, join_key: &'a Digest) -> Answer<'a, Option<Approval>> {
        Box::pin(self.find_open(join_key))
    }

    fn waiting_approvals<'a>(
        &'a self,
        tenant: &'a Tenant,
        subject: &'a RecordPrincipal,
    ) -> Answer<'a, (u64, u64)> {
        Box::pin(self.count_waiting(tenant, subject))
    }

    fn pending_approvals(&self) -> Answer<'_, u64> {
        Box::pin(self.count_pending())
    }

    fn approval<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, Option<Approval>> {
        Box::pin(self.find_approval(id))
    }

    fn approval_state<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, Option<State>> {
        Box::pin(self.find_state(id))
    }

    fn parcel<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, Option<Parcel>> {
        Box::pin(self.find_parcel(id))
    }

    fn change_approval<'a>(&'a self, change: &'a Change<'a>) -> Answer<'a, bool> {
        Box::pin(self.put_change(change))
    }

    fn due_approvals(&self, now: i64, limit: u32) -> Answer<'_, Vec<Approval>> {
        Box::pin(self.find_due(now, limit))
    }

    fn interrupted_approvals<'a>(&'a self, node: &'a str) -> Answer<'a, Vec<Approval>> {
        Box::pin(self.find_interrupted(node))
    }

    fn recorded_executions<'a>(&'a self, id: &'a ApprovalId) -> Answer<'a, u64> {
        Box::pin(self.count_executions(id))
    }

    fn approvals<'a>(&'a self, filter: &'a ApprovalFilter) -> Answer<'a, Vec<Approval>> {
        Box::pin(self.list_approvals(filter))
    }

    fn index<'a>(&'a self, records: &'a [Record]) -> Answer<'a, Vec<Gap>> {
        Box::pin(self.put_records(records))
    }

    fn indexed(&self) -> Answer<'_, Vec<(Tenant, u64)>> {
        Box::pin(self.find_positions())
    }

    fn clear_index(&self) -> Answer<'_, ()> {
        Box::pin(self.drop_records())
    }

    fn calls<'a>(&'a self, filter: &'a CallFilter) -> Answer<'a, CallPage> {
        Box::pin(self.list_calls(filter))
    }

    fn call<'a>(&'a self, tenant: &'a Tenant, call: &'a CallId) -> Answer<'a, Option<CallRow>> {
        Box::pin(self.find_call(tenant, call))
    }

    fn prune(&self, before: i64, limit: u32) -> Answer<'_, u64> {
        Box::pin(self.drop_old(before, limit))
    }

    fn health(&self) -> Answer<'_, ()> {
        Box::pin(async {
            // Takes the write lock and writes nothing: a file that cannot be written is found here.
            let mut writing = self.durable("be written").await?;
            let operation = writing.operation;
            sqlx::query("UPDATE schema_migrations SET name = name WHERE version < 0")
                .execute(&mut *writing.transaction)
                .await
                .map_err(StoreError::of(operation))?;
            writing.transaction.rollback().await.map_err(StoreError::of(operation))
        })
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            self.readers.close().await;
            self.relaxed.close().await;
            self.durable.close().await;
        })
    }
}

fn pool(options: SqliteConnectOptions, most: u32, settings: &Settings) -> SqlitePool {
    // As long again as SQLite itself may wait, so that its own error comes first.
    let acquire = settings.busy_timeout.saturating_mul(2);
    PoolOptions::new()
        .max_connections(most)
        .acquire_timeout(acquire)
        .idle_timeout(None)
        .max_lifetime(None)
        .after_release(|connection, _| Box::pin(is_clean(connection)))
        .connect_lazy_with(options)
}

/// Whether a connection may be used again. When the disk is full SQLite rolls back by itself; the
/// driver's own ROLLBACK then fails, and it would take the connection to be in a transaction for
/// ever. The ping comes first since a rollback on drop is only queued.
async fn is_clean(connection: &mut SqliteConnection) -> Result<bool, sqlx::Error> {
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

fn options(settings: &Settings, synchronous: SqliteSynchronous) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(&settings.path)
        .create_if_missing(false)
        .foreign_keys(true)
        .busy_timeout(settings.busy_timeout)
        .synchronous(synchronous)
        .thread_name(|number| format!("store-{number}"))
        // Statements are logged nowhere: what they bind is not, but what they are about would be.
        .disable_statement_logging();
    let options = match settings.bytes_max {
        Some(bytes) => options.pragma("max_page_count", (bytes / PAGE_BYTES).max(1).to_string()),
        None => options,
    };
    if settings.read_only { options } else { options.journal_mode(SqliteJournalMode::Wal) }
}

/// Opens one connection by itself. Turning a new file to WAL fails at once, without SQLite waiting,
/// when another process does the same: then it is tried again for as long.
async fn connect(settings: &Settings) -> Result<SqliteConnection, StoreError> {
    let options = options(settings, SqliteSynchronous::Full);
    let end = Instant::now().checked_add(settings.busy_timeout);
    loop {
        let opened = options.connect().await.map_err(StoreError::of("be opened"));
        let over = end.is_none_or(|end| Instant::now() >= end);
        match opened {
            Err(error) if error.fault == StoreFault::Busy && !over => {
                tokio::time::sleep(RETRY_AFTER).await;
            }
            opened => return opened,
        }
    }
}

async fn connect_existing(settings: &Settings) -> Result<SqliteConnection, StoreError> {
    tokio::fs::metadata(&settings.path)
        .await
        .map_err(|error| StoreError::file("be opened", error))?;
    connect(settings).await
}

async fn shut(connection: SqliteConnection) -> Result<(), StoreError> {
    connection.close().await.map_err(StoreError::of("be closed"))
}

/// Makes the file if there is none, and takes it away from group and others: it holds arguments.
/// SQLite gives its log and its shared memory the same mode.
async fn protect(path: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error| StoreError::file("be opened", error);
    let mut open = tokio::fs::OpenOptions::new();
    open.read(true).write(true).create(true).truncate(false).mode(MODE);
    let file = open.open(path).await.map_err(failed)?;
    let found = file.metadata().await.map_err(failed)?;
    if !found.is_file() {
        return Err(StoreError::bare("be opened", StoreFault::Unavailable));
    }
    if found.permissions().mode() & 0o077 != 0 {
        let only_ours = std::fs::Permissions::from_mode(MODE);
        file.set_permissions(only_ours).await.map_err(failed)?;
    }
    // The name of a new file is durable only when its folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = tokio::fs::File::open(folder.unwrap_or(Path::new("."))).await.map_err(failed)?;
    folder.sync_all().await.map_err(failed)
}

const RETRY_AFTER: Duration = Duration::from_millis(5);
const MODE: u32 = 0o600;
const PAGE_BYTES: u64 = 4096;
