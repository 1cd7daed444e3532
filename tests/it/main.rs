//! End-to-end tests: the real gateway, started as a process, between real clients and servers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "what goes wrong here is a failed test"
)]

mod auth;
mod bad_client;
mod bad_upstream;
mod crash;
mod demo;
mod harness;
mod hold;
mod house;
mod line;
mod stages;
mod start;
