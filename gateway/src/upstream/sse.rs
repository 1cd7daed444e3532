//! Server-sent events, parsed as the bytes arrive (WHATWG HTML, 9.2.6 "Interpreting an event
//! stream").
//!
//! Two deviations, both so that nothing a server says about resuming gets lost: an event that has
//! only an `id` or a `retry` is handed on with empty data, and data stays bytes (whoever reads it
//! refuses what is not UTF-8). Comments are skipped.

use bytes::Bytes;

use super::body::SseEvent;

/// An event grew over the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventTooLarge;

/// The state between two pieces of a stream.
#[derive(Debug)]
pub(crate) struct Parser {
    limit: usize,
    started: bool,
    /// The last byte was a carriage return: a line feed that follows belongs to it.
    after_return: bool,
    line: Vec<u8>,
    data: Option<Vec<u8>>,
    id: Option<String>,
    event: Option<String>,
    retry: Option<u64>,
}

impl Parser {
    /// A parser that takes events of up to `limit` bytes.
    pub(crate) const fn new(limit: usize) -> Self {
        Self {
            limit,
            started: false,
            after_return: false,
            line: Vec::new(),
            data: None,
            id: None,
            event: None,
            retry: None,
        }
    }

    /// Takes the next piece and adds the events that it completes.
    pub(crate) fn push(
        &mut self,
        mut piece: &[u8],
        events: &mut impl Extend<SseEvent>,
    ) -> Result<(), EventTooLarge> {
        while !piece.is_empty() {
            if std::mem::take(&mut self.after_return)
                && let Some(rest) = piece.strip_prefix(b"\n")
            {
                piece = rest;
                continue;
            }
            let end = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
            let (part, rest) = piece.split_at(end.unwrap_or(piece.len()));
            let held = self.line.len().saturating_add(self.data.as_ref().map_or(0, Vec::len));
            if held.saturating_add(part.len()) > self.limit {
                return Err(EventTooLarge);
            }
            self.line.extend_from_slice(part);
            let Some((ending, rest)) = rest.split_first() else { break };
            self.after_return = *ending == b'\r';
            piece = rest;
            let line = std::mem::take(&mut self.line);
            events.extend(self.take_line(&line));
            self.line = line;
            self.line.clear();
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8]) -> Option<SseEvent> {
        // "One leading U+FEFF BYTE ORDER MARK character must be ignored if any are present."
        let first = !std::mem::replace(&mut self.started, true);
        let line = if first { line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line) } else { line };
        if line.is_empty() {
            return self.dispatch();
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => match &mut self.data {
                Some(data) => {
                    data.push(b'\n');
                    data.extend_from_slice(value);
                }
                None => self.data = Some(value.to_vec()),
            },
            b"event" => self.event = Some(lossy(value)),
            b"id" if !value.contains(&0) => self.id = Some(lossy(value)),
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                self.retry = lossy(value).parse().ok().or(self.retry);
            }
            // A comment (no name) or a field that is not known: ignored.
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<SseEvent> {
        let (data, id, retry) = (self.data.take(), self.id.take(), self.retry.take());
        let event = self.event.take();
        if data.is_none() && id.is_none() && retry.is_none() {
            return None;
        }
        Some(SseEvent { id, event, retry, data: Bytes::from(data.unwrap_or_default()) })
    }
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
