//! The parts without I/O.

use super::super::span::{Message, same_id, splice};
use super::super::sse::Parser;
use super::*;

fn parse(pieces: &[&[u8]]) -> Vec<SseEvent> {
    let mut parser = Parser::new(10_000);
    let mut events = Vec::new();
    for piece in pieces {
        parser.push(piece, &mut events).unwrap();
    }
    events
}

fn event(id: Option<&str>, event: Option<&str>, retry: Option<u64>, data: &str) -> SseEvent {
    let owned = |text: Option<&str>| text.map(str::to_owned);
    SseEvent { id: owned(id), event: owned(event), retry, data: data.to_owned().into() }
}

#[test]
fn events_are_read_as_the_standard_says() {
    let check =
        |text: &str, wanted: &[SseEvent]| assert_eq!(parse(&[text.as_bytes()]), wanted, "{text:?}");
    check("data: a\n\n", &[event(None, None, None, "a")]);
    check("data:a\ndata:  b\ndata\n\n", &[event(None, None, None, "a\n b\n")]);
    check(
        "\u{feff}data: a\r\rdata: b\r\n\r\n",
        &[event(None, None, None, "a"), event(None, None, None, "b")],
    );
    check(": comment\n\n:\n\nevent: x\n\n", &[]);
    check("event: x\nid: 1\nretry: 20\ndata: a\n\n", &[event(Some("1"), Some("x"), Some(20), "a")]);
    check(
        "id: 1\n\nretry: 20\n\n",
        &[event(Some("1"), None, None, ""), event(None, None, Some(20), "")],
    );
    check("retry: soon\nid: a\0b\nother: 1\ndata: a\n\n", &[event(None, None, None, "a")]);
    check("data: never ended\n", &[]);
}

#[test]
fn any_way_to_cut_a_stream_gives_the_same_events() {
    let text = "\u{feff}: hi\r\nid: 1\r\ndata: {\"a\":\r\ndata: \"ü\"}\r\n\r\nevent: x\rdata: 2\r\rretry: 7\ndata:\n\n\r\ndata: 3\n\r\n";
    let bytes = text.as_bytes();
    let whole = parse(&[bytes]);
    assert_eq!(whole.len(), 4);
    for first in 0..=bytes.len() {
        for second in first..=bytes.len() {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(parse(&pieces), whole, "cut at {first} and {second}");
        }
    }
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(parse(&single), whole);
}

#[test]
fn event_over_the_limit_is_refused_however_it_is_cut() {
    for lines in ["data: 0123456789", "data: 012\ndata: 345\ndata: 6789"] {
        for size in 1..lines.len() {
            let mut parser = Parser::new(12);
            let mut events: Vec<SseEvent> = Vec::new();
            let refused =
                lines.as_bytes().chunks(size).any(|piece| parser.push(piece, &mut events).is_err());
            assert!(refused && events.is_empty());
        }
    }
}

#[test]
fn only_one_message_parses() {
    for (text, is) in [
        (r#"{"jsonrpc":"2.0","id":1,"result":null}"#, true),
        (r#" {"jsonrpc":"2.0","method":"x"} "#, true),
        (r#"{"jsonrpc":"2.0","id":1}"#, true),
        (r#"{"jsonrpc":"2.0"}"#, false),
        (r#"{"jsonrpc":"1.0","id":1,"result":{}}"#, false),
        (r#"{"id":1,"result":{}}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"\u0069d":2,"result":{}}"#, false),
        (r#"["2.0",1,"x",{},{},{}]"#, false),
        (r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#, false),
        (r#"{"jsonrpc":"2.0","id":1,"result":{}}{}"#, false),
        ("", false),
        ("null", false),
    ] {
        assert_eq!(Message::parse(text.as_bytes()).is_ok(), is, "{text}");
    }
    assert!(Message::parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"y\":\"\xff\"}").is_err());
}

#[test]
fn spans_are_replaced_and_the_rest_is_copied() {
    let text = r#"{"a" : 1.0, "id" :"x\"y" ,"jsonrpc":"2.0", "method":"m","params":{"_meta":{ "progressToken": 7 }}}"#;
    let message = Message::parse(text.as_bytes()).unwrap();
    let id = message.span(message.id().unwrap()).unwrap();
    let params = message.params().unwrap();
    let token = message.span(params.meta().unwrap().progress.unwrap()).unwrap();
    let edits = vec![(token, "\"t\"".into()), (id, "12".into())];
    let spliced = splice(text.as_bytes(), edits);
    let wanted = r#"{"a" : 1.0, "id" :12 ,"jsonrpc":"2.0", "method":"m","params":{"_meta":{ "progressToken": "t" }}}"#;
    assert_eq!(std::str::from_utf8(&spliced).unwrap(), wanted);
}

#[test]
fn ids_are_the_same_by_value_and_type() {
    for (one, other, same) in [
        ("1", "1", true),
        (r#""a""#, r#""\u0061""#, true),
        ("1", r#""1""#, false),
        ("1", "2", false),
        ("null", "1", false),
    ] {
        assert_eq!(same_id(one.as_bytes(), other.as_bytes()), same, "{one} {other}");
    }
}
