//! The routing table and the line reader, without a process.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio_util::sync::CancellationToken;

use super::lines::{Line, Lines};
use super::routes::{Delivery, Inbox, Routes};
use crate::upstream::health::Counters;
use crate::upstream::message::{Era, MessageKind, Outgoing, Verb};
use crate::upstream::settings::Limits;

struct Table {
    routes: Routes,
    counters: Arc<Counters>,
}

impl Table {
    fn new(era: Era) -> Self {
        let counters = Arc::new(Counters::default());
        let limits =
            Limits { message_bytes_max: 1000, backlog_bytes_max: 300, ..Limits::default() };
        Self { routes: Routes::new(era, limits, Arc::clone(&counters)), counters }
    }

    fn open(&mut self, id: &Value, method: &str) -> (u64, Inbox) {
        let body = json!({"jsonrpc": "2.0", "id": id, "method": method,
            "params": {"_meta": {"progressToken": "tok"}}});
        let client = Bytes::from(id.to_string());
        let out = Outgoing {
            verb: Verb::Post,
            era: Era::Legacy,
            kind: MessageKind::Request { id: client.clone() },
            method: method.to_owned(),
            body: body.to_string().into(),
            headers: http::HeaderMap::new(),
            session: None,
            principal: String::new(),
            deadline: std::time::Duration::ZERO,
            cancel: CancellationToken::new(),
        };
        let opened = self.routes.open(&out, &client).unwrap();
        (opened.id, opened.inbox)
    }

    fn hear(&mut self, message: &Value) {
        self.routes.receive(&message.to_string().into());
    }
}

async fn next(inbox: &mut Inbox) -> Result<Value, String> {
    match inbox.next().await.unwrap() {
        Delivery::Message { data, .. } => Ok(serde_json::from_slice(&data).unwrap()),
        Delivery::Failed(error) => Err(error.code().code().to_owned()),
    }
}

#[tokio::test]
async fn same_client_id_twice_gets_each_its_own_answer() {
    let mut table = Table::new(Era::Modern);
    let (one, mut first) = table.open(&json!(1), "tools/call");
    let (two, mut second) = table.open(&json!(1), "tools/call");
    table.hear(&json!({"jsonrpc": "2.0", "id": two, "result": {"n": 2}}));
    table.hear(&json!({"jsonrpc": "2.0", "id": one, "result": {"n": 1}}));
    assert_eq!(
        next(&mut first).await.unwrap(),
        json!({"jsonrpc": "2.0", "id": 1, "result": {"n": 1}})
    );
    assert_eq!(next(&mut second).await.unwrap()["result"]["n"], 2);
}

#[tokio::test]
async fn progress_of_a_legacy_task_goes_on_after_the_answer() {
    let mut table = Table::new(Era::Legacy);
    let (id, mut inbox) = table.open(&json!("a"), "tools/call");
    table.hear(&json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    assert_eq!(next(&mut inbox).await.unwrap()["id"], "a");
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": id, "progress": 1}});
    table.hear(&progress);
    let (_, mut stream) = table.routes.open_stream().unwrap();
    assert_eq!(next(&mut stream).await.unwrap()["params"]["progressToken"], "tok");
}

#[tokio::test]
async fn handshake_takes_nothing_but_its_answer() {
    let mut table = Table::new(Era::Legacy);
    let (id, mut inbox) = table.open(&json!("init"), "initialize");
    table.hear(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}));
    table.hear(&json!({"jsonrpc": "2.0", "id": 7, "method": "ping"}));
    table.hear(&json!({"jsonrpc": "2.0", "id": id, "result": {}}));
    assert_eq!(next(&mut inbox).await.unwrap()["id"], "init");
    let (_, mut stream) = table.routes.open_stream().unwrap();
    assert_eq!(next(&mut stream).await.unwrap()["method"], "notifications/message");
    assert_eq!(next(&mut stream).await.unwrap()["method"], "ping");
}

#[tokio::test]
async fn long_answer_among_several_fails_the_one_it_names() {
    for ends in [
        |id: u64| (format!(r#"{{"jsonrpc": "2.0", "id": {id}, "result": {{"x": ""#), String::new()),
        |id: u64| {
            (
                r#"{"result":{"id":9,"x":""#.to_owned(),
                format!(r#"zz"}},"jsonrpc":"2.0","id":{id}}}"#),
            )
        },
    ] {
        let mut table = Table::new(Era::Modern);
        let (_, mut other) = table.open(&json!("other"), "tools/call");
        let (id, mut inbox) = table.open(&json!("long"), "tools/call");
        let (head, tail) = ends(id);
        table.routes.too_large(head.as_bytes(), tail.as_bytes());
        assert_eq!(next(&mut inbox).await.unwrap_err(), "upstream.too_large");
        table.routes.die();
        assert_eq!(next(&mut other).await.unwrap_err(), "upstream.lost");
    }
}

#[tokio::test]
async fn queue_for_an_absent_stream_keeps_the_newest() {
    let mut table = Table::new(Era::Legacy);
    for number in 0..10 {
        table
            .hear(&json!({"jsonrpc": "2.0", "method": "notifications/x", "params": {"n": number}}));
    }
    let (first, mut stream) = table.routes.open_stream().unwrap();
    let dropped = table.counters.read().dropped;
    assert!((1..10).contains(&dropped));
    assert_eq!(next(&mut stream).await.unwrap()["params"]["n"], dropped);
    let (_, mut second) = table.routes.open_stream().unwrap();
    table.routes.close_stream(first);
    table.hear(&json!({"jsonrpc": "2.0", "method": "notifications/y"}));
    assert_eq!(next(&mut second).await.unwrap()["method"], "notifications/y");
}

#[tokio::test]
async fn lines_are_cut_wherever_the_pieces_end_and_long_ones_are_not_kept() {
    let long = "x".repeat(5000);
    let text = format!("one\r\n\n{long}tail\ntwo\nnever ended");
    for size in [1, 7, 4096, 100_000] {
        let (mut writer, reader) = tokio::io::duplex(size);
        let bytes = text.clone().into_bytes();
        let writing = tokio::spawn(async move { writer.write_all(&bytes).await });
        let mut lines = Lines::new(reader, 1000);
        let mut seen = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            seen.push(match line {
                Line::Whole(line) => String::from_utf8(line.to_vec()).unwrap(),
                Line::TooLong { head, tail } => {
                    assert!(head.len() <= 256 && tail.len() <= 256);
                    assert!(head.starts_with(b"xxx") && tail.ends_with(b"tail"));
                    "long".to_owned()
                }
            });
        }
        writing.await.unwrap().unwrap();
        assert_eq!(seen, ["one", "", "long", "two"], "pieces of {size}");
    }
}
