//! What a tool server needs to be told before it is used. Filled by `config`; nothing here reads
//! the environment.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use ::http::{HeaderName, HeaderValue, header};

/// What all servers share.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// Program and first arguments put before the command of every child process: the gateway's own
    /// executable and `exec-child` (see [`super::exec`]). Empty starts the command directly; the
    /// child then outlives a gateway that is killed.
    pub launcher: Vec<OsString>,
    /// Variables every child gets: `PATH`, `HOME`, `LANG`, `TMPDIR` of the gateway, as far as set.
    pub base_env: BTreeMap<OsString, OsString>,
}

/// One tool server.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// How it is reached.
    pub transport: Transport,
    /// What it may take up.
    pub limits: Limits,
}

/// How a tool server is reached.
#[derive(Clone, Debug)]
pub enum Transport {
    /// A child process.
    Stdio(StdioSettings),
    /// Streamable HTTP.
    Http(HttpSettings),
}

/// A child process.
#[derive(Clone)]
pub struct StdioSettings {
    /// The program: a path, or a name looked up in the child's `PATH`.
    pub command: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables beside [`Common::base_env`]; may carry secrets, so `Debug` names keys only.
    pub env: BTreeMap<OsString, OsString>,
    /// Its working directory; the gateway's own if absent.
    pub cwd: Option<PathBuf>,
    /// How long a fresh process may take to answer `server/discover` before it counts as legacy.
    pub probe_timeout: Duration,
    /// After how long without a request a modern process is ended.
    pub idle: Duration,
    /// After how long without a request or an open stream a legacy session is ended.
    pub session_idle: Duration,
    /// From closing stdin to SIGKILL.
    pub grace: Duration,
    /// How long one line may take to be written before the process counts as stuck.
    pub write_timeout: Duration,
}

impl StdioSettings {
    /// A command with the documented defaults.
    #[must_use]
    pub fn new(command: impl Into<OsString>) -> Self {
        Self {
            command: command.into(),
            args: Vec::new(),
            env: BTreeMap::new(),
            cwd: None,
            probe_timeout: Duration::from_secs(10),
            idle: Duration::from_secs(300),
            session_idle: Duration::from_secs(1800),
            grace: Duration::from_secs(3),
            write_timeout: Duration::from_secs(30),
        }
    }
}

impl fmt::Debug for StdioSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StdioSettings")
            .field("command", &self.command)
            .field("args", &self.args.len())
            .field("env", &self.env.keys().collect::<Vec<_>>())
            .field("cwd", &self.cwd)
            .finish_non_exhaustive()
    }
}

/// A Streamable HTTP endpoint.
#[derive(Clone, Debug)]
pub struct HttpSettings {
    /// The endpoint.
    pub url: reqwest::Url,
    /// Sent with every request instead of anything the client sent.
    pub credential: Option<Credential>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// A proxy for all requests to this server; none from the environment.
    pub proxy: Option<reqwest::Url>,
    /// A PEM file's content with further certificate authorities.
    pub authorities: Option<Vec<u8>>,
}

impl HttpSettings {
    /// An endpoint with the documented defaults.
    #[must_use]
    pub const fn new(url: reqwest::Url) -> Self {
        let connect_timeout = Duration::from_secs(5);
        Self { url, credential: None, connect_timeout, proxy: None, authorities: None }
    }
}

/// The gateway's own credential at a tool server: one header, never printed.
#[derive(Clone)]
pub struct Credential {
    pub(super) name: HeaderName,
    pub(super) value: HeaderValue,
}

impl Credential {
    /// `Authorization: Bearer` and the token.
    ///
    /// # Errors
    /// If the token has characters that no header may carry.
    pub fn bearer(token: &str) -> Result<Self, header::InvalidHeaderValue> {
        Self::header(header::AUTHORIZATION, &format!("Bearer {token}"))
    }

    /// Any header.
    ///
    /// # Errors
    /// If the value has characters that no header may carry.
    pub fn header(name: HeaderName, value: &str) -> Result<Self, header::InvalidHeaderValue> {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        Ok(Self { name, value })
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What one tool server may take up. Each limit has a refusal code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// One line, one JSON body or one event, in bytes: `upstream.too_large`.
    pub message_bytes_max: usize,
    /// Requests under way at once: `limit.concurrency`.
    pub concurrent_max: usize,
    /// Callers that wait for a slot: `limit.concurrency`.
    pub waiting_max: usize,
    /// How long each of them waits: `limit.concurrency`.
    pub wait: Duration,
    /// Streams without an end that are open at once: `limit.concurrency`.
    pub streams_max: usize,
    /// Child processes at once, sessions and shared ones together: `limit.sessions`.
    pub sessions_max: usize,
    /// Legacy sessions of one principal at once: `limit.sessions`.
    pub principal_sessions_max: usize,
    /// Bytes of notifications kept for a stream that is not read; more are dropped and counted.
    pub backlog_bytes_max: usize,
    /// Failures in a row after which the circuit opens.
    pub circuit_failures: u32,
    /// How long it stays open at first; doubled up to one minute.
    pub circuit_wait: Duration,
    /// How long each of the gateway's own questions for the catalogue may take.
    pub catalog_wait: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 16 * 1024 * 1024,
            concurrent_max: 64,
            waiting_max: 256,
            wait: Duration::from_secs(2),
            streams_max: 256,
            sessions_max: 128,
            principal_sessions_max: 32,
            backlog_bytes_max: 1024 * 1024,
            circuit_failures: 5,
            circuit_wait: Duration::from_secs(1),
            catalog_wait: Duration::from_secs(15),
        }
    }
}
