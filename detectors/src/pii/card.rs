//! Payment card numbers: ISO/IEC 7812-1 check digit, issuer ranges with their lengths, and the
//! ways numbers are grouped on cards. All three have to fit: one number in ten has a fitting check
//! digit, so order ids and timestamps would drown a check digit alone.

use forge_schemas::finding::Confidence;

use super::{Found, Groups, Subject};
use crate::text::{before, byte};

/// First digits of an issuer, with the lengths that it uses.
struct Issuer {
    from: u32,
    to: u32,
    /// Digits of `from` and `to`.
    width: usize,
    lengths: &'static [usize],
}

const fn issuer(from: u32, to: u32, width: usize, lengths: &'static [usize]) -> Issuer {
    Issuer { from, to, width, lengths }
}

/// Public ranges of the networks.
const ISSUERS: [Issuer; 24] = [
    issuer(4, 4, 1, &[13, 16, 19]),               // Visa
    issuer(51, 55, 2, &[16]),                     // Mastercard
    issuer(2221, 2720, 4, &[16]),                 // Mastercard
    issuer(34, 34, 2, &[15]),                     // American Express
    issuer(37, 37, 2, &[15]),                     // American Express
    issuer(300, 305, 3, &[14, 16, 17, 18, 19]),   // Diners Club
    issuer(3095, 3095, 4, &[14, 16, 17, 18, 19]), // Diners Club
    issuer(36, 36, 2, &[14, 15, 16, 17, 18, 19]), // Diners Club
    issuer(38, 39, 2, &[14, 16, 17, 18, 19]),     // Diners Club
    issuer(6011, 6011, 4, &[16, 17, 18, 19]),     // Discover
    issuer(644, 659, 3, &[16, 17, 18, 19]),       // Discover
    issuer(3528, 3589, 4, &[16, 17, 18, 19]),     // JCB
    issuer(2131, 2131, 4, &[15]),                 // JCB
    issuer(1800, 1800, 4, &[15]),                 // JCB
    issuer(62, 62, 2, &[16, 17, 18, 19]),         // UnionPay
    issuer(81, 81, 2, &[16, 17, 18, 19]),         // UnionPay, RuPay
    issuer(2200, 2205, 4, &[16, 17, 18, 19]),     // Mir
    issuer(60, 60, 2, &[16]),                     // RuPay
    issuer(5018, 5020, 4, MAESTRO),
    issuer(5038, 5038, 4, MAESTRO),
    issuer(56, 58, 2, MAESTRO),
    issuer(6304, 6390, 4, MAESTRO),
    issuer(6759, 6763, 4, MAESTRO),
    issuer(8699, 8699, 4, &[15]), // Voyager
];

const MAESTRO: &[usize] = &[12, 13, 14, 15, 16, 17, 18, 19];
const DIGITS_MAX: usize = 19;

pub(super) fn find(subject: &Subject<'_>, at: usize) -> Found {
    if !subject.free_before(at) || continues(subject, at) {
        return None;
    }
    let first = Groups::read(subject.bytes, at, b" -", 1, DIGITS_MAX);
    let separator = first.separators.first().copied();
    let same = first.separators.iter().take_while(|joint| Some(**joint) == separator).count();
    let most = first.ranges.len().min(same.saturating_add(1));
    (1..=most).rev().find_map(|count| {
        let digits = first.digits(subject.text, count);
        let end = first.end(count);
        let fits = grouped(&first.sizes(count))
            && subject.free_after(end)
            && !goes_on(&first, count)
            && issued(&digits)
            && luhn_sum(&digits).is_multiple_of(10)
            && !(digits.len() < 14 && in_uuid(subject, at));
        fits.then_some((at..end, Confidence::Confirmed))
    })
}

/// The number is the middle of a longer row of groups.
fn goes_on(groups: &Groups, count: usize) -> bool {
    let next = groups.ranges.get(count).map(std::ops::Range::len);
    let joint = count.checked_sub(1).and_then(|index| groups.separators.get(index));
    match joint {
        Some(b'-') => next.is_some(),
        _ => count > 1 && next == Some(4),
    }
}

/// Four digits and a joint stand before: the number is the middle of a longer row of groups.
fn continues(subject: &Subject<'_>, at: usize) -> bool {
    let four = |end: usize| {
        let run = crate::text::Class::Digit.run_back(subject.bytes, end, 5);
        run == 4
    };
    before(subject.bytes, at) == b' ' && four(at.saturating_sub(1)) && {
        let here = crate::text::Class::Digit.run(subject.bytes, at, 5);
        here == 4
    }
}

/// The last group of a UUID.
fn in_uuid(subject: &Subject<'_>, at: usize) -> bool {
    let further = at.checked_sub(2).map_or(0, |index| byte(subject.bytes, index));
    before(subject.bytes, at) == b'-' && further.is_ascii_hexdigit()
}

/// The groups are as printed on cards: all in one, fours with a shorter or longer rest, or 4-6-5
/// and 4-6-4.
fn grouped(sizes: &[usize]) -> bool {
    match sizes {
        [_] | [4, 6, 5 | 4] => true,
        [start @ .., last] => start.iter().all(|size| *size == 4) && (1..=7).contains(last),
        [] => false,
    }
}

fn issued(digits: &str) -> bool {
    let same = digits.bytes().all(|byte| digits.bytes().next() == Some(byte));
    !same
        && ISSUERS.iter().any(|issuer| {
            let start = digits.get(..issuer.width).and_then(|start| start.parse::<u32>().ok());
            start.is_some_and(|start| (issuer.from..=issuer.to).contains(&start))
                && issuer.lengths.contains(&digits.len())
        })
}

/// ISO/IEC 7812-1 annex B: the sum whose last digit is 0 for a valid number.
pub(crate) fn luhn_sum(digits: &str) -> u32 {
    digits
        .chars()
        .rev()
        .filter_map(|digit| digit.to_digit(10))
        .enumerate()
        .map(|(index, digit)| match (index % 2, digit.saturating_mul(2)) {
            (0, _) => digit,
            (_, double) if double > 9 => double.saturating_sub(9),
            (_, double) => double,
        })
        .fold(0, u32::saturating_add)
}
