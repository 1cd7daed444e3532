//! Envelope, eras and headers, as tables.

use bytes::Bytes;
use forge_schemas::refusal::RefusalCode as C;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::envelope::{Kind, Message};
use super::headers::{self, Era, MirroredParam};
use super::strict::{self, StrictError};

fn nested(depth: usize) -> String {
    format!("{}1{}", "[".repeat(depth), "]".repeat(depth))
}

#[test]
fn strict_reading_refuses_what_two_readers_may_read_in_two_ways() {
    let many: String = (0..40).map(|n| format!(r#""k{n}":{n},"#)).collect();
    let cases: Vec<(String, Option<StrictError>)> = vec![
        (r#"{"a":1,"b":[{"a":2}]}"#.to_owned(), None),
        (r#"{"a":1,"a":2}"#.to_owned(), Some(StrictError::DuplicateKey)),
        (r#"{"a":1,"\u0061":2}"#.to_owned(), Some(StrictError::DuplicateKey)),
        (r#"{"x":{"y":[{"z":0,"z":0}]}}"#.to_owned(), Some(StrictError::DuplicateKey)),
        (format!(r#"{{{many}"k7":0}}"#), Some(StrictError::DuplicateKey)),
        (format!(r#"{{{many}"other":0}}"#), None),
        (nested(8), None),
        (nested(9), Some(StrictError::Depth)),
        (nested(100_000), Some(StrictError::Depth)),
        ("{} {}".to_owned(), Some(StrictError::Syntax)),
        ("{".to_owned(), Some(StrictError::Syntax)),
        ("NaN".to_owned(), Some(StrictError::Syntax)),
        (r#""\ud800""#.to_owned(), Some(StrictError::Syntax)),
    ];
    for (text, expected) in cases {
        let shown: String = text.chars().take(60).collect();
        assert_eq!(strict::check(text.as_bytes(), 8).err(), expected, "{shown}");
    }
    assert_eq!(strict::check(b"\"\xff\"", 8), Err(StrictError::Syntax));
}

fn parse(text: &str) -> Result<Message, C> {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), 64).map_err(|fault| fault.code)
}

#[test]
fn only_one_message_of_a_known_shape_is_read() {
    let cases: &[(&str, Result<Kind, C>)] = &[
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, Ok(Kind::Request)),
        (r#"{"jsonrpc":"2.0","id":"a","method":"ping","params":{}}"#, Ok(Kind::Request)),
        (r#"{"jsonrpc":"2.0","id":-5,"method":"ping"}"#, Ok(Kind::Request)),
        (r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#, Ok(Kind::Notification)),
        (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, Ok(Kind::Response)),
        (r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}"#, Ok(Kind::Response)),
        (r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#, Err(C::ProtocolBatch)),
        (" [ ]", Err(C::ProtocolBatch)),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, Err(C::ProtocolId)),
        (r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#, Err(C::ProtocolId)),
        (r#"{"jsonrpc":"2.0","id":1e2,"method":"ping"}"#, Err(C::ProtocolId)),
        (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, Err(C::ProtocolId)),
        (r#"{"jsonrpc":"2.0","id":[1],"method":"ping"}"#, Err(C::ProtocolId)),
        (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, Err(C::ProtocolId)),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, Err(C::ProtocolRequest)),
        (r#"{"id":1,"method":"ping"}"#, Err(C::ProtocolRequest)),
        (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, Err(C::ProtocolRequest)),
        (r#"{"jsonrpc":"2.0","id":1}"#, Err(C::ProtocolRequest)),
        (r#"{"jsonrpc":"2.0"}"#, Err(C::ProtocolRequest)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#, Err(C::ProtocolRequest)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#, Err(C::ProtocolRequest)),
        (r#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#, Err(C::ProtocolRequest)),
        (r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#, Err(C::ProtocolRequest)),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#,
            Err(C::ProtocolRequest),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#, Err(C::ProtocolDuplicateKey)),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"x":1,"x":2}}}"#,
            Err(C::ProtocolDuplicateKey),
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"} x"#, Err(C::ProtocolJson)),
        ("", Err(C::ProtocolJson)),
    ];
    for (text, expected) in cases {
        assert_eq!(&parse(text).map(|message| message.kind()), expected, "{text}");
    }
}

#[test]
fn splicing_changes_the_span_alone() {
    let text = r#"{ "jsonrpc":"2.0", "id" : 1,"method":"tools/call", "params":{"name":"a","arguments": {"n":1e2} ,"x":0}, "extra":[1.0] }"#;
    let message = parse(text).unwrap();
    let arguments = message.facts().arguments.clone().unwrap();
    assert_eq!(arguments, r#"{"n":1e2}"#);
    let spliced = message.splice(&arguments, b"{}").unwrap();
    assert_eq!(spliced, text.replace(r#"{"n":1e2}"#, "{}"));
    let foreign = Bytes::from_static(b"{}");
    assert_eq!(message.splice(&foreign, b""), None);
}

fn headers_of(pairs: &[(&str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
    }
    map
}

const MODERN_CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"é","_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}"#;

#[test]
fn headers_have_to_say_what_the_body_says() {
    let version = ("mcp-protocol-version", "2026-07-28");
    let method = ("mcp-method", "tools/call");
    let name = ("mcp-name", "=?base64?w6k=?=");
    let bare = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    type Pairs<'a> = &'a [(&'a str, &'a str)];
    let cases: &[(Pairs<'_>, &str, Result<Era, C>)] = &[
        (&[], bare, Ok(Era::Legacy)),
        (&[("mcp-protocol-version", "2025-06-18")], bare, Ok(Era::Legacy)),
        (&[("mcp-protocol-version", "1900-01-01")], bare, Err(C::ProtocolVersion)),
        (&[version, method, name], MODERN_CALL, Ok(Era::Modern)),
        (&[method, name], MODERN_CALL, Err(C::ProtocolHeader)),
        (&[version, name], MODERN_CALL, Err(C::ProtocolHeader)),
        (&[version, method], MODERN_CALL, Err(C::ProtocolHeader)),
        (&[version, method, ("mcp-name", "other")], MODERN_CALL, Err(C::ProtocolHeader)),
        (&[version, method, ("mcp-name", "=?base64?!?=")], MODERN_CALL, Err(C::ProtocolHeader)),
        (&[version, ("mcp-method", "tools/list"), name], MODERN_CALL, Err(C::ProtocolHeader)),
        (&[version, version, method, name], MODERN_CALL, Err(C::ProtocolHeader)),
        (
            &[("mcp-protocol-version", "2025-11-25"), method, name],
            MODERN_CALL,
            Err(C::ProtocolHeader),
        ),
        (&[version, ("mcp-method", "tools/list")], bare, Err(C::ProtocolMeta)),
    ];
    for (pairs, body, expected) in cases {
        let found =
            headers::verify(&headers_of(pairs), &parse(body).unwrap()).map_err(|fault| fault.code);
        assert_eq!(&found, expected, "{pairs:?}");
    }
}

#[test]
fn mirrored_arguments_are_compared_by_value() {
    let schema = json!({"properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "n": {"type": "integer", "x-mcp-header": "N"},
        "deep": {"properties": {"flag": {"type": "boolean", "x-mcp-header": "Flag"}}},
        "list": {"items": {"properties": {"no": {"x-mcp-header": "No"}}}},
    }});
    let params = headers::mirrored_params(&schema);
    let names: Vec<&str> = params.iter().map(|param| param.header.as_str()).collect();
    assert_eq!(names, ["flag", "n", "region"]);
    let all = [("mcp-param-region", "eu"), ("mcp-param-n", "042"), ("mcp-param-flag", "true")];
    let arguments = json!({"region": "eu", "n": 42, "deep": {"flag": true}});
    let check = |pairs: &[(&str, &str)], arguments: &Value, params: &[MirroredParam]| {
        headers::verify_params(&headers_of(pairs), params, arguments).is_ok()
    };
    assert!(check(&all, &arguments, &params));
    assert!(!check(&all[..2], &arguments, &params));
    assert!(!check(&[("mcp-param-region", "us"), all[1], all[2]], &arguments, &params));
    assert!(check(&[], &json!({}), &params));
    assert!(!check(&all, &json!({}), &params));
    assert!(!check(&[("mcp-param-n", "42")], &json!({"n": "42x"}), &params[1..2]));
}

#[test]
fn nothing_that_identifies_the_client_travels_on() {
    let headers = headers_of(&[
        ("authorization", "Bearer x"),
        ("cookie", "a=b"),
        ("origin", "https://a"),
        ("host", "h"),
        ("x-forwarded-for", "1.2.3.4"),
        ("mcp-session-id", "sealed"),
        ("mcp-method", "ping"),
        ("mcp-param-a", "1"),
        ("last-event-id", "7"),
    ]);
    let forwarded = headers::forwarded(&headers);
    let mut names: Vec<&str> = forwarded.keys().map(HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["last-event-id"]);
}
