//! Do the records agree with each other: slots, sessions, outcomes, approvals, bundles.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, CallId, SessionId};
use forge_schemas::policy::Effect;
use forge_schemas::record::{
    ApprovalKind, ApprovalRecord, ApprovalVerdict, DecisionRecord, EventKind, EventRecord, Outcome,
    OutcomeRecord, Record,
};
use forge_schemas::verdict::ProblemCode;
use serde_json::Value;

use super::records::{Leaves, Line};
use super::{Files, Problems};
use crate::pack::{self, Summary};

/// A slot becomes a record within this time, or is accounted for by the next `node.start`.
const SETTLE_MS: i64 = 60_000;

/// Checks the records against each other. Gives the number of calls that were let go on and have
/// no outcome in the range.
pub(crate) fn check(leaves: &Leaves, summary: &Summary, problems: &mut Problems) -> u64 {
    let mut book = Book { whole: summary.first == 0, ..Book::default() };
    for line in &leaves.lines {
        let Some(record) = &line.record else { continue };
        if record.tenant().as_str() != summary.tenant {
            continue;
        }
        book.session(line, record, problems);
        match record {
            Record::Decision(decision) => book.decision(line, decision, problems),
            Record::Outcome(outcome) => book.outcome(line, outcome, problems),
            Record::Approval(approval) => book.approval(line, approval, problems),
            Record::Event(event) => book.event(line, event, problems),
        }
    }
    book.slots(leaves, problems);
    u64::try_from(book.open.len()).unwrap_or(u64::MAX)
}

/// What the records have said so far.
#[derive(Debug, Default)]
struct Book {
    /// The pack begins with the log's first record.
    whole: bool,
    sessions: HashMap<SessionId, (u64, Digest)>,
    closed: BTreeSet<SessionId>,
    slots: BTreeMap<u64, i64>,
    lost: BTreeSet<u64>,
    calls: HashMap<CallId, Call>,
    open: BTreeSet<CallId>,
    approvals: HashMap<ApprovalId, Approval>,
}

#[derive(Debug)]
struct Call {
    slot: u64,
    /// Goes on only when a person releases it.
    held: bool,
    done: bool,
}

#[derive(Debug)]
struct Approval {
    /// Its request is in the pack, so everything about it is.
    known: bool,
    /// Digest of the approval and of its arguments, and how often it may be used.
    terms: (Digest, Digest, u64),
    approved: bool,
    ended: bool,
    executed: Vec<CallId>,
}

impl Book {
    fn session(&mut self, line: &Line, record: &Record, problems: &mut Problems) {
        let (Some(session), Some(seq)) = (record.session(), record.session_seq()) else {
            if record.session().is_some() || record.session_prev().is_some() {
                let sentence = "The record is not numbered in its session.";
                problems.add(ProblemCode::CompletenessGap, line.place(), sentence);
            }
            return;
        };
        let prev = record.session_prev();
        let fits = match self.sessions.get(session) {
            Some((last, hash)) => Some(seq) == last.checked_add(1) && prev == Some(*hash),
            // A session may have begun before the range; a closed one begins anew.
            None if seq == 0 => prev.is_none(),
            None => !self.whole && prev.is_some() && !self.closed.contains(session),
        };
        if !fits {
            let sentence = format!("Records of the session {session} before this one are missing.");
            problems.add(ProblemCode::CompletenessGap, line.place(), sentence);
        }
        if let Record::Event(event) = record
            && event.kind == EventKind::SessionClose
        {
            if event.detail.get("count").and_then(Value::as_u64) != seq.checked_add(1) {
                let sentence = format!("The session {session} ends with another count.");
                problems.add(ProblemCode::CompletenessGap, line.place(), sentence);
            }
            self.sessions.remove(session);
            self.closed.insert(session.clone());
            return;
        }
        self.sessions.insert(session.clone(), (seq, line.hash));
    }

    fn slot(&mut self, line: &Line, slot: u64, at: i64, problems: &mut Problems) {
        if self.slots.insert(slot, at).is_some() {
            let sentence = format!("The slot {slot} was used before.");
            problems.add(ProblemCode::RecordDuplicated, line.place(), sentence);
        }
    }

    fn decision(&mut self, line: &Line, decision: &DecisionRecord, problems: &mut Problems) {
        self.slot(line, decision.slot, decision.at, problems);
        let binds = decision.mode != "shadow";
        let held = binds && decision.effect == Effect::RequireApproval;
        let goes_on = decision.refusal.is_none() && !(binds && decision.effect == Effect::Deny);
        let call = Call { slot: decision.slot, held, done: !goes_on };
        if self.calls.insert(decision.call.clone(), call).is_some() {
            let sentence = format!("The call {} was decided before.", decision.call);
            problems.add(ProblemCode::RecordDuplicated, line.place(), sentence);
        }
        if goes_on {
            self.open.insert(decision.call.clone());
        }
    }

    fn outcome(&mut self, line: &Line, outcome: &OutcomeRecord, problems: &mut Problems) {
        self.open.remove(&outcome.call);
        let answered = outcome.outcome == Outcome::Answered;
        match self.calls.get_mut(&outcome.call) {
            Some(call) if call.slot != outcome.slot => {
                let sentence = "The outcome names another slot than the decision.";
                problems.add(ProblemCode::CompletenessGap, line.place(), sentence);
            }
            Some(call) => {
                if call.held && answered && outcome.approval.is_none() {
                    let sentence = "The call waited for a person, and was answered without.";
                    problems.add(ProblemCode::ApprovalInvalid, line.place(), sentence);
                }
                if std::mem::replace(&mut call.done, true) && answered {
                    let sentence = "The call was refused or had ended, and is answered here.";
                    problems.add(ProblemCode::CompletenessGap, line.place(), sentence);
                }
            }
            // A message may be refused before it is decided; it is never answered undecided.
            None if self.whole && answered => {
                let sentence = "The call was answered without a decision before.";
                problems.add(ProblemCode::CompletenessGap, line.place(), sentence);
            }
            None => {}
        }
        let Some(id) = outcome.approval.as_ref().filter(|_| answered) else { return };
        let approval = self.approvals.get(id);
        let executed = approval.is_some_and(|approval| approval.executed.contains(&outcome.call));
        if !executed && (self.whole || approval.is_some_and(|approval| approval.known)) {
            let sentence = format!("The approval {id} was not executed for this call.");
            problems.add(ProblemCode::ApprovalInvalid, line.place(), sentence);
        }
    }

    fn approval(&mut self, line: &Line, record: &ApprovalRecord, problems: &mut Problems) {
        let whole = self.whole;
        let entry = self.approvals.entry(record.approval.clone()).or_insert_with(|| Approval {
            known: whole || record.kind == ApprovalKind::Requested,
            terms: (record.digest, record.arguments, record.max_uses),
            approved: false,
            ended: false,
            executed: Vec::new(),
        });
        let id = &record.approval;
        let mut bad =
            |code: ProblemCode, sentence: String| problems.add(code, line.place(), sentence);
        let terms = (record.digest, record.arguments, record.max_uses);
        if terms != entry.terms {
            let sentence = format!("The approval {id} has other terms than before.");
            bad(ProblemCode::ApprovalInvalid, sentence);
        }
        match record.kind {
            ApprovalKind::Requested => {}
            ApprovalKind::Decided => {
                let late = record.at >= record.expires_at;
                if record.approver.is_none() || record.verdict.is_none() {
                    let sentence = format!("Nobody is named who decided the approval {id}.");
                    bad(ProblemCode::ApprovalInvalid, sentence);
                }
                if entry.ended || late || !entry.executed.is_empty() {
                    let sentence = format!("The approval {id} was decided after it had ended.");
                    bad(ProblemCode::ApprovalInvalid, sentence);
                }
                match record.verdict {
                    Some(ApprovalVerdict::Approve) => entry.approved = true,
                    Some(ApprovalVerdict::Deny) => entry.ended = true,
                    None => {}
                }
            }
            ApprovalKind::Expired => entry.ended = true,
            ApprovalKind::Executed => {
                let used = u64::try_from(entry.executed.len()).unwrap_or(u64::MAX);
                if used >= record.max_uses || entry.executed.contains(&record.call) {
                    let sentence = format!("The approval {id} was used before.");
                    bad(ProblemCode::ApprovalReused, sentence);
                }
                if entry.known && (!entry.approved || entry.ended) {
                    let sentence = format!("The approval {id} was executed, but nobody gave it.");
                    bad(ProblemCode::ApprovalInvalid, sentence);
                }
                entry.executed.push(record.call.clone());
            }
        }
    }

    fn event(&mut self, line: &Line, event: &EventRecord, problems: &mut Problems) {
        if let Some(slot) = event.detail.get("slot").and_then(Value::as_u64) {
            self.slot(line, slot, event.at, problems);
        }
        if event.kind == EventKind::NodeStart {
            let lost = event.detail.get("slots_lost").and_then(Value::as_array);
            self.lost.extend(lost.into_iter().flatten().filter_map(Value::as_u64));
        }
    }

    /// "Slots are given out one after the other. One that no record names is a gap, unless it may
    /// lie outside the range, or a `node.start` says that it was lost."
    fn slots(&self, leaves: &Leaves, problems: &mut Problems) {
        let mut times = leaves.lines.iter().filter_map(|line| line.record.as_ref()).map(Record::at);
        let Some(begin) = times.next() else { return };
        let finish = times.next_back().unwrap_or(begin);
        // Taken after `begin`: an earlier slot was still recorded one settling time after it.
        let mut after_begin = self.whole;
        let mut expected = if self.whole { Some(0) } else { None };
        let mut later: Vec<(u64, i64)> = Vec::with_capacity(self.slots.len());
        let mut earliest = i64::MAX;
        for (slot, at) in self.slots.iter().rev() {
            earliest = earliest.min(*at);
            later.push((*slot, earliest));
        }
        for (slot, earliest_from_here) in later.into_iter().rev() {
            // Taken before the end: a later slot was recorded one settling time before it.
            let before_end = earliest_from_here <= finish.saturating_sub(SETTLE_MS);
            if let Some(expected) = expected.filter(|_| after_begin && before_end) {
                self.gap(expected, slot, problems);
            }
            let at = self.slots.get(&slot).copied().unwrap_or(begin);
            after_begin |= at >= begin.saturating_add(SETTLE_MS);
            expected = slot.checked_add(1);
        }
    }

    fn gap(&self, first: u64, end: u64, problems: &mut Problems) {
        let wide = end.saturating_sub(first) > GAP_MAX;
        let mut missing = (first..end).take(if wide { 1 } else { usize::MAX });
        if let Some(slot) = missing.find(|slot| !self.lost.contains(slot)) {
            let sentence = format!("No record says what became of the slot {slot}.");
            problems.add(ProblemCode::CompletenessGap, format!("slot {slot}"), sentence);
        }
    }
}

/// Checks that every bundle that decided is in the pack, and is what its digest says.
pub(crate) fn bundles(files: &Files, leaves: &Leaves, problems: &mut Problems) {
    let mut wanted = BTreeSet::new();
    for line in &leaves.lines {
        if let Some(Record::Decision(decision)) = &line.record {
            wanted.insert(decision.bundle);
        }
    }
    for digest in wanted {
        let folder = format!("{}{}/", pack::POLICY, digest.hex());
        let mut parts = Vec::new();
        for (path, bytes) in files.iter().filter(|(path, _)| path.starts_with(&folder)) {
            let name = path.strip_prefix(&folder).unwrap_or_default();
            parts.push(*Digest::of(name.as_bytes()).as_bytes());
            parts.push(*Digest::of(bytes).as_bytes());
        }
        let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
        if parts.is_empty() {
            let sentence =
                format!("The policy bundle {digest}, which decided, is not in the pack.");
            problems.add(ProblemCode::PolicyMissing, folder, sentence);
        } else if Digest::of_parts(&parts) != digest {
            let sentence = format!("These files are not the policy bundle {digest}.");
            problems.add(ProblemCode::PolicyMissing, folder, sentence);
        }
    }
}

/// Slots in one gap that are looked at one by one.
const GAP_MAX: u64 = 100_000;
