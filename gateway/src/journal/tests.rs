//! The journal on a real disk: what is acknowledged is there, restarts close what was open, damage
//! is refused, limits refuse only what exceeds them.

#![expect(clippy::as_conversions, reason = "small numbers")]
#![expect(clippy::wildcard_enum_match_arm, reason = "what is not expected fails the test")]

use std::fs;

use forge_schemas::ids::SessionId;
use forge_schemas::policy::Effect;
use forge_schemas::record::{ApprovalKind, EventKind, Outcome};
use serde_json::json;

use super::testing::{TempDir, approval, decision, event, keys, outcome, tenant};
use super::*;
use crate::clock;

fn settings(dir: &TempDir) -> Settings {
    Settings::new(&dir.path().join("evidence"), "gw.example", tenant("local"))
}

async fn open(settings: &Settings) -> Result<(Journal, Recovered), JournalError> {
    Journal::open(settings.clone(), keys(), clock::system()).await
}

async fn reopen(journal: Journal, settings: &Settings) -> (Journal, Recovered) {
    journal.close().await.unwrap();
    drop(journal);
    open(settings).await.unwrap()
}

fn read_all(journal: &Journal, name: &str) -> Vec<Record> {
    let reader = journal.read(&tenant(name), 0).unwrap();
    reader.map(|entry| entry.unwrap().record).collect()
}

#[tokio::test]
async fn records_are_there_after_a_restart_in_the_order_of_their_receipts() {
    let dir = TempDir::new("journal");
    let settings = settings(&dir);
    let (journal, recovered) = open(&settings).await.unwrap();
    assert_eq!(recovered, Recovered::default());
    let mut receipts = Vec::new();
    for index in 0..10 {
        let name = if index % 2 == 0 { "acme" } else { "globex" };
        let slot = journal.slot(&tenant(name)).unwrap();
        assert_eq!(slot, index / 2);
        let call = format!("call_{index}");
        let records = vec![decision(name, &call, slot, Effect::Deny), event(name, &call)];
        receipts.extend(journal.append(records).await.unwrap());
    }
    let (journal, recovered) = reopen(journal, &settings).await;
    assert_eq!((recovered.logs, recovered.records, recovered.unknown), (3, 22, 0));
    for name in ["acme", "globex"] {
        let records = read_all(&journal, name);
        assert_eq!(records.len(), 10);
        for (index, record) in records.iter().enumerate() {
            assert_eq!(record.seq(), index as u64);
            assert_eq!(record.log(), format!("{name}.gw.example"));
            let leaf = forge_evidence::merkle::leaf_hash(&record.canonical().unwrap());
            assert!(
                receipts.iter().any(|receipt| receipt.leaf == leaf && receipt.at == record.at())
            );
        }
    }
    assert_eq!(journal.slot(&tenant("acme")).unwrap(), 5);
    let own: Vec<_> = read_all(&journal, "local")
        .into_iter()
        .map(|record| match record {
            Record::Event(event) => event.kind,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(own, [EventKind::NodeStart, EventKind::NodeStop, EventKind::NodeStart]);
}

#[tokio::test]
async fn calls_left_open_are_closed_by_what_is_known_of_them() {
    let dir = TempDir::new("open");
    let settings = settings(&dir);
    let (journal, _) = open(&settings).await.unwrap();
    let records = vec![
        decision("acme", "call_done", 0, Effect::Allow),
        outcome("acme", "call_done", 0, Outcome::Answered),
        decision("acme", "call_lost", 1, Effect::Allow),
        decision("acme", "call_denied", 2, Effect::Deny),
        decision("acme", "call_waits", 3, Effect::RequireApproval),
        decision("acme", "call_executed", 5, Effect::RequireApproval),
        approval("acme", "call_executed", ApprovalKind::Executed),
    ];
    journal.append(records).await.unwrap();
    drop(journal);
    let (journal, recovered) = open_when_free(&settings).await;
    assert_eq!((recovered.unknown, recovered.pending), (2, 1));
    let records = read_all(&journal, "acme");
    let found: Vec<_> = records[7..]
        .iter()
        .filter_map(|record| match record {
            Record::Outcome(outcome) => {
                Some((outcome.call.as_str(), outcome.outcome, outcome.slot))
            }
            _ => None,
        })
        .collect();
    assert_eq!(
        found,
        [
            ("call_executed", Outcome::Unknown, 5),
            ("call_lost", Outcome::Unknown, 1),
            ("call_waits", Outcome::Refused, 3),
        ]
    );
    let Some(Record::Event(start)) = records.last() else { panic!("{records:?}") };
    assert_eq!(start.kind, EventKind::NodeStart);
    assert_eq!(start.detail["slots_lost"], json!([4]));
    let (journal, recovered) = reopen(journal, &settings).await;
    assert_eq!((recovered.unknown, recovered.pending), (0, 0));
    assert_eq!(read_all(&journal, "acme").len(), records.len());
}

/// The thread of a dropped journal ends, and its lock goes, a moment later.
async fn open_when_free(settings: &Settings) -> (Journal, Recovered) {
    loop {
        match open(settings).await {
            Err(JournalError::Locked(_)) => tokio::task::yield_now().await,
            other => return other.unwrap(),
        }
    }
}

#[tokio::test]
async fn sessions_are_chained_and_closed_with_their_count() {
    let dir = TempDir::new("sessions");
    let settings = settings(&dir);
    let (journal, _) = open(&settings).await.unwrap();
    let session = |kind| {
        let Record::Event(mut record) = event("acme", "call_1") else { panic!() };
        record.session = Some(SessionId::parse("ses_1").unwrap());
        record.kind = kind;
        Record::Event(record)
    };
    journal.append(vec![session(EventKind::SessionOpen), event("acme", "x")]).await.unwrap();
    let (journal, _) = reopen(journal, &settings).await;
    let more = vec![session(EventKind::List), session(EventKind::SessionClose)];
    journal.append(more).await.unwrap();
    journal.append(vec![session(EventKind::List)]).await.unwrap();
    let records = read_all(&journal, "acme");
    let chain: Vec<_> = records.iter().filter(|record| record.session().is_some()).collect();
    let seqs: Vec<_> = chain.iter().map(|record| record.session_seq()).collect();
    assert_eq!(seqs, [Some(0), Some(1), Some(2), Some(0)]);
    for pair in chain[..3].windows(2) {
        let hash = forge_evidence::merkle::leaf_hash(&pair[0].canonical().unwrap());
        assert_eq!(pair[1].session_prev(), Some(hash));
    }
    assert_eq!(chain[3].session_prev(), None);
    let Record::Event(close) = chain[2] else { panic!() };
    assert_eq!(close.detail["count"], json!(3));
}

#[tokio::test]
async fn more_sessions_than_the_limit_close_the_idlest() {
    let dir = TempDir::new("crowd");
    let mut settings = settings(&dir);
    settings.sessions_max = 16;
    let (journal, _) = open(&settings).await.unwrap();
    for index in 0..40 {
        let Record::Event(mut record) = event("acme", "call_1") else { panic!() };
        record.session = Some(SessionId::parse(&format!("ses_{index}")).unwrap());
        journal.append(vec![Record::Event(record)]).await.unwrap();
    }
    let closed: Vec<_> = read_all(&journal, "acme")
        .iter()
        .filter(|record| recover::closes(record))
        .map(|record| record.session().unwrap().as_str().to_owned())
        .collect();
    assert!(closed.len() >= 23, "{closed:?}");
    assert_eq!(closed[..2], ["ses_0", "ses_1"]);
}

#[tokio::test]
async fn what_cannot_be_recorded_fails_alone() {
    let dir = TempDir::new("limits");
    let mut settings = settings(&dir);
    settings.tenants_max = 3;
    let (journal, _) = open(&settings).await.unwrap();
    let Record::Event(mut large) = event("acme", "call_1") else { panic!() };
    large.detail.insert("x".to_owned(), json!("y".repeat(RECORD_BYTES_MAX)));
    let refused = journal.append(vec![event("acme", "a"), Record::Event(large.clone())]).await;
    assert!(matches!(refused, Err(JournalError::TooLarge { .. })));
    large.detail.insert("x".to_owned(), json!(1.5));
    let refused = journal.append(vec![Record::Event(large)]).await.unwrap_err();
    assert!(matches!(refused, JournalError::NotCanonical(_)) && !refused.is_fatal());
    assert!(matches!(journal.slot(&tenant("..")), Err(JournalError::TenantName(_))));
    let refused = journal.append(vec![event("..", "a")]).await;
    assert!(matches!(refused, Err(JournalError::TenantName(_))));
    journal.append(vec![event("a", "a"), event("b", "b")]).await.unwrap();
    let refused = journal.append(vec![event("d", "d")]).await.unwrap_err();
    assert!(matches!(refused, JournalError::Tenants(3)), "{refused}");
    journal.health().unwrap();
    assert_eq!(journal.append(vec![event("a", "a")]).await.unwrap()[0].seq, 1);
}

#[tokio::test]
async fn a_second_process_and_a_closed_journal_are_refused() {
    let dir = TempDir::new("lock");
    let settings = settings(&dir);
    let (journal, _) = open(&settings).await.unwrap();
    assert!(matches!(open(&settings).await, Err(JournalError::Locked(_))));
    journal.close().await.unwrap();
    assert!(matches!(journal.append(vec![event("a", "a")]).await, Err(JournalError::Closed)));
    drop(journal);
    open(&settings).await.unwrap();
}

#[tokio::test]
async fn a_changed_log_refuses_the_start_and_says_where() {
    let dir = TempDir::new("tampered");
    let settings = settings(&dir);
    let (journal, _) = open(&settings).await.unwrap();
    for index in 0..5 {
        journal.append(vec![event("acme", &format!("call_{index}"))]).await.unwrap();
    }
    journal.close().await.unwrap();
    drop(journal);
    let log = settings.dir.join("logs/acme");
    let path = log.join("00000000000000000000.seg");
    let bytes = fs::read(&path).unwrap();
    let at = bytes.windows(6).position(|window| window == b"call_2").unwrap();
    for (change, want) in [
        (&mut (|bytes: &mut Vec<u8>| bytes[at] = b'k') as &mut dyn FnMut(&mut Vec<u8>), "damaged"),
        (&mut |bytes: &mut Vec<u8>| bytes.truncate(at), "acknowledged"),
        (&mut |bytes: &mut Vec<u8>| bytes[3] = b'?', "first line"),
    ] {
        let mut bent = bytes.clone();
        change(&mut bent);
        fs::write(&path, &bent).unwrap();
        let error = open(&settings).await.unwrap_err();
        let JournalError::Alarm { tenant: name, alarm } = &error else { panic!("{error:?}") };
        assert_eq!(*name, tenant("acme"));
        assert!(alarm.to_string().contains(want), "{alarm}");
        assert!(alarm.to_string().contains(".seg at byte"), "{alarm}");
    }
    fs::write(&path, &bytes).unwrap();
    open(&settings).await.unwrap();
}

#[tokio::test]
async fn segments_rotate_and_read_as_one_log() {
    let dir = TempDir::new("rotate");
    let mut settings = settings(&dir);
    settings.segment_bytes_max = 2_000;
    let (journal, _) = open(&settings).await.unwrap();
    for index in 0..30 {
        journal.append(vec![event("acme", &format!("call_{index}"))]).await.unwrap();
    }
    let segments = fs::read_dir(settings.dir.join("logs/acme")).unwrap().count();
    assert!(segments > 5, "{segments}");
    let (journal, recovered) = reopen(journal, &settings).await;
    assert_eq!(recovered.records, 32);
    let from: Vec<_> =
        journal.read(&tenant("acme"), 17).unwrap().map(|entry| entry.unwrap().seq).collect();
    assert_eq!(from, (17..30).collect::<Vec<u64>>());
    journal.close().await.unwrap();
    let mut names: Vec<_> = fs::read_dir(settings.dir.join("logs/acme")).unwrap().collect();
    names.sort_by_key(|entry| entry.as_ref().unwrap().file_name());
    fs::remove_file(names[2].as_ref().unwrap().path()).unwrap();
    assert!(matches!(open(&settings).await, Err(JournalError::Alarm { .. })));
}

#[tokio::test]
async fn listeners_hear_what_is_durable_and_slow_ones_are_told() {
    let dir = TempDir::new("feed");
    let (journal, _) = open(&settings(&dir)).await.unwrap();
    let mut feed = journal.committed();
    journal.append(vec![event("acme", "call_1")]).await.unwrap();
    assert_eq!(feed.recv().await.unwrap().seq, 0);
    for _ in 0..9 {
        let many = (0..1_000).map(|_| event("acme", "call_2")).collect();
        journal.append(many).await.unwrap();
    }
    assert!(matches!(feed.recv().await, Err(broadcast::error::RecvError::Lagged(_))));
    assert_eq!(journal.heads()[&tenant("acme")], 9_001);
}

#[tokio::test]
async fn packs_of_a_running_journal_verify() {
    use forge_evidence::note::TrustedKey;
    use forge_evidence::verify::{Auditor, verify};
    use forge_schemas::verdict::ProblemCode;

    let dir = TempDir::new("export");
    let mut settings = settings(&dir);
    settings.segment_bytes_max = 4_000;
    let (journal, _) = open(&settings).await.unwrap();
    for index in 0..20 {
        let call = format!("call_{index}");
        let slot = journal.slot(&tenant("acme")).unwrap();
        journal.append(vec![decision("acme", &call, slot, Effect::Allow)]).await.unwrap();
        journal.append(vec![outcome("acme", &call, slot, Outcome::Answered)]).await.unwrap();
    }
    let local =
        crate::keys::LocalKeys::load_or_create(&dir.path().join("keys/evidence.pem")).unwrap();
    let (signer, name) = (local.pack(), tenant("acme"));
    let key = |key| TrustedKey { name: None, key };
    let auditor = Auditor {
        keys: vec![key(keys().signer.public()), key(signer.public())],
        ..Auditor::default()
    };
    let pack = |wanted: Wanted| {
        let (dir, now_ms) = (&settings.dir, 1_000);
        let copies = vec![
            ("pack.pub.pem".to_owned(), signer.public().pem()),
            ("checkpoint.pub.pem".to_owned(), keys().signer.public().pem()),
        ];
        let export = Export { dir, tenant: &name, wanted, signer: &*signer, keys: copies, now_ms };
        let mut pack = Vec::new();
        export.write(&mut pack).map(|_| pack)
    };
    let all = pack(Wanted::default()).unwrap();
    let verdict = verify(&mut &all[..], &auditor);
    assert_eq!((verdict.records, verdict.complete, verdict.open_slots), (40, true, 0));
    let codes: Vec<_> = verdict.problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, [ProblemCode::PolicyMissing], "{verdict:?}");

    let digest = Digest::of_parts(&[
        Digest::of(b"org/a.rego").as_bytes(),
        Digest::of(b"package a").as_bytes(),
    ]);
    keep_bundle(&settings.dir, &digest, [("org/a.rego", &b"package a"[..])]).unwrap();
    assert_eq!(kept_bundles(&settings.dir).unwrap().len(), 1);
    assert!(keep_bundle(&settings.dir, &Digest::of(b""), [("../a", &b""[..])]).is_err());
    for (from, to) in [(0, 0), (0, 39), (7, 7), (10, 25), (39, 39), (13, 1_000)] {
        let part = pack(Wanted { from: Some(from), to: Some(to), ..Wanted::default() }).unwrap();
        let verdict = verify(&mut &part[..], &auditor);
        assert_eq!(verdict.records, to.min(39) - from + 1);
        assert!(
            verdict.problems.iter().all(|p| p.code == ProblemCode::PolicyMissing),
            "{verdict:?}"
        );
    }
    assert!(matches!(
        pack(Wanted { from: Some(40), ..Wanted::default() }),
        Err(ExportError::Range { last: 39 })
    ));
}
