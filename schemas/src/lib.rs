//! The words that cross a border: what is written to a wire, a disk or a policy.
//!
//! Each type here has a JSON Schema (`schemas/*.schema.json`) and a golden test that keeps the two
//! equal. What never leaves the process does not belong here. No I/O, no clock, no randomness.

pub mod digest;
pub mod finding;
pub mod ids;
pub mod policy;
pub mod record;
pub mod refusal;
pub mod verdict;

#[cfg(test)]
mod tests;
