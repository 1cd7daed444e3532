//! Which package says what when: the names that the host looks for.
//!
//! ```text
//! forge.org.<phase>                    mandatory layer
//! forge.tenant.<tenant>.<phase>        one tenant
//! forge.tools.<server>.<tool>.<phase>  one tool
//! forge.lib.<…>                        shared helpers, never evaluated by themselves
//! ```
//!
//! A tenant, server or tool is written as it is called. Where that is not a Rego identifier it
//! goes in brackets: `package forge.tools["my-server"]["push.files"].request`.

use forge_schemas::policy::Phase;

/// Where a package stands. The order is that of reasons in a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Layer {
    Org,
    Tenant,
    Tools,
}

impl Layer {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Tenant => "tenant",
            Self::Tools => "tools",
        }
    }
}

/// What the path of a package means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// An entry point of the host. `owner` is empty, the tenant, or server and tool.
    Entry { layer: Layer, owner: Vec<String>, phase: Phase },
    /// Shared helpers.
    Library,
    /// Tests of the package without the ending.
    Test,
    /// `forge.…` in a form that means nothing: the sentence says why.
    Refused(String),
    /// Outside `forge`.
    Foreign,
}

/// A rule that the host reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Entry {
    Allow,
    Grants,
    Deny,
    Approval,
    Redact,
    Obligations,
    Limits,
    Labels,
}

impl Entry {
    pub(crate) const ALL: [Self; 8] = [
        Self::Allow,
        Self::Grants,
        Self::Deny,
        Self::Approval,
        Self::Redact,
        Self::Obligations,
        Self::Limits,
        Self::Labels,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Grants => "grants",
            Self::Deny => "deny",
            Self::Approval => "approval",
            Self::Redact => "redact",
            Self::Obligations => "obligations",
            Self::Limits => "limits",
            Self::Labels => "labels",
        }
    }

    pub(crate) fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|entry| entry.as_str() == name)
    }

    /// Whether the phase has a use for it.
    pub(crate) const fn in_phase(self, phase: Phase) -> bool {
        match self {
            Self::Allow | Self::Deny => true,
            Self::Grants => matches!(phase, Phase::List),
            Self::Approval | Self::Limits => matches!(phase, Phase::Request),
            Self::Redact => matches!(phase, Phase::Request | Phase::Response),
            Self::Obligations | Self::Labels => !matches!(phase, Phase::List),
        }
    }
}

const PHASES: [Phase; 5] =
    [Phase::List, Phase::Request, Phase::Response, Phase::Approve, Phase::Admin];

fn phase(word: &str) -> Option<Phase> {
    PHASES.into_iter().find(|phase| phase.as_str() == word)
}

/// Reads the path of a package.
pub(crate) fn place(package: &[String]) -> Place {
    let words: Vec<&str> = package.iter().map(String::as_str).collect();
    if words.last().is_some_and(|last| last.ends_with("_test")) {
        return Place::Test;
    }
    let (layer, owner, last) = match words.as_slice() {
        ["forge", "lib", _, ..] => return Place::Library,
        ["forge", "org", last] => (Layer::Org, Vec::new(), last),
        ["forge", "tenant", tenant, last] => (Layer::Tenant, vec![(*tenant).to_owned()], last),
        ["forge", "tools", server, tool, last] => {
            (Layer::Tools, vec![(*server).to_owned(), (*tool).to_owned()], last)
        }
        ["forge", ..] => {
            let sentence = "packages are forge.org.<phase>, forge.tenant.<tenant>.<phase>, \
                            forge.tools.<server>.<tool>.<phase> or forge.lib.<name>";
            return Place::Refused(sentence.to_owned());
        }
        _ => return Place::Foreign,
    };
    phase(last).map_or_else(
        || {
            let known = PHASES.map(Phase::as_str).join(", ");
            Place::Refused(format!("there is no phase {last:?}; the phases are {known}"))
        },
        |phase| Place::Entry { layer, owner, phase },
    )
}

/// Writes a path as Rego reads it, with `data` in front.
pub(crate) fn reference(package: &[String]) -> String {
    let mut text = String::from("data");
    for word in package {
        if is_identifier(word) {
            text.push('.');
            text.push_str(word);
        } else {
            text.push('[');
            text.push_str(&serde_json::Value::from(word.as_str()).to_string());
            text.push(']');
        }
    }
    text
}

fn is_identifier(word: &str) -> bool {
    !word.is_empty()
        && !word.starts_with(|first: char| first.is_ascii_digit())
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}
