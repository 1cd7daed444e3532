//! Many at once, in one process and over two pools on one file.

use std::sync::Arc;
use std::time::Duration;

use forge_schemas::record::{ApprovalKind, ApprovalVerdict};
use tokio::task::JoinSet;

use super::fixture::{World, claim, finance, new_approval, over_every_store};
use crate::approval::error::ApprovalError;
use crate::approval::state::State;

over_every_store!(
    of_a_hundred_claims_exactly_one_wins,
    of_a_hundred_claims_from_two_processes_exactly_one_wins,
    parallel_votes_are_all_counted,
    parallel_votes_of_one_person_count_once,
    parallel_identical_requests_make_one_approval,
    parallel_requests_do_not_pass_the_limit,
    steps_that_are_dropped_at_any_point_leave_all_or_nothing,
);

async fn of_a_hundred_claims_exactly_one_wins(world: World) {
    check_claims(&world, &[Arc::clone(&world.approvals)]).await;
}

async fn of_a_hundred_claims_from_two_processes_exactly_one_wins(world: World) {
    let other = world.other("node-2").await;
    check_claims(&world, &[Arc::clone(&world.approvals), other]).await;
}

async fn check_claims(world: &World, services: &[Arc<crate::approval::service::Approvals>]) {
    let approved = world.approved().await;
    let mut claims = JoinSet::new();
    for number in 0..100 {
        let service = Arc::clone(&services[number % services.len()]);
        let approved = approved.clone();
        claims.spawn(async move { claim(&service, &approved).await });
    }
    let results = claims.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let lost = results.iter().filter_map(|result| result.as_ref().err());
    for error in lost {
        assert!(matches!(error, ApprovalError::Used), "{error:?}");
    }
    assert_eq!(world.journal.count(ApprovalKind::Executed), 1);
    assert_eq!(world.state(&approved).await, State::Executing);
}

async fn parallel_votes_are_all_counted(world: World) {
    let mut new = new_approval("alice", "{}");
    new.terms.required[0].quorum = 20;
    let asked = world.approvals.request(new).await.unwrap().approval;
    let other = world.other("node-2").await;
    let mut votes = JoinSet::new();
    for number in 0..20 {
        let service = Arc::clone(if number % 2 == 0 { &world.approvals } else { &other });
        let (id, digest) = (asked.id.clone(), asked.digest);
        votes.spawn(async move {
            let bob = finance(&format!("bob-{number}"));
            // Only a loser to the other process may have to try again.
            loop {
                match service.vote(&id, &bob, ApprovalVerdict::Approve, &digest, None).await {
                    Err(ApprovalError::Contended) => {}
                    other => break other,
                }
            }
        });
    }
    let results = votes.join_all().await;
    assert!(results.iter().all(Result::is_ok), "{results:?}");
    let after = world.store.approval(&asked.id).await.unwrap().unwrap();
    assert_eq!((after.state, after.votes.len()), (State::Approved, 20));
}

async fn parallel_votes_of_one_person_count_once(world: World) {
    let mut new = new_approval("alice", "{}");
    new.terms.required[0].quorum = 2;
    let asked = world.approvals.request(new).await.unwrap().approval;
    let mut votes = JoinSet::new();
    for _ in 0..20 {
        let (service, asked) = (Arc::clone(&world.approvals), asked.clone());
        votes.spawn(async move {
            let approve = ApprovalVerdict::Approve;
            service.vote(&asked.id, &finance("bob"), approve, &asked.digest, None).await
        });
    }
    let results = votes.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    assert_eq!(world.state(&asked).await, State::Pending);
}

async fn parallel_identical_requests_make_one_approval(world: World) {
    let other = world.other("node-2").await;
    let mut requests = JoinSet::new();
    for number in 0..40 {
        let service = Arc::clone(if number % 2 == 0 { &world.approvals } else { &other });
        requests.spawn(async move { service.request(new_approval("alice", "{}")).await.unwrap() });
    }
    let results = requests.join_all().await;
    assert_eq!(results.iter().filter(|result| !result.joined).count(), 1);
    let first = &results[0].approval.id;
    assert!(results.iter().all(|result| result.approval.id == *first));
}

async fn parallel_requests_do_not_pass_the_limit(world: World) {
    let other = world.other("node-2").await;
    let mut requests = JoinSet::new();
    for number in 0..30 {
        let service = Arc::clone(if number % 2 == 0 { &world.approvals } else { &other });
        let new = new_approval("alice", &format!("[{number}]"));
        requests.spawn(async move { service.request(new).await });
    }
    let results = requests.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 5);
    let refused = results.iter().filter_map(|result| result.as_ref().err());
    for error in refused {
        assert!(matches!(error, ApprovalError::PrincipalFull { open: 5, most: 5 }), "{error:?}");
    }
}

async fn steps_that_are_dropped_at_any_point_leave_all_or_nothing(world: World) {
    let mut new = new_approval("alice", "{}");
    new.terms.required[0].quorum = 60;
    let asked = world.approvals.request(new).await.unwrap().approval;
    let service = &world.approvals;
    for number in 0..60_u32 {
        let bob = finance(&format!("bob-{number}"));
        let vote = service.vote(&asked.id, &bob, ApprovalVerdict::Approve, &asked.digest, None);
        tokio::time::timeout(Duration::from_micros(u64::from(number) * 40), vote).await.ok();
    }
    // The store is not stuck, whoever's vote was dropped can vote, and nobody counts twice.
    for number in 0..60_u32 {
        let bob = finance(&format!("bob-{number}"));
        let vote = world.vote(&asked, &bob, ApprovalVerdict::Approve).await;
        let fine = matches!(vote, Ok(_) | Err(ApprovalError::Voted));
        assert!(fine || world.state(&asked).await == State::Approved, "{vote:?}");
    }
    let after = world.store.approval(&asked.id).await.unwrap().unwrap();
    assert_eq!((after.state, after.votes.len(), after.version), (State::Approved, 60, 60));
    for micros in (0..3000).step_by(50) {
        let claim = claim(service, &asked);
        let claimed = tokio::time::timeout(Duration::from_micros(micros), claim).await;
        if world.state(&asked).await == State::Executing {
            break;
        }
        assert!(claimed.is_err(), "{claimed:?}");
    }
    world.store.health().await.unwrap();
    assert!(world.journal.count(ApprovalKind::Executed) <= 1);
}
