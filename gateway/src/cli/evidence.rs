//! pending
/// x
#[derive(Debug, clap::Args)]
pub struct EvidenceArgs {}
/// x
pub fn run(_: EvidenceArgs, _: &mut impl std::io::Write) -> anyhow::Result<u8> {
    Ok(1)
}
