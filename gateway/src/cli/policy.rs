//! pending
/// x
#[derive(Debug, clap::Args)]
pub struct PolicyArgs {}
/// x
pub fn run(_: PolicyArgs, _: &mut impl std::io::Write) -> anyhow::Result<u8> {
    Ok(1)
}
