//! End-to-end tests: the real gateway, started as a process, between real clients and servers.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "what goes wrong here is a failed test"
)]

mod hold;
mod house;
mod line;
