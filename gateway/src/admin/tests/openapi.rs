//! The description is that of the router.

use std::collections::BTreeSet;

use super::world::World;
use crate::admin::{Endpoint, openapi};

const GOLDEN: &str = include_str!("../../../../schemas/openapi.json");

#[test]
fn the_golden_document_is_the_generated_one() {
    let mut fresh = serde_json::to_string_pretty(&openapi::document()).unwrap();
    fresh.push('\n');
    let path = std::env::temp_dir().join("forge-openapi.json");
    if fresh != GOLDEN {
        std::fs::write(&path, &fresh).unwrap();
        panic!("review {} and copy it over schemas/openapi.json", path.display());
    }
}

#[test]
fn every_reference_leads_somewhere() {
    let document = openapi::document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer}");
    }
    assert!(text.contains("\"$ref\""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_route_is_described_and_everything_described_is_a_route() {
    let document: serde_json::Value = serde_json::from_str(GOLDEN).unwrap();
    let mut described = BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for method in item.as_object().unwrap().keys() {
            described.insert((method.to_ascii_uppercase(), path.clone()));
        }
    }
    let mut routed: BTreeSet<(String, String)> = Endpoint::ALL
        .into_iter()
        .map(|endpoint| (endpoint.method().to_owned(), endpoint.path().to_owned()))
        .collect();
    assert_eq!(routed.len(), Endpoint::ALL.len());
    routed.extend(openapi::OPEN.map(|(path, ..)| ("GET".to_owned(), path.to_owned())));
    assert_eq!(described, routed);

    let world = World::new().await;
    for (method, path) in &described {
        let reply = world.send(method, &path.replace("{id}", "ap_1"), &[], "").await;
        let wanted = if path.starts_with("/api/") { 401 } else { 200 };
        assert_eq!(reply.status, wanted, "{method} {path}");
    }
    let token = world.token("vera", &["viewer"]);
    assert_eq!(world.get("/api/v1/openapi.json", &token).await.text, GOLDEN);
}
