//! What a rule is, and how the tables in `rules/*.toml` become rules.
//!
//! A table is checked whole when the scanner is built: unknown keys, patterns that do not compile,
//! literals without a pattern and ids given twice are errors, so that no rule is silently dead.

mod example;

use forge_schemas::finding::{Confidence, FindingKind};
use regex::Regex;
use serde::{Deserialize, Serialize};

pub use example::Example;

use crate::check::Check;
use crate::pii::Finder;
use crate::text::Class;

/// How bad it is if this gets out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A nuisance.
    Low,
    /// Personal data, or a key of little power.
    Medium,
    /// A key to data or money.
    High,
    /// A key to everything.
    Critical,
}

/// A rule file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RuleError {
    /// The file is not TOML of this shape.
    #[error("cannot read rule file {file}")]
    Table {
        /// File name.
        file: String,
        /// What the parser says.
        #[source]
        source: Box<toml::de::Error>,
    },
    /// The pattern of a rule does not compile.
    #[error("the pattern of rule {rule} does not compile")]
    Pattern {
        /// Rule id.
        rule: String,
        /// What the compiler says.
        #[source]
        source: Box<regex::Error>,
    },
    /// Two rules have the same id.
    #[error("rule {rule} is there twice")]
    Twice {
        /// Rule id.
        rule: String,
    },
    /// A rule has no way to match, or two.
    #[error("rule {rule} needs literals and one of pattern, assign and finder")]
    Matcher {
        /// Rule id.
        rule: String,
    },
    /// The literals of all rules together cannot be compiled.
    #[error("the literals of the rules do not compile")]
    Literals {
        /// What the compiler says.
        #[source]
        source: Box<aho_corasick::BuildError>,
    },
}

/// One thing that the scanner looks for.
#[derive(Debug)]
pub struct Rule {
    id: String,
    title: String,
    page: String,
    group: String,
    severity: Severity,
    entity: String,
    kind: FindingKind,
    confidence: Confidence,
    check: Option<Check>,
    example: String,
    literals: Vec<String>,
    pub(crate) matcher: Matcher,
}

/// How a rule matches.
#[derive(Debug)]
pub(crate) enum Matcher {
    Pattern(Box<Pattern>),
    Assignment(Assignment),
    Finder(Finder),
}

/// What follows a word of the rule counts as its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Assignment {
    /// Keys and tokens: long, random.
    Secret,
    /// Passwords: short, chosen by people.
    Password,
}

/// A regular expression tried where a literal was seen.
#[derive(Debug)]
pub(crate) struct Pattern {
    pub(crate) regex: Regex,
    pub(crate) back: Option<Back>,
    pub(crate) before: Class,
    pub(crate) after: Class,
    /// Bytes from the start of the token that the expression may see.
    pub(crate) length_max: usize,
    /// The token is at most one run of this class: limits what the expression sees.
    pub(crate) run: Option<Class>,
    pub(crate) entropy: f64,
    pub(crate) check: Option<Check>,
    /// A failed check drops the finding, instead of leaving it structural.
    pub(crate) check_drops: bool,
    pub(crate) context: Vec<String>,
    pub(crate) context_bytes: usize,
    /// The expression matches a PEM header; the body belongs to the token.
    pub(crate) pem: bool,
    pub(crate) confidence: Confidence,
}

/// The token starts before the literal.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Back {
    pub(crate) class: Class,
    pub(crate) max: usize,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    rule: Vec<RawRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    id: String,
    title: String,
    page: String,
    severity: Severity,
    entity: String,
    #[serde(default)]
    literals: Vec<String>,
    pattern: Option<String>,
    assign: Option<Assignment>,
    finder: Option<Finder>,
    back: Option<Back>,
    before: Option<Class>,
    after: Option<Class>,
    length_max: Option<usize>,
    run: Option<Class>,
    #[serde(default)]
    entropy: f64,
    check: Option<Check>,
    #[serde(default)]
    check_drops: bool,
    #[serde(default)]
    context: Vec<String>,
    context_bytes: Option<usize>,
    #[serde(default)]
    pem: bool,
    confidence: Option<Confidence>,
    example: String,
}

impl Rule {
    /// Stable id, for instance `github-pat`.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What it is, for people.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Page of whoever issues or specifies the format.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.page
    }

    /// The rule file, without its ending.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// How bad it is if this gets out.
    #[must_use]
    pub const fn severity(&self) -> Severity {
        self.severity
    }

    /// Entity type of its findings.
    #[must_use]
    pub fn entity(&self) -> &str {
        &self.entity
    }

    /// Kind of its findings.
    #[must_use]
    pub const fn kind(&self) -> FindingKind {
        self.kind
    }

    /// The best confidence that a finding of this rule can have.
    #[must_use]
    pub const fn confidence(&self) -> Confidence {
        self.confidence
    }

    /// The checksum or structure check, if the format has one.
    #[must_use]
    pub const fn check(&self) -> Option<Check> {
        self.check
    }

    /// What the prefilter looks for; empty for personal data, which is found by its digits and signs.
    #[must_use]
    pub fn literals(&self) -> &[String] {
        &self.literals
    }

    /// What kind of value it looks for beside its words, if it does that.
    pub(crate) const fn assignment(&self) -> Option<Assignment> {
        match &self.matcher {
            Matcher::Assignment(kind) => Some(*kind),
            Matcher::Pattern(_) | Matcher::Finder(_) => None,
        }
    }

    /// Of two rules that are equally sure of the same span, the one with more of this names it.
    pub(crate) const fn specificity(&self) -> u8 {
        match &self.matcher {
            Matcher::Pattern(pattern) if pattern.context.is_empty() => 1,
            Matcher::Pattern(_) => 2,
            Matcher::Assignment(_) | Matcher::Finder(_) => 0,
        }
    }

    /// A made-up text in which this rule finds something: number `variant`, the same each time. It
    /// is nobody's.
    #[must_use]
    pub fn example(&self, variant: u64) -> Example {
        example::make(&self.id, &self.example, variant)
    }

    /// What a program may know of the rule.
    #[must_use]
    pub fn describe(&self) -> Description<'_> {
        Description {
            id: &self.id,
            title: &self.title,
            kind: self.kind,
            entity: &self.entity,
            group: &self.group,
            severity: self.severity,
            confidence: self.confidence,
            checked: self.check.is_some(),
            literals: &self.literals,
            page: &self.page,
        }
    }
}

/// A rule as `detect rules` and `detect explain` print it.
#[derive(Clone, Debug, Serialize)]
pub struct Description<'a> {
    /// Rule id.
    pub id: &'a str,
    /// What it is, for people.
    pub title: &'a str,
    /// Kind of its findings.
    pub kind: FindingKind,
    /// Entity type of its findings.
    pub entity: &'a str,
    /// Rule file.
    pub group: &'a str,
    /// How bad it is if this gets out.
    pub severity: Severity,
    /// Best confidence.
    pub confidence: Confidence,
    /// The format has a checksum or a structure that is checked.
    pub checked: bool,
    /// What the prefilter looks for.
    pub literals: &'a [String],
    /// Page of whoever issues or specifies the format.
    pub page: &'a str,
}

/// Parses one rule file.
pub(crate) fn parse(group: &str, text: &str) -> Result<Vec<Rule>, RuleError> {
    let raw: RawFile = toml::from_str(text).map_err(|source| RuleError::Table {
        file: format!("{group}.toml"),
        source: Box::new(source),
    })?;
    raw.rule.into_iter().map(|rule| build(group, rule)).collect()
}

fn build(group: &str, raw: RawRule) -> Result<Rule, RuleError> {
    let usual =
        if raw.context.is_empty() { Confidence::Structural } else { Confidence::Contextual };
    let structural = raw.confidence.unwrap_or(usual);
    let best = match (raw.check, raw.finder) {
        (_, Some(finder)) => finder.confidence(),
        (Some(check), _) if check.confirms() => Confidence::Confirmed,
        _ if raw.assign.is_some() => Confidence::Contextual,
        _ => structural,
    };
    let kind = if raw.finder.is_some() { FindingKind::Pii } else { FindingKind::Secret };
    let matcher = match (&raw.pattern, raw.assign, raw.finder) {
        (None, None, Some(finder)) if raw.literals.is_empty() => Matcher::Finder(finder),
        (None, Some(assign), None) if !raw.literals.is_empty() => Matcher::Assignment(assign),
        (Some(pattern), None, None) if !raw.literals.is_empty() => {
            Matcher::Pattern(Box::new(compile(&raw, pattern, structural)?))
        }
        _ => return Err(RuleError::Matcher { rule: raw.id }),
    };
    Ok(Rule {
        id: raw.id,
        title: raw.title,
        page: raw.page,
        group: group.to_owned(),
        severity: raw.severity,
        entity: raw.entity,
        kind,
        confidence: best,
        check: raw.check,
        example: raw.example,
        literals: raw.literals,
        matcher,
    })
}

fn compile(raw: &RawRule, pattern: &str, confidence: Confidence) -> Result<Pattern, RuleError> {
    let regex = regex::RegexBuilder::new(&format!("^(?:{pattern})"))
        .size_limit(REGEX_BYTES_MAX)
        .dfa_size_limit(REGEX_CACHE_BYTES_MAX)
        .build()
        .map_err(|source| RuleError::Pattern { rule: raw.id.clone(), source: Box::new(source) })?;
    Ok(Pattern {
        regex,
        back: raw.back,
        before: raw.before.unwrap_or(Class::Alnum),
        after: raw.after.unwrap_or(Class::Alnum),
        length_max: raw.length_max.unwrap_or(300),
        run: raw.run,
        entropy: raw.entropy,
        check: raw.check,
        check_drops: raw.check_drops,
        context: raw.context.clone(),
        context_bytes: raw.context_bytes.unwrap_or(100),
        pem: raw.pem,
        confidence,
    })
}

const REGEX_BYTES_MAX: usize = 1 << 20;
const REGEX_CACHE_BYTES_MAX: usize = 2 << 20;
