//! Decisions through the evaluator: what bundles say comes out as contract §3 writes it.

use forge_schemas::policy::{Decision, Effect, Phase};
use serde_json::{Value, json};

use super::{bundle, input, limits, load};
use crate::grants::matches;
use crate::{Limits, PolicySet};

const ALLOW: &str = "package forge.org.request\nallow := true\n";

fn decide(files: &[(&str, &str)], changes: &Value) -> Decision {
    load(files).decide(&input(changes), "ev_1".to_owned())
}

/// Decides with one rule beside a rule that allows.
fn with_rule(rule: &str, changes: &Value) -> Decision {
    decide(&[("a.rego", &format!("{ALLOW}\n{rule}\n"))], changes)
}

fn arguments(value: &Value) -> Value {
    json!({"resource": {"properties": {"arguments": value}}})
}

fn reasons(decision: &Decision) -> Vec<&str> {
    decision.reasons.iter().map(|reason| reason.id.as_str()).collect()
}

#[test]
fn what_goes_wrong_while_evaluating_denies_with_policy_error() {
    let cases = [
        // A builtin fails: strict.
        (
            "deny contains {\"id\": \"x\"} if to_number(input.resource.properties.arguments.n) > 1",
            json!({"n": "9e99x"}),
        ),
        (
            "deny contains {\"id\": \"x\"} if regex.match(input.resource.properties.arguments.n, \"a\")",
            json!({"n": "("}),
        ),
        // Two complete rules disagree.
        (
            "y := 1\ny := 2 if input.resource.properties.arguments.n\ndeny contains {\"id\": \"x\"} if y == 1",
            json!({"n": true}),
        ),
        // Malformed answers.
        (
            "deny contains item if item := input.resource.properties.arguments",
            json!({"id": "x", "more": 1}),
        ),
        (
            "deny contains item if item := input.resource.properties.arguments.n",
            json!({"n": "text"}),
        ),
        (
            "deny contains {\"id\": input.resource.properties.arguments.n}",
            json!({"n": "<undefined>"}),
        ),
        ("deny contains {\"id\": input.resource.properties.arguments.n}", json!({"n": 5})),
        (
            "obligations contains {\"id\": \"x\", \"type\": input.resource.properties.arguments.n}",
            json!({"n": null}),
        ),
    ];
    for (rule, value) in cases {
        let decision = with_rule(rule, &arguments(&value));
        assert_eq!(
            (decision.effect, reasons(&decision)),
            (Effect::Deny, vec!["policy.error"]),
            "{rule}"
        );
        assert_eq!(decision.reasons[0].layer, "host");
        assert!(!decision.reasons[0].msg.contains("9e99x"), "the reason quotes the input");
    }
}

#[test]
fn an_allow_that_is_no_boolean_is_an_error() {
    for value in ["1", "\"true\"", "{}", "[true]", "null"] {
        let text = format!("package forge.org.request\nallow := {value}\n");
        let decision = decide(&[("a.rego", &text)], &json!({}));
        assert_eq!(reasons(&decision), ["policy.error"], "{value}");
    }
}

#[test]
fn a_loop_ends_at_the_wall_clock() {
    let rule = "deny contains {\"id\": \"x\"} if {
        some a in numbers.range(1, 9000)
        some b in numbers.range(1, 9000)
        some c in numbers.range(1, 9000)
        a + b == c * 100000
    }";
    let text = format!("{ALLOW}{rule}\n");
    let short = Limits { wall: std::time::Duration::from_millis(200), ..limits() };
    let set = PolicySet::load(&bundle(&[("a.rego", &text)]), short).unwrap();
    let (decision, trouble) = set.decide_with_trouble(&input(&json!({})), "ev_1".to_owned());
    assert_eq!(reasons(&decision), ["policy.error"]);
    assert_eq!(trouble, ["org: the time limit passed"]);
}

#[test]
fn reasons_name_the_line_of_the_rule_with_their_id() {
    let rego = "package forge.org.request

import data.forge.lib.names

default allow := true

deny contains {\"id\": \"first\", \"msg\": \"m\", \"user_msg\": \"u\"} if input.resource.type == \"tool\"

deny contains item if {
	input.resource.type == \"tool\"
	item := {\"id\": \"second\"}
}

deny contains {\"id\": names.third} if input.resource.type == \"tool\"
";
    let lib = "package forge.lib.names\nthird := \"third\"\n";
    let decision = decide(&[("lib.rego", lib), ("p/request.rego", rego)], &json!({}));
    let found: Vec<(&str, &str, u32)> = decision
        .reasons
        .iter()
        .map(|reason| (reason.id.as_str(), reason.file.as_str(), reason.line))
        .collect();
    // An id that is computed points at the first rule of the set.
    let wanted = [
        ("first", "p/request.rego", 7),
        ("second", "p/request.rego", 9),
        ("third", "p/request.rego", 7),
    ];
    assert_eq!(found, wanted);
    assert_eq!(decision.reasons[0].user_msg, "u");
}

#[test]
fn servers_tools_and_tenants_are_called_as_they_are_called() {
    let tool = "package forge.tools[\"my-server\"][\"push.files/v2 \\\"q\\\"\"].request\ndeny contains {\"id\": \"tool\"}\n";
    let tenant = "package forge.tenant[\"acme.eu\"].request\ndeny contains {\"id\": \"tenant\"}\n";
    let set = load(&[("a.rego", ALLOW), ("b.rego", tool), ("c.rego", tenant)]);
    let place = json!({"resource": {"properties": {"server": "my-server", "tool": "push.files/v2 \"q\""}},
        "subject": {"properties": {"tenant": "acme.eu"}}});
    let decision = set.decide(&input(&place), "ev_1".to_owned());
    assert_eq!(reasons(&decision), ["tenant", "tool"]);
    assert_eq!(set.decide(&input(&json!({})), "ev_1".to_owned()).effect, Effect::Allow);
    assert!(set.has_phase(Phase::Request, "x", "y", "z"));
    assert!(!set.has_phase(Phase::Response, "my-server", "push.files/v2 \"q\"", "acme.eu"));
}

#[test]
fn numbers_arrive_as_they_were_sent() {
    let equals = |literal: &str, value: Value| {
        let rule = format!(
            "deny contains {{\"id\": \"same\"}} if input.resource.properties.arguments.n == {literal}"
        );
        !with_rule(&rule, &arguments(&json!({ "n": value }))).reasons.is_empty()
    };
    assert!(equals("9007199254740993", json!(9_007_199_254_740_993_u64)));
    assert!(!equals("9007199254740992", json!(9_007_199_254_740_993_u64)));
    assert!(equals("18446744073709551615", json!(u64::MAX)));
    assert!(equals("-9223372036854775808", json!(i64::MIN)));
    assert!(equals("0.1", json!(0.1)));
    assert!(equals("1", json!(1.0)), "1.0 and 1 are one number in Rego");
    assert!(
        !equals("5", json!({"$serde_json::private::Number": "5"})),
        "an object stays an object"
    );
}

#[test]
fn what_is_larger_than_a_number_can_be_still_compares() {
    let huge: Value = serde_json::from_str("123456789012345678901234567890").unwrap();
    let rule = "deny contains {\"id\": \"over\"} if input.resource.properties.arguments.n > 1000";
    for value in [huge, json!(1e300), json!("9"), json!([0]), json!({})] {
        let decision = with_rule(rule, &arguments(&json!({ "n": value })));
        // Text, arrays and objects stand above all numbers in Rego's order.
        assert_eq!(reasons(&decision), ["over"], "{value}");
    }
}

#[test]
fn duties_that_nobody_carries_out_deny() {
    let known = with_rule("obligations contains {\"id\": \"o\", \"type\": \"log\"}", &json!({}));
    assert_eq!((known.effect, known.obligations.len()), (Effect::Allow, 1));
    let unknown =
        with_rule("obligations contains {\"id\": \"o\", \"type\": \"watermark\"}", &json!({}));
    assert_eq!(reasons(&unknown), ["policy.unknown_obligation"]);
    let rule = "limits contains {\"key\": [\"subject\"], \"rate\": {\"per_s\": 1}}";
    let text = format!("{ALLOW}{rule}\n");
    let set = PolicySet::load(
        &bundle(&[("a.rego", &text)]),
        Limits { enforces_limits: false, ..limits() },
    );
    let decision = set.unwrap().decide(&input(&json!({})), "ev_1".to_owned());
    assert_eq!(reasons(&decision), ["policy.unknown_obligation"]);
    assert_eq!(with_rule(rule, &json!({})).limits.len(), 1);
}

#[test]
fn an_approval_that_was_given_releases_its_own_requirement_only() {
    let rules = "approval contains {\"id\": \"a\", \"approvers\": [\"role:x\"]}
approval contains {\"id\": \"b\", \"approvers\": [\"role:y\"]}";
    let given = |approval: Value| with_rule(rules, &json!({"context": {"approval": approval}}));
    assert_eq!(given(Value::Null).effect, Effect::RequireApproval);
    let half = given(json!({"state": "approved", "requirements": ["a"]}));
    assert_eq!(reasons(&half), ["b"]);
    let both = json!({"state": "approved", "requirements": ["a", "b"]});
    assert_eq!(given(both).effect, Effect::Allow);
    let pending = json!({"state": "pending", "requirements": ["a", "b"]});
    assert_eq!(given(pending).effect, Effect::RequireApproval);
}

#[test]
fn the_starter_bundle_decides_the_story_of_the_demo() {
    let set = PolicySet::load(&crate::starter(), limits()).unwrap();
    let case = |tool: &str, roles: Value, read_only: bool, arguments: Value| {
        let changes = json!({"subject": {"properties": {"roles": roles}},
            "action": {"properties": {"read_only": read_only}},
            "resource": {"id": format!("demo/{tool}"), "properties": {"tool": tool, "arguments": arguments}}});
        let decision = set.decide(&input(&changes), "ev_1".to_owned());
        let ids =
            decision.reasons.iter().map(|reason| reason.id.clone()).collect::<Vec<_>>().join(" ");
        (decision.effect, ids)
    };
    let (reader, writer) = (|| json!(["reader"]), || json!(["writer"]));
    let outcome = |effect, ids: &str| (effect, ids.to_owned());
    assert_eq!(case("add", reader(), true, json!({"a": 1, "b": 2})), outcome(Effect::Allow, ""));
    assert_eq!(
        case("lookup_customer", reader(), true, json!({"id": 7})),
        outcome(Effect::Allow, "")
    );
    assert_eq!(
        case("read_file", reader(), true, json!({"path": "/workspace/a"})),
        outcome(Effect::Allow, "")
    );
    assert_eq!(
        case("read_file", reader(), true, json!({"path": "/workspace/../etc/passwd"})),
        outcome(Effect::Deny, "path.goes_up read_file.outside")
    );
    assert_eq!(
        case("transfer_funds", reader(), false, json!({"amount": 5})),
        outcome(Effect::Deny, "default.deny")
    );
    assert_eq!(
        case("transfer_funds", writer(), false, json!({"amount": 5})),
        outcome(Effect::Allow, "")
    );
    assert_eq!(
        case("transfer_funds", writer(), false, json!({"amount": 25000})),
        outcome(Effect::RequireApproval, "transfer.large")
    );
    assert_eq!(
        case("send_email", writer(), false, json!({"to": "eve@evil.test"})),
        outcome(Effect::Deny, "email.outside")
    );
    assert_eq!(case("add", json!([]), true, json!({})), outcome(Effect::Deny, "default.deny"));
}

#[test]
fn grants_decide_what_a_list_shows() {
    let org = "package forge.org.list
grants contains \"demo/*\"
grants contains {\"server\": \"git*\", \"tool\": \"read_*\"} if \"dev\" in input.subject.properties.roles
";
    let tenant = "package forge.tenant.acme.list\ngrants contains \"*/*d*\"\n";
    let tool = "package forge.tools.demo.dd.list\ndeny contains {\"id\": \"hidden\"}\n";
    let names =
        [("demo", "add"), ("demo", "x"), ("github", "read_d"), ("other", "d"), ("demo", "dd")];
    let shown = |files: &[(&str, &str)], roles: Value| {
        let subject = json!({"phase": "list", "subject": {"properties": {"roles": roles}}});
        load(files)
            .visible(&input(&subject), &names)
            .map_err(|refused| refused.reasons[0].id.clone())
    };
    let (o, t, d) = (("o.rego", org), ("t.rego", tenant), ("d.rego", tool));
    assert_eq!(shown(&[o], json!(["x"])), Ok(vec![true, true, false, false, true]));
    assert_eq!(shown(&[o], json!(["dev"])), Ok(vec![true, true, true, false, true]));
    assert_eq!(shown(&[o, t], json!(["dev"])), Ok(vec![true, false, true, false, true]));
    assert_eq!(shown(&[o, t, d], json!(["dev"])), Ok(vec![true, false, true, false, false]));
    assert_eq!(shown(&[t], json!([])), Err("default.deny".to_owned()));
    assert_eq!(shown(&[("a.rego", ALLOW)], json!([])), Err("default.deny".to_owned()));
    let broken = "package forge.org.list\ngrants contains input.subject.properties.roles[_]\n";
    assert_eq!(shown(&[("b.rego", broken)], json!(["no-slash"])), Err("policy.error".to_owned()));
}

#[test]
fn stars_stand_for_any_text() {
    let cases = [
        ("*", "", true),
        ("*", "abc", true),
        ("a*", "abc", true),
        ("*c", "abc", true),
        ("a*c", "abc", true),
        ("a*c", "ac", true),
        ("a*b*c", "aXbYc", true),
        ("a*bc", "abcbc", true),
        ("a*a", "a", false),
        ("ab", "abc", false),
        ("", "", true),
        ("", "a", false),
        ("a**b", "ab", true),
        ("*a*b*", "xaxbx", true),
        ("*ab*", "ba", false),
        ("?", "a", false),
    ];
    for (pattern, name, wanted) in cases {
        assert_eq!(matches(pattern, name), wanted, "{pattern} {name}");
    }
}

#[test]
fn a_set_is_shared_by_threads() {
    let set = PolicySet::load(&crate::starter(), limits()).unwrap();
    let question = input(&json!({}));
    let effect = || set.decide(&question, "ev_1".to_owned()).effect;
    std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..4).map(|_| scope.spawn(|| (0..50).map(|_| effect()).collect::<Vec<_>>())).collect();
        for worker in workers {
            assert!(worker.join().unwrap().iter().all(|effect| *effect == Effect::Allow));
        }
    });
}

/// Worker threads have 2 MiB, and part of that is in use when policy is asked.
#[test]
fn the_longest_chain_of_rules_fits_on_a_small_stack() {
    let last = crate::check::CALL_DEPTH_MAX - 3;
    let mut text =
        String::from("package forge.org.request\nallow if f0(input.v)\nf0(x) if x == 1\n");
    for number in 1..=last {
        let inner = format!("f{}(x)", number - 1);
        text.push_str(&format!(
            "f{number}(x) if {{\n every y in [x] {{\n  [z | z := {{w: v | some w in [y]; v := [q | q := w; {inner}]}}]\n }}\n}}\n"
        ));
    }
    text = text.replace("allow if f0(", &format!("allow if f{last}("));
    let files = [("a.rego", text.as_str())];
    crate::check(&bundle(&files)).unwrap_or_else(|faults| panic!("{faults:#?}"));
    std::thread::scope(|scope| {
        let small = std::thread::Builder::new().stack_size(1 << 20);
        let worker = small.spawn_scoped(scope, || {
            let set = load(&files);
            set.decide_with_trouble(&input(&json!({})), "ev_1".to_owned())
        });
        let (decision, trouble) = worker.unwrap().join().unwrap();
        assert_eq!((decision.effect, trouble), (Effect::Allow, vec![]));
    });
}
