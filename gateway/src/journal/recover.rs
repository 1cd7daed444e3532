//! What a restart finds undone, and the records that close it.
//!
//! A decision that let a call go on has an outcome record as its second half. If the process died
//! in between, the outcome is written here: `outcome_unknown` if the call may have been forwarded,
//! `refused` with `approval.pending` if it waited for a person and was never executed. Slots that
//! were given out and never decided are listed, so that a gap is not mistaken for a record that
//! was taken away.

use std::collections::{BTreeMap, BTreeSet};

use forge_schemas::ids::{CallId, SessionId, Tenant};
use forge_schemas::policy::Effect;
use forge_schemas::record::{
    ApprovalKind, EventKind, EventRecord, Outcome, OutcomeKind, OutcomeRecord, RECORD_VERSION,
    Record, Timings,
};
use forge_schemas::refusal::RefusalCode;
use serde_json::{Value, json};

use super::chain::Chains;
use forge_evidence::segment::Leaf;

/// Slots named in one record at most; more are only counted.
const LOST_SLOTS_MAX: usize = 2_000;

/// What one tenant's log says while it is read back.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    open: BTreeMap<CallId, Open>,
    executed: BTreeSet<CallId>,
    slots: Slots,
    records: u64,
}

#[derive(Debug)]
struct Open {
    effect: Effect,
    slot: u64,
    session: Option<SessionId>,
}

/// Which slots have been seen: all below `next` but those in `missing`.
#[derive(Debug, Default)]
struct Slots {
    next: u64,
    missing: BTreeSet<u64>,
}

impl Slots {
    fn seen(&mut self, slot: u64) {
        if slot < self.next {
            self.missing.remove(&slot);
            return;
        }
        // A hostile number must not make this loop for ever.
        let gap = (self.next..slot).take(LOST_SLOTS_MAX);
        self.missing.extend(gap);
        self.next = slot.saturating_add(1);
    }
}

impl Ledger {
    /// Takes in one leaf.
    pub(crate) fn read(&mut self, leaf: &Leaf<'_>, chains: &mut Chains) {
        self.records = self.records.saturating_add(1);
        let record = &leaf.record;
        if let (Some(session), Some(seq)) = (record.session(), record.session_seq()) {
            chains.placed((record.tenant(), session), seq, leaf.hash, closes(record));
        }
        match record {
            Record::Decision(decision) => {
                self.slots.seen(decision.slot);
                // In shadow mode a decision does not bind: the call goes on whatever it says.
                let bound = decision.mode != "shadow";
                let effect = if bound { decision.effect } else { Effect::Allow };
                if decision.refusal.is_none() && effect != Effect::Deny {
                    let open =
                        Open { effect, slot: decision.slot, session: decision.session.clone() };
                    self.open.insert(decision.call.clone(), open);
                }
            }
            Record::Outcome(outcome) => {
                self.open.remove(&outcome.call);
                self.executed.remove(&outcome.call);
            }
            Record::Approval(approval) => {
                if approval.kind == ApprovalKind::Executed {
                    self.executed.insert(approval.call.clone());
                }
            }
            Record::Event(event) => self.event(event),
        }
    }

    fn event(&mut self, event: &EventRecord) {
        if let Some(slot) = event.detail.get("slot").and_then(Value::as_u64) {
            self.slots.seen(slot);
        }
        if event.kind == EventKind::NodeStart {
            // Said once; the next start does not say it again.
            self.slots.missing.clear();
        }
    }

    /// Records of this log.
    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    /// The first slot that was never given out, as far as the log knows.
    pub(crate) const fn next_slot(&self) -> u64 {
        self.slots.next
    }

    /// The outcomes that are missing.
    pub(crate) fn outcomes(&self, tenant: &Tenant) -> Vec<Record> {
        let outcome = |(call, open): (&CallId, &Open)| {
            let waits = open.effect == Effect::RequireApproval && !self.executed.contains(call);
            let (outcome, refusal) = if waits {
                (Outcome::Refused, RefusalCode::ApprovalPending)
            } else {
                (Outcome::Unknown, RefusalCode::UpstreamUnknown)
            };
            Record::Outcome(Box::new(OutcomeRecord {
                approval: None,
                at: 0,
                call: call.clone(),
                events: 0,
                findings: Vec::new(),
                kind: OutcomeKind::Outcome,
                log: String::new(),
                outcome,
                received: None,
                refusal: Some(refusal),
                returned: None,
                seq: 0,
                session: open.session.clone(),
                session_prev: None,
                session_seq: None,
                slot: open.slot,
                tenant: tenant.clone(),
                timings: Timings::default(),
                v: RECORD_VERSION,
            }))
        };
        self.open.iter().map(outcome).collect()
    }

    /// The `node.start` record of this log: `own` for the gateway's own tenant, which always has
    /// one; others only if something was undone.
    pub(crate) fn start(&self, tenant: &Tenant, own: Option<&Totals>) -> Option<Record> {
        let (unknown, pending) = self.counts();
        let lost = self.slots.missing.len();
        if own.is_none() && self.open.is_empty() && lost == 0 {
            return None;
        }
        let totals = own.copied().unwrap_or_default();
        let slots: Vec<u64> = self.slots.missing.iter().copied().take(LOST_SLOTS_MAX).collect();
        let detail = BTreeMap::from([
            ("cut_bytes".to_owned(), json!(totals.cut_bytes)),
            ("logs".to_owned(), json!(totals.logs)),
            ("pending".to_owned(), json!(pending)),
            ("recovered".to_owned(), json!(unknown)),
            ("recovered_all".to_owned(), json!(totals.recovered)),
            ("slots_lost".to_owned(), json!(slots)),
        ]);
        Some(event(EventKind::NodeStart, tenant, None, detail))
    }

    /// Outcomes that become `outcome_unknown`, and those that still wait for a person.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let waits = |(call, open): &(&CallId, &Open)| {
            open.effect == Effect::RequireApproval && !self.executed.contains(*call)
        };
        let pending = self.open.iter().filter(waits).count();
        let unknown = self.open.len().saturating_sub(pending);
        let count = |number| u64::try_from(number).unwrap_or(u64::MAX);
        (count(unknown), count(pending))
    }
}

/// Sums over all logs.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) cut_bytes: u64,
    pub(crate) logs: u64,
    pub(crate) recovered: u64,
}

/// Does this record end its session's chain?
pub(crate) fn closes(record: &Record) -> bool {
    matches!(record, Record::Event(event) if event.kind == EventKind::SessionClose)
}

/// An event that the journal itself writes.
pub(crate) fn event(
    kind: EventKind,
    tenant: &Tenant,
    session: Option<SessionId>,
    detail: BTreeMap<String, Value>,
) -> Record {
    Record::Event(Box::new(EventRecord {
        actor: None,
        at: 0,
        call: None,
        detail,
        kind,
        log: String::new(),
        seq: 0,
        session,
        session_prev: None,
        session_seq: None,
        tenant: tenant.clone(),
        v: RECORD_VERSION,
    }))
}
