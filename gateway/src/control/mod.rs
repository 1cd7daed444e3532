//! What limits calls from outside policy: counters now; kill switch, budgets and rates later.

pub mod counters;
