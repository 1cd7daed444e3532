//! Metrics and logs. Names stand in `names` and nowhere else; labels come from closed sets.
//!
//! Logs, metrics and traces never carry arguments, results, tokens or found text.

use std::fmt;
use std::fmt::Write as _;

use forge_schemas::policy::Effect;
use forge_schemas::record::Outcome;
use forge_schemas::refusal::RefusalCode;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use tokio::time::Duration;

mod names;

type Labelled = Family<Vec<(&'static str, &'static str)>, Counter>;

/// All metrics of the process.
pub struct Metrics {
    registry: Registry,
    /// Decisions by effect.
    pub decisions: Decisions,
    /// Refusals by code.
    pub refusals: Refusals,
    /// Finished messages by outcome, and how long they took.
    pub calls: Calls,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

/// Decisions by effect.
#[derive(Clone, Debug, Default)]
pub struct Decisions(Labelled);

impl Decisions {
    /// Counts one.
    pub fn count(&self, effect: Effect) {
        let word = match effect {
            Effect::Allow => "allow",
            Effect::Deny => "deny",
            Effect::RequireApproval => "hold",
        };
        self.0.get_or_create(&vec![(names::DECISION, word)]).inc();
    }
}

/// Refusals by code.
#[derive(Clone, Debug, Default)]
pub struct Refusals(Labelled);

impl Refusals {
    /// Counts one.
    pub fn count(&self, code: RefusalCode) {
        self.0.get_or_create(&vec![(names::CODE, code.code())]).inc();
    }
}

/// Finished messages.
#[derive(Clone, Debug)]
pub struct Calls {
    outcomes: Labelled,
    seconds: Histogram,
}

impl Calls {
    /// Counts one.
    pub fn observe(&self, outcome: Outcome, took: Duration) {
        let word = match outcome {
            Outcome::Answered => "answered",
            Outcome::Refused => "refused",
            Outcome::Failed => "failed",
            Outcome::Unknown => "outcome_unknown",
        };
        self.outcomes.get_or_create(&vec![(names::OUTCOME, word)]).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let (decisions, refusals) = (Decisions::default(), Refusals::default());
        // 100 µs to about 3 minutes.
        let seconds = Histogram::new(exponential_buckets(0.0001, 2.0, 21));
        let calls = Calls { outcomes: Labelled::default(), seconds };
        registry.register(names::DECISIONS, "Policy decisions", decisions.0.clone());
        registry.register(names::REFUSALS, "Refused messages", refusals.0.clone());
        registry.register(names::OUTCOMES, "Finished messages", calls.outcomes.clone());
        registry.register(names::SECONDS, "Time from first byte to outcome", calls.seconds.clone());
        Self { registry, decisions, refusals, calls }
    }
}

impl Metrics {
    /// OpenMetrics text, with gauges that are read at this moment.
    #[must_use]
    pub fn text(&self, gauges: &[(&'static str, &'static str, u64)]) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            return String::new();
        }
        let mut body = text.trim_end().trim_end_matches("# EOF").to_owned();
        for (name, help, value) in gauges {
            // Writing to a string cannot fail.
            let _written =
                writeln!(body, "# HELP {name} {help}.\n# TYPE {name} gauge\n{name} {value}");
        }
        body.push_str("# EOF\n");
        body
    }
}

/// Gauge: calls under way.
pub const CALLS_OPEN: &str = names::CALLS_OPEN;
/// Gauge: approvals that wait.
pub const HOLDS_OPEN: &str = names::HOLDS_OPEN;
/// Gauge: 1 if ready.
pub const READY: &str = names::READY;
