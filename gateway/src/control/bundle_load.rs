//! pending
/// x
pub fn read_dir(d: &std::path::Path) -> anyhow::Result<Vec<forge_policies::Source>> {
    let mut v = vec![];
    for e in std::fs::read_dir(d)? {
        let p = e?.path();
        v.push(forge_policies::Source {
            path: p.file_name().unwrap().to_string_lossy().into_owned(),
            text: std::fs::read_to_string(&p)?,
        });
    }
    Ok(v)
}
