//! Whatever may not be: every attempt is refused with its code and leaves the state as it was.

use bytes::Bytes;
use forge_schemas::digest::Digest;
use forge_schemas::ids::{ApprovalId, Tenant};
use forge_schemas::record::{ApprovalKind, ApprovalVerdict};
use forge_schemas::refusal::RefusalCode;

use super::fixture::{World, approver, facts, finance, new_approval, over_every_store, principal};
use crate::approval::error::{ApprovalError, REASON_BYTES_MAX};
use crate::approval::model::{Facts, Finished};
use crate::approval::state::State;

const APPROVE: ApprovalVerdict = ApprovalVerdict::Approve;

over_every_store!(
    votes_that_may_not_be_cast_are_refused,
    a_vote_after_the_time_is_over_expires_the_request,
    claims_that_may_not_be_made_are_refused,
    a_claim_after_the_time_to_execute_expires_the_approval,
    a_record_that_cannot_be_written_leaves_the_state_as_it_was,
    a_journal_that_does_not_answer_leaves_the_state_as_it_was,
    guessed_ids_are_unknown,
    the_limit_of_open_requests_is_per_principal,
    the_limit_of_open_requests_is_per_tenant,
    an_overdue_request_makes_room_for_a_new_one,
    terms_that_cannot_be_carried_out_are_refused_as_a_policy_error,
    only_what_is_executing_can_be_finished,
);

async fn votes_that_may_not_be_cast_are_refused(world: World) {
    let asked = world.asked().await;
    let mut foreign = finance("bob");
    foreign.tenant = Tenant::parse("other").unwrap();
    let long = Some("x".repeat(REASON_BYTES_MAX + 1));
    let right = asked.digest;
    let cases = [
        (finance("bob"), Digest::of(b"other"), None, "approval.digest"),
        (finance("alice"), right, None, "approval.requester"),
        (finance("ALICE"), right, None, "approval.requester"),
        (approver("bob", &["finance"], &["sales"]), right, None, "approval.not_approver"),
        (foreign, right, None, "approval.unknown"),
        (finance("bob"), right, long, "approval.reason_length"),
    ];
    for (who, digest, reason, wanted) in cases {
        for verdict in [APPROVE, ApprovalVerdict::Deny] {
            let vote = world.approvals.vote(&asked.id, &who, verdict, &digest, reason.clone());
            assert_eq!(vote.await.unwrap_err().code(), wanted, "{who:?}");
        }
    }
    let after = world.store.approval(&asked.id).await.unwrap().unwrap();
    assert_eq!(after, asked);
    assert_eq!(world.journal.kinds(), [ApprovalKind::Requested]);
}

async fn a_vote_after_the_time_is_over_expires_the_request(world: World) {
    let asked = world.asked().await;
    world.clock.pass(3600);
    let vote = world.vote(&asked, &finance("bob"), APPROVE).await.unwrap_err();
    assert_eq!(vote.code(), "approval.expired");
    assert_eq!(world.state(&asked).await, State::Expired);
    assert_eq!(world.journal.kinds(), [ApprovalKind::Requested, ApprovalKind::Expired]);
}

async fn claims_that_may_not_be_made_are_refused(world: World) {
    let asked = world.asked().await;
    let pending = world.claim(&asked).await.unwrap_err();
    assert_eq!(pending.refusal(), RefusalCode::ApprovalPending);
    world.vote(&asked, &finance("bob"), APPROVE).await.unwrap();
    let right = facts(&asked);
    let (mallory, other) = (principal("mallory"), Tenant::parse("other").unwrap());
    let mut elsewhere = principal("alice");
    elsewhere.issuer = "https://other".into();
    let cases = [
        (Facts { schema_digest: "sha256:new", ..right }, RefusalCode::ApprovalChanged),
        (Facts { schema_digest: "", ..right }, RefusalCode::ApprovalChanged),
        (Facts { policy_revision: "acme@2", ..right }, RefusalCode::ApprovalChanged),
        (Facts { subject: &mallory, ..right }, RefusalCode::ApprovalExpired),
        (Facts { subject: &elsewhere, ..right }, RefusalCode::ApprovalExpired),
        (Facts { agent: "other", ..right }, RefusalCode::ApprovalExpired),
        (Facts { tenant: &other, ..right }, RefusalCode::ApprovalExpired),
    ];
    for (facts, wanted) in cases {
        let error = world.approvals.claim(&asked.id, &facts).await.unwrap_err();
        assert_eq!(error.refusal(), wanted, "{facts:?}");
    }
    assert_eq!(world.state(&asked).await, State::Approved);
    world.claim(&asked).await.unwrap();
    let used = world.claim(&asked).await.unwrap_err();
    assert_eq!(used.refusal(), RefusalCode::ApprovalUsed);
    assert_eq!(world.journal.count(ApprovalKind::Executed), 1);
}

async fn a_claim_after_the_time_to_execute_expires_the_approval(world: World) {
    let approved = world.approved().await;
    world.clock.pass(600);
    let error = world.claim(&approved).await.unwrap_err();
    assert_eq!(error.refusal(), RefusalCode::ApprovalExpired);
    assert_eq!(world.state(&approved).await, State::Expired);
}

async fn a_record_that_cannot_be_written_leaves_the_state_as_it_was(world: World) {
    let asked = world.asked().await;
    world.journal.fail(true);
    let other = world.approvals.request(new_approval("alice", "[2]")).await.unwrap_err();
    let vote = world.vote(&asked, &finance("bob"), APPROVE).await.unwrap_err();
    for error in [other, vote] {
        assert_eq!(error.refusal(), RefusalCode::EvidenceUnavailable);
    }
    assert_eq!(world.store.approval(&asked.id).await.unwrap().unwrap(), asked);
    assert_eq!(world.store.waiting_approvals(&asked.tenant, &asked.subject).await.unwrap(), (1, 1));
    world.journal.fail(false);
    world.vote(&asked, &finance("bob"), APPROVE).await.unwrap();
    world.journal.fail(true);
    let claim = world.claim(&asked).await.unwrap_err();
    assert_eq!(claim.refusal(), RefusalCode::EvidenceUnavailable);
    let after = world.store.approval(&asked.id).await.unwrap().unwrap();
    assert_eq!((after.state, after.used), (State::Approved, 0));
    world.clock.pass(600);
    world.approvals.expire_due().await.unwrap_err();
    assert_eq!(world.state(&asked).await, State::Approved);
    // Not written down as expired, and still nobody can use it.
    assert!(world.claim(&asked).await.is_err());
    world.journal.fail(false);
    assert_eq!(world.approvals.expire_due().await.unwrap().len(), 1);
}

async fn a_journal_that_does_not_answer_leaves_the_state_as_it_was(world: World) {
    let asked = world.asked().await;
    world.journal.hang();
    let vote = world.vote(&asked, &finance("bob"), APPROVE).await.unwrap_err();
    assert!(matches!(vote, ApprovalError::RecordTime(_)), "{vote:?}");
    assert_eq!(world.store.approval(&asked.id).await.unwrap().unwrap(), asked);
}

async fn guessed_ids_are_unknown(world: World) {
    world.asked().await;
    let id = ApprovalId::parse("ap_0123456789abcdef0123456789abcdef").unwrap();
    let digest = Digest::of(b"");
    let vote = world.approvals.vote(&id, &finance("bob"), APPROVE, &digest, None).await;
    assert_eq!(vote.unwrap_err().code(), "approval.unknown");
    let cancel = tokio_util::sync::CancellationToken::new();
    let wait = world.approvals.wait(&id, std::time::Duration::ZERO, &cancel).await;
    assert_eq!(wait.unwrap_err().code(), "approval.unknown");
    assert_eq!(world.approvals.cancel(&id).await.unwrap_err().code(), "approval.unknown");
}

async fn the_limit_of_open_requests_is_per_principal(world: World) {
    for number in 0..5 {
        world.approvals.request(new_approval("alice", &format!("[{number}]"))).await.unwrap();
    }
    let sixth = world.approvals.request(new_approval("alice", "[5]")).await.unwrap_err();
    assert_eq!(sixth.refusal(), RefusalCode::LimitApprovals);
    assert!(world.approvals.request(new_approval("alice", "[4]")).await.unwrap().joined);
    world.approvals.request(new_approval("bob", "[5]")).await.unwrap();
    assert_eq!(world.journal.kinds().len(), 6);
}

async fn the_limit_of_open_requests_is_per_tenant(world: World) {
    let clock: std::sync::Arc<dyn crate::clock::Clock> = world.clock.clone();
    let mut settings = super::fixture::settings("node-1");
    settings.open_per_tenant = 2;
    let recorder = world.journal.recorder(&world.store);
    let approvals =
        crate::approval::service::Approvals::new(world.store.clone(), clock, recorder, settings);
    approvals.request(new_approval("alice", "{}")).await.unwrap();
    approvals.request(new_approval("bob", "{}")).await.unwrap();
    let third = approvals.request(new_approval("carol", "{}")).await.unwrap_err();
    assert!(matches!(third, ApprovalError::TenantFull { open: 2, most: 2 }), "{third:?}");
}

async fn an_overdue_request_makes_room_for_a_new_one(world: World) {
    let first = world.asked().await;
    world.clock.pass(3600);
    let second = world.asked().await;
    assert_ne!(first.id, second.id);
    assert_eq!(world.state(&first).await, State::Expired);
}

async fn terms_that_cannot_be_carried_out_are_refused_as_a_policy_error(world: World) {
    let mut new = new_approval("alice", "{}");
    new.terms.required[0].approvers = vec!["anybody".into()];
    let error = world.approvals.request(new).await.unwrap_err();
    assert_eq!(error.refusal(), RefusalCode::PolicyError);
    assert!(world.journal.kinds().is_empty());
}

async fn only_what_is_executing_can_be_finished(world: World) {
    let approved = world.approved().await;
    let error = world.approvals.finish(&approved.id, Finished::Done).await.unwrap_err();
    assert!(matches!(error, ApprovalError::Closed(State::Approved)), "{error:?}");
    world.claim(&approved).await.unwrap();
    let error = world.approvals.cancel(&approved.id).await.unwrap_err();
    assert!(matches!(error, ApprovalError::Closed(State::Executing)), "{error:?}");
    world.approvals.finish(&approved.id, Finished::Unknown).await.unwrap();
    let error = world.approvals.finish(&approved.id, Finished::Done).await.unwrap_err();
    assert!(matches!(error, ApprovalError::Closed(State::Unknown)), "{error:?}");
}

/// Somebody who can write to the file, but not to the journal.
#[tokio::test]
async fn rows_that_were_tampered_with_are_not_executed() {
    let swaps: [(&'static str, &str); 6] = [
        ("UPDATE approval_parcels SET arguments = x'7b7d'", "approval.altered"),
        ("UPDATE approval_parcels SET message = x'7b7d'", "approval.altered"),
        ("UPDATE approvals SET tool = 'wipe'", "approval.altered"),
        ("UPDATE approvals SET subject_id = 'alice ', tool = 'wipe'", "approval.unknown"),
        ("DELETE FROM approval_votes", "approval.altered"),
        (
            "UPDATE approvals SET terms = replace(terms, '\"quorum\":1', '\"quorum\":2')",
            "approval.altered",
        ),
    ];
    for (swap, wanted) in swaps {
        let world = World::sqlite().await;
        let approved = world.approved().await;
        crate::store::tests::sqlite::run(&world.folder.file(), swap).await;
        let error = world.claim(&approved).await.unwrap_err();
        assert_eq!(error.code(), wanted, "{swap}");
        assert_eq!(world.journal.count(ApprovalKind::Executed), 0);
    }
}

#[test]
fn bytes_never_show_in_debug_output() {
    let parcel = crate::approval::model::Parcel {
        message: Bytes::from_static(b"hunter2"),
        arguments: Bytes::from_static(b"hunter2"),
    };
    assert_eq!(format!("{parcel:?}"), "Parcel { message_bytes: 7, arguments_bytes: 7 }");
}
