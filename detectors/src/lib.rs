//! Secrets and personal data in text and JSON: finding them, and taking them out.
//!
//! [`Scanner::scan_json`] reads a document once into decoded strings, names and numbers, looks
//! through nested JSON, base64, hexadecimal, percent and backslash escapes, and reports spans as
//! contract §4 has them. [`Scanner::redact_json`] replaces exactly these spans.
//! [`Scanner::apply`] does what policy asks for.
//!
//! Everything is pure: no I/O, no clock, no randomness, no network verification of tokens. Every
//! cost has a limit ([`Limits`]), and a text over a limit is refused as a whole, never examined in
//! part. What is not found is listed in `docs/reference/detectors.md`.

mod apply;
mod assign;
mod check;
mod decode;
mod engine;
mod json;
mod limits;
mod map;
mod names;
mod normal;
mod pii;
mod redact;
mod rule;
mod scanner;
mod text;
mod walk;

#[cfg(test)]
mod tests;

pub use check::Check;
pub use limits::{Limits, ScanError};
pub use redact::{RedactError, marker};
pub use rule::{Description, Example, Rule, RuleError, Severity};
pub use scanner::{DigestKey, Scanner};
