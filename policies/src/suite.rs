//! Tests written in Rego: rules `test_…` in packages `…_test`, as OPA has them.
//!
//! A test passes if it is `true`, fails if it is anything else or undefined, and is an error if it
//! cannot be evaluated. `todo_test_…` is skipped. The evaluator is the one that decides calls.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::bundle::{Bundle, Source};
use crate::check::{self, Checked, Fault};
use crate::engine::{Covered, Evaluator, Failure, Input, Located};
use crate::layout::{Place, place, reference};

/// How one test went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", content = "detail", rename_all = "lowercase")]
pub enum TestOutcome {
    /// True.
    Pass,
    /// Undefined, or another value.
    Fail,
    /// Could not be evaluated.
    Error(String),
    /// `todo_test_…`.
    Skip,
}

/// One test.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TestResult {
    /// The package, as Rego writes it.
    pub package: String,
    /// The rule.
    pub name: String,
    /// Where it is.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// How it went.
    #[serde(flatten)]
    pub outcome: TestOutcome,
}

/// Why tests did not run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The bundle has faults.
    #[error("the policy bundle has {} faults", .0.len())]
    Faults(Vec<Fault>),
    /// The filter is not a regular expression.
    #[error("the filter is not a regular expression")]
    Filter(#[source] regex::Error),
}

/// Wall clock for one test.
const WALL: Duration = Duration::from_secs(5);
/// Compiled size of a filter.
const FILTER_BYTES_MAX: usize = 1 << 20;

/// Runs the tests whose `package.name` the filter matches, in order of file and line.
///
/// # Errors
/// If the bundle has faults, or the filter is not a regular expression.
pub fn test(bundle: &Bundle, filter: Option<&str>) -> Result<Vec<TestResult>, TestError> {
    let pattern = filter.map(compiled).transpose().map_err(TestError::Filter)?;
    let checked = check::analyse(bundle).map_err(TestError::Faults)?;
    let chosen: Vec<TestResult> = listed(&checked)
        .into_iter()
        .filter(|test| {
            let full = format!("{}.{}", test.package, test.name);
            pattern.as_ref().is_none_or(|pattern| pattern.is_match(&full))
        })
        .collect();
    let Some(evaluator) = evaluator(bundle, &checked, &chosen)? else { return Ok(chosen) };
    let input = Input::empty();
    let run = |mut test: TestResult| {
        if test.outcome != TestOutcome::Skip {
            test.outcome = outcome(&evaluator, &input, &test);
        }
        test
    };
    Ok(chosen.into_iter().map(run).collect())
}

/// Lines of the policies (not of the tests) that the tests run through.
///
/// # Errors
/// As [`test`].
pub fn coverage(bundle: &Bundle) -> Result<Vec<Covered>, TestError> {
    let checked = check::analyse(bundle).map_err(TestError::Faults)?;
    let tests = listed(&checked);
    let Some(evaluator) = evaluator(bundle, &checked, &tests)? else { return Ok(Vec::new()) };
    let runs = tests.iter().filter(|test| test.outcome != TestOutcome::Skip);
    let rules: Vec<String> = runs.map(rule).collect();
    let files = evaluator.coverage(&rules).into_iter();
    Ok(files.filter(|file| !file.file.ends_with("_test.rego")).collect())
}

fn compiled(filter: &str) -> Result<regex::Regex, regex::Error> {
    regex::RegexBuilder::new(filter).size_limit(FILTER_BYTES_MAX).build()
}

/// Every test once, in order; skipped ones are marked.
fn listed(checked: &Checked) -> Vec<TestResult> {
    let mut tests: Vec<TestResult> = Vec::new();
    for module in &checked.modules {
        if place(&module.package) != Place::Test {
            continue;
        }
        let package = reference(&module.package);
        for rule in &module.rules {
            let outcome = match rule.name.as_str() {
                name if name.starts_with("test_") => TestOutcome::Fail,
                name if name.starts_with("todo_test_") => TestOutcome::Skip,
                _ => continue,
            };
            if tests.iter().any(|test| test.package == package && test.name == rule.name) {
                continue;
            }
            let (package, name) = (package.clone(), rule.name.clone());
            let (file, line) = (module.file.clone(), rule.at.line);
            tests.push(TestResult { package, name, file, line, outcome });
        }
    }
    tests
}

fn rule(test: &TestResult) -> String {
    format!("{}.{}", test.package, test.name)
}

fn evaluator(
    bundle: &Bundle,
    checked: &Checked,
    tests: &[TestResult],
) -> Result<Option<Evaluator>, TestError> {
    let Some(first) = tests.first() else { return Ok(None) };
    let sources = bundle.sources().iter().filter(|source| Source::is_rego(source));
    let loaded = Evaluator::load(sources, &checked.data, &rule(first), WALL);
    loaded.map(Some).map_err(|found| TestError::Faults(vec![check::placed(&first.file, found)]))
}

fn outcome(evaluator: &Evaluator, input: &Input, test: &TestResult) -> TestOutcome {
    match evaluator.evaluate(input, &rule(test)) {
        Ok(Some(Value::Bool(true))) => TestOutcome::Pass,
        Ok(_) => TestOutcome::Fail,
        Err(Failure::Time) => TestOutcome::Error("the time limit passed".to_owned()),
        Err(Failure::Panic) => TestOutcome::Error("the evaluator panicked".to_owned()),
        Err(Failure::Value(error)) => TestOutcome::Error(error.to_string()),
        Err(Failure::Evaluation(Located { place: Some((file, line, column)), sentence })) => {
            TestOutcome::Error(format!("{file}:{line}:{column}: {sentence}"))
        }
        Err(Failure::Evaluation(Located { place: None, sentence })) => TestOutcome::Error(sentence),
    }
}
