//! Reads a policy bundle from a directory, within limits.
//!
//! Taken are `*.rego`, `data.json` and `.manifest`; `data.yaml` is refused, because leaving data out
//! silently would change what rules say; any other file is none of our business. Entries that begin
//! with a dot are passed over (Kubernetes keeps its `..data` there), links to files are followed.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use forge_policies::{Bundle, BundleError, FILE_BYTES_MAX, FILES_MAX, Limits, Source};

/// Deepest folder that is looked into.
const DEPTH_MAX: usize = 8;
/// Most entries that are looked at, files of no interest included.
const ENTRIES_MAX: usize = 10_000;

/// The directory is no bundle.
#[derive(Debug, thiserror::Error)]
pub enum BundleLoadError {
    /// The system said no.
    #[error("{path} cannot be read", path = .path.display())]
    Io {
        /// What was to be read.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// More than a bundle may have.
    #[error("{path} is over the limit of {what}", path = .path.display())]
    Limit {
        /// Where.
        path: PathBuf,
        /// Which limit.
        what: String,
    },
    /// A data document in a form that is not read.
    #[error("{path} is not read; write it as data.json", path = .path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
    },
    /// The file or its name is not UTF-8.
    #[error("{path} is not UTF-8", path = .path.display())]
    Text {
        /// The file.
        path: PathBuf,
    },
    /// The files do not make a bundle.
    #[error("{path} is not a policy bundle", path = .path.display())]
    Bundle {
        /// The directory.
        path: PathBuf,
        /// Why not.
        #[source]
        source: BundleError,
    },
}

/// What this gateway can carry out of a policy's duties, and how long one evaluation may take.
///
/// `log` needs nothing: every decision is in evidence. Rates and budgets are not enforced yet, so a
/// policy that sets one refuses the call.
#[must_use]
pub fn limits() -> Limits {
    let obligations = ["log".to_owned()].into();
    Limits { wall: Duration::from_secs(2), obligations, enforces_limits: false }
}

/// Reads the bundle in `dir`.
///
/// # Errors
/// If a file cannot be read, is not UTF-8 or over a limit, or the files do not make a bundle.
pub fn load(dir: &Path) -> Result<Bundle, BundleLoadError> {
    Bundle::new(read_dir(dir)?)
        .map_err(|source| BundleLoadError::Bundle { path: dir.to_owned(), source })
}

/// Reads the files of a bundle.
///
/// # Errors
/// If a file cannot be read, is not UTF-8 or over a limit.
pub fn read_dir(dir: &Path) -> Result<Vec<Source>, BundleLoadError> {
    let mut reader = Reader { entries: 0, sources: Vec::new() };
    reader.folder(dir, "", 0)?;
    Ok(reader.sources)
}

struct Reader {
    entries: usize,
    sources: Vec<Source>,
}

impl Reader {
    fn folder(&mut self, dir: &Path, prefix: &str, depth: usize) -> Result<(), BundleLoadError> {
        if depth > DEPTH_MAX {
            return Err(over(dir, format!("{DEPTH_MAX} folders inside each other")));
        }
        let failed = |source| BundleLoadError::Io { path: dir.to_owned(), source };
        for entry in fs::read_dir(dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            self.entries = self.entries.saturating_add(1);
            if self.entries > ENTRIES_MAX {
                return Err(over(dir, format!("{ENTRIES_MAX} entries")));
            }
            self.entry(&entry, prefix, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        entry: &fs::DirEntry,
        prefix: &str,
        depth: usize,
    ) -> Result<(), BundleLoadError> {
        let path = entry.path();
        let name = entry.file_name();
        let Some(name) = name.to_str() else { return Err(BundleLoadError::Text { path }) };
        if name.starts_with('.') && name != ".manifest" {
            return Ok(());
        }
        let inside = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}/{name}") };
        let kind = entry
            .file_type()
            .map_err(|source| BundleLoadError::Io { path: path.clone(), source })?;
        if kind.is_dir() {
            return self.folder(&path, &inside, depth.saturating_add(1));
        }
        if matches!(name, "data.yaml" | "data.yml") {
            return Err(BundleLoadError::Yaml { path });
        }
        // The manifest counts at the top only, as in OPA.
        let manifest = name == ".manifest" && prefix.is_empty();
        if manifest
            || Path::new(name).extension().is_some_and(|end| end == "rego")
            || name == "data.json"
        {
            if self.sources.len() >= FILES_MAX {
                return Err(over(&path, format!("{FILES_MAX} files")));
            }
            let text = text(&path)?;
            self.sources.push(Source { path: inside, text });
        }
        Ok(())
    }
}

fn over(path: &Path, what: String) -> BundleLoadError {
    BundleLoadError::Limit { path: path.to_owned(), what }
}

/// The file's text; never more than the limit is read, whatever its size claims to be.
fn text(path: &Path) -> Result<String, BundleLoadError> {
    let failed = |source| BundleLoadError::Io { path: path.to_owned(), source };
    let file = fs::File::open(path).map_err(failed)?;
    let most = u64::try_from(FILE_BYTES_MAX).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > FILE_BYTES_MAX {
        return Err(over(path, format!("{FILE_BYTES_MAX} bytes")));
    }
    String::from_utf8(bytes).map_err(|_error| BundleLoadError::Text { path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(name: &str, files: &[(&str, &[u8])]) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("forge-bundle-{}-{name}", std::process::id()));
        if dir.exists() {
            fs::remove_dir_all(&dir).unwrap();
        }
        for (path, bytes) in files {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        dir
    }

    #[test]
    fn a_directory_becomes_a_bundle_of_what_counts() {
        let dir = folder(
            "good",
            &[
                ("a.rego", b"package a"),
                ("sub/b.rego", b"package b"),
                ("known/data.json", b"{}"),
                (".manifest", b"{\"revision\": \"r\"}"),
                ("README.md", b"\xff"),
                ("..data/a.rego", b"\xff"),
                ("sub/.manifest", b"nothing"),
            ],
        );
        let bundle = load(&dir).unwrap();
        let paths: Vec<&str> = bundle.sources().iter().map(|source| source.path.as_str()).collect();
        assert_eq!(paths, [".manifest", "a.rego", "known/data.json", "sub/b.rego"]);
        assert!(bundle.revision().starts_with("r@"));
    }

    #[test]
    fn what_would_be_left_out_silently_is_refused() {
        let large = vec![b' '; FILE_BYTES_MAX + 1];
        type Files<'a> = &'a [(&'a str, &'a [u8])];
        let cases: &[(&str, Files<'_>)] = &[
            ("yaml", &[("a.rego", b"package a"), ("data.yaml", b"a: 1")]),
            ("utf8", &[("a.rego", b"\xff")]),
            ("large", &[("a.rego", &large)]),
            ("empty", &[("x.txt", b"")]),
            ("deep", &[("1/2/3/4/5/6/7/8/9/a.rego", b"package a")]),
        ];
        for (name, files) in cases {
            assert!(load(&folder(name, files)).is_err(), "{name}");
        }
        assert!(load(Path::new("/nowhere")).is_err());
    }
}
