//! The harness on its own: what the other tests take for granted, checked without a gateway.

use forge_tests::client::{Legacy, Modern};
use forge_tests::http::events;
use forge_tests::issuer::Issuer;
use forge_tests::process::{Folder, Process, program};
use forge_tests::toy::GITHUB_TOKEN;
use serde_json::json;
use tokio::process::Command;

use crate::line::{lines, toy_over_http};

#[tokio::test]
async fn clients_of_both_eras_call_the_toy_server() {
    let (toy, folder) = toy_over_http().await;
    let url = toy.ready["url"].as_str().unwrap();
    let legacy = Legacy::connect(url, None).await.unwrap();
    assert_eq!(legacy.call("append", json!({"text": "one"})).await.unwrap().text(), "line 1");
    let modern = Modern::new(url, None);
    assert_eq!(modern.call("append", json!({"text": "two"})).await.unwrap().text(), "line 2");
    assert!(modern.call("leak", json!({})).await.unwrap().text().contains(GITHUB_TOKEN));
    assert_eq!(modern.call("twice", json!({})).await.unwrap().text(), "second");
    assert!(modern.call("garbage", json!({})).await.is_err());
    assert!(modern.call("die", json!({})).await.is_err());
    assert_eq!(lines(&folder), ["one", "two"]);
}

#[tokio::test]
async fn clients_of_both_eras_call_the_fixture() {
    let folder = Folder::new("fixture").unwrap();
    let command = Command::new(program("fixture").unwrap());
    let fixture = Process::start(command, &folder.join("stderr.log")).await.unwrap();
    let url = fixture.ready["url"].as_str().unwrap();
    let legacy = Legacy::connect(url, None).await.unwrap();
    assert!(legacy.session.is_some());
    let greeted = legacy.call("greet", json!({"name": "you"})).await.unwrap();
    assert_eq!(greeted.text(), "Hello, you!");
    let greeted = Modern::new(url, None).call("greet", json!({"name": "you"})).await.unwrap();
    assert_eq!(greeted.text(), "Hello, you!");
}

#[tokio::test]
async fn a_process_dies_with_its_handle() {
    let (toy, _folder) = toy_over_http().await;
    let pid = toy.pid();
    assert!(!toy.group_members().is_empty());
    drop(toy);
    forge_tests::gateway::eventually("its end", || async move {
        Ok(forge_tests::process::group_members(pid).is_empty().then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn the_issuer_publishes_what_it_signs_with() {
    let issuer = Issuer::start().await.unwrap();
    let url = format!("{}/jwks", issuer.url);
    let answer = forge_tests::http::send(http::Method::GET, &url, &[], "").await.unwrap();
    assert_eq!(answer.json().unwrap()["keys"][0]["kid"], "first");
    assert_eq!(issuer.fetches(), 1);
    assert_eq!(issuer.token("alice", "x").split('.').count(), 3);
}

#[test]
fn events_are_read_as_the_standard_says() {
    let text = ": comment\n\nid: 1\ndata:\n\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\n";
    let read = events(text);
    assert_eq!(read.len(), 2);
    assert_eq!((read[0].id.as_deref(), read[0].data.as_str()), (Some("1"), ""));
    assert_eq!(read[1].data, "{\"a\":\n1}");
}
