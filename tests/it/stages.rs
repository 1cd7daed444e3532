//! A stage of the line that is left out, swapped or run with another call's permit does not compile.
//!
//! Each case is compiled by the toolchain's rustc against the gateway library that the build left
//! beside this test: a case has to fail with the error it names, and the case without a fault has
//! to compile, so that a broken setup cannot look like a proof.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Source after the common imports, and the error code that is wanted.
const CASES: &[(&str, &str, Option<&str>)] = &[
    (
        "in_order",
        "pub async fn f(g: &Gateway, c: Call, s: &Sink, t: &mut Trail) -> Result<decide::Answer, Stop> {
            let inspected = inspect::request(c).await;
            let decided = decide::request(g, inspected).await;
            let recorded = record::intent(g, decided, t).await?;
            let released = hold::run(g, recorded, s, t).await?;
            let response = forward::run(g, released, s, t).await?;
            let examined = inspect::response(response, t).await;
            decide::response(g, examined).await
        }",
        None,
    ),
    (
        "decision_not_recorded",
        "pub async fn f(g: &Gateway, c: Call, s: &Sink, t: &mut Trail) {
            let decided = decide::request(g, inspect::request(c).await).await;
            let _ = hold::run(g, decided, s, t).await;
        }",
        Some("E0308"),
    ),
    (
        "forwarded_without_hold",
        "pub async fn f(g: &Gateway, r: record::Recorded, s: &Sink, t: &mut Trail) {
            let _ = forward::run(g, r, s, t).await;
        }",
        Some("E0308"),
    ),
    (
        "policy_before_detectors",
        "pub async fn f(g: &Gateway, c: Call) { let _ = decide::request(g, c).await; }",
        Some("E0308"),
    ),
    (
        "answer_without_detectors",
        "pub async fn f(g: &Gateway, r: forward::Response) { let _ = decide::response(g, r).await; }",
        Some("E0308"),
    ),
    (
        "one_permit_used_twice",
        "pub async fn f(g: &Gateway, r: hold::Released, s: &Sink, t: &mut Trail) {
            let _ = forward::run(g, r, s, t).await;
            let _ = forward::run(g, r, s, t).await;
        }",
        Some("E0382"),
    ),
    (
        "a_permit_copied",
        "pub fn f(r: &hold::Released) -> hold::Released { r.clone() }",
        Some("E0308"),
    ),
    ("a_permit_from_nothing", "pub fn f() -> hold::Released { Default::default() }", Some("E0277")),
    (
        "a_permit_made_by_hand",
        "pub fn f(c: Call, m: Message) -> hold::Released {
            hold::Released { call: c, forward: m, approval: None }
        }",
        Some("E0451"),
    ),
    (
        "a_decision_made_by_hand",
        "pub fn f(d: decide::Decided) -> record::Recorded { record::Recorded { ..todo!() } }",
        Some("E0451"),
    ),
];

const IMPORTS: &str = "#![allow(unused_imports)]
use forge_gateway::call::{Sink, Stop, decide, forward, hold, inspect, record, record::Trail};
use forge_gateway::mcp::{catalog::Call, envelope::Message};
use forge_gateway::state::Gateway;
";

#[test]
fn a_stage_that_is_left_out_or_swapped_does_not_compile() {
    let deps = deps();
    let library = newest_library(&deps);
    let folder = std::env::temp_dir().join(format!("forge-stages-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let mut wrong = Vec::new();
    for (name, source, expected) in CASES {
        let file = folder.join(format!("{name}.rs"));
        std::fs::write(&file, format!("{IMPORTS}{source}\n")).unwrap();
        let output = Command::new("rustc")
            .args(["--edition", "2024", "--crate-type", "lib", "--emit", "metadata", "--out-dir"])
            .arg(&folder)
            .arg("--extern")
            .arg(format!("forge_gateway={}", library.display()))
            .arg("-L")
            .arg(format!("dependency={}", deps.display()))
            .arg(&file)
            .output()
            .expect("rustc is on the path");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let fits = match expected {
            None => output.status.success(),
            Some(code) => !output.status.success() && said.contains(&format!("error[{code}]")),
        };
        if !fits {
            wrong.push(format!("{name}: wanted {expected:?}\n{said}"));
        }
    }
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The folder that this test itself was linked in.
fn deps() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

fn newest_library(deps: &Path) -> PathBuf {
    let fits = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("libforge_gateway-") && name.ends_with(".rlib")
    };
    let found =
        std::fs::read_dir(deps).unwrap().filter_map(|entry| Some(entry.ok()?.path())).filter(fits);
    found
        .max_by_key(|path| path.metadata().and_then(|meta| meta.modified()).ok())
        .expect("build the workspace first: cargo build --workspace")
}
