//! House rules that a compiler does not check: who may depend on what, who may import what, how
//! long a file may be, and that the dependency tree does not grow unnoticed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Packages in `Cargo.lock` when this number was last reviewed. More than five above it needs a
/// line in an ADR and a new number here; so does a tree that has shrunk by more than that.
const LOCKED_PACKAGES: usize = 333;

/// Packages of this workspace that each package may depend on (architecture §1).
const EDGES: [(&str, &[&str]); 6] = [
    ("forge-schemas", &[]),
    ("forge-policies", &["forge-schemas"]),
    ("forge-detectors", &["forge-schemas"]),
    ("forge-evidence", &["forge-schemas"]),
    ("forge-gateway", &["forge-schemas", "forge-policies", "forge-detectors", "forge-evidence"]),
    (
        "forge-tests",
        &["forge-schemas", "forge-policies", "forge-detectors", "forge-evidence", "forge-gateway"],
    ),
];

/// The pure packages use none of these outside their own tests.
const PURE: [&str; 3] = ["forge-policies", "forge-detectors", "forge-evidence"];
const IMPURE: [&str; 10] =
    ["tokio", "axum", "hyper", "reqwest", "sqlx", "rmcp", "rustix", "uuid", "rand", "getrandom"];

/// A library and the only places that may name it (architecture §3.12).
const IMPORTS: [(&str, &[&str]); 4] = [
    ("axum", &["gateway/src/http/"]),
    ("sqlx", &["gateway/src/store/"]),
    ("rmcp", &["gateway/src/mcp/", "gateway/src/upstream/"]),
    ("regorus", &["policies/src/engine.rs", "policies/src/engine/"]),
];

const LINES_MAX: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace").to_owned()
}

/// Every Rust file of the workspace, by its path from the root.
fn sources() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let folders = ["schemas", "policies", "detectors", "evidence", "gateway", "tests"];
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| root().join(folder)).collect();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let foreign = name.starts_with('.') || name == "target" || name == "node_modules";
                if !foreign {
                    open.push(path);
                }
            } else if name.ends_with(".rs") {
                let short = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(short, std::fs::read_to_string(&path).unwrap());
            }
        }
    }
    assert!(found.len() > 30, "the search for sources is broken");
    found
}

/// Tests are counted apart: their own files, and nothing below `#[cfg(test)] mod … {`.
fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/") || path.starts_with("tests/it/")
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Direct dependencies of a package: (name, is it only for its tests).
fn dependencies(package: &Value) -> Vec<(String, bool)> {
    let list = package["dependencies"].as_array().unwrap();
    list.iter()
        .map(|one| (one["name"].as_str().unwrap().to_owned(), one["kind"] == "dev"))
        .collect()
}

#[test]
fn dependencies_run_one_way() {
    let metadata = metadata();
    let allowed = BTreeMap::from(EDGES);
    let packages = metadata["packages"].as_array().unwrap();
    assert_eq!(packages.len(), EDGES.len(), "a new package needs its line in EDGES");
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let may = allowed.get(name).unwrap_or_else(|| panic!("{name} has no line in EDGES"));
        for (dependency, _) in dependencies(package) {
            let inside = dependency.starts_with("forge-");
            assert!(!inside || may.contains(&dependency.as_str()), "{name} -> {dependency}");
        }
    }
}

#[test]
fn pure_packages_do_no_io() {
    for package in metadata()["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if !PURE.contains(&name) {
            continue;
        }
        for (dependency, only_tests) in dependencies(package) {
            let impure = IMPURE.contains(&dependency.as_str());
            assert!(only_tests || !impure, "{name} -> {dependency}");
        }
    }
}

/// Does `code` name the library: as a path or in a `use`.
fn names(code: &str, library: &str) -> bool {
    let path = format!("{library}::");
    code.match_indices(&path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
    }) || code.trim_start().starts_with(&format!("use {library};"))
}

#[test]
fn libraries_stay_behind_their_modules() {
    for (path, text) in sources() {
        if path.starts_with("tests/") || is_test(&path) {
            continue;
        }
        for (library, places) in IMPORTS {
            if places.iter().any(|place| path.starts_with(place)) {
                continue;
            }
            let lines = text.lines().enumerate();
            for (number, line) in lines.filter(|(_, line)| !line.trim_start().starts_with("//")) {
                assert!(!names(line, library), "{path}:{} names {library}", number + 1);
            }
        }
    }
}

#[test]
fn every_file_says_what_it_is() {
    for (path, text) in sources() {
        // Cases for trybuild are read by the compiler and nobody else.
        let case = path.starts_with("gateway/tests/") && path.matches('/').count() > 2;
        assert!(case || text.starts_with("//! "), "{path} has no //! header");
    }
}

#[test]
fn files_stay_short() {
    for (path, text) in sources() {
        let body = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        let lines = body.lines().count();
        assert!(is_test(&path) || lines <= LINES_MAX, "{path} has {lines} lines");
    }
}

#[test]
fn the_dependency_tree_grows_only_on_purpose() {
    let lock = std::fs::read_to_string(root().join("Cargo.lock")).unwrap();
    let packages = lock.matches("\n[[package]]\n").count();
    assert!(
        packages.abs_diff(LOCKED_PACKAGES) <= 5,
        "Cargo.lock has {packages} packages and had {LOCKED_PACKAGES}: write the ADR line, then \
         the number"
    );
}
