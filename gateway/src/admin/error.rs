//! Why the admin API did not do what was asked, and what the problem document says of it.

use forge_schemas::refusal::RefusalCode;
use schemars::JsonSchema;
use serde::Serialize;

use crate::approval::error::ApprovalError;
use crate::store::StoreError;

/// A problem document (RFC 9457).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct ProblemDocument {
    /// `about:blank`: `code` says what the status does not.
    pub r#type: &'static str,
    /// The status in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// One or two sentences for a person.
    pub detail: String,
    /// Names this occurrence, as `call_id` does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// Stable, dotted, for programs (`docs/reference/admin-api.md`).
    pub code: &'static str,
    /// Names the record; absent where nothing is recorded (unknown paths and methods).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call_id: Option<String>,
}

/// The request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Policy, protocol, journal.
    #[error("the request was refused: {}", code.code())]
    Refused {
        /// Why.
        code: RefusalCode,
        /// Said to the caller after the code's own sentence.
        note: String,
    },
    /// Policy denied.
    #[error("policy denied the request")]
    Denied {
        /// `policy.denied`, `policy.error` or `policy.unknown_obligation`.
        code: RefusalCode,
        /// The rules' sentences for users and the evaluation's name.
        note: String,
    },
    /// The tenant has no such call.
    #[error("there is no such call")]
    UnknownCall,
    /// The approval is as it was.
    #[error("the approval was not decided")]
    Approval(#[source] ApprovalError),
    /// The store.
    #[error("the store failed")]
    Store(#[source] StoreError),
    /// The log cannot be read.
    #[error("the log could not be read")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer that cannot be written.
    #[error("the answer cannot be written as JSON")]
    Json(#[source] serde_json::Error),
}

impl AdminError {
    /// The request cannot be understood; `note` says what was expected.
    pub(super) fn invalid(note: impl Into<String>) -> Self {
        Self::Refused { code: RefusalCode::ProtocolRequest, note: note.into() }
    }

    /// Stable code.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused { code, .. } | Self::Denied { code, .. } => code.code(),
            Self::UnknownCall => "call.unknown",
            Self::Approval(error) => error.code(),
            Self::Store(error) => error.code(),
            Self::Log(_) => "evidence.unreadable",
            Self::Json(_) => "internal.error",
        }
    }

    /// What the caller is told.
    #[must_use]
    pub fn detail(&self) -> String {
        match self {
            Self::Refused { code: RefusalCode::ProtocolRequest, note } => note.clone(),
            Self::Refused { code: RefusalCode::EvidenceUnavailable, .. } => {
                "The record of this request cannot be written, so it was refused. Ask whoever \
                 runs the gateway."
                    .to_owned()
            }
            Self::Refused { code, note } if note.is_empty() => code.sentence().to_owned(),
            Self::Refused { code, note } => format!("{} {note}", code.sentence()),
            Self::Denied { code: RefusalCode::PolicyDenied, note } => {
                format!("Policy does not allow this. {note}")
            }
            Self::Denied { note, .. } => {
                format!("Policy could not be evaluated, so this was refused. {note}")
            }
            Self::UnknownCall => "There is no such call.".to_owned(),
            Self::Approval(error) => sentence(&error.to_string()),
            Self::Store(error) => sentence(&error.to_string()),
            Self::Log(_) => "The log could not be read. Ask whoever runs the gateway.".to_owned(),
            Self::Json(_) => RefusalCode::InternalError.sentence().to_owned(),
        }
    }
}

/// An error's words, as a sentence.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters
        .next()
        .map(|first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
        .unwrap_or_default()
}
