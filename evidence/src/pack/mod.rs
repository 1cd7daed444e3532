//! Evidence packs: a BagIt bag (RFC 8493) in one tar file, signed as a whole.
//!
//! Implements the layout of `docs/reference/evidence-format.md` §4: the records of one contiguous
//! range of one log, byte for byte, with what it takes to compute the root that the log's
//! checkpoint signs; the policy bundles that decided; and an in-toto statement over the bag's tag
//! manifest in a Sigstore bundle. The writer streams: of the records only one file is in memory.
//! Collecting the records is not done here, nor is checking them: that is `verify`.

pub mod statement;

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use forge_schemas::digest::Digest;
use forge_schemas::record::Record;
use serde::{Deserialize, Serialize};

use crate::merkle::{ShapeError, Tree, leaf_hash};
use crate::note::{Checkpoint, SignError, Signer};

/// The one folder in the tar file.
pub const FOLDER: &str = "evidence-pack";
/// Declaration of RFC 8493 §2.1.1.
pub const BAGIT: &str = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
/// Digests of everything under `data/`.
pub const MANIFEST: &str = "manifest-sha256.txt";
/// Digests of the tag files; what the pack's signature is about.
pub const TAG_MANIFEST: &str = "tagmanifest-sha256.txt";
/// The pack's signature.
pub const SIGNATURE: &str = "pack.sigstore.json";
/// What the pack says of itself.
pub const SUMMARY: &str = "data/manifest.json";
/// The newest checkpoint.
pub const CHECKPOINT: &str = "data/log/checkpoint";
/// A checkpoint from before the range.
pub const CHECKPOINT_START: &str = "data/log/checkpoint.start";
/// That the newest checkpoint continues that one.
pub const CONSISTENCY: &str = "data/log/consistency.json";
/// Roots of the complete subtrees beside the range.
pub const RANGE: &str = "data/proofs/range.json";
/// Hashes of the leaves of the range, 32 bytes each.
pub const LEAF_HASHES: &str = "data/proofs/leaf-hashes";
/// Folder of the record files.
pub const RECORDS: &str = "data/records/";
/// Folder of the policy bundles.
pub const POLICY: &str = "data/policy/";
/// Where people begin.
pub const VERIFY: &str = "VERIFY.md";

/// Records in one file.
const FILE_RECORDS: usize = 10_000;
/// Bytes in one file, about.
const FILE_BYTES: usize = 8 << 20;

/// `data/manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Bundles that decided in this range.
    pub bundles: Vec<Digest>,
    /// When the pack was made, in milliseconds since 1970 UTC.
    pub created_at: i64,
    /// Leaf index after the last record.
    pub end: u64,
    /// Leaf index of the first record.
    pub first: u64,
    /// Records by kind.
    pub kinds: BTreeMap<String, u64>,
    /// Origin of the log.
    pub log: String,
    /// Root that the checkpoint signs.
    pub root: Digest,
    /// Software and version that made the pack.
    pub software: String,
    /// Whose log.
    pub tenant: String,
    /// Leaves that the checkpoint signs.
    pub tree_size: u64,
    /// 1.
    pub v: u32,
}

/// `data/proofs/range.json`: roots of the subtrees that cover what is beside the range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeProof {
    /// Covers leaves 0 to `first`.
    pub left: Vec<Digest>,
    /// Covers leaves `end` to the end of the tree.
    pub right: Vec<Digest>,
}

/// `data/log/consistency.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsistencyProof {
    /// Size of the earlier tree.
    pub from: u64,
    /// RFC 6962 §2.1.2.
    pub proof: Vec<Digest>,
    /// Size of the later tree.
    pub to: u64,
}

/// What a pack is made of, besides its records.
#[derive(Clone, Debug)]
pub struct Plan<'a> {
    /// Whose log.
    pub tenant: &'a str,
    /// First leaf.
    pub first: u64,
    /// Leaf after the last.
    pub end: u64,
    /// The newest checkpoint, signed.
    pub checkpoint: &'a [u8],
    /// A signed checkpoint of at most `first` leaves.
    pub start: Option<&'a [u8]>,
    /// The log's tree up to the newest checkpoint at least.
    pub tree: &'a Tree,
    /// When, in milliseconds since 1970 UTC.
    pub created_at: i64,
    /// Software and version.
    pub software: &'a str,
    /// Files of policy bundles: digest, path inside the bundle, bytes.
    pub bundles: &'a [(Digest, String, Vec<u8>)],
    /// Public keys, for convenience: file name and text.
    pub keys: &'a [(String, String)],
}

/// A pack could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The target does not take it.
    #[error("could not write the pack")]
    Write(#[source] std::io::Error),
    /// The tree does not hold the range.
    #[error("the range does not lie in the log's tree")]
    Shape(#[source] ShapeError),
    /// A checkpoint is not one.
    #[error("a checkpoint of the log cannot be read")]
    Checkpoint(#[source] crate::note::NoteError),
    /// A document cannot be written as JSON.
    #[error("a document of the pack cannot be written")]
    Json(#[source] serde_json::Error),
    /// A record cannot be read.
    #[error("record {0} cannot be read")]
    Record(u64),
    /// Other records than the range has.
    #[error("the pack should have {want} records, got {seen}")]
    Count {
        /// Records of the range.
        want: u64,
        /// Records given.
        seen: u64,
    },
    /// The key does not sign.
    #[error("the pack could not be signed")]
    Sign(#[source] SignError),
}

/// Writes a pack, in one pass.
pub struct PackWriter<'a, W: Write> {
    plan: Plan<'a>,
    tar: tar::Builder<W>,
    checkpoint: Checkpoint,
    payload: BTreeMap<String, (Digest, usize)>,
    tags: BTreeMap<String, Digest>,
    lines: Vec<u8>,
    lines_count: usize,
    files: u64,
    hashes: Vec<u8>,
    kinds: BTreeMap<String, u64>,
    bundles: std::collections::BTreeSet<Digest>,
    count: u64,
}

impl<W: Write> std::fmt::Debug for PackWriter<'_, W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackWriter").field("records", &self.count).finish_non_exhaustive()
    }
}

impl<'a, W: Write> PackWriter<'a, W> {
    /// Begins a pack.
    ///
    /// # Errors
    /// If the checkpoint cannot be read.
    pub fn new(plan: Plan<'a>, out: W) -> Result<Self, PackError> {
        let checkpoint = read_checkpoint(plan.checkpoint)?;
        let mut tar = tar::Builder::new(out);
        tar.mode(tar::HeaderMode::Deterministic);
        Ok(Self {
            plan,
            tar,
            checkpoint,
            payload: BTreeMap::new(),
            tags: BTreeMap::new(),
            lines: Vec::new(),
            lines_count: 0,
            files: 0,
            hashes: Vec::new(),
            kinds: BTreeMap::new(),
            bundles: std::collections::BTreeSet::new(),
            count: 0,
        })
    }

    /// Adds the next record of the range.
    ///
    /// # Errors
    /// If it is not one, or the target does not take it.
    pub fn record(&mut self, leaf: &[u8]) -> Result<(), PackError> {
        let seq = self.plan.first.saturating_add(self.count);
        let record = Record::parse(leaf).map_err(|_not_a_record| PackError::Record(seq))?;
        if let Record::Decision(decision) = &record {
            self.bundles.insert(decision.bundle);
        }
        let count = self.kinds.entry(kind(&record).to_owned()).or_default();
        *count = count.saturating_add(1);
        self.hashes.extend_from_slice(leaf_hash(leaf).as_bytes());
        self.lines.extend_from_slice(leaf);
        self.lines.push(b'\n');
        self.lines_count = self.lines_count.saturating_add(1);
        self.count = self.count.saturating_add(1);
        if self.lines_count >= FILE_RECORDS || self.lines.len() >= FILE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    /// Writes everything else and the signature.
    ///
    /// # Errors
    /// If the records were not those of the range, the key does not sign, or the target does not
    /// take it.
    pub fn finish(mut self, signer: &dyn Signer) -> Result<Summary, PackError> {
        self.flush()?;
        let want = self.plan.end.saturating_sub(self.plan.first);
        if self.count != want {
            return Err(PackError::Count { want, seen: self.count });
        }
        let plan = self.plan.clone();
        let size = self.checkpoint.size;
        let hashes = std::mem::take(&mut self.hashes);
        self.payload(LEAF_HASHES, &hashes)?;
        let left = plan.tree.cover(0, plan.first).map_err(PackError::Shape)?;
        let right = plan.tree.cover(plan.end, size).map_err(PackError::Shape)?;
        self.payload(RANGE, &json(&RangeProof { left, right })?)?;
        self.payload(CHECKPOINT, plan.checkpoint)?;
        self.fences(&plan)?;
        for (digest, path, bytes) in plan.bundles {
            if self.bundles.contains(digest) {
                self.payload(&format!("{POLICY}{}/{path}", digest.hex()), bytes)?;
            }
        }
        for (name, text) in plan.keys {
            self.payload(&format!("data/keys/{name}"), text.as_bytes())?;
        }
        let summary = self.summary();
        self.payload(SUMMARY, &json(&summary)?)?;
        self.tag_files(&summary, signer)?;
        self.tar.into_inner().and_then(|mut out| out.flush()).map_err(PackError::Write)?;
        Ok(summary)
    }

    /// Proofs that people can check one by one, and the checkpoint before the range.
    fn fences(&mut self, plan: &Plan<'_>) -> Result<(), PackError> {
        let size = self.checkpoint.size;
        if plan.first < plan.end {
            for (name, index) in [("first", plan.first), ("last", plan.end.saturating_sub(1))] {
                let path = plan.tree.inclusion(index, size).map_err(PackError::Shape)?;
                let mut text = format!("c2sp.org/tlog-proof@v1\nindex {index}\n");
                for hash in path {
                    text.push_str(&BASE64.encode(hash.as_bytes()));
                    text.push('\n');
                }
                text.push('\n');
                let bytes = [text.as_bytes(), plan.checkpoint].concat();
                self.payload(&format!("data/proofs/{name}.tlog-proof"), &bytes)?;
            }
        }
        if let Some(start) = plan.start {
            let from = read_checkpoint(start)?.size;
            let proof = plan.tree.consistency(from, size).map_err(PackError::Shape)?;
            self.payload(CHECKPOINT_START, start)?;
            self.payload(CONSISTENCY, &json(&ConsistencyProof { from, proof, to: size })?)?;
        }
        Ok(())
    }

    fn summary(&self) -> Summary {
        Summary {
            bundles: self.bundles.iter().copied().collect(),
            created_at: self.plan.created_at,
            end: self.plan.end,
            first: self.plan.first,
            kinds: self.kinds.clone(),
            log: self.checkpoint.origin.clone(),
            root: self.checkpoint.root,
            software: self.plan.software.to_owned(),
            tenant: self.plan.tenant.to_owned(),
            tree_size: self.checkpoint.size,
            v: 1,
        }
    }

    fn tag_files(&mut self, summary: &Summary, signer: &dyn Signer) -> Result<(), PackError> {
        let octets: usize = self.payload.values().map(|(_, length)| length).sum();
        let info = format!(
            "Payload-Oxum: {octets}.{}\nExternal-Identifier: {} {}-{}\nBag-Software-Agent: {}\n",
            self.payload.len(),
            summary.log,
            summary.first,
            summary.end,
            summary.software
        );
        let lines = |digests: &mut dyn Iterator<Item = (&String, Digest)>| -> String {
            digests.map(|(path, digest)| format!("{}  {path}\n", digest.hex())).collect()
        };
        let manifest = lines(&mut self.payload.iter().map(|(path, (digest, _))| (path, *digest)));
        self.tag("bagit.txt", BAGIT.as_bytes())?;
        self.tag("bag-info.txt", info.as_bytes())?;
        self.tag(MANIFEST, manifest.as_bytes())?;
        self.tag(VERIFY, include_str!("VERIFY.md").as_bytes())?;
        let tag_manifest = lines(&mut self.tags.iter().map(|(path, digest)| (path, *digest)));
        let digest = Digest::of(tag_manifest.as_bytes());
        self.write(TAG_MANIFEST, tag_manifest.as_bytes())?;
        let bundle = statement::sign(summary, &digest, signer)?;
        self.write(SIGNATURE, &bundle)
    }

    fn flush(&mut self) -> Result<(), PackError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let path = format!("{RECORDS}{:06}.jsonl", self.files);
        let lines = std::mem::take(&mut self.lines);
        self.lines_count = 0;
        self.files = self.files.saturating_add(1);
        self.payload(&path, &lines)
    }

    fn payload(&mut self, path: &str, bytes: &[u8]) -> Result<(), PackError> {
        self.payload.insert(path.to_owned(), (Digest::of(bytes), bytes.len()));
        self.write(path, bytes)
    }

    fn tag(&mut self, path: &str, bytes: &[u8]) -> Result<(), PackError> {
        self.tags.insert(path.to_owned(), Digest::of(bytes));
        self.write(path, bytes)
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), PackError> {
        let mut header = tar::Header::new_ustar();
        header.set_size(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        header.set_mode(0o644);
        header.set_mtime(u64::try_from(self.plan.created_at / 1_000).unwrap_or(0));
        header.set_entry_type(tar::EntryType::Regular);
        let path = format!("{FOLDER}/{path}");
        self.tar.append_data(&mut header, path, bytes).map_err(PackError::Write)
    }
}

fn read_checkpoint(bytes: &[u8]) -> Result<Checkpoint, PackError> {
    let note = crate::note::Note::parse(bytes).map_err(PackError::Checkpoint)?;
    Checkpoint::parse(&note).map_err(PackError::Checkpoint)
}

/// The `kind` of a record, as written.
#[must_use]
pub fn kind(record: &Record) -> &'static str {
    match record {
        Record::Decision(_) => "decision",
        Record::Outcome(_) => "outcome",
        Record::Approval(_) => "approval",
        Record::Event(_) => "event",
    }
}

/// Members are declared in sorted order, and there are no numbers but integers: this is RFC 8785.
fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, PackError> {
    serde_json::to_vec(value).map_err(PackError::Json)
}
