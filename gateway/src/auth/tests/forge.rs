//! An issuer in a bottle: keys, a key set, and tokens whose every part can be spoiled.

use std::sync::{Arc, LazyLock};

use aws_lc_rs::encoding::{AsBigEndian, EcPublicKeyUncompressedBin};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::auth::{Algorithm, Issuer, KeySet};
use crate::clock::Clock;

pub(super) const ISSUER: &str = "https://idp.example";
pub(super) const AUDIENCE: &str = "https://gateway.example/mcp";
/// 2026-11-20T12:00:00Z.
pub(super) const NOW_S: i64 = 1_795_176_000;
pub(super) const NOW_MS: i64 = NOW_S * 1000;

/// A clock that stands still until it is put forward.
#[derive(Debug)]
pub(super) struct TestClock(std::sync::atomic::AtomicI64);

impl TestClock {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(NOW_MS.into()))
    }

    pub(super) fn advance_s(&self, seconds: i64) {
        self.0.fetch_add(seconds * 1000, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for TestClock {
    fn now_ms(&self) -> i64 {
        self.0.load(std::sync::atomic::Ordering::SeqCst)
    }
}

/// Private keys, drawn once for all tests.
pub(super) struct Keys {
    pub(super) p256: EcdsaKeyPair,
    pub(super) p384: EcdsaKeyPair,
    pub(super) rsa: RsaKeyPair,
    pub(super) ed25519: Ed25519KeyPair,
    /// Belongs to nobody we trust.
    pub(super) stranger: EcdsaKeyPair,
}

pub(super) static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    p256: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
    p384: EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).unwrap(),
    rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
    ed25519: Ed25519KeyPair::generate().unwrap(),
    stranger: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap(),
});

pub(super) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

pub(super) fn ec_jwk(key: &EcdsaKeyPair, kid: &str) -> Value {
    let public: EcPublicKeyUncompressedBin<'_> = key.public_key().as_be_bytes().unwrap();
    let point = &public.as_ref()[1..];
    let (x, y) = point.split_at(point.len() / 2);
    let crv = if x.len() == 32 { "P-256" } else { "P-384" };
    json!({"kty": "EC", "crv": crv, "kid": kid, "use": "sig", "x": b64(x), "y": b64(y)})
}

pub(super) fn rsa_jwk(key: &RsaKeyPair, kid: &str) -> Value {
    let parts: RsaPublicKeyComponents<Vec<u8>> = key.public_key().into();
    json!({"kty": "RSA", "kid": kid, "use": "sig", "n": b64(parts.n), "e": b64(parts.e)})
}

pub(super) fn ed_jwk(key: &Ed25519KeyPair, kid: &str) -> Value {
    let x = b64(key.public_key().as_ref());
    json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": x})
}

/// All keys of the issuer under their usual ids.
pub(super) fn jwks() -> Value {
    json!({"keys": [
        ec_jwk(&KEYS.p256, "p256"),
        ec_jwk(&KEYS.p384, "p384"),
        rsa_jwk(&KEYS.rsa, "rsa"),
        ed_jwk(&KEYS.ed25519, "ed25519"),
    ]})
}

pub(super) fn key_set(jwks: &Value) -> KeySet {
    KeySet::parse(jwks.to_string().as_bytes()).unwrap()
}

/// The issuer as it is configured in most tests.
pub(super) fn issuer() -> Issuer {
    Issuer {
        algorithms: ["ES256", "ES384", "RS256", "PS256", "EdDSA"]
            .map(|name| Algorithm::parse(name).unwrap())
            .to_vec(),
        ..Issuer::new(ISSUER, AUDIENCE)
    }
}

pub(super) fn header(alg: &str, kid: &str) -> Value {
    json!({"alg": alg, "kid": kid, "typ": "at+jwt"})
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "sub": "alice@example.com", "client_id": "desk",
        "iat": NOW_S - 60, "exp": NOW_S + 600, "jti": "1", "scope": "tools:read tools:call",
    })
}

/// `base` with the members of `change` put over it; null takes a member out.
pub(super) fn with(base: Value, change: Value) -> Value {
    let mut base = base;
    let map = base.as_object_mut().unwrap();
    for (name, value) in change.as_object().unwrap().clone() {
        if value.is_null() {
            map.remove(&name)
        } else {
            map.insert(name, value)
        };
    }
    base
}

/// A good token of P-256.
pub(super) fn good() -> String {
    es256(&header("ES256", "p256"), &claims())
}

/// A token with these parts, rightly signed with the issuer's P-256 key.
pub(super) fn es256(header: &Value, claims: &Value) -> String {
    raw(&header.to_string(), &claims.to_string())
}

/// The same from text, so that the JSON can be odd.
pub(super) fn raw(header: &str, claims: &str) -> String {
    signed(header.as_bytes(), claims.as_bytes(), ec(&KEYS.p256))
}

pub(super) fn signed(header: &[u8], claims: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let message = format!("{}.{}", b64(header), b64(claims));
    let signature = sign(message.as_bytes());
    format!("{message}.{}", b64(signature))
}

pub(super) fn ec(key: &EcdsaKeyPair) -> impl Fn(&[u8]) -> Vec<u8> {
    |message| key.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec()
}

pub(super) fn rsa(encoding: &'static dyn RsaEncoding) -> impl Fn(&[u8]) -> Vec<u8> {
    move |message| {
        let mut signature = vec![0; KEYS.rsa.public_modulus_len()];
        KEYS.rsa.sign(encoding, &SystemRandom::new(), message, &mut signature).unwrap();
        signature
    }
}

/// A good token for each algorithm name.
pub(super) fn good_with(alg: &str) -> String {
    let sign = |kid: &str, sign: &dyn Fn(&[u8]) -> Vec<u8>| {
        signed(header(alg, kid).to_string().as_bytes(), claims().to_string().as_bytes(), sign)
    };
    match alg {
        "ES256" => sign("p256", &ec(&KEYS.p256)),
        "ES384" => sign("p384", &ec(&KEYS.p384)),
        "RS256" => sign("rsa", &rsa(&RSA_PKCS1_SHA256)),
        "RS384" => sign("rsa", &rsa(&RSA_PKCS1_SHA384)),
        "PS256" => sign("rsa", &rsa(&RSA_PSS_SHA256)),
        "EdDSA" | "Ed25519" => {
            sign("ed25519", &|message| KEYS.ed25519.sign(message).as_ref().to_vec())
        }
        other => panic!("no key for {other}"),
    }
}
