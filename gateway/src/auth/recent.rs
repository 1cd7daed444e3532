//! Tokens that were verified a moment ago, by SHA-256: a repeated token costs a digest and a lookup.
//!
//! An entry counts only while the token is valid and while the issuer's keys are the very set that
//! verified it, so rotation and revocation of a key take effect as soon as they are known. Only
//! successes are kept. Bounded: two generations, of which the older is dropped when the younger is
//! full, so what is used stays.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use forge_schemas::digest::Digest;

use super::principal::Principal;

/// A verified token.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    pub(super) principal: Arc<Principal>,
    /// Position of the issuer in the settings.
    pub(super) issuer: usize,
    /// Digest of the key set that verified it.
    pub(super) keys: Digest,
    /// From this moment on it is expired, leeway included.
    pub(super) until_ms: i64,
}

/// The bounded memory.
#[derive(Debug)]
pub(super) struct Recent {
    generation_max: usize,
    generations: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<Digest, Verified>,
    old: HashMap<Digest, Verified>,
}

impl Recent {
    /// Remembers up to `tokens_max` tokens; 0 remembers none.
    pub(super) fn new(tokens_max: usize) -> Self {
        Self { generation_max: tokens_max / 2, generations: Mutex::default() }
    }

    /// What was found out about the token with this digest.
    pub(super) fn find(&self, token: &Digest) -> Option<Verified> {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = generations.young.get(token) {
            return Some(found.clone());
        }
        let found = generations.old.remove(token)?;
        generations.insert(*token, found.clone(), self.generation_max);
        Some(found)
    }

    pub(super) fn insert(&self, token: Digest, verified: Verified) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.insert(token, verified, self.generation_max);
    }

    pub(super) fn forget(&self, token: &Digest) {
        let mut generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.remove(token);
        generations.old.remove(token);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        let generations = self.generations.lock().unwrap_or_else(PoisonError::into_inner);
        generations.young.len().saturating_add(generations.old.len())
    }
}

impl Generations {
    fn insert(&mut self, token: Digest, verified: Verified, generation_max: usize) {
        if generation_max == 0 {
            return;
        }
        if self.young.len() >= generation_max && !self.young.contains_key(&token) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(token, verified);
    }
}
