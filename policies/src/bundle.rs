//! A bundle: the sources of a policy, their digest and their revision.
//!
//! Three sorts of file are taken: `*.rego`, `data.json` (its folder is its path under `data`, as
//! in OPA bundles) and `.manifest`. Anything else is refused rather than ignored, `data.yaml`
//! included. Nothing is read from disk here.

use std::collections::BTreeMap;

use forge_schemas::digest::Digest;
use serde::{Deserialize, Serialize};

/// One file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Relative path with `/`, as faults and reasons show it.
    pub path: String,
    /// The content.
    pub text: String,
}

/// What a bundle cannot be made of.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// Nothing in it.
    #[error("the bundle has no .rego file")]
    Empty,
    /// Two files of one name.
    #[error("{path} is in the bundle twice")]
    Twice {
        /// The file.
        path: String,
    },
    /// Absolute, with `..`, with a backslash or empty.
    #[error("{path:?} is not a relative path inside the bundle")]
    Path {
        /// The file.
        path: String,
    },
    /// A sort of file that is not read.
    #[error("{path} is not read: a bundle has *.rego, data.json and .manifest")]
    Kind {
        /// The file.
        path: String,
    },
    /// `.manifest` is not what OPA writes.
    #[error(".manifest is not valid: {detail}")]
    Manifest {
        /// Why.
        detail: String,
    },
}

/// The sources of one policy, in the order of their paths. Immutable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    sources: Vec<Source>,
    revision: String,
    digest: Digest,
}

/// OPA's `.manifest`; members that the gateway does not use are taken and left alone.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    #[serde(default)]
    revision: String,
    #[serde(default)]
    rego_version: Option<u8>,
    #[serde(default)]
    #[expect(dead_code, reason = "OPA writes it; roots matter where several bundles are merged")]
    roots: Vec<String>,
    #[serde(default)]
    #[expect(dead_code, reason = "OPA writes it")]
    metadata: BTreeMap<String, serde_json::Value>,
}

const MANIFEST: &str = ".manifest";

impl Bundle {
    /// Sorts the sources and takes their digest.
    ///
    /// # Errors
    /// If there is no Rego in it, a path occurs twice or is not a plain relative path, a file is
    /// of a sort that is not read, or the manifest is not valid.
    pub fn new(mut sources: Vec<Source>) -> Result<Self, BundleError> {
        sources.sort_by(|left, right| left.path.cmp(&right.path));
        for pair in sources.windows(2) {
            if let [left, right] = pair
                && left.path == right.path
            {
                return Err(BundleError::Twice { path: left.path.clone() });
            }
        }
        let mut manifest = Manifest::default();
        for source in &sources {
            check_path(&source.path)?;
            if source.path == MANIFEST {
                manifest = parse_manifest(&source.text)?;
            }
        }
        if !sources.iter().any(|source| source.path.ends_with(".rego")) {
            return Err(BundleError::Empty);
        }
        let digest = digest(&sources);
        let name = if manifest.revision.is_empty() { "local" } else { &manifest.revision };
        let short: String = digest.hex().chars().take(7).collect();
        let revision = format!("{name}@{short}");
        Ok(Self { sources, revision, digest })
    }

    /// The files, sorted by path.
    #[must_use]
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// `NAME@DIGITS`: the manifest's revision (or `local`) and the first seven digits of the digest.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// Digest over the names and contents of all files.
    #[must_use]
    pub const fn digest(&self) -> Digest {
        self.digest
    }
}

impl Source {
    /// Rego, tests included.
    pub(crate) fn is_rego(&self) -> bool {
        self.path.ends_with(".rego")
    }

    /// A data document.
    pub(crate) fn is_data(&self) -> bool {
        self.path == "data.json" || self.path.ends_with("/data.json")
    }
}

fn check_path(path: &str) -> Result<(), BundleError> {
    let plain = !path.is_empty()
        && path.len() <= 512
        && !path.contains(['\\', '\0', '\n'])
        && path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
    if !plain {
        return Err(BundleError::Path { path: path.to_owned() });
    }
    let read = path == MANIFEST
        || path.ends_with(".rego")
        || path == "data.json"
        || path.ends_with("/data.json");
    if read { Ok(()) } else { Err(BundleError::Kind { path: path.to_owned() }) }
}

fn parse_manifest(text: &str) -> Result<Manifest, BundleError> {
    let refuse = |detail: String| BundleError::Manifest { detail };
    let manifest: Manifest =
        serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
    if manifest.rego_version.is_some_and(|version| version != 1) {
        return Err(refuse("rego_version has to be 1".to_owned()));
    }
    let plain = manifest.revision.len() <= 64
        && manifest
            .revision
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if plain {
        Ok(manifest)
    } else {
        Err(refuse("revision is at most 64 of a-z A-Z 0-9 . _ -".to_owned()))
    }
}

/// SHA-256 over, for each file in order, the digests of its path and of its text: every part has
/// a fixed length, so no two bundles share one.
fn digest(sources: &[Source]) -> Digest {
    let parts: Vec<[u8; 32]> = sources
        .iter()
        .flat_map(|source| [&source.path, &source.text])
        .map(|part| *Digest::of(part.as_bytes()).as_bytes())
        .collect();
    let parts: Vec<&[u8]> = parts.iter().map(<[u8; 32]>::as_slice).collect();
    Digest::of_parts(&parts)
}
