//! Every event in every state.

use crate::approval::model::Finished::{Done, Failed, Unknown};
use crate::approval::state::{Event, State, next};

/// The ways that there are. Whatever is not here is an error.
const WAYS: &[(State, Event, State)] = &[
    (State::Pending, Event::Voted, State::Pending),
    (State::Pending, Event::Approved, State::Approved),
    (State::Pending, Event::Denied, State::Denied),
    (State::Pending, Event::Expired, State::Expired),
    (State::Pending, Event::Cancelled, State::Cancelled),
    (State::Approved, Event::Expired, State::Expired),
    (State::Approved, Event::Cancelled, State::Cancelled),
    (State::Approved, Event::Claimed, State::Executing),
    (State::Approved, Event::Lost, State::Unknown),
    (State::Executing, Event::Released, State::Approved),
    (State::Executing, Event::Finished { how: Done, again: true }, State::Approved),
    (State::Executing, Event::Finished { how: Done, again: false }, State::Done),
    (State::Executing, Event::Finished { how: Failed, again: true }, State::Approved),
    (State::Executing, Event::Finished { how: Failed, again: false }, State::Failed),
    (State::Executing, Event::Finished { how: Unknown, again: true }, State::Unknown),
    (State::Executing, Event::Finished { how: Unknown, again: false }, State::Unknown),
    (State::Executing, Event::Lost, State::Unknown),
];

const EVENTS: &[Event] = &[
    Event::Voted,
    Event::Approved,
    Event::Denied,
    Event::Expired,
    Event::Cancelled,
    Event::Claimed,
    Event::Released,
    Event::Finished { how: Done, again: false },
    Event::Finished { how: Done, again: true },
    Event::Finished { how: Failed, again: false },
    Event::Finished { how: Failed, again: true },
    Event::Finished { how: Unknown, again: false },
    Event::Finished { how: Unknown, again: true },
    Event::Lost,
];

#[test]
fn only_the_ways_in_the_table_exist() {
    for state in State::ALL {
        for event in EVENTS {
            let way = WAYS.iter().find(|(from, by, _)| *from == state && by == event);
            let wanted = way.map(|(_, _, to)| *to);
            assert_eq!(next(state, *event).ok(), wanted, "{state} {event:?}");
        }
    }
}

#[test]
fn nothing_leads_out_of_an_end() {
    for state in State::ALL.into_iter().filter(|state| !state.is_open()) {
        assert!(EVENTS.iter().all(|event| next(state, *event).is_err()), "{state}");
    }
}

#[test]
fn every_state_reads_back_from_its_word() {
    for state in State::ALL {
        assert_eq!(State::parse(state.as_str()), Some(state));
        assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
    }
    assert_eq!(State::parse("Approved"), None);
}
