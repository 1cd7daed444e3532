//! Why the store refused.

use sqlx::error::DatabaseError;

/// One verb failed; nothing of it was written.
#[derive(Debug, thiserror::Error)]
#[error("the store cannot {operation}: {fault}")]
pub struct StoreError {
    /// What was to be done.
    pub operation: &'static str,
    /// What stood in the way.
    pub fault: StoreFault,
    /// The driver's own error.
    #[source]
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What stands in the way of a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreFault {
    /// Disk or quota is full.
    #[error("it is full")]
    Full,
    /// It may only be read.
    #[error("it is read-only")]
    ReadOnly,
    /// Somebody else held it for too long.
    #[error("it is busy")]
    Busy,
    /// It cannot be opened, read or written.
    #[error("it is unavailable")]
    Unavailable,
    /// It is damaged, or not a store at all.
    #[error("it is damaged")]
    Corrupt,
    /// A row does not hold what this version writes.
    #[error("{0} is not what this version writes")]
    Row(&'static str),
    /// A newer version of the gateway has changed its schema.
    #[error("its schema is version {found}, this build knows {known}")]
    Newer {
        /// In the store.
        found: i64,
        /// In this build.
        known: i64,
    },
    /// Its schema is older, and it was opened without changing it.
    #[error("its schema is version {found}, this build needs {known}")]
    Older {
        /// In the store.
        found: i64,
        /// In this build.
        known: i64,
    },
    /// A migration that was applied is not the one in this build.
    #[error("migration {0} was changed after it was applied")]
    Migration(i64),
    /// The URL names no store that this build knows.
    #[error("the URL has to be sqlite://FILE")]
    Url,
}

impl StoreError {
    /// Without an error of the driver.
    pub(crate) const fn bare(operation: &'static str, fault: StoreFault) -> Self {
        Self { operation, fault, source: None }
    }

    /// For a row that cannot be read.
    pub(super) fn row(
        operation: &'static str,
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self { operation, fault: StoreFault::Row(what), source: Some(source.into()) }
    }

    /// For the file system.
    pub(super) fn file(operation: &'static str, error: std::io::Error) -> Self {
        let kind = error.kind();
        let full = [std::io::ErrorKind::StorageFull, std::io::ErrorKind::QuotaExceeded];
        let fault = if full.contains(&kind) {
            StoreFault::Full
        } else if kind == std::io::ErrorKind::ReadOnlyFilesystem {
            StoreFault::ReadOnly
        } else {
            StoreFault::Unavailable
        };
        Self { operation, fault, source: Some(error.into()) }
    }

    /// What the driver says, put into our words.
    pub(super) fn of(operation: &'static str) -> impl FnOnce(sqlx::Error) -> Self {
        move |error| Self { operation, fault: fault(&error), source: Some(error.into()) }
    }

    /// Stable code (`docs/reference/approvals.md`).
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self.fault {
            StoreFault::Full => "store.full",
            StoreFault::ReadOnly => "store.read_only",
            StoreFault::Busy => "store.busy",
            StoreFault::Unavailable => "store.unavailable",
            StoreFault::Corrupt => "store.corrupt",
            StoreFault::Row(_) => "store.row",
            StoreFault::Newer { .. } | StoreFault::Older { .. } | StoreFault::Migration(_) => {
                "store.schema"
            }
            StoreFault::Url => "store.url",
        }
    }
}

fn fault(error: &sqlx::Error) -> StoreFault {
    if let Some(code) = error.as_database_error().and_then(primary_code) {
        return match code {
            SQLITE_BUSY | SQLITE_LOCKED => StoreFault::Busy,
            SQLITE_READONLY => StoreFault::ReadOnly,
            SQLITE_FULL => StoreFault::Full,
            SQLITE_CORRUPT | SQLITE_NOTADB => StoreFault::Corrupt,
            SQLITE_CONSTRAINT => StoreFault::Row("a value"),
            _ => StoreFault::Unavailable,
        };
    }
    if matches!(error, sqlx::Error::PoolTimedOut) {
        return StoreFault::Busy;
    }
    if matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) {
        return StoreFault::Row("a column");
    }
    StoreFault::Unavailable
}

/// The low byte of SQLite's extended result code (<https://www.sqlite.org/rescode.html>).
fn primary_code(error: &dyn DatabaseError) -> Option<u32> {
    let code: u32 = error.code()?.parse().ok()?;
    Some(code & 0xff)
}

const SQLITE_BUSY: u32 = 5;
const SQLITE_LOCKED: u32 = 6;
const SQLITE_READONLY: u32 = 8;
const SQLITE_CORRUPT: u32 = 11;
const SQLITE_FULL: u32 = 13;
const SQLITE_CONSTRAINT: u32 = 19;
const SQLITE_NOTADB: u32 = 26;
