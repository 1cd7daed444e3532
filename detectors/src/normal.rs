//! Text as rules see it: invisible characters gone, look-alike digits and forms made ASCII.
//!
//! Only for matching; what is forwarded keeps its bytes. Not done: letters of other scripts that
//! look like Latin ones, and canonical composition, neither of which occurs inside a token that a
//! machine would accept.

use crate::map::Map;

/// What one character becomes.
enum Seen {
    Same,
    Gone,
    As(char),
}

/// The text as rules see it, with its map; `None` if it would be the same.
pub(crate) fn normalise(text: &str) -> Option<(String, Map)> {
    if text.is_ascii() || text.chars().all(|character| matches!(see(character), Seen::Same)) {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    let mut map = Map::at(0);
    for (at, character) in text.char_indices() {
        let start = out.len();
        match see(character) {
            Seen::Same => {
                out.push(character);
                continue;
            }
            Seen::Gone => {}
            Seen::As(other) => out.push(other),
        }
        map.push(start..out.len(), at..at.saturating_add(character.len_utf8()));
    }
    Some((out, map))
}

fn see(character: char) -> Seen {
    let code = u32::from(character);
    match code {
        0..=0x7F => Seen::Same,
        // Soft hyphen, joiners, marks of direction, variation selectors, fillers.
        0xAD
        | 0x34F
        | 0x61C
        | 0x115F
        | 0x1160
        | 0x17B4
        | 0x17B5
        | 0x180B..=0x180F
        | 0x200B..=0x200F
        | 0x202A..=0x202E
        | 0x2060..=0x206F
        | 0x3164
        | 0xFE00..=0xFE0F
        | 0xFEFF
        | 0xFFA0
        | 0xFFF9..=0xFFFB
        | 0xE0001
        | 0xE007F
        | 0xE0100..=0xE01EF => Seen::Gone,
        // Tag characters spell ASCII invisibly.
        0xE0020..=0xE007E => ascii(code.saturating_sub(0xE0000)),
        // Full-width forms.
        0xFF01..=0xFF5E => ascii(code.saturating_sub(0xFEE0)),
        0xA0 | 0x1680 | 0x2000..=0x200A | 0x202F | 0x205F | 0x3000 => Seen::As(' '),
        0x2010..=0x2015 | 0x2212 | 0xFE58 | 0xFE63 => Seen::As('-'),
        0x1D7CE..=0x1D7FF => digit(code.saturating_sub(0x1D7CE) % 10),
        0x1D400..=0x1D6A3 => letter(code.saturating_sub(0x1D400) % 52),
        _ => decimal(code).map_or(Seen::Same, digit),
    }
}

fn ascii(code: u32) -> Seen {
    char::from_u32(code).map_or(Seen::Same, Seen::As)
}

fn digit(value: u32) -> Seen {
    char::from_digit(value, 10).map_or(Seen::Same, Seen::As)
}

fn letter(index: u32) -> Seen {
    let base = if index < 26 { 0x41 } else { 0x61_u32.saturating_sub(26) };
    ascii(base.saturating_add(index))
}

/// The value of a decimal digit of another script (Unicode general category Nd, the common ones).
fn decimal(code: u32) -> Option<u32> {
    let zero = ZEROS.iter().find(|zero| (**zero..zero.saturating_add(10)).contains(&code))?;
    Some(code.saturating_sub(*zero))
}

const ZEROS: [u32; 21] = [
    0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6,
    0xE50, 0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0xFF10,
];
