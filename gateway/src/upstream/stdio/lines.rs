//! Lines from a pipe, with a limit. A line over the limit is read to its end without being kept.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// One line, without its line feed.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    Whole(Bytes),
    /// Over the limit; how it began and ended.
    TooLong {
        head: Bytes,
        tail: Bytes,
    },
}

/// Reads lines.
#[derive(Debug)]
pub(super) struct Lines<R> {
    from: BufReader<R>,
    limit: usize,
    line: BytesMut,
    /// Set while the rest of a long line is skipped: its beginning, and how much was skipped.
    skipping: Option<(Bytes, usize)>,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(from: R, limit: usize) -> Self {
        let from = BufReader::with_capacity(64 * 1024, from);
        Self { from, limit, line: BytesMut::new(), skipping: None }
    }

    /// The next line; `None` at the end of the input, where a line without a line feed is dropped.
    ///
    /// Nothing is lost if the future is dropped before it is ready.
    pub(super) async fn next(&mut self) -> io::Result<Option<Line>> {
        loop {
            let piece = self.from.fill_buf().await?;
            if piece.is_empty() {
                return Ok(None);
            }
            let end = piece.iter().position(|byte| *byte == b'\n');
            let part = piece.get(..end.unwrap_or(piece.len())).unwrap_or_default();
            let used = part.len().saturating_add(usize::from(end.is_some()));
            self.line.extend_from_slice(part);
            self.from.consume(used);
            if let Some(line) = self.settle(end.is_some(), used)? {
                return Ok(Some(line));
            }
        }
    }

    fn settle(&mut self, ended: bool, used: usize) -> io::Result<Option<Line>> {
        if self.skipping.is_none() && self.line.len() > self.limit {
            let head = Bytes::copy_from_slice(self.line.get(..EDGE).unwrap_or(&self.line));
            self.skipping = Some((head, self.line.len()));
        }
        if let Some((_, skipped)) = &mut self.skipping {
            *skipped = skipped.saturating_add(used);
            if *skipped > SKIPPED_MAX.max(self.limit) {
                return Err(io::Error::other("a line without an end"));
            }
            let surplus = self.line.len().saturating_sub(EDGE);
            drop(self.line.split_to(surplus));
        }
        if !ended {
            return Ok(None);
        }
        let line = self.line.split().freeze();
        Ok(Some(match self.skipping.take() {
            Some((head, _)) => Line::TooLong { head, tail: line },
            None => Line::Whole(
                line.strip_suffix(b"\r").map_or(line.clone(), |cut| line.slice_ref(cut)),
            ),
        }))
    }
}

/// Bytes kept of each end of a line that is too long.
const EDGE: usize = 256;
/// A line longer than this ends the process.
const SKIPPED_MAX: usize = 1024 * 1024 * 1024;
