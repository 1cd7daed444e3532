//! Lists: what a principal may not use is not shown, and nothing that was shaped for one principal
//! may be cached for another (MCP 2026-07-28 `server/utilities/caching`).

use forge_schemas::policy::Phase;
use forge_schemas::refusal::RefusalCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::mcp::catalog::Call;
use crate::mcp::envelope::{Message, span, splice};
use crate::state::Gateway;

use super::super::Stop;
use super::super::input::{self, Question};

#[derive(Deserialize)]
struct Tools<'a> {
    #[serde(borrow)]
    tools: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Cached<'a> {
    #[serde(borrow, default, rename = "cacheScope")]
    scope: Option<&'a RawValue>,
}

/// Filters `tools/list`, takes its definitions into the catalog, and makes shared caching private.
pub(super) async fn shape(
    gateway: &Gateway,
    call: &Call,
    message: Message,
) -> Result<Message, Stop> {
    if message.failed() || message.outcome().is_none() {
        return Ok(message);
    }
    let message =
        if call.method() == "tools/list" { filter(gateway, call, message)? } else { message };
    Ok(private(message, call))
}

fn filter(gateway: &Gateway, call: &Call, message: Message) -> Result<Message, Stop> {
    let invalid = || Stop::failed(RefusalCode::UpstreamInvalid);
    let outcome = message.outcome().cloned().ok_or_else(invalid)?;
    let list: Tools<'_> = serde_json::from_slice(&outcome).map_err(|_shape| invalid())?;
    let mut named = Vec::with_capacity(list.tools.len());
    for definition in &list.tools {
        let Named { name } = serde_json::from_str(definition.get()).map_err(|_shape| invalid())?;
        named.push((name, *definition));
    }
    let admission = call.admission();
    if let Some(catalog) = gateway.catalogs.get(&admission.server) {
        catalog.observe(named.iter().map(|(name, definition)| (name.as_str(), *definition)));
    }
    let question = Question {
        phase: Phase::List,
        call,
        message: &admission.message,
        findings: &[],
        approval: None,
        result: None,
    };
    let input = input::build(gateway, question);
    let names: Vec<(String, String)> =
        named.iter().map(|(name, _)| (admission.server.to_string(), name.clone())).collect();
    let shown = admission
        .snapshot
        .policy
        .visible(&input, &names)
        .map_err(|decision| super::denied(&decision))?;
    if shown.iter().all(|shown| *shown) {
        return Ok(message);
    }
    let kept: Vec<&str> = named
        .iter()
        .zip(&shown)
        .filter(|(_, shown)| **shown)
        .map(|((_, definition), _)| definition.get())
        .collect();
    let array = format!("[{}]", kept.join(","));
    replace_tools(&message, &outcome, &array, call).ok_or_else(invalid)
}

/// Splices the `tools` array: from its bracket to its closing bracket.
fn replace_tools(message: &Message, outcome: &[u8], array: &str, call: &Call) -> Option<Message> {
    #[derive(Deserialize)]
    struct Array<'a> {
        #[serde(borrow)]
        tools: &'a RawValue,
    }
    let Array { tools } = serde_json::from_slice(outcome).ok()?;
    let place = span(message.body(), tools.get().as_bytes())?;
    reparsed(splice(message.body(), &place, array.as_bytes())?, call)
}

/// `cacheScope: public` would let a shared cache serve this principal's view to everybody.
fn private(message: Message, call: &Call) -> Message {
    let cacheable = matches!(
        call.method(),
        "server/discover"
            | "tools/list"
            | "prompts/list"
            | "resources/list"
            | "resources/templates/list"
            | "resources/read"
    );
    if !cacheable {
        return message;
    }
    let changed = message.outcome().and_then(|outcome| {
        let Cached { scope } = serde_json::from_slice(outcome).ok()?;
        let scope = scope.filter(|scope| scope.get() == "\"public\"")?;
        let place = span(message.body(), scope.get().as_bytes())?;
        reparsed(splice(message.body(), &place, b"\"private\"")?, call)
    });
    changed.unwrap_or(message)
}

fn reparsed(body: bytes::Bytes, call: &Call) -> Option<Message> {
    Message::parse(body, call.admission().snapshot.config.limits.depth_max).ok()
}
