//! Approvals: a call that policy holds waits here for people, at most as long as its terms say.
//!
//! What is here: the states ([`state`]), who may decide and how many are enough ([`quorum`]), what
//! an approval is bound to ([`digest`]), what an approver is shown ([`display`]), and the service
//! that joins them with the store, the clock and the journal ([`service`]).
//!
//! What is not here: whether a call needs approval and whether a person may use the admin API
//! (policy), the wording of refusals and the wire (`call`, `http`), sending the call (`call`).
//!
//! Order of record and effect (`docs/reference/approvals.md` has the reasons): `requested`,
//! `decided` and `expired` are durable in the journal before the change can be seen in the store;
//! `executed` is durable before [`service::Approvals::claim`] gives out the bytes.

pub mod digest;
pub mod display;
pub mod error;
pub mod model;
pub mod quorum;
pub mod records;
mod rooms;
mod rules;
pub mod service;
pub mod state;

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test that overflows fails")]
pub(crate) mod tests;
