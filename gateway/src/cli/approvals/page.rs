//! An approval as text. Everything that came over the wire goes through [`safe`] first.

use serde_json::Value;

use crate::approval::display::safe_text;

/// The string at `pointer`, safe to print; empty if there is none.
pub(super) fn text(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        Some(Value::String(text)) => safe(text),
        Some(Value::Null) | None => String::new(),
        Some(other) => safe(&other.to_string()),
    }
}

/// Text without characters that move the cursor or hide.
pub(super) fn safe(text: &str) -> String {
    safe_text(text)
}

/// Two or three lines for a list.
pub(super) fn short(approval: &Value, now: i64) -> String {
    let head = format!(
        "{}  {} on {}  for {}  {}",
        text(approval, "/id"),
        text(approval, "/tool"),
        text(approval, "/server"),
        text(approval, "/subject/id"),
        standing(approval, now),
    );
    let arguments = clipped(&arguments(approval));
    format!("{head}\n    rule       {}\n    arguments  {arguments}\n", rules(approval))
}

/// Everything that an approver should have read.
pub(super) fn long(approval: &Value, now: i64) -> String {
    let shown = |pointer: &str| text(approval, pointer);
    let subject = format!("{} ({})", shown("/subject/id"), shown("/subject/issuer"));
    let mut rows = vec![
        ("approval", shown("/id")),
        ("state", standing(approval, now)),
        ("asked by", subject),
        ("tool", format!("{} on {}", shown("/tool"), shown("/server"))),
        ("definition", shown("/schema_digest")),
        ("rule", rules(approval)),
        ("policy", shown("/policy_revision")),
        ("who decides", who(approval)),
        ("execution", execution(approval)),
        ("call", shown("/call")),
    ];
    for vote in list(approval, "/votes") {
        let said = format!("{} by {}", text(vote, "/verdict"), text(vote, "/approver/id"));
        let reason = text(vote, "/reason");
        rows.push(("vote", if reason.is_empty() { said } else { format!("{said}: {reason}") }));
    }
    let bytes = shown("/arguments_bytes");
    rows.push(("arguments", format!("{bytes} bytes, exactly as they would be sent:")));
    let mut page: String = rows
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| format!("{name:<12} {value}\n"))
        .collect();
    page.push_str("\n    ");
    page.push_str(&arguments(approval));
    page.push_str("\n\n");
    for warning in warnings(approval) {
        page.push_str("look twice: ");
        page.push_str(&warning);
        page.push('\n');
    }
    page + &format!("{:<12} {}\n", "digest", shown("/digest"))
}

/// One line about what was decided.
pub(super) fn decided(approval: &Value) -> String {
    let voted = list(approval, "/votes").last();
    let by = voted.map(|vote| format!(" by {}", text(vote, "/approver/id"))).unwrap_or_default();
    let tail = match text(approval, "/state").as_str() {
        "pending" => "; more people have to approve",
        "approved" => "; it is sent when the client is there, once",
        _ => "",
    };
    format!("{}  {}{by}{tail}", text(approval, "/id"), text(approval, "/state"))
}

fn standing(approval: &Value, now: i64) -> String {
    let state = text(approval, "/state");
    let at = |pointer: &str| approval.pointer(pointer).and_then(Value::as_i64);
    let (until, what) = match state.as_str() {
        "pending" => (at("/expires_at"), "expires"),
        "approved" => (at("/execute_by"), "has to be sent"),
        _ => (None, ""),
    };
    match until {
        Some(until) => format!("{state}, {what} {}", span(until.saturating_sub(now))),
        None => state,
    }
}

/// Milliseconds from now, in words.
pub(super) fn span(ms: i64) -> String {
    let seconds = ms / 1000;
    match seconds {
        ..=0 => "now".to_owned(),
        1..=119 => format!("in {seconds} s"),
        120..=7199 => format!("in {} min", seconds / 60),
        _ => format!("in {} h", seconds / 3600),
    }
}

/// The raw text of the arguments, or its beginning.
fn arguments(approval: &Value) -> String {
    text(approval, "/display/arguments/text")
}

fn clipped(line: &str) -> String {
    if line.chars().count() <= LINE_MAX {
        return line.to_owned();
    }
    let start: String = line.chars().take(LINE_MAX).collect();
    format!("{start} … (not all of it)")
}

fn warnings(approval: &Value) -> Vec<String> {
    let mut warnings = Vec::new();
    let escaped = approval.pointer("/display/arguments/escaped").and_then(Value::as_u64);
    if let Some(count) = escaped.filter(|count| *count > 0) {
        warnings.push(format!("{count} characters do not show; they are written as \\uXXXX"));
    }
    let complete = approval.pointer("/display/arguments/complete").and_then(Value::as_bool);
    if complete == Some(false) {
        let digest = text(approval, "/display/arguments/digest");
        warnings.push(format!("the text above is cut off; the whole has the digest {digest}"));
    }
    warnings
}

fn rules(approval: &Value) -> String {
    let reasons = list(approval, "/display/facts/reasons").iter();
    let named: Vec<String> = reasons
        .map(|reason| {
            let (id, msg) = (text(reason, "/id"), text(reason, "/msg"));
            if msg.is_empty() { id } else { format!("{id}: {msg}") }
        })
        .collect();
    if named.is_empty() {
        let required = list(approval, "/terms/required").iter();
        return required.map(|rule| text(rule, "/id")).collect::<Vec<_>>().join("; ");
    }
    named.join("; ")
}

fn who(approval: &Value) -> String {
    let required = list(approval, "/terms/required").iter();
    let all: Vec<String> = required
        .map(|rule| {
            let strings = |pointer: &str| {
                let names = list(rule, pointer).iter().filter_map(Value::as_str).map(safe);
                names.collect::<Vec<_>>().join(", ")
            };
            let not = strings("/not");
            let but = if not.is_empty() { String::new() } else { format!(", not the {not}") };
            format!("{} of {}{but}", text(rule, "/quorum"), strings("/approvers"))
        })
        .collect();
    all.join("; and ")
}

fn execution(approval: &Value) -> String {
    let uses = approval.pointer("/terms/max_uses").and_then(Value::as_u64).unwrap_or_default();
    let within = text(approval, "/terms/execute_within_s");
    let times = if uses == 1 { "once".to_owned() } else { format!("up to {uses} times") };
    format!("{times}, within {within} s of the approval")
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

const LINE_MAX: usize = 120;
