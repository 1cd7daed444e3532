//! A server over HTTP: the wire is written by hand, so that every fault is possible.

use super::*;
use forge_schemas::refusal::RefusalCode;
use std::convert::Infallible;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What arrived: the head in lower case, and the body.
#[derive(Clone, Debug, Default)]
struct Seen {
    head: String,
    body: String,
}

/// A server that answers each request with the next of these raw responses, piece by piece.
struct Wire {
    url: String,
    seen: Arc<Mutex<Vec<Seen>>>,
    task: tokio::task::JoinHandle<Infallible>,
}

impl Wire {
    async fn new(responses: Vec<Vec<String>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let log = Arc::clone(&seen);
        let responses = Arc::new(Mutex::new(responses.into_iter()));
        let task = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (log, responses) = (Arc::clone(&log), Arc::clone(&responses));
                tokio::spawn(async move {
                    while let Some(request) = take(&mut stream).await {
                        log.lock().unwrap().push(request);
                        let response = responses.lock().unwrap().next();
                        let Some(response) = response else { return };
                        for piece in response {
                            if piece == HANG {
                                std::future::pending::<()>().await;
                            }
                            if piece == CLOSE {
                                return;
                            }
                            if stream.write_all(piece.as_bytes()).await.is_err() {
                                return;
                            }
                            tokio::time::sleep(Duration::from_millis(2)).await;
                        }
                    }
                });
            }
        });
        Self { url, seen, task }
    }

    fn bench(&self, limits: Limits) -> Bench {
        let mut settings = HttpSettings::new(self.url.parse().unwrap());
        settings.credential = Some(Credential::bearer("upstream-secret").unwrap());
        Bench::new(Transport::Http(settings), limits, Vec::new())
    }

    fn seen(&self, index: usize) -> Seen {
        self.seen.lock().unwrap()[index].clone()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(stream: &mut TcpStream) -> Option<Seen> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                return Some(Seen { head, body: body.to_owned() });
            }
        }
        let mut piece = [0; 4096];
        match stream.read(&mut piece).await {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            Ok(_) | Err(_) => return None,
        }
    }
}

/// Instead of a piece: say nothing more, or close the connection.
const HANG: &str = "\0hang";
const CLOSE: &str = "\0close";

fn reply(status: &str, media: &str, body: &str) -> Vec<String> {
    let length = body.len();
    vec![format!(
        "HTTP/1.1 {status}\r\ncontent-type: {media}\r\ncontent-length: {length}\r\n\r\n{body}"
    )]
}

/// A stream in chunks, ended properly if the last piece is empty.
fn stream(pieces: &[&str]) -> Vec<String> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
    let chunks = pieces.iter().map(|piece| {
        if [HANG, CLOSE].contains(piece) {
            (*piece).to_owned()
        } else {
            format!("{:x}\r\n{piece}\r\n", piece.len())
        }
    });
    std::iter::once(head.to_owned()).chain(chunks).collect()
}

fn ok(id: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "fine"}]}})
        .to_string()
}

#[tokio::test]
async fn body_is_untouched_and_only_the_gateways_credential_leaves() {
    let wire =
        Wire::new(vec![reply("200 OK", "application/json; charset=utf-8", &ok(&json!("a")))]).await;
    let bench = wire.bench(Limits::default());
    let mut out = tool(&json!("a"), "echo", &json!({}));
    let body =
        "{ \"jsonrpc\" : \"2.0\",\n \"id\":\"\\u0061\", \"method\":\"tools/call\",\"params\":{}}";
    out.body = Bytes::from_static(body.as_bytes());
    for (name, value) in [
        ("authorization", "Bearer client-token"),
        ("cookie", "a=b"),
        ("mcp-method", "tools/call"),
        ("traceparent", "00-1-2-03"),
        ("mcp-session-id", "of the client"),
    ] {
        out.headers.insert(name, value.parse().unwrap());
    }
    let incoming = bench.send(out).await.unwrap();
    assert_eq!((incoming.status, incoming.session.as_deref()), (200, None));
    assert_eq!(said(&answer(incoming).await.unwrap()), "fine");
    let Seen { head, body: sent } = wire.seen(0);
    assert_eq!(sent, body);
    assert!(head.starts_with("post /mcp http/1.1"), "{head}");
    for part in [
        "authorization: bearer upstream-secret",
        "mcp-method: tools/call",
        "traceparent: 00-1-2-03",
        "content-type: application/json",
        "accept: application/json, text/event-stream",
    ] {
        assert!(head.contains(part), "{part} not in {head}");
    }
    for part in ["client-token", "cookie", "of the client", "accept-encoding"] {
        assert!(!head.contains(part), "{part} in {head}");
    }
}

#[tokio::test]
async fn session_of_initialize_is_handed_out_and_sent_back() {
    let mut opened = reply("200 OK", "application/json", &ok(&json!("init")));
    opened[0] = opened[0].replacen(
        "\r\n",
        "\r\nMcp-Session-Id: s-1\r\nx-other: 1\r\nretry-after: 3\r\n",
        1,
    );
    let done = || vec!["HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n".to_owned()];
    let wire = Wire::new(vec![opened, done(), done()]).await;
    let bench = wire.bench(Limits::default());
    let incoming = bench.send(initialize()).await.unwrap();
    assert_eq!(incoming.session.as_deref(), Some("s-1"));
    let names: Vec<_> = incoming.headers.keys().map(|name| name.as_str().to_owned()).collect();
    assert_eq!(names, ["retry-after"]);
    let note = within("s-1", note("notifications/initialized", &json!({})));
    let incoming = bench.send(note).await.unwrap();
    assert!(matches!((incoming.status, incoming.body), (202, Body::Empty)));
    bench.one.end_session("s-1").await;
    assert!(wire.seen(1).head.contains("mcp-session-id: s-1"));
    assert!(wire.seen(2).head.starts_with("delete /mcp"));
    assert!(wire.seen(2).head.contains("mcp-session-id: s-1"));
}

#[tokio::test]
async fn stream_is_handed_on_event_by_event_with_ids_and_retry() {
    let last = format!("id: 3\nevent: message\ndata: {}\n\n", ok(&json!(1)));
    let wire = Wire::new(vec![stream(&[
        "id: 1\nretry: 500\ndata:\n\n: keep-alive\n\nid: 2\r\nda",
        "ta: {\"jsonrpc\":\"2.0\",\r\ndata: \"method\":\"notifications/message\"}\r",
        "\n\r\n",
        &last,
        "",
    ])])
    .await;
    let bench = wire.bench(Limits::default());
    let incoming = bench.send(tool(&json!(1), "echo", &json!({}))).await.unwrap();
    let Body::Events(mut events) = incoming.body else { panic!("no stream") };
    let priming = events.next().await.unwrap().unwrap();
    assert_eq!(
        (priming.id.as_deref(), priming.retry, priming.data.len()),
        (Some("1"), Some(500), 0)
    );
    let note = events.next().await.unwrap().unwrap();
    assert_eq!(
        (note.id.as_deref(), value(&note.data)["method"].as_str()),
        (Some("2"), Some("notifications/message"))
    );
    let last = events.next().await.unwrap().unwrap();
    assert_eq!((last.id.as_deref(), last.event.as_deref()), (Some("3"), Some("message")));
    assert_eq!(said(&value(&last.data)), "fine");
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn foreign_second_and_unreadable_events_are_dropped_and_counted() {
    let event = |text: &str| format!("data: {text}\n\n");
    let wire = Wire::new(vec![stream(&[
        &event(&ok(&json!(99))),
        &event("not json"),
        &event(r#"{"jsonrpc":"2.0","id":"q","method":"sampling/createMessage"}"#),
        &event(&ok(&json!(1))),
        &event(&ok(&json!(1))),
        "",
    ])])
    .await;
    let bench = wire.bench(Limits::default());
    let seen =
        messages(bench.send(tool(&json!(1), "echo", &json!({}))).await.unwrap()).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!(said(&seen[0]), "fine");
    until(|| bench.one.health().counts.answered_twice == 1).await;
    let counts = bench.one.health().counts;
    assert_eq!((counts.unknown_id, counts.garbage, counts.out_of_place), (1, 1, 1));
}

#[tokio::test]
async fn stream_without_an_answer_just_ends() {
    let wire = Wire::new(vec![stream(&["id: 7\ndata:\n\n", ""])]).await;
    let bench = wire.bench(Limits::default());
    let incoming = bench.send(tool(&json!(1), "echo", &json!({}))).await.unwrap();
    let Body::Events(mut events) = incoming.body else { panic!("no stream") };
    assert!(events.next().await.unwrap().is_ok());
    assert!(events.next().await.is_none());
}

#[tokio::test]
async fn faulty_replies_are_refused_with_their_code() {
    let json = "application/json";
    let cases: Vec<(&str, Vec<String>, RefusalCode)> = vec![
        ("another id", reply("200 OK", json, &ok(&json!(2))), RefusalCode::UpstreamInvalid),
        ("not json", reply("200 OK", json, "{"), RefusalCode::UpstreamInvalid),
        (
            "batch",
            reply("200 OK", json, &format!("[{}]", ok(&json!(1)))),
            RefusalCode::UpstreamInvalid,
        ),
        ("html", reply("200 OK", "text/html", "<p>"), RefusalCode::UpstreamInvalid),
        ("no body", reply("202 Accepted", json, ""), RefusalCode::UpstreamInvalid),
        (
            "redirect",
            vec![
                "HTTP/1.1 307 T\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n"
                    .into(),
            ],
            RefusalCode::UpstreamInvalid,
        ),
        ("credential", reply("401 Unauthorized", json, "{}"), RefusalCode::UpstreamUnavailable),
        (
            "both",
            reply("200 OK", json, r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#),
            RefusalCode::UpstreamInvalid,
        ),
        (
            "large",
            reply("200 OK", json, &format!("{:2000}", ok(&json!(1)))),
            RefusalCode::UpstreamSize,
        ),
        ("large event", stream(&[&format!("data: {:2000}", 1)]), RefusalCode::UpstreamSize),
        (
            "torn",
            vec![
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"
                    .into(),
                CLOSE.into(),
            ],
            RefusalCode::UpstreamLost,
        ),
        ("torn stream", stream(&["data: {}", CLOSE]), RefusalCode::UpstreamLost),
        ("silence", vec![HANG.to_owned()], RefusalCode::UpstreamTimeout),
        ("silent stream", stream(&[": hello\n\n", HANG]), RefusalCode::UpstreamTimeout),
        ("hang up", vec![CLOSE.into()], RefusalCode::UpstreamLost),
    ];
    for (name, response, code) in cases {
        let wire = Wire::new(vec![response]).await;
        let bench = wire.bench(Limits { message_bytes_max: 1000, ..Limits::default() });
        let out =
            Outgoing { deadline: Duration::from_secs(1), ..tool(&json!(1), "echo", &json!({})) };
        let outcome = bench.ask(out).await;
        let error = outcome.expect_err(name);
        assert_eq!((name, error.code(), error.sent()), (name, code, true), "{error:?}");
    }
}

#[tokio::test]
async fn status_and_error_body_pass_for_the_client_to_read() {
    let anonymous = r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"no session"}}"#;
    let fault =
        r#"{"jsonrpc":"2.0","id":"server-error","error":{"code":-32600,"message":"no session"}}"#;
    let wire = Wire::new(vec![
        reply("400 Bad Request", "application/json", fault),
        reply("400 Bad Request", "application/json", anonymous),
        reply("404 Not Found", "text/plain", "gone"),
        reply("405 Method Not Allowed", "application/json", "{\"detail\":\"x\"}"),
    ])
    .await;
    let bench = wire.bench(Limits::default());
    let first = bench.send(ask(&json!(1), "server/discover", &json!({}))).await.unwrap();
    assert!(matches!((first.status, first.body), (400, Body::Json(body)) if body == fault));
    let nameless = bench.send(ask(&json!(1), "server/discover", &json!({}))).await.unwrap();
    assert!(
        matches!((nameless.status, nameless.body), (400, Body::Json(body)) if body == anonymous)
    );
    let second = bench.send(tool(&json!(1), "echo", &json!({}))).await.unwrap();
    assert!(matches!((second.status, second.body), (404, Body::Empty)));
    let get = Outgoing { verb: Verb::Get, kind: MessageKind::None, ..legacy(note("", &json!({}))) };
    let third = bench.send(get).await.unwrap();
    assert!(matches!((third.status, third.body), (405, Body::Empty)));
}

#[tokio::test]
async fn get_stream_may_carry_any_message() {
    let wire = Wire::new(vec![stream(&[
        &format!("data: {}\n\n", ok(&json!(41))),
        "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\n\n",
        "",
    ])])
    .await;
    let bench = wire.bench(Limits::default());
    let mut get =
        Outgoing { verb: Verb::Get, kind: MessageKind::None, ..within("s", note("", &json!({}))) };
    get.headers.insert("last-event-id", "4".parse().unwrap());
    let seen = messages(bench.send(get).await.unwrap()).await.unwrap();
    assert_eq!(seen.len(), 2);
    let head = wire.seen(0).head;
    assert!(head.starts_with("get /mcp") && head.contains("last-event-id: 4"));
    assert!(head.contains("accept: text/event-stream") && !head.contains("content-type"));
}

#[tokio::test]
async fn legacy_server_is_told_that_nobody_waits() {
    let wire = Wire::new(vec![stream(&[": hello\n\n", HANG])]).await;
    let bench = wire.bench(Limits::default());
    let call = within("s", tool(&json!("c"), "echo", &json!({})));
    let incoming = bench.send(call).await.unwrap();
    drop(incoming);
    until(|| wire.count() == 2).await;
    let note: Value = serde_json::from_str(&wire.seen(1).body).unwrap();
    assert_eq!(
        (&note["method"], &note["params"]["requestId"]),
        (&json!("notifications/cancelled"), &json!("c"))
    );
}

#[tokio::test]
async fn circuit_opens_after_failures_and_one_call_tries_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    drop(listener);
    let settings = HttpSettings::new(url.parse().unwrap());
    let limits = Limits {
        circuit_failures: 2,
        circuit_wait: Duration::from_millis(200),
        ..Limits::default()
    };
    let bench = Bench::new(Transport::Http(settings), limits, Vec::new());
    let call = async || bench.ask(tool(&json!(1), "echo", &json!({}))).await.unwrap_err();
    assert!(matches!(call().await, UpstreamError::Connect(_)));
    assert_eq!(bench.one.health().circuit, Circuit::Closed);
    assert!(matches!(call().await, UpstreamError::Connect(_)));
    assert_eq!(bench.one.health().circuit, Circuit::Open);
    let refused = call().await;
    assert!(matches!(refused, UpstreamError::Circuit { .. }));
    assert_eq!((refused.code(), refused.sent()), (RefusalCode::UpstreamUnavailable, false));
    assert!(refused.retry().is_some());
    until(|| bench.one.health().circuit == Circuit::HalfOpen).await;
    assert!(matches!(call().await, UpstreamError::Connect(_)));
    assert_eq!(bench.one.health().circuit, Circuit::Open);
}
