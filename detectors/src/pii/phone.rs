//! Telephone numbers: international form (ITU-T E.164 with `+`), the North American plan with its
//! usual joints, and national numbers where a word says what they are. Conservative: a row of
//! digits alone is never a telephone number.

use forge_schemas::finding::Confidence;

use super::{Found, Groups, Subject};
use crate::text::{Class, before, byte, part, starts};

const WORDS: [&str; 21] = [
    "phone",
    "phones",
    "telephone",
    "tel",
    "mobile",
    "cell",
    "cellphone",
    "smartphone",
    "fax",
    "whatsapp",
    "sms",
    "call me",
    "call us",
    "dial",
    "phone number",
    "phonenumber",
    "msisdn",
    "contact number",
    "reach me",
    "landline",
    "hotline",
];
/// The same in prose, where a cell may be one of a table.
const SPOKEN: [&str; 18] = [
    "phone",
    "phones",
    "telephone",
    "tel",
    "mobile",
    "cell phone",
    "cellphone",
    "smartphone",
    "fax",
    "whatsapp",
    "sms",
    "call me",
    "call us",
    "dial",
    "contact number",
    "reach me",
    "landline",
    "hotline",
];
const JOINTS: &[u8] = b" -.()/";

/// Assigned country codes (ITU-T E.164 annex), of one, two and three digits.
const CODES: &str = "1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 \
    60 61 62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 \
    226 227 228 229 230 231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 249 \
    250 251 252 253 254 255 256 257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 \
    350 351 352 353 354 355 356 357 358 359 370 371 372 373 374 375 376 377 378 380 381 382 383 385 \
    386 387 389 420 421 423 500 501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 \
    598 599 670 672 673 674 675 676 677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 \
    808 850 852 853 855 856 870 878 880 881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 \
    971 972 973 974 975 976 977 979 992 993 994 995 996 998";

/// `at` is the first digit of a run of digits.
pub(super) fn find(subject: &Subject<'_>, at: usize) -> Found {
    international(subject, at)
        .or_else(|| north_american(subject, at))
        .or_else(|| national(subject, at))
        .map(|(range, confidence)| (range.start..extension(subject.bytes, range.end), confidence))
}

fn international(subject: &Subject<'_>, at: usize) -> Found {
    let bytes = subject.bytes;
    let plus = at.checked_sub(1).filter(|plus| byte(bytes, *plus) == b'+')?;
    if !starts(bytes, plus, Class::Alnum)
        || matches!(before(bytes, plus), b'+' | b'/' | b'=') && joined(bytes, plus)
    {
        return None;
    }
    let groups = Groups::read(bytes, at, JOINTS, 3, 15);
    // The longest start of the groups that is a number; what follows may be prose.
    (1..=groups.ranges.len()).rev().find_map(|count| {
        let digits = groups.digits(subject.text, count);
        let end = groups.end(count);
        let free = !byte(bytes, end).is_ascii_alphanumeric();
        let fits = free && count <= 7 && dialled(&digits, count == 1);
        fits.then_some((plus..end, Confidence::Structural))
    })
}

/// The sign is part of base64 or of a formula rather than of a number.
fn joined(bytes: &[u8], plus: usize) -> bool {
    let further = plus.checked_sub(2).map_or(0, |index| byte(bytes, index));
    further.is_ascii_digit() || before(bytes, plus) == b'+'
}

/// Digits after `+`: a known country code and a length that it allows.
fn dialled(digits: &str, bare: bool) -> bool {
    let code = CODES.split(' ').find(|code| digits.starts_with(*code));
    let Some(national) = code.and_then(|code| digits.get(code.len()..)) else { return false };
    if code == Some("1") {
        return national.len() == 10 && area(national);
    }
    let least = if bare { 9 } else { 8 };
    (least..=15).contains(&digits.len()) && national.len() >= 6
}

/// Ten digits of the North American plan: NXX-NXX-XXXX, neither part ending in 11.
fn area(digits: &str) -> bool {
    let part = |range: std::ops::Range<usize>| {
        let part = digits.get(range).unwrap_or("0");
        !part.starts_with(['0', '1']) && !part.ends_with("11")
    };
    part(0..3) && part(3..6)
}

fn north_american(subject: &Subject<'_>, at: usize) -> Found {
    let bytes = subject.bytes;
    let groups = Groups::read(bytes, at, JOINTS, 2, 11);
    let skip = usize::from(groups.sizes(1) == [1] && groups.digits(subject.text, 1) == "1");
    let count = skip.saturating_add(3);
    if groups.sizes(count).get(skip..) != Some(&[3, 3, 4]) {
        return None;
    }
    let digits = groups.digits(subject.text, count);
    let end = groups.end(count);
    if !area(digits.get(skip..)?) || !subject.free_after(end) {
        return None;
    }
    let first = groups.ranges.get(skip)?;
    let bracket = before(bytes, first.start) == b'(' && byte(bytes, first.end) == b')';
    let start = if bracket && skip == 0 { at.saturating_sub(1) } else { at };
    if !subject.free_before(start) || matches!(before(bytes, start), b'-' | b'.' | b'/') {
        return None;
    }
    let joints = groups.separators.get(skip..).unwrap_or_default();
    let tight = bracket
        || joints.iter().all(|joint| *joint == b'-')
        || joints.iter().all(|joint| *joint == b'.');
    if tight {
        return Some((start..end, Confidence::Structural));
    }
    spoken(subject, start).then_some((start..end, Confidence::Contextual))
}

/// The names around the text or the words before the number say what it is.
fn spoken(subject: &Subject<'_>, start: usize) -> bool {
    subject.named(&WORDS) || subject.leads(start, &SPOKEN)
}

fn national(subject: &Subject<'_>, at: usize) -> Found {
    let bracket = before(subject.bytes, at) == b'(';
    let start = if bracket { at.saturating_sub(1) } else { at };
    if !subject.free_before(start) || subject.named(&["id", "ids"]) || !spoken(subject, start) {
        return None;
    }
    let groups = Groups::read(subject.bytes, at, JOINTS, 3, 15);
    (1..=groups.ranges.len()).rev().find_map(|count| {
        let digits = groups.digits(subject.text, count);
        let end = groups.end(count);
        let fits = (7..=15).contains(&digits.len())
            && count <= 6
            && subject.free_after(end)
            && !moment(subject.text, &groups, count)
            && !digits.bytes().all(|byte| digits.bytes().next() == Some(byte));
        fits.then_some((start..end, Confidence::Contextual))
    })
}

/// The groups are a date, or digits in a row that count seconds or milliseconds since 1970.
fn moment(text: &str, groups: &Groups, count: usize) -> bool {
    let digits = groups.digits(text, count);
    match groups.sizes(count).as_slice() {
        [4, 1 | 2, 1 | 2] | [1 | 2, 1 | 2, 4] => true,
        [4, 2, 2, ..] => digits.starts_with("19") || digits.starts_with("20"),
        [10 | 13] => digits.starts_with("1"),
        [8] => digits.starts_with("19") || digits.starts_with("20"),
        _ => false,
    }
}

/// The end after `x123`, `ext. 123`, if that follows.
fn extension(bytes: &[u8], end: usize) -> usize {
    let rest = bytes.get(end..).unwrap_or_default();
    let rest = std::str::from_utf8(rest.get(..16).unwrap_or(rest)).unwrap_or("");
    let bare = rest.trim_start_matches([' ', ',']);
    let word = ["extension", "ext.", "ext", "x"].iter().find(|word| bare.starts_with(**word));
    let Some(word) = word else { return end };
    let number = part(bare, word.len()..bare.len());
    let digits = number.trim_start_matches([' ', '.', ':']);
    let count = Class::Digit.run(digits.as_bytes(), 0, 7);
    if !(1..=6).contains(&count) {
        return end;
    }
    let used = rest.len().saturating_sub(digits.len()).saturating_add(count);
    end.saturating_add(used)
}
