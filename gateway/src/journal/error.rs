//! What can go wrong in the journal.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use forge_evidence::note::SignError;
use forge_evidence::segment::Alarm;
use forge_schemas::ids::Tenant;

/// A record could not be made durable, or the journal not be opened.
#[derive(Clone, Debug, thiserror::Error)]
pub enum JournalError {
    /// An earlier write, sync or signature failed: nothing can be recorded until a restart.
    #[error("the evidence journal has failed and records nothing any more")]
    Failed(#[source] Arc<Failure>),
    /// The journal was closed.
    #[error("the evidence journal is closed")]
    Closed,
    /// The record does not fit a leaf. Only this append failed.
    #[error("a record of {bytes} bytes does not fit a leaf of {most}")]
    TooLarge {
        /// Its size with the widest possible place.
        bytes: usize,
        /// What fits.
        most: usize,
    },
    /// The record is not canonical JSON. Only this append failed.
    #[error("a record is not canonical JSON: {0}")]
    NotCanonical(String),
    /// More records at once than the queue holds. Only this append failed.
    #[error("{0} records at once are more than the queue holds")]
    TooMany(usize),
    /// The name cannot be a directory. Only this append failed.
    #[error("the tenant {0} cannot have a log: its name starts with a dot")]
    TenantName(Tenant),
    /// There are too many logs. Only this append failed.
    #[error("there are {0} evidence logs already, no more tenants can be taken in")]
    Tenants(usize),
    /// Another process writes this journal.
    #[error("the evidence in {} is in use by another process", .0.display())]
    Locked(PathBuf),
    /// The evidence on disk is not what was written.
    #[error("the evidence log of {tenant} was damaged or tampered with and must not be used")]
    Alarm {
        /// Whose log.
        tenant: Tenant,
        /// What, and where.
        #[source]
        alarm: Arc<Alarm>,
    },
    /// A directory in the evidence path has a name that no tenant has.
    #[error("{} is not a tenant's log", .0.display())]
    Stranger(PathBuf),
    /// The journal could not be opened.
    #[error("could not open the evidence journal")]
    Open(#[source] Arc<Failure>),
}

/// What made a journal fail for good.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file system.
    #[error("could not {action} {}", path.display())]
    Disk {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The checkpoint could not be signed.
    #[error("could not sign a checkpoint")]
    Sign(#[source] SignError),
    /// A frame does not fit; records were measured before.
    #[error("a frame does not fit")]
    Frame(#[source] forge_evidence::segment::FrameTooLong),
    /// A record could not be written as JSON; it could be a moment before.
    #[error("a record cannot be written")]
    Write(#[source] serde_json::Error),
    /// The writer's thread could not be started, or is gone.
    #[error("the journal's thread is not running")]
    Thread,
}

impl Failure {
    /// A failure of the file system.
    pub(crate) fn disk(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Disk { action, path, source }
    }
}

impl JournalError {
    /// True if the journal records nothing any more; false if only this append failed.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Self::TooLarge { .. }
                | Self::NotCanonical(_)
                | Self::TooMany(_)
                | Self::TenantName(_)
                | Self::Tenants(_)
        )
    }
}
