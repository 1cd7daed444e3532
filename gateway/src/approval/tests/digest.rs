//! What the approval digest is over.

use serde_json::Value;

use super::fixture::{World, new_approval, over_every_store, requirement};
use crate::approval::digest::{canonical, digest, join_key};
use crate::approval::model::Approval;

over_every_store!(
    digest_is_over_the_canonical_form_of_what_the_contract_names,
    every_bound_member_changes_the_digest,
);

async fn digest_is_over_the_canonical_form_of_what_the_contract_names(world: World) {
    let mut new = new_approval("älice\u{1}\"", r#"{"x":1}"#);
    new.terms.required.insert(0, requirement("z.rule", &["role:cfo"], 1));
    let approval = world.approvals.request(new).await.unwrap().approval;
    let bytes = canonical(&approval).unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    // A parse into a sorted map and back is RFC 8785 for strings and small integers.
    assert_eq!(serde_json::to_vec(&value).unwrap(), bytes);
    let members: Vec<&String> = value.as_object().unwrap().keys().collect();
    assert_eq!(
        members,
        [
            "agent",
            "approval",
            "arguments_digest",
            "expires_at",
            "policy_revision",
            "requirements",
            "schema_digest",
            "server",
            "subject",
            "tenant",
            "tool"
        ]
    );
    assert_eq!(value["requirements"], serde_json::json!(["large.transfer", "z.rule"]));
    assert_eq!(forge_schemas::digest::Digest::of(&bytes), approval.digest);
}

async fn every_bound_member_changes_the_digest(world: World) {
    let approval = world.asked().await;
    let changes: [fn(&mut Approval); 12] = [
        |it| it.agent = "other".into(),
        |it| it.id = crate::ids::approval(),
        |it| it.arguments_digest = forge_schemas::digest::Digest::of(b"other"),
        |it| it.expires_at += 1,
        |it| it.policy_revision = "acme@2".into(),
        |it| it.terms.required[0].id = "other".into(),
        |it| it.schema_digest = "sha256:def".into(),
        |it| it.server = "other".into(),
        |it| it.subject.id = "mallory".into(),
        |it| it.subject.issuer = "https://other".into(),
        |it| it.tenant = forge_schemas::ids::Tenant::parse("other").unwrap(),
        |it| it.tool = "other".into(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut other = approval.clone();
        change(&mut other);
        assert_ne!(digest(&other).unwrap(), approval.digest, "change {number}");
    }
}

#[test]
fn numbers_that_only_look_alike_do_not_join() {
    let key = |arguments| join_key(&new_approval("alice", arguments)).unwrap();
    assert_eq!(key(r#"{"x":1}"#), key(r#"{"x":1}"#));
    for other in [r#"{"x":1.0}"#, r#"{"x": 1}"#, r#"{"x":1e0}"#, r#"{"y":1}"#] {
        assert_ne!(key(r#"{"x":1}"#), key(other), "{other}");
    }
    assert_ne!(key(r#"{"x":9007199254740993}"#), key(r#"{"x":9007199254740992}"#));
}
