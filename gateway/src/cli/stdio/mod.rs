//! `stdio`: MCP on stdin and stdout, for clients that only start a process.
//!
//! Without `--url` the line runs in this process, or, where a gateway with the same configuration
//! runs already, that one is used: two processes cannot write one evidence log. With `--url` it is
//! a bridge to a gateway elsewhere. One JSON-RPC message is one line (MCP `basic/transports`,
//! stdio); the era is each message's own. Nothing but messages is ever written to stdout.

use std::path::PathBuf;

use clap::Args;
use forge_schemas::ids::ServerName;
use tokio::time::Duration;

use crate::config::Config;
use crate::serve::{self, Options};

use super::{ConfigArg, api, load_config, say};

mod bridge;
mod lines;
mod local;
mod pipe;

#[cfg(test)]
mod tests;

use bridge::Bridge;
use local::Local;
use pipe::Link;

/// Arguments of `stdio`.
#[derive(Debug, Args)]
pub struct StdioArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// The tool server; else the only one
    #[arg(long, value_name = "NAME")]
    server: Option<String>,
    /// Use the gateway at this address, https://HOST/mcp[/NAME]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// File with your token; else $FORGE_TOKEN, else the token of local mode
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Serves until stdin ends or a signal comes; then lets open requests end.
///
/// # Errors
/// If the configuration has faults, no token is there, or the gateway cannot be started.
pub async fn run(args: StdioArgs) -> anyhow::Result<u8> {
    serve::init_logging(false);
    if let Some(url) = &args.url {
        let config = load_config(&args.config).ok();
        let token = api::find_token(args.token_file.as_deref(), config.as_ref())?;
        let url = server_url(url, args.server.as_deref());
        return bridge(&url, &token, DRAIN).await;
    }
    let config = load_config(&args.config)?;
    let server = choose(&config, args.server.as_deref())?;
    let token = match api::find_token(args.token_file.as_deref(), Some(&config)) {
        Err(_) if matches!(config.auth.settings, crate::auth::Settings::Fixed(_)) => None,
        // The first start of local mode makes the token.
        Err(_) if matches!(config.auth.settings, crate::auth::Settings::Local { .. }) => None,
        other => Some(other?),
    };
    if let (Some(url), Some(token)) = (serve::mcp_url_of_running(&config).await, &token) {
        say(&format!("stdio: using the gateway that runs with this configuration at {url}"));
        let drain = Duration::from_millis(config.limits.drain_ms);
        return bridge(&format!("{url}/{server}"), token, drain).await;
    }
    Box::pin(in_process(config, server, token, args.token_file)).await
}

async fn bridge(url: &str, token: &str, drain: Duration) -> anyhow::Result<u8> {
    let bridge = Bridge::new(serve::http_client()?, url, token)?;
    pipe::run(Link::Bridge(bridge), LINE_MAX, drain).await?;
    Ok(0)
}

async fn in_process(
    config: Config,
    server: ServerName,
    token: Option<String>,
    token_file: Option<PathBuf>,
) -> anyhow::Result<u8> {
    let drain = Duration::from_millis(config.limits.drain_ms);
    let line_max = config.limits.body_bytes;
    let settings = config.clone();
    let running = serve::start_without_mcp(config, Options::of_this_process()?).await?;
    let token = match token {
        Some(token) => Some(token),
        None => api::find_token(token_file.as_deref(), Some(&settings)).ok(),
    };
    let local = Local::new(running.gateway(), server, token);
    let ended = pipe::run(Link::Local(local), line_max, drain).await;
    running.shutdown().await;
    ended?;
    Ok(0)
}

/// The server that is meant.
///
/// # Errors
/// If there is no such server, or none was named and there are several.
fn choose(config: &Config, name: Option<&str>) -> anyhow::Result<ServerName> {
    let known: Vec<&str> = config.servers.keys().map(ServerName::as_str).collect();
    let found = match (name, known.as_slice()) {
        (Some(name), _) => config.servers.keys().find(|server| server.as_str() == name),
        (None, [_only]) => config.servers.keys().next(),
        (None, _) => None,
    };
    let wrong = || {
        let sentence = match name {
            Some(name) => format!("there is no server {name:?}"),
            None => "name one with --server".to_owned(),
        };
        anyhow::anyhow!("{sentence}; the configuration has: {}", known.join(", "))
    };
    found.cloned().ok_or_else(wrong)
}

/// `--url` as it is, or with the server's name after it.
fn server_url(url: &str, server: Option<&str>) -> String {
    let url = url.trim_end_matches('/');
    server.map_or_else(|| url.to_owned(), |server| format!("{url}/{server}"))
}

const DRAIN: Duration = Duration::from_secs(20);
const LINE_MAX: usize = 64 << 20;
