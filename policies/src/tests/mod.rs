//! What every test module uses, and the embedded bundles.

mod decisions;
mod merging;

use forge_schemas::policy::{Phase, PolicyInput};
use serde_json::{Value, json};

use crate::{Bundle, Limits, PolicySet, Source, TestOutcome};

/// A complete input of phase `request`, with `changes` merged in.
pub(crate) fn input(changes: &Value) -> PolicyInput {
    let mut document = json!({
        "v": 1, "phase": "request",
        "subject": {"type": "identity", "id": "alice@example.com", "properties": {
            "kind": "user", "tenant": "acme", "roles": ["reader"], "groups": [],
            "claims": {"iss": "", "aud": "", "scope": [], "acr": "", "amr": []}, "act": null}},
        "action": {"name": "tools/call", "properties": {"read_only": true, "destructive": false,
            "idempotent": false, "open_world": false, "hints_source": "catalog"}},
        "resource": {"type": "tool", "id": "demo/add", "properties": {"server": "demo", "tool": "add",
            "tenant": "acme", "region": "", "trust": "verified", "tags": [], "schema_digest": "",
            "pin": "pinned", "data_class": "", "arguments": {}, "arguments_digest": "",
            "arguments_bytes": 2}},
        "context": {"agent": "", "client": {"name": "", "version": "", "protocol": ""},
            "session": {"id": "", "age_s": 0, "taint": [], "calls": 0},
            "request": {"id": "call_1", "ip": "", "transport": "http", "trace_id": ""},
            "time": {"epoch_ms": 0, "rfc3339": "", "weekday": "", "minute_of_day": 0, "tz": "UTC"},
            "findings": [], "counters": {"principal_tool_1m": 0, "principal_tool_1h": 0,
            "denied_1h": 0, "cost_24h": 0, "budget_left": 0}, "approval": null, "grants": [],
            "env": {"name": "", "region": "", "gateway": "", "kill": []},
            "upstream": {"circuit": "closed"}},
        "result": null});
    unite(&mut document, changes);
    serde_json::from_value(document).unwrap()
}

fn unite(target: &mut Value, source: &Value) {
    match (target, source) {
        (Value::Object(target), Value::Object(source)) if !target.is_empty() => {
            for (key, value) in source {
                unite(target.entry(key.clone()).or_insert(Value::Null), value);
            }
        }
        (target, source) => *target = source.clone(),
    }
}

pub(crate) fn sources(files: &[(&str, &str)]) -> Vec<Source> {
    let source =
        |(path, text): &(&str, &str)| Source { path: (*path).into(), text: (*text).into() };
    files.iter().map(source).collect()
}

pub(crate) fn bundle(files: &[(&str, &str)]) -> Bundle {
    Bundle::new(sources(files)).unwrap()
}

pub(crate) fn limits() -> Limits {
    let obligations = ["log", "notify"].map(str::to_owned).into();
    Limits { wall: std::time::Duration::from_secs(2), obligations, enforces_limits: true }
}

pub(crate) fn load(files: &[(&str, &str)]) -> PolicySet {
    PolicySet::load(&bundle(files), limits()).unwrap()
}

#[test]
fn the_starter_bundle_has_no_fault_and_no_warning() {
    let report = crate::check(&crate::starter()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert_eq!(report.warnings, vec![]);
    assert!(report.tests > 40, "{}", report.tests);
}

#[test]
fn the_starter_bundle_passes_its_tests() {
    let results = crate::test(&crate::starter(), None).unwrap();
    let bad: Vec<_> = results.iter().filter(|test| test.outcome != TestOutcome::Pass).collect();
    assert!(bad.is_empty(), "{bad:#?}");
}

#[test]
fn every_line_of_the_starter_bundle_is_tested() {
    for file in crate::coverage(&crate::starter()).unwrap() {
        assert_eq!(file.not_covered, Vec::<u32>::new(), "{}", file.file);
    }
}

#[test]
fn the_bundle_that_allows_all_allows_all() {
    crate::check(&crate::allow_all()).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let set = PolicySet::load(&crate::allow_all(), limits()).unwrap();
    for phase in ["request", "response", "approve", "admin", "list"] {
        let decision =
            set.decide(&input(&json!({"phase": phase, "action": {"name": "x"}})), "ev_1".into());
        assert!(decision.decision, "{phase}: {decision:?}");
    }
    let shown =
        set.visible(&input(&json!({"phase": "list"})), &[("a", "b"), ("c", "d/e")]).unwrap();
    assert_eq!(shown, [true, true]);
    assert!(!set.has_phase(Phase::Response, "a", "b", "t"));
}
