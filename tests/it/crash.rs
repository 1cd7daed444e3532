//! SIGKILL, SIGTERM, a disk that says no: nothing acknowledged is lost, nothing is left behind.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use forge_tests::client::Modern;
use forge_tests::gateway::{Gateway, Setup, eventually};
use forge_tests::process::{Folder, group_members};
use serde_json::json;
use tokio::time::{Duration, sleep};

use crate::line::{lines, of_kind, with_toy};

/// A sequence that differs at each run and needs no library: SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }
}

const CRASHES: u64 = 50;
const WORKERS: u64 = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_crashes_under_load_lose_no_acknowledged_record() {
    let (mut gateway, ledger) = with_toy().await;
    let seed = forge_tests::issuer::now_s();
    let mut random = Random(seed);
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let acknowledged = Arc::new(std::sync::Mutex::new(Vec::<String>::new()));
    let number = Arc::new(AtomicU64::new(0));
    for crash in 0..CRASHES {
        let mut workers = Vec::new();
        for _ in 0..WORKERS {
            let client = gateway.modern("toy", &token);
            let (acknowledged, number) = (Arc::clone(&acknowledged), Arc::clone(&number));
            workers.push(tokio::spawn(append(client, number, acknowledged)));
        }
        sleep(Duration::from_millis(random.next(120))).await;
        gateway.process.crash().await.unwrap();
        for worker in workers {
            worker.await.unwrap();
        }
        let restarted = gateway.restart().await;
        assert!(restarted.is_ok(), "crash {crash}, seed {seed}: {restarted:?}");
    }
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!(acknowledged.len() > 50, "there was hardly any load: {}", acknowledged.len());

    let verdict = gateway.verdict().await.unwrap();
    assert_eq!(verdict["ok"], true, "seed {seed}: {verdict}");
    assert_eq!(verdict["open_slots"], 0, "seed {seed}: {verdict}");

    // Whatever reached the tool has a decision before it and an outcome after it.
    let records = gateway.records().await.unwrap();
    let decided = of_kind(&records, "decision")
        .iter()
        .filter(|record| record["tool"] == "append" && record["effect"] == "allow")
        .count();
    let outcomes = of_kind(&records, "outcome");
    let answered = outcomes.iter().filter(|record| record["outcome"] == "answered").count();
    let unknown = outcomes.iter().filter(|record| record["outcome"] == "outcome_unknown").count();
    let executed = lines(&ledger);
    assert!(executed.len() <= decided, "{} executed, {decided} decided", executed.len());
    assert!(acknowledged.len() <= answered, "{} told, {answered} recorded", acknowledged.len());
    assert!(unknown <= usize::try_from(CRASHES * WORKERS).unwrap(), "{unknown} unknown outcomes");
    for text in &acknowledged {
        assert!(executed.contains(text), "{text} was acknowledged and did not happen");
    }
}

/// Calls until the gateway goes away; notes what was acknowledged.
async fn append(
    client: Modern,
    number: Arc<AtomicU64>,
    acknowledged: Arc<std::sync::Mutex<Vec<String>>>,
) {
    loop {
        let text = format!("n{}", number.fetch_add(1, Ordering::Relaxed));
        match client.call("append", json!({"text": text})).await {
            Ok(called) if called.is_answer() => acknowledged.lock().unwrap().push(text),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}

#[tokio::test]
async fn a_call_cut_off_by_a_crash_is_closed_as_unknown() {
    let (mut gateway, _ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let cut = tokio::spawn(async move { client.call("sleep", json!({"text": "60000"})).await });
    eventually("the decision", || async {
        let records = gateway.records().await?;
        Ok(records.iter().any(|record| record["tool"] == "sleep").then_some(()))
    })
    .await
    .unwrap();
    gateway.process.crash().await.unwrap();
    assert!(cut.await.unwrap().is_err());
    gateway.restart().await.unwrap();
    let records = gateway.records().await.unwrap();
    let decision = records.iter().find(|record| record["tool"] == "sleep").unwrap();
    let closed = of_kind(&records, "outcome")
        .into_iter()
        .find(|record| record["call"] == decision["call"])
        .expect("the next start closes it");
    assert_eq!(closed["outcome"], "outcome_unknown", "{closed}");
    assert_eq!(gateway.verdict().await.unwrap()["ok"], true);
}

#[tokio::test]
async fn a_crash_leaves_no_tool_server_behind() {
    let (mut gateway, _ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    gateway.modern("toy", &token).call("echo", json!({"text": "up"})).await.unwrap();
    let marker = gateway.folder.path().to_string_lossy().into_owned();
    let children = children_of(gateway.process.pid());
    assert!(!children.is_empty(), "the tool server runs ({marker})");
    gateway.process.crash().await.unwrap();
    eventually("the end of the tool servers", || async {
        Ok(children.iter().all(|pid| !alive(*pid)).then_some(()))
    })
    .await
    .unwrap();
}

fn stat(pid: i32) -> Option<Vec<String>> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}

/// Children and their children.
fn children_of(parent: i32) -> Vec<i32> {
    let all: Vec<i32> = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
        .collect();
    let mut found: Vec<i32> = all
        .into_iter()
        .filter(|pid| stat(*pid).is_some_and(|fields| fields[1] == parent.to_string()))
        .collect();
    for child in found.clone() {
        found.extend(children_of(child));
    }
    found
}

#[tokio::test]
async fn sigterm_lets_calls_end_closes_streams_and_leaves_nothing_behind() {
    let (mut gateway, _ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let session = gateway.legacy("toy", &token).await.unwrap();
    let mut listening = session.listen().await.unwrap();
    let client = gateway.modern("toy", &token);
    let running = tokio::spawn(async move { client.call("sleep", json!({"text": "800"})).await });
    eventually("the running call", || async {
        let records = gateway.records().await?;
        Ok(records.iter().any(|record| record["tool"] == "sleep").then_some(()))
    })
    .await
    .unwrap();
    let children = children_of(gateway.process.pid());

    gateway.process.terminate().unwrap();
    let called = running.await.unwrap().unwrap();
    assert_eq!(called.text(), "slept", "a running call ends in good order: {}", called.message);
    while let Ok(Some(_)) = listening.next().await {}
    assert_eq!(gateway.process.ended().await.unwrap(), Some(0), "{}", gateway.process.log());
    assert!(children.iter().all(|pid| !alive(*pid)), "{:?}", group_members(gateway.process.pid()));
    let verdict = gateway.verdict().await.unwrap();
    assert_eq!(verdict["ok"], true, "{verdict}");
    let records = gateway.records().await.unwrap();
    assert_eq!(of_kind(&records, "node.stop").len(), 1, "{records:?}");
}

#[tokio::test]
async fn evidence_that_cannot_be_written_stops_calls_and_readiness() {
    // A tiny file system of its own would need root; a limit on file sizes does the same.
    let ledger = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&ledger.join("ledger")).unwrap();
    let gateway = Gateway::start_limited(&setup, 512 * 1024).await.unwrap();
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let mut refused = None;
    for number in 0..5_000 {
        let text = json!({"text": format!("{number}")});
        let called = client.call("append", text).await.unwrap();
        if let Some(code) = called.refusal() {
            refused = Some(code.to_owned());
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("evidence.unavailable"));
    let before = lines(&ledger).len();
    let called = client.call("append", json!({"text": "after"})).await.unwrap();
    assert_eq!(called.refusal(), Some("evidence.unavailable"), "{}", called.message);
    assert_eq!(lines(&ledger).len(), before, "nothing leaves without a record");
    let ready = gateway.open("/readyz").await.unwrap();
    assert_eq!(ready.status, 503, "{}", ready.text());
}
