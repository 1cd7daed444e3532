//! How the story is printed: short labels, lines of at most 100 columns, colour on terminals.

use std::io::{IsTerminal as _, Write};
use std::path::Path;

use crate::approval::display::safe_text;
use crate::config::Surroundings;

/// Where the story goes.
pub(super) struct Voice {
    out: Box<dyn Write + Send>,
    colour: bool,
}

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tint {
    /// As it is.
    Plain,
    /// A heading.
    Strong,
    /// Allowed, in order.
    Good,
    /// Refused.
    Bad,
    /// Held, or redacted.
    Held,
}

impl Tint {
    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Strong => "\x1b[1m",
            Self::Good => "\x1b[32m",
            Self::Bad => "\x1b[31m",
            Self::Held => "\x1b[33m",
        }
    }
}

impl Voice {
    /// To stdout; in colour on a terminal, unless `NO_COLOR` says otherwise.
    pub(super) fn stdout() -> Self {
        let env = Surroundings::of(Path::new(".")).env;
        let plain = env("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = env("TERM").is_none_or(|term| term == "dumb");
        let colour = std::io::stdout().is_terminal() && !plain && !dumb;
        Self { out: Box::new(std::io::stdout()), colour }
    }

    #[cfg(test)]
    pub(super) fn to(out: Box<dyn Write + Send>) -> Self {
        Self { out, colour: false }
    }

    /// A heading after an empty line.
    pub(super) fn heading(&mut self, text: &str) -> std::io::Result<()> {
        writeln!(self.out)?;
        self.tinted(text, Tint::Strong)
    }

    /// A sentence, wrapped.
    pub(super) fn say(&mut self, text: &str) -> std::io::Result<()> {
        for line in wrapped(text, WIDTH) {
            writeln!(self.out, "{line}")?;
        }
        self.out.flush()
    }

    /// A label and what belongs to it, wrapped under itself. Control characters are escaped.
    pub(super) fn fact(&mut self, label: &str, text: &str, tint: Tint) -> std::io::Result<()> {
        let lines = wrapped(&safe_text(text), WIDTH.saturating_sub(INDENT));
        for (index, line) in lines.iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            write!(self.out, "   {label:<11} ")?;
            self.tinted(line, tint)?;
        }
        self.out.flush()
    }

    /// Text to copy: as it is, not wrapped.
    pub(super) fn copy(&mut self, text: &str) -> std::io::Result<()> {
        writeln!(self.out, "{text}")?;
        self.out.flush()
    }

    fn tinted(&mut self, text: &str, tint: Tint) -> std::io::Result<()> {
        if self.colour && tint != Tint::Plain {
            writeln!(self.out, "{}{text}\x1b[0m", tint.code())
        } else {
            writeln!(self.out, "{text}")
        }
    }
}

/// Lines of at most `width` characters, broken at spaces; a longer word is broken where it ends.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut rest = word.to_owned();
        loop {
            let gap = usize::from(!line.is_empty());
            let used = line.chars().count().saturating_add(gap);
            let length = rest.chars().count();
            if used.saturating_add(length) <= width {
                if gap == 1 {
                    line.push(' ');
                }
                line.push_str(&rest);
                break;
            }
            if !line.is_empty() {
                lines.push(std::mem::take(&mut line));
                continue;
            }
            lines.push(rest.chars().take(width).collect());
            rest = rest.chars().skip(width).collect();
        }
    }
    lines.push(line);
    lines
}

const WIDTH: usize = 100;
const INDENT: usize = 15;
