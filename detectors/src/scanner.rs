//! The scanner: all rules compiled once, used from any thread.

use aws_lc_rs::hmac;
use forge_schemas::digest::{Digest, hex};
use forge_schemas::finding::Finding;

use crate::engine::Engine;
use crate::json::tree::{Role, Tree};
use crate::limits::{Limits, ScanError};
use crate::pii::Finders;
use crate::rule::{self, Rule, RuleError};
use crate::walk::Walk;

/// The rule files, in the order of `detect rules`.
const FILES: [(&str, &str); 8] = [
    ("ai", include_str!("../rules/ai.toml")),
    ("cloud", include_str!("../rules/cloud.toml")),
    ("generic", include_str!("../rules/generic.toml")),
    ("keys", include_str!("../rules/keys.toml")),
    ("messaging", include_str!("../rules/messaging.toml")),
    ("payments", include_str!("../rules/payments.toml")),
    ("pii", include_str!("../rules/pii.toml")),
    ("source-control", include_str!("../rules/source-control.toml")),
];

/// Key of the HMAC-SHA-256 that stands for a value in [`Finding::digest`]. It stays in the gateway:
/// without it a digest of a card number could be tried out.
pub struct DigestKey(hmac::Key);

impl DigestKey {
    /// A key of 32 random bytes.
    #[must_use]
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

impl std::fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestKey(…)")
    }
}

/// Looks for secrets and personal data. Immutable; compile it once and share it.
#[derive(Debug)]
pub struct Scanner {
    pub(crate) rules: Vec<Rule>,
    pub(crate) engine: Engine,
    pub(crate) finders: Finders,
    pub(crate) limits: Limits,
    digest: Digest,
    key: DigestKey,
}

impl Scanner {
    /// A scanner with the rules of this build and [`Limits::default`].
    ///
    /// # Errors
    /// If a rule file is not usable, which a test of this crate rules out.
    pub fn builtin(key: DigestKey) -> Result<Self, RuleError> {
        let mut rules: Vec<Rule> = Vec::new();
        for (group, text) in FILES {
            rules.extend(rule::parse(group, text)?);
        }
        let mut ids: Vec<&str> = rules.iter().map(Rule::id).collect();
        ids.sort_unstable();
        if let Some(twice) = ids.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(RuleError::Twice { rule: twice.concat() });
        }
        let engine = Engine::new(&rules)?;
        let finders = Finders::new(&rules);
        let files: Vec<&[u8]> = FILES.iter().map(|(_, text)| text.as_bytes()).collect();
        let digest = Digest::of_parts(&files);
        Ok(Self { rules, engine, finders, limits: Limits::default(), digest, key })
    }

    /// The same scanner with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Digest over the rule files: what found this, in evidence.
    #[must_use]
    pub const fn rules_digest(&self) -> Digest {
        self.digest
    }

    /// The rules, by file and in the order of the file.
    pub fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// Examines a text. Findings have the pointer `""` and come in rising order of `start`.
    ///
    /// # Errors
    /// If the text is over a limit; then nothing is known of it.
    pub fn scan_text(&self, text: &str) -> Result<Vec<Finding>, ScanError> {
        let mut walk = self.walk(text.len())?;
        walk.text(text)?;
        Ok(finish(walk.findings))
    }

    /// Examines every string, key and number of a JSON document. `root` stands before all pointers,
    /// for instance `/arguments`.
    ///
    /// # Errors
    /// If the document is not JSON in UTF-8 or is over a limit; then nothing is known of it.
    pub fn scan_json(&self, json: &[u8], root: &str) -> Result<Vec<Finding>, ScanError> {
        let mut walk = self.walk(json.len())?;
        walk.document(utf8(json)?, root)?;
        Ok(finish(walk.findings))
    }

    /// Masks the names of `tree` that have findings in them.
    pub(crate) fn names(&self, tree: &Tree<'_>) -> Result<(), ScanError> {
        let bytes = tree.texts.iter().map(|text| text.decoded.len()).sum();
        let mut walk = self.walk(bytes)?;
        for (index, text) in tree.texts.iter().enumerate() {
            if text.role == Role::Key {
                walk.member(tree, index, "")?;
            }
        }
        Ok(())
    }

    fn walk(&self, bytes: usize) -> Result<Walk<'_>, ScanError> {
        let most = self.limits.bytes_max;
        if bytes > most {
            return Err(ScanError::Bytes { seen: bytes, most });
        }
        Ok(Walk::new(self, self.limits, bytes))
    }

    /// What stands for `value` where it may not appear.
    pub(crate) fn digest(&self, value: &str) -> String {
        let tag = hmac::sign(&self.key.0, value.as_bytes());
        format!("hmac-sha256:{}", hex(tag.as_ref()))
    }

    /// Bytes that the rules looked at for `text`, to see that cost is linear.
    #[cfg(test)]
    pub(crate) fn cost(&self, text: &str) -> Result<usize, ScanError> {
        let mut walk = self.walk(text.len())?;
        walk.text(text)?;
        Ok(walk.work.shown())
    }
}

/// `json` as text.
pub(crate) fn utf8(json: &[u8]) -> Result<&str, ScanError> {
    std::str::from_utf8(json).map_err(|error| ScanError::Utf8 { at: error.valid_up_to() })
}

/// Findings of one string in rising order; strings in the order of the document.
fn finish(mut findings: Vec<Finding>) -> Vec<Finding> {
    let mut rest = findings.as_mut_slice();
    while let Some(first) = rest.first() {
        let same = |other: &Finding| other.pointer == first.pointer && other.in_key == first.in_key;
        let count = rest.iter().take_while(|other| same(other)).count();
        let (group, tail) = rest.split_at_mut(count);
        group.sort_by(|a, b| (a.start, a.end, &a.rule).cmp(&(b.start, b.end, &b.rule)));
        rest = tail;
    }
    findings
}
