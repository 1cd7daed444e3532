//! Packs from the evidence path: reads only, so it works while a gateway writes and when none runs.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use forge_evidence::merkle::Tree;
use forge_evidence::note::{Checkpoint, Note, NoteError, Signer};
use forge_evidence::pack::{PackError, PackWriter, Plan, Summary};
use forge_schemas::digest::{Digest, unhex};
use forge_schemas::ids::Tenant;
use forge_schemas::record::Record;

use super::read::{LogReader, Piece, ReadError, walk};

/// Where policy bundles are kept under the evidence path.
const BUNDLES: &str = "policy";

/// Which records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// First record number.
    pub from: Option<u64>,
    /// Last record number, inclusive.
    pub to: Option<u64>,
    /// From the first record at or after this time, in milliseconds since 1970 UTC.
    pub since_ms: Option<i64>,
    /// To the last record at or before this time.
    pub until_ms: Option<i64>,
}

/// What an export needs.
#[derive(Debug)]
pub struct Export<'a> {
    /// The evidence path.
    pub dir: &'a Path,
    /// Whose log.
    pub tenant: &'a Tenant,
    /// Which part of it.
    pub wanted: Wanted,
    /// Signs packs (P-256).
    pub signer: &'a dyn Signer,
    /// Public keys to put beside the data, for convenience: file name and text.
    pub keys: Vec<(String, String)>,
    /// Now, in milliseconds since 1970 UTC.
    pub now_ms: i64,
}

/// A pack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log cannot be read.
    #[error("could not read the evidence log of {tenant}")]
    Read {
        /// Whose log.
        tenant: Tenant,
        /// Why not.
        #[source]
        source: ReadError,
    },
    /// There is nothing under a checkpoint.
    #[error("there is no evidence of the tenant {0}")]
    Empty(Tenant),
    /// No record is wanted.
    #[error("no record lies in that range: the log has the records 0 to {last}")]
    Range {
        /// The last one.
        last: u64,
    },
    /// The last checkpoint is not one, or not of these records.
    #[error("the log's last checkpoint is not of its records")]
    Checkpoint(#[source] Option<NoteError>),
    /// A policy bundle cannot be read or kept.
    #[error("could not {action} {}", path.display())]
    Bundle {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The pack cannot be written.
    #[error("could not make the pack")]
    Pack(#[source] PackError),
}

/// What the first reading of a log finds.
#[derive(Debug, Default)]
struct Survey {
    tree: Tree,
    /// Size and bytes of checkpoints: all that may be needed.
    checkpoint: Vec<u8>,
    start: Option<Vec<u8>>,
    size: u64,
    first: Option<u64>,
    end: Option<u64>,
    bundles: BTreeSet<Digest>,
}

impl Export<'_> {
    /// Writes the pack.
    ///
    /// # Errors
    /// If the log cannot be read, has no such records, or the pack cannot be written or signed.
    pub fn write(&self, out: impl Write) -> Result<Summary, ExportError> {
        let read = |source| ExportError::Read { tenant: self.tenant.clone(), source };
        let survey = self.survey().map_err(read)?;
        let last = survey.size.checked_sub(1).ok_or(ExportError::Empty(self.tenant.clone()))?;
        let first = survey.first.ok_or(ExportError::Range { last })?;
        let end = survey.end.filter(|end| *end > first).ok_or(ExportError::Range { last })?;
        let note = Note::parse(&survey.checkpoint).and_then(|note| Checkpoint::parse(&note));
        let checkpoint = note.map_err(|error| ExportError::Checkpoint(Some(error)))?;
        if survey.tree.root(checkpoint.size).ok() != Some(checkpoint.root) {
            return Err(ExportError::Checkpoint(None));
        }
        let bundles = self.bundles(&survey.bundles)?;
        let plan = Plan {
            tenant: self.tenant.as_str(),
            first,
            end,
            checkpoint: &survey.checkpoint,
            start: survey.start.as_deref(),
            tree: &survey.tree,
            created_at: self.now_ms,
            software: concat!("forge-gateway/", env!("CARGO_PKG_VERSION")),
            bundles: &bundles,
            keys: &self.keys,
        };
        let mut pack = PackWriter::new(plan, out).map_err(ExportError::Pack)?;
        let reader = LogReader::open(self.dir, self.tenant, first, Some(end)).map_err(read)?;
        for entry in reader {
            pack.record(&entry.map_err(read)?.leaf).map_err(ExportError::Pack)?;
        }
        pack.finish(self.signer).map_err(ExportError::Pack)
    }

    /// Reads the whole log once: the tree needs every leaf.
    fn survey(&self) -> Result<Survey, ReadError> {
        let mut survey = Survey::default();
        let mut waiting: Vec<(u64, i64)> = Vec::new();
        walk(self.dir, self.tenant, &mut |piece| match piece {
            Piece::Leaf { seq, hash, record } => {
                survey.tree.push(hash);
                waiting.push((seq, record.at()));
                if let Record::Decision(decision) = &record {
                    survey.bundles.insert(decision.bundle);
                }
            }
            Piece::Checkpoint { size, bytes } => {
                for (seq, at) in waiting.drain(..) {
                    if !self.wants(seq, at) {
                        continue;
                    }
                    survey.first.get_or_insert(seq);
                    survey.end = Some(seq.saturating_add(1));
                }
                if survey.first.is_none_or(|first| first >= size) {
                    survey.start = Some(bytes.to_vec());
                }
                survey.size = size;
                survey.checkpoint = bytes.to_vec();
            }
        })?;
        Ok(survey)
    }

    fn wants(&self, seq: u64, at: i64) -> bool {
        let Wanted { from, to, since_ms, until_ms } = self.wanted;
        from.is_none_or(|from| seq >= from)
            && to.is_none_or(|to| seq <= to)
            && since_ms.is_none_or(|since| at >= since)
            && until_ms.is_none_or(|until| at <= until)
    }

    fn bundles(
        &self,
        wanted: &BTreeSet<Digest>,
    ) -> Result<Vec<(Digest, String, Vec<u8>)>, ExportError> {
        let mut files = Vec::new();
        for digest in wanted {
            let dir = self.dir.join(BUNDLES).join(digest.hex());
            if dir.is_dir() {
                collect(&dir, "", *digest, &mut files)?;
            }
        }
        Ok(files)
    }
}

fn collect(
    dir: &Path,
    prefix: &str,
    digest: Digest,
    files: &mut Vec<(Digest, String, Vec<u8>)>,
) -> Result<(), ExportError> {
    let fault = |source| ExportError::Bundle { action: "read", path: dir.to_owned(), source };
    for entry in fs::read_dir(dir).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.file_type().map_err(fault)?.is_dir() {
            collect(&entry.path(), &format!("{name}/"), digest, files)?;
        } else {
            files.push((digest, name, fs::read(entry.path()).map_err(fault)?));
        }
    }
    Ok(())
}

/// Keeps the files of a policy bundle under the evidence path, so that packs can hold what decided.
/// A bundle that is there already is not written again.
///
/// # Errors
/// If a path leaves the bundle, or a file cannot be written.
pub fn keep_bundle<'s>(
    dir: &Path,
    digest: &Digest,
    files: impl IntoIterator<Item = (&'s str, &'s [u8])>,
) -> Result<(), ExportError> {
    let home = dir.join(BUNDLES);
    let target = home.join(digest.hex());
    let draft = home.join(format!("{}.draft", digest.hex()));
    if target.is_dir() {
        return Ok(());
    }
    let fault = |action, path: &Path| {
        let path = path.to_owned();
        move |source| ExportError::Bundle { action, path, source }
    };
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(fault("remove", &draft))?;
    }
    fs::create_dir_all(&draft).map_err(fault("create", &draft))?;
    for (name, bytes) in files {
        let path = draft.join(name);
        let plain = !name.is_empty()
            && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        if !plain {
            let source = io::Error::from(io::ErrorKind::InvalidFilename);
            return Err(fault("write", &path)(source));
        }
        let parent = path.parent().unwrap_or(&draft);
        fs::create_dir_all(parent).map_err(fault("create", parent))?;
        let mut file = fs::File::create(&path).map_err(fault("create", &path))?;
        file.write_all(bytes).map_err(fault("write", &path))?;
        file.sync_all().map_err(fault("sync", &path))?;
    }
    fs::rename(&draft, &target).map_err(fault("rename", &target))?;
    fs::File::open(&home).and_then(|home| home.sync_all()).map_err(fault("sync", &home))
}

/// Tenants that have a log under the evidence path.
///
/// # Errors
/// If the directory cannot be listed.
pub fn tenants(dir: &Path) -> io::Result<Vec<Tenant>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir.join(super::log::LOGS))? {
        let name = entry?.file_name();
        found.extend(name.to_str().and_then(|name| Tenant::parse(name).ok()));
    }
    found.sort();
    Ok(found)
}

/// Digests of the bundles that are kept.
///
/// # Errors
/// If the directory cannot be listed.
pub fn kept_bundles(dir: &Path) -> io::Result<BTreeSet<Digest>> {
    let home = dir.join(BUNDLES);
    if !home.is_dir() {
        return Ok(BTreeSet::new());
    }
    let mut kept = BTreeSet::new();
    for entry in fs::read_dir(home)? {
        let name = entry?.file_name();
        let bytes = name.to_str().and_then(unhex).and_then(|bytes| bytes.try_into().ok());
        kept.extend(bytes.map(Digest::from_bytes));
    }
    Ok(kept)
}
