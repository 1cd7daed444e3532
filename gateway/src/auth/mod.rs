//! Who calls: a bearer credential becomes a [`Principal`], or the call ends here.
//!
//! Three ways in: JWT access tokens of configured issuers (RFC 9068, RFC 8725, MCP 2026-07-28
//! `basic/authorization`), opaque tokens of a local file for loopback use, and one fixed principal
//! for a loopback test profile. Every way ends in the same type. Deliberately not here: what a
//! principal may do (policy), the OAuth client towards upstreams, and any log line with a token.

mod algorithm;
mod authenticator;
pub mod challenge;
mod claims;
mod credential;
mod json;
mod jwks;
mod local;
mod principal;
mod recent;
mod settings;
mod token;
mod uri;
mod verify;

#[cfg(test)]
mod tests;

pub use algorithm::{Algorithm, AlgorithmError};
pub use authenticator::{Authenticator, SetupError};
pub use credential::{authorization, bearer};
pub use jwks::{EndpointError, Key, KeySet, KeySetError, Timing};
pub use local::{Grant, LocalError, LocalTokens, is_loopback};
pub use principal::{AuthError, Principal};
pub use settings::{ClaimMap, Issuer, JwtSettings, KeySource, Settings};
pub use verify::verify;
