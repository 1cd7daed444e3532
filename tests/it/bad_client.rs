//! What clients send that they should not: each gets a stable code and leaves a record, and
//! everybody else's calls go on.

use forge_tests::client::{LEGACY, MODERN, Modern};
use forge_tests::gateway::{Gateway, Setup, eventually};
use forge_tests::http::{Answer, raw, send};
use forge_tests::process::Folder;
use http::Method;
use serde_json::{Value, json};

use crate::line::{lines, with_toy};

struct Scene {
    gateway: Gateway,
    ledger: Folder,
    client: Modern,
    token: String,
}

async fn scene() -> Scene {
    let (gateway, ledger) = with_toy().await;
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    Scene { gateway, ledger, client, token }
}

/// The refusal code, wherever it stands.
fn code(answer: &Answer) -> String {
    let Ok(message) = answer.message() else { return format!("no message: {}", answer.text()) };
    let data = message.pointer("/error/data").or_else(|| message.pointer("/data"));
    let data = data.or_else(|| message.pointer("/result/_meta/dev.forge~1refusal"));
    let code = data.map_or(&message["code"], |data| &data["code"]);
    code.as_str().map_or_else(|| message.to_string(), str::to_owned)
}

impl Scene {
    /// Sends a body under the headers of a good call of `append`.
    async fn send(&self, body: &[u8]) -> Answer {
        let good = self.good();
        let headers = self.client.headers(&good);
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        send(Method::POST, &self.client.url, &headers, body.to_vec()).await.unwrap()
    }

    fn good(&self) -> Value {
        self.client.body("tools/call", json!({"name": "append", "arguments": {"text": "bad"}}))
    }

    /// Checks the code, that somebody else's call goes on, and that nothing reached the tool.
    async fn check(&self, what: &str, answer: &Answer, expected: &str) {
        assert_eq!(code(answer), expected, "{what}: {} {}", answer.status, answer.text());
        assert!(!answer.status.is_server_error(), "{what}: {}", answer.status);
        assert!(answer.text().len() > 60, "{what}: a sentence says what to do: {}", answer.text());
        let other = self.client.call("echo", json!({"text": what})).await.unwrap();
        assert_eq!(other.text(), what, "another call goes on: {}", other.message);
        assert!(lines(&self.ledger).is_empty(), "{what} reached the tool");
    }

    async fn refused_records(&self, code: &str) -> usize {
        let records = self.gateway.records().await.unwrap();
        records.iter().filter(|record| record.to_string().contains(&format!("\"{code}\""))).count()
    }
}

/// A good call with a piece of its text replaced.
fn changed(good: &Value, from: &str, to: &str) -> Vec<u8> {
    let text = good.to_string();
    assert!(text.contains(from), "{from} is not in {text}");
    text.replacen(from, to, 1).into_bytes()
}

#[tokio::test]
async fn malformed_messages_are_refused_with_a_code_and_a_record() {
    let scene = scene().await;
    let good = scene.good();
    let deep = format!("\"text\":{}1{}", "[".repeat(100), "]".repeat(100));
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a batch", format!("[{good}]").into_bytes(), "protocol.batch"),
        ("an empty batch", b"[]".to_vec(), "protocol.batch"),
        (
            "a key twice in the envelope",
            changed(&good, "\"jsonrpc\":\"2.0\"", "\"jsonrpc\":\"2.0\",\"jsonrpc\":\"2.0\""),
            "protocol.duplicate_key",
        ),
        (
            "a key twice in params",
            changed(&good, "\"name\":\"append\"", "\"name\":\"append\",\"name\":\"echo\""),
            "protocol.duplicate_key",
        ),
        (
            "a key twice, once escaped",
            changed(&good, "\"name\":\"append\"", "\"name\":\"append\",\"n\\u0061me\":\"echo\""),
            "protocol.duplicate_key",
        ),
        (
            "a key twice in _meta",
            changed(&good, "\"_meta\":{", "\"_meta\":{\"x\":1,\"x\":2,"),
            "protocol.duplicate_key",
        ),
        (
            "a key twice in the arguments",
            changed(&good, "\"text\":\"bad\"", "\"text\":\"bad\",\"text\":\"worse\""),
            "protocol.duplicate_key",
        ),
        (
            "a key twice deep in the arguments",
            changed(
                &good,
                "\"text\":\"bad\"",
                "\"text\":\"bad\",\"a\":[{\"b\":{\"c\":1,\"c\":2}}]",
            ),
            "protocol.duplicate_key",
        ),
        ("nested too deeply", changed(&good, "\"text\":\"bad\"", &deep), "protocol.too_deep"),
        (
            "invalid UTF-8",
            {
                let mut bytes = good.to_string().into_bytes();
                let at = bytes.windows(3).position(|window| window == b"bad").unwrap();
                bytes[at] = 0xff;
                bytes
            },
            "protocol.invalid_json",
        ),
        ("half a message", good.to_string().into_bytes()[..40].to_vec(), "protocol.invalid_json"),
        ("nothing", Vec::new(), "protocol.invalid_json"),
        ("something after the end", format!("{good} {good}").into_bytes(), "protocol.invalid_json"),
        ("a lone surrogate", changed(&good, "\"bad\"", "\"\\ud800\""), "protocol.invalid_json"),
        ("a number that JSON has not", changed(&good, "\"bad\"", "NaN"), "protocol.invalid_json"),
    ];
    for (what, body, expected) in cases {
        let answer = scene.send(&body).await;
        scene.check(what, &answer, expected).await;
        assert!(scene.refused_records(expected).await > 0, "{what} left no record");
    }
}

#[tokio::test]
async fn ids_are_strings_or_integers() {
    let scene = scene().await;
    let mut good = scene.good();
    good["id"] = json!("the-id");
    for id in ["1.5", "1e2", "true", "[]", "{}", "[1]"] {
        let answer = scene.send(&changed(&good, "\"the-id\"", id)).await;
        scene.check(id, &answer, "protocol.invalid_id").await;
    }
    for id in ["\"\"", "0", "-1", "9007199254740993", "\"a b\""] {
        let body = changed(&good, "\"the-id\"", id);
        let body = String::from_utf8(body).unwrap().replace("append", "echo").replace("bad", "ok");
        let mut headers = scene.client.headers(&good);
        headers.retain(|(name, _)| name != "mcp-name");
        headers.push(("mcp-name".to_owned(), "echo".to_owned()));
        let answer = scene.client.post(&headers, &body).await.unwrap();
        assert_eq!(answer.status, 200, "{id}: {}", answer.text());
        assert!(answer.text().contains(&format!("\"id\":{id}")), "{id}: {}", answer.text());
    }
}

#[tokio::test]
async fn headers_that_contradict_the_body_are_refused() {
    let scene = scene().await;
    let good = scene.good();
    let cases = [
        ("mcp-name", Some("echo")),
        ("mcp-name", None),
        ("mcp-method", Some("tools/list")),
        ("mcp-method", None),
        ("mcp-protocol-version", Some(LEGACY)),
        ("mcp-name", Some("=?base64?ZWNobw==?=")),
        ("mcp-name", Some("=?base64?!?=")),
    ];
    for (name, value) in cases {
        let mut headers = scene.client.headers(&good);
        headers.retain(|(header, _)| header != name);
        headers.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        let answer = scene.client.post(&headers, &good.to_string()).await.unwrap();
        assert_eq!(answer.status, 400, "{name} {value:?}: {}", answer.text());
        let error = answer.json().unwrap();
        assert_eq!(error["error"]["code"], -32020, "{name} {value:?}: {error}");
        scene.check(name, &answer, "protocol.header_mismatch").await;
    }
    let encoded = [("mcp-name".to_owned(), "=?base64?ZWNobw==?=".to_owned())];
    let body = scene.client.body("tools/call", json!({"name": "echo", "arguments": {"text": "a"}}));
    let mut headers = scene.client.headers(&body);
    headers.retain(|(name, _)| name != "mcp-name");
    headers.extend(encoded);
    let answer = scene.client.post(&headers, &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 200, "an encoded name is a name: {}", answer.text());
}

#[tokio::test]
async fn a_method_that_no_rule_names_is_refused() {
    let ledger = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&ledger.join("ledger")).unwrap().with_rule(
        "allow if count(input.subject.properties.roles) > 0",
        "allow if input.action.name in {\"tools/call\", \"tools/list\", \"server/discover\"}",
    );
    let gateway = Gateway::start(&setup).await.unwrap();
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let scene = Scene { gateway, ledger, client, token };
    let body = scene.client.body("tools/obliterate", json!({}));
    let answer = scene.client.post(&scene.client.headers(&body), &body.to_string()).await.unwrap();
    let seen = code(&answer);
    let codes = ["policy.denied", "protocol.unknown_method"];
    assert!(codes.contains(&seen.as_str()), "{} {}", answer.status, answer.text());
    scene.check("an unknown method", &answer, &seen).await;
    assert!(scene.refused_records(&seen).await > 0);
}

#[tokio::test]
async fn unknown_versions_are_refused() {
    let scene = scene().await;
    let mut body = scene.good();
    body["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2099-01-01");
    let mut headers = scene.client.headers(&body);
    headers.retain(|(name, _)| name != "mcp-protocol-version");
    headers.push(("mcp-protocol-version".to_owned(), "2099-01-01".to_owned()));
    let answer = scene.client.post(&headers, &body.to_string()).await.unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    let error = answer.json().unwrap();
    assert_eq!(error["error"]["code"], -32022, "{error}");
    assert!(error["error"]["data"]["supported"].to_string().contains(MODERN), "{error}");
    scene.check("an unknown version", &answer, "protocol.unsupported_version").await;
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_before_it_is_read() {
    let ledger = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&ledger.join("ledger")).unwrap();
    let gateway = Gateway::start(&setup.with("\n[limits]\nbody_bytes = 65536\n")).await.unwrap();
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let scene = Scene { gateway, ledger, client, token };
    let big = changed(&scene.good(), "bad", &"x".repeat(70_000));
    let answer = scene.send(&big).await;
    assert_eq!(answer.status, 413, "{}", answer.text());
    scene.check("a big body", &answer, "limit.body_bytes").await;
    assert!(scene.refused_records("limit.body_bytes").await > 0);
}

#[tokio::test]
async fn a_body_that_does_not_arrive_is_given_up() {
    let ledger = Folder::new("ledger").unwrap();
    let setup = Setup::default().with_toy(&ledger.join("ledger")).unwrap();
    let gateway = Gateway::start(&setup.with("\n[limits]\nbody_ms = 300\n")).await.unwrap();
    let token = gateway.token("alice", &["developer"]).await.unwrap();
    let client = gateway.modern("toy", &token);
    let scene = Scene { gateway, ledger, client, token };
    let head = format!(
        "POST /mcp/toy HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\naccept: application/json, text/event-stream\r\n\
         connection: close\r\ncontent-length: 1000\r\n\r\n{{\"jsonrpc\":",
        scene.token
    );
    let said = raw(&scene.client.url, head.as_bytes()).await.unwrap();
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(said.contains("limit.body_time"), "{said}");
    let other = scene.client.call("echo", json!({"text": "on"})).await.unwrap();
    assert_eq!(other.text(), "on");
    eventually("a record", || async {
        Ok((scene.refused_records("limit.body_time").await > 0).then_some(()))
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn foreign_hosts_and_origins_are_refused() {
    let scene = scene().await;
    let good = scene.good();
    for (name, value) in [("host", "evil.example"), ("origin", "http://evil.example")] {
        let mut headers = scene.client.headers(&good);
        headers.push((name.to_owned(), value.to_owned()));
        let answer = scene.client.post(&headers, &good.to_string()).await.unwrap();
        assert_eq!(answer.status, 403, "{name}: {}", answer.text());
        scene.check(name, &answer, "protocol.origin_not_allowed").await;
    }
}

#[tokio::test]
async fn sessions_that_do_not_exist_are_not_found_and_belong_to_one_principal() {
    let scene = scene().await;
    let mut alice = scene.gateway.legacy("toy", &scene.token).await.unwrap();
    let bob = scene.gateway.token("bob", &["developer"]).await.unwrap();
    let mut thief = scene.gateway.legacy("toy", &bob).await.unwrap();
    let body = alice.request_body("tools/list", json!({}));

    let own = std::mem::replace(&mut thief.session, alice.session.clone());
    assert_eq!(thief.post(&body).await.unwrap().status, 404, "somebody else's session");
    thief.session = own;
    assert_eq!(alice.post(&body).await.unwrap().status, 200);

    let real = alice.session.replace("no-such-session".to_owned());
    assert_eq!(alice.post(&body).await.unwrap().status, 404, "no such session");
    alice.session = real;
    assert!(alice.close().await.unwrap().status.is_success());
    assert_eq!(alice.post(&body).await.unwrap().status, 404, "a session that was closed");
    let other = scene.client.call("echo", json!({"text": "on"})).await.unwrap();
    assert_eq!(other.text(), "on");
}

#[tokio::test]
async fn an_unknown_server_does_not_exist() {
    let scene = scene().await;
    let client = scene.gateway.modern("nowhere", &scene.token);
    let body = client.body("tools/list", json!({}));
    let answer = client.post(&client.headers(&body), &body.to_string()).await.unwrap();
    assert_eq!(code(&answer), "upstream.unknown_server", "{} {}", answer.status, answer.text());
}
