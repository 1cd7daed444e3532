//! The command line (contract §1): one file per command.
//!
//! Data goes to stdout, talk to stderr. Exit codes: 0 done, 1 failed at run time, 2 usage or
//! configuration, 3 a check said no.

use std::io::{Write as _, stderr};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{self, Config, ConfigError, Surroundings};
use crate::control::bundle_check::BundleCheckError;
use crate::control::bundle_load::BundleLoadError;

mod api;
pub mod approvals;
pub mod check;
pub mod demo;
pub mod detect;
pub mod evidence;
pub mod healthcheck;
pub mod policy;
pub mod serve;
pub mod stdio;
pub mod token;

/// A gateway for the Model Context Protocol: every call is authenticated, decided by policy,
/// examined for secrets and personal data, held for approval where policy says so, and recorded.
#[derive(Debug, Parser)]
#[command(name = "forge-gateway", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// `--config`, for every command that reads one.
#[derive(Clone, Debug, Args)]
pub struct ConfigArg {
    /// Configuration file; else $FORGE_CONFIG, ./forge.toml, $XDG_CONFIG_HOME/forge/forge.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A story: a real gateway, a real tool server, real calls; then it keeps running
    Demo(demo::DemoArgs),
    /// Serve MCP and the admin API over HTTP
    Serve(serve::ServeArgs),
    /// MCP on stdin and stdout, for clients that only start a process
    Stdio(stdio::StdioArgs),
    /// Check configuration and policy bundle without starting anything
    Check(check::CheckArgs),
    /// Check, test and evaluate policy bundles
    Policy(policy::PolicyArgs),
    /// Scan text and JSON for secrets and personal data
    Detect(detect::DetectArgs),
    /// See and decide held calls
    Approvals(approvals::ApprovalsArgs),
    /// Export evidence and verify it offline
    Evidence(evidence::EvidenceArgs),
    /// Tokens of local mode
    Token(token::TokenArgs),
    /// Ask a running gateway whether it is ready
    Healthcheck(healthcheck::HealthcheckArgs),
    /// The demo's tool server on stdin and stdout
    #[command(hide = true)]
    DemoServer,
    /// Checks a bundle read from stdin, under limits; started by the gateway itself
    #[command(hide = true)]
    CheckBundle,
    /// Becomes another program that dies with its parent; started by the gateway itself
    #[command(hide = true, disable_help_flag = true)]
    ExecChild {
        /// The program and its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        words: Vec<std::ffi::OsString>,
    },
}

/// Runs a command to its exit code.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    // Not locked: what runs on other threads writes there too.
    let mut stdout = std::io::stdout();
    let ended = match cli.command {
        Command::ExecChild { words } => Ok(crate::upstream::exec::exec_child_main(words)),
        Command::CheckBundle => Ok(crate::control::bundle_check::child_main()),
        Command::DemoServer => block_on(crate::mcp::demo_server::run()),
        Command::Policy(args) => policy::run(args, &mut stdout),
        Command::Detect(args) => detect::run(args, std::io::stdin().lock(), &mut stdout),
        Command::Evidence(args) => evidence::run(args, &mut stdout),
        Command::Token(args) => token::run(args, &mut stdout),
        Command::Check(args) => block_on(check::run(args)),
        Command::Approvals(args) => block_on(approvals::run(args)),
        Command::Healthcheck(args) => block_on(healthcheck::run(args)),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Serve(args) => block_on(serve::run(args)),
        Command::Stdio(args) => block_on(stdio::run(args)),
    };
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(fault) => {
            let configuration = fault.is::<ConfigError>()
                || fault.is::<BundleLoadError>()
                || matches!(fault.downcast_ref(), Some(BundleCheckError::Faults(_)));
            // Nobody is left to tell if stderr is closed.
            drop(writeln!(stderr(), "forge-gateway: {fault:#}"));
            ExitCode::from(if configuration { 2 } else { 1 })
        }
    }
}

fn block_on(work: impl Future<Output = anyhow::Result<u8>>) -> anyhow::Result<u8> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(work)
}

/// Finds and reads the configuration.
///
/// # Errors
/// All faults at once.
pub fn load_config(arg: &ConfigArg) -> Result<Config, ConfigError> {
    let around = Surroundings::of(std::path::Path::new("."));
    config::load(&config::find(arg.config.as_deref(), &around)?)
}

/// Says something on stderr; stdout is for data.
pub fn say(text: &str) {
    // Nobody is left to tell if stderr is closed.
    drop(writeln!(stderr(), "{text}"));
}

/// A word as a shell reads it.
fn quoted(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

const EXAMPLES: &str = "Examples:
  forge-gateway demo                         see it work
  forge-gateway serve --config forge.toml    run it
  forge-gateway approvals list               what waits for a person
  forge-gateway evidence export --out p.tar  evidence, for an auditor
  forge-gateway evidence verify p.tar --key evidence.pub.pem";
