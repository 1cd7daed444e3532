//! Detectors over what leaves and over what comes back.
//!
//! Every decoded string, key and number of `params` and of `result` or `error` is examined. What
//! is redacted is spliced out of the bytes; the rest stays as it was. Where redaction would change
//! what the message is about (a tool's name, a resource's URI, a key), a secret blocks instead.

use std::sync::Arc;

use bytes::Bytes;
use forge_detectors::RedactError;
use forge_schemas::finding::{Confidence, Finding, FindingKind};
use forge_schemas::refusal::RefusalCode;
use tracing::warn;

use crate::config::DetectMode;
use crate::mcp::catalog::Call;
use crate::mcp::envelope::{Kind, Message};
use crate::state::Snapshot;
use crate::upstream::SseEvent;

use super::forward::Response;
use super::record::Trail;

/// A call whose strings were examined.
#[derive(Debug)]
pub struct Inspected {
    call: Call,
    findings: Vec<Finding>,
    forward: Message,
    fault: Option<RefusalCode>,
}

impl Inspected {
    /// Hands everything to the next stage.
    pub(super) fn into_parts(self) -> (Call, Vec<Finding>, Message, Option<RefusalCode>) {
        (self.call, self.findings, self.forward, self.fault)
    }
}

/// Examines what would leave.
pub async fn request(call: Call) -> Inspected {
    let snapshot = Arc::clone(&call.admission().snapshot);
    let mode = snapshot.config.detect.request;
    let message = call.message().clone();
    let Some((part, root)) = outgoing_part(&message) else {
        return Inspected { findings: Vec::new(), forward: message, fault: None, call };
    };
    let depth = snapshot.config.limits.depth_max;
    let worked = heavy(part.len(), move || {
        let findings = scan(&snapshot, &part, root)?;
        let forward = act(&snapshot, mode, Part { bytes: &part, root }, &findings)
            .map(|changed| changed.map(|bytes| replaced(&message, &part, &bytes, depth)));
        Ok((findings, forward))
    })
    .await;
    let message = call.message().clone();
    let (findings, forward, fault) = match worked {
        Ok((findings, Ok(None))) => (findings, message, None),
        Ok((findings, Ok(Some(Some(changed))))) => (findings, changed, None),
        Ok((findings, Ok(Some(None)))) => (findings, message, Some(RefusalCode::DetectResidue)),
        Ok((findings, Err(code))) => (findings, message, Some(code)),
        Err(code) => (Vec::new(), message, Some(code)),
    };
    Inspected { call, findings, forward, fault }
}

/// What of a message leaves towards the server, and how pointers into it begin.
fn outgoing_part(message: &Message) -> Option<(Bytes, &'static str)> {
    match message.kind() {
        Kind::Request | Kind::Notification => message.params().map(|params| (params.clone(), "")),
        Kind::Response => message.outcome().map(|outcome| (outcome.clone(), "/result")),
    }
}

fn replaced(message: &Message, part: &Bytes, bytes: &[u8], depth: usize) -> Option<Message> {
    Message::parse(message.splice(part, bytes)?, depth).ok()
}

/// Runs short work in place and long work on a blocking thread (nothing blocks the executor for
/// more than about half a millisecond).
async fn heavy<T: Send + 'static>(
    bytes: usize,
    work: impl FnOnce() -> Result<T, RefusalCode> + Send + 'static,
) -> Result<T, RefusalCode> {
    if bytes <= INLINE_BYTES_MAX {
        return work();
    }
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(RefusalCode::InternalError))
}

fn scan(snapshot: &Snapshot, part: &[u8], root: &str) -> Result<Vec<Finding>, RefusalCode> {
    snapshot.scanner.scan_json(part, root).map_err(|limit| {
        warn!(error = %limit, "a message could not be examined");
        RefusalCode::DetectLimit
    })
}

/// Findings that the configured mode acts on in a request. Contact data that a tool needs to do
/// its work is reported to policy and evidence, and left to policy.
fn acts_on(snapshot: &Snapshot, finding: &Finding) -> bool {
    let opaque = OPAQUE_REQUEST.contains(&finding.pointer.as_str());
    let listed = snapshot.config.detect.request_report_only.contains(&finding.entity);
    !opaque && !listed && finding.confidence > Confidence::Entropy
}

#[derive(Clone, Copy)]
struct Part<'a> {
    bytes: &'a [u8],
    root: &'a str,
}

/// Acts on findings by the mode: `None` means the bytes stay.
fn act(
    snapshot: &Snapshot,
    mode: DetectMode,
    part: Part<'_>,
    findings: &[Finding],
) -> Result<Option<Vec<u8>>, RefusalCode> {
    let acted = |findings: &[Finding]| -> Vec<Finding> {
        findings.iter().filter(|finding| acts_on(snapshot, finding)).cloned().collect()
    };
    let findings = acted(findings);
    match mode {
        _ if findings.is_empty() => return Ok(None),
        DetectMode::Report => return Ok(None),
        DetectMode::Block => return Err(RefusalCode::DetectBlocked),
        DetectMode::Redact => {}
    }
    let (inside, outside): (Vec<Finding>, Vec<Finding>) =
        findings.into_iter().partition(|finding| changeable(&finding.pointer) && !finding.in_key);
    // A secret where nothing may be changed blocks the message; personal data there (a file name,
    // say) is reported.
    if outside.iter().any(|finding| finding.kind == FindingKind::Secret) {
        return Err(RefusalCode::DetectBlocked);
    }
    if inside.is_empty() {
        return Ok(None);
    }
    let changed = snapshot
        .scanner
        .redact_json(part.bytes, part.root, &inside)
        .map_err(|error| blocked(&error))?;
    let left = acted(&scan(snapshot, &changed, part.root)?);
    if left.iter().any(|finding| changeable(&finding.pointer)) {
        return Err(RefusalCode::DetectResidue);
    }
    Ok(Some(changed))
}

fn blocked(error: &RedactError) -> RefusalCode {
    warn!(%error, "a finding could not be redacted");
    RefusalCode::DetectBlocked
}

/// Places that may be changed without changing what the message is about.
fn changeable(pointer: &str) -> bool {
    const FIXED: &[&str] =
        &["/name", "/uri", "/taskId", "/cursor", "/protocolVersion", "/requestState", "/ref"];
    let under = |prefix: &str| {
        pointer.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    !FIXED.iter().any(|prefix| under(prefix)) && !pointer.starts_with("/_meta")
}

/// A response whose strings were examined.
#[derive(Debug)]
pub struct Examined {
    response: Response,
    message: Message,
    findings: Vec<Finding>,
    fault: Option<RefusalCode>,
}

impl Examined {
    /// Hands everything to the next stage.
    pub(super) fn into_parts(self) -> (Response, Message, Vec<Finding>, Option<RefusalCode>) {
        (self.response, self.message, self.findings, self.fault)
    }
}

/// Examines what came back.
pub async fn response(response: Response, trail: &mut Trail) -> Examined {
    let snapshot = Arc::clone(&response.call().admission().snapshot);
    let message = response.message().clone();
    let (message, findings, fault) = incoming(snapshot, message).await;
    trail.found(&findings);
    Examined { response, message, findings, fault }
}

/// Examines a message that precedes the answer, and redacts it; `None` means it is withheld.
pub async fn event(
    snapshot: Arc<Snapshot>,
    event: SseEvent,
    trail: &mut Trail,
) -> Option<SseEvent> {
    if event.data.is_empty() {
        return Some(event);
    }
    let message = Message::parse(event.data.clone(), snapshot.config.limits.depth_max).ok()?;
    let (message, findings, fault) = incoming(snapshot, message).await;
    trail.found(&findings);
    fault.is_none().then(|| SseEvent { data: message.body().clone(), ..event })
}

async fn incoming(
    snapshot: Arc<Snapshot>,
    message: Message,
) -> (Message, Vec<Finding>, Option<RefusalCode>) {
    let Some((part, root)) = incoming_part(&message) else { return (message, Vec::new(), None) };
    let mode = snapshot.config.detect.response;
    let original = message.clone();
    let worked = heavy(part.len(), move || {
        let findings = scan(&snapshot, &part, root)?;
        let changed = redact_incoming(&snapshot, mode, Part { bytes: &part, root }, &findings).map(
            |changed| {
                changed.map(|bytes| {
                    replaced(&message, &part, &bytes, snapshot.config.limits.depth_max)
                })
            },
        );
        Ok((findings, changed))
    })
    .await;
    match worked {
        Ok((findings, Ok(None))) => (original, findings, None),
        Ok((findings, Ok(Some(Some(changed))))) => (changed, findings, None),
        Ok((findings, Ok(Some(None)))) => (original, findings, Some(RefusalCode::DetectResidue)),
        Ok((findings, Err(code))) => (original, findings, Some(code)),
        Err(code) => (original, Vec::new(), Some(code)),
    }
}

fn incoming_part(message: &Message) -> Option<(Bytes, &'static str)> {
    match message.kind() {
        Kind::Response if message.failed() => {
            message.outcome().map(|part| (part.clone(), "/error"))
        }
        Kind::Response => message.outcome().map(|part| (part.clone(), "/result")),
        Kind::Request | Kind::Notification => {
            message.params().map(|params| (params.clone(), "/params"))
        }
    }
}

/// The same as towards the server, but here nothing is exempt: what came back is data.
fn redact_incoming(
    snapshot: &Snapshot,
    mode: DetectMode,
    part: Part<'_>,
    findings: &[Finding],
) -> Result<Option<Vec<u8>>, RefusalCode> {
    let opaque = |pointer: &str| OPAQUE_RESPONSE.contains(&pointer);
    let acted: Vec<Finding> = findings
        .iter()
        .filter(|finding| finding.confidence > Confidence::Entropy && !opaque(&finding.pointer))
        .cloned()
        .collect();
    match mode {
        _ if acted.is_empty() => Ok(None),
        DetectMode::Report => Ok(None),
        DetectMode::Block => Err(RefusalCode::DetectBlocked),
        DetectMode::Redact => {
            let changed = snapshot
                .scanner
                .redact_json(part.bytes, part.root, &acted)
                .map_err(|error| blocked(&error))?;
            let left = scan(snapshot, &changed, part.root)?;
            let residue = left.iter().any(|finding| {
                finding.confidence > Confidence::Entropy && !opaque(&finding.pointer)
            });
            if residue { Err(RefusalCode::DetectResidue) } else { Ok(Some(changed)) }
        }
    }
}

/// Up to here work is done in place: about half a millisecond of scanning.
const INLINE_BYTES_MAX: usize = 65_536;
/// What only the server or the protocol reads, and what has to come back as it was.
const OPAQUE_REQUEST: &[&str] = &[
    "/requestState",
    "/cursor",
    "/_meta/progressToken",
    "/_meta/traceparent",
    "/_meta/tracestate",
];
const OPAQUE_RESPONSE: &[&str] = &["/result/nextCursor", "/result/requestState"];
