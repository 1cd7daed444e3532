//! A JSON Web Key Set (RFC 7517), read once: only keys that can verify are kept.
//!
//! Skipped, because one odd key must not take the others with it (RFC 7517 §5): unknown types and
//! curves, symmetric keys, keys for encryption, weak RSA keys, malformed points, published private
//! keys, and every key whose id is claimed by two different keys of one kind.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ED25519, ParsedPublicKey,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use forge_schemas::digest::Digest;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};

use crate::auth::algorithm::{Algorithm, KeyKind};
use crate::auth::json;
use crate::auth::token::KID_BYTES_MAX;

/// The keys of one issuer at one time. Immutable.
#[derive(Clone, Debug)]
pub struct KeySet {
    keys: Vec<Key>,
    digest: Digest,
    skipped: usize,
}

/// One public key that can verify signatures.
#[derive(Clone, Debug)]
pub struct Key {
    kid: Option<String>,
    algorithm: Option<Algorithm>,
    kind: KeyKind,
    bytes: Vec<u8>,
    material: DecodingKey,
}

/// The document is not a key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// Not JSON, or a key of an object stands twice.
    #[error("the key set is not strict JSON")]
    Json(#[source] serde_json::Error),
    /// No array `keys`.
    #[error("the key set has no array \"keys\"")]
    Shape,
    /// More keys than are looked at.
    #[error("the key set has {found} keys, more than {KEYS_MAX}")]
    Count {
        /// How many there are.
        found: usize,
    },
}

/// What a lookup gives.
#[derive(Debug)]
pub(in crate::auth) enum Found<'k> {
    /// The key to verify with.
    Key(&'k Key),
    /// None: a newer key set may have it.
    Unknown,
    /// None, and a newer key set would not help.
    Refused(&'static str),
}

impl KeySet {
    /// Reads a key set.
    ///
    /// # Errors
    /// If the document as a whole is malformed. Single keys that cannot be used are skipped.
    pub fn parse(document: &[u8]) -> Result<Self, KeySetError> {
        let document = json::object(document).map_err(KeySetError::Json)?;
        let entries = document.get("keys").and_then(Value::as_array).ok_or(KeySetError::Shape)?;
        if entries.len() > KEYS_MAX {
            return Err(KeySetError::Count { found: entries.len() });
        }
        let read: Vec<Key> =
            entries.iter().filter_map(Value::as_object).filter_map(Key::read).collect();
        let keys = unambiguous(read);
        let skipped = entries.len().saturating_sub(keys.len());
        let digest = Digest::of(keys.iter().map(Key::fingerprint).collect::<String>().as_bytes());
        Ok(Self { keys, digest, skipped })
    }

    /// How many keys can be used.
    #[must_use]
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Is there no key that can be used?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many entries were left out.
    #[must_use]
    pub const fn skipped(&self) -> usize {
        self.skipped
    }

    /// Changes when and only when a usable key changes.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// The key for a token with this algorithm and this `kid`.
    pub(in crate::auth) fn find(&self, algorithm: Algorithm, kid: Option<&str>) -> Found<'_> {
        let Some(kid) = kid else {
            let mut fitting = self.keys.iter().filter(|key| key.fits(algorithm));
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Found::Key(only),
                (None, _) => Found::Unknown,
                (Some(_), Some(_)) => {
                    Found::Refused("the token has no kid and more than one key fits")
                }
            };
        };
        let mut named = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Found::Unknown;
        }
        match named.find(|key| key.fits(algorithm)) {
            Some(key) => Found::Key(key),
            None => Found::Refused("the key with the kid of the token is not for its algorithm"),
        }
    }
}

impl Key {
    /// May this key verify signatures of this algorithm? Type and curve have to be those of the
    /// algorithm, and an `alg` in the key has to be the same (RFC 8725 §3.1).
    pub(in crate::auth) fn fits(&self, algorithm: Algorithm) -> bool {
        self.kind == algorithm.key_kind() && self.algorithm.is_none_or(|own| own == algorithm)
    }

    pub(in crate::auth) const fn material(&self) -> &DecodingKey {
        &self.material
    }

    fn read(jwk: &Map<String, Value>) -> Option<Self> {
        let is_private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        if is_private.iter().any(|name| jwk.contains_key(*name)) || !may_verify(jwk) {
            return None;
        }
        let algorithm = match jwk.get("alg") {
            None => None,
            Some(name) => Some(Algorithm::parse(name.as_str()?).ok()?),
        };
        let kid = match jwk.get("kid") {
            None => None,
            Some(Value::String(kid)) if (1..=KID_BYTES_MAX).contains(&kid.len()) => {
                Some(kid.clone())
            }
            Some(_) => return None,
        };
        let (kind, bytes, material) = match (text(jwk, "kty")?, text(jwk, "crv")) {
            ("RSA", _) => rsa(jwk)?,
            ("EC", Some("P-256")) => point(jwk, KeyKind::P256, &ECDSA_P256_SHA256_FIXED, 32)?,
            ("EC", Some("P-384")) => point(jwk, KeyKind::P384, &ECDSA_P384_SHA384_FIXED, 48)?,
            ("OKP", Some("Ed25519")) => ed25519(jwk)?,
            _ => return None,
        };
        let fits = algorithm.is_none_or(|algorithm| algorithm.key_kind() == kind);
        fits.then_some(Self { kid, algorithm, kind, bytes, material })
    }

    fn fingerprint(&self) -> String {
        let bytes = Digest::of(&self.bytes);
        format!("{:?} {:?} {:?} {bytes}\n", self.kid, self.algorithm, self.kind)
    }
}

/// RFC 7517 §4.2 and §4.3: `use` and `key_ops` say what a key is for.
fn may_verify(jwk: &Map<String, Value>) -> bool {
    let by_use = jwk.get("use").is_none_or(|value| value == "sig");
    let by_operations = jwk.get("key_ops").is_none_or(|value| {
        value.as_array().is_some_and(|all| all.iter().any(|one| one == "verify"))
    });
    by_use && by_operations
}

type Material = (KeyKind, Vec<u8>, DecodingKey);

/// RFC 7518 §3.3: "A key of size 2048 bits or larger MUST be used". An exponent below 65537 is
/// weak by FIPS 186-5 §A.1.1, and 1 would accept every signature.
fn rsa(jwk: &Map<String, Value>) -> Option<Material> {
    let modulus = bytes(jwk, "n")?;
    let exponent = bytes(jwk, "e")?;
    let bits = bit_length(&modulus)?;
    let odd = |number: &[u8]| number.last().is_some_and(|byte| byte & 1 == 1);
    let large = (17..=33).contains(&bit_length(&exponent)?);
    if !(2048..=8192).contains(&bits) || !odd(&modulus) || !odd(&exponent) || !large {
        return None;
    }
    let material = DecodingKey::from_rsa_raw_components(&modulus, &exponent);
    let mut all = modulus;
    all.extend_from_slice(&exponent);
    Some((KeyKind::Rsa, all, material))
}

/// RFC 7518 §6.2.1: both coordinates have the length of the field, and the point is on the curve.
fn point(
    jwk: &Map<String, Value>,
    kind: KeyKind,
    algorithm: &'static dyn VerificationAlgorithm,
    field_bytes: usize,
) -> Option<Material> {
    let (x, y) = (bytes(jwk, "x")?, bytes(jwk, "y")?);
    if x.len() != field_bytes || y.len() != field_bytes {
        return None;
    }
    let mut encoded = vec![4];
    encoded.extend_from_slice(&x);
    encoded.extend_from_slice(&y);
    ParsedPublicKey::new(algorithm, &encoded).ok()?;
    let material = DecodingKey::from_ec_der(&encoded);
    Some((kind, encoded, material))
}

/// RFC 8037 §2.
fn ed25519(jwk: &Map<String, Value>) -> Option<Material> {
    let x = bytes(jwk, "x")?;
    if x.len() != 32 {
        return None;
    }
    ParsedPublicKey::new(&ED25519, &x).ok()?;
    let material = DecodingKey::from_ed_der(&x);
    Some((KeyKind::Ed25519, x, material))
}

/// Leaves out every key whose kid and kind are also those of another key: which of them a token
/// means could then depend on the order of the document. A key that is merely repeated stays once.
fn unambiguous(keys: Vec<Key>) -> Vec<Key> {
    let mut by_name: BTreeMap<(Option<String>, KeyKind), Vec<Key>> = BTreeMap::new();
    for key in keys {
        let same = by_name.entry((key.kid.clone(), key.kind)).or_default();
        if !same.iter().any(|seen| seen.bytes == key.bytes && seen.algorithm == key.algorithm) {
            same.push(key);
        }
    }
    by_name
        .into_iter()
        .filter(|((kid, _), same)| kid.is_none() || same.len() == 1)
        .flat_map(|(_, same)| same)
        .collect()
}

fn text<'v>(jwk: &'v Map<String, Value>, name: &str) -> Option<&'v str> {
    jwk.get(name).and_then(Value::as_str)
}

fn bytes(jwk: &Map<String, Value>, name: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text(jwk, name)?).ok()
}

/// Bits of a big-endian number; `None` if it is zero or begins with a zero byte.
fn bit_length(number: &[u8]) -> Option<usize> {
    let first = number.first().filter(|byte| **byte != 0)?;
    let unused = usize::try_from(first.leading_zeros()).ok()?;
    number.len().checked_mul(8)?.checked_sub(unused)
}

/// More keys than any issuer needs.
const KEYS_MAX: usize = 100;
