//! The life of an approval when all goes well, and the order of record and effect.

use std::sync::Arc;
use std::time::Duration;

use forge_schemas::record::{ApprovalKind, ApprovalVerdict, Record};
use tokio_util::sync::CancellationToken;

use super::fixture::{
    World, approver, claim, facts, finance, new_approval, over_every_store, requirement, sqlite,
    tenant,
};
use crate::approval::error::ApprovalError;
use crate::approval::model::{Approval, ApprovalFilter, Finished};
use crate::approval::state::State;

over_every_store!(
    a_held_call_is_approved_claimed_and_finished_with_its_exact_bytes,
    records_are_durable_before_what_they_say_can_be_seen,
    identical_calls_join_and_altered_ones_do_not,
    two_requirements_need_two_people,
    one_denial_ends_it,
    a_waiting_call_hears_of_the_decision_at_once,
    a_waiting_call_sees_a_decision_of_another_process,
    a_wait_that_is_too_short_leaves_it_pending,
    a_cancelled_wait_leaves_it_pending,
    a_waiting_call_ends_when_the_approval_expires,
    an_approval_survives_a_restart,
    what_was_under_way_is_unknown_after_a_restart,
    an_execution_that_only_the_journal_knows_is_never_repeated,
    an_execution_that_only_the_journal_knows_is_found_at_start,
    an_approval_with_uses_left_may_be_claimed_again,
    cancelled_requests_stay_cancelled,
    the_sweep_expires_what_is_over_and_nothing_else,
    approvals_are_listed_newest_first_and_by_tenant,
);

async fn a_held_call_is_approved_claimed_and_finished_with_its_exact_bytes(world: World) {
    let arguments = "{\"to\": \"x\u{202e}\", \"amount\":1.0}";
    let new = new_approval("alice", arguments);
    let parcel = new.parcel.clone();
    let asked = world.approvals.request(new).await.unwrap();
    assert!(!asked.joined);
    let asked = asked.approval;
    assert_eq!((asked.state, asked.version), (State::Pending, 0));
    assert_eq!(asked.display["arguments"]["text"], r#"{"to": "x\u202e", "amount":1.0}"#);
    let reason = Some("seen the invoice".to_owned());
    let approved = world
        .approvals
        .vote(&asked.id, &finance("bob"), ApprovalVerdict::Approve, &asked.digest, reason)
        .await
        .unwrap();
    assert_eq!((approved.state, approved.version), (State::Approved, 1));
    assert_eq!(approved.execute_by, Some(approved.approved_at.unwrap() + 600_000));
    let claimed = world.claim(&approved).await.unwrap();
    assert_eq!(claimed.parcel, parcel);
    assert_eq!(claimed.approval.state, State::Executing);
    let done = world.approvals.finish(&asked.id, Finished::Done).await.unwrap();
    assert_eq!(done.state, State::Done);
    let shown = world.approvals.show(&asked.id, &tenant()).await.unwrap();
    assert_eq!(shown, done);
    assert_eq!(shown.votes[0].reason.as_deref(), Some("seen the invoice"));
}

async fn records_are_durable_before_what_they_say_can_be_seen(world: World) {
    let approved = world.approved().await;
    world.claim(&approved).await.unwrap();
    world.approvals.finish(&approved.id, Finished::Done).await.unwrap();
    world.asked().await;
    world.clock.pass(3600);
    world.approvals.expire_due().await.unwrap();
    let seen = world.journal.records.lock().unwrap().clone();
    let wanted = [
        (ApprovalKind::Requested, None),
        (ApprovalKind::Decided, Some(State::Pending)),
        // The state is taken first, so that nobody else records a use; the bytes come after it.
        (ApprovalKind::Executed, Some(State::Executing)),
        (ApprovalKind::Requested, None),
        (ApprovalKind::Expired, Some(State::Pending)),
    ];
    assert_eq!(seen, wanted);
    let written = world.journal.written.lock().unwrap();
    let Record::Approval(decided) = &written[1] else { panic!() };
    assert_eq!(decided.approval, approved.id);
    assert_eq!(decided.digest, approved.digest);
    assert_eq!(decided.approver.as_ref().unwrap().id, "bob");
    assert_eq!(decided.verdict, Some(ApprovalVerdict::Approve));
    assert_eq!(decided.requirements, ["large.transfer"]);
    assert!(written.iter().all(|record| record.canonical().is_ok()));
}

async fn identical_calls_join_and_altered_ones_do_not(world: World) {
    let first = world.asked().await;
    let ask = async |new| world.approvals.request(new).await.unwrap();
    let again = ask(new_approval("alice", r#"{"x":1}"#)).await;
    assert!(again.joined);
    assert_eq!(again.approval.id, first.id);
    let mut other_agent = new_approval("alice", r#"{"x":1}"#);
    other_agent.agent = "other".into();
    let mut other_revision = new_approval("alice", r#"{"x":1}"#);
    other_revision.policy_revision = "acme@2".into();
    let mut other_issuer = new_approval("alice", r#"{"x":1}"#);
    other_issuer.subject.issuer = "https://other".into();
    let others = [
        new_approval("alice", r#"{"x":1.0}"#),
        new_approval("alice", r#"{"x":1} "#),
        new_approval("mallory", r#"{"x":1}"#),
        other_agent,
        other_revision,
        other_issuer,
    ];
    for other in others {
        let asked = ask(other).await;
        assert!(!asked.joined);
        assert_ne!(asked.approval.id, first.id);
    }
    // Open means until it is over: approved and executing ones are joined, ended ones are not.
    world.vote(&first, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
    assert_eq!(world.asked().await.id, first.id);
    world.claim(&first).await.unwrap();
    assert_eq!(world.asked().await.id, first.id);
    world.approvals.finish(&first.id, Finished::Done).await.unwrap();
    assert_ne!(world.asked().await.id, first.id);
    assert_eq!(world.journal.count(ApprovalKind::Requested), 8);
}

async fn two_requirements_need_two_people(world: World) {
    let mut new = new_approval("alice", "{}");
    new.terms.required.push(requirement("risk", &["role:risk"], 1));
    let asked = world.approvals.request(new).await.unwrap().approval;
    let both = approver("bob", &["risk"], &["finance"]);
    let after = world.vote(&asked, &both, ApprovalVerdict::Approve).await.unwrap();
    assert_eq!(after.state, State::Pending);
    let again = world.vote(&asked, &both, ApprovalVerdict::Approve).await.unwrap_err();
    assert!(matches!(again, ApprovalError::Voted), "{again:?}");
    // The same person with another account.
    let mut account = both.clone();
    account.issuer = "https://other".into();
    account.id = "Bob".into();
    let again = world.vote(&asked, &account, ApprovalVerdict::Approve).await.unwrap_err();
    assert!(matches!(again, ApprovalError::Voted), "{again:?}");
    let carol = approver("carol", &["risk"], &[]);
    let after = world.vote(&asked, &carol, ApprovalVerdict::Approve).await.unwrap();
    assert_eq!(after.state, State::Approved);
    assert_eq!(after.votes.len(), 2);
}

async fn one_denial_ends_it(world: World) {
    let mut new = new_approval("alice", "{}");
    new.terms.required[0].quorum = 2;
    let asked = world.approvals.request(new).await.unwrap().approval;
    world.vote(&asked, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
    let after = world.vote(&asked, &finance("carol"), ApprovalVerdict::Deny).await.unwrap();
    assert_eq!(after.state, State::Denied);
    let late = world.vote(&asked, &finance("dave"), ApprovalVerdict::Approve).await.unwrap_err();
    assert!(matches!(late, ApprovalError::Closed(State::Denied)), "{late:?}");
    let claimed = world.claim(&asked).await.unwrap_err();
    assert!(matches!(claimed, ApprovalError::Closed(State::Denied)), "{claimed:?}");
}

async fn a_waiting_call_hears_of_the_decision_at_once(world: World) {
    let asked = world.asked().await;
    let waiting = wait_in_background(&world, &asked.id, LONG);
    world.vote(&asked, &finance("bob"), ApprovalVerdict::Deny).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().state, State::Denied);
}

async fn a_waiting_call_sees_a_decision_of_another_process(world: World) {
    let asked = world.asked().await;
    let waiting = wait_in_background(&world, &asked.id, LONG);
    let other = world.other("cli").await;
    let approve = ApprovalVerdict::Approve;
    other.vote(&asked.id, &finance("bob"), approve, &asked.digest, None).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().state, State::Approved);
}

async fn a_wait_that_is_too_short_leaves_it_pending(world: World) {
    let asked = world.asked().await;
    let waited = wait_in_background(&world, &asked.id, Duration::from_millis(30)).await.unwrap();
    assert_eq!(waited.unwrap().state, State::Pending);
}

async fn a_cancelled_wait_leaves_it_pending(world: World) {
    let asked = world.asked().await;
    let cancel = CancellationToken::new();
    cancel.cancel();
    let waited = world.approvals.wait(&asked.id, LONG, &cancel).await.unwrap_err();
    assert!(matches!(waited, ApprovalError::Cancelled));
    assert_eq!(world.state(&asked).await, State::Pending);
}

async fn a_waiting_call_ends_when_the_approval_expires(world: World) {
    let asked = world.asked().await;
    let waiting = wait_in_background(&world, &asked.id, LONG);
    world.clock.pass(3600);
    assert_eq!(waiting.await.unwrap().unwrap().state, State::Expired);
    assert_eq!(world.journal.count(ApprovalKind::Expired), 1);
}

async fn an_approval_survives_a_restart(world: World) {
    let asked = world.asked().await;
    world.store.close().await;
    let other = world.other("node-1").await;
    assert_eq!(other.recover().await.unwrap(), []);
    let approve = ApprovalVerdict::Approve;
    let approved =
        other.vote(&asked.id, &finance("bob"), approve, &asked.digest, None).await.unwrap();
    let claimed = claim(&other, &approved).await.unwrap();
    assert_eq!(claimed.parcel, new_approval("alice", r#"{"x":1}"#).parcel);
}

async fn what_was_under_way_is_unknown_after_a_restart(world: World) {
    let approved = world.approved().await;
    world.claim(&approved).await.unwrap();
    // Another node on the same store leaves it alone.
    assert_eq!(world.other("node-2").await.recover().await.unwrap(), []);
    assert_eq!(world.state(&approved).await, State::Executing);
    let lost = world.other("node-1").await.recover().await.unwrap();
    assert_eq!(lost.len(), 1);
    assert_eq!(lost[0].state, State::Unknown);
    let again = world.claim(&approved).await.unwrap_err();
    assert!(matches!(again, ApprovalError::Closed(State::Unknown)), "{again:?}");
}

async fn an_execution_that_only_the_journal_knows_is_never_repeated(world: World) {
    let approved = falsely_given_back(&world).await;
    world.journal.fail(false);
    let claim = world.claim(&approved).await.unwrap_err();
    assert!(matches!(claim, ApprovalError::Closed(State::Unknown)), "{claim:?}");
    assert_eq!(world.state(&approved).await, State::Unknown);
}

async fn an_execution_that_only_the_journal_knows_is_found_at_start(world: World) {
    falsely_given_back(&world).await;
    let lost = world.approvals.recover().await.unwrap();
    assert_eq!(lost.iter().map(|it| it.state).collect::<Vec<_>>(), [State::Unknown]);
}

async fn falsely_given_back(world: &World) -> Approval {
    let approved = world.approved().await;
    // The record of a use became durable although the journal said it had failed.
    world.journal.fail(true);
    world.claim(&approved).await.unwrap_err();
    assert_eq!(world.state(&approved).await, State::Approved);
    let mut record = world.journal.written.lock().unwrap()[1].clone();
    let Record::Approval(inner) = &mut record else { panic!() };
    (inner.kind, inner.seq) = (ApprovalKind::Executed, 7);
    world.store.index(&[record]).await.unwrap();
    approved
}

async fn an_approval_with_uses_left_may_be_claimed_again(world: World) {
    let mut new = new_approval("alice", "{}");
    new.terms.max_uses = 2;
    let asked = world.approvals.request(new).await.unwrap().approval;
    world.vote(&asked, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
    world.claim(&asked).await.unwrap();
    let after = world.approvals.finish(&asked.id, Finished::Done).await.unwrap();
    assert_eq!((after.state, after.used), (State::Approved, 1));
    world.claim(&asked).await.unwrap();
    let after = world.approvals.finish(&asked.id, Finished::Failed).await.unwrap();
    assert_eq!((after.state, after.used), (State::Failed, 2));
    assert!(matches!(world.claim(&asked).await.unwrap_err(), ApprovalError::Used));
    assert_eq!(world.journal.count(ApprovalKind::Executed), 2);
}

async fn cancelled_requests_stay_cancelled(world: World) {
    let asked = world.asked().await;
    world.approvals.cancel(&asked.id).await.unwrap();
    let vote = world.vote(&asked, &finance("bob"), ApprovalVerdict::Approve).await.unwrap_err();
    assert!(matches!(vote, ApprovalError::Closed(State::Cancelled)), "{vote:?}");
    let again = world.approvals.cancel(&asked.id).await.unwrap_err();
    assert!(matches!(again, ApprovalError::Closed(State::Cancelled)), "{again:?}");
    assert_ne!(world.asked().await.id, asked.id);
}

async fn the_sweep_expires_what_is_over_and_nothing_else(world: World) {
    let pending = world.asked().await;
    let approved = world.approvals.request(new_approval("alice", "[2]")).await.unwrap().approval;
    world.vote(&approved, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
    let running = world.approvals.request(new_approval("alice", "[3]")).await.unwrap().approval;
    world.vote(&running, &finance("bob"), ApprovalVerdict::Approve).await.unwrap();
    world.claim(&running).await.unwrap();
    world.clock.pass(599);
    assert_eq!(world.approvals.expire_due().await.unwrap(), []);
    world.clock.pass(1);
    let expired = world.approvals.expire_due().await.unwrap();
    assert_eq!(expired.iter().map(|it| &it.id).collect::<Vec<_>>(), [&approved.id]);
    world.clock.pass(3000);
    let expired = world.approvals.expire_due().await.unwrap();
    assert_eq!(expired.iter().map(|it| &it.id).collect::<Vec<_>>(), [&pending.id]);
    assert_eq!(world.state(&running).await, State::Executing);
    assert_eq!(world.journal.count(ApprovalKind::Expired), 2);
}

async fn approvals_are_listed_newest_first_and_by_tenant(world: World) {
    let mut ids = Vec::new();
    for number in 0..3 {
        world.clock.pass(1);
        let new = new_approval("alice", &format!("[{number}]"));
        ids.push(world.approvals.request(new).await.unwrap().approval.id);
    }
    let mut foreign = new_approval("alice", "[0]");
    foreign.tenant = forge_schemas::ids::Tenant::parse("other").unwrap();
    let foreign = world.approvals.request(foreign).await.unwrap().approval;
    ids.reverse();
    let list = async |filter| {
        let found = world.approvals.list(&filter).await.unwrap();
        found.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    let all = ApprovalFilter::of(tenant());
    assert_eq!(list(all.clone()).await, ids);
    assert_eq!(list(ApprovalFilter { limit: 2, ..all.clone() }).await, ids[..2]);
    let second = world.approvals.show(&ids[1], &tenant()).await.unwrap();
    let before = Some((second.created_at, second.id));
    assert_eq!(list(ApprovalFilter { before, ..all.clone() }).await, ids[2..]);
    world.approvals.cancel(&ids[0]).await.unwrap();
    let pending = ApprovalFilter { state: Some(State::Pending), ..all.clone() };
    assert_eq!(list(pending).await, ids[1..]);
    let nobody = ApprovalFilter { subject: Some("bob".into()), ..all };
    assert!(list(nobody).await.is_empty());
    let error = world.approvals.show(&foreign.id, &tenant()).await.unwrap_err();
    assert!(matches!(error, ApprovalError::Unknown));
}

#[tokio::test]
async fn a_claim_hears_nothing_of_what_the_retry_holds() {
    let world = World::sqlite().await;
    let approved = world.approved().await;
    let call = crate::ids::call();
    let retry = crate::approval::model::Facts { call: &call, ..facts(&approved) };
    let claimed = world.approvals.claim(&approved.id, &retry).await.unwrap();
    assert_eq!(claimed.parcel, new_approval("alice", r#"{"x":1}"#).parcel);
    let written = world.journal.written.lock().unwrap();
    let Some(Record::Approval(executed)) = written.last() else { panic!() };
    assert_eq!(executed.call, call);
    drop(sqlite(&world.folder.file()));
}

fn wait_in_background(
    world: &World,
    id: &forge_schemas::ids::ApprovalId,
    until: Duration,
) -> tokio::task::JoinHandle<Result<Approval, ApprovalError>> {
    let (approvals, id) = (Arc::clone(&world.approvals), id.clone());
    tokio::spawn(async move { approvals.wait(&id, until, &CancellationToken::new()).await })
}

/// Longer than any test waits; reached only by a test that fails.
const LONG: Duration = Duration::from_secs(30);
