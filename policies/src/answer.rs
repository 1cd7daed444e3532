//! What one package answers, read strictly: an unknown key, a wrong type, a value out of range or
//! anything undefined makes the whole answer malformed, and a malformed answer is a refusal.

use std::collections::BTreeMap;

use forge_schemas::policy::{ApprovalRequirement, Obligation, Phase, Redaction};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::layout::Entry;

/// Most items of one set.
pub const ITEMS_MAX: usize = 256;
/// Longest id, in bytes.
pub const ID_BYTES_MAX: usize = 128;
/// Longest message for people, in characters; longer ones are cut.
pub const MESSAGE_CHARS_MAX: usize = 1000;
/// Longest time to live of an approval request, in seconds (30 days).
pub const TTL_S_MAX: u64 = 30 * 24 * 3600;
/// Most people of one requirement.
pub const QUORUM_MAX: u64 = 20;
/// Most uses of one approval.
pub const USES_MAX: u64 = 1000;

/// The answer of one package for one input.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    /// `None`: undefined.
    pub(crate) allow: Option<bool>,
    pub(crate) grants: Vec<Grant>,
    pub(crate) deny: Vec<Deny>,
    pub(crate) approval: Vec<Approval>,
    pub(crate) redact: Vec<Redaction>,
    pub(crate) obligations: Vec<Obligation>,
    pub(crate) limits: Vec<Limit>,
    pub(crate) labels: BTreeMap<String, Value>,
}

/// Why an answer cannot be used. The detail may quote the answer: it is for people who write
/// policies, not for logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) entry: &'static str,
    pub(crate) detail: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub(crate) enum Grant {
    /// `server/tool`.
    Pattern(String),
    Pair(Pair),
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Pair {
    pub(crate) server: String,
    pub(crate) tool: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Deny {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) msg: String,
    #[serde(default)]
    pub(crate) user_msg: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Approval {
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) reason: String,
    #[serde(default)]
    pub(crate) user_msg: String,
    pub(crate) approvers: Vec<String>,
    #[serde(default = "one")]
    pub(crate) quorum: u64,
    #[serde(default = "an_hour")]
    pub(crate) ttl_s: u64,
    #[serde(default = "ten_minutes")]
    pub(crate) execute_within_s: u64,
    #[serde(default)]
    pub(crate) scope: Scope,
    #[serde(default = "one")]
    pub(crate) max_uses: u64,
    #[serde(default = "requester")]
    pub(crate) not: Vec<String>,
}

/// How far an approval reaches, narrowest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Scope {
    #[default]
    Call,
    Session,
    Window,
}

impl Scope {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Session => "session",
            Self::Window => "window",
        }
    }
}

/// A rate or a budget.
#[derive(Clone, Debug, PartialEq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limit {
    pub(crate) key: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<Rate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) budget: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) amount: Option<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) per_s: f64,
    #[serde(default = "one")]
    pub(crate) burst: u64,
}

const fn one() -> u64 {
    1
}

const fn an_hour() -> u64 {
    3600
}

const fn ten_minutes() -> u64 {
    600
}

fn requester() -> Vec<String> {
    vec!["requester".to_owned()]
}

/// Reads `{entry: [value]}`, where the list is empty if the entry is undefined.
pub(crate) fn decode(answer: Value, phase: Phase) -> Result<Answer, Malformed> {
    let mut slots: BTreeMap<String, Vec<Value>> =
        serde_json::from_value(answer).map_err(|error| malformed("answer", error.to_string()))?;
    let mut taken = |entry: Entry| slots.remove(entry.as_str()).and_then(|mut slot| slot.pop());
    let answer = Answer {
        allow: taken(Entry::Allow).map(|value| single(Entry::Allow, value)).transpose()?,
        grants: set(Entry::Grants, taken(Entry::Grants))?,
        deny: set(Entry::Deny, taken(Entry::Deny))?,
        approval: set(Entry::Approval, taken(Entry::Approval))?,
        redact: set(Entry::Redact, taken(Entry::Redact))?,
        obligations: set(Entry::Obligations, taken(Entry::Obligations))?,
        limits: set(Entry::Limits, taken(Entry::Limits))?,
        labels: taken(Entry::Labels)
            .map(|value| single(Entry::Labels, value))
            .transpose()?
            .unwrap_or_default(),
    };
    ranges(&answer, phase)?;
    Ok(cut(answer))
}

fn malformed(entry: &'static str, detail: impl Into<String>) -> Malformed {
    Malformed { entry, detail: detail.into() }
}

fn single<T: DeserializeOwned>(entry: Entry, value: Value) -> Result<T, Malformed> {
    serde_json::from_value(value).map_err(|error| malformed(entry.as_str(), error.to_string()))
}

fn set<T: DeserializeOwned>(entry: Entry, value: Option<Value>) -> Result<Vec<T>, Malformed> {
    let items: Vec<T> = value.map(|value| single(entry, value)).transpose()?.unwrap_or_default();
    if items.len() > ITEMS_MAX {
        return Err(malformed(entry.as_str(), format!("more than {ITEMS_MAX} items")));
    }
    Ok(items)
}

/// What types do not say.
fn ranges(answer: &Answer, phase: Phase) -> Result<(), Malformed> {
    for deny in &answer.deny {
        id("deny", &deny.id)?;
    }
    for approval in &answer.approval {
        id("approval", &approval.id)?;
        terms(approval).map_err(|detail| malformed("approval", detail))?;
    }
    for redaction in &answer.redact {
        let root = if phase == Phase::Response { "/result" } else { "/arguments" };
        let rest = redaction.path.strip_prefix(root);
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            return Err(malformed("redact", format!("a path here begins with {root}")));
        }
    }
    for obligation in &answer.obligations {
        id("obligations", &obligation.id)?;
        id("obligations", &obligation.r#type)?;
    }
    for limit in &answer.limits {
        bound(limit).map_err(|detail| malformed("limits", detail))?;
    }
    for grant in &answer.grants {
        if let Grant::Pattern(pattern) = grant
            && !pattern.contains('/')
        {
            return Err(malformed("grants", "a pattern is server/tool"));
        }
    }
    Ok(())
}

fn id(entry: &'static str, id: &str) -> Result<(), Malformed> {
    let plain = !id.is_empty() && id.len() <= ID_BYTES_MAX && !id.contains(char::is_control);
    if plain {
        Ok(())
    } else {
        Err(malformed(entry, format!("an id is 1 to {ID_BYTES_MAX} bytes")))
    }
}

fn terms(approval: &Approval) -> Result<(), String> {
    if approval.approvers.is_empty() {
        return Err("no approvers: nobody could release the call".to_owned());
    }
    for approver in &approval.approvers {
        let named = ["group:", "role:", "user:"]
            .iter()
            .any(|kind| approver.strip_prefix(kind).is_some_and(|name| !name.is_empty()));
        if !named {
            return Err("an approver is group:NAME, role:NAME or user:ID".to_owned());
        }
    }
    if approval.not.iter().any(|word| word != "requester" && word != "requester_agent") {
        return Err("not holds requester or requester_agent".to_owned());
    }
    let within = (1..=QUORUM_MAX).contains(&approval.quorum)
        && (1..=TTL_S_MAX).contains(&approval.ttl_s)
        && (1..=TTL_S_MAX).contains(&approval.execute_within_s)
        && (1..=USES_MAX).contains(&approval.max_uses);
    if within {
        Ok(())
    } else {
        Err("quorum, ttl_s, execute_within_s or max_uses is out of range".to_owned())
    }
}

fn bound(limit: &Limit) -> Result<(), String> {
    let fine = match (limit.rate, &limit.budget, limit.amount) {
        (Some(rate), None, None) => rate.per_s > 0.0 && rate.burst > 0,
        (None, Some(budget), Some(amount)) => !budget.is_empty() && amount >= 0.0,
        _ => return Err("a limit has a key and either a rate or a budget and an amount".to_owned()),
    };
    let fine = fine && !limit.key.is_empty();
    if fine { Ok(()) } else { Err("a rate or an amount is out of range".to_owned()) }
}

fn cut(mut answer: Answer) -> Answer {
    let shorten = |text: &mut String| {
        if text.len() > MESSAGE_CHARS_MAX {
            *text = text.chars().take(MESSAGE_CHARS_MAX).collect();
        }
    };
    for deny in &mut answer.deny {
        shorten(&mut deny.msg);
        shorten(&mut deny.user_msg);
    }
    for approval in &mut answer.approval {
        shorten(&mut approval.reason);
        shorten(&mut approval.user_msg);
    }
    answer
}

impl From<Approval> for ApprovalRequirement {
    fn from(approval: Approval) -> Self {
        let Approval { id, mut approvers, quorum, mut not, .. } = approval;
        approvers.sort();
        approvers.dedup();
        not.sort();
        not.dedup();
        Self { id, approvers, quorum, not }
    }
}
