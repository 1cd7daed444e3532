//! Precedence, as tables, and the property that a layer only makes things stricter.

use std::collections::BTreeSet;

use forge_schemas::policy::{Effect, Phase};
use serde_json::{Value, json};

use crate::answer::{Answer, decode};
use crate::layout::Layer;
use crate::merge::{Merged, Terms, Voice, merge};
use crate::unit::{Locations, Trouble};

type Layers = Vec<(Layer, &'static str)>;

const LAYERS: [Layer; 3] = [Layer::Org, Layer::Tenant, Layer::Tools];

/// What a layer may say, strongest first, with the reason it gives.
const SAYINGS: [(&str, &str); 6] = [
    ("error", "policy.error"),
    ("deny", "no"),
    ("obligation", "policy.unknown_obligation"),
    ("approval", "ask"),
    ("allow", ""),
    ("silence", "default.deny"),
];

fn answer(parts: &Value) -> Answer {
    let wrapped: serde_json::Map<String, Value> = parts
        .as_object()
        .unwrap()
        .iter()
        .map(|(key, value)| (key.clone(), json!([value])))
        .collect();
    decode(Value::Object(wrapped), Phase::Request).unwrap()
}

fn saying(word: &str) -> (bool, Result<Answer, Trouble>) {
    let parts = match word {
        "error" => return (true, Err(Trouble::Undefined)),
        "deny" => json!({"allow": true, "deny": [{"id": "no"}]}),
        "obligation" => json!({"allow": true, "obligations": [{"id": "o", "type": "dance"}]}),
        "approval" => json!({"allow": true, "approval": [{"id": "ask", "approvers": ["role:a"]}]}),
        "allow" => json!({"allow": true}),
        "silence" => json!({}),
        "approval alone" => json!({"approval": [{"id": "ask", "approvers": ["role:a"]}]}),
        "restricts" => return (false, Ok(Answer::default())),
        other => panic!("{other}"),
    };
    (true, Ok(answer(&parts)))
}

fn decide(phase: Phase, layers: &[(Layer, &str)], met: &[&str]) -> Merged {
    let locations = Locations::default();
    let voices = layers.iter().map(|(layer, word)| {
        let (defines_allow, answer) = saying(word);
        Voice { layer: *layer, defines_allow, locations: &locations, answer }
    });
    let met: BTreeSet<String> = met.iter().map(|id| (*id).to_owned()).collect();
    let obligations = BTreeSet::from(["log".to_owned()]);
    let terms = Terms { phase, obligations: &obligations, limits: true, met: &met };
    merge(voices.collect(), terms)
}

#[test]
fn the_stronger_saying_wins_in_every_pair_and_either_order() {
    for (strong, (strong_word, id)) in SAYINGS.iter().enumerate() {
        for (weak_word, _weaker) in SAYINGS.iter().skip(strong) {
            for (first, second) in [(strong_word, weak_word), (weak_word, strong_word)] {
                for layers in [[Layer::Org, Layer::Tenant], [Layer::Tools, Layer::Org]] {
                    let [left, right] = layers;
                    let merged = decide(Phase::Request, &[(left, first), (right, second)], &[]);
                    let ids: Vec<&str> =
                        merged.reasons.iter().map(|reason| reason.id.as_str()).collect();
                    let case = format!("{left:?} {first}, {right:?} {second}: {merged:?}");
                    let effect = match *strong_word {
                        // Nobody overrules a layer that has to allow and does not.
                        _ if *weak_word == "silence" => Effect::Deny,
                        "approval" => Effect::RequireApproval,
                        "allow" => Effect::Allow,
                        _ => Effect::Deny,
                    };
                    assert_eq!(merged.effect, effect, "{case}");
                    let overruled =
                        *weak_word == "silence" && ["approval", "allow"].contains(strong_word);
                    let wanted = if overruled { "default.deny" } else { id };
                    assert!(wanted.is_empty() || ids.contains(&wanted), "{case}");
                }
            }
        }
    }
}

fn rank(effect: Effect) -> u8 {
    match effect {
        Effect::Allow => 0,
        Effect::RequireApproval => 1,
        Effect::Deny => 2,
    }
}

#[test]
fn adding_a_layer_never_relaxes() {
    let words = [
        "error",
        "deny",
        "obligation",
        "approval",
        "approval alone",
        "allow",
        "silence",
        "restricts",
    ];
    for phase in [Phase::Request, Phase::Response, Phase::Approve, Phase::Admin, Phase::List] {
        for org in words {
            for tenant in words {
                for tool in words {
                    let all = LAYERS.into_iter().zip([org, tenant, tool]).collect::<Vec<_>>();
                    for without in 1..=2_usize {
                        let fewer: Vec<_> = all
                            .iter()
                            .enumerate()
                            .filter(|(index, _)| *index != without)
                            .map(|(_, layer)| *layer)
                            .collect();
                        let (less, more) = (decide(phase, &fewer, &[]), decide(phase, &all, &[]));
                        let stricter = rank(more.effect) >= rank(less.effect);
                        assert!(stricter, "{phase:?} {all:?} without {without}: {less:?} {more:?}");
                    }
                }
            }
        }
    }
}

#[test]
fn silence_means_what_the_reference_says_in_each_phase() {
    let org = |word| vec![(Layer::Org, word)];
    let two = |org, tenant| vec![(Layer::Org, org), (Layer::Tenant, tenant)];
    let cases: &[(Phase, Layers, Effect)] = &[
        (Phase::Request, vec![], Effect::Deny),
        (Phase::Request, vec![(Layer::Tools, "allow")], Effect::Deny),
        (Phase::Request, org("silence"), Effect::Deny),
        (Phase::Request, org("restricts"), Effect::Deny),
        (Phase::Request, org("allow"), Effect::Allow),
        (Phase::Request, two("allow", "restricts"), Effect::Allow),
        (Phase::Request, two("allow", "silence"), Effect::Deny),
        (Phase::Request, two("silence", "allow"), Effect::Deny),
        (Phase::Request, org("approval alone"), Effect::RequireApproval),
        (Phase::Request, two("approval alone", "allow"), Effect::RequireApproval),
        (Phase::Request, two("allow", "approval alone"), Effect::RequireApproval),
        (Phase::Request, two("silence", "approval"), Effect::Deny),
        (Phase::Request, vec![(Layer::Tools, "approval")], Effect::Deny),
        (Phase::Approve, vec![], Effect::Deny),
        (Phase::Admin, org("restricts"), Effect::Deny),
        (Phase::Response, vec![], Effect::Allow),
        (Phase::Response, org("restricts"), Effect::Allow),
        (Phase::Response, org("silence"), Effect::Deny),
        (Phase::Response, vec![(Layer::Tools, "restricts")], Effect::Allow),
        (Phase::Response, two("allow", "silence"), Effect::Deny),
        (Phase::List, vec![], Effect::Deny),
        (Phase::List, org("restricts"), Effect::Allow),
        (Phase::List, org("silence"), Effect::Deny),
    ];
    for (phase, layers, effect) in cases {
        assert_eq!(decide(*phase, layers, &[]).effect, *effect, "{phase:?} {layers:?}");
    }
}

#[test]
fn requirements_that_were_met_are_taken_off_and_nothing_else() {
    let layers = |org, tenant| [(Layer::Org, org), (Layer::Tenant, tenant)];
    let effect =
        |layers: &[(Layer, &str)], met: &[&str]| decide(Phase::Request, layers, met).effect;
    assert_eq!(effect(&layers("approval", "allow"), &["ask"]), Effect::Allow);
    assert_eq!(effect(&layers("approval", "allow"), &["other"]), Effect::RequireApproval);
    assert_eq!(effect(&layers("approval", "deny"), &["ask"]), Effect::Deny);
    assert_eq!(effect(&layers("approval", "silence"), &["ask"]), Effect::Deny);
    assert_eq!(effect(&layers("approval alone", "allow"), &["ask"]), Effect::Allow);
    assert_eq!(effect(&layers("silence", "approval"), &["ask"]), Effect::Deny);
}

fn united(parts: &[Value]) -> Merged {
    let locations = Locations::default();
    let voices = LAYERS.into_iter().zip(parts).map(|(layer, parts)| Voice {
        layer,
        defines_allow: layer == Layer::Org,
        locations: &locations,
        answer: Ok(answer(parts)),
    });
    let obligations = BTreeSet::from(["log".to_owned()]);
    let met = BTreeSet::new();
    let terms = Terms { phase: Phase::Request, obligations: &obligations, limits: true, met: &met };
    merge(voices.collect(), terms)
}

#[test]
fn terms_of_an_approval_are_the_strictest_of_all() {
    let one = json!({"allow": true, "approval": [{"id": "ask", "approvers": ["role:a", "role:b"], "quorum": 1,
        "ttl_s": 100, "execute_within_s": 50, "scope": "window", "max_uses": 5, "not": []}]});
    let two = json!({"approval": [{"id": "ask", "approvers": ["role:b"], "quorum": 2, "ttl_s": 200,
        "execute_within_s": 20, "scope": "session", "max_uses": 9},
        {"id": "also", "approvers": ["user:x"]}]});
    for parts in [[one.clone(), two.clone()], [two, one]] {
        let merged = united(&parts);
        let terms = serde_json::to_value(merged.approval.unwrap()).unwrap();
        let wanted = json!({"required": [
            {"id": "also", "approvers": ["user:x"], "quorum": 1, "not": ["requester"]},
            {"id": "ask", "approvers": ["role:b"], "quorum": 2, "not": ["requester"]}],
            "ttl_s": 100, "execute_within_s": 20, "scope": "call", "max_uses": 1});
        assert_eq!(terms, wanted);
    }
}

#[test]
fn a_requirement_for_which_no_approver_is_left_is_an_error() {
    let item = |approver: &str| json!({"approval": [{"id": "ask", "approvers": [approver]}]});
    let merged = united(&[item("role:a"), item("role:b")]);
    assert_eq!((merged.effect, merged.reasons[0].id.as_str()), (Effect::Deny, "policy.error"));
}

#[test]
fn redactions_and_obligations_are_united_and_limits_take_the_strictest() {
    let one = json!({"allow": true,
        "redact": [{"path": "/arguments/x", "action": "mask"}],
        "obligations": [{"id": "o", "type": "log"}],
        "limits": [{"key": ["subject"], "rate": {"per_s": 2, "burst": 9}},
                   {"key": ["tenant"], "budget": "usd", "amount": 1}],
        "labels": {"risk": "high"}});
    let two = json!({
        "redact": [{"path": "/arguments/x", "action": "mask"}, {"path": "/arguments/y", "action": "remove"}],
        "obligations": [{"id": "o", "type": "log"}, {"id": "p", "type": "log", "properties": {"level": "full"}}],
        "limits": [{"key": ["subject"], "rate": {"per_s": 5, "burst": 3}},
                   {"key": ["tenant"], "budget": "usd", "amount": 4}],
        "labels": {"risk": "low", "other": 1}});
    let merged = united(&[one, two]);
    assert_eq!(merged.effect, Effect::Allow);
    assert_eq!(merged.redactions.len(), 2);
    assert_eq!(merged.obligations.len(), 2);
    assert_eq!(
        merged.limits,
        vec![
            json!({"key": ["subject"], "rate": {"per_s": 2.0, "burst": 3}}),
            json!({"key": ["tenant"], "budget": "usd", "amount": 4.0}),
        ]
    );
    assert_eq!(json!(merged.labels), json!({"risk": "high", "other": 1}));
}

#[test]
fn items_that_are_not_exactly_right_are_malformed() {
    let bad = [
        json!({"allow": "yes"}),
        json!({"allow": 1}),
        json!({"deny": [{"msg": "no id"}]}),
        json!({"deny": [{"id": ""}]}),
        json!({"deny": [{"id": "x", "extra": 1}]}),
        json!({"deny": ["x"]}),
        json!({"deny": {"id": "x"}}),
        json!({"deny": [{"id": 7}]}),
        json!({"approval": [{"id": "x", "approvers": []}]}),
        json!({"approval": [{"id": "x", "approvers": ["everybody"]}]}),
        json!({"approval": [{"id": "x", "approvers": ["role:"]}]}),
        json!({"approval": [{"id": "x", "approvers": ["role:a"], "quorum": 0}]}),
        json!({"approval": [{"id": "x", "approvers": ["role:a"], "quorum": 1.5}]}),
        json!({"approval": [{"id": "x", "approvers": ["role:a"], "ttl_s": 0}]}),
        json!({"approval": [{"id": "x", "approvers": ["role:a"], "ttl_s": 999_999_999}]}),
        json!({"approval": [{"id": "x", "approvers": ["role:a"], "scope": "ever"}]}),
        json!({"approval": [{"id": "x", "approvers": ["role:a"], "not": ["nobody"]}]}),
        json!({"redact": [{"path": "/result/x", "action": "mask"}]}),
        json!({"redact": [{"path": "/argumentsx", "action": "mask"}]}),
        json!({"redact": [{"path": "/arguments", "action": "burn"}]}),
        json!({"obligations": [{"id": "x"}]}),
        json!({"limits": [{"key": [], "rate": {"per_s": 1}}]}),
        json!({"limits": [{"key": ["a"]}]}),
        json!({"limits": [{"key": ["a"], "rate": {"per_s": 0}}]}),
        json!({"limits": [{"key": ["a"], "rate": {"per_s": 1}, "budget": "usd", "amount": 1}]}),
        json!({"grants": ["tool"]}),
        json!({"grants": [{"server": "a"}]}),
        json!({"labels": []}),
        json!({"deny": (0..300).map(|id| json!({"id": id.to_string()})).collect::<Vec<_>>()}),
    ];
    for parts in bad {
        let wrapped: serde_json::Map<String, Value> = parts
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| (key.clone(), json!([value])))
            .collect();
        assert!(decode(Value::Object(wrapped), Phase::Request).is_err(), "{parts}");
    }
}
