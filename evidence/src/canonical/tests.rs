//! Cases from RFC 8785 and its appendix B, and what must not have a canonical form.

use super::*;

#[track_caller]
fn check_form(input: &str, want: &str) {
    let got = canonicalize(input.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(got).unwrap(), want, "{input}");
    assert_eq!(canonicalize(want.as_bytes()).unwrap(), want.as_bytes(), "not a fixed point");
}

#[test]
fn documents_come_out_as_rfc_8785_shows() {
    for (input, want) in [
        (r#"{"b":1, "a" : [ true , null,false ]}"#, r#"{"a":[true,null,false],"b":1}"#),
        // RFC 8785 §3.2.3: sorted by UTF-16 units, so the emoji comes before U+FB33.
        (
            "{\"\u{20ac}\":\"Euro Sign\",\"\\r\":\"Carriage Return\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\",\"1\":\"One\",\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{80}\":\"Control\",\"\u{f6}\":\"Latin Small Letter O With Diaeresis\"}",
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"\u{f6}\":\"Latin Small Letter O With Diaeresis\",\"\u{20ac}\":\"Euro Sign\",\"\u{1f600}\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}",
        ),
        // RFC 8785 §3.2.2.
        (
            r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],"string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#,
            "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\"string\":\"\u{20ac}$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}",
        ),
        ("\"\\u0000\\b\\t\\f\\u007f\"", "\"\\u0000\\b\\t\\f\u{7f}\""),
        (" 7 ", "7"),
        ("[]", "[]"),
        ("{}", "{}"),
    ] {
        check_form(input, want);
    }
}

#[test]
fn numbers_come_out_as_ecmascript_writes_them() {
    for (input, want) in [
        ("0.0", "0"),
        ("-0.0", "0"),
        ("-0", "0"),
        ("5e-324", "5e-324"),
        ("-5e-324", "-5e-324"),
        ("1.7976931348623157e308", "1.7976931348623157e+308"),
        ("295147905179352830000", "295147905179352830000"),
        ("9.999999999999997e22", "9.999999999999997e+22"),
        ("1e23", "1e+23"),
        ("1.0000000000000001e23", "1.0000000000000001e+23"),
        ("999999999999999700000", "999999999999999700000"),
        ("1e21", "1e+21"),
        ("1e20", "100000000000000000000"),
        ("9.999999999999997e-7", "9.999999999999997e-7"),
        ("0.000001", "0.000001"),
        ("333333333.3333332", "333333333.3333332"),
        ("-333.5", "-333.5"),
        ("-0.0000033333333333333333", "-0.0000033333333333333333"),
        ("1424953923781206.2", "1424953923781206.2"),
        ("100.0", "100"),
        // Exact where RFC 8785 would round.
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        check_form(input, want);
    }
}

#[test]
fn what_has_no_canonical_form_is_an_error() {
    let deep = format!("{}{}", "[".repeat(110), "]".repeat(110));
    for input in
        ["", "{", "1 2", r#"{"a":1,"a":2}"#, r#"{"a":1,"\u0061":2}"#, "1e999", "NaN", "01", &deep]
    {
        assert!(canonicalize(input.as_bytes()).is_err(), "{input}");
    }
    assert!(canonicalize(b"\"\xff\"").is_err());
    assert!(matches!(check(b"{ }"), Err(CanonicalError::NotCanonical)));
    assert!(check(b"{}").is_ok());
}
