//! stdin and stdout as lines. Each has a thread of its own: a read of stdin cannot be cancelled,
//! and a runtime that waited for it would never end.

use std::io::{BufRead, Write};
use std::thread;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

/// One line of stdin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// A message, without its line break.
    Message(Bytes),
    /// Longer than the limit; it was skipped.
    TooLong,
}

/// Reads stdin until it ends; the receiver then gets `None`.
pub(super) fn stdin(limit: usize) -> mpsc::Receiver<Line> {
    let (sender, receiver) = mpsc::channel(WAITING_MAX);
    thread::spawn(move || {
        let mut input = std::io::stdin().lock();
        // An input that cannot be read any more has ended.
        while let Ok(Some(line)) = read_line(&mut input, limit) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Writes lines to stdout; the second value resolves, with an error, when the last one is out or
/// nobody reads.
pub(super) fn stdout() -> (mpsc::Sender<Bytes>, oneshot::Receiver<()>) {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(WAITING_MAX);
    let (done, ended) = oneshot::channel::<()>();
    thread::spawn(move || {
        let mut output = std::io::stdout();
        while let Some(message) = receiver.blocking_recv() {
            if write_line(&mut output, &message).is_err() {
                break;
            }
        }
        drop(done);
    });
    (sender, ended)
}

/// The next line that is not empty; `None` at the end.
pub(super) fn read_line(input: &mut impl BufRead, limit: usize) -> std::io::Result<Option<Line>> {
    let mut line = Vec::new();
    let mut too_long = false;
    loop {
        let buffer = input.fill_buf()?;
        let at_end = buffer.is_empty();
        let found = buffer.iter().position(|byte| *byte == b'\n');
        let (part, _) = buffer.split_at(found.unwrap_or(buffer.len()));
        too_long |= line.len().saturating_add(part.len()) > limit;
        if !too_long {
            line.extend_from_slice(part);
        }
        let used = part.len().saturating_add(usize::from(found.is_some()));
        input.consume(used);
        if found.is_none() && !at_end {
            continue;
        }
        if too_long {
            return Ok(Some(Line::TooLong));
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Some(Line::Message(Bytes::from(line.trim_ascii().to_vec()))));
        }
        if at_end {
            return Ok(None);
        }
        line.clear();
    }
}

/// Writes a message as one line. A line break inside JSON is only ever white space.
pub(super) fn write_line(output: &mut impl Write, message: &[u8]) -> std::io::Result<()> {
    let mut line: Vec<u8> = message
        .iter()
        .map(|byte| if matches!(byte, b'\n' | b'\r') { b' ' } else { *byte })
        .collect();
    line.push(b'\n');
    output.write_all(&line)?;
    output.flush()
}

const WAITING_MAX: usize = 64;
