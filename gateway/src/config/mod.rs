//! Configuration (contract §7): a TOML file in, a checked [`Config`] or all faults at once out.
//!
//! Nothing reads the environment or the file after that. Unknown keys are faults, and so is what
//! can never work (local mode on a public address, two ways to reach one server). No port is bound
//! and nothing is written while configuration is read.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use forge_schemas::digest::Digest;
use forge_schemas::ids::{ServerName, Tenant};
use tokio::time::Duration;

use crate::auth;
use crate::http::guard::Allowed;
use crate::mcp::catalog::ServerFacts;
use crate::upstream::ServerSettings;

mod reader;
mod secret;
mod sections;
mod servers;

#[cfg(test)]
mod tests;

pub use reader::Fault;
pub use secret::Surroundings;

/// Everything the gateway was told, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Digest of the file's bytes.
    pub digest: Digest,
    /// Listeners.
    pub listen: Listen,
    /// Who may come in.
    pub auth: Auth,
    /// The bundle.
    pub policy: Policy,
    /// What detectors do.
    pub detect: Detect,
    /// The log.
    pub evidence: Evidence,
    /// `sqlite://…`, as a path.
    pub store: PathBuf,
    /// Days for which the store keeps what is over; the log keeps everything.
    pub retention_days: u32,
    /// Tool servers.
    pub servers: BTreeMap<ServerName, Server>,
    /// Limits, each with a refusal code.
    pub limits: Limits,
    /// How long calls are held.
    pub approval: Approval,
    /// Names of this installation.
    pub env: Env,
}

/// `[listen]`.
#[derive(Clone, Debug)]
pub struct Listen {
    /// MCP listener.
    pub mcp: SocketAddr,
    /// Admin listener.
    pub admin: SocketAddr,
    /// What clients call the gateway; empty until the listener is bound.
    pub public_url: String,
    /// Host and Origin.
    pub allowed: Allowed,
}

/// `[auth]`.
#[derive(Clone, Debug)]
pub struct Auth {
    /// How credentials are checked.
    pub settings: auth::Settings,
    /// Tenant of records that belong to nobody, and of tokens without one.
    pub default_tenant: Tenant,
}

/// `[policy]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Where the bundle is.
    pub bundle: BundleSource,
    /// Enforce, or only record.
    pub mode: PolicyMode,
}

/// Where a bundle comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BundleSource {
    /// A folder.
    Folder(PathBuf),
    /// The one that comes with the gateway.
    Starter,
}

/// What a decision does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyMode {
    /// It binds.
    Enforce,
    /// It is recorded.
    Shadow,
}

impl PolicyMode {
    /// The word for records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
        }
    }
}

/// What is done about findings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectMode {
    /// Told to policy and evidence.
    Report,
    /// Spliced out.
    Redact,
    /// The message is refused.
    Block,
}

/// `[detect]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detect {
    /// Towards tool servers.
    pub request: DetectMode,
    /// Towards clients.
    pub response: DetectMode,
    /// Entities that a request may carry whatever the mode: contact data that tools work with.
    pub request_report_only: BTreeSet<String>,
}

/// `[evidence]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Folder of the logs.
    pub path: PathBuf,
    /// File of the checkpoint key; made if it is not there.
    pub signing_key: PathBuf,
    /// Longest wait of a record for company in its commit.
    pub commit_interval: Duration,
    /// Host name that ends the origin of every log.
    pub origin: String,
}

/// One `[servers.NAME]`.
#[derive(Clone, Debug)]
pub struct Server {
    /// How to reach it.
    pub settings: ServerSettings,
    /// What policy is told of it.
    pub facts: ServerFacts,
}

/// `[limits]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body.
    pub body_bytes: usize,
    /// Longest time for a request body.
    pub body_ms: u64,
    /// Deepest nesting of arrays and objects.
    pub depth_max: usize,
    /// Calls under way at once.
    pub calls_max: usize,
    /// Longest time for a tool server's answer.
    pub call_ms: u64,
    /// Silence after which a stream gets a comment.
    pub keep_alive_ms: u64,
    /// Connections at once, per listener.
    pub connections_max: usize,
    /// Longest time for request headers.
    pub header_ms: u64,
    /// Longest drain.
    pub drain_ms: u64,
}

/// `[approval]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Approval {
    /// How long an older client with a progress token is held.
    pub hold_ms: u64,
    /// How long an older client without one is held.
    pub hold_silent_ms: u64,
    /// How long each round of a modern client waits.
    pub leg_ms: u64,
    /// Rounds of a modern client (SDKs give up at ten).
    pub rounds_max: u32,
    /// Time between signs of life.
    pub beat_ms: u64,
    /// What clients are told to wait before they ask again.
    pub retry_s: u64,
    /// Open requests per principal.
    pub open_per_principal: u64,
}

/// `[env]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Env {
    /// Name of the environment.
    pub name: String,
    /// Region.
    pub region: String,
    /// Name of this gateway.
    pub gateway: String,
}

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No file where one was looked for.
    #[error("no configuration: looked for {}", .0.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", "))]
    Missing(Vec<PathBuf>),
    /// The file cannot be read.
    #[error("cannot read {0}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file has faults: all of them.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Faults(Vec<Fault>),
}

impl Config {
    /// What policy is told of a server.
    #[must_use]
    pub fn server_facts(&self, name: &ServerName) -> ServerFacts {
        self.servers.get(name).map(|server| server.facts.clone()).unwrap_or_default()
    }
}

/// Reads the file at `path`.
///
/// # Errors
/// All faults at once.
pub fn load(path: &Path) -> Result<Config, ConfigError> {
    let text =
        std::fs::read_to_string(path).map_err(|fault| ConfigError::Read(path.to_owned(), fault))?;
    let base = path.parent().filter(|base| !base.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let base = std::path::absolute(base).unwrap_or_else(|_no_cwd| base.to_owned());
    parse(&text, path, &Surroundings::of(&base))
}

/// Reads a configuration text.
///
/// # Errors
/// All faults at once.
pub fn parse(text: &str, file: &Path, around: &Surroundings) -> Result<Config, ConfigError> {
    sections::read(text, file, around).map_err(ConfigError::Faults)
}

/// Finds the file: `--config`, `$FORGE_CONFIG`, `./forge.toml`, `$XDG_CONFIG_HOME/forge/forge.toml`.
///
/// # Errors
/// If none of them exists.
pub fn find(given: Option<&Path>, around: &Surroundings) -> Result<PathBuf, ConfigError> {
    if let Some(path) = given {
        return Ok(path.to_owned());
    }
    if let Some(path) = (around.env)("FORGE_CONFIG") {
        return Ok(PathBuf::from(path));
    }
    let home = (around.env)("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| (around.env)("HOME").map(|home| PathBuf::from(home).join(".config")));
    let places: Vec<PathBuf> =
        [Some(PathBuf::from("forge.toml")), home.map(|home| home.join("forge/forge.toml"))]
            .into_iter()
            .flatten()
            .collect();
    places.iter().find(|path| path.exists()).cloned().ok_or(ConfigError::Missing(places))
}
