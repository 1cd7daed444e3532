//! What limits calls from outside policy: counters now; kill switch, budgets and rates later.

pub mod bundle_check;
pub mod bundle_load;
pub mod counters;
