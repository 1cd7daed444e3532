//! The way through one text or document: every string, key and number, every layer of encoding,
//! and back from what was found there to the place that a caller can point at.

use std::collections::HashSet;
use std::ops::Range;

use forge_schemas::finding::{Confidence, Finding, FindingKind};

use crate::assign;
use crate::decode::{self, Decoded};
use crate::engine::Hit;
use crate::json::Fault;
use crate::json::tree::{Role, Text, Tree};
use crate::limits::{Limits, ScanError, Work};
use crate::map::Map;
use crate::names::Names;
use crate::normal::normalise;
use crate::rule::Assignment;
use crate::scanner::Scanner;
use crate::text::{has_phrase, part, words};

/// Shorter texts cannot hold anything that a rule looks for.
const TEXT_BYTES_MIN: usize = 6;

/// One scan under way.
pub(crate) struct Walk<'s> {
    scanner: &'s Scanner,
    limits: Limits,
    pub(crate) work: Work,
    pub(crate) findings: Vec<Finding>,
    /// Rule, span and side of what was found in the string at hand, so that a second layer does not
    /// report it again.
    seen: HashSet<(usize, usize, usize, bool)>,
}

/// How a unit's text came out of the one around it.
#[derive(Clone, Copy)]
struct Trail<'a> {
    map: &'a Map,
    encoding: Option<&'static str>,
    outer: Option<&'a Self>,
}

/// One decoded text.
#[derive(Clone, Copy)]
struct Unit<'a> {
    text: &'a str,
    role: Role,
    /// Names of JSON members around the text.
    names: &'a Names<'a>,
    trail: Option<&'a Trail<'a>>,
    /// The string of the document that all of this stands in.
    pointer: &'a dyn Fn() -> String,
    in_key: bool,
    layers: usize,
    nested: usize,
}

impl<'s> Walk<'s> {
    pub(crate) fn new(scanner: &'s Scanner, limits: Limits, bytes: usize) -> Self {
        let work = Work::new(&limits, bytes);
        Self { scanner, limits, work, findings: Vec::new(), seen: HashSet::new() }
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), ScanError> {
        self.unit(Unit {
            text,
            role: Role::String,
            names: &Names::default(),
            trail: None,
            pointer: &String::new,
            in_key: false,
            layers: 0,
            nested: 0,
        })
    }

    pub(crate) fn document(&mut self, document: &str, root: &str) -> Result<(), ScanError> {
        let tree =
            Tree::read(document, self.limits.depth_max).map_err(|fault| self.fault(fault))?;
        for index in 0..tree.texts.len() {
            self.member(&tree, index, root)?;
        }
        Ok(())
    }

    /// Examines one text of the document. A name with a finding in it is masked in pointers, its own
    /// and those of all below it, so that the value never appears.
    pub(crate) fn member(
        &mut self,
        tree: &Tree<'_>,
        index: usize,
        root: &str,
    ) -> Result<(), ScanError> {
        let Some(text) = tree.texts.get(index) else { return Ok(()) };
        if text.decoded.len() < TEXT_BYTES_MIN {
            return Ok(());
        }
        self.seen.clear();
        let first = self.findings.len();
        let pointer = || tree.pointer(text.node, root);
        self.unit(Unit {
            text: &text.decoded,
            role: text.role,
            names: &Names::of(tree, text.node, None),
            trail: None,
            pointer: &pointer,
            in_key: text.role == Role::Key,
            layers: 0,
            nested: 0,
        })?;
        let new = self.findings.get_mut(first..).unwrap_or_default();
        if text.role == Role::Key && !new.is_empty() {
            tree.mask(index, self.scanner.redact_text(&text.decoded, new));
            for finding in new {
                finding.pointer = pointer();
            }
        }
        Ok(())
    }

    const fn fault(&self, fault: Fault) -> ScanError {
        match fault {
            Fault::Syntax(at) => ScanError::Json { at },
            Fault::Depth => ScanError::Depth { most: self.limits.depth_max },
        }
    }

    /// Examines a text: as JSON where it is, else as it stands and through each encoding in it.
    fn unit(&mut self, unit: Unit<'_>) -> Result<(), ScanError> {
        if unit.role == Role::Number {
            return self.number(unit);
        }
        let documents = decode::documents(unit.text, self.limits.depth_max);
        let documents = documents.map_err(|fault| self.fault(fault))?;
        let mut at = 0;
        for document in &documents {
            self.prose(unit, at..document.range.start)?;
            self.nested(unit, &document.tree, document.range.clone())?;
            at = document.range.end;
        }
        self.prose(unit, at..unit.text.len())
    }

    /// A JSON document inside a text.
    fn nested(
        &mut self,
        unit: Unit<'_>,
        tree: &Tree<'_>,
        range: Range<usize>,
    ) -> Result<(), ScanError> {
        if tree.texts.iter().all(|text| text.decoded.len() < TEXT_BYTES_MIN) {
            return Ok(());
        }
        if unit.nested >= self.limits.nested_json_max || unit.layers >= self.limits.layers_max {
            let most = self.limits.nested_json_max.min(self.limits.layers_max);
            return Err(ScanError::Layers { most });
        }
        self.work.decode(range.len())?;
        let place = Map::at(range.start);
        let outer = Trail { map: &place, encoding: None, outer: unit.trail };
        for text in &tree.texts {
            if text.decoded.len() < TEXT_BYTES_MIN {
                continue;
            }
            let Text { role, decoded, map, node, .. } = text;
            self.unit(Unit {
                text: decoded,
                role: *role,
                names: &Names::of(tree, *node, Some(unit.names)),
                trail: Some(&Trail { map, encoding: Some("json"), outer: Some(&outer) }),
                in_key: unit.in_key || *role == Role::Key,
                layers: unit.layers.saturating_add(1),
                nested: unit.nested.saturating_add(1),
                ..unit
            })?;
        }
        Ok(())
    }

    /// A part of a text that is no JSON document.
    fn prose(&mut self, unit: Unit<'_>, range: Range<usize>) -> Result<(), ScanError> {
        let text = part(unit.text, range.clone());
        if text.len() < TEXT_BYTES_MIN {
            return Ok(());
        }
        let place = Map::at(range.start);
        let trail = Trail { map: &place, encoding: None, outer: unit.trail };
        let unit = Unit { text, trail: Some(&trail), ..unit };
        match normalise(text) {
            None => self.plain(unit),
            Some((text, map)) => {
                let trail = Trail { map: &map, encoding: None, outer: unit.trail };
                self.plain(Unit { text: &text, trail: Some(&trail), ..unit })
            }
        }
    }

    /// A text as rules see it.
    fn plain(&mut self, unit: Unit<'_>) -> Result<(), ScanError> {
        let scanner = self.scanner;
        let mut hits = Vec::new();
        scanner.engine.find(&scanner.rules, unit.text, unit.names, &mut self.work, &mut hits)?;
        scanner.finders.find(unit.text, unit.names, &mut self.work, &mut hits)?;
        self.named(unit, &mut hits);
        let hits = resolve(hits);
        self.emit(unit, &hits)?;
        self.encoded(unit, &hits)
    }

    /// A number token: only personal data can be one.
    fn number(&mut self, unit: Unit<'_>) -> Result<(), ScanError> {
        let scanner = self.scanner;
        let mut hits = Vec::new();
        let digits = integer(unit.text).unwrap_or_else(|| unit.text.to_owned());
        scanner.finders.find(&digits, unit.names, &mut self.work, &mut hits)?;
        let whole = Map::whole(digits.len(), 0..unit.text.len());
        let trail = Trail { map: &whole, encoding: None, outer: unit.trail };
        self.emit(Unit { text: &digits, trail: Some(&trail), ..unit }, &resolve(hits))
    }

    /// A string that is, by the name of its member, a secret.
    fn named(&self, unit: Unit<'_>, hits: &mut Vec<Hit>) {
        let value = unit.text.trim();
        let token = (7..=256).contains(&value.len()) && !value.contains([' ', '\n', '\t']);
        let Some((tree, node)) = unit.names.place.filter(|_| token && unit.role == Role::String)
        else {
            return;
        };
        let plausible = |kind| assign::plausible(kind, value);
        let kinds = [Assignment::Secret, Assignment::Password].map(|kind| (kind, plausible(kind)));
        if kinds.iter().all(|(_, plausible)| !plausible) {
            return;
        }
        for name in [tree.name(node), tree.label(node).trim()] {
            if name.is_empty() || !assign::names_secret(name) {
                continue;
            }
            let spoken = words(name);
            for index in self.scanner.engine.assignments() {
                let Some(rule) = self.scanner.rules.get(*index) else { continue };
                let fits = |kind| kinds.contains(&(kind, true));
                let called = || rule.literals().iter().any(|phrase| has_phrase(&spoken, phrase));
                if rule.assignment().is_some_and(fits) && called() {
                    let start = unit.text.len().saturating_sub(unit.text.trim_start().len());
                    let range = start..start.saturating_add(value.len());
                    hits.push(Hit::new(*index, rule, rule.confidence(), range));
                    return;
                }
            }
        }
    }

    /// What the text hides in encodings, except inside what was already found.
    fn encoded(&mut self, unit: Unit<'_>, hits: &[Hit]) -> Result<(), ScanError> {
        // Hits rise by start and hardly overlap: those just before the run are all that can hold it.
        let found = |range: &Range<usize>| {
            let before = hits.partition_point(|hit| hit.range.start <= range.start);
            let near = hits.get(before.saturating_sub(4)..before).unwrap_or_default();
            near.iter().any(|hit| range.end <= hit.range.end)
        };
        let mut at = 0;
        while let Some(range) = decode::next_blob(unit.text, at) {
            at = range.end;
            self.work.count(range.len())?;
            if found(&range) {
                continue;
            }
            for decoded in decode::blob(unit.text, &range) {
                self.layer(unit, &decoded)?;
            }
        }
        for decoded in decode::percent_lines(unit.text) {
            self.layer(unit, &decoded)?;
        }
        for decoded in decode::escape_lines(unit.text) {
            self.layer(unit, &decoded)?;
        }
        Ok(())
    }

    fn layer(&mut self, unit: Unit<'_>, decoded: &Decoded) -> Result<(), ScanError> {
        if unit.layers >= self.limits.layers_max {
            return Err(ScanError::Layers { most: self.limits.layers_max });
        }
        self.work.decode(decoded.text.len())?;
        let trail =
            Trail { map: &decoded.map, encoding: Some(decoded.encoding), outer: unit.trail };
        self.unit(Unit {
            text: &decoded.text,
            trail: Some(&trail),
            layers: unit.layers.saturating_add(1),
            ..unit
        })
    }

    fn emit(&mut self, unit: Unit<'_>, hits: &[Hit]) -> Result<(), ScanError> {
        for hit in hits {
            let mut range = hit.range.clone();
            let mut decoded = Vec::new();
            let mut trail = unit.trail;
            while let Some(step) = trail {
                range = step.map.span(range);
                decoded.extend(step.encoding.map(str::to_owned));
                trail = step.outer;
            }
            decoded.reverse();
            let Some(rule) = self.scanner.rules.get(hit.rule) else { continue };
            if !self.seen.insert((hit.rule, range.start, range.end, unit.in_key)) {
                continue;
            }
            if self.findings.len() >= self.limits.findings_max {
                return Err(ScanError::Findings { most: self.limits.findings_max });
            }
            self.findings.push(Finding {
                rule: rule.id().to_owned(),
                kind: hit.kind,
                entity: rule.entity().to_owned(),
                confidence: hit.confidence,
                pointer: (unit.pointer)(),
                start: range.start,
                end: range.end,
                digest: self.scanner.digest(part(unit.text, hit.range.clone())),
                decoded,
                in_key: unit.in_key,
            });
        }
        Ok(())
    }
}

/// Drops hits that lie inside a stronger one.
fn resolve(mut hits: Vec<Hit>) -> Vec<Hit> {
    let strength = |hit: &Hit| {
        let secret = hit.kind == FindingKind::Secret;
        let sure = secret && hit.confidence >= Confidence::Structural;
        (sure, hit.confidence, secret, hit.specificity)
    };
    hits.sort_by(|a, b| {
        (a.range.start, b.range.end)
            .cmp(&(b.range.start, a.range.end))
            .then(strength(b).cmp(&strength(a)))
    });
    let mut kept: Vec<Hit> = Vec::with_capacity(hits.len());
    for hit in hits {
        match kept.last() {
            Some(last) if last.range.end >= hit.range.end && strength(last) >= strength(&hit) => {}
            Some(last) if last.range == hit.range => {
                kept.pop();
                kept.push(hit);
            }
            Some(_) | None => kept.push(hit),
        }
    }
    kept
}

/// The integer that a JSON number with a fraction or an exponent stands for, if it is one of at
/// most 20 digits.
fn integer(number: &str) -> Option<String> {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    if mantissa.len() == number.len() && !number.contains('.') {
        return None;
    }
    let exponent: i32 = exponent.strip_prefix('+').unwrap_or(exponent).parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let fraction = fraction.trim_end_matches('0');
    let shift = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let zeros = usize::try_from(shift).ok().filter(|zeros| *zeros <= 20)?;
    let digits = format!("{whole}{fraction}{}", "0".repeat(zeros));
    let digits = digits.trim_start_matches('-').trim_start_matches('0');
    (digits.len() <= 20).then(|| digits.to_owned())
}
