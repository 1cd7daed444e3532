//! Tests of approvals, over every implementation of the store.

mod crash;
mod digest;
mod display;
pub(crate) mod fixture;
mod quorum;
mod races;
mod reference;
mod refusals;
mod service;
mod state;
