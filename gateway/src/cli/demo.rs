//! pending
/// x
#[derive(Debug, clap::Args)]
pub struct DemoArgs {}
/// x
pub async fn run(_: DemoArgs) -> anyhow::Result<u8> {
    Ok(1)
}
