//! Key sets: what is read, and how they are fetched, kept, rotated and given up, against a real
//! server.

use std::sync::Arc;
use std::time::Duration;

use forge_schemas::refusal::RefusalCode;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::forge::*;
use super::server::{JWKS, OAUTH, OIDC, Page, Server};
use crate::auth::{
    Authenticator, Issuer, JwtSettings, KeySet, KeySetError, KeySource, Settings, SetupError,
    Timing,
};

fn skipped(key: Value) -> bool {
    let set = key_set(&json!({"keys": [key, ec_jwk(&KEYS.p256, "p256")]}));
    (set.len(), set.skipped()) == (1, 1)
}

#[test]
fn keys_that_cannot_be_trusted_are_skipped() {
    let rsa = rsa_jwk(&KEYS.rsa, "rsa");
    let ec = ec_jwk(&KEYS.p256, "other");
    let n = base64::Engine::decode(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD,
        rsa["n"].as_str().unwrap(),
    );
    let n = n.unwrap();
    let zeros = b64([vec![0; 16], n.clone()].concat());
    for (name, key) in [
        ("1024 bits", with(rsa.clone(), json!({"n": b64(&n[..128])}))),
        ("2047 bits", with(rsa.clone(), json!({"n": b64([&[0x7f], &n[1..]].concat())}))),
        ("1024 bits behind zeros", with(rsa.clone(), json!({"n": zeros}))),
        ("even modulus", with(rsa.clone(), json!({"n": b64([&n[..255], &[2]].concat())}))),
        ("huge modulus", with(rsa.clone(), json!({"n": b64([0xff; 2000])}))),
        ("exponent 1", with(rsa.clone(), json!({"e": "AQ"}))),
        ("exponent 3", with(rsa.clone(), json!({"e": "Aw"}))),
        ("even exponent", with(rsa.clone(), json!({"e": "AQAC"}))),
        ("no modulus", with(rsa.clone(), json!({"n": null}))),
        ("private", with(rsa.clone(), json!({"d": "AQAB"}))),
        ("padded", with(rsa, json!({"e": "AQAB="}))),
        ("symmetric", json!({"kty": "oct", "kid": "p256", "k": "c2VjcmV0"})),
        ("unknown type", json!({"kty": "AKP", "kid": "x"})),
        ("no type", json!({"kid": "x"})),
        ("for encryption", with(ec.clone(), json!({"use": "enc"}))),
        ("not for verification", with(ec.clone(), json!({"key_ops": ["sign"]}))),
        ("HMAC", with(ec.clone(), json!({"alg": "HS256"}))),
        ("alg of another kind", with(ec.clone(), json!({"alg": "RS256"}))),
        ("not on the curve", with(ec.clone(), json!({"y": ec["x"]}))),
        ("the point at infinity", with(ec.clone(), json!({"x": b64([0; 32]), "y": b64([0; 32])}))),
        ("short coordinate", with(ec.clone(), json!({"x": b64([1; 31])}))),
        ("curve of another size", with(ec.clone(), json!({"crv": "P-384"}))),
        ("secp256k1", with(ec.clone(), json!({"crv": "secp256k1"}))),
        ("X25519", with(ed_jwk(&KEYS.ed25519, "x"), json!({"crv": "X25519"}))),
        ("short Ed25519", with(ed_jwk(&KEYS.ed25519, "x"), json!({"x": b64([1; 31])}))),
        ("kid of another type", with(ec.clone(), json!({"kid": 7}))),
        ("huge kid", with(ec.clone(), json!({"kid": "k".repeat(257)}))),
        ("not an object", json!("key")),
    ] {
        assert!(skipped(key), "{name} was not skipped");
    }
    assert!(!skipped(with(ec.clone(), json!({"use": null, "key_ops": ["verify"]}))));
    assert!(!skipped(with(ec, json!({"alg": "ES256", "x5c": ["ignored"]}))));
}

#[test]
fn two_keys_with_one_name_are_both_skipped() {
    let twice = |left: Value, right: Value| key_set(&json!({ "keys": [left, right] })).len();
    let (ours, other) = (ec_jwk(&KEYS.p256, "a"), ec_jwk(&KEYS.stranger, "a"));
    assert_eq!(twice(ours.clone(), other), 0);
    assert_eq!(twice(ours.clone(), ours.clone()), 1);
    assert_eq!(twice(ours, rsa_jwk(&KEYS.rsa, "a")), 2);
}

#[test]
fn a_document_that_is_no_key_set_is_refused_whole() {
    let read = |text: &str| KeySet::parse(text.as_bytes()).unwrap_err();
    assert!(matches!(read("<html>"), KeySetError::Json(_)));
    assert!(matches!(read(r#"{"keys":[],"keys":[]}"#), KeySetError::Json(_)));
    assert!(matches!(read("[]"), KeySetError::Json(_)));
    assert!(matches!(read("{}"), KeySetError::Shape));
    assert!(matches!(read(r#"{"keys":{}}"#), KeySetError::Shape));
    let many = json!({"keys": vec![json!({}); 101]}).to_string();
    assert!(matches!(read(&many), KeySetError::Count { found: 101 }));
}

#[test]
fn the_digest_follows_the_usable_keys_only() {
    let (a, b) = (ec_jwk(&KEYS.p256, "a"), ec_jwk(&KEYS.p256, "b"));
    let digest = |keys: Value| key_set(&json!({ "keys": keys })).digest();
    assert_eq!(digest(json!([a, {"kty": "oct"}])), digest(json!([a])));
    assert_eq!(digest(json!([a, b])), digest(json!([b, a])));
    assert_ne!(digest(json!([a])), digest(json!([b])));
}

/// An authenticator for the issuer that `server` plays.
struct Bench {
    server: Server,
    clock: Arc<TestClock>,
    auth: Arc<Authenticator>,
}

impl Bench {
    async fn new() -> Self {
        let server = Server::issuer(&jwks()).await;
        Self::on(server, |issuer| issuer, timing())
    }

    fn on(server: Server, change: impl Fn(Issuer) -> Issuer, timing: Timing) -> Self {
        let issuer = change(Issuer { issuer: server.url.clone(), ..issuer() });
        let clock = TestClock::new();
        let settings = JwtSettings { timing, ..JwtSettings::new(vec![issuer]) };
        let auth = Authenticator::new(Settings::Jwt(settings), clock.clone(), client()).unwrap();
        Self { server, clock, auth: Arc::new(auth) }
    }

    /// A token of the issuer by this key.
    fn token(&self, kid: &str, sub: &str) -> String {
        let exp = NOW_S + 1_000_000;
        let claims = with(claims(), json!({"iss": self.server.url, "sub": sub, "exp": exp}));
        es256(&header("ES256", kid), &claims)
    }

    async fn verify(&self, token: &str) -> Result<String, RefusalCode> {
        let credential = format!("Bearer {token}");
        let outcome = self.auth.verify(Some(&credential)).await;
        outcome.map(|principal| principal.id.clone()).map_err(|error| error.code)
    }
}

fn client() -> reqwest::ClientBuilder {
    // The first test wins; the others find it installed.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    reqwest::Client::builder().no_proxy()
}

fn timing() -> Timing {
    Timing { deadline: Duration::from_secs(20), ..Timing::default() }
}

#[tokio::test]
async fn a_token_is_verified_with_discovered_keys_and_remembered() {
    let bench = Bench::new().await;
    let token = bench.token("p256", "alice");
    for _ in 0..100 {
        assert_eq!(bench.verify(&token).await, Ok("alice".to_owned()));
    }
    assert_eq!((bench.server.count(OAUTH), bench.server.count(OIDC)), (1, 1));
    assert_eq!((bench.server.count(JWKS), bench.server.total()), (1, 3));
    assert_eq!(bench.auth.health(), [(bench.server.url.clone(), Ok(()))]);
}

#[tokio::test]
async fn the_well_known_places_are_tried_in_the_order_of_the_specification() {
    let with_path = |issuer: Issuer| Issuer { issuer: format!("{}/t/1", issuer.issuer), ..issuer };
    let server = Server::start().await;
    let bench = Bench::on(server, with_path, timing());
    let issuer = format!("{}/t/1", bench.server.url);
    let jwks_uri = format!("{}{JWKS}", bench.server.url);
    bench.server.put(JWKS, Page::json(&jwks()));
    let places = [format!("{OAUTH}/t/1"), format!("{OIDC}/t/1"), format!("/t/1{OIDC}")];
    let document = json!({"issuer": issuer, "jwks_uri": jwks_uri});
    bench.server.put(&places[2], Page::json(&document));
    let claims = with(claims(), json!({ "iss": issuer }));
    let token = es256(&header("ES256", "p256"), &claims);
    assert_eq!(bench.verify(&token).await, Ok("alice@example.com".to_owned()));
    assert_eq!(places.map(|place| bench.server.count(&place)), [1, 1, 1]);
}

#[tokio::test]
async fn configured_keys_need_no_discovery() {
    let server = Server::issuer(&jwks()).await;
    let at = format!("{}{JWKS}", server.url);
    let direct = |issuer| Issuer { keys: KeySource::Jwks(at.clone()), ..issuer };
    let bench = Bench::on(server, direct, timing());
    assert!(bench.verify(&bench.token("p256", "alice")).await.is_ok());
    assert_eq!(bench.server.total(), 1);
}

#[tokio::test]
async fn issuers_that_answer_wrongly_give_no_keys() {
    let wrong = |base: &str| {
        let jwks = format!("{base}{JWKS}");
        let to =
            |path| Page { status: 302, location: Some(format!("{base}{path}")), ..Page::text("") };
        let set = |page| vec![(JWKS, page)];
        let metadata = |document: Value| vec![(OIDC, Page::json(&document))];
        vec![
            (
                "another issuer",
                metadata(json!({"issuer": "https://evil.example", "jwks_uri": jwks})),
            ),
            ("a longer issuer", metadata(json!({"issuer": format!("{base}/"), "jwks_uri": jwks}))),
            ("no issuer", metadata(json!({ "jwks_uri": jwks }))),
            ("no jwks_uri", metadata(json!({ "issuer": base }))),
            ("keys over http", metadata(json!({"issuer": base, "jwks_uri": "http://192.0.2.1/"}))),
            ("keys in a file", metadata(json!({"issuer": base, "jwks_uri": "file:///etc/keys"}))),
            ("metadata elsewhere", vec![(OIDC, to("/moved-metadata"))]),
            ("metadata not JSON", vec![(OIDC, Page::text("<html>"))]),
            ("keys elsewhere", set(to("/moved-keys"))),
            ("keys failing", set(Page::status(500))),
            ("keys gone", set(Page::status(404))),
            ("keys empty", set(Page::text(""))),
            ("keys not JSON", set(Page::text("<html>"))),
            ("keys huge", set(Page::text(vec![b' '; 300 * 1024]))),
        ]
    };
    let names = wrong("").len();
    for case in 0..names {
        let bench = Bench::new().await;
        let (name, pages) = wrong(&bench.server.url).swap_remove(case);
        let base = bench.server.url.clone();
        let jwks_uri = format!("{base}{JWKS}");
        let metadata = json!({"issuer": base, "jwks_uri": jwks_uri});
        bench.server.put("/moved-metadata", Page::json(&metadata));
        bench.server.put("/moved-keys", Page::json(&jwks()));
        for (path, page) in pages {
            bench.server.put(path, page);
        }
        let outcome = bench.verify(&bench.token("p256", "alice")).await;
        assert_eq!(outcome, Err(RefusalCode::AuthUnavailable), "{name}");
        assert!(bench.auth.health()[0].1.is_err(), "{name}");
    }
}

#[tokio::test]
async fn an_issuer_without_usable_keys_is_unhealthy_and_lets_nobody_in() {
    let bench = Bench::new().await;
    bench.server.put(JWKS, Page::json(&json!({"keys": []})));
    let outcome = bench.verify(&bench.token("p256", "alice")).await;
    assert_eq!(outcome, Err(RefusalCode::AuthInvalid));
    assert!(bench.auth.health()[0].1.is_err());
}

#[tokio::test]
async fn many_callers_share_one_fetch() {
    // Without the pause between fetches only the sharing itself keeps them at one.
    let eager = Timing { refetch_min: Duration::ZERO, retry_min: Duration::ZERO, ..timing() };
    let server = Server::issuer(&jwks()).await;
    let bench = Arc::new(Bench::on(server, |issuer| issuer, eager));
    bench.server.close();
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..64 {
        let bench = Arc::clone(&bench);
        callers.spawn(async move {
            let token = bench.token("p256", &format!("user-{caller}"));
            bench.verify(&token).await
        });
    }
    bench.server.until_count(JWKS, 1).await;
    bench.server.open();
    while let Some(outcome) = callers.join_next().await {
        assert!(outcome.unwrap().is_ok());
    }
    assert_eq!(bench.server.count(JWKS), 1);
}

#[tokio::test]
async fn a_caller_that_goes_away_does_not_stop_the_fetch() {
    let bench = Arc::new(Bench::new().await);
    bench.server.close();
    let token = bench.token("p256", "alice");
    let caller = tokio::spawn({
        let (bench, token) = (Arc::clone(&bench), token.clone());
        async move { bench.verify(&token).await }
    });
    bench.server.until_count(JWKS, 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    bench.server.open();
    assert!(bench.verify(&token).await.is_ok());
    assert_eq!(bench.server.count(JWKS), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_and_the_old_one_no_longer_counts() {
    let bench = Bench::new().await;
    let old = bench.token("p256", "alice");
    assert!(bench.verify(&old).await.is_ok());
    let rotated = json!({"keys": [ec_jwk(&KEYS.p256, "next")]});
    bench.server.put(JWKS, Page::json(&rotated));
    // Too early to ask again.
    bench.clock.advance_s(9);
    let next = bench.token("next", "alice");
    assert_eq!(bench.verify(&next).await, Err(RefusalCode::AuthInvalid));
    assert_eq!(bench.server.count(JWKS), 1);
    bench.clock.advance_s(1);
    assert!(bench.verify(&next).await.is_ok());
    assert_eq!(bench.server.count(JWKS), 2);
    // The old token was remembered; its key is gone, so it has to prove itself again and cannot.
    assert_eq!(bench.verify(&old).await, Err(RefusalCode::AuthInvalid));
}

#[tokio::test]
async fn old_keys_are_not_used_while_new_ones_can_be_had() {
    let bench = Bench::new().await;
    let token = bench.token("p256", "alice");
    assert!(bench.verify(&token).await.is_ok());
    bench.server.put(JWKS, Page::json(&json!({"keys": [ec_jwk(&KEYS.p256, "next")]})));
    bench.clock.advance_s(601);
    assert_eq!(bench.verify(&token).await, Err(RefusalCode::AuthInvalid));
    assert_eq!(bench.server.count(JWKS), 2);
}

#[tokio::test]
async fn a_clock_that_is_put_back_does_not_stop_fetches() {
    let bench = Bench::new().await;
    assert!(bench.verify(&bench.token("p256", "alice")).await.is_ok());
    bench.server.put(JWKS, Page::json(&json!({"keys": [ec_jwk(&KEYS.p256, "next")]})));
    bench.clock.advance_s(-3600);
    let claims = with(claims(), json!({"iss": bench.server.url, "iat": 0}));
    let token = es256(&header("ES256", "next"), &claims);
    assert!(bench.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_token_that_cannot_pass_causes_no_fetch() {
    let bench = Bench::new().await;
    let claims = with(claims(), json!({"iss": bench.server.url})).to_string();
    for header in [header("HS256", "p256"), header("RS384", "p256"), json!({"alg": "ES256"})] {
        let token = raw(&header.to_string(), &claims);
        assert_eq!(bench.verify(&token).await, Err(RefusalCode::AuthInvalid));
    }
    let stranger = es256(&header("ES256", "p256"), &super::forge::claims());
    assert_eq!(bench.verify(&stranger).await, Err(RefusalCode::AuthIssuer));
    assert_eq!(bench.server.total(), 0);
}

#[tokio::test]
async fn a_storm_of_unknown_kids_is_not_a_storm_of_fetches() {
    let bench = Bench::new().await;
    assert!(bench.verify(&bench.token("p256", "alice")).await.is_ok());
    bench.clock.advance_s(60);
    for kid in 0..200 {
        let token = bench.token(&format!("kid-{kid}"), "mallory");
        assert_eq!(bench.verify(&token).await, Err(RefusalCode::AuthInvalid));
    }
    assert_eq!(bench.server.count(JWKS), 2);
    // Everybody else goes on from memory.
    assert!(bench.verify(&bench.token("p256", "bob")).await.is_ok());
    assert_eq!(bench.server.count(JWKS), 2);
}

#[tokio::test]
async fn keys_are_used_for_a_while_when_the_issuer_is_away_and_then_not() {
    let bench = Bench::new().await;
    let token = bench.token("p256", "alice");
    assert!(bench.verify(&token).await.is_ok());
    bench.server.put(OIDC, Page::status(503));
    bench.clock.advance_s(3599);
    assert!(bench.verify(&token).await.is_ok(), "remembered");
    assert!(bench.verify(&bench.token("p256", "bob")).await.is_ok(), "new");
    assert!(bench.auth.health()[0].1.is_ok());
    bench.clock.advance_s(2);
    assert_eq!(bench.verify(&token).await, Err(RefusalCode::AuthUnavailable));
    let error = bench.auth.health().swap_remove(0).1.unwrap_err();
    assert!(error.contains("503"), "{error}");
    // It is back, and after the pause between attempts everybody is let in again.
    let document =
        json!({"issuer": bench.server.url, "jwks_uri": format!("{}{JWKS}", bench.server.url)});
    bench.server.put(OIDC, Page::json(&document));
    bench.clock.advance_s(2);
    assert!(bench.verify(&token).await.is_ok());
}

#[tokio::test]
async fn a_dead_issuer_is_asked_once_per_pause() {
    let bench = Bench::new().await;
    bench.server.put(OIDC, Page::status(500));
    for _ in 0..50 {
        let token = bench.token("p256", "alice");
        assert_eq!(bench.verify(&token).await, Err(RefusalCode::AuthUnavailable));
    }
    assert_eq!(bench.server.count(OIDC), 1);
    bench.clock.advance_s(2);
    assert!(bench.verify(&bench.token("p256", "alice")).await.is_err());
    assert_eq!(bench.server.count(OIDC), 2);
}

#[tokio::test]
async fn an_issuer_that_never_answers_costs_one_deadline() {
    let server = Server::issuer(&jwks()).await;
    server.close();
    let short = Timing { deadline: Duration::from_millis(50), ..Timing::default() };
    let bench = Bench::on(server, |issuer| issuer, short);
    let outcome = bench.verify(&bench.token("p256", "alice")).await;
    assert_eq!(outcome, Err(RefusalCode::AuthUnavailable));
    let error = bench.auth.health().swap_remove(0).1.unwrap_err();
    assert!(error.contains("50 ms"), "{error}");
}

#[tokio::test]
async fn keys_are_fetched_before_anybody_waits_for_them() {
    let server = Server::issuer(&jwks()).await;
    let quick = Timing {
        max_age: Duration::from_millis(8),
        refetch_min: Duration::ZERO,
        ..Timing::default()
    };
    let bench = Bench::on(server, |issuer| issuer, quick);
    let stop = CancellationToken::new();
    let auth = Arc::clone(&bench.auth);
    let task = tokio::spawn({
        let stop = stop.clone();
        async move { auth.keep_fresh(stop).await }
    });
    bench.server.until_count(JWKS, 3).await;
    stop.cancel();
    task.await.unwrap();
    assert!(bench.auth.health()[0].1.is_ok());
}

#[tokio::test]
async fn a_remembered_token_still_expires() {
    let bench = Bench::new().await;
    let claims = with(claims(), json!({"iss": bench.server.url, "exp": NOW_S + 60}));
    let token = es256(&header("ES256", "p256"), &claims);
    assert!(bench.verify(&token).await.is_ok());
    bench.clock.advance_s(89);
    assert!(bench.verify(&token).await.is_ok());
    bench.clock.advance_s(1);
    assert_eq!(bench.verify(&token).await, Err(RefusalCode::AuthExpired));
}

#[tokio::test]
async fn settings_of_one_issuer_do_not_hold_for_another() {
    let (one, other) = (Server::issuer(&jwks()).await, Server::issuer(&jwks()).await);
    let trust = |server: &Server, audience: &str| Issuer {
        issuer: server.url.clone(),
        audience: vec![audience.to_owned()],
        ..issuer()
    };
    let issuers = vec![trust(&one, AUDIENCE), trust(&other, "https://other.example/mcp")];
    let settings = Settings::Jwt(JwtSettings::new(issuers));
    let auth = Authenticator::new(settings, TestClock::new(), client()).unwrap();
    for (server, code) in [(&one, None), (&other, Some(RefusalCode::AuthAudience))] {
        let claims = with(claims(), json!({"iss": server.url}));
        let credential = format!("Bearer {}", es256(&header("ES256", "p256"), &claims));
        let outcome = auth.verify(Some(&credential)).await;
        assert_eq!(outcome.err().map(|error| error.code), code);
    }
}

#[test]
fn settings_that_can_never_work_are_refused_at_the_start() {
    let start = |issuers: Vec<Issuer>| {
        let settings = Settings::Jwt(JwtSettings::new(issuers));
        Authenticator::new(settings, TestClock::new(), client()).err()
    };
    assert!(start(vec![issuer()]).is_none());
    assert!(matches!(start(Vec::new()), Some(SetupError::NoIssuer)));
    assert!(matches!(start(vec![issuer(), issuer()]), Some(SetupError::Twice { .. })));
    for name in ["idp", "http://idp.example", "https://idp.example#x", "https://idp.example?x", ""]
    {
        let wrong = start(vec![Issuer { issuer: name.to_owned(), ..issuer() }]);
        assert!(matches!(wrong, Some(SetupError::Endpoint { .. })), "{name}");
    }
    for at in ["http://idp.example/jwks", "http://127.0.0.1/jwks", "https://user@idp.example/jwks"]
    {
        let wrong = start(vec![Issuer { keys: KeySource::Jwks(at.to_owned()), ..issuer() }]);
        assert!(matches!(wrong, Some(SetupError::Endpoint { .. })), "{at}");
    }
    let mut no_tenant = issuer();
    no_tenant.claims.default_tenant = None;
    let mut no_pointer = issuer();
    no_pointer.claims.roles = Some("roles".to_owned());
    for wrong in [
        Issuer { audience: Vec::new(), ..issuer() },
        Issuer { audience: vec!["https://gateway.example/#x".to_owned()], ..issuer() },
        Issuer { algorithms: Vec::new(), ..issuer() },
        Issuer { leeway_s: 301, ..issuer() },
        no_tenant,
        no_pointer,
    ] {
        assert!(matches!(start(vec![wrong]), Some(SetupError::Issuer { .. })));
    }
}

#[test]
fn the_memory_of_tokens_is_bounded() {
    use crate::auth::recent::{Recent, Verified};
    use forge_schemas::digest::Digest;
    let recent = Recent::new(10);
    let keys = Digest::of(b"keys");
    let principal = verified_principal();
    let name = |number: u32| Digest::of(&number.to_be_bytes());
    for number in 0..1000 {
        let principal = Arc::clone(&principal);
        let entry = Verified { principal, issuer: 0, keys, until_ms: 0 };
        recent.insert(name(number), entry);
        // What is used stays.
        assert!(recent.find(&name(0)).is_some());
        assert!(recent.len() <= 10);
    }
    let none = Recent::new(0);
    none.insert(name(0), Verified { principal, issuer: 0, keys, until_ms: 0 });
    assert_eq!(none.len(), 0);
}

fn verified_principal() -> Arc<crate::auth::Principal> {
    let verified = crate::auth::verify(&good(), &key_set(&jwks()), &issuer(), NOW_MS);
    Arc::new(verified.unwrap())
}
