//! Secrets in one decoded text: a prefilter over all literals, then an anchored look at each hit.
//!
//! Cost is linear in the text: the prefilter is one automaton; an expression is tried only where a
//! token can start, sees at most `length_max` bytes, and is not tried again inside its own match.
//! What the expressions were shown is counted ([`Work`]) and has a limit.

use std::ops::Range;

use aho_corasick::{AhoCorasick, AhoCorasickKind, MatchKind};
use forge_schemas::finding::{Confidence, FindingKind};

use crate::assign;
use crate::limits::{ScanError, Work};
use crate::names::Names;
use crate::rule::{Assignment, Matcher, Pattern, Rule, RuleError};
use crate::text::{Class, ceil, ends, entropy, floor, has_phrase, part, spoken, starts};

/// A span of a text that a rule matched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// Index of the rule.
    pub(crate) rule: usize,
    pub(crate) kind: FindingKind,
    pub(crate) confidence: Confidence,
    /// [`Rule::specificity`]
    pub(crate) specificity: u8,
    pub(crate) range: Range<usize>,
}

impl Hit {
    pub(crate) const fn new(
        index: usize,
        rule: &Rule,
        confidence: Confidence,
        range: Range<usize>,
    ) -> Self {
        let (kind, specificity) = (rule.kind(), rule.specificity());
        Self { rule: index, kind, confidence, specificity, range }
    }
}

/// The compiled literals.
#[derive(Debug)]
pub(crate) struct Engine {
    automaton: AhoCorasick,
    /// For each literal, the rules that want it.
    wanted: Vec<Vec<usize>>,
    /// The rules that look for assigned values.
    assignments: Vec<usize>,
}

impl Engine {
    pub(crate) fn new(rules: &[Rule]) -> Result<Self, RuleError> {
        let mut literals: Vec<String> = Vec::new();
        let mut wanted: Vec<Vec<usize>> = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            let spellings = rule.literals().iter().flat_map(|literal| match &rule.matcher {
                Matcher::Assignment(_) => assign::spellings(literal),
                Matcher::Pattern(_) | Matcher::Finder(_) => vec![literal.clone()],
            });
            for literal in spellings {
                match literals.iter().position(|known| *known == literal) {
                    Some(known) => {
                        if let Some(rules) = wanted.get_mut(known) {
                            rules.push(index);
                        }
                    }
                    None => {
                        literals.push(literal);
                        wanted.push(vec![index]);
                    }
                }
            }
        }
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::Standard)
            .kind(Some(AhoCorasickKind::DFA))
            .build(&literals)
            .map_err(|source| RuleError::Literals { source: Box::new(source) })?;
        let assigns = |(index, rule): (usize, &Rule)| rule.assignment().map(|_| index);
        let assignments = rules.iter().enumerate().filter_map(assigns).collect();
        Ok(Self { automaton, wanted, assignments })
    }

    /// Indices of the rules that look for assigned values.
    pub(crate) fn assignments(&self) -> &[usize] {
        &self.assignments
    }

    /// Adds every match in `text` to `hits`, unresolved.
    pub(crate) fn find(
        &self,
        rules: &[Rule],
        text: &str,
        around: &Names<'_>,
        work: &mut Work,
        hits: &mut Vec<Hit>,
    ) -> Result<(), ScanError> {
        // Where the last match of each rule ended; most texts have no hit at all.
        let mut done: Vec<usize> = Vec::new();
        for literal in self.automaton.find_overlapping_iter(text) {
            let wanted = self.wanted.get(literal.pattern().as_usize());
            for index in wanted.into_iter().flatten().copied() {
                let Some(rule) = rules.get(index) else { continue };
                if done.is_empty() {
                    done.resize(rules.len(), 0);
                }
                let Some(done) = done.get_mut(index) else { continue };
                let found = match &rule.matcher {
                    Matcher::Pattern(pattern) => {
                        confirm(pattern, text, literal.start(), *done, around, work)?
                    }
                    Matcher::Assignment(kind) => {
                        assigned(*kind, text, literal.range(), *done, work)?
                    }
                    Matcher::Finder(_) => None,
                };
                if let Some((range, confidence)) = found {
                    *done = range.end;
                    hits.push(Hit::new(index, rule, confidence, range));
                }
            }
        }
        Ok(())
    }
}

type Found = Option<(Range<usize>, Confidence)>;

fn assigned(
    kind: Assignment,
    text: &str,
    word: Range<usize>,
    done: usize,
    work: &mut Work,
) -> Result<Found, ScanError> {
    if word.start < done {
        return Ok(None);
    }
    let Some(value) = assign::value(text, word, work)? else { return Ok(None) };
    let plausible = assign::plausible(kind, part(text, value.clone()));
    Ok((plausible && value.start >= done).then_some((value, Confidence::Contextual)))
}

/// Tries the expression of a rule at one hit of a literal.
fn confirm(
    pattern: &Pattern,
    text: &str,
    literal: usize,
    done: usize,
    around: &Names<'_>,
    work: &mut Work,
) -> Result<Found, ScanError> {
    let bytes = text.as_bytes();
    let back = pattern.back.map_or(0, |back| back.class.run_back(bytes, literal, back.max));
    let start = literal.saturating_sub(back);
    if start < done || !starts(bytes, start, pattern.before) {
        return Ok(None);
    }
    let run = pattern.run.map(|run| run.run(bytes, start, pattern.length_max));
    let length = run.unwrap_or(pattern.length_max);
    let end = floor(text, start.saturating_add(length));
    let window = part(text, start..end);
    work.count(window.len())?;
    let Some(captures) = pattern.regex.captures(window) else { return Ok(None) };
    let Some(whole) = captures.get(0) else { return Ok(None) };
    let secret = captures.iter().skip(1).flatten().next().unwrap_or(whole);
    let mut range = start.saturating_add(secret.start())..start.saturating_add(secret.end());
    if pattern.pem {
        range.end = pem_end(text, start.saturating_add(whole.end()), work)?;
    } else if !ends(bytes, start.saturating_add(whole.end()), pattern.after) {
        return Ok(None);
    }
    let token = part(text, range.clone());
    if entropy(token) < pattern.entropy || !in_context(pattern, text, start, around, work)? {
        return Ok(None);
    }
    let confidence = match pattern.check.map(|check| (check, check.holds(token))) {
        Some((check, true)) if check.confirms() => Confidence::Confirmed,
        Some((_, false)) if pattern.check_drops => return Ok(None),
        _ => pattern.confidence,
    };
    Ok(Some((range, confidence)))
}

/// One of the rule's words stands in the names around the text or shortly before the token.
fn in_context(
    pattern: &Pattern,
    text: &str,
    start: usize,
    around: &Names<'_>,
    work: &mut Work,
) -> Result<bool, ScanError> {
    let wanted = &pattern.context;
    if wanted.is_empty() {
        return Ok(true);
    }
    let names = around.context();
    if wanted.iter().any(|phrase| has_phrase(names, phrase)) {
        return Ok(true);
    }
    let from = ceil(text, start.saturating_sub(pattern.context_bytes));
    work.count(start.saturating_sub(from))?;
    let before = spoken(part(text, from..start));
    Ok(wanted.iter().any(|phrase| has_phrase(&before, phrase)))
}

/// The end of a PEM block whose header ends at `header`: after its last line, or, where that is
/// missing, after what looks like its body. Line breaks may be written `\n`.
fn pem_end(text: &str, header: usize, work: &mut Work) -> Result<usize, ScanError> {
    let stop = floor(text, header.saturating_add(PEM_BYTES_MAX));
    let rest = part(text, header..stop);
    let dashes = rest.find("-----");
    let length = match dashes {
        Some(at) if part(rest, at..rest.len()).starts_with("-----END ") => {
            let tail = part(rest, at.saturating_add(9)..rest.len());
            let name = Class::Word.run(tail.as_bytes(), 0, 80);
            let close = tail.get(..100.min(tail.len())).and_then(|tail| tail.find("-----"));
            at.saturating_add(9).saturating_add(close.map_or(name, |close| close.saturating_add(5)))
        }
        Some(_) | None => body_length(part(rest, 0..dashes.unwrap_or(rest.len()))),
    };
    work.count(length)?;
    Ok(header.saturating_add(length))
}

/// How far the characters of a PEM body reach.
fn body_length(rest: &str) -> usize {
    rest.bytes()
        .take_while(|byte| Class::Base64.has(*byte) || matches!(byte, b'\n' | b'\r' | b' ' | b'\\'))
        .count()
}

const PEM_BYTES_MAX: usize = 32 * 1024;
