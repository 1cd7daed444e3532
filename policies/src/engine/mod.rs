//! The only place that knows regorus: parsing, preparing, evaluating, and values in and out.
//!
//! The evaluator is the interpreter, Rego v1, with strict builtin errors: a builtin that fails is
//! an error and not a silent rule. It is prepared once (analysed, scheduled, imports resolved) and
//! cloned for each call, so a call can change nothing for the next. The bytecode machine serves
//! here only as a second reader of the syntax (`lint`); nothing is decided by it.
//!
//! The wall clock limit is a backstop: builtins are not interrupted by it, which is why `check`
//! refuses those that can run long.

mod parse;
mod value;

use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use regorus::languages::rego::compiler::{Compiler, CompilerError};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use serde_json::Value as Json;

pub(crate) use parse::parse;
pub(crate) use value::ValueError;

use crate::bundle::Source;

/// Steps between two looks at the clock.
const CLOCK_INTERVAL: NonZeroU32 = NonZeroU32::MIN.saturating_add(255);

/// An input document, translated once and shared by every evaluation of a call.
#[derive(Clone, Debug)]
pub(crate) struct Input(Value);

impl Input {
    pub(crate) fn new(json: &Json) -> Result<Self, ValueError> {
        value::from_json(json).map(Self)
    }

    pub(crate) fn empty() -> Self {
        Self(Value::new_object())
    }
}

/// Why an evaluation gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The wall clock limit passed.
    Time,
    /// The library panicked.
    Panic,
    /// A builtin failed, two complete rules disagree, …; for people who write policies.
    Evaluation(Located),
    /// The answer is not JSON.
    Value(ValueError),
}

/// An error text of the library, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Located {
    /// File, line and column, where the text names them.
    pub(crate) place: Option<(String, u32, u32)>,
    /// The text after `error:`, or all of it.
    pub(crate) sentence: String,
}

/// Some modules, ready to be evaluated. Immutable.
pub(crate) struct Evaluator {
    engine: Engine,
}

impl std::fmt::Debug for Evaluator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Evaluator").finish_non_exhaustive()
    }
}

impl Evaluator {
    /// Loads and prepares the sources. `rule` is any rule in them.
    pub(crate) fn load<'a>(
        sources: impl IntoIterator<Item = &'a Source>,
        data: &Json,
        rule: &str,
        wall: Duration,
    ) -> Result<Self, Located> {
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let mut engine = Engine::new();
            engine.set_strict_builtin_errors(true);
            engine.set_gather_prints(true);
            engine.set_execution_timer_config(ExecutionTimerConfig {
                limit: wall,
                check_interval: CLOCK_INTERVAL,
            });
            for source in sources {
                engine
                    .add_policy(source.path.clone(), source.text.clone())
                    .map_err(|error| located(&error.to_string()))?;
            }
            let data = value::from_json(data).map_err(|error| located(&error.to_string()))?;
            engine.add_data(data).map_err(|error| located(&error.to_string()))?;
            engine
                .compile_with_entrypoint(&Arc::from(rule))
                .map_err(|error| located(&error.to_string()))?;
            Ok(Self { engine })
        }));
        guarded.unwrap_or_else(|_panic| Err(located("the library panicked while it loaded")))
    }

    /// The value of `rule`; `None` if it is undefined.
    pub(crate) fn evaluate(&self, input: &Input, rule: &str) -> Result<Option<Json>, Failure> {
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let mut engine = self.engine.clone();
            engine.set_input(input.0.clone());
            engine.eval_rule(rule.to_owned())
        }));
        match guarded {
            Err(_panic) => Err(Failure::Panic),
            Ok(Err(error)) if is_time(&error.to_string()) => Err(Failure::Time),
            Ok(Err(error)) => Err(Failure::Evaluation(located(&error.to_string()))),
            Ok(Ok(Value::Undefined)) => Ok(None),
            Ok(Ok(value)) => value::to_json(&value).map(Some).map_err(Failure::Value),
        }
    }

    /// What the bytecode compiler finds that the interpreter would find only when it gets there:
    /// variables that nothing binds and functions that do not exist. Constructs that only the
    /// bytecode compiler lacks are no fault.
    pub(crate) fn lint(&self, rule: &str) -> Option<Located> {
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            let compiled = self.engine.clone().compile_with_entrypoint(&Arc::from(rule)).ok()?;
            let error = Compiler::compile_from_policy(&compiled, &[rule]).err()?;
            let matters = matches!(
                error.error,
                CompilerError::UndefinedVariable { .. }
                    | CompilerError::UnknownFunction { .. }
                    | CompilerError::UnknownBuiltinFunction { .. }
            );
            matters.then(|| located(&error.to_string()))
        }));
        guarded.unwrap_or(None)
    }

    /// Evaluates the rules one after the other and reports which lines ran.
    pub(crate) fn coverage(&self, rules: &[String]) -> Vec<Covered> {
        let mut engine = self.engine.clone();
        engine.set_enable_coverage(true);
        for rule in rules {
            // A test that fails is reported by the run that counts; here only lines matter.
            drop(catch_unwind(AssertUnwindSafe(|| engine.eval_rule(rule.clone()).is_ok())));
        }
        let report = engine.get_coverage_report().map(|report| report.files).unwrap_or_default();
        let of = |file: regorus::coverage::File| Covered {
            file: file.path,
            covered: file.covered.into_iter().collect(),
            not_covered: file.not_covered.into_iter().collect(),
        };
        report.into_iter().map(of).collect()
    }
}

/// Lines of one file that tests ran through, and those that they did not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The file.
    pub file: String,
    /// Lines, from 1.
    pub covered: Vec<u32>,
    /// Lines, from 1.
    pub not_covered: Vec<u32>,
}

fn is_time(text: &str) -> bool {
    text.contains("execution exceeded time limit")
}

/// Takes the library's error text apart: `\n--> file:line:column\n … \nerror: sentence`.
pub(crate) fn located(text: &str) -> Located {
    let place = text.lines().find_map(|line| {
        let rest = line.trim_start().strip_prefix("--> ")?;
        let mut parts = rest.rsplitn(3, ':');
        let column = parts.next()?.trim().parse().ok()?;
        let line = parts.next()?.parse().ok()?;
        Some((parts.next()?.to_owned(), line, column))
    });
    let sentence = text.split_once("error: ").map_or(text, |(_frame, sentence)| sentence);
    let sentence = sentence.split_once("\n-->").map_or(sentence, |(first, _rest)| first);
    Located { place, sentence: sentence.trim().to_owned() }
}
