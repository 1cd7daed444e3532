//! The harness: starts real programs and talks to them.
//!
//! A fixture server for the conformance suite, hostile and slow tool servers, an issuer of tokens,
//! raw and protocol-aware clients, and a wrapper around the real `forge-gateway` process. Nothing
//! here is part of the product, and nothing here looks inside the product: the gateway is a program
//! with a command line, two listeners and files.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::needless_pass_by_value,
    reason = "a harness: what goes wrong here is a failed test"
)]

pub mod bench;
pub mod client;
pub mod fixture;
pub mod gateway;
pub mod http;
pub mod issuer;
pub mod process;
pub mod toy;
