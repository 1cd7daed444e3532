//! `healthcheck`: asks a running gateway whether it is ready; for containers without a shell.

use clap::Args;

use super::{ConfigArg, say};
use crate::serve::admin_url;

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    #[command(flatten)]
    config: ConfigArg,
    /// Admin URL; else the one that the running gateway wrote down
    #[arg(long, value_name = "URL")]
    url: Option<String>,
}

/// Exit code 0 if ready, 3 if not.
///
/// # Errors
/// If the gateway cannot be asked.
pub async fn run(args: HealthcheckArgs) -> anyhow::Result<u8> {
    let base = match args.url {
        Some(url) => url,
        None => admin_url(&super::load_config(&args.config)?)?,
    };
    let response =
        crate::serve::http_client()?.get(format!("{base}/readyz?verbose")).send().await?;
    let ready = response.status().is_success();
    say(&response.text().await?);
    Ok(if ready { 0 } else { 3 })
}
