//! `token mint`: tokens of local mode.

use std::io::Write;

use clap::{Args, Subcommand};
use tokio::time::Duration;

use crate::auth::{Grant, LocalTokens, Settings};
use crate::clock;

use super::{ConfigArg, load_config};

/// Arguments of `token`.
#[derive(Debug, Args)]
pub struct TokenArgs {
    #[command(subcommand)]
    command: TokenCommand,
}

#[derive(Debug, Subcommand)]
enum TokenCommand {
    /// Make a token and print it, once
    Mint {
        #[command(flatten)]
        config: ConfigArg,
        /// Whom it names
        #[arg(long, value_name = "NAME")]
        subject: String,
        /// A role: viewer, reader, writer, approver, auditor, administrator, … (may be repeated)
        #[arg(long = "role", value_name = "ROLE")]
        roles: Vec<String>,
        /// A group (may be repeated)
        #[arg(long = "group", value_name = "GROUP")]
        groups: Vec<String>,
        /// Seconds until it expires; never, if not given
        #[arg(long, value_name = "SECONDS")]
        ttl: Option<u64>,
    },
}

/// Mints a token into the local mode's files.
///
/// # Errors
/// If the gateway is not in local mode or the files cannot be used.
pub fn run(args: TokenArgs, stdout: &mut impl Write) -> anyhow::Result<u8> {
    let TokenCommand::Mint { config, subject, roles, groups, ttl } = args.command;
    let config = load_config(&config)?;
    let Settings::Local { dir, first } = &config.auth.settings else {
        anyhow::bail!(
            "token mint needs auth.mode = \"local\"; with \"jwt\", tokens come from the issuer"
        );
    };
    let now = clock::system().now_ms();
    let tenant = config.auth.default_tenant.clone();
    let grant = Grant { subject, tenant, roles, groups, ttl: ttl.map(Duration::from_secs) };
    let token = LocalTokens::open(dir, first, now)?.mint(&grant, now)?;
    writeln!(stdout, "{token}")?;
    Ok(0)
}
