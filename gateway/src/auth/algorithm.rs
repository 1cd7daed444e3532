//! The signature algorithms that can be configured (RFC 7518 §3.1, RFC 8037, RFC 9864).
//!
//! Symmetric algorithms and `none` have no value of this type, so no setting and no token can
//! choose them (RFC 8725 §3.1, §3.2).

/// An asymmetric signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// ECDSA, P-256, SHA-256.
    Es256,
    /// ECDSA, P-384, SHA-384.
    Es384,
    /// RSASSA-PKCS1-v1_5, SHA-256.
    Rs256,
    /// RSASSA-PKCS1-v1_5, SHA-384.
    Rs384,
    /// RSASSA-PKCS1-v1_5, SHA-512.
    Rs512,
    /// RSASSA-PSS, SHA-256.
    Ps256,
    /// RSASSA-PSS, SHA-384.
    Ps384,
    /// RSASSA-PSS, SHA-512.
    Ps512,
    /// Ed25519: `EdDSA`, or `Ed25519` as RFC 9864 spells it.
    EdDsa,
}

/// The name is not that of an algorithm that may be configured.
#[derive(Debug, thiserror::Error)]
#[error(
    "algorithm {seen:?} is not one of ES256, ES384, RS256, RS384, RS512, PS256, PS384, PS512, EdDSA"
)]
pub struct AlgorithmError {
    seen: String,
}

/// Which keys an algorithm can use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum KeyKind {
    Rsa,
    P256,
    P384,
    Ed25519,
}

impl Algorithm {
    /// What an issuer may use if nothing is configured.
    pub const DEFAULT: &'static [Self] = &[Self::Es256, Self::Rs256, Self::Ps256, Self::EdDsa];

    /// Parses the `alg` of a header or a setting. Names are case-sensitive (RFC 7515 §4.1.1).
    ///
    /// # Errors
    /// If the name is that of no asymmetric algorithm known here.
    pub fn parse(name: &str) -> Result<Self, AlgorithmError> {
        Ok(match name {
            "ES256" => Self::Es256,
            "ES384" => Self::Es384,
            "RS256" => Self::Rs256,
            "RS384" => Self::Rs384,
            "RS512" => Self::Rs512,
            "PS256" => Self::Ps256,
            "PS384" => Self::Ps384,
            "PS512" => Self::Ps512,
            "EdDSA" | "Ed25519" => Self::EdDsa,
            _ => return Err(AlgorithmError { seen: name.chars().take(80).collect() }),
        })
    }

    pub(super) const fn key_kind(self) -> KeyKind {
        match self {
            Self::Es256 => KeyKind::P256,
            Self::Es384 => KeyKind::P384,
            Self::Rs256 | Self::Rs384 | Self::Rs512 | Self::Ps256 | Self::Ps384 | Self::Ps512 => {
                KeyKind::Rsa
            }
            Self::EdDsa => KeyKind::Ed25519,
        }
    }

    pub(super) const fn library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::Es384 => jsonwebtoken::Algorithm::ES384,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Rs384 => jsonwebtoken::Algorithm::RS384,
            Self::Rs512 => jsonwebtoken::Algorithm::RS512,
            Self::Ps256 => jsonwebtoken::Algorithm::PS256,
            Self::Ps384 => jsonwebtoken::Algorithm::PS384,
            Self::Ps512 => jsonwebtoken::Algorithm::PS512,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}
