//! Reading a log without writing it: for the index, for exports, while the gateway runs or not.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forge_evidence::merkle::leaf_hash;
use forge_evidence::segment::{Frame, FrameKind, first_of, header, read_frame};
use forge_schemas::digest::Digest;
use forge_schemas::ids::Tenant;
use forge_schemas::record::Record;

/// A log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file system.
    #[error("could not read {}", path.display())]
    Io {
        /// What.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The bytes are not those of a log.
    #[error("{} is damaged at byte {offset}", path.display())]
    Damaged {
        /// Segment.
        path: PathBuf,
        /// Where.
        offset: usize,
    },
    /// The log has no such record.
    #[error("the log of {tenant} has no record {seq}")]
    Missing {
        /// Whose log.
        tenant: Tenant,
        /// Which leaf.
        seq: u64,
    },
}

/// A record of a log.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Leaf index.
    pub seq: u64,
    /// The record.
    pub record: Record,
    /// Its exact bytes.
    pub leaf: Vec<u8>,
}

/// Reads records in order, one segment in memory at a time. Checksums are checked, roots and
/// signatures are not: that was done at the start, and is done again by whoever verifies a pack.
#[derive(Debug)]
pub struct LogReader {
    tenant: Tenant,
    segments: VecDeque<(u64, PathBuf)>,
    loaded: VecDeque<Entry>,
    next: u64,
    end: u64,
}

impl LogReader {
    /// Reads the log of `tenant` under the evidence path from leaf `from` to `end`, or to the last
    /// checkpoint.
    ///
    /// # Errors
    /// If the directory cannot be listed.
    pub fn open(
        dir: &Path,
        tenant: &Tenant,
        from: u64,
        end: Option<u64>,
    ) -> Result<Self, ReadError> {
        let mut segments = segments(dir, tenant)?;
        while segments.get(1).is_some_and(|(first, _)| *first <= from) {
            segments.pop_front();
        }
        let end = end.unwrap_or(u64::MAX);
        Ok(Self { tenant: tenant.clone(), segments, loaded: VecDeque::new(), next: from, end })
    }

    /// Loads the next segment's records that are covered by a checkpoint.
    fn load(&mut self, first: u64, path: &Path) -> Result<(), ReadError> {
        let mut waiting = Vec::new();
        let (next, end, newest) = (self.next, self.end, self.segments.is_empty());
        let loaded = &mut self.loaded;
        frames(first, path, newest, &mut |seq, frame| {
            match frame.kind {
                FrameKind::Checkpoint => loaded.extend(waiting.drain(..)),
                FrameKind::Record if seq >= next && seq < end => {
                    let Ok(record) = Record::parse(frame.bytes) else { return false };
                    waiting.push(Entry { seq, record, leaf: frame.bytes.to_vec() });
                }
                FrameKind::Record => {}
            }
            true
        })
    }
}

/// What stands in a log.
#[derive(Debug)]
pub(crate) enum Piece<'a> {
    /// A record; it counts once a checkpoint comes behind it.
    Leaf { seq: u64, hash: Digest, record: Record },
    /// A signed checkpoint over all leaves before it.
    Checkpoint { size: u64, bytes: &'a [u8] },
}

/// Shows a whole log, in order.
pub(crate) fn walk(
    dir: &Path,
    tenant: &Tenant,
    visit: &mut dyn FnMut(Piece<'_>),
) -> Result<(), ReadError> {
    let mut segments = segments(dir, tenant)?;
    let mut want = 0;
    while let Some((first, path)) = segments.pop_front() {
        if first != want {
            return Err(ReadError::Missing { tenant: tenant.clone(), seq: want });
        }
        frames(first, &path, segments.is_empty(), &mut |seq, frame| {
            match frame.kind {
                FrameKind::Checkpoint => {
                    want = seq;
                    visit(Piece::Checkpoint { size: seq, bytes: frame.bytes });
                }
                FrameKind::Record => {
                    let Ok(record) = Record::parse(frame.bytes) else { return false };
                    visit(Piece::Leaf { seq, hash: leaf_hash(frame.bytes), record });
                }
            }
            true
        })?;
    }
    Ok(())
}

/// The segments of a log, by their first leaf.
fn segments(dir: &Path, tenant: &Tenant) -> Result<VecDeque<(u64, PathBuf)>, ReadError> {
    let dir = dir.join(super::log::LOGS).join(tenant.as_str());
    let mut segments: Vec<(u64, PathBuf)> = Vec::new();
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => Some(other.map_err(|source| ReadError::Io { path: dir.clone(), source })?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(|source| ReadError::Io { path: dir.clone(), source })?;
        let first = entry.file_name().to_str().and_then(first_of);
        segments.extend(first.map(|first| (first, entry.path())));
    }
    segments.sort();
    Ok(VecDeque::from(segments))
}

/// Shows the whole frames of a segment with the number of leaves before each, until `visit` says
/// no, which means damage. What follows the last whole frame of the newest segment is a commit
/// under way.
fn frames(
    first: u64,
    path: &Path,
    newest: bool,
    visit: &mut dyn FnMut(u64, Frame<'_>) -> bool,
) -> Result<(), ReadError> {
    let bytes = fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let damaged = |rest: &[u8]| ReadError::Damaged {
        path: path.to_owned(),
        offset: bytes.len().saturating_sub(rest.len()),
    };
    let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
    let (head, mut rest) = bytes.split_at_checked(line.saturating_add(1)).unwrap_or((&[], &[]));
    let origin = str::from_utf8(head).ok().and_then(|line| line.split(' ').nth(2));
    if origin.is_none_or(|origin| header(origin, first) != head) {
        return if newest { Ok(()) } else { Err(damaged(&bytes)) };
    }
    let mut seq = first;
    while let Some((frame, behind)) = read_frame(rest) {
        if !visit(seq, frame) {
            return Err(damaged(rest));
        }
        if frame.kind == FrameKind::Record {
            seq = seq.saturating_add(1);
        }
        rest = behind;
    }
    if rest.is_empty() || newest { Ok(()) } else { Err(damaged(rest)) }
}

impl Iterator for LogReader {
    type Item = Result<Entry, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.next >= self.end {
                return None;
            }
            if let Some(entry) = self.loaded.pop_front() {
                if entry.seq != self.next {
                    let missing =
                        ReadError::Missing { tenant: self.tenant.clone(), seq: self.next };
                    self.next = self.end;
                    return Some(Err(missing));
                }
                self.next = self.next.saturating_add(1);
                return Some(Ok(entry));
            }
            let Some((first, path)) = self.segments.pop_front() else {
                let missing = self.end != u64::MAX;
                let seq = self.next;
                self.end = self.next;
                return missing
                    .then(|| Err(ReadError::Missing { tenant: self.tenant.clone(), seq }));
            };
            if let Err(error) = self.load(first, &path) {
                self.end = self.next;
                return Some(Err(error));
            }
        }
    }
}
