//! What runs beside the calls: key refresh, expiry of approvals, the index of the log, the first
//! look at the tool servers. Each has an owner and ends with the gateway.

use std::collections::BTreeMap;
use std::sync::Arc;

use forge_schemas::ids::{ServerName, Tenant};
use forge_schemas::record::Record;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::mpsc;
use tokio::time::{Duration, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::state::Gateway;

/// Starts them all.
pub(super) fn spawn(gateway: &Arc<Gateway>, helpers: &TaskTracker, stop: &CancellationToken) {
    let keys = Arc::clone(gateway);
    let keys_stop = stop.clone();
    helpers.spawn(async move { keys.auth.keep_fresh(keys_stop).await });
    helpers.spawn(until(stop.clone(), expire(Arc::clone(gateway))));
    helpers.spawn(until(stop.clone(), index(Arc::clone(gateway))));
    for name in gateway.catalogs.keys() {
        helpers.spawn(until(stop.clone(), look(Arc::clone(gateway), name.clone())));
    }
}

async fn until(stop: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// Expired requests become refusals even if nobody asks, and what is long over leaves the store
/// (never the log).
async fn expire(gateway: Arc<Gateway>) {
    let mut ticks = interval(Duration::from_secs(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let keep_ms =
            i64::from(gateway.snapshot.load().config.retention_days).saturating_mul(86_400_000);
        let before = gateway.clock.now_ms().saturating_sub(keep_ms);
        if let Err(fault) = gateway.store.prune(before, PRUNE_ROWS_MAX).await {
            warn!(error = %fault, "the store could not be pruned");
        }
        if let Err(fault) = gateway.approvals.expire_due().await {
            warn!(error = %fault, "approvals could not be expired");
        }
    }
}

/// Follows the log into the index; after a lag or an error it reads the log itself.
async fn index(gateway: Arc<Gateway>) {
    let mut feed = gateway.journal.committed();
    catch_up(&gateway).await;
    loop {
        let mut batch = Vec::new();
        match feed.recv().await {
            Ok(first) => batch.push(first),
            Err(RecvError::Lagged(_)) => {
                catch_up(&gateway).await;
                continue;
            }
            Err(RecvError::Closed) => return,
        }
        // A transaction for many records costs little more than one for a single one.
        tokio::time::sleep(INDEX_PAUSE).await;
        while batch.len() < INDEX_BATCH_MAX
            && let Ok(next) = feed.try_recv()
        {
            batch.push(next);
        }
        let records: Vec<_> = batch.iter().map(|committed| committed.record.clone()).collect();
        match gateway.store.index(&records).await {
            Ok(gaps) if gaps.is_empty() => {}
            Ok(_gaps) => catch_up(&gateway).await,
            Err(fault) => {
                warn!(error = %fault, "the index is behind the log");
                tokio::time::sleep(Duration::from_secs(1)).await;
                catch_up(&gateway).await;
            }
        }
    }
}

/// Reads what the index has not seen, log by log.
pub(super) async fn catch_up(gateway: &Arc<Gateway>) {
    let indexed: BTreeMap<_, _> = match gateway.store.indexed().await {
        Ok(indexed) => indexed.into_iter().collect(),
        Err(fault) => {
            warn!(error = %fault, "the index cannot be read");
            return;
        }
    };
    for tenant in gateway.journal.heads().into_keys() {
        let from = indexed.get(&tenant).copied().unwrap_or_default();
        if let Err(fault) = catch_up_log(gateway, &tenant, from).await {
            warn!(error = %fault, %tenant, "the index is behind the log");
        }
    }
}

/// Reads one log in batches, on a blocking thread, no faster than the store takes them.
async fn catch_up_log(gateway: &Arc<Gateway>, tenant: &Tenant, from: u64) -> anyhow::Result<()> {
    let (sender, mut batches) = mpsc::channel::<Vec<Record>>(1);
    let (journal, owner) = (Arc::clone(&gateway.journal), tenant.clone());
    let reading = tokio::task::spawn_blocking(move || -> anyhow::Result<()> {
        let mut batch = Vec::with_capacity(INDEX_BATCH_MAX);
        for entry in journal.read(&owner, from)? {
            batch.push(entry?.record);
            if batch.len() >= INDEX_BATCH_MAX
                && sender.blocking_send(std::mem::take(&mut batch)).is_err()
            {
                return Ok(());
            }
        }
        // The receiver only goes after an error of its own.
        drop(sender.blocking_send(batch));
        Ok(())
    });
    while let Some(batch) = batches.recv().await {
        gateway.store.index(&batch).await?;
    }
    reading.await?
}

/// Learns a server's tools early, so that the first call finds them.
async fn look(gateway: Arc<Gateway>, name: ServerName) {
    let (Some(server), Some(catalog)) =
        (gateway.upstreams.server(&name), gateway.catalogs.get(&name))
    else {
        return;
    };
    let _one = catalog.probing.lock().await;
    match server.catalog().await {
        Ok(probed) => {
            let named = probed.tools.iter().map(|tool| (tool.name.as_str(), &*tool.definition));
            let news = catalog.observe(named);
            catalog.speaks(probed.era, &probed.version);
            info!(server = %name, tools = news.len(), version = %probed.version, "tool server is there");
        }
        Err(fault) => warn!(server = %name, error = %fault, "tool server does not answer yet"),
    }
}

const INDEX_BATCH_MAX: usize = 500;
const INDEX_PAUSE: Duration = Duration::from_millis(20);
const PRUNE_ROWS_MAX: u32 = 500;
