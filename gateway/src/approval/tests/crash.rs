//! Killed at any point: two processes on one store, one of them killed again and again, and never
//! is anything executed twice, or without the votes and the records that it needs.
//!
//! The processes are this test binary, started with a folder in its environment.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use forge_schemas::record::{ApprovalKind, ApprovalVerdict, Record};

use super::fixture::{Folder, facts, finance, new_approval, settings, sqlite, tenant};
use crate::approval::error::ApprovalError;
use crate::approval::model::{Approval, ApprovalFilter, Finished};
use crate::approval::records::Recorder;
use crate::approval::service::Approvals;
use crate::approval::state::State;
use crate::clock;

const FOLDER: &str = "FORGE_TEST_CRASH_FOLDER";
const NODE: &str = "FORGE_TEST_CRASH_NODE";
const KILLS: usize = 24;

#[tokio::test]
async fn nothing_is_executed_twice_however_often_a_process_is_killed() {
    let folder = Folder::new();
    File::create(folder.path().join("effects")).unwrap();
    File::create(folder.path().join("records")).unwrap();
    let mut workers = [start(&folder, "a"), start(&folder, "b")];
    let mut effects = 0;
    for round in 0..KILLS {
        // Another number of effects every time, so that the kill falls anywhere.
        effects = wait_for_effects(folder.path(), effects + round % 5 + 1).await;
        let victim = round % 2;
        kill(&mut workers[victim]);
        workers[victim] = start(&folder, ["a", "b"][victim]);
    }
    workers.iter_mut().for_each(kill);
    check(&folder).await;
}

async fn check(folder: &Folder) {
    let store = sqlite(&folder.file()).await;
    let clock = clock::system();
    let recorder = Recorder::new(|_| async { Ok::<(), std::io::Error>(()) });
    for node in ["a", "b"] {
        let service = Approvals::new(
            Arc::clone(&store),
            Arc::clone(&clock),
            recorder.clone(),
            settings(node),
        );
        service.recover().await.unwrap();
    }
    let effects = counted(&folder.path().join("effects"));
    let records = counted(&folder.path().join("records"));
    assert!(effects.len() > KILLS, "{}", effects.len());
    for (id, times) in &effects {
        assert_eq!(*times, 1, "{id} was executed {times} times");
        assert_eq!(records.get(&format!("executed {id}")), Some(&1), "{id}");
        assert!(records.get(&format!("decided {id}")) >= Some(&2), "{id}");
        assert!(records.contains_key(&format!("requested {id}")), "{id}");
        let id = forge_schemas::ids::ApprovalId::parse(id).unwrap();
        let approval = store.approval(&id).await.unwrap().unwrap();
        assert!(matches!(approval.state, State::Done | State::Unknown), "{id} {}", approval.state);
        assert_eq!((approval.used, approval.votes.len()), (1, 2), "{id}");
    }
    let executed: Vec<_> = records.iter().filter(|(line, _)| line.starts_with("exec")).collect();
    assert!(executed.iter().all(|(_, times)| **times == 1), "{executed:?}");
    let left = store.approvals(&filter(Some(State::Executing))).await.unwrap();
    assert_eq!(left, []);
}

/// Does nothing unless the test above started it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_is_killed() {
    let (Some(folder), Some(node)) = (std::env::var_os(FOLDER), std::env::var_os(NODE)) else {
        return;
    };
    let folder = PathBuf::from(folder);
    let node = node.into_string().unwrap();
    let store = sqlite(&folder.join("forge.db")).await;
    let records = Arc::new(Mutex::new(appended(&folder.join("records"))));
    let recorder = Recorder::new(move |record| {
        let done = write_record(&records, &record);
        async move { done }
    });
    let service = Approvals::new(store, clock::system(), recorder, settings(&node));
    service.recover().await.unwrap();
    let mut effects = appended(&folder.join("effects"));
    for number in 0.. {
        // Whatever a dead process left open is taken up as well as something new.
        let mut open = service.list(&filter(Some(State::Pending))).await.unwrap();
        open.extend(service.list(&filter(Some(State::Approved))).await.unwrap());
        let mut new = new_approval(&format!("alice-{node}"), &format!("[{}]", number % 3));
        new.terms.required[0].quorum = 2;
        match service.request(new).await {
            Ok(asked) => open.push(asked.approval),
            Err(ApprovalError::PrincipalFull { .. }) => {}
            Err(error) => panic!("{error:?}"),
        }
        for approval in open {
            carry_through(&service, &approval, &mut effects).await;
        }
    }
}

/// Votes, claims, executes and finishes, as far as the other process has not.
async fn carry_through(service: &Approvals, approval: &Approval, effects: &mut File) {
    for who in ["bob", "carol"] {
        let (approve, digest) = (ApprovalVerdict::Approve, &approval.digest);
        let vote = service.vote(&approval.id, &finance(who), approve, digest, None).await;
        check_loss(vote.map(|_| ()));
    }
    match service.claim(&approval.id, &facts(approval)).await {
        Ok(claimed) => {
            // One write each: lines of two processes do not mix.
            effects.write_all(format!("{}\n", claimed.approval.id).as_bytes()).unwrap();
            service.finish(&approval.id, Finished::Done).await.unwrap();
        }
        Err(error) => check_loss(Err(error)),
    }
}

/// Losing to the other process is all that may go wrong.
fn check_loss(result: Result<(), ApprovalError>) {
    match result {
        Ok(())
        | Err(
            ApprovalError::Voted
            | ApprovalError::Closed(_)
            | ApprovalError::Contended
            | ApprovalError::Pending
            | ApprovalError::Used,
        ) => {}
        Err(error) => panic!("{error:?}"),
    }
}

fn write_record(records: &Mutex<File>, record: &Record) -> std::io::Result<()> {
    let Record::Approval(inner) = record else { panic!("{record:?}") };
    let kind = match inner.kind {
        ApprovalKind::Requested => "requested",
        ApprovalKind::Decided => "decided",
        ApprovalKind::Expired => "expired",
        ApprovalKind::Executed => "executed",
    };
    // One write each: what a killed process has written stays written.
    records.lock().unwrap().write_all(format!("{kind} {}\n", inner.approval).as_bytes())
}

fn filter(state: Option<State>) -> ApprovalFilter {
    ApprovalFilter { state, limit: 500, ..ApprovalFilter::of(tenant()) }
}

fn start(folder: &Folder, node: &str) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "approval::tests::crash::the_process_that_is_killed"])
        .env(FOLDER, folder.path())
        .env(NODE, node)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// SIGKILL, and not a process that had given up by itself.
fn kill(child: &mut Child) {
    assert!(child.try_wait().unwrap().is_none(), "a worker ended by itself");
    child.kill().unwrap();
    child.wait().unwrap();
}

async fn wait_for_effects(folder: &Path, wanted: usize) -> usize {
    let mut tick = tokio::time::interval(Duration::from_millis(1));
    let seen = async {
        loop {
            tick.tick().await;
            let seen = std::fs::read_to_string(folder.join("effects")).unwrap().lines().count();
            if seen >= wanted {
                return seen;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(60), seen).await.expect("workers make progress")
}

fn appended(path: &Path) -> File {
    OpenOptions::new().append(true).open(path).unwrap()
}

fn counted(path: &Path) -> BTreeMap<String, usize> {
    let mut lines = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        *lines.entry(line.to_owned()).or_insert(0) += 1;
    }
    lines
}
