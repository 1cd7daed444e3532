//! Refusal codes: dotted, stable, documented in `docs/reference/refusals.md` (contract §2).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::CallId;

/// `_meta["dev.forge/refusal"]` of a refused tool call, and `data` of a JSON-RPC error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefusalData {
    /// What was refused, for machines.
    pub code: RefusalCode,
    /// Names the record.
    pub call_id: CallId,
    /// Seconds after which the very same call may be tried again; absent where that cannot help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<u64>,
}

/// JSON-RPC code of every refusal that is not a protocol fault: outside all reserved ranges.
pub const REFUSAL_JSON_RPC_CODE: i64 = -31001;

/// `_meta` key that carries [`RefusalData`].
pub const REFUSAL_META_KEY: &str = "dev.forge/refusal";

macro_rules! codes {
    ($($variant:ident = $code:literal, $sentence:literal;)*) => {
        /// Every reason for which a message is not passed on.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        pub enum RefusalCode {
            $(#[doc = $sentence] #[serde(rename = $code)] $variant,)*
        }

        impl RefusalCode {
            /// Every code, in the order of the reference page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The dotted code.
            #[must_use]
            pub const fn code(self) -> &'static str {
                match self { $(Self::$variant => $code,)* }
            }

            /// What happened and what to do, in one or two sentences that a model or a person can
            /// act on and that give away nothing of a rule.
            #[must_use]
            pub const fn sentence(self) -> &'static str {
                match self { $(Self::$variant => $sentence,)* }
            }
        }
    };
}

codes! {
    AuthMissing = "auth.missing_token", "No access token was sent. Send one in the Authorization header as a Bearer token.";
    AuthInvalid = "auth.invalid_token", "The access token is not valid here. Obtain a new access token for this gateway and try again.";
    AuthExpired = "auth.expired_token", "The access token has expired. Obtain a new one and try again.";
    AuthNotYetValid = "auth.not_yet_valid", "The access token is not valid yet. Check the clocks of the client and the issuer.";
    AuthAudience = "auth.wrong_audience", "The access token was issued for another resource. Request one for this gateway.";
    AuthIssuer = "auth.unknown_issuer", "The access token comes from an issuer that this gateway does not trust.";
    AuthClaims = "auth.missing_claims", "The access token lacks a claim that this gateway requires. Ask whoever runs the issuer.";
    AuthScope = "auth.insufficient_scope", "The access token lacks a scope. Request the scope named in the challenge.";
    AuthUnavailable = "auth.issuer_unavailable", "The keys of the token's issuer cannot be fetched at the moment. Try again shortly.";
    ProtocolBatch = "protocol.batch", "JSON-RPC batches are not accepted. Send one message in each request.";
    ProtocolJson = "protocol.invalid_json", "The body is not one valid JSON-RPC message in UTF-8. Correct the message.";
    ProtocolDuplicateKey = "protocol.duplicate_key", "An object in the message has the same key twice. Send each key once.";
    ProtocolDepth = "protocol.too_deep", "The message is nested too deeply. Flatten it.";
    ProtocolId = "protocol.invalid_id", "The id has to be a string or an integer.";
    ProtocolRequest = "protocol.invalid_request", "The message is not a valid request. Correct its fields.";
    ProtocolHeader = "protocol.header_mismatch", "A header and the body do not say the same. Send headers that mirror the body.";
    ProtocolMeta = "protocol.missing_meta", "The request lacks _meta with the protocol version and the client's capabilities. Send both with every request.";
    ProtocolVersion = "protocol.unsupported_version", "This protocol version is not supported. Use one of the versions named in the error.";
    ProtocolMethod = "protocol.unknown_method", "This method is not part of the protocol revision in use and is not passed on.";
    ProtocolSession = "protocol.unknown_session", "The session does not exist or has ended. Initialize a new one.";
    ProtocolState = "protocol.invalid_state", "The requestState is not one that this gateway issued for this call, or it was used before. Send the original request without it.";
    ProtocolOrigin = "protocol.origin_not_allowed", "Requests from this origin or for this host are not allowed.";
    ProtocolMedia = "protocol.media_type", "The body has to be application/json, and the client has to accept application/json and text/event-stream.";
    LimitBody = "limit.body_bytes", "The message is larger than this gateway accepts. Send less.";
    LimitBodyTime = "limit.body_time", "The body did not arrive in time.";
    LimitConcurrency = "limit.concurrency", "Too many calls are under way. Try again shortly.";
    LimitSessions = "limit.sessions", "Too many sessions are open for this server. Close one or try again later.";
    LimitApprovals = "limit.approvals", "Too many approval requests are waiting for this principal. Wait until some are decided.";
    LimitDraining = "limit.draining", "The gateway is shutting down. Try again shortly.";
    PolicyDenied = "policy.denied", "Policy does not allow this call. Do not repeat it unchanged; do something else or ask whoever runs the gateway.";
    PolicyError = "policy.error", "Policy could not be evaluated, so the call was refused. Ask whoever runs the gateway.";
    PolicyObligation = "policy.unknown_obligation", "Policy asks for something that this gateway cannot do, so the call was refused. Ask whoever runs the gateway.";
    PolicyWithheld = "policy.withheld", "The tool ran, but policy does not allow its result to be passed on. Do not repeat the call unchanged.";
    DetectBlocked = "detect.blocked", "The message carries a secret or personal data that may not be passed on. Remove it and try again.";
    DetectResidue = "detect.residue", "The result still carried a secret or personal data after redaction, so it was withheld.";
    DetectLimit = "detect.too_large", "The message is too large or too deeply encoded to be examined, so it was refused. Ask for less at a time.";
    ApprovalPending = "approval.pending", "The call waits for a person's approval. Do not change the arguments; call the same tool with the same arguments again later.";
    ApprovalDenied = "approval.denied", "A person refused this call. Do not repeat it.";
    ApprovalExpired = "approval.expired", "Nobody approved the call in time. Call again to ask anew.";
    ApprovalChanged = "approval.changed", "The tool or the policy changed after the call was approved, so the approval does not count. Call again to ask anew.";
    ApprovalUsed = "approval.used", "The approval of this call was used before, by this call or by one just like it. Call again to ask anew.";
    ApprovalCancelled = "approval.cancelled", "The call was cancelled while it waited for approval.";
    UpstreamServer = "upstream.unknown_server", "There is no tool server of this name, or it may not be used.";
    UpstreamUnavailable = "upstream.unavailable", "The tool server cannot be reached. Nothing was executed; try again later.";
    UpstreamTimeout = "upstream.timeout", "The tool server did not answer in time. Whether the call took effect is unknown; check before repeating it.";
    UpstreamLost = "upstream.lost", "The tool server went away during the call. Whether the call took effect is unknown; check before repeating it.";
    UpstreamInvalid = "upstream.invalid_response", "The tool server answered with something that is not a valid response. The call may have taken effect; check before repeating it.";
    UpstreamSize = "upstream.too_large", "The tool server's answer is larger than this gateway passes on. Ask for less at a time.";
    UpstreamUnknown = "upstream.outcome_unknown", "The gateway was interrupted while this call was under way. Whether it took effect is unknown; check before repeating it.";
    EvidenceUnavailable = "evidence.unavailable", "The record of this call cannot be written, so the call was refused. Ask whoever runs the gateway.";
    SwitchActive = "switch.active", "The kill switch is on for this call. Ask whoever runs the gateway.";
    Cancelled = "protocol.cancelled", "The client cancelled the call.";
    InternalError = "internal.error", "The gateway failed on this call; nothing else is affected. Report the call id to whoever runs it.";
}
