//! `[servers.NAME]`: a command or a URL, a credential, facts for policy, limits.

use std::ffi::OsString;

use tokio::time::Duration;

use crate::mcp::catalog::ServerFacts;
use crate::upstream::{Credential, HttpSettings, Limits, ServerSettings, StdioSettings, Transport};

use super::Server;
use super::reader::Section;
use super::secret::{Surroundings, resolve};

/// Reads one server; `None` if it cannot be used (the faults say why).
pub(super) fn read(mut section: Section, around: &Surroundings) -> Option<Server> {
    let facts = ServerFacts {
        tags: section.texts("tags").unwrap_or_default(),
        region: section.text("region").unwrap_or_default(),
        trust: section
            .word("trust", &[("verified", "verified"), ("unverified", "unverified")])
            .unwrap_or("unverified")
            .to_owned(),
        data_class: section.text("data_class").unwrap_or_default(),
    };
    let limits = limits(&mut section);
    let command = section.texts("command");
    let url = section.text("url");
    let transport = match (command, url) {
        (Some(words), None) => stdio(&mut section, words, around),
        (None, Some(url)) => http(&mut section, &url, around),
        (Some(_), Some(_)) => {
            section.report(section.path(), "both command and url", "one of them");
            None
        }
        (None, None) => {
            let wanted = "command = [\"PROGRAM\", \"ARG\"] or url = \"https://…\"";
            section.report(section.path(), "neither command nor url", wanted);
            None
        }
    };
    section.end();
    transport.map(|transport| Server { settings: ServerSettings { transport, limits }, facts })
}

fn limits(section: &mut Section) -> Limits {
    let mut limits = Limits::default();
    let mut set = |key, target: &mut usize| {
        if let Some(number) =
            section.number(key, 1, 1 << 30).and_then(|number| usize::try_from(number).ok())
        {
            *target = number;
        }
    };
    set("message_bytes_max", &mut limits.message_bytes_max);
    set("concurrent_max", &mut limits.concurrent_max);
    set("sessions_max", &mut limits.sessions_max);
    limits
}

fn stdio(section: &mut Section, words: Vec<String>, around: &Surroundings) -> Option<Transport> {
    let mut words = words.into_iter().map(OsString::from);
    let Some(program) = words.next() else {
        section.fault("command", "saw []", "a program and its arguments");
        return None;
    };
    let mut settings = StdioSettings::new(program);
    settings.args = words.collect();
    settings.cwd =
        Some(section.text("cwd").map_or_else(|| around.base.clone(), |path| around.path(&path)));
    if let Some(env) = section.maybe_table("env") {
        for (name, value) in env.named_texts() {
            settings.env.insert(name.into(), value.into());
        }
    }
    if let Some(secrets) = section.maybe_table("secret_env") {
        for (name, reference) in secrets.named_tables() {
            if let Some(secret) = resolve(reference, around) {
                settings.env.insert(name.into(), secret.reveal().into());
            }
        }
    }
    if let Some(probe) = section.number("probe_ms", 10, 600_000) {
        settings.probe_timeout = Duration::from_millis(probe);
    }
    if let Some(idle) = section.number("idle_s", 1, 86_400 * 30) {
        settings.idle = Duration::from_secs(idle);
        settings.session_idle = Duration::from_secs(idle.max(settings.session_idle.as_secs()));
    }
    Some(Transport::Stdio(settings))
}

fn http(section: &mut Section, url: &str, around: &Surroundings) -> Option<Transport> {
    let credential = section.maybe_table("credential").and_then(|mut credential| {
        let bearer =
            credential.maybe_table("bearer").and_then(|reference| resolve(reference, around));
        let made = bearer.and_then(|secret| {
            let made = Credential::bearer(secret.reveal());
            if made.is_err() {
                credential.fault("bearer", "characters that no header may carry", "a token");
            }
            made.ok()
        });
        credential.end();
        made
    });
    let parsed = reqwest::Url::parse(url).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.password().is_none()
            && url.username().is_empty()
    });
    let Some(parsed) = parsed else {
        section.fault(
            "url",
            format!("saw {url:?}"),
            "an http or https URL without user and password",
        );
        return None;
    };
    let mut settings = HttpSettings::new(parsed);
    settings.credential = credential;
    if let Some(connect) = section.number("connect_ms", 1, 600_000) {
        settings.connect_timeout = Duration::from_millis(connect);
    }
    Some(Transport::Http(settings))
}
