//! What is looked at before any parser runs: sizes and the depth of brackets.
//!
//! The parser takes twice as long for each level of nested literals (a 20-deep one more than
//! 27 s), and no time limit applies to it. So the depth is counted here, by a scanner that knows
//! strings, raw strings and comments and nothing else. It does not judge syntax.

use crate::bundle::{Bundle, Source};
use crate::check::{Fault, code};

/// Most bytes of one file.
pub const FILE_BYTES_MAX: usize = 1 << 20;
/// Most bytes of a bundle.
pub const BUNDLE_BYTES_MAX: usize = 4 << 20;
/// Most files of a bundle.
pub const FILES_MAX: usize = 512;
/// Deepest nesting of `(`, `[` and `{`.
pub const DEPTH_MAX: usize = 10;
/// Longest line, in characters.
pub const COLUMNS_MAX: usize = 1000;
/// Most lines of one file.
pub const LINES_MAX: usize = 20_000;

/// Faults that make it unsafe to parse.
pub(crate) fn scan(bundle: &Bundle) -> Vec<Fault> {
    let mut faults = Vec::new();
    let sources = bundle.sources();
    let bytes: usize = sources.iter().map(|source| source.text.len()).sum();
    if sources.len() > FILES_MAX {
        let sentence = format!("the bundle has {} files; at most {FILES_MAX}", sources.len());
        faults.push(Fault::new("", 0, 0, code::TOO_LARGE, sentence));
    }
    if bytes > BUNDLE_BYTES_MAX {
        let sentence = format!("the bundle has {bytes} bytes; at most {BUNDLE_BYTES_MAX}");
        faults.push(Fault::new("", 0, 0, code::TOO_LARGE, sentence));
    }
    for source in sources {
        faults.extend(scan_source(source));
    }
    faults
}

fn scan_source(source: &Source) -> Option<Fault> {
    if source.text.len() > FILE_BYTES_MAX {
        let sentence =
            format!("the file has {} bytes; at most {FILE_BYTES_MAX}", source.text.len());
        return Some(Fault::new(&source.path, 0, 0, code::TOO_LARGE, sentence));
    }
    if !source.path.ends_with(".rego") {
        return None;
    }
    for (index, line) in source.text.lines().enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX).saturating_add(1);
        if index >= LINES_MAX {
            let sentence = format!("the file has more than {LINES_MAX} lines");
            return Some(Fault::new(&source.path, number, 1, code::TOO_LARGE, sentence));
        }
        if line.chars().count() > COLUMNS_MAX {
            let sentence = format!("the line has more than {COLUMNS_MAX} characters");
            return Some(Fault::new(&source.path, number, 1, code::TOO_LARGE, sentence));
        }
    }
    let (line, column) = too_deep(&source.text)?;
    let sentence =
        format!("brackets are nested more than {DEPTH_MAX} deep; name the inner parts in rules");
    Some(Fault::new(&source.path, line, column, code::TOO_DEEP, sentence))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Code,
    Comment,
    Text,
    Escape,
    Raw,
}

/// Line and column of the first bracket that is too deep.
fn too_deep(text: &str) -> Option<(u32, u32)> {
    let (mut mode, mut depth) = (Mode::Code, 0_usize);
    let (mut line, mut column) = (1_u32, 0_u32);
    for letter in text.chars() {
        column = column.saturating_add(1);
        mode = match (mode, letter) {
            (Mode::Code, '#') => Mode::Comment,
            (Mode::Code, '"') | (Mode::Escape, _) => Mode::Text,
            (Mode::Code, '`') => Mode::Raw,
            // A newline ends a string too: the parser refuses it, but counting must go on.
            (Mode::Comment | Mode::Text, '\n') | (Mode::Text, '"') | (Mode::Raw, '`') => Mode::Code,
            (Mode::Text, '\\') => Mode::Escape,
            (Mode::Code, '(' | '[' | '{') => {
                depth = depth.saturating_add(1);
                if depth > DEPTH_MAX {
                    return Some((line, column));
                }
                Mode::Code
            }
            (Mode::Code, ')' | ']' | '}') => {
                depth = depth.saturating_sub(1);
                Mode::Code
            }
            (other, _) => other,
        };
        if letter == '\n' {
            line = line.saturating_add(1);
            column = 0;
        }
    }
    None
}
