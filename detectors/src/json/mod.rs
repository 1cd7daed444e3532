//! JSON as bytes with places: a strict event reader (RFC 8259), strings with a map back to their
//! bytes, and the tree of places in one document.
//!
//! Deliberately not here: values. Numbers stay text, so that no digit of a 19-digit card is lost;
//! nothing is re-serialised, so that what is not redacted keeps its bytes.

pub(crate) mod lex;
pub(crate) mod tree;

/// The document cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not JSON, from this byte on.
    Syntax(usize),
    /// Nested more deeply than allowed.
    Depth,
}
