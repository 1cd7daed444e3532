//! Recent calls and denials per principal, for `context.counters` of the policy input.
//!
//! In memory, exact on one node, gone after a restart. Bounded: the least recently counted key
//! leaves first.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

/// Counts of one key by minute.
#[derive(Debug, Default)]
struct Minutes(BTreeMap<i64, u64>);

impl Minutes {
    fn add(&mut self, minute: i64) {
        let count = self.0.entry(minute).or_default();
        *count = count.saturating_add(1);
        self.0 = self.0.split_off(&minute.saturating_sub(59));
    }

    fn since(&self, minute: i64) -> u64 {
        self.0.range(minute..).map(|(_, count)| count).sum()
    }
}

/// Counters of all principals.
#[derive(Debug, Default)]
pub struct Counters(Mutex<HashMap<String, Minutes>>);

/// What a policy may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Calls of this tool by this principal in this and the last minute.
    pub tool_1m: u64,
    /// The same in the last hour.
    pub tool_1h: u64,
    /// Denials of this principal in the last hour.
    pub denied_1h: u64,
}

impl Counters {
    /// Counts a call and says what was there with it.
    pub fn call(&self, principal: &str, tool: &str, now_ms: i64) -> Counted {
        let minute = now_ms.div_euclid(60_000);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut all, minute);
        let calls = all.entry(format!("c\0{principal}\0{tool}")).or_default();
        calls.add(minute);
        let (tool_1m, tool_1h) =
            (calls.since(minute.saturating_sub(1)), calls.since(minute.saturating_sub(59)));
        let denied_1h = all
            .get(&format!("d\0{principal}"))
            .map_or(0, |denied| denied.since(minute.saturating_sub(59)));
        Counted { tool_1m, tool_1h, denied_1h }
    }

    /// Counts a denial.
    pub fn denied(&self, principal: &str, now_ms: i64) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(format!("d\0{principal}")).or_default().add(now_ms.div_euclid(60_000));
    }
}

/// Drops keys that counted nothing within the hour once there are many.
fn make_room(all: &mut HashMap<String, Minutes>, minute: i64) {
    if all.len() >= KEYS_MAX {
        all.retain(|_, minutes| minutes.since(minute.saturating_sub(59)) > 0);
    }
    if all.len() >= KEYS_MAX {
        all.clear();
    }
}

const KEYS_MAX: usize = 50_000;
