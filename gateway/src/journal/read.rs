//! Reading a log without writing it: for the index, for exports, while the gateway runs or not.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use forge_evidence::segment::{FrameKind, first_of, header, read_frame};
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
        let mut segments = VecDeque::from(segments);
        while segments.get(1).is_some_and(|(first, _)| *first <= from) {
            segments.pop_front();
        }
        let end = end.unwrap_or(u64::MAX);
        Ok(Self { tenant: tenant.clone(), segments, loaded: VecDeque::new(), next: from, end })
    }

    /// Loads the next segment's records that are covered by a checkpoint.
    fn load(&mut self, first: u64, path: &Path) -> Result<(), ReadError> {
        let bytes =
            fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
        let damaged = |offset: usize| ReadError::Damaged { path: path.to_owned(), offset };
        let line = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0);
        let (head, mut rest) = bytes.split_at_checked(line.saturating_add(1)).unwrap_or((&[], &[]));
        let origin = str::from_utf8(head).ok().and_then(|line| line.split(' ').nth(2));
        if origin.is_none_or(|origin| header(origin, first) != head) {
            // A segment whose first commit is under way.
            return if self.segments.is_empty() { Ok(()) } else { Err(damaged(0)) };
        }
        let mut seq = first;
        let mut waiting = Vec::new();
        while let Some((frame, behind)) = read_frame(rest) {
            match frame.kind {
                FrameKind::Checkpoint => self.loaded.extend(waiting.drain(..)),
                FrameKind::Record => {
                    if seq >= self.next && seq < self.end {
                        let record = Record::parse(frame.bytes);
                        let offset = bytes.len().saturating_sub(rest.len());
                        let record = record.map_err(|_not_a_record| damaged(offset))?;
                        waiting.push(Entry { seq, record, leaf: frame.bytes.to_vec() });
                    }
                    seq = seq.saturating_add(1);
                }
            }
            rest = behind;
        }
        if !rest.is_empty() && !self.segments.is_empty() {
            return Err(damaged(bytes.len().saturating_sub(rest.len())));
        }
        Ok(())
    }
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
