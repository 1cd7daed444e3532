//! Which names a list shows: patterns that policy gives once, matched here.

use crate::answer::{Answer, Grant, Pair};
use crate::merge::Voice;
use crate::unit::{Trouble, Unit};

/// The grants of each layer that has any rule for them. All have to agree: a layer cannot relax.
#[derive(Debug)]
pub(crate) struct Filter {
    layers: Vec<Vec<Pair>>,
}

impl Filter {
    pub(crate) fn new<'a>(voices: impl Iterator<Item = (&'a Unit, &'a Voice<'a>)>) -> Self {
        let mut layers = Vec::new();
        for (unit, voice) in voices {
            // The org layer always counts: without grants it shows nothing.
            if unit.defines_grants || unit.layer == crate::layout::Layer::Org {
                let grants = voice.answer.as_ref().map_or(&[][..], |answer| &answer.grants);
                layers.push(grants.iter().map(pair).collect());
            }
        }
        Self { layers }
    }

    pub(crate) fn grants(&self, server: &str, tool: &str) -> bool {
        let granted = |pairs: &Vec<Pair>| {
            pairs.iter().any(|pair| matches(&pair.server, server) && matches(&pair.tool, tool))
        };
        !self.layers.is_empty() && self.layers.iter().all(granted)
    }

    /// Whether a tool's own package leaves it visible.
    pub(crate) fn tool(
        &self,
        unit: &Unit,
        answer: Result<Answer, Trouble>,
    ) -> Result<bool, Trouble> {
        let answer = answer?;
        let open = !unit.defines_allow || answer.allow == Some(true);
        let own = !unit.defines_grants || answer.grants.iter().map(pair).next().is_some();
        Ok(open && own && answer.deny.is_empty())
    }
}

fn pair(grant: &Grant) -> Pair {
    match grant {
        Grant::Pair(pair) => pair.clone(),
        Grant::Pattern(pattern) => {
            let (server, tool) = pattern.split_once('/').unwrap_or((pattern, ""));
            Pair { server: server.to_owned(), tool: tool.to_owned() }
        }
    }
}

/// `*` stands for any text, also none; everything else for itself. Never slower than the product of
/// the two lengths.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut left) = name.strip_prefix(head) else { return false };
    let mut parts = rest.split('*').peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return left.ends_with(part);
        }
        match left.split_once(part) {
            Some((_before, after)) => left = after,
            None => return false,
        }
    }
    true
}
