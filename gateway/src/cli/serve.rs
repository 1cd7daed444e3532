//! `serve`: the HTTP gateway, until SIGTERM or SIGINT.

use std::io::Write as _;

use clap::Args;
use serde_json::json;

use crate::serve::{self, Options};

use super::{ConfigArg, load_config};

/// Arguments of `serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Log as JSON lines
    #[arg(long)]
    log_json: bool,
}

/// Serves until a signal, then drains.
///
/// # Errors
/// If the configuration has faults or something that a call needs is not there.
pub async fn run(args: ServeArgs) -> anyhow::Result<u8> {
    serve::init_logging(args.log_json);
    let config = load_config(&args.config)?;
    let running = Box::pin(serve::start(config, Options::of_this_process()?)).await?;
    let ready = json!({
        "event": "ready",
        "mcp": running.mcp_url(),
        "admin": running.admin_url(),
        "generation": running.gateway().snapshot.load().generation,
        "pid": std::process::id(),
    });
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{ready}")?;
    stdout.flush()?;
    serve::signalled().await?;
    running.shutdown().await;
    Ok(0)
}
