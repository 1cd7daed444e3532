//! The ladder of costs: `cargo run --release -p forge-tests --bin bench`.
//!
//! Prints a Markdown table on stdout. Builds nothing: `cargo build --release -p forge-gateway` first.
#![expect(clippy::print_stdout, reason = "the table and the ready line are the output")]

use std::path::PathBuf;

use clap::Parser;
use forge_tests::bench::{Ladder, Plan, climb, echo};
use forge_tests::process::program;
use tokio::time::Duration;

/// What each stage of the line costs, as a table.
#[derive(Debug, Parser)]
struct Arguments {
    /// Be the echo server (the benchmark starts itself again for that).
    #[arg(long, hide = true)]
    echo: bool,
    /// The rungs.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/bench/ladder.toml"))]
    ladder: PathBuf,
    /// Only rungs whose name contains this; may be repeated.
    #[arg(long)]
    only: Vec<String>,
    /// Seconds of one turn.
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Turns of each rung.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Bytes of text.
    #[arg(long, value_delimiter = ',', default_value = "200,32768")]
    sizes: Vec<usize>,
    /// Connections.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    connections: Vec<usize>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.echo {
        return echo::serve(|url| {
            println!("{}", serde_json::json!({"event": "ready", "url": url}));
        })
        .await;
    }
    let text = std::fs::read_to_string(&arguments.ladder)?;
    let mut ladder: Ladder = toml::from_str(&text)?;
    let only = &arguments.only;
    ladder.rung.retain(|rung| only.is_empty() || only.iter().any(|part| rung.name.contains(part)));
    let plan = Plan {
        turn: Duration::from_secs(arguments.seconds),
        rounds: arguments.rounds.max(1),
        sizes: arguments.sizes,
        connections: arguments.connections,
    };
    let home = arguments.ladder.parent().unwrap_or(&arguments.ladder);
    print!("{}", climb(ladder, &plan, home, &program("forge-gateway")?).await?);
    Ok(())
}
