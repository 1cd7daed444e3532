//! How a refusal looks on the wire (contract §2), for both eras. One table.

use bytes::Bytes;
use forge_schemas::ids::CallId;
use forge_schemas::refusal::{REFUSAL_JSON_RPC_CODE, REFUSAL_META_KEY, RefusalCode, RefusalData};
use serde_json::{Value, json};

use super::envelope::{Kind, Message};
use super::headers::{self, Era};

/// A refusal and what is known of the message it answers.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Why.
    pub code: RefusalCode,
    /// Which call: names the record.
    pub call: CallId,
    /// Said to the model or person, after the code's own sentence; never a rule's secrets.
    pub note: String,
    /// Seconds after which the very same call may be tried again.
    pub retry: Option<u64>,
    /// More members for `structuredContent` of a held call.
    pub structured: Option<Value>,
}

impl Refusal {
    /// A refusal with nothing to add to the code's sentence.
    #[must_use]
    pub fn new(code: RefusalCode, call: CallId) -> Self {
        Self { code, call, note: String::new(), retry: None, structured: None }
    }

    /// The same with a note for the reader.
    #[must_use]
    pub fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    fn data(&self) -> Value {
        let data = RefusalData { code: self.code, call_id: self.call.clone(), retry: self.retry };
        serde_json::to_value(data).unwrap_or_default()
    }

    fn sentence(&self) -> String {
        let note = if self.note.is_empty() { String::new() } else { format!(" {}", self.note) };
        format!("{}{note}", self.code.sentence())
    }
}

/// Status and body of a refused message.
#[derive(Clone, Debug)]
pub struct Rendered {
    /// HTTP status.
    pub status: u16,
    /// One JSON-RPC message; empty for notifications that have nobody to tell.
    pub body: Bytes,
}

/// What is known of the message that is refused.
#[derive(Clone, Debug)]
pub struct Addressee {
    /// Raw id to answer to.
    pub id: Option<Bytes>,
    /// The message is a `tools/call` request.
    pub tool_call: bool,
    /// Era of the client.
    pub era: Era,
}

impl Addressee {
    /// Of a message that could be read.
    #[must_use]
    pub fn of(message: &Message, era: Era) -> Self {
        let tool_call = message.kind() == Kind::Request && message.method() == "tools/call";
        Self {
            id: message.id().filter(|_| message.kind() == Kind::Request).cloned(),
            tool_call,
            era,
        }
    }
}

/// Writes the refusal as the revision in use wants it.
#[must_use]
pub fn render(refusal: &Refusal, to: &Addressee) -> Rendered {
    let (status, rpc_code) = table(refusal.code, to.era);
    if rpc_code == REFUSAL_JSON_RPC_CODE && to.tool_call {
        return Rendered { status: 200, body: tool_result(refusal, to) };
    }
    let mut data = refusal.data();
    if refusal.code == RefusalCode::ProtocolVersion
        && let Value::Object(members) = &mut data
    {
        members.insert("supported".to_owned(), json!(headers::supported()));
        members.insert("requested".to_owned(), json!(refusal.note));
    }
    let error = json!({ "code": rpc_code, "message": refusal.sentence(), "data": data });
    // A message without an id to answer to cannot get a JSON-RPC answer with status 200.
    let status = if to.id.is_none() && status == 200 { 403 } else { status };
    Rendered { status, body: message(to.id.as_deref(), "error", &error) }
}

/// `isError: true`, one text block that a model can act on.
fn tool_result(refusal: &Refusal, to: &Addressee) -> Bytes {
    let text = format!("{} [{} · call {}]", refusal.sentence(), refusal.code.code(), refusal.call);
    let mut result = json!({
        "content": [{ "type": "text", "text": text }],
        "isError": true,
        "_meta": { REFUSAL_META_KEY: refusal.data() },
    });
    if let Value::Object(members) = &mut result {
        if to.era == Era::Modern {
            members.insert("resultType".to_owned(), json!("complete"));
        }
        if let Some(structured) = &refusal.structured {
            members.insert("structuredContent".to_owned(), structured.clone());
        }
    }
    message(to.id.as_deref(), "result", &result)
}

/// One JSON-RPC answer with the raw id as it came.
#[must_use]
pub fn message(id: Option<&[u8]>, member: &str, value: &Value) -> Bytes {
    let id = id.map_or("null".into(), String::from_utf8_lossy);
    Bytes::from(format!(r#"{{"jsonrpc":"2.0","id":{id},"{member}":{value}}}"#))
}

/// HTTP status and JSON-RPC code of each refusal. Policy, detection and approval answer 200: a 400
/// with a body that is no recognised modern error makes clients of both eras fall back to
/// `initialize` (MCP 2026-07-28 `basic/versioning`).
fn table(code: RefusalCode, era: Era) -> (u16, i64) {
    use RefusalCode as C;
    match code {
        C::AuthMissing
        | C::AuthInvalid
        | C::AuthExpired
        | C::AuthNotYetValid
        | C::AuthAudience
        | C::AuthIssuer
        | C::AuthClaims => (401, REFUSAL_JSON_RPC_CODE),
        C::AuthScope | C::ProtocolOrigin => (403, REFUSAL_JSON_RPC_CODE),
        C::AuthUnavailable => (503, REFUSAL_JSON_RPC_CODE),
        C::ProtocolJson => (400, -32700),
        C::ProtocolBatch
        | C::ProtocolDuplicateKey
        | C::ProtocolDepth
        | C::ProtocolId
        | C::ProtocolRequest => (400, -32600),
        C::ProtocolHeader => (400, -32020),
        C::ProtocolVersion => (400, if era == Era::Modern { -32022 } else { -32600 }),
        C::ProtocolMethod => (if era == Era::Modern { 404 } else { 200 }, -32601),
        C::ProtocolSession => (404, -32600),
        C::ProtocolState | C::ProtocolMeta => (400, -32602),
        C::ProtocolMedia => (415, -32600),
        C::LimitBody => (413, REFUSAL_JSON_RPC_CODE),
        C::LimitBodyTime => (408, REFUSAL_JSON_RPC_CODE),
        C::LimitDraining => (503, REFUSAL_JSON_RPC_CODE),
        C::UpstreamServer => (404, REFUSAL_JSON_RPC_CODE),
        C::LimitConcurrency
        | C::LimitSessions
        | C::LimitApprovals
        | C::PolicyDenied
        | C::PolicyError
        | C::PolicyObligation
        | C::PolicyWithheld
        | C::DetectBlocked
        | C::DetectResidue
        | C::DetectLimit
        | C::ApprovalPending
        | C::ApprovalDenied
        | C::ApprovalExpired
        | C::ApprovalChanged
        | C::ApprovalCancelled
        | C::ApprovalUsed
        | C::UpstreamUnavailable
        | C::UpstreamTimeout
        | C::UpstreamLost
        | C::UpstreamInvalid
        | C::UpstreamSize
        | C::UpstreamUnknown
        | C::EvidenceUnavailable
        | C::SwitchActive
        | C::Cancelled
        | C::InternalError => (200, REFUSAL_JSON_RPC_CODE),
    }
}
