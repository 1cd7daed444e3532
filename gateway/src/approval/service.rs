//! The service: asks, waits, counts votes, gives out the bytes once, and sees to the two clocks.
//!
//! Every change is computed from what was read, recorded, and then written only if the row still
//! has the version that was read. Steps on one approval are taken one at a time in this process, so
//! a record without a change happens only where another process was quicker or a write failed:
//! harmless, as it claims less than it seems to (`docs/reference/approvals.md`).

use std::sync::Arc;
use std::time::Duration;

use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, Tenant};
use forge_schemas::record::{ApprovalVerdict, Record};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::digest::join_key;
use super::error::{ApprovalError, REASON_BYTES_MAX};
use super::model::{
    Approval, ApprovalFilter, Approver, Claimed, Facts, Finished, NewApproval, Requested, Vote,
};
use super::quorum;
use super::records::{self, Recorder};
use super::rooms::{Room, Rooms};
use super::rules::{cast, check_claim, check_parcel, counted, drafted};
use super::state::{Event, State, next};
use crate::clock::Clock;
use crate::store::{Change, Inserted, NewRow, OpenLimits, Store};

/// Limits of the service.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names this gateway process among those on the same store, the same after a restart.
    pub node: String,
    /// Most undecided requests of one principal.
    pub open_per_principal: u64,
    /// Most undecided requests of one tenant.
    pub open_per_tenant: u64,
    /// How often a waiting call looks for decisions made by another process.
    pub poll: Duration,
    /// How long the journal may take for one record.
    pub record_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: "node".to_owned(),
            open_per_principal: 5,
            open_per_tenant: 1000,
            poll: Duration::from_millis(250),
            record_within: Duration::from_secs(10),
        }
    }
}

/// Approvals of every tenant.
#[derive(Debug)]
pub struct Approvals {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    recorder: Recorder,
    settings: Settings,
    rooms: Rooms,
}

impl Approvals {
    /// Over a store, with a recorder that returns when a record is durable.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        recorder: Recorder,
        settings: Settings,
    ) -> Self {
        Self { store, clock, recorder, settings, rooms: Rooms::default() }
    }

    /// Asks for approval, or joins the open request of an identical call.
    ///
    /// Cancelled before it returns: at most a record `approval.requested` without a request, or a
    /// request that nobody waits for and that expires.
    ///
    /// # Errors
    /// If the terms cannot be carried out, too many requests are open, or record or store fail.
    pub async fn request(&self, new: NewApproval) -> Result<Requested, ApprovalError> {
        quorum::check(&new.terms).map_err(ApprovalError::Terms)?;
        let key = join_key(&new).map_err(ApprovalError::Json)?;
        let room = self.rooms.enter(&format!("{} {}", new.tenant, new.subject.id));
        let _turn = room.turn.lock().await;
        let mut recorded: Option<NewRow> = None;
        for _ in 0..ATTEMPTS {
            if let Some(open) = self.store.open_approval(&key).await? {
                if !open.is_due(self.clock.now_ms()) {
                    return Ok(Requested { approval: open, joined: true });
                }
                self.expire(&open.id).await?;
                continue;
            }
            let row = match recorded.take() {
                Some(row) => row,
                None => self.recorded_row(&new, key).await?,
            };
            match self.store.insert_approval(&row, self.limits()).await? {
                Inserted::New => return Ok(Requested { approval: row.approval, joined: false }),
                Inserted::Exists => recorded = Some(row),
                Inserted::PrincipalFull { open } => return Err(self.principal_full(open)),
                Inserted::TenantFull { open } => return Err(self.tenant_full(open)),
            }
        }
        Err(ApprovalError::Contended)
    }

    /// Checks the limits, which the insertion checks again, and records the request.
    async fn recorded_row(&self, new: &NewApproval, key: Digest) -> Result<NewRow, ApprovalError> {
        let (own, all) = self.store.waiting_approvals(&new.tenant, &new.subject).await?;
        if own >= self.settings.open_per_principal {
            return Err(self.principal_full(own));
        }
        if all >= self.settings.open_per_tenant {
            return Err(self.tenant_full(all));
        }
        let approval = drafted(new, self.clock.now_ms())?;
        self.record(records::requested(&approval)).await?;
        Ok(NewRow { approval, join_key: key, parcel: new.parcel.clone() })
    }

    /// Waits until the approval is no longer pending or `until` is over, and returns it as it then
    /// is: still `pending` if the time was too short. Expires it if its own time is over.
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// If there is none of this id, the wait was cancelled, or record or store fail.
    pub async fn wait(
        &self,
        id: &ApprovalId,
        until: Duration,
        cancel: &CancellationToken,
    ) -> Result<Approval, ApprovalError> {
        let room = self.rooms.enter(id.as_str());
        let deadline = Instant::now().checked_add(until);
        loop {
            // Listen before looking, so that no change falls between the two.
            let mut rung = std::pin::pin!(room.bell.notified());
            rung.as_mut().enable();
            let approval = self.load(id).await?;
            if approval.is_due(self.clock.now_ms()) && approval.state == State::Pending {
                return self.expire(id).await;
            }
            let left = deadline.map_or(until, |end| end.saturating_duration_since(Instant::now()));
            if left.is_zero() || approval.state != State::Pending {
                return Ok(approval);
            }
            tokio::select! {
                biased;
                () = cancel.cancelled() => return Err(ApprovalError::Cancelled),
                () = rung => {}
                () = self.watch(&approval, left) => {}
            }
        }
    }

    /// Looks now and then whether another process decided, at most until the approval expires. A
    /// failed look ends the watch, so that the caller meets the failure itself.
    async fn watch(&self, approval: &Approval, left: Duration) {
        let end = Instant::now().checked_add(left);
        loop {
            let own = approval.expires_at.saturating_sub(self.clock.now_ms());
            let own = Duration::from_millis(u64::try_from(own).unwrap_or(0));
            let left = end.map_or(left, |end| end.saturating_duration_since(Instant::now()));
            if own.is_zero() || left.is_zero() {
                return;
            }
            tokio::time::sleep(left.min(own).min(self.settings.poll)).await;
            match self.store.approval_state(&approval.id).await {
                Ok(Some(State::Pending)) => {}
                Ok(_) | Err(_) => return,
            }
        }
    }

    /// One person's vote. `expect` is the approval digest that the person was shown.
    ///
    /// The record `approval.decided` is durable before the vote can be seen. Cancelled before it
    /// returns: the vote is counted or not, never half.
    ///
    /// # Errors
    /// If the approval is not of the approver's tenant, not pending or over; if the digest is
    /// another; if the person may not vote or has; or if record or store fail.
    pub async fn vote(
        &self,
        id: &ApprovalId,
        approver: &Approver,
        verdict: ApprovalVerdict,
        expect: &Digest,
        reason: Option<String>,
    ) -> Result<Approval, ApprovalError> {
        if let Some(length) = reason.as_ref().map(String::len).filter(|n| *n > REASON_BYTES_MAX) {
            return Err(ApprovalError::ReasonLength(length));
        }
        let room = self.rooms.enter(id.as_str());
        let turn = room.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let before = self.load_of(id, &approver.tenant).await?;
            let now = self.clock.now_ms();
            if before.is_due(now) {
                drop(turn);
                self.expire(id).await?;
                return Err(ApprovalError::Expired);
            }
            let vote = cast(&before, approver, verdict, expect, now)?;
            let vote = Vote { reason: reason.clone(), ..vote };
            let after = counted(&before, &vote)?;
            self.record(records::decided(&before, &vote)).await?;
            let change = Change { before: &before, after: &after, vote: Some(&vote) };
            if let Some(changed) = self.change(&change, &room).await? {
                return Ok(changed);
            }
        }
        Err(ApprovalError::Contended)
    }

    /// Takes the approval for its use: at most one caller gets the bytes, and only after the
    /// record `approval.executed` is durable. The bytes are those that were approved, whatever the
    /// caller holds now.
    ///
    /// If the record cannot be written the claim is given back and nothing may be sent. Cancelled
    /// before it returns: the approval may stay `executing`, and is `unknown` after a restart.
    ///
    /// # Errors
    /// If it is not approved, not the caller's, used, over, bound to another definition or policy,
    /// altered in the store, or if record or store fail.
    pub async fn claim(
        &self,
        id: &ApprovalId,
        facts: &Facts<'_>,
    ) -> Result<Claimed, ApprovalError> {
        let room = self.rooms.enter(id.as_str());
        let turn = room.turn.lock().await;
        let before = self.load_of(id, facts.tenant).await?;
        if before.state == State::Approved && before.is_due(self.clock.now_ms()) {
            drop(turn);
            self.expire(id).await?;
            return Err(ApprovalError::Expired);
        }
        check_claim(&before, facts)?;
        if self.store.recorded_executions(id).await? > before.used {
            return Err(self.lose(&before, &room).await?);
        }
        let parcel = self.store.parcel(id).await?.ok_or(ApprovalError::Unknown)?;
        check_parcel(&before, &parcel)?;
        let after = Approval {
            state: next(before.state, Event::Claimed)?,
            used: before.used.saturating_add(1),
            node: Some(self.settings.node.clone()),
            ..before.clone()
        };
        let change = Change { before: &before, after: &after, vote: None };
        let Some(claimed) = self.change(&change, &room).await? else {
            return Err(ApprovalError::Used);
        };
        if let Err(error) = self.record(records::executed(&claimed, facts)).await {
            self.give_back(&claimed, &room).await;
            return Err(error);
        }
        Ok(Claimed { approval: claimed, parcel })
    }

    /// The journal has a use that the store has not: whatever became of it, it is not repeated.
    async fn lose(&self, before: &Approval, room: &Room) -> Result<ApprovalError, ApprovalError> {
        let state = next(before.state, Event::Lost)?;
        let after = Approval { state, ..before.clone() };
        self.change(&Change { before, after: &after, vote: None }, room).await?;
        Ok(ApprovalError::Closed(state))
    }

    /// Nothing was sent: the approval may be claimed again. Where even this cannot be written, it
    /// stays `executing` and becomes `unknown` at the next start.
    async fn give_back(&self, claimed: &Approval, room: &Room) {
        let Ok(state) = next(claimed.state, Event::Released) else { return };
        let after = Approval { state, used: claimed.used.saturating_sub(1), ..claimed.clone() };
        let change = Change { before: claimed, after: &after, vote: None };
        if let Err(error) = self.change(&change, room).await {
            tracing::error!(
                approval.id = %claimed.id,
                error = %error.code(),
                "an approval whose use could not be recorded could not be given back"
            );
        }
    }

    /// Notes how the execution ended. With uses left the approval may be claimed again; after
    /// `unknown` never.
    ///
    /// # Errors
    /// If it is not being executed, or the store fails: then it stays `executing`.
    pub async fn finish(&self, id: &ApprovalId, how: Finished) -> Result<Approval, ApprovalError> {
        self.step(id, |approval| Event::Finished {
            how,
            again: approval.used < approval.terms.max_uses,
        })
        .await
    }

    /// The caller gave up before it was executed. An approval that is being executed is not
    /// touched.
    ///
    /// # Errors
    /// If it is neither pending nor approved, or the store fails.
    pub async fn cancel(&self, id: &ApprovalId) -> Result<Approval, ApprovalError> {
        self.step(id, |_| Event::Cancelled).await
    }

    /// A change that is not recorded on its own: the outcome of the call says it.
    async fn step(
        &self,
        id: &ApprovalId,
        event: impl Fn(&Approval) -> Event,
    ) -> Result<Approval, ApprovalError> {
        let room = self.rooms.enter(id.as_str());
        let _turn = room.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let before = self.load(id).await?;
            let Ok(state) = next(before.state, event(&before)) else {
                return Err(ApprovalError::Closed(before.state));
            };
            let after = Approval { state, ..before.clone() };
            let change = Change { before: &before, after: &after, vote: None };
            if let Some(changed) = self.change(&change, &room).await? {
                return Ok(changed);
            }
        }
        Err(ApprovalError::Contended)
    }

    /// Expires whatever is over, at most 256 at a time, and returns what it expired. To be called
    /// every second or so; nothing depends on it, since every vote and claim looks at the clock.
    ///
    /// # Errors
    /// If record or store fail; what was expired before is expired.
    pub async fn expire_due(&self) -> Result<Vec<Approval>, ApprovalError> {
        let due = self.store.due_approvals(self.clock.now_ms(), SWEEP_MAX).await?;
        let mut expired = Vec::new();
        for approval in due {
            let after = self.expire(&approval.id).await?;
            if after.state == State::Expired {
                expired.push(after);
            }
        }
        Ok(expired)
    }

    /// Expires one that is due, after its record; returns it as it is then, expired or not.
    async fn expire(&self, id: &ApprovalId) -> Result<Approval, ApprovalError> {
        let room = self.rooms.enter(id.as_str());
        let _turn = room.turn.lock().await;
        for _ in 0..ATTEMPTS {
            let before = self.load(id).await?;
            if !before.is_due(self.clock.now_ms()) {
                return Ok(before);
            }
            let state = next(before.state, Event::Expired)?;
            self.record(records::expired(&before)).await?;
            let after = Approval { state, ..before.clone() };
            let change = Change { before: &before, after: &after, vote: None };
            if let Some(changed) = self.change(&change, &room).await? {
                return Ok(changed);
            }
        }
        Err(ApprovalError::Contended)
    }

    /// At start, once the journal is indexed and before anything is served: what this node was
    /// executing is `unknown`, and so is what the journal says was executed more often than the
    /// store knows. Returns those.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn recover(&self) -> Result<Vec<Approval>, ApprovalError> {
        let mut lost = Vec::new();
        for before in self.store.interrupted_approvals(&self.settings.node).await? {
            let Ok(state) = next(before.state, Event::Lost) else { continue };
            let after = Approval { state, ..before.clone() };
            let change = Change { before: &before, after: &after, vote: None };
            let room = self.rooms.enter(before.id.as_str());
            lost.extend(self.change(&change, &room).await?);
        }
        Ok(lost)
    }

    /// Approvals of one tenant, newest first.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn list(&self, filter: &ApprovalFilter) -> Result<Vec<Approval>, ApprovalError> {
        Ok(self.store.approvals(filter).await?)
    }

    /// One approval of one tenant.
    ///
    /// # Errors
    /// If the tenant has none of this id, or the store fails.
    pub async fn show(&self, id: &ApprovalId, tenant: &Tenant) -> Result<Approval, ApprovalError> {
        self.load_of(id, tenant).await
    }

    async fn load(&self, id: &ApprovalId) -> Result<Approval, ApprovalError> {
        self.store.approval(id).await?.ok_or(ApprovalError::Unknown)
    }

    async fn load_of(&self, id: &ApprovalId, tenant: &Tenant) -> Result<Approval, ApprovalError> {
        let approval = self.load(id).await?;
        if approval.tenant == *tenant { Ok(approval) } else { Err(ApprovalError::Unknown) }
    }

    /// Writes the change if nobody was quicker, and wakes those who wait.
    async fn change(
        &self,
        change: &Change<'_>,
        room: &Room,
    ) -> Result<Option<Approval>, ApprovalError> {
        if !self.store.change_approval(change).await? {
            return Ok(None);
        }
        room.bell.notify_waiters();
        let version = change.before.version.saturating_add(1);
        Ok(Some(Approval { version, ..change.after.clone() }))
    }

    async fn record(&self, record: Record) -> Result<(), ApprovalError> {
        let within = self.settings.record_within;
        match tokio::time::timeout(within, self.recorder.write(record)).await {
            Ok(written) => written.map_err(ApprovalError::Record),
            Err(_elapsed) => Err(ApprovalError::RecordTime(within)),
        }
    }

    const fn limits(&self) -> OpenLimits {
        OpenLimits {
            per_principal: self.settings.open_per_principal,
            per_tenant: self.settings.open_per_tenant,
        }
    }

    const fn principal_full(&self, open: u64) -> ApprovalError {
        ApprovalError::PrincipalFull { open, most: self.settings.open_per_principal }
    }

    const fn tenant_full(&self, open: u64) -> ApprovalError {
        ApprovalError::TenantFull { open, most: self.settings.open_per_tenant }
    }
}

const ATTEMPTS: usize = 8;
const SWEEP_MAX: u32 = 256;
