//! The keys of issuers: what a key set is, how it is fetched, and how long it is believed.

mod fetch;
mod set;
mod source;

pub use fetch::EndpointError;
pub use set::{Key, KeySet, KeySetError};
pub use source::Timing;

pub(super) use fetch::Endpoints;
pub(super) use set::Found;
pub(super) use source::Source;
