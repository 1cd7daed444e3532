//! pending
/// x
#[derive(Debug, clap::Args)]
pub struct ApprovalsArgs {}
/// x
pub async fn run(_: ApprovalsArgs) -> anyhow::Result<u8> {
    Ok(1)
}
