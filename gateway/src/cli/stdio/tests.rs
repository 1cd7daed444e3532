//! Lines, and the words of the bridge.

use std::io::BufReader;

use super::lines::{Line, read_line, write_line};
use super::server_url;

fn read_all(text: &[u8], limit: usize) -> Vec<Line> {
    // A small buffer, so that lines span several reads.
    let mut input = BufReader::with_capacity(3, text);
    std::iter::from_fn(|| read_line(&mut input, limit).unwrap()).collect()
}

fn message(text: &str) -> Line {
    Line::Message(text.to_owned().into())
}

#[test]
fn each_line_is_a_message() {
    let cases: [(&[u8], Vec<Line>); 6] = [
        (b"", vec![]),
        (b"{}\n", vec![message("{}")]),
        (b"{}", vec![message("{}")]),
        (b"\r\n\n  \n{\"a\":1}\r\n[]\n", vec![message("{\"a\":1}"), message("[]")]),
        (b"0123456789\n{}\n", vec![Line::TooLong, message("{}")]),
        (b"{}\n0123456789", vec![message("{}"), Line::TooLong]),
    ];
    for (text, wanted) in cases {
        assert_eq!(read_all(text, 9), wanted, "{}", String::from_utf8_lossy(text));
    }
}

#[test]
fn a_message_is_one_line_whatever_it_is_written_like() {
    let mut line = Vec::new();
    write_line(&mut line, b"{\n  \"a\": 1\r\n}").unwrap();
    assert_eq!(line, b"{   \"a\": 1  }\n");
}

#[test]
fn the_address_of_a_server() {
    assert_eq!(server_url("https://a/mcp/", None), "https://a/mcp");
    assert_eq!(server_url("https://a/mcp", Some("docs")), "https://a/mcp/docs");
}
