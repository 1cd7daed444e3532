//! Starts the conformance fixture: `fixture --port 0` or `fixture --stdio`.
//!
//! Over HTTP, one line on stdout says where: `{"event":"ready","url":"http://127.0.0.1:PORT/mcp"}`.
#![expect(clippy::print_stdout, reason = "the ready line is for the program that started this one")]

use clap::Parser;

/// The tool server that the conformance suite looks for.
#[derive(Debug, Parser)]
struct Arguments {
    /// Port on 127.0.0.1; 0 takes any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Serve one client on stdin and stdout instead.
    #[arg(long)]
    stdio: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.stdio {
        return forge_tests::fixture::serve_stdio().await;
    }
    let ready = |url: &str| println!("{}", serde_json::json!({"event": "ready", "url": url}));
    forge_tests::fixture::serve_http(arguments.port, ready).await
}
