//! Where each session's chain of records stands.

use std::collections::HashMap;

use forge_schemas::digest::Digest;
use forge_schemas::ids::{SessionId, Tenant};

/// Chains that are under way. A chain ends with `session.close`; a record of the session after that
/// begins a new one. When there are more than the limit, the journal closes the ones that were
/// idle longest with a `session.close` record of its own.
#[derive(Debug)]
pub(crate) struct Chains {
    most: usize,
    clock: u64,
    chains: HashMap<(Tenant, SessionId), Chain>,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    next: u64,
    last: Digest,
    touched: u64,
}

/// Where the next record of a session goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) seq: u64,
    pub(crate) prev: Option<Digest>,
}

impl Chains {
    pub(crate) fn new(most: usize) -> Self {
        Self { most, clock: 0, chains: HashMap::new() }
    }

    /// Where the next record of this session goes.
    pub(crate) fn next(&self, tenant: &Tenant, session: &SessionId) -> Link {
        let chain = self.chains.get(&(tenant.clone(), session.clone()));
        chain.map_or(Link { seq: 0, prev: None }, |chain| Link {
            seq: chain.next,
            prev: Some(chain.last),
        })
    }

    /// The record was placed at `seq` of its session; `closes` if it ends the chain.
    pub(crate) fn placed(
        &mut self,
        (tenant, session): (&Tenant, &SessionId),
        seq: u64,
        leaf: Digest,
        closes: bool,
    ) {
        let key = (tenant.clone(), session.clone());
        if closes {
            self.chains.remove(&key);
            return;
        }
        self.clock = self.clock.saturating_add(1);
        let chain = Chain { next: seq.saturating_add(1), last: leaf, touched: self.clock };
        self.chains.insert(key, chain);
    }

    /// The sessions to close so that there is room again: none below the limit, else those idle
    /// longest until a sixteenth is free.
    pub(crate) fn crowded_out(&self) -> Vec<(Tenant, SessionId)> {
        if self.chains.len() <= self.most {
            return Vec::new();
        }
        let keep = self.most.saturating_sub(self.most / 16);
        let mut idle: Vec<_> = self.chains.iter().collect();
        idle.sort_unstable_by_key(|(_, chain)| chain.touched);
        let surplus = idle.len().saturating_sub(keep);
        idle.into_iter().take(surplus).map(|(key, _)| key.clone()).collect()
    }
}
