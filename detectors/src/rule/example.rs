//! Made-up tokens from templates, so that no token-like string stands in the repository.
//!
//! A template is text with `{part:length}` in it (`{{` and `}}` are braces); `«` and `»` enclose the secret where it is not
//! the whole. The same rule and variant give the same text: nothing here is random, nothing is
//! anybody's.

use base64::Engine as _;

use crate::check::{self, STANDARD, URL};

/// A text with something to find in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Example {
    /// The whole text.
    pub text: String,
    /// The part that is found.
    pub secret: String,
}

/// Steps of a small generator (Marsaglia's xorshift); enough for variety, of no use for secrets.
struct Dice(u64);

impl Dice {
    fn new(id: &str, variant: u64) -> Self {
        let mut seed = 0xcbf2_9ce4_8422_2325_u64 ^ variant.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        for byte in id.bytes() {
            seed = (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        let mut dice = Self(seed | 1);
        for _ in 0..8 {
            dice.roll();
        }
        dice
    }

    fn roll(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33
    }

    fn pick(&mut self, alphabet: &str) -> char {
        let count = u64::try_from(alphabet.len()).unwrap_or(1).max(1);
        let index = usize::try_from(self.roll().checked_rem(count).unwrap_or(0)).unwrap_or(0);
        alphabet.as_bytes().get(index).copied().map_or('a', char::from)
    }

    fn string(&mut self, alphabet: &str, length: usize) -> String {
        (0..length).map(|_| self.pick(alphabet)).collect()
    }
}

pub(super) fn make(id: &str, template: &str, variant: u64) -> Example {
    let mut dice = Dice::new(id, variant);
    let mut text = String::new();
    let mut secret = None;
    let mut rest = template;
    while let Some(at) = rest.find(['{', '}', '«', '»']) {
        let (plain, tail) = rest.split_at(at);
        text.push_str(plain);
        if let Some(tail) = tail.strip_prefix("{{") {
            text.push('{');
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix("}}") {
            text.push('}');
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix('«') {
            secret = Some((text.len(), text.len()));
            rest = tail;
        } else if let Some(tail) = tail.strip_prefix('»') {
            secret = secret.map(|(start, _)| (start, text.len()));
            rest = tail;
        } else {
            let (name, tail) = tail.split_once('}').unwrap_or((tail, ""));
            let start = secret.map_or(0, |(start, _)| start);
            let so_far = text.get(start..).unwrap_or("").to_owned();
            text.push_str(&fill(name.get(1..).unwrap_or(""), &so_far, &mut dice));
            rest = tail;
        }
    }
    text.push_str(rest);
    let span = secret.unwrap_or((0, text.len()));
    let secret = text.get(span.0..span.1).unwrap_or("").to_owned();
    Example { text, secret }
}

fn fill(name: &str, so_far: &str, dice: &mut Dice) -> String {
    let (part, argument) = name.split_once(':').unwrap_or((name, ""));
    let length = argument.parse().unwrap_or(0);
    let body = so_far.split_once('_').map_or(so_far, |(_prefix, body)| body);
    let crc = |text: &str| crc32fast::hash(text.as_bytes());
    match part {
        "a62" => dice.string(ALNUM, length),
        "alpha" => dice.string(ALPHA, length),
        "hex" => dice.string("0123456789abcdef", length),
        "HEX" => dice.string("0123456789ABCDEF", length),
        "dig" => dice.string("123456789", length),
        "low" => dice.string("abcdefghijklmnopqrstuvwxyz0123456789", length),
        "UP" => dice.string("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", length),
        "b32" => dice.string("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", length),
        "b64" | "b64u" => dice.string(ALNUM, length),
        "crc62" => check::base62(crc(body)),
        "crchex" => format!("{:08x}", crc(body)),
        "CRCHEX" => format!("{:08X}", crc(so_far)),
        "crcle" => format!("_{:08x}", crc(so_far).swap_bytes()),
        "bech32" => {
            let human = so_far.to_ascii_lowercase();
            let human = human.trim_end_matches('1');
            let data = dice.string("qpzry9x8gf2tvdw0s3jn54khce6mua7l", length);
            let sum = check::bech32_checksum(human, &data);
            let all = format!("{data}{sum}");
            if so_far.starts_with('A') { all.to_ascii_uppercase() } else { all }
        }
        "nkey" => {
            let mut bytes = vec![149, 0];
            bytes.extend((0..32).map(|_| u8::try_from(dice.roll() & 255).unwrap_or(0)));
            let sum = check::crc16(&bytes).to_le_bytes();
            bytes.extend(sum);
            check::base32(&bytes)
        }
        "jwt" => {
            let header = URL.encode(r#"{"alg":"ES256","typ":"JWT"}"#).replace('=', "");
            let claims = format!(r#"{{"sub":"{}","iat":17}}"#, dice.string(ALNUM, 12));
            let claims = URL.encode(claims).replace('=', "");
            format!("{header}.{claims}.{}", dice.string(ALNUM, 86))
        }
        "json64" => URL
            .encode(format!(r#"{{"n":"{}","k":"{}"}}"#, "made up", dice.string(ALNUM, 24)))
            .replace('=', ""),
        "basic" => STANDARD.encode(format!("deploy:{}", dice.string(ALNUM, 15))),
        "snowflake" => STANDARD.encode(dice.string("123456789", 18)),
        "lines" | "jlines" => {
            let lines: Vec<String> = (0..4).map(|_| dice.string(ALNUM, 64)).collect();
            lines.join(if part == "lines" { "\n" } else { "\\n" })
        }
        "luhn" => luhn(&format!(
            "{argument}{}",
            dice.string("0123456789", 15_usize.saturating_sub(argument.len()))
        )),
        _ => String::new(),
    }
}

/// `digits` and the check digit that completes them (ISO/IEC 7812-1).
fn luhn(digits: &str) -> String {
    let sum = crate::pii::luhn_sum(&format!("{digits}0"));
    let check = 10_u32.saturating_sub(sum % 10) % 10;
    format!("{digits}{check}")
}

const ALPHA: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
