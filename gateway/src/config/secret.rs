//! References to secrets (contract §7): `{ env = "NAME" }`, `{ file = "PATH" }`,
//! `{ command = ["PROGRAM", "ARG"] }`. Never literals.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use zeroize::Zeroizing;

use super::reader::Section;

/// A resolved secret: not printed, wiped when dropped.
#[derive(Clone)]
pub(super) struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where relative paths begin, and what the environment holds: read once, here.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// Folder of the configuration file.
    pub base: PathBuf,
    /// The environment, as a function so that tests bring their own.
    pub env: fn(&str) -> Option<String>,
}

impl Surroundings {
    /// The process's own environment.
    #[must_use]
    pub fn of(base: &Path) -> Self {
        Self { base: base.to_owned(), env: environment }
    }

    /// A path relative to the configuration file.
    #[must_use]
    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.base.join(path)
    }
}

#[expect(clippy::disallowed_methods, reason = "the one place where the environment is read")]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Reads and resolves a reference.
pub(super) fn resolve(mut reference: Section, around: &Surroundings) -> Option<Secret> {
    let (env, file, command) =
        (reference.text("env"), reference.text("file"), reference.texts("command"));
    let found = match (&env, &file, &command) {
        (Some(name), None, None) => {
            (around.env)(name).ok_or(format!("the environment has no {name}"))
        }
        (None, Some(path), None) => {
            std::fs::read_to_string(around.path(path)).map_err(|fault| fault.to_string())
        }
        (None, None, Some(words)) => run(words),
        _ => Err("not exactly one of env, file, command".to_owned()),
    };
    let secret = match found {
        Ok(text) if text.trim().is_empty() => Err("an empty secret".to_owned()),
        Ok(text) => Ok(Secret(Zeroizing::new(text.trim().to_owned()))),
        Err(fault) => Err(fault),
    };
    let secret = secret.map_err(|seen| {
        reference.report(reference.path(), seen, "a reference to a secret that can be read");
    });
    reference.end();
    secret.ok()
}

fn run(words: &[String]) -> Result<String, String> {
    let (program, args) = words.split_first().ok_or("an empty command")?;
    let output = Command::new(program).args(args).output().map_err(|fault| fault.to_string())?;
    if !output.status.success() {
        return Err(format!("{program} ended with {}", output.status));
    }
    String::from_utf8(output.stdout).map_err(|_not_text| format!("{program} did not print UTF-8"))
}
