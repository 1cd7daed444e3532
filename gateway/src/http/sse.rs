//! Server-sent events as text (WHATWG HTML §9.2), one JSON-RPC message in each.

use bytes::Bytes;

use crate::call::keep_alive;
use crate::upstream::SseEvent;

/// The text of one event. Messages are JSON on one line or several; each line is a `data` line.
#[must_use]
pub fn encode(event: &SseEvent) -> Bytes {
    if *event == keep_alive() {
        return Bytes::from_static(b": keep-alive\n\n");
    }
    let mut text = Vec::with_capacity(event.data.len().saturating_add(64));
    let mut field = |name: &str, value: &[u8]| {
        text.extend_from_slice(name.as_bytes());
        text.extend_from_slice(b": ");
        text.extend_from_slice(value);
        text.push(b'\n');
    };
    if let Some(name) = &event.event {
        field("event", one_line(name).as_bytes());
    }
    if let Some(id) = &event.id {
        field("id", one_line(id).as_bytes());
    }
    if let Some(retry) = event.retry {
        field("retry", retry.to_string().as_bytes());
    }
    let data: &[u8] = &event.data;
    for line in data.split(|byte| *byte == b'\n' || *byte == b'\r') {
        if !line.is_empty() || data.is_empty() {
            field("data", line);
        }
    }
    text.push(b'\n');
    Bytes::from(text)
}

fn one_line(text: &str) -> String {
    text.chars().filter(|c| !matches!(c, '\n' | '\r' | '\0')).collect()
}
