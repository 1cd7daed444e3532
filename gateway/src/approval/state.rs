//! The states of an approval and the only ways between them: a pure function.
//!
//! ```text
//! pending ──approved──▶ approved ──claimed──▶ executing ──▶ done | failed | unknown
//!    │  └─voted─▶ pending   │  ▲                  │
//!    │                      │  └──released────────┘   (the record could not be written)
//!    │                      │  └──finished, uses left─┘
//!    ├──▶ denied            │
//!    ├──▶ expired ◀─────────┤
//!    └──▶ cancelled ◀───────┘
//! ```

use schemars::JsonSchema;
use serde::Serialize;

use super::model::Finished;

/// Where an approval stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Waits for votes.
    Pending,
    /// May be claimed until `execute_by`.
    Approved,
    /// Somebody said no.
    Denied,
    /// Not decided, or not claimed, in time.
    Expired,
    /// The caller gave up.
    Cancelled,
    /// Claimed: the bytes are on their way.
    Executing,
    /// The server answered.
    Done,
    /// It certainly did not take effect.
    Failed,
    /// Nobody knows whether it took effect. It is never sent again.
    Unknown,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 9] = [
        Self::Pending,
        Self::Approved,
        Self::Denied,
        Self::Expired,
        Self::Cancelled,
        Self::Executing,
        Self::Done,
        Self::Failed,
        Self::Unknown,
    ];

    /// The word in the store and the admin API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Denied => "denied",
            Self::Expired => "expired",
            Self::Cancelled => "cancelled",
            Self::Executing => "executing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Unknown => "unknown",
        }
    }

    /// Reads the word.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }

    /// An identical call joins an approval in such a state instead of asking anew.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Pending | Self::Approved | Self::Executing)
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What may happen to an approval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A vote in favour that does not yet suffice.
    Voted,
    /// The vote that was still missing.
    Approved,
    /// A vote against.
    Denied,
    /// Its time is over.
    Expired,
    /// The caller gave up.
    Cancelled,
    /// Somebody will send it.
    Claimed,
    /// It was claimed, but nothing was or will be sent.
    Released,
    /// The execution ended; `again` says whether uses are left.
    Finished {
        /// How.
        how: Finished,
        /// Uses are left.
        again: bool,
    },
    /// The process that claimed it is gone.
    Lost,
}

/// The event cannot happen in this state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an approval that is {state} cannot take the event {event:?}")]
pub struct TransitionError {
    /// Where it stands.
    pub state: State,
    /// What was tried.
    pub event: Event,
}

/// The state after `event`.
///
/// # Errors
/// If the event cannot happen in `state`.
pub const fn next(state: State, event: Event) -> Result<State, TransitionError> {
    use Finished::{Done, Failed, Unknown};
    Ok(match (state, event) {
        (State::Pending, Event::Voted) => State::Pending,
        (State::Pending, Event::Approved) => State::Approved,
        (State::Pending, Event::Denied) => State::Denied,
        (State::Pending | State::Approved, Event::Expired) => State::Expired,
        (State::Pending | State::Approved, Event::Cancelled) => State::Cancelled,
        (State::Approved, Event::Claimed) => State::Executing,
        (State::Executing, Event::Released) => State::Approved,
        (State::Executing, Event::Finished { how: Done | Failed, again: true }) => State::Approved,
        (State::Executing, Event::Finished { how: Done, again: false }) => State::Done,
        (State::Executing, Event::Finished { how: Failed, again: false }) => State::Failed,
        (State::Executing, Event::Finished { how: Unknown, .. } | Event::Lost)
        // Approved, but the journal has an execution that the store has not: see `recover`.
        | (State::Approved, Event::Lost) => State::Unknown,
        _ => return Err(TransitionError { state, event }),
    })
}
