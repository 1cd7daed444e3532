//! The strict event reader: RFC 8259 without extensions, one value, no recursion.

use std::ops::Range;

use super::Fault;
use crate::text::byte;

/// What comes next in a document. Ranges of strings lie between the quotes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    ObjectStart(usize),
    ObjectEnd(usize),
    ArrayStart(usize),
    ArrayEnd(usize),
    Key(Range<usize>),
    String(Range<usize>),
    Number(Range<usize>),
    /// `true`, `false`, `null`
    Literal(Range<usize>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Want {
    Value,
    /// A value, or `]` straight after `[`.
    ValueOrEnd,
    /// A key, or `}` straight after `{`.
    KeyOrEnd,
    CommaOrEnd,
    End,
}

/// Reads one document.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    bytes: &'a [u8],
    at: usize,
    /// True for each open object, false for each open array.
    open: Vec<bool>,
    want: Want,
    depth_max: usize,
}

impl<'a> Events<'a> {
    pub(crate) const fn new(text: &'a str, depth_max: usize) -> Self {
        Self { bytes: text.as_bytes(), at: 0, open: Vec::new(), want: Want::Value, depth_max }
    }

    /// The next event, or `None` after the document and nothing but white space.
    pub(crate) fn next(&mut self) -> Result<Option<Event>, Fault> {
        self.space();
        match self.want {
            Want::End if self.at == self.bytes.len() => Ok(None),
            Want::End => Err(self.fault()),
            Want::CommaOrEnd => match self.peek() {
                b',' => {
                    self.step(1);
                    self.space();
                    if self.open.last() == Some(&true) { self.key() } else { self.value() }
                }
                b'}' | b']' => self.close(),
                _ => Err(self.fault()),
            },
            Want::KeyOrEnd if self.peek() == b'}' => self.close(),
            Want::KeyOrEnd => self.key(),
            Want::ValueOrEnd if self.peek() == b']' => self.close(),
            Want::ValueOrEnd | Want::Value => self.value(),
        }
    }

    /// The document is read; what follows is white space or something else.
    pub(crate) fn complete(&self) -> bool {
        self.want == Want::End
    }

    /// The offset after the event read last.
    pub(crate) const fn position(&self) -> usize {
        self.at
    }

    fn key(&mut self) -> Result<Option<Event>, Fault> {
        if self.peek() != b'"' {
            return Err(self.fault());
        }
        let range = self.string()?;
        self.space();
        if self.peek() != b':' {
            return Err(self.fault());
        }
        self.step(1);
        self.want = Want::Value;
        Ok(Some(Event::Key(range)))
    }

    fn value(&mut self) -> Result<Option<Event>, Fault> {
        let start = self.at;
        let event = match self.peek() {
            b'{' => {
                self.open_container(true, Want::KeyOrEnd)?;
                return Ok(Some(Event::ObjectStart(start)));
            }
            b'[' => {
                self.open_container(false, Want::ValueOrEnd)?;
                return Ok(Some(Event::ArrayStart(start)));
            }
            b'"' => Event::String(self.string()?),
            b'-' | b'0'..=b'9' => Event::Number(self.number()?),
            _ => Event::Literal(self.literal()?),
        };
        self.after_value();
        Ok(Some(event))
    }

    fn open_container(&mut self, object: bool, want: Want) -> Result<(), Fault> {
        if self.open.len() >= self.depth_max {
            return Err(Fault::Depth);
        }
        self.open.push(object);
        self.step(1);
        self.want = want;
        Ok(())
    }

    fn close(&mut self) -> Result<Option<Event>, Fault> {
        let at = self.at;
        let event = match (self.peek(), self.open.last()) {
            (b'}', Some(true)) => Event::ObjectEnd(at),
            (b']', Some(false)) => Event::ArrayEnd(at),
            _ => return Err(self.fault()),
        };
        self.open.pop();
        self.step(1);
        self.after_value();
        Ok(Some(event))
    }

    fn after_value(&mut self) {
        self.want = if self.open.is_empty() { Want::End } else { Want::CommaOrEnd };
    }

    fn string(&mut self) -> Result<Range<usize>, Fault> {
        self.step(1);
        let start = self.at;
        loop {
            match self.peek() {
                b'"' => break,
                b'\\' => self.escape()?,
                0..=0x1F => return Err(self.fault()),
                _ => self.step(1),
            }
        }
        let end = self.at;
        self.step(1);
        Ok(start..end)
    }

    fn escape(&mut self) -> Result<(), Fault> {
        self.step(1);
        match self.peek() {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => self.step(1),
            b'u' => {
                self.step(1);
                for _ in 0..4 {
                    if !self.peek().is_ascii_hexdigit() {
                        return Err(self.fault());
                    }
                    self.step(1);
                }
            }
            _ => return Err(self.fault()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<Range<usize>, Fault> {
        let start = self.at;
        if self.peek() == b'-' {
            self.step(1);
        }
        if self.peek() == b'0' {
            self.step(1);
        } else {
            self.digits()?;
        }
        if self.peek() == b'.' {
            self.step(1);
            self.digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.step(1);
            if matches!(self.peek(), b'+' | b'-') {
                self.step(1);
            }
            self.digits()?;
        }
        Ok(start..self.at)
    }

    fn digits(&mut self) -> Result<(), Fault> {
        if !self.peek().is_ascii_digit() {
            return Err(self.fault());
        }
        while self.peek().is_ascii_digit() {
            self.step(1);
        }
        Ok(())
    }

    fn literal(&mut self) -> Result<Range<usize>, Fault> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let word = ["true", "false", "null"].iter().find(|word| rest.starts_with(word.as_bytes()));
        let Some(word) = word else { return Err(self.fault()) };
        let start = self.at;
        self.step(word.len());
        Ok(start..self.at)
    }

    fn space(&mut self) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.step(1);
        }
    }

    fn peek(&self) -> u8 {
        byte(self.bytes, self.at)
    }

    fn step(&mut self, count: usize) {
        self.at = self.at.saturating_add(count);
    }

    const fn fault(&self) -> Fault {
        Fault::Syntax(self.at)
    }
}
