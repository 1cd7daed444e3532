//! `forge-gateway`: parse, run, exit code.

use std::process::ExitCode;

use clap::Parser as _;
use forge_gateway::cli::{self, Cli};

fn main() -> ExitCode {
    cli::run(Cli::parse())
}
