//! The one thread that writes: it places records, signs, waits for the disk and answers.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use forge_schemas::ids::{SessionId, Tenant};
use forge_schemas::record::{EventKind, Place, Record};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use super::chain::{Chains, Link};
use super::error::{Failure, JournalError};
use super::log::{Around, Log};
use super::recover::{closes, event};
use super::{Committed, Receipt, Shared};
use crate::clock::Clock;

/// Log files open at most; the ones idle longest are closed, to be opened again when needed.
const OPEN_LOGS_MAX: usize = 128;

/// What becomes of an append.
type Answer = Result<Vec<Receipt>, JournalError>;

/// What the writer is asked to do.
#[derive(Debug)]
pub(crate) enum Request {
    /// Record these, all in one commit.
    Append(Append),
    /// Write `node.stop` and end.
    Close(oneshot::Sender<Result<(), JournalError>>),
}

#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) records: Vec<Record>,
    pub(crate) done: oneshot::Sender<Answer>,
    /// Room in the queue, given back when this is done.
    pub(crate) room: OwnedSemaphorePermit,
}

/// The thread's state.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) around: Around,
    pub(crate) tenant: Tenant,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) logs: BTreeMap<Tenant, Log>,
    pub(crate) chains: Chains,
    pub(crate) batch_max: usize,
    pub(crate) interval: Duration,
    /// Tenants whose log files are open, the one idle longest first.
    pub(crate) idle: Vec<Tenant>,
    /// Keeps other processes out as long as something may be written.
    pub(crate) lock: Option<File>,
}

/// The commit before this one.
struct LastCommit {
    at: Instant,
    requests: usize,
}

impl Writer {
    /// Works until it is closed, nobody can ask any more, or something fails for good.
    pub(crate) fn run(mut self, queue: &Receiver<Request>) {
        let mut last = None;
        while let Ok(first) = queue.recv() {
            let (batch, close) = self.gather(first, queue, last.as_ref());
            last = Some(LastCommit { at: Instant::now(), requests: batch.len() });
            let outcome = self.commit_batch(batch);
            if let Some(done) = close {
                let stopped = outcome.and_then(|()| self.stop());
                drop(self.lock.take());
                // Nobody waits any more: that is their affair.
                let _unheard = done.send(stopped);
                return;
            }
            if outcome.is_err() {
                break;
            }
        }
        // After a failure every request is answered, so that nobody waits for ever.
        while let Ok(request) = queue.recv() {
            let failed = || JournalError::Failed(self.shared.failure());
            match request {
                Request::Append(append) => {
                    let _unheard = append.done.send(Err(failed()));
                }
                Request::Close(done) => {
                    let _unheard = done.send(Err(failed()));
                    return;
                }
            }
        }
    }

    /// Takes what is in the queue. Where several requests came together last time, or come now, a
    /// commit follows the one before it no sooner than the interval, so that a busy queue is
    /// committed in batches. Who is alone never waits for company.
    fn gather(
        &self,
        first: Request,
        queue: &Receiver<Request>,
        last: Option<&LastCommit>,
    ) -> (Vec<Append>, Option<oneshot::Sender<Result<(), JournalError>>>) {
        let mut batch = Vec::new();
        let mut records = 0_usize;
        let mut next = Some(first);
        loop {
            match next.take() {
                Some(Request::Append(append)) => {
                    records = records.saturating_add(append.records.len());
                    batch.push(append);
                }
                Some(Request::Close(done)) => return (batch, Some(done)),
                None => {}
            }
            if records >= self.batch_max {
                return (batch, None);
            }
            let company = batch.len() > 1 || last.is_some_and(|last| last.requests > 1);
            let since = last.map_or(Duration::MAX, |last| last.at.elapsed());
            let wait = if company { self.interval.saturating_sub(since) } else { Duration::ZERO };
            match queue.recv_timeout(wait) {
                Ok(request) => next = Some(request),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return (batch, None);
                }
            }
        }
    }

    /// Places and commits all requests, and answers them.
    fn commit_batch(&mut self, batch: Vec<Append>) -> Result<(), JournalError> {
        let mut waiting = Vec::with_capacity(batch.len());
        let placed = self.place_batch(batch, &mut waiting);
        match placed.and_then(|placed| self.commit().map(|()| placed)) {
            Ok(placed) => {
                self.shared.publish(placed);
                for (done, receipts) in waiting {
                    let _unheard = done.send(Ok(receipts));
                }
                Ok(())
            }
            Err(failure) => {
                let failure = self.shared.fail(failure);
                // Those that were not placed see their sender dropped and ask for the failure.
                for (done, _receipts) in waiting {
                    let _unheard = done.send(Err(JournalError::Failed(Arc::clone(&failure))));
                }
                Err(JournalError::Failed(failure))
            }
        }
    }

    fn place_batch(
        &mut self,
        batch: Vec<Append>,
        waiting: &mut Vec<(oneshot::Sender<Answer>, Vec<Receipt>)>,
    ) -> Result<Vec<Committed>, Failure> {
        let mut committed = Vec::new();
        for (tenant, session) in self.chains.crowded_out() {
            committed.push(self.close_idle(&tenant, session)?);
        }
        for Append { records, done, room: _room } in batch {
            let first = committed.len();
            for record in records {
                committed.push(self.place(record)?);
            }
            let receipts = committed.iter().skip(first).map(Committed::receipt).collect();
            waiting.push((done, receipts));
        }
        Ok(committed)
    }

    /// Records that the gateway stopped in good order.
    fn stop(&mut self) -> Result<(), JournalError> {
        let stop = event(EventKind::NodeStop, &self.tenant.clone(), None, BTreeMap::new());
        self.write_now(vec![stop])
    }

    /// Places and commits records of the journal itself.
    pub(crate) fn write_now(&mut self, records: Vec<Record>) -> Result<(), JournalError> {
        let placed: Result<Vec<Committed>, Failure> =
            records.into_iter().map(|record| self.place(record)).collect();
        let outcome = placed.and_then(|placed| self.commit().map(|()| placed));
        match outcome {
            Ok(placed) => {
                self.shared.publish(placed);
                Ok(())
            }
            Err(failure) => Err(JournalError::Failed(self.shared.fail(failure))),
        }
    }

    fn close_idle(&mut self, tenant: &Tenant, session: SessionId) -> Result<Committed, Failure> {
        let detail = BTreeMap::from([("why".to_owned(), json!("idle"))]);
        self.place(event(EventKind::SessionClose, tenant, Some(session), detail))
    }

    /// Gives a record its place and adds it to its log.
    fn place(&mut self, mut record: Record) -> Result<Committed, Failure> {
        let tenant = record.tenant().clone();
        let around = &self.around;
        let log = self.logs.entry(tenant.clone()).or_insert_with(|| Log::new(around, &tenant));
        let session = record.session().cloned();
        let link = session.as_ref().map(|session| self.chains.next(&tenant, session));
        let (at, seq) = (self.clock.now_ms(), log.size());
        record.place(Place {
            at,
            log: log.origin().to_owned(),
            seq,
            session_prev: link.and_then(|link| link.prev),
            session_seq: link.map(|link| link.seq),
        });
        let ends = closes(&record);
        if let (Record::Event(event), Some(Link { seq, .. }), true) = (&mut record, link, ends) {
            event.detail.insert("count".to_owned(), json!(seq.saturating_add(1)));
        }
        let leaf = log.add(&record)?;
        if let (Some(session), Some(link)) = (&session, link) {
            self.chains.placed((&tenant, session), link.seq, leaf, ends);
        }
        Ok(Committed { tenant, seq, at, leaf, record })
    }

    /// Commits every log that has something waiting.
    fn commit(&mut self) -> Result<(), Failure> {
        for (tenant, log) in &mut self.logs {
            if log.is_pending() {
                log.commit()?;
                self.idle.retain(|other| other != tenant);
                self.idle.push(tenant.clone());
            }
        }
        while self.idle.len() > OPEN_LOGS_MAX {
            let longest = self.idle.remove(0);
            if let Some(log) = self.logs.get_mut(&longest) {
                log.shut();
            }
        }
        Ok(())
    }
}
