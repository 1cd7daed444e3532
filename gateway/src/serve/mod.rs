//! Config → build everything → bind → ready → run → drain.
//!
//! Nothing is half there: what a call needs is built before a port is bound, and the ready line is
//! printed after the last of it. The drain takes no new calls, ends endless streams, lets running
//! calls finish within a deadline, writes `node.stop`, and leaves no child process behind.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use forge_policies::Bundle;
use forge_schemas::record::{EventKind, Record};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio::time::{Duration, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::config::{BundleSource, Config, Surroundings};
use crate::control::{bundle_check, bundle_load};
use crate::http::server::{EdgeLimits, serve};
use crate::state::{Gateway, Snapshot};

mod build;
mod tasks;

/// What the process is, apart from its configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// This program: starts the bundle checker and the launcher of child processes.
    pub exe: PathBuf,
    /// Variables that every tool server's process gets.
    pub base_env: BTreeMap<String, String>,
}

impl Options {
    /// Of the running program.
    ///
    /// # Errors
    /// If the program does not know its own path.
    pub fn of_this_process() -> anyhow::Result<Self> {
        let exe = std::env::current_exe().context("the path of this program is not known")?;
        let around = Surroundings::of(Path::new("."));
        let passed = ["PATH", "HOME", "LANG", "TMPDIR"];
        let base_env = passed
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), (around.env)(name)?)))
            .collect();
        Ok(Self { exe, base_env })
    }
}

/// A gateway that serves.
#[derive(Debug)]
pub struct Running {
    gateway: Arc<Gateway>,
    mcp: Option<SocketAddr>,
    admin: SocketAddr,
    listeners: CancellationToken,
    background: CancellationToken,
    serving: Vec<JoinHandle<()>>,
    helpers: TaskTracker,
    run_file: PathBuf,
}

/// Where a running gateway can be reached: written beside the store, for the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct RunFile {
    mcp: String,
    admin: String,
    pid: u32,
}

/// Installs the one cryptography provider for TLS. Twice does no harm.
pub fn install_crypto() {
    // The error is the provider that is there already: this one.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// An HTTP client without redirects and proxies.
///
/// # Errors
/// If TLS cannot be set up.
pub fn http_client() -> anyhow::Result<reqwest::Client> {
    http_builder().build().context("the HTTP client cannot be set up")
}

/// The same, for who has something to add.
fn http_builder() -> reqwest::ClientBuilder {
    install_crypto();
    let none = reqwest::redirect::Policy::none();
    reqwest::Client::builder().redirect(none).no_proxy().connect_timeout(Duration::from_secs(5))
}

/// Logs to stderr; `RUST_LOG` chooses what.
pub fn init_logging(as_json: bool) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_unset| tracing_subscriber::EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber, in tests, is not an error.
    drop(if as_json { builder.json().try_init() } else { builder.with_ansi(false).try_init() });
}

/// Loads the bundle: checked in a child process first, because a hostile one can abort a process.
///
/// # Errors
/// If it cannot be read, or the checker finds faults: all of them.
pub async fn load_bundle(config: &Config, options: &Options) -> anyhow::Result<Bundle> {
    let bundle = match &config.policy.bundle {
        BundleSource::Starter => return Ok(forge_policies::starter()),
        BundleSource::Folder(folder) => Bundle::new(bundle_load::read_dir(folder)?)?,
    };
    bundle_check::check_in_child(&options.exe, &bundle).await?;
    Ok(bundle)
}

/// Builds and binds everything.
///
/// # Errors
/// If anything that a call needs is not there.
pub async fn start(config: Config, options: Options) -> anyhow::Result<Running> {
    Box::pin(start_with(config, options, true)).await
}

/// The same without the MCP listener, for a client on stdin and stdout. The admin API is there:
/// held calls have to be decided somewhere.
///
/// # Errors
/// If anything that a call needs is not there.
pub async fn start_without_mcp(config: Config, options: Options) -> anyhow::Result<Running> {
    Box::pin(start_with(config, options, false)).await
}

async fn start_with(config: Config, options: Options, with_mcp: bool) -> anyhow::Result<Running> {
    install_crypto();
    let bundle = load_bundle(&config, &options).await?;
    let mcp = match with_mcp {
        true => Some(bind(config.listen.mcp, "listen.mcp").await?),
        false => None,
    };
    let admin = bind(config.listen.admin, "listen.admin").await?;
    let mcp_at = mcp.as_ref().map(TcpListener::local_addr).transpose()?;
    let admin_at = admin.local_addr()?;
    let mut config = config;
    if config.listen.public_url.is_empty() {
        config.listen.public_url = format!("http://{}/mcp", mcp_at.unwrap_or(admin_at));
    }
    let run_file = run_file(&config);
    let gateway = Arc::new(Box::pin(build::gateway(config, &bundle, &options)).await?);
    recover(&gateway).await?;
    record_start(&gateway).await?;
    let (background, helpers) = (CancellationToken::new(), TaskTracker::new());
    tasks::spawn(&gateway, &helpers, &background);
    let listeners = CancellationToken::new();
    let limits = &gateway.snapshot.load().config.limits;
    let edge = EdgeLimits {
        connections_max: limits.connections_max,
        header_read: Duration::from_millis(limits.header_ms),
    };
    let mut serving = Vec::new();
    if let Some(mcp) = mcp {
        let router = crate::http::mcp::router(Arc::clone(&gateway));
        serving.push(tokio::spawn(serve(mcp, router, edge, listeners.clone())));
    }
    let router = crate::http::admin::router(Arc::clone(&gateway));
    serving.push(tokio::spawn(serve(admin, router, edge, listeners.clone())));
    let written = RunFile {
        mcp: mcp_at.map(|at| format!("http://{at}/mcp")).unwrap_or_default(),
        admin: format!("http://{admin_at}"),
        pid: std::process::id(),
    };
    std::fs::write(&run_file, serde_json::to_vec(&written)?)
        .with_context(|| format!("cannot write {}", run_file.display()))?;
    info!(mcp = %written.mcp, admin = %admin_at, "gateway is ready");
    Ok(Running {
        gateway,
        mcp: mcp_at,
        admin: admin_at,
        listeners,
        background,
        serving,
        helpers,
        run_file,
    })
}

async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("{key}: cannot listen on {address}"))
}

/// Brings the index up to the log, and then closes approvals whose execution was interrupted: in
/// this order, because the log knows of executions that the store may not, and before any call,
/// because later the calls under way would look interrupted.
async fn recover(gateway: &Arc<Gateway>) -> anyhow::Result<()> {
    tasks::catch_up(gateway).await;
    let lost = gateway.approvals.recover().await.context("approvals cannot be recovered")?;
    if !lost.is_empty() {
        warn!(count = lost.len(), "approved calls were interrupted; their outcome is unknown");
    }
    Ok(())
}

/// What was loaded is evidence too.
async fn record_start(gateway: &Gateway) -> anyhow::Result<()> {
    let snapshot = gateway.snapshot.load();
    let event = |kind, detail: Vec<(&str, Value)>| {
        let detail = detail.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Record::Event(Box::new(crate::call::record::event(
            gateway.own_tenant(),
            kind,
            None,
            detail,
        )))
    };
    let servers: Vec<&str> = snapshot.config.servers.keys().map(|name| name.as_str()).collect();
    let records = vec![
        event(
            EventKind::Config,
            vec![
                ("digest", json!(snapshot.config_digest)),
                ("generation", json!(snapshot.generation)),
                ("servers", json!(servers)),
            ],
        ),
        event(
            EventKind::Policy,
            vec![
                ("digest", json!(snapshot.policy.digest())),
                ("revision", json!(snapshot.policy.revision())),
                ("rules", json!(snapshot.scanner.rules_digest())),
                ("mode", json!(snapshot.config.policy.mode.as_str())),
            ],
        ),
    ];
    gateway.journal.append(records).await.context("the start could not be recorded")?;
    Ok(())
}

impl Running {
    /// The running gateway.
    #[must_use]
    pub fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Where MCP is served; empty without a listener for it.
    #[must_use]
    pub fn mcp_url(&self) -> String {
        self.mcp.map(|at| format!("http://{at}/mcp")).unwrap_or_default()
    }

    /// Where the admin API is served.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://{}", self.admin)
    }

    /// Drains and stops.
    pub async fn shutdown(self) {
        let grace = Duration::from_millis(self.gateway.snapshot.load().config.limits.drain_ms);
        info!(calls = self.gateway.calls.len(), "draining");
        self.gateway.draining.cancel();
        self.listeners.cancel();
        self.gateway.calls.close();
        if timeout(grace, self.gateway.calls.wait()).await.is_err() {
            warn!(calls = self.gateway.calls.len(), "calls did not end in time");
        }
        self.background.cancel();
        self.helpers.close();
        // What is left waits for clients that do not read any more.
        for task in self.serving {
            let abort = task.abort_handle();
            if timeout(CLOSE_WAIT, task).await.is_err() {
                abort.abort();
            }
        }
        self.gateway.upstreams.shutdown(CLOSE_WAIT).await;
        if timeout(CLOSE_WAIT, self.helpers.wait()).await.is_err() {
            warn!("background tasks did not end in time");
        }
        if let Err(fault) = self.gateway.journal.close().await {
            warn!(error = %fault, "the journal did not close in good order");
        }
        if let Err(fault) = std::fs::remove_file(&self.run_file) {
            warn!(error = %fault, "the run file could not be removed");
        }
        info!("stopped");
    }
}

/// Waits for SIGTERM or SIGINT.
///
/// # Errors
/// If signals cannot be received.
pub async fn signalled() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The admin URL of the gateway that runs with this configuration.
///
/// # Errors
/// If none runs.
pub fn admin_url(config: &Config) -> anyhow::Result<String> {
    Ok(read_run_file(config)?.admin)
}

/// Where the gateway that runs with this configuration serves MCP; `None` if none runs, or it does
/// not answer.
pub async fn mcp_url_of_running(config: &Config) -> Option<String> {
    let run = read_run_file(config).ok().filter(|run| !run.mcp.is_empty())?;
    let ready = http_client().ok()?.get(format!("{}/healthz", run.admin)).send();
    let answer = timeout(CLOSE_WAIT, ready).await.ok()?.ok()?;
    answer.status().is_success().then_some(run.mcp)
}

fn read_run_file(config: &Config) -> anyhow::Result<RunFile> {
    let path = run_file(config);
    let text = std::fs::read(&path).with_context(|| {
        format!("no gateway runs with this configuration ({} is not there)", path.display())
    })?;
    serde_json::from_slice(&text).with_context(|| format!("{} is not readable", path.display()))
}

fn run_file(config: &Config) -> PathBuf {
    let mut name = config.store.clone().into_os_string();
    name.push(".run.json");
    PathBuf::from(name)
}

/// The first generation.
fn first_snapshot(
    config: Config,
    policy: forge_policies::PolicySet,
    scanner: forge_detectors::Scanner,
) -> ArcSwap<Snapshot> {
    let config_digest = config.digest;
    ArcSwap::from_pointee(Snapshot {
        generation: 1,
        config: Arc::new(config),
        config_digest,
        policy,
        scanner,
    })
}

const CLOSE_WAIT: Duration = Duration::from_secs(5);
