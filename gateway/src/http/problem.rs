//! Problem documents (RFC 9457) of the admin listener: the one table from codes to statuses.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use forge_schemas::ids::CallId;
use forge_schemas::refusal::RefusalCode;

use crate::admin::{AdminError, ProblemDocument};
use crate::approval::error::ApprovalError;
use crate::auth::challenge;

/// What goes wrong on the admin listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    call: Option<CallId>,
}

impl Problem {
    /// There is nothing at this path.
    #[must_use]
    pub fn not_found() -> Self {
        let detail = "There is nothing here; /api/v1/openapi.json lists what there is.".to_owned();
        Self { status: StatusCode::NOT_FOUND, code: "http.not_found", detail, call: None }
    }

    /// The path is there, but not for this method.
    #[must_use]
    pub fn method_not_allowed() -> Self {
        let detail = "This path does not take this method; see the Allow header.".to_owned();
        let status = StatusCode::METHOD_NOT_ALLOWED;
        Self { status, code: "http.method_not_allowed", detail, call: None }
    }

    /// A request that was refused before anybody was asked.
    #[must_use]
    pub fn refused(code: RefusalCode, call: CallId) -> Self {
        let detail = match code {
            RefusalCode::ProtocolMedia => "The body has to be application/json.",
            code => code.sentence(),
        };
        let (detail, status) = (detail.to_owned(), of_refusal(code));
        Self { status, code: code.code(), detail, call: Some(call) }
    }

    /// A request of somebody known.
    #[must_use]
    pub fn of(error: &AdminError, call: CallId) -> Self {
        let status = match error {
            AdminError::Refused { code, .. } => of_refusal(*code),
            AdminError::Denied { .. } => StatusCode::FORBIDDEN,
            AdminError::UnknownCall => StatusCode::NOT_FOUND,
            AdminError::Approval(error) => of_approval(error),
            AdminError::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
            AdminError::Log(_) | AdminError::Json(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self { status, code: error.code(), detail: error.detail(), call: Some(call) }
    }

    /// The answer.
    #[must_use]
    pub fn response(self) -> Response<Body> {
        let Self { status, code, detail, call } = self;
        let call_id = call.map(String::from);
        let document = ProblemDocument {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail,
            instance: call_id.clone(),
            code,
            call_id,
        };
        // Strings and one integer: this can always be written.
        let body = serde_json::to_vec(&document).unwrap_or_default();
        answer(status, "application/problem+json", Bytes::from(body))
    }
}

/// An answer of the admin listener: never kept, never guessed at.
#[must_use]
pub fn answer(status: StatusCode, media: &'static str, body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Codes of the MCP side that can come up here; anything else would be a fault of the gateway.
fn of_refusal(code: RefusalCode) -> StatusCode {
    use RefusalCode as C;
    if let Some(status) = challenge::status(code) {
        return StatusCode::from_u16(status).unwrap_or(StatusCode::UNAUTHORIZED);
    }
    let table = [
        (C::ProtocolOrigin, StatusCode::FORBIDDEN),
        (C::PolicyDenied, StatusCode::FORBIDDEN),
        (C::ProtocolJson, StatusCode::BAD_REQUEST),
        (C::ProtocolRequest, StatusCode::BAD_REQUEST),
        (C::ProtocolDuplicateKey, StatusCode::BAD_REQUEST),
        (C::ProtocolDepth, StatusCode::BAD_REQUEST),
        (C::ProtocolMedia, StatusCode::UNSUPPORTED_MEDIA_TYPE),
        (C::LimitBody, StatusCode::PAYLOAD_TOO_LARGE),
        (C::LimitBodyTime, StatusCode::REQUEST_TIMEOUT),
        (C::LimitDraining, StatusCode::SERVICE_UNAVAILABLE),
        (C::EvidenceUnavailable, StatusCode::SERVICE_UNAVAILABLE),
    ];
    let found = table.into_iter().find(|(known, _)| *known == code);
    found.map_or(StatusCode::INTERNAL_SERVER_ERROR, |(_, status)| status)
}

fn of_approval(error: &ApprovalError) -> StatusCode {
    use ApprovalError as E;
    match error {
        E::Unknown => StatusCode::NOT_FOUND,
        E::Requester | E::Stranger => StatusCode::FORBIDDEN,
        E::Closed(_)
        | E::Pending
        | E::Expired
        | E::Digest
        | E::Voted
        | E::Changed
        | E::Used
        | E::Cancelled => StatusCode::CONFLICT,
        E::ReasonLength(_) => StatusCode::BAD_REQUEST,
        E::PrincipalFull { .. } | E::TenantFull { .. } => StatusCode::TOO_MANY_REQUESTS,
        E::Contended | E::Record(_) | E::RecordTime(_) | E::Store(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        E::Terms(_) | E::Altered(_) | E::Transition(_) | E::Json(_) => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
    }
}
