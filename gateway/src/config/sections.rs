//! The sections of the file, one function each. Defaults stand here, and in
//! `docs/reference/configuration.md`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use forge_schemas::digest::Digest;
use forge_schemas::ids::{ServerName, Tenant};
use tokio::time::Duration;

use crate::auth::{
    self, Algorithm, ClaimMap, Grant, Issuer, JwtSettings, KeySource, Principal, is_loopback,
};
use crate::http::guard::{Allowed, LOOPBACK};

use super::reader::{Fault, Faults, Section};
use super::secret::Surroundings;
use super::{
    Approval, Auth, BundleSource, Config, Detect, DetectMode, Env, Evidence, Limits, Listen,
    Policy, PolicyMode, Server, servers,
};

/// Reads the whole text.
pub(super) fn read(text: &str, file: &Path, around: &Surroundings) -> Result<Config, Vec<Fault>> {
    let faults = Faults::new(file);
    let table = text.parse::<toml::Table>().map_err(|fault| {
        let at = fault
            .span()
            .map_or(0, |span| text.get(..span.start).unwrap_or_default().matches('\n').count());
        let line = at.saturating_add(1);
        faults.add(&format!("line {line}"), fault.message().to_owned(), "TOML");
        faults.take()
    })?;
    let mut root = Section::root(table, &faults);
    let listen = listen(root.table("listen"));
    let auth = auth(root.table("auth"), around);
    let policy = policy(root.table("policy"), around);
    let detect = detect(root.table("detect"));
    let evidence = evidence(root.table("evidence"), around);
    let (store, retention_days) = store(root.table("store"), around);
    let servers = read_servers(root.table("servers"), around);
    let limits = limits(root.table("limits"));
    let approval = approval(root.table("approval"));
    let env = env(root.table("env"));
    together(&root, &listen, &auth);
    root.end();
    let found = faults.take();
    if !found.is_empty() {
        return Err(found);
    }
    let digest = Digest::of(text.as_bytes());
    Ok(Config {
        digest,
        listen,
        auth,
        policy,
        detect,
        evidence,
        store,
        retention_days,
        servers,
        limits,
        approval,
        env,
    })
}

/// What no section can see alone.
fn together(root: &Section, listen: &Listen, auth: &Auth) {
    let open = matches!(auth.settings, auth::Settings::Local { .. } | auth::Settings::Fixed(_));
    for (name, address) in [("listen.mcp", listen.mcp), ("listen.admin", listen.admin)] {
        if open && !is_loopback(&address) {
            root.report(
                name,
                format!("saw {address}"),
                "a loopback address, as auth.mode is not \"jwt\"",
            );
        }
    }
}

fn listen(mut section: Section) -> Listen {
    let address = |section: &mut Section, key, default: &str| {
        let text = section
            .parsed(key, "an address like 127.0.0.1:8080", |text| text.parse::<SocketAddr>().ok());
        text.or_else(|| default.parse().ok())
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)))
    };
    let mcp = address(&mut section, "mcp", "127.0.0.1:8080");
    let admin = address(&mut section, "admin", "127.0.0.1:8081");
    let public_url = section
        .parsed("public_url", "an http or https URL without query", |text| {
            let url = reqwest::Url::parse(text).ok()?;
            let fits = matches!(url.scheme(), "http" | "https")
                && url.query().is_none()
                && url.fragment().is_none();
            fits.then(|| text.trim_end_matches('/').to_owned())
        })
        .unwrap_or_default();
    let mut hosts: Vec<String> = LOOPBACK.iter().map(|name| (*name).to_owned()).collect();
    hosts.push(mcp.ip().to_string());
    hosts.extend(
        reqwest::Url::parse(&public_url).ok().and_then(|url| url.host_str().map(str::to_owned)),
    );
    hosts.extend(
        section
            .texts("allowed_hosts")
            .unwrap_or_default()
            .into_iter()
            .map(|host| host.to_ascii_lowercase()),
    );
    let origins = section.texts("allowed_origins").unwrap_or_default();
    section.end();
    Listen { mcp, admin, public_url, allowed: Allowed { hosts, origins } }
}

fn auth(mut section: Section, around: &Surroundings) -> Auth {
    #[derive(Clone, Copy)]
    enum Mode {
        Jwt,
        Local,
        Fixed,
    }
    let mode =
        section.word("mode", &[("jwt", Mode::Jwt), ("local", Mode::Local), ("fixed", Mode::Fixed)]);
    let default_tenant = tenant(&mut section, "default_tenant").unwrap_or_default();
    let settings = match mode.unwrap_or(Mode::Local) {
        Mode::Jwt => {
            let issuers: Vec<Issuer> = section
                .tables("issuers")
                .into_iter()
                .filter_map(|issuer| read_issuer(issuer, &default_tenant))
                .collect();
            if issuers.is_empty() {
                section.fault("issuers", "no usable issuer", "at least one [[auth.issuers]]");
            }
            auth::Settings::Jwt(JwtSettings::new(issuers))
        }
        Mode::Local => {
            let mut local = section.table("local");
            let dir = around.path(&local.text("dir").unwrap_or_else(|| "local".to_owned()));
            let first = grant(&mut local, &default_tenant);
            local.end();
            auth::Settings::Local { dir, first }
        }
        Mode::Fixed => {
            let mut fixed = section.table("fixed");
            let grant = grant(&mut fixed, &default_tenant);
            fixed.end();
            auth::Settings::Fixed(fixed_principal(grant))
        }
    };
    section.end();
    Auth { settings, default_tenant }
}

fn grant(section: &mut Section, tenant: &Tenant) -> Grant {
    Grant {
        subject: section.text("subject").unwrap_or_else(|| "local".to_owned()),
        tenant: tenant.clone(),
        roles: section
            .texts("roles")
            .unwrap_or_else(|| vec!["writer".to_owned(), "administrator".to_owned()]),
        groups: section.texts("groups").unwrap_or_default(),
        ttl: None,
    }
}

fn fixed_principal(grant: Grant) -> Principal {
    Principal {
        id: grant.subject,
        issuer: "fixed".to_owned(),
        kind: "user".to_owned(),
        tenant: grant.tenant,
        roles: grant.roles,
        groups: grant.groups,
        scope: Vec::new(),
        audience: String::new(),
        acr: String::new(),
        amr: Vec::new(),
        agent: String::new(),
        act: None,
        expires_at_ms: None,
    }
}

fn tenant(section: &mut Section, key: &'static str) -> Option<Tenant> {
    section.parsed(key, "1 to 63 characters of a-z, 0-9, '.', '_', '-'", |text| {
        Tenant::parse(text).ok()
    })
}

fn read_issuer(mut section: Section, default_tenant: &Tenant) -> Option<Issuer> {
    let issuer = section.text("issuer");
    let audience = section.texts("audience").filter(|list| !list.is_empty());
    if issuer.is_none() && !section.has("issuer") {
        section.fault("issuer", "nothing", "the issuer's URL, as its tokens spell it");
    }
    if audience.is_none() {
        section.fault("audience", "nothing", "a list of this gateway's resource identifiers");
    }
    let mut read = Issuer::new(&issuer.clone().unwrap_or_default(), "");
    if let Some(names) = section.texts("algorithms") {
        let parse = |name: &String| {
            Algorithm::parse(name).map_err(|fault| {
                section.fault("algorithms", format!("saw {name:?}"), fault.to_string());
            })
        };
        read.algorithms = names.iter().filter_map(|name| parse(name).ok()).collect();
    }
    read.accept_typ_jwt = section.flag("accept_typ_jwt").unwrap_or_default();
    read.required = section.texts("required").unwrap_or_default();
    if let Some(leeway) = section.number("leeway_s", 0, 300) {
        read.leeway_s = u32::try_from(leeway).unwrap_or_default();
    }
    if let Some(url) = section.text("jwks_uri") {
        read.keys = KeySource::Jwks(url);
    }
    let mut claims = section.table("claims");
    read.claims = ClaimMap {
        subject: claims.text("subject").unwrap_or_else(|| "/sub".to_owned()),
        tenant: claims.text("tenant"),
        default_tenant: Some(default_tenant.clone()),
        roles: claims.text("roles"),
        groups: claims.text("groups"),
    };
    claims.end();
    section.end();
    read.audience = audience.unwrap_or_default();
    issuer.map(|_| read)
}

fn policy(mut section: Section, around: &Surroundings) -> Policy {
    let bundle = section.text("bundle").unwrap_or_else(|| "starter".to_owned());
    let bundle = match bundle.as_str() {
        "starter" => BundleSource::Starter,
        path => BundleSource::Folder(around.path(path)),
    };
    if let BundleSource::Folder(folder) = &bundle
        && !folder.is_dir()
    {
        section.fault(
            "bundle",
            format!("saw {}", folder.display()),
            "a folder with .rego files, or \"starter\"",
        );
    }
    let mode =
        section.word("mode", &[("enforce", PolicyMode::Enforce), ("shadow", PolicyMode::Shadow)]);
    section.end();
    Policy { bundle, mode: mode.unwrap_or(PolicyMode::Enforce) }
}

fn detect(mut section: Section) -> Detect {
    let modes = [
        ("report", DetectMode::Report),
        ("redact", DetectMode::Redact),
        ("block", DetectMode::Block),
    ];
    let request = section.word("request", &modes).unwrap_or(DetectMode::Redact);
    let response = section.word("response", &modes).unwrap_or(DetectMode::Redact);
    let entities = section
        .texts("request_report_only")
        .unwrap_or_else(|| REPORT_ONLY.iter().map(|entity| (*entity).to_owned()).collect());
    section.end();
    Detect { request, response, request_report_only: entities.into_iter().collect() }
}

fn evidence(mut section: Section, around: &Surroundings) -> Evidence {
    let path = around.path(&section.text("path").unwrap_or_else(|| "evidence".to_owned()));
    let key = section.maybe_table("signing_key").and_then(|mut key| {
        let file = key.text("file");
        if file.is_none() {
            key.fault("file", "nothing", "the path of a PEM file; it is made if it is not there");
        }
        key.end();
        file
    });
    let signing_key = around.path(&key.unwrap_or_else(|| "keys/evidence.pem".to_owned()));
    let commit_interval =
        Duration::from_millis(section.number("commit_interval_ms", 0, 1000).unwrap_or(2));
    let origin = section.parsed("origin", "a host name", |text| {
        let fits = !text.is_empty()
            && text.len() <= 190
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-".contains(&byte));
        fits.then(|| text.to_owned())
    });
    section.end();
    Evidence {
        path,
        signing_key,
        commit_interval,
        origin: origin.unwrap_or_else(|| "gateway.forge.localhost".to_owned()),
    }
}

fn store(mut section: Section, around: &Surroundings) -> (PathBuf, u32) {
    let path = section
        .parsed("url", "sqlite://PATH", |text| text.strip_prefix("sqlite://").map(str::to_owned));
    let days =
        section.number("retention_days", 1, 36_500).and_then(|days| u32::try_from(days).ok());
    section.end();
    (around.path(&path.unwrap_or_else(|| "forge.db".to_owned())), days.unwrap_or(30))
}

fn read_servers(section: Section, around: &Surroundings) -> BTreeMap<ServerName, Server> {
    let mut servers = BTreeMap::new();
    for (name, server) in section.named_tables() {
        let parsed = ServerName::parse(&name);
        if parsed.is_err() {
            server.report(
                server.path(),
                "this name",
                "1 to 63 characters of a-z, A-Z, 0-9, '.', '_', '-'",
            );
        }
        if let (Some(read), Ok(name)) = (servers::read(server, around), parsed) {
            servers.insert(name, read);
        }
    }
    servers
}

fn limits(mut section: Section) -> Limits {
    let limits = Limits {
        body_bytes: size(section.number("body_bytes", 1024, 1 << 30), 8 << 20),
        body_ms: section.number("body_ms", 10, 600_000).unwrap_or(30_000),
        depth_max: size(section.number("depth_max", 4, 100), 64),
        calls_max: size(section.number("calls_max", 1, 1_000_000), 4096),
        call_ms: section.number("call_ms", 10, 86_400_000).unwrap_or(300_000),
        keep_alive_ms: section.number("keep_alive_ms", 50, 600_000).unwrap_or(15_000),
        connections_max: size(section.number("connections_max", 1, 1_000_000), 8192),
        header_ms: section.number("header_ms", 10, 600_000).unwrap_or(10_000),
        drain_ms: section.number("drain_ms", 0, 3_600_000).unwrap_or(20_000),
    };
    section.end();
    limits
}

fn size(number: Option<u64>, default: usize) -> usize {
    number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

fn approval(mut section: Section) -> Approval {
    let approval = Approval {
        hold_ms: section.number("hold_ms", 0, 86_400_000).unwrap_or(240_000),
        hold_silent_ms: section.number("hold_silent_ms", 0, 86_400_000).unwrap_or(45_000),
        leg_ms: section.number("leg_ms", 0, 600_000).unwrap_or(30_000),
        rounds_max: section
            .number("rounds_max", 1, 10)
            .and_then(|rounds| u32::try_from(rounds).ok())
            .unwrap_or(9),
        beat_ms: section.number("beat_ms", 20, 600_000).unwrap_or(10_000),
        retry_s: section.number("retry_s", 1, 86_400).unwrap_or(15),
        open_per_principal: section.number("open_per_principal", 1, 100_000).unwrap_or(5),
    };
    section.end();
    approval
}

fn env(mut section: Section) -> Env {
    let env = Env {
        name: section.text("name").unwrap_or_default(),
        region: section.text("region").unwrap_or_default(),
        gateway: section.text("gateway").unwrap_or_else(|| "forge".to_owned()),
    };
    section.end();
    env
}

/// Contact data: a tool that may not be told an address cannot write to it.
const REPORT_ONLY: &[&str] = &["EMAIL_ADDRESS", "PHONE_NUMBER", "IP_ADDRESS"];
