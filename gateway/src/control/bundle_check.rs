//! pending
/// x
pub fn child_main() -> u8 {
    1
}
/// x
pub async fn check_in_child(_: &std::path::Path, _: &forge_policies::Bundle) -> anyhow::Result<()> {
    Ok(())
}
