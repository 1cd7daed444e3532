//! The reference page names every state and every code.

use std::path::Path;
use std::time::Duration;

use crate::approval::error::ApprovalError;
use crate::approval::quorum::TermsError;
use crate::approval::state::{Event, State, TransitionError};
use crate::store::{StoreError, StoreFault};

fn page() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    std::fs::read_to_string(root.join("docs/reference/approvals.md")).unwrap()
}

#[test]
fn the_reference_page_has_a_row_for_every_state() {
    for state in State::ALL {
        assert!(page().contains(&format!("\n| `{state}` |")), "{state}");
    }
}

#[test]
fn the_reference_page_has_a_row_for_every_code() {
    let transition = TransitionError { state: State::Done, event: Event::Voted };
    let json = serde_json::from_str::<u8>("x").unwrap_err();
    let mut errors = vec![
        ApprovalError::Unknown,
        ApprovalError::Terms(TermsError::Empty),
        ApprovalError::PrincipalFull { open: 1, most: 1 },
        ApprovalError::TenantFull { open: 1, most: 1 },
        ApprovalError::Closed(State::Done),
        ApprovalError::Pending,
        ApprovalError::Expired,
        ApprovalError::Digest,
        ApprovalError::Requester,
        ApprovalError::Stranger,
        ApprovalError::Voted,
        ApprovalError::ReasonLength(1),
        ApprovalError::Changed,
        ApprovalError::Used,
        ApprovalError::Altered("digest"),
        ApprovalError::Cancelled,
        ApprovalError::Contended,
        ApprovalError::Transition(transition),
        ApprovalError::Record("x".into()),
        ApprovalError::RecordTime(Duration::ZERO),
        ApprovalError::Json(json),
    ];
    let faults = [
        StoreFault::Full,
        StoreFault::ReadOnly,
        StoreFault::Busy,
        StoreFault::Unavailable,
        StoreFault::Corrupt,
        StoreFault::Row("x"),
        StoreFault::Newer { found: 2, known: 1 },
        StoreFault::Older { found: 1, known: 2 },
        StoreFault::Migration(1),
        StoreFault::Url,
    ];
    errors.extend(faults.into_iter().map(|fault| StoreError::bare("x", fault).into()));
    for error in errors {
        assert!(page().contains(&format!("\n| `{}` |", error.code())), "{}", error.code());
    }
}
