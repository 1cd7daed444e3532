//! Tests of the store: the index over every implementation, and what is SQLite's own.

mod index;
pub(crate) mod sqlite;
