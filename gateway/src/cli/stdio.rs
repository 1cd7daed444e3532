//! pending
/// x
#[derive(Debug, clap::Args)]
pub struct StdioArgs {}
/// x
pub async fn run(_: StdioArgs) -> anyhow::Result<u8> {
    Ok(1)
}
