//! Good packs verify; every scripted tampering is named by its code.

#![expect(clippy::as_conversions, clippy::arithmetic_side_effects, reason = "small numbers")]

mod hostile;
mod sample;
mod tampering;

use forge_schemas::verdict::ProblemCode;
use sample::{Sample, auditor, codes};

use super::*;

#[test]
fn every_range_of_a_good_log_verifies() {
    let sample = Sample::new();
    let size = sample.leaves.len();
    for (first, end) in [(0, size), (0, 1), (3, 9), (size - 1, size), (5, size), (4, 4), (0, 0)] {
        let pack = sample.pack(first, end);
        let verdict = verify(&mut &pack[..], &auditor(&sample));
        assert!(verdict.ok && verdict.complete, "{first}..{end}: {verdict:#?}");
        assert_eq!(verdict.records, (end - first) as u64);
        let range = verdict.range.unwrap();
        assert_eq!(
            (range.first, range.end, range.tree_size),
            (first as u64, end as u64, size as u64)
        );
        assert_eq!((range.tenant.as_str(), range.log.as_str()), ("acme", "acme.log.example"));
    }
    let whole = verify(&mut &sample.pack(0, size)[..], &auditor(&sample));
    assert_eq!(whole.open_slots, 1);
}

#[test]
fn a_checkpoint_seen_before_must_be_continued() {
    let sample = Sample::new();
    let size = sample.leaves.len();
    let check = |seen: Vec<u8>, want: &[ProblemCode]| {
        let auditor = Auditor { seen: vec![seen], ..auditor(&sample) };
        let verdict = verify(&mut &sample.pack(2, size)[..], &auditor);
        assert_eq!(codes(&verdict), want, "{verdict:?}");
    };
    check(sample.checkpoint(5), &[]);
    check(sample.checkpoint(size), &[]);
    let mut other = Sample::new();
    other.leaves[3] = other.leaves[4].clone();
    check(other.checkpoint(5), &[ProblemCode::LogInconsistent]);
    check(other.checkpoint(size), &[ProblemCode::LogForked]);
    other.leaves.push(other.leaves[0].clone());
    check(other.checkpoint(size + 1), &[ProblemCode::CheckpointStale]);
    check(b"nonsense".to_vec(), &[ProblemCode::CheckpointForged]);
}

#[test]
fn every_changed_byte_of_every_file_is_noticed() {
    let sample = Sample::new();
    let files = sample.files(3, 9);
    for (path, bytes) in &files {
        // A prime step keeps the test short and reaches every part of every file.
        for at in (0..bytes.len()).step_by(if bytes.len() > 600 { 37 } else { 1 }) {
            let mut bent = files.clone();
            bent.get_mut(path).unwrap()[at] ^= 1;
            let pack = sample::tar(&bent);
            let verdict = verify(&mut &pack[..], &auditor(&sample));
            assert!(!verdict.ok, "{path} at {at}");
        }
    }
}
