//! The `Authorization` header: exactly one value, scheme `Bearer` (RFC 6750 §2.1, RFC 9110 §11.6.2).
//!
//! Tokens in the query string or in a form are never looked at (RFC 6750 §2.2 and §2.3 are not
//! implemented; MCP forbids the query).

use forge_schemas::refusal::RefusalCode;
use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::principal::AuthError;

/// The one `Authorization` value of a request, if there is one.
///
/// # Errors
/// If there is more than one, or it is not visible ASCII.
pub fn authorization(headers: &HeaderMap) -> Result<Option<&str>, AuthError> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(AuthError::invalid("more than one Authorization header"));
    }
    first
        .map(|value| value.to_str())
        .transpose()
        .map_err(|_not_ascii| AuthError::invalid("the Authorization header is not visible ASCII"))
}

/// The token of a `Bearer` credential: `b64token`, at most [`TOKEN_BYTES_MAX`].
///
/// # Errors
/// `auth.missing_token` if there is no credential or it has another scheme (RFC 6750 §3.1),
/// `auth.invalid_token` if the credential is malformed or too long.
pub fn bearer(authorization: Option<&str>) -> Result<&str, AuthError> {
    let missing = |detail| AuthError::new(RefusalCode::AuthMissing, detail);
    let text = authorization.ok_or_else(|| missing("no Authorization header"))?;
    if text.is_empty() {
        return Err(missing("an empty Authorization header"));
    }
    let (scheme, rest) = text.split_once(' ').unwrap_or((text, ""));
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(missing("the Authorization scheme is not Bearer"));
    }
    // credentials = auth-scheme [ 1*SP token68 ]
    let token = rest.trim_start_matches(' ');
    if token.len() > TOKEN_BYTES_MAX {
        return Err(AuthError::invalid(format!("the token has {} bytes", token.len())));
    }
    let body = token.trim_end_matches('=');
    if body.is_empty() || !body.bytes().all(is_token68) {
        return Err(AuthError::invalid("the Bearer credential is not one b64token"));
    }
    Ok(token)
}

const fn is_token68(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'+' | b'/')
}

/// Longest token that is looked at.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;
