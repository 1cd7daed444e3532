//! A small log with one of everything, and packs of it.

use std::collections::BTreeMap;

use forge_schemas::digest::Digest;
use forge_schemas::record::{Place, Record};
use forge_schemas::verdict::{ProblemCode, Verdict};
use serde_json::{Value, json};

use crate::merkle::{Tree, leaf_hash};
use crate::note::{Checkpoint, Signer, TrustedKey};
use crate::pack::{self, PackWriter, Plan, Summary, statement};
use crate::testing::TestSigner;
use crate::verify::{Auditor, Files};

/// One log, and the keys that sign it.
pub(super) struct Sample {
    pub(super) leaves: Vec<Vec<u8>>,
    pub(super) log: TestSigner,
    pub(super) pack: TestSigner,
}

/// The bundle that decides in the sample.
pub(super) fn bundle() -> (Digest, Vec<(Digest, String, Vec<u8>)>) {
    let files = [("org/a.rego", "package a"), ("org/b.rego", "package b")];
    let parts: Vec<[u8; 32]> = files
        .iter()
        .flat_map(|(path, text)| [path.as_bytes(), text.as_bytes()])
        .map(|part| *Digest::of(part).as_bytes())
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
    let digest = Digest::of_parts(&parts);
    let file = |(path, text): &(&str, &str)| (digest, (*path).to_owned(), text.as_bytes().to_vec());
    (digest, files.iter().map(file).collect())
}

pub(super) fn record(value: &Value) -> Record {
    Record::parse(value.to_string().as_bytes()).unwrap()
}

pub(super) fn decision(call: &str, slot: u64, effect: &str, session: Option<&str>) -> Record {
    let digest = Digest::of(b"x");
    let refusal = (effect == "deny").then_some("policy.denied");
    record(&json!({
        "at": 0, "bundle": bundle().0, "call": call,
        "client": {"agent": "", "name": "n", "protocol": "p", "transport": "http", "version": "1"},
        "config": digest, "definition": null, "effect": effect, "evaluation": "ev_1",
        "findings": [], "forwarded": digest, "input": digest, "kind": "decision", "log": "",
        "method": "tools/call", "mode": "enforce",
        "principal": {"id": "alice", "issuer": "i", "kind": "user"}, "reasons": [],
        "received": digest, "refusal": refusal, "revision": "r", "rules": digest, "seq": 0,
        "server": "s", "session": session, "session_prev": null, "session_seq": null, "slot": slot,
        "tenant": "acme", "tool": "echo", "v": 1}))
}

pub(super) fn outcome(call: &str, slot: u64, outcome: &str, approval: Option<&str>) -> Record {
    record(&json!({
        "approval": approval, "at": 0, "call": call, "events": 0, "findings": [],
        "kind": "outcome", "log": "", "outcome": outcome, "received": null, "refusal": null,
        "returned": null, "seq": 0, "session": null, "session_prev": null, "session_seq": null,
        "slot": slot, "tenant": "acme", "timings": {"hold_us": 1, "total_us": 2, "upstream_us": 3},
        "v": 1}))
}

pub(super) fn approval(kind: &str, call: &str, verdict: Option<&str>) -> Record {
    let digest = Digest::of(b"x");
    let approver = verdict.map(|_| json!({"id": "bob", "issuer": "i", "kind": "user"}));
    record(&json!({
        "approval": "ap_1", "approver": approver, "arguments": digest, "at": 0, "call": call,
        "digest": digest, "expires_at": 9_999_999_999_999_i64, "kind": kind, "log": "",
        "max_uses": 1, "reason": null, "requirements": ["x"], "seq": 0, "session": null,
        "session_prev": null, "session_seq": null, "tenant": "acme", "v": 1, "verdict": verdict}))
}

pub(super) fn event(kind: &str, session: Option<&str>, detail: &Value) -> Record {
    record(&json!({
        "actor": null, "at": 0, "call": null, "detail": detail, "kind": kind, "log": "", "seq": 0,
        "session": session, "session_prev": null, "session_seq": null, "tenant": "acme", "v": 1}))
}

/// One of everything, as the gateway writes it.
pub(super) fn script() -> Vec<Record> {
    let ses = Some("ses_1");
    vec![
        event("node.start", None, &json!({"slots_lost": []})),
        event("session.open", ses, &json!({})),
        decision("call_1", 0, "allow", ses),
        outcome("call_1", 0, "answered", None),
        decision("call_2", 1, "deny", ses),
        outcome("call_2", 1, "refused", None),
        decision("call_3", 2, "require_approval", ses),
        approval("approval.requested", "call_3", None),
        approval("approval.decided", "call_3", Some("approve")),
        approval("approval.executed", "call_3", None),
        outcome("call_3", 2, "answered", Some("ap_1")),
        event("refused", None, &json!({"slot": 3})),
        decision("call_4", 4, "allow", None),
        event("session.close", ses, &json!({"count": 5})),
    ]
}

impl Sample {
    pub(super) fn new() -> Self {
        Self::of(script())
    }

    /// A log of these records, placed as the journal places them, two minutes apart.
    pub(super) fn of(records: Vec<Record>) -> Self {
        Self::placed(records, |_, _| {})
    }

    /// The same, but `bend` may change each record after it was placed.
    pub(super) fn placed(records: Vec<Record>, bend: impl Fn(usize, &mut Record)) -> Self {
        let mut chains: BTreeMap<String, (u64, Option<Digest>)> = BTreeMap::new();
        let mut leaves = Vec::new();
        for (index, mut record) in records.into_iter().enumerate() {
            let session = record.session().map(|session| session.as_str().to_owned());
            let link = session.as_ref().map(|s| chains.get(s).copied().unwrap_or((0, None)));
            record.place(Place {
                at: index as i64 * 120_000,
                log: "acme.log.example".to_owned(),
                seq: index as u64,
                session_prev: link.and_then(|(_, prev)| prev),
                session_seq: link.map(|(seq, _)| seq),
            });
            bend(index, &mut record);
            let leaf = record.canonical().unwrap();
            if let (Some(session), Some((seq, _))) = (session, link) {
                chains.insert(session, (seq + 1, Some(leaf_hash(&leaf))));
            }
            leaves.push(leaf);
        }
        let (log, pack) = (TestSigner::ed25519(1), TestSigner::p256(1));
        Self { leaves, log, pack }
    }

    pub(super) fn tree(&self) -> Tree {
        let mut tree = Tree::default();
        self.leaves.iter().for_each(|leaf| tree.push(leaf_hash(leaf)));
        tree
    }

    pub(super) fn checkpoint(&self, size: usize) -> Vec<u8> {
        self.checkpoint_by(size, &self.log)
    }

    pub(super) fn checkpoint_by(&self, size: usize, signer: &TestSigner) -> Vec<u8> {
        let origin = "acme.log.example".to_owned();
        let root = self.tree().root(size as u64).unwrap();
        Checkpoint { origin, size: size as u64, root }.sign(signer).unwrap().to_bytes()
    }

    pub(super) fn pack(&self, first: usize, end: usize) -> Vec<u8> {
        let tree = self.tree();
        let checkpoint = self.checkpoint(self.leaves.len());
        let start = (first > 1).then(|| self.checkpoint(first - 1));
        let plan = Plan {
            tenant: "acme",
            first: first as u64,
            end: end as u64,
            checkpoint: &checkpoint,
            start: start.as_deref(),
            tree: &tree,
            created_at: 1_700_000_000_000,
            software: "test/1",
            bundles: &bundle().1,
            keys: &[("pack.pub.pem".to_owned(), self.pack.public().pem())],
        };
        let mut out = Vec::new();
        let mut writer = PackWriter::new(plan, &mut out).unwrap();
        self.leaves[first..end].iter().for_each(|leaf| writer.record(leaf).unwrap());
        writer.finish(&self.pack).unwrap();
        out
    }

    pub(super) fn files(&self, first: usize, end: usize) -> Files {
        untar(&self.pack(first, end))
    }

    /// Makes the manifests fit again and signs anew, as an insider with the pack key could.
    pub(super) fn refit(&self, files: &mut Files) {
        let line =
            |(path, bytes): (&String, &Vec<u8>)| format!("{}  {path}\n", Digest::of(bytes).hex());
        let data = |path: &str| path.starts_with("data/");
        let manifest: String = files.iter().filter(|(path, _)| data(path)).map(line).collect();
        files.insert(pack::MANIFEST.to_owned(), manifest.into_bytes());
        let signing = [pack::TAG_MANIFEST, pack::SIGNATURE];
        let tag = |path: &str| !data(path) && !signing.contains(&path);
        let tags: String = files.iter().filter(|(path, _)| tag(path)).map(line).collect();
        let digest = Digest::of(tags.as_bytes());
        files.insert(pack::TAG_MANIFEST.to_owned(), tags.into_bytes());
        let Some(summary) = files.get(pack::SUMMARY) else { return };
        let Ok(summary) = serde_json::from_slice::<Summary>(summary) else { return };
        let bundle = statement::sign(&summary, &digest, &self.pack).unwrap();
        files.insert(pack::SIGNATURE.to_owned(), bundle);
    }
}

pub(super) fn auditor(sample: &Sample) -> Auditor {
    let key = |key| TrustedKey { name: None, key };
    let keys = vec![key(sample.log.public()), key(sample.pack.public())];
    Auditor { keys, ..Auditor::default() }
}

pub(super) fn untar(pack: &[u8]) -> Files {
    let mut files = Files::new();
    for entry in ::tar::Archive::new(pack).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut bytes = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut bytes).unwrap();
        files.insert(path.strip_prefix("evidence-pack/").unwrap().to_owned(), bytes);
    }
    files
}

pub(super) fn tar(files: &Files) -> Vec<u8> {
    let mut builder = ::tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        append(&mut builder, &format!("evidence-pack/{path}"), bytes);
    }
    builder.into_inner().unwrap()
}

pub(super) fn append(builder: &mut ::tar::Builder<Vec<u8>>, path: &str, bytes: &[u8]) {
    let mut header = ::tar::Header::new_ustar();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, path, bytes).unwrap();
}

/// The codes of a verdict, each once, in order.
pub(super) fn codes(verdict: &Verdict) -> Vec<ProblemCode> {
    let mut codes: Vec<_> = verdict.problems.iter().map(|problem| problem.code).collect();
    codes.sort();
    codes.dedup();
    codes
}
