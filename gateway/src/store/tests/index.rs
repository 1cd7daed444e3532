//! The index of the journal.

use forge_schemas::digest::Digest;
use forge_schemas::ids::{CallId, Tenant};
use forge_schemas::policy::Effect;
use forge_schemas::record::{Outcome, Record};
use forge_schemas::refusal::RefusalCode;
use serde_json::json;

use crate::approval::tests::fixture::{World, over_every_store, tenant};
use crate::store::{CallCursor, CallFilter, Gap};

over_every_store!(
    a_call_is_its_decision_and_its_outcome_in_either_order,
    indexing_again_changes_nothing,
    one_batch_gives_the_same_rows_as_one_record_at_a_time,
    gaps_are_named_and_closed_by_what_was_missing,
    calls_are_filtered,
    calls_are_paged_without_loss_or_repetition,
    tenants_see_only_their_own_calls,
    the_index_can_be_thrown_away_and_built_anew,
);

/// A decision of tenant acme.
pub(crate) fn decision(seq: u64, call: &str) -> Record {
    decided("acme", seq, call, "allow")
}

fn decided(tenant: &str, seq: u64, call: &str, effect: &str) -> Record {
    let digest = Digest::of(b"x");
    let refusal = if effect == "deny" { json!("policy.denied") } else { json!(null) };
    let leaf = json!({
        "kind": "decision", "at": 1000 + seq, "bundle": digest, "call": call,
        "client": {"agent": "claude", "name": "Claude", "protocol": "p", "transport": "http", "version": "1"},
        "config": digest, "definition": null, "effect": effect, "evaluation": "ev_1",
        "findings": [{"confidence": "confirmed", "count": 2, "entity": "E", "kind": "pii", "rule": "r"},
                     {"confidence": "confirmed", "count": 1, "entity": "F", "kind": "pii", "rule": "s"}],
        "forwarded": null, "input": digest, "log": "l", "method": "tools/call", "mode": "enforce",
        "principal": {"id": format!("user-{}", seq % 2), "issuer": "https://idp", "kind": "user"},
        "reasons": [{"file": "a.rego", "id": "x", "layer": "org", "line": 3}],
        "received": digest, "refusal": refusal, "revision": "r@1", "rules": digest, "seq": seq,
        "server": "bank", "session": "ses_1", "session_prev": null, "session_seq": null, "slot": seq,
        "tenant": tenant, "tool": "transfer", "v": 1});
    Record::parse(&serde_json::to_vec(&leaf).unwrap()).unwrap()
}

/// An outcome of tenant acme.
pub(crate) fn outcome(seq: u64, call: &str) -> Record {
    let leaf = json!({
        "kind": "outcome", "approval": "ap_1", "at": 2000 + seq, "call": call, "events": 0,
        "findings": [{"confidence": "confirmed", "count": 4, "entity": "E", "kind": "pii", "rule": "r"}],
        "log": "l", "outcome": "failed", "received": null, "refusal": "upstream.lost",
        "returned": null, "seq": seq, "session": "ses_1", "session_prev": null,
        "session_seq": null, "slot": 9, "tenant": "acme",
        "timings": {"hold_us": 1, "total_us": 2, "upstream_us": 3}, "v": 1});
    Record::parse(&serde_json::to_vec(&leaf).unwrap()).unwrap()
}

fn event(seq: u64) -> Record {
    let leaf = json!({
        "kind": "node.start", "actor": null, "at": 1, "call": null, "detail": {}, "log": "l",
        "seq": seq, "session": null, "session_prev": null, "session_seq": null, "tenant": "acme",
        "v": 1});
    Record::parse(&serde_json::to_vec(&leaf).unwrap()).unwrap()
}

async fn a_call_is_its_decision_and_its_outcome_in_either_order(world: World) {
    let (first, second) = (CallId::parse("call_1").unwrap(), CallId::parse("call_2").unwrap());
    world.store.index(&[decision(0, "call_1"), outcome(1, "call_1")]).await.unwrap();
    world.store.index(&[outcome(3, "call_2")]).await.unwrap();
    let half = world.store.call(&tenant(), &second).await.unwrap().unwrap();
    assert_eq!((half.decision_seq, half.outcome_seq), (None, Some(3)));
    world.store.index(&[decision(2, "call_2")]).await.unwrap();
    let one = world.store.call(&tenant(), &first).await.unwrap().unwrap();
    assert_eq!(one.at, 1000);
    assert_eq!((one.decision_seq, one.outcome_seq), (Some(0), Some(1)));
    assert_eq!((one.effect, one.outcome), (Some(Effect::Allow), Some(Outcome::Failed)));
    assert_eq!(one.refusal, Some(RefusalCode::UpstreamLost));
    assert_eq!((one.request_findings, one.response_findings), (3, 4));
    assert_eq!(one.approval.as_ref().unwrap().as_str(), "ap_1");
    assert_eq!(one.session.as_ref().unwrap().as_str(), "ses_1");
    assert_eq!(one.timings.unwrap().upstream_us, 3);
    assert_eq!((one.reasons[0].id.as_str(), one.reasons[0].line), ("x", 3));
    assert_eq!(one.mode, "enforce");
    assert_eq!((one.agent.as_str(), one.client.as_str()), ("claude", "Claude"));
    let two = world.store.call(&tenant(), &second).await.unwrap().unwrap();
    assert_eq!((two.at, two.decision_seq, two.outcome_seq), (1002, Some(2), Some(3)));
    // What came out of order is indexed, and read once more after a restart.
    assert_eq!(world.store.indexed().await.unwrap(), [(tenant(), 2)]);
}

async fn one_batch_gives_the_same_rows_as_one_record_at_a_time(world: World) {
    let records: Vec<Record> = (0..20)
        .map(|seq| {
            let call = format!("call_{}", seq / 2);
            if seq % 2 == 0 { decision(seq, &call) } else { outcome(seq, &call) }
        })
        .collect();
    let mut rows = Vec::new();
    for size in [1, 2, 3, 20] {
        world.store.clear_index().await.unwrap();
        for batch in records.chunks(size) {
            assert_eq!(world.store.index(batch).await.unwrap(), []);
        }
        rows.push(world.store.calls(&CallFilter::of(tenant())).await.unwrap());
    }
    assert_eq!(rows[0].calls.len(), 10);
    assert!(rows.iter().all(|page| *page == rows[0]));
}

async fn indexing_again_changes_nothing(world: World) {
    let records = [decision(0, "call_1"), event(1), outcome(2, "call_1"), decision(3, "call_2")];
    assert_eq!(world.store.index(&records).await.unwrap(), []);
    let before = world.store.calls(&CallFilter::of(tenant())).await.unwrap();
    for _ in 0..2 {
        assert_eq!(world.store.index(&records).await.unwrap(), []);
        assert_eq!(world.store.index(&records[1..3]).await.unwrap(), []);
    }
    assert_eq!(world.store.calls(&CallFilter::of(tenant())).await.unwrap(), before);
    assert_eq!(world.store.indexed().await.unwrap(), [(tenant(), 3)]);
}

async fn gaps_are_named_and_closed_by_what_was_missing(world: World) {
    assert_eq!(world.store.index(&[]).await.unwrap(), []);
    assert_eq!(world.store.index(&[event(0)]).await.unwrap(), []);
    let gap = |from, to| vec![Gap { tenant: tenant(), from, to }];
    assert_eq!(world.store.index(&[event(3), event(4)]).await.unwrap(), gap(1, 3));
    assert_eq!(world.store.indexed().await.unwrap(), [(tenant(), 0)]);
    assert_eq!(world.store.index(&[event(5), event(1)]).await.unwrap(), gap(2, 5));
    let rest: Vec<Record> = (2..6).map(event).collect();
    assert_eq!(world.store.index(&rest).await.unwrap(), []);
    assert_eq!(world.store.indexed().await.unwrap(), [(tenant(), 5)]);
}

async fn calls_are_filtered(world: World) {
    let records = [
        decided("acme", 0, "call_0", "allow"),
        decided("acme", 1, "call_1", "deny"),
        decided("acme", 2, "call_2", "require_approval"),
        outcome(3, "call_2"),
    ];
    world.store.index(&records).await.unwrap();
    let all = CallFilter::of(tenant());
    let filters = [
        (all.clone(), "call_2 call_1 call_0"),
        (CallFilter { principal: Some("user-1".into()), ..all.clone() }, "call_1"),
        (CallFilter { server: Some("bank".into()), ..all.clone() }, "call_2 call_1 call_0"),
        (CallFilter { server: Some("other".into()), ..all.clone() }, ""),
        (CallFilter { tool: Some("transfer' OR 1=1 --".into()), ..all.clone() }, ""),
        (CallFilter { effect: Some(Effect::Deny), ..all.clone() }, "call_1"),
        (CallFilter { effect: Some(Effect::RequireApproval), ..all.clone() }, "call_2"),
        (CallFilter { outcome: Some(Outcome::Failed), ..all.clone() }, "call_2"),
        (CallFilter { outcome: Some(Outcome::Unknown), ..all.clone() }, ""),
        (CallFilter { since: Some(1001), ..all.clone() }, "call_2 call_1"),
        (CallFilter { until: Some(1001), ..all.clone() }, "call_0"),
        (CallFilter { limit: 0, ..all.clone() }, ""),
    ];
    for (filter, wanted) in filters {
        let page = world.store.calls(&filter).await.unwrap();
        let ids: Vec<&str> = page.calls.iter().map(|row| row.call.as_str()).collect();
        assert_eq!(ids.join(" "), wanted, "{filter:?}");
    }
}

async fn calls_are_paged_without_loss_or_repetition(world: World) {
    let records: Vec<Record> = (0..25).map(|seq| decision(seq, &format!("call_{seq}"))).collect();
    world.store.index(&records).await.unwrap();
    let mut filter = CallFilter { limit: 10, ..CallFilter::of(tenant()) };
    let mut seen = Vec::new();
    loop {
        let page = world.store.calls(&filter).await.unwrap();
        seen.extend(page.calls.into_iter().map(|row| row.decision_seq.unwrap()));
        let Some(next) = page.next else { break };
        filter.cursor = CallCursor::parse(&next.to_string());
        assert_eq!(filter.cursor, Some(next));
    }
    assert_eq!(seen, (0..25).rev().collect::<Vec<_>>());
    for text in ["", "1", "x.call_1", "1.", "1.a b"] {
        assert_eq!(CallCursor::parse(text), None, "{text:?}");
    }
}

async fn tenants_see_only_their_own_calls(world: World) {
    let records = [decided("acme", 0, "call_1", "allow"), decided("other", 0, "call_1", "deny")];
    assert_eq!(world.store.index(&records).await.unwrap(), []);
    let other = Tenant::parse("other").unwrap();
    for (tenant, effect) in [(tenant(), Effect::Allow), (other.clone(), Effect::Deny)] {
        let page = world.store.calls(&CallFilter::of(tenant)).await.unwrap();
        assert_eq!(page.calls.iter().map(|row| row.effect).collect::<Vec<_>>(), [Some(effect)]);
    }
    let nobody = Tenant::parse("nobody").unwrap();
    assert_eq!(world.store.call(&nobody, &CallId::parse("call_1").unwrap()).await.unwrap(), None);
    assert_eq!(world.store.indexed().await.unwrap(), [(tenant(), 0), (other, 0)]);
}

async fn the_index_can_be_thrown_away_and_built_anew(world: World) {
    let records = [decision(0, "call_1"), outcome(1, "call_1")];
    world.store.index(&records).await.unwrap();
    let before = world.store.calls(&CallFilter::of(tenant())).await.unwrap();
    let asked = world.asked().await;
    world.store.clear_index().await.unwrap();
    assert!(world.store.calls(&CallFilter::of(tenant())).await.unwrap().calls.is_empty());
    assert_eq!(world.store.indexed().await.unwrap(), []);
    assert_eq!(world.store.approval(&asked.id).await.unwrap(), Some(asked));
    world.store.index(&records).await.unwrap();
    assert_eq!(world.store.calls(&CallFilter::of(tenant())).await.unwrap(), before);
}
