//! Checksums and structures of token formats.
//!
//! A checksum that fits makes a finding `confirmed`. One that does not fit proves little (bodies in
//! examples, tests and mangled copies are random), so the rule says what a failure means.

use base64::Engine as _;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use serde::Deserialize;
use serde_json::Value;

/// Base64url, padded or not, stray bits allowed: what people paste is rarely canonical.
pub(crate) const URL: GeneralPurpose = lenient(&base64::alphabet::URL_SAFE);
/// The same with the standard alphabet.
pub(crate) const STANDARD: GeneralPurpose = lenient(&base64::alphabet::STANDARD);

const fn lenient(alphabet: &base64::alphabet::Alphabet) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::Indifferent)
        .with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(alphabet, config)
}

/// The check that a rule names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Six base-62 digits at the end are the CRC-32 of what lies between the first `_` and them.
    Crc32Base62,
    /// Eight hexadecimal digits at the end are the CRC-32 of what lies between the first `_` and them.
    Crc32HexBody,
    /// Eight hexadecimal digits at the end are the CRC-32 of all that stands before them.
    Crc32HexAll,
    /// Eight hexadecimal digits after the last `_` are the little-endian CRC-32 of what stands before it.
    Crc32HexLittle,
    /// BIP-173 checksum.
    Bech32,
    /// NATS seed: base32 with CRC-16/XMODEM at the end.
    Nkey,
    /// The header of the JSON Web Token decodes to an object with `alg`.
    Jwt,
    /// What follows `ghs_<number>_` is a JSON Web Token.
    GithubStateless,
    /// Decodes to `user:password`.
    BasicCredentials,
    /// The first of three parts decodes to a number of 17 to 20 digits.
    DiscordId,
    /// What follows the last `_` up to the first `.` decodes to a JSON object.
    JsonPayload,
    /// A PEM body of base64, at least 40 characters of it.
    Pem,
}

impl Check {
    /// The check proves the token rather than its shape only.
    #[must_use]
    pub const fn confirms(self) -> bool {
        match self {
            Self::Crc32Base62
            | Self::Crc32HexBody
            | Self::Crc32HexAll
            | Self::Crc32HexLittle
            | Self::Bech32
            | Self::Nkey => true,
            Self::Jwt
            | Self::GithubStateless
            | Self::BasicCredentials
            | Self::DiscordId
            | Self::JsonPayload
            | Self::Pem => false,
        }
    }

    /// The check holds for `token`.
    pub(crate) fn holds(self, token: &str) -> bool {
        match self {
            Self::Crc32Base62 => split_end(body(token), 6)
                .is_some_and(|(body, digits)| base62(crc32fast::hash(body.as_bytes())) == digits),
            Self::Crc32HexBody => hex_fits(body(token)),
            Self::Crc32HexAll => hex_fits(token),
            Self::Crc32HexLittle => token.rsplit_once('_').is_some_and(|(start, digits)| {
                let crc = crc32fast::hash(start.as_bytes()).swap_bytes();
                digits.eq_ignore_ascii_case(&format!("{crc:08x}"))
            }),
            Self::Bech32 => bech32(token),
            Self::Nkey => nkey(token),
            Self::Jwt => jwt(token),
            Self::GithubStateless => {
                body(token).split_once('_').is_some_and(|(_application, token)| jwt(token))
            }
            Self::BasicCredentials => basic(token),
            Self::DiscordId => token.split('.').next().and_then(decode_text).is_some_and(|id| {
                (17..=20).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_digit())
            }),
            Self::JsonPayload => json_payload(token),
            Self::Pem => pem(token),
        }
    }
}

fn body(token: &str) -> &str {
    token.split_once('_').map_or(token, |(_prefix, body)| body)
}

fn split_end(text: &str, count: usize) -> Option<(&str, &str)> {
    text.split_at_checked(text.len().checked_sub(count)?)
}

fn hex_fits(text: &str) -> bool {
    split_end(text, 8).is_some_and(|(start, digits)| {
        digits.eq_ignore_ascii_case(&format!("{:08x}", crc32fast::hash(start.as_bytes())))
    })
}

/// Six base-62 digits, `0-9A-Za-z`, padded with `0`.
pub(crate) fn base62(mut number: u32) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut digits = ['0'; 6];
    for digit in digits.iter_mut().rev() {
        let index = usize::try_from(number % 62).unwrap_or(0);
        *digit = DIGITS.get(index).copied().map_or('0', char::from);
        number /= 62;
    }
    digits.iter().collect()
}

fn decode_text(base64: &str) -> Option<String> {
    let bytes = URL.decode(base64).or_else(|_standard| STANDARD.decode(base64)).ok()?;
    String::from_utf8(bytes).ok()
}

fn json_object(base64: &str) -> Option<serde_json::Map<String, Value>> {
    serde_json::from_str(&decode_text(base64)?).ok()
}

fn jwt(token: &str) -> bool {
    let header = token.split('.').next().and_then(json_object);
    header.is_some_and(|header| header.get("alg").is_some_and(Value::is_string))
}

fn json_payload(token: &str) -> bool {
    let payload = token.split('.').next().unwrap_or(token);
    let start = payload.find("eyJ").unwrap_or(payload.len());
    let payload = payload.get(start..).unwrap_or("");
    // Sentry appends `_` and a signature to the payload.
    let payload = payload.rsplit_once('_').map_or(payload, |(payload, _signature)| payload);
    json_object(payload).is_some()
}

fn basic(token: &str) -> bool {
    decode_text(token).is_some_and(|pair| {
        let printable = pair.chars().all(|character| !character.is_control());
        let parts = pair.split_once(':');
        printable && parts.is_some_and(|(user, password)| user.len() < 256 && password.len() >= 3)
    })
}

fn pem(token: &str) -> bool {
    let mut body = token.splitn(3, "-----").nth(2).unwrap_or("");
    body = body.split("-----").next().unwrap_or("");
    let count =
        body.bytes().filter(|byte| byte.is_ascii_alphanumeric() || b"+/=".contains(byte)).count();
    count >= 40
}

const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";

fn bech32_step(sum: u32, value: u32) -> u32 {
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let top = sum >> 25;
    let mut sum = ((sum & 0x01ff_ffff) << 5) ^ value;
    for (index, generator) in GENERATOR.iter().enumerate() {
        if (top >> index) & 1 == 1 {
            sum ^= generator;
        }
    }
    sum
}

/// The checksum state after the human-readable part and `data` (lowercase).
fn bech32_sum(human: &str, data: &str) -> Option<u32> {
    let mut sum = 1;
    for byte in human.bytes() {
        sum = bech32_step(sum, u32::from(byte) >> 5);
    }
    sum = bech32_step(sum, 0);
    for byte in human.bytes() {
        sum = bech32_step(sum, u32::from(byte) & 31);
    }
    for character in data.chars() {
        let value = BECH32.find(character).and_then(|value| u32::try_from(value).ok())?;
        sum = bech32_step(sum, value);
    }
    Some(sum)
}

fn bech32(token: &str) -> bool {
    let lower = token.to_ascii_lowercase();
    lower.rsplit_once('1').is_some_and(|(human, data)| bech32_sum(human, data) == Some(1))
}

/// The six characters that complete `data` (BIP-173).
pub(crate) fn bech32_checksum(human: &str, data: &str) -> String {
    let sum = bech32_sum(human, &format!("{data}qqqqqq")).unwrap_or(0) ^ 1;
    (0..6_u32)
        .rev()
        .filter_map(|index| {
            let value = (sum >> index.saturating_mul(5)) & 31;
            BECH32.chars().nth(usize::try_from(value).unwrap_or(0))
        })
        .collect()
}

const BASE32: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// RFC 4648 base32 without padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut held, mut bits) = (0_u32, 0_u32);
    for byte in bytes {
        held = (held << 8) | u32::from(*byte);
        bits = bits.saturating_add(8);
        while bits >= 5 {
            bits = bits.saturating_sub(5);
            let index = usize::try_from((held >> bits) & 31).unwrap_or(0);
            out.extend(BASE32.chars().nth(index));
        }
        held &= (1_u32 << bits).saturating_sub(1);
    }
    if bits > 0 {
        let index = usize::try_from((held << 5_u32.saturating_sub(bits)) & 31).unwrap_or(0);
        out.extend(BASE32.chars().nth(index));
    }
    out
}

fn unbase32(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut held, mut bits) = (0_u32, 0_u32);
    for character in text.chars() {
        let value = u32::try_from(BASE32.find(character)?).ok()?;
        held = ((held << 5) | value) & 0xFFFF;
        bits = bits.saturating_add(5);
        if bits >= 8 {
            bits = bits.saturating_sub(8);
            out.push(u8::try_from((held >> bits) & 0xFF).ok()?);
        }
    }
    Some(out)
}

/// CRC-16/XMODEM.
pub(crate) fn crc16(bytes: &[u8]) -> u16 {
    let mut crc = 0_u16;
    for byte in bytes {
        crc ^= u16::from(*byte) << 8;
        for _ in 0..8 {
            crc = if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 };
        }
    }
    crc
}

fn nkey(token: &str) -> bool {
    let Some(bytes) = unbase32(token) else { return false };
    let Some((start, end)) = bytes.split_last_chunk::<2>() else { return false };
    crc16(start) == u16::from_le_bytes(*end)
}
