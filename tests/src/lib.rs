//! The harness: starts real programs and talks to them.
