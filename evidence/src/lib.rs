//! Evidence formats: canonical JSON, the Merkle log, signed notes, segment files, packs and their
//! verification.
//!
//! Everything here is a function of bytes: no files, no clock, no network, no randomness, no
//! private keys (`note::Signer` is implemented where keys are kept). The formats are written down
//! in `docs/reference/evidence-format.md`.

pub mod canonical;
pub mod merkle;
pub mod note;
pub mod pack;
pub mod segment;
#[cfg(test)]
mod testing;
pub mod verify;
