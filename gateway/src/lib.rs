//! FORGE MCP Gateway: everything that does I/O.
//!
//! The line that a call follows is `call`; the rooms around it are in `docs/explanation/architecture.md`.

pub mod admin;
pub mod approval;
pub mod auth;
pub mod call;
pub mod cli;
pub mod clock;
pub mod config;
pub mod control;
pub mod http;
pub mod ids;
pub mod journal;
pub mod keys;
pub mod mcp;
pub mod serve;
pub mod state;
pub mod store;
pub mod telemetry;
pub mod upstream;
