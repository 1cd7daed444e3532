//! Tests of authentication. `forge` makes issuers and tokens, good and bad; `server` is a real
//! loopback HTTP server for metadata and key sets.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::string_slice,
    clippy::needless_pass_by_value,
    reason = "a test that panics has failed, and cases read better as values"
)]

mod attacks;
mod challenge;
mod forge;
mod keys;
mod local;
mod principals;
mod server;
mod vectors;
