//! International bank account numbers: ISO 13616 (length of each country) and ISO 7064 MOD 97-10.
//! Without a fitting checksum it is not reported: two letters and digits are everywhere.

use forge_schemas::finding::Confidence;

use super::{Found, Subject};
use crate::text::{Class, byte, part, starts};

/// Country and length, from the IBAN registry.
const COUNTRIES: &str = "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 \
    CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 \
    HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 \
    ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 \
    SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30";

/// `at` is the first check digit.
pub(super) fn find(subject: &Subject<'_>, at: usize) -> Found {
    let start = at.checked_sub(2)?;
    let country = part(subject.text, start..at).to_ascii_uppercase();
    let length = length(&country)?;
    if !starts(subject.bytes, start, Class::Alnum) {
        return None;
    }
    let (number, end) = read(subject.bytes, start, length)?;
    let free = !byte(subject.bytes, end).is_ascii_alphanumeric();
    (free && mod97(&number) == Some(1)).then_some((start..end, Confidence::Confirmed))
}

fn length(country: &str) -> Option<usize> {
    let entry = COUNTRIES.split(' ').find(|entry| entry.starts_with(country))?;
    entry.get(2..).filter(|_| country.len() == 2)?.parse().ok()
}

/// `length` letters and digits from `start`, with single spaces or hyphens between.
fn read(bytes: &[u8], start: usize, length: usize) -> Option<(String, usize)> {
    let mut number = String::with_capacity(length);
    let mut at = start;
    while number.len() < length {
        let here = byte(bytes, at);
        let joint = matches!(here, b' ' | b'-') && number.len().is_multiple_of(2);
        if here.is_ascii_alphanumeric() {
            number.push(char::from(here.to_ascii_uppercase()));
        } else if !joint || !byte(bytes, at.saturating_add(1)).is_ascii_alphanumeric() {
            return None;
        }
        at = at.saturating_add(1);
    }
    Some((number, at))
}

/// ISO 7064 MOD 97-10 over the number with its first four characters moved to the end.
fn mod97(number: &str) -> Option<u32> {
    let (head, tail) = number.split_at_checked(4)?;
    tail.chars().chain(head.chars()).try_fold(0_u32, |rest, character| {
        let value = character.to_digit(36)?;
        let shift = if value < 10 { 10 } else { 100 };
        Some(rest.saturating_mul(shift).saturating_add(value) % 97)
    })
}
