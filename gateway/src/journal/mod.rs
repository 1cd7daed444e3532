//! Evidence on disk: one append-only log per tenant, written by one thread.
//!
//! [`Journal::append`] returns when the records are on the disk under a signed checkpoint. What is
//! waiting is written as one commit: one write, one `fdatasync` and one signature for each log
//! concerned. The first error of a write, a sync or a signature ends the journal: it is never
//! retried, since nobody knows what the disk holds after one.
//!
//! Under the evidence path: `lock`, `logs/TENANT/NNN.seg` and `logs/TENANT/anchor` (formats:
//! `forge_evidence::segment`), `policy/DIGEST/…` (see [`keep_bundle`]). The formats know nothing of
//! threads, this module nothing of formats.

mod chain;
pub mod disk;
mod error;
mod export;
mod log;
mod read;
mod recover;
mod writer;

#[cfg(test)]
mod sim;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use forge_evidence::note::{Signer, TrustedKey};
use forge_schemas::digest::Digest;
use forge_schemas::ids::Tenant;
use forge_schemas::record::{Place, RECORD_BYTES_MAX, Record};
use tokio::sync::{Semaphore, broadcast, oneshot};

use crate::clock::Clock;

pub use error::{Failure, JournalError};
pub use export::{Export, ExportError, Wanted, keep_bundle, kept_bundles, tenants};
pub use read::{Entry, LogReader, ReadError};

use chain::Chains;
use disk::{Disk, LocalDisk};
use log::{Around, Log};
use recover::{Ledger, Totals};
use writer::{Append, Request, Writer};

/// How the journal works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The evidence path.
    pub dir: PathBuf,
    /// Host name of log origins, which are `TENANT.ORIGIN`.
    pub origin: String,
    /// The gateway's own tenant, whose log has `node.start` and `node.stop`.
    pub tenant: Tenant,
    /// Shortest time from one commit to the next when requests are waiting.
    pub commit_interval: Duration,
    /// Records of one commit, about.
    pub batch_max: usize,
    /// Records waiting at most; appends wait for room.
    pub queue_max: usize,
    /// A segment is not added to once it is this long.
    pub segment_bytes_max: u64,
    /// Session chains at most; the idlest are closed beyond that.
    pub sessions_max: usize,
    /// Logs at most.
    pub tenants_max: usize,
}

impl Settings {
    /// The usual settings: 2 ms, 4,096 records, 64 MiB.
    #[must_use]
    pub fn new(dir: &Path, origin: &str, tenant: Tenant) -> Self {
        Self {
            dir: dir.to_owned(),
            origin: origin.to_owned(),
            tenant,
            commit_interval: Duration::from_millis(2),
            batch_max: 4_096,
            queue_max: 16_384,
            segment_bytes_max: 64 << 20,
            sessions_max: 65_536,
            tenants_max: 10_000,
        }
    }
}

/// Keys of the journal.
#[derive(Clone, Debug)]
pub struct Keys {
    /// Signs checkpoints.
    pub signer: Arc<dyn Signer>,
    /// Public keys that signed earlier checkpoints of these logs; the signer's own need not be here.
    pub earlier: Vec<TrustedKey>,
}

/// Where a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Leaf index in its tenant's log.
    pub seq: u64,
    /// Milliseconds since 1970 UTC, as in the record.
    pub at: i64,
    /// RFC 6962 leaf hash.
    pub leaf: Digest,
}

/// A record that is durable.
#[derive(Clone, Debug)]
pub struct Committed {
    /// Whose log.
    pub tenant: Tenant,
    /// Leaf index.
    pub seq: u64,
    /// Milliseconds since 1970 UTC.
    pub at: i64,
    /// RFC 6962 leaf hash.
    pub leaf: Digest,
    /// The record as it was placed.
    pub record: Record,
}

impl Committed {
    const fn receipt(&self) -> Receipt {
        Receipt { seq: self.seq, at: self.at, leaf: self.leaf }
    }
}

/// What opening the journal found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Logs.
    pub logs: u64,
    /// Records in them.
    pub records: u64,
    /// Calls closed as `outcome_unknown`.
    pub unknown: u64,
    /// Calls closed as refused because they waited for a person; their approvals may still be
    /// pending in the store.
    pub pending: u64,
    /// Bytes of unacknowledged commits that were cut.
    pub cut_bytes: u64,
}

/// The evidence journal. Closing it is [`Journal::close`]; dropping it lets the thread end after
/// what is queued, without a `node.stop` record.
#[derive(Debug)]
pub struct Journal {
    queue: Mutex<Option<Sender<Request>>>,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    settings: Settings,
}

/// What the journal and its thread share.
#[derive(Debug)]
pub(crate) struct Shared {
    failure: OnceLock<Arc<Failure>>,
    slots: RwLock<BTreeMap<Tenant, AtomicU64>>,
    heads: RwLock<BTreeMap<Tenant, u64>>,
    feed: broadcast::Sender<Arc<Committed>>,
}

impl Shared {
    /// Ends the journal.
    fn fail(&self, failure: Failure) -> Arc<Failure> {
        Arc::clone(self.failure.get_or_init(|| Arc::new(failure)))
    }

    fn failure(&self) -> Arc<Failure> {
        self.failure.get().cloned().unwrap_or_else(|| Arc::new(Failure::Thread))
    }

    /// Tells everybody who listens, and readers how far they may read.
    fn publish(&self, committed: Vec<Committed>) {
        {
            let mut heads = self.heads.write().unwrap_or_else(PoisonError::into_inner);
            for one in &committed {
                heads.insert(one.tenant.clone(), one.seq.saturating_add(1));
            }
        }
        for one in committed {
            // Without listeners there is nobody to tell.
            let _unheard = self.feed.send(Arc::new(one));
        }
    }
}

impl Journal {
    /// Opens the evidence path: locks it, reads all logs back, closes what was left open by a crash,
    /// writes `node.start`, and starts the writer's thread.
    ///
    /// # Errors
    /// If another process has it, a log was tampered with ([`JournalError::Alarm`] says what and
    /// where), or the file system does not do what it is asked.
    pub async fn open(
        settings: Settings,
        keys: Keys,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Recovered), JournalError> {
        let opening = move || {
            let lock = lock(&settings.dir)?;
            Self::open_on(Arc::new(LocalDisk), settings, keys, clock, Some(lock))
        };
        let opened = tokio::task::spawn_blocking(opening).await;
        opened.unwrap_or_else(|_panicked| Err(JournalError::Open(Arc::new(Failure::Thread))))
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        settings: Settings,
        keys: Keys,
        clock: Arc<dyn Clock>,
        lock: Option<File>,
    ) -> Result<(Self, Recovered), JournalError> {
        let mut trusted = keys.earlier;
        trusted.push(TrustedKey { name: None, key: keys.signer.public() });
        let around = Around {
            disk,
            root: settings.dir.clone(),
            origin: settings.origin.clone(),
            signer: keys.signer,
            keys: trusted.into(),
            segment_bytes_max: settings.segment_bytes_max,
        };
        let (feed, _) = broadcast::channel(FEED_RECORDS_MAX);
        let shared = Arc::new(Shared {
            failure: OnceLock::new(),
            slots: RwLock::default(),
            heads: RwLock::default(),
            feed,
        });
        let mut writer = Writer {
            around,
            tenant: settings.tenant.clone(),
            clock,
            shared: Arc::clone(&shared),
            logs: BTreeMap::new(),
            chains: Chains::new(settings.sessions_max),
            batch_max: settings.batch_max,
            interval: settings.commit_interval,
            idle: Vec::new(),
            lock,
        };
        let recovered = recover_all(&mut writer)?;
        let (queue, requests) = std::sync::mpsc::channel();
        std::thread::Builder::new()
            .name("evidence-writer".to_owned())
            .spawn(move || writer.run(&requests))
            .map_err(|_source| JournalError::Open(Arc::new(Failure::Thread)))?;
        let room = Arc::new(Semaphore::new(settings.queue_max));
        let queue = Mutex::new(Some(queue));
        Ok((Self { queue, room, shared, settings }, recovered))
    }

    /// The next sequence slot of a tenant. Every slot that is given out must come to a decision
    /// record with it, or an event record with `detail.slot`.
    ///
    /// # Errors
    /// If the journal has failed, or the tenant can have no log.
    pub fn slot(&self, tenant: &Tenant) -> Result<u64, JournalError> {
        self.health()?;
        self.with_slots(tenant, |next| next.fetch_add(1, Ordering::Relaxed))
    }

    /// Shows the slot counter of a tenant, who is taken in if there is room.
    fn with_slots<T>(
        &self,
        tenant: &Tenant,
        show: impl FnOnce(&AtomicU64) -> T,
    ) -> Result<T, JournalError> {
        {
            let slots = self.shared.slots.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(next) = slots.get(tenant) {
                return Ok(show(next));
            }
        }
        if tenant.as_str().starts_with('.') {
            return Err(JournalError::TenantName(tenant.clone()));
        }
        let mut slots = self.shared.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= self.settings.tenants_max && !slots.contains_key(tenant) {
            return Err(JournalError::Tenants(self.settings.tenants_max));
        }
        Ok(show(slots.entry(tenant.clone()).or_default()))
    }

    /// Records durably, in this order and in one commit. The place of each record (`at`, `log`,
    /// `seq`, `session_seq`, `session_prev`) is filled in here, and `detail.count` of a
    /// `session.close`.
    ///
    /// Cancelling while it waits for room records nothing; afterwards the records are written
    /// whether somebody waits or not.
    ///
    /// # Errors
    /// [`JournalError::is_fatal`] tells an append that cannot be from a journal that has failed.
    pub async fn append(&self, records: Vec<Record>) -> Result<Vec<Receipt>, JournalError> {
        self.health()?;
        if records.is_empty() {
            return Ok(Vec::new());
        }
        for record in &records {
            self.admit(record)?;
        }
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        if records.len() > self.settings.queue_max {
            return Err(JournalError::TooMany(records.len()));
        }
        let room = Arc::clone(&self.room).acquire_many_owned(count).await;
        let room = room.map_err(|_closed| JournalError::Closed)?;
        let (done, answer) = oneshot::channel();
        self.send(Request::Append(Append { records, done, room }))?;
        answer.await.unwrap_or_else(|_gone| Err(self.gone()))
    }

    /// Whether the journal records. For readiness.
    ///
    /// # Errors
    /// What made it fail.
    pub fn health(&self) -> Result<(), JournalError> {
        match self.shared.failure.get() {
            Some(failure) => Err(JournalError::Failed(Arc::clone(failure))),
            None => Ok(()),
        }
    }

    /// Records as they become durable, in order. Who reads more slowly than records come is told
    /// (`RecvError::Lagged`) and reads the rest from the log with [`Journal::read`]; the journal
    /// never waits for a reader.
    #[must_use]
    pub fn committed(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.shared.feed.subscribe()
    }

    /// The number of durable records of each log.
    #[must_use]
    pub fn heads(&self) -> BTreeMap<Tenant, u64> {
        self.shared.heads.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads a log from `from_seq` up to what is durable now. Blocks on the disk: call it where
    /// that is allowed.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn read(&self, tenant: &Tenant, from_seq: u64) -> Result<LogReader, ReadError> {
        let heads = self.shared.heads.read().unwrap_or_else(PoisonError::into_inner);
        let end = heads.get(tenant).copied().unwrap_or(0);
        LogReader::open(&self.settings.dir, tenant, from_seq, Some(end))
    }

    /// Writes what is queued and a `node.stop` record, and ends the thread. Later appends fail with
    /// [`JournalError::Closed`].
    ///
    /// # Errors
    /// If that record could not be written.
    pub async fn close(&self) -> Result<(), JournalError> {
        let (done, answer) = oneshot::channel();
        self.send(Request::Close(done))?;
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        answer.await.unwrap_or_else(|_gone| Err(self.gone()))
    }

    fn send(&self, request: Request) -> Result<(), JournalError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = queue.as_ref().ok_or(JournalError::Closed)?;
        sender.send(request).map_err(|_gone| self.gone())
    }

    fn gone(&self) -> JournalError {
        self.health().err().unwrap_or(JournalError::Closed)
    }

    /// Refuses a record that could not be a leaf, before it costs the others anything.
    fn admit(&self, record: &Record) -> Result<(), JournalError> {
        let tenant = record.tenant();
        self.with_slots(tenant, |_next| ())?;
        let mut widest = record.clone();
        widest.place(Place {
            at: i64::MIN,
            log: format!("{tenant}.{}", self.settings.origin),
            seq: u64::MAX,
            session_prev: Some(Digest::from_bytes([0; 32])),
            session_seq: Some(u64::MAX),
        });
        let not_canonical = |error: String| JournalError::NotCanonical(error);
        let bytes = widest.canonical().map_err(|error| not_canonical(error.to_string()))?;
        // `detail.count` of a session's end is filled in later.
        let most = RECORD_BYTES_MAX.saturating_sub(32);
        if bytes.len() > most {
            return Err(JournalError::TooLarge { bytes: bytes.len(), most });
        }
        if matches!(record, Record::Event(_)) {
            forge_evidence::canonical::check_leaf(&bytes)
                .map_err(|error| not_canonical(error.to_string()))?;
        }
        Ok(())
    }
}

/// Reads all logs back and closes what was left open.
fn recover_all(writer: &mut Writer) -> Result<Recovered, JournalError> {
    let logs_dir = writer.around.root.join(log::LOGS);
    let broken = |failure| JournalError::Open(Arc::new(failure));
    let disk = Arc::clone(&writer.around.disk);
    disk.make_dir(&logs_dir).map_err(Failure::disk("create", &logs_dir)).map_err(broken)?;
    let names = disk.list(&logs_dir).map_err(Failure::disk("list", &logs_dir)).map_err(broken)?;
    let mut ledgers = BTreeMap::new();
    let mut recovered = Recovered::default();
    for name in names {
        let tenant = Tenant::parse(&name).ok().filter(|tenant| !tenant.as_str().starts_with('.'));
        let tenant = tenant.ok_or_else(|| JournalError::Stranger(logs_dir.join(&name)))?;
        let mut ledger = Ledger::default();
        let chains = &mut writer.chains;
        let (log, cut) =
            Log::recover(&writer.around, &tenant, &mut |leaf| ledger.read(leaf, chains))?;
        let (unknown, pending) = ledger.counts();
        recovered.logs = recovered.logs.saturating_add(1);
        recovered.records = recovered.records.saturating_add(ledger.records());
        recovered.unknown = recovered.unknown.saturating_add(unknown);
        recovered.pending = recovered.pending.saturating_add(pending);
        recovered.cut_bytes =
            recovered.cut_bytes.saturating_add(u64::try_from(cut.bytes).unwrap_or(u64::MAX));
        let head = log.size();
        writer
            .shared
            .heads
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), head);
        writer
            .shared
            .slots
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), AtomicU64::new(ledger.next_slot()));
        writer.logs.insert(tenant.clone(), log);
        ledgers.insert(tenant, ledger);
    }
    let own = writer.tenant.clone();
    let totals = Totals {
        cut_bytes: recovered.cut_bytes,
        logs: recovered.logs,
        recovered: recovered.unknown,
    };
    ledgers.entry(own.clone()).or_default();
    let mut records = Vec::new();
    for (tenant, ledger) in &ledgers {
        records.extend(ledger.outcomes(tenant));
        records.extend(ledger.start(tenant, (*tenant == own).then_some(&totals)));
    }
    writer.write_now(records)?;
    Ok(recovered)
}

/// Takes the evidence path for this process.
fn lock(dir: &Path) -> Result<File, JournalError> {
    let broken = |failure| JournalError::Open(Arc::new(failure));
    LocalDisk.make_dir(dir).map_err(Failure::disk("create", dir)).map_err(broken)?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(&path).map_err(Failure::disk("open", &path)).map_err(broken)?;
    let how = rustix::fs::FlockOperation::NonBlockingLockExclusive;
    match rustix::fs::flock(&file, how) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Locked(dir.to_owned())),
        Err(errno) => Err(broken(Failure::disk("lock", &path)(errno.into()))),
    }
}

/// Committed records that a slow listener may be behind before it is told to read the log.
const FEED_RECORDS_MAX: usize = 8_192;
