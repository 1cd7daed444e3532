//! pending
/// x
#[derive(Debug, clap::Args)]
pub struct DetectArgs {}
/// x
pub fn run(
    _: DetectArgs,
    _: impl std::io::BufRead,
    _: &mut impl std::io::Write,
) -> anyhow::Result<u8> {
    Ok(1)
}
