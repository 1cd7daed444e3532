//! Configuration texts and what is said about them.

use std::path::Path;

use crate::auth::Settings;

use super::{BundleSource, Config, ConfigError, DetectMode, Surroundings, parse};

fn surroundings() -> Surroundings {
    let env = |name: &str| (name == "TOKEN").then(|| "t0ken".to_owned());
    Surroundings { base: std::env::temp_dir(), env }
}

fn read(text: &str) -> Result<Config, Vec<String>> {
    parse(text, Path::new("forge.toml"), &surroundings()).map_err(|error| match error {
        ConfigError::Faults(faults) => faults.into_iter().map(|fault| fault.to_string()).collect(),
        other @ (ConfigError::Missing(_) | ConfigError::Read(..)) => vec![other.to_string()],
    })
}

#[test]
fn an_empty_file_is_a_local_gateway_without_servers() {
    let config = read("").unwrap();
    assert!(matches!(config.auth.settings, Settings::Local { .. }));
    assert_eq!(config.policy.bundle, BundleSource::Starter);
    assert_eq!(config.detect.response, DetectMode::Redact);
    assert!(config.servers.is_empty());
}

#[test]
fn the_example_of_the_contract_is_read() {
    let text = r#"
        [listen]
        mcp = "127.0.0.1:8080"
        admin = "127.0.0.1:8081"
        public_url = "https://gateway.example/mcp"
        [auth]
        mode = "jwt"
        [[auth.issuers]]
        issuer = "https://idp.example"
        audience = ["https://gateway.example/mcp"]
        algorithms = ["ES256", "RS256", "EdDSA"]
        claims = { tenant = "/org", roles = "/roles", groups = "/groups" }
        [policy]
        bundle = "starter"
        mode = "enforce"
        [detect]
        request = "redact"
        response = "redact"
        [evidence]
        path = "evidence/"
        signing_key = { file = "keys/evidence.pem" }
        commit_interval_ms = 2
        [store]
        url = "sqlite://forge.db"
        [servers.git]
        command = ["mcp-server-git", "--repository", "."]
        [servers.docs]
        url = "https://docs.example/mcp"
        credential = { bearer = { env = "TOKEN" } }
    "#;
    let config = read(text).unwrap();
    assert_eq!(config.servers.len(), 2);
    assert!(config.listen.allowed.hosts.contains(&"gateway.example".to_owned()));
    assert!(!format!("{config:?}").contains("t0ken"));
}

#[test]
fn all_faults_are_reported_at_once() {
    let text = r#"
        surprise = 1
        [listen]
        mcp = "nowhere"
        [auth]
        mode = "open"
        [detect]
        request = 7
        [limits]
        depth_max = 4000
        [servers."a b"]
        command = ["x"]
        [servers.both]
        command = ["x"]
        url = "https://x"
        [servers.none]
        tags = ["x"]
        [servers.docs]
        url = "https://docs.example/mcp"
        credential = { bearer = { env = "NOT_THERE" } }
        [servers.literal]
        url = "https://docs.example/mcp"
        credential = { bearer = "in the file" }
    "#;
    let faults = read(text).unwrap_err();
    let expected = [
        "forge.toml: listen.mcp: saw \"nowhere\"; wanted an address like 127.0.0.1:8080",
        "forge.toml: auth.mode: saw \"open\"; wanted \"jwt\" or \"local\" or \"fixed\"",
        "forge.toml: detect.request: saw 7;",
        "forge.toml: servers.a b: this name;",
        "forge.toml: servers.both: both command and url;",
        "forge.toml: servers.none: neither command nor url;",
        "forge.toml: servers.docs.credential.bearer: the environment has no NOT_THERE;",
        "forge.toml: servers.literal.credential.bearer: saw \"in the file\"; wanted a table",
        "forge.toml: limits.depth_max: saw 4000; wanted an integer from 4 to 100",
        "forge.toml: surprise: an unknown key;",
    ];
    for wanted in expected {
        assert!(faults.iter().any(|fault| fault.starts_with(wanted)), "{wanted}\n{faults:#?}");
    }
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
}

#[test]
fn open_modes_stay_on_loopback() {
    for mode in ["local", "fixed"] {
        let text = format!(
            "[auth]\nmode = \"{mode}\"\n[listen]\nmcp = \"0.0.0.0:80\"\nadmin = \"[::]:81\""
        );
        let faults = read(&text).unwrap_err();
        assert_eq!(faults.len(), 2, "{faults:?}");
    }
}

#[test]
fn a_syntax_error_names_its_line() {
    let faults = read("[listen]\nmcp = \n").unwrap_err();
    assert!(faults.len() == 1 && faults[0].contains("line 2"), "{faults:?}");
}
