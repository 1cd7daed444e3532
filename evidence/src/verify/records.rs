//! The records of a pack against the tree that the checkpoint signs, and what exactly is wrong if
//! they do not fit.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use forge_schemas::digest::Digest;
use forge_schemas::record::{RECORD_BYTES_MAX, RECORD_VERSION, Record};
use forge_schemas::verdict::ProblemCode;

use super::{Files, Problems, before};
use crate::canonical;
use crate::merkle::{Frontier, cover, leaf_hash, verify_inclusion};
use crate::pack::{self, RangeProof, Summary};

/// Lines of the record files, in order.
#[derive(Debug)]
pub(crate) struct Leaves {
    pub(crate) lines: Vec<Line>,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line {
    /// `data/records/000000.jsonl:17`.
    file: usize,
    number: usize,
    pub(crate) hash: Digest,
    /// `None` if the line is not a record.
    pub(crate) record: Option<Record>,
}

impl Line {
    pub(crate) fn place(&self) -> String {
        format!("{}{:06}.jsonl:{}", pack::RECORDS, self.file, self.number)
    }
}

impl Leaves {
    /// Reads the record files and checks each line by itself.
    pub(crate) fn read(files: &Files, summary: &Summary, problems: &mut Problems) -> Self {
        let mut lines = Vec::new();
        let mut file = 0_usize;
        for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(pack::RECORDS)) {
            if *path != format!("{}{file:06}.jsonl", pack::RECORDS) {
                let sentence = "The record files are not numbered one after the other.";
                problems.add(ProblemCode::RecordMissing, path.clone(), sentence);
            }
            let body = match bytes.strip_suffix(b"\n") {
                Some(body) => body,
                None if bytes.is_empty() => continue,
                None => {
                    let sentence = "The file breaks off in the middle of a record.";
                    problems.add(ProblemCode::LogTruncated, path.clone(), sentence);
                    bytes
                }
            };
            for (index, text) in body.split(|byte| *byte == b'\n').enumerate() {
                let number = index.saturating_add(1);
                let record = read_line(text, || format!("{path}:{number}"), summary, problems);
                let hash = leaf_hash(text);
                lines.push(Line { file, number, hash, record });
            }
            file = file.saturating_add(1);
        }
        Self { lines }
    }

    pub(crate) fn count(&self) -> u64 {
        u64::try_from(self.lines.len()).unwrap_or(u64::MAX)
    }

    /// Checks that the lines are the leaves of the range, and names those that are not.
    pub(crate) fn check(
        &self,
        files: &Files,
        summary: &Summary,
        range: Option<&RangeProof>,
        root: &Digest,
        problems: &mut Problems,
    ) {
        let hashes: Vec<Digest> = self.lines.iter().map(|line| line.hash).collect();
        let whole = self.count() == summary.end.saturating_sub(summary.first);
        let fits = |hashes: &[Digest]| range.and_then(|range| root_of(summary, range, hashes));
        if whole && fits(&hashes) == Some(*root) {
            return;
        }
        // The list of leaf hashes tells which records are wrong, if it is the one that was signed.
        let listed = files.get(pack::LEAF_HASHES).map(|bytes| listed(bytes)).unwrap_or_default();
        let authentic = u64::try_from(listed.len())
            .is_ok_and(|count| count == summary.end.saturating_sub(summary.first))
            && fits(&listed) == Some(*root);
        if authentic {
            self.compare(&listed, summary, problems);
        } else {
            self.compare_by_number(summary, problems);
        }
    }

    /// Names every difference from the leaves that were signed.
    fn compare(&self, signed: &[Digest], summary: &Summary, problems: &mut Problems) {
        let mut at: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (index, hash) in signed.iter().enumerate() {
            at.entry(*hash).or_default().push(index);
        }
        let mut found: Vec<Option<usize>> = vec![None; signed.len()];
        let mut strange = Vec::new();
        let mut order = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let places = at.get(&line.hash).map(Vec::as_slice).unwrap_or_default();
            let free = places.iter().find(|place| found.get(**place).is_some_and(Option::is_none));
            match (free, places) {
                (Some(place), _) => {
                    if let Some(slot) = found.get_mut(*place) {
                        *slot = Some(index);
                    }
                    order.push((index, *place));
                }
                (None, []) => strange.push(index),
                (None, [..]) => {
                    let sentence = "The record stands in the pack a second time.";
                    problems.add(ProblemCode::RecordDuplicated, line.place(), sentence);
                }
            }
        }
        let mut highest = None;
        for (index, place) in order {
            if highest.is_some_and(|highest| place < highest) {
                let where_found = self.lines.get(index).map(Line::place).unwrap_or_default();
                let sentence = format!("Record {} stands behind later ones.", seq(summary, place));
                problems.add(ProblemCode::RecordReordered, where_found, sentence);
            }
            highest = highest.max(Some(place));
        }
        let mut absent: Vec<usize> =
            (0..signed.len()).filter(|place| found.get(*place) == Some(&None)).collect();
        for index in strange {
            let Some(line) = self.lines.get(index) else { continue };
            let claimed = line.record.as_ref().map(Record::seq);
            let claimed = claimed.unwrap_or_else(|| seq(summary, index));
            if line.record.as_ref().is_some_and(|record| is_foreign(record, summary)) {
                // Said when the line was read.
                continue;
            }
            let place = absent.iter().position(|place| seq(summary, *place) == claimed);
            match place.map(|place| absent.remove(place)) {
                Some(place) => {
                    let sentence =
                        format!("Record {} is not as it was logged.", seq(summary, place));
                    problems.add(ProblemCode::RecordAltered, line.place(), sentence);
                }
                None => {
                    let sentence = "The record was never logged.";
                    problems.add(ProblemCode::RecordAltered, line.place(), sentence);
                }
            }
        }
        self.absent(&absent, signed.len(), summary, problems);
    }

    /// Names what is not there: at the end it is a truncation.
    fn absent(&self, absent: &[usize], all: usize, summary: &Summary, problems: &mut Problems) {
        let tail = absent.iter().rev().zip((0..all).rev()).take_while(|(a, b)| **a == *b).count();
        let (inner, tail) = absent.split_at(absent.len().saturating_sub(tail));
        for place in inner {
            let number = seq(summary, *place);
            let sentence = format!("Record {number} is not in the pack.");
            problems.add(ProblemCode::RecordMissing, format!("record {number}"), sentence);
        }
        if let Some(first) = tail.first() {
            let number = seq(summary, *first);
            let sentence = format!("The records from {number} on are not in the pack.");
            problems.add(ProblemCode::LogTruncated, format!("record {number}"), sentence);
        }
    }

    /// Without the signed list of hashes, numbers must do.
    fn compare_by_number(&self, summary: &Summary, problems: &mut Problems) {
        let before = problems.list.len();
        let mut seen = BTreeMap::new();
        let mut highest = None;
        for line in &self.lines {
            let Some(record) = &line.record else { continue };
            if is_foreign(record, summary) {
                continue;
            }
            let number = record.seq();
            if seen.insert(number, ()).is_some() {
                let sentence = format!("Record {number} stands in the pack twice.");
                problems.add(ProblemCode::RecordDuplicated, line.place(), sentence);
            } else if highest.is_some_and(|highest| number < highest) {
                let sentence = format!("Record {number} stands behind later ones.");
                problems.add(ProblemCode::RecordReordered, line.place(), sentence);
            }
            highest = highest.max(Some(number));
        }
        let most = summary.end.saturating_sub(summary.first).min(ABSENT_MAX);
        let absent: Vec<usize> = (summary.first..summary.first.saturating_add(most))
            .filter(|number| !seen.contains_key(number))
            .filter_map(|number| usize::try_from(number.saturating_sub(summary.first)).ok())
            .collect();
        self.absent(&absent, usize::try_from(most).unwrap_or(0), summary, problems);
        if problems.list.len() == before {
            let place = format!("records {} to {}", summary.first, summary.end);
            let sentence = "The records do not give the root that the checkpoint signs.";
            problems.add(ProblemCode::RecordAltered, place, sentence);
        }
    }

    /// Checks the C2SP proofs of single records.
    pub(crate) fn proofs(
        &self,
        files: &Files,
        summary: &Summary,
        root: &Digest,
        problems: &mut Problems,
    ) {
        let is_proof =
            |path: &str| path.starts_with("data/proofs/") && path.ends_with(".tlog-proof");
        for (path, bytes) in files.iter().filter(|(path, _)| is_proof(path)) {
            let good = read_proof(bytes).is_some_and(|(index, hashes, note)| {
                let inside =
                    index.checked_sub(summary.first).and_then(|at| usize::try_from(at).ok());
                let line = inside.and_then(|at| self.lines.get(at));
                files.get(pack::CHECKPOINT).is_some_and(|checkpoint| checkpoint == note)
                    && line.is_some_and(|line| {
                        verify_inclusion(&line.hash, index, summary.tree_size, &hashes, root)
                    })
            });
            if !good {
                let sentence = "The proof does not prove the record that it names.";
                problems.add(ProblemCode::LogInconsistent, path.clone(), sentence);
            }
        }
    }

    /// The tree of `size` leaves, if the pack holds everything from `first` up to it.
    pub(crate) fn frontier_at(
        &self,
        summary: &Summary,
        range: &RangeProof,
        size: u64,
    ) -> Option<Frontier> {
        let mut frontier = before(summary, range)?;
        let count = usize::try_from(size.checked_sub(summary.first)?).ok()?;
        let lines = self.lines.get(..count)?;
        lines.iter().for_each(|line| frontier.push(line.hash));
        Some(frontier)
    }
}

/// Checks one line by itself.
fn read_line(
    text: &[u8],
    place: impl Fn() -> String,
    summary: &Summary,
    problems: &mut Problems,
) -> Option<Record> {
    let record = Record::parse(text).ok().filter(|_| text.len() <= RECORD_BYTES_MAX);
    let Some(record) = record else {
        problems.add(ProblemCode::SchemaInvalid, place(), "The line is not a record.");
        return None;
    };
    // Records whose members are all declared are canonical if writing them again gives the same.
    let canonical = match &record {
        Record::Event(_) => canonical::check_leaf(text).is_ok(),
        Record::Decision(_) | Record::Outcome(_) | Record::Approval(_) => true,
    };
    if !canonical || record.canonical().ok().as_deref() != Some(text) || version(&record) {
        problems.add(ProblemCode::SchemaInvalid, place(), "The record is not in canonical form.");
    }
    if is_foreign(&record, summary) {
        let sentence = "The record belongs to another tenant or log.";
        problems.add(ProblemCode::RecordForeign, place(), sentence);
    }
    Some(record)
}

fn version(record: &Record) -> bool {
    let version = match record {
        Record::Decision(record) => record.v,
        Record::Outcome(record) => record.v,
        Record::Approval(record) => record.v,
        Record::Event(record) => record.v,
    };
    version != RECORD_VERSION
}

fn is_foreign(record: &Record, summary: &Summary) -> bool {
    record.tenant().as_str() != summary.tenant || record.log() != summary.log
}

fn seq(summary: &Summary, place: usize) -> u64 {
    summary.first.saturating_add(u64::try_from(place).unwrap_or(u64::MAX))
}

fn listed(bytes: &[u8]) -> Vec<Digest> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if rest.is_empty() {
        hashes.iter().copied().map(Digest::from_bytes).collect()
    } else {
        Vec::new()
    }
}

/// The root of the whole tree, from the subtrees beside the range and the leaves in it.
fn root_of(summary: &Summary, range: &RangeProof, hashes: &[Digest]) -> Option<Digest> {
    let mut frontier = before(summary, range)?;
    hashes.iter().for_each(|hash| frontier.push(*hash));
    for (level, hash) in cover(summary.end, summary.tree_size).into_iter().zip(&range.right) {
        frontier.push_subtree(level, *hash).ok()?;
    }
    Some(frontier.root())
}

/// C2SP tlog-proof without extra data: index, hashes, checkpoint.
fn read_proof(bytes: &[u8]) -> Option<(u64, Vec<Digest>, &[u8])> {
    let text = str::from_utf8(bytes).ok()?;
    let (head, note) = text.split_once("\n\n")?;
    let mut lines = head.split('\n');
    if lines.next() != Some("c2sp.org/tlog-proof@v1") {
        return None;
    }
    let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
    let hash = |line: &str| {
        let bytes = BASE64.decode(line).ok()?;
        bytes.try_into().ok().map(Digest::from_bytes)
    };
    let hashes: Option<Vec<Digest>> = lines.map(hash).collect();
    Some((index, hashes?, note.as_bytes()))
}

/// Missing records that are looked for by number.
const ABSENT_MAX: u64 = 10_000_000;
