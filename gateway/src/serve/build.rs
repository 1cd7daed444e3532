//! Builds the parts of a gateway from its configuration.

use std::sync::Arc;

use anyhow::Context as _;
use forge_detectors::{DigestKey, Scanner};
use forge_policies::{Bundle, PolicySet};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::approval::records::Recorder;
use crate::approval::service::{self, Approvals};
use crate::auth::challenge::Resource;
use crate::auth::{self, Authenticator};
use crate::call::commitment::CommitmentKey;
use crate::clock;
use crate::config::Config;
use crate::control::counters::Counters;
use crate::journal::{self, Journal};
use crate::keys::LocalKeys;
use crate::mcp::catalog::ServerCatalog;
use crate::state::Gateway;
use crate::store::Store;
use crate::store::sqlite::{self, SqliteStore};
use crate::telemetry::Metrics;
use crate::upstream::{Common, Upstreams};

use super::{Options, first_snapshot};

/// Builds everything a call needs, in the order in which one needs the other.
pub(super) async fn gateway(
    config: Config,
    bundle: &Bundle,
    options: &Options,
) -> anyhow::Result<Gateway> {
    let clock = clock::system();
    let keys = keys(&config)?;
    let policy = PolicySet::load(bundle, crate::control::bundle_load::limits())
        .context("the policy bundle does not load")?;
    let scanner = Scanner::builtin(DigestKey::new(&*keys.master().finding_key()?))
        .context("the detector rules do not load")?;
    let auth =
        Authenticator::new(config.auth.settings.clone(), Arc::clone(&clock), super::http_builder())
            .context("authentication cannot be set up")?;
    let issuers = match &config.auth.settings {
        auth::Settings::Jwt(jwt) => {
            jwt.issuers.iter().map(|issuer| issuer.issuer.clone()).collect()
        }
        auth::Settings::Local { .. } | auth::Settings::Fixed(_) => Vec::new(),
    };
    let resource = Resource::new(&config.listen.public_url, issuers, Vec::new())?;
    let store: Arc<dyn Store> = Arc::new(
        SqliteStore::open(sqlite::Settings::new(config.store.clone()))
            .await
            .with_context(|| format!("store {}", config.store.display()))?,
    );
    let journal = Arc::new(open_journal(&config, &keys).await?);
    let files = bundle.sources().iter().map(|file| (file.path.as_str(), file.text.as_bytes()));
    journal::keep_bundle(&config.evidence.path, &bundle.digest(), files)
        .context("the policy bundle cannot be kept beside the evidence")?;
    let approvals = approvals(&config, Arc::clone(&store), Arc::clone(&journal));
    let upstreams = upstreams(&config, options)?;
    let catalogs =
        config.servers.keys().map(|name| (name.clone(), ServerCatalog::default())).collect();
    Ok(Gateway {
        snapshot: first_snapshot(config, policy, scanner),
        journal,
        store,
        approvals,
        upstreams,
        catalogs,
        auth,
        resource,
        sealing: keys.master().sealing_key()?,
        checkpoint_key: keys.checkpoint().public(),
        pack_key: keys.pack().public(),
        commitment: CommitmentKey::new(&*keys.master().input_key()?),
        clock,
        counters: Counters::default(),
        metrics: Metrics::default(),
        calls: TaskTracker::new(),
        draining: CancellationToken::new(),
    })
}

fn keys(config: &Config) -> anyhow::Result<LocalKeys> {
    LocalKeys::load_or_create(&config.evidence.signing_key).context("the keys cannot be used")
}

async fn open_journal(config: &Config, keys: &LocalKeys) -> anyhow::Result<Journal> {
    let evidence = &config.evidence;
    let mut settings = journal::Settings::new(
        &evidence.path,
        &evidence.origin,
        config.auth.default_tenant.clone(),
    );
    settings.commit_interval = evidence.commit_interval;
    let signing = journal::Keys { signer: keys.checkpoint(), earlier: Vec::new() };
    let (journal, recovered) =
        Journal::open(settings, signing, clock::system()).await.with_context(|| {
            format!("the evidence log in {} cannot be used", evidence.path.display())
        })?;
    info!(
        records = recovered.records,
        unknown = recovered.unknown,
        pending = recovered.pending,
        "evidence log is open"
    );
    Ok(journal)
}

fn approvals(config: &Config, store: Arc<dyn Store>, journal: Arc<Journal>) -> Approvals {
    let recorder = Recorder::new(move |record| {
        let journal = Arc::clone(&journal);
        async move { journal.append(vec![record]).await.map(drop) }
    });
    let settings = service::Settings {
        node: config.env.gateway.clone(),
        open_per_principal: config.approval.open_per_principal,
        ..service::Settings::default()
    };
    Approvals::new(store, clock::system(), recorder, settings)
}

fn upstreams(config: &Config, options: &Options) -> anyhow::Result<Upstreams> {
    let common = Common {
        launcher: vec![options.exe.clone().into_os_string(), "exec-child".into(), "--".into()],
        base_env: options
            .base_env
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect(),
    };
    let servers = config
        .servers
        .iter()
        .map(|(name, server)| (name.clone(), server.settings.clone()))
        .collect();
    Upstreams::new(servers, common).context("the tool servers cannot be set up")
}
