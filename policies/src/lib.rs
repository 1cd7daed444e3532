//! Rego behind one type: bundles in, decisions out (contract §3, `docs/reference/policy.md`).
//!
//! A decision is a pure function of the bundle and the input: no clock, no randomness, no network,
//! no files. Whoever embeds this crate reads the files, passes the time in the input, runs
//! [`check`] in a child process before [`PolicySet::load`], and carries the decision out.
//!
//! ```text
//! Bundle::new(sources) ── check (child process) ── PolicySet::load ── decide / visible
//! ```

mod answer;
mod bundle;
pub mod check;
mod embedded;
mod engine;
mod grants;
mod layout;
mod merge;
mod scan;
mod set;
mod suite;
mod syntax;
#[cfg(test)]
mod tests;
mod unit;

pub use answer::{ID_BYTES_MAX, ITEMS_MAX, MESSAGE_CHARS_MAX, QUORUM_MAX, TTL_S_MAX, USES_MAX};
pub use bundle::{Bundle, BundleError, Source};
pub use check::{CheckReport, CheckRequest, CheckResponse, Fault, check, check_json};
pub use embedded::{allow_all, starter};
pub use engine::Covered;
pub use merge::{DEFAULT_DENY, POLICY_ERROR, UNKNOWN_OBLIGATION};
pub use scan::{BUNDLE_BYTES_MAX, COLUMNS_MAX, DEPTH_MAX, FILE_BYTES_MAX, FILES_MAX, LINES_MAX};
pub use set::{Limits, LoadError, PolicySet};
pub use suite::{TestError, TestOutcome, TestResult, coverage, test};
