//! What a policy reads and what it answers (contract §3).
//!
//! Names follow AuthZEN 1.0 (subject, action, resource, context). Every key of the input is always
//! written, so that a missing attribute cannot silence a rule.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::finding::{Confidence, Finding, FindingKind};

/// When in a call's life the policy is asked.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Which tools, prompts or resources may the principal see.
    List,
    /// May this message go to the server.
    Request,
    /// May what came back go to the client.
    Response,
    /// May this person decide this approval.
    Approve,
    /// May this person do this in the admin API.
    Admin,
}

impl Phase {
    /// The word as packages and input spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::List => "list",
            Self::Request => "request",
            Self::Response => "response",
            Self::Approve => "approve",
            Self::Admin => "admin",
        }
    }
}

/// The input document: one shape for all phases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyInput {
    /// Version of this shape: 1.
    pub v: u32,
    /// When.
    pub phase: Phase,
    /// Who.
    pub subject: Subject,
    /// Does what.
    pub action: Action,
    /// To what.
    pub resource: Resource,
    /// Under which circumstances.
    pub context: Context,
    /// What came back: only in phase `response`.
    pub result: Option<ResultFacts>,
}

/// Who acts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subject {
    /// Always `identity`.
    pub r#type: String,
    /// The token's `sub`, or the local user.
    pub id: String,
    /// What the token says of it.
    pub properties: SubjectProperties,
}

/// Attributes of the subject, from the verified token only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectProperties {
    /// `user` or `service`.
    pub kind: String,
    /// Whose data.
    pub tenant: String,
    /// Roles, by the configured claim.
    pub roles: Vec<String>,
    /// Groups, by the configured claim.
    pub groups: Vec<String>,
    /// Claims that rules commonly ask for.
    pub claims: SubjectClaims,
    /// RFC 8693 `act`: who acts on the subject's behalf.
    pub act: Option<Value>,
}

/// Claims of the access token.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SubjectClaims {
    /// Issuer.
    pub iss: String,
    /// The audience that matched.
    pub aud: String,
    /// Scopes, split.
    pub scope: Vec<String>,
    /// Authentication context class.
    pub acr: String,
    /// Authentication methods (RFC 8176).
    pub amr: Vec<String>,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Action {
    /// MCP method, or `verb.resource` in phase `admin`.
    pub name: String,
    /// Hints about the effect; the worst is assumed where nothing is known.
    pub properties: ActionProperties,
}

/// Effects of a tool (MCP `ToolAnnotations`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ActionProperties {
    /// Changes nothing.
    pub read_only: bool,
    /// May destroy.
    pub destructive: bool,
    /// Twice is the same as once.
    pub idempotent: bool,
    /// Reaches beyond the server.
    pub open_world: bool,
    /// `catalog` (reviewed or pinned), `server` (its own claim) or `none` (worst assumed).
    pub hints_source: String,
}

/// What it is done to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Resource {
    /// `tool`, `prompt`, `resource`, `server`, or a resource of the admin API.
    pub r#type: String,
    /// `server/name`.
    pub id: String,
    /// Its attributes.
    pub properties: ResourceProperties,
}

/// Attributes of the resource.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceProperties {
    /// Server name in the configuration.
    pub server: String,
    /// Tool, prompt or resource name; empty for methods of the server itself.
    pub tool: String,
    /// Whose server.
    pub tenant: String,
    /// Where the server runs.
    pub region: String,
    /// `verified`, `unverified`.
    pub trust: String,
    /// Words from the configuration.
    pub tags: Vec<String>,
    /// Digest over the RFC 8785 form of the tool's definition; empty if it is not known.
    pub schema_digest: String,
    /// `pinned`, `new`, `changed` or `quarantined`.
    pub pin: String,
    /// Class of the data, from the configuration.
    pub data_class: String,
    /// `params.arguments` of a call, all other `params` of other methods without `_meta`.
    pub arguments: Value,
    /// Digest of the exact argument bytes received.
    pub arguments_digest: String,
    /// Their length.
    pub arguments_bytes: u64,
}

/// Circumstances.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// OAuth client id; empty in local mode.
    pub agent: String,
    /// What the client says of itself (unverified).
    pub client: Client,
    /// Its session.
    pub session: Session,
    /// The request on the wire.
    pub request: RequestFacts,
    /// The time, passed in: policies have no clock.
    pub time: Time,
    /// What detectors found.
    pub findings: Vec<InputFinding>,
    /// Counters of recent calls.
    pub counters: Counters,
    /// The approval that releases this call, once there is one; in phase `approve` the request.
    pub approval: Option<Value>,
    /// Standing grants.
    pub grants: Vec<Value>,
    /// The gateway.
    pub env: Env,
    /// The tool server's health.
    pub upstream: Upstream,
}

/// Client software, as it calls itself: never a basis for security.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// `clientInfo.name`.
    pub name: String,
    /// `clientInfo.version`.
    pub version: String,
    /// Protocol revision in use.
    pub protocol: String,
}

/// The session that the call belongs to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// As evidence counts it.
    pub id: String,
    /// Seconds since it began.
    pub age_s: u64,
    /// Labels that earlier results left.
    pub taint: Vec<String>,
    /// Calls so far.
    pub calls: u64,
}

/// The request on the wire.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestFacts {
    /// Call id.
    pub id: String,
    /// Peer address; empty over stdio.
    pub ip: String,
    /// `http` or `stdio`.
    pub transport: String,
    /// W3C trace id, if the client sent one.
    pub trace_id: String,
}

/// One instant, spelled several ways.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Time {
    /// Milliseconds since 1970 UTC.
    pub epoch_ms: i64,
    /// RFC 3339.
    pub rfc3339: String,
    /// English name of the day.
    pub weekday: String,
    /// 0 to 1439.
    pub minute_of_day: u32,
    /// Zone of the two above.
    pub tz: String,
}

/// A finding as policy sees it: no span, no digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InputFinding {
    /// Rule id.
    pub rule: String,
    /// Kind.
    pub kind: FindingKind,
    /// Entity type.
    pub entity: String,
    /// How sure.
    pub confidence: Confidence,
    /// Where.
    pub pointer: String,
}

impl From<&Finding> for InputFinding {
    fn from(finding: &Finding) -> Self {
        Self {
            rule: finding.rule.clone(),
            kind: finding.kind,
            entity: finding.entity.clone(),
            confidence: finding.confidence,
            pointer: finding.pointer.clone(),
        }
    }
}

/// Recent counts for the subject.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Counters {
    /// Calls of this tool in the last minute.
    pub principal_tool_1m: u64,
    /// Calls of this tool in the last hour.
    pub principal_tool_1h: u64,
    /// Denials in the last hour.
    pub denied_1h: u64,
    /// Declared cost in the last 24 hours.
    pub cost_24h: u64,
    /// What is left of the budget.
    pub budget_left: u64,
}

/// The gateway itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Env {
    /// Name of the environment.
    pub name: String,
    /// Region.
    pub region: String,
    /// Node.
    pub gateway: String,
    /// Kill switches that are on.
    pub kill: Vec<String>,
}

/// The tool server's health.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Upstream {
    /// `closed`, `open`, `half_open`.
    pub circuit: String,
}

/// What came back from the server (phase `response`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResultFacts {
    /// A JSON-RPC error, or `isError`.
    pub is_error: bool,
    /// `content`, or the whole result of methods that have none.
    pub content: Value,
    /// `structuredContent`.
    pub structured: Value,
    /// Length of the message.
    pub bytes: u64,
    /// The two above were cut.
    pub truncated: bool,
}

/// What a decision comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Goes on.
    Allow,
    /// Ends here.
    Deny,
    /// Waits for a person.
    RequireApproval,
}

/// Which evaluator decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// regorus' interpreter with strict builtin errors: the reference.
    Interp,
    /// regorus' bytecode machine.
    Rvm,
}

/// The merged decision of all layers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Decision {
    /// Allow, deny, or wait.
    pub effect: Effect,
    /// AuthZEN's boolean: true only for `allow`.
    pub decision: bool,
    /// `ev_…`: names this evaluation towards people and models.
    pub evaluation_id: String,
    /// `revision@digest` of the bundle.
    pub revision: String,
    /// The rules that decided: all that deny or all that ask, by layer, file, id; or `default.deny`.
    pub reasons: Vec<Reason>,
    /// Spans to change before the message goes on.
    pub redactions: Vec<Redaction>,
    /// Duties of the gateway.
    pub obligations: Vec<Obligation>,
    /// Who has to approve, when `effect` is `require_approval`.
    pub approval: Option<ApprovalTerms>,
    /// Limits, strictest first.
    pub limits: Vec<Value>,
    /// Labels for records and sessions.
    pub labels: BTreeMap<String, Value>,
    /// Which evaluator.
    pub engine: Engine,
    /// CPU microseconds.
    pub us: u64,
}

/// One rule that fired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// Stable id from the rule, for instance `large.transfer`.
    pub id: String,
    /// `org`, `tenant`, `tools`, or `host` for what the gateway itself adds.
    pub layer: String,
    /// For people and records.
    pub msg: String,
    /// For the model: says nothing of the rule. Empty means a general sentence.
    #[serde(default)]
    pub user_msg: String,
    /// File in the bundle; empty for `host`.
    pub file: String,
    /// Line, from 1; 0 for `host`.
    pub line: u32,
}

/// What to do to one place.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum RedactAction {
    /// Replace each character.
    Mask,
    /// Take the member away.
    Remove,
    /// Replace by a keyed digest.
    Hash,
    /// Replace by a token that is the same for the same value.
    Tokenize,
    /// Cut.
    Truncate,
}

/// A change that policy wants made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Redaction {
    /// RFC 6901 pointer: `/arguments/x` in a request, `/result/…` in a response.
    pub path: String,
    /// How.
    pub action: RedactAction,
    /// Replacement text, where the action has one.
    #[serde(default)]
    pub with: String,
    /// Only spans of this finding's rule; empty means the whole value.
    #[serde(default)]
    pub finding: String,
}

/// A duty (AuthZEN Obligations profile). One that the gateway does not know is a refusal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Obligation {
    /// Id from the rule.
    pub id: String,
    /// Kind of duty.
    pub r#type: String,
    /// Its parameters.
    #[serde(default)]
    pub properties: BTreeMap<String, Value>,
}

/// Terms under which a held call may go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalTerms {
    /// All of these have to be met.
    pub required: Vec<ApprovalRequirement>,
    /// Seconds until an undecided request expires.
    pub ttl_s: u64,
    /// Seconds from approval until it may no longer be executed.
    pub execute_within_s: u64,
    /// `call` (the exact bytes), `session` or `window`.
    pub scope: String,
    /// How often it may be used.
    pub max_uses: u64,
}

/// One requirement: who, how many, who not.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ApprovalRequirement {
    /// Rule id.
    pub id: String,
    /// `group:NAME`, `role:NAME` or `user:ID`.
    pub approvers: Vec<String>,
    /// How many different people.
    pub quorum: u64,
    /// `requester` keeps the requester out.
    pub not: Vec<String>,
}
