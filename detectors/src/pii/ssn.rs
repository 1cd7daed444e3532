//! US social security numbers: three, two and four digits, never area 000, 666 or 9xx, group 00 or
//! serial 0000 (Social Security Administration, randomisation of 2011). There is no check digit, so
//! nine digits in a row or with other joints count only where a word says what they are.

use forge_schemas::finding::Confidence;

use super::{Found, Groups, Subject};

const WORDS: [&str; 9] = [
    "ssn",
    "ssns",
    "social security",
    "social sec",
    "socialsecurity",
    "ss number",
    "soc sec",
    "ssn number",
    "us ssn",
];

pub(super) fn find(subject: &Subject<'_>, at: usize) -> Found {
    if !subject.free_before(at) {
        return None;
    }
    let groups = Groups::read(subject.bytes, at, b"- .", 1, 9);
    let joints: &[u8] = &groups.separators;
    let (count, dashed) = match (groups.sizes(4).as_slice(), joints) {
        ([3, 2, 4], [b'-', b'-']) => (3, true),
        ([3, 2, 4], [one, other]) if one == other => (3, false),
        ([9, ..], _) => (1, false),
        _ => return None,
    };
    let end = groups.end(count);
    let digits = groups.digits(subject.text, count);
    if !issued(&digits) || !subject.free_after(end) {
        return None;
    }
    if dashed {
        return Some((at..end, Confidence::Structural));
    }
    subject.about(at, &WORDS).then_some((at..end, Confidence::Contextual))
}

fn issued(digits: &str) -> bool {
    let area = digits.get(..3).unwrap_or("000");
    let group = digits.get(3..5).unwrap_or("00");
    let serial = digits.get(5..).unwrap_or("0000");
    area != "000" && area != "666" && !area.starts_with('9') && group != "00" && serial != "0000"
}
