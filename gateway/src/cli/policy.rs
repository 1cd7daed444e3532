//! `policy check`, `policy test`, `policy eval`.
//!
//! Every command checks the bundle in a child process first: a bundle that kills its checker kills
//! nothing else. Data on stdout, talk on stderr.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use forge_policies::{
    Bundle, CheckReport, CheckResponse, Fault, PolicySet, TestOutcome, TestResult,
};
use forge_schemas::policy::{Phase, PolicyInput};
use tokio::time::Instant;

use crate::control::bundle_check::{BundleCheckError, check_in_child};
use crate::control::bundle_load;
use crate::ids;

/// A check said no.
const NO: u8 = 3;

/// Work on policy bundles.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Find every fault of a bundle without running it
    Check {
        /// The bundle's directory
        dir: PathBuf,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Run the tests in `*_test.rego`
    Test {
        /// The bundle's directory
        dir: PathBuf,
        /// Only tests whose package and name match this regular expression
        #[arg(long, value_name = "RE")]
        run: Option<String>,
        /// Print one JSON document
        #[arg(long)]
        json: bool,
        /// Name the lines that no test runs through
        #[arg(long)]
        coverage: bool,
    },
    /// Print the decision for one input
    Eval {
        /// The bundle's directory
        #[arg(long, value_name = "DIR")]
        bundle: PathBuf,
        /// The input as JSON; - for stdin
        #[arg(long, value_name = "FILE")]
        input: PathBuf,
        /// Instead of the phase in the input
        #[arg(long)]
        phase: Option<PhaseArg>,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PhaseArg {
    List,
    Request,
    Response,
    Approve,
    Admin,
}

impl From<PhaseArg> for Phase {
    fn from(phase: PhaseArg) -> Self {
        match phase {
            PhaseArg::List => Self::List,
            PhaseArg::Request => Self::Request,
            PhaseArg::Response => Self::Response,
            PhaseArg::Approve => Self::Approve,
            PhaseArg::Admin => Self::Admin,
        }
    }
}

/// Runs one command and returns the exit code: 0, or 3 if the bundle has faults or a test failed.
///
/// # Errors
/// If files cannot be read or the checker cannot be started.
pub fn run(args: PolicyArgs, stdout: &mut impl Write) -> anyhow::Result<u8> {
    let exe = std::env::current_exe().context("the path of this program is not known")?;
    run_with(args, &exe, stdout)
}

fn run_with(args: PolicyArgs, exe: &Path, stdout: &mut impl Write) -> anyhow::Result<u8> {
    match args.command {
        PolicyCommand::Check { dir, json } => check(exe, &dir, json, stdout),
        PolicyCommand::Test { dir, run, json, coverage } => {
            let bundle = bundle_load::load(&dir)?;
            match checked(exe, &bundle)? {
                Err(faults) => print_faults(&faults, stdout),
                Ok(_report) => test(&bundle, run.as_deref(), Shown { json, coverage }, stdout),
            }
        }
        PolicyCommand::Eval { bundle, input, phase } => {
            let bundle = bundle_load::load(&bundle)?;
            match checked(exe, &bundle)? {
                Err(faults) => print_faults(&faults, stdout),
                Ok(_report) => eval(&bundle, &input, phase.map(Phase::from), stdout),
            }
        }
    }
}

fn check(exe: &Path, dir: &Path, json: bool, stdout: &mut impl Write) -> anyhow::Result<u8> {
    let bundle = bundle_load::load(dir)?;
    let outcome = checked(exe, &bundle)?;
    if json {
        let (response, code) = match outcome {
            Ok(report) => (CheckResponse::Report(report), 0),
            Err(faults) => (CheckResponse::Faults(faults), NO),
        };
        writeln!(stdout, "{}", serde_json::to_string_pretty(&response)?)?;
        return Ok(code);
    }
    match outcome {
        Err(faults) => print_faults(&faults, stdout),
        Ok(report) => {
            for warning in &report.warnings {
                writeln!(stdout, "warning: {warning}")?;
            }
            let CheckReport { revision, entry_packages, rules, tests, .. } = &report;
            let packages = entry_packages.len();
            writeln!(
                stdout,
                "{revision}: {packages} packages, {rules} rules, {tests} tests, no faults"
            )?;
            Ok(0)
        }
    }
}

/// The child is awaited on a thread of its own, whatever runtime the caller may be in.
fn checked(exe: &Path, bundle: &Bundle) -> anyhow::Result<Result<CheckReport, Vec<Fault>>> {
    let outcome = std::thread::scope(|scope| {
        let worker = scope.spawn(|| -> anyhow::Result<_> {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            Ok(runtime.block_on(check_in_child(exe, bundle)))
        });
        worker.join().map_err(|_panic| anyhow::anyhow!("the checker's thread panicked"))?
    });
    match outcome? {
        Ok(report) => Ok(Ok(report)),
        Err(BundleCheckError::Faults(faults)) => Ok(Err(faults)),
        Err(error @ BundleCheckError::Start { .. }) => Err(error.into()),
    }
}

fn print_faults(faults: &[Fault], stdout: &mut impl Write) -> anyhow::Result<u8> {
    for fault in faults {
        writeln!(stdout, "{fault}")?;
    }
    Ok(NO)
}

#[derive(Clone, Copy)]
struct Shown {
    json: bool,
    coverage: bool,
}

fn test(
    bundle: &Bundle,
    filter: Option<&str>,
    shown: Shown,
    stdout: &mut impl Write,
) -> anyhow::Result<u8> {
    let results = match forge_policies::test(bundle, filter) {
        Ok(results) => results,
        Err(forge_policies::TestError::Faults(faults)) => return print_faults(&faults, stdout),
        Err(error) => return Err(error.into()),
    };
    let count = |wanted: fn(&TestOutcome) -> bool| {
        results.iter().filter(|test| wanted(&test.outcome)).count()
    };
    let passed = count(|outcome| *outcome == TestOutcome::Pass);
    let skipped = count(|outcome| *outcome == TestOutcome::Skip);
    let failed = results.len().saturating_sub(passed).saturating_sub(skipped);
    if shown.json {
        writeln!(stdout, "{}", serde_json::to_string_pretty(&results)?)?;
    } else {
        for test in &results {
            print_test(test, stdout)?;
        }
        writeln!(stdout, "{passed} passed, {failed} failed, {skipped} skipped")?;
    }
    if shown.coverage {
        print_coverage(bundle, stdout)?;
    }
    // Nothing to run is a mistake in the filter or in the bundle, not a success.
    Ok(if failed == 0 && !results.is_empty() { 0 } else { NO })
}

fn print_test(test: &TestResult, stdout: &mut impl Write) -> std::io::Result<()> {
    let TestResult { package, name, file, line, outcome } = test;
    match outcome {
        TestOutcome::Pass => Ok(()),
        TestOutcome::Fail => writeln!(stdout, "{file}:{line}: FAIL {package}.{name}"),
        TestOutcome::Skip => writeln!(stdout, "{file}:{line}: SKIP {package}.{name}"),
        TestOutcome::Error(detail) => {
            writeln!(stdout, "{file}:{line}: ERROR {package}.{name}: {detail}")
        }
    }
}

fn print_coverage(bundle: &Bundle, stdout: &mut impl Write) -> anyhow::Result<()> {
    for file in forge_policies::coverage(bundle)? {
        let missed: Vec<String> = file.not_covered.iter().map(ToString::to_string).collect();
        if !missed.is_empty() {
            writeln!(stdout, "{}: no test runs through lines {}", file.file, missed.join(", "))?;
        }
    }
    Ok(())
}

fn eval(
    bundle: &Bundle,
    file: &Path,
    phase: Option<Phase>,
    stdout: &mut impl Write,
) -> anyhow::Result<u8> {
    let text = read(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut input: PolicyInput = serde_json::from_str(&text)
        .with_context(|| format!("{} is not a policy input", file.display()))?;
    if let Some(phase) = phase {
        input.phase = phase;
    }
    let set = match PolicySet::load(bundle, bundle_load::limits()) {
        Ok(set) => set,
        Err(error) => return print_faults(error.faults(), stdout),
    };
    let since = Instant::now();
    let (mut decision, trouble) = set.decide_with_trouble(&input, ids::evaluation());
    decision.us = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
    for sentence in trouble {
        writeln!(std::io::stderr(), "{sentence}")?;
    }
    writeln!(stdout, "{}", serde_json::to_string_pretty(&decision)?)?;
    Ok(0)
}

fn read(file: &Path) -> std::io::Result<String> {
    if file == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text)?;
        return Ok(text);
    }
    std::fs::read_to_string(file)
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
