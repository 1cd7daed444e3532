//! One tenant's log on disk: recovery, placing records, commits.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use forge_evidence::merkle::{Frontier, empty_root, leaf_hash};
use forge_evidence::note::{Checkpoint, Signer, TrustedKey};
use forge_evidence::segment::{self, Anchor, FrameKind, Leaf, Replay, first_of, write_frame};
use forge_schemas::digest::Digest;
use forge_schemas::ids::Tenant;
use forge_schemas::record::Record;

use super::disk::{Disk, DiskFile};
use super::error::{Failure, JournalError};

/// Where the logs are under the evidence path.
pub(crate) const LOGS: &str = "logs";

/// Name of the anchor beside the segments.
pub(crate) const ANCHOR: &str = "anchor";

/// What a log needs from around it.
#[derive(Clone, Debug)]
pub(crate) struct Around {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) root: PathBuf,
    pub(crate) origin: String,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) keys: Arc<[TrustedKey]>,
    pub(crate) segment_bytes_max: u64,
}

impl Around {
    /// The directory of a tenant's log.
    pub(crate) fn dir(&self, tenant: &Tenant) -> PathBuf {
        self.root.join(LOGS).join(tenant.as_str())
    }

    /// The origin of a tenant's log.
    pub(crate) fn log(&self, tenant: &Tenant) -> String {
        format!("{tenant}.{}", self.origin)
    }
}

/// One tenant's log, open for appending.
#[derive(Debug)]
pub(crate) struct Log {
    around: Around,
    dir: PathBuf,
    origin: String,
    frontier: Frontier,
    /// First leaf of the newest segment, and its length on disk; `None` before the first commit.
    newest: Option<(u64, u64)>,
    open: Option<Box<dyn DiskFile>>,
    anchor: Option<Box<dyn DiskFile>>,
    /// Leaves on disk.
    committed: u64,
    /// Frames of the commit under way.
    pending: Vec<u8>,
}

/// What recovery cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cut {
    pub(crate) bytes: usize,
}

impl Log {
    /// A log that has no records yet.
    pub(crate) fn new(around: &Around, tenant: &Tenant) -> Self {
        Self {
            dir: around.dir(tenant),
            origin: around.log(tenant),
            around: around.clone(),
            frontier: Frontier::default(),
            newest: None,
            open: None,
            anchor: None,
            committed: 0,
            pending: Vec::new(),
        }
    }

    /// Reads a log back, shows every leaf to `visit`, and cuts what was never acknowledged.
    pub(crate) fn recover(
        around: &Around,
        tenant: &Tenant,
        visit: &mut dyn FnMut(&Leaf<'_>),
    ) -> Result<(Self, Cut), JournalError> {
        let mut log = Self::new(around, tenant);
        let broken = |failure| JournalError::Open(Arc::new(failure));
        let alarm = |alarm| JournalError::Alarm { tenant: tenant.clone(), alarm: Arc::new(alarm) };
        let disk = &around.disk;
        let names = disk.list(&log.dir).map_err(Failure::disk("list", &log.dir)).map_err(broken)?;
        let names: Vec<String> =
            names.into_iter().filter(|name| first_of(name).is_some()).collect();
        let read = |name: &str| {
            let path = log.dir.join(name);
            disk.read(&path).map_err(Failure::disk("read", &path)).map_err(broken)
        };
        let anchor = read(ANCHOR)?.as_deref().and_then(Anchor::parse);
        let mut replay = Replay::new(&log.origin, &around.keys, anchor);
        let mut cut = Cut::default();
        let mut torn = None;
        for (index, name) in names.iter().enumerate() {
            let newest = index.saturating_add(1) == names.len();
            let bytes = read(name)?.unwrap_or_default();
            let first = replay.frontier().size();
            let kept =
                replay.segment(name, &bytes, newest, &mut |leaf| visit(&leaf)).map_err(alarm)?;
            if kept.cut > 0 || kept.keep == 0 {
                cut = Cut { bytes: kept.cut };
                torn = Some((log.dir.join(name), kept.keep));
            }
            if kept.keep > 0 {
                log.newest = Some((first, u64::try_from(kept.keep).unwrap_or(u64::MAX)));
            }
        }
        replay.finish(names.last().map_or(ANCHOR, String::as_str)).map_err(alarm)?;
        // Only now is it sure that nothing but a crash did this.
        if let Some((path, keep)) = torn {
            log.cut(&path, keep).map_err(broken)?;
        }
        log.settle().map_err(broken)?;
        log.frontier = replay.frontier().clone();
        log.committed = log.frontier.size();
        Ok((log, cut))
    }

    /// Leaves on disk and waiting.
    pub(crate) const fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Origin of this log.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Adds a record, which says that it is the next one, to the commit under way.
    pub(crate) fn add(&mut self, record: &Record) -> Result<Digest, Failure> {
        let leaf = record.canonical().map_err(Failure::Write)?;
        write_frame(&mut self.pending, FrameKind::Record, &leaf).map_err(Failure::Frame)?;
        let hash = leaf_hash(&leaf);
        self.frontier.push(hash);
        Ok(hash)
    }

    /// Signs what was added, writes it, and waits until it is on the disk.
    pub(crate) fn commit(&mut self) -> Result<(), Failure> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let (size, root) = (self.frontier.size(), self.frontier.root());
        let checkpoint = Checkpoint { origin: self.origin.clone(), size, root };
        let note = checkpoint.sign(&*self.around.signer).map_err(Failure::Sign)?.to_bytes();
        write_frame(&mut self.pending, FrameKind::Checkpoint, &note).map_err(Failure::Frame)?;
        let (path, offset) = self.segment()?;
        if offset == 0 {
            self.pending.splice(0..0, segment::header(&self.origin, self.committed));
        }
        let file = self.open.as_mut().ok_or(Failure::Thread)?;
        file.write_at(offset, &self.pending).map_err(Failure::disk("write", &path))?;
        file.sync().map_err(Failure::disk("sync", &path))?;
        if offset == 0 {
            self.around.disk.sync_dir(&self.dir).map_err(Failure::disk("sync", &self.dir))?;
            self.newest = Some((self.committed, 0));
        }
        let written = u64::try_from(self.pending.len()).unwrap_or(u64::MAX);
        if let Some((_, length)) = &mut self.newest {
            *length = length.saturating_add(written);
        }
        self.pending.clear();
        self.committed = size;
        self.write_anchor(Anchor { size, root })
    }

    /// True if there is something to commit.
    pub(crate) const fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Closes the files until the next commit.
    pub(crate) fn shut(&mut self) {
        self.open = None;
        self.anchor = None;
    }

    /// The segment that the commit under way goes to, opened, and where in it: the newest, or a new
    /// one if that is full.
    fn segment(&mut self) -> Result<(PathBuf, u64), Failure> {
        let most = self.around.segment_bytes_max;
        let newest = self.newest.filter(|(_, length)| *length < most);
        if newest.is_none() {
            self.open = None;
        }
        let (first, offset) = newest.unwrap_or((self.committed, 0));
        let path = self.dir.join(segment::file_name(first));
        if self.open.is_none() {
            let disk = &self.around.disk;
            if self.committed == 0 {
                disk.make_dir(&self.dir).map_err(Failure::disk("create", &self.dir))?;
                // Durable before the first commit, so that from then on there always is one.
                self.write_anchor(Anchor { size: 0, root: empty_root() })?;
                let path = self.dir.join(ANCHOR);
                let file = self.anchor.as_mut().ok_or(Failure::Thread)?;
                file.sync().map_err(Failure::disk("sync", &path))?;
            }
            let disk = &self.around.disk;
            self.open = Some(disk.open(&path).map_err(Failure::disk("open", &path))?);
        }
        Ok((path, offset))
    }

    /// Says beside the log how far it has come. Not synced: it never says more than is durable, and
    /// losing it in a power cut costs only a check.
    fn write_anchor(&mut self, anchor: Anchor) -> Result<(), Failure> {
        let path = self.dir.join(ANCHOR);
        if self.anchor.is_none() {
            let opened = self.around.disk.open(&path).map_err(Failure::disk("open", &path))?;
            self.anchor = Some(opened);
        }
        let file = self.anchor.as_mut().ok_or(Failure::Thread)?;
        file.write_at(0, &anchor.to_bytes()).map_err(Failure::disk("write", &path))
    }

    /// What was read may be in the cache only: the process that wrote it may have died before it
    /// synced. From here on it counts as durable, so it is made so.
    fn settle(&self) -> Result<(), Failure> {
        let Some((first, _)) = self.newest else { return Ok(()) };
        let disk = &self.around.disk;
        let path = self.dir.join(segment::file_name(first));
        let mut file = disk.open(&path).map_err(Failure::disk("open", &path))?;
        file.sync().map_err(Failure::disk("sync", &path))?;
        disk.sync_dir(&self.dir).map_err(Failure::disk("sync", &self.dir))
    }

    /// Takes away what was never acknowledged, before anything is written behind it.
    fn cut(&self, path: &Path, keep: usize) -> Result<(), Failure> {
        let disk = &self.around.disk;
        if keep == 0 {
            disk.remove(path).map_err(Failure::disk("remove", path))?;
            return disk.sync_dir(&self.dir).map_err(Failure::disk("sync", &self.dir));
        }
        let mut file = disk.open(path).map_err(Failure::disk("open", path))?;
        let keep = u64::try_from(keep).unwrap_or(u64::MAX);
        file.truncate(keep).map_err(Failure::disk("cut", path))?;
        file.sync().map_err(Failure::disk("sync", path))
    }
}
