//! Opening the tar file and checking the bag in it (RFC 8493), within limits.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::Read;

use forge_schemas::digest::{Digest, unhex};
use forge_schemas::verdict::ProblemCode;

use super::{Files, Limits, Problems};
use crate::pack;

/// Reads all files of the pack into memory. Links, devices, absolute paths, `..`, files that stand
/// there twice and whatever exceeds the limits are problems and are not read.
pub(crate) fn unpack(pack: &mut dyn Read, limits: &Limits, problems: &mut Problems) -> Files {
    let mut files = Files::new();
    let mut total = 0_u64;
    let mut archive = tar::Archive::new(pack);
    let entries = match archive.entries() {
        Ok(entries) => entries,
        Err(error) => {
            let sentence = format!("The pack is not a tar file: {error}.");
            problems.add(ProblemCode::SchemaInvalid, "pack", sentence);
            return files;
        }
    };
    for entry in entries {
        let mut entry = match entry {
            Ok(entry) => entry,
            Err(error) => {
                let sentence = format!("The tar file breaks off or is damaged: {error}.");
                problems.add(ProblemCode::BagAltered, "pack", sentence);
                return files;
            }
        };
        let bytes = entry.path_bytes().into_owned();
        let shown: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
        if files.len() >= limits.files_max {
            let sentence = format!("The pack has more than {} files.", limits.files_max);
            problems.add(ProblemCode::SchemaInvalid, "pack", sentence);
            return files;
        }
        if entry.header().entry_type().is_dir() {
            continue;
        }
        let Some(path) = inside(&bytes).filter(|_| entry.header().entry_type().is_file()) else {
            let sentence = "This is not a regular file under the pack's folder.";
            problems.add(ProblemCode::SchemaInvalid, shown, sentence);
            continue;
        };
        total = total.saturating_add(entry.size());
        if entry.size() > limits.file_bytes_max || total > limits.total_bytes_max {
            let sentence = "The file is larger than this verifier reads.";
            problems.add(ProblemCode::SchemaInvalid, shown, sentence);
            return files;
        }
        let mut content = Vec::new();
        if let Err(error) = entry.by_ref().take(limits.file_bytes_max).read_to_end(&mut content) {
            let sentence = format!("The file breaks off: {error}.");
            problems.add(ProblemCode::BagAltered, shown, sentence);
            return files;
        }
        if u64::try_from(content.len()) != Ok(entry.size()) {
            problems.add(ProblemCode::BagAltered, shown, "The file breaks off.");
            return files;
        }
        match files.entry(path) {
            Entry::Vacant(place) => {
                place.insert(content);
            }
            Entry::Occupied(place) => {
                let sentence = "The file stands in the pack twice.";
                problems.add(ProblemCode::BagAltered, place.key().clone(), sentence);
            }
        }
    }
    files
}

/// The path inside the bag; `None` for what is not in the folder or tries to leave it.
fn inside(path: &[u8]) -> Option<String> {
    let path = str::from_utf8(path).ok()?.strip_prefix(pack::FOLDER)?.strip_prefix('/')?;
    let plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    let clean = path.split('/').all(plain) && !path.chars().any(char::is_control);
    clean.then(|| path.to_owned())
}

/// Compares the files with the bag's manifests.
pub(crate) fn check(files: &Files, problems: &mut Problems) {
    let mut bad = |place: &str, sentence: &str| {
        problems.add(ProblemCode::BagAltered, place, sentence);
    };
    if files.get("bagit.txt").map(Vec::as_slice) != Some(pack::BAGIT.as_bytes()) {
        bad("bagit.txt", "The bag's declaration is missing or another.");
    }
    for (name, payload) in [(pack::MANIFEST, true), (pack::TAG_MANIFEST, false)] {
        let belongs = |path: &str| match path {
            pack::TAG_MANIFEST | pack::SIGNATURE => false,
            path => path.starts_with("data/") == payload,
        };
        let Some(listed) = files.get(name).and_then(|bytes| lines(bytes)) else {
            bad(name, "The manifest is missing or cannot be read.");
            continue;
        };
        for (path, bytes) in files.iter().filter(|(path, _)| belongs(path)) {
            match listed.get(path.as_str()) {
                None => bad(path, "The file is in the pack, but in no manifest."),
                Some(digest) if *digest != Digest::of(bytes) => {
                    bad(path, "The file is not what the manifest says.");
                }
                Some(_) => {}
            }
        }
        for path in listed.keys() {
            if !belongs(path) {
                bad(path, "The file stands in a manifest that is not for it.");
            } else if !files.contains_key(*path) {
                bad(path, "The manifest names the file, but the pack does not have it.");
            }
        }
    }
}

/// Lines `DIGEST  PATH`; `None` if one has another form or a path stands twice.
fn lines(bytes: &[u8]) -> Option<BTreeMap<&str, Digest>> {
    let mut listed = BTreeMap::new();
    for line in str::from_utf8(bytes).ok()?.strip_suffix('\n')?.split('\n') {
        let (digest, path) = line.split_once("  ")?;
        let digest: [u8; 32] = unhex(digest)?.try_into().ok()?;
        if listed.insert(path, Digest::from_bytes(digest)).is_some() {
            return None;
        }
    }
    Some(listed)
}
