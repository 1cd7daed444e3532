//! Network addresses of people and machines on the public Internet (RFC 791, RFC 4291).
//!
//! Left out on purpose: private, shared, loopback, link-local, multicast and reserved addresses,
//! which say nothing of a person outside their network; networks written with a prefix length; and
//! four numbers that a word calls a version. Addresses for documentation (RFC 5737, RFC 3849) count
//! as public: they stand for such addresses.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Range;

use forge_schemas::finding::Confidence;

use super::{Found, Subject};
use crate::text::{Class, before, byte, part};

const VERSION: [&str; 9] =
    ["version", "versions", "ver", "release", "build", "revision", "oid", "firmware", "semver"];
const ADDRESS: [&str; 9] =
    ["ip", "ips", "address", "addr", "host", "client", "remote", "peer", "ipv4"];

/// `at` is the first digit of a run of digits.
pub(super) fn find_v4(subject: &Subject<'_>, at: usize) -> Found {
    let rest = subject.bytes.get(at..)?;
    let length =
        rest.iter().take(16).take_while(|byte| byte.is_ascii_digit() || **byte == b'.').count();
    let written = part(subject.text, at..at.saturating_add(length)).trim_end_matches('.');
    let address: Ipv4Addr = written.parse().ok()?;
    let end = at.saturating_add(written.len());
    let joint = matches!(before(subject.bytes, at), b'.' | b'-' | b'_');
    let after = byte(subject.bytes, end);
    let longer = after == b'-' || after == b'_' || after.is_ascii_alphanumeric();
    let free = crate::text::starts(subject.bytes, at, Class::Alnum) && !joint && !longer;
    if !free || !public_v4(address) || network(subject.bytes, end, 32) {
        return None;
    }
    let small = address.octets().iter().all(|octet| *octet < 10);
    let version = subject.says_before(at, &VERSION) || subject.named(&VERSION);
    if (small || version) && !subject.about(at, &ADDRESS) {
        return None;
    }
    Some((at..end, Confidence::Structural))
}

/// `at` is a colon.
pub(super) fn find_v6(subject: &Subject<'_>, at: usize) -> Found {
    let bytes = subject.bytes;
    let back = Class::Hex.run_back(bytes, at, 5);
    let start = at.saturating_sub(back);
    if back > 4 || !crate::text::starts(bytes, start, Class::Word) || before(bytes, start) == b':' {
        return None;
    }
    let rest = bytes.get(start..)?;
    let allowed = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let length = rest.iter().take(46).take_while(|byte| allowed(byte)).count();
    let run = part(subject.text, start..start.saturating_add(length));
    let written = longest(run)?;
    let end = start.saturating_add(written.len());
    let free = !Class::Word.has(byte(bytes, end)) && !network(bytes, end, 128);
    let address: Ipv6Addr = written.parse().ok()?;
    (free && public_v6(address)).then_some((Range { start, end }, Confidence::Structural))
}

/// The run without the full stop or colon that ends a sentence.
fn longest(run: &str) -> Option<&str> {
    let colons = run.bytes().filter(|byte| *byte == b':').count();
    if colons < 2 {
        return None;
    }
    let bare = run.trim_end_matches('.');
    if bare.ends_with("::") { Some(bare) } else { Some(bare.trim_end_matches(':')) }
}

/// A prefix length shorter than the address follows.
fn network(bytes: &[u8], end: usize, whole: u32) -> bool {
    if byte(bytes, end) != b'/' {
        return false;
    }
    let start = end.saturating_add(1);
    let digits = Class::Digit.run(bytes, start, 4);
    let length = bytes.get(start..start.saturating_add(digits)).unwrap_or_default();
    let length = std::str::from_utf8(length).ok().and_then(|text| text.parse::<u32>().ok());
    length.is_some_and(|length| length < whole)
}

fn public_v4(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let shared = first == 100 && (64..128).contains(&second);
    let reserved = first == 0 || first >= 240;
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || shared
        || reserved)
}

/// Global unicast (2000::/3), or a public IPv4 address inside.
fn public_v6(address: Ipv6Addr) -> bool {
    if let Some(inner) = address.to_ipv4_mapped() {
        return public_v4(inner);
    }
    let [first, ..] = address.segments();
    (0x2000..0x4000).contains(&first)
}
