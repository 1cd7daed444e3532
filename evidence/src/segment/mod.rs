//! Segment files: how a log lies on disk, and what is left of it after a crash.
//!
//! A segment begins with a line of text that says which log it is and with which leaf it starts;
//! then come frames `length | crc | kind | bytes`. The checksum is CRC-32 (IEEE, as in zlib): it
//! finds torn writes. What finds changes is the Merkle root in the signed checkpoint that ends
//! every commit. Frames behind the last checkpoint were never acknowledged and may be cut; anything
//! wrong before that is an [`Alarm`].
//!
//! An [`Anchor`] says how large the log was when a commit was last acknowledged. It lies beside the
//! segments, so it notices a log that lost its end, not somebody who puts back an old copy of
//! both: that takes a witness elsewhere.

use forge_schemas::digest::Digest;
use forge_schemas::record::{RECORD_BYTES_MAX, Record};

use crate::merkle::{Frontier, leaf_hash};
use crate::note::{Checkpoint, NOTE_BYTES_MAX, NoteError, TrustedKey};

/// Bytes of a frame before its content: length and checksum, each 32 bits little-endian, and kind.
pub const FRAME_HEADER_BYTES: usize = 9;

/// Content of a frame at most.
pub const FRAME_BYTES_MAX: usize = RECORD_BYTES_MAX;

const MAGIC: &str = "forge-evidence-segment 1";
const ANCHOR_BYTES: usize = 44;

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// A leaf.
    Record,
    /// A signed checkpoint over all leaves before it.
    Checkpoint,
}

/// A frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it holds.
    pub kind: FrameKind,
    /// The content.
    pub bytes: &'a [u8],
}

/// The content does not fit a frame.
#[derive(Debug, thiserror::Error)]
#[error("{0} bytes do not fit a frame of {FRAME_BYTES_MAX}")]
pub struct FrameTooLong(pub usize);

/// Writes a frame behind what is in `out`.
///
/// # Errors
/// If the content is longer than [`FRAME_BYTES_MAX`].
pub fn write_frame(out: &mut Vec<u8>, kind: FrameKind, bytes: &[u8]) -> Result<(), FrameTooLong> {
    let length = u32::try_from(bytes.len()).ok().filter(|_| bytes.len() <= FRAME_BYTES_MAX);
    let length = length.ok_or(FrameTooLong(bytes.len()))?.to_le_bytes();
    let kind = kind.code();
    out.extend_from_slice(&length);
    out.extend_from_slice(&checksum(length, kind, bytes).to_le_bytes());
    out.push(kind);
    out.extend_from_slice(bytes);
    Ok(())
}

/// Reads the frame at the start of `bytes`, and what is behind it; `None` if there is no whole
/// frame with a right checksum.
#[must_use]
pub fn read_frame(bytes: &[u8]) -> Option<(Frame<'_>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (crc, rest) = rest.split_first_chunk::<4>()?;
    let (kind, rest) = rest.split_first()?;
    let count = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if count > FRAME_BYTES_MAX {
        return None;
    }
    let (content, rest) = rest.split_at_checked(count)?;
    let frame = Frame { kind: FrameKind::parse(*kind)?, bytes: content };
    (checksum(*length, *kind, content) == u32::from_le_bytes(*crc)).then_some((frame, rest))
}

fn checksum(length: [u8; 4], kind: u8, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(&[kind]);
    hasher.update(bytes);
    hasher.finalize()
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Record => b'R',
            Self::Checkpoint => b'C',
        }
    }

    const fn parse(code: u8) -> Option<Self> {
        match code {
            b'R' => Some(Self::Record),
            b'C' => Some(Self::Checkpoint),
            _ => None,
        }
    }
}

/// The first line of a segment.
#[must_use]
pub fn header(origin: &str, first: u64) -> Vec<u8> {
    format!("{MAGIC} {origin} {first}\n").into_bytes()
}

/// Name of the segment that starts with leaf `first`.
#[must_use]
pub fn file_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first leaf of a segment of this name; `None` if it is not the name of a segment.
#[must_use]
pub fn first_of(name: &str) -> Option<u64> {
    let first: u64 = name.strip_suffix(".seg")?.parse().ok()?;
    (file_name(first) == name).then_some(first)
}

/// How large the log was when a commit was last acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// Leaves.
    pub size: u64,
    /// Root over them.
    pub root: Digest,
}

impl Anchor {
    /// The written form: size (64 bits little-endian), root, CRC-32 of both.
    #[must_use]
    pub fn to_bytes(self) -> [u8; ANCHOR_BYTES] {
        let mut out = [0; ANCHOR_BYTES];
        let size = self.size.to_le_bytes();
        let crc = Self::checksum(&size, self.root.as_bytes()).to_le_bytes();
        let source = size.iter().chain(self.root.as_bytes()).chain(&crc);
        out.iter_mut().zip(source).for_each(|(target, source)| *target = *source);
        out
    }

    /// Reads the written form; `None` if it is damaged.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (size, rest) = bytes.split_first_chunk::<8>()?;
        let (root, crc) = rest.split_first_chunk::<32>()?;
        let crc: [u8; 4] = crc.try_into().ok()?;
        (u32::from_le_bytes(crc) == Self::checksum(size, root))
            .then(|| Self { size: u64::from_le_bytes(*size), root: Digest::from_bytes(*root) })
    }

    fn checksum(size: &[u8; 8], root: &[u8; 32]) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(size);
        hasher.update(root);
        hasher.finalize()
    }
}

/// A leaf that a checkpoint covers.
#[derive(Clone, Debug)]
pub struct Leaf<'a> {
    /// Its index.
    pub seq: u64,
    /// Its RFC 6962 hash.
    pub hash: Digest,
    /// Its bytes.
    pub bytes: &'a [u8],
    /// What they say.
    pub record: Record,
}

/// Something is wrong that a crash does not do. The log must not be used.
#[derive(Debug, thiserror::Error)]
#[error("{file} at byte {offset}: {fault}")]
pub struct Alarm {
    /// Segment file.
    pub file: String,
    /// Where in it.
    pub offset: usize,
    /// What.
    #[source]
    pub fault: Fault,
}

/// What is wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The first line is missing or belongs to another log or place.
    #[error("the first line is not that of this log's segment from leaf {0}")]
    Header(u64),
    /// A segment between two others is not there, or starts elsewhere.
    #[error("the segment should start with leaf {want}")]
    Gap {
        /// Leaves before it.
        want: u64,
    },
    /// Bytes that are no frame, although the log goes on behind them.
    #[error("damaged bytes, although signed checkpoints follow")]
    Damaged,
    /// Records without a checkpoint at the end of a segment that is not the last.
    #[error("the segment ends without a checkpoint, although another follows")]
    Unfinished,
    /// A leaf that is not a record of this place.
    #[error("leaf {seq} is not a record of this log with this number")]
    Foreign {
        /// Leaf index.
        seq: u64,
    },
    /// The checkpoint is not one, or not signed by a known key.
    #[error("the checkpoint cannot be trusted")]
    Checkpoint(#[source] NoteError),
    /// The checkpoint is of another log.
    #[error("the checkpoint is of the log {0}")]
    Origin(String),
    /// The checkpoint signs other leaves than stand before it.
    #[error("the signed checkpoint covers {signed} leaves with another root than the {found} here")]
    Root {
        /// What is signed.
        signed: u64,
        /// What is there.
        found: u64,
    },
    /// The log is shorter than it was when records were acknowledged, or another.
    #[error("{acknowledged} records were acknowledged, but the log has {found} or is another")]
    Truncated {
        /// Size in the anchor.
        acknowledged: u64,
        /// Size of the log.
        found: u64,
    },
}

/// What to keep of the newest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Bytes up to the end of the last checkpoint; 0 if the segment never had one.
    pub keep: usize,
    /// Bytes behind it, which were never acknowledged.
    pub cut: usize,
}

/// Reads a log back, segment by segment from the first.
#[derive(Debug)]
pub struct Replay<'k> {
    origin: String,
    keys: &'k [TrustedKey],
    anchor: Option<Anchor>,
    anchor_met: bool,
    frontier: Frontier,
    last: Option<Vec<u8>>,
    checkpoints: u64,
}

impl<'k> Replay<'k> {
    /// Starts with an empty log. `anchor` is `None` if there is none or it is damaged.
    #[must_use]
    pub fn new(origin: &str, keys: &'k [TrustedKey], anchor: Option<Anchor>) -> Self {
        let anchor_met = anchor.is_none_or(|anchor| anchor.size == 0);
        let origin = origin.to_owned();
        let frontier = Frontier::default();
        Self { origin, keys, anchor, anchor_met, frontier, last: None, checkpoints: 0 }
    }

    /// The tree up to the last checkpoint.
    #[must_use]
    pub const fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The last signed checkpoint.
    #[must_use]
    pub fn last_checkpoint(&self) -> Option<&[u8]> {
        self.last.as_deref()
    }

    /// Checkpoints so far.
    #[must_use]
    pub const fn checkpoints(&self) -> u64 {
        self.checkpoints
    }

    /// Reads one segment. `visit` sees each leaf once the checkpoint over it has been checked.
    /// Signatures are checked on every checkpoint of the newest segment and on the last one of
    /// each older segment; roots on all.
    ///
    /// # Errors
    /// If anything is wrong that a crash in the middle of a commit cannot have done.
    pub fn segment<'a>(
        &mut self,
        name: &str,
        bytes: &'a [u8],
        newest: bool,
        visit: &mut dyn FnMut(Leaf<'a>),
    ) -> Result<Kept, Alarm> {
        let alarm = |offset: usize, fault: Fault| Alarm { file: name.to_owned(), offset, fault };
        let want = self.frontier.size();
        if first_of(name) != Some(want) {
            return Err(alarm(0, Fault::Gap { want }));
        }
        let head = header(&self.origin, want);
        let Some(mut rest) = bytes.strip_prefix(head.as_slice()) else {
            // A header that was not written: missing bytes or zeros, never other ones.
            let unwritten = bytes.iter().zip(&head).all(|(seen, want)| *seen == 0 || seen == want);
            return if newest && unwritten && self.only_torn(bytes) {
                Ok(Kept { keep: 0, cut: bytes.len() })
            } else {
                Err(alarm(0, Fault::Header(want)))
            };
        };
        let at = |rest: &[u8]| bytes.len().saturating_sub(rest.len());
        let (mut keep, mut unsigned) = (0, None);
        let mut next = self.frontier.clone();
        let mut leaves = Vec::new();
        while let Some((frame, behind)) = read_frame(rest) {
            match frame.kind {
                FrameKind::Record => {
                    let leaf = self.leaf(frame.bytes, next.size());
                    let leaf = leaf.map_err(|fault| alarm(at(rest), fault))?;
                    next.push(leaf.hash);
                    leaves.push(leaf);
                }
                FrameKind::Checkpoint => {
                    let open = newest.then_some(self.keys);
                    self.checkpoint(frame.bytes, &next, open)
                        .map_err(|fault| alarm(at(rest), fault))?;
                    unsigned = (!newest).then_some((at(rest), frame.bytes));
                    self.frontier = next.clone();
                    leaves.drain(..).for_each(&mut *visit);
                    keep = at(behind);
                }
            }
            rest = behind;
        }
        if let Some((offset, note)) = unsigned {
            Checkpoint::open(note, self.keys)
                .map_err(|source| alarm(offset, Fault::Checkpoint(source)))?;
        }
        let tail = bytes.get(keep..).unwrap_or_default();
        if !newest && !tail.is_empty() {
            return Err(alarm(at(rest), Fault::Unfinished));
        }
        if newest && !self.only_torn(rest) {
            return Err(alarm(at(rest), Fault::Damaged));
        }
        Ok(Kept { keep, cut: tail.len() })
    }

    /// Checks the whole log against the anchor, after the last segment.
    ///
    /// # Errors
    /// If the log is shorter than what was acknowledged, or was another at that size.
    pub fn finish(&self, file: &str) -> Result<(), Alarm> {
        match self.anchor {
            Some(Anchor { size, .. }) if !self.anchor_met => {
                let fault = Fault::Truncated { acknowledged: size, found: self.frontier.size() };
                Err(Alarm { file: file.to_owned(), offset: 0, fault })
            }
            _ => Ok(()),
        }
    }

    fn leaf<'a>(&self, bytes: &'a [u8], seq: u64) -> Result<Leaf<'a>, Fault> {
        let record = Record::parse(bytes).ok();
        let record = record.filter(|record| record.seq() == seq && record.log() == self.origin);
        let record = record.ok_or(Fault::Foreign { seq })?;
        Ok(Leaf { seq, hash: leaf_hash(bytes), bytes, record })
    }

    fn checkpoint(
        &mut self,
        bytes: &[u8],
        tree: &Frontier,
        keys: Option<&[TrustedKey]>,
    ) -> Result<(), Fault> {
        let checkpoint = match keys {
            Some(keys) => Checkpoint::open(bytes, keys),
            None => crate::note::Note::parse(bytes).and_then(|note| Checkpoint::parse(&note)),
        };
        let checkpoint = checkpoint.map_err(Fault::Checkpoint)?;
        if checkpoint.origin != self.origin {
            return Err(Fault::Origin(checkpoint.origin));
        }
        if checkpoint.size != tree.size() || checkpoint.root != tree.root() {
            return Err(Fault::Root { signed: checkpoint.size, found: tree.size() });
        }
        if let Some(anchor) = self.anchor.filter(|anchor| anchor.size == checkpoint.size) {
            self.anchor_met = anchor.root == checkpoint.root;
        }
        self.checkpoints = self.checkpoints.saturating_add(1);
        self.last = Some(bytes.to_vec());
        Ok(())
    }

    /// Can a crash have left these bytes behind the last whole frame? Yes, if no signed checkpoint
    /// follows; and if one follows that was not acknowledged, since the pages of one commit may
    /// reach the disk in any order.
    fn only_torn(&self, bytes: &[u8]) -> bool {
        let mut later = Vec::new();
        let mut rest = bytes;
        while rest.len() > FRAME_HEADER_BYTES {
            later.extend(self.signed_at(rest));
            rest = rest.get(1..).unwrap_or_default();
        }
        match (later.as_slice(), self.anchor) {
            ([], _) => true,
            ([one], Some(anchor)) => one.size > anchor.size,
            _ => false,
        }
    }

    fn signed_at(&self, bytes: &[u8]) -> Option<Checkpoint> {
        let code = bytes.get(FRAME_HEADER_BYTES.saturating_sub(1))?;
        let length = u32::from_le_bytes(*bytes.first_chunk()?);
        let fits = usize::try_from(length).is_ok_and(|length| length <= NOTE_BYTES_MAX);
        if *code != FrameKind::Checkpoint.code() || !fits {
            return None;
        }
        let (frame, _) = read_frame(bytes)?;
        Checkpoint::open(frame.bytes, self.keys).ok().filter(|found| found.origin == self.origin)
    }
}

#[cfg(test)]
mod tests;
