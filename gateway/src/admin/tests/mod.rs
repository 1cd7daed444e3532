//! The admin listener of a real gateway, over HTTP.

mod access;
mod answers;
mod openapi;
mod votes;
mod world;
