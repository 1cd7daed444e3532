//! One package that the host evaluates, with everything it needs and nothing else.
//!
//! Each entry package gets an evaluator of its own: the interpreter's cost grows with every module
//! that is loaded, used or not. A small module of the host asks for the entries that the package
//! defines, so that all of them are evaluated in one pass and helpers only once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use forge_schemas::policy::Phase;

use crate::answer::{self, Answer, Malformed};
use crate::bundle::{Bundle, Source};
use crate::check::{Checked, literal_ids, names};
use crate::engine::{Evaluator, Failure, Input, Located};
use crate::layout::{Entry, Layer, Place, place, reference};
use crate::syntax::{Module, Shape};

/// The rule of the host's module. The package is closed to bundles.
pub(crate) const ANSWER: &str = "data.forge.host.answer";
/// Its file name cannot be a path in a bundle.
const HOST_FILE: &str = "<host>";

/// Where reasons point.
#[derive(Debug, Default)]
pub(crate) struct Locations {
    by_id: BTreeMap<(Entry, String), (String, u32)>,
    first: BTreeMap<Entry, (String, u32)>,
}

impl Locations {
    /// The rule that writes out this id; else the first rule of the set.
    pub(crate) fn of(&self, entry: Entry, id: &str) -> (String, u32) {
        let exact = self.by_id.get(&(entry, id.to_owned()));
        exact.or_else(|| self.first.get(&entry)).cloned().unwrap_or_default()
    }
}

/// What has to be loaded for one entry package.
#[derive(Debug)]
pub(crate) struct Spec {
    pub(crate) package: Vec<String>,
    pub(crate) layer: Layer,
    pub(crate) owner: Vec<String>,
    pub(crate) phase: Phase,
    pub(crate) entries: BTreeSet<Entry>,
    files: BTreeSet<String>,
    locations: Locations,
}

impl Spec {
    pub(crate) fn reference(&self) -> String {
        reference(&self.package)
    }

    /// A file of the package, for faults that name none.
    pub(crate) fn file(&self) -> &str {
        self.files.first().map_or("", String::as_str)
    }

    /// The modules, and the host's.
    pub(crate) fn sources(&self, bundle: &Bundle) -> Vec<Source> {
        let needed = bundle.sources().iter().filter(|source| self.files.contains(&source.path));
        let host = Source { path: HOST_FILE.to_owned(), text: self.question() };
        needed.cloned().chain([host]).collect()
    }

    /// One list for each entry: empty if it is undefined, with one value if not.
    fn question(&self) -> String {
        let package = self.reference();
        let mut text = String::from("package forge.host\n\nanswer := {\n");
        for entry in &self.entries {
            let name = entry.as_str();
            text.push_str(&format!("\t\"{name}\": [x |\n\t\tx := {package}.{name}\n\t],\n"));
        }
        text.push_str("}\n");
        text
    }
}

/// The entry packages of a bundle.
pub(crate) fn specs(modules: &[Module]) -> Vec<Spec> {
    let modules: Vec<&Module> =
        modules.iter().filter(|module| place(&module.package) != Place::Test).collect();
    let needs = Needs::new(&modules);
    let packages: BTreeSet<&[String]> =
        modules.iter().map(|module| module.package.as_slice()).collect();
    let of = |package: &[String]| {
        let Place::Entry { layer, owner, phase } = place(package) else { return None };
        let own: Vec<&Module> =
            modules.iter().copied().filter(|module| module.package == package).collect();
        let entries = own.iter().flat_map(|module| &module.rules);
        let entries = entries.filter_map(|rule| Entry::parse(&rule.name)).collect();
        let files = needs.closure(package);
        let locations = locations(&own);
        Some(Spec { package: package.to_vec(), layer, owner, phase, entries, files, locations })
    };
    packages.into_iter().filter_map(of).collect()
}

fn locations(modules: &[&Module]) -> Locations {
    let mut found = Locations::default();
    for module in modules {
        for rule in module.rules.iter().filter(|rule| rule.shape != Shape::Default) {
            let Some(entry) = Entry::parse(&rule.name) else { continue };
            let place = (module.file.clone(), rule.at.line);
            for id in literal_ids(rule) {
                found.by_id.entry((entry, id.to_owned())).or_insert_with(|| place.clone());
            }
            found.first.entry(entry).or_insert(place);
        }
    }
    found
}

/// Which module reads which.
struct Needs<'a> {
    modules: Vec<(&'a Module, BTreeSet<Vec<String>>)>,
}

impl<'a> Needs<'a> {
    fn new(modules: &[&'a Module]) -> Self {
        let nothing = serde_json::Value::Null;
        let symbols = names::Symbols::new(modules.iter().copied(), &nothing);
        let modules = modules.iter().map(|module| (*module, symbols.reads(module))).collect();
        Self { modules }
    }

    /// Files of the package and of all packages that they read, however far away.
    fn closure(&self, package: &[String]) -> BTreeSet<String> {
        let mut files = BTreeSet::new();
        let mut queue = vec![package.to_vec()];
        while let Some(path) = queue.pop() {
            for (module, reads) in &self.modules {
                let related =
                    path.starts_with(&module.package) || module.package.starts_with(&path);
                if related && files.insert(module.file.clone()) {
                    queue.extend(reads.iter().cloned());
                }
            }
        }
        files
    }
}

/// Why a package gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Evaluation(Failure),
    Undefined,
    Malformed(Malformed),
}

/// An entry package, ready.
#[derive(Debug)]
pub(crate) struct Unit {
    pub(crate) layer: Layer,
    /// The package has a rule `allow`.
    pub(crate) defines_allow: bool,
    /// The package has a rule `grants`.
    pub(crate) defines_grants: bool,
    pub(crate) locations: Locations,
    phase: Phase,
    evaluator: Evaluator,
}

impl Unit {
    pub(crate) fn load(
        spec: Spec,
        bundle: &Bundle,
        checked: &Checked,
        wall: Duration,
    ) -> Result<Self, Located> {
        let sources = spec.sources(bundle);
        let evaluator = Evaluator::load(&sources, &checked.data, ANSWER, wall)?;
        Ok(Self {
            layer: spec.layer,
            defines_allow: spec.entries.contains(&Entry::Allow),
            defines_grants: spec.entries.contains(&Entry::Grants),
            locations: spec.locations,
            phase: spec.phase,
            evaluator,
        })
    }

    pub(crate) fn ask(&self, input: &Input) -> Result<Answer, Trouble> {
        let answer = self.evaluator.evaluate(input, ANSWER).map_err(Trouble::Evaluation)?;
        let answer = answer.ok_or(Trouble::Undefined)?;
        answer::decode(answer, self.phase).map_err(Trouble::Malformed)
    }
}
