//! The commands, with a checker that finds nothing: the real one runs in the end-to-end tests.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser;

use super::{PolicyArgs, run_with};

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: PolicyArgs,
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("forge-policy-cli-{}-{name}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// A checker that finds nothing. In the tree rather than written here: a program that was open for
/// writing when another test forked cannot be started.
fn checker() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/policy_checker.sh")
}

fn run(words: &[&str]) -> (u8, String) {
    let line = Line::try_parse_from(["policy"].iter().chain(words)).unwrap();
    let mut stdout = Vec::new();
    let code = run_with(line.args, &checker(), &mut stdout).unwrap();
    (code, String::from_utf8(stdout).unwrap())
}

fn starter() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../policies/rego/starter").display().to_string()
}

#[test]
fn check_prints_what_the_checker_said() {
    let (code, text) = run(&["check", &starter()]);
    assert_eq!((code, text.as_str()), (0, "r@1: 0 packages, 1 rules, 0 tests, no faults\n"));
    let (code, text) = run(&["check", &starter(), "--json"]);
    assert_eq!(code, 0);
    assert!(text.contains("\"report\""));
}

#[test]
fn test_runs_the_tests_that_match() {
    let (code, text) = run(&["test", &starter()]);
    assert_eq!(code, 0, "{text}");
    let (code, text) = run(&["test", &starter(), "--run", "admin_test\\.test_each"]);
    assert_eq!((code, text.as_str()), (0, "1 passed, 0 failed, 0 skipped\n"));
    let (code, _text) = run(&["test", &starter(), "--run", "nothing_is_called_so"]);
    assert_eq!(code, 3);
}

#[test]
fn a_test_that_fails_is_named_with_its_line() {
    let dir = scratch("failing");
    fs::write(dir.join("a.rego"), "package forge.org.request\nallow := true\n").unwrap();
    let tests = "package forge.org.request_test\ntest_good if true\ntest_bad if false\ntodo_test_later if false\n";
    fs::write(dir.join("a_test.rego"), tests).unwrap();
    let (code, text) = run(&["test", &dir.display().to_string(), "--coverage"]);
    assert_eq!(code, 3);
    assert!(text.contains("a_test.rego:3: FAIL data.forge.org.request_test.test_bad\n"), "{text}");
    assert!(text.contains("1 passed, 1 failed, 1 skipped\n"), "{text}");
}

#[test]
fn eval_prints_the_decision() {
    let dir = scratch("eval");
    let input = dir.join("input.json");
    fs::write(&input, include_str!("policy_input.json")).unwrap();
    let input = input.display().to_string();
    let (code, text) = run(&["eval", "--bundle", &starter(), "--input", &input]);
    assert_eq!(code, 0);
    let decision: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(decision["effect"], "require_approval");
    assert_eq!(decision["reasons"][0]["id"], "transfer.large");
    assert_eq!(decision["reasons"][0]["file"], "demo_transfer_funds.rego");
    assert_eq!(decision["approval"]["required"][0]["approvers"][0], "role:approver");
    let (_code, text) =
        run(&["eval", "--bundle", &starter(), "--input", &input, "--phase", "admin"]);
    let decision: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(decision["reasons"][0]["id"], "default.deny");
}
