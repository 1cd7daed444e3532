//! Personal data: what varies in the ways people write it.

use super::{found, scan};

fn check(text: &str, rule: &str, found_whole: bool) {
    let seen = found(text);
    let whole = seen == [(rule.to_owned(), text.to_owned())];
    assert_eq!(whole, found_whole, "{text}: {seen:?}");
}

#[test]
fn cards_are_found_in_every_printed_grouping() {
    for (text, valid) in [
        ("4111111111111111", true),
        ("4111-1111-1111-1111", true),
        ("4111 1111 1111 1111", true),
        ("4111 1111-1111 1111", false),
        ("41 11 11 11 11 11 11 11", false),
        ("3782 822463 10005", true),
        ("3056 930902 5904", true),
        ("4111111111111112", false),
        ("0000000000000000", false),
        ("1234567812345670", false),
    ] {
        check(text, "credit-card", valid);
    }
}

#[test]
fn account_numbers_need_the_length_of_their_country_and_the_checksum() {
    for (text, valid) in [
        ("GB82WEST12345698765432", true),
        ("GB82 WEST 1234 5698 7654 32", true),
        ("BE68 5390 0754 7034", true),
        ("CH9300762011623852957", true),
        ("NL91ABNA0417164300", true),
        ("NL91ABNA041716430", false),
        ("NL92ABNA0417164300", false),
        ("XX82WEST12345698765432", false),
    ] {
        check(text, "iban", valid);
    }
}

#[test]
fn a_timestamp_is_never_a_telephone_number() {
    for text in [
        "phone: 2024-11-20",
        "tel 1732128723",
        "mobile 1732128723123",
        "phone 2024-11-20 18:52:03",
        "fax 20241120",
        "+0100",
        "2024-11-20 18:52:03.123",
        "555-0123",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
}

#[test]
fn the_name_of_a_member_decides_what_nine_digits_are() {
    assert_eq!(scan(r#"{"ssn":"219099998"}"#)[0].rule, "us-ssn");
    assert_eq!(scan(r#"{"person":{"us_ssn":{"value":"219 09 9998"}}}"#)[0].rule, "us-ssn");
    assert_eq!(scan(r#"{"name":"SSN","value":"219099998"}"#)[0].rule, "us-ssn");
    assert_eq!(scan(r#"{"parcel":"219099998"}"#), []);
    assert_eq!(scan(r#"{"text":"{\"employee\":{\"ssn\":219099998}}"}"#)[0].rule, "us-ssn");
}
