//! A tool server that is a child process (MCP `basic/transports`, stdio), made to look like one
//! behind Streamable HTTP.
//!
//! Legacy: a session is a process of its own, started by `initialize`. Modern: one process serves
//! the requests of one principal. Which era a program speaks is asked once of each process, with
//! `server/discover`: any error that is not one of the modern era's own, or silence, means legacy
//! (MCP 2026-07-28 `basic/versioning`). A modern request to a legacy program gets the 400 that makes
//! a dual-era client fall back to `initialize`.

mod child;
mod era;
mod lines;
mod process;
mod routes;
mod server;

#[cfg(test)]
mod tests;

pub(super) use child::PipeEvents;
pub(super) use era::discover;
pub(super) use server::{StdioServer, last};
