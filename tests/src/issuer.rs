//! An issuer of access tokens in this process: metadata, keys that rotate, and any token one asks
//! for, including forged ones.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use axum::Router;
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

/// Seconds since 1970.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "tokens for a real process carry the real time")]
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// One signing key (ES256).
#[derive(Clone)]
pub struct Key {
    /// `kid`.
    pub id: String,
    pkcs8: Vec<u8>,
    point: Vec<u8>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl Key {
    /// A fresh key.
    ///
    /// # Panics
    /// If the machine has no randomness.
    #[must_use]
    pub fn fresh(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).expect("a key");
        let pkcs8 = pair.to_pkcs8v1().expect("PKCS #8").as_ref().to_vec();
        Self { id: id.to_owned(), pkcs8, point: pair.public_key().as_ref().to_vec() }
    }

    /// The public half as RFC 7517 writes it.
    #[must_use]
    pub fn jwk(&self) -> Value {
        // SEC 1: 0x04, then both coordinates of 32 bytes.
        let coordinate = |range: std::ops::Range<usize>| URL_SAFE_NO_PAD.encode(&self.point[range]);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": self.id,
               "x": coordinate(1..33), "y": coordinate(33..65)})
    }

    /// Signs claims under this key.
    ///
    /// # Panics
    /// If the claims are no JSON object.
    #[must_use]
    pub fn sign(&self, claims: &Value) -> String {
        let mut header = Header::new(Algorithm::ES256);
        header.kid = Some(self.id.clone());
        header.typ = Some("at+jwt".to_owned());
        encode(&header, claims, &EncodingKey::from_ec_der(&self.pkcs8)).expect("a token")
    }
}

#[derive(Debug, Default)]
struct Published {
    keys: BTreeMap<String, Value>,
    fetches: u64,
}

fn json_body(value: &Value) -> ([(&'static str, &'static str); 1], String) {
    ([("content-type", "application/json")], value.to_string())
}

/// A running issuer.
#[derive(Debug)]
pub struct Issuer {
    /// `iss`.
    pub url: String,
    /// The key that signs now.
    pub key: Key,
    published: Arc<Mutex<Published>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Issuer {
    /// Starts on a free port of the loopback.
    ///
    /// # Errors
    /// If no port can be bound.
    pub async fn start() -> anyhow::Result<Self> {
        let key = Key::fresh("first");
        let published = Arc::new(Mutex::new(Published::default()));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let metadata = json!({"issuer": url, "jwks_uri": format!("{url}/jwks"),
            "authorization_endpoint": format!("{url}/authorize"),
            "token_endpoint": format!("{url}/token"),
            "response_types_supported": ["code"]});
        let keys = Arc::clone(&published);
        let document = move || {
            let metadata = metadata.clone();
            async move { json_body(&metadata) }
        };
        let jwks = move || {
            let keys = Arc::clone(&keys);
            async move {
                let mut keys = keys.lock().expect("no test panics while it holds this");
                keys.fetches += 1;
                json_body(&json!({"keys": keys.keys.values().collect::<Vec<_>>()}))
            }
        };
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(document.clone()))
            .route("/.well-known/oauth-authorization-server", get(document))
            .route("/jwks", get(jwks));
        let task = tokio::spawn(async move {
            // It ends with the test.
            drop(axum::serve(listener, router).await);
        });
        let issuer = Self { url, key: key.clone(), published, task };
        issuer.publish(&key);
        Ok(issuer)
    }

    fn published(&self) -> std::sync::MutexGuard<'_, Published> {
        self.published.lock().expect("no test panics while it holds this")
    }

    /// Adds a key to the published ones.
    pub fn publish(&self, key: &Key) {
        self.published().keys.insert(key.id.clone(), key.jwk());
    }

    /// Takes a key back.
    pub fn withdraw(&self, id: &str) {
        self.published().keys.remove(id);
    }

    /// How often the keys were fetched.
    #[must_use]
    pub fn fetches(&self) -> u64 {
        self.published().fetches
    }

    /// Claims of a good token for `audience`.
    #[must_use]
    pub fn claims(&self, subject: &str, audience: &str) -> Value {
        let now = now_s();
        json!({"iss": self.url, "sub": subject, "aud": audience, "iat": now, "exp": now + 600,
               "jti": uuid::Uuid::now_v7().to_string(), "client_id": "forge-tests",
               "scope": "mcp:tools", "org": "acme", "roles": ["developer"], "groups": []})
    }

    /// A good token.
    #[must_use]
    pub fn token(&self, subject: &str, audience: &str) -> String {
        self.key.sign(&self.claims(subject, audience))
    }
}
