//! Tool servers and their tools. Addresses, commands and credentials are not shown.

use forge_schemas::digest::Digest;
use forge_schemas::ids::ServerName;
use forge_schemas::policy::ActionProperties;
use schemars::JsonSchema;
use serde::Serialize;

use crate::state::Gateway;
use crate::upstream::{Era, Health, Transport};

use super::gate::Permit;
use super::query::Query;
use super::{AdminError, Answer};

/// Every configured server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ServerList {
    /// By name.
    items: Vec<Server>,
}

/// One server.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Server {
    /// As in the configuration.
    name: ServerName,
    /// `stdio` or `http`.
    transport: &'static str,
    /// How it speaks; `null` until it was asked.
    era: Option<Era>,
    /// Protocol revision that it agreed to; `null` until it was asked.
    version: Option<String>,
    /// Where it runs, from the configuration.
    region: String,
    /// `verified` or `unverified`, from the configuration.
    trust: String,
    /// Words from the configuration.
    tags: Vec<String>,
    /// Class of its data, from the configuration.
    data_class: String,
    /// Circuit, processes, and faults counted since the gateway started.
    health: Health,
    /// Its tools, by name, as far as they are known.
    tools: Vec<Tool>,
}

/// Tools of all servers.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub(super) struct ToolList {
    /// By server and name.
    items: Vec<Tool>,
}

/// One tool.
#[derive(Clone, Debug, Serialize, JsonSchema)]
struct Tool {
    /// The server.
    server: ServerName,
    /// The server's own name for it.
    name: String,
    /// Over the RFC 8785 form of its definition.
    digest: Digest,
    /// `new`, or `changed` since it was first seen.
    pin: &'static str,
    /// Its effects, as the server claims them.
    hints: ActionProperties,
}

/// `GET /servers`.
pub(super) fn list(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    Query::parse(&permit.request().query, &[])?;
    let config = &gateway.snapshot.load().config;
    let mut items = Vec::new();
    for (name, catalog) in &gateway.catalogs {
        let (Some(server), Some(known)) =
            (gateway.upstreams.server(name), config.servers.get(name))
        else {
            continue;
        };
        let spoken = catalog.spoken();
        let health = server.health();
        let facts = &known.facts;
        items.push(Server {
            name: name.clone(),
            transport: match known.settings.transport {
                Transport::Stdio(_) => "stdio",
                Transport::Http(_) => "http",
            },
            era: spoken.as_ref().map(|spoken| spoken.0).or(health.era),
            version: spoken.as_ref().map(|spoken| spoken.1.clone()),
            region: facts.region.clone(),
            trust: facts.trust.clone(),
            tags: facts.tags.clone(),
            data_class: facts.data_class.clone(),
            health,
            tools: tools_of(gateway, name),
        });
    }
    Answer::of(&ServerList { items })
}

/// `GET /tools`.
pub(super) fn tools(gateway: &Gateway, permit: &Permit) -> Result<Answer, AdminError> {
    let wanted = Query::parse(&permit.request().query, &["server"])?.text("server");
    let named = |name: &&ServerName| wanted.as_deref().is_none_or(|one| one == name.as_str());
    let servers = gateway.catalogs.keys().filter(named);
    let items = servers.flat_map(|name| tools_of(gateway, name)).collect();
    Answer::of(&ToolList { items })
}

fn tools_of(gateway: &Gateway, server: &ServerName) -> Vec<Tool> {
    let Some(catalog) = gateway.catalogs.get(server) else { return Vec::new() };
    let tool = |(name, facts): (&String, &std::sync::Arc<crate::mcp::catalog::ToolFacts>)| Tool {
        server: server.clone(),
        name: name.clone(),
        digest: facts.digest,
        pin: facts.pin,
        hints: facts.hints.clone(),
    };
    catalog.tools().iter().map(tool).collect()
}
