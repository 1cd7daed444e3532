//! Claims that were checked become a [`Principal`], by the issuer's map.
//!
//! A claim of the wrong type is never skipped: what policy would then not see could be what it
//! denies by.

use forge_schemas::ids::Tenant;
use serde_json::{Map, Value};

use super::principal::{AuthError, Principal, quoted};
use super::settings::Issuer;

/// The principal that the claims describe.
pub(super) fn principal(
    claims: &Map<String, Value>,
    issuer: &Issuer,
    audience: String,
    expires_at_ms: i64,
) -> Result<Principal, AuthError> {
    let map = &issuer.claims;
    let id = match at(claims, &map.subject) {
        Some(Value::String(id)) if fits_name(id) => id.clone(),
        Some(_) => return Err(AuthError::claims("the subject is not a name")),
        None => return Err(AuthError::claims("the token has no subject")),
    };
    let agent = match text(claims, "client_id")? {
        Some(client) => client,
        None => text(claims, "azp")?.unwrap_or_default(),
    };
    if !agent.is_empty() && !fits_name(&agent) {
        return Err(AuthError::invalid("the client is not a name"));
    }
    let act = match claims.get("act") {
        None => None,
        Some(Value::Object(act)) => Some(Value::Object(act.clone())),
        Some(_) => return Err(AuthError::invalid("act is not an object")),
    };
    Ok(Principal {
        id,
        issuer: issuer.issuer.clone(),
        kind: kind(claims, &agent),
        tenant: tenant(claims, issuer)?,
        roles: names(claims, map.roles.as_deref())?,
        groups: names(claims, map.groups.as_deref())?,
        scope: scope(claims)?,
        audience,
        acr: text(claims, "acr")?.unwrap_or_default(),
        amr: strings(claims.get("amr")).map_err(|()| AuthError::invalid("amr is malformed"))?,
        agent,
        act,
        expires_at_ms: Some(expires_at_ms),
    })
}

/// The value at a JSON pointer (RFC 6901); null counts as absent. Array indexes are not followed.
pub(super) fn at<'v>(claims: &'v Map<String, Value>, pointer: &str) -> Option<&'v Value> {
    let mut segments = pointer.strip_prefix('/')?.split('/');
    let key = |segment: &str| segment.replace("~1", "/").replace("~0", "~");
    let mut value = claims.get(&key(segments.next()?))?;
    for segment in segments {
        value = value.as_object()?.get(&key(segment))?;
    }
    Some(value).filter(|value| !value.is_null())
}

/// RFC 9068 §2.2 and §5: where no person is involved `sub` identifies the client.
fn kind(claims: &Map<String, Value>, agent: &str) -> String {
    let says = |name: &str, word: &str| claims.get(name).and_then(Value::as_str) == Some(word);
    let service = (!agent.is_empty() && says("sub", agent))
        || says("gty", "client-credentials")
        || says("idtyp", "app");
    if service { "service".to_owned() } else { "user".to_owned() }
}

fn tenant(claims: &Map<String, Value>, issuer: &Issuer) -> Result<Tenant, AuthError> {
    let map = &issuer.claims;
    match map.tenant.as_deref().and_then(|pointer| at(claims, pointer)) {
        Some(Value::String(name)) => Tenant::parse(name).map_err(|_not_a_tenant| {
            AuthError::claims(format!("the tenant {} is not a tenant name", quoted(name)))
        }),
        Some(_) => Err(AuthError::claims("the tenant is not a string")),
        None => map
            .default_tenant
            .clone()
            .ok_or_else(|| AuthError::claims("the token names no tenant and there is no default")),
    }
}

fn names(claims: &Map<String, Value>, pointer: Option<&str>) -> Result<Vec<String>, AuthError> {
    let Some(pointer) = pointer else { return Ok(Vec::new()) };
    strings(at(claims, pointer))
        .map_err(|()| AuthError::claims(format!("{pointer} is not an array of strings")))
}

/// RFC 8693 §4.2 has one string with spaces; some issuers send an array, some name it `scp`.
fn scope(claims: &Map<String, Value>) -> Result<Vec<String>, AuthError> {
    match claims.get("scope").or_else(|| claims.get("scp")) {
        Some(Value::String(text)) => {
            Ok(text.split(' ').filter(|word| !word.is_empty()).map(str::to_owned).collect())
        }
        other => strings(other).map_err(|()| AuthError::invalid("scope is malformed")),
    }
}

/// An array of strings, or one string; absent is empty.
fn strings(value: Option<&Value>) -> Result<Vec<String>, ()> {
    match value {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => {
            many.iter().map(|one| one.as_str().map(str::to_owned).ok_or(())).collect()
        }
        Some(Value::Bool(_) | Value::Number(_) | Value::Object(_)) => Err(()),
    }
}

fn text(claims: &Map<String, Value>, name: &str) -> Result<Option<String>, AuthError> {
    match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
            Err(AuthError::invalid(format!("{name} is not a string")))
        }
    }
}

/// A name can be shown, logged and compared: not empty, not long, no control characters.
fn fits_name(name: &str) -> bool {
    (1..=NAME_BYTES_MAX).contains(&name.len()) && !name.chars().any(char::is_control)
}

/// Longest subject or client.
const NAME_BYTES_MAX: usize = 256;
