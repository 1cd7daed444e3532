//! Starts the tool server that does as it is told: `toy --stdio` or `toy --port 0`.
#![expect(clippy::print_stdout, reason = "the ready line is for the program that started this one")]

use std::path::PathBuf;

use clap::Parser;
use forge_tests::toy::{Toy, serve_http, serve_stdio};

/// A tool server that does as it is told, also what no server should.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Serve one client on stdin and stdout instead.
    #[arg(long)]
    stdio: bool,
    /// The file that `append` writes to.
    #[arg(long)]
    ledger: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let toy = Toy { ledger: arguments.ledger };
    if arguments.stdio {
        return serve_stdio(toy).await;
    }
    let ready = |url: &str| println!("{}", serde_json::json!({"event": "ready", "url": url}));
    serve_http(toy, arguments.port, ready).await
}
