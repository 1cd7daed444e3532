//! Scripted tamperings, each with the code that must name it.
//!
//! `OUTSIDE`: somebody edits a finished pack. `INSIDE`: somebody who holds the pack key edits it and
//! makes manifests and signature fit again; only the log's own signature stands in the way.
//! `LOGGED`: the log itself, properly signed, says something that cannot be.

use forge_schemas::record::Record;
use forge_schemas::verdict::ProblemCode::{self, *};
use serde_json::{Value, json};

use super::sample::{Sample, approval, auditor, codes, event, outcome, record, script, tar};
use crate::note::{Checkpoint, Signer};
use crate::pack;
use crate::testing::TestSigner;
use crate::verify::{Files, verify};

const RECORDS: &str = "data/records/000000.jsonl";

type Change = fn(&mut Files);
type Rewrite = fn(&mut Vec<Record>);

/// Name, what is done, the code that has to be among the problems.
const OUTSIDE: &[(&str, Change, ProblemCode)] = &[
    ("a record altered", |f| swap(f, "call_1\"", "call_9\""), BagAltered),
    ("a record dropped", |f| lines(f, |l| drop(l.remove(4))), BagAltered),
    ("the record file gone", |f| gone(f, RECORDS), BagAltered),
    ("the checkpoint gone", |f| gone(f, pack::CHECKPOINT), BagAltered),
    ("the manifest gone", |f| gone(f, pack::MANIFEST), BagAltered),
    ("the tag manifest gone", |f| gone(f, pack::TAG_MANIFEST), BagAltered),
    ("the declaration gone", |f| gone(f, "bagit.txt"), BagAltered),
    ("the declaration changed", |f| put(f, "bagit.txt", "BagIt-Version: 9\n"), BagAltered),
    ("the instructions changed", |f| put(f, "VERIFY.md", "trust me"), BagAltered),
    ("a file added", |f| put(f, "data/extra", "x"), BagAltered),
    ("a tag file added", |f| put(f, "extra.txt", "x"), BagAltered),
    ("a policy file changed", |f| bend(f, "/org/a.rego"), BagAltered),
    ("the summary changed", |f| replace(f, pack::SUMMARY, "test/1", "test/2"), SchemaInvalid),
    ("the signature gone", |f| gone(f, pack::SIGNATURE), SignatureInvalid),
    ("the signature nonsense", |f| put(f, pack::SIGNATURE, "{}"), SignatureInvalid),
    (
        "the statement changed",
        |f| replace(f, pack::SIGNATURE, "\"payload\":\"e", "\"payload\":\"f"),
        SignatureInvalid,
    ),
    (
        "the signature's type changed",
        |f| replace(f, pack::SIGNATURE, "v0.3", "v0.2"),
        SignatureInvalid,
    ),
    (
        "a signature added",
        |f| replace(f, pack::SIGNATURE, "[{\"sig\"", "[{\"sig\":\"AA\"},{\"sig\""),
        SignatureInvalid,
    ),
    ("the tag manifest extended", |f| extend(f, pack::TAG_MANIFEST, "x"), SignatureInvalid),
    ("a manifest line doubled", double_manifest_line, BagAltered),
];

/// As above; here the code has to be the only one.
const INSIDE: &[(&str, Change, ProblemCode)] = &[
    ("a record altered", |f| swap(f, "\"call_1\"", "\"call_9\""), RecordAltered),
    (
        "an outcome altered",
        |f| swap(f, "\"refused\",\"received\"", "\"failed\",\"received\""),
        RecordAltered,
    ),
    ("a time altered", |f| swap(f, "\"at\":240000", "\"at\":240001"), RecordAltered),
    ("a record dropped", |f| lines(f, |l| drop(l.remove(3))), RecordMissing),
    ("the first record dropped", |f| lines(f, |l| drop(l.remove(0))), RecordMissing),
    ("two records dropped", |f| lines(f, |l| drop(l.drain(3..5))), RecordMissing),
    ("the last record dropped", |f| lines(f, |l| drop(l.pop())), LogTruncated),
    ("the tail dropped", |f| lines(f, |l| l.truncate(5)), LogTruncated),
    ("all records dropped", |f| put(f, RECORDS, ""), LogTruncated),
    ("two neighbours exchanged", |f| lines(f, |l| l.swap(0, 11)), RecordReordered),
    (
        "a record moved to the end",
        |f| {
            lines(f, |l| {
                let r = l.remove(11);
                l.push(r);
            });
        },
        RecordReordered,
    ),
    ("a record doubled", |f| lines(f, |l| l.insert(12, l[11].clone())), RecordDuplicated),
    ("a record doubled at the end", |f| lines(f, |l| l.push(l[11].clone())), RecordDuplicated),
    (
        "a record of another tenant",
        |f| swap(f, "\"tenant\":\"acme\",\"v\":1}\n", "\"tenant\":\"evil\",\"v\":1}\n"),
        RecordForeign,
    ),
    (
        "a record of another log",
        |f| swap(f, "\"acme.log.example\"", "\"acme.log.evil\""),
        RecordForeign,
    ),
    (
        "a record that was never logged",
        |f| lines(f, |l| l.push(l[11].replace("\"seq\":11", "\"seq\":14"))),
        RecordAltered,
    ),
    ("a line that is no record", |f| lines(f, |l| l.push("{}".to_owned())), SchemaInvalid),
    ("a file that breaks off", cut_last_line, LogTruncated),
    (
        "the checkpoint's size changed",
        |f| replace(f, pack::CHECKPOINT, "\n14\n", "\n13\n"),
        CheckpointForged,
    ),
    ("the checkpoint's root changed", forge_root, CheckpointForged),
    (
        "the checkpoint cut",
        |f| put(f, pack::CHECKPOINT, "acme.log.example\n14\n"),
        CheckpointForged,
    ),
    ("the range proof gone", |f| gone(f, pack::RANGE), SchemaInvalid),
    ("the summary gone", |f| gone(f, pack::SUMMARY), SchemaInvalid),
    ("the summary's version", |f| replace(f, pack::SUMMARY, "\"v\":1", "\"v\":2"), SchemaInvalid),
    (
        "the range turned round",
        |f| replace(f, pack::SUMMARY, "\"end\":14", "\"end\":1,\"first\":2,\"x\":0"),
        SchemaInvalid,
    ),
    (
        "the tree shorter in the summary",
        |f| replace(f, pack::SUMMARY, "\"tree_size\":14", "\"tree_size\":15"),
        CheckpointStale,
    ),
    (
        "the policy bundle gone",
        |f| f.retain(|path, _| !path.starts_with("data/policy/")),
        PolicyMissing,
    ),
    ("a policy file changed", |f| bend(f, "/org/a.rego"), PolicyMissing),
    ("a policy file gone", |f| f.retain(|path, _| !path.ends_with("/org/a.rego")), PolicyMissing),
    ("a policy file added", add_policy_file, PolicyMissing),
    (
        "a single proof changed",
        |f| replace(f, "data/proofs/last.tlog-proof", "index 13", "index 12"),
        LogInconsistent,
    ),
    (
        "a single proof cut",
        |f| put(f, "data/proofs/first.tlog-proof", "c2sp.org/tlog-proof@v1\n"),
        LogInconsistent,
    ),
];

/// A log that the gateway would not write: the change to the script, the one code.
const LOGGED: &[(&str, Rewrite, ProblemCode)] = &[
    (
        "an approval used twice",
        |r| r.insert(10, approval("approval.executed", "call_4", None)),
        ApprovalReused,
    ),
    ("an approval nobody gave", |r| drop(r.remove(8)), ApprovalInvalid),
    (
        "an approval that was denied",
        |r| r[8] = approval("approval.decided", "call_3", Some("deny")),
        ApprovalInvalid,
    ),
    (
        "an approval that had expired",
        |r| r.insert(9, approval("approval.expired", "call_3", None)),
        ApprovalInvalid,
    ),
    ("an approval decided too late", |r| edit(&mut r[8], "expires_at", &json!(1)), ApprovalInvalid),
    (
        "an approval decided by nobody",
        |r| edit(&mut r[8], "approver", &Value::Null),
        ApprovalInvalid,
    ),
    (
        "an approval for other arguments",
        |r| edit(&mut r[9], "arguments", &json!(format!("sha256:{}", "0".repeat(64)))),
        ApprovalInvalid,
    ),
    ("an approval with more uses", |r| edit(&mut r[9], "max_uses", &json!(9)), ApprovalInvalid),
    (
        "a held call answered without one",
        |r| r[10] = outcome("call_3", 2, "answered", None),
        ApprovalInvalid,
    ),
    ("an approval never executed", |r| drop(r.remove(9)), ApprovalInvalid),
    (
        "an outcome under another approval",
        |r| r[10] = outcome("call_3", 2, "answered", Some("ap_2")),
        ApprovalInvalid,
    ),
    (
        "an approval decided after its use",
        |r| r.insert(10, approval("approval.decided", "call_3", Some("approve"))),
        ApprovalInvalid,
    ),
    (
        "a slot left out",
        |r| {
            r.remove(3);
            drop(r.remove(2));
            r[11] = event("session.close", Some("ses_1"), &json!({"count": 4}));
        },
        CompletenessGap,
    ),
    ("a refused slot left out", |r| r[11] = event("refused", None, &json!({})), CompletenessGap),
    (
        "a slot used twice",
        |r| r[11] = event("refused", None, &json!({"slot": 2})),
        RecordDuplicated,
    ),
    (
        "an outcome for another slot",
        |r| r[3] = outcome("call_1", 7, "answered", None),
        CompletenessGap,
    ),
    (
        "an answer without a decision",
        |r| r.insert(11, outcome("call_9", 9, "answered", None)),
        CompletenessGap,
    ),
    (
        "a denied call that was answered",
        |r| r[5] = outcome("call_2", 1, "answered", None),
        CompletenessGap,
    ),
    (
        "a call answered twice",
        |r| r.insert(4, outcome("call_1", 0, "answered", None)),
        CompletenessGap,
    ),
    (
        "a session with another count",
        |r| r[13] = event("session.close", Some("ses_1"), &json!({"count": 6})),
        CompletenessGap,
    ),
    (
        "a session without a count",
        |r| r[13] = event("session.close", Some("ses_1"), &json!({})),
        CompletenessGap,
    ),
];

#[test]
fn what_an_outsider_does_to_a_pack_is_named() {
    for (name, change, want) in OUTSIDE {
        let sample = Sample::new();
        let mut files = sample.files(0, 14);
        change(&mut files);
        let verdict = verify(&mut &tar(&files)[..], &auditor(&sample));
        assert!(codes(&verdict).contains(want), "{name}: {verdict:#?}");
        assert!(!verdict.ok);
    }
}

#[test]
fn what_an_insider_does_to_a_pack_is_named_and_nothing_else() {
    for (name, change, want) in INSIDE {
        let sample = Sample::new();
        let mut files = sample.files(0, 14);
        change(&mut files);
        sample.refit(&mut files);
        let verdict = verify(&mut &tar(&files)[..], &auditor(&sample));
        assert!(codes(&verdict).contains(want), "{name}: {verdict:#?}");
        // What the tampered records then say to each other may be wrong too.
        let consequences =
            [CompletenessGap, ApprovalInvalid, LogInconsistent, SignatureInvalid, RecordDuplicated];
        let others: Vec<_> =
            codes(&verdict).into_iter().filter(|code| !consequences.contains(code)).collect();
        let both = [*want, RecordMissing, SchemaInvalid, BagAltered, LogTruncated, RecordAltered];
        assert!(others.iter().all(|code| both.contains(code)), "{name}: {verdict:#?}");
    }
}

#[test]
fn without_the_list_of_hashes_numbers_still_tell() {
    for (name, change, want) in INSIDE.iter().take(15) {
        let sample = Sample::new();
        let mut files = sample.files(0, 14);
        change(&mut files);
        gone(&mut files, pack::LEAF_HASHES);
        sample.refit(&mut files);
        let verdict = verify(&mut &tar(&files)[..], &auditor(&sample));
        assert!(!verdict.ok, "{name}");
        let named = codes(&verdict).contains(want);
        assert!(named || *want == RecordForeign, "{name}: {verdict:#?}");
    }
}

#[test]
fn what_cannot_have_happened_is_named_though_the_log_is_signed() {
    for (name, change, want) in LOGGED {
        let mut records = script();
        change(&mut records);
        // Later records in which slots settle.
        records.push(event("list", None, &json!({})));
        let sample = Sample::of(records);
        let size = sample.leaves.len();
        let verdict = verify(&mut &sample.pack(0, size)[..], &auditor(&sample));
        assert!(codes(&verdict).contains(want), "{name}: {verdict:#?}");
    }
}

#[test]
fn a_lost_slot_that_the_next_start_names_is_no_gap() {
    let mut records = script();
    records[11] = event("refused", None, &json!({}));
    records.push(event("node.start", None, &json!({"slots_lost": [3]})));
    let sample = Sample::of(records);
    let verdict = verify(&mut &sample.pack(0, sample.leaves.len())[..], &auditor(&sample));
    assert!(verdict.ok, "{verdict:#?}");
}

#[test]
fn a_broken_session_chain_is_named_though_the_log_is_signed() {
    for at in [2, 4, 6, 13] {
        for what in 0..3 {
            let sample = Sample::placed(script(), |index, record| {
                if index == at {
                    let mut place = forge_schemas::record::Place {
                        at: record.at(),
                        log: record.log().to_owned(),
                        seq: record.seq(),
                        session_prev: record.session_prev(),
                        session_seq: record.session_seq(),
                    };
                    match what {
                        0 => place.session_seq = place.session_seq.map(|seq| seq + 1),
                        1 => place.session_prev = Some(forge_schemas::digest::Digest::of(b"")),
                        _ => place.session_seq = None,
                    }
                    record.place(place);
                }
            });
            let verdict = verify(&mut &sample.pack(0, 14)[..], &auditor(&sample));
            assert!(codes(&verdict).contains(&CompletenessGap), "{at} {what}: {verdict:#?}");
        }
    }
}

#[test]
fn keys_come_from_the_auditor_only() {
    let sample = Sample::new();
    let pack = sample.pack(0, 14);
    let mut nobody = auditor(&sample);
    nobody.keys.clear();
    let verdict = verify(&mut &pack[..], &nobody);
    assert_eq!(codes(&verdict), [CheckpointUnknownKey, SignatureInvalid]);
    let mut other = auditor(&sample);
    other.keys[0].key = TestSigner::ed25519(2).public();
    assert_eq!(codes(&verify(&mut &pack[..], &other)), [CheckpointUnknownKey]);
    let mut other = auditor(&sample);
    other.keys[1].key = TestSigner::p256(2).public();
    assert_eq!(codes(&verify(&mut &pack[..], &other)), [SignatureInvalid]);
}

#[test]
fn a_checkpoint_of_other_records_is_named() {
    let sample = Sample::new();
    let check = |checkpoint: Vec<u8>, want: &[ProblemCode]| {
        let mut files = sample.files(0, 14);
        files.insert(pack::CHECKPOINT.to_owned(), checkpoint);
        sample.refit(&mut files);
        let verdict = verify(&mut &tar(&files)[..], &auditor(&sample));
        assert!(want.iter().all(|code| codes(&verdict).contains(code)), "{verdict:#?}");
    };
    let stranger = TestSigner::ed25519(7);
    check(sample.checkpoint_by(14, &stranger), &[CheckpointUnknownKey]);
    check(sample.checkpoint(9), &[CheckpointStale]);
    let mut longer = Sample::new();
    longer.leaves.push(longer.leaves[0].clone());
    check(longer.checkpoint(15), &[LogTruncated]);
    let mut forked = Sample::new();
    forked.leaves[2] = forked.leaves[3].clone();
    check(forked.checkpoint(14), &[LogForked, RecordAltered]);
    let root = sample.tree().root(14).unwrap();
    let elsewhere = Checkpoint { origin: "evil.log.example".to_owned(), size: 14, root };
    check(elsewhere.sign(&sample.log).unwrap().to_bytes(), &[RecordForeign]);
}

#[test]
fn the_checkpoint_before_the_range_is_checked() {
    let sample = Sample::new();
    let check = |change: &dyn Fn(&mut Files), want: ProblemCode| {
        let mut files = sample.files(6, 12);
        change(&mut files);
        sample.refit(&mut files);
        let verdict = verify(&mut &tar(&files)[..], &auditor(&sample));
        assert_eq!(codes(&verdict), [want], "{verdict:#?}");
    };
    let start = |bytes: Vec<u8>| {
        move |files: &mut Files| {
            files.insert(pack::CHECKPOINT_START.to_owned(), bytes.clone());
        }
    };
    check(&start(sample.checkpoint(4)), LogInconsistent);
    check(&start(sample.checkpoint(9)), LogInconsistent);
    check(&start(b"nonsense".to_vec()), CheckpointForged);
    check(&start(sample.checkpoint_by(5, &TestSigner::ed25519(3))), CheckpointUnknownKey);
    let mut other = Sample::new();
    other.leaves[1] = other.leaves[2].clone();
    check(&start(other.checkpoint(5)), LogInconsistent);
    check(&|files| gone(files, pack::CONSISTENCY), LogInconsistent);
    check(&|files| replace(files, pack::CONSISTENCY, "\"from\":5", "\"from\":4"), LogInconsistent);
}

fn edit(target: &mut Record, member: &str, value: &Value) {
    let mut json: Value = serde_json::from_slice(&target.canonical().unwrap()).unwrap();
    json[member] = value.clone();
    *target = record(&json);
}

fn text(files: &mut Files, path: &str, change: impl FnOnce(String) -> String) {
    let bytes = files.remove(path).unwrap();
    let before = String::from_utf8(bytes).unwrap();
    let after = change(before.clone());
    assert_ne!(after, before, "{path} did not change");
    files.insert(path.to_owned(), after.into_bytes());
}

fn replace(files: &mut Files, path: &str, from: &str, to: &str) {
    text(files, path, |text| text.replacen(from, to, 1));
}

fn swap(files: &mut Files, from: &str, to: &str) {
    replace(files, RECORDS, from, to);
}

fn lines(files: &mut Files, change: impl FnOnce(&mut Vec<String>)) {
    text(files, RECORDS, |text| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        change(&mut lines);
        lines.iter().map(|line| format!("{line}\n")).collect()
    });
}

fn put(files: &mut Files, path: &str, content: &str) {
    files.insert(path.to_owned(), content.as_bytes().to_vec());
}

fn gone(files: &mut Files, path: &str) {
    files.remove(path).unwrap();
}

fn extend(files: &mut Files, path: &str, more: &str) {
    text(files, path, |text| text + more);
}

fn bend(files: &mut Files, suffix: &str) {
    let path = files.keys().find(|path| path.ends_with(suffix)).unwrap().clone();
    extend(files, &path, "x");
}

fn add_policy_file(files: &mut Files) {
    let path = files.keys().find(|path| path.ends_with("/org/a.rego")).unwrap();
    let path = path.replace("a.rego", "c.rego");
    put(files, &path, "package c");
}

fn double_manifest_line(files: &mut Files) {
    text(files, pack::MANIFEST, |text| {
        let first = text.lines().next().unwrap().to_owned();
        format!("{text}{first}\n")
    });
}

fn cut_last_line(files: &mut Files) {
    text(files, RECORDS, |text| text.get(..text.len() - 20).unwrap().to_owned());
}

fn forge_root(files: &mut Files) {
    text(files, pack::CHECKPOINT, |text| {
        let root = text.lines().nth(2).unwrap().to_owned();
        text.replacen(&root, "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 1)
    });
}
