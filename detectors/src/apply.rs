//! Changes that policy wants made at places of a document (`Decision.redactions`).
//!
//! | action     | string                              | number, boolean | object, array            |
//! |------------|-------------------------------------|-----------------|--------------------------|
//! | `mask`     | `with`, or `***`                    | `0`, `false`    | every value in it        |
//! | `remove`   | the member goes; an item is `null`  | the same        | the same                 |
//! | `hash`     | `hmac-sha256:` and 64 digits        | as `mask`       | every value in it        |
//! | `tokenize` | `tok_` and 32 digits                | as `mask`       | every value in it        |
//! | `truncate` | its first `with` (16) characters, … | as `mask`       | every value in it        |
//!
//! With `finding`, only the spans of that rule's findings at or below the place are changed in this
//! way. Types stay, except where `remove` takes an item of an array. A place that does not exist has
//! nothing to hide and is no error; one outside of `root` is, because policy meant something by it.
//! A token says only that two values are the same: nothing leads back from it.

use std::ops::Range;

use forge_schemas::finding::Finding;
use forge_schemas::policy::{RedactAction, Redaction};

use crate::json::tree::{Kind, Role, Tree};
use crate::redact::{Edit, Places, RedactError, Span, marker, splice};
use crate::scanner::Scanner;
use crate::text::part;

const MASK: &str = "***";
const TRUNCATE_CHARS: usize = 16;

impl Scanner {
    /// The document with policy's redactions made. `root` and `findings` are those of
    /// [`Scanner::scan_json`] on the same bytes.
    ///
    /// # Errors
    /// If a path is not at or below `root`, if a finding is in a name, or if the document cannot be
    /// read or a place cannot be changed. Then nothing was changed.
    pub fn apply(
        &self,
        json: &[u8],
        root: &str,
        redactions: &[Redaction],
        findings: &[Finding],
    ) -> Result<Vec<u8>, RedactError> {
        if redactions.is_empty() {
            return Ok(json.to_vec());
        }
        let (text, tree) = self.read(json)?;
        self.mask_names(&tree, findings)?;
        let places = Places::new(&tree, root);
        let mut edits = Vec::new();
        let mut removed = Vec::new();
        for redaction in redactions {
            if !below(&redaction.path, root) {
                return Err(RedactError::Pointer { pointer: redaction.path.clone() });
            }
            let Ok(nodes) = places.nodes(&redaction.path) else { continue };
            for node in nodes {
                let change = Change { scanner: self, text, tree: &tree, redaction };
                if !redaction.finding.is_empty() {
                    change.spans(findings, &places, &mut edits)?;
                } else if redaction.action == RedactAction::Remove {
                    removed.push(*node);
                } else {
                    change.whole(*node, &mut edits);
                }
            }
        }
        removed.sort_unstable();
        removed.dedup();
        for node in &removed {
            let edit = removal(&tree, *node, &removed);
            let missing = || RedactError::Pointer { pointer: root.to_owned() };
            edits.push(edit.ok_or_else(missing)?);
        }
        Ok(splice(text, edits).into_bytes())
    }
}

/// `path` is `root` or lies in it.
fn below(path: &str, root: &str) -> bool {
    path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Takes a member with one comma away; an item of an array becomes `null`, so that those after it
/// keep their places. `None` for the document itself.
fn removal(tree: &Tree<'_>, node: usize, removed: &[usize]) -> Option<Edit> {
    let place = tree.nodes.get(node)?;
    let parent = place.parent?;
    if tree.nodes.get(parent)?.kind == Kind::Array {
        return Some(Edit { range: place.token.clone(), with: "null".to_owned() });
    }
    let siblings: Vec<usize> = tree
        .nodes
        .iter()
        .enumerate()
        .filter_map(|(index, node)| (node.parent == Some(parent)).then_some(index))
        .collect();
    // Behind a member that stays, the comma before goes; in front of all that stay, the one after.
    let kept = |index: &&usize| removed.binary_search(index).is_err();
    let mut range = place.member.clone();
    if siblings.iter().take_while(|sibling| **sibling < node).any(|sibling| kept(&sibling)) {
        let previous = siblings.iter().rev().find(|sibling| **sibling < node);
        range.start = previous.and_then(|index| tree.nodes.get(*index))?.member.end;
    } else if let Some(next) = siblings.iter().find(|sibling| **sibling > node) {
        range.end = tree.nodes.get(*next)?.member.start;
    }
    Some(Edit { range, with: String::new() })
}

/// One redaction under way.
struct Change<'a> {
    scanner: &'a Scanner,
    text: &'a str,
    tree: &'a Tree<'a>,
    redaction: &'a Redaction,
}

impl Change<'_> {
    /// Changes the value at `node` as a whole.
    fn whole(&self, node: usize, edits: &mut Vec<Edit>) {
        let Some(place) = self.tree.nodes.get(node) else { return };
        // Nodes stand in the order of the document, so what a container holds follows it.
        for inner in self.tree.nodes.iter().skip(node) {
            if inner.token.start >= place.token.end {
                break;
            }
            let with = match inner.kind {
                Kind::Object | Kind::Array => continue,
                Kind::Number => "0".to_owned(),
                Kind::Literal if part(self.text, inner.token.clone()) == "null" => continue,
                Kind::Literal => "false".to_owned(),
                Kind::String => self.string(&inner.token),
            };
            edits.push(Edit { range: inner.token.clone(), with });
        }
    }

    /// What stands for the string token in `range`, quotes included.
    fn string(&self, range: &Range<usize>) -> String {
        let raw = range.start.saturating_add(1);
        let text = self
            .tree
            .texts
            .iter()
            .find(|text| text.role == Role::String && text.content.start == raw);
        let value = text.map_or("", |text| text.decoded.as_ref());
        serde_json::Value::String(self.changed(value)).to_string()
    }

    fn changed(&self, value: &str) -> String {
        let with = &self.redaction.with;
        match self.redaction.action {
            RedactAction::Mask if with.is_empty() => MASK.to_owned(),
            RedactAction::Mask => with.clone(),
            RedactAction::Remove => String::new(),
            RedactAction::Hash => self.scanner.digest(value),
            RedactAction::Tokenize => {
                let digest = self.scanner.digest(&format!("token {value}"));
                let digits = digest.rsplit(':').next().and_then(|digits| digits.get(..32));
                format!("tok_{}", digits.unwrap_or(""))
            }
            RedactAction::Truncate => {
                let most = with.parse().unwrap_or(TRUNCATE_CHARS);
                let cut = value.char_indices().nth(most).map(|(at, _)| at);
                cut.map_or_else(|| value.to_owned(), |at| format!("{}…", part(value, 0..at)))
            }
        }
    }

    /// Changes the spans of one rule's findings at or below the place.
    fn spans(
        &self,
        findings: &[Finding],
        places: &Places,
        edits: &mut Vec<Edit>,
    ) -> Result<(), RedactError> {
        let wanted = findings.iter().filter(|finding| {
            finding.rule == self.redaction.finding && below(&finding.pointer, &self.redaction.path)
        });
        for finding in wanted {
            if finding.in_key {
                return Err(RedactError::Key { pointer: finding.pointer.clone() });
            }
            for node in places.nodes(&finding.pointer)? {
                let texts = self.tree.texts.iter();
                let index = texts.enumerate().find_map(|(index, text)| {
                    (text.node == *node && text.role != Role::Key).then_some(index)
                });
                let Some(index) = index else { continue };
                let value = self.tree.texts.get(index).map_or("", |text| text.decoded.as_ref());
                let found = part(value, finding.start..finding.end);
                let span = Span::of(finding, self.spelling(finding, found));
                let edited = self.scanner.text_edits(self.tree, index, vec![span]);
                edits.extend(edited.map_err(|stop| stop.at(finding.pointer.clone()))?);
            }
        }
        Ok(())
    }

    /// What stands for a span inside a string. Quotes and backslashes would need as many escapes as
    /// the string has layers, so such a replacement becomes the marker.
    fn spelling(&self, finding: &Finding, found: &str) -> String {
        let unmarked =
            self.redaction.action == RedactAction::Mask && self.redaction.with.is_empty();
        let cut = self.redaction.action == RedactAction::Truncate && !finding.decoded.is_empty();
        let changed = self.changed(found);
        let plain = !changed.chars().any(|c| c == '"' || c == '\\' || c.is_control());
        if unmarked || cut || !plain { marker(&finding.entity) } else { changed }
    }
}
