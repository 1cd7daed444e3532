//! All tool servers, and the way to one of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use forge_schemas::ids::ServerName;
use tokio_util::task::TaskTracker;

use super::body::{Body, Incoming, after};
use super::catalog::{self, Catalog};
use super::error::UpstreamError;
use super::gate::Gate;
use super::health::{Counters, Health, Meter};
use super::http::HttpServer;
use super::message::{MessageKind, Outgoing};
use super::settings::{Common, ServerSettings, Transport};
use super::stdio::StdioServer;

/// Every configured tool server.
#[derive(Debug)]
pub struct Upstreams {
    servers: BTreeMap<ServerName, Arc<Upstream>>,
}

/// One tool server.
#[derive(Debug)]
pub struct Upstream {
    gate: Gate,
    counters: Arc<Counters>,
    link: Link,
    deadline: Duration,
}

#[derive(Debug)]
enum Link {
    Stdio(Box<StdioServer>),
    Http(Box<HttpServer>),
}

/// A tool server cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The HTTP client.
    #[error("the HTTP client for server {server} cannot be built")]
    Http {
        /// The server.
        server: ServerName,
        /// What is wrong.
        #[source]
        source: reqwest::Error,
    },
    /// The thread that starts processes.
    #[error("the thread that starts processes for server {server} cannot be started")]
    Thread {
        /// The server.
        server: ServerName,
        /// What is wrong.
        #[source]
        source: std::io::Error,
    },
}

impl Upstreams {
    /// Sets up every server; starts no process and opens no connection. Must be called inside a
    /// runtime, and after the process chose its rustls provider.
    ///
    /// # Errors
    /// If a server cannot be set up.
    pub fn new(
        settings: BTreeMap<ServerName, ServerSettings>,
        common: Common,
    ) -> Result<Self, SetUpError> {
        let common = Arc::new(common);
        let mut servers = BTreeMap::new();
        for (name, settings) in settings {
            let upstream = Upstream::new(&name, settings, &common)?;
            servers.insert(name, Arc::new(upstream));
        }
        Ok(Self { servers })
    }

    /// The server of that name.
    #[must_use]
    pub fn server(&self, name: &ServerName) -> Option<&Arc<Upstream>> {
        self.servers.get(name)
    }

    /// All servers, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&ServerName, &Arc<Upstream>)> {
        self.servers.iter()
    }

    /// Ends every process and what else runs. Takes at most about `grace`; calls that are still
    /// under way on a process fail with `upstream.lost`.
    pub async fn shutdown(&self, grace: Duration) {
        let ending = TaskTracker::new();
        for upstream in self.servers.values() {
            let upstream = Arc::clone(upstream);
            ending.spawn(async move { upstream.shutdown(grace).await });
        }
        ending.close();
        ending.wait().await;
    }
}

impl Upstream {
    fn new(
        name: &ServerName,
        settings: ServerSettings,
        common: &Arc<Common>,
    ) -> Result<Self, SetUpError> {
        let ServerSettings { transport, limits } = settings;
        let counters = Arc::new(Counters::default());
        let counted = Arc::clone(&counters);
        let server = name.clone();
        let link = match transport {
            Transport::Stdio(stdio) => {
                let link =
                    StdioServer::new(name, stdio, common, Meter { limits, counters: counted })
                        .map_err(|source| SetUpError::Thread { server, source })?;
                Link::Stdio(Box::new(link))
            }
            Transport::Http(http) => {
                let link = HttpServer::new(http, Meter { limits, counters: counted })
                    .map_err(|source| SetUpError::Http { server, source })?;
                Link::Http(Box::new(link))
            }
        };
        Ok(Self { gate: Gate::new(limits), counters, link, deadline: limits.catalog_wait })
    }

    /// Passes one message on and hands back the reply, or the stream of it.
    ///
    /// Dropping the future gives a request up, as dropping its [`super::Events`] does.
    ///
    /// # Errors
    /// If there is no valid reply; [`UpstreamError::sent`] says whether the tool may have run.
    pub async fn send(&self, out: Outgoing) -> Result<Incoming, UpstreamError> {
        let deadline = after(out.deadline);
        let permit = match &out.kind {
            _ if out.is_endless() => Some(self.gate.stream()?),
            MessageKind::Request { .. } => Some(tokio::select! {
                biased;
                () = out.cancel.cancelled() => {
                    return Err(UpstreamError::Cancelled { sent: false });
                }
                permit = self.gate.call() => permit?,
            }),
            // These answer or end something that is under way, which must not wait for a slot.
            MessageKind::Notification | MessageKind::Response | MessageKind::None => None,
        };
        let mut incoming = match &self.link {
            Link::Stdio(server) => Box::pin(server.send(&out, deadline, &self.gate)).await?,
            Link::Http(server) => Box::pin(server.send(&out, deadline, &self.gate)).await?,
        };
        if let (Body::Events(events), Some(permit)) = (&mut incoming.body, permit) {
            events.hold(permit);
        }
        Ok(incoming)
    }

    /// Ends a legacy session. Unknown ones are no error.
    pub async fn end_session(&self, id: &str) {
        match &self.link {
            Link::Stdio(server) => server.end_session(id).await,
            Link::Http(server) => server.end_session(id).await,
        }
    }

    /// Asks the server, for the gateway itself, what it is and which tools it has.
    ///
    /// # Errors
    /// If it does not answer, or not as the protocol says.
    pub async fn catalog(&self) -> Result<Catalog, UpstreamError> {
        catalog::fetch(self, self.deadline).await
    }

    /// The server's state now.
    #[must_use]
    pub fn health(&self) -> Health {
        let (circuit, failures) = self.gate.circuit();
        let (processes, sessions, era) = match &self.link {
            Link::Stdio(server) => (server.processes(), server.sessions(), server.era()),
            Link::Http(_) => (0, 0, None),
        };
        let in_flight = self.gate.in_flight();
        let counts = self.counters.read();
        Health { circuit, failures, in_flight, processes, sessions, era, counts }
    }

    /// The end of what the server's processes wrote to standard error, at most 16 KiB. It may hold
    /// anything, also secrets: for a person in front of `doctor`, never for logs.
    #[must_use]
    pub fn stderr_tail(&self) -> String {
        match &self.link {
            Link::Stdio(server) => server.stderr(),
            Link::Http(_) => String::new(),
        }
    }

    async fn shutdown(&self, grace: Duration) {
        match &self.link {
            Link::Stdio(server) => server.shutdown(grace).await,
            Link::Http(server) => server.shutdown(grace).await,
        }
    }
}
