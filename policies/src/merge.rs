//! From the answers of the layers to one decision (contract §3).
//!
//! Precedence: policy error > deny > obligation that cannot be carried out > approval > allow >
//! default deny. (The kill switch stands above all of this, in the gateway.) Within one layer an
//! approval stands above silence; across layers a layer that has to allow and is silent denies, so
//! that a layer can only make a decision stricter (`tests::adding_a_layer_never_relaxes`).

use std::collections::{BTreeMap, BTreeSet};

use forge_schemas::policy::{
    ApprovalRequirement, ApprovalTerms, Effect, Obligation, Phase, Reason, Redaction,
};
use serde_json::Value;

use crate::answer::{Answer, Approval, Limit};
use crate::layout::{Entry, Layer};
use crate::unit::{Locations, Trouble};

/// Id of the reason when policy gave no usable answer.
pub const POLICY_ERROR: &str = "policy.error";
/// Id of the reason when no layer said anything.
pub const DEFAULT_DENY: &str = "default.deny";
/// Id of the reason when policy asks for a duty that the gateway does not know.
pub const UNKNOWN_OBLIGATION: &str = "policy.unknown_obligation";

/// What one layer said.
#[derive(Debug)]
pub(crate) struct Voice<'a> {
    pub(crate) layer: Layer,
    pub(crate) defines_allow: bool,
    pub(crate) locations: &'a Locations,
    pub(crate) answer: Result<Answer, Trouble>,
}

/// What the gateway brings to the merge.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms<'a> {
    pub(crate) phase: Phase,
    /// Types of obligations that the gateway carries out.
    pub(crate) obligations: &'a BTreeSet<String>,
    /// The gateway enforces `limits`.
    pub(crate) limits: bool,
    /// Requirements that an approval has met.
    pub(crate) met: &'a BTreeSet<String>,
}

/// A decision without the names around it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Merged {
    pub(crate) effect: Effect,
    pub(crate) reasons: Vec<Reason>,
    pub(crate) redactions: Vec<Redaction>,
    pub(crate) obligations: Vec<Obligation>,
    pub(crate) approval: Option<ApprovalTerms>,
    pub(crate) limits: Vec<Value>,
    pub(crate) labels: BTreeMap<String, Value>,
}

/// Merges the layers; their order does not matter.
pub(crate) fn merge(mut voices: Vec<Voice<'_>>, terms: Terms<'_>) -> Merged {
    voices.sort_by_key(|voice| voice.layer);
    let (mut errors, mut denied, mut asked) = (Vec::new(), Vec::new(), Vec::new());
    let (mut held, mut union) = (Vec::new(), Union::default());
    for voice in &voices {
        match &voice.answer {
            Err(_trouble) => errors.push(error_reason(voice.layer)),
            Ok(answer) => {
                denied.extend(denials(voice, answer));
                let open = answer.approval.iter().filter(|item| !terms.met.contains(&item.id));
                for item in open {
                    asked.push(approval_reason(voice, item));
                    held.push(item.clone());
                }
                union.add(answer);
            }
        }
    }
    let (approval, nobody) = requirements(held);
    if nobody {
        errors.push(host(POLICY_ERROR, "layers name different approvers for one requirement"));
    }
    let undone = unsupported(&union, terms);
    let (effect, reasons) = if !errors.is_empty() {
        errors.extend(denied);
        (Effect::Deny, errors)
    } else if !denied.is_empty() {
        (Effect::Deny, denied)
    } else if !undone.is_empty() {
        (Effect::Deny, undone)
    } else if !spoken(&voices, terms.phase) {
        (Effect::Deny, vec![host(DEFAULT_DENY, "no rule allows this")])
    } else if approval.is_some() {
        (Effect::RequireApproval, asked)
    } else {
        (Effect::Allow, Vec::new())
    };
    union.decision(effect, ordered(reasons), approval)
}

/// What an error in policy looks like from outside: the class, never the text of the error.
pub(crate) fn failed(sentence: &str) -> Merged {
    Union::default().decision(Effect::Deny, vec![host(POLICY_ERROR, sentence)], None)
}

/// Silence, for each phase.
///
/// In `request`, `approve` and `admin` the org layer must be there and must say yes. In `list` it
/// must be there. In `response` it need not be: what policy does not speak about passes. In every
/// phase a layer that has a rule `allow` must say yes. A layer says yes with `allow`, or by asking
/// for approval: then it is the approval that turns its answer into yes. So no tenant or tool
/// package can put before an approver what the org layer does not allow.
fn spoken(voices: &[Voice<'_>], phase: Phase) -> bool {
    let says_yes = |voice: &Voice<'_>| {
        let answer = voice.answer.as_ref().ok();
        answer.is_some_and(|answer| answer.allow == Some(true) || !answer.approval.is_empty())
    };
    let org = voices.iter().find(|voice| voice.layer == Layer::Org);
    let mandatory = match phase {
        Phase::Request | Phase::Approve | Phase::Admin => org.is_some_and(says_yes),
        Phase::List => org.is_some(),
        Phase::Response => true,
    };
    mandatory && voices.iter().all(|voice| !voice.defines_allow || says_yes(voice))
}

fn host(id: &str, msg: &str) -> Reason {
    Reason {
        id: id.to_owned(),
        layer: "host".to_owned(),
        msg: msg.to_owned(),
        user_msg: String::new(),
        file: String::new(),
        line: 0,
    }
}

fn error_reason(layer: Layer) -> Reason {
    host(POLICY_ERROR, &format!("the {} layer could not be evaluated", layer.as_str()))
}

fn denials(voice: &Voice<'_>, answer: &Answer) -> Vec<Reason> {
    let reason = |item: &crate::answer::Deny| {
        let (file, line) = voice.locations.of(Entry::Deny, &item.id);
        let layer = voice.layer.as_str().to_owned();
        let (id, msg, user_msg) = (item.id.clone(), item.msg.clone(), item.user_msg.clone());
        Reason { id, layer, msg, user_msg, file, line }
    };
    answer.deny.iter().map(reason).collect()
}

fn approval_reason(voice: &Voice<'_>, item: &Approval) -> Reason {
    let (file, line) = voice.locations.of(Entry::Approval, &item.id);
    let layer = voice.layer.as_str().to_owned();
    let (id, msg, user_msg) = (item.id.clone(), item.reason.clone(), item.user_msg.clone());
    Reason { id, layer, msg, user_msg, file, line }
}

/// In order of layer, file and id; `host` stands first.
fn ordered(mut reasons: Vec<Reason>) -> Vec<Reason> {
    const ORDER: [&str; 4] = ["host", "org", "tenant", "tools"];
    let rank = |reason: &Reason| ORDER.iter().position(|layer| *layer == reason.layer);
    reasons.sort_by(|left, right| {
        let key =
            |reason: &Reason| (rank(reason), reason.file.clone(), reason.id.clone(), reason.line);
        key(left).cmp(&key(right))
    });
    reasons.dedup();
    reasons
}

/// The terms of all items together, and whether some requirement is left without approvers.
///
/// Items of one id are one requirement: only approvers that all of them name count, the largest
/// quorum holds, and whoever one of them keeps out stays out.
fn requirements(items: Vec<Approval>) -> (Option<ApprovalTerms>, bool) {
    let mut required: BTreeMap<String, ApprovalRequirement> = BTreeMap::new();
    let mut terms: Option<ApprovalTerms> = None;
    let mut narrowest = crate::answer::Scope::Window;
    for item in items {
        narrowest = narrowest.min(item.scope);
        let kept = terms.get_or_insert_with(|| ApprovalTerms {
            required: Vec::new(),
            ttl_s: item.ttl_s,
            execute_within_s: item.execute_within_s,
            scope: String::new(),
            max_uses: item.max_uses,
        });
        kept.ttl_s = kept.ttl_s.min(item.ttl_s);
        kept.execute_within_s = kept.execute_within_s.min(item.execute_within_s);
        kept.max_uses = kept.max_uses.min(item.max_uses);
        let fresh = ApprovalRequirement::from(item);
        match required.get_mut(&fresh.id) {
            Some(present) => {
                present.approvers.retain(|approver| fresh.approvers.contains(approver));
                present.quorum = present.quorum.max(fresh.quorum);
                present.not.extend(fresh.not);
                present.not.sort();
                present.not.dedup();
            }
            None => drop(required.insert(fresh.id.clone(), fresh)),
        }
    }
    let nobody = required.values().any(|requirement| requirement.approvers.is_empty());
    if let Some(kept) = &mut terms {
        kept.required = required.into_values().collect();
        narrowest.as_str().clone_into(&mut kept.scope);
    }
    (terms, nobody)
}

/// Duties that nobody would carry out.
fn unsupported(union: &Union, terms: Terms<'_>) -> Vec<Reason> {
    let unknown = union
        .obligations
        .iter()
        .filter(|obligation| !terms.obligations.contains(&obligation.r#type))
        .map(|obligation| {
            let Obligation { id, r#type, .. } = obligation;
            host(
                UNKNOWN_OBLIGATION,
                &format!("obligation {id} of type {type} is not supported", r#type = r#type),
            )
        });
    let limits = (!terms.limits && !union.limits.is_empty())
        .then(|| host(UNKNOWN_OBLIGATION, "limits are not supported"));
    unknown.chain(limits).collect()
}

/// What layers add to one another.
#[derive(Default)]
struct Union {
    redactions: BTreeSet<Redaction>,
    obligations: Vec<Obligation>,
    limits: BTreeMap<(Vec<String>, Option<String>), Limit>,
    labels: BTreeMap<String, Value>,
}

impl Union {
    /// Called in order of layers: a label of the org layer stays.
    fn add(&mut self, answer: &Answer) {
        self.redactions.extend(answer.redact.iter().cloned());
        for obligation in &answer.obligations {
            if !self.obligations.contains(obligation) {
                self.obligations.push(obligation.clone());
            }
        }
        for limit in &answer.limits {
            let key = (limit.key.clone(), limit.budget.clone());
            self.limits
                .entry(key)
                .and_modify(|present| *present = strictest(present, limit))
                .or_insert_with(|| limit.clone());
        }
        for (key, value) in &answer.labels {
            self.labels.entry(key.clone()).or_insert_with(|| value.clone());
        }
    }

    fn decision(
        mut self,
        effect: Effect,
        reasons: Vec<Reason>,
        approval: Option<ApprovalTerms>,
    ) -> Merged {
        self.obligations.sort_by(|left, right| {
            let key = |obligation: &Obligation| {
                let properties = serde_json::to_string(&obligation.properties).unwrap_or_default();
                (obligation.id.clone(), obligation.r#type.clone(), properties)
            };
            key(left).cmp(&key(right))
        });
        let mut limits: Vec<Limit> = self.limits.into_values().collect();
        limits.sort_by(|left, right| slowness(left).total_cmp(&slowness(right)));
        let limits = limits.iter().filter_map(|limit| serde_json::to_value(limit).ok()).collect();
        let waits = effect == Effect::RequireApproval;
        Merged {
            effect,
            reasons,
            redactions: self.redactions.into_iter().collect(),
            obligations: self.obligations,
            approval: approval.filter(|_terms| waits),
            limits,
            labels: self.labels,
        }
    }
}

/// Of two limits on one key: the slower rate, the smaller burst, the larger cost.
fn strictest(left: &Limit, right: &Limit) -> Limit {
    let mut kept = left.clone();
    if let (Some(kept), Some(other)) = (&mut kept.rate, right.rate) {
        kept.per_s = kept.per_s.min(other.per_s);
        kept.burst = kept.burst.min(other.burst);
    }
    if let (Some(kept), Some(other)) = (&mut kept.amount, right.amount) {
        *kept = kept.max(other);
    }
    kept
}

fn slowness(limit: &Limit) -> f64 {
    limit.rate.map_or(f64::MAX, |rate| rate.per_s)
}
