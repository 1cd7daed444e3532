//! Why a message did not reach a tool server, or why its answer cannot be passed on.

use std::time::Duration;

use forge_schemas::refusal::RefusalCode;

/// A message that failed on its way to a tool server or back.
///
/// The text of a variant and of its source is for logs: it names what failed, never what was sent
/// or answered.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// Every slot for this server is taken and none became free in time.
    #[error("every call slot of the tool server is taken")]
    Concurrency,
    /// The server has as many sessions or processes as it may have.
    #[error("every session slot of the tool server is taken")]
    Sessions,
    /// The gateway is ending.
    #[error("the gateway is shutting down")]
    Draining,
    /// The circuit is open after several failures in a row.
    #[error("the tool server failed repeatedly and is left alone for {} ms", wait.as_millis())]
    Circuit {
        /// Until the next attempt is made.
        wait: Duration,
    },
    /// A process that crashed is not started again yet.
    #[error("the tool server crashed {failures} times and is not started for another {} ms", wait.as_millis())]
    Backoff {
        /// Crashes in a row.
        failures: u32,
        /// Until the next start.
        wait: Duration,
    },
    /// The process could not be started.
    #[error("the tool server's process could not be started")]
    Start(#[source] std::io::Error),
    /// The process ended before it could take the message.
    #[error("the tool server's process ended before it took the message")]
    Gone,
    /// No connection to the server.
    #[error("no connection to the tool server")]
    Connect(#[source] reqwest::Error),
    /// The server does not accept the gateway's own credential.
    #[error("the tool server answered {status} to the gateway's credential")]
    Credential {
        /// 401, 403 or 407.
        status: u16,
    },
    /// No answer within the deadline.
    #[error("the tool server did not answer in time")]
    Timeout {
        /// Whether any byte of the message may have left.
        sent: bool,
    },
    /// The process or the connection ended after the message was sent.
    #[error("the tool server went away during the call")]
    Lost,
    /// The connection broke after the message was sent.
    #[error("the connection to the tool server broke during the call")]
    Broken(#[source] reqwest::Error),
    /// The answer is not a valid response to this request.
    #[error("the tool server's answer is not valid: {0}")]
    Invalid(&'static str),
    /// The answer or one of its events is over the limit.
    #[error("the tool server's answer is larger than {limit} bytes")]
    TooLarge {
        /// `message_bytes_max` of the server.
        limit: usize,
    },
    /// The caller's token was cancelled.
    #[error("the call was cancelled")]
    Cancelled {
        /// Whether any byte of the message may have left.
        sent: bool,
    },
    /// The message is not one that can be written to this server.
    #[error("the message cannot be forwarded: {0}")]
    Message(&'static str),
    /// The operating system gave no random bytes for a session id.
    #[error("no session id could be drawn")]
    Random(#[source] crate::ids::RandomError),
}

impl UpstreamError {
    /// The stable code that the client sees.
    #[must_use]
    pub const fn code(&self) -> RefusalCode {
        match self {
            Self::Concurrency => RefusalCode::LimitConcurrency,
            Self::Sessions => RefusalCode::LimitSessions,
            Self::Draining => RefusalCode::LimitDraining,
            Self::Circuit { .. }
            | Self::Backoff { .. }
            | Self::Start(_)
            | Self::Gone
            | Self::Connect(_)
            | Self::Credential { .. }
            | Self::Timeout { sent: false } => RefusalCode::UpstreamUnavailable,
            Self::Timeout { sent: true } => RefusalCode::UpstreamTimeout,
            Self::Lost | Self::Broken(_) => RefusalCode::UpstreamLost,
            Self::Invalid(_) => RefusalCode::UpstreamInvalid,
            Self::TooLarge { .. } => RefusalCode::UpstreamSize,
            Self::Cancelled { .. } => RefusalCode::Cancelled,
            Self::Message(_) => RefusalCode::ProtocolRequest,
            Self::Random(_) => RefusalCode::InternalError,
        }
    }

    /// Whether bytes of the message may have left, so that the tool may have run.
    #[must_use]
    pub const fn sent(&self) -> bool {
        match self {
            Self::Timeout { sent } | Self::Cancelled { sent } => *sent,
            Self::Lost
            | Self::Broken(_)
            | Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::Credential { .. } => true,
            Self::Concurrency
            | Self::Sessions
            | Self::Draining
            | Self::Circuit { .. }
            | Self::Backoff { .. }
            | Self::Start(_)
            | Self::Gone
            | Self::Connect(_)
            | Self::Message(_)
            | Self::Random(_) => false,
        }
    }

    /// How long to wait before the very same message may be sent again, where that can help.
    #[must_use]
    pub const fn retry(&self) -> Option<Duration> {
        match self {
            Self::Circuit { wait } | Self::Backoff { wait, .. } => Some(*wait),
            Self::Concurrency | Self::Sessions | Self::Draining => Some(Duration::from_secs(1)),
            Self::Start(_)
            | Self::Gone
            | Self::Connect(_)
            | Self::Credential { .. }
            | Self::Timeout { .. }
            | Self::Lost
            | Self::Broken(_)
            | Self::Invalid(_)
            | Self::TooLarge { .. }
            | Self::Cancelled { .. }
            | Self::Message(_)
            | Self::Random(_) => None,
        }
    }
}
