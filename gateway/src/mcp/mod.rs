//! The Model Context Protocol as the gateway reads it: bytes, a strict envelope, two eras.
//!
//! Typed models never stand between client and tool: they lose fields and turn malformed calls
//! into something else (`docs/explanation/architecture.md`). rmcp is used for the bundled demo
//! server and the demo's client only.

pub mod catalog;
pub mod demo_client;
pub mod demo_server;
pub mod envelope;
pub mod front;
pub mod headers;
pub mod refusal;
pub mod session;
pub mod strict;

#[cfg(test)]
mod tests;
