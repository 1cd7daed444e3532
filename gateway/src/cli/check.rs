//! `check`: configuration and bundle, without starting anything.

use clap::Args;

use crate::serve::{self, Options};

use super::{ConfigArg, load_config, say};

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    #[command(flatten)]
    config: ConfigArg,
}

/// Reads the configuration and checks the bundle in a child process.
///
/// # Errors
/// If either has faults: all of them.
pub async fn run(args: CheckArgs) -> anyhow::Result<u8> {
    let config = load_config(&args.config)?;
    let bundle = serve::load_bundle(&config, &Options::of_this_process()?).await?;
    say(&format!("ok: {} servers, policy {}", config.servers.len(), bundle.revision()));
    Ok(0)
}
