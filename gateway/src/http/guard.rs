//! Host and Origin (MCP 2026-07-28 and 2025-11-25 transports, DNS rebinding).
//!
//! A browser page that rebinds its name to a loopback address still sends its own name as `Host`
//! and `Origin`; so only configured names pass. Requests without `Origin` are not from a page.

use axum::http::HeaderMap;
use axum::http::header::{HOST, ORIGIN};

/// Names and origins that may be used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed {
    /// Host names, lowercase, without port.
    pub hosts: Vec<String>,
    /// Origins, as browsers send them.
    pub origins: Vec<String>,
}

/// True if the request may go on.
#[must_use]
pub fn passes(headers: &HeaderMap, allowed: &Allowed) -> bool {
    let one = |name| {
        let mut values = headers.get_all(name).iter();
        let first = values.next().map(|value| value.to_str().unwrap_or("\0"));
        if values.next().is_some() { Some("\0") } else { first }
    };
    let host_fits = one(HOST).is_some_and(|host| {
        let name = host_name(host).to_ascii_lowercase();
        allowed.hosts.contains(&name)
    });
    let origin_fits = one(ORIGIN).is_none_or(|origin| {
        let same = origin.split_once("://").is_some_and(|(scheme, authority)| {
            let name = host_name(authority).to_ascii_lowercase();
            matches!(scheme, "http" | "https")
                && LOOPBACK.contains(&name.as_str())
                && allowed.hosts.contains(&name)
        });
        same || allowed.origins.iter().any(|known| known == origin)
    });
    host_fits && origin_fits
}

/// `name` of `name:port` and `[::1]:port`.
fn host_name(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split_once(']').map_or("\0", |(name, _)| name);
    }
    host.rsplit_once(':').map_or(host, |(name, port)| {
        if port.bytes().all(|byte| byte.is_ascii_digit()) { name } else { host }
    })
}

/// Names of this machine for itself.
pub const LOOPBACK: [&str; 3] = ["localhost", "127.0.0.1", "::1"];
