//! The rules that the host reads: right shape, right phase, and items with the right keys as far as
//! they are written out.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a syntax tree is searched for the few shapes that matter"
)]

use std::collections::BTreeMap;

use super::{Fault, code};
use crate::layout::{Entry, Place, place};
use crate::syntax::{At, Expr, Module, Rule, Shape};

/// Keys of an item; the second list may be left out.
const fn keys(entry: Entry) -> (&'static [&'static str], &'static [&'static str]) {
    match entry {
        Entry::Grants => (&["server", "tool"], &[]),
        Entry::Deny => (&["id"], &["msg", "user_msg"]),
        Entry::Approval => (
            &["id", "approvers"],
            &[
                "reason",
                "user_msg",
                "quorum",
                "ttl_s",
                "execute_within_s",
                "scope",
                "max_uses",
                "not",
            ],
        ),
        Entry::Redact => (&["path", "action"], &["with", "finding"]),
        Entry::Obligations => (&["id", "type"], &["properties"]),
        Entry::Limits => (&["key"], &["rate", "budget", "amount"]),
        Entry::Allow | Entry::Labels => (&[], &[]),
    }
}

/// Faults in the entry rules of one module.
pub(super) fn entries(module: &Module, warnings: &mut Vec<Fault>) -> Vec<Fault> {
    let Place::Entry { phase, .. } = place(&module.package) else { return Vec::new() };
    let mut faults = Vec::new();
    let mut ids: super::Ids = BTreeMap::new();
    for rule in &module.rules {
        let Some(entry) = Entry::parse(&rule.name) else { continue };
        let name = entry.as_str();
        if !entry.in_phase(phase) {
            let sentence = format!("{name} has no meaning in phase {}", phase.as_str());
            faults.push(Fault::at(&module.file, rule.at, code::ENTRY, sentence));
        }
        if !fits(entry, rule.shape) {
            let form = match entry {
                Entry::Allow => "`allow if …`",
                Entry::Labels => "`labels[key] := value if …`",
                _ => "a partial set: `NAME contains {…} if …`",
            };
            let sentence = format!("{name} has to be {}", form.replace("NAME", name));
            faults.push(Fault::at(&module.file, rule.at, code::ENTRY, sentence));
            continue;
        }
        for item in items(rule) {
            if let Some((at, code, sentence)) = check_item(entry, rule, item) {
                faults.push(Fault::at(&module.file, at, code, sentence));
            }
        }
        for id in literal_ids(rule) {
            if let Some(first) = ids.insert((entry, id.to_owned()), rule.at) {
                let sentence = format!(
                    "the id {id} is also in line {}; reasons will show the first",
                    first.line
                );
                warnings.push(Fault::at(&module.file, rule.at, code::SAME_ID, sentence));
            }
        }
    }
    faults
}

const fn fits(entry: Entry, shape: Shape) -> bool {
    match entry {
        Entry::Allow => matches!(shape, Shape::Value | Shape::Default),
        Entry::Labels => matches!(shape, Shape::Value | Shape::Object | Shape::Default),
        _ => matches!(shape, Shape::Set),
    }
}

/// The items of a partial set that are written out, in the head or assigned to the head's variable.
/// An empty answer means that an item is made in a way that cannot be read here.
fn items(rule: &Rule) -> Vec<&Expr> {
    match (rule.shape, rule.keys.last()) {
        (Shape::Set, Some(Expr::Name { name, .. })) => {
            let mut found = Vec::new();
            rule.each(&mut |expr| {
                if let Expr::Assign { pattern, value, .. } = expr
                    && matches!(pattern.as_ref(), Expr::Name { name: target, .. } if target == name)
                    && matches!(value.as_ref(), Expr::Object { .. } | Expr::Text { .. })
                {
                    found.push(value.as_ref());
                }
            });
            found
        }
        (Shape::Set, Some(key)) => vec![key],
        _ => Vec::new(),
    }
}

/// Ids that a rule writes out.
pub(crate) fn literal_ids(rule: &Rule) -> Vec<&str> {
    let mut ids = Vec::new();
    for item in items(rule) {
        if let Expr::Object { fields, .. } = item {
            let id = fields.iter().find(|(key, _value)| key.text() == Some("id"));
            ids.extend(id.and_then(|(_key, value)| value.text()));
        }
    }
    ids
}

fn check_item(entry: Entry, rule: &Rule, item: &Expr) -> Option<(At, &'static str, String)> {
    let name = entry.as_str();
    let (needed, optional) = keys(entry);
    match item {
        Expr::Object { at, fields } => {
            let written: Vec<&str> = fields.iter().filter_map(|(key, _value)| key.text()).collect();
            if written.len() != fields.len() {
                return None;
            }
            if let Some(missing) = needed.iter().find(|key| !written.contains(key)) {
                let code = if *missing == "id" { code::WITHOUT_ID } else { code::ITEM };
                return Some((*at, code, format!("an item of {name} needs {missing:?}")));
            }
            let strange =
                written.iter().find(|key| !needed.contains(key) && !optional.contains(key));
            strange.map(|key| (*at, code::ITEM, format!("an item of {name} has no {key:?}")))
        }
        Expr::Text { at, text } if entry == Entry::Grants => {
            let sentence = format!("a grant is \"server/tool\" with * for any text, got {text:?}");
            (!text.contains('/')).then_some((*at, code::ITEM, sentence))
        }
        Expr::Text { at, .. } => {
            let code = if needed.contains(&"id") { code::WITHOUT_ID } else { code::ITEM };
            Some((*at, code, format!("an item of {name} is an object with {}", needed.join(", "))))
        }
        Expr::Number { .. } | Expr::Scalar | Expr::Array { .. } => {
            Some((rule.at, code::ITEM, format!("an item of {name} is an object")))
        }
        _ => None,
    }
}
