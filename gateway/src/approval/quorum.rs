//! Who may decide, and how many are enough: pure functions over terms and votes.
//!
//! A person counts once over all requirements: whoever wears two hats fills one place. Which place
//! is not chosen when the vote comes in but found afterwards, as a matching of persons to places,
//! so that the order of votes never decides whether they suffice.

use std::collections::BTreeSet;

use forge_schemas::policy::{ApprovalRequirement, ApprovalTerms};
use forge_schemas::record::{ApprovalVerdict, RecordPrincipal};

use super::model::{Approver, Vote, person};

/// Most requirements of one approval.
pub const REQUIREMENTS_MAX: usize = 16;

/// Most places to be filled by different people, over all requirements of one approval.
pub const PLACES_MAX: u64 = 64;

/// Longest time to live and longest time to execute, in seconds: 30 days.
pub const SECONDS_MAX: u64 = 2_592_000;

/// The terms cannot be carried out as they are written, so the call has to be refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// Nobody is asked for anything: an approval without requirements would be none.
    #[error("the terms have no requirement")]
    Empty,
    /// Too much is asked for.
    #[error(
        "the terms have more than {REQUIREMENTS_MAX} requirements or {PLACES_MAX} places to fill"
    )]
    TooMany,
    /// A quorum of nobody.
    #[error("requirement {0:?} has a quorum of 0")]
    Quorum(String),
    /// Nobody could ever meet it.
    #[error("requirement {0:?} names no approvers")]
    Nobody(String),
    /// A word that is neither `group:NAME`, `role:NAME`, `user:ID` nor, in `not`, `requester`.
    #[error("requirement {id:?} has the unknown word {word:?}")]
    Word {
        /// Which requirement.
        id: String,
        /// What it says.
        word: String,
    },
    /// A clock that does not run or runs too long.
    #[error("ttl_s and execute_within_s have to be 1 to {SECONDS_MAX}")]
    Seconds,
    /// Not usable even once, or too often.
    #[error("max_uses has to be 1 to 1000")]
    Uses,
}

/// Checks that terms can be carried out. Unknown words are errors: a condition that is skipped
/// because nobody understood it would be a way around it.
///
/// # Errors
/// The first thing that is wrong.
pub fn check(terms: &ApprovalTerms) -> Result<(), TermsError> {
    if terms.required.is_empty() {
        return Err(TermsError::Empty);
    }
    let places = terms.required.iter().fold(0_u64, |sum, item| sum.saturating_add(item.quorum));
    if terms.required.len() > REQUIREMENTS_MAX || places > PLACES_MAX {
        return Err(TermsError::TooMany);
    }
    let seconds = 1..=SECONDS_MAX;
    if !seconds.contains(&terms.ttl_s) || !seconds.contains(&terms.execute_within_s) {
        return Err(TermsError::Seconds);
    }
    if !(1..=1000).contains(&terms.max_uses) {
        return Err(TermsError::Uses);
    }
    terms.required.iter().try_for_each(check_requirement)
}

fn check_requirement(item: &ApprovalRequirement) -> Result<(), TermsError> {
    if item.quorum == 0 {
        return Err(TermsError::Quorum(item.id.clone()));
    }
    if item.approvers.is_empty() {
        return Err(TermsError::Nobody(item.id.clone()));
    }
    let unknown = |word: &&String| Word::parse(word).is_none();
    let strange = item
        .approvers
        .iter()
        .find(unknown)
        .or_else(|| item.not.iter().filter(|word| word.as_str() != REQUESTER).find(unknown));
    strange.map_or(Ok(()), |word| Err(TermsError::Word { id: item.id.clone(), word: word.clone() }))
}

/// Who somebody is, as terms spell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word<'a> {
    Role(&'a str),
    Group(&'a str),
    User(&'a str),
}

impl<'a> Word<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let (kind, name) = text.split_once(':')?;
        if name.is_empty() {
            return None;
        }
        match kind {
            "role" => Some(Self::Role(name)),
            "group" => Some(Self::Group(name)),
            "user" => Some(Self::User(name)),
            _ => None,
        }
    }

    fn names(self, approver: &Approver) -> bool {
        match self {
            Self::Role(name) => approver.roles.iter().any(|role| role == name),
            Self::Group(name) => approver.groups.iter().any(|group| group == name),
            Self::User(id) => person(id) == approver.person(),
        }
    }

    /// A machine account is asked only where it is named: a role or a group means its people.
    fn admits(self, approver: &Approver) -> bool {
        let person = approver.kind != "service";
        self.names(approver) && (person || matches!(self, Self::User(_)))
    }
}

/// Why somebody fits no requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// They asked for it themselves.
    Requester,
    /// They are not among the approvers.
    Stranger,
}

/// Places in `terms.required` of those requirements that `approver` fits.
///
/// # Errors
/// Why, if there is none.
pub fn fits(
    terms: &ApprovalTerms,
    requester: &RecordPrincipal,
    approver: &Approver,
) -> Result<Vec<usize>, Misfit> {
    let own = person(&requester.id) == approver.person();
    let named = |words: &[String], admits: bool| {
        words
            .iter()
            .filter_map(|word| Word::parse(word))
            .any(|word| if admits { word.admits(approver) } else { word.names(approver) })
    };
    let mut stopped_as_requester = false;
    let mut places = Vec::new();
    for (place, item) in terms.required.iter().enumerate() {
        if !named(&item.approvers, true) {
            continue;
        }
        if own && item.not.iter().any(|word| word == REQUESTER) {
            stopped_as_requester = true;
        } else if !named(&item.not, false) {
            places.push(place);
        }
    }
    if !places.is_empty() {
        Ok(places)
    } else if stopped_as_requester {
        Err(Misfit::Requester)
    } else {
        Err(Misfit::Stranger)
    }
}

/// Whether the votes fill every place of every requirement with a different person, and nobody
/// voted against.
#[must_use]
pub fn is_met(terms: &ApprovalTerms, votes: &[Vote]) -> bool {
    if terms.required.is_empty() || votes.iter().any(|vote| vote.verdict == ApprovalVerdict::Deny) {
        return false;
    }
    let persons: BTreeSet<&str> = votes.iter().map(|vote| vote.person.as_str()).collect();
    persons.len() == votes.len() && missing(terms, votes) == 0
}

/// How many people are still missing at least.
#[must_use]
pub fn missing(terms: &ApprovalTerms, votes: &[Vote]) -> usize {
    // One entry for each place: the requirement it belongs to.
    let places: Vec<usize> = terms
        .required
        .iter()
        .enumerate()
        .flat_map(|(index, item)| {
            let seats = usize::try_from(item.quorum).unwrap_or(usize::MAX);
            std::iter::repeat_n(index, seats.min(SEATS_MAX))
        })
        .collect();
    let mut seated: Vec<Option<usize>> = vec![None; votes.len()];
    let filled = (0..places.len())
        .filter(|place| seat(*place, &places, votes, &mut seated, &mut BTreeSet::new()))
        .count();
    places.len().saturating_sub(filled)
}

/// Finds a person for `place`, moving others to places that also fit them (Kuhn's algorithm). The
/// depth is bounded by the number of votes.
fn seat(
    place: usize,
    places: &[usize],
    votes: &[Vote],
    seated: &mut [Option<usize>],
    tried: &mut BTreeSet<usize>,
) -> bool {
    let Some(requirement) = places.get(place) else { return false };
    for (voter, vote) in votes.iter().enumerate() {
        if !vote.fits.contains(requirement) || !tried.insert(voter) {
            continue;
        }
        let taken = seated.get(voter).copied().flatten();
        if taken.is_none_or(|other| seat(other, places, votes, seated, tried)) {
            if let Some(slot) = seated.get_mut(voter) {
                *slot = Some(place);
            }
            return true;
        }
    }
    false
}

const REQUESTER: &str = "requester";
const SEATS_MAX: usize = 1024;
