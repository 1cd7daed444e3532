//! The one source of identifiers and of random bytes.

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use forge_schemas::ids::{ApprovalId, CallId, SessionId};

/// The operating system's random source failed: nothing can be decided safely any more.
#[derive(Debug, thiserror::Error)]
#[error("the operating system gave no random bytes")]
pub struct RandomError;

/// Fills `N` bytes from the operating system.
///
/// # Errors
/// If the operating system has none to give.
pub fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_unspecified| RandomError)?;
    Ok(bytes)
}

/// A new call id.
#[must_use]
pub fn call() -> CallId {
    parsed("call", CallId::parse)
}

/// A new approval id. It names a request; knowing it gives no authority.
#[must_use]
pub fn approval() -> ApprovalId {
    parsed("ap", ApprovalId::parse)
}

/// A new evidence session id.
#[must_use]
pub fn session() -> SessionId {
    parsed("ses", SessionId::parse)
}

/// A new name for an evaluation: `ev_` and 32 hexadecimal digits.
#[must_use]
pub fn evaluation() -> String {
    written("ev")
}

fn written(prefix: &str) -> String {
    format!("{prefix}_{}", uuid::Uuid::now_v7().simple())
}

#[expect(
    clippy::expect_used,
    reason = "a prefix of letters and 32 hexadecimal digits always parses"
)]
fn parsed<T, E: std::fmt::Debug>(prefix: &str, parse: impl Fn(&str) -> Result<T, E>) -> T {
    parse(&written(prefix)).expect("written form of an id")
}
