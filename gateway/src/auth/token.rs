//! A JWS in compact form (RFC 7515 §7.1), taken apart; and the proof that its signature holds.
//!
//! [`Unverified`] is what the caller wrote. [`Signed`] can only be made from it with a key under
//! which the signature holds, and is the only thing that the claim checks take. `jwk`, `jku`,
//! `x5u` and `x5c` in a header are never read: keys come from the issuer's key set alone.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::crypto::aws_lc;
use serde_json::{Map, Value};

use super::algorithm::Algorithm;
use super::credential::TOKEN_BYTES_MAX;
use super::json;
use super::jwks::Key;
use super::principal::{AuthError, quoted};

/// A well-formed token about which nothing is proven.
#[derive(Debug)]
pub(super) struct Unverified<'a> {
    signed: &'a str,
    signature: Vec<u8>,
    algorithm: Algorithm,
    kid: Option<String>,
    typ: Option<String>,
    claims: Map<String, Value>,
}

/// Claims whose signature holds under a key of the issuer. Nothing else about them is checked yet.
#[derive(Debug)]
pub(super) struct Signed {
    claims: Map<String, Value>,
    access_token: bool,
}

impl<'a> Unverified<'a> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, AuthError> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(AuthError::invalid(format!("the token has {} bytes", text.len())));
        }
        let parts: Vec<&str> = text.splitn(6, '.').collect();
        let [header, payload, signature] = *parts.as_slice() else {
            let found = parts.len();
            return Err(AuthError::invalid(format!("a JWS has three parts, this has {found}")));
        };
        let (signed, _) = text.rsplit_once('.').unwrap_or((text, ""));
        let header = read_object("header", header)?;
        refuse_extensions(&header)?;
        let claims = read_object("payload", payload)?;
        let signature = decode("signature", signature)?;
        let name =
            text_of(&header, "alg")?.ok_or_else(|| AuthError::invalid("the header has no alg"))?;
        let algorithm =
            Algorithm::parse(name).map_err(|error| AuthError::invalid(error.to_string()))?;
        let kid = text_of(&header, "kid")?.map(str::to_owned);
        if let Some(kid) = kid.as_ref().filter(|kid| kid.is_empty() || kid.len() > KID_BYTES_MAX) {
            return Err(AuthError::invalid(format!("the kid has {} bytes", kid.len())));
        }
        let typ = text_of(&header, "typ")?.map(str::to_owned);
        Ok(Self { signed, signature, algorithm, kid, typ, claims })
    }

    /// The issuer that the token names.
    pub(super) fn issuer(&self) -> Result<&str, AuthError> {
        match self.claims.get("iss") {
            Some(Value::String(issuer)) => Ok(issuer),
            Some(_) => Err(AuthError::invalid("iss is not a string")),
            None => Err(AuthError::claims("the token has no iss")),
        }
    }

    pub(super) const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// Is this an access token by its type, or may it be one?
    ///
    /// RFC 9068 §4: "The resource server MUST verify that the 'typ' header value is 'at+jwt' or
    /// 'application/at+jwt' and reject tokens carrying any other value."
    pub(super) fn check_typ(&self, accept_typ_jwt: bool) -> Result<(), AuthError> {
        if self.is_access_token() {
            return Ok(());
        }
        let plain = self.typ.as_deref().is_none_or(|typ| {
            typ.eq_ignore_ascii_case("JWT") || typ.eq_ignore_ascii_case("application/jwt")
        });
        if accept_typ_jwt && plain {
            return Ok(());
        }
        let typ = self.typ.as_deref().map_or_else(|| "absent".to_owned(), quoted);
        Err(AuthError::invalid(format!("typ is {typ}, not at+jwt")))
    }

    fn is_access_token(&self) -> bool {
        self.typ.as_deref().is_some_and(|typ| {
            typ.eq_ignore_ascii_case("at+jwt") || typ.eq_ignore_ascii_case("application/at+jwt")
        })
    }

    /// Checks the signature. The algorithm is that of the header, which the caller has compared
    /// with the issuer's list; the key fits it, or nothing is computed.
    pub(super) fn check_signature(self, key: &Key) -> Result<Signed, AuthError> {
        if !key.fits(self.algorithm) {
            return Err(AuthError::invalid("the key is not for the algorithm of the token"));
        }
        // The process-wide provider of `jsonwebtoken` panics if another crate of the build turns
        // its second provider on; this names ours.
        let factory = aws_lc::DEFAULT_PROVIDER.verifier_factory;
        let verifier = factory(&self.algorithm.library(), key.material())
            .map_err(|error| AuthError::invalid(format!("the key cannot be used: {error}")))?;
        verifier
            .verify(self.signed.as_bytes(), &self.signature)
            .map_err(|_mismatch| AuthError::invalid("the signature does not hold"))?;
        let access_token = self.is_access_token();
        Ok(Signed { claims: self.claims, access_token })
    }
}

impl Signed {
    pub(super) const fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Did `typ` say that this is an access token?
    pub(super) const fn is_access_token(&self) -> bool {
        self.access_token
    }
}

/// RFC 7515 §4.1.11: "If any of the listed extension Header Parameters are not understood and
/// supported by the recipient, then the JWS is invalid." None is supported here.
fn refuse_extensions(header: &Map<String, Value>) -> Result<(), AuthError> {
    for name in ["crit", "b64", "enc", "zip"] {
        if header.contains_key(name) {
            return Err(AuthError::invalid(format!("{name} in the header is not supported")));
        }
    }
    if text_of(header, "cty")?.is_some_and(|cty| !cty.eq_ignore_ascii_case("json")) {
        return Err(AuthError::invalid("nested tokens are not supported"));
    }
    Ok(())
}

fn read_object(part: &str, text: &str) -> Result<Map<String, Value>, AuthError> {
    let bytes = decode(part, text)?;
    // Only the kind of error: its text may quote the token.
    json::object(&bytes).map_err(|error| {
        AuthError::invalid(format!("the {part} is not strict JSON: {:?}", error.classify()))
    })
}

fn decode(part: &str, text: &str) -> Result<Vec<u8>, AuthError> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_not_base64url| AuthError::invalid(format!("the {part} is not base64url")))
}

fn text_of<'v>(header: &'v Map<String, Value>, name: &str) -> Result<Option<&'v str>, AuthError> {
    match header.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(_) => Err(AuthError::invalid(format!("{name} in the header is not a string"))),
    }
}

/// Longest `kid` that is compared.
pub(super) const KID_BYTES_MAX: usize = 256;
