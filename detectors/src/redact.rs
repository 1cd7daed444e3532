//! Taking findings out of texts and documents. Only the spans change; every other byte stays.
//!
//! A span in a string becomes the marker `[REDACTED:ENTITY]`, whose characters need no escape in
//! JSON, in JSON inside a JSON string, in a URL or in a shell. A number becomes `0`, so that its
//! type is kept. A name of a member is never changed: what cannot be redacted is the caller's to
//! refuse ([`RedactError::Key`]).

use std::collections::HashMap;
use std::ops::Range;

use forge_schemas::finding::{Confidence, Finding, FindingKind};

use crate::decode::{self, Document};
use crate::json::tree::{Role, Tree};
use crate::limits::ScanError;
use crate::scanner::{Scanner, utf8};
use crate::text::{MARKER, ceil, floor, part};

/// A document could not be redacted; nothing of it may be passed on.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// A finding lies in the name of a member.
    #[error("the name of the member at {pointer} cannot be redacted")]
    Key {
        /// The member, its name masked.
        pointer: String,
    },
    /// A pointer leads nowhere.
    #[error("there is nothing at {pointer}")]
    Pointer {
        /// The pointer.
        pointer: String,
    },
    /// A span is not inside one string or number.
    #[error("bytes {start} to {end} at {pointer} are not part of one value")]
    Span {
        /// The string.
        pointer: String,
        /// First byte.
        start: usize,
        /// Byte after the last.
        end: usize,
    },
    /// The document cannot be read.
    #[error("the document cannot be read")]
    Document {
        /// Why.
        #[source]
        source: ScanError,
    },
}

impl RedactError {
    /// Stable name of the fault.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Key { .. } => "key",
            Self::Pointer { .. } => "pointer",
            Self::Span { .. } => "span",
            Self::Document { .. } => "document",
        }
    }
}

/// The text that stands for a value of `entity`.
#[must_use]
pub fn marker(entity: &str) -> String {
    format!("{MARKER}{entity}]")
}

/// A span to be replaced, and by what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) range: Range<usize>,
    pub(crate) with: String,
}

/// A span of a string, with the strongest finding in it.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) range: Range<usize>,
    pub(crate) with: String,
    strength: (bool, bool, Confidence, usize),
}

impl Span {
    pub(crate) fn of(finding: &Finding, with: String) -> Self {
        let strength = (
            finding.kind == FindingKind::Secret,
            finding.kind == FindingKind::Poison,
            finding.confidence,
            finding.end.saturating_sub(finding.start),
        );
        Self { range: finding.start..finding.end, with, strength }
    }
}

/// Why a span cannot be replaced.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    Key,
    Span(Range<usize>),
}

impl Scanner {
    /// The text with its findings replaced. Where the text is or holds JSON, that stays valid; a
    /// name of a member in it is replaced too, because here the text is all there is.
    #[must_use]
    pub fn redact_text(&self, text: &str, findings: &[Finding]) -> String {
        let spans = findings.iter().map(|finding| Span::of(finding, marker(&finding.entity)));
        let spans = merge(text, spans.collect());
        let plain = |spans: Vec<Span>| -> Vec<Edit> {
            spans.into_iter().map(|span| Edit { range: span.range, with: span.with }).collect()
        };
        let edits = self
            .edits(text, &spans, self.limits.nested_json_max, true)
            .unwrap_or_else(|_stop| plain(spans));
        splice(text, edits)
    }

    /// The document with its findings replaced; see the module for how. `root` and `findings` are
    /// those of [`Scanner::scan_json`] on the same bytes.
    ///
    /// # Errors
    /// If a finding is in a name, points nowhere or outside of its value, or if the document cannot
    /// be read. Then nothing was redacted.
    pub fn redact_json(
        &self,
        json: &[u8],
        root: &str,
        findings: &[Finding],
    ) -> Result<Vec<u8>, RedactError> {
        if findings.is_empty() {
            return Ok(json.to_vec());
        }
        let (text, tree) = self.read(json)?;
        self.mask_names(&tree, findings)?;
        let places = Places::new(&tree, root);
        let mut spans: HashMap<usize, Vec<Span>> = HashMap::new();
        for finding in findings {
            if finding.in_key {
                return Err(RedactError::Key { pointer: finding.pointer.clone() });
            }
            for node in places.nodes(&finding.pointer)? {
                let span = Span::of(finding, marker(&finding.entity));
                spans.entry(*node).or_default().push(span);
            }
        }
        let mut edits = Vec::new();
        for (index, text) in tree.texts.iter().enumerate() {
            if text.role != Role::Key
                && let Some(spans) = spans.remove(&text.node)
            {
                let pointer = || tree.pointer(text.node, root);
                edits.extend(
                    self.text_edits(&tree, index, spans).map_err(|stop| stop.at(pointer()))?,
                );
            }
        }
        if !spans.is_empty() {
            return Err(RedactError::Pointer { pointer: root.to_owned() });
        }
        Ok(splice(text, edits).into_bytes())
    }

    pub(crate) fn read<'a>(&self, json: &'a [u8]) -> Result<(&'a str, Tree<'a>), RedactError> {
        let text = utf8(json).map_err(|source| RedactError::Document { source })?;
        let tree = Tree::read(text, self.limits.depth_max).map_err(|fault| {
            let source = match fault {
                crate::json::Fault::Syntax(at) => ScanError::Json { at },
                crate::json::Fault::Depth => ScanError::Depth { most: self.limits.depth_max },
            };
            RedactError::Document { source }
        })?;
        Ok((text, tree))
    }

    /// Masks names as [`Scanner::scan_json`] did, where a finding points into a masked one.
    pub(crate) fn mask_names(
        &self,
        tree: &Tree<'_>,
        findings: &[Finding],
    ) -> Result<(), RedactError> {
        if findings.iter().any(|finding| finding.pointer.contains(MARKER)) {
            let masked = self.names(tree);
            masked.map_err(|source| RedactError::Document { source })?;
        }
        Ok(())
    }

    /// Edits in the document for spans of one of its texts.
    pub(crate) fn text_edits(
        &self,
        tree: &Tree<'_>,
        index: usize,
        spans: Vec<Span>,
    ) -> Result<Vec<Edit>, Stop> {
        let Some(text) = tree.texts.get(index) else { return Ok(Vec::new()) };
        match text.role {
            Role::Key => Err(Stop::Key),
            Role::Number => Ok(vec![Edit { range: text.content.clone(), with: "0".to_owned() }]),
            Role::String => {
                let spans = merge(&text.decoded, spans);
                let edits =
                    self.edits(&text.decoded, &spans, self.limits.nested_json_max, false)?;
                let outer = |edit: Edit| Edit { range: text.map.span(edit.range), ..edit };
                Ok(edits.into_iter().map(outer).collect())
            }
        }
    }

    /// Edits in `text` for its spans. In a JSON document inside it, numbers stay numbers. `lenient`
    /// allows to change names there.
    fn edits(
        &self,
        text: &str,
        spans: &[Span],
        nested: usize,
        lenient: bool,
    ) -> Result<Vec<Edit>, Stop> {
        let documents = if nested == 0 || spans.is_empty() {
            Vec::new()
        } else {
            decode::documents(text, self.limits.depth_max).unwrap_or_default()
        };
        let mut edits = Vec::new();
        let mut rest = spans;
        while let Some((span, others)) = rest.split_first() {
            let next = documents.partition_point(|d| d.range.end <= span.range.start);
            let document = documents.get(next).filter(|d| meets(&d.range, &span.range));
            let Some(document) = document else {
                edits.push(Edit { range: span.range.clone(), with: span.with.clone() });
                rest = others;
                continue;
            };
            let Some(index) = text_at(document, &span.range) else {
                return Err(Stop::Span(span.range.clone()));
            };
            let count =
                rest.iter().take_while(|next| text_at(document, &next.range) == Some(index));
            let (group, others) = rest.split_at_checked(count.count()).unwrap_or((rest, &[]));
            rest = others;
            edits.extend(self.nested_edits(document, index, group, (nested, lenient))?);
        }
        Ok(edits)
    }

    /// Edits for spans that lie in one string, name or number of a JSON document inside a text.
    fn nested_edits(
        &self,
        document: &Document<'_>,
        index: usize,
        spans: &[Span],
        (nested, lenient): (usize, bool),
    ) -> Result<Vec<Edit>, Stop> {
        let Some(text) = document.tree.texts.get(index) else { return Ok(Vec::new()) };
        let shift = document.range.start;
        let outer = |range: Range<usize>| {
            range.start.saturating_add(shift)..range.end.saturating_add(shift)
        };
        if text.role == Role::Number {
            return Ok(vec![Edit { range: outer(text.content.clone()), with: "0".to_owned() }]);
        }
        if text.role == Role::Key && !lenient {
            return Err(Stop::Key);
        }
        let inner = |span: &Span| {
            let start = text.map.back(span.range.start.saturating_sub(shift));
            let end = text.map.back_end(span.range.end.saturating_sub(shift));
            Span { range: start..end, ..span.clone() }
        };
        let spans: Vec<Span> = spans.iter().map(inner).collect();
        let edits = self.edits(&text.decoded, &spans, nested.saturating_sub(1), lenient)?;
        let map = |edit: Edit| Edit { range: outer(text.map.span(edit.range)), ..edit };
        Ok(edits.into_iter().map(map).collect())
    }
}

impl Stop {
    pub(crate) fn at(self, pointer: String) -> RedactError {
        match self {
            Self::Key => RedactError::Key { pointer },
            Self::Span(range) => RedactError::Span { pointer, start: range.start, end: range.end },
        }
    }
}

/// Which nodes a pointer names. Several, if a document has the same name twice in an object.
pub(crate) struct Places(HashMap<String, Vec<usize>>);

impl Places {
    pub(crate) fn new(tree: &Tree<'_>, root: &str) -> Self {
        let mut places: HashMap<String, Vec<usize>> = HashMap::with_capacity(tree.nodes.len());
        for node in 0..tree.nodes.len() {
            places.entry(tree.pointer(node, root)).or_default().push(node);
        }
        Self(places)
    }

    pub(crate) fn nodes(&self, pointer: &str) -> Result<&[usize], RedactError> {
        let nodes = self.0.get(pointer).map(Vec::as_slice);
        nodes.ok_or_else(|| RedactError::Pointer { pointer: pointer.to_owned() })
    }
}

fn meets(document: &Range<usize>, span: &Range<usize>) -> bool {
    document.start < span.end && span.start < document.end
}

/// The text of a document inside a text whose content holds a span.
fn text_at(document: &Document<'_>, span: &Range<usize>) -> Option<usize> {
    let start = span.start.checked_sub(document.range.start)?;
    let end = span.end.checked_sub(document.range.start)?;
    let texts = &document.tree.texts;
    let after = texts.partition_point(|text| text.content.start <= start);
    let index = after.checked_sub(1)?;
    texts.get(index).filter(|text| end <= text.content.end).map(|_| index)
}

/// Sorts spans and unites those that overlap; the strongest names the union.
fn merge(text: &str, mut spans: Vec<Span>) -> Vec<Span> {
    for span in &mut spans {
        span.range = floor(text, span.range.start)..ceil(text, span.range.end);
    }
    spans.sort_by_key(|span| (span.range.start, span.range.end));
    let mut merged: Vec<Span> = Vec::with_capacity(spans.len());
    for span in spans {
        match merged.last_mut() {
            Some(last) if span.range.start < last.range.end => {
                last.range.end = last.range.end.max(span.range.end);
                if span.strength > last.strength {
                    last.strength = span.strength;
                    last.with = span.with;
                }
            }
            _ => merged.push(span),
        }
    }
    merged
}

/// `text` with edits made. Of overlapping edits the first and, from the same start, the longest
/// counts.
pub(crate) fn splice(text: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by(|a, b| (a.range.start, b.range.end).cmp(&(b.range.start, a.range.end)));
    let mut out = String::with_capacity(text.len());
    let mut at = 0;
    for edit in edits {
        if edit.range.start < at {
            continue;
        }
        out.push_str(part(text, at..edit.range.start));
        out.push_str(&edit.with);
        at = edit.range.end;
    }
    out.push_str(part(text, at..text.len()));
    out
}
