//! The HTTP edge: listeners, limits that need no principal, and translation to and from `mcp::front`.
//!
//! The only place that knows axum. Every error becomes an answer in one table
//! (`mcp::refusal` for MCP, `problem` for the admin API).

pub mod admin;
pub mod guard;
pub mod mcp;
pub mod problem;
pub mod server;
pub mod sse;
pub mod wellknown;
