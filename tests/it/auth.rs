//! Who gets in: tokens of a real provider, tokens of our own issuer, and tokens that were forged,
//! stretched or meant for somebody else.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forge_tests::client::Modern;
use forge_tests::gateway::{Gateway, Setup, eventually};
use forge_tests::http::{Answer, send};
use forge_tests::issuer::{Issuer, Key, now_s};
use forge_tests::process::{Folder, Process, node};
use http::Method;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::line::lines;

const AUDIENCE: &str = "https://gateway.example/mcp";

fn trusting(issuer: &str) -> Setup {
    Setup {
        auth: format!(
            "mode = \"jwt\"\n\n[[auth.issuers]]\nissuer = \"{issuer}\"\naudience = [\"{AUDIENCE}\"]\n\
             algorithms = [\"ES256\"]\n\
             claims = {{ tenant = \"/org\", roles = \"/roles\", groups = \"/groups\" }}"
        ),
        ..Setup::default()
    }
}

async fn gateway(issuer: &str) -> (Gateway, Folder) {
    let ledger = Folder::new("ledger").unwrap();
    let setup = trusting(issuer).with_toy(&ledger.join("ledger")).unwrap();
    (Gateway::start(&setup).await.unwrap(), ledger)
}

async fn append(gateway: &Gateway, token: &str) -> Answer {
    let client = Modern::new(&gateway.url("toy"), Some(token));
    let body = client.body("tools/call", json!({"name": "append", "arguments": {"text": "in"}}));
    client.post(&client.headers(&body), &body.to_string()).await.unwrap()
}

async fn provider() -> (Process, Folder) {
    let folder = Folder::new("provider").unwrap();
    let home = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(node().unwrap());
    command.arg(home.join("upstreams/oidc-provider.mjs")).arg("--modules").arg(home.join(".node"));
    let provider = Process::start(command, &folder.join("stderr.log")).await.unwrap();
    (provider, folder)
}

/// Asks the provider for an access token; without a resource it is an opaque one.
async fn obtain(provider: &Process, client: &str, resource: Option<&str>) -> String {
    let secret = provider.ready["clients"][client].as_str().unwrap();
    let mut form = format!(
        "grant_type=client_credentials&scope=tools%3Acall&client_id={client}&client_secret={secret}"
    );
    if let Some(resource) = resource {
        let escaped = resource.replace(':', "%3A").replace('/', "%2F");
        form.push_str(&format!("&resource={escaped}"));
    }
    let url = provider.ready["token_endpoint"].as_str().unwrap();
    let headers = [("content-type", "application/x-www-form-urlencoded")];
    let answer = send(Method::POST, url, &headers, form).await.unwrap().json().unwrap();
    answer["access_token"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[tokio::test]
async fn tokens_of_a_real_provider_open_and_go_on_to_after_its_keys_rotated() {
    let (mut provider, _folder) = provider().await;
    let (gateway, ledger) = gateway(provider.ready["issuer"].as_str().unwrap()).await;
    let token = obtain(&provider, "desk", Some(AUDIENCE)).await;
    let answer = append(&gateway, &token).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(lines(&ledger), ["in"]);

    for (client, resource) in
        [("desk", None), ("desk", Some("https://elsewhere.example/mcp")), ("stray", Some(AUDIENCE))]
    {
        let token = obtain(&provider, client, resource).await;
        let answer = append(&gateway, &token).await;
        assert_eq!(answer.status, 401, "{client} {resource:?}: {}", answer.text());
    }
    assert_eq!(provider.ask("rotate").await.unwrap()["event"], "rotated");
    let token = obtain(&provider, "desk", Some(AUDIENCE)).await;
    eventually("the new keys", || async {
        Ok((append(&gateway, &token).await.status == 200).then_some(()))
    })
    .await
    .unwrap();
}

/// Replaces members of the claims; `null` takes one away.
fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    claims
}

/// A token with any header: signed if there is a key, else with the signature given.
fn forge(header: &Value, claims: &Value, signature: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", part(header), part(claims))
}

/// HS256 under the text of the issuer's public key: the oldest trick.
fn hmac_with_public_key(issuer: &Issuer, claims: &Value) -> String {
    let mut header = Header::new(Algorithm::HS256);
    header.kid = Some(issuer.key.id.clone());
    header.typ = Some("at+jwt".to_owned());
    let public = issuer.key.jwk().to_string();
    encode(&header, claims, &EncodingKey::from_secret(public.as_bytes())).unwrap()
}

fn attacks(issuer: &Issuer, other: &Issuer) -> Vec<(&'static str, String)> {
    let now = now_s();
    let good = issuer.claims("mallory", AUDIENCE);
    let sign = |changes: Value| issuer.key.sign(&with(good.clone(), changes));
    let header = json!({"alg": "ES256", "typ": "at+jwt", "kid": issuer.key.id});
    let signed = issuer.key.sign(&good);
    let pieces: Vec<&str> = signed.split('.').collect();
    let headed = |changes: Value| {
        // The signature belongs to another header.
        forge(&with(header.clone(), changes), &good, pieces[2])
    };
    let mut imposter = Key::fresh("first");
    imposter.id = issuer.key.id.clone();
    let mut unknown = Key::fresh("nobody-knows");
    unknown.id = "nobody-knows".to_owned();
    vec![
        ("alg none", forge(&json!({"alg": "none", "typ": "at+jwt"}), &good, "")),
        ("alg None", forge(&json!({"alg": "None", "typ": "at+jwt"}), &good, "")),
        ("no alg", forge(&json!({"typ": "at+jwt"}), &good, pieces[2])),
        ("HS256 under the public key", hmac_with_public_key(issuer, &good)),
        ("another algorithm named", headed(json!({"alg": "RS256"}))),
        ("no signature", format!("{}.{}.", pieces[0], pieces[1])),
        ("a signature of zeros", {
            let zeros = URL_SAFE_NO_PAD.encode([0_u8; 64]);
            format!("{}.{}.{zeros}", pieces[0], pieces[1])
        }),
        ("claims changed after signing", {
            let changed = with(good.clone(), json!({"roles": ["administrator"]}));
            forge(&header, &changed, pieces[2])
        }),
        ("another key under the same kid", imposter.sign(&good)),
        ("a kid that nobody knows", unknown.sign(&good)),
        ("a kid that is a path", headed(json!({"kid": "../../../etc/passwd"}))),
        ("a key inside the header", headed(json!({"jwk": imposter.jwk()}))),
        ("a jku", headed(json!({"jku": format!("{}/jwks", other.url)}))),
        ("crit", headed(json!({"crit": ["b64"], "b64": false}))),
        ("typ JWT", headed(json!({"typ": "JWT"}))),
        ("an ID token", sign(json!({"nonce": "n", "aud": "forge-tests", "at_hash": "x"}))),
        ("another audience", sign(json!({"aud": "https://elsewhere.example/mcp"}))),
        ("an audience that begins alike", sign(json!({"aud": format!("{AUDIENCE}.evil.example")}))),
        ("no audience", sign(json!({"aud": null}))),
        ("another issuer's token", other.token("mallory", AUDIENCE)),
        ("another issuer named", sign(json!({"iss": other.url}))),
        ("an issuer with a slash", sign(json!({"iss": format!("{}/", issuer.url)}))),
        ("no issuer", sign(json!({"iss": null}))),
        ("expired", sign(json!({"exp": now - 3600}))),
        ("no expiry", sign(json!({"exp": null}))),
        ("an expiry that is text", sign(json!({"exp": (now + 600).to_string()}))),
        ("not yet valid", sign(json!({"nbf": now + 3600}))),
        ("no subject", sign(json!({"sub": null}))),
        ("a subject that is a list", sign(json!({"sub": ["alice"]}))),
        ("two parts", format!("{}.{}", pieces[0], pieces[1])),
        ("four parts", format!("{signed}.x")),
        ("not base64", "a.b!.c".to_owned()),
        ("empty", String::new()),
        ("oversized", sign(json!({"padding": "x".repeat(40_000)}))),
    ]
}

#[tokio::test]
async fn forged_tokens_are_turned_away_and_good_ones_still_pass() {
    let issuer = Issuer::start().await.unwrap();
    let other = Issuer::start().await.unwrap();
    let (gateway, ledger) = gateway(&issuer.url).await;
    let attacks = attacks(&issuer, &other);
    assert!(attacks.len() >= 20);
    for (what, token) in attacks {
        let answer = append(&gateway, &token).await;
        // A header over the limit of the parser is refused before it is a token at all.
        let turned_away = matches!(answer.status.as_u16(), 401 | 431);
        assert!(turned_away, "{what}: {} {}", answer.status, answer.text());
        if answer.status == 401 {
            assert!(answer.header("www-authenticate").starts_with("Bearer"), "{what}");
        }
    }
    assert!(lines(&ledger).is_empty(), "a forged token reached the tool");
    let answer = append(&gateway, &issuer.token("alice", AUDIENCE)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let records = serde_json::to_string(&gateway.records_of("acme").await.unwrap()).unwrap();
    assert!(records.contains("alice") && !records.contains("eyJ"), "{records}");
}

#[tokio::test]
async fn keys_rotate_and_a_storm_of_unknown_keys_stays_outside() {
    let issuer = Issuer::start().await.unwrap();
    let (gateway, _ledger) = gateway(&issuer.url).await;
    let claims = issuer.claims("alice", AUDIENCE);
    assert_eq!(append(&gateway, &issuer.key.sign(&claims)).await.status, 200);
    let before = issuer.fetches();

    let stranger = Key::fresh("x");
    for number in 0..40 {
        let mut key = stranger.clone();
        key.id = format!("unknown-{number}");
        assert_eq!(append(&gateway, &key.sign(&claims)).await.status, 401);
    }
    let storm = issuer.fetches() - before;
    assert!(storm <= 3, "40 unknown keys made {storm} fetches");
    assert_eq!(append(&gateway, &issuer.key.sign(&claims)).await.status, 200);
}

#[tokio::test]
async fn a_stranger_learns_where_to_get_a_token() {
    let issuer = Issuer::start().await.unwrap();
    let (gateway, _ledger) = gateway(&issuer.url).await;
    let client = Modern::new(&gateway.url("toy"), None);
    let body = client.body("tools/list", json!({}));
    let answer = client.post(&client.headers(&body), &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 401);
    let challenge = answer.header("www-authenticate").to_owned();
    let (_, rest) = challenge.split_once("resource_metadata=\"").expect("RFC 9728 §5.1");
    let (url, _) = rest.split_once('"').unwrap();
    let path = url.splitn(4, '/').nth(3).unwrap();
    let base = gateway.mcp().trim_end_matches("/mcp").to_owned();
    let metadata = send(Method::GET, &format!("{base}/{path}"), &[], "").await.unwrap();
    assert_eq!(metadata.status, 200, "{path}: {}", metadata.text());
    let metadata = metadata.json().unwrap();
    assert_eq!(metadata["authorization_servers"], json!([issuer.url]), "{metadata}");
    assert!(metadata["resource"].is_string(), "{metadata}");
}

#[tokio::test]
async fn a_token_in_the_query_is_no_token() {
    let issuer = Issuer::start().await.unwrap();
    let (gateway, ledger) = gateway(&issuer.url).await;
    let token = issuer.token("alice", AUDIENCE);
    let url = format!("{}?access_token={token}", gateway.url("toy"));
    let client = Modern::new(&url, None);
    let body = client.body("tools/call", json!({"name": "append", "arguments": {"text": "in"}}));
    let answer = client.post(&client.headers(&body), &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(lines(&ledger).is_empty());
}
