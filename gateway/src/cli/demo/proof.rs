//! The last step: a pack of evidence, verified as an auditor would, and once more after a forger
//! changed one word of it.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use forge_evidence::note::TrustedKey;
use forge_evidence::verify::{Auditor, verify};
use forge_schemas::ids::Tenant;
use forge_schemas::verdict::Verdict;

use crate::clock;
use crate::config::Evidence;
use crate::journal::{Export, Wanted};
use crate::keys::LocalKeys;
use crate::serve::Running;

use super::folder::Folder;

/// A verified pack.
pub(super) struct Proof {
    /// The pack.
    pub(super) pack: PathBuf,
    /// The public keys, as an auditor has them.
    pub(super) key: PathBuf,
    /// What verification said.
    pub(super) verdict: Verdict,
    /// What it says of the same pack with one word of a record changed.
    pub(super) forged: Verdict,
}

/// Exports everything of the demo's tenant and verifies the file with nothing but the keys.
///
/// # Errors
/// If the pack cannot be written or read.
pub(super) async fn export_and_verify(running: &Running, folder: &Folder) -> anyhow::Result<Proof> {
    let gateway = running.gateway();
    let (tenant, settings) =
        (gateway.own_tenant(), gateway.snapshot.load().config.evidence.clone());
    let stamp = clock::system().now_ms();
    let pack = folder.path(&format!("evidence-{stamp}.tar"));
    let key = folder.path("evidence.pub.pem");
    // Hashing and reading a whole log blocks.
    let work = tokio::task::spawn_blocking(move || {
        export(&settings, &tenant, &pack, &key)?;
        let auditor = auditor(&key)?;
        let file = File::open(&pack).with_context(|| format!("cannot open {}", pack.display()))?;
        let verdict = verify(&mut BufReader::new(file), &auditor);
        let forged = forge(std::fs::read(&pack)?).context("the pack holds no denied call")?;
        let forged = verify(&mut forged.as_slice(), &auditor);
        Ok(Proof { pack, key, verdict, forged })
    });
    work.await.context("the export died")?
}

fn export(settings: &Evidence, tenant: &Tenant, pack: &Path, key: &Path) -> anyhow::Result<()> {
    let keys = LocalKeys::load_or_create(&settings.signing_key)?;
    let (signer, log) = (keys.pack(), keys.checkpoint().public());
    let public = format!("{}{}", log.pem(), signer.public().pem());
    std::fs::write(key, public).with_context(|| format!("cannot write {}", key.display()))?;
    let export = Export {
        dir: &settings.path,
        tenant,
        wanted: Wanted { from: None, to: None, since_ms: None, until_ms: None },
        signer: &*signer,
        keys: vec![
            ("checkpoint.pub.pem".to_owned(), log.pem()),
            ("pack.pub.pem".to_owned(), signer.public().pem()),
        ],
        now_ms: clock::system().now_ms(),
    };
    let file = File::create_new(pack).with_context(|| format!("cannot make {}", pack.display()))?;
    export.write(BufWriter::new(file)).context("the export failed")?;
    Ok(())
}

fn auditor(key: &Path) -> anyhow::Result<Auditor> {
    let text = std::fs::read_to_string(key)?;
    let keys = TrustedKey::parse_all(&text).context("the public keys cannot be read")?;
    Ok(Auditor { keys, ..Auditor::default() })
}

/// The same bytes, but a call that was denied looks allowed.
fn forge(mut pack: Vec<u8>) -> Option<Vec<u8>> {
    let (denied, allowed) = (br#""effect":"deny""#, br#""effect":"okay""#);
    let place = pack.windows(denied.len()).position(|window| window == denied)?;
    let end = place.checked_add(denied.len())?;
    pack.get_mut(place..end)?.copy_from_slice(allowed);
    Some(pack)
}
