//! Challenges and the metadata document.

use forge_schemas::refusal::RefusalCode;
use serde_json::json;

use crate::auth::challenge::{Resource, status};

fn resource(url: &str) -> Resource {
    let servers = vec!["https://idp.example".to_owned()];
    let scopes = vec!["tools".to_owned(), "offline_access".to_owned()];
    Resource::new(url, servers, scopes).unwrap()
}

#[test]
fn the_metadata_stands_where_rfc_9728_puts_it() {
    // RFC 9728 §3.1 has the same pair with its own names.
    for (url, metadata) in [
        ("https://gw.example/mcp", "https://gw.example/.well-known/oauth-protected-resource/mcp"),
        ("HTTPS://GW.example/mcp/", "https://gw.example/.well-known/oauth-protected-resource/mcp"),
        ("https://gw.example", "https://gw.example/.well-known/oauth-protected-resource"),
        ("https://gw.example/", "https://gw.example/.well-known/oauth-protected-resource"),
        (
            "http://127.0.0.1:8080/mcp",
            "http://127.0.0.1:8080/.well-known/oauth-protected-resource/mcp",
        ),
    ] {
        assert_eq!(resource(url).metadata_url(), metadata);
    }
    for url in [
        "gw.example",
        "https://gw.example/mcp#x",
        "https://gw.example/?x",
        "https://user@gw.example/mcp",
        "ftp://x",
        "https://",
    ] {
        assert!(Resource::new(url, Vec::new(), Vec::new()).is_err(), "{url}");
    }
}

#[test]
fn the_document_names_this_resource_and_its_issuers() {
    let gateway = resource("https://gw.example/mcp");
    let expected = json!({
        "resource": "https://gw.example/mcp",
        "authorization_servers": ["https://idp.example"],
        "bearer_methods_supported": ["header"],
        "resource_name": "FORGE MCP Gateway",
        "scopes_supported": ["tools"],
    });
    for path in ["", "/mcp", "/mcp/git"] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        assert_eq!(gateway.document_at(&path), Some(expected.clone()), "{path}");
    }
    for path in ["/mcpx", "/other", "/mcp2/git"] {
        let path = format!("/.well-known/oauth-protected-resource{path}");
        assert_eq!(gateway.document_at(&path), None, "{path}");
    }
    let local = Resource::new("http://127.0.0.1:8080/mcp", Vec::new(), Vec::new()).unwrap();
    assert_eq!(local.document_at("/.well-known/oauth-protected-resource/mcp"), None);
}

#[test]
fn challenges_say_what_a_client_has_to_do() {
    let gateway = resource("https://gw.example/mcp");
    let metadata =
        "resource_metadata=\"https://gw.example/.well-known/oauth-protected-resource/mcp\"";
    let challenge = |code, scopes: &[&str]| gateway.challenge(code, scopes);
    assert_eq!(
        challenge(RefusalCode::AuthMissing, &[]).unwrap(),
        format!("Bearer realm=\"forge-gateway\", scope=\"tools\", {metadata}")
    );
    let expired = challenge(RefusalCode::AuthExpired, &[]).unwrap();
    assert!(expired.starts_with("Bearer realm=\"forge-gateway\", error=\"invalid_token\", "));
    assert!(expired.ends_with(metadata));
    assert_eq!(
        challenge(RefusalCode::AuthScope, &["tools", "git:write", "bad\"scope"]).unwrap(),
        format!(
            "Bearer realm=\"forge-gateway\", error=\"insufficient_scope\", error_description=\"{}\", \
             scope=\"tools git:write\", {metadata}",
            RefusalCode::AuthScope.sentence()
        )
    );
    assert_eq!(challenge(RefusalCode::AuthUnavailable, &[]), None);
    assert_eq!(challenge(RefusalCode::PolicyDenied, &[]), None);
    let local = Resource::new("http://127.0.0.1:8080/mcp", Vec::new(), Vec::new()).unwrap();
    let bare = local.challenge(RefusalCode::AuthMissing, &[]).unwrap();
    assert_eq!(bare, "Bearer realm=\"forge-gateway\"");
}

#[test]
fn every_challenge_is_a_header_value_by_rfc_6750() {
    let gateway = resource("https://gw.example/mcp");
    for code in RefusalCode::ALL {
        let known = status(*code);
        assert_eq!(known.is_some(), code.code().starts_with("auth."), "{code:?}");
        let described = |byte: u8| matches!(byte, 0x20..=0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        assert!(known.is_none() || code.sentence().bytes().all(described), "{code:?}");
        if let Some(text) = gateway.challenge(*code, &["a"]) {
            assert!(http::HeaderValue::from_str(&text).is_ok(), "{text}");
        }
    }
    assert_eq!(status(RefusalCode::AuthScope), Some(403));
    assert_eq!(status(RefusalCode::AuthUnavailable), Some(503));
    assert_eq!(status(RefusalCode::AuthExpired), Some(401));
}
