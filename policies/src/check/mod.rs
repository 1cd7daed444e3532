//! Everything that can be said about a bundle without evaluating it; all faults at once.
//!
//! The gateway calls this only in a child process with limits: a parser that hangs and a compiler
//! that overflows its stack are the child's end and a refused bundle. What can be seen without
//! parsing (`scan`) and before compiling (`graph`) is seen first all the same.

pub mod code;

mod builtins;
mod graph;
mod items;
mod json;
pub(crate) mod names;
mod paths;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forge_schemas::policy::Phase;
use serde::{Deserialize, Serialize};

#[cfg(test)]
pub(crate) use graph::CALL_DEPTH_MAX;
pub(crate) use items::literal_ids;
pub use json::{CheckRequest, CheckResponse, check_json};

use crate::bundle::{Bundle, Source};
use crate::engine::{self, Evaluator, Located};
use crate::layout::{Entry, Layer, Place, place};
use crate::scan;
use crate::syntax::{At, Module};
use crate::unit;

/// One thing wrong at one place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Path in the bundle; empty if it is about the bundle.
    pub file: String,
    /// From 1; 0 if it is about the file.
    pub line: u32,
    /// From 1; 0 if it is about the file.
    pub column: u32,
    /// Stable code.
    pub code: String,
    /// A sentence that says what to do.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(file: &str, line: u32, column: u32, code: &str, message: String) -> Self {
        Self { file: file.to_owned(), line, column, code: code.to_owned(), message }
    }

    fn at(file: &str, at: At, code: &str, message: impl Into<String>) -> Self {
        Self::new(file, at.line, at.column, code, message.into())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { file, line, column, code, message } = self;
        write!(f, "{file}:{line}:{column}: {code}: {message}")
    }
}

/// What a bundle without faults contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckReport {
    /// `NAME@DIGITS`.
    pub revision: String,
    /// Digest of the bundle.
    pub digest: String,
    /// Packages that the host evaluates, as Rego writes them.
    pub entry_packages: Vec<String>,
    /// Rules that are not tests.
    pub rules: usize,
    /// Rules that are tests.
    pub tests: usize,
    /// What is suspicious but not wrong.
    pub warnings: Vec<Fault>,
}

/// Modules of a bundle that has passed every check but the compilers'.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) modules: Vec<Module>,
    pub(crate) data: serde_json::Value,
    pub(crate) warnings: Vec<Fault>,
}

/// Checks a bundle.
///
/// # Errors
/// Every fault that was found, in order of file, line and column.
pub fn check(bundle: &Bundle) -> Result<CheckReport, Vec<Fault>> {
    let mut checked = analyse(bundle)?;
    let (mut faults, mut warnings) = (Vec::new(), std::mem::take(&mut checked.warnings));
    let specs = unit::specs(&checked.modules);
    for spec in &specs {
        faults.extend(compile(bundle, &checked, spec, &mut warnings));
    }
    if faults.is_empty() {
        faults.extend(compile_tests(bundle, &checked));
    }
    if !faults.is_empty() {
        return Err(sorted(faults));
    }
    let is_test = |module: &&Module| place(&module.package) == Place::Test;
    let rules = |tests: bool| -> usize {
        let chosen = checked.modules.iter().filter(|module| is_test(module) == tests);
        chosen.map(|module| module.rules.len()).sum()
    };
    Ok(CheckReport {
        revision: bundle.revision().to_owned(),
        digest: bundle.digest().to_string(),
        entry_packages: specs.iter().map(unit::Spec::reference).collect(),
        rules: rules(false),
        tests: rules(true),
        warnings: sorted(warnings),
    })
}

/// The checks that need only the syntax tree. Whoever loads a bundle runs them again: they are
/// quick, and a bundle that was not checked in a child process must not get past them.
pub(crate) fn analyse(bundle: &Bundle) -> Result<Checked, Vec<Fault>> {
    let faults = scan::scan(bundle);
    if !faults.is_empty() {
        return Err(sorted(faults));
    }
    let (mut modules, mut faults) = (Vec::new(), Vec::new());
    for source in bundle.sources().iter().filter(|source| source.is_rego()) {
        match engine::parse(source) {
            Ok(module) => modules.push(module),
            Err(fault) => faults.push(*fault),
        }
    }
    let data = json::data(bundle).unwrap_or_else(|found| {
        faults.extend(found);
        serde_json::Value::Null
    });
    let mut warnings = Vec::new();
    for module in &modules {
        faults.extend(packages(module, &mut warnings));
        faults.extend(items::entries(module, &mut warnings));
    }
    // Names are looked up across files: with one file missing, every use of it would be a fault.
    if modules.len() == bundle.sources().iter().filter(|source| source.is_rego()).count() {
        let symbols = names::Symbols::new(&modules, &data);
        for module in &modules {
            faults.extend(names::check(module, &symbols));
            faults.extend(builtins::check(module, &symbols));
            faults.extend(paths::check(module, &symbols));
        }
        faults.extend(graph::check(&modules, &symbols));
    }
    if !faults.is_empty() {
        return Err(sorted(faults));
    }
    warnings.extend(closed_phases(&modules));
    Ok(Checked { modules, data, warnings: sorted(warnings) })
}

fn sorted(faults: Vec<Fault>) -> Vec<Fault> {
    let unique: BTreeSet<Fault> = faults.into_iter().collect();
    unique.into_iter().collect()
}

/// The package stands where the host looks, and tests stand in test files.
fn packages(module: &Module, warnings: &mut Vec<Fault>) -> Option<Fault> {
    let found = place(&module.package);
    let is_test_file = module.file.ends_with("_test.rego");
    if is_test_file != (found == Place::Test) {
        let sentence =
            "a package of tests ends in _test and is in a file *_test.rego, and nothing else is";
        return Some(Fault::at(&module.file, module.at, code::TEST_PACKAGE, sentence));
    }
    match found {
        Place::Refused(sentence) => {
            Some(Fault::at(&module.file, module.at, code::PACKAGE, sentence))
        }
        Place::Foreign => {
            let sentence =
                "the host never reads this package; if it is a library, call it forge.lib.<name>";
            warnings.push(Fault::at(&module.file, module.at, code::FOREIGN, sentence));
            None
        }
        Place::Entry { .. } | Place::Library | Place::Test => None,
    }
}

/// Phases in which the mandatory package is missing, so that everything is refused.
fn closed_phases(modules: &[Module]) -> Vec<Fault> {
    let present: BTreeSet<Phase> = modules
        .iter()
        .filter_map(|module| {
            let found = place(&module.package);
            if let Place::Entry { layer: Layer::Org, phase, .. } = found {
                Some(phase)
            } else {
                None
            }
        })
        .collect();
    let needed = [Phase::Request, Phase::List, Phase::Approve, Phase::Admin];
    let missing = needed.into_iter().filter(|phase| !present.contains(phase));
    let fault = |phase: Phase| {
        let word = phase.as_str();
        let sentence = format!(
            "there is no package forge.org.{word}, so everything in phase {word} is refused"
        );
        Fault::new("", 0, 0, code::CLOSED, sentence)
    };
    missing.map(fault).collect()
}

const WALL: Duration = Duration::from_secs(5);

/// A fault of the interpreter's own compiler, or a suspicion of the bytecode compiler.
fn compile(
    bundle: &Bundle,
    checked: &Checked,
    spec: &unit::Spec,
    warnings: &mut Vec<Fault>,
) -> Option<Fault> {
    let loaded = Evaluator::load(&spec.sources(bundle), &checked.data, unit::ANSWER, WALL);
    match loaded {
        Err(found) => Some(placed(spec.file(), found)),
        Ok(evaluator) => {
            let suspicion = evaluator.lint(unit::ANSWER);
            warnings.extend(suspicion.map(|found| Fault {
                code: code::SUSPICIOUS.to_owned(),
                ..placed(spec.file(), found)
            }));
            None
        }
    }
}

/// Tests are prepared too, so that a broken test file is a fault of the bundle.
fn compile_tests(bundle: &Bundle, checked: &Checked) -> Option<Fault> {
    let tests = checked.modules.iter().filter(|module| place(&module.package) == Place::Test);
    let first = tests
        .flat_map(|module| module.rules.iter().map(move |rule| (module, rule)))
        .find_map(|(module, rule)| {
            let path = format!("{}.{}", crate::layout::reference(&module.package), rule.name);
            rule.name.starts_with("test_").then_some(path)
        })?;
    let sources = bundle.sources().iter().filter(|source| Source::is_rego(source));
    let loaded = Evaluator::load(sources, &checked.data, &first, WALL);
    loaded.err().map(|found| placed("", found))
}

pub(crate) fn placed(file: &str, found: Located) -> Fault {
    let (file, line, column) = found.place.unwrap_or_else(|| (file.to_owned(), 0, 0));
    Fault::new(&file, line, column, code::LOAD, found.sentence)
}

/// Rules by name, for the checks that look at entries.
type Ids = BTreeMap<(Entry, String), At>;
