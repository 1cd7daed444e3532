//! Newtypes for the identifiers that are written down. New ones are drawn in `gateway::ids`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text cannot be an identifier of this kind.
#[derive(Debug, thiserror::Error)]
#[error("{kind} is 1 to {most} characters of a-z, A-Z, 0-9, '.', '_', '-', got {seen:?}")]
pub struct IdError {
    kind: &'static str,
    most: usize,
    seen: String,
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $kind:literal, $most:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Parses the written form.
            ///
            /// # Errors
            /// If the text is empty, too long or has another character.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                let fits = (1..=$most).contains(&text.len())
                    && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
                if fits {
                    Ok(Self(text.to_owned()))
                } else {
                    let seen = text.chars().take(80).collect();
                    Err(IdError { kind: $kind, most: $most, seen })
                }
            }

            /// The written form.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

id!(
    /// One governed message: `call_` and a UUIDv7 in hexadecimal.
    CallId, "a call id", 64
);
id!(
    /// One approval request: `ap_` and a UUIDv7 in hexadecimal.
    ApprovalId, "an approval id", 64
);
id!(
    /// A session as evidence counts it: `ses_` and hexadecimal digits. Not the `Mcp-Session-Id`.
    SessionId, "a session id", 64
);
id!(
    /// A tenant: also the name of its evidence log.
    Tenant, "a tenant", 63
);
id!(
    /// A tool server, as its table in the configuration is called.
    ServerName, "a server name", 63
);

/// The tenant of an installation that has only one.
impl Default for Tenant {
    fn default() -> Self {
        Self("default".to_owned())
    }
}
