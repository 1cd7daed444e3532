//! Every `input.…` of a policy has to exist in the input document: a misspelt attribute is
//! undefined, and an undefined attribute silences its rule.
//!
//! The shape is the schema in `schemas/policy-input.schema.json`. Where it is open (`arguments`,
//! `content`, `approval`, `act`, …) anything goes. A variable that holds a part of the input is not
//! followed.

use std::sync::LazyLock;

use serde_json::Value;

use super::{Fault, code};
use crate::check::names::{Hop, Locals, Symbols, Target};
use crate::syntax::Module;

static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../schemas/policy-input.schema.json");
    serde_json::from_str(text).unwrap_or(Value::Null)
});

/// Paths that the input document does not have.
pub(super) fn check(module: &Module, symbols: &Symbols<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    for import in &module.imports {
        if import.path.first().is_some_and(|first| first == "input") {
            let hops = import.path.iter().skip(1).cloned().map(Hop::Word).collect::<Vec<_>>();
            if let Err(path) = walk(&hops) {
                faults.push(Fault::at(&module.file, import.at, code::INPUT, sentence(&path)));
            }
        }
    }
    for rule in &module.rules {
        let locals = Locals::of(rule);
        rule.each(&mut |expr| {
            if let Some((at, Target::Input(hops))) = symbols.target(module, &locals, expr)
                && let Err(path) = walk(&hops)
            {
                faults.push(Fault::at(&module.file, at, code::INPUT, sentence(&path)));
            }
        });
    }
    faults
}

fn sentence(path: &str) -> String {
    format!("the input has no {path}; reading it would silence the rule")
}

/// Follows the hops; the error is the path up to the one that does not exist.
fn walk(hops: &[Hop]) -> Result<(), String> {
    let mut node = resolved(&SCHEMA);
    let mut path = String::from("input");
    for hop in hops {
        match hop {
            Hop::Word(word) => {
                path.push('.');
                path.push_str(word);
            }
            Hop::Any => path.push_str("[_]"),
        }
        match below(node, hop) {
            Below::Open => return Ok(()),
            Below::Node(next) => node = resolved(next),
            Below::Nothing => return Err(path),
        }
    }
    Ok(())
}

enum Below<'a> {
    /// Anything may follow.
    Open,
    Node(&'a Value),
    Nothing,
}

fn below<'a>(node: &'a Value, hop: &Hop) -> Below<'a> {
    let Some(shape) = node.as_object() else { return Below::Open };
    let kind = shape.get("type").and_then(Value::as_str);
    match (kind, hop) {
        (Some("object"), Hop::Word(word)) => {
            match shape.get("properties").and_then(|properties| properties.get(word)) {
                Some(next) => Below::Node(next),
                None if shape.get("additionalProperties") == Some(&Value::Bool(false)) => {
                    Below::Nothing
                }
                None => Below::Open,
            }
        }
        (Some("object"), Hop::Any) => Below::Open,
        (Some("array"), Hop::Any) => shape.get("items").map_or(Below::Open, Below::Node),
        (Some(_), _) => Below::Nothing,
        (None, _) if shape.contains_key("oneOf") || shape.contains_key("enum") => Below::Nothing,
        (None, _) => Below::Open,
    }
}

/// Undoes `$ref` and the `null` of optional members.
fn resolved(node: &'static Value) -> &'static Value {
    let mut node = node;
    // References in the schema are at most this deep.
    for _step in 0..8 {
        let reference = node.get("$ref").and_then(Value::as_str);
        if let Some(name) = reference.and_then(|text| text.strip_prefix("#/$defs/")) {
            node = SCHEMA.get("$defs").and_then(|defs| defs.get(name)).unwrap_or(&Value::Null);
            continue;
        }
        let choices = node.get("anyOf").and_then(Value::as_array);
        let is_null = |choice: &&Value| choice.get("type").and_then(Value::as_str) == Some("null");
        match choices.and_then(|choices| choices.iter().find(|choice| !is_null(choice))) {
            Some(choice) => node = choice,
            None => break,
        }
    }
    node
}
