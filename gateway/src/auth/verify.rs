//! A JWT access token against one issuer's keys and settings at one moment: pure.
//!
//! The order is that of `docs/reference/authentication.md`. Time, network and caches are elsewhere.

use forge_schemas::refusal::RefusalCode;
use serde_json::{Map, Value};

use super::claims;
use super::jwks::{Found, KeySet};
use super::principal::{AuthError, Principal, quoted};
use super::settings::Issuer;
use super::token::{Signed, Unverified};
use super::uri;

/// Verifies a token.
///
/// # Errors
/// The first check that fails, with its code.
pub fn verify(
    token: &str,
    keys: &KeySet,
    issuer: &Issuer,
    now_ms: i64,
) -> Result<Principal, AuthError> {
    check(Unverified::parse(token)?, keys, issuer, now_ms)
}

/// The same from a token that was taken apart to find out whose keys to get.
pub(super) fn check(
    token: Unverified<'_>,
    keys: &KeySet,
    issuer: &Issuer,
    now_ms: i64,
) -> Result<Principal, AuthError> {
    check_issuer(&token, issuer)?;
    check_header(&token, issuer)?;
    let key = match keys.find(token.algorithm(), token.kid()) {
        Found::Key(key) => key,
        Found::Unknown => return Err(unknown_key(&token)),
        Found::Refused(why) => return Err(AuthError::invalid(why)),
    };
    let signed = token.check_signature(key)?;
    check_claims(&signed, issuer, now_ms)
}

/// The refusal of a token whose key is not in the issuer's set.
fn unknown_key(token: &Unverified<'_>) -> AuthError {
    let kid = token.kid().map_or_else(|| "absent".to_owned(), quoted);
    AuthError::invalid(format!("no key of the issuer has the kid of the token ({kid})"))
}

/// RFC 9068 §4: "The issuer identifier for the authorization server [...] MUST exactly match the
/// value of the 'iss' claim."
fn check_issuer(token: &Unverified<'_>, issuer: &Issuer) -> Result<(), AuthError> {
    let named = token.issuer()?;
    if named == issuer.issuer { Ok(()) } else { Err(unknown_issuer(named)) }
}

pub(super) fn unknown_issuer(named: &str) -> AuthError {
    let detail = format!("the issuer {} is not configured", quoted(named));
    AuthError::new(RefusalCode::AuthIssuer, detail)
}

/// What the header says has to fit the issuer before any key is looked up.
pub(super) fn check_header(token: &Unverified<'_>, issuer: &Issuer) -> Result<(), AuthError> {
    token.check_typ(issuer.accept_typ_jwt)?;
    // RFC 8725 §3.1: "libraries MUST enable the caller to specify a supported set of algorithms
    // and MUST NOT use any other algorithms when performing cryptographic operations."
    if !issuer.algorithms.contains(&token.algorithm()) {
        let algorithm = token.algorithm();
        return Err(AuthError::invalid(format!("{algorithm:?} is not allowed for the issuer")));
    }
    Ok(())
}

/// Everything about the claims. Takes [`Signed`], so a signature has been checked.
fn check_claims(signed: &Signed, issuer: &Issuer, now_ms: i64) -> Result<Principal, AuthError> {
    let claims = signed.claims();
    let expires_at_ms = check_times(claims, issuer, now_ms)?;
    let audience = check_audience(claims, issuer)?;
    refuse_bound(claims)?;
    refuse_other_tokens(signed, &audience)?;
    for name in &issuer.required {
        let value = if name.starts_with('/') {
            claims::at(claims, name)
        } else {
            claims.get(name.as_str()).filter(|value| !value.is_null())
        };
        if value.is_none() {
            return Err(AuthError::claims(format!("the required claim {name} is missing")));
        }
    }
    claims::principal(claims, issuer, audience, expires_at_ms)
}

/// RFC 9068 §4: "The current time MUST be before the time represented by the 'exp' claim."
/// RFC 7519 §4.1.5: "the current date/time MUST be after or equal to the not-before date/time".
fn check_times(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    now_ms: i64,
) -> Result<i64, AuthError> {
    let leeway_ms = i64::from(issuer.leeway_s).saturating_mul(1000);
    let exp = date(claims, "exp")?.ok_or_else(|| AuthError::claims("the token has no exp"))?;
    if now_ms >= exp.saturating_add(leeway_ms) {
        let ago_s = now_ms.saturating_sub(exp) / 1000;
        let detail = format!("the token expired {ago_s} s ago");
        return Err(AuthError::new(RefusalCode::AuthExpired, detail));
    }
    for name in ["nbf", "iat"] {
        if let Some(at) = date(claims, name)?.filter(|at| *at > now_ms.saturating_add(leeway_ms)) {
            let in_s = at.saturating_sub(now_ms) / 1000;
            let detail = format!("{name} of the token is {in_s} s ahead");
            return Err(AuthError::new(RefusalCode::AuthNotYetValid, detail));
        }
    }
    Ok(exp)
}

/// A NumericDate (RFC 7519 §2) in milliseconds.
fn date(claims: &Map<String, Value>, name: &str) -> Result<Option<i64>, AuthError> {
    let Some(value) = claims.get(name) else { return Ok(None) };
    let whole = value.as_i64().or_else(|| {
        let seconds = value.as_f64()?.floor();
        // Text is the conversion that neither wraps nor saturates.
        format!("{seconds:.0}").parse().ok()
    });
    let seconds = whole.filter(|seconds| (0..=LAST_SECOND).contains(seconds));
    match seconds.and_then(|seconds: i64| seconds.checked_mul(1000)) {
        Some(ms) => Ok(Some(ms)),
        None => Err(AuthError::invalid(format!("{name} of the token is not a date"))),
    }
}

/// RFC 9068 §4: "The resource server MUST validate that the 'aud' claim contains a resource
/// indicator value corresponding to an identifier the resource server expects for itself."
fn check_audience(claims: &Map<String, Value>, issuer: &Issuer) -> Result<String, AuthError> {
    let named: Vec<&str> = match claims.get("aud") {
        None => return Err(AuthError::claims("the token has no aud")),
        Some(Value::String(one)) => vec![one],
        Some(Value::Array(many)) => many
            .iter()
            .map(|one| one.as_str().ok_or_else(|| AuthError::invalid("aud is not all strings")))
            .collect::<Result<_, _>>()?,
        Some(Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_)) => {
            return Err(AuthError::invalid("aud is neither a string nor an array"));
        }
    };
    let ours = |configured: &&String| named.iter().any(|aud| uri::same_resource(aud, configured));
    issuer.audience.iter().find(ours).cloned().ok_or_else(|| {
        let first = named.first().copied().unwrap_or("");
        let detail = format!("the audience {} is not this gateway", quoted(first));
        AuthError::new(RefusalCode::AuthAudience, detail)
    })
}

/// RFC 7800 §3.1: `cnf` binds the token to a key that the sender has to prove. We cannot check the
/// proof, so a bound token is not taken for an unbound one.
fn refuse_bound(claims: &Map<String, Value>) -> Result<(), AuthError> {
    if claims.contains_key("cnf") {
        return Err(AuthError::invalid("the token is bound to a key (cnf)"));
    }
    Ok(())
}

/// ID, refresh, logout and event tokens are signed by the same issuer with the same keys
/// (RFC 8725 §2.8, §3.12 "mutually exclusive validation rules for different kinds of JWTs").
fn refuse_other_tokens(signed: &Signed, audience: &str) -> Result<(), AuthError> {
    let claims = signed.claims();
    let foreign = ["nonce", "at_hash", "c_hash", "s_hash", "events"];
    if let Some(name) = foreign.into_iter().find(|name| claims.contains_key(*name)) {
        return Err(AuthError::invalid(format!("{name} does not belong in an access token")));
    }
    let says_other = |name: &str, access: &[&str]| match claims.get(name) {
        None => false,
        Some(Value::String(text)) => !access.iter().any(|word| text.eq_ignore_ascii_case(word)),
        Some(_) => true,
    };
    if says_other("token_use", &["access"]) || says_other("typ", &["bearer", "at+jwt"]) {
        return Err(AuthError::invalid("the token says that it is not an access token"));
    }
    // OpenID Connect Core §2: the audience of an ID token is the client.
    let names_client = |name: &&str| {
        let client = claims.get(*name).and_then(Value::as_str);
        client.is_some_and(|client| uri::same_resource(client, audience))
    };
    if !signed.is_access_token() && ["azp", "client_id"].iter().any(names_client) {
        return Err(AuthError::invalid("the audience is the client: this looks like an ID token"));
    }
    Ok(())
}

/// The last second of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;
