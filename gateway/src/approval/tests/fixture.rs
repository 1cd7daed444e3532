//! A store in a folder of its own, a clock that stands still, and a journal in memory.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use forge_schemas::ids::{CallId, Tenant};
use forge_schemas::policy::{ApprovalRequirement, ApprovalTerms};
use forge_schemas::record::{ApprovalKind, ApprovalVerdict, Record, RecordPrincipal};
use serde_json::json;

use crate::approval::error::ApprovalError;
use crate::approval::model::{Approval, Approver, Claimed, Facts, NewApproval, Parcel};
use crate::approval::records::Recorder;
use crate::approval::service::{Approvals, Settings};
use crate::approval::state::State;
use crate::clock::Clock;
use crate::ids;
use crate::store::Store;
use crate::store::sqlite::{self, SqliteStore};

/// Runs each test over every implementation of the store.
macro_rules! over_every_store {
    ($($name:ident),* $(,)?) => {
        mod sqlite {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $name() {
                    let world = $crate::approval::tests::fixture::World::sqlite().await;
                    super::$name(world).await;
                }
            )*
        }
    };
}
pub(crate) use over_every_store;

/// A folder that is removed when it is dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        let path = std::env::temp_dir().join(format!("forge-store-{}", ids::evaluation()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn file(&self) -> PathBuf {
        self.0.join("forge.db")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// Stands still until it is moved.
#[derive(Debug)]
pub(crate) struct FakeClock(AtomicI64);

impl FakeClock {
    pub(crate) fn pass(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, Ordering::SeqCst);
    }
}

impl Clock for FakeClock {
    fn now_ms(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What the journal was given, and the state that the store showed at that moment.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    pub(crate) records: Mutex<Vec<(ApprovalKind, Option<State>)>>,
    pub(crate) written: Mutex<Vec<Record>>,
    mode: AtomicU8,
}

impl Journal {
    pub(crate) fn fail(&self, fails: bool) {
        self.mode.store(u8::from(fails), Ordering::SeqCst);
    }

    pub(crate) fn hang(&self) {
        self.mode.store(2, Ordering::SeqCst);
    }

    pub(crate) fn kinds(&self) -> Vec<ApprovalKind> {
        self.records.lock().unwrap().iter().map(|(kind, _)| *kind).collect()
    }

    pub(crate) fn count(&self, kind: ApprovalKind) -> usize {
        self.kinds().into_iter().filter(|seen| *seen == kind).count()
    }

    pub(crate) fn recorder(self: &Arc<Self>, store: &Arc<dyn Store>) -> Recorder {
        let journal = Arc::clone(self);
        let store = Arc::clone(store);
        Recorder::new(move |record| {
            let journal = Arc::clone(&journal);
            let store = Arc::clone(&store);
            async move {
                match journal.mode.load(Ordering::SeqCst) {
                    1 => return Err(std::io::Error::other("the disk is gone")),
                    2 => std::future::pending().await,
                    _ => {}
                }
                let Record::Approval(inner) = &record else { panic!("{record:?}") };
                let shown = store.approval_state(&inner.approval).await.unwrap();
                journal.records.lock().unwrap().push((inner.kind, shown));
                journal.written.lock().unwrap().push(record);
                Ok(())
            }
        })
    }
}

/// Everything that a test needs.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) approvals: Arc<Approvals>,
    pub(crate) clock: Arc<FakeClock>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) folder: Folder,
}

impl World {
    pub(crate) async fn sqlite() -> Self {
        let folder = Folder::new();
        let store = sqlite(&folder.file()).await;
        Self::over(folder, store)
    }

    fn over(folder: Folder, store: Arc<dyn Store>) -> Self {
        let clock = Arc::new(FakeClock(AtomicI64::new(1_800_000_000_000)));
        let journal = Arc::new(Journal::default());
        let recorder = journal.recorder(&store);
        let approvals = service(&store, &clock, recorder, "node-1");
        Self { approvals, clock, journal, store, folder }
    }

    /// Another process on the same store, with the same clock and journal.
    pub(crate) async fn other(&self, node: &str) -> Arc<Approvals> {
        let store = sqlite(&self.folder.file()).await;
        let recorder = self.journal.recorder(&store);
        service(&store, &self.clock, recorder, node)
    }

    pub(crate) async fn asked(&self) -> Approval {
        self.approvals.request(new_approval("alice", r#"{"x":1}"#)).await.unwrap().approval
    }

    /// Asked for and approved.
    pub(crate) async fn approved(&self) -> Approval {
        let asked = self.asked().await;
        let approved = self.vote(&asked, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
        assert_eq!(approved.state, State::Approved);
        approved
    }

    pub(crate) async fn vote(
        &self,
        approval: &Approval,
        approver: &Approver,
        verdict: ApprovalVerdict,
    ) -> Result<Approval, ApprovalError> {
        self.approvals.vote(&approval.id, approver, verdict, &approval.digest, None).await
    }

    pub(crate) async fn claim(&self, approval: &Approval) -> Result<Claimed, ApprovalError> {
        claim(&self.approvals, approval).await
    }

    pub(crate) async fn state(&self, approval: &Approval) -> State {
        self.store.approval_state(&approval.id).await.unwrap().unwrap()
    }
}

pub(crate) async fn sqlite(file: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(sqlite::Settings::new(file.into())).await.unwrap())
}

pub(crate) fn service(
    store: &Arc<dyn Store>,
    clock: &Arc<FakeClock>,
    recorder: Recorder,
    node: &str,
) -> Arc<Approvals> {
    let clock: Arc<dyn Clock> = clock.clone();
    Arc::new(Approvals::new(Arc::clone(store), clock, recorder, settings(node)))
}

pub(crate) fn settings(node: &str) -> Settings {
    Settings {
        node: node.to_owned(),
        poll: Duration::from_millis(10),
        record_within: Duration::from_millis(300),
        ..Settings::default()
    }
}

/// A claim by the call that asked, with everything as it was.
pub(crate) async fn claim(
    approvals: &Approvals,
    approval: &Approval,
) -> Result<Claimed, ApprovalError> {
    approvals.claim(&approval.id, &facts(approval)).await
}

pub(crate) fn facts(approval: &Approval) -> Facts<'_> {
    Facts {
        call: &approval.call,
        session: None,
        tenant: &approval.tenant,
        subject: &approval.subject,
        agent: &approval.agent,
        schema_digest: &approval.schema_digest,
        policy_revision: &approval.policy_revision,
    }
}

pub(crate) fn tenant() -> Tenant {
    Tenant::parse("acme").unwrap()
}

pub(crate) fn principal(id: &str) -> RecordPrincipal {
    RecordPrincipal { id: id.into(), issuer: "https://idp".into(), kind: "user".into() }
}

/// One of group finance, but not the requester.
pub(crate) fn terms() -> ApprovalTerms {
    ApprovalTerms {
        required: vec![requirement("large.transfer", &["group:finance"], 1)],
        ttl_s: 3600,
        execute_within_s: 600,
        scope: "call".into(),
        max_uses: 1,
    }
}

pub(crate) fn requirement(id: &str, approvers: &[&str], quorum: u64) -> ApprovalRequirement {
    ApprovalRequirement {
        id: id.into(),
        approvers: approvers.iter().map(|word| (*word).to_owned()).collect(),
        quorum,
        not: vec!["requester".into()],
    }
}

pub(crate) fn new_approval(subject: &str, arguments: &str) -> NewApproval {
    let message = format!(r#"{{"jsonrpc":"2.0","method":"tools/call","params":{arguments}}}"#);
    NewApproval {
        tenant: tenant(),
        call: CallId::parse(ids::call().as_str()).unwrap(),
        session: None,
        evaluation_id: "ev_1".into(),
        subject: principal(subject),
        agent: "claude".into(),
        server: "bank".into(),
        tool: "transfer".into(),
        schema_digest: "sha256:abc".into(),
        policy_revision: "acme@1".into(),
        terms: terms(),
        parcel: Parcel {
            message: Bytes::from(message),
            arguments: Bytes::copy_from_slice(arguments.as_bytes()),
        },
        display: json!({"title": "Transfer"}),
    }
}

pub(crate) fn finance(id: &str) -> Approver {
    approver(id, &[], &["finance"])
}

pub(crate) fn approver(id: &str, roles: &[&str], groups: &[&str]) -> Approver {
    Approver {
        id: id.into(),
        issuer: "https://idp".into(),
        kind: "user".into(),
        tenant: tenant(),
        roles: roles.iter().map(|role| (*role).to_owned()).collect(),
        groups: groups.iter().map(|group| (*group).to_owned()).collect(),
    }
}
