//! Verification of a pack: one straight function in the order of
//! `docs/reference/evidence-format.md` §6, with the sentence of that document above each step.
//!
//! It reads bytes and keys and gives a verdict; it opens no socket and no other file, and trusts
//! nothing in the pack. Everything that is wrong is named, not only the first thing.

mod bag;
mod content;
mod records;

use std::collections::BTreeMap;
use std::io::Read;

use forge_schemas::digest::Digest;
use forge_schemas::verdict::{Problem, ProblemCode, Range, Verdict};

use crate::merkle::{Frontier, cover, verify_consistency};
use crate::note::{Checkpoint, NoteError, PublicKey, TrustedKey};
use crate::pack::statement::{self, StatementError};
use crate::pack::{self, ConsistencyProof, RangeProof, Summary};
use records::Leaves;

/// Limits on what is read: a pack comes from somebody who may not be a friend.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Files in the pack.
    pub files_max: usize,
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Bytes of all files.
    pub total_bytes_max: u64,
    /// Problems that are listed; further ones are counted in the last.
    pub problems_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            files_max: 100_000,
            file_bytes_max: 256 << 20,
            total_bytes_max: 8 << 30,
            problems_max: 200,
        }
    }
}

/// What the auditor brings.
#[derive(Clone, Debug, Default)]
pub struct Auditor {
    /// Keys, from elsewhere than the pack.
    pub keys: Vec<TrustedKey>,
    /// Signed checkpoints of this log that the auditor has seen before.
    pub seen: Vec<Vec<u8>>,
    /// Limits on what is read.
    pub limits: Limits,
}

/// The problems so far.
#[derive(Debug)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    most: usize,
    more: u64,
}

impl Problems {
    pub(crate) fn add(
        &mut self,
        code: ProblemCode,
        place: impl Into<String>,
        sentence: impl Into<String>,
    ) {
        if self.list.len() < self.most {
            let (place, sentence) = (place.into(), sentence.into());
            self.list.push(Problem { code, r#where: place, sentence });
        } else {
            self.more = self.more.saturating_add(1);
        }
    }

    fn finish(mut self) -> Vec<Problem> {
        if let (Some(last), 1..) = (self.list.last_mut(), self.more) {
            last.sentence.push_str(&format!(" ({} more problems are not listed.)", self.more));
        }
        self.list
    }
}

/// The files of a pack by their path in the bag.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// Verifies a pack.
#[must_use]
pub fn verify(pack: &mut dyn Read, auditor: &Auditor) -> Verdict {
    let mut problems =
        Problems { list: Vec::new(), most: auditor.limits.problems_max.max(1), more: 0 };

    // "A pack is one tar file with regular files under the folder `evidence-pack`."
    let files = bag::unpack(pack, &auditor.limits, &mut problems);

    // "Every file under `data/` stands in the manifest with its digest, every tag file in the tag
    // manifest, and nothing else is in the bag."
    bag::check(&files, &mut problems);

    // "The bundle `pack.sigstore.json` is signed by a key of the auditor, and its statement is
    // about this tag manifest."
    let signed = signature(&files, auditor, &mut problems);

    // "The manifest says what the pack holds, in the same words as the signed statement."
    let Some(summary) = summary(&files, signed.as_ref(), &mut problems) else {
        return verdict(None, 0, 0, problems);
    };

    // "The checkpoint is signed by a key of the auditor and is of the manifest's log, size and
    // root."
    let checkpoint = checkpoint(&files, &summary, auditor, &mut problems);

    // "Each line of the record files is a leaf, and they are the leaves from `first` to `end`, in
    // order: with the subtrees beside the range they give the root of the checkpoint."
    let range = range_proof(&files, &summary, &mut problems);
    let leaves = Leaves::read(&files, &summary, &mut problems);
    let root = checkpoint.as_ref().map_or(summary.root, |checkpoint| checkpoint.root);
    leaves.check(&files, &summary, range.as_ref(), &root, &mut problems);

    // "The checkpoint continues the one from before the range, and every checkpoint that the
    // auditor has seen before."
    let tree = (summary.tree_size, root);
    start(&files, &summary, tree, auditor, &mut problems);
    seen(&summary, range.as_ref(), &leaves, tree, auditor, &mut problems);

    // "The single proofs are right."
    leaves.proofs(&files, &summary, &root, &mut problems);

    // "The records agree with each other: slots, sessions, outcomes, approvals."
    let open_slots = content::check(&leaves, &summary, &mut problems);

    // "Every bundle that decided is in the pack."
    content::bundles(&files, &leaves, &mut problems);

    let range = Range {
        tenant: summary.tenant,
        log: summary.log,
        first: summary.first,
        end: summary.end,
        tree_size: summary.tree_size,
    };
    verdict(Some(range), leaves.count(), open_slots, problems)
}

fn verdict(range: Option<Range>, records: u64, open_slots: u64, problems: Problems) -> Verdict {
    let problems = problems.finish();
    let harmless = |code: ProblemCode| match code {
        ProblemCode::SignatureInvalid
        | ProblemCode::PolicyMissing
        | ProblemCode::PolicyDifferent
        | ProblemCode::ApprovalInvalid
        | ProblemCode::ApprovalReused => true,
        ProblemCode::RecordAltered
        | ProblemCode::RecordMissing
        | ProblemCode::RecordReordered
        | ProblemCode::RecordDuplicated
        | ProblemCode::RecordForeign
        | ProblemCode::LogTruncated
        | ProblemCode::LogForked
        | ProblemCode::LogInconsistent
        | ProblemCode::CheckpointForged
        | ProblemCode::CheckpointUnknownKey
        | ProblemCode::CheckpointStale
        | ProblemCode::BagAltered
        | ProblemCode::CompletenessGap
        | ProblemCode::SchemaInvalid => false,
    };
    Verdict {
        ok: problems.is_empty(),
        records,
        complete: range.is_some() && problems.iter().all(|problem| harmless(problem.code)),
        range,
        open_slots,
        replayed: None,
        problems,
    }
}

fn signature(
    files: &Files,
    auditor: &Auditor,
    problems: &mut Problems,
) -> Option<statement::Statement> {
    let mut bad = |sentence: String| {
        problems.add(ProblemCode::SignatureInvalid, pack::SIGNATURE, sentence);
    };
    let Some(bundle) = files.get(pack::SIGNATURE) else {
        bad("The pack is not signed.".to_owned());
        return None;
    };
    let keys: Vec<&PublicKey> = auditor
        .keys
        .iter()
        .map(|trusted| &trusted.key)
        .filter(|key| matches!(key, PublicKey::P256(_)))
        .collect();
    match statement::open(bundle, keys.into_iter()) {
        Ok(statement) => {
            let digest = files.get(pack::TAG_MANIFEST).map(|bytes| Digest::of(bytes).hex());
            let about = statement.subject.first().map(|subject| &subject.digest.sha256);
            if digest.is_none() || digest.as_ref() != about {
                bad("The signed statement is about another bag than this one.".to_owned());
            }
            Some(statement)
        }
        Err(StatementError::UnknownKey(hint)) => {
            bad(format!("The pack is signed by a key that the auditor did not give ({hint})."));
            None
        }
        Err(error) => {
            bad(format!("The pack's signature cannot be trusted: {error}."));
            None
        }
    }
}

fn summary(
    files: &Files,
    signed: Option<&statement::Statement>,
    problems: &mut Problems,
) -> Option<Summary> {
    let mut bad = |code: ProblemCode, sentence: &str| problems.add(code, pack::SUMMARY, sentence);
    let written = files.get(pack::SUMMARY).map(|bytes| serde_json::from_slice::<Summary>(bytes));
    let summary = match (written, signed) {
        (Some(Ok(summary)), Some(signed)) => {
            if summary != signed.predicate {
                let sentence = "The manifest says something else than the signed statement.";
                bad(ProblemCode::SchemaInvalid, sentence);
            }
            signed.predicate.clone()
        }
        (Some(Ok(summary)), None) => summary,
        (Some(Err(_)) | None, signed) => {
            bad(ProblemCode::SchemaInvalid, "The pack has no manifest that can be read.");
            signed?.predicate.clone()
        }
    };
    let Summary { first, end, tree_size, .. } = summary;
    let origin = summary.log.strip_prefix(&summary.tenant);
    let own = origin.is_some_and(|host| host.starts_with('.') && host.len() > 1);
    if summary.v != 1 || first > end || end > tree_size || tree_size > LEAVES_MAX {
        bad(ProblemCode::SchemaInvalid, "The range in the manifest is not one.");
        return None;
    }
    if !own {
        bad(ProblemCode::RecordForeign, "The log in the manifest is not one of this tenant.");
    }
    Some(summary)
}

fn checkpoint(
    files: &Files,
    summary: &Summary,
    auditor: &Auditor,
    problems: &mut Problems,
) -> Option<Checkpoint> {
    let mut bad = |code: ProblemCode, sentence: &str| {
        problems.add(code, pack::CHECKPOINT, sentence);
    };
    let Some(bytes) = files.get(pack::CHECKPOINT) else {
        bad(ProblemCode::CheckpointForged, "The pack has no checkpoint.");
        return None;
    };
    let checkpoint = match Checkpoint::open(bytes, &auditor.keys) {
        Ok(checkpoint) => checkpoint,
        Err(error) => {
            let (code, sentence) = distrust(&error);
            bad(code, &sentence);
            return None;
        }
    };
    if checkpoint.origin != summary.log {
        bad(ProblemCode::RecordForeign, "The checkpoint is of another log than the manifest says.");
        return None;
    }
    match checkpoint.size.cmp(&summary.tree_size) {
        std::cmp::Ordering::Less => {
            bad(ProblemCode::CheckpointStale, "The checkpoint is older than the manifest says.");
            return None;
        }
        std::cmp::Ordering::Greater => {
            bad(ProblemCode::LogTruncated, "The log is longer than the manifest says.");
            return None;
        }
        std::cmp::Ordering::Equal => {}
    }
    if checkpoint.root != summary.root {
        bad(ProblemCode::LogForked, "The checkpoint signs another root than the manifest says.");
    }
    Some(checkpoint)
}

fn distrust(error: &NoteError) -> (ProblemCode, String) {
    match error {
        NoteError::UnknownKey(_) => (
            ProblemCode::CheckpointUnknownKey,
            "The checkpoint is signed by a key that the auditor did not give.".to_owned(),
        ),
        NoteError::Forged(_) | NoteError::Form(_) | NoteError::Body(_) => {
            (ProblemCode::CheckpointForged, format!("The checkpoint cannot be trusted: {error}."))
        }
    }
}

fn range_proof(files: &Files, summary: &Summary, problems: &mut Problems) -> Option<RangeProof> {
    let bytes = files.get(pack::RANGE);
    let proof = bytes.and_then(|bytes| serde_json::from_slice::<RangeProof>(bytes).ok());
    let fits = |proof: &RangeProof| {
        proof.left.len() == cover(0, summary.first).len()
            && proof.right.len() == cover(summary.end, summary.tree_size).len()
    };
    let proof = proof.filter(fits);
    if proof.is_none() {
        let sentence = "The subtrees beside the range are missing or do not fit it.";
        problems.add(ProblemCode::SchemaInvalid, pack::RANGE, sentence);
    }
    proof
}

fn start(
    files: &Files,
    summary: &Summary,
    (size, root): (u64, Digest),
    auditor: &Auditor,
    problems: &mut Problems,
) {
    let Some(bytes) = files.get(pack::CHECKPOINT_START) else { return };
    let earlier = match Checkpoint::open(bytes, &auditor.keys) {
        Ok(earlier) => earlier,
        Err(error) => {
            let (code, sentence) = distrust(&error);
            problems.add(code, pack::CHECKPOINT_START, sentence);
            return;
        }
    };
    let mut bad = |code: ProblemCode, place: &str, sentence: &str| {
        problems.add(code, place, sentence);
    };
    if earlier.origin != summary.log {
        let sentence = "The checkpoint before the range is of another log.";
        bad(ProblemCode::RecordForeign, pack::CHECKPOINT_START, sentence);
        return;
    }
    if earlier.size > summary.first {
        let sentence = "The checkpoint before the range is not from before it.";
        bad(ProblemCode::LogInconsistent, pack::CHECKPOINT_START, sentence);
        return;
    }
    let proof = files.get(pack::CONSISTENCY);
    let proof = proof.and_then(|bytes| serde_json::from_slice::<ConsistencyProof>(bytes).ok());
    let proven = proof.is_some_and(|ConsistencyProof { from, proof, to }| {
        from == earlier.size
            && to == size
            && verify_consistency((from, &earlier.root), (to, &root), &proof)
    });
    if !proven {
        let sentence = "The checkpoint does not continue the one from before the range.";
        bad(ProblemCode::LogInconsistent, pack::CONSISTENCY, sentence);
    }
}

/// Compares with what the auditor has seen of this log before.
fn seen(
    summary: &Summary,
    range: Option<&RangeProof>,
    leaves: &Leaves,
    (size, root): (u64, Digest),
    auditor: &Auditor,
    problems: &mut Problems,
) {
    for (index, bytes) in auditor.seen.iter().enumerate() {
        let place = format!("seen checkpoint {}", index.saturating_add(1));
        let mut bad =
            |code: ProblemCode, sentence: &str| problems.add(code, place.clone(), sentence);
        let Ok(known) = Checkpoint::open(bytes, &auditor.keys) else {
            bad(ProblemCode::CheckpointForged, "The checkpoint seen before cannot be trusted.");
            continue;
        };
        if known.origin != summary.log {
            continue;
        }
        if known.size > size {
            let sentence = "The pack ends with an older checkpoint than was seen before.";
            bad(ProblemCode::CheckpointStale, sentence);
        } else if known.size == size {
            if known.root != root {
                let sentence = "Two signed checkpoints of one size have different roots.";
                bad(ProblemCode::LogForked, sentence);
            }
        } else if let Some(frontier) =
            range.and_then(|range| leaves.frontier_at(summary, range, known.size))
            && frontier.root() != known.root
        {
            let sentence = "The log does not continue the checkpoint that was seen before.";
            bad(ProblemCode::LogInconsistent, sentence);
        }
    }
}

/// The tree before the range.
pub(crate) fn before(summary: &Summary, range: &RangeProof) -> Option<Frontier> {
    Frontier::from_peaks(summary.first, &range.left).ok()
}

/// Leaves of a tree at most; more is not a pack but a joke.
const LEAVES_MAX: u64 = 1 << 48;

#[cfg(test)]
mod tests;
