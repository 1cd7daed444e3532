//! What a good token becomes, and how attributes are read from it.

use forge_schemas::ids::Tenant;
use forge_schemas::refusal::RefusalCode;
use serde_json::{Value, json};

use super::forge::*;
use crate::auth::{AuthError, ClaimMap, Issuer, Principal, verify};

fn mapped() -> Issuer {
    let claims = ClaimMap {
        tenant: Some("/org".to_owned()),
        default_tenant: None,
        roles: Some("/realm_access/roles".to_owned()),
        groups: Some("/https:~1~1example.com~1groups".to_owned()),
        ..ClaimMap::default()
    };
    Issuer { claims, ..issuer() }
}

fn read(issuer: &Issuer, change: Value) -> Result<Principal, AuthError> {
    let token = es256(&header("ES256", "p256"), &with(claims(), change));
    verify(&token, &key_set(&jwks()), issuer, NOW_MS)
}

#[test]
fn every_attribute_is_read_from_where_the_map_says() {
    let principal = read(
        &mapped(),
        json!({
            "org": "acme", "realm_access": {"roles": ["reader", "writer"]},
            "https://example.com/groups": ["finance"], "acr": "high", "amr": ["pwd", "otp"],
            "act": {"sub": "agent-7"},
        }),
    );
    let expected = Principal {
        id: "alice@example.com".to_owned(),
        issuer: ISSUER.to_owned(),
        kind: "user".to_owned(),
        tenant: Tenant::parse("acme").unwrap(),
        roles: vec!["reader".to_owned(), "writer".to_owned()],
        groups: vec!["finance".to_owned()],
        scope: vec!["tools:read".to_owned(), "tools:call".to_owned()],
        audience: AUDIENCE.to_owned(),
        acr: "high".to_owned(),
        amr: vec!["pwd".to_owned(), "otp".to_owned()],
        agent: "desk".to_owned(),
        act: Some(json!({"sub": "agent-7"})),
        expires_at_ms: Some((NOW_S + 600) * 1000),
    };
    assert_eq!(principal.unwrap(), expected);
}

#[test]
fn what_is_optional_may_be_absent() {
    let bare = json!({"org": "acme", "client_id": null, "scope": null, "iat": null, "jti": null});
    let principal = read(&mapped(), bare).unwrap();
    assert!(principal.roles.is_empty() && principal.groups.is_empty());
    assert!(principal.scope.is_empty() && principal.agent.is_empty());
    assert_eq!((principal.acr.as_str(), principal.act), ("", None));
}

#[test]
fn a_mapped_claim_of_the_wrong_type_is_refused() {
    for change in [
        json!({}),
        json!({"org": 7}),
        json!({"org": ["acme"]}),
        json!({"org": ""}),
        json!({"org": "../acme"}),
        json!({"org": "a".repeat(64)}),
        json!({"org": "acme", "realm_access": {"roles": {"admin": true}}}),
        json!({"org": "acme", "realm_access": {"roles": ["reader", 7]}}),
        json!({"org": "acme", "https://example.com/groups": 7}),
        json!({"org": "acme", "sub": null}),
        json!({"org": "acme", "sub": ""}),
        json!({"org": "acme", "sub": 7}),
        json!({"org": "acme", "sub": "a\u{0}b"}),
        json!({"org": "acme", "sub": "a\nb"}),
        json!({"org": "acme", "sub": "a".repeat(257)}),
    ] {
        let error = read(&mapped(), change.clone()).unwrap_err();
        assert_eq!(error.code, RefusalCode::AuthClaims, "{change}: {error}");
    }
}

#[test]
fn a_fixed_claim_of_the_wrong_type_is_refused() {
    for change in [
        json!({"act": "agent-7"}),
        json!({"act": ["agent-7"]}),
        json!({"client_id": 7}),
        json!({"client_id": "a\nb"}),
        json!({"scope": 7}),
        json!({"scope": [7]}),
        json!({"acr": 7}),
        json!({"amr": {"pwd": 1}}),
    ] {
        let error = read(&issuer(), change.clone()).unwrap_err();
        assert_eq!(error.code, RefusalCode::AuthInvalid, "{change}: {error}");
    }
}

#[test]
fn required_claims_have_to_be_there() {
    let required = vec!["jti".to_owned(), "/a/b".to_owned()];
    let strict = Issuer { required, ..issuer() };
    assert!(read(&strict, json!({"a": {"b": false}})).is_ok());
    for change in [
        json!({}),
        json!({"a": {}}),
        json!({"a": {"b": null}}),
        json!({"a": {"b": 1}, "jti": null}),
    ] {
        let error = read(&strict, change).unwrap_err();
        assert_eq!(error.code, RefusalCode::AuthClaims, "{error}");
    }
}

#[test]
fn the_tenant_has_a_default_where_one_is_configured() {
    let tenant = Tenant::parse("home").unwrap();
    let claims = ClaimMap { default_tenant: Some(tenant.clone()), ..mapped().claims };
    let with_default = Issuer { claims, ..issuer() };
    assert_eq!(read(&with_default, json!({})).unwrap().tenant, tenant);
    assert!(read(&with_default, json!({"org": 7})).is_err());
}

#[test]
fn scopes_and_agents_are_read_in_the_forms_that_issuers_use() {
    let scope = |change| read(&issuer(), change).unwrap().scope;
    assert_eq!(scope(json!({"scope": "a  b "})), ["a", "b"]);
    assert_eq!(scope(json!({"scope": ["a", "b c"]})), ["a", "b c"]);
    assert_eq!(scope(json!({"scope": null, "scp": ["a"]})), ["a"]);
    assert_eq!(scope(json!({"scope": null, "scp": "a b"})), ["a", "b"]);
    let agent = |change| read(&issuer(), change).unwrap().agent;
    assert_eq!(agent(json!({"client_id": null, "azp": "desk-2"})), "desk-2");
    assert_eq!(agent(json!({"azp": "desk-2"})), "desk");
}

#[test]
fn a_token_without_a_person_is_a_service() {
    let kind = |change| read(&issuer(), change).unwrap().kind;
    assert_eq!(kind(json!({})), "user");
    assert_eq!(kind(json!({"sub": "desk"})), "service");
    assert_eq!(kind(json!({"gty": "client-credentials"})), "service");
    assert_eq!(kind(json!({"idtyp": "app"})), "service");
    assert_eq!(kind(json!({"sub": "x", "client_id": null})), "user");
}
