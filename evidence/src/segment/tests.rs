//! Placeholder until the journal works.
