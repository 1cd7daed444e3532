//! Every metric and label name. Guardrail conventions of OpenTelemetry are not settled
//! (semantic-conventions-genai PR #427, issue #437); ours are renamed here when they are.

pub(super) const DECISIONS: &str = "gateway_decisions";
pub(super) const REFUSALS: &str = "gateway_refusals";
pub(super) const OUTCOMES: &str = "gateway_outcomes";
pub(super) const SECONDS: &str = "mcp_server_operation_duration_seconds";
pub(super) const CALLS_OPEN: &str = "gateway_calls_open";
pub(super) const HOLDS_OPEN: &str = "gateway_holds_open";
pub(super) const READY: &str = "gateway_ready";
pub(super) const DECISION: &str = "decision";
pub(super) const CODE: &str = "code";
pub(super) const OUTCOME: &str = "outcome";
