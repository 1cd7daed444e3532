//! Who may vote and when it is enough.

use forge_schemas::digest::Digest;
use forge_schemas::policy::ApprovalTerms;
use forge_schemas::record::ApprovalVerdict;

use super::fixture::{approver, principal, requirement, terms};
use crate::approval::model::{Approver, Vote};
use crate::approval::quorum::{Misfit, TermsError, check, fits, is_met, missing};

fn vote(person: &str, fits: &[usize]) -> Vote {
    Vote {
        person: person.into(),
        approver: principal(person),
        verdict: ApprovalVerdict::Approve,
        fits: fits.to_vec(),
        digest: Digest::of(b""),
        reason: None,
        at: 0,
    }
}

fn two(first: u64, second: u64) -> ApprovalTerms {
    let required =
        vec![requirement("a", &["role:cfo"], first), requirement("b", &["group:finance"], second)];
    ApprovalTerms { required, ..terms() }
}

#[test]
fn one_person_fills_one_place() {
    let cases: &[(ApprovalTerms, &[Vote], usize)] = &[
        (two(1, 1), &[], 2),
        (two(1, 1), &[vote("x", &[0, 1])], 1),
        (two(1, 1), &[vote("x", &[0, 1]), vote("y", &[0, 1])], 0),
        // Whoever fits both makes room for the one who fits only one, in either order.
        (two(1, 1), &[vote("x", &[0, 1]), vote("y", &[0])], 0),
        (two(1, 1), &[vote("y", &[0]), vote("x", &[0, 1])], 0),
        (two(1, 1), &[vote("x", &[1]), vote("y", &[1])], 1),
        (two(2, 1), &[vote("x", &[0, 1]), vote("y", &[0, 1]), vote("z", &[1])], 0),
        (two(2, 2), &[vote("x", &[0, 1]), vote("y", &[0, 1]), vote("z", &[1])], 1),
        (two(1, 1), &[vote("x", &[]), vote("y", &[7])], 2),
    ];
    for (number, (terms, votes, wanted)) in cases.iter().enumerate() {
        assert_eq!(missing(terms, votes), *wanted, "case {number}");
        assert_eq!(is_met(terms, votes), *wanted == 0, "case {number}");
    }
}

#[test]
fn one_denial_or_a_person_counted_twice_is_never_met() {
    let denied = Vote { verdict: ApprovalVerdict::Deny, ..vote("z", &[0]) };
    assert!(!is_met(&two(1, 1), &[vote("x", &[0]), vote("y", &[1]), denied]));
    assert!(!is_met(&two(1, 1), &[vote("x", &[0]), vote("x", &[1])]));
}

#[test]
fn terms_without_requirements_are_never_met() {
    assert!(!is_met(&ApprovalTerms { required: vec![], ..terms() }, &[vote("x", &[0])]));
}

type Case<'a> = (&'a [&'a str], Approver, Result<Vec<usize>, Misfit>);

#[test]
fn approvers_are_named_by_role_group_or_id() {
    let service = Approver { kind: "service".into(), ..approver("bot", &["cfo"], &["finance"]) };
    let cases: &[Case<'_>] = &[
        (&["role:cfo"], approver("bob", &["cfo"], &[]), Ok(vec![0])),
        (&["group:cfo"], approver("bob", &["cfo"], &[]), Err(Misfit::Stranger)),
        (&["group:finance"], approver("bob", &[], &["finance"]), Ok(vec![0])),
        (&["group:finance"], approver("bob", &[], &["Finance"]), Err(Misfit::Stranger)),
        (&["user:bob"], approver("bob", &[], &[]), Ok(vec![0])),
        (&["user:bob"], approver("BOB ", &[], &[]), Ok(vec![0])),
        (&["user:bob"], approver("bobby", &[], &[]), Err(Misfit::Stranger)),
        (&["role:x", "user:bob"], approver("bob", &[], &[]), Ok(vec![0])),
        (&["role:cfo", "group:finance"], service.clone(), Err(Misfit::Stranger)),
        (&["user:bot"], service, Ok(vec![0])),
        (&["user:alice"], approver("alice", &[], &[]), Err(Misfit::Requester)),
        (&["user:alice"], approver("Alice", &[], &[]), Err(Misfit::Requester)),
        (&["role:cfo"], approver("alice", &["cfo"], &[]), Err(Misfit::Requester)),
        (&["role:cfo"], approver("alice", &[], &[]), Err(Misfit::Stranger)),
    ];
    for (approvers, who, wanted) in cases {
        let required = vec![requirement("a", approvers, 1)];
        let terms = ApprovalTerms { required, ..terms() };
        assert_eq!(fits(&terms, &principal("alice"), who), *wanted, "{approvers:?} {who:?}");
    }
}

#[test]
fn the_same_id_at_another_issuer_is_still_the_requester() {
    let mut other = approver("alice", &[], &["finance"]);
    other.issuer = "https://elsewhere".into();
    assert_eq!(fits(&terms(), &principal("alice"), &other), Err(Misfit::Requester));
}

#[test]
fn excluded_groups_and_roles_may_not_vote() {
    let mut terms = terms();
    terms.required[0].not.push("role:intern".into());
    let alice = principal("alice");
    assert_eq!(fits(&terms, &alice, &approver("bob", &[], &["finance"])), Ok(vec![0]));
    let intern = approver("bob", &["intern"], &["finance"]);
    assert_eq!(fits(&terms, &alice, &intern), Err(Misfit::Stranger));
}

#[test]
fn a_requirement_without_requester_in_not_lets_the_requester_vote() {
    let mut terms = terms();
    terms.required[0].not.clear();
    let alice = approver("alice", &[], &["finance"]);
    assert_eq!(fits(&terms, &principal("alice"), &alice), Ok(vec![0]));
}

type Change = fn(&mut ApprovalTerms);

#[test]
fn terms_that_cannot_be_carried_out_are_refused() {
    let changes: [(Change, TermsError); 11] = [
        (|it| it.required.clear(), TermsError::Empty),
        (|it| it.required[0].quorum = 0, TermsError::Quorum("large.transfer".into())),
        (|it| it.required[0].quorum = u64::MAX, TermsError::TooMany),
        (|it| it.required = vec![it.required[0].clone(); 17], TermsError::TooMany),
        (|it| it.required[0].approvers.clear(), TermsError::Nobody("large.transfer".into())),
        (|it| it.required[0].approvers = vec!["anyone".into()], word("anyone")),
        (|it| it.required[0].approvers.push("team:x".into()), word("team:x")),
        (|it| it.required[0].approvers.push("group:".into()), word("group:")),
        (|it| it.required[0].not.push("owner".into()), word("owner")),
        (|it| it.ttl_s = 0, TermsError::Seconds),
        (|it| it.max_uses = 0, TermsError::Uses),
    ];
    assert_eq!(check(&terms()), Ok(()));
    for (change, wanted) in changes {
        let mut changed = terms();
        change(&mut changed);
        assert_eq!(check(&changed), Err(wanted));
    }
}

fn word(word: &str) -> TermsError {
    TermsError::Word { id: "large.transfer".into(), word: word.into() }
}
