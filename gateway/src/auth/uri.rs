//! Comparison of resource identifiers (RFC 8707 §2, MCP 2026-07-28 "Canonical Server URI").
//!
//! Equal are: the same text; and, for `http` and `https`, texts that differ only in the case of
//! scheme and host, in a default port that is written out, or in one slash at the end of the path.
//! Nothing is decoded and no dot segment is resolved, so a longer or trickier spelling is another
//! resource. A fragment or user information never matches.

/// Do both name the same resource?
pub(super) fn same_resource(left: &str, right: &str) -> bool {
    match (canonical(left), canonical(right)) {
        (Some(left), Some(right)) => left == right,
        (None, None) => left == right && !left.contains('#'),
        (Some(_), None) | (None, Some(_)) => false,
    }
}

/// The canonical form of an `http` or `https` URI, or `None` if it is none that may be compared.
pub(super) fn canonical(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "https" => ":443",
        "http" => ":80",
        _ => return None,
    };
    if !rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"#@\\\"<>^`{|}".contains(&byte)) {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    let authority = authority.to_ascii_lowercase();
    let authority = authority.strip_suffix(default_port).unwrap_or(&authority);
    if authority.is_empty() {
        return None;
    }
    let tail = if tail.contains('?') { tail } else { tail.strip_suffix('/').unwrap_or(tail) };
    Some(format!("{scheme}://{authority}{tail}"))
}

/// May keys be fetched from here: `https`, or `http` on loopback where `loopback` allows it?
pub(super) fn may_fetch(url: &reqwest::Url, loopback: bool) -> bool {
    let plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    plain && (url.scheme() == "https" || (loopback && url.scheme() == "http" && on_loopback(url)))
}

/// Is the host a loopback address, or the name `localhost`?
pub(super) fn on_loopback(url: &reqwest::Url) -> bool {
    let host = url.host_str().unwrap_or("");
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare == "localhost"
        || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}
