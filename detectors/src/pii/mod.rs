//! Personal data in one decoded text: cards, bank accounts, US social security numbers, telephone
//! numbers, e-mail and network addresses.
//!
//! One pass over the bytes stops at digits, `@` and `:`; each finder then looks at a bounded
//! window, so the cost is linear. Not here: names, street addresses and free text, which no
//! pattern finds, and numbers of other countries that have neither checksum nor fixed form.

mod card;
mod email;
mod iban;
mod ip;
mod phone;
mod ssn;

use std::cell::OnceCell;
use std::ops::Range;

use forge_schemas::finding::{Confidence, FindingKind};
use serde::Deserialize;

pub(crate) use card::luhn_sum;

use crate::engine::Hit;
use crate::limits::{ScanError, Work};
use crate::names::Names;
use crate::rule::{Matcher, Rule};
use crate::text::{before, byte, ceil, has_phrase, part, spoken};

/// A finder that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Finder {
    Card,
    Iban,
    Ssn,
    Email,
    Phone,
    Ip,
}

impl Finder {
    /// The best confidence it gives.
    pub(crate) const fn confidence(self) -> Confidence {
        match self {
            Self::Card | Self::Iban => Confidence::Confirmed,
            Self::Ssn | Self::Email | Self::Phone | Self::Ip => Confidence::Structural,
        }
    }
}

/// What a finder says of a candidate.
pub(crate) type Found = Option<(Range<usize>, Confidence)>;

/// A text under examination, with what surrounds it.
pub(crate) struct Subject<'a> {
    pub(crate) text: &'a str,
    pub(crate) bytes: &'a [u8],
    around: &'a Names<'a>,
    /// Words shortly before the candidate at this offset; computed when first asked for.
    cached: OnceCell<(usize, String)>,
}

impl Subject<'_> {
    /// One of `phrases` stands among the names around the text.
    pub(crate) fn named(&self, phrases: &[&str]) -> bool {
        let names = self.around.context();
        phrases.iter().any(|phrase| has_phrase(names, phrase))
    }

    /// One of `phrases` stands among the names around the text, or within 48 bytes before `at`.
    pub(crate) fn about(&self, at: usize, phrases: &[&str]) -> bool {
        self.named(phrases) || self.says_before(at, phrases)
    }

    /// One of `phrases` stands within 48 bytes before `at`.
    pub(crate) fn says_before(&self, at: usize, phrases: &[&str]) -> bool {
        let fresh = || {
            let from = ceil(self.text, at.saturating_sub(CONTEXT_BYTES));
            (at, spoken(part(self.text, from..at)))
        };
        let cached = self.cached.get_or_init(fresh);
        if cached.0 == at {
            return phrases.iter().any(|phrase| has_phrase(&cached.1, phrase));
        }
        let (_, said) = fresh();
        phrases.iter().any(|phrase| has_phrase(&said, phrase))
    }

    /// One of `phrases` leads to `at`: only a few letters stand between (`phone number: …`).
    pub(crate) fn leads(&self, at: usize, phrases: &[&str]) -> bool {
        let from = ceil(self.text, at.saturating_sub(CONTEXT_BYTES));
        let said = spoken(part(self.text, from..at));
        phrases.iter().filter(|phrase| has_phrase(&said, phrase)).any(|phrase| {
            let between = said.rsplit_once(phrase).map_or("", |(_before, between)| between);
            between.len() <= 20 && !between.bytes().any(|byte| byte.is_ascii_digit())
        })
    }

    /// No digit, letter or joint of a longer thing stands before `at`.
    pub(crate) fn free_before(&self, at: usize) -> bool {
        if !crate::text::starts(self.bytes, at, crate::text::Class::Alnum) {
            return false;
        }
        // The second part of a decimal number, a version, a path of numbers.
        let joint = matches!(before(self.bytes, at), b'.' | b'-' | b'/' | b':' | b'_' | b',');
        let further = at.checked_sub(2).map_or(0, |index| byte(self.bytes, index));
        !(joint && further.is_ascii_digit())
    }

    /// No digit, letter or joint of a longer thing stands at `at`.
    pub(crate) fn free_after(&self, at: usize) -> bool {
        let next = byte(self.bytes, at);
        if next.is_ascii_alphanumeric() || next == b'_' {
            return false;
        }
        let joint = matches!(next, b'.' | b'-' | b'/' | b':');
        !(joint && byte(self.bytes, at.saturating_add(1)).is_ascii_digit())
    }
}

/// Which rule each finder serves.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finders(Vec<(Finder, usize)>);

impl Finders {
    pub(crate) fn new(rules: &[Rule]) -> Self {
        let mut finders = Vec::new();
        for (index, rule) in rules.iter().enumerate() {
            if let Matcher::Finder(finder) = rule.matcher {
                finders.push((finder, index));
            }
        }
        Self(finders)
    }

    /// Adds every match in `text` to `hits`, unresolved.
    pub(crate) fn find(
        &self,
        text: &str,
        around: &Names<'_>,
        work: &mut Work,
        hits: &mut Vec<Hit>,
    ) -> Result<(), ScanError> {
        let bytes = text.as_bytes();
        let mut subject = Subject { text, bytes, around, cached: OnceCell::new() };
        let mut at = 0;
        while let Some(step) = next_candidate(bytes, at) {
            at = step;
            let sign = byte(bytes, at);
            let order: &[Finder] = match sign {
                b'@' => &[Finder::Email],
                b':' => &[Finder::Ip],
                _ => &[Finder::Iban, Finder::Ip, Finder::Card, Finder::Ssn, Finder::Phone],
            };
            work.count(CANDIDATE_BYTES)?;
            subject.cached = OnceCell::new();
            let found = order.iter().find_map(|finder| {
                let (range, confidence) = match (finder, sign) {
                    (Finder::Email, _) => email::find(&subject, at),
                    (Finder::Ip, b':') => ip::find_v6(&subject, at),
                    (Finder::Ip, _) => ip::find_v4(&subject, at),
                    (Finder::Iban, _) => iban::find(&subject, at),
                    (Finder::Card, _) => card::find(&subject, at),
                    (Finder::Ssn, _) => ssn::find(&subject, at),
                    (Finder::Phone, _) => phone::find(&subject, at),
                }?;
                Some((*finder, range, confidence))
            });
            at = match found {
                Some((finder, range, confidence)) => {
                    let end = range.end;
                    self.push(finder, range, confidence, hits);
                    end.max(at.saturating_add(1))
                }
                None => skip(bytes, at),
            };
        }
        Ok(())
    }

    fn push(
        &self,
        finder: Finder,
        range: Range<usize>,
        confidence: Confidence,
        hits: &mut Vec<Hit>,
    ) {
        let rule = self.0.iter().find(|(known, _)| *known == finder).map(|(_, rule)| *rule);
        if let Some(rule) = rule {
            let kind = FindingKind::Pii;
            hits.push(Hit { rule, kind, confidence, specificity: 0, range });
        }
    }
}

fn next_candidate(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    let at = rest.iter().position(|byte| byte.is_ascii_digit() || matches!(byte, b'@' | b':'))?;
    Some(from.saturating_add(at))
}

/// Where to go on after a candidate that was none: behind its digits, or one further.
fn skip(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    at.saturating_add(digits.max(1))
}

const CONTEXT_BYTES: usize = 48;
/// What the finders together may look at around one candidate, roughly.
const CANDIDATE_BYTES: usize = 64;

/// Digits in groups, as people write numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Groups {
    /// The digits of each group.
    pub(crate) ranges: Vec<Range<usize>>,
    /// What stands before each group but the first: `' '`, `'-'`, … (the first byte of it).
    pub(crate) separators: Vec<u8>,
}

impl Groups {
    /// Reads groups from the digit at `at`, joined by one of `joints` (and by up to `joint_max`
    /// bytes of them), until `digits_max` digits are passed.
    pub(crate) fn read(
        bytes: &[u8],
        at: usize,
        joints: &[u8],
        joint_max: usize,
        digits_max: usize,
    ) -> Self {
        let mut groups = Self::default();
        let (mut at, mut total) = (at, 0_usize);
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            let digits = rest
                .iter()
                .take(digits_max.saturating_add(1))
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            if digits == 0 {
                groups.separators.pop();
                break;
            }
            let end = at.saturating_add(digits);
            groups.ranges.push(at..end);
            total = total.saturating_add(digits);
            let tail = bytes.get(end..).unwrap_or_default();
            let joint =
                tail.iter().take(joint_max).take_while(|byte| joints.contains(byte)).count();
            if joint == 0 || total > digits_max {
                break;
            }
            groups.separators.push(byte(bytes, end));
            at = end.saturating_add(joint);
        }
        groups
    }

    /// Lengths of the first `count` groups.
    pub(crate) fn sizes(&self, count: usize) -> Vec<usize> {
        self.ranges.iter().take(count).map(Range::len).collect()
    }

    /// Digits of the first `count` groups in one string.
    pub(crate) fn digits(&self, text: &str, count: usize) -> String {
        self.ranges.iter().take(count).map(|range| part(text, range.clone())).collect()
    }

    /// End of the group number `count`, counted from 1.
    pub(crate) fn end(&self, count: usize) -> usize {
        let last = count.checked_sub(1).and_then(|index| self.ranges.get(index));
        last.map_or(0, |range| range.end)
    }
}
