//! What a detector found (contract §4). The value itself never appears.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What sort of thing was found.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum FindingKind {
    /// A credential.
    Secret,
    /// Personal data.
    Pii,
    /// Text made to steer a model.
    Poison,
}

/// How sure the detector is, weakest first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Looks random enough.
    Entropy,
    /// A word beside it says so.
    Contextual,
    /// Prefix, length and alphabet fit a documented format.
    Structural,
    /// A checksum of the format fits.
    Confirmed,
}

/// One span that a rule matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// Rule id, for instance `github-pat`.
    pub rule: String,
    /// Secret, personal data or poison.
    pub kind: FindingKind,
    /// Entity type, for instance `GITHUB_TOKEN`.
    pub entity: String,
    /// How sure the rule is.
    pub confidence: Confidence,
    /// RFC 6901 pointer to the string, number or key; empty in a plain scan. A finding in an object
    /// key points at the member and has `in_key`.
    pub pointer: String,
    /// Byte offset of the first byte, in the UTF-8 of the decoded string at `pointer`.
    pub start: usize,
    /// Byte offset after the last byte.
    pub end: usize,
    /// `hmac-sha256:` and hexadecimal digits: the value under a key that stays in the gateway.
    pub digest: String,
    /// The encodings that were undone to see it, outermost first (`json`, `base64`, `hex`, …).
    #[serde(default)]
    pub decoded: Vec<String>,
    /// The span lies in the name of a member, not in its value.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_key: bool,
}
