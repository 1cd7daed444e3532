//! The places of one document: each value's token, each string decoded, and what is called what.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

use super::Fault;
use super::lex::{Event, Events};
use crate::map::Map;
use crate::text::part;

/// Names whose string value says what a sibling is about (`{"name":"API_KEY","value":"…"}`).
const LABELS: [&str; 7] = ["name", "key", "header", "field", "label", "type", "id"];
const LABEL_BYTES_MAX: usize = 64;

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Literal,
}

/// How a node is reached from its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Root,
    /// Index into `Tree::texts` of the key.
    Member(usize),
    Item(usize),
}

/// One value.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    /// The whole token, quotes and brackets included.
    pub(crate) token: Range<usize>,
    /// For members, from the quote of the key to the end of the value; else `token`.
    pub(crate) member: Range<usize>,
    pub(crate) parent: Option<usize>,
    step: Step,
    /// Of an object: texts of label members, joined by spaces.
    label: String,
}

/// What one text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Key,
    String,
    Number,
}

/// One key, string or number, decoded.
#[derive(Clone, Debug)]
pub(crate) struct Text<'a> {
    pub(crate) role: Role,
    pub(crate) decoded: Cow<'a, str>,
    /// From `decoded` to the document.
    pub(crate) map: Map,
    /// Content of the token (between the quotes) in the document.
    pub(crate) content: Range<usize>,
    /// The value; of a key, the value it names.
    pub(crate) node: usize,
}

/// One document.
#[derive(Debug, Default)]
pub(crate) struct Tree<'a> {
    pub(crate) nodes: Vec<Node>,
    /// In order of the document.
    pub(crate) texts: Vec<Text<'a>>,
    /// What stands in pointers for names that may not appear, by index of the key's text.
    masked: RefCell<HashMap<usize, String>>,
}

impl<'a> Tree<'a> {
    /// Reads a document.
    pub(crate) fn read(document: &'a str, depth_max: usize) -> Result<Self, Fault> {
        let mut reader = Reader { document, tree: Self::default(), open: Vec::new(), key: None };
        let mut events = Events::new(document, depth_max);
        while let Some(event) = events.next()? {
            reader.take(event);
        }
        Ok(reader.tree)
    }

    /// Reads the document that `text` starts with and that ends with a line; also its length.
    pub(crate) fn read_prefix(text: &'a str, depth_max: usize) -> Result<(Self, usize), Fault> {
        let mut reader =
            Reader { document: text, tree: Self::default(), open: Vec::new(), key: None };
        let mut events = Events::new(text, depth_max);
        while !events.complete() {
            let Some(event) = events.next()? else { break };
            reader.take(event);
        }
        let end = events.position();
        let tail = part(text, end..text.len());
        let line = tail.split('\n').next().unwrap_or("");
        if line.trim().is_empty() { Ok((reader.tree, end)) } else { Err(Fault::Syntax(end)) }
    }

    /// RFC 6901 pointer of a node, after `root`.
    pub(crate) fn pointer(&self, node: usize, root: &str) -> String {
        let mut steps = Vec::new();
        let mut at = self.nodes.get(node);
        while let Some(node) = at {
            match node.step {
                Step::Root => {}
                Step::Item(index) => steps.push(index.to_string()),
                Step::Member(key) => {
                    let masked = self.masked.borrow();
                    let plain = || self.texts.get(key).map_or("", |text| text.decoded.as_ref());
                    let key = masked.get(&key).map_or_else(plain, String::as_str);
                    steps.push(key.replace('~', "~0").replace('/', "~1"));
                }
            }
            at = node.parent.and_then(|parent| self.nodes.get(parent));
        }
        let mut pointer = root.to_owned();
        for step in steps.iter().rev() {
            pointer.push('/');
            pointer.push_str(step);
        }
        pointer
    }

    /// Lets `name` stand in pointers for the key that is text number `text`.
    pub(crate) fn mask(&self, text: usize, name: String) {
        self.masked.borrow_mut().insert(text, name);
    }

    /// The name of a node: its key, or that of the nearest named ancestor of an array item.
    pub(crate) fn name(&self, node: usize) -> &str {
        let mut at = self.nodes.get(node);
        while let Some(node) = at {
            if let Step::Member(key) = node.step {
                return self.texts.get(key).map_or("", |text| text.decoded.as_ref());
            }
            at = node.parent.and_then(|parent| self.nodes.get(parent));
        }
        ""
    }

    /// Names of the nearest four named ancestors and the labels beside them, for context.
    pub(crate) fn context(&self, node: usize) -> String {
        let mut context = String::new();
        let mut names = 0_u32;
        let mut at = self.nodes.get(node);
        while let Some(node) = at.filter(|_| names < 4) {
            if let Step::Member(key) = node.step {
                let key = self.texts.get(key).map_or("", |text| text.decoded.as_ref());
                context.push_str(key.get(..128).unwrap_or(key));
                context.push(' ');
                names = names.saturating_add(1);
            }
            at = node.parent.and_then(|parent| self.nodes.get(parent));
            if let Some(parent) = at.filter(|parent| !parent.label.is_empty()) {
                context.push_str(&parent.label);
                context.push(' ');
            }
        }
        context
    }

    /// What an object's label members say, for a value in it.
    pub(crate) fn label(&self, node: usize) -> &str {
        let parent = self.nodes.get(node).and_then(|node| node.parent);
        parent.and_then(|parent| self.nodes.get(parent)).map_or("", |node| node.label.as_str())
    }
}

/// Builds a tree from events.
struct Reader<'a> {
    document: &'a str,
    tree: Tree<'a>,
    /// Open containers: node and, in arrays, the next index.
    open: Vec<(usize, usize)>,
    /// The key read last, until its value comes.
    key: Option<usize>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, event: Event) {
        match event {
            Event::ObjectStart(at) => self.start(Kind::Object, at),
            Event::ArrayStart(at) => self.start(Kind::Array, at),
            Event::ObjectEnd(at) | Event::ArrayEnd(at) => self.end(at.saturating_add(1)),
            Event::Key(range) => {
                self.key = Some(self.tree.texts.len());
                let node = self.tree.nodes.len();
                self.text(Role::Key, range, node);
            }
            Event::String(range) => {
                let token = range.start.saturating_sub(1)..range.end.saturating_add(1);
                let labels = self.labels();
                let node = self.node(Kind::String, token);
                self.text(Role::String, range, node);
                if labels {
                    self.note_label();
                }
            }
            Event::Number(range) => {
                let node = self.node(Kind::Number, range.clone());
                if range.len() >= 7 {
                    self.text(Role::Number, range, node);
                }
            }
            Event::Literal(range) => {
                self.node(Kind::Literal, range);
            }
        }
    }

    fn start(&mut self, kind: Kind, at: usize) {
        let node = self.node(kind, at..at);
        self.open.push((node, 0));
    }

    fn end(&mut self, at: usize) {
        let Some((node, _)) = self.open.pop() else { return };
        if let Some(node) = self.tree.nodes.get_mut(node) {
            node.token.end = at;
            node.member.end = at;
        }
    }

    fn node(&mut self, kind: Kind, token: Range<usize>) -> usize {
        let index = self.tree.nodes.len();
        let key = self.key.take();
        let mut member = token.clone();
        let step = match (key, self.open.last_mut()) {
            (_, None) => Step::Root,
            (Some(key), _) => {
                let content = self.tree.texts.get(key).map(|text| text.content.start);
                member.start = content.unwrap_or(member.start).saturating_sub(1);
                Step::Member(key)
            }
            (None, Some((_, next))) => {
                let item = *next;
                *next = next.saturating_add(1);
                Step::Item(item)
            }
        };
        let parent = self.open.last().map(|(node, _)| *node);
        self.tree.nodes.push(Node { kind, token, member, parent, step, label: String::new() });
        index
    }

    fn text(&mut self, role: Role, content: Range<usize>, node: usize) {
        let raw = part(self.document, content.clone());
        let (decoded, map) = unescape(raw, content.start);
        self.tree.texts.push(Text { role, decoded, map, content, node });
    }

    /// The key read last is one whose value labels its siblings.
    fn labels(&self) -> bool {
        let key = self.key.and_then(|key| self.tree.texts.get(key));
        key.is_some_and(|key| LABELS.iter().any(|label| key.decoded.eq_ignore_ascii_case(label)))
    }

    fn note_label(&mut self) {
        let Some(text) = self.tree.texts.last() else { return };
        if text.decoded.len() > LABEL_BYTES_MAX {
            return;
        }
        let value = text.decoded.clone();
        let parent = self.open.last().and_then(|(node, _)| self.tree.nodes.get_mut(*node));
        if let Some(parent) = parent {
            parent.label.push_str(&value);
            parent.label.push(' ');
        }
    }
}

/// Decodes the content of a string token that [`Events`] has accepted. A lone surrogate becomes
/// U+FFFD: it cannot be part of anything a rule looks for.
fn unescape(raw: &str, base: usize) -> (Cow<'_, str>, Map) {
    let mut map = Map::at(base);
    if !raw.contains('\\') {
        return (Cow::Borrowed(raw), map);
    }
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(at) = rest.find('\\') {
        let (plain, escape) = rest.split_at(at);
        out.push_str(plain);
        let (character, length) = decode_escape(escape);
        let start = base.saturating_add(raw.len().saturating_sub(escape.len()));
        let inner = out.len();
        out.push(character);
        map.push(inner..out.len(), start..start.saturating_add(length));
        rest = escape.get(length..).unwrap_or("");
    }
    out.push_str(rest);
    (Cow::Owned(out), map)
}

/// The character of the escape at the start of `escape`, and the escape's length.
pub(crate) fn decode_escape(escape: &str) -> (char, usize) {
    let letter = escape.as_bytes().get(1).copied().unwrap_or(b'\\');
    let simple = match letter {
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'u' => return decode_unicode(escape),
        other => char::from(other),
    };
    (simple, 2)
}

fn decode_unicode(escape: &str) -> (char, usize) {
    let unit = |at: usize| {
        let digits = part(escape, at..at.saturating_add(4));
        u32::from_str_radix(digits, 16).unwrap_or(0xFFFD)
    };
    let high = unit(2);
    if (0xD800..0xDC00).contains(&high) && part(escape, 6..8) == "\\u" {
        let low = unit(8);
        if (0xDC00..0xE000).contains(&low) {
            let code = 0x1_0000_u32
                .saturating_add(high.saturating_sub(0xD800) << 10)
                .saturating_add(low.saturating_sub(0xDC00));
            return (char::from_u32(code).unwrap_or('\u{FFFD}'), 12);
        }
    }
    (char::from_u32(high).unwrap_or('\u{FFFD}'), 6)
}
