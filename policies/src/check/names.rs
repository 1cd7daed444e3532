//! What a name means: a local variable, a rule, an import, the input or nothing.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a syntax tree is searched for the few shapes that matter"
)]

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Fault, code};
use crate::layout::{Place, place};
use crate::syntax::{At, Expr, Kind, Module, Rule, Step};

/// A step of a path as far as it can be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hop {
    Word(String),
    Any,
}

/// What a reference leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Local,
    Input(Vec<Hop>),
    Data(Vec<Hop>),
    Unknown,
}

/// A rule of the bundle under its full path.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) path: Vec<String>,
    pub(crate) file: String,
    pub(crate) at: At,
}

/// All rules and data of a bundle.
#[derive(Debug)]
pub(crate) struct Symbols<'a> {
    nodes: Vec<Node>,
    index: BTreeMap<Vec<String>, usize>,
    data: &'a Value,
}

impl<'a> Symbols<'a> {
    pub(crate) fn new<'m>(modules: impl IntoIterator<Item = &'m Module>, data: &'a Value) -> Self {
        let (mut nodes, mut index) = (Vec::<Node>::new(), BTreeMap::new());
        for module in modules {
            for rule in &module.rules {
                let path = full(module, &rule.name);
                index.entry(path.clone()).or_insert_with(|| {
                    nodes.push(Node { path, file: module.file.clone(), at: rule.at });
                    nodes.len().saturating_sub(1)
                });
            }
        }
        Self { nodes, index, data }
    }

    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    pub(crate) fn node(&self, path: &[String]) -> Option<usize> {
        self.index.get(path).copied()
    }

    /// The rules that reading `words` evaluates: the rule on the way, and all rules below.
    pub(crate) fn reached(&self, words: &[String]) -> Vec<usize> {
        let on_the_way = (1..=words.len()).rev().find_map(|length| self.node(words.get(..length)?));
        let below = self
            .index
            .range(words.to_vec()..)
            .take_while(|(path, _node)| path.starts_with(words))
            .map(|(_path, node)| *node);
        let all: BTreeSet<usize> = on_the_way.into_iter().chain(below).collect();
        all.into_iter().collect()
    }

    fn has_data(&self, words: &[String]) -> bool {
        words.first().is_some_and(|first| self.data.get(first).is_some())
    }

    /// What `name` and the steps after it mean inside `rule`.
    pub(crate) fn resolve(
        &self,
        module: &Module,
        locals: &Locals<'_>,
        name: &str,
        steps: &[Step],
    ) -> Target {
        let tail = steps.iter().map(|step| match step {
            Step::Word(word) => Hop::Word(word.clone()),
            Step::Index(_) => Hop::Any,
        });
        let after = |path: &[String]| -> Vec<Hop> {
            path.iter().cloned().map(Hop::Word).chain(tail.clone()).collect()
        };
        if name == "_" || locals.declared.contains(name) {
            return Target::Local;
        }
        match name {
            "input" => return Target::Input(after(&[])),
            "data" => return Target::Data(after(&[])),
            _ => {}
        }
        let own = full(module, name);
        if self.node(&own).is_some() {
            return Target::Data(after(&own));
        }
        if let Some(import) = module.imports.iter().find(|import| import.name == name) {
            let rest = import.path.get(1..).unwrap_or_default();
            return match import.path.first().map(String::as_str) {
                Some("input") => Target::Input(after(rest)),
                _ => Target::Data(after(rest)),
            };
        }
        if locals.unified.contains(name) { Target::Local } else { Target::Unknown }
    }

    /// The rule that a call reaches, or `None` for what has to be a builtin.
    pub(crate) fn called(&self, module: &Module, function: &[String]) -> Option<Vec<String>> {
        let (first, rest) = function.split_first()?;
        let steps: Vec<Step> = rest.iter().cloned().map(Step::Word).collect();
        match self.resolve(module, &Locals::default(), first, &steps) {
            Target::Data(hops) => Some(words(&hops)),
            Target::Local | Target::Input(_) | Target::Unknown => None,
        }
    }

    /// Paths under `data` that a module reads, imports included.
    pub(crate) fn reads(&self, module: &Module) -> BTreeSet<Vec<String>> {
        let mut paths = BTreeSet::new();
        for import in &module.imports {
            if import.path.first().is_some_and(|first| first == "data") {
                paths.insert(import.path.get(1..).unwrap_or_default().to_vec());
            }
        }
        for rule in &module.rules {
            let locals = Locals::of(rule);
            rule.each(&mut |expr| {
                let target = self.target(module, &locals, expr).map(|(_at, target)| target);
                if let Some(Target::Data(hops)) = target {
                    paths.insert(words(&hops));
                } else if let Expr::Call { function, .. } = expr {
                    paths.extend(self.called(module, function));
                }
            });
        }
        paths
    }

    /// What an expression refers to, if it is a name or a reference that starts with one.
    pub(crate) fn target(
        &self,
        module: &Module,
        locals: &Locals<'_>,
        expr: &Expr,
    ) -> Option<(At, Target)> {
        match expr {
            Expr::Name { at, name } => Some((*at, self.resolve(module, locals, name, &[]))),
            Expr::Reference { at, root, steps } => match root.as_ref() {
                Expr::Name { name, .. } => Some((*at, self.resolve(module, locals, name, steps))),
                _ => None,
            },
            _ => None,
        }
    }
}

/// The constant words at the front.
pub(crate) fn words(hops: &[Hop]) -> Vec<String> {
    hops.iter()
        .map_while(|hop| if let Hop::Word(word) = hop { Some(word.clone()) } else { None })
        .collect()
}

fn full(module: &Module, name: &str) -> Vec<String> {
    module.package.iter().cloned().chain([name.to_owned()]).collect()
}

/// Names that a rule binds somewhere. One set for the whole rule: a name bound in one part and used
/// in another is not told apart, so this finds typing errors, not every unsafe variable.
#[derive(Debug, Default)]
pub(crate) struct Locals<'a> {
    /// By `:=`, `some`, `every` or as a parameter: they hide rules of the same name.
    declared: BTreeSet<&'a str>,
    /// By `=` or as an index: a rule of the same name is meant instead.
    unified: BTreeSet<&'a str>,
}

impl<'a> Locals<'a> {
    pub(crate) fn of(rule: &'a Rule) -> Self {
        let mut locals = Self::default();
        for param in &rule.params {
            bind(param, &mut locals.declared);
        }
        for statement in rule.statements() {
            match &statement.kind {
                Kind::Some(names) | Kind::Every { names, .. } => {
                    locals.declared.extend(names.iter().map(String::as_str));
                }
                Kind::SomeIn { patterns, .. } => {
                    patterns.iter().for_each(|pattern| bind(pattern, &mut locals.declared));
                }
                Kind::Holds(_) => {}
            }
        }
        rule.each(&mut |expr| match expr {
            Expr::Assign { declares: true, pattern, .. } => bind(pattern, &mut locals.declared),
            Expr::Assign { pattern, value, .. } => {
                bind(pattern, &mut locals.unified);
                bind(value, &mut locals.unified);
            }
            Expr::Reference { steps, .. } => {
                for step in steps {
                    if let Step::Index(index) = step {
                        bind(index, &mut locals.unified);
                    }
                }
            }
            Expr::Call { function, arguments, .. }
                if function.len() == 1 && function.first().is_some_and(|name| name == "walk") =>
            {
                arguments.iter().skip(1).for_each(|output| bind(output, &mut locals.unified));
            }
            _ => {}
        });
        locals
    }
}

/// Names in the places of a pattern that bind.
fn bind<'a>(pattern: &'a Expr, names: &mut BTreeSet<&'a str>) {
    match pattern {
        Expr::Name { name, .. } => {
            names.insert(name);
        }
        Expr::Array { items } => items.iter().for_each(|item| bind(item, names)),
        Expr::Object { fields, .. } => fields.iter().for_each(|(_key, value)| bind(value, names)),
        _ => {}
    }
}

/// Names that nothing binds, references to packages that do not exist, `with` outside of tests.
pub(super) fn check(module: &Module, symbols: &Symbols<'_>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let is_test = place(&module.package) == Place::Test;
    for import in &module.imports {
        let words = import.path.get(1..).unwrap_or_default();
        let from_data = import.path.first().is_some_and(|first| first == "data");
        if from_data && !exists(symbols, words) {
            faults.push(unknown(module, import.at, words));
        }
    }
    for rule in &module.rules {
        let locals = Locals::of(rule);
        rule.each(&mut |expr| {
            let Some((at, target)) = symbols.target(module, &locals, expr) else { return };
            match target {
                Target::Unknown => {
                    let Expr::Name { name, .. } = expr else { return };
                    let sentence = format!(
                        "nothing binds the variable {name}, and there is no rule of this name"
                    );
                    faults.push(Fault::at(&module.file, at, code::VARIABLE, sentence));
                }
                Target::Data(hops) if !is_test => {
                    let words = words(&hops);
                    if !exists(symbols, &words) {
                        faults.push(unknown(module, at, &words));
                    }
                }
                Target::Data(_) | Target::Local | Target::Input(_) => {}
            }
        });
        if !is_test && rule.statements().iter().any(|statement| !statement.with.is_empty()) {
            let sentence =
                "`with` is for tests: in a policy it can replace functions and hide recursion";
            faults.push(Fault::at(&module.file, rule.at, code::ENTRY, sentence));
        }
    }
    faults
}

fn exists(symbols: &Symbols<'_>, words: &[String]) -> bool {
    !words.is_empty() && (symbols.has_data(words) || !symbols.reached(words).is_empty())
}

fn unknown(module: &Module, at: At, words: &[String]) -> Fault {
    let path = crate::layout::reference(words);
    let sentence = if words.is_empty() {
        "data has to be followed by the name of a package or document".to_owned()
    } else {
        format!("there is no rule or document {path}; reading it would silence the rule")
    };
    Fault::at(&module.file, at, code::REFERENCE, sentence)
}
